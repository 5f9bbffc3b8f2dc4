//! Where a request really comes from: what proxies in front say of it, who is believed, and what is made of it.

use crate::harness::{
    Answer, Gateway, GatewayBuilder, KEY, PATIENCE, Process, Upstream, free_port, wait_for_port,
    wait_until,
};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// The client of the tests is on 127.0.0.1.
const TRUSTED: &str = "trusted_proxies: [127.0.0.1, 10.0.0.0/8]";

/// The gateway of [`GatewayBuilder::new`], whose key may come from one network only.
fn gateway(upstream: &Upstream, listener: &str) -> Gateway {
    builder(upstream, listener).start()
}

fn builder(upstream: &Upstream, listener: &str) -> GatewayBuilder {
    GatewayBuilder::new(upstream.address)
        .listener(listener)
        .top("forwarding: { forwarded: true }")
        .replace("{ name: ci,", "{ name: ci, ip_allow: [192.0.2.0/24],")
}

/// A request with these lines: its status, and who forwards it as the upstream sees it.
fn sent(gateway: &Gateway, upstream: &Upstream, lines: &[&str]) -> (u16, Option<String>) {
    let key = format!("x-api-key: {KEY}");
    let answer = gateway.request("GET /", &[lines, &[&*key]].concat());
    let forwarded = (answer.status == 200).then(|| {
        let seen = upstream.last();
        seen.header("x-forwarded-for").unwrap().to_owned()
    });
    (answer.status, forwarded)
}

#[test]
fn nobody_is_believed_unless_it_is_said() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address).start();
    let lines = [
        "x-forwarded-for: 192.0.2.1",
        "forwarded: for=192.0.2.1",
        "x-real-ip: 192.0.2.1",
    ];
    assert_eq!(
        sent(&gateway, &upstream, &lines),
        (200, Some("127.0.0.1".into()))
    );
    let limited = self::gateway(&upstream, "trusted_proxies: [10.0.0.0/8]");
    let refused = sent(&limited, &upstream, &lines);
    assert_eq!(refused, (403, None), "127.0.0.1 is no trusted proxy");
}

#[test]
fn a_trusted_proxy_says_where_a_request_comes_from() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream, TRUSTED);
    let cases: [(&str, (u16, Option<&str>)); 8] = [
        ("192.0.2.1", (200, Some("192.0.2.1, 127.0.0.1"))),
        (
            "192.0.2.1, 10.0.0.7",
            (200, Some("192.0.2.1, 10.0.0.7, 127.0.0.1")),
        ),
        ("::ffff:192.0.2.1", (200, Some("192.0.2.1, 127.0.0.1"))),
        // What the client itself wrote is cut off.
        (
            "10.0.0.9, 6.6.6.6, 192.0.2.1",
            (200, Some("192.0.2.1, 127.0.0.1")),
        ),
        ("192.0.2.1, 6.6.6.6", (403, None)),
        ("192.0.2.1, unknown", (403, None)),
        ("192.0.2.1, unknown, 10.0.0.7", (403, None)),
        ("", (403, None)),
    ];
    for (line, want) in cases {
        let (status, forwarded) = sent(&gateway, &upstream, &[&format!("x-forwarded-for: {line}")]);
        assert_eq!((status, forwarded.as_deref()), want, "{line}");
    }
    assert_eq!(
        sent(&gateway, &upstream, &[]),
        (403, None),
        "nothing was said"
    );
    let other = ["forwarded: for=192.0.2.1"];
    assert_eq!(
        sent(&gateway, &upstream, &other),
        (403, None),
        "the other field counts for nothing"
    );
    let spelling = ["x_forwarded_for: 192.0.2.1"];
    assert_eq!(sent(&gateway, &upstream, &spelling), (403, None));
}

#[test]
fn forwarded_is_believed_where_it_is_the_one() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream, &format!("{TRUSTED}, client_address: forwarded"));
    let line = "forwarded: for=6.6.6.6;proto=ftp, for=192.0.2.1;proto=https;host=shop.example, for=\"10.0.0.7:80\";proto=http";
    let said = sent(&gateway, &upstream, &[line, "x-forwarded-for: 6.6.6.6"]);
    assert_eq!(said, (200, Some("192.0.2.1, 10.0.0.7, 127.0.0.1".into())));
    let seen = upstream.last();
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.example"));
    assert_eq!(
        seen.header("forwarded"),
        Some("for=192.0.2.1, for=10.0.0.7, for=127.0.0.1;host=\"api.example.com\";proto=http")
    );
    let quote = ["forwarded: for=\", for=6.6.6.6"];
    assert_eq!(sent(&gateway, &upstream, &quote), (403, None));
}

