//! Webhooks with a real receiver: signed, at least once, and nothing of what was not committed.

use crate::harness::{Desk, Gateway, GatewayBuilder, PATIENCE, Received, Upstream, wait_until};
use crate::workspaces::made;
use http::{HeaderMap, HeaderName, HeaderValue};
use keygate::domain::role::Role;
use keygate::domain::time::Timestamp;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use std::sync::atomic::{AtomicUsize, Ordering};

fn gateway(upstream: &Upstream, settings: &str) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("master"), "a7".repeat(32)).unwrap();
    GatewayBuilder::new(upstream.address)
        .stored()
        .top(&format!(
            "vault: {{ master_key: \"file:master\" }}\n{settings}"
        ))
        .start_in(folder)
}

fn private(upstream: &Upstream) -> Gateway {
    gateway(upstream, "webhooks: { allow_private: true }")
}

fn told(receiver: &Upstream, events: &[&str], gateway: &Gateway) -> (String, String) {
    let url = format!("http://{}/hook", receiver.address);
    let body = json!({"name": "hook", "url": url, "events": events});
    let made = gateway.api("POST", "/v1/webhooks", body).must(201);
    let id = made["webhook"]["id"].as_str().unwrap();
    (
        format!("/v1/webhooks/{id}"),
        made["secret"].as_str().unwrap().to_owned(),
    )
}

/// Whether a message is signed with this secret.
fn is_signed(message: &Received, secret: &str) -> bool {
    let headers: HeaderMap = message
        .headers
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        })
        .collect();
    let receiver = Webhook::new(secret).unwrap();
    receiver.verify(&message.body, &headers).is_ok()
}

fn kinds(receiver: &Upstream) -> Vec<String> {
    let kind = |message: &Received| {
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        body["type"].as_str().unwrap().to_owned()
    };
    receiver.received().iter().map(kind).collect()
}

fn wait_for(receiver: &Upstream, count: usize) {
    wait_until("messages are there", PATIENCE, || {
        receiver.received().len() >= count
    });
}

