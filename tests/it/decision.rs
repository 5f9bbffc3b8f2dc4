//! Who may do what: state, time, address, workspaces, methods, routes, scopes, and what a key's use leaves behind.

use crate::harness::{
    Client, Gateway, GatewayBuilder, PATIENCE, Upstream, hash_of, wait_until, workspace,
};
use keygate::clock::TestClock;
use keygate::domain::time::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

/// Routes `reads` and `writes` demand scopes by method, `free` none, `both` two at once; a key is named by its text.
fn builder(upstream: &Upstream, keys: &[(&str, &str)]) -> GatewayBuilder {
    let address = upstream.address;
    let mut rest = format!(
        r#"
upstreams:
  app: {{ endpoints: ["http://{address}"] }}
routes:
  - name: reads
    match: {{ path: /reads }}
    upstream: app
    auth: {{ scopes: {{GET: r, POST: w}} }}
  - name: writes
    match: {{ path: /writes }}
    upstream: app
    auth: {{ scopes: {{GET: r, HEAD: h, "*": w}} }}
  - name: both
    match: {{ path: /both }}
    upstream: app
    auth: {{ scopes: [r, w] }}
  - name: free
    match: {{ path: /free }}
    upstream: app
keys:
"#
    );
    for (key, fields) in keys {
        let hash = hash_of(key);
        writeln!(rest, "  - {{ name: {key}, hash: \"{hash}\", {fields} }}").unwrap();
    }
    GatewayBuilder::with_rest(&rest)
}

/// Status, and the code if it is a problem.
fn ask(gateway: &Gateway, key: &str, line: &str) -> (u16, String) {
    let mut client = gateway.client();
    client.send(format!(
        "{line} HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n\r\n"
    ));
    let answer = if line.starts_with("HEAD") {
        client.read_head()
    } else {
        client.read()
    };
    let code = answer
        .header("content-type")
        .filter(|_| !answer.body.is_empty())
        .map(|_| answer.code());
    (answer.status, code.unwrap_or_default())
}

fn ok() -> (u16, String) {
    (200, String::new())
}

