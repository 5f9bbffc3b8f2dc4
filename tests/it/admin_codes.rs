//! Every code of the admin API, provoked over a real socket: what `docs/errors.md` lists is what was heard here.

use crate::harness::{Answer, Client, Desk, Gateway, GatewayBuilder, Upstream, ask, free_port};
use crate::workspaces::stored;
use keygate::clock::{Clock, TestClock};
use keygate::domain::id::Kind;
use keygate::domain::role::Role;
use keygate::domain::time::Timestamp;
use keygate::domain::workspace::root;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Provoked in tests of their own, which take their time.
const ELSEWHERE: [(&str, &str); 3] = [
    ("draining", include_str!("management.rs")),
    ("request_timeout", include_str!("../../src/admin/call.rs")),
    ("too_many_keys", include_str!("keys_api.rs")),
];

/// What no call can bring about, and why.
const UNHEARD: [(&str, &str); 2] = [
    (
        "conflict",
        "ids are made fresh, or looked up in the transaction that makes the object, and writers wait for each other",
    ),
    (
        "invalid_text",
        "texts of bodies and queries are refused before they reach a store that cannot keep them",
    ),
];

/// Codes that were heard.
#[derive(Default)]
struct Heard(BTreeSet<String>);

impl Heard {
    /// The code of a problem.
    fn note(&mut self, status: u16, code: &str, answer: &Answer) {
        let told = (answer.status, answer.code());
        assert_eq!(told, (status, code.to_owned()), "{}", answer.text());
        let json = answer.json();
        assert_eq!(json["type"], format!("urn:keygate:problem:{code}"));
        assert_eq!(json["status"], status);
        let detail = json["detail"].as_str().unwrap();
        assert!(!detail.is_empty() && !detail.contains("sqlite"), "{detail}");
        self.0.insert(code.to_owned());
    }

    /// A code that stands in a list of faults.
    fn note_fault(&mut self, code: &str, faults: &Value) {
        let mut codes = faults.as_array().unwrap().iter().map(|one| &one["code"]);
        assert!(codes.any(|found| found == code), "{code}: {faults}");
        self.0.insert(code.to_owned());
    }
}

/// All codes of the management port that the document lists.
fn listed() -> BTreeSet<String> {
    let page = include_str!("../../docs/errors.md");
    let (_, rows) = page.split_once("## On the management port").unwrap();
    let code = regex::Regex::new(r"(?m)^\| (?:\d+ \| )?`([a-z_]+)` \|").unwrap();
    let found = code.captures_iter(rows);
    found.map(|one| one[1].to_owned()).collect()
}

#[test]
fn every_listed_code_can_be_heard() {
    let mut heard = Heard::default();
    ways_in(&mut heard);
    bodies_and_versions(&mut heard);
    too_fast(&mut heard);
    the_store_is_away(&mut heard);
    a_foreign_store(&mut heard);
    keys(&mut heard);
    imported_keys(&mut heard);
    places(&mut heard);
    people(&mut heard);
    webhooks(&mut heard);
    for (code, tests) in ELSEWHERE {
        assert!(tests.contains(&format!("\"{code}\"")), "{code}");
        heard.0.insert(code.to_owned());
    }
    for (code, why) in UNHEARD {
        assert!(!why.is_empty() && heard.0.insert(code.to_owned()), "{code}");
    }
    assert!(heard.0.len() > 35);
    assert_eq!(heard.0, listed());
}

fn id(object: &Value) -> &str {
    object["id"].as_str().unwrap()
}

fn ways_in(heard: &mut Heard) {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let auditor = Desk::of(&gateway).token(&root_id(), Role::Auditor);
    heard.note(
        401,
        "unauthorized",
        &gateway.api_as("", "GET", "/v1/keys", None),
    );
    let origin = ["origin: https://elsewhere.example"];
    let answer = gateway.api_with(&origin, "GET", "/v1/keys", None);
    heard.note(421, "misdirected", &answer);
    heard.note(404, "not_found", &gateway.api("GET", "/v1/keys/x", None));
    heard.note(
        405,
        "method_not_allowed",
        &gateway.api("DELETE", "/v1/whoami", None),
    );
    let answer = gateway.api_as(&auditor, "POST", "/v1/keys", json!({"name": "x"}));
    heard.note(403, "forbidden", &answer);
    for _ in 0..60 {
        gateway.api_as("kg_admin_nobody", "GET", "/v1/keys", None);
    }
    let answer = gateway.api_as("kg_admin_nobody", "GET", "/v1/keys", None);
    heard.note(429, "too_many_failures", &answer);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
}

fn root_id() -> String {
    root().text(Kind::Workspace).to_string()
}

