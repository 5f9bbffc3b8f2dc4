//! Every code of the error table, provoked over a real socket. `every_code_is_provoked_here` reads the table itself.

use crate::harness::{
    Answer, Client, Gateway, GatewayBuilder, KEY, PATIENCE, Upstream, free_port, hash_of,
    read_request, wait_until,
};
use std::fmt::Write as _;
use std::io::{BufReader, Read, Write};
use std::time::Duration;

const BEARER: &str = r#"Bearer realm="keygate""#;
const BEARER_INVALID: &str = r#"Bearer realm="keygate", error="invalid_token""#;
const API_KEY: &str = r#"ApiKey realm="keygate""#;

/// A problem of RFC 9457 with exactly our members; gives its detail.
fn problem(answer: &Answer, status: u16, code: &str) -> String {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (status, code),
        "{answer:?}"
    );
    let json = answer.json();
    let members: Vec<&String> = json.as_object().unwrap().keys().collect();
    let wanted = ["code", "detail", "request_id", "status", "title", "type"];
    assert_eq!(members, wanted, "{json}");
    assert_eq!(json["type"], format!("urn:keygate:problem:{code}"));
    assert_eq!(json["status"], status);
    let id = answer.header("x-request-id").expect("a request id");
    assert_eq!(json["request_id"], id);
    assert!(id.starts_with("req_"), "{id}");
    for member in ["title", "detail"] {
        let text = json[member].as_str().unwrap();
        assert!(!text.is_empty() && !text.contains("kg_"), "{json}");
    }
    let length = answer.body.len().to_string();
    assert_eq!(answer.header("content-length"), Some(length.as_str()));
    assert_eq!(answer.header("www-authenticate"), None, "{json}");
    let proxy_status = matches!(status, 502 | 504) || code == "no_healthy_endpoint";
    assert_eq!(answer.header("proxy-status").is_some(), proxy_status);
    json["detail"].as_str().unwrap().to_owned()
}

/// A 401 with both challenges.
fn challenged(answer: &Answer, code: &str, bearer: &str) -> String {
    assert_eq!(answer.headers_named("www-authenticate"), [bearer, API_KEY]);
    let mut plain = Answer {
        status: answer.status,
        headers: answer.headers.clone(),
        body: answer.body.clone(),
        trailers: Vec::new(),
    };
    plain
        .headers
        .retain(|(name, _)| !name.eq_ignore_ascii_case("www-authenticate"));
    problem(&plain, 401, code)
}

fn closes(answer: &Answer) {
    assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
}

/// A gateway with further keys; each is named by its text.
fn with_keys(upstream: &Upstream, keys: &[(&str, &str)]) -> Gateway {
    let mut builder = GatewayBuilder::new(upstream.address);
    for (key, fields) in keys {
        let hash = hash_of(key);
        writeln!(
            builder.rest,
            "  - {{ name: {key}, hash: \"{hash}\", {fields} }}"
        )
        .unwrap();
    }
    builder.start()
}

/// The answer to a GET with this key, on a connection that stays usable.
fn with_key(gateway: &Gateway, key: &str) -> Answer {
    let mut client = gateway.client();
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n\r\n");
    client.send(&request);
    let first = client.read();
    client.send(&request);
    let second = client.read();
    assert_eq!(first.status, second.status);
    first
}

#[test]
fn every_code_is_provoked_here() {
    let table = concat!(
        include_str!("../../src/proxy/error.rs"),
        include_str!("../../src/gate/mod.rs")
    );
    let tests = include_str!("codes.rs");
    let row = regex::Regex::new(r#""([a-z_]+)",\s*"[A-Z]"#).unwrap();
    let codes: Vec<&str> = row
        .captures_iter(table)
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    assert!(codes.len() >= 20, "the table reads differently: {codes:?}");
    for code in codes {
        assert!(
            tests.contains(&format!("\"{code}\"")),
            "no test provokes {code}"
        );
    }
}

#[test]
fn bad_request() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    for head in [
        "GET /%2e%2e HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nbroken header: 1\r\n\r\n",
        "GET / HTTP/9.9\r\nhost: a\r\n\r\n",
        "\u{1}\u{2}\u{3}\r\n\r\n",
    ] {
        let answer = gateway.raw_and_closed(head);
        problem(&answer, 400, "bad_request");
        closes(&answer);
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn a_bad_head_behind_a_good_request_is_a_problem_too() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\nGET / HTTP/1.1\r\nbad header: 1\r\n\r\n"
    ));
    assert_eq!(client.read().status, 200);
    let answer = client.read();
    problem(&answer, 400, "bad_request");
    assert_eq!(client.rest(), b"");
}

