//! `WebSocket` connections: by clients and a server of others, and by bytes that none of them sends.

use crate::harness::{
    Authority, Client, Gateway, GatewayBuilder, KEY, PATIENCE, Process, Upstream, free_port, nginx,
    peer, peer_says, peer_server, wait_for_port, wait_until,
};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

const LOCATIONS: &str = "locations: [{header: X-API-Key}, bearer, {query: api_key}";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn builder(upstream: SocketAddr) -> GatewayBuilder {
    let with_protocol = format!("{LOCATIONS}, {{websocket_protocol: true}}");
    GatewayBuilder::new(upstream).replace(LOCATIONS, &with_protocol)
}

/// The head of a handshake, with these fields besides.
fn handshake(more: &str) -> String {
    format!(
        "GET /chat HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// A service that agrees to each handshake and then sends back what comes.
fn echo() -> Upstream {
    Upstream::serving(|stream, keep| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let Some(request) = crate::harness::read_request(&mut reader) else {
            return;
        };
        keep(request);
        stream.write_all(AGREED.as_bytes()).unwrap();
        loop {
            let piece = reader.fill_buf().map(<[u8]>::to_vec).unwrap_or_default();
            if piece.is_empty() || stream.write_all(&piece).is_err() {
                return;
            }
            reader.consume(piece.len());
        }
    })
}

/// A WebSocket through the gateway, open.
fn open(gateway: &Gateway) -> Client {
    let mut client = gateway.client();
    client.send(handshake(""));
    assert_eq!(client.read().status, 101);
    client
}

#[test]
fn a_client_and_a_server_of_others_notice_nothing() {
    let (_server, address) = peer_server("websocket_server.py");
    let gateway = builder(address).start();
    let said = peer_says("websocket_client.py", &[&gateway.address.to_string(), KEY]);
    let said: Vec<(String, Value)> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let about = |what: &str| &said.iter().find(|(name, _)| name == what).unwrap().1;
    assert_eq!(*about("sizes"), "ok");
    assert_eq!(*about("close"), json!([4000, "as asked"]));
    assert_eq!(*about("native"), json!(["chat", "chat"]));
    assert_eq!(*about("prefixed"), json!(["chat", "chat"]));
    assert_eq!(*about("named"), json!(["keygate.api-key", null]));
    assert_eq!(*about("alone"), json!([KEY, null]));
    assert_eq!(*about("keyless"), json!([401, "missing_api_key"]));
    let seen = about("seen");
    assert_eq!(seen["path"], "/chat/room?a=b");
    assert_eq!(seen["head"]["x-consumer-username"], "acme");
    assert!(!seen.to_string().contains(KEY));
}

#[test]
fn one_on_a_stream_of_http_2_becomes_one_of_http_1() {
    let (_server, address) = peer_server("websocket_server.py");
    let mut gateway = builder(address).start();
    let arguments = [gateway.address.to_string(), KEY.into()];
    let mut process = Process::start(
        peer("websocket_http2.py")
            .args(arguments)
            .stdout(Stdio::piped()),
    );
    let mut said = BufReader::new(process.child().stdout.take().unwrap()).lines();
    let mut line = || said.next().unwrap().unwrap();
    assert_eq!(line(), "200 False");
    assert_eq!(line(), r"b'\x81\x05hello'");
    gateway.edit("hash: \"blake3", "state: revoked, hash: \"blake3");
    assert_eq!(line(), r"b'\x88\x11\x03\xf0api_key_revoked'");
    let refused = peer_says(
        "websocket_http2.py",
        &[&gateway.address.to_string(), "none"],
    );
    assert_eq!(refused.trim(), "401 False");
}

#[test]
fn over_http_2_a_service_that_does_not_agree_is_a_502() {
    let gateway = builder(Upstream::ok().address).start();
    let refused = peer_says("websocket_http2.py", &[&gateway.address.to_string(), KEY]);
    assert_eq!(refused.trim(), "502 False");
}

#[test]
fn a_route_that_takes_it_no_more_ends_it() {
    let mut gateway = builder(echo().address).start();
    let mut client = open(&gateway);
    gateway.edit("GET: app:read", "GET: app:other");
    assert_eq!(client.rest(), b"\x88\x14\x03\xf0insufficient_scope");
}

#[test]
fn bytes_go_up_once_the_service_has_agreed_and_not_before() {
    let upstream =
        Upstream::answering(|_| b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno".to_vec());
    let gateway = builder(upstream.address).start();
    let mut client = gateway.client();
    // CVE-2026-2833.
    client.send(handshake("") + "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.read().status, 403);
    assert_eq!(client.read().status, 401);
    assert_eq!(upstream.received().len(), 1);

    let gateway = builder(echo().address).start();
    let mut client = gateway.client();
    client.send(handshake("") + "early");
    assert_eq!(client.read().status, 101);
    client.send(" and late");
    assert_eq!(client.exactly(14), b"early and late");
}

#[test]
fn only_a_websocket_that_was_asked_for_and_agreed_to_is_one() {
    let agreed = Upstream::answering(|_| AGREED.as_bytes().to_vec());
    let gateway = builder(agreed.address).start();
    let key = format!("x-api-key: {KEY}");
    // Unasked.
    assert_eq!(
        gateway.request("GET /", &[&key]).code(),
        "upstream_protocol"
    );
    // Asked in a way that is none.
    for fields in [
        ["Upgrade: websocket", "Connection: keep-alive"],
        ["Upgrade: h2c", "Connection: Upgrade"],
        ["Upgrade: websocket, h2c", "Connection: Upgrade"],
    ] {
        let answer = gateway.request("GET /", &[&key, fields[0], fields[1]]);
        assert_eq!(answer.code(), "upstream_protocol", "{fields:?}");
        let seen = agreed.last();
        assert_eq!(seen.header("upgrade"), None);
        assert_eq!(seen.header("connection"), None);
    }
    // Agreed to in a way that is none.
    for head in [
        "Upgrade: h2c\r\nConnection: Upgrade",
        "Upgrade: websocket\r\nConnection: close",
        "Connection: Upgrade",
    ] {
        let upstream = Upstream::answering(move |_| {
            format!("HTTP/1.1 101 Switching Protocols\r\n{head}\r\n\r\n").into_bytes()
        });
        let gateway = builder(upstream.address).start();
        let answer = gateway.raw(handshake(""));
        assert_eq!(answer.code(), "upstream_protocol", "{head}");
    }
}

#[test]
fn a_handshake_with_a_body_is_refused() {
    // CVE-2026-58055.
    let upstream = echo();
    let gateway = builder(upstream.address).start();
    for framing in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let answer = gateway.raw_and_closed(handshake(framing) + "hello");
        assert_eq!(answer.code(), "bad_request", "{framing}");
    }
    assert!(upstream.received().is_empty());
    assert_eq!(gateway.raw(handshake("Content-Length: 0\r\n")).status, 101);
}

#[test]
fn a_route_may_have_none() {
    let upstream = Upstream::ok();
    let gateway = builder(upstream.address).route("websocket: false").start();
    assert_eq!(gateway.raw(handshake("")).status, 200);
    assert_eq!(upstream.last().header("upgrade"), None);
}

#[test]
fn a_side_that_ends_ends_the_other() {
    let gateway = builder(echo().address).start();
    let mut client = open(&gateway);
    client.send("last");
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"last");
    wait_until("it is accounted for", PATIENCE, || {
        gateway.metric(
            "keygate_http_requests_total",
            &[("route", "app"), ("code", "101")],
        ) == 1.0
    });
}

#[test]
fn silence_ends_after_the_time_that_is_set() {
    let gateway = builder(echo().address)
        .route("websocket_idle_timeout: 300ms")
        .start();
    let mut client = open(&gateway);
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(150));
        client.send(b"\x81\x01x");
        assert_eq!(client.exactly(3), b"\x81\x01x");
    }
    assert_eq!(client.rest(), b"\x88\x06\x03\xe9idle");
}

