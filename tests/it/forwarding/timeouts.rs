//! Time: upstreams that are slow, callers that are slow.

use super::request;
use crate::harness::{Client, GatewayBuilder, PATIENCE, Upstream, read_request, wait_until};
use socket2::{Domain, Socket, Type};
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Reads a request, sends these bytes, and then nothing until the other side leaves.
fn silent_after(bytes: &'static str) -> Upstream {
    Upstream::serving(move |stream, keep| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        if let Some(request) = read_request(&mut reader) {
            keep(request);
            let _ = stream.write_all(bytes.as_bytes());
            let _ = reader.read(&mut [0]);
        }
    })
}

#[test]
fn an_upstream_that_does_not_answer_is_a_504() {
    let upstream = silent_after("");
    let cases = [
        GatewayBuilder::new(upstream.address).upstream("first_byte_timeout: 200ms"),
        GatewayBuilder::new(upstream.address).route("timeout: 200ms"),
    ];
    for builder in cases {
        let gateway = builder.start();
        let mut client = gateway.client();
        for _ in 0..2 {
            client.send(request("GET /", &[], ""));
            let answer = client.read();
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (504, "upstream_timeout")
            );
            assert_eq!(
                answer.header("proxy-status"),
                Some("keygate; error=http_response_timeout")
            );
        }
        let labels = [("upstream", "app"), ("reason", "timeout")];
        assert_eq!(
            gateway.metric("keygate_upstream_errors_total", &labels),
            2.0
        );
    }
}

#[test]
fn half_an_answers_head_is_no_answer() {
    let upstream = silent_after("HTTP/1.1 200 OK\r\ncontent-le");
    let gateway = GatewayBuilder::new(upstream.address)
        .upstream("first_byte_timeout: 200ms")
        .start();
    assert_eq!(gateway.get("/").code(), "upstream_timeout");
}

#[test]
fn an_upload_may_take_longer_than_the_first_byte() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .upstream("first_byte_timeout: 300ms")
        .start();
    let mut client = gateway.client();
    client.send(request("POST /", &["content-length: 10"], ""));
    for _ in 0..10 {
        pause(Duration::from_millis(80));
        client.send("x");
    }
    assert_eq!(client.read().text(), "ok");
    assert_eq!(upstream.last().body, b"xxxxxxxxxx");
}

#[test]
fn an_upstream_that_pauses_mid_body_is_cut() {
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let upstream = silent_after(head);
        let cases = [
            GatewayBuilder::new(upstream.address).upstream("idle_timeout: 200ms"),
            GatewayBuilder::new(upstream.address).route("timeout: 200ms"),
        ];
        for builder in cases {
            let gateway = builder.start();
            let mut client = gateway.client();
            client.send(request("GET /", &[], ""));
            assert!(client.try_read().is_none(), "not ended as if it were whole");
            let labels = [("upstream", "app"), ("reason", "timeout")];
            wait_until("it is counted", PATIENCE, || {
                gateway.metric("keygate_upstream_errors_total", &labels) >= 1.0
            });
        }
    }
}

#[test]
fn an_upstream_that_takes_no_more_of_a_body_is_a_504() {
    // Nobody ever reads there.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = GatewayBuilder::new(listener.local_addr().unwrap())
        .upstream("first_byte_timeout: 300ms")
        .route("max_body: off")
        .start();
    let client = gateway.client();
    let mut stream = client.stream().try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        stream
            .write_all(request("POST /", &["content-length: 99000000"], "").as_bytes())
            .unwrap();
        let _ = stream.write_all(&vec![b'x'; 99_000_000]);
    });
    let answer = { client }.read();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (504, "upstream_timeout")
    );
    writer.join().unwrap();
}

/// A port whose queue of connections is full: nothing is refused, nothing is accepted.
struct Full {
    address: SocketAddr,
    _socket: Socket,
    _held: Vec<TcpStream>,
}

impl Full {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut held = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            held.push(stream);
        }
        Self {
            address,
            _socket: socket,
            _held: held,
        }
    }
}

#[test]
fn an_upstream_that_does_not_accept_is_a_504() {
    let full = Full::new();
    let gateway = GatewayBuilder::new(full.address)
        .upstream("connect_timeout: 200ms")
        .start();
    let answer = gateway.get("/");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (504, "upstream_timeout")
    );
    assert_eq!(
        answer.header("proxy-status"),
        Some("keygate; error=connection_timeout")
    );
}

#[test]
fn an_endpoint_that_does_not_accept_is_passed_over() {
    let (full, upstream) = (Full::new(), Upstream::ok());
    let gateway = GatewayBuilder::new(upstream.address)
        .replace(
            "endpoints: [",
            &format!("endpoints: [\"http://{}\", ", full.address),
        )
        .upstream("connect_timeout: 200ms")
        .start();
    for _ in 0..2 {
        assert_eq!(gateway.get("/").text(), "ok");
    }
}

#[test]
fn an_idle_connection_is_closed() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("idle_timeout: 200ms")
        .start();
    let mut client = gateway.client();
    client.send(request("GET /", &[], ""));
    assert_eq!(client.read().text(), "ok");
    assert_eq!(client.rest(), b"");
}

#[test]
fn half_a_head_is_answered_and_closed_in_time() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("header_timeout: 200ms")
        .start();
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n");
    let answer = client.read();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (408, "request_timeout")
    );
    assert!(client.is_closed());
    // The same on a connection that has served a request already.
    let mut client = gateway.client();
    client.send(request("GET /", &[], ""));
    assert_eq!(client.read().text(), "ok");
    client.send("G");
    assert_eq!(client.read().code(), "request_timeout");
}

#[test]
fn a_connection_that_says_nothing_is_closed_without_a_word() {
    let gateway = GatewayBuilder::new(Upstream::ok().address)
        .listener("first_byte_timeout: 200ms")
        .start();
    let mut client = Client::connect(gateway.address);
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_caller_that_pauses_in_its_body_is_told() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("body_timeout: 200ms")
        .start();
    let mut client = gateway.client();
    client.send(request("POST /", &["content-length: 10"], "half"));
    let answer = client.read();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (408, "request_timeout")
    );
    assert!(client.is_closed());
    assert!(upstream.received().is_empty());
}

#[test]
fn a_slow_answer_is_not_cut_by_the_callers_timeouts() {
    let upstream = Upstream::answering(|_| {
        pause(Duration::from_millis(500));
        super::ok("late")
    });
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("idle_timeout: 200ms, header_timeout: 200ms, body_timeout: 200ms")
        .start();
    assert_eq!(gateway.get("/").text(), "late");
}

/// Lets time pass where time is what is tested.
fn pause(length: Duration) {
    std::thread::sleep(length);
}
