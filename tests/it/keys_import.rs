//! Keys that were made elsewhere: every form of a secret, item by item.

use crate::harness::{
    Answer, Client, Desk, Gateway, GatewayBuilder, KEY, Upstream, hash_of, token, with_store,
    workspace,
};
use keygate::domain::key::{Algorithm, KeyFormat, KeyHash};
use keygate::domain::role::Role;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn gateway(upstream: &Upstream) -> Gateway {
    GatewayBuilder::new(upstream.address).stored().start()
}

fn sha256_of(key: &str) -> String {
    KeyHash::sha256_of(key.as_bytes()).at_rest_as(Algorithm::Sha256)
}

fn opens(gateway: &Gateway, key: &str) -> bool {
    let answer = gateway.request("GET /", &[&format!("x-api-key: {key}")]);
    answer.status == 200
}

/// Sends lines.
fn lines(gateway: &Gateway, path: &str, body: &str) -> Answer {
    let mut client = Client::connect(gateway.management);
    let (token, length) = (&gateway.admin, body.len());
    client.send(format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: application/x-ndjson\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n"
    ));
    client.try_send(body);
    client.read()
}

#[test]
fn secrets_of_every_form_open_at_once() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let native = KeyFormat::default().generate("live").unwrap();
    let id = format!("key_{:0>26}", "4x");
    let body = [
        json!({"name": "raw", "secret": "s3cr3t_of_Kong!", "scopes": ["app:read"], "id": id,
            "created_at": "2020-02-02", "last_used_at": "2021-01-01T00:00:00Z"}),
        json!({"name": "native", "secret": native.expose(), "scopes": ["app:read"]}),
        json!({"name": "blake3", "hash": hash_of("hashed"), "scopes": ["app:read"]}),
        json!({"name": "sha256", "hash": sha256_of("older"), "scopes": ["app:read"], "tags": ["old"]}),
    ]
    .map(|item| item.to_string())
    .join("\n");
    let tried = lines(&gateway, "/v1/keys/import?dry_run=true", &body).must(200);
    assert_eq!(
        (&tried["imported"], &tried["dry_run"]),
        (&json!(4), &json!(true))
    );
    assert!(!opens(&gateway, "hashed"), "it was tried only");
    let reply = lines(&gateway, "/v1/keys/import", &body).must(200);
    assert_eq!(
        (&reply["imported"], &reply["failed"]),
        (&json!(4), &json!(0))
    );
    assert_eq!(reply["data"][0], json!({"line": 1, "ok": true, "id": id}));
    for key in ["s3cr3t_of_Kong!", native.expose(), "hashed", "older"] {
        assert!(opens(&gateway, key), "{key}");
    }
    let raw = gateway
        .api("GET", &format!("/v1/keys/{id}"), None)
        .must(200);
    assert_eq!(raw["created_at"], "2020-02-02T00:00:00.000Z");
    assert_eq!(raw["hint"], "…", "too short to show any of it");
    assert!(
        !raw["last_used_at"].as_str().unwrap().starts_with("2021"),
        "it was used since"
    );
    let found = gateway.api("GET", "/v1/keys?tag=old", None).must(200);
    assert_eq!(found["data"][0]["name"], "sha256");
}

