//! `keygate keys` and the other nouns: what each command asks for, and what it does with a secret.

use super::{KEY_ID, SECRET, Shell, always, answer, asked, gateway, problem, sent};
use crate::harness::Upstream;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

const CONSUMER: &str = "con_01jyzx5rhdf3sbz3hv1yqn2tp9";
const WORKSPACE: &str = "ws_01jyzx5rhdf3sbz3hv1yqn2tp9";

fn making() -> Upstream {
    always(
        201,
        &json!({"key": {"id": KEY_ID, "name": "ci", "status": "active"}, "secret": SECRET, "revision": 7}),
    )
}

#[test]
fn a_key_is_made_of_what_is_typed() {
    let gateway = making();
    let line = format!(
        "keys create ci --description nightly --workspace {WORKSPACE} --consumer {CONSUMER} --env test --scope a:read \
         --scope b --route billing --method GET --ip 10.0.0.0/8 --location header --tag x --metadata plan=gold \
         --not-before 2026-12-01 --expires never --inactivity delete:90d"
    );
    Shell::at(&gateway).run(&line).is(0);
    assert_eq!(asked(&gateway), ["POST /v1/keys"]);
    assert_eq!(
        sent(&gateway.last()),
        json!({"name": "ci", "description": "nightly", "workspace": WORKSPACE, "consumer": CONSUMER, "environment": "test",
            "scopes": ["a:read", "b"], "routes": ["billing"], "methods": ["GET"], "ip_allow": ["10.0.0.0/8"],
            "locations": ["header"], "tags": ["x"], "metadata": {"plan": "gold"},
            "not_before": "2026-12-01T00:00:00.000Z", "expires_at": null, "inactivity": {"mode": "delete", "after": "90d"}})
    );
}

#[test]
fn what_is_not_typed_is_not_sent() {
    let gateway = making();
    Shell::at(&gateway).run("keys create ci").is(0);
    assert_eq!(sent(&gateway.last()), json!({"name": "ci"}));
}

