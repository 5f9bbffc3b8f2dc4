//! Consumers, workspaces and admin tokens.

use super::{Shell, real};
use crate::harness::Upstream;
use serde_json::{Value, json};
use std::fs;

#[test]
fn consumers_come_change_and_go() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    shell.run("workspaces create north").is(0);
    let id =
        shell.id("consumers create acme-eu --workspace north --external-id 7 --metadata plan=gold");
    assert_eq!(shell.id("consumers get acme-eu"), id);
    let edited = |flags: &str| {
        shell
            .run(&format!("consumers edit acme-eu {flags} -o json"))
            .is(0)
            .json()
    };
    assert_eq!(edited("--description words")["description"], "words");
    let bare = edited("--clear description --clear external-id --clear metadata");
    assert_eq!(
        (
            &bare["description"],
            &bare["external_id"],
            &bare["metadata"]
        ),
        (&Value::Null, &Value::Null, &json!({}))
    );
    assert_eq!(
        shell.run("consumers list acme-eu").is(0).table(),
        "ID | NAME | EXTERNAL ID | CREATED | WORKSPACE\nID | acme-eu | - | TIME | ID"
    );
    assert_eq!(shell.id("consumers list --workspace north"), id);
    shell
        .run("keys create x --workspace north --consumer acme-eu")
        .is(0);
    let ran = shell.run("consumers delete acme-eu --yes").is(5);
    assert!(ran.err.contains("(in_use)"), "{ran:?}");
    shell.run("keys transfer x --nobody").is(0);
    assert_eq!(shell.id("consumers delete acme-eu --dry-run"), id);
    assert_eq!(shell.id("consumers delete acme-eu --yes"), id);
    shell.run("consumers get acme-eu").is(3);
    // That of the config file is changed there.
    for (line, field, flag) in [
        ("--clear limits --rate 3/s", "limits", "--rate"),
        (
            "--clear external-id --external-id x",
            "external-id",
            "--external-id",
        ),
    ] {
        let ran = shell.run(&format!("consumers edit acme-eu {line}")).is(2);
        let told = format!("--clear {field} and {flag}: one of these");
        assert!(ran.err.contains(&told), "{ran:?}");
    }
    shell.run("consumers edit acme --name other").is(5);
}

#[test]
fn workspaces_come_change_and_go() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let north = shell.id("workspaces create north --kind location --external-id 7");
    let shop =
        shell.id("workspaces create shop --parent north --inactivity notify:180d --metadata a=b");
    assert_eq!(
        shell.run("workspaces list").is(0).table(),
        "ID | NAME | KIND | PARENT | EXTERNAL ID\nID | root | organization | - | -\n\
         ID | north | location | ID | 7\nID | shop | workspace | ID | -"
    );
    let told = shell.run("workspaces get shop -o json").is(0).json();
    assert_eq!(
        (&told["parent"], &told["inactivity"]),
        (&json!(north), &json!({"mode": "notify", "after": "180d"}))
    );
    let edited = shell
        .run("workspaces edit shop --name store --clear inactivity --clear metadata -o json")
        .is(0)
        .json();
    assert_eq!(
        (&edited["name"], &edited["inactivity"], &edited["metadata"]),
        (&json!("store"), &Value::Null, &json!({}))
    );
    shell.run("workspaces create store --parent north").is(5);
    shell.run("workspaces delete north --yes").is(5);
    assert_eq!(shell.id("workspaces delete store --dry-run"), shop);
    assert_eq!(shell.id("workspaces delete store --yes"), shop);
    shell.run("workspaces delete north --yes").is(0);
    shell.run("workspaces get north").is(3);
}

#[test]
fn tokens_are_made_and_revoked() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    shell.run("workspaces create north").is(0);
    let id = shell.id(
        "tokens create deploy --role editor --workspace north --expires 90d --save-to deploy.token",
    );
    assert_eq!(shell.id("tokens get deploy"), id);
    assert_eq!(
        shell.run("tokens list").is(0).table(),
        "ID | NAME | ROLE | STATUS | LAST USED | EXPIRES | WORKSPACE | HINT\n\
         ID | deploy | editor | active | never | TIME | ID | HINT\n\
         ID | setup | owner | active | TIME | TIME | ID | HINT"
    );
    let secret = fs::read_to_string(shell.file("deploy.token")).unwrap();
    let deploy = Shell::nobody_of(&gateway).with("KEYGATE_TOKEN", secret.trim());
    assert_eq!(
        deploy.run("whoami").is(0).table(),
        "id | ID\nname | deploy\nbindings | editor in north (ID)\nexpires_at | DATE (TIME)\nkind | token"
    );
    deploy.run("tokens list").is(4);
    assert_eq!(shell.id("tokens revoke deploy --dry-run"), id);
    deploy.run("whoami").is(0);
    assert_eq!(shell.id("tokens revoke deploy --yes"), id);
    deploy.run("whoami").is(4);
    assert_eq!(shell.id("tokens list --status revoked dep"), id);
    shell.run("tokens create x --role king").is(2);
}
