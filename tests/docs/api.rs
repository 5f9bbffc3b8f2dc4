//! What the documents say of the admin API: every call with its permission, every permission with its roles.

use super::program::Gateway;
use super::root;
use super::tables::{Set, captures, name, sources, table};
use keygate::domain::role::{Permission, Role};
use keygate::store::webhooks::types::TYPES;
use regex::Regex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// A gateway without anything; its management port has the API all the same.
fn gateway() -> Gateway {
    Gateway::start("upstreams: {}\nroutes: []\nkeys: []\n", "")
}

#[test]
fn every_call_is_listed_with_what_it_does() {
    let document: Value = serde_json::from_str(&gateway().manage("/openapi.json").1).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut real = BTreeMap::new();
    let mut tags = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let summary = operation["summary"].as_str().unwrap().replace('\n', " ");
            real.insert(format!("{} {path}", method.to_uppercase()), summary);
            tags.insert(operation["tags"][0].as_str().unwrap().to_owned());
            // Whoever marks one says so in `policy.rs`, and changes the last sentence of the document.
            assert!(operation.get("deprecated").is_none(), "{method} {path}");
        }
    }
    let rows = table("docs/api.md", "Calls");
    let listed: BTreeMap<String, String> = rows
        .iter()
        .map(|row| (name(&row[0]), row[2].clone()))
        .collect();
    assert_eq!(listed, real);
    assert_eq!(rows.len(), listed.len(), "each stands there once");
    let described = document["tags"].as_array().unwrap();
    let described = described.iter().map(|tag| tag["name"].as_str().unwrap());
    let described: BTreeSet<&str> = described.collect();
    for tag in &tags {
        assert!(described.contains(&**tag), "`{tag}` has no description");
    }
}

#[test]
fn permissions_of_calls_are_those_that_are_tested() {
    let tests = fs::read_dir(root().join("tests/it/people")).unwrap();
    let source: String = tests
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let calls = Regex::new(r#"\(\s*"([A-Z]+ /v1[^"]*)",\s*"([a-z:]+)""#).unwrap();
    let real: BTreeMap<String, String> = calls
        .captures_iter(&source)
        .map(|found| (found[1].to_owned(), found[2].to_owned()))
        .collect();
    assert!(real.len() > 50);
    let known: BTreeSet<&str> = Permission::all().map(Permission::name).collect();
    for row in table("docs/api.md", "Calls") {
        if let Some(tested) = real.get(&name(&row[0])) {
            assert!(row[1].contains(&format!("`{tested}`")), "{row:?}: {tested}");
        }
        for permission in captures("`([^`]+)`", &row[1]) {
            assert!(known.contains(&*permission), "{row:?}");
        }
    }
}

#[test]
fn every_permission_is_listed_with_its_roles() {
    let listed: Vec<(String, Vec<bool>)> = table("docs/managing.md", "Roles")
        .iter()
        .map(|row| {
            let held = row[2..].iter().map(|cell| cell.starts_with("yes"));
            (name(&row[0]), held.collect())
        })
        .collect();
    let real: Vec<(String, Vec<bool>)> = Permission::all()
        .map(|permission| {
            let held = Role::ALL.map(|role| role.may(permission));
            (permission.name().to_owned(), held.to_vec())
        })
        .collect();
    assert_eq!(listed, real);
}

#[test]
fn the_pages_of_the_api_need_no_other_host() {
    let gateway = gateway();
    let (status, page) = gateway.manage("/docs/");
    assert_eq!(status, 200);
    let parts = captures(r#"(?:src|href)="([^"]+[.](?:js|css))""#, &page);
    assert!(parts.len() > 3);
    for part in parts {
        assert!(!part.contains("//"), "{part}");
        let place = format!("/docs/{}", part.trim_start_matches("./"));
        assert_eq!(gateway.manage(&place).0, 200, "{place}");
    }
}

/// What has such a name and is told to no webhook: events of the audit log alone, a notice, a message to one
/// webhook, a column.
const NOT_TOLD: [&str; 13] = [
    "key.ended",
    "key.expiry_withdrawn",
    "key.rehashed",
    "keys.bulk_ended",
    "keys.exported",
    "keys.id",
    "keys.refused",
    "keys.used",
    "member.exported",
    "token.refused",
    "webhook.replayed",
    "webhook.test",
    "webhook.tested",
];

#[test]
fn every_type_of_event_is_listed() {
    let rows = table("docs/managing.md", "Events for webhooks");
    let listed: Vec<String> = rows.iter().map(|row| name(&row[0])).collect();
    assert_eq!(listed, TYPES);
    let nouns = "consumer|keys?|member|token|webhook|workspace";
    let literal = format!(r#""((?:{nouns})\.[a-z_]+)""#);
    let mut real = Set::new();
    for folder in ["src/store", "src/admin", "src/sync", "src/notify"] {
        let texts = sources(folder);
        let others = texts.iter().filter(|text| !text.contains("const TYPES"));
        others.for_each(|text| real.extend(captures(&literal, text)));
    }
    for other in NOT_TOLD {
        assert!(real.remove(other), "{other}");
    }
    let told: Set = TYPES.map(str::to_owned).into();
    assert_eq!(real, told);
}
