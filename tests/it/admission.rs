//! What is turned away before anybody looks at it: networks that guess keys, addresses with too many connections, callers
//! that are slow on purpose, and requests that a late thread cannot serve. Each is counted, once.

use crate::harness::{
    Answer, Client, Gateway, GatewayBuilder, KEY, PATIENCE, Process, Served, Upstream, wait_until,
};
use keygate::clock::TestClock;
use keygate::domain::time::Timestamp;
use socket2::{Domain, Socket, Type};
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const NOON: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const PROXY: &str = "trusted_proxies: [127.0.0.1]";

fn shed(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric(
        "keygate_shed_total",
        &[("listener", "main"), ("reason", reason)],
    )
}

fn all_shed(gateway: &Gateway) -> f64 {
    gateway.metric("keygate_shed_total", &[])
}

/// Something is shed for this reason, once, and nothing for another one.
fn shed_once(gateway: &Gateway, reason: &str) {
    wait_until(reason, PATIENCE, || shed(gateway, reason) >= 1.0);
    assert_eq!(
        (shed(gateway, reason), all_shed(gateway)),
        (1.0, 1.0),
        "{reason}"
    );
}

fn as_client(gateway: &Gateway, client: &str, key: &str) -> Answer {
    let lines = [
        format!("x-forwarded-for: {client}"),
        format!("x-api-key: {key}"),
    ];
    gateway.request("GET /", &[&*lines[0], &*lines[1]])
}

fn throttled(upstream: &Upstream) -> (GatewayBuilder, Arc<TestClock>) {
    let clock = Arc::new(TestClock::at(NOON));
    let builder = GatewayBuilder::new(upstream.address)
        .listener(PROXY)
        .top("admission: { failed_attempts: { rate: 6/m, burst: 3 } }")
        .clock(clock.clone());
    (builder, clock)
}

#[test]
fn a_network_that_guesses_waits_before_its_keys_are_looked_at() {
    let upstream = Upstream::ok();
    let (builder, clock) = throttled(&upstream);
    let gateway = builder.start();
    for wrong in ["a-wrong-key", "kg_live_mistyped", "another"] {
        assert_eq!(
            as_client(&gateway, "192.0.2.1", wrong).status,
            401,
            "{wrong}"
        );
    }
    let decisions = || gateway.metric("keygate_auth_decisions_total", &[]);
    let before = decisions();
    for key in ["a-wrong-key", KEY] {
        let answer = as_client(&gateway, "::ffff:192.0.2.1", key);
        assert_eq!((answer.status, &*answer.code()), (429, "too_many_failures"));
        assert_eq!(answer.header("retry-after"), Some("10"));
        for name in [
            "ratelimit-limit",
            "ratelimit",
            "ratelimit-policy",
            "www-authenticate",
        ] {
            assert_eq!(answer.header(name), None, "how much is left is not told");
        }
    }
    assert_eq!(decisions(), before, "nobody looked");
    assert_eq!(
        (shed(&gateway, "throttled"), all_shed(&gateway)),
        (2.0, 2.0)
    );
    assert_eq!(
        as_client(&gateway, "192.0.2.2", KEY).status,
        200,
        "others go on"
    );
    assert_eq!(gateway.get("/").status, 200, "and so does the proxy");
    clock.advance_millis(10_000);
    assert_eq!(as_client(&gateway, "192.0.2.1", KEY).status, 200);
    assert_eq!(as_client(&gateway, "192.0.2.1", "a-wrong-key").status, 401);
    assert_eq!(as_client(&gateway, "192.0.2.1", KEY).status, 429);
}

#[test]
fn a_network_of_ipv6_has_64_bits() {
    let upstream = Upstream::ok();
    let (builder, _) = throttled(&upstream);
    let gateway = builder.start();
    for last in 1..=3 {
        let wrong = as_client(&gateway, &format!("2001:db8::{last}"), "a-wrong-key");
        assert_eq!(wrong.status, 401);
    }
    assert_eq!(as_client(&gateway, "2001:db8::ffff:4", KEY).status, 429);
    assert_eq!(as_client(&gateway, "2001:db8:0:1::1", KEY).status, 200);
}

