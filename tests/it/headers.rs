//! Fields and framing, both directions: hop-by-hop out, forwarding and identity in, smuggling refused.

use crate::harness::{Gateway, GatewayBuilder, KEY, Received, Upstream, hash_of};

/// Head of a request with the key, without its empty line.
fn head(line: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: api.example.com\r\nx-api-key: {KEY}\r\n")
}

/// What arrives of a GET with these fields.
fn arrives(gateway: &Gateway, upstream: &Upstream, fields: &[&str]) -> Received {
    let key = format!("x-api-key: {KEY}");
    let mut all = vec![&*key];
    all.extend(fields);
    let answer = gateway.request("GET /", &all);
    assert_eq!(answer.status, 200, "{fields:?} {}", answer.text());
    upstream.last()
}

/// The names of what arrived, in lower case.
fn names(received: &Received) -> Vec<String> {
    let name = |(name, _): &(String, String)| name.to_ascii_lowercase();
    let mut names: Vec<String> = received.headers.iter().map(name).collect();
    names.sort_unstable();
    names
}

/// All that a plain request with a key arrives with.
const OURS: [&str; 11] = [
    "host",
    "traceparent",
    "x-consumer-id",
    "x-consumer-username",
    "x-credential-identifier",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-keygate-scopes",
    "x-keygate-workspace",
    "x-request-id",
];

#[test]
fn nothing_of_the_callers_hop_goes_upstream() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    for fields in [
        &[][..],
        &["connection: close"],
        &["connection: keep-alive", "keep-alive: timeout=5"],
        &["proxy-connection: keep-alive"],
        &[
            "connection: x-mine, X-Second",
            "x-mine: 1",
            "x-second: 2",
            "x-second: 3",
        ],
        &[
            "connection: x-mine",
            "connection: x-second",
            "x-mine: 1",
            "x-second: 2",
        ],
        &["connection: ,, x-mine ,", "x-mine: 1"],
        &[
            "connection: upgrade",
            "upgrade: h2c",
            "http2-settings: AAMAAABkAAQ",
        ],
        &[
            "connection: Upgrade, HTTP2-Settings",
            "upgrade: h2c",
            "http2-settings: AA",
        ],
        &["connection: upgrade", "upgrade: websocket, h2c"],
        &["upgrade: anything/1"],
        &["te: gzip"],
        &["te: deflate;q=0.5"],
        &["proxy-authorization: Basic dTpw"],
        &["expect: 100-continue"],
    ] {
        let received = arrives(&gateway, &upstream, fields);
        assert_eq!(names(&received), OURS, "{fields:?}");
    }
    let received = arrives(
        &gateway,
        &upstream,
        &["connection: x-other", "x-mine: 1", "x-mine: 2"],
    );
    let mine = received.headers.iter().filter(|(name, _)| name == "x-mine");
    assert_eq!(mine.count(), 2);
}

#[test]
fn trailers_are_asked_for_if_the_caller_takes_them() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    for te in [
        "te: trailers",
        "te: gzip, Trailers",
        "TE: trailers, deflate;q=0.5",
    ] {
        let received = arrives(&gateway, &upstream, &["connection: te", te]);
        assert_eq!(received.header("te"), Some("trailers"));
        assert_eq!(received.header("connection"), Some("te"));
    }
}

#[test]
fn connection_strips_nothing_that_we_say() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let received = arrives(
        &gateway,
        &upstream,
        &[
            "connection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Host",
            "connection: X-Consumer-ID, x-consumer-username, x-credential-identifier",
            "connection: x-keygate-scopes, x-keygate-workspace, x-request-id, close",
            "x-request-id: mine",
        ],
    );
    assert_eq!(names(&received), OURS);
    assert_eq!(received.header("host"), Some("api.example.com"));
    assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(received.header("x-request-id"), Some("mine"));
    assert_eq!(received.header("x-consumer-username"), Some("acme"));
}

#[test]
fn a_key_that_connection_names_is_still_found_and_removed() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let received = arrives(
        &gateway,
        &upstream,
        &["connection: x-api-key, authorization"],
    );
    assert_eq!(names(&received), OURS);
}