#[test]
fn a_bad_item_keeps_no_good_one_out() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let native = KeyFormat::default().generate("live").unwrap();
    let mistyped = native.expose().replace(&native.expose()[50..], "000000");
    let body = [
        json!({"name": "good", "secret": "good-secret", "scopes": ["app:read"]}).to_string(),
        "{\"name\": broken".into(),
        "[1]".into(),
        String::new(),
        json!({"name": "", "secret": "tab\tinside", "colour": 1}).to_string(),
        json!({"name": "both", "secret": "secret-1", "hash": hash_of("x")}).to_string(),
        json!({"name": "neither"}).to_string(),
        json!({"name": "twice", "secret": "good-secret"}).to_string(),
        json!({"name": "its hash", "hash": sha256_of("good-secret")}).to_string(),
        json!({"name": "declared", "secret": KEY}).to_string(),
        json!({"name": "mistyped", "secret": mistyped}).to_string(),
        json!({"name": "elsewhere", "secret": "secret-2", "workspace": format!("ws_{:0>26}", "9")})
            .to_string(),
        json!({"name": "nobody's", "secret": "secret-3", "consumer": "nobody"}).to_string(),
        json!({"name": "tomorrow", "secret": "secret-4", "created_at": "2999-01-01"}).to_string(),
        json!({"name": "also good", "hash": sha256_of("other"), "scopes": ["app:read"]})
            .to_string(),
    ]
    .join("\r\n");
    let answer = lines(&gateway, "/v1/keys/import", &body);
    let reply = answer.must(200);
    assert_eq!(
        (&reply["imported"], &reply["failed"]),
        (&json!(2), &json!(12))
    );
    let told: Vec<String> = reply["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let errors = item["errors"].as_array().into_iter().flatten();
            let errors: Vec<String> = errors
                .map(|one| {
                    format!(
                        "{}:{}",
                        one["pointer"].as_str().unwrap(),
                        one["code"].as_str().unwrap()
                    )
                })
                .collect();
            format!("{} {}", item["line"], errors.join(" "))
        })
        .collect();
    let want = [
        "1 ",
        "2 :invalid",
        "3 :invalid",
        "5 /name:out_of_range /secret:invalid /colour:unknown_field",
        "6 /secret:required",
        "7 /secret:required",
        "8 /secret:key_taken",
        "9 /hash:key_taken",
        "10 /secret:key_taken",
        "11 /secret:invalid",
        "12 /workspace:unknown_value",
        "13 /consumer:unknown_value",
        "14 /created_at:out_of_range",
        "15 ",
    ];
    assert_eq!(told, want);
    for secret in ["good-secret", KEY, &mistyped, "inside"] {
        assert!(!answer.text().contains(secret), "no secret is told");
    }
    assert!(opens(&gateway, "good-secret") && opens(&gateway, "other"));
    let again = lines(&gateway, "/v1/keys/import", &body).must(200);
    for place in [0, 13] {
        assert_eq!(again["data"][place]["errors"][0]["code"], "key_taken");
    }
}

/// Short keys of other gateways are good until they are rotated; what anybody guesses is not.
#[test]
fn a_secret_that_anybody_guesses_is_refused() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let item = |secret: &str| json!({"name": "k", "secret": secret, "scopes": ["app:read"]});
    let body = json!({"keys": [item("a"), item("7_bytes"), item("8_bytes!"), item("")]});
    let done = gateway.api("POST", "/v1/keys/import", body).must(200);
    assert_eq!((&done["imported"], &done["failed"]), (&json!(1), &json!(3)));
    for place in [0, 1, 3] {
        let fault = &done["data"][place]["errors"][0];
        assert_eq!(
            (&fault["pointer"], &fault["code"]),
            (&json!("/secret"), &json!("out_of_range"))
        );
    }
    assert!(opens(&gateway, "8_bytes!") && !opens(&gateway, "7_bytes"));
}

