//! Upstream connections: reused, aged out, tried again only where that is safe; endpoints taken in turn.

use super::{answer, ok, request};
use crate::harness::{
    Client, Gateway, GatewayBuilder, PATIENCE, Received, Upstream, free_port, read_request,
    wait_until,
};
use keygate::clock::TestClock;
use keygate::domain::time::Timestamp;
use std::io::{BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

fn clock() -> Arc<TestClock> {
    Arc::new(TestClock::at(Timestamp::from_millis(1_798_761_600_000)))
}

/// Asks on one connection and gives the answer's text.
fn ask(client: &mut Client, line: &str) -> String {
    client.send(request(line, &[], ""));
    client.read().text()
}

#[test]
fn requests_one_after_the_other_share_a_connection() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address).one_thread().start();
    let mut client = gateway.client();
    for _ in 0..20 {
        assert_eq!(ask(&mut client, "GET /"), "ok");
    }
    for _ in 0..5 {
        assert_eq!(gateway.get("/").text(), "ok");
    }
    assert_eq!(upstream.connections(), 1);
}

/// An upstream that holds `/hold/a` and `/hold/b` until told, and counts connections that were closed.
struct Held {
    upstream: Upstream,
    release: [Arc<AtomicBool>; 2],
    closed: Arc<AtomicUsize>,
}

impl Held {
    fn new() -> Self {
        let release: [Arc<AtomicBool>; 2] = Default::default();
        let closed = Arc::new(AtomicUsize::new(0));
        let (let_go, ended) = (release.clone(), Arc::clone(&closed));
        let upstream = Upstream::serving(move |stream, keep| {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while let Some(request) = read_request(&mut reader) {
                let request = keep(request);
                let gate = match request.target() {
                    "/hold/a" => Some(&let_go[0]),
                    "/hold/b" => Some(&let_go[1]),
                    _ => None,
                };
                if let Some(gate) = gate {
                    wait_until("it is released", PATIENCE, || gate.load(SeqCst));
                }
                if stream.write_all(&ok("ok")).is_err() {
                    break;
                }
            }
            ended.fetch_add(1, SeqCst);
        });
        Self {
            upstream,
            release,
            closed,
        }
    }

    /// Two requests at a time; the answer to `/hold/b` comes last.
    fn two_at_a_time(&self, gateway: &Gateway) {
        let (mut first, mut second) = (gateway.client(), gateway.client());
        first.send(request("GET /hold/a", &[], ""));
        self.wait_for(1);
        second.send(request("GET /hold/b", &[], ""));
        self.wait_for(2);
        self.release[0].store(true, SeqCst);
        assert_eq!(first.read().text(), "ok");
        self.release[1].store(true, SeqCst);
        assert_eq!(second.read().text(), "ok");
    }

    fn wait_for(&self, count: usize) {
        wait_until("the upstream got it", PATIENCE, || {
            self.upstream.received().len() >= count
        });
    }

    fn connection_of(&self, target: &str) -> usize {
        self.upstream
            .received()
            .iter()
            .find(|received| received.target() == target)
            .unwrap()
            .connection
    }
}

#[test]
fn the_most_recently_used_connection_is_taken_first() {
    let held = Held::new();
    let gateway = GatewayBuilder::new(held.upstream.address)
        .one_thread()
        .start();
    held.two_at_a_time(&gateway);
    for _ in 0..3 {
        assert_eq!(gateway.get("/next").text(), "ok");
        assert_eq!(
            held.upstream.last().connection,
            held.connection_of("/hold/b")
        );
    }
    assert_eq!(held.upstream.connections(), 2);
}

#[test]
fn no_more_idle_connections_are_kept_than_allowed() {
    let held = Held::new();
    let gateway = GatewayBuilder::new(held.upstream.address)
        .one_thread()
        .upstream("pool: { max_idle: 1 }")
        .start();
    held.two_at_a_time(&gateway);
    wait_until("one of two is closed", PATIENCE, || {
        held.closed.load(SeqCst) == 1
    });
    assert_eq!(gateway.get("/next").text(), "ok");
    assert_eq!(held.upstream.connections(), 2);
}

#[test]
fn a_pool_of_none_opens_one_connection_per_request() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .one_thread()
        .upstream("pool: { max_idle: 0 }")
        .start();
    let mut client = gateway.client();
    for count in 1..=3 {
        assert_eq!(ask(&mut client, "GET /"), "ok");
        assert_eq!(upstream.connections(), count);
    }
}

#[test]
fn an_idle_connection_is_closed_in_time() {
    let held = Held::new();
    let clock = clock();
    let gateway = GatewayBuilder::new(held.upstream.address)
        .one_thread()
        .upstream("pool: { idle_timeout: 30s }")
        .clock(clock.clone())
        .start();
    let mut client = gateway.client();
    ask(&mut client, "GET /");
    clock.advance_millis(29_000);
    ask(&mut client, "GET /");
    assert_eq!(held.upstream.connections(), 1);
    clock.advance_millis(30_000);
    wait_until("it is closed without a further request", PATIENCE, || {
        held.closed.load(SeqCst) == 1
    });
    ask(&mut client, "GET /");
    assert_eq!(held.upstream.connections(), 2);
}

