//! Lists: found by name, filtered, page by page, taken out.

use super::{CANARY, SECRET, Shell, always, real};
use crate::harness::{PATIENCE, Upstream, wait_until};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;

#[test]
fn lists_are_filtered_and_sorted() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    shell.run("workspaces create north").is(0);
    shell.run("consumers create acme-eu").is(0);
    shell
        .run("keys create alpha --scope x:y --tag a&b --env test --expires 30d")
        .is(0);
    shell
        .run("keys create beta --workspace north --expires 90d")
        .is(0);
    shell.run("keys create gamma --consumer acme-eu").is(0);
    shell.run("keys disable gamma").is(0);
    let names = |flags: &str| -> String {
        let list = shell
            .run(&format!("keys list {flags} -o json"))
            .is(0)
            .json();
        let rows = list["data"].as_array().unwrap().iter();
        rows.map(|row| row["name"].as_str().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (flags, want) in [
        ("--sort name", "alpha beta ci gamma"),
        ("--sort=-name", "gamma ci beta alpha"),
        ("alp", "alpha"),
        ("--tag a&b", "alpha"),
        ("--env test", "alpha"),
        ("--scope x:y", "alpha"),
        ("--status disabled", "gamma"),
        ("--workspace north", "beta"),
        ("--consumer acme-eu", "gamma"),
        ("--expires-before 60d", "alpha"),
        ("--never-expires --sort name", "ci gamma"),
        ("--unused-since 1d", "ci"),
        ("nobody", ""),
    ] {
        assert_eq!(names(flags), want, "{flags}");
    }
    assert_eq!(
        shell.run("keys list --sort name").is(0).table(),
        "ID | NAME | STATUS | LAST USED | EXPIRES | CONSUMER | ENV | HINT\n\
         ID | alpha | active | never | TIME | - | test | HINT\n\
         ID | beta | active | never | TIME | - | live | HINT\n\
         ID | ci | active | never | never | acme | live | -\n\
         ID | gamma | disabled | never | never | acme-eu | live | HINT"
    );
    let total = shell.run("keys list --total --limit 1").is(0);
    assert_eq!(total.err, "1 of 4 shown; --all shows all\n");
}

#[test]
fn lists_are_followed_page_by_page() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let mut keys = String::new();
    for number in 0..449 {
        writeln!(
            keys,
            "{}",
            json!({"name": format!("k{number}"), "hash": format!("blake3:{number:064x}")})
        )
        .unwrap();
    }
    shell.run_with("keys import -", &keys).is(0);
    for (flags, rows) in [
        ("", 50),
        ("--limit 3", 3),
        ("--limit 250", 250),
        ("--all", 450),
    ] {
        let ran = shell.run(&format!("keys list -o name {flags}")).is(0);
        assert_eq!(ran.out.lines().count(), rows, "{flags}");
    }
    let page = shell.run("keys list -o json --limit 2").is(0).json();
    assert_eq!(page["data"].as_array().unwrap().len(), 2);
    assert!(page["next"].is_string());
    shell.run("keys list --limit 5 --all").is(2);
}

#[test]
fn things_are_found_by_name() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let id = shell.id("keys create night --save-to 1.key");
    let other = shell.id("keys create 'night watch' --save-to 2.key");
    assert_eq!(shell.id("keys get night"), id);
    assert_eq!(shell.id("keys get 'night watch'"), other);
    let twin = shell.id("keys create night --save-to 3.key");
    let ran = shell.run("keys get night").is(5);
    assert!(ran.err.contains(&id) && ran.err.contains(&twin), "{ran:?}");
    for nobody in ["nobody", "../../v1/tokens", "'?q=night'", "-"] {
        shell.run(&format!("keys get {nobody}")).is(3);
    }
}

#[test]
fn a_key_or_a_token_that_is_typed_is_refused_and_not_repeated() {
    let gateway = always(200, &json!({"data": [], "next": null}));
    let shell = Shell::at(&gateway);
    for secret in [SECRET, CANARY] {
        for line in [
            "keys get SECRET",
            "keys verify SECRET",
            "keys explain --id SECRET",
            "keys revoke SECRET --yes",
            "tokens revoke SECRET --yes",
            "--token SECRET keys list",
            "keys list --token SECRET",
            "SECRET",
        ] {
            let ran = shell.run(&line.replace("SECRET", secret)).is(2);
            assert!(
                !ran.err.contains(secret) && ran.out.is_empty(),
                "{line}: {ran:?}"
            );
        }
    }
    assert!(gateway.received().is_empty());
}

