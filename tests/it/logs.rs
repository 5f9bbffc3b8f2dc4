//! What is written: one line per request, whatever became of it, and never a secret, at any level, on any path.

use crate::harness::{
    Answer, Client, GatewayBuilder, KEY, PATIENCE, Served, Upstream, ask, free_port, hash_of,
    keygate, wait_until,
};
use serde_json::Value;
use std::collections::BTreeSet;
use tempfile::TempDir;

const FIELDS: [&str; 16] = [
    "time",
    "event",
    "request.id",
    "listener",
    "method",
    "peer.address",
    "route",
    "key.id",
    "status",
    "code",
    "complete",
    "request.bytes",
    "response.bytes",
    "duration_us",
    "upstream.duration_us",
    "upstream.endpoint",
];

fn yaml(upstream: &Upstream, log: &str) -> String {
    GatewayBuilder::new(upstream.address)
        .listener("header_timeout: 300ms, max_uri_bytes: 200B, max_header_bytes: 2KiB")
        .route("max_body: 100B")
        .replace("path: /", "path: /app/")
        .top(&format!("log: {{ {log} }}"))
        .yaml()
}

fn lines(text: &str) -> Vec<Value> {
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

fn until_lines(served: &Served, count: usize) -> Vec<Value> {
    wait_until(&format!("{count} lines"), PATIENCE, || {
        lines(&served.out.all()).len() >= count
    });
    lines(&served.out.all())
}

/// Sends these bytes and reads what comes, if anything.
fn send(served: &Served, bytes: impl AsRef<[u8]>) -> Option<Answer> {
    let mut client = Client::connect(served.address);
    client.send(bytes);
    client.try_read()
}

fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\n{headers}\r\n")
}

/// Requests of every kind; the status, code and route of their lines.
fn cases() -> Vec<(String, u16, Value, Value)> {
    let key = format!("x-api-key: {KEY}\r\n");
    vec![
        (get("/app/a?x=1", &key), 200, Value::Null, "app".into()),
        (
            get("/app/none", &key),
            502,
            "upstream_protocol".into(),
            "app".into(),
        ),
        (
            get("/app/a", ""),
            401,
            "missing_api_key".into(),
            "app".into(),
        ),
        (
            get("/app/a", "x-api-key: wrong\r\n"),
            401,
            "invalid_api_key".into(),
            "app".into(),
        ),
        (
            get("/app/a", &format!("{key}{key}")),
            400,
            "ambiguous_credentials".into(),
            "app".into(),
        ),
        (get("/none", &key), 404, "no_route".into(), Value::Null),
        (
            get("/app/../x", &key),
            400,
            "bad_request".into(),
            Value::Null,
        ),
        (
            get(&format!("/app/{}", "a".repeat(300)), &key),
            414,
            "uri_too_long".into(),
            Value::Null,
        ),
        (
            get("/app/a", &format!("{key}x: {}\r\n", "a".repeat(3000))),
            431,
            "headers_too_large".into(),
            Value::Null,
        ),
        (
            "nonsense\r\n\r\n".into(),
            400,
            "bad_request".into(),
            Value::Null,
        ),
        (
            "GET /half".into(),
            408,
            "request_timeout".into(),
            Value::Null,
        ),
        (
            format!("POST /app/a HTTP/1.1\r\nhost: a\r\n{key}content-length: 5000\r\n\r\n"),
            413,
            "body_too_large".into(),
            "app".into(),
        ),
    ]
}

