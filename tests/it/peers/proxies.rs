//! nginx and HAProxy on either side of the gateway.

use super::bounded;
use crate::harness::{
    Gateway, GatewayBuilder, KEY, PATIENCE, Process, Upstream, free_port, nginx, peer_says,
    peer_server, server, wait_for_port, wait_until,
};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;
use tempfile::TempDir;

const BELIEVED: &str = "trusted_proxies: [127.0.0.1]";

fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// A proxy and what it keeps.
struct Proxy {
    address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl Proxy {
    /// nginx in front of the gateway, as its own documents have it for `WebSockets` and for who asks.
    fn nginx(gateway: &Gateway) -> Self {
        let (address, folder) = (free(), tempfile::tempdir().unwrap());
        let lines = format!(
            "map $http_upgrade $upgrading {{ default upgrade; '' ''; }}\n\
             upstream gateway {{ server {}; keepalive 8; }}\n\
             server {{ listen {address}; client_max_body_size 0;\n\
               location / {{ proxy_pass http://gateway; proxy_http_version 1.1; proxy_buffering off;\n\
                 proxy_set_header Host $http_host; proxy_set_header Upgrade $http_upgrade;\n\
                 proxy_set_header Connection $upgrading;\n\
                 proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
                 proxy_set_header X-Forwarded-Proto $scheme; }} }}\n",
            gateway.address
        );
        let process = nginx(folder.path(), &lines);
        Self::ready(address, process, folder)
    }

    /// HAProxy with this line to listen, and these of its backend.
    fn haproxy(bind: &str, backend: &str) -> Self {
        let (address, folder) = (free(), tempfile::tempdir().unwrap());
        let config = format!(
            "defaults\n  mode http\n  timeout connect 10s\n  timeout client 20s\n  timeout server 20s\n\
             frontend front\n  bind {address} {bind}\n  default_backend back\n\
             backend back\n{backend}\n"
        );
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("haproxy");
        let process = server("haproxy", command.arg("-db").arg("-f").arg(file));
        Self::ready(address, process, folder)
    }

    fn ready(address: SocketAddr, process: Process, folder: TempDir) -> Self {
        wait_for_port(address);
        Self {
            address,
            _process: process,
            _folder: folder,
        }
    }
}

/// What curl prints: the body, and behind it the status. It comes from 127.0.0.2.
fn curl(address: SocketAddr, more: &[&str]) -> String {
    let key = format!("x-api-key: {KEY}");
    let url = format!("http://{address}/path?a=b");
    let usual = [
        "-sS",
        "--interface",
        "127.0.0.2",
        "-w",
        " %{http_code}",
        "-H",
        &key,
    ];
    let output = bounded("curl", "curl", &[&usual, more, &[&*url]].concat());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What goes through a proxy in front: who asks is believed and no more, bodies, refusals.
fn goes_through(proxy: &Proxy, upstream: &Upstream) {
    let lies = [
        "-H",
        "x-forwarded-for: 192.0.2.1",
        "-H",
        "x-consumer-username: root",
    ];
    assert_eq!(curl(proxy.address, &lies), "ok 200");
    let seen = upstream.last();
    assert_eq!(seen.line, "GET /path?a=b HTTP/1.1");
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.2, 127.0.0.1"));
    assert_eq!(seen.header("x-consumer-username"), Some("acme"));
    assert!(!seen.whole().contains(KEY));
    let body = "x".repeat(100_000);
    for framing in ["content-length: 100000", "transfer-encoding: chunked"] {
        assert_eq!(curl(proxy.address, &["-H", framing, "-d", &body]), "ok 200");
        assert_eq!(upstream.last().body, body.as_bytes(), "{framing}");
    }
    let refused = curl(proxy.address, &["-H", "x-api-key: another"]);
    assert!(
        refused.contains("\"code\":\"ambiguous_credentials\""),
        "{refused}"
    );
    assert!(refused.ends_with(" 400"), "{refused}");
}

#[test]
fn nginx_in_front() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener(BELIEVED)
        .start();
    let proxy = Proxy::nginx(&gateway);
    goes_through(&proxy, &upstream);
    assert_eq!(
        upstream.last().header("x-forwarded-host"),
        Some(&*proxy.address.to_string())
    );
}