#[test]
fn ambiguous_credentials() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let key = format!("x-api-key: {KEY}");
    let answer = gateway.request("GET /", &[&key, "authorization: Bearer other"]);
    problem(&answer, 400, "ambiguous_credentials");
}

#[test]
fn keys_that_do_not_open_anything() {
    let upstream = Upstream::ok();
    let gateway = with_keys(
        &upstream,
        &[
            ("expired", "scopes: app:read, expires_at: 2020-01-01"),
            ("disabled", "scopes: app:read, state: disabled"),
            ("revoked", "scopes: app:read, state: revoked"),
            ("early", "scopes: app:read, not_before: 2999-01-01"),
        ],
    );
    let missing = gateway.request("GET /", &[]);
    challenged(&missing, "missing_api_key", BEARER);
    let empty = gateway.request("GET /", &["x-api-key:", "authorization: Bearer"]);
    challenged(&empty, "missing_api_key", BEARER);

    let unknown = with_key(&gateway, "nobody");
    let unknown = challenged(&unknown, "invalid_api_key", BEARER_INVALID);
    let typo = with_key(&gateway, &KEY.replace("73P5Wzx", "73P5Wzy"));
    let typo = challenged(&typo, "invalid_api_key", BEARER_INVALID);
    let admin = with_key(&gateway, &KEY.replace("live", "admin"));
    let admin = challenged(&admin, "invalid_api_key", BEARER_INVALID);
    let long = with_key(&gateway, &"x".repeat(513));
    let long = challenged(&long, "invalid_api_key", BEARER_INVALID);
    assert!(
        [&typo, &admin, &long]
            .iter()
            .all(|other| **other == unknown),
        "an unknown key is told nothing more"
    );

    for (key, code) in [
        ("expired", "api_key_expired"),
        ("disabled", "api_key_disabled"),
        ("revoked", "api_key_revoked"),
        ("early", "invalid_api_key"),
    ] {
        challenged(&with_key(&gateway, key), code, BEARER_INVALID);
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn not_ready() {
    let upstream = Upstream::ok();
    let store = format!(
        "store: postgres://keygate@127.0.0.1:{}/keygate",
        free_port()
    );
    let gateway = GatewayBuilder::new(upstream.address).top(&store).start();
    problem(&with_key(&gateway, KEY), 503, "not_ready");
    assert!(upstream.received().is_empty());
}

#[test]
fn workspace_mismatch() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .stored()
        .route("workspace: nowhere")
        .start();
    problem(&with_key(&gateway, KEY), 403, "workspace_mismatch");
    assert!(upstream.received().is_empty());
}

#[test]
fn the_realm_is_a_setting() {
    let upstream = Upstream::ok();
    let mut builder = GatewayBuilder::new(upstream.address);
    builder.rest += "forwarding: { realm: The Shop }\n";
    let answer = builder.start().request("GET /", &[]);
    assert_eq!(
        answer.headers_named("www-authenticate"),
        [r#"Bearer realm="The Shop""#, r#"ApiKey realm="The Shop""#]
    );
}

#[test]
fn keys_that_do_not_open_this() {
    let upstream = Upstream::ok();
    let gateway = with_keys(
        &upstream,
        &[
            ("scopeless", ""),
            ("other-scope", "scopes: app:write"),
            ("other-route", "scopes: app:read, routes: []"),
            ("other-method", "scopes: app:read, methods: [POST]"),
            ("other-network", "scopes: app:read, ip_allow: [10.0.0.0/8]"),
        ],
    );
    for (key, code) in [
        ("scopeless", "insufficient_scope"),
        ("other-scope", "insufficient_scope"),
        ("other-route", "route_not_allowed"),
        ("other-method", "method_not_allowed_for_key"),
        ("other-network", "ip_not_allowed"),
    ] {
        problem(&with_key(&gateway, key), 403, code);
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn rate_limited() {
    let upstream = Upstream::ok();
    let gateway = with_keys(
        &upstream,
        &[("often", "scopes: [app:read], limits: {rate: 1/d}")],
    );
    let first = gateway.request("GET /", &["x-api-key: often"]);
    assert_eq!(first.status, 200);
    // The connection stays usable.
    let answer = with_key(&gateway, "often");
    problem(&answer, 429, "rate_limited");
    assert_eq!(answer.header("retry-after"), Some("86400"));
}

#[test]
fn too_many_failures() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .top("admission: { failed_attempts: { rate: 1/h, burst: 1 } }")
        .start();
    let guess = gateway.request("GET /", &["x-api-key: a-wrong-key"]);
    assert_eq!(guess.status, 401);
    let answer = with_key(&gateway, KEY);
    let detail = problem(&answer, 429, "too_many_failures");
    assert_eq!(
        detail,
        "too many requests of this network had a wrong API key"
    );
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((3590..=3600).contains(&wait), "{wait}");
}

#[test]
fn no_route() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .replace("path: /", "path: /here")
        .start();
    problem(&gateway.get("/elsewhere"), 404, "no_route");
    problem(&gateway.get("/hereafter"), 404, "no_route");
}

#[test]
fn a_caller_in_the_middle_of_a_large_body_reads_the_413() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .replace("upstream: app", "upstream: app\n    max_body: 64KiB")
        .start();
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n");
    let piece = vec![b'x'; 0x4000];
    let chunk = [b"4000\r\n", &piece[..], b"\r\n"].concat();
    for (framing, piece) in [
        ("content-length: 4194304", &piece),
        ("transfer-encoding: chunked", &chunk),
    ] {
        let mut client = gateway.client();
        client.send(format!("{head}{framing}\r\n\r\n"));
        for _ in 0..256 {
            if !client.try_send(piece) {
                break;
            }
        }
        let answer = client.read();
        problem(&answer, 413, "body_too_large");
        closes(&answer);
        assert!(client.is_closed());
    }
    assert!(
        upstream.received().is_empty(),
        "no request came to its end upstream"
    );
}

#[test]
fn a_body_as_large_as_allowed_passes() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .replace("upstream: app", "upstream: app\n    max_body: 5B")
        .start();
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n");
    for body in [
        "content-length: 5\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ] {
        assert_eq!(gateway.raw(format!("{head}{body}")).status, 200);
        assert_eq!(upstream.last().body, b"hello");
    }
    for body in [
        "content-length: 6\r\n\r\nhello!",
        "transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n4\r\nllo!\r\n0\r\n\r\n",
    ] {
        let answer = gateway.raw_and_closed(format!("{head}{body}"));
        problem(&answer, 413, "body_too_large");
    }
}