fn no(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// What the admin API shows of a key.
fn shown(gateway: &Gateway, name: &str) -> Value {
    let keys = gateway.manage("/v1/keys").json();
    let keys = keys["data"].as_array().unwrap();
    keys.iter().find(|key| key["name"] == name).unwrap().clone()
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[test]
fn a_key_lives_from_its_start_to_its_end() {
    let upstream = Upstream::ok();
    let clock = Arc::new(TestClock::at(time("2026-12-31")));
    let fields = "scopes: [x], not_before: 2027-01-01, expires_at: 2027-02-01T00:00:00Z";
    let gateway = builder(&upstream, &[("timed", fields)])
        .clock(clock.clone())
        .start();
    for (now, answer, status) in [
        (
            "2026-12-31T23:59:59.999Z",
            no(401, "invalid_api_key"),
            "not_yet_valid",
        ),
        ("2027-01-01T00:00:00Z", ok(), "active"),
        ("2027-01-17T00:00:00Z", ok(), "expiring"),
        ("2027-01-31T23:59:59.999Z", ok(), "expiring"),
        (
            "2027-02-01T00:00:00Z",
            no(401, "api_key_expired"),
            "expired",
        ),
        (
            "2027-06-01T00:00:00Z",
            no(401, "api_key_expired"),
            "expired",
        ),
        // The clock is put right: what it says counts.
        ("2027-01-15T00:00:00Z", ok(), "active"),
    ] {
        clock.set(time(now));
        assert_eq!(ask(&gateway, "timed", "GET /free"), answer, "{now}");
        assert_eq!(shown(&gateway, "timed")["status"], status, "{now}");
    }
    assert_eq!(upstream.received().len(), 4);
}

#[test]
fn the_state_comes_before_the_time_and_the_time_before_the_rest() {
    let upstream = Upstream::ok();
    let past = "expires_at: 2020-01-01, ip_allow: [10.0.0.0/8], routes: [], methods: [PUT]";
    let wrong = "ip_allow: [10.0.0.0/8], routes: [], methods: [PUT]";
    let gateway = builder(
        &upstream,
        &[
            ("revoked", &format!("state: revoked, {past}")),
            ("disabled", &format!("state: disabled, {past}")),
            ("expired", past),
            ("place", &format!("locations: [query], {wrong}")),
            ("address", wrong),
            ("route", "routes: [], methods: [PUT]"),
            ("method", "routes: [reads], methods: [PUT]"),
            ("scope", "routes: [reads], methods: [GET]"),
        ],
    )
    .start();
    for (key, status, code) in [
        ("revoked", 401, "api_key_revoked"),
        ("disabled", 401, "api_key_disabled"),
        ("expired", 401, "api_key_expired"),
        ("place", 401, "invalid_api_key"),
        ("address", 403, "ip_not_allowed"),
        ("route", 403, "route_not_allowed"),
        ("method", 403, "method_not_allowed_for_key"),
        ("scope", 403, "insufficient_scope"),
    ] {
        assert_eq!(ask(&gateway, key, "GET /reads"), no(status, code), "{key}");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn addresses() {
    let upstream = Upstream::ok();
    let gateway = builder(
        &upstream,
        &[
            ("net4", "scopes: [x], ip_allow: [127.0.0.0/8]"),
            ("one4", "scopes: [x], ip_allow: [10.0.0.0/8, 127.0.0.1]"),
            ("mapped", "scopes: [x], ip_allow: ['::ffff:127.0.0.0/104']"),
            ("other4", "scopes: [x], ip_allow: [127.0.0.2/32]"),
            ("one6", "scopes: [x], ip_allow: ['::1']"),
            ("all6", "scopes: [x], ip_allow: ['::/0']"),
        ],
    )
    .address("[::]:0")
    .start();
    let port = gateway.address.port();
    let from = |address: &str, key: &str| {
        let address: SocketAddr = format!("{address}:{port}").parse().unwrap();
        let mut client = Client::connect(address);
        client.send(format!(
            "GET /free HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n\r\n"
        ));
        client.read().status
    };
    // An IPv4 caller of a socket for both is an IPv4 caller, and no IPv6 network holds it.
    for (key, four, six) in [
        ("net4", 200, 403),
        ("one4", 200, 403),
        ("mapped", 200, 403),
        ("other4", 403, 403),
        ("one6", 403, 200),
        ("all6", 403, 200),
    ] {
        assert_eq!(from("127.0.0.1", key), four, "{key}");
        if four == 200 {
            assert_eq!(upstream.last().header("x-forwarded-for"), Some("127.0.0.1"));
            assert_eq!(shown(&gateway, key)["last_used_ip"], "127.0.0.1");
        }
        assert_eq!(from("[::1]", key), six, "{key}");
        if six == 200 {
            assert_eq!(upstream.last().header("x-forwarded-for"), Some("::1"));
            assert_eq!(shown(&gateway, key)["last_used_ip"], "::1");
        }
    }
}

#[test]
fn an_address_that_a_caller_claims_is_none() {
    let upstream = Upstream::ok();
    let gateway = builder(&upstream, &[("ten", "scopes: [x], ip_allow: [10.0.0.0/8]")]).start();
    for claim in [
        "x-forwarded-for: 10.0.0.1",
        "forwarded: for=10.0.0.1",
        "x-real-ip: 10.0.0.1",
    ] {
        let answer = gateway.request("GET /free", &["x-api-key: ten", claim]);
        assert_eq!(answer.code(), "ip_not_allowed", "{claim}");
    }
}

#[test]
fn methods_and_routes_of_a_key() {
    let upstream = Upstream::ok();
    let gateway = builder(
        &upstream,
        &[
            ("getter", "scopes: [r, w], methods: [GET]"),
            ("reader", "scopes: [r, w], methods: [GET, HEAD]"),
            ("router", "scopes: [r, w], routes: [reads]"),
            ("nowhere", "scopes: [r, w], routes: []"),
        ],
    )
    .start();
    let method = no(403, "method_not_allowed_for_key");
    let route = no(403, "route_not_allowed");
    for (key, line, answer) in [
        ("getter", "GET /reads", ok()),
        ("getter", "POST /reads", method.clone()),
        ("getter", "PROPFIND /free", method.clone()),
        // A list of methods is taken at its word.
        ("getter", "HEAD /reads", no(403, "")),
        ("reader", "HEAD /reads", ok()),
        ("reader", "PATCH /writes", method),
        ("router", "GET /reads/deep", ok()),
        ("router", "GET /free", route.clone()),
        ("router", "GET /writes", route.clone()),
        ("nowhere", "GET /free", route.clone()),
        ("nowhere", "GET /reads", route),
    ] {
        assert_eq!(ask(&gateway, key, line), answer, "{key} {line}");
    }
}

#[test]
fn scopes_by_method() {
    let upstream = Upstream::ok();
    let gateway = builder(
        &upstream,
        &[
            ("r", "scopes: [r]"),
            ("w", "scopes: [w]"),
            ("h", "scopes: [h]"),
            ("rw", "scopes: [r, w]"),
            ("similar", "scopes: [rw, R, 'r:x', rr]"),
        ],
    )
    .start();
    let scope = || no(403, "insufficient_scope");
    let cases = [
        ("r", "GET /reads", ok()),
        ("r", "HEAD /reads", ok()),
        ("r", "POST /reads", scope()),
        ("w", "POST /reads", ok()),
        ("w", "GET /reads", scope()),
        ("w", "HEAD /reads", no(403, "")),
        // No entry, no "*": nothing opens it.
        ("rw", "PUT /reads", scope()),
        ("rw", "DELETE /reads", scope()),
        ("rw", "OPTIONS /reads", scope()),
        ("rw", "PROPFIND /reads", scope()),
        ("r", "GET /writes", ok()),
        // An entry of its own comes before GET's.
        ("r", "HEAD /writes", no(403, "")),
        ("h", "HEAD /writes", ok()),
        ("h", "GET /writes", scope()),
        ("r", "DELETE /writes", scope()),
        ("w", "DELETE /writes", ok()),
        ("w", "PROPFIND /writes", ok()),
        ("r", "GET /both", scope()),
        ("w", "GET /both", scope()),
        ("rw", "GET /both", ok()),
        ("rw", "PROPFIND /both", ok()),
        ("similar", "GET /reads", scope()),
        ("similar", "GET /free", ok()),
    ];
    for (key, line, answer) in cases {
        assert_eq!(ask(&gateway, key, line), answer, "{key} {line}");
    }
}

#[test]
fn empty_scopes_open_nothing_but_what_the_key_names() {
    let upstream = Upstream::ok();
    let gateway = builder(
        &upstream,
        &[
            ("none", ""),
            ("empty", "scopes: []"),
            ("named", "routes: [free, reads]"),
        ],
    )
    .start();
    for path in ["/free", "/reads", "/both"] {
        for key in ["none", "empty"] {
            let line = format!("GET {path}");
            assert_eq!(ask(&gateway, key, &line), no(403, "insufficient_scope"));
        }
    }
    assert_eq!(ask(&gateway, "named", "GET /free"), ok());
    assert_eq!(
        ask(&gateway, "named", "GET /reads"),
        no(403, "insufficient_scope")
    );
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn a_route_of_a_workspace_takes_keys_of_it_and_of_those_above() {
    let upstream = Upstream::ok();
    let mut builder = builder(&upstream, &[("root", "scopes: [x]")]).stored();
    for (name, place) in [
        ("north", "north"),
        ("berlin", "north/berlin"),
        ("late", "late"),
    ] {
        builder = builder.replace(
            "keys:\n",
            &format!(
                "  - {{ name: {name}, match: {{ path: /{name} }}, upstream: app, workspace: {place} }}\nkeys:\n"
            ),
        );
    }
    let gateway = builder.start();
    let closed = |gateway: &Gateway| gateway.status()["config"]["warnings"].to_string();
    assert!(closed(&gateway).contains("route `late` is closed to keys"));
    let north = workspace(&gateway, None, "north");
    let berlin = workspace(&gateway, Some(&north), "berlin");
    let south = workspace(&gateway, None, "south");
    wait_until("the tree is known", PATIENCE, || {
        !closed(&gateway).contains("berlin")
    });
    let key = |workspace: &str| {
        let body = json!({"name": "k", "workspace": workspace, "scopes": ["x"]});
        let made = gateway.api("POST", "/v1/keys", body).must(201);
        made["secret"].as_str().unwrap().to_owned()
    };
    let keys = [
        ("root".to_owned(), [true, true]),
        (key(&north), [true, true]),
        (key(&berlin), [false, true]),
        (key(&south), [false, false]),
    ];
    let wrong = || no(403, "workspace_mismatch");
    for (key, passes) in &keys {
        for (route, passes) in ["north", "berlin"].iter().zip(passes) {
            let want = if *passes { ok() } else { wrong() };
            assert_eq!(
                ask(&gateway, key, &format!("GET /{route}")),
                want,
                "{route}"
            );
        }
        assert_eq!(ask(&gateway, key, "GET /free"), ok());
        assert_eq!(ask(&gateway, key, "GET /late"), wrong(), "it is not there");
    }
    workspace(&gateway, None, "late");
    wait_until("the route is open", PATIENCE, || {
        ask(&gateway, "root", "GET /late") == ok()
    });
    assert!(!closed(&gateway).contains("late"));
    let refused = [("result", "denied"), ("reason", "workspace")];
    let refused = gateway.metric("keygate_auth_decisions_total", &refused);
    assert!(refused >= 7.0, "{refused}");
}

#[test]
fn uses_and_refusals_are_counted() {
    let upstream = Upstream::ok();
    let clock = Arc::new(TestClock::at(time("2027-01-01T00:00:00Z")));
    let gateway = builder(
        &upstream,
        &[("key", "scopes: [r]"), ("quiet", "scopes: [r]")],
    )
    .clock(clock.clone())
    .start();
    let before = shown(&gateway, "key");
    assert_eq!(
        (&before["uses"], &before["refusals"]),
        (&0.into(), &0.into())
    );
    for name in ["first_used_at", "last_used_at", "last_used_ip"] {
        assert!(before[name].is_null(), "{before}");
    }
    for second in 1..=3 {
        clock.set(time(&format!("2027-01-01T00:00:0{second}Z")));
        assert_eq!(ask(&gateway, "key", "GET /reads").0, 200);
    }
    clock.set(time("2027-01-01T00:00:09Z"));
    assert_eq!(ask(&gateway, "key", "POST /reads").0, 403);
    assert_eq!(ask(&gateway, "nobody", "GET /reads").0, 401);
    let after = shown(&gateway, "key");
    assert_eq!((&after["uses"], &after["refusals"]), (&3.into(), &1.into()));
    assert_eq!(after["first_used_at"], "2027-01-01T00:00:01.000Z");
    assert_eq!(
        after["last_used_at"], "2027-01-01T00:00:03.000Z",
        "a refusal is no use"
    );
    assert_eq!(after["last_used_ip"], "127.0.0.1");
    let quiet = shown(&gateway, "quiet");
    assert_eq!((&quiet["uses"], &quiet["refusals"]), (&0.into(), &0.into()));
}

#[test]
fn last_used_only_moves_forward() {
    let upstream = Upstream::ok();
    let clock = Arc::new(TestClock::at(time("2027-01-02")));
    let gateway = builder(&upstream, &[("key", "scopes: [r]")])
        .clock(clock.clone())
        .start();
    for (now, last) in [
        ("2027-01-02T00:00:00Z", "2027-01-02T00:00:00.000Z"),
        ("2027-01-01T00:00:00Z", "2027-01-02T00:00:00.000Z"),
        ("1999-01-01T00:00:00Z", "2027-01-02T00:00:00.000Z"),
        ("2027-01-02T00:00:00.001Z", "2027-01-02T00:00:00.001Z"),
        ("2027-01-03T00:00:00Z", "2027-01-03T00:00:00.000Z"),
    ] {
        clock.set(time(now));
        assert_eq!(ask(&gateway, "key", "GET /free"), ok(), "{now}");
        assert_eq!(shown(&gateway, "key")["last_used_at"], last);
    }
    let key = shown(&gateway, "key");
    assert_eq!(key["first_used_at"], "2027-01-02T00:00:00.000Z");
    assert_eq!(key["uses"], 5);
}
