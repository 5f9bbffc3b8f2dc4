//! Explain and verify answer as the gateway does, and leave nothing behind.

use crate::harness::{
    Answer, Gateway, GatewayBuilder, PATIENCE, Served, Upstream, hash_of, tell, token, wait_until,
    workspace,
};
use keygate::domain::id::Kind;
use keygate::domain::role::Role;
use keygate::domain::workspace::root;
use serde_json::{Value, json};
use std::fmt::Write as _;

const REST: &str = r#"
upstreams:
  app: { endpoints: ["http://UPSTREAM"] }
routes:
  - name: orders
    match: { path: /shop/orders }
    upstream: app
    strip_prefix: /shop
    forward_metadata: true
    auth: { locations: [{header: X-API-Key}, bearer, {query: api_key}], scopes: {GET: "r", "*": w} }
  - name: secret
    match: { path: /shop/orders/secret }
    upstream: app
    auth: { scopes: s }
  - name: open
    match: { path: /open }
    upstream: app
    auth: { required: false }
  - name: north
    match: { path: /north }
    upstream: app
    workspace: north
keys:
"#;

/// Keys that each fail one rule on some requests; each is its own secret.
const KEYS: [(&str, &str); 10] = [
    ("reader", "scopes: [r], metadata: {plan: gold}"),
    ("writer", "scopes: [r, w]"),
    ("disabled", "scopes: [r], state: disabled"),
    ("revoked", "scopes: [r], state: revoked"),
    ("expired", "scopes: [r], expires_at: 2020-01-01"),
    ("early", "scopes: [r], not_before: 2999-01-01"),
    ("bearer-only", "scopes: [r], locations: [bearer]"),
    ("far-away", "scopes: [r], ip_allow: [203.0.113.0/24]"),
    ("elsewhere", "scopes: [r], routes: [open]"),
    ("poster", "scopes: [r], methods: [POST]"),
];

fn gateway(upstream: &Upstream) -> Gateway {
    let mut rest = REST.replace("UPSTREAM", &upstream.address.to_string());
    for (key, fields) in KEYS {
        writeln!(
            rest,
            "  - {{ name: {key}, hash: \"{}\", {fields} }}",
            hash_of(key)
        )
        .unwrap();
    }
    GatewayBuilder::with_rest(&rest).stored().start()
}

fn explain(gateway: &Gateway, body: Value) -> Value {
    gateway.api("POST", "/v1/explain", body).must(200)
}

#[test]
fn the_answer_is_that_of_the_gateway() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let targets = [
        ("GET", "/shop/orders"),
        ("POST", "/shop/orders/1?x=1&api_key="),
        ("GET", "/shop/orders/%73ecret"),
        ("GET", "/shop/orders/../x"),
        ("GET", "/open"),
        ("GET", "/north"),
        ("GET", "/nowhere"),
    ];
    let unknown = [("unknown", ""), ("kg_live_short", "")];
    for (key, _) in KEYS.iter().chain(&unknown) {
        for (method, path) in targets {
            let field = format!("x-api-key: {key}");
            let answer = gateway.request(&format!("{method} {path}"), &[&field]);
            let request = json!({"method": method, "path": path, "host": "api.example.com", "ip": "127.0.0.1"});
            let mut stands = request.clone();
            stands["headers"] = json!({"X-API-Key": key});
            for body in [
                json!({"key": key, "request": request}),
                json!({"request": stands}),
            ] {
                let told = explain(&gateway, body);
                assert_eq!(
                    told["status"], answer.status,
                    "{key} {method} {path}: {told}"
                );
                assert_eq!(told["allowed"], answer.status == 200, "{told}");
                if answer.status != 200 {
                    assert_eq!(told["code"], answer.code(), "{key} {method} {path}: {told}");
                }
            }
        }
    }
    let bare = explain(&gateway, json!({"request": {"path": "/shop/orders"}}));
    assert_eq!(
        (&bare["code"], &bare["rule"]),
        (&json!("missing_api_key"), &json!("presented"))
    );
    let both =
        json!({"request": {"path": "/shop/orders?api_key=a", "headers": {"x-api-key": "b"}}});
    assert_eq!(explain(&gateway, both)["code"], "ambiguous_credentials");
    let open = explain(&gateway, json!({"request": {"path": "/open"}}));
    assert_eq!(
        (&open["allowed"], &open["key"]),
        (&json!(true), &Value::Null)
    );
}