#[test]
fn an_upgrade_with_a_body_is_an_ordinary_request() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    let inner = "GET /smuggled HTTP/1.1\r\n\r\n";
    let length = inner.len();
    client.send(format!(
        "{}connection: upgrade\r\nupgrade: h2c\r\ncontent-length: {length}\r\n\r\n{inner}",
        head("POST /one")
    ));
    assert_eq!(client.read().status, 200);
    client.send(format!("{}\r\n", head("GET /two")));
    assert_eq!(client.read().status, 200);
    let lines: Vec<String> = upstream
        .received()
        .iter()
        .map(|got| got.line.clone())
        .collect();
    assert_eq!(lines, ["POST /one HTTP/1.1", "GET /two HTTP/1.1"]);
    assert_eq!(upstream.received()[0].body, inner.as_bytes());
    assert_eq!(upstream.received()[0].header("upgrade"), None);
}

#[test]
fn nothing_of_the_services_hop_comes_back() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nConnection: x-internal, keep-alive\r\nX-Internal: 1\r\nKeep-Alive: timeout=9\r\n\
          Proxy-Connection: close\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nTE: trailers\r\n\
          X-Request-Id: theirs\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nVary: x\r\nServer: theirs\r\n\
          Content-Length: 2\r\n\r\nok"
            .to_vec()
    });
    let gateway = Gateway::before(upstream.address);
    let answer = gateway.request(
        "GET /",
        &[&format!("x-api-key: {KEY}"), "x-request-id: mine"],
    );
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    for name in [
        "connection",
        "x-internal",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "upgrade",
        "te",
        "via",
    ] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-request-id"), Some("mine"));
    assert_eq!(answer.headers_named("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.header("vary"), Some("x"));
    assert_eq!(answer.header("server"), Some("theirs"));
}

/// Framing is no matter of the hop before, and a caller that keeps its connection must see where the answer ends.
#[test]
fn a_length_that_is_said_to_be_of_one_hop_is_told_all_the_same() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nConnection: content-length, date\r\nContent-Length: 2\r\nDate: then\r\n\r\nok".to_vec()
    });
    let gateway = Gateway::before(upstream.address);
    let answer = gateway.request("GET /", &[&format!("x-api-key: {KEY}")]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.headers_named("content-length"), ["2"]);
    assert_ne!(answer.headers_named("date"), ["then"]);
    assert_eq!(answer.headers_named("date").len(), 1);
}

#[test]
fn who_forwards_is_told_by_us_alone() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let received = arrives(
        &gateway,
        &upstream,
        &[
            "X-Forwarded-For: 6.6.6.6",
            "x_forwarded_for: 6.6.6.6",
            "X-Forwarded-For: 6.6.6.7",
            "X-Forwarded-Proto: https6",
            "X-Forwarded_Proto: https6",
            "X-Forwarded-Host: evil6",
            "X_Forwarded_Host: evil6",
            "X-Forwarded-Port: 666",
            "X-Forwarded-Server: evil6",
            "X-Forwarded-Prefix: /evil6",
            "X-Forwarded-Ssl: evil6",
            "X-Forwarded-Scheme: evil6",
            "X-Forwarded-Uri: /evil6",
            "X-Forwarded-Method: EVIL6",
            "X-Forwarded-User: evil6",
            "X-Forwarded-By: evil6",
            "X-Forwarded-Tls-Client-Cert: evil6",
            "X-Forwarded: for=6.6.6.6",
            "X-Real-IP: 6.6.6.6",
            "X_Real_Ip: 6.6.6.6",
            "Forwarded: for=6.6.6.6;host=evil6",
            "X_Request_Id: 6",
        ],
    );
    assert_eq!(names(&received), OURS);
    assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(received.header("x-forwarded-proto"), Some("http"));
    assert_eq!(received.header("x-forwarded-host"), Some("api.example.com"));
}

#[test]
fn via_and_forwarded_on_request() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nvia: 1.1 inner\r\ncontent-length: 2\r\n\r\nok".to_vec()
    });
    let mut builder = GatewayBuilder::new(upstream.address);
    builder.rest += "forwarding: { via: true, forwarded: true }\n";
    let gateway = builder.address("[::]:0").start();
    let port = gateway.address.port();
    for (address, node) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "\"[::1]\"")] {
        let address = format!("{address}:{port}").parse().unwrap();
        let mut client = crate::harness::Client::connect(address);
        client.send(format!(
            "{}forwarded: for=evil\r\nvia: 1.1 outer\r\n\r\n",
            head("GET /")
        ));
        let answer = client.read();
        assert_eq!(answer.headers_named("via"), ["1.1 inner", "1.1 keygate"]);
        let received = upstream.last();
        let forwarded = format!("for={node};host=\"api.example.com\";proto=http");
        assert_eq!(received.header("forwarded"), Some(&*forwarded));
        let via: Vec<&str> = received
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("via"))
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(via, ["1.1 outer", "1.1 keygate"]);
    }
    let plain = Gateway::before(upstream.address);
    let received = arrives(&plain, &upstream, &["via: 1.1 outer"]);
    assert_eq!(received.header("via"), Some("1.1 outer"));
    assert_eq!(received.header("forwarded"), None);
}

