//! The management port: health, status, metrics, keys; who may ask; how it refuses.

use crate::harness::{
    Gateway, GatewayBuilder, KEY, PATIENCE, Upstream, ask, hash_of, keygate, wait_until,
};
use regex::Regex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc;

const TOKEN: &str = "a-token-that-nobody-guesses";

fn guarded(upstream: &Upstream) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), format!("{TOKEN}\n")).unwrap();
    GatewayBuilder::new(upstream.address)
        .management("token: \"file:token\"")
        .start_in(folder)
}

#[test]
fn health_is_open_and_simple() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let live = gateway.manage("/livez");
    assert_eq!((live.status, live.json()), (200, json!({"status": "live"})));
    let ready = gateway.manage("/readyz");
    assert_eq!(
        (ready.status, ready.json()),
        (200, json!({"status": "ready", "revision": 1}))
    );
}

#[test]
fn readiness_is_down_while_draining() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::answering(move |_| {
        wait.lock().unwrap().recv().unwrap();
        super::forwarding::ok("late")
    });
    let gateway = Gateway::before(upstream.address);
    let management = gateway.management;
    let mut client = gateway.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"
    ));
    wait_until("the request is there", PATIENCE, || {
        upstream.received().len() == 1
    });
    let stopping = std::thread::spawn(move || gateway.stop());
    wait_until("readiness is down", PATIENCE, || {
        ask(management, "GET /readyz", &[]).status == 503
    });
    let answer = ask(management, "GET /readyz", &[]);
    assert_eq!(answer.code(), "draining");
    assert_eq!(ask(management, "GET /livez", &[]).status, 200);
    assert_eq!(
        ask(management, "GET /status", &[]).json()["state"],
        "draining"
    );
    go.send(()).unwrap();
    assert_eq!(client.read().text(), "late");
    stopping.join().unwrap();
}

#[test]
fn status_tells_what_runs() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    gateway.get("/");
    let status = gateway.status();
    let members: BTreeSet<&str> = status
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        members,
        BTreeSet::from([
            "version",
            "audit",
            "state",
            "started_at",
            "revision",
            "config",
            "store",
            "listeners",
            "routes",
            "upstreams",
            "keys"
        ])
    );
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&status["state"], &status["revision"]),
        (&json!("ready"), &json!(1))
    );
    assert_eq!(
        status["listeners"],
        json!([{"name": "main", "address": gateway.address.to_string(), "tls": false}])
    );
    assert_eq!(status["routes"][0]["name"], "app");
    assert_eq!(status["routes"][0]["path"], "/");
    assert_eq!(status["routes"][0]["auth_required"], true);
    assert_eq!(
        status["upstreams"],
        json!([{"name": "app", "endpoints": [{
            "address": upstream.address.to_string(), "up": true, "requests": 1, "connect_failures": 0
        }]}])
    );
    assert_eq!(status["keys"]["active"], 1);
    let config = &status["config"];
    assert_eq!(config["file"], json!(gateway.file));
    assert_eq!(config["last_reload_successful"], true);
    let form = Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$").unwrap();
    for time in [
        &status["started_at"],
        &config["applied_at"],
        &config["tried_at"],
    ] {
        assert!(form.is_match(time.as_str().unwrap()), "{time}");
    }
}

/// A gateway that has seen a bit of everything.
fn busy(upstream: &Upstream) -> Gateway {
    let gateway = Gateway::before(upstream.address);
    gateway.get("/");
    gateway.request("GET /", &[]);
    gateway.request("GET /", &["x-api-key: wrong"]);
    gateway.request("BREW /", &[&format!("x-api-key: {KEY}")]);
    gateway.request("FROTH /", &[&format!("x-api-key: {KEY}")]);
    gateway.request("GET /../x", &[]);
    gateway.raw("nonsense\r\n\r\n");
    gateway
}