#[test]
fn a_receiver_is_told_of_what_it_asked_for_with_a_signature() {
    let upstream = Upstream::ok();
    let receiver = Upstream::ok();
    let gateway = private(&upstream);
    let (path, secret) = told(&receiver, &["workspace.*"], &gateway);
    let shown = gateway.api("GET", &path, None);
    assert!(!shown.text().contains("whsec_"), "shown once only");
    let shop = made(&gateway, "shop", None);
    gateway
        .api("POST", "/v1/consumers", json!({"name": "c"}))
        .must(201);
    gateway
        .api("DELETE", &format!("/v1/workspaces/{shop}"), None)
        .must(200);
    wait_for(&receiver, 2);
    assert_eq!(kinds(&receiver), ["workspace.created", "workspace.deleted"]);
    let first = &receiver.received()[0];
    assert!(is_signed(first, &secret));
    assert!(!is_signed(
        first,
        "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    ));
    let body: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!(
        (&body["data"]["id"], &body["data"]["name"]),
        (&json!(shop), &json!("shop"))
    );
    // The id of the message is the one in the audit log.
    let event = first.header("webhook-id").unwrap().to_owned();
    let log = gateway
        .api("GET", "/v1/audit?action=workspace.created", None)
        .must(200);
    assert_eq!(log["data"][0]["id"], *event);
    let mut delivered = Value::Null;
    wait_until("both are noted", PATIENCE, || {
        delivered = gateway
            .api("GET", &format!("{path}/deliveries?state=delivered"), None)
            .must(200);
        delivered["data"].as_array().unwrap().len() == 2
    });
    assert_eq!(delivered["data"][0]["last_status"], 200);
}

#[test]
fn what_was_not_taken_comes_again_as_the_same_message() {
    let upstream = Upstream::ok();
    let calls = AtomicUsize::new(0);
    let receiver = Upstream::answering(move |_| {
        if calls.fetch_add(1, Ordering::SeqCst) == 0 {
            b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".to_vec()
        } else {
            b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()
        }
    });
    let gateway = private(&upstream);
    let (path, secret) = told(&receiver, &["workspace.*"], &gateway);
    made(&gateway, "shop", None);
    wait_for(&receiver, 1);
    wait_until("the failure is noted", PATIENCE, || {
        gateway.api("GET", &path, None).must(200)["failing_since"] != Value::Null
    });
    wait_for(&receiver, 2);
    let messages = receiver.received();
    assert_eq!(
        messages[0].header("webhook-id"),
        messages[1].header("webhook-id")
    );
    assert_eq!(messages[0].body, messages[1].body);
    assert!(is_signed(&messages[1], &secret));
    wait_until("it is well again", PATIENCE, || {
        gateway.api("GET", &path, None).must(200)["failing_since"] == Value::Null
    });
}

/// The first wait of our own is five seconds.
#[test]
fn a_receiver_that_asks_for_time_gets_it() {
    let upstream = Upstream::ok();
    let receiver = Upstream::answering(|_| {
        b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n".to_vec()
    });
    let gateway = private(&upstream);
    let (path, _) = told(&receiver, &["workspace.*"], &gateway);
    made(&gateway, "shop", None);
    let mut tried = Value::Null;
    wait_until("the failure is noted", PATIENCE, || {
        let list = gateway.api("GET", &format!("{path}/deliveries"), None);
        tried = list.must(200)["data"][0].clone();
        tried["attempts"] == 1
    });
    assert_eq!(tried["last_status"], 429);
    let time = |field: &str| Timestamp::parse(tried[field].as_str().unwrap()).unwrap();
    let waits = time("next_at").as_millis() - time("created_at").as_millis();
    let hour = 3_600_000;
    assert!((hour..hour + 600_000).contains(&waits), "{tried}");
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn what_was_only_tried_or_refused_is_told_to_nobody() {
    let upstream = Upstream::ok();
    let receiver = Upstream::ok();
    let gateway = private(&upstream);
    let (path, _) = told(&receiver, &[], &gateway);
    let shop = made(&gateway, "shop", None);
    let place = format!("/v1/workspaces/{shop}");
    gateway
        .api("DELETE", &format!("{place}?dry_run=true"), None)
        .must(200);
    let twice = gateway.api("POST", "/v1/workspaces", json!({"name": "shop"}));
    assert_eq!(twice.code(), "name_taken");
    gateway.api("POST", &format!("{path}/test"), None).must(200);
    wait_for(&receiver, 3);
    let mut told = kinds(&receiver);
    told.sort();
    assert_eq!(
        told,
        ["webhook.created", "webhook.test", "workspace.created"]
    );
}

#[test]
fn a_new_secret_signs_beside_the_old_one_for_the_overlap() {
    let upstream = Upstream::ok();
    let receiver = Upstream::ok();
    let gateway = private(&upstream);
    let (path, old) = told(&receiver, &["member.erased"], &gateway);
    let rotate = |overlap: &str| {
        let body = json!({"overlap": overlap});
        gateway.api("POST", &format!("{path}/rotate-secret"), body)
    };
    let new = rotate("1h").must(200);
    assert_eq!(new["webhook"]["secrets"], 2);
    let new = new["secret"].as_str().unwrap().to_owned();
    gateway.api("POST", &format!("{path}/test"), None).must(200);
    wait_for(&receiver, 1);
    let message = &receiver.received()[0];
    assert!(is_signed(message, &old) && is_signed(message, &new));
    let newest = rotate("0s").must(200);
    let newest = newest["secret"].as_str().unwrap();
    gateway.api("POST", &format!("{path}/test"), None).must(200);
    wait_for(&receiver, 2);
    let message = &receiver.received()[1];
    assert!(is_signed(message, newest));
    assert!(!is_signed(message, &old) && !is_signed(message, &new));
    assert_eq!(rotate("31d").must(422)["errors"][0]["pointer"], "/overlap");
}

#[test]
fn what_was_missed_is_replayed() {
    let upstream = Upstream::ok();
    let receiver = Upstream::ok();
    let gateway = private(&upstream);
    let (path, _) = told(&receiver, &["workspace.*"], &gateway);
    let off = json!({"state": "disabled"});
    assert_eq!(
        gateway.api("PATCH", &path, off).must(200)["state"],
        "disabled"
    );
    // Once somebody else has been told, it is known whom the event goes to.
    let witness = Upstream::ok();
    let url = format!("http://{}/", witness.address);
    let body = json!({"name": "witness", "url": url, "events": ["workspace.*"]});
    gateway.api("POST", "/v1/webhooks", body).must(201);
    made(&gateway, "shop", None);
    wait_for(&witness, 1);
    let refused = gateway.api("POST", &format!("{path}/replay"), json!({}));
    assert_eq!(refused.code(), "webhook_disabled");
    gateway
        .api("PATCH", &path, json!({"state": "active"}))
        .must(200);
    let replay = gateway.api("POST", &format!("{path}/replay"), json!({}));
    assert_eq!(replay.must(200)["events"], 1);
    wait_for(&receiver, 1);
    let list = format!("{path}/deliveries?state=delivered");
    let mut done = Value::Null;
    wait_until("it is noted", PATIENCE, || {
        done = gateway.api("GET", &list, None).must(200);
        done["data"].as_array().unwrap().len() == 1
    });
    let again = json!({"deliveries": [done["data"][0]["id"]]});
    gateway
        .api("POST", &format!("{path}/replay"), again)
        .must(200);
    wait_for(&receiver, 2);
    assert_eq!(kinds(&receiver), ["workspace.created", "workspace.created"]);
    let since = json!({"since": "2100-01-01"});
    let none = gateway
        .api("POST", &format!("{path}/replay"), since)
        .must(200);
    assert_eq!(none["events"], 0);
    gateway.api("DELETE", &path, None).must(200);
    assert_eq!(gateway.api("GET", &path, None).status, 404);
}

#[test]
fn private_addresses_are_refused_unless_allowed() {
    let upstream = Upstream::ok();
    let closed = gateway(&upstream, "");
    for (url, code) in [
        ("http://127.0.0.1:1/x", "private_address"),
        ("http://[::1]/x", "private_address"),
        ("http://169.254.169.254/latest", "private_address"),
        ("ftp://example.com/", "invalid"),
        ("https://user:pass@example.com/", "invalid"),
        ("nonsense", "invalid"),
    ] {
        let body = json!({"name": "x", "url": url});
        let refused = closed.api("POST", "/v1/webhooks", body).must(422);
        assert_eq!(
            (
                &refused["errors"][0]["pointer"],
                &refused["errors"][0]["code"]
            ),
            (&json!("/url"), &json!(code)),
            "{url}"
        );
    }
    // A name is looked up when it is dialled: nothing is sent there.
    let receiver = Upstream::ok();
    let url = format!("http://localhost:{}/x", receiver.address.port());
    let made = closed.api("POST", "/v1/webhooks", json!({"name": "x", "url": url}));
    let id = made.must(201)["webhook"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/webhooks/{id}");
    let mut tried = Value::Null;
    wait_until("an attempt has failed", PATIENCE, || {
        tried = closed
            .api("GET", &format!("{path}/deliveries"), None)
            .must(200);
        tried["data"][0]["attempts"].as_u64() > Some(0)
    });
    let error = tried["data"][0]["last_error"].as_str().unwrap().to_owned();
    assert!(error.contains("private address"), "{error}");
    assert!(receiver.received().is_empty());
}

#[test]
fn without_a_master_key_there_are_no_webhooks() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address).stored().start();
    let body = json!({"name": "x", "url": "https://example.com/"});
    let refused = gateway.api("POST", "/v1/webhooks", body);
    assert_eq!(
        (refused.status, &*refused.code()),
        (409, "vault_not_configured")
    );
    assert_eq!(
        gateway.api("GET", "/v1/webhooks", None).must(200)["data"],
        json!([])
    );
}

#[test]
fn who_may_not_change_a_webhook_sees_neither_its_address_nor_others() {
    let upstream = Upstream::ok();
    let gateway = private(&upstream);
    let (north, south) = (made(&gateway, "north", None), made(&gateway, "south", None));
    let make = |place: &str| {
        let body =
            json!({"name": "hook", "url": "https://example.com/secret-path", "workspace": place});
        let made = gateway.api("POST", "/v1/webhooks", body).must(201);
        format!("/v1/webhooks/{}", made["webhook"]["id"].as_str().unwrap())
    };
    let (mine, theirs) = (make(&north), make(&south));
    let taken = json!({"name": "hook", "url": "https://example.com/", "workspace": north});
    assert_eq!(
        gateway.api("POST", "/v1/webhooks", taken).code(),
        "name_taken"
    );
    let desk = Desk::of(&gateway);
    let (auditor, admin) = (
        desk.token(&north, Role::Auditor),
        desk.token(&north, Role::Admin),
    );
    let seen = gateway.api_as(&auditor, "GET", &mine, None).must(200);
    assert_eq!(seen["url"], "https://example.com/…");
    let seen = gateway
        .api_as(&admin, "GET", "/v1/webhooks", None)
        .must(200);
    assert_eq!(seen["data"].as_array().unwrap().len(), 1);
    assert_eq!(seen["data"][0]["url"], "https://example.com/secret-path");
    for (method, path) in [
        ("GET", theirs.clone()),
        ("PATCH", theirs.clone()),
        ("DELETE", theirs.clone()),
        ("POST", format!("{theirs}/test")),
        ("POST", format!("{theirs}/rotate-secret")),
        ("GET", format!("{theirs}/deliveries")),
    ] {
        let body = (method == "PATCH").then(|| json!({}));
        let answer = gateway.api_as(&admin, method, &path, body);
        assert_eq!(
            (answer.status, &*answer.code()),
            (404, "not_found"),
            "{method} {path}"
        );
    }
    let test = gateway.api_as(&auditor, "POST", &format!("{mine}/test"), None);
    assert_eq!(test.code(), "forbidden");
    // The log tells that there is an address, not which one.
    let log = gateway.api("GET", "/v1/audit/export", None).text();
    assert!(!log.contains("secret-path") && log.contains("webhook.created"));
}

#[test]
fn a_type_of_event_that_there_is_not_is_refused() {
    let upstream = Upstream::ok();
    let receiver = Upstream::ok();
    let gateway = private(&upstream);
    let (path, _) = told(&receiver, &["*", "key.*", "key.revoked"], &gateway);
    let url = format!("http://{}/", receiver.address);
    for (wrong, near) in [("key.revokd", "key.revoked"), ("keyring.*", "key.*")] {
        let events = json!(["key.created", wrong]);
        let body = json!({"name": "x", "url": url, "events": events});
        let made = gateway.api("POST", "/v1/webhooks", body).must(422);
        let edited = gateway.api("PATCH", &path, json!({"events": events}));
        for fault in [made, edited.must(422)].map(|answer| answer["errors"][0].clone()) {
            assert_eq!(fault["code"], "unknown_value", "{fault}");
            assert_eq!(fault["pointer"], "/events/1", "{fault}");
            let message = fault["message"].as_str().unwrap();
            assert!(message.contains(near), "{message}");
            assert!(
                message.len() < 1000 && !message.contains(wrong),
                "{message}"
            );
        }
    }
}
