//! Limits of keys, consumers and routes: what passes, what is said about it, and what a change leaves of it.

use crate::harness::{
    Answer, Gateway, GatewayBuilder, KEY, PATIENCE, Upstream, hash_of, wait_until,
};
use keygate::clock::TestClock;
use keygate::domain::time::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

const SECOND: i64 = 1000;
const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn clock() -> Arc<TestClock> {
    Arc::new(TestClock::at(NOON))
}

/// The gateway of [`GatewayBuilder::new`], with limits of its key.
fn limited(upstream: &Upstream, limits: &str) -> GatewayBuilder {
    let limits = format!("{{ name: ci, limits: {limits},");
    GatewayBuilder::new(upstream.address).replace("{ name: ci,", &limits)
}

fn statuses(number: usize, ask: impl Fn() -> Answer) -> Vec<u16> {
    (0..number).map(|_| ask().status).collect()
}

fn fields(answer: &Answer) -> [Option<&str>; 6] {
    [
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
        "ratelimit-policy",
        "ratelimit",
        "retry-after",
    ]
    .map(|name| answer.header(name))
}

#[test]
fn a_burst_passes_then_the_rate_and_each_answer_says_how_things_stand() {
    let (upstream, clock) = (Upstream::ok(), clock());
    let gateway = limited(&upstream, "{ rate: 30/m, burst: 3 }")
        .clock(clock.clone())
        .start();
    let first = gateway.get("/");
    assert_eq!(
        (first.status, fields(&first)),
        (
            200,
            [
                Some("3"),
                Some("2"),
                Some("2"),
                Some("\"key\";q=30;w=60"),
                Some("\"key\";r=2;t=2"),
                None
            ]
        )
    );
    assert_eq!(statuses(2, || gateway.get("/")), [200, 200]);
    let refused = gateway.get("/");
    assert_eq!((refused.status, &*refused.code()), (429, "rate_limited"));
    assert_eq!(
        refused.json()["detail"],
        "too many requests: the limit of the key is used up"
    );
    assert_eq!(
        fields(&refused),
        [
            Some("3"),
            Some("0"),
            Some("6"),
            Some("\"key\";q=30;w=60"),
            Some("\"key\";r=0;t=6"),
            Some("2")
        ]
    );
    clock.advance_millis(2 * SECOND - 1);
    assert_eq!(gateway.get("/").header("retry-after"), Some("1"));
    clock.advance_millis(1);
    assert_eq!(statuses(2, || gateway.get("/")), [200, 429]);
    // Set back, the clock refuses nobody for longer than the limit would.
    clock.advance_millis(-3600 * SECOND);
    assert_eq!(gateway.get("/").header("retry-after"), Some("2"));
    clock.advance_millis(2 * 3600 * SECOND);
    assert_eq!(statuses(4, || gateway.get("/")), [200, 200, 200, 429]);

    assert_eq!(upstream.received().len(), 7);
    let decisions = |result| {
        let labels = [("policy", "key"), ("result", result)];
        gateway.metric("keygate_rate_limit_decisions_total", &labels)
    };
    assert_eq!((decisions("allowed"), decisions("limited")), (7.0, 5.0));
    let refusals = [("result", "denied"), ("reason", "rate_limited")];
    assert_eq!(
        gateway.metric("keygate_auth_decisions_total", &refusals),
        5.0
    );
}

#[test]
fn without_limits_nothing_is_said_of_them() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    assert_eq!(fields(&gateway.get("/")), [None; 6]);
    let metrics = gateway.manage("/metrics").text();
    assert!(
        metrics
            .contains("keygate_rate_limit_decisions_total{policy=\"route\",result=\"limited\"} 0")
    );
}