#[test]
fn a_request_id_is_kept_if_it_is_harmless() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let key = format!("x-api-key: {KEY}");
    let id_of = |fields: &[&str]| {
        let mut all = vec![&*key];
        all.extend(fields);
        let answer = gateway.request("GET /", &all);
        let told = answer.header("x-request-id").unwrap().to_owned();
        assert_eq!(upstream.last().header("x-request-id"), Some(&*told));
        told
    };
    let long = "a".repeat(64);
    for kept in [
        "a",
        "7b0a-4f_E.x",
        "0123456789abcdef0123456789abcdef",
        &long,
    ] {
        assert_eq!(id_of(&[&format!("x-request-id: {kept}")]), kept);
    }
    let (longer, key) = ("a".repeat(65), format!("x-request-id: {KEY}"));
    let longer = format!("x-request-id: {longer}");
    for odd in [
        &[][..],
        &["x-request-id:"],
        &["x-request-id: a b"],
        &["x-request-id: a\"b"],
        &["x-request-id: a,b"],
        &["x-request-id: <script>"],
        &["x-request-id: é"],
        &["x-request-id: a", "x-request-id: a"],
        &["x_request_id: a"],
        &[&longer],
        &[&key],
    ] {
        let id = id_of(odd);
        assert!(id.starts_with("req_") && id.len() == 30, "{odd:?} {id}");
    }
    assert_ne!(id_of(&[]), id_of(&[]));
}

#[test]
fn who_calls_is_told_exactly_once() {
    let upstream = Upstream::ok();
    let mut builder = GatewayBuilder::new(upstream.address);
    let hash = hash_of("lonely-key");
    let key = format!("  - {{ name: lonely, hash: \"{hash}\", scopes: [app:read] }}\n");
    builder.rest.push_str(&key);
    let gateway = builder.start();
    let claims = [
        "x-consumer-id: evil",
        "X-Consumer-ID: evil",
        "x_consumer_id: evil",
        "X_Consumer-Username: evil",
        "x-consumer-username: evil",
        "x-consumer-custom-id: evil",
        "x-consumer-groups: evil",
        "x-anonymous-consumer: true evil",
        "x-credential-identifier: evil",
        "x-keygate-workspace: evil",
        "x-keygate-scopes: evil",
        "X_Keygate_Scopes: evil",
        "x-keygate-metadata: evil",
    ];
    let received = arrives(&gateway, &upstream, &claims);
    assert_eq!(names(&received), OURS);
    assert!(!received.whole().contains("evil"), "{received:?}");
    assert_eq!(received.header("x-consumer-username"), Some("acme"));
    assert!(
        received
            .header("x-consumer-id")
            .unwrap()
            .starts_with("con_")
    );
    assert!(
        received
            .header("x-keygate-workspace")
            .unwrap()
            .starts_with("ws_")
    );
    assert_eq!(
        received.header("x-keygate-scopes"),
        Some("app:read app:write")
    );
    let key = received
        .header("x-credential-identifier")
        .unwrap()
        .to_owned();
    assert!(key.starts_with("key_"));

    let answer = gateway.request("GET /", &["x-api-key: lonely-key"]);
    assert_eq!(answer.status, 200);
    let lonely = upstream.last();
    assert_eq!(names(&lonely), OURS);
    let id = lonely.header("x-credential-identifier").unwrap();
    assert!(id.starts_with("key_") && id != key);
    assert_eq!(lonely.header("x-consumer-id"), Some(id));
    assert_eq!(lonely.header("x-consumer-username"), Some("lonely"));
}

#[test]
fn metadata_goes_upstream_where_the_route_asks() {
    let upstream = Upstream::ok();
    let mut builder = GatewayBuilder::new(upstream.address)
        .replace("upstream: app", "upstream: app\n    forward_metadata: true");
    let key = format!(
        "  - {{ name: tagged, hash: \"{}\", scopes: [app:read], metadata: {{ plan: gold, seats: 3, name: Zoë }} }}\n",
        hash_of("tagged-key")
    );
    builder.rest.push_str(&key);
    let gateway = builder.start();
    let claim = "x-keygate-metadata: {\"plan\":\"evil\"}";
    assert_eq!(
        gateway
            .request("GET /", &["x-api-key: tagged-key", claim])
            .status,
        200
    );
    let metadata = upstream
        .last()
        .header("x-keygate-metadata")
        .unwrap()
        .to_owned();
    assert!(metadata.is_ascii(), "{metadata}");
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(
        metadata,
        serde_json::json!({"plan": "gold", "seats": "3", "name": "Zoë"})
    );
    let none = arrives(&gateway, &upstream, &[claim]);
    assert_eq!(none.header("x-keygate-metadata"), Some("{}"));
}