#[test]
fn the_rule_that_decided_is_named() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    for (key, path, rule) in [
        ("unknown", "/shop/orders", "hash"),
        ("kg_live_short", "/shop/orders", "form"),
        ("disabled", "/shop/orders", "state"),
        ("revoked", "/shop/orders", "state"),
        ("expired", "/shop/orders", "time"),
        ("early", "/shop/orders", "time"),
        ("bearer-only", "/shop/orders", "location"),
        ("far-away", "/shop/orders", "address"),
        ("writer", "/north", "workspace"),
        ("elsewhere", "/shop/orders", "routes"),
        ("poster", "/shop/orders", "methods"),
        ("writer", "/shop/orders/secret", "scopes"),
        ("writer", "/nowhere", "route"),
    ] {
        let told = explain(
            &gateway,
            json!({"key": key, "request": {"path": path, "ip": "127.0.0.1"}}),
        );
        assert_eq!(told["rule"], rule, "{told}");
        let steps = told["steps"].as_array().unwrap();
        let refused: Vec<&Value> = steps
            .iter()
            .filter(|one| one["verdict"] == "refused")
            .collect();
        assert_eq!((refused.len(), &refused[0]["rule"]), (1, &json!(rule)));
        assert_eq!(told["upstream"], Value::Null);
    }
    let two = explain(
        &gateway,
        json!({"key": "writer", "request": {"path": "/shop/orders/%73ecret"}}),
    );
    assert_eq!(two["readings"], json!(["orders", "secret"]));
    let scopes = explain(
        &gateway,
        json!({"key": "reader", "request": {"method": "POST", "path": "/shop/orders"}}),
    );
    assert_eq!(scopes["route"]["demands"], json!(["w"]));
    assert_eq!(scopes["key"]["scopes"], json!(["r"]));
}

#[test]
fn what_would_go_upstream_is_what_goes_upstream() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let request = json!({
        "path": "/shop/orders/7?a=1&api_key=reader&b=%20", "ip": "127.0.0.1",
        "headers": {"Authorization": "Bearer reader", "X_Consumer_ID": "evil", "Accept": "*/*"}
    });
    let told = explain(&gateway, json!({"request": request}));
    let out = &told["upstream"];
    let answer = gateway.request(
        "GET /shop/orders/7?a=1&api_key=reader&b=%20",
        &["authorization: Bearer reader", "x_consumer_id: evil"],
    );
    assert_eq!(answer.status, 200);
    let seen = upstream.last();
    let target = format!(
        "{}?{}",
        out["path"].as_str().unwrap(),
        out["query"].as_str().unwrap()
    );
    assert_eq!(target, seen.target());
    let headers = out["headers"].as_object().unwrap();
    assert_eq!(headers.len(), 6);
    for (name, value) in headers {
        assert_eq!(seen.header(name), value.as_str(), "{name}");
    }
    assert_eq!(out["stripped"], json!(["authorization", "?api_key"]));
    assert_eq!(out["dropped"], json!(["x_consumer_id"]));
    assert_eq!(out["name"], "app");
    assert_eq!(
        told["location"],
        json!({"kind": "bearer", "name": "authorization"})
    );
    for name in ["authorization", "x_consumer_id"] {
        assert_eq!(seen.header(name), None);
    }
}