#[test]
fn exports_pass_through_whole_or_not_at_all() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    shell.run("keys create nightly --tag a").is(0);
    let line = shell.run("keys export --tag a").is(0);
    let key: Value = serde_json::from_str(line.line()).unwrap();
    assert_eq!(key["name"], "nightly");
    shell.run("keys export --tag a --to out.ndjson --yes").is(0);
    assert_eq!(
        fs::read_to_string(shell.file("out.ndjson")).unwrap(),
        line.out
    );
    shell.run("keys export --to out.ndjson").is(5);
    shell.run("keys export --to out.ndjson --yes").is(0);
    assert_eq!(
        fs::read_to_string(shell.file("out.ndjson"))
            .unwrap()
            .lines()
            .count(),
        2
    );

    let cut = Upstream::serving(|stream, _| {
        use std::io::Write;
        let _ = stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\n{\"id\"");
    });
    let shell = Shell::at(&cut);
    shell.run("keys export --to out.ndjson").is(1);
    assert!(!shell.file("out.ndjson").exists());
}

#[test]
fn what_should_go_is_reported() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    shell
        .run("keys create nightly --inactivity disable:10d")
        .is(0);
    let review = shell
        .run("keys review --why never_expires --workspace root")
        .is(0);
    assert_eq!(
        review.table(),
        "ID | NAME | WHY | STATUS | LAST USED\nID | nightly | never_expires | active | never"
    );
    shell.run("keys review --why nothing").is(2);
    for noun in ["keys", "notices"] {
        let preview = shell.run(&format!("{noun} preview")).is(0);
        assert_eq!(
            preview.table(),
            "ID | NAME | WHAT | WHEN | LAST USED\nID | nightly | disable | TIME | never"
        );
        let none = shell
            .run(&format!("{noun} preview --days 3 --workspace root"))
            .is(0);
        assert_eq!(
            (none.out.as_str(), none.err.as_str()),
            ("", "nothing found\n")
        );
    }
    let told = shell.run("keys preview -o json --days 400").is(0).json();
    assert_eq!(told["more"], false);
}

#[test]
fn use_is_shown_by_hour_and_route() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    shell
        .run("keys create till --scope app:read --save-to key")
        .is(0);
    let key = fs::read_to_string(shell.file("key")).unwrap();
    let header = format!("x-api-key: {}", key.trim());
    for (method, status) in [("GET", 200), ("GET", 200), ("POST", 403)] {
        let answer = gateway.request(&format!("{method} /"), &[&header]);
        assert_eq!(answer.status, status);
    }
    let ask = "keys usage till --since 2026-01-01 --route app";
    let mut shown = String::new();
    wait_until("it is in the store", PATIENCE, || {
        shown = shell.run(ask).is(0).table();
        shown.contains("scope=1")
    });
    let (head, row) = shown.split_once('\n').unwrap();
    assert_eq!(
        head,
        "HOUR | ROUTE | REQUESTS | REFUSALS | 2XX | 3XX | 4XX | 5XX | BYTES IN | BYTES OUT"
    );
    let told = row.starts_with("DATE | app | 2 | scope=1 | 2 | 0 | 0 | 0 | 0 | ");
    assert!(told, "{row}");
    let row = &shell.run(&format!("{ask} -o json")).is(0).json()["data"][0];
    assert_eq!(
        (&row["requests"], &row["refusals"]),
        (&json!(2), &json!({"scope": 1}))
    );
    let other = shell.run("keys usage till --route other").is(0);
    assert_eq!(other.out, "");
}

/// Keys without an end are many; what stands among them and should go must not be lost.
#[test]
fn keys_that_never_expire_are_summed_up() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let mut keys = String::new();
    let mut key = |name: &str, more: Value| {
        let mut item = json!({"name": name, "secret": format!("an-old-secret-of-{name}")});
        let fields = item.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        writeln!(keys, "{item}").unwrap();
    };
    key(
        "ghost",
        json!({"created_at": "2020-01-01", "expires_at": "2021-01-01"}),
    );
    key("idle", json!({"created_at": "2026-01-01"}));
    for number in 0..3 {
        key(&format!("k{number}"), json!({}));
    }
    shell.run_with("keys import -", &keys).is(0);
    let review = shell.run("keys review").is(0).table();
    assert_eq!(
        review,
        "ID | NAME | WHY | STATUS | LAST USED\n\
         ID | idle | never_used_90d, never_expires | active | never\n\
         ID | ghost | expired_long_ago | expired | never\n\
         3 more keys never expire; --why never_expires lists them"
    );
    let all = shell.run("keys review --why never_expires -o name").is(0);
    assert_eq!(all.out.lines().count(), 4);
    let all = shell.run("keys review -o json").is(0).json();
    assert_eq!(all["data"].as_array().unwrap().len(), 5);
    shell.run("keys delete ghost --yes").is(0);
    shell.run("keys delete idle --yes").is(0);
    let only = shell.run("keys review").is(0);
    assert_eq!(
        (only.out.as_str(), only.err.as_str()),
        ("3 keys never expire; --why never_expires lists them\n", "")
    );
}
