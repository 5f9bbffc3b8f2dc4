//! `keygate keys`: one key through its whole life.

use super::{Shell, real};
use crate::harness::{Gateway, Upstream};
use serde_json::{Value, json};
use std::fs;

/// The status that a request with the key in this file gets.
fn opens(gateway: &Gateway, shell: &Shell, file: &str) -> u16 {
    let key = fs::read_to_string(shell.file(file)).unwrap();
    let header = format!("x-api-key: {}", key.trim());
    gateway.request("GET /", &[&header]).status
}

#[test]
fn a_key_is_made_of_what_is_typed() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let north = shell.id("workspaces create north");
    let acme = shell.id("consumers create acme-eu --workspace north");
    let made = shell
        .run(
            "keys create ci --description 'every night' --workspace north --consumer acme-eu --env test --scope a:read \
             --scope b --route app --method GET --ip 10.0.0.0/8 --location header --tag x --metadata plan=gold \
             --not-before 2027-01-01 --expires never --inactivity delete:90d -o json",
        )
        .is(0)
        .json();
    let key = &made["key"];
    for (field, want) in [
        ("name", json!("ci")),
        ("description", json!("every night")),
        ("workspace", json!(north)),
        ("consumer", json!({"id": acme, "name": "acme-eu"})),
        ("environment", json!("test")),
        ("scopes", json!(["a:read", "b"])),
        ("routes", json!(["app"])),
        ("methods", json!(["GET"])),
        ("ip_allow", json!(["10.0.0.0/8"])),
        ("locations", json!(["header"])),
        ("tags", json!(["x"])),
        ("metadata", json!({"plan": "gold"})),
        ("not_before", json!("2027-01-01T00:00:00.000Z")),
        ("expires_at", Value::Null),
        ("inactivity", json!({"mode": "delete", "after": "90d"})),
    ] {
        assert_eq!(key[field], want, "{field}");
    }
    assert!(made["secret"].as_str().unwrap().starts_with("kg_test_"));
    // What is not typed is not sent.
    let bare = shell.run("keys create bare -o json").is(0).json();
    assert_eq!(bare["key"]["environment"], "live");
    assert_eq!(bare["key"]["scopes"], json!([]));
}

#[test]
fn the_life_of_a_key() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let id = shell.id("keys create nightly --scope app:read --save-to 1.key");
    assert_eq!(opens(&gateway, &shell, "1.key"), 200);
    let hint = shell.run("keys get nightly -o json").is(0).json();
    let hint = hint["hint"].as_str().unwrap();
    for named in [&*id, "nightly", hint] {
        assert_eq!(shell.id(&format!("keys get {named}")), id);
    }
    let disabled = shell.run("keys disable nightly --reason leak --text 'odd calls' -o json");
    let disabled = disabled.is(0).json();
    assert_eq!(
        (&disabled["state_reason"], &disabled["state_text"]),
        (&json!("leak"), &json!("odd calls"))
    );
    assert_eq!(opens(&gateway, &shell, "1.key"), 401);
    shell.run("keys enable nightly").is(0);
    shell
        .run("keys rotate nightly --grace 1h --yes --save-to 2.key")
        .is(0);
    shell
        .run("keys rotate nightly --grace 1h --yes -o json")
        .is(0);
    assert_eq!(
        (
            opens(&gateway, &shell, "1.key"),
            opens(&gateway, &shell, "2.key")
        ),
        (200, 200)
    );
    shell.run("keys retire nightly --secret 2 --yes").is(0);
    assert_eq!(opens(&gateway, &shell, "2.key"), 401);
    assert_eq!(opens(&gateway, &shell, "1.key"), 200);
    shell.run("keys retire nightly --yes").is(0);
    assert_eq!(opens(&gateway, &shell, "1.key"), 401);
    shell.run("keys retire nightly --yes").is(5);
    shell.run("keys keep nightly").is(0);
    shell.run("consumers create acme-eu").is(0);
    let owner = |line: &str| {
        let key = shell.run(&format!("{line} -o json")).is(0).json();
        key["consumer"]["name"].clone()
    };
    assert_eq!(owner("keys transfer nightly --consumer acme-eu"), "acme-eu");
    assert_eq!(owner("keys transfer nightly --nobody"), Value::Null);
    let ran = shell.run("keys transfer nightly").is(2);
    assert!(ran.err.contains("--nobody"), "{ran:?}");
    let ran = shell.run("keys revoke nightly --dry-run").is(0);
    assert_eq!(ran.table(), "ID | WOULD BE | WHY NOT\nID | revoked | -");
    assert_eq!(ran.err, "dry run: would revoke 1 key; nothing was done\n");
    assert_eq!(
        shell.run("keys get nightly -o json").json()["state"],
        "active"
    );
    assert_eq!(shell.id("keys revoke nightly --yes --reason leak"), id);
    shell.run("keys enable nightly").is(5);
    assert_eq!(shell.id("keys delete nightly --dry-run"), id);
    assert_eq!(shell.id("keys delete nightly --yes"), id);
    shell.run("keys get nightly").is(3);
    assert_eq!(shell.id("keys list --status deleted"), id);
    assert_eq!(shell.id("keys restore nightly"), id);
    assert_eq!(
        shell.run("keys get nightly -o json").json()["state"],
        "revoked"
    );
    shell.run("keys restore nightly").is(3);
}