#[test]
fn metrics_have_the_documented_names_and_labels() {
    let upstream = Upstream::ok();
    let gateway = busy(&upstream);
    let text = gateway.manage("/metrics").text();
    let line =
        Regex::new(r"(?m)^(keygate_[a-z_]+?)(_bucket|_sum|_count)?(?:\{([^}]*)\})? ").unwrap();
    let label = Regex::new(r#"([a-z_]+)=""#).unwrap();
    let mut found = std::collections::BTreeMap::<&str, BTreeSet<&str>>::new();
    for caught in line.captures_iter(&text) {
        let labels = caught.get(3).map_or("", |labels| labels.as_str());
        let names = label
            .captures_iter(labels)
            .map(|name| name.get(1).unwrap().as_str());
        found
            .entry(caught.get(1).unwrap().as_str())
            .or_default()
            .extend(names.filter(|name| *name != "le"));
    }
    let wanted: &[(&str, &[&str])] = &[
        ("keygate_audit_head_sequence", &[]),
        ("keygate_audit_head_timestamp_seconds", &[]),
        ("keygate_revocation_lag_seconds", &[]),
        ("keygate_http_requests_total", &["route", "method", "code"]),
        ("keygate_http_request_duration_seconds", &["route"]),
        (
            "keygate_auth_decisions_total",
            &["route", "result", "reason", "location"],
        ),
        ("keygate_rate_limit_decisions_total", &["policy", "result"]),
        ("keygate_auth_duration_seconds", &[]),
        ("keygate_upstream_request_duration_seconds", &["upstream"]),
        ("keygate_upstream_up", &["upstream", "endpoint"]),
        ("keygate_connections", &["listener", "state"]),
        ("keygate_tls_handshakes_total", &["listener", "result"]),
        ("keygate_shed_total", &["listener", "reason"]),
        ("keygate_keys", &["status"]),
        ("keygate_config_last_reload_successful", &[]),
        ("keygate_revision_observed", &[]),
        ("keygate_revision_applied", &[]),
        ("keygate_revocation_lag_seconds", &[]),
        ("keygate_last_used_pending", &[]),
        ("keygate_log_dropped_total", &[]),
        ("keygate_streams_cut_total", &["kind", "reason"]),
        ("keygate_usage_dropped_total", &[]),
        ("keygate_build_info", &["version"]),
        ("keygate_config_reloads_total", &["result"]),
        ("keygate_upstream_errors_total", &["upstream", "reason"]),
    ];
    for (name, labels) in wanted {
        // These two have no line before the first event.
        let silent = [
            "keygate_config_reloads_total",
            "keygate_upstream_errors_total",
        ];
        match found.get(name) {
            Some(found) => assert_eq!(*found, labels.iter().copied().collect(), "{name}"),
            None => assert!(silent.contains(name), "{name} is missing"),
        }
    }
    for name in found.keys() {
        assert!(
            wanted.iter().any(|(known, _)| known == name),
            "{name} is not documented"
        );
    }
}

#[test]
fn labels_are_bounded_and_show_no_key() {
    let upstream = Upstream::ok();
    let gateway = busy(&upstream);
    let text = gateway.manage("/metrics").text();
    let method = [("method", "OTHER"), ("route", "app")];
    assert_eq!(gateway.metric("keygate_http_requests_total", &method), 2.0);
    for absent in ["BREW", "FROTH", "key_", "kg_", "/x"] {
        assert!(!text.contains(absent), "{absent}\n{text}");
    }
    let reasons = ["ok", "missing", "unknown"];
    for reason in reasons {
        let labels = [("route", "app"), ("reason", reason)];
        assert!(
            gateway.metric("keygate_auth_decisions_total", &labels) >= 1.0,
            "{reason}"
        );
    }
    assert_eq!(
        gateway.metric("keygate_http_requests_total", &[("route", "_none")]),
        2.0
    );
}

#[test]
fn promtool_has_no_complaint() {
    let upstream = Upstream::ok();
    let gateway = busy(&upstream);
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is needed: Debian package prometheus");
    let text = gateway.manage("/metrics").body;
    promtool.stdin.take().unwrap().write_all(&text).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let words = [said.stdout, said.stderr].concat();
    assert!(
        said.status.success() && words.is_empty(),
        "{}",
        String::from_utf8_lossy(&words)
    );
}

#[test]
fn open_connections_are_counted() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let open = || {
        gateway.metric(
            "keygate_connections",
            &[("listener", "main"), ("state", "open")],
        )
    };
    let clients = [gateway.client(), gateway.client(), gateway.client()];
    wait_until("three are open", PATIENCE, || open() == 3.0);
    drop(clients);
    wait_until("none is open", PATIENCE, || open() == 0.0);
}