#[test]
fn what_one_limit_refuses_does_not_count_for_the_others() {
    let (upstream, clock) = (Upstream::ok(), clock());
    let other = hash_of("another-key-of-somebody");
    let gateway = limited(&upstream, "{ rate: 1/h, burst: 4 }")
        .route("limits: { rate: 1/s, burst: 2 }")
        .replace(
            "keys:\n",
            &format!("keys:\n  - {{ name: other, hash: \"{other}\", scopes: [app:read] }}\n"),
        )
        .clock(clock.clone())
        .start();
    let other = || gateway.request("GET /", &["x-api-key: another-key-of-somebody"]);
    // The route is shared by whoever uses it.
    assert_eq!([gateway.get("/").status, other().status], [200, 200]);
    for _ in 0..5 {
        let refused = gateway.get("/");
        assert_eq!(refused.status, 429);
        assert_eq!(refused.header("ratelimit"), Some("\"route\";r=0;t=2"));
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    // The key has lost nothing by it: three of its four are left, one each second.
    for status in [200, 200, 200, 429] {
        clock.advance_millis(SECOND);
        let answer = gateway.get("/");
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let refused = gateway.get("/");
    assert_eq!(
        refused.header("ratelimit-policy"),
        Some("\"key\";q=1;w=3600")
    );
    // And what the key was refused, the route has still.
    assert_eq!(other().status, 200);
}

#[test]
fn an_open_route_is_limited_too_and_a_refused_key_takes_nothing() {
    let (upstream, clock) = (Upstream::ok(), clock());
    let gateway = GatewayBuilder::new(upstream.address)
        .route("limits: { rate: 1/m, burst: 2 }")
        .replace("    auth:\n", "    auth:\n      required: false\n")
        .clock(clock)
        .start();
    let wrong = "x-api-key: kg_live_nobody";
    assert_eq!(statuses(5, || gateway.request("GET /", &[wrong])), [401; 5]);
    let open = || gateway.request("GET /", &[]);
    assert_eq!(statuses(3, open), [200, 200, 429]);
    assert_eq!(gateway.get("/").status, 429);
}

#[test]
fn what_a_service_says_of_limits_gives_way_in_any_letters() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nRateLimit-Limit: 9\r\nRATELIMIT: x\r\nContent-Length: 2\r\n\r\nok"
            .to_vec()
    });
    let gateway = limited(&upstream, "{ rate: 30/m, burst: 3 }").start();
    let answer = gateway.get("/");
    assert_eq!(answer.headers_named("ratelimit-limit"), ["3"]);
    assert_eq!(answer.headers_named("ratelimit").len(), 1);
}

#[test]
fn a_reload_does_not_fill_a_bucket() {
    let (upstream, clock) = (Upstream::ok(), clock());
    let mut gateway = limited(&upstream, "{ rate: 1/h, burst: 3 }")
        .route("limits: { rate: 1/h, burst: 2 }")
        .clock(clock.clone())
        .start();
    assert_eq!(statuses(3, || gateway.get("/")), [200, 200, 429]);
    gateway.edit("name: ci,", "name: renamed,");
    wait_until("the reload", PATIENCE, || {
        gateway.manage("/v1/keys").text().contains("renamed")
    });
    assert_eq!(
        gateway.get("/").header("ratelimit"),
        Some("\"route\";r=0;t=7200")
    );
    gateway.edit("limits: { rate: 1/h, burst: 2 }", "timeout: 30s");
    wait_until("the route has no limit", PATIENCE, || {
        gateway
            .get("/")
            .header("ratelimit")
            .is_none_or(|text| text.starts_with("\"key\""))
    });
    assert_eq!(gateway.get("/").status, 429, "one was left for the key");
    // Another limit goes on from there: what is missing is missing, up to what it holds at all.
    gateway.edit("rate: 1/h, burst: 3", "rate: 1/s, burst: 3");
    wait_until("the new limit", PATIENCE, || {
        gateway.get("/").header("ratelimit-policy") == Some("\"key\";q=1;w=1")
    });
    assert_eq!(gateway.get("/").status, 429);
    clock.advance_millis(3 * SECOND);
    assert_eq!(statuses(4, || gateway.get("/")), [200, 200, 200, 429]);
}

fn secret(made: &Value) -> String {
    format!("x-api-key: {}", made["secret"].as_str().unwrap())
}

