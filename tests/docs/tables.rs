//! The tables of the documents say what the sources and a running gateway say.

use super::program::{Gateway, Service, free_port, keygate, text, wait_until};
use super::root;
use http::StatusCode;
use keygate::domain::key::{KeyFormat, KeyStatus};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

pub(crate) type Set = BTreeSet<String>;

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|fault| panic!("{path}: {fault}"))
}

/// The first table below a heading, its header left out.
pub(crate) fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let text = read(document);
    let below = text.lines().skip_while(|line| {
        line.trim_start_matches('#').trim() != heading || !line.starts_with('#')
    });
    let rows = below
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2);
    let rows: Vec<Vec<String>> = rows
        .map(|row| {
            row.trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect();
    assert!(!rows.is_empty(), "{document}: no table below `{heading}`");
    rows
}

/// What stands between backticks.
pub(crate) fn marked(cell: &str) -> Vec<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The one thing between backticks in a cell.
pub(crate) fn name(cell: &str) -> String {
    let found = marked(cell);
    assert_eq!(found.len(), 1, "{cell}");
    found[0].clone()
}

pub(crate) fn captures(pattern: &str, text: &str) -> Set {
    let pattern = Regex::new(pattern).unwrap();
    pattern
        .captures_iter(text)
        .map(|found| found[1].to_owned())
        .collect()
}

#[test]
fn status_and_code_of_every_answer_are_listed() {
    for (heading, sources, pattern) in [
        (
            "On the listeners",
            &["src/proxy/error.rs", "src/gate/mod.rs"][..],
            r#"S::([A-Z_]+),\s*"([a-z_]+)""#,
        ),
        (
            "On the management port",
            &["src/admin/error.rs"],
            r#"StatusCode::([A-Z_]+),\s*"([a-z_]+)""#,
        ),
    ] {
        let listed: BTreeSet<(u16, String)> = table("docs/errors.md", heading)
            .iter()
            .map(|row| (row[0].parse().unwrap(), name(&row[1])))
            .collect();
        let real: BTreeSet<(u16, String)> = Regex::new(pattern)
            .unwrap()
            .captures_iter(&sources.iter().map(|file| read(file)).collect::<String>())
            .map(|found| (number(&found[1]), found[2].to_owned()))
            .collect();
        assert!(real.len() > 4);
        assert_eq!(listed, real, "{heading}");
    }
}

#[test]
fn every_conflict_is_listed() {
    let mut real = Set::new();
    let patterns = [
        r#"refused\(\s*"([a-z_]+)""#,
        r#"code: "([a-z_]+)""#,
        r#"=> "([a-z]+_[a-z_]+)""#,
        r#"_ => "(conflict)""#,
    ];
    for (folder, patterns) in [
        ("src/store", &patterns[..1]),
        ("src/admin", &patterns[..]),
        ("src/domain/key/acts.rs", &patterns[2..3]),
    ] {
        for text in sources(folder) {
            let conflicts = text.contains("Conflict") || folder != "src/admin";
            for pattern in patterns.iter().filter(|_| conflicts) {
                real.extend(captures(pattern, &text));
            }
        }
    }
    let listed: Set = table("docs/errors.md", "Conflicts")
        .iter()
        .map(|row| name(&row[0]))
        .collect();
    assert_eq!(listed, real);
}

/// The texts of a file, or of all source files below a folder, without their tests.
pub(crate) fn sources(path: &str) -> Vec<String> {
    let full = root().join(path);
    if full.is_file() {
        return vec![read(path)];
    }
    let mut all = Vec::new();
    for entry in fs::read_dir(full).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !["suite", "tests", "tests.rs", "migrations"].contains(&&*name)
            && !name.starts_with("testing")
        {
            all.extend(sources(&format!("{path}/{name}")));
        }
    }
    all
}

/// The number of a constant of [`StatusCode`].
fn number(constant: &str) -> u16 {
    let spelled = |code: StatusCode| {
        let reason = code.canonical_reason().unwrap_or_default();
        reason.to_ascii_uppercase().replace([' ', '-'], "_")
    };
    (100..600)
        .find(|code| StatusCode::from_u16(*code).is_ok_and(|code| spelled(code) == constant))
        .unwrap_or_else(|| panic!("no status {constant}"))
}

#[test]
fn every_metric_is_listed() {
    let service = Service::start();
    let key = KeyFormat::default().generate("live").unwrap();
    let rest = format!(
        "upstreams:\n  app: {{ endpoints: [\"http://{}\"] }}\n  gone: {{ endpoints: [\"http://127.0.0.1:{}\"] }}\n\
         routes:\n  - {{ name: app, match: {{}}, upstream: app, auth: {{ scopes: a }} }}\n  \
         - {{ name: gone, match: {{ path: /gone/ }}, upstream: gone, auth: {{ scopes: a }} }}\n\
         keys: [{{ name: ci, secret: file:key, scopes: [a] }}]\n",
        service.address,
        free_port()
    );
    let gateway = Gateway::start(&rest, key.expose());
    let header = format!("x-api-key: {}", key.expose());
    assert_eq!(gateway.call("/", &[&header]).0, 200);
    assert_eq!(gateway.call("/gone/", &[&header]).0, 502);
    gateway.reload();
    let mut page = String::new();
    wait_until("the reload is counted", || {
        page = gateway.manage("/metrics").1;
        page.contains("keygate_config_reloads_total{result=\"ok\"} 1")
    });
    let listed: BTreeMap<String, (String, Set)> = table("docs/operations.md", "Metrics")
        .iter()
        .map(|row| {
            (
                name(&row[0]),
                (row[1].clone(), marked(&row[2]).into_iter().collect()),
            )
        })
        .collect();
    let types = Regex::new(r"# TYPE (\S+) (\S+)").unwrap();
    let real: BTreeMap<String, (String, Set)> = types
        .captures_iter(&page)
        .map(|found| {
            (
                found[1].to_owned(),
                (found[2].to_owned(), labels(&page, &found[1])),
            )
        })
        .collect();
    assert_eq!(listed, real);
}