/// A gateway with this many keys, the first ten of them disabled.
fn with_keys(count: usize) -> Gateway {
    let keys: Vec<String> = (0..count)
        .map(|number| {
            let state = if number < 10 { "disabled" } else { "active" };
            format!(
                "  - {{ name: n{number}, hash: \"{}\", scopes: [a], state: {state} }}\n",
                hash_of(&format!("a-key-with-number-{number}"))
            )
        })
        .collect();
    GatewayBuilder::new(Upstream::ok().address)
        .replace("keys:\n", &format!("keys:\n{}", keys.concat()))
        .start()
}

fn ids(page: &Value) -> Vec<String> {
    let id = |key: &Value| key["id"].as_str().unwrap().to_owned();
    page["data"].as_array().unwrap().iter().map(id).collect()
}

#[test]
fn keys_come_in_pages_that_miss_none() {
    let gateway = with_keys(129);
    assert_eq!(ids(&gateway.manage("/v1/keys").json()).len(), 50);
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = gateway.manage(&format!("/v1/keys?limit=13{cursor}")).json();
        all.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(all.len(), 130);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 130);
    // A page that is full by chance has no next one behind it.
    let page = gateway.manage("/v1/keys?limit=130").json();
    assert_eq!((ids(&page).len(), &page["next"]), (130, &Value::Null));
}

#[test]
fn keys_are_filtered_by_status() {
    let gateway = with_keys(20);
    let page = gateway.manage("/v1/keys?status=disabled").json();
    assert_eq!(ids(&page).len(), 10);
    assert!(
        page["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|key| key["status"] == "disabled")
    );
    assert_eq!(
        ids(&gateway.manage("/v1/keys?status=revoked").json()).len(),
        0
    );
    assert_eq!(
        gateway.metric("keygate_keys", &[("status", "disabled")]),
        10.0
    );
}

#[test]
fn one_key_shows_its_use_and_no_secret() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    gateway.get("/");
    gateway.request(
        "POST /x",
        &[&format!("x-api-key: {KEY}"), "content-length: 0"],
    );
    let listed = gateway.manage("/v1/keys").json()["data"][0].clone();
    let shown = gateway.manage(&format!("/v1/keys/{}", listed["id"].as_str().unwrap()));
    assert_eq!(shown.json(), listed);
    assert_eq!(
        (&listed["uses"], &listed["refusals"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(listed["last_used_ip"], "127.0.0.1");
    assert_eq!(listed["consumer"]["name"], "acme");
    assert_eq!(listed["managed_by"], "file");
    let text = shown.text();
    assert!(
        !text.contains(&hash_of(KEY)[7..]) && !text.contains(&KEY[12..]),
        "{text}"
    );
}

#[test]
fn wrong_parameters_are_all_named() {
    let gateway = with_keys(1);
    let answer = gateway.manage("/v1/keys?limit=0&cursor=x&status=nice&colour=red");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (422, "validation_failed")
    );
    let errors = answer.json()["errors"].clone();
    let pointers: Vec<_> = errors
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["?limit", "?cursor", "?status", "?colour"]);
    for limit in ["201", "-1", "abc", ""] {
        assert_eq!(
            gateway.manage(&format!("/v1/keys?limit={limit}")).status,
            422,
            "{limit}"
        );
    }
}

#[test]
fn every_refusal_is_a_problem() {
    let gateway = with_keys(1);
    let cases = [
        ("GET /", 404, "not_found"),
        ("GET /v2/keys", 404, "not_found"),
        (
            "GET /v1/keys/key_00000000000000000000000000",
            404,
            "not_found",
        ),
        ("GET /v1/keys/none", 404, "not_found"),
        ("GET /v1/keys/%FF", 404, "not_found"),
        ("PUT /v1/keys", 405, "method_not_allowed"),
        ("POST /v1/keys", 409, "no_store"),
        ("DELETE /status", 405, "method_not_allowed"),
        ("PUT /livez", 405, "method_not_allowed"),
    ];
    for (line, status, code) in cases {
        let answer = ask(gateway.management, line, &["content-length: 0"]);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{line}"
        );
        if status == 405 {
            assert!(
                answer
                    .header("allow")
                    .is_some_and(|allow| allow.contains("GET")),
                "{line}"
            );
        }
    }
    assert_eq!(gateway.manage("/v1/keys?limit=%FF").status, 422);
}

