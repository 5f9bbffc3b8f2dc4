//! The forms of an answer.

use super::{KEY_ID, Shell, always, real};
use crate::harness::Upstream;
use serde_json::{Value, json};

#[test]
fn a_list_without_a_terminal_is_a_line_per_row_without_colours() {
    let long = "word ".repeat(100);
    let gateway = always(
        200,
        &json!({"data": [
            {"id": KEY_ID, "name": long.trim(), "status": "revoked", "consumer": {"id": "con_1", "name": "acme"}},
            {"id": KEY_ID, "name": "evil\u{1b}[2J\nname", "status": "active"},
        ], "next": "more"}),
    );
    let shell = Shell::at(&gateway);
    let ran = shell.run("keys list --limit 2").is(0);
    assert_eq!(ran.out.lines().count(), 3, "{ran:?}");
    assert!(ran.out.contains(long.trim()) && ran.out.contains("acme"));
    assert!(!ran.out.contains('\u{1b}'));
    assert_eq!(ran.err, "2 shown; --all shows all\n");
}

#[test]
fn an_empty_list_says_so_to_people_only() {
    let gateway = always(200, &json!({"data": [], "next": null}));
    let shell = Shell::at(&gateway);
    let ran = shell.run("keys list").is(0);
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str()),
        ("", "nothing found\n")
    );
    let ran = shell.run("keys list -o name").is(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
    assert_eq!(
        shell.run("keys list -o json").is(0).json(),
        json!({"data": [], "next": null})
    );
}

/// Whatever is read from a real gateway can be had in each form, and each says the same.
#[test]
fn all_that_is_read_has_every_form() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    shell
        .run("keys create nightly --inactivity disable:10d")
        .is(0);
    shell
        .run("webhooks create hook http://127.0.0.1:1/ --event key.revoked")
        .is(0);
    shell
        .run("members create ann@example.com --name Ann --role owner --no-password")
        .is(0);
    for line in [
        "whoami",
        "keys list",
        "keys get nightly",
        "keys review",
        "keys preview",
        "keys explain --id nightly",
        "consumers list",
        "consumers get acme",
        "workspaces list",
        "workspaces get root",
        "members list",
        "members get ann@example.com",
        "tokens list",
        "tokens get setup",
        "sessions list --member ann@example.com",
        "webhooks list",
        "webhooks get hook",
        "webhooks deliveries hook",
        "audit list",
        "audit head",
        "notices list",
        "notices preview",
    ] {
        let [table, json, yaml, name] = ["table", "json", "yaml", "name"]
            .map(|form| shell.run(&format!("{line} -o {form}")).is(0));
        let read: Value = serde_yaml::from_str(&yaml.out).unwrap();
        assert_eq!(read, json.json(), "{line}");
        let rows = json.json()["data"].as_array().map_or(1, Vec::len);
        assert!(name.out.lines().count() <= rows, "{line}: {name:?}");
        assert_eq!(table.out.is_empty(), rows == 0, "{line}: {table:?}");
    }
}

/// YAML reads some bare words as other things than text.
#[test]
fn yaml_says_the_same_as_json() {
    let words = [
        "true",
        "null",
        "~",
        "no",
        "Yes",
        "1e3",
        "0x1f",
        "0o7",
        "1_000",
        ".5",
        "2027-01-01",
        "- a",
        "a: b",
        "#x",
        "a #b",
        "",
        " a ",
        "a\nb",
        "a\n",
        "12:30",
        "'",
        "\"",
        "{",
        "[",
        "*",
        "&a",
        "!t",
        "|",
        ">",
        "%",
        "@",
        "`",
        "\u{1b}",
        "…",
        "\u{85}",
        "\t",
    ];
    let object = json!({
        "id": KEY_ID, "words": words.as_slice(), "none": null, "number": 3, "big": 9_007_199_254_740_993_u64, "half": 0.5, "yes": true,
        "deep": {"list": [], "map": {}, "lists": [[1], [[]]], "odd key: #": 1, "1": 2, "true": 3},
        "long": "word ".repeat(60), "lines": "one\n  two\n\nthree ",
    });
    let gateway = always(200, &object);
    let shell = Shell::at(&gateway);
    let line = format!("keys get {KEY_ID}");
    let ran = shell.run(&format!("{line} -o yaml")).is(0);
    let read: Value =
        serde_yaml::from_str(&ran.out).unwrap_or_else(|fault| panic!("{fault}\n{}", ran.out));
    assert_eq!(read, object, "{}", ran.out);
    assert_eq!(shell.run(&format!("{line} -o json")).is(0).json(), object);
    assert_eq!(
        shell.run(&format!("{line} -o name")).is(0).out,
        format!("{KEY_ID}\n")
    );
    shell.run(&format!("{line} -o xml")).is(2);
}

#[test]
fn colours_can_be_unwanted_by_flag_and_by_environment() {
    let gateway = always(
        200,
        &json!({"data": [{"id": KEY_ID, "status": "active"}], "next": null}),
    );
    for value in ["1", "0", "", "yes"] {
        Shell::at(&gateway)
            .with("NO_COLOR", value)
            .run("keys list")
            .is(0);
    }
    Shell::at(&gateway).run("keys list --no-color").is(0);
}