/// Labels of a metric, without those that belong to histograms.
fn labels(page: &str, metric: &str) -> Set {
    let lines = Regex::new(&format!(r"(?m)^{metric}(?:_bucket)?\{{(.*)\}}")).unwrap();
    let mut found: Set = lines
        .captures_iter(page)
        .flat_map(|line| captures(r#"([a-z_]+)=""#, &line[1]))
        .collect();
    found.remove("le");
    found
}

#[test]
fn every_reason_is_listed() {
    let source = read("src/telemetry/metrics.rs");
    for row in table("docs/operations.md", "Metrics")
        .iter()
        .filter(|row| row[0].contains("auth_decisions"))
    {
        assert!(row[2].contains("reason"));
    }
    let text = read("docs/operations.md");
    for result in ["allowed", "denied"] {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{result}` |")))
            .unwrap();
        let listed: Set = marked(row).into_iter().skip(1).collect();
        let real = captures(&format!(r#"\("{result}", "([a-z_]+)"\)"#), &source);
        assert!(!real.is_empty());
        assert_eq!(listed, real, "{result}");
    }
    let source = read("src/proxy/error.rs");
    let reasons = source
        .split("fn reason")
        .nth(1)
        .unwrap()
        .split("fn proxy_status")
        .next()
        .unwrap();
    let mut real = captures(r#"=> "([a-z_]+)""#, reasons);
    assert!(read("src/proxy/body.rs").contains("failed(\"body\")"));
    real.insert("body".into());
    let sentence = text
        .split("reasons of an upstream's error:")
        .nth(1)
        .unwrap();
    let listed: Set = marked(sentence.split("\n\n").next().unwrap())
        .into_iter()
        .collect();
    assert_eq!(listed, real);
}

#[test]
fn exit_codes_are_what_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    fs::write(
        place("good.yaml"),
        format!(
            "listeners: [{{ address: \"{address}\" }}]\nmanagement: {{ address: 127.0.0.1:0 }}\nstore: none\n"
        ),
    )
    .unwrap();
    fs::write(place("bad.yaml"), "listeners: []\n").unwrap();
    fs::write(place("bad.ndjson"), "no JSON\n").unwrap();
    let stranger = answering(401);
    let tries: [(&[&str], i32); 11] = [
        (&["keys", "list", "--url", &stranger], 4),
        (&["keys", "import", "bad.ndjson", "--url", &stranger], 6),
        (&["check", "good.yaml"], 0),
        (&["hash"], 1),
        (&["health", "--config", "missing.yaml"], 1),
        (&["nonsense"], 2),
        (&["serve", "--config", "missing.yaml"], 3),
        (&["serve", "--config", "good.yaml"], 5),
        (&["serve", "--config", "bad.yaml"], 7),
        (&["check", "bad.yaml"], 7),
        (&["check", "missing.yaml"], 7),
    ];
    for (arguments, code) in tries {
        let output = keygate(folder.path(), arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}\n{}",
            text(&output)
        );
    }
    let rows = table("README.md", "Commands and exit codes");
    assert_eq!(rows[0][0], "`keygate serve`");
    let listed: BTreeSet<i32> = Regex::new(r"(?m)^\| (\d) \|")
        .unwrap()
        .captures_iter(&read("README.md"))
        .map(|row| row[1].parse().unwrap())
        .collect();
    assert_eq!(listed, tries.iter().map(|(_, code)| *code).collect());
    // They stand in one place.
    let source = read("src/cli/mod.rs");
    let kinds = source
        .split("enum Exit {")
        .nth(1)
        .unwrap()
        .split('}')
        .next()
        .unwrap();
    let real: BTreeSet<i32> = captures(r"= (\d+)", kinds)
        .iter()
        .map(|code| code.parse().unwrap())
        .collect();
    assert_eq!(listed, real);
}

/// The address of a service that answers everything with this status.
fn answering(status: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let head =
                format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
        }
    });
    format!("http://{address}")
}

#[test]
fn every_command_is_listed() {
    let help = text(&keygate(root(), &["--help"]));
    let commands = help
        .split("Commands:\n")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let mut real = captures(r"(?m)^  ([a-z]+) ", commands);
    real.remove("help");
    let listed: Set = table("README.md", "Commands and exit codes")
        .iter()
        .map(|row| name(&row[0]).replace("keygate ", ""))
        .collect();
    assert_eq!(listed, real);
}

#[test]
fn key_statuses_and_addresses_of_the_management_port_are_listed() {
    let listed: Vec<String> = table("docs/keys.md", "States")
        .iter()
        .map(|row| name(&row[0]))
        .collect();
    assert_eq!(listed, KeyStatus::ALL.map(KeyStatus::name));
    let all: String = ["docs/operations.md", "docs/keys.md"].map(read).concat();
    let routes = captures(r#"\.route\("([^"]+)""#, &read("src/admin/routes.rs"));
    assert!(routes.len() > 3);
    for route in routes {
        assert!(all.contains(&format!("`{route}`")), "{route} is not listed");
    }
}