/// As any other fault of an item, in either form.
#[test]
fn a_name_that_stands_twice_is_a_fault_of_its_item() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let items = [
        r#"{"name": "a", "secret": "secret-of-a"}"#,
        r#"{"name": "b", "name": "b", "secret": "secret-of-b", "limits": {"rate": "1/s", "rate": "1/s"}}"#,
        r#"{"name": "c", "secret": "with space 123"}"#,
    ];
    let import = |kind: &str, body: &str| {
        let head = "POST /v1/keys/import?dry_run=true HTTP/1.1\r\nhost: localhost\r\n";
        let mut client = Client::connect(gateway.management);
        client.send(format!(
            "{head}authorization: Bearer {}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            gateway.admin,
            body.len()
        ));
        client.read()
    };
    let list = format!(r#"{{"keys": [{}]}}"#, items.join(","));
    for (kind, body) in [
        ("application/json", list.clone()),
        ("application/x-ndjson", items.join("\n")),
    ] {
        let reply = import(kind, &body).must(200);
        let told = |line: usize| {
            let errors = reply["data"][line]["errors"]
                .as_array()
                .into_iter()
                .flatten();
            let told = errors.map(|one| json!([one["pointer"], one["code"]]));
            told.collect::<Vec<_>>()
        };
        assert_eq!(
            (&reply["imported"], told(0).len()),
            (&json!(1), 0),
            "{kind}"
        );
        let twice = [
            json!(["/name", "duplicate"]),
            json!(["/limits/rate", "duplicate"]),
        ];
        assert_eq!(told(1), twice, "{kind}");
        assert_eq!(told(2), [json!(["/secret", "invalid"])], "{kind}");
    }
    let beside = list.replacen('{', r#"{"keys": [], "#, 1);
    let told = import("application/json", &beside).must(422);
    assert_eq!(told["errors"][0]["pointer"], "/keys");
}

#[test]
fn each_workspace_hears_which_keys_came() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let [north, south] = ["north", "south"].map(|name| workspace(&gateway, None, name));
    let auditor = Desk::of(&gateway).token(&north, Role::Auditor);
    let item = |name: &str, place: &str| json!({"name": name, "secret": format!("secret-of-{name}"), "workspace": place});
    let items = json!({"keys": [item("a", &north), item("b", &south), item("c", &north)]});
    let reply = gateway.api("POST", "/v1/keys/import", items).must(200);
    let id = |place: usize| &reply["data"][place]["id"];
    let told = |token: &str| {
        let path = "/v1/audit?action=keys.imported";
        let list = gateway.api_as(token, "GET", path, None).must(200);
        let events = list["data"].as_array().unwrap().iter();
        let events = events.map(|one| json!([one["workspace"], one["changes"]]));
        events.collect::<Vec<_>>()
    };
    let to_north = json!([north, {"count": 2, "ids": [id(0), id(2)]}]);
    let to_south = json!([south, {"count": 1, "ids": [id(1)]}]);
    assert_eq!(told(&auditor), std::slice::from_ref(&to_north));
    let all = told(&gateway.admin);
    assert_eq!(all.len(), 2);
    assert!(
        all.contains(&to_north) && all.contains(&to_south),
        "{all:?}"
    );
    // Webhooks hear the same.
    let list = gateway.api("GET", "/v1/audit?action=keys.imported&limit=1", None);
    let event = list.must(200)["data"][0].clone();
    let ids = [event["id"].as_str().unwrap().to_owned()];
    let mut sent = with_store(&gateway, async |store| {
        store.outbox_events(&ids).await.unwrap()
    });
    let sent = sent.remove(&ids[0]).unwrap();
    assert_eq!(
        (sent.workspace.as_str(), &sent.data["ids"]),
        (
            event["workspace"].as_str().unwrap(),
            &event["changes"]["ids"]
        )
    );
}

#[test]
fn a_thousand_keys_at_a_time_and_no_more() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let items = |count: usize| -> Value {
        let items = (0..count).map(|number| {
            json!({"name": format!("imported key {number}"), "secret": format!("an-old-secret-{number}"),
                "scopes": ["app:read"], "tags": ["import", "kong"], "metadata": {"plan": "gold"}})
        });
        json!({"keys": items.collect::<Vec<_>>()})
    };
    let many = gateway.api("POST", "/v1/keys/import", items(1001));
    assert_eq!(
        (many.status, many.code().as_str()),
        (422, "validation_failed")
    );
    #[expect(
        clippy::disallowed_methods,
        reason = "how long it takes is what is tested"
    )]
    let start = Instant::now();
    let reply = gateway
        .api("POST", "/v1/keys/import", items(1000))
        .must(200);
    let took = start.elapsed();
    assert_eq!(reply["imported"], 1000);
    // Far below a second in a release build; this one is not optimized.
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(opens(&gateway, "an-old-secret-999"));
    let exported = gateway.api("GET", "/v1/keys/export?tag=kong", None);
    assert_eq!(
        exported.header("content-type"),
        Some("application/x-ndjson")
    );
    let text = exported.text();
    let names = text.lines().map(|line| {
        let key: Value = serde_json::from_str(line).unwrap();
        key["name"].as_str().unwrap().to_owned()
    });
    assert_eq!(names.collect::<std::collections::HashSet<_>>().len(), 1000);
    assert!(!text.contains("blake3:") && !text.contains("an-old-secret"));
    let large = "x".repeat(2 * 1024 * 1024 + 1);
    let large = lines(&gateway, "/v1/keys/import", &large);
    assert_eq!(
        (large.status, large.code().as_str()),
        (413, "body_too_large")
    );
}

#[test]
fn only_an_admin_brings_keys_in() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let body = json!({"keys": [{"name": "a", "secret": "some-secret"}]});
    for (role, status) in [
        (Role::Auditor, 403),
        (Role::Editor, 403),
        (Role::Admin, 200),
    ] {
        let token = token(&gateway, None, role);
        let answer = gateway.api_as(&token, "POST", "/v1/keys/import", body.clone());
        assert_eq!(answer.status, status, "{role}");
    }
}