#[test]
fn only_guesses_count() {
    let upstream = Upstream::ok();
    let (builder, _) = throttled(&upstream);
    let gateway = builder
        .replace(
            "scopes: [app:read, app:write] }",
            "scopes: [app:read], state: disabled }",
        )
        .start();
    for _ in 0..10 {
        assert_eq!(
            as_client(&gateway, "192.0.2.1", KEY).code(),
            "api_key_disabled"
        );
        assert_eq!(
            as_client(&gateway, "192.0.2.1", "").code(),
            "missing_api_key"
        );
    }
    let mut ambiguous = gateway.client();
    ambiguous.send("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.1\r\nx-api-key: a\r\nauthorization: Bearer b\r\n\r\n");
    assert_eq!(ambiguous.read().code(), "ambiguous_credentials");
    assert_eq!(all_shed(&gateway), 0.0);
}

#[test]
fn the_throttle_may_be_off_and_changes_while_the_gateway_runs() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .top("admission: { failed_attempts: off }")
        .start();
    let wrong = || gateway.request("GET /", &["x-api-key: a-wrong-key"]).status;
    assert!((0..300).all(|_| wrong() == 401));
    let yaml = gateway.builder.yaml().replace(
        "failed_attempts: off",
        "failed_attempts: { rate: 1/h, burst: 1 }",
    );
    gateway.write(&yaml);
    wait_until("it is throttled", PATIENCE, || wrong() == 429);
}

#[test]
fn a_thousand_wrong_keys_are_let_in_by_default() {
    let upstream = Upstream::ok();
    let clock = Arc::new(TestClock::at(NOON));
    let gateway = GatewayBuilder::new(upstream.address)
        .top("admission: {}")
        .clock(clock)
        .start();
    let wrong = || gateway.request("GET /", &["x-api-key: a-wrong-key"]).status;
    assert!((0..1000).all(|_| wrong() == 401));
    assert_eq!(wrong(), 429);
}

/// A connection from one of the addresses of this machine.
fn from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
}

/// The first bytes that come; none: it was closed.
fn first_bytes(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 12];
    let read = stream.read(&mut bytes).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[test]
fn an_address_has_so_many_connections_and_no_more() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("max_connections_per_address: 2, trusted_proxies: [127.0.0.9]")
        .start();
    let mut clients: Vec<Client> = (0..2).map(|_| gateway.client()).collect();
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n");
    for client in &mut clients {
        client.send(&request);
        assert_eq!(client.read().status, 200);
    }
    let answer = gateway.client().read();
    assert_eq!((answer.status, &*answer.code()), (503, "overloaded"));
    shed_once(&gateway, "max_connections_per_address");
    let mut other = from([127, 0, 0, 2], gateway.address);
    std::io::Write::write_all(&mut other, request.as_bytes()).unwrap();
    assert_eq!(first_bytes(&mut other), "HTTP/1.1 200");
    let mut proxies: Vec<TcpStream> = (0..5)
        .map(|_| from([127, 0, 0, 9], gateway.address))
        .collect();
    for proxy in &mut proxies {
        std::io::Write::write_all(proxy, request.as_bytes()).unwrap();
        assert_eq!(
            first_bytes(proxy),
            "HTTP/1.1 200",
            "a proxy carries many callers"
        );
    }
    clients.pop();
    wait_until("there is room again", PATIENCE, || {
        gateway.get("/").status == 200
    });
}

#[test]
fn the_cap_of_an_address_goes_by_the_proxy_header() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener(&format!(
            "{PROXY}, proxy_protocol: required, max_connections_per_address: 1"
        ))
        .start();
    let of = |client: &str| {
        let mut connection = gateway.client();
        connection.send(format!("PROXY TCP4 {client} 10.0.0.1 1 1\r\nGET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"));
        let status = connection.read().status;
        (status, connection)
    };
    let (first, _kept) = of("192.0.2.1");
    assert_eq!(
        (first, of("192.0.2.1").0, of("192.0.2.2").0),
        (200, 503, 200)
    );
    shed_once(&gateway, "max_connections_per_address");
}

#[test]
fn connections_beyond_the_cap_of_a_listener_are_counted() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("max_connections: 1")
        .start();
    let mut first = gateway.client();
    first.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"
    ));
    assert_eq!(first.read().status, 200);
    assert_eq!(gateway.client().read().status, 503);
    shed_once(&gateway, "max_connections");
}

#[test]
fn who_says_nothing_is_hung_up_on() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("first_byte_timeout: 200ms")
        .start();
    assert_eq!(gateway.client().rest(), b"");
    shed_once(&gateway, "first_byte");
    // Whoever has said something has other limits.
    let mut client = gateway.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"
    ));
    assert_eq!(client.read().status, 200);
    pause(400);
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"
    ));
    assert_eq!(client.read().status, 200);
}

#[test]
fn a_slow_head_is_counted() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("header_timeout: 200ms")
        .start();
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\n");
    assert_eq!(client.read().code(), "request_timeout");
    shed_once(&gateway, "slow_header");
}