#[test]
fn a_refused_caller_in_the_middle_of_a_large_body_reads_why() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    for (line, status) in [("POST /", 401), ("POST /a/../b", 400)] {
        let mut client = gateway.client();
        client.send(format!(
            "{line} HTTP/1.1\r\nhost: a\r\ncontent-length: 4194304\r\n\r\n"
        ));
        for _ in 0..256 {
            client.send([b'x'; 0x4000]);
        }
        assert_eq!(client.read().status, status);
        let end = client.stream().read(&mut [0]);
        assert_eq!(end.unwrap(), 0, "an end, not a reset");
    }
}

#[test]
fn an_unread_body_is_never_the_next_request() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let inner = format!("GET /smuggled HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n");
    let mut client = gateway.client();
    let length = inner.len();
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{inner}"
    ));
    challenged(&client.read(), "missing_api_key", BEARER);
    client.try_send(format!(
        "GET /next HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"
    ));
    client.try_read();
    let paths: Vec<String> = upstream
        .received()
        .iter()
        .map(|request| request.target().to_owned())
        .collect();
    assert!(!paths.contains(&String::from("/smuggled")), "{paths:?}");
}

#[test]
fn uri_too_long() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    assert_eq!(gateway.get(&format!("/{}", "a".repeat(8191))).status, 200);
    for length in [8192, 20_000, 70_000] {
        let answer = gateway.raw_and_closed(format!(
            "GET /{} HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n",
            "a".repeat(length)
        ));
        problem(&answer, 414, "uri_too_long");
        closes(&answer);
    }
    // It need not come to its end to be too long.
    let answer = gateway.raw_and_closed(format!("GET /{}", "a".repeat(1_000_000)));
    problem(&answer, 414, "uri_too_long");
    let absolute = format!(
        "GET http://a/{} HTTP/1.1\r\nhost: a\r\n\r\n",
        "a".repeat(8192)
    );
    problem(&gateway.raw_and_closed(absolute), 414, "uri_too_long");
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn headers_too_large() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let fill = |count: usize, length: usize| {
        let line = format!("x-fill: {}\r\n", "a".repeat(length));
        format!(
            "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n{}\r\n",
            line.repeat(count)
        )
    };
    assert_eq!(gateway.raw(fill(98, 1)).status, 200);
    assert_eq!(gateway.raw(fill(1, 32_000)).status, 200);
    for (count, length) in [
        (99, 1),
        (100, 1),
        (1000, 1),
        (10_000, 1),
        (1, 32 * 1024),
        (1, 60_000),
        (50, 1000),
        (1, 100_000),
        (1, 2_000_000),
    ] {
        let answer = gateway.raw_and_closed(fill(count, length));
        problem(&answer, 431, "headers_too_large");
        closes(&answer);
    }
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn small_caps_on_heads_hold_too() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("max_header_bytes: 1KiB, max_headers: 3, max_uri_bytes: 64B")
        .start();
    let head = |path: usize, field: usize, count: usize| {
        format!(
            "GET /{} HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n{}\r\n",
            "p".repeat(path),
            format!("x-fill: {}\r\n", "a".repeat(field)).repeat(count)
        )
    };
    assert_eq!(gateway.raw(head(63, 800, 1)).status, 200);
    problem(&gateway.raw_and_closed(head(64, 1, 1)), 414, "uri_too_long");
    problem(
        &gateway.raw_and_closed(head(5000, 1, 1)),
        414,
        "uri_too_long",
    );
    for bad in [head(1, 1024, 1), head(1, 1, 2), head(1, 7000, 1)] {
        problem(&gateway.raw_and_closed(bad), 431, "headers_too_large");
    }
}

