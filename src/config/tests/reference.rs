//! The files in `config/`: they load, `reference.yaml` shows every field, and what it shows is the default.

use crate::config::load::tree;
use crate::config::raw::{Kind, Node, table, table::Table};
use crate::config::{Config, parse};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;

const REFERENCE: &str = include_str!("../../../config/reference.yaml");
const STARTING_POINT: &str = include_str!("../../../config/keygate.yaml");

/// Required fields only, with the names and addresses of the reference.
const MINIMAL: &str = "
listeners: [{address: 127.0.0.1:8080}]
upstreams: {example: {endpoints: [http://127.0.0.1:9000]}}
routes: [{name: example, match: {}, upstream: example}]
consumers: [{name: example}]
keys: [{name: example, hash: blake3:3b1f0c5d7e9a2468ace013579bdf02468ace13579bdf0123456789abcdef0042}]
";

/// Where each table of fields is found in the reference.
const TABLES: [(&str, &Table); 23] = [
    ("", &table::ROOT),
    ("key_format", &table::KEY_FORMAT),
    ("log", &table::LOG),
    ("forwarding", &table::FORWARDING),
    ("admission", &table::ADMISSION),
    ("listeners.0", &table::LISTENER),
    ("listeners.0.min_body_rate", &table::MIN_RATE),
    ("management", &table::MANAGEMENT),
    ("management.sessions", &table::SESSIONS),
    ("vault", &table::VAULT),
    ("inactivity", &table::INACTIVITY),
    ("audit", &table::AUDIT),
    ("usage", &table::USAGE),
    ("webhooks", &table::WEBHOOKS),
    ("notifications", &table::NOTIFICATIONS),
    ("notifications.email", &table::EMAIL),
    ("upstreams.example", &table::UPSTREAM),
    ("upstreams.example.pool", &table::POOL),
    ("routes.0", &table::ROUTE),
    ("routes.0.match", &table::MATCH),
    ("routes.0.auth", &table::AUTH),
    ("consumers.0", &table::CONSUMER),
    ("keys.0", &table::KEY),
];

fn read(text: &str) -> Config {
    parse(Path::new("config/k.yaml"), text).unwrap_or_else(|fault| panic!("{fault}"))
}

/// Everything but places and the order of files.
fn shown(config: &Config) -> String {
    let plain = Config {
        warnings: Vec::new(),
        ..config.clone()
    };
    format!("{plain:#?}")
}

fn find<'a>(node: &'a Node, path: &str) -> &'a Node {
    path.split('.')
        .filter(|step| !step.is_empty())
        .fold(node, |node, step| match &node.kind {
            Kind::List(list) => &list[step.parse::<usize>().unwrap()],
            Kind::Map(map) => &map.iter().find(|entry| &*entry.name == step).unwrap().value,
            Kind::Scalar(..) => panic!("{path}"),
        })
}

#[test]
fn both_files_load() {
    let reference = read(REFERENCE);
    let odd: Vec<_> = reference.warnings.iter().map(|line| &*line.path).collect();
    assert_eq!(odd, ["keys[0]"]);
    assert_eq!(read(STARTING_POINT).warnings, []);
}

#[test]
fn the_reference_shows_every_field_and_no_other() {
    let root = tree(REFERENCE).unwrap();
    for (path, table) in TABLES {
        let Kind::Map(map) = &find(&root, path).kind else {
            panic!("{path} is a mapping");
        };
        let shown: BTreeSet<_> = map.iter().map(|entry| &*entry.name).collect();
        assert_eq!(shown, table.known.iter().copied().collect(), "{path}");
        assert!(table.known.iter().all(|name| !table.later.contains(name)));
    }
    for name in table::LOCATION.known {
        assert!(REFERENCE.contains(&format!("{{{name}: ")), "{name}");
    }
}

#[test]
fn what_the_reference_shows_is_the_default() {
    assert_eq!(shown(&read(REFERENCE)), shown(&read(MINIMAL)));
}

/// Lines of the reference that hold a field and its whole value.
fn leaves() -> impl Iterator<Item = (usize, String)> {
    let leaf = |(line, text): (usize, &'static str)| {
        let (field, rest) = text.split_once(": ")?;
        let value = rest.trim_start();
        let is_leaf = !field.trim_start().starts_with('#') && !value.starts_with('#');
        is_leaf.then(|| (line, field.to_owned()))
    };
    REFERENCE.lines().enumerate().filter_map(leaf)
}

fn with_line(line: usize, new: &str) -> String {
    let mut lines: Vec<_> = REFERENCE.lines().collect();
    lines[line] = new;
    lines.join("\n")
}

/// A field that is in a table but never read would be ignored in silence.
#[test]
fn every_field_is_read() {
    let fields: Vec<_> = leaves().collect();
    assert!(fields.len() > 60, "{}", fields.len());
    for (line, field) in fields {
        let bad = with_line(line, &format!("{field}: [{{bogus: {{}}}}]"));
        let fault = parse(Path::new("k.yaml"), &bad).expect_err(&field);
        let name = field.trim_start_matches([' ', '-']);
        let start = format!("k.yaml:{}:", line + 1);
        let told = fault
            .to_string()
            .lines()
            .any(|told| told.starts_with(&start) && told.contains(name));
        assert!(told, "{field}: {fault}");
    }
}

/// The same for what is promised for later: each is refused where it belongs.
#[test]
fn every_later_field_is_refused() {
    let root = tree(REFERENCE).unwrap();
    for (path, table) in TABLES {
        let place = find(&root, path).place;
        for name in table.later {
            let mut lines: Vec<_> = REFERENCE.lines().map(str::to_owned).collect();
            let (before, after) = lines[place.0 - 1].split_at(place.1 - 1);
            let line = format!("{before}{name}: x\n{}{after}", " ".repeat(place.1 - 1));
            if path.is_empty() {
                lines.insert(0, format!("{name}: x"));
            } else {
                lines[place.0 - 1] = line;
            }
            let fault = parse(Path::new("k.yaml"), &lines.join("\n")).expect_err(name);
            let told = fault.to_string();
            assert!(
                told.ends_with(&format!("{name}: not supported yet")),
                "{told}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_reference_never_panics(
        from in 0..REFERENCE.len(),
        length in 0_usize..40,
        new in "[a-z0-9\\[\\]{}:,&*!|>'\"#?%@`\n\t -]{0,8}",
    ) {
        let mut bytes = REFERENCE.as_bytes().to_vec();
        let end = (from + length).min(bytes.len());
        bytes.splice(from..end, new.into_bytes());
        let _ = parse(Path::new("k.yaml"), &String::from_utf8_lossy(&bytes));
    }
}
