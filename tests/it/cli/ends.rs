//! How commands end: each exit code for real.

use super::{Shell, real};
use crate::harness::{Upstream, free_port};
use std::fs;

#[test]
fn each_exit_code_has_its_causes() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    shell
        .run("tokens create watch --role auditor --save-to watch.token")
        .is(0);
    let watcher = fs::read_to_string(shell.file("watch.token")).unwrap();
    shell
        .run("keys create fine --scope app:read --save-to ci.key")
        .is(0);
    shell.run("keys create gone --save-to gone.key").is(0);
    shell.run("keys revoke gone --yes").is(0);
    shell.run("consumers create acme-eu").is(0);
    fs::write(shell.file("bad.yaml"), "listeners: 7").unwrap();
    let nowhere = format!("keys list --url http://127.0.0.1:{}", free_port());
    for (code, line) in [
        (0, "keys list"),
        (1, &*nowhere),
        (1, "keys create x --save-to missing/folder"),
        (2, "keys list --limit 0"),
        (2, "keys list --status nothing"),
        (2, "keys create x --scope 'a b' --save-to x.key"),
        (2, "keys edit fine"),
        (2, "keys revoke fine"),
        (3, "keys get nobody"),
        (3, "keys get key_01jyzx5rhdf3sbz3hv1yqn2tp9"),
        (3, "keys verify --key-file missing"),
        (3, "serve --config missing.yaml"),
        (5, "consumers create acme-eu"),
        (5, "consumers edit acme-eu --name other --if-match 1"),
        (5, "keys enable gone"),
        (5, "keys create x --save-to ci.key"),
        (5, "workspaces delete root --yes"),
        (6, "keys bulk enable gone fine --yes"),
        (7, "keys verify --key-file gone.key"),
        (7, "check bad.yaml"),
    ] {
        let ran = shell.run(line);
        assert_eq!(ran.code, Some(code), "{line}: {ran:#?}");
    }
    let nobody = Shell::nobody_of(&gateway);
    nobody.run("keys list").is(4);
    nobody
        .with("KEYGATE_TOKEN", "kg_admin_wrong")
        .run("keys list")
        .is(4);
    let watcher = Shell::nobody_of(&gateway).with("KEYGATE_TOKEN", watcher.trim());
    watcher.run("keys list").is(0);
    let ran = watcher.run("keys create x").is(4);
    assert_eq!(
        ran.err,
        "keygate: this needs the permission `keys:write` (forbidden)\n"
    );
}

#[test]
fn every_wrong_field_has_a_line() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let line = "keys create ci --scope 'a b' --method '?' --ip somewhere --expires 2020-01-01";
    let ran = Shell::of(&gateway).run(line).is(2);
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(
        lines[0],
        "keygate: some parameters are not valid (validation_failed)"
    );
    for field in ["/scopes/0", "/methods/0", "/ip_allow/0", "/expires_at"] {
        assert!(
            ran.err.contains(&format!("\n  {field}: ")),
            "{field}: {ran:#?}"
        );
    }
    assert_eq!(lines.len(), 5, "{ran:#?}");
}

/// Refused before anybody is asked: there is no gateway at that address.
#[test]
fn what_cannot_be_undone_needs_consent() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let shell = Shell::new().with("KEYGATE_URL", &url);
    for line in [
        "keys revoke a",
        "keys delete a",
        "keys retire a",
        "keys bulk revoke a",
        "keys bulk delete --tag a",
        "consumers delete a",
        "workspaces delete a",
        "members erase a",
        "members delete a",
        "tokens revoke a",
        "tokens delete a",
        "webhooks delete a",
    ] {
        let ran = shell.run(line).is(2);
        assert!(ran.err.contains("--yes"), "{line}: {ran:?}");
        shell.run(&format!("{line} --yes")).is(1);
        shell.run(&format!("{line} --yes --dry-run")).is(2);
    }
}

/// The answer to a try is what the act would answer: who reads it must not take it for done.
#[test]
fn a_try_says_that_nothing_was_done() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    for line in [
        "keys create nightly --tag old",
        "consumers create globex",
        "workspaces create north",
        "tokens create deploy --role editor --save-to deploy.token",
        "webhooks create hook https://hooks.example.com/ --save-to hook.secret",
        "members create rob@example.com --name Rob --role auditor --no-password",
    ] {
        shell.run(line).is(0);
    }
    for (line, noun, named, act) in [
        ("keys delete", "keys", "nightly", "delete"),
        ("consumers delete", "consumers", "globex", "delete"),
        ("workspaces delete", "workspaces", "north", "delete"),
        ("tokens revoke", "tokens", "deploy", "revoke"),
        ("webhooks delete", "webhooks", "hook", "delete"),
        ("members erase", "members", "rob@example.com", "erase"),
    ] {
        let before = shell.run(&format!("{noun} get {named} -o json")).is(0).out;
        let id = shell.id(&format!("{noun} get {named}"));
        let ran = shell.run(&format!("{line} {named} --dry-run")).is(0);
        let said = ran.line();
        assert!(
            said.starts_with(&format!("dry run: would {act} {id}"))
                && said.ends_with("; nothing was done"),
            "{ran:?}"
        );
        let told = shell.run(&format!("{line} {named} --dry-run -o json"));
        assert_eq!(told.is(0).json()["dry_run"], true, "{line}");
        assert_eq!(shell.id(&format!("{line} {named} --dry-run")), id);
        let after = shell.run(&format!("{noun} get {named} -o json")).is(0).out;
        assert_eq!(after, before, "{line}");
    }
    for (line, act) in [
        ("keys revoke nightly", "revoke"),
        ("keys bulk disable --tag old", "disable"),
    ] {
        let ran = shell.run(&format!("{line} --dry-run")).is(0);
        let told = format!("dry run: would {act} 1 key; nothing was done\n");
        assert_eq!(ran.err, told, "{line}");
    }
}