#[test]
fn scheme_and_host_of_a_trusted_proxy_go_up() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream, TRUSTED);
    let from = "x-forwarded-for: 192.0.2.1";
    let said = [
        "x-forwarded-proto: https",
        "x-forwarded-host: shop.example:444",
        "x-forwarded-port: 444",
    ];
    sent(&gateway, &upstream, &[from, said[0], said[1], said[2]]);
    let seen = upstream.last();
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.example:444"));
    assert_eq!(seen.header("x-forwarded-port"), None);
    sent(
        &gateway,
        &upstream,
        &[from, "x-forwarded-proto: gopher", "x-forwarded-host: a b"],
    );
    let seen = upstream.last();
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("api.example.com"));
}

#[test]
fn who_is_trusted_may_change_while_the_gateway_runs() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream, TRUSTED);
    let from = ["x-forwarded-for: 192.0.2.1"];
    assert_eq!(sent(&gateway, &upstream, &from).0, 200);
    let yaml = gateway
        .builder
        .yaml()
        .replace("trusted_proxies: [127.0.0.1, ", "trusted_proxies: [");
    gateway.write(&yaml);
    wait_until("it is no longer believed", PATIENCE, || {
        sent(&gateway, &upstream, &from).0 == 403
    });
}

/// Sends a PROXY header and a request; `None`: the connection was closed.
fn behind(gateway: &Gateway, header: &[u8], more: &str) -> Option<Answer> {
    let mut client = gateway.client();
    client.try_send(header);
    client.try_send(request(more));
    client.try_read()
}

fn request(more: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: api.example.com\r\nx-api-key: {KEY}\r\n{more}\r\n")
}

fn shed(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric(
        "keygate_shed_total",
        &[("listener", "main"), ("reason", reason)],
    )
}

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n";
const REQUIRED: &str = "trusted_proxies: [127.0.0.1], proxy_protocol: required";

#[test]
fn a_connection_comes_from_where_its_proxy_header_says() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream, REQUIRED);
    let v2 =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc0\0\x02\x01\x0a\0\0\x01\xdc\x04\x01\xbb\x04\0\0";
    for header in [V1, v2] {
        let answer = behind(&gateway, header, "x-forwarded-for: 6.6.6.6\r\n").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(upstream.last().header("x-forwarded-for"), Some("192.0.2.1"));
    }
    // Byte for byte, and the first request in one piece with the last byte.
    let mut client = gateway.client();
    for byte in &V1[..V1.len() - 1] {
        client.send([*byte]);
    }
    client.send([b"\n", request("").as_bytes()].concat());
    assert_eq!(client.read().status, 200);
    client.send(request(""));
    assert_eq!(client.read().status, 200, "one header for a connection");
}

#[test]
fn a_header_that_names_nobody_leaves_the_proxy_and_believes_nothing() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream, REQUIRED);
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\x0c\xc0\0\x02\x01\x0a\0\0\x01\xdc\x04\x01\xbb";
    for header in [&b"PROXY UNKNOWN 192.0.2.1 192.0.2.1 1 1\r\n"[..], local] {
        let answer = behind(&gateway, header, "x-forwarded-for: 192.0.2.1\r\n").unwrap();
        assert_eq!(answer.code(), "ip_not_allowed");
    }
}

#[test]
fn a_proxy_behind_the_proxy_header_is_believed_if_it_is_trusted_too() {
    let upstream = Upstream::ok();
    let gateway = gateway(
        &upstream,
        "trusted_proxies: [127.0.0.1, 10.0.0.0/8], proxy_protocol: required",
    );
    let header = b"PROXY TCP4 10.0.0.7 10.0.0.1 1 1\r\n";
    assert_eq!(
        behind(&gateway, header, "x-forwarded-for: 192.0.2.1\r\n")
            .unwrap()
            .status,
        200
    );
    assert_eq!(
        upstream.last().header("x-forwarded-for"),
        Some("192.0.2.1, 10.0.0.7")
    );
}