#[test]
fn request_timeout_in_the_head() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("header_timeout: 150ms")
        .start();
    for half in ["G", "GET / HTTP/1.1\r\nhost: a\r\n"] {
        let mut client = gateway.client();
        client.send(half);
        let answer = client.read();
        problem(&answer, 408, "request_timeout");
        closes(&answer);
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn request_timeout_is_for_the_whole_head() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("header_timeout: 200ms")
        .start();
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\n");
    let mut writer = client.stream().try_clone().unwrap();
    let mut answer = None;
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || client.read());
        wait_until("a trickle of fields is refused", PATIENCE, || {
            let _ = writer.write_all(b"a: b\r\n");
            reader.is_finished()
        });
        answer = Some(reader.join().unwrap());
    });
    problem(&answer.unwrap(), 408, "request_timeout");
}

#[test]
fn request_timeout_in_the_body() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("body_timeout: 150ms")
        .start();
    for body in [
        "content-length: 10\r\n\r\nhalf",
        "transfer-encoding: chunked\r\n\r\na\r\nhalf",
    ] {
        let mut client = gateway.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n{body}"
        ));
        let answer = client.read();
        problem(&answer, 408, "request_timeout");
        closes(&answer);
        assert_eq!(client.rest(), b"");
    }
    assert!(upstream.received().is_empty());
}

