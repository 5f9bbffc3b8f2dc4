//! Webhooks, the audit log, notices, and how the gateway is.

use super::{Shell, real};
use crate::harness::{Desk, Gateway, PATIENCE, Upstream, wait_until};
use serde_json::{Value, json};
use std::fs;

/// A webhook that is called `hook` and told of one type of event.
fn hooked(gateway: &Gateway, receiver: &Upstream) -> Shell {
    let shell = Shell::of(gateway);
    let line = format!(
        "webhooks create hook http://{}/ --event key.revoked --save-to secret",
        receiver.address
    );
    shell.run(&line).is(0);
    shell
}

#[test]
fn webhooks_are_told_tested_and_told_again() {
    let [service, receiver] = [Upstream::ok(), Upstream::ok()];
    let gateway = real(&service);
    let shell = hooked(&gateway, &receiver);
    assert!(
        fs::read_to_string(shell.file("secret"))
            .unwrap()
            .starts_with("whsec_")
    );
    shell.run("webhooks test hook").is(0);
    shell.run("keys create nightly").is(0);
    shell.run("keys revoke nightly --yes").is(0);
    let delivered = || {
        shell
            .run("webhooks deliveries hook --state delivered")
            .is(0)
            .table()
    };
    let want = "ID | STATE | EVENT | ATTEMPTS | ANSWER | MADE\n\
                ID | delivered | key.revoked | 1 | 200 | TIME\nID | delivered | webhook.test | 1 | 200 | TIME";
    wait_until("both are delivered", PATIENCE, || delivered() == want);
    let all = shell.run("webhooks deliveries hook -o name").is(0).out;
    let again = shell.run(&format!(
        "webhooks replay hook --delivery {} -o json",
        all.lines().next().unwrap()
    ));
    assert_eq!(again.is(0).json()["events"], 1);
    assert_eq!(
        shell
            .run("webhooks replay hook --since 1h -o json")
            .is(0)
            .json()["events"],
        0
    );
    wait_until("it is told again", PATIENCE, || {
        receiver.received().len() == 3
    });
    shell.run("webhooks replay hook --delivery nothing").is(2);
}

#[test]
fn webhooks_change_and_go() {
    let [service, receiver] = [Upstream::ok(), Upstream::ok()];
    let gateway = real(&service);
    let shell = hooked(&gateway, &receiver);
    let id = shell.id("webhooks get hook");
    let table = shell.run("webhooks list").is(0).table();
    let want = format!(
        "ID | NAME | STATE | URL | EVENTS | FAILING\nID | hook | active | http://{}/ | key.revoked | never",
        receiver.address
    );
    assert_eq!(table, want);
    let secret = fs::read_to_string(shell.file("secret")).unwrap();
    shell
        .run("webhooks rotate-secret hook --overlap 1h --save-to secret --yes")
        .is(0);
    assert_ne!(fs::read_to_string(shell.file("secret")).unwrap(), secret);
    let told = shell.run("webhooks get hook -o json").is(0).json();
    assert_eq!(told["secrets"], 2);
    let edited = |flags: &str| {
        shell
            .run(&format!("webhooks edit hook {flags} -o json"))
            .is(0)
            .json()
    };
    assert_eq!(
        edited("--event key.* --name bell")["events"],
        json!(["key.*"])
    );
    shell.run("webhooks edit bell --name hook").is(0);
    assert_eq!(edited("--all-events --state disabled")["events"], json!([]));
    shell.run("webhooks test hook").is(5);
    assert_eq!(edited("--state active")["state"], "active");
    assert_eq!(shell.id("webhooks delete hook --dry-run"), id);
    assert_eq!(shell.id("webhooks delete hook --yes"), id);
    shell.run("webhooks get hook").is(3);
    shell.run("webhooks create hook ftp://a.example/").is(2);
}