#[test]
fn without_a_header_there_is_no_connection() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream, &format!("{REQUIRED}, first_byte_timeout: 300ms"));
    for header in [&b""[..], b"PROXY TCP4 x\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31"] {
        assert!(behind(&gateway, header, "").is_none());
    }
    wait_until("each is counted", PATIENCE, || {
        shed(&gateway, "proxy_protocol") >= 3.0
    });
    for part in [&b""[..], b"PROXY TCP4 192.0."] {
        let mut client = gateway.client();
        client.send(part);
        assert!(client.is_closed());
    }
    wait_until("each is counted", PATIENCE, || {
        shed(&gateway, "first_byte") >= 2.0
    });
    assert_eq!(
        (
            shed(&gateway, "proxy_protocol"),
            shed(&gateway, "first_byte")
        ),
        (3.0, 2.0)
    );
}

#[test]
fn a_header_is_taken_from_trusted_proxies_only() {
    let upstream = Upstream::ok();
    let gateway = gateway(
        &upstream,
        "trusted_proxies: [10.0.0.0/8], proxy_protocol: required",
    );
    assert!(behind(&gateway, V1, "").is_none());
    wait_until("it is counted", PATIENCE, || {
        shed(&gateway, "proxy_protocol") >= 1.0
    });
}

/// HAProxy in front of a gateway: in this mode, and with these settings of its server line.
fn haproxy(gateway: &Gateway, mode: &str, settings: &str) -> (Process, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let file = gateway.file.parent().unwrap().join("haproxy.cfg");
    let config = format!(
        "defaults\n  mode {mode}\n  timeout connect 10s\n  timeout client 20s\n  timeout server 20s\n\
         frontend front\n  bind {address}\n  default_backend back\n\
         backend back\n  server gateway {} {settings}\n",
        gateway.address
    );
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    // Debian package haproxy.
    let process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    wait_for_port(address);
    (process, address)
}

/// What curl gets, with the key and from 127.0.0.2, which is no trusted proxy.
fn curl(address: SocketAddr, more: &[&str]) -> String {
    let output = Command::new("curl")
        .args([
            "-sS",
            "--max-time",
            "20",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        ])
        .args([
            "--interface",
            "127.0.0.2",
            "-H",
            &format!("x-api-key: {KEY}"),
        ])
        .args(more)
        .arg(format!("http://{address}/"))
        .output()
        .expect("curl (Debian package curl)");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn haproxy_says_in_both_versions_who_is_behind_it() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener(REQUIRED)
        .start();
    for settings in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2-ssl-cn check inter 100ms",
    ] {
        let (_haproxy, address) = haproxy(&gateway, "tcp", settings);
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            assert_eq!(curl(address, &[version]), "200", "{settings}");
            assert_eq!(upstream.last().header("x-forwarded-for"), Some("127.0.0.2"));
        }
    }
    // The probes of `wait_for_port` reach the gateway as connections without a request.
    assert_eq!(shed(&gateway, "proxy_protocol"), 0.0);
}

#[test]
fn haproxy_adds_to_what_a_client_wrote_and_only_that_is_believed() {
    let upstream = Upstream::ok();
    let listener = "trusted_proxies: [127.0.0.1]";
    let gateway = GatewayBuilder::new(upstream.address)
        .listener(listener)
        .start();
    let (_haproxy, address) = haproxy(&gateway, "http\n  option forwardfor", "");
    let lie = ["-H", "x-forwarded-for: 192.0.2.1"];
    assert_eq!(curl(address, &lie), "200");
    assert_eq!(
        upstream.last().header("x-forwarded-for"),
        Some("127.0.0.2, 127.0.0.1")
    );
}

#[test]
fn curl_says_where_it_comes_from() {
    let upstream = Upstream::ok();
    let listener = "trusted_proxies: [127.0.0.0/8], proxy_protocol: required";
    let gateway = GatewayBuilder::new(upstream.address)
        .listener(listener)
        .start();
    assert_eq!(curl(gateway.address, &["--haproxy-protocol"]), "200");
    assert_eq!(upstream.last().header("x-forwarded-for"), Some("127.0.0.2"));
    assert_eq!(curl(gateway.address, &[]), "000");
}
