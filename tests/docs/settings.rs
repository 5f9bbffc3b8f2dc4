//! The settings in the documents are those of the program, with their defaults.

use super::tables::{Set, captures, marked, name, read, table};
use regex::Regex;
use serde_yaml::Value;
use std::collections::BTreeMap;

#[test]
fn every_setting_is_listed_with_its_default() {
    let reference: Value = serde_yaml::from_str(&read("config/reference.yaml")).unwrap();
    let mut real = BTreeMap::new();
    settings("", &reference, &mut real);
    let rows = Regex::new(r"(?m)^\| `([^`]+)` \| (.+?) \| ").unwrap();
    let text = read("docs/configuration.md");
    let listed: BTreeMap<String, String> = rows
        .captures_iter(text.split("## Not supported yet").next().unwrap())
        .map(|row| (row[1].to_owned(), row[2].to_owned()))
        .collect();
    let names = |settings: &BTreeMap<String, String>| settings.keys().cloned().collect::<Set>();
    assert_eq!(names(&listed), names(&real));
    // What has no default, or one that follows from something else, is said in words.
    for (field, default) in listed
        .iter()
        .filter(|(_, default)| default.starts_with('`'))
    {
        assert_eq!(&name(default), &real[field], "{field}");
    }
    let in_words = listed
        .values()
        .filter(|default| !default.starts_with('`'))
        .count();
    assert_eq!(in_words, 10, "fields whose default is said in words");
}

/// Every field of the reference as a dotted path, with its value.
fn settings(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    let lists = ["listeners", "routes", "consumers", "keys"];
    match value {
        Value::Sequence(items) if lists.contains(&path) => {
            settings(&format!("{path}[]"), &items[0], found);
        }
        Value::Mapping(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let name = name.as_str().unwrap();
                let name = if path == "upstreams" { "<name>" } else { name };
                let below = if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}.{name}")
                };
                settings(&below, value, found);
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Sequence(_)
        | Value::Mapping(_)
        | Value::Tagged(_) => {
            found.insert(path.to_owned(), written(value));
        }
    }
}

/// A value as it is written in one line.
fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Sequence(items) => format!(
            "[{}]",
            items.iter().map(written).collect::<Vec<_>>().join(", ")
        ),
        Value::Mapping(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{}: {}", written(name), written(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Tagged(_) => {
            serde_yaml::to_string(value).unwrap().trim().to_owned()
        }
    }
}

#[test]
fn every_setting_that_is_not_built_is_listed() {
    let source = read("src/config/raw/table.rs");
    let tables = Regex::new(r"(?s)const ([A-Z_]+): Table = Table \{.*?later: &\[(.*?)\]").unwrap();
    let real: BTreeMap<&str, Set> = tables
        .captures_iter(&source)
        .map(|found| {
            let place = match &found[1] {
                "ROOT" => "the file",
                "LISTENER" => "listeners[]",
                "UPSTREAM" => "upstreams.<name>",
                "ROUTE" => "routes[]",
                "LOCATION" => "routes[].auth.locations[]",
                "CONSUMER" => "consumers[]",
                "KEY" => "keys[]",
                _ => "elsewhere",
            };
            (place, captures(r#""([a-z_]+)""#, &found[2]))
        })
        .filter(|(_, fields)| !fields.is_empty())
        .collect();
    let rows = table("docs/configuration.md", "Not supported yet");
    let listed: BTreeMap<&str, Set> = rows
        .iter()
        .map(|row| {
            (
                row[0].trim_matches('`'),
                marked(&row[1]).into_iter().collect(),
            )
        })
        .collect();
    assert_eq!(listed, real);
}

#[test]
fn every_setting_that_needs_a_restart_is_listed() {
    let real = captures(r#"mark\(\s*"([a-z_.]+)""#, &read("src/sync/fixed.rs"));
    let listed: Set = table("docs/configuration.md", "Reload")
        .iter()
        .map(|row| name(&row[0]))
        .collect();
    assert!(real.len() > 10);
    assert_eq!(listed, real);
}