#[test]
fn every_request_leaves_one_line() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/app/none" => Vec::new(),
        _ => super::forwarding::ok("hello"),
    });
    let mut served = Served::start(&yaml(
        &upstream,
        "level: trace, access: true, access_path: true",
    ));
    let cases = cases();
    let mut seen = BTreeSet::new();
    for (number, (bytes, status, code, route)) in cases.iter().enumerate() {
        let answer = send(&served, bytes).unwrap();
        assert_eq!(answer.status, *status, "{bytes}");
        let all = until_lines(&served, number + 1);
        assert_eq!(all.len(), number + 1, "one line each");
        let line = &all[number];
        assert_eq!(
            (&line["status"], &line["code"], &line["route"]),
            (&(*status).into(), code, route),
            "{bytes}"
        );
        assert_eq!(line["request.id"], answer.header("x-request-id").unwrap());
        assert!(seen.insert(line["request.id"].to_string()));
        assert_eq!(
            (&line["event"], &line["listener"]),
            (&"access".into(), &"main".into())
        );
        for field in FIELDS {
            assert!(line.get(field).is_some(), "{field} is missing in {line}");
        }
    }
    let all = lines(&served.out.all());
    let first = &all[0];
    assert_eq!(
        (&first["method"], &first["path"]),
        (&"GET".into(), &"/app/a".into())
    );
    assert_eq!(
        (&first["response.bytes"], &first["complete"]),
        (&5.into(), &true.into())
    );
    assert_eq!(first["upstream.endpoint"], upstream.address.to_string());
    assert!(first["upstream.duration_us"].is_u64() && first["duration_us"].is_u64());
    assert!(first["key.id"].as_str().unwrap().starts_with("key_"));
    assert_eq!(
        (&all[3]["key.id"], &all[2]["key.id"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(served.stop(), Some(0));
    assert_eq!(lines(&served.out.all()).len(), cases.len());
}

#[test]
fn a_caller_that_leaves_leaves_a_line() {
    let upstream = Upstream::serving(|stream, keep| {
        use std::io::{BufReader, Read};
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        if let Some(request) = crate::harness::read_request(&mut reader) {
            keep(request);
            let _ = reader.read(&mut [0]);
        }
    });
    let served = Served::start(&yaml(&upstream, "access: true"));
    let mut client = Client::connect(served.address);
    client.send(get("/app/a", &format!("x-api-key: {KEY}\r\n")));
    wait_until("it is there", PATIENCE, || !upstream.received().is_empty());
    drop(client);
    let line = &until_lines(&served, 1)[0];
    assert_eq!(
        (&line["status"], &line["code"]),
        (&499.into(), &"client_closed".into())
    );
    assert_eq!(line["complete"], false);
}

#[test]
fn requests_that_are_running_at_the_end_leave_a_line() {
    let upstream = Upstream::ok();
    let mut served = Served::start(&yaml(&upstream, "access: true"));
    for _ in 0..20 {
        send(&served, get("/app/a", &format!("x-api-key: {KEY}\r\n")));
    }
    // Stopped before the buffers are flushed by time.
    assert_eq!(served.stop(), Some(0));
    assert_eq!(until_lines(&served, 20).len(), 20);
}

#[test]
fn one_connection_too_many_leaves_a_line() {
    let upstream = Upstream::ok();
    let yaml = GatewayBuilder::new(upstream.address)
        .listener("max_connections: 1")
        .yaml();
    let served = Served::start(&yaml);
    let mut first = Client::connect(served.address);
    first.send(get("/", &format!("x-api-key: {KEY}\r\n")));
    assert_eq!(first.read().status, 200);
    let mut second = Client::connect(served.address);
    assert_eq!(second.read().code(), "overloaded");
    assert!(second.is_closed());
    let codes: Vec<Value> = until_lines(&served, 2)
        .iter()
        .map(|line| line["code"].clone())
        .collect();
    // Lines of different threads may come in any order.
    assert!(
        codes.contains(&Value::Null) && codes.contains(&"overloaded".into()),
        "{codes:?}"
    );
    first.send(get("/", &format!("x-api-key: {KEY}\r\n")));
    assert_eq!(first.read().status, 200);
}

#[test]
fn a_line_counts_the_bytes_of_both_bodies() {
    let upstream = Upstream::answering(|_| super::forwarding::ok("hello world"));
    let yaml = GatewayBuilder::new(upstream.address)
        .yaml()
        .replace("name: main", "name: 'a \"quoted\" name'");
    let served = Served::start(&yaml);
    let post = format!("POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n");
    send(
        &served,
        format!("{post}transfer-encoding: chunked\r\n\r\n5\r\nthere\r\n0\r\n\r\n"),
    );
    let line = &until_lines(&served, 1)[0];
    assert_eq!(
        (&line["request.bytes"], &line["response.bytes"]),
        (&5.into(), &11.into())
    );
    assert_eq!(line["listener"], "a \"quoted\" name");
}

#[test]
fn a_request_id_from_outside_is_kept_unless_it_is_a_key() {
    let upstream = Upstream::ok();
    let own = keygate::domain::key::KeyFormat::new("acme", &["live".to_owned()])
        .unwrap()
        .generate("live")
        .unwrap();
    let yaml = GatewayBuilder::new(upstream.address)
        .top("key_format: { brand: acme }")
        .yaml();
    let mut served = Served::start(&yaml);
    for (given, kept) in [
        ("trace-1.a_b", true),
        (own.expose(), false),
        (&*format!("x{}", own.expose()), false),
        ("with space", false),
        ("quote\"", false),
        (&*"x".repeat(65), false),
    ] {
        let answer = send(
            &served,
            get(
                "/",
                &format!("x-api-key: {KEY}\r\nx-request-id: {given}\r\n"),
            ),
        )
        .unwrap();
        let id = answer.header("x-request-id").unwrap();
        assert_eq!(id == given, kept, "{given}");
        assert!(kept || id.starts_with("req_"), "{id}");
        assert_eq!(upstream.last().header("x-request-id"), Some(id));
    }
    served.stop();
    assert!(!served.out.all().contains(own.expose()));
}

#[test]
fn access_lines_go_to_their_file() {
    let upstream = Upstream::ok();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    std::fs::write(&file, "{\"before\":true}\n").unwrap();
    let mut served = Served::start_in(folder, &yaml(&upstream, "access_file: access.log"));
    send(&served, get("/app/a", &format!("x-api-key: {KEY}\r\n")));
    let read = || std::fs::read_to_string(&file).unwrap();
    wait_until("it is written", PATIENCE, || lines(&read()).len() == 2);
    assert_eq!(lines(&read())[1]["status"], 200);
    served.stop();
    assert_eq!(served.out.all(), "");
}

#[test]
fn access_lines_can_be_switched_off() {
    let upstream = Upstream::ok();
    let mut served = Served::start(&yaml(&upstream, "access: false"));
    send(&served, get("/app/a", &format!("x-api-key: {KEY}\r\n")));
    served.stop();
    assert_eq!(served.out.all(), "");
}

#[test]
fn a_log_that_nobody_reads_blocks_no_request() {
    let upstream = Upstream::ok();
    let mut served = Served::unread(&yaml(&upstream, "access: true"));
    let dropped = || served.metric("keygate_log_dropped_total", &[]);
    let mut client = Client::connect(served.address);
    let mut serve = |count: usize| {
        client.send(get("/app/a", &format!("x-api-key: {KEY}\r\n")).repeat(count));
        for _ in 0..count {
            assert_eq!(client.read().status, 200);
        }
    };
    // More than the pipe takes: from here on the log thread is stuck.
    serve(500);
    // More lines than the queue takes.
    let faults: Vec<String> = (0..3000)
        .map(|number| format!("unknown{number}: 1"))
        .collect();
    std::fs::write(&served.file, faults.join("\n")).unwrap();
    wait_until("lines are dropped", PATIENCE, || dropped() > 0.0);
    let before = dropped();
    serve(500);
    wait_until("lost access lines are counted", PATIENCE, || {
        dropped() >= before + 500.0
    });
    assert_eq!(served.stop(), Some(0));
}

// --- No secret anywhere --------------------------------------------------------------------------------------------

const FOREIGN: &str = "canary-foreign-5f0e9c";
const BEARER: &str = "canary-bearer-77ab12";
const BASIC: &str = "Y2FuYXJ5LXVzZXI6Y2FuYXJ5LWJhc2lj";
const COOKIE: &str = "canary-cookie-0d3e55";
const QUERY: &str = "canary-query-91c2aa";
const HEADER: &str = "canary-header-bb3d10";
const TOKEN: &str = "canary-token-4e7f21-long";
const FILED: &str = "canary-filed-key-c41";
const WRONG: &str = "kg_live_canaryWrong00000000000000000000000000000000000000000";
const INLINE: &str = "canary-inline-e2";
const BODY: &str = "canary-body-6d1";

/// Everything that must not be seen.
fn canaries() -> Vec<String> {
    let mut all: Vec<String> = [
        FOREIGN, BEARER, BASIC, COOKIE, QUERY, HEADER, TOKEN, FILED, INLINE, BODY,
    ]
    .map(str::to_owned)
    .into();
    all.extend([
        "canaryWrong0000".into(),
        KEY[8..].to_owned(),
        KEY[20..40].to_owned(),
    ]);
    for key in [KEY, FOREIGN, FILED] {
        all.push(hash_of(key)[7..].to_owned());
    }
    all
}

fn assert_clean(place: &str, text: &str) {
    for canary in canaries() {
        assert!(!text.contains(&canary), "{canary} is in {place}:\n{text}");
    }
}

fn canary_config(upstream: &Upstream, slow: &Upstream) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), TOKEN).unwrap();
    std::fs::write(folder.path().join("key"), FILED).unwrap();
    let dead = free_port();
    let yaml = format!(
        r#"
listeners: [{{ address: 127.0.0.1:0, name: main, header_timeout: 300ms, body_timeout: 300ms, max_uri_bytes: 400B, max_header_bytes: 2KiB }}]
management: {{ address: 127.0.0.1:0, token: "file:token" }}
store: none
log: {{ level: trace, access: true, access_path: true }}
upstreams:
  app: {{ endpoints: ["http://{}"] }}
  slow: {{ endpoints: ["http://{}"], first_byte_timeout: 200ms }}
  dead: {{ endpoints: ["http://127.0.0.1:{dead}"] }}
routes:
  - {{ name: app, match: {{ path: /app/ }}, upstream: app, max_body: 100B, auth: &auth {{ locations: [{{header: X-API-Key}}, bearer, {{query: api_key}}], scopes: [app] }} }}
  - {{ name: slow, match: {{ path: /slow/ }}, upstream: slow, auth: {{ locations: [{{header: X-API-Key}}, bearer, {{query: api_key}}], scopes: [app] }} }}
  - {{ name: dead, match: {{ path: /dead/ }}, upstream: dead, auth: {{ locations: [{{header: X-API-Key}}, bearer, {{query: api_key}}], scopes: [app] }} }}
  - {{ name: other, match: {{ path: /other/ }}, upstream: app, auth: {{ scopes: [other] }} }}
keys:
  - {{ name: native, hash: "{}", scopes: [app] }}
  - {{ name: foreign, hash: "{}", scopes: [app] }}
  - {{ name: filed, secret: "file:key", scopes: [app] }}
"#,
        upstream.address,
        slow.address,
        hash_of(KEY),
        hash_of(FOREIGN)
    );
    (folder, yaml.replace("&auth ", ""))
}