fn bodies_and_versions(heard: &mut Heard) {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let post = |kind: &str, body: &[u8]| {
        let lines = format!(
            "POST /v1/keys HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            gateway.admin,
            body.len()
        );
        let mut client = Client::connect(gateway.management);
        client.send([lines.as_bytes(), body].concat());
        client.read()
    };
    heard.note(400, "bad_request", &post("application/json", b"[]"));
    heard.note(415, "unsupported_media_type", &post("text/plain", b"{}"));
    let large = vec![b' '; 2 * 1024 * 1024 + 1];
    heard.note(413, "body_too_large", &post("application/json", &large));
    heard.note(
        422,
        "validation_failed",
        &gateway.api("GET", "/v1/keys?limit=0", None),
    );
    let key = gateway
        .api("POST", "/v1/keys", json!({"name": "x"}))
        .must(201);
    let path = format!("/v1/keys/{}", id(&key["key"]));
    let answer = gateway.api_with(&["if-match: \"1\""], "PATCH", &path, json!({"name": "y"}));
    heard.note(412, "precondition_failed", &answer);
    let once = ["idempotency-key: once"];
    gateway
        .api_with(&once, "POST", "/v1/keys", json!({"name": "x"}))
        .must(201);
    let answer = gateway.api_with(&once, "POST", "/v1/keys", json!({"name": "y"}));
    heard.note(409, "idempotency_mismatch", &answer);
}

/// The clock stands still: nobody gets a second's worth of new requests.
fn too_fast(heard: &mut Heard) {
    let upstream = Upstream::ok();
    let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_798_761_600_000)));
    let gateway = GatewayBuilder::new(upstream.address)
        .stored()
        .clock(clock as Arc<dyn Clock>)
        .start();
    let mut client = Client::connect(gateway.management);
    let mut last = None;
    for _ in 0..=2000 {
        client.send("GET /v1/whoami HTTP/1.1\r\nhost: localhost\r\n\r\n");
        last = Some(client.read());
    }
    heard.note(429, "rate_limited", &last.unwrap());
}

fn the_store_is_away(heard: &mut Heard) {
    let upstream = Upstream::ok();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "a-token-that-nobody-guesses").unwrap();
    let port = free_port();
    let gateway = GatewayBuilder::new(upstream.address)
        .top(&format!(
            "store: postgres://keygate@127.0.0.1:{port}/keygate"
        ))
        .management("token: 'file:token'")
        .start_in(folder);
    let ask = |method: &str, path: &str, body: Option<Value>| {
        gateway.api_as("a-token-that-nobody-guesses", method, path, body)
    };
    let read = ask(
        "GET",
        "/v1/consumers?workspace=ws_00000000000000000000000001",
        None,
    );
    heard.note(503, "dependency_down", &read);
    let change = ask("POST", "/v1/consumers", Some(json!({"name": "x"})));
    heard.note(503, "dependency_down", &change);
    // Whoever only reads does not ask whether something was changed.
    for (answer, says) in [(&read, false), (&change, true)] {
        let detail = answer.json()["detail"].to_string();
        assert_eq!(detail.contains("nothing was changed"), says, "{detail}");
    }
    let body = json!({"key": "some"});
    let verify = ask("POST", "/v1/verify", Some(body));
    heard.note(503, "not_ready", &verify);
    for answer in [&read, &change, &verify] {
        assert_eq!(answer.header("retry-after"), Some("5"));
    }

    let bare = Gateway::before(upstream.address);
    let answer = ask_bare(&bare, "/v1/tokens");
    heard.note(409, "no_store", &answer);
}

fn ask_bare(gateway: &Gateway, path: &str) -> Answer {
    ask(gateway.management, &format!("GET {path}"), &[])
}

/// Somebody else has written into it.
fn a_foreign_store(heard: &mut Heard) {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    gateway
        .api("POST", "/v1/consumers", json!({"name": "x"}))
        .must(201);
    Desk::of(&gateway).sql("UPDATE consumers SET metadata = 'no JSON'");
    heard.note(500, "internal", &gateway.api("GET", "/v1/consumers", None));
}

