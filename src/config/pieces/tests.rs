//! Read in pieces or as a whole, a file says the same; what is not certain is read as a whole.

use super::*;
use crate::config::load;
use std::fmt::Write;
use std::path::Path;

const HEAD: &str = "listeners: [{ address: 127.0.0.1:8080 }]
upstreams: { app: { endpoints: [\"http://127.0.0.1:9000\"] }, idle: { endpoints: [\"http://127.0.0.1:9001\"] } }
routes: [{ name: app, match: { path: / }, upstream: app, auth: { scopes: app:use } }]
consumers: [{ name: acme }]
keys:
";

fn hash(number: usize) -> String {
    format!("blake3:{}", blake3::hash(&number.to_le_bytes()).to_hex())
}

/// So many keys, each of another form.
fn list(keys: usize) -> String {
    let mut text = String::new();
    for number in 0..keys {
        let hash = hash(number);
        let item = match number % 4 {
            0 => format!(
                "  - {{ name: k{number}, hash: \"{hash}\", scopes: [app:use], consumer: acme }}\n"
            ),
            1 => format!(
                "  # one\n  - name: it's\n    hash: {hash}  # \"\n    scopes: [app:use]\n\n"
            ),
            2 => format!(
                "  -\n    name: \"k # {number}\"\n    hash: {hash}\n    scopes:\n      - app:use\n"
            ),
            _ => format!("  - {{name: Zürich, hash: '{hash}', scopes: [\"app:use\"]}} # [\n"),
        };
        text.push_str(&item);
    }
    text
}

fn whole(text: &str) -> Result<Config, ConfigError> {
    load::whole(Path::new("keygate.yaml"), text)
}

fn same(pieces: &Config, text: &str) {
    let pieces = Config {
        portions: Vec::new(),
        ..pieces.clone()
    };
    assert_eq!(format!("{pieces:?}"), format!("{:?}", whole(text).unwrap()));
}

#[test]
fn read_in_pieces_a_file_says_the_same() {
    for (head, tail) in [
        (HEAD, ""),
        (&*HEAD.replace("threads: 1\n", ""), "threads: 3\n# end\n"),
    ] {
        let text = format!("{head}{}{tail}", list(400));
        assert!(cut(&text).unwrap().pieces.len() > 2);
        let pieces = read(&text, |_| false, whole).unwrap();
        same(&pieces, &text);
        assert_eq!((pieces.keys.len(), pieces.warnings.len()), (400, 1));
    }
}

#[test]
fn warnings_behind_the_list_keep_their_lines() {
    let (start, upstreams) = HEAD.split_once("upstreams:").unwrap();
    let (upstreams, rest) = upstreams.split_once('\n').unwrap();
    let text = format!("{start}{rest}{}upstreams:{upstreams}\n", list(400));
    let pieces = read(&text, |_| false, whole).unwrap();
    assert_eq!(pieces.warnings, whole(&text).unwrap().warnings);
    assert_eq!(pieces.warnings.len(), 1);
}

#[test]
fn what_needs_its_line_is_read_as_a_whole() {
    let good = list(400);
    let more = |item: &str| format!("{HEAD}{good}{item}");
    let fresh = hash(9000);
    let cases = [
        // Faults and warnings in keys.
        more("  - { name: x, hash: nonsense }\n"),
        more(&format!("  - {{ name: x, hash: \"{fresh}\" }}\n")),
        // The same key in the first piece.
        more(&format!(
            "  - {{ name: x, hash: \"{}\", scopes: [app:use] }}\n",
            hash(0)
        )),
        // Lines that are not closed.
        more(&format!(
            "  - {{ name: x,\n hash: \"{fresh}\", scopes: [app:use] }}\n"
        )),
        more(&format!(
            "  - name: \"x\n      y\"\n    hash: {fresh}\n    scopes: [app:use]\n"
        )),
        more(&format!(
            "  - name: x\n    hash: {fresh}\n    scopes: [app:use]\n    description: |\n      - a\n"
        )),
        more("other: [\n]\n---\n"),
        more("keys:\n  - {}\n"),
        more(" threads: 1\n"),
    ];
    for text in cases {
        assert!(
            read(&text, |_| false, whole).is_none(),
            "{}",
            &text[text.len() - 200..]
        );
    }
    assert!(read(&more(""), |_| false, whole).is_some());
    assert!(read(HEAD, |_| false, whole).is_none());
}

#[test]
fn lines_that_are_closed() {
    let closed = [
        "",
        "a: b",
        "- {a: \"b # ]\", c: 'd''e'}",
        "x: don't # \" [",
        "a: \"\\\"\"",
        "- [a, [b], {c: d}]",
    ];
    for line in closed {
        assert!(is_closed(line), "{line}");
    }
    let open = [
        "a: \"b",
        "a: 'b''",
        "a: [",
        "a: ]",
        "a: |",
        "a: >-",
        "- &a b",
        "- *a",
        "a:\tb",
        "a: \"\\\"",
        "- !x y",
        "a: b\u{2028}c",
        "? a",
        "- {a: b \"c, d: \"e}",
        "a: b [c",
    ];
    for line in open {
        assert!(!is_closed(line), "{line}");
    }
}

#[test]
fn a_list_at_the_margin_is_a_list_too() {
    let mut text = HEAD.to_owned();
    for number in 0..400 {
        writeln!(
            text,
            "- name: k{number}\n  hash: {}\n  scopes: [app:use]",
            hash(number)
        )
        .unwrap();
    }
    text.push_str("threads: 2\n");
    let pieces = read(&text, |_| false, whole).unwrap();
    same(&pieces, &text);
}

#[test]
fn pieces_that_are_known_are_not_read_again() {
    let text = format!("{HEAD}{}", list(400));
    let before = read(&text, |_| false, whole).unwrap();
    let ids: HashSet<_> = before.portions.iter().filter_map(|one| one.id).collect();
    assert_eq!(ids.len(), before.portions.len());
    // One key less in the middle.
    let line = text.find("  - { name: k200,").unwrap();
    let end = line + text[line..].find('\n').unwrap() + 1;
    let edited = [&text[..line], &text[end..]].concat();
    let after = read(&edited, |id| ids.contains(id), whole).unwrap();
    let read_again = after
        .portions
        .iter()
        .filter(|one| one.keys.is_some())
        .count();
    assert!((1..=2).contains(&read_again) && after.portions.len() > 2);
    let number: usize = after.portions.iter().filter_map(|one| one.keys).sum();
    assert_eq!(number, after.keys.len());
    // What keys depend on.
    let other = edited.replace("name: acme", "name: acme, limits: { rate: 5/s }");
    let all = read(&other, |id| ids.contains(id), whole).unwrap();
    assert_eq!(all.keys.len(), 399);
    // Nothing is new: one is read for the rest of the file.
    let again = read(&text, |id| ids.contains(id), whole).unwrap();
    assert!(again.portions[0].keys.is_some() && again.portions[1].keys.is_none());
}