/// The answer when the service is at this address.
fn before(endpoint: &str) -> Answer {
    let builder = GatewayBuilder::new(([127, 0, 0, 1], 1).into())
        .replace("http://127.0.0.1:1", &format!("http://{endpoint}"));
    with_key(&builder.start(), KEY)
}

#[test]
fn upstream_unreachable() {
    let refused = before(&format!("127.0.0.1:{}", free_port()));
    problem(&refused, 502, "upstream_unreachable");
    assert_eq!(
        refused.header("proxy-status"),
        Some("keygate; error=connection_refused")
    );
    let nameless = before("no-such-service.invalid");
    problem(&nameless, 502, "upstream_unreachable");
    assert_eq!(
        nameless.header("proxy-status"),
        Some("keygate; error=dns_error")
    );
}

#[test]
fn upstream_tls() {
    // Whoever answers a handshake with what is no TLS.
    let upstream = Upstream::serving(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let builder = GatewayBuilder::new(upstream.address).replace("http://", "https://");
    let refused = with_key(&builder.upstream("tls: { insecure: true }").start(), KEY);
    problem(&refused, 502, "upstream_tls");
    assert_eq!(
        refused.header("proxy-status"),
        Some("keygate; error=tls_protocol_error")
    );
}

#[test]
fn upstream_protocol() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunk = "\r\n2\r\nok\r\n0\r\n\r\n";
    let answers = [
        String::from("this is not HTTP\r\n\r\n"),
        String::from("ok"),
        format!("HTTP/2.0 200 OK\r\n{chunk}"),
        format!("{ok}content-length: 2\r\ntransfer-encoding: chunked\r\n{chunk}"),
        format!("{ok}transfer-encoding: chunked\r\ncontent-length: 2\r\n{chunk}"),
        format!("{ok}content-length: 2\r\ncontent-length: 3\r\n\r\nok"),
        format!("{ok}content-length: two\r\n\r\nok"),
        format!("{ok}content-length: +2\r\n\r\nok"),
        format!("{ok}transfer-encoding: chunked, chunked\r\n{chunk}"),
        format!("{ok}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n{chunk}"),
        format!("{ok}transfer-encoding: gzip, chunked\r\n{chunk}"),
        format!("{ok}transfer-encoding: identity\r\n\r\nok"),
        format!("{ok}transfer-encoding: , chunked\r\n{chunk}"),
        format!("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n{chunk}"),
        format!("{ok}bad header: 1\r\ncontent-length: 2\r\n\r\nok"),
        format!("{ok}x: a\0b\r\ncontent-length: 2\r\n\r\nok"),
        String::from(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        ),
        String::from("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ];
    for answer in answers {
        let bytes = answer.clone();
        let upstream = Upstream::serving(move |stream, keep| {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while let Some(request) = read_request(&mut reader) {
                keep(request);
                stream.write_all(bytes.as_bytes()).unwrap();
                if bytes == "ok" {
                    return;
                }
            }
        });
        let told = before(&upstream.address.to_string());
        problem(&told, 502, "upstream_protocol");
        assert!(
            upstream.connections() >= 2,
            "{answer}: no connection is used again"
        );
    }
}

#[test]
fn an_upstream_that_closes_without_an_answer() {
    let upstream = Upstream::answering(|_| Vec::new());
    let answer = before(&upstream.address.to_string());
    problem(&answer, 502, "upstream_protocol");
    assert_eq!(
        answer.header("proxy-status"),
        Some("keygate; error=connection_terminated")
    );
}

/// Reads requests and never answers.
fn silent() -> Upstream {
    Upstream::serving(|stream, keep| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = read_request(&mut reader) {
            keep(request);
        }
    })
}

#[test]
fn upstream_timeout() {
    let upstream = silent();
    let patience = GatewayBuilder::new(upstream.address).replace(
        "app: { endpoints",
        "app: { first_byte_timeout: 100ms, endpoints",
    );
    let whole = GatewayBuilder::new(upstream.address)
        .replace("upstream: app", "upstream: app\n    timeout: 100ms");
    for builder in [patience, whole] {
        let answer = with_key(&builder.start(), KEY);
        problem(&answer, 504, "upstream_timeout");
        assert_eq!(
            answer.header("proxy-status"),
            Some("keygate; error=http_response_timeout")
        );
    }
}

#[test]
fn a_slow_caller_is_not_a_slow_upstream() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .replace(
            "app: { endpoints",
            "app: { first_byte_timeout: 100ms, endpoints",
        )
        .start();
    let mut client = gateway.client();
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n");
    client.send(format!("{head}content-length: 30\r\n\r\n"));
    let wait = |client: &Client, limit| client.stream().set_read_timeout(Some(limit)).unwrap();
    wait(&client, Duration::from_millis(20));
    for _ in 0..30 {
        let early = client.stream().peek(&mut [0]);
        assert!(early.is_err(), "an answer before the end of the body");
        client.send("x");
    }
    wait(&client, Duration::from_secs(10));
    assert_eq!(client.read().status, 200);
}