#[test]
fn the_host_that_a_service_is_told() {
    let upstream = Upstream::ok();
    let authority = upstream.address.to_string();
    for (setting, host) in [
        ("preserve", "api.example.com"),
        ("endpoint", &*authority),
        ("inner.example:81", "inner.example:81"),
    ] {
        let gateway = GatewayBuilder::new(upstream.address)
            .replace(
                "app: { endpoints",
                &format!("app: {{ host_header: '{setting}', endpoints"),
            )
            .start();
        let received = arrives(&gateway, &upstream, &[]);
        assert_eq!(received.header("host"), Some(host));
        assert_eq!(received.header("x-forwarded-host"), Some("api.example.com"));
    }
}

#[test]
fn bodies_are_framed_anew() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    for (framing, body) in [
        ("content-length: 5", "hello"),
        ("content-length: 005", "hello"),
        ("content-length: 5\r\ncontent-length: 5", "hello"),
        ("transfer-encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
        (
            "transfer-encoding: Chunked",
            "5;ext=\"x\"\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "Transfer-Encoding:\t chunked \t",
            "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        ),
        (
            "connection: content-length, transfer-encoding\r\ncontent-length: 5",
            "hello",
        ),
        (
            "connection: transfer-encoding\r\ntransfer-encoding: chunked",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
    ] {
        let answer = gateway.raw(format!("{}{framing}\r\n\r\n{body}", head("POST /")));
        assert_eq!(answer.status, 200, "{framing} {}", answer.text());
        let received = upstream.last();
        assert_eq!(received.body, b"hello");
        let framings = [
            received.header("content-length"),
            received.header("transfer-encoding"),
        ];
        assert_eq!(
            framings.iter().flatten().count(),
            1,
            "{framing} {framings:?}"
        );
    }
    let answer = gateway.raw(format!("{}content-length: 0\r\n\r\n", head("POST /")));
    assert_eq!(answer.status, 200);
    assert!(upstream.last().body.is_empty());
}

/// Each is refused as it stands; behind it comes what must not be taken for a request of its own.
#[test]
fn requests_that_can_be_read_in_two_ways_are_refused() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let chunks = "0\r\n\r\n";
    let fields = [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5, 6",
        "content-length: 5, 5",
        "content-length: +5",
        "content-length: -5",
        "content-length: 0x5",
        "content-length: 5 5",
        "content-length: 5;x",
        "content-length: ",
        "content-length: 99999999999999999999999",
        "content-length : 5",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked, gzip",
        "transfer-encoding: identity",
        "transfer-encoding: identity, chunked",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunkedx",
        "transfer-encoding: chunked;q=1",
        "transfer-encoding: , chunked",
        "transfer-encoding: chunked,",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: 'chunked'",
        "transfer-encoding: chu nked",
        "transfer-encoding: \u{b}chunked",
        "transfer-encoding: \u{c}chunked",
        "transfer-encoding: chunked\u{b}",
        "transfer-encoding: chunked\u{7f}",
        "transfer-encoding: chunked\0",
        "transfer-encoding:",
        "transfer-encoding : chunked",
        "transfer-encoding\t: chunked",
        " transfer-encoding: chunked",
        "x: y\r\n transfer-encoding: chunked",
        "transfer-encoding:\r\n chunked",
        "x: a\r\n b",
        "x: a\r\n\tb",
        "x : y",
        "x\t: y",
        "x y: z",
        ": y",
        "x",
        "x\0: y",
        "x: a\0b",
        "x: a\rb",
        "x: a\rtransfer-encoding: chunked",
        "x: a\u{1}b",
        "x: a\u{7f}b",
        "x(: y",
        "\u{e9}: y",
    ];
    for field in fields {
        let smuggled = format!("{}\r\n", head("GET /smuggled"));
        let request = format!("{}{field}\r\n\r\n{chunks}{smuggled}", head("POST /"));
        let answer = gateway.raw_and_closed(request);
        assert_eq!(answer.status, 400, "{field:?}");
        assert_eq!(answer.code(), "bad_request");
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(upstream.received().len(), 0, "{field:?}");
    }
    // A number, but no length that a body has.
    let endless = format!("{}content-length: {}\r\n\r\n", head("POST /"), u64::MAX);
    assert_eq!(gateway.raw_and_closed(endless).code(), "bad_request");
    let old = format!(
        "POST / HTTP/1.0\r\nx-api-key: {KEY}\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
    );
    assert_eq!(gateway.raw_and_closed(old).code(), "bad_request");
    assert!(upstream.received().is_empty());
}

/// RFC 9112 §11.2: whoever sends both may want two readers to disagree.
#[test]
fn length_and_coding_together_are_refused() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    for framing in [
        "content-length: 6\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 6",
        "content-length: 60\r\ntransfer-encoding: chunked",
        "content-length: 0\r\ntransfer-encoding: chunked",
        "Content-Length: 6\r\nx: y\r\nTRANSFER-ENCODING:chunked",
    ] {
        let smuggled = format!("{}\r\n", head("GET /smuggled"));
        let answer = gateway.raw_and_closed(format!(
            "{}{framing}\r\n\r\n0\r\n\r\n{smuggled}",
            head("POST /")
        ));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "bad_request"),
            "{framing}"
        );
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn broken_chunks_are_refused() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    for body in [
        "x\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";\r\nhello\r\n0\r\n\r\n",
        "-1\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "10000000000000000\r\nhello",
        "fffffffffffffffff\r\nhello",
    ] {
        let mut client = gateway.client();
        client.send(format!(
            "{}transfer-encoding: chunked\r\n\r\n{body}",
            head("POST /")
        ));
        let answer = client.try_read();
        let status = answer.as_ref().map(|answer| answer.status);
        assert_eq!(status, Some(400), "{body:?} {answer:?}");
        assert_eq!(answer.unwrap().code(), "bad_request");
        assert!(client.is_closed(), "{body:?}");
    }
    assert!(upstream.received().is_empty(), "{:?}", upstream.received());
}

