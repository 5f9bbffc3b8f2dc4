//! What goes over the wire: once, with the right headers, to the right place; and how refusals are told.

use super::{CANARY, KEY_ID, SECRET, Shell, always, answer, asked, gateway, sent};
use crate::harness::{Upstream, free_port};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

fn made() -> serde_json::Value {
    json!({"key": {"id": KEY_ID, "name": "ci", "status": "active"}, "secret": SECRET, "revision": 7})
}

/// Loses the first connections without an answer.
fn losing(times: usize) -> Upstream {
    let count = AtomicUsize::new(0);
    gateway(move |_, _| {
        if count.fetch_add(1, Ordering::SeqCst) < times {
            return Vec::new();
        }
        answer(201, &made())
    })
}

#[test]
fn a_lost_answer_is_asked_for_again_with_the_same_key() {
    let gateway = losing(1);
    let ran = Shell::at(&gateway)
        .run("keys create ci --scope a -o json")
        .is(0);
    assert_eq!(ran.json()["secret"], SECRET);
    let received = gateway.received();
    let keys: BTreeSet<_> = received
        .iter()
        .map(|request| request.header("idempotency-key"))
        .collect();
    assert_eq!((received.len(), keys.len()), (2, 1));
    assert!(
        keys.iter()
            .all(|key| key.is_some_and(|key| key.len() >= 32))
    );
    assert_eq!(received[0].body, received[1].body);
    assert_eq!(
        received[0].header("authorization"),
        Some(&*format!("Bearer {CANARY}"))
    );
}

#[test]
fn after_two_losses_the_key_is_told() {
    let gateway = losing(2);
    let shell = Shell::at(&gateway);
    let ran = shell.run("keys create ci").is(1);
    let key = gateway.last().header("idempotency-key").unwrap().to_owned();
    assert!(
        ran.err.contains(&format!("--idempotency-key {key}")),
        "{ran:?}"
    );
    let again = format!("keys create ci --idempotency-key {key}");
    shell.run(&again).is(0);
    assert_eq!(gateway.last().header("idempotency-key"), Some(&*key));
    assert_eq!(gateway.received().len(), 3);
}

/// A time from now would be another one at the second try, and the gateway would refuse it as another request.
#[test]
fn the_same_command_with_the_same_key_asks_for_the_same() {
    let gateway = always(201, &made());
    let shell = Shell::at(&gateway);
    for line in [
        "keys create ci --expires 90d --not-before 1h",
        "tokens create t --role owner --expires 90d",
    ] {
        shell.run(line).is(0);
        let first = gateway.last();
        let key = first.header("idempotency-key").unwrap().to_owned();
        shell.run(&format!("{line} --idempotency-key {key}")).is(0);
        assert_eq!(gateway.last().body, first.body);
        assert!(sent(&first)["expires_at"].is_string());
    }
}

#[test]
fn each_command_has_a_key_of_its_own() {
    let gateway = always(201, &made());
    let shell = Shell::at(&gateway);
    for line in [
        "keys create ci",
        "keys create ci",
        "tokens create x --role owner",
        "consumers create a",
        "workspaces create a",
    ] {
        shell.run(line).is(0);
    }
    let received = gateway.received();
    let keys: BTreeSet<_> = received
        .iter()
        .map(|request| request.header("idempotency-key").unwrap())
        .collect();
    assert_eq!(keys.len(), 5);
}

#[test]
fn what_cannot_be_repeated_is_not() {
    let gateway = losing(1);
    let line = format!("keys edit {KEY_ID} --name x");
    let ran = Shell::at(&gateway).run(&line).is(1);
    assert_eq!(gateway.received().len(), 1);
    assert!(ran.err.contains("was lost"), "{ran:?}");
}

/// Only where the command has a flag for the key, it is told to give it.
#[test]
fn an_act_that_is_lost_twice_says_only_that_it_is_unknown() {
    let gateway = losing(2);
    let line = format!("keys disable {KEY_ID}");
    let ran = Shell::at(&gateway).run(&line).is(1);
    assert_eq!(gateway.received().len(), 2);
    assert!(
        ran.err.contains("is unknown") && !ran.err.contains("--idempotency-key"),
        "{ran:?}"
    );
}

#[test]
fn reading_is_repeated() {
    let gateway = losing(1);
    Shell::at(&gateway).run(&format!("keys get {KEY_ID}")).is(0);
    assert_eq!(gateway.received().len(), 2);
}

#[test]
fn without_encryption_no_authority_is_needed() {
    let gateway = always(200, &json!({"data": [], "next": null}));
    let shell = Shell::at(&gateway)
        .with("SSL_CERT_FILE", "/nowhere")
        .with("SSL_CERT_DIR", "/nowhere");
    shell.run("keys list").is(0);
}

#[test]
fn a_proxy_gets_nothing_that_is_for_this_machine() {
    let gateway = always(200, &json!({"data": [], "next": null}));
    let proxy = Upstream::ok();
    let url = format!("http://{}", proxy.address);
    Shell::at(&gateway)
        .with("http_proxy", &url)
        .with("all_proxy", &url)
        .run("keys list")
        .is(0);
    assert!(proxy.received().is_empty());
}

#[test]
fn nobody_there_is_told_in_one_line() {
    let url = format!("http://127.0.0.1:{}", free_port());
    let ran = Shell::new()
        .with("KEYGATE_URL", &url)
        .run("keys list")
        .is(1);
    assert!(
        ran.err.contains("cannot be reached") && ran.err.lines().count() == 1,
        "{ran:?}"
    );
}

#[test]
fn a_redirect_takes_no_token_along() {
    let elsewhere = Upstream::ok();
    let to = elsewhere.address;
    let gateway = gateway(move |_, _| {
        format!("HTTP/1.1 307 X\r\nlocation: http://{to}/\r\ncontent-length: 0\r\n\r\n")
            .into_bytes()
    });
    let ran = Shell::at(&gateway).run("keys list").is(1);
    assert!(ran.err.contains("not the management port"), "{ran:?}");
    assert!(elsewhere.received().is_empty());
}

#[test]
fn another_service_is_no_gateway() {
    let gateway = Upstream::ok();
    let ran = Shell::at(&gateway).run("keys list").is(1);
    assert!(ran.err.contains("not the management port"), "{ran:?}");
}

#[test]
fn an_address_may_have_a_path() {
    let gateway = always(200, &json!({"data": [], "next": null}));
    let url = format!("http://{}/admin/", gateway.address);
    Shell::new().run(&format!("keys list --url {url}")).is(0);
    assert_eq!(asked(&gateway), ["GET /admin/v1/keys?limit=50"]);
}