#[test]
fn a_key_that_ends_ends_it_between_two_frames() {
    let upstream = echo();
    let mut gateway = builder(upstream.address).start();
    let mut idle = open(&gateway);
    // What comes back of this one is half a frame.
    let mut torn = open(&gateway);
    torn.send(b"\x81\x05he");
    assert_eq!(torn.exactly(4), b"\x81\x05he");
    gateway.edit("hash: \"blake3", "state: disabled, hash: \"blake3");
    let closing = b"\x88\x12\x03\xf0api_key_disabled";
    assert_eq!(idle.rest(), closing);
    assert_eq!(torn.rest(), b"");
    let labels = [("kind", "websocket"), ("reason", "disabled")];
    assert_eq!(gateway.metric("keygate_streams_cut_total", &labels), 2.0);
    assert_eq!(gateway.raw(handshake("")).code(), "api_key_disabled");
}

#[test]
fn a_stop_says_goodbye() {
    let upstream = echo();
    let gateway = builder(upstream.address).top("drain_timeout: 20s").start();
    let mut client = open(&gateway);
    let reader = std::thread::spawn(move || client.rest());
    gateway.stop();
    let said = reader.join().unwrap();
    assert!(said.starts_with(b"\x88\x1b\x03\xe9"), "{said:?}");
}

/// nginx under TLS in front of the server of others: it would rather speak HTTP/2, and cannot carry this there.
fn behind_tls(folder: &Path, service: SocketAddr) -> (Process, SocketAddr) {
    Authority::new(folder, "ca").sign(folder, "service", "IP:127.0.0.1");
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let at = folder.display();
    let server = format!(
        "server {{ listen {address} ssl http2;\n\
           ssl_certificate {at}/service.pem; ssl_certificate_key {at}/service.key;\n\
           location /plain {{ return 200 $server_protocol; }}\n\
           location / {{ proxy_pass http://{service}; proxy_http_version 1.1;\n\
             proxy_set_header Host $host; proxy_set_header Upgrade $http_upgrade;\n\
             proxy_set_header Connection $http_connection; }} }}\n"
    );
    let nginx = nginx(folder, &server);
    wait_for_port(address);
    (nginx, address)
}

#[test]
fn a_service_that_would_rather_speak_http_2_is_asked_in_http_1() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, service) = peer_server("websocket_server.py");
    let (_nginx, address) = behind_tls(folder.path(), service);
    let ca = folder.path().join("ca.pem");
    let gateway = builder(address)
        .replace(&format!("http://{address}"), &format!("https://{address}"))
        .upstream(&format!("tls: {{ ca: 'file:{}' }}", ca.display()))
        .start();
    // There is a connection of HTTP/2 already, which many requests share.
    let key = format!("x-api-key: {KEY}");
    assert_eq!(gateway.request("GET /plain", &[&key]).text(), "HTTP/2.0");
    let said = peer_says("websocket_client.py", &[&gateway.address.to_string(), KEY]);
    assert!(said.contains(r#"["sizes", "ok"]"#), "{said}");
    assert!(said.contains(r#"["native", ["chat", "chat"]]"#), "{said}");
}

#[test]
fn a_service_of_http_2_alone_gets_an_ordinary_request() {
    let upstream = Upstream::ok();
    let gateway = builder(upstream.address).upstream("protocol: h2").start();
    // What answers here does not speak it, which shows that it was tried.
    assert_eq!(gateway.raw(handshake("")).code(), "upstream_protocol");
}
