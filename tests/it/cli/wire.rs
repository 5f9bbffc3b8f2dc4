//! What goes over the wire: once, with the right headers, to the right place; and how refusals are told.

use super::{CANARY, KEY_ID, SECRET, Shell, always, answer, asked, gateway, problem, sent};
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
fn refusals_have_exit_codes() {
    for (status, code, exit) in [
        (401, "unauthorized", 4),
        (403, "forbidden", 4),
        (404, "not_found", 3),
        (409, "name_taken", 5),
        (412, "precondition_failed", 5),
        (422, "validation_failed", 2),
        (429, "rate_limited", 1),
        (503, "dependency_down", 1),
    ] {
        let gateway = gateway(move |_, _| problem(status, code));
        let ran = Shell::at(&gateway)
            .run(&format!("keys get {KEY_ID}"))
            .is(exit);
        assert_eq!(ran.out, "");
        assert!(
            ran.err
                .starts_with(&format!("keygate: told as {code} ({code})")),
            "{ran:?}"
        );
    }
}

#[test]
fn every_wrong_field_has_a_line() {
    let gateway = always(
        422,
        &json!({"code": "validation_failed", "detail": "some fields are not valid", "errors": [
            {"pointer": "/scopes/0", "code": "invalid", "message": "a scope has no space"},
            {"pointer": "/expires_at", "code": "in_the_past", "message": "this is over"},
        ]}),
    );
    let ran = Shell::at(&gateway).run("keys create ci --scope a").is(2);
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(
        lines,
        [
            "keygate: some fields are not valid (validation_failed)",
            "  /scopes/0: a scope has no space (invalid)",
            "  /expires_at: this is over (in_the_past)",
        ]
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
fn lists_are_followed_page_by_page() {
    let gateway = gateway(|line, _| {
        let limit: usize = line
            .split("limit=")
            .nth(1)
            .unwrap()
            .split('&')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let from: usize = line
            .split("cursor=c")
            .nth(1)
            .map_or(0, |rest| rest.parse().unwrap());
        let to = (from + limit).min(450);
        let rows: Vec<_> = (from..to)
            .map(|at| json!({"id": format!("key_{at}")}))
            .collect();
        let next = (to < 450).then(|| format!("c{to}"));
        answer(200, &json!({"data": rows, "next": next}))
    });
    let shell = Shell::at(&gateway);
    for (flags, rows, calls) in [
        ("", 50, 1),
        ("--limit 3", 3, 1),
        ("--limit 250", 250, 2),
        ("--all", 450, 3),
    ] {
        let before = gateway.received().len();
        let ran = shell.run(&format!("keys list -o name {flags}")).is(0);
        assert_eq!(
            (ran.out.lines().count(), gateway.received().len() - before),
            (rows, calls),
            "{flags}"
        );
    }
    let page = shell.run("keys list -o json --limit 2").is(0).json();
    assert_eq!(
        page,
        json!({"data": [{"id": "key_0"}, {"id": "key_1"}], "next": "c2"})
    );
    shell.run("keys list --limit 0").is(2);
    shell.run("keys list --limit 5 --all").is(2);
}

#[test]
fn filters_become_parameters() {
    let gateway = always(200, &json!({"data": [], "next": null}));
    let line = "keys list bill --status expiring --tag a&b --env test --scope x:y --expires-before 2027-01-01 \
                --unused-since 2026-01-01T00:00:00Z --sort=-last_used_at --total";
    Shell::at(&gateway).run(line).is(0);
    assert_eq!(
        asked(&gateway),
        [
            "GET /v1/keys?status=expiring&tag=a%26b&environment=test&scope=x%3Ay&expires_before=2027-01-01T00%3A00%3A00.000Z&\
          unused_since=2026-01-01T00%3A00%3A00.000Z&q=bill&sort=-last_used_at&total=true&limit=50"
        ]
    );
}

#[test]
fn an_address_may_have_a_path() {
    let gateway = always(200, &json!({"data": [], "next": null}));
    let url = format!("http://{}/admin/", gateway.address);
    Shell::new().run(&format!("keys list --url {url}")).is(0);
    assert_eq!(asked(&gateway), ["GET /admin/v1/keys?limit=50"]);
}

#[test]
fn things_are_found_by_name() {
    let gateway = gateway(|line, _| match line {
        "GET /v1/keys?q=ci&limit=200" => answer(
            200,
            &json!({"data": [{"id": "key_other", "name": "ci nightly"}, {"id": KEY_ID, "name": "ci"}], "next": null}),
        ),
        "GET /v1/keys?q=two&limit=200" => answer(
            200,
            &json!({"data": [{"id": "key_1", "name": "two"}, {"id": "key_2", "name": "two"}], "next": null}),
        ),
        line if line.starts_with("GET /v1/keys?q=") => {
            answer(200, &json!({"data": [], "next": null}))
        }
        _ => answer(200, &json!({"id": KEY_ID, "name": "ci"})),
    });
    let shell = Shell::at(&gateway);
    shell.run("keys get ci").is(0);
    assert_eq!(asked(&gateway)[1], format!("GET /v1/keys/{KEY_ID}"));
    let ran = shell.run("keys get two").is(5);
    assert!(ran.err.contains("key_1, key_2"), "{ran:?}");
    shell.run("keys get nobody").is(3);
    shell.run("keys get ../../v1/tokens").is(3);
    assert!(
        asked(&gateway)
            .iter()
            .all(|line| !line.contains("/v1/tokens"))
    );
}

#[test]
fn a_key_or_a_token_that_is_typed_is_refused_and_not_repeated() {
    let gateway = always(200, &json!({"data": [], "next": null}));
    let shell = Shell::at(&gateway);
    for line in [
        format!("keys get {SECRET}"),
        format!("keys verify {SECRET}"),
        format!("keys explain --id {SECRET}"),
        format!("keys revoke {SECRET} --yes"),
        format!("--token {SECRET} keys list"),
        format!("keys list --token {SECRET}"),
        SECRET.to_owned(),
    ] {
        let ran = shell.run(&line).is(2);
        assert!(
            !ran.err.contains(SECRET) && ran.out.is_empty(),
            "{line}: {ran:?}"
        );
    }
    assert!(gateway.received().is_empty());
}

#[test]
fn passwords_of_members_come_by_standard_input() {
    let gateway = gateway(|line, _| match line {
        line if line.starts_with("GET ") => answer(
            200,
            &json!({"data": [{"id": "mem_1", "email": "ann@example.com"}], "next": null}),
        ),
        _ => answer(200, &json!({"id": "mem_1"})),
    });
    let shell = Shell::at(&gateway);
    shell
        .run_with("members create bob@example.com --role editor", "hunter2!\n")
        .is(0);
    assert_eq!(
        sent(&gateway.last()),
        json!({"email": "bob@example.com", "password": "hunter2!", "roles": [{"role": "editor"}]})
    );
    let ran = shell
        .run_with(
            "members password ann@example.com --current",
            "old one\nnew one\n",
        )
        .is(0);
    assert_eq!(
        sent(&gateway.last()),
        json!({"current_password": "old one", "password": "new one"})
    );
    assert!(!format!("{ran:?}").contains("one"));
}