#[test]
fn a_question_is_no_use_of_the_key() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let made = gateway
        .api(
            "POST",
            "/v1/keys",
            json!({"name": "asked", "scopes": ["r"]}),
        )
        .must(201);
    let (id, secret) = (made["key"]["id"].clone(), made["secret"].clone());
    let by_id = json!({"key_id": id, "request": {"path": "/shop/orders"}});
    for body in [
        by_id.clone(),
        json!({"key": secret, "request": {"path": "/shop/orders"}}),
    ] {
        assert_eq!(explain(&gateway, body)["allowed"], true);
    }
    let verify = |body: Value| gateway.api("POST", "/v1/verify", body).must(200);
    assert_eq!(verify(json!({"key": secret}))["valid"], true);
    let last_used = || {
        let path = format!("/v1/keys/{}", id.as_str().unwrap());
        gateway.api("GET", &path, None).must(200)["last_used_at"].clone()
    };
    assert_eq!(last_used(), Value::Null);
    assert_eq!(gateway.metric("keygate_auth_decisions_total", &[]), 0.0);
    verify(json!({"key": secret, "count": true, "ip": "203.0.113.7"}));
    assert_ne!(last_used(), Value::Null);
    // Who does not say from where a use came leaves what is known of that.
    verify(json!({"key": secret, "count": true}));
    let path = format!("/v1/keys/{}", id.as_str().unwrap());
    let known = gateway.api("GET", &path, None).must(200);
    assert_eq!(known["last_used_ip"], "203.0.113.7");
    let path = format!("/v1/keys/{}", id.as_str().unwrap());
    gateway.api("DELETE", &path, None).must(200);
    let gone = explain(&gateway, by_id);
    assert_eq!(
        (&gone["code"], &gone["rule"]),
        (&json!("invalid_api_key"), &json!("hash"))
    );
}

#[test]
fn verify_tells_whether_a_key_is_good() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    for (body, status, code) in [
        (json!({"key": "reader"}), 200, "valid"),
        (json!({"key": " reader\n"}), 200, "valid"),
        (json!({"key": "reader", "route": "orders"}), 200, "valid"),
        (
            json!({"key": "reader", "method": "POST", "path": "/shop/orders"}),
            403,
            "insufficient_scope",
        ),
        (
            json!({"key": "reader", "path": "/shop/orders/secret"}),
            403,
            "insufficient_scope",
        ),
        (
            json!({"key": "reader", "path": "/nowhere"}),
            404,
            "no_route",
        ),
        (
            json!({"key": "reader", "path": "/a/../b"}),
            400,
            "bad_request",
        ),
        (
            json!({"key": "reader", "route": "north"}),
            403,
            "workspace_mismatch",
        ),
        (json!({"key": "reader", "scopes": ["r"]}), 200, "valid"),
        (
            json!({"key": "reader", "scopes": ["r", "x"]}),
            403,
            "insufficient_scope",
        ),
        (
            json!({"key": "poster", "route": "orders"}),
            403,
            "method_not_allowed_for_key",
        ),
        (
            json!({"key": "elsewhere", "route": "orders"}),
            403,
            "route_not_allowed",
        ),
        (json!({"key": "bearer-only"}), 200, "valid"),
        (json!({"key": "far-away"}), 403, "ip_not_allowed"),
        (
            json!({"key": "far-away", "ip": "203.0.113.9"}),
            200,
            "valid",
        ),
        (json!({"key": "disabled"}), 401, "api_key_disabled"),
        (json!({"key": "revoked"}), 401, "api_key_revoked"),
        (json!({"key": "expired"}), 401, "api_key_expired"),
        (json!({"key": "early"}), 401, "invalid_api_key"),
        (json!({"key": "unknown"}), 401, "invalid_api_key"),
        (json!({"key": "x".repeat(600)}), 401, "invalid_api_key"),
        (json!({"key": "kg_live_mistyped"}), 401, "invalid_api_key"),
        (json!({"key": ""}), 401, "invalid_api_key"),
    ] {
        let told = gateway.api("POST", "/v1/verify", body.clone()).must(200);
        assert_eq!(
            (&told["status"], &told["code"]),
            (&json!(status), &json!(code)),
            "{body}"
        );
        assert_eq!(told["valid"], status == 200);
        let name = body["key"].as_str().unwrap().trim();
        let known = KEYS.iter().any(|(key, _)| *key == name);
        let shown = if known { json!(name) } else { Value::Null };
        assert_eq!(
            told["key"]["name"], shown,
            "details only for whoever has the secret"
        );
    }
}