#[test]
fn a_new_secret_is_shown_once_or_saved_never_both() {
    let gateway = making();
    let shell = Shell::at(&gateway);
    let ran = shell.run("keys create ci").is(0);
    assert_eq!(ran.out.matches(SECRET).count(), 1);
    assert!(
        ran.err.contains("only time") && !ran.err.contains(SECRET),
        "{ran:?}"
    );
    assert_eq!(
        shell.run("keys create ci -o json").is(0).json()["secret"],
        SECRET
    );

    for form in ["table", "json", "yaml", "name"] {
        let ran = shell
            .run(&format!("keys create ci -o {form} --save-to {form}.key"))
            .is(0);
        assert!(
            !ran.out.contains(SECRET) && !ran.err.contains(SECRET),
            "{ran:?}"
        );
        assert!(ran.out.contains(KEY_ID), "{ran:?}");
        let file = shell.file(&format!("{form}.key"));
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{SECRET}\n"));
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}

#[test]
fn a_secret_that_would_be_lost_is_not_made() {
    let gateway = making();
    let shell = Shell::at(&gateway);
    shell.run("keys create ci -o name").is(2);
    fs::write(shell.file("taken"), "mine").unwrap();
    shell.run("keys create ci --save-to taken").is(5);
    shell.run("keys create ci --save-to missing/folder").is(1);
    assert!(gateway.received().is_empty());
    shell.run("keys rotate ci --save-to taken").is(5);
    assert!(gateway.received().is_empty());
    assert_eq!(fs::read_to_string(shell.file("taken")).unwrap(), "mine");
    shell.run("keys create ci --save-to taken --yes").is(0);
    assert_eq!(
        fs::read_to_string(shell.file("taken")).unwrap(),
        format!("{SECRET}\n")
    );
}

#[test]
fn a_refused_key_leaves_no_file() {
    let gateway = gateway(|_, _| problem(409, "name_taken"));
    let shell = Shell::at(&gateway);
    shell.run("keys create ci --save-to ci.key").is(5);
    assert_eq!(fs::read_dir(shell.file("")).unwrap().count(), 0);
}

#[test]
fn acts_are_posted() {
    let gateway = always(
        200,
        &json!({"id": KEY_ID, "status": "active", "secret": SECRET}),
    );
    let shell = Shell::at(&gateway);
    for (line, target, body) in [
        (
            "disable KEY --reason leak --text words",
            "POST /v1/keys/KEY/disable",
            json!({"reason": "leak", "text": "words"}),
        ),
        ("enable KEY", "POST /v1/keys/KEY/enable", json!({})),
        (
            "rotate KEY --grace 24h",
            "POST /v1/keys/KEY/rotate",
            json!({"grace": "24h"}),
        ),
        (
            "retire KEY --secret 1 --yes",
            "POST /v1/keys/KEY/retire",
            json!({"number": 1}),
        ),
        (
            "revoke KEY --yes --reason leak",
            "POST /v1/keys/KEY/revoke",
            json!({"reason": "leak"}),
        ),
        ("restore KEY", "POST /v1/keys/KEY/restore", json!({})),
        ("keep KEY", "POST /v1/keys/KEY/keep", json!({})),
        (
            "transfer KEY --nobody",
            "POST /v1/keys/KEY/transfer",
            json!({"consumer": null}),
        ),
        (
            "delete KEY --yes --reason old",
            "DELETE /v1/keys/KEY",
            json!({"reason": "old"}),
        ),
        (
            "delete KEY --dry-run",
            "DELETE /v1/keys/KEY?dry_run=true",
            Value::Null,
        ),
        (
            "edit KEY --clear routes --remove-metadata a --metadata b=c",
            "PATCH /v1/keys/KEY",
            json!({"routes": null, "metadata": {"a": null, "b": "c"}}),
        ),
    ] {
        shell
            .run(&format!("keys {}", line.replace("KEY", KEY_ID)))
            .is(0);
        let last = gateway.last();
        assert_eq!(
            asked(&gateway).last().unwrap(),
            &target.replace("KEY", KEY_ID)
        );
        assert_eq!(sent(&last), body, "{line}");
        assert_eq!(
            last.header("idempotency-key").is_some(),
            last.method() == "POST",
            "{line}"
        );
    }
}

#[test]
fn what_cannot_be_undone_needs_consent() {
    let gateway = always(200, &json!({}));
    let shell = Shell::at(&gateway);
    for line in [
        "keys revoke KEY",
        "keys delete KEY",
        "keys retire KEY",
        "keys bulk revoke KEY",
        "consumers delete a",
        "workspaces delete a",
        "members delete a",
        "members erase a",
        "tokens revoke a",
        "webhooks delete a",
    ] {
        let ran = shell.run(&line.replace("KEY", KEY_ID)).is(2);
        assert!(ran.err.contains("--yes"), "{line}: {ran:?}");
    }
    assert!(gateway.received().is_empty());
}

#[test]
fn lists_are_edited_on_the_revision_that_was_read() {
    let gateway = always(
        200,
        &json!({"id": KEY_ID, "scopes": ["a", "b"], "tags": [], "revision": 12}),
    );
    let shell = Shell::at(&gateway);
    shell
        .run(&format!(
            "keys edit {KEY_ID} --add-scope c --remove-scope a"
        ))
        .is(0);
    let last = gateway.last();
    assert_eq!(
        (last.method(), last.header("if-match")),
        ("PATCH", Some("\"12\""))
    );
    assert_eq!(sent(&last), json!({"scopes": ["b", "c"]}));
    shell
        .run(&format!("keys edit {KEY_ID} --name x --if-match 3"))
        .is(0);
    assert_eq!(gateway.last().header("if-match"), Some("\"3\""));
    shell.run(&format!("keys edit {KEY_ID}")).is(2);
}

#[test]
fn bulk_acts_name_keys_or_filter_them() {
    let gateway = always(
        200,
        &json!({"matched": 2, "results": [{"id": "key_1"}, {"id": "key_2"}]}),
    );
    let shell = Shell::at(&gateway);
    shell
        .run("keys bulk revoke --tag old --never-expires --reason gone --yes")
        .is(0);
    assert_eq!(
        sent(&gateway.last()),
        json!({"action": "revoke", "filter": {"tag": "old", "never_expires": true}, "reason": "gone"})
    );
    shell
        .run_with(
            "keys bulk delete --ids - --dry-run",
            &format!("{KEY_ID}\n\n"),
        )
        .is(0);
    assert_eq!(
        sent(&gateway.last()),
        json!({"action": "delete", "ids": [KEY_ID], "dry_run": true})
    );
    shell
        .run(&format!(
            "keys bulk transfer {KEY_ID} --to {CONSUMER} --yes"
        ))
        .is(0);
    assert_eq!(
        sent(&gateway.last()),
        json!({"action": "transfer", "ids": [KEY_ID], "consumer": CONSUMER})
    );
    shell.run(&format!("keys revoke {KEY_ID} --dry-run")).is(0);
    assert_eq!(
        sent(&gateway.last()),
        json!({"action": "revoke", "ids": [KEY_ID], "dry_run": true})
    );
    let before = gateway.received().len();
    for line in [
        "keys bulk revoke --yes",
        "keys bulk transfer --all --yes",
        "keys bulk revoke a --tag b --yes",
    ] {
        shell.run(line).is(2);
    }
    assert_eq!(gateway.received().len(), before);
}

#[test]
fn a_bulk_act_that_fails_for_some_is_partial() {
    let gateway = always(
        200,
        &json!({"matched": 2, "results": [{"id": "key_1"}, {"id": "key_2", "error": {"code": "key_revoked", "message": "over"}}]}),
    );
    let shell = Shell::at(&gateway);
    let ran = shell.run("keys bulk disable --tag x --yes").is(6);
    assert_eq!(ran.err.trim(), "key_2: over (key_revoked)");
    let ran = shell.run("keys bulk disable --tag x --yes -o name").is(6);
    assert_eq!(ran.out, "key_1\n");
}

#[test]
fn a_key_is_verified_without_being_typed() {
    let gateway = gateway(|line, request| {
        let valid = sent(request)["key"] == SECRET;
        assert!(line == "POST /v1/verify" || line == "POST /v1/explain");
        answer(
            200,
            &json!({"valid": valid, "code": if valid { Value::Null } else { json!("invalid_api_key") }}),
        )
    });
    let shell = Shell::at(&gateway);
    let ran = shell
        .run_with(
            "keys verify --route billing --method GET --scope a",
            &format!("{SECRET}\n"),
        )
        .is(0);
    assert!(!format!("{ran:?}").contains(SECRET));
    assert_eq!(
        sent(&gateway.last()),
        json!({"key": SECRET, "route": "billing", "method": "GET", "scopes": ["a"]})
    );
    assert_eq!(gateway.last().header("idempotency-key"), None);
    fs::write(shell.file("key"), "another").unwrap();
    let ran = shell.run("keys verify --key-file key").is(7);
    assert!(
        ran.out.contains("invalid_api_key") && !ran.out.contains("another"),
        "{ran:?}"
    );
    shell.run("keys verify --key-file missing").is(3);
    shell.run("keys verify").is(2);
    shell
        .run_with("keys explain --path /billing/ --host a.example", SECRET)
        .is(0);
    assert_eq!(
        sent(&gateway.last()),
        json!({"key": SECRET, "method": "GET", "path": "/billing/", "host": "a.example"})
    );
    shell.run(&format!("keys explain --id {KEY_ID}")).is(0);
    assert_eq!(sent(&gateway.last())["key_id"], KEY_ID);
}

#[test]
fn exports_pass_through_whole_or_not_at_all() {
    let lines = "{\"id\":\"key_1\"}\n{\"id\":\"key_2\"}\n";
    let good = gateway(move |_, _| {
        format!("HTTP/1.1 200 X\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n{lines}", lines.len()).into_bytes()
    });
    let shell = Shell::at(&good);
    assert_eq!(shell.run("keys export").is(0).out, lines);
    shell.run("keys export --tag a --to out.ndjson").is(0);
    assert_eq!(fs::read_to_string(shell.file("out.ndjson")).unwrap(), lines);
    assert_eq!(asked(&good)[1], "GET /v1/keys/export?tag=a");
    shell.run("keys export --to out.ndjson").is(5);
    shell.run("audit export --format csv --to audit.csv").is(0);
    assert_eq!(
        asked(&good).last().unwrap(),
        "GET /v1/audit/export?format=csv"
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
fn a_broken_chain_fails_the_check() {
    let whole = always(200, &json!({"ok": true, "events": 12}));
    Shell::at(&whole).run("audit verify").is(0);
    let broken = always(200, &json!({"ok": false, "first_broken": {"sequence": 7}}));
    let ran = Shell::at(&broken).run("audit verify").is(7);
    assert!(ran.out.contains("sequence=7"), "{ran:?}");
}

/// Command, what it asks for, and the body. Words in capitals stand for ids.
const ASKED: &str = r#"
keys usage KEY --since 2026-01-01 | GET /v1/keys/KEY/usage?from=2026-01-01T00%3A00%3A00.000Z |
keys review | GET /v1/keys/review?limit=50 |
keys preview | GET /v1/keys/preview?limit=50 |
consumers list ac --workspace WS | GET /v1/consumers?q=ac&workspace=WS&limit=50 |
consumers create acme --external-id 7 | POST /v1/consumers | {"name": "acme", "external_id": "7"}
consumers edit CON --clear external-id | PATCH /v1/consumers/CON | {"external_id": null}
consumers delete CON --dry-run | DELETE /v1/consumers/CON?dry_run=true |
workspaces create n --parent WS --inactivity off | POST /v1/workspaces | {"name": "n", "parent": "WS", "inactivity": {"mode": "off"}}
workspaces edit WS --name m | PATCH /v1/workspaces/WS | {"name": "m"}
workspaces delete WS --yes | DELETE /v1/workspaces/WS |
members role set MEM editor --workspace WS | PUT /v1/members/MEM/roles/WS | {"role": "editor"}
members role remove MEM --workspace WS | DELETE /v1/members/MEM/roles/WS |
members disable MEM | POST /v1/members/MEM/disable | {}
members edit MEM --name Ann | PATCH /v1/members/MEM | {"name": "Ann"}
members export MEM | GET /v1/members/MEM/export |
members erase MEM --yes | POST /v1/members/MEM/erase | {}
members delete MEM --yes | DELETE /v1/members/MEM |
tokens create t --role admin --expires never | POST /v1/tokens | {"name": "t", "role": "admin", "expires_at": null}
tokens edit TOK --name u | PATCH /v1/tokens/TOK | {"name": "u"}
tokens revoke TOK --yes | POST /v1/tokens/TOK/revoke | {}
sessions list | GET /v1/sessions?limit=50 |
sessions end SES | DELETE /v1/sessions/SES |
audit list --action key.revoked --actor MEM | GET /v1/audit?actor=MEM&action=key.revoked&limit=50 |
audit head | GET /v1/audit/head |
notices list --unread | GET /v1/notices?unread=true&limit=50 |
notices read NTC | POST /v1/notices/NTC/read | {}
notices read --all | POST /v1/notices/read | {}
notices preview | GET /v1/keys/preview?limit=50 |
webhooks create a https://a.example --event key.revoked | POST /v1/webhooks | {"name": "a", "url": "https://a.example", "events": ["key.revoked"]}
webhooks edit WHK --all-events --state active | PATCH /v1/webhooks/WHK | {"events": [], "state": "active"}
webhooks rotate-secret WHK --grace 1h | POST /v1/webhooks/WHK/rotate-secret | {"grace": "1h"}
webhooks test WHK | POST /v1/webhooks/WHK/test | {}
webhooks deliveries WHK --state failed | GET /v1/webhooks/WHK/deliveries?state=failed&limit=50 |
webhooks replay WHK --delivery dlv_1 | POST /v1/webhooks/WHK/replay | {"deliveries": ["dlv_1"]}
"#;

#[test]
fn each_noun_asks_its_own_address() {
    let gateway = gateway(|line, _| match line {
        line if line.ends_with("limit=50") => answer(200, &json!({"data": [], "next": null})),
        _ => answer(200, &json!({"id": "x", "secret": SECRET})),
    });
    let shell = Shell::at(&gateway);
    for row in ASKED.lines().filter(|row| !row.is_empty()) {
        let mut row = row.to_owned();
        for kind in ["KEY", "CON", "WS", "MEM", "TOK", "SES", "NTC", "WHK"] {
            let id = KEY_ID.replacen("key", &kind.to_lowercase(), 1);
            row = row.replace(kind, &id);
        }
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        shell.run(cells[0]).is(0);
        assert_eq!(asked(&gateway).last().unwrap(), cells[1]);
        let body: Value = serde_json::from_str(cells[2]).unwrap_or_default();
        assert_eq!(sent(&gateway.last()), body, "{row}");
    }
}