#[test]
fn an_upstream_that_stops_reading_times_out() {
    let upstream = Upstream::serving(|stream, _| {
        let _ = stream.peek(&mut [0]);
        std::thread::park_timeout(Duration::from_secs(30));
    });
    let gateway = GatewayBuilder::new(upstream.address)
        .replace(
            "app: { endpoints",
            "app: { first_byte_timeout: 100ms, endpoints",
        )
        .replace("upstream: app", "upstream: app\n    max_body: off")
        .start();
    let mut client = gateway.client();
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n");
    client.send(format!("{head}content-length: 1073741824\r\n\r\n"));
    let mut writer = client.stream().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || while writer.write_all(&[b'x'; 0x4000]).is_ok() {});
        let answer = client.read();
        problem(&answer, 504, "upstream_timeout");
        let _ = client.stream().shutdown(std::net::Shutdown::Both);
    });
    // Nothing of the exchange is left, though the service still holds its end.
    wait_until("the caller's place is free", PATIENCE, || {
        gateway.metric("keygate_connections", &[("listener", "main")]) < 0.5
    });
}

#[test]
fn an_upstream_that_stalls_in_its_body_is_not_taken_for_finished() {
    let upstream = Upstream::serving(|stream, keep| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = read_request(&mut reader) {
            keep(request);
            let half = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
            stream.write_all(half.as_bytes()).unwrap();
        }
    });
    let gateway = GatewayBuilder::new(upstream.address)
        .replace("app: { endpoints", "app: { idle_timeout: 100ms, endpoints")
        .start();
    let mut client = gateway.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"
    ));
    let raw = client.rest();
    let text = String::from_utf8_lossy(&raw);
    assert!(text.contains("half"), "{text}");
    assert!(!text.contains("\r\n0\r\n"), "cut, not ended: {text}");
}

#[test]
fn no_healthy_endpoint() {
    let gateway = GatewayBuilder::new(format!("127.0.0.1:{}", free_port()).parse().unwrap())
        .upstream("health_check: {tcp: true, interval: 100ms}")
        .start();
    wait_until("it is checked", PATIENCE, || gateway.get("/").status == 503);
    problem(&gateway.get("/"), 503, "no_healthy_endpoint");
}

#[test]
fn overloaded() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("max_connections: 1")
        .start();
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n");
    let mut first = gateway.client();
    first.send(&request);
    assert_eq!(first.read().status, 200);
    let mut second = Client::connect(gateway.address);
    let answer = second.read();
    problem(&answer, 503, "overloaded");
    closes(&answer);
    let mut rest = [0];
    assert_eq!(second.stream().read(&mut rest).unwrap_or(0), 0);
    first.send(&request);
    assert_eq!(first.read().status, 200, "those who are in are served on");
}