/// Everything that a request can carry besides its key.
fn baggage() -> String {
    format!(
        "cookie: session={COOKIE}\r\nx-secret-thing: {HEADER}\r\nproxy-authorization: Basic {BASIC}\r\n"
    )
}

/// A GET full of secrets, with these further header lines.
fn loaded(path: &str, headers: &str) -> String {
    get(
        &format!("{path}?password={QUERY}&x=1"),
        &format!("{}{headers}", baggage()),
    )
}

/// Requests that are refused, or not, for the key they bring; status expected.
fn keys_good_and_bad() -> Vec<(String, u16)> {
    let native = format!("x-api-key: {KEY}\r\n");
    let foreign = format!("authorization: Bearer {FOREIGN}\r\n");
    let ok = |headers: &str| loaded("/app/ok", headers);
    let query = |keys: &str| get(&format!("/app/ok?password={QUERY}&{keys}"), &baggage());
    vec![
        (ok(&native), 200),
        (ok(&foreign), 200),
        (ok(&format!("x-api-key: {FILED}\r\n")), 200),
        (query(&format!("api_key={KEY}")), 200),
        (query(&format!("api%5Fkey={FOREIGN}")), 200),
        (ok(&format!("authorization: Basic {BASIC}\r\n")), 401),
        (ok(""), 401),
        (ok(&format!("x-api-key: {WRONG}\r\n")), 401),
        (ok(&format!("authorization: Bearer {BEARER}\r\n")), 401),
        (ok(&format!("{native}{foreign}")), 400),
        (query(&format!("api_key={KEY}&api_key={KEY}")), 400),
        (loaded("/other/ok", &native), 403),
        (ok(&format!("{native}x-request-id: {KEY}\r\n")), 200),
    ]
}