#[test]
fn a_body_that_pauses_is_counted() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("body_timeout: 200ms")
        .start();
    let mut client = gateway.client();
    client.send(post(10));
    assert_eq!(client.read().code(), "request_timeout");
    shed_once(&gateway, "slow_body");
}

fn post(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\ncontent-length: {length}\r\n\r\n")
}

/// Lets time pass where time is what is tested.
fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

#[test]
fn a_body_that_drips_is_cut_off_though_it_never_pauses() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("min_body_rate: { bytes: 100B, grace: 1s }")
        .start();
    let mut client = gateway.client();
    client.send(post(1000));
    // 20 bytes a second: after 1.25 s it is behind.
    let sent = (0..200).take_while(|_| {
        pause(50);
        client.try_send("x") && shed(&gateway, "slow_body") == 0.0
    });
    let sent = sent.count();
    assert!((2..150).contains(&sent), "{sent}");
    assert_eq!(client.read().code(), "request_timeout");
    shed_once(&gateway, "slow_body");
}

#[test]
fn a_body_that_moves_fast_enough_may_take_its_time() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("min_body_rate: { bytes: 100B, grace: 1s }")
        .start();
    let mut client = gateway.client();
    client.send(post(800));
    for _ in 0..20 {
        pause(100);
        client.send([b'x'; 40]);
    }
    assert_eq!(client.read().status, 200);
    // Messages of gRPC come when they come.
    let mut client = gateway.client();
    client.send(post(30).replace("host:", "content-type: application/grpc\r\nhost:"));
    for _ in 0..30 {
        pause(50);
        client.send("x");
    }
    assert_eq!(client.read().status, 200);
    assert_eq!(all_shed(&gateway), 0.0);
}

/// An upstream whose answers are larger than what sockets hold.
fn large() -> Upstream {
    let body = vec![b'x'; 32 * 1024 * 1024];
    Upstream::answering(move |_| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), &body].concat()
    })
}

#[test]
fn an_answer_that_nobody_takes_is_cut_off() {
    let upstream = large();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("body_timeout: 300ms")
        .start();
    let mut client = gateway.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"
    ));
    shed_once(&gateway, "slow_read");
}

#[test]
fn handshakes_that_never_end_are_counted() {
    let upstream = Upstream::ok();
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            "tls.key",
            "-out",
            "tls.crt",
        ])
        .current_dir(folder.path())
        .output()
        .expect("openssl (Debian package openssl)");
    assert!(made.status.success());
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("tls: { cert: file:tls.crt, key: file:tls.key, handshake_timeout: 200ms }")
        .start_in(folder);
    assert_eq!(gateway.client().rest(), b"");
    shed_once(&gateway, "handshake");
}

/// Lets a process run for a moment only, again and again, until told to leave it alone.
fn hold_up(process: &Process, until: &AtomicBool) {
    while !until.load(Ordering::SeqCst) {
        process.signal("STOP");
        pause(250);
        process.signal("CONT");
        pause(10);
    }
}

#[test]
fn a_late_thread_sheds_requests_and_recovers() {
    let upstream = Upstream::ok();
    let builder = GatewayBuilder::new(upstream.address)
        .top("admission: { max_lag: 50ms }")
        .one_thread();
    let gateway = Served::start(&builder.yaml());
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n");
    let mut client = Client::connect(gateway.address);
    let mut ask = || {
        client.send(&request);
        client.read()
    };
    assert_eq!(ask().status, 200);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| hold_up(&gateway.process, &over));
        let mut shed = None;
        wait_until("a request is shed", PATIENCE, || {
            shed = Some(ask()).filter(|answer| answer.status != 200);
            shed.is_some()
        });
        // Whatever comes of it, the process must run on.
        let managed = gateway.manage("/readyz").status;
        over.store(true, Ordering::SeqCst);
        let shed = shed.unwrap();
        assert_eq!((shed.status, &*shed.code()), (503, "overloaded"));
        assert_eq!(shed.header("retry-after"), Some("1"));
        assert_eq!(
            shed.header("connection"),
            None,
            "the connection is as good as before"
        );
        assert_eq!(managed, 200);
    });
    let labels = [("listener", "main"), ("reason", "overload")];
    let counted = gateway.metric("keygate_shed_total", &labels);
    assert!(counted >= 1.0);
    let mut good = 0;
    wait_until("nothing is shed any more", PATIENCE, || {
        good = if ask().status == 200 { good + 1 } else { 0 };
        good == 50
    });
}