#[test]
fn all_keys_of_a_consumer_share_its_limit_and_all_secrets_of_a_key_its_own() {
    let (upstream, clock) = (Upstream::ok(), clock());
    let gateway = GatewayBuilder::new(upstream.address)
        .stored()
        .clock(clock.clone())
        .start();
    let post = |path: &str, body: Value| gateway.api("POST", path, body).must(201);
    let consumer = post(
        "/v1/consumers",
        json!({"name": "shop", "limits": {"rate": "60/h", "burst": 3.0}}),
    );
    assert_eq!(consumer["limits"], json!({"rate": "60/h", "burst": 3}));
    let key = |name: &str, limits: Value| {
        let body =
            json!({"name": name, "consumer": "shop", "scopes": ["app:read"], "limits": limits});
        post("/v1/keys", body)
    };
    let (one, two) = (
        key("one", Value::Null),
        key("two", json!({"rate": "1/m", "burst": 2})),
    );
    assert_eq!(one["key"]["limits"], Value::Null);
    assert_eq!(two["key"]["limits"], json!({"rate": "1/m", "burst": 2}));
    let ask = |key: &Value| gateway.request("GET /", &[&secret(key)]);
    assert_eq!(ask(&one).header("ratelimit"), Some("\"consumer\";r=2;t=60"));
    assert_eq!(ask(&two).header("ratelimit"), Some("\"key\";r=1;t=60"));
    let path = format!("/v1/keys/{}", two["key"]["id"].as_str().unwrap());
    let rotated = gateway.api("POST", &format!("{path}/rotate"), json!({"grace": "1h"}));
    let rotated = rotated.must(200);
    assert_eq!(ask(&rotated).status, 200);
    assert_eq!(
        ask(&two).json()["detail"],
        "too many requests: the limit of the key is used up"
    );
    // The consumer had three, and all are gone.
    assert_eq!(
        ask(&one).json()["detail"],
        "too many requests: the limit of the consumer is used up"
    );
    // A wider limit is in force from the reply on, a narrower one too.
    let consumer = format!("/v1/consumers/{}", consumer["id"].as_str().unwrap());
    let edited = |path: &str, limits: Value| {
        let body = json!({"limits": limits});
        gateway.api("PATCH", path, body).must(200)["limits"].clone()
    };
    assert_eq!(
        edited(&consumer, json!({"rate": "1/s"})),
        json!({"rate": "1/s", "burst": 3})
    );
    assert_eq!(ask(&one).status, 429, "it begins as empty as it was");
    clock.advance_millis(SECOND);
    assert_eq!(statuses(2, || ask(&one)), [200, 429]);
    assert_eq!(edited(&consumer, Value::Null), Value::Null);
    assert_eq!(statuses(9, || ask(&one)), [200; 9]);
    assert_eq!(
        edited(&path, json!({"burst": null})),
        json!({"rate": "1/m", "burst": 1})
    );
    assert_eq!(
        edited(&path, json!({"rate": "2/s", "burst": null})),
        json!({"rate": "2/s", "burst": 2})
    );
    let seen = gateway
        .api("GET", "/v1/audit?action=consumer.updated", None)
        .must(200);
    assert_eq!(
        seen["data"][0]["changes"]["limits"],
        json!({"from": {"rate": "1/s", "burst": 3}, "to": null})
    );
}

#[test]
fn a_burst_that_was_not_said_follows_the_rate() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address).stored().start();
    for (kind, object) in [("keys", "key"), ("consumers", "")] {
        let body = json!({"name": "x", "limits": {"rate": "10/s"}});
        let made = gateway.api("POST", &format!("/v1/{kind}"), body).must(201);
        let made = made.get(object).unwrap_or(&made);
        assert_eq!(made["limits"], json!({"rate": "10/s", "burst": 10}));
        let path = format!("/v1/{kind}/{}", made["id"].as_str().unwrap());
        for (patch, rate, burst) in [
            (json!({"rate": "20/s"}), "20/s", 20),
            (json!({"burst": 20}), "20/s", 20),
            (json!({"rate": "5/m"}), "5/m", 20),
            (json!({"burst": null}), "5/m", 5),
            (json!({"rate": "7/m"}), "7/m", 7),
        ] {
            let body = json!({"limits": patch});
            let told = gateway.api("PATCH", &path, body).must(200);
            let wanted = json!({"rate": rate, "burst": burst});
            assert_eq!(told["limits"], wanted, "{kind} {patch}");
        }
    }
}