#[test]
fn an_old_connection_is_not_reused() {
    let upstream = Upstream::ok();
    let clock = clock();
    let gateway = GatewayBuilder::new(upstream.address)
        .one_thread()
        .upstream("pool: { max_lifetime: 100s }")
        .clock(clock.clone())
        .start();
    let mut client = gateway.client();
    for _ in 0..4 {
        ask(&mut client, "GET /");
        clock.advance_millis(30_000);
    }
    assert_eq!(upstream.connections(), 1);
    ask(&mut client, "GET /");
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn an_upstream_that_says_close_is_not_asked_again_there() {
    let upstream = Upstream::answering(|_| {
        answer("200 OK", &["content-length: 2", "connection: close"], "ok")
    });
    let gateway = GatewayBuilder::new(upstream.address).one_thread().start();
    let mut client = gateway.client();
    for count in 1..=3 {
        client.send(request("POST /", &["content-length: 1"], "x"));
        let answer = client.read();
        assert_eq!(
            (answer.status, answer.header("connection")),
            (200, None),
            "the caller's connection stays"
        );
        assert_eq!(upstream.connections(), count);
    }
}

/// Answers the first request of the first connection, then closes at the next request; `later` connections are good.
fn stale(later_good: bool) -> Upstream {
    Upstream::serving(move |stream, keep| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut count = 0;
        while let Some(request) = read_request(&mut reader) {
            let request: Received = keep(request);
            count += 1;
            let first = request.connection == 0 && count == 1;
            if !(first || later_good && request.connection > 0)
                || stream.write_all(&ok("ok")).is_err()
            {
                return;
            }
        }
    })
}

#[test]
fn a_stale_connection_is_retried_once_for_a_safe_request() {
    let upstream = stale(true);
    let gateway = GatewayBuilder::new(upstream.address).one_thread().start();
    let mut client = gateway.client();
    for _ in 0..2 {
        assert_eq!(ask(&mut client, "GET /"), "ok");
    }
    assert_eq!((upstream.received().len(), upstream.connections()), (3, 2));
}

#[test]
fn the_retry_itself_is_not_retried() {
    let upstream = stale(false);
    let gateway = GatewayBuilder::new(upstream.address).one_thread().start();
    let mut client = gateway.client();
    assert_eq!(ask(&mut client, "GET /"), "ok");
    client.send(request("DELETE /", &[], ""));
    assert_eq!(client.read().code(), "upstream_protocol");
    assert_eq!(upstream.received().len(), 3);
}

#[test]
fn the_retry_goes_to_another_endpoint_if_this_one_is_gone() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dying = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        read_request(&mut reader).unwrap();
        stream.write_all(&ok("dying")).unwrap();
        // The next request is read, and never answered.
        read_request(&mut reader)
    });
    let other = Upstream::ok();
    let endpoints = format!("http://{dying}\", \"http://{}", other.address);
    let gateway = GatewayBuilder::new(dying)
        .replace(&format!("http://{dying}"), &endpoints)
        .one_thread()
        .start();
    let mut client = gateway.client();
    assert_eq!(ask(&mut client, "GET /"), "dying");
    assert_eq!(ask(&mut client, "GET /"), "ok", "the other one's turn");
    assert_eq!(
        ask(&mut client, "GET /"),
        "ok",
        "the dead one's turn, taken over"
    );
    assert!(served.join().unwrap().is_some());
}

#[test]
fn a_post_is_never_sent_twice() {
    let cases = [
        request("POST /", &["content-length: 2"], "hi"),
        request("POST /", &[], ""),
        request("PATCH /", &["content-length: 2"], "hi"),
        // Idempotent, but its body is gone.
        request("PUT /", &["content-length: 2"], "hi"),
    ];
    for bytes in cases {
        let upstream = stale(true);
        let gateway = GatewayBuilder::new(upstream.address).one_thread().start();
        let mut client = gateway.client();
        assert_eq!(ask(&mut client, "GET /"), "ok");
        client.send(&bytes);
        let answer = client.read();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, "upstream_protocol")
        );
        assert_eq!(upstream.received().len(), 2, "{bytes}");
    }
}

#[test]
fn a_connection_closed_while_idle_is_no_fault_of_the_caller() {
    let upstream = Upstream::serving(|stream, keep| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        if let Some(request) = read_request(&mut reader) {
            keep(request);
            let _ = stream.write_all(&ok("ok"));
        }
    });
    let gateway = GatewayBuilder::new(upstream.address).one_thread().start();
    let mut client = gateway.client();
    for _ in 0..5 {
        assert_eq!(ask(&mut client, "GET /"), "ok");
    }
}

#[test]
fn endpoints_take_turns() {
    let (one, two) = (Upstream::ok(), Upstream::ok());
    let gateway = GatewayBuilder::new(one.address)
        .replace(
            "endpoints: [",
            &format!("endpoints: [\"http://{}\", ", two.address),
        )
        .one_thread()
        .start();
    let mut client = gateway.client();
    for _ in 0..6 {
        assert_eq!(ask(&mut client, "GET /"), "ok");
    }
    assert_eq!((one.received().len(), two.received().len()), (3, 3));
}

#[test]
fn a_dead_endpoint_is_passed_over() {
    let upstream = Upstream::ok();
    let dead = format!("127.0.0.1:{}", free_port());
    let gateway = GatewayBuilder::new(upstream.address)
        .replace("endpoints: [", &format!("endpoints: [\"http://{dead}\", "))
        .one_thread()
        .start();
    let mut client = gateway.client();
    for _ in 0..4 {
        client.send(request("POST /", &["content-length: 2"], "hi"));
        assert_eq!(client.read().text(), "ok");
    }
    assert_eq!(upstream.received().len(), 4);
    let up = |endpoint: &str| gateway.metric("keygate_upstream_up", &[("endpoint", endpoint)]);
    assert_eq!((up(&dead), up(&upstream.address.to_string())), (0.0, 1.0));
}

#[test]
fn no_endpoint_alive_is_a_502() {
    let gateway = Gateway::before(format!("127.0.0.1:{}", free_port()).parse().unwrap());
    let answer = gateway.get("/");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "upstream_unreachable")
    );
    assert_eq!(
        answer.header("proxy-status"),
        Some("keygate; error=connection_refused")
    );
}