#[test]
fn verify_reads_its_body_strictly() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let told = gateway
        .api("POST", "/v1/verify", json!({"key": "reader"}))
        .json();
    assert_eq!(told["key"]["metadata"], json!({"plan": "gold"}));
    let bad = json!({"route": "no", "path": "x", "ip": "y", "count": 1, "colour": 2});
    let bad = gateway.api("POST", "/v1/verify", bad);
    assert_eq!(
        bad.json()["errors"].as_array().unwrap().len(),
        6,
        "{}",
        bad.text()
    );
    let auditor = token(&gateway, None, Role::Auditor);
    let as_auditor = |body: Value| gateway.api_as(&auditor, "POST", "/v1/verify", body).status;
    assert_eq!(as_auditor(json!({"key": "reader"})), 200);
    assert_eq!(as_auditor(json!({"key": "reader", "count": true})), 403);
}

#[test]
fn a_key_beside_ones_own_workspace_is_an_unknown_one() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let [north, south] = ["north", "south"].map(|name| workspace(&gateway, None, name));
    let body = json!({"name": "k", "workspace": north, "scopes": ["r"]});
    let made = gateway.api("POST", "/v1/keys", body).must(201);
    let key = made["secret"].clone();
    let ask = |place: &str, key: &Value| {
        let token = token(&gateway, Some(place), Role::Editor);
        let body = json!({"key": key});
        let told = gateway.api_as(&token, "POST", "/v1/verify", body).must(200);
        let body = json!({"key": key, "request": {"path": "/shop/orders"}});
        let why = gateway
            .api_as(&token, "POST", "/v1/explain", body)
            .must(200);
        assert_eq!(told["code"], why["code"]);
        assert_eq!(told["key"]["id"], why["key"]["id"]);
        (told["code"].clone(), told["key"].is_null())
    };
    assert_eq!(ask(&north, &key), (json!("valid"), false));
    assert_eq!(ask(&south, &key), (json!("invalid_api_key"), true));
    assert_eq!(
        ask(&south, &json!("reader")),
        (json!("valid"), false),
        "it acts there"
    );
    let foreign = token(&gateway, Some(&south), Role::Editor);
    let body = json!({"key_id": made["key"]["id"], "request": {"path": "/"}});
    let answer = gateway.api_as(&foreign, "POST", "/v1/explain", body);
    assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"));
}

#[test]
fn a_route_of_another_workspace_is_not_told_of() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let [north, south] = ["north", "south"].map(|name| workspace(&gateway, None, name));
    let key = |place: &Value| {
        let body = json!({"name": "k", "workspace": place, "scopes": ["r"]});
        let made = gateway.api("POST", "/v1/keys", body).must(201);
        made["secret"].clone()
    };
    let root = json!(root().text(Kind::Workspace).to_string());
    // A key of the whole may use the route, and acts in both.
    let body = json!({"key": key(&root), "request": {"path": "/north"}});
    wait_until("the route is open", PATIENCE, || {
        explain(&gateway, body.clone())["allowed"] == true
    });
    let all = explain(&gateway, body.clone());
    let ask = |place: &str, role: Role| {
        let token = token(&gateway, Some(place), role);
        let answer = gateway.api_as(&token, "POST", "/v1/explain", body.clone());
        answer.must(200)
    };
    for role in Role::ALL {
        assert_eq!(ask(&north, role), all, "{role}");
        let told = ask(&south, role);
        for field in ["route", "location", "upstream"] {
            assert_ne!(all[field], Value::Null, "{field}");
            assert_eq!(told[field], Value::Null, "{role}: {told}");
        }
        assert_eq!(told["readings"], json!([null, null]));
        assert_eq!(
            (&told["code"], &told["allowed"]),
            (&all["code"], &json!(true))
        );
    }
    let token = token(&gateway, Some(&south), Role::Editor);
    let own = json!({"key": key(&json!(south)), "request": {"path": "/shop/orders"}});
    let told = gateway.api_as(&token, "POST", "/v1/explain", own).must(200);
    assert_eq!(told["route"]["name"], "orders", "it belongs to nobody");
}

