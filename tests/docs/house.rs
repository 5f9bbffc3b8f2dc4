//! Rooms, files and headings that the documents name are there.

use super::tables::{Set, captures, name, read, table};
use super::{documents, root};
use regex::Regex;
use std::fs;

#[test]
fn every_room_is_listed() {
    let source = read("tests/layers.rs");
    let rooms = source
        .split("const ROOMS")
        .nth(1)
        .unwrap()
        .split("\n];")
        .next()
        .unwrap();
    let real = captures(r#"\(\s*"([a-z]+)","#, rooms);
    let listed: Set = table("docs/decisions.md", "Rooms and layers")
        .iter()
        .map(|row| name(&row[1]))
        .collect();
    assert_eq!(listed, real);
}

#[test]
fn files_that_are_named_are_there() {
    let named =
        Regex::new(r"`\.?/?((?:src|tests|config|deploy|docs|benches)/[A-Za-z0-9_./-]+)`").unwrap();
    let mut count = 0;
    for document in documents(root()) {
        let text = fs::read_to_string(root().join(&document)).unwrap();
        for found in named.captures_iter(&text) {
            assert!(
                root().join(&found[1]).exists(),
                "{}: {} is not there",
                document.display(),
                &found[1]
            );
            count += 1;
        }
    }
    assert!(count > 10);
}

#[test]
fn anchors_lead_to_headings() {
    let link = Regex::new(r"\]\(([^)#\s]*)#([^)\s]+)\)").unwrap();
    for document in documents(root()) {
        let text = fs::read_to_string(root().join(&document)).unwrap();
        for found in link
            .captures_iter(&text)
            .filter(|found| !found[1].contains("://"))
        {
            let target = match &found[1] {
                "" => root().join(&document),
                path => root().join(&document).parent().unwrap().join(path),
            };
            let target = fs::read_to_string(target).unwrap();
            let known = target
                .lines()
                .filter(|line| line.starts_with('#'))
                .any(|line| anchor(line) == found[2]);
            assert!(
                known,
                "{}: no heading for {}",
                document.display(),
                &found[0]
            );
        }
    }
}

/// What a heading is linked by.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words
        .chars()
        .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}