/// Requests with a good key that go wrong in every way that is known; status expected.
fn faults() -> Vec<(String, u16)> {
    let (bags, native) = (baggage(), format!("x-api-key: {KEY}\r\n"));
    let target = format!("/app/ok?password={QUERY}");
    let head = format!("GET {target} HTTP/1.1\r\n");
    let post = |headers: &str| {
        format!("POST {target} HTTP/1.1\r\nhost: a\r\n{bags}{native}{headers}\r\n\r\n{BODY}")
    };
    vec![
        (loaded("/none", &native), 404),
        (loaded("/app/%2e%2e/x", &native), 400),
        (loaded(&format!("/app/{}", "a".repeat(500)), &native), 414),
        (
            loaded("/app/ok", &format!("{native}x: {}\r\n", "a".repeat(3000))),
            431,
        ),
        (post("content-length: 5000"), 413),
        (post("transfer-encoding: gzip, chunked"), 400),
        (post("content-length: 90"), 408),
        (post("transfer-encoding: chunked"), 400),
        (format!("{head}host: a\r\n{bags}{native}"), 408),
        (format!("{head}host: {HEADER}@a\r\n{bags}{native}\r\n"), 400),
        (
            format!("{head}host: a\r\n{bags}{native}bad field {HEADER}\r\n\r\n"),
            400,
        ),
        (format!("{KEY} {FOREIGN}\r\n\r\n"), 400),
        (loaded("/app/close", &native), 502),
        (loaded("/app/garbage", &native), 502),
        (loaded("/dead/", &native), 502),
        (loaded("/slow/", &native), 504),
    ]
}