#[test]
fn a_token_is_asked_for_when_one_is_set() {
    let upstream = Upstream::ok();
    let gateway = guarded(&upstream);
    let bearer = format!("authorization: bearer  {TOKEN}");
    for path in ["/metrics", "/status", "/v1/keys", "/v1/keys/none"] {
        let line = format!("GET {path}");
        let refused: [&[&str]; 6] = [
            &[],
            &["authorization: Bearer wrong-wrong-wrong-wrong"],
            &[&format!("authorization: Basic {TOKEN}")],
            &[&format!("authorization: Bearer {TOKEN}x")],
            &[&format!("x-api-key: {TOKEN}")],
            &[&bearer, &bearer],
        ];
        for headers in refused {
            let answer = ask(gateway.management, &line, headers);
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (401, "unauthorized"),
                "{path}"
            );
            assert!(
                answer
                    .header("www-authenticate")
                    .unwrap()
                    .starts_with("Bearer ")
            );
            assert!(!answer.text().contains(TOKEN));
        }
        let answer = ask(gateway.management, &line, &[&bearer]);
        assert_ne!(answer.status, 401, "{path}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(gateway.manage(path).status, 200, "{path}");
    }
}

#[test]
fn a_public_address_needs_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keygate.yaml");
    let yaml = GatewayBuilder::new(Upstream::ok().address).yaml();
    for address in ["0.0.0.0:0", "\"[::]:0\""] {
        let public = yaml.replace(
            "management: { address: 127.0.0.1:0",
            &format!("management: {{ address: {address}"),
        );
        std::fs::write(&file, &public).unwrap();
        let said = keygate(&["check", file.to_str().unwrap()]);
        assert_eq!(said.status.code(), Some(7));
        let text = String::from_utf8(said.stderr).unwrap();
        assert!(
            text.contains("management.address: a public address needs"),
            "{text}"
        );
        std::fs::write(folder.path().join("token"), TOKEN).unwrap();
        let with_token = public.replace(address, &format!("{address}, token: \"file:token\""));
        std::fs::write(&file, with_token).unwrap();
        assert_eq!(
            keygate(&["check", file.to_str().unwrap()]).status.code(),
            Some(0)
        );
    }
}

#[test]
fn the_data_port_has_nothing_of_it() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .replace("path: /", "path: /app/")
        .start();
    for path in ["/livez", "/readyz", "/status", "/metrics", "/v1/keys"] {
        assert_eq!(gateway.get(path).code(), "no_route", "{path}");
    }
    assert!(upstream.received().is_empty());
}
