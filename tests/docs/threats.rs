//! What the threat model and the checklist name is there: tests, settings and metrics.

use super::root;
use super::tables::{Set, captures, marked, name, read, table};
use regex::Regex;

/// Headings whose tables say by which tests a row holds.
const ACTORS: [&str; 8] = [
    "Callers without a key",
    "Holders of keys",
    "Tenants",
    "Administrators",
    "Operators of the machine",
    "Services behind keygate",
    "The network",
    "Other nodes and the database",
];

#[test]
fn every_threat_is_met_or_said_to_remain() {
    for actor in ACTORS {
        for row in table("docs/threat-model.md", actor) {
            assert_eq!(row.len(), 4, "{actor}: {row:?}");
            let met = row[1].len() > 5 && (row[2].contains("](") || row[2].contains("`tests/"));
            let left = row[1..3] == ["–", "–"] && !row[3].is_empty();
            assert!(met || left, "{actor}: {}", row[0]);
        }
    }
}

#[test]
fn tests_of_the_threat_model_are_there() {
    let mut count = 0;
    for actor in ACTORS {
        for row in table("docs/threat-model.md", actor) {
            let mut file = String::new();
            for word in marked(&row[2]) {
                if word.starts_with("tests/") {
                    file = read(&word);
                } else {
                    let test = format!("#[test]\nfn {word}()");
                    let other = Regex::new(&format!(r"#\[test\]\n#\[.*\]\nfn {word}\(\)")).unwrap();
                    let there = file.contains(&test) || other.is_match(&file);
                    assert!(there, "{}: no test {word}", row[0]);
                    count += 1;
                }
            }
        }
    }
    assert!(count > 50, "{count}");
}

#[test]
fn settings_and_metrics_of_the_checklist_are_there() {
    let settings = read("docs/configuration.md");
    for row in table("docs/hardening.md", "Before it faces the internet") {
        assert_eq!(row.len(), 3, "{row:?}");
        let first = &marked(&row[0]);
        for setting in first.iter().filter(|word| !word.starts_with("keygate ")) {
            let known = settings.contains(&format!("| `{setting}"));
            assert!(known, "{setting} is no setting");
        }
    }
    let text = read("docs/hardening.md");
    let below = text.split("What to be woken by").nth(1).unwrap();
    let named = captures(r"(?m)^\| `(keygate_[a-z_]+)` \|", below);
    let real: Set = table("docs/operations.md", "Metrics")
        .iter()
        .map(|row| name(&row[0]))
        .collect();
    assert!(named.len() > 5 && named.is_subset(&real), "{named:?}");
    let unit = root().join("deploy/keygate.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    for line in captures(r"`(Limit[A-Za-z]+=[0-9]+)`", &text) {
        assert!(unit.lines().any(|known| known == line), "{line}");
    }
}