#[test]
fn explain_and_verify_know_limits() {
    let upstream = Upstream::ok();
    let gateway = limited(&upstream, "{ rate: 1/h, burst: 2 }")
        .stored()
        .clock(clock())
        .start();
    let verify = |count: bool| {
        let body = json!({"key": KEY, "count": count});
        let told = gateway.api("POST", "/v1/verify", body).must(200);
        (told["code"].clone(), told["status"].clone())
    };
    let explain = || {
        let body = json!({"key": KEY, "request": {"path": "/"}});
        gateway.api("POST", "/v1/explain", body).must(200)
    };
    let limit = |count: bool| {
        let body = json!({"key": KEY, "count": count});
        gateway.api("POST", "/v1/verify", body).must(200)["limit"].clone()
    };
    let standing = |remaining, reset, wait| json!({"policy": "key", "limit": 2, "remaining": remaining, "reset": reset, "retry_after": wait});
    // Asking takes nothing.
    for _ in 0..5 {
        assert_eq!(limit(false), standing(2, 0, 0));
        assert_eq!(verify(false), (json!("valid"), json!(200)));
        assert_eq!(explain()["allowed"], true);
    }
    assert_eq!(limit(true), standing(1, 3600, 0));
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(verify(true), (json!("rate_limited"), json!(429)));
    assert_eq!(verify(false), (json!("rate_limited"), json!(429)));
    assert_eq!(limit(false), standing(0, 7200, 3600));
    let decisions = |result| {
        let labels = [("policy", "key"), ("result", result)];
        gateway.metric("keygate_rate_limit_decisions_total", &labels)
    };
    assert_eq!((decisions("allowed"), decisions("limited")), (2.0, 1.0));
    let wrong = json!({"key": "kg_live_nobody"});
    let wrong = gateway.api("POST", "/v1/verify", wrong).must(200);
    assert_eq!(wrong["limit"], Value::Null);
    let told = explain();
    assert_eq!(
        (&told["allowed"], &told["rule"], &told["code"]),
        (&json!(false), &json!("limits"), &json!("rate_limited"))
    );
    let steps = told["steps"].as_array().unwrap();
    assert_eq!(
        steps.last().unwrap(),
        &json!({"rule": "limits", "verdict": "refused"})
    );
}

#[test]
fn explain_asks_for_the_limit_of_an_open_route() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .route("limits: { rate: 1/h }")
        .replace("    auth:\n", "    auth:\n      required: false\n")
        .stored()
        .clock(clock())
        .start();
    let explain = || {
        let body = json!({"request": {"path": "/"}});
        let told = gateway.api("POST", "/v1/explain", body).must(200);
        let steps = told["steps"].as_array().unwrap().clone();
        let of = |rule: &str| {
            let step = steps.iter().find(|step| step["rule"] == rule);
            step.unwrap()["verdict"].clone()
        };
        ["presented", "hash", "scopes", "limits"].map(of)
    };
    assert_eq!(explain(), ["passed", "not_asked", "not_asked", "passed"]);
    assert_eq!(gateway.request("GET /", &[]).status, 200);
    assert_eq!(explain(), ["passed", "not_asked", "not_asked", "refused"]);
    let config = gateway.api("GET", "/v1/config", None).must(200);
    assert_eq!(
        config["routes"][0]["limits"],
        json!({"rate": "1/h", "burst": 1})
    );
}

#[test]
fn wrong_limits_are_named() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address).stored().start();
    for (limits, pointer) in [
        (json!("100/s"), "/limits"),
        (json!([]), "/limits"),
        (json!({}), "/limits/rate"),
        (json!({"burst": 5}), "/limits/rate"),
        (json!({"rate": 100}), "/limits/rate"),
        (json!({"rate": "0/s"}), "/limits/rate"),
        (json!({"rate": "100/w"}), "/limits/rate"),
        (json!({"rate": "1/s", "burst": 0}), "/limits/burst"),
        (json!({"rate": "1/s", "burst": "5"}), "/limits/burst"),
        (json!({"rate": "1/s", "burst": 1.5}), "/limits/burst"),
        (json!({"rate": "1/s", "burst": -1}), "/limits/burst"),
        (json!({"rate": "1/s", "burst": 1e300}), "/limits/burst"),
        (json!({"rate": "1/d", "burst": 1_000_000}), "/limits/burst"),
        (json!({"rate": "1/s", "window": 1}), "/limits/window"),
    ] {
        for kind in ["keys", "consumers"] {
            let body = json!({"name": "x", "limits": limits});
            let told = gateway.api("POST", &format!("/v1/{kind}"), body).must(422);
            let errors = told["errors"].as_array().unwrap();
            assert_eq!(errors.len(), 1, "{told}");
            assert_eq!(errors[0]["pointer"], pointer, "{told}");
        }
    }
}