fn keys(heard: &mut Heard) {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let new = || {
        let made = gateway
            .api("POST", "/v1/keys", json!({"name": "x"}))
            .must(201);
        format!("/v1/keys/{}", id(&made["key"]))
    };
    let act =
        |key: &str, act: &str, body: Value| gateway.api("POST", &format!("{key}/{act}"), body);
    let key = new();
    heard.note(409, "nothing_to_retire", &act(&key, "retire", json!({})));
    heard.note(409, "not_restorable", &act(&key, "restore", json!({})));
    for _ in 0..2 {
        act(&key, "rotate", json!({"grace": "1d"})).must(200);
    }
    heard.note(
        409,
        "too_many_secrets",
        &act(&key, "rotate", json!({"grace": "1d"})),
    );
    let expired = new();
    let past = json!({"expires_at": "2020-01-01"});
    gateway.api("PATCH", &expired, past).must(200);
    heard.note(409, "key_expired", &act(&expired, "rotate", json!({})));
    let revoked = new();
    act(&revoked, "revoke", json!({"reason": "compromised"})).must(200);
    heard.note(409, "key_revoked", &act(&revoked, "enable", json!({})));
    let deleted = new();
    gateway.api("DELETE", &deleted, None).must(200);
    heard.note(409, "key_deleted", &act(&deleted, "rotate", json!({})));
    let declared = format!("/v1/keys/{}", gateway.declared_key());
    heard.note(
        409,
        "managed_by_file",
        &act(&declared, "disable", json!({})),
    );
    let body =
        json!({"action": "disable", "ids": [key.trim_start_matches("/v1/keys/")], "expected": 2});
    let answer = gateway.api("POST", "/v1/keys/bulk", body);
    heard.note(409, "expected_mismatch", &answer);
}

fn imported_keys(heard: &mut Heard) {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let body = json!({"keys": [{"name": "x", "secret": "an-old-secret"}, {"name": "y", "secret": "an-old-secret"}]});
    let done = gateway.api("POST", "/v1/keys/import", body).must(200);
    heard.note_fault("key_taken", &done["data"][1]["errors"]);
}

fn places(heard: &mut Heard) {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let consumer = || gateway.api("POST", "/v1/consumers", json!({"name": "x"}));
    consumer().must(201);
    heard.note(409, "name_taken", &consumer());
    let known = |name: &str| {
        let body = json!({"name": name, "external_id": "crm-7"});
        gateway.api("POST", "/v1/consumers", body)
    };
    known("one").must(201);
    heard.note(409, "external_id_taken", &known("two"));
    let mut above = root_id();
    let last = loop {
        let body = json!({"name": "x", "parent": above});
        let answer = gateway.api("POST", "/v1/workspaces", body);
        if answer.status != 201 {
            break answer;
        }
        above = id(&answer.json()).to_owned();
    };
    heard.note(409, "too_deep", &last);
    let top = format!("/v1/workspaces/{}", root_id());
    heard.note(409, "in_use", &gateway.api("DELETE", &top, None));
}

fn people(heard: &mut Heard) {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let body = json!({"email": "ada@example.com", "name": "Ada", "role": "owner"});
    let member = || gateway.api("POST", "/v1/members", body.clone());
    let ada = member().must(201);
    heard.note(409, "email_taken", &member());
    let erase = format!("/v1/members/{}/erase", id(&ada));
    heard.note(409, "last_owner", &gateway.api("POST", &erase, None));
}

fn webhooks(heard: &mut Heard) {
    let upstream = Upstream::ok();
    let body = json!({"name": "x", "url": "https://hooks.example.com/", "events": ["workspace.*"]});
    let answer = stored(&upstream).api("POST", "/v1/webhooks", body.clone());
    heard.note(409, "vault_not_configured", &answer);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("master.key"), "07".repeat(32)).unwrap();
    let gateway = GatewayBuilder::new(upstream.address)
        .stored()
        .top("vault: { master_key: 'file:master.key' }")
        .start_in(folder);
    let private = json!({"name": "x", "url": "https://10.0.0.1/"});
    let answer = gateway.api("POST", "/v1/webhooks", private).must(422);
    heard.note_fault("private_address", &answer["errors"]);
    let made = gateway.api("POST", "/v1/webhooks", body).must(201);
    let path = format!("/v1/webhooks/{}", id(&made["webhook"]));
    let off = json!({"state": "disabled"});
    gateway.api("PATCH", &path, off).must(200);
    let answer = gateway.api("POST", &format!("{path}/test"), json!({}));
    heard.note(409, "webhook_disabled", &answer);
}

#[test]
fn no_text_of_a_query_has_control_characters() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    for (path, names) in [
        (
            "/v1/keys",
            &["tag", "scope", "environment", "q", "status"][..],
        ),
        ("/v1/audit", &["actor", "action", "target", "q"]),
        ("/v1/consumers", &["q", "external_id"]),
        ("/v1/tokens", &["q"]),
    ] {
        for name in names {
            let answer = gateway.api("GET", &format!("{path}?{name}=a%00b"), None);
            let faults = answer.must(422)["errors"].clone();
            assert_eq!(faults[0]["pointer"], format!("?{name}"), "{path}");
        }
    }
}