/// The presented key is in no log line, no fault and nowhere in the store.
/// Whether there is a route of a name is not found out by naming it, neither in a question nor in a key.
#[test]
fn a_route_of_another_workspace_is_none() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let [north, south] = ["north", "south"].map(|name| workspace(&gateway, None, name));
    let [own, foreign] = [&north, &south].map(|place| token(&gateway, Some(place), Role::Owner));
    let verify = |token: &str, route: &str| {
        let body = json!({"key": "reader", "route": route});
        gateway.api_as(token, "POST", "/v1/verify", body)
    };
    wait_until("the route has its workspace", PATIENCE, || {
        verify(&own, "north").status == 200
    });
    let make = |token: &str, routes: &[&str]| {
        let body = json!({"name": "k", "routes": routes});
        gateway.api_as(token, "POST", "/v1/keys", body)
    };
    let none = |answer: &Answer| answer.must(422)["errors"][0].clone();
    assert_eq!(
        none(&verify(&foreign, "north")),
        none(&verify(&foreign, "no"))
    );
    assert_eq!(
        none(&make(&foreign, &["north"])),
        none(&make(&foreign, &["no"]))
    );
    for route in ["orders", "open"] {
        verify(&foreign, route).must(200);
        make(&foreign, &[route]).must(201);
    }
    make(&own, &["north"]).must(201);

    // What is in a key already may stay.
    let body = json!({"name": "k", "workspace": south, "routes": ["north", "open"]});
    let key = gateway.api("POST", "/v1/keys", body).must(201);
    let path = format!("/v1/keys/{}", key["key"]["id"].as_str().unwrap());
    let edit = |routes: &[&str]| {
        let body = json!({"name": "k", "routes": routes});
        gateway.api_as(&foreign, "PUT", &path, body)
    };
    edit(&["north", "orders"]).must(200);
    edit(&["orders"]).must(200);
    none(&edit(&["north"]));
}

#[test]
fn a_key_that_is_asked_about_goes_nowhere() {
    const CANARY: &str = "canary-7b1d-of-a-key";
    let upstream = Upstream::ok();
    let rest = REST.replace("UPSTREAM", &upstream.address.to_string());
    let yaml = format!(
        "store: sqlite:keygate.db\nlog: {{ level: trace }}\nlisteners: [{{ address: 127.0.0.1:0 }}]\nmanagement: {{ address: 127.0.0.1:0 }}\n{rest}  - {{ name: k, hash: \"{}\", scopes: [r] }}\n",
        hash_of(CANARY)
    );
    let mut served = Served::start(&yaml);
    let bearer = format!("authorization: Bearer {}", served.setup_token());
    let ask = |path: &str, body: Value| {
        let line = format!("POST {path}");
        tell(served.management, &line, &[&bearer], Some(body))
    };
    let request =
        json!({"path": format!("/shop/orders?api_key={CANARY}"), "headers": {"x-api-key": CANARY}});
    let mut answers = vec![
        ask("/v1/verify", json!({"key": CANARY, "count": true})),
        ask(
            "/v1/verify",
            json!({"key": CANARY, "count": CANARY, "ip": CANARY}),
        ),
        ask("/v1/verify", json!({"key": [CANARY]})),
        ask("/v1/explain", json!({"request": request})),
        ask(
            "/v1/explain",
            json!({"key": CANARY, "request": {"path": "/shop/orders", "headers": {"x-api-key": [CANARY, 1]}}}),
        ),
        ask(
            "/v1/explain",
            json!({"key": CANARY, "key_id": CANARY, "request": {"path": CANARY, "ip": CANARY}}),
        ),
        ask(
            "/v1/keys/import",
            json!({"keys": [{"name": "k", "secret": CANARY}, {"name": "k", "hash": CANARY}]}),
        ),
    ];
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 422, 422, 200, 422, 422, 200]);
    // What goes upstream is told without the key too.
    for answer in answers.drain(..) {
        assert!(!answer.text().contains(CANARY), "{}", answer.text());
    }
    assert_eq!(served.stop(), Some(0));
    for text in [served.out.all(), served.err.all()] {
        assert!(!text.contains(CANARY), "{text}");
    }
    for file in ["keygate.db", "keygate.db-wal"] {
        let bytes = std::fs::read(served.file.with_file_name(file)).unwrap_or_default();
        assert_eq!(
            memchr::memmem::find(&bytes, CANARY.as_bytes()),
            None,
            "{file}"
        );
    }
}