/// hyper takes a bare LF for the end of a line (RFC 9112 §2.2 allows it), others for a part of the line.
#[test]
fn a_bare_lf_is_refused() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let request = format!("GET /x HTTP/1.1\nhost: a\nx-api-key: {KEY}\nx-mine: 1\n\n");
    assert_eq!(gateway.raw_and_closed(request).code(), "bad_request");
    assert!(upstream.received().is_empty());
}

#[test]
fn trailers_say_nothing_that_decides() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let sent = [
        "x-checksum: 1",
        "x-consumer-id: evil",
        "X_Consumer_Id: evil",
        "x-consumer-groups: evil",
        "x-anonymous-consumer: evil",
        "x-keygate-scopes: evil",
        "x-api-key: evil",
        "authorization: evil",
        "x-forwarded-for: evil",
        "x-forwarded-port: evil",
        "x-real-ip: evil",
        "x-request-id: evil",
        "content-length: 5",
        "transfer-encoding: evil",
        "host: evil",
    ];
    let declared: Vec<&str> = sent
        .iter()
        .map(|field| field.split(':').next().unwrap())
        .collect();
    let answer = gateway.raw(format!(
        "{}transfer-encoding: chunked\r\ntrailer: {}\r\n\r\n5\r\nhello\r\n0\r\n{}\r\n\r\n",
        head("POST /"),
        declared.join(", "),
        sent.join("\r\n")
    ));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = upstream.last();
    assert_eq!(received.body, b"hello");
    assert_eq!(
        received.trailers,
        [(String::from("x-checksum"), String::from("1"))]
    );
}

#[test]
fn trailers_of_an_answer_come_back() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n".to_vec()
    });
    let gateway = Gateway::before(upstream.address);
    let key = format!("x-api-key: {KEY}");
    let answer = gateway.request("GET /", &[&key, "te: trailers", "connection: te"]);
    assert_eq!(answer.text(), "ok");
    assert_eq!(
        answer.trailers,
        [(String::from("x-sum"), String::from("7"))]
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::answering(|request| {
        let target = request.target();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}",
            target.len()
        )
        .into_bytes()
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    let request = |number| format!("{}\r\n", head(&format!("GET /{number}")));
    let many = (0..20).map(request).collect::<Vec<_>>().concat();
    client.send(format!(
        "{many}{}content-length: 2\r\n\r\nhi",
        head("POST /last")
    ));
    for number in 0..20 {
        assert_eq!(client.read().text(), format!("/{number}"));
    }
    assert_eq!(client.read().text(), "/last");
}