#[test]
fn a_key_is_edited_by_field_and_by_entry() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    shell
        .run("keys create plain --scope a --scope b --route app --tag old --metadata plan=gold")
        .is(0);
    let edited = |flags: &str| {
        shell
            .run(&format!("keys edit plain {flags} -o json"))
            .is(0)
            .json()
    };
    let key =
        edited("--add-scope c --remove-scope a --add-tag new --remove-tag old --description words");
    assert_eq!(
        (&key["scopes"], &key["tags"]),
        (&json!(["b", "c"]), &json!(["new"]))
    );
    assert_eq!(key["description"], "words");
    let key = edited(
        "--clear routes --clear description --expires 2030-01-01 --scope d --inactivity off",
    );
    assert_eq!(
        (&key["routes"], &key["description"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&key["scopes"], &key["expires_at"]),
        (&json!(["d"]), &json!("2030-01-01T00:00:00.000Z"))
    );
    assert_eq!(key["inactivity"]["mode"], "off");
    let key = edited("--metadata owner=ann --metadata tier=1");
    assert_eq!(
        key["metadata"],
        json!({"plan": "gold", "owner": "ann", "tier": "1"})
    );
    let key = edited("--remove-metadata plan --remove-metadata tier");
    assert_eq!(key["metadata"], json!({"owner": "ann"}));
    let key = edited("--clear metadata --clear expires --inactivity workspace");
    assert_eq!(
        (&key["metadata"], &key["expires_at"], &key["inactivity"]),
        (&json!({}), &Value::Null, &Value::Null)
    );
    for (line, field, flag) in [
        ("--clear limits --rate 3/s", "limits", "--rate"),
        ("--clear limits --burst 3", "limits", "--burst"),
        ("--tag x --clear tags", "tags", "--tag"),
        ("--clear scopes --add-scope x", "scopes", "--add-scope"),
        ("--clear ips --ip 10.0.0.0/8", "ips", "--ip"),
        (
            "--clear not-before --not-before 7d",
            "not-before",
            "--not-before",
        ),
    ] {
        let ran = shell.run(&format!("keys edit plain {line}")).is(2);
        let told = format!("--clear {field} and {flag}: one of these");
        assert!(ran.err.contains(&told), "{ran:?}");
    }
    let revision = &key["revision"];
    shell.run("keys edit plain --name x --if-match 1").is(5);
    shell
        .run(&format!(
            "keys edit plain --name nightly --if-match {revision}"
        ))
        .is(0);
    shell.run("keys get nightly").is(0);
}

#[test]
fn a_key_is_verified_and_explained_without_being_typed() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let id = shell.id("keys create nightly --scope app:read --save-to key");
    let key = fs::read_to_string(shell.file("key")).unwrap();
    let flags = "--route app --method GET --scope app:read --ip 192.0.2.1";
    let ran = shell.run_with(&format!("keys verify {flags}"), &key).is(0);
    assert!(!format!("{ran:?}").contains(key.trim()));
    assert_eq!(
        ran.table(),
        "valid | yes\ncode | valid\nstatus | 200\nid | ID\nname | nightly\nkey.status | active\nworkspace | ID\n\
         environment | live\nscopes | app:read\nexpires_at | never"
    );
    let ran = shell
        .run("keys verify --key-file key --method POST --route app -o json")
        .is(7);
    assert_eq!(ran.json()["code"], "insufficient_scope");
    shell.run("keys edit nightly --rate 1/h").is(0);
    let verify = "keys verify --key-file key -o json";
    for (line, remaining, exit) in [("", 1, 0), (" --count", 0, 0), ("", 0, 7)] {
        let ran = shell.run(&format!("{verify}{line}")).is(exit);
        assert_eq!(ran.json()["limit"]["remaining"], remaining, "{ran:?}");
    }
    shell.run("keys edit nightly --clear limits").is(0);
    shell.run_with("keys verify", "kg_live_wrong").is(7);
    shell.run("keys verify").is(2);

    for line in [
        "keys explain --key-file key --path '/a?b=c'",
        "keys explain --id nightly --path '/a?b=c'",
    ] {
        let ran = shell
            .run(&format!("{line} --host a.example --ip 192.0.2.1 -o json"))
            .is(0);
        let told = ran.json();
        assert_eq!(
            (&told["allowed"], &told["key"]["id"]),
            (&json!(true), &json!(id)),
            "{line}"
        );
        assert_eq!(
            (&told["upstream"]["path"], &told["upstream"]["query"]),
            (&json!("/a"), &json!("b=c"))
        );
    }
    let ran = shell
        .run("keys explain --id nightly --method DELETE --path /")
        .is(0);
    assert!(
        ran.table()
            .starts_with("allowed | no\ncode | insufficient_scope\nstatus | 403\n"),
        "{}",
        ran.table()
    );
    let told = shell.run("keys explain --no-key -o json").is(0).json();
    assert_eq!(
        (&told["allowed"], &told["status"]),
        (&json!(false), &json!(401))
    );
    let none = shell.run("keys explain --no-key -o name").is(0);
    assert_eq!(none.out, "");
}