#[test]
fn no_secret_is_written_anywhere() {
    let upstream = Upstream::answering(|request| match request.target().split('?').next() {
        Some("/app/close") => Vec::new(),
        Some("/app/garbage") => {
            format!("HTTP/1.1 2x0 {HEADER}\r\nset-cookie: {COOKIE}\r\n\r\n").into_bytes()
        }
        _ => super::forwarding::ok("fine"),
    });
    let slow = Upstream::serving(|stream, _| {
        let _ = std::io::Read::read_to_end(stream, &mut Vec::new());
    });
    let (folder, yaml) = canary_config(&upstream, &slow);
    let mut served = Served::start_in(folder, &yaml);
    let all = [keys_good_and_bad(), faults()].concat();
    for (bytes, status) in &all {
        let answer = send(&served, bytes).unwrap();
        assert_eq!(answer.status, *status, "{bytes}\n{}", answer.text());
        assert_clean(bytes, &format!("{:?} {}", answer.headers, answer.text()));
    }
    let bearer = format!("authorization: Bearer {TOKEN}");
    for path in [
        "/metrics",
        "/status",
        "/v1/keys",
        "/v1/keys/none",
        "/livez",
        "/none",
    ] {
        for header in [
            bearer.as_str(),
            &format!("authorization: Bearer {BEARER}"),
            &format!("authorization: Basic {BASIC}"),
        ] {
            let answer = ask(served.management, &format!("GET {path}"), &[header]);
            assert_clean(path, &format!("{:?} {}", answer.headers, answer.text()));
        }
    }
    let faults = reload_badly(&served, &yaml, &bearer);
    assert_clean("/status after bad reloads", &faults);
    assert_eq!(served.stop(), Some(0));
    assert_clean("standard output", &served.out.all());
    assert_clean("standard error", &served.err.all());
    let err = served.err.all();
    assert!(err.contains("\"level\":\"ERROR\""), "the log was on: {err}");
    assert!(!err.contains("panicked"), "{err}");
    assert!(lines(&served.out.all()).len() >= all.len());
}

/// Config files that hold secrets where they do not belong; each must fail, and be told without showing them.
fn reload_badly(served: &Served, good: &str, bearer: &str) -> String {
    let bad = [
        good.replace("token: \"file:token\"", &format!("token: {INLINE}")),
        good.replace("secret: \"file:key\"", &format!("secret: {INLINE}")),
        good.replace("secret: \"file:key\"", &format!("secret: \"env:{INLINE}\"")),
        good.replace(&hash_of(KEY), KEY),
        good.replace(&hash_of(FOREIGN), INLINE),
        good.replace(&hash_of(FOREIGN), &format!("blake3:{INLINE}")),
        good.replace(
            "secret: \"file:key\"",
            &format!("secret: {{ {INLINE}: {INLINE} }}"),
        ),
        good.replace("secret: \"file:key\"", &format!("hash: [{INLINE}]")),
        good.replace(&hash_of(FOREIGN), &hash_of(KEY)),
    ];
    let mut told = String::new();
    for (count, yaml) in bad.iter().enumerate() {
        let new = served.file.with_extension("new");
        std::fs::write(&new, yaml).unwrap();
        let said = keygate(&["check", new.to_str().unwrap()]);
        assert_eq!(said.status.code(), Some(7), "{yaml}");
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&said.stdout),
            String::from_utf8_lossy(&said.stderr)
        );
        assert_clean("check", &text);
        std::fs::rename(new, &served.file).unwrap();
        let labels = [("result", "failed")];
        wait_until("it is refused", PATIENCE, || {
            let text = ask(served.management, "GET /metrics", &[bearer]).text();
            crate::harness::value_of(&text, "keygate_config_reloads_total", &labels)
                >= f64::from(u32::try_from(count).unwrap() + 1)
        });
        told.push_str(&ask(served.management, "GET /status", &[bearer]).text());
    }
    told
}