#[test]
fn a_websocket_through_nginx_and_the_gateway() {
    let (_server, address) = peer_server("websocket_server.py");
    let locations = "locations: [{header: X-API-Key}, bearer, {query: api_key}";
    let gateway = GatewayBuilder::new(address)
        .listener(BELIEVED)
        .replace(
            locations,
            &format!("{locations}, {{websocket_protocol: true}}"),
        )
        .start();
    let proxy = Proxy::nginx(&gateway);
    let said = peer_says("websocket_client.py", &[&proxy.address.to_string(), KEY]);
    let said: Vec<(String, Value)> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let about = |what: &str| &said.iter().find(|(name, _)| name == what).unwrap().1;
    assert_eq!(*about("sizes"), "ok");
    assert_eq!(*about("close"), json!([4000, "as asked"]));
    assert_eq!(*about("prefixed"), json!(["chat", "chat"]));
    assert_eq!(*about("keyless"), json!([401, "missing_api_key"]));
    let head = &about("seen")["head"];
    assert_eq!(head["x-consumer-username"], "acme");
    assert_eq!(head["x-forwarded-for"], "127.0.0.1, 127.0.0.1");
    assert!(
        !said
            .iter()
            .any(|(name, value)| name == "seen" && value.to_string().contains(KEY))
    );
}

#[test]
fn haproxy_in_front_in_both_versions() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener(BELIEVED)
        .start();
    for protocol in ["", "proto h2"] {
        // It asks the management port whether the gateway is ready, as documents say.
        let proxy = Proxy::haproxy(
            "",
            &format!(
                "  option forwardfor\n  option httpchk GET /readyz\n  timeout check 10s\n  \
                 server gateway {} {protocol} check port {} check-proto h1 inter 200ms",
                gateway.address,
                gateway.management.port()
            ),
        );
        goes_through(&proxy, &upstream);
    }
}

/// HAProxy as the service: it says what it got, refuses what it is told to refuse, and passes the rest on.
#[test]
fn haproxy_behind_in_both_versions() {
    let upstream = Upstream::ok();
    for (bind, protocol) in [("", "http1"), ("proto h2", "h2")] {
        let proxy = Proxy::haproxy(
            bind,
            &format!(
                "  http-request return status 418 content-type text/plain lf-string \"%[req.ver] %[req.hdr(x-consumer-username)]\" if {{ path /tea }}\n  \
                 http-request deny deny_status 403 if {{ req.hdr(x-api-key) -m found }}\n  \
                 server service {}",
                upstream.address
            ),
        );
        let gateway = GatewayBuilder::new(proxy.address)
            .listener(BELIEVED)
            .upstream(&format!("protocol: {protocol}"))
            .start();
        let tea = gateway.get("/tea");
        let version = if protocol == "h2" { "2.0" } else { "1.1" };
        assert_eq!((tea.status, tea.text()), (418, format!("{version} acme")));
        goes_through(&Proxy::nginx(&gateway), &upstream);
    }
}

#[test]
fn haproxy_behind_without_a_service_is_what_it_says() {
    let gone = free();
    for (bind, protocol) in [("", "http1"), ("proto h2", "h2")] {
        let proxy = Proxy::haproxy(bind, &format!("  retries 0\n  server service {gone}"));
        let gateway = GatewayBuilder::new(proxy.address)
            .upstream(&format!("protocol: {protocol}"))
            .start();
        let answer = gateway.get("/");
        assert_eq!(answer.status, 503);
        assert!(
            answer.text().contains("No server is available"),
            "{}",
            answer.text()
        );
        drop(proxy);
        wait_until("it is gone", PATIENCE, || {
            gateway.get("/").code() == "upstream_unreachable"
        });
    }
}