#[test]
fn a_gateway_tells_how_it_is() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let told = shell.run("status -o json").is(0).json();
    assert_eq!(
        (&told["state"], &told["keys"]["active"]),
        (&json!("ready"), &json!(1))
    );
    let table = shell.run("status").is(0).table();
    for row in ["state | ready", "keys.active | 1", "store.kind | sqlite"] {
        assert!(table.contains(row), "{row}: {table}");
    }
    let nodes = || shell.run("nodes list").is(0).table();
    wait_until("the node has said how it is", PATIENCE, || {
        nodes().lines().count() == 2
    });
    assert!(
        nodes().starts_with("ID | NAME | VERSION | STARTED | SEEN | APPLIED | OBSERVED\nID | "),
        "{}",
        nodes()
    );
}

#[test]
fn the_log_is_read_filtered_and_taken_out() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    shell.run("workspaces create north").is(0);
    let id = shell.id("keys create nightly --workspace north --save-to key");
    shell.run("keys revoke nightly --yes").is(0);
    let table = shell
        .run("audit list --action key.* --since 1h")
        .is(0)
        .table();
    assert_eq!(
        table,
        "SEQUENCE | AT | ACTION | OUTCOME | ACTOR | TARGET\n\
         4 | DATE | key.revoked | success | setup | nightly\n3 | DATE | key.created | success | setup | nightly"
    );
    let count = |flags: &str| {
        shell
            .run(&format!("audit list --all -o name {flags}"))
            .is(0)
            .out
            .lines()
            .count()
    };
    assert_eq!(count(&format!("--target {id}")), 2);
    // The workspace itself was made in it too.
    assert_eq!(count("--workspace north"), 3);
    assert_eq!(count("--outcome denied"), 0);
    assert_eq!(count("--class authentication"), 1);
    assert_eq!(count("--until 1h"), 0);
    shell.run("audit list --outcome nothing").is(2);
    let ran = shell
        .run("audit tail --lines 2 --interval 1 --looks 1 --action key.* -o json")
        .is(0);
    let tailed: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (tailed.len(), &tailed[1]["action"]),
        (2, &json!("key.revoked"))
    );
    shell.run("audit export --format csv --to audit.csv").is(0);
    assert!(
        fs::read_to_string(shell.file("audit.csv"))
            .unwrap()
            .starts_with("sequence,id,at,")
    );
    let line = shell.run("audit export --action key.revoked").is(0);
    assert_eq!(line.line().parse::<Value>().unwrap()["sequence"], 4);
    assert!(shell.run("audit head -o json").is(0).json()["hash"].is_string());
    assert_eq!(shell.run("audit verify -o json").is(0).json()["ok"], true);
}

#[test]
fn a_broken_log_fails_the_check_and_is_told() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    assert_eq!(shell.run("notices list").is(0).err, "nothing found\n");
    Desk::of(&gateway).sql("UPDATE audit SET actor = 'tok_x' WHERE sequence = 1");
    let ran = shell.run("audit verify").is(7);
    assert!(ran.out.contains("sequence=1"), "{ran:?}");
    let table = shell.run("notices list --unread").is(0).table();
    let title =
        "The audit log does not hold from event 1 on: `actor` of the event differs from its body";
    let row = |read: &str| {
        format!(
            "ID | WHEN | SEVERITY | WHAT | KIND | READ\nID | TIME | critical | {title} | audit.broken | {read}"
        )
    };
    assert_eq!(table, row("never"));
    let id = shell.id("notices list --kind audit.*");
    assert_eq!(
        shell.run(&format!("notices read {id}")).is(0).table(),
        row("TIME")
    );
    assert_eq!(shell.run("notices list --unread -o name").is(0).out, "");
    assert_eq!(shell.run("notices read --all").is(0).out, "0 were new\n");
    shell.run("notices read").is(2);
    shell
        .run("notices read ntc_01jyzx5rhdf3sbz3hv1yqn2tp9")
        .is(3);
}
