//! The most that an upstream is asked at a time.

use super::{Holding, before};
use crate::harness::{Client, Gateway, KEY, PATIENCE, wait_until};

fn send(gateway: &Gateway) -> Client {
    let mut client = gateway.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"
    ));
    client
}

fn errors(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric(
        "keygate_upstream_errors_total",
        &[("upstream", "app"), ("reason", reason)],
    )
}

fn overloaded(gateway: &Gateway) {
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
    assert_eq!(
        answer.header("proxy-status"),
        Some("keygate; error=connection_limit_reached")
    );
}

#[test]
fn requests_over_the_limit_are_refused_at_once() {
    let held = Holding::new();
    let mut builder = before(&[&held.upstream], "circuit: {max_requests: 2}");
    builder.threads = 2;
    let gateway = builder.start();
    let mut clients = [send(&gateway), send(&gateway)];
    wait_until("both are there", PATIENCE, || {
        held.upstream.received().len() == 2
    });
    overloaded(&gateway);
    assert_eq!(errors(&gateway, "max_requests"), 1.0);
    held.release();
    for client in &mut clients {
        assert_eq!(client.read().text(), "held");
    }
    wait_until("there is room again", PATIENCE, || {
        gateway.get("/").status == 200
    });
}

#[test]
fn requests_wait_for_a_connection_and_only_so_many() {
    let held = Holding::new();
    let settings = "circuit: {max_connections: 1, max_pending: 1}";
    let gateway = before(&[&held.upstream], settings).start();
    let mut first = send(&gateway);
    wait_until("it is there", PATIENCE, || {
        held.upstream.received().len() == 1
    });
    let mut second = send(&gateway);
    wait_until("one more is too many", PATIENCE, || {
        gateway.get("/").status == 503
    });
    assert!(errors(&gateway, "max_pending") >= 1.0);
    held.release();
    assert_eq!(first.read().text(), "held");
    assert_eq!(second.read().text(), "held");
    assert_eq!(held.upstream.connections(), 1);
}

#[test]
fn idle_connections_of_other_threads_make_room() {
    let held = Holding::new();
    held.release();
    let mut builder = before(&[&held.upstream], "circuit: {max_connections: 1}");
    builder.threads = 4;
    let gateway = builder.start();
    for _ in 0..5 {
        assert_eq!(gateway.get("/").status, 200);
    }
}

#[test]
fn who_waits_for_too_long_is_told() {
    let held = Holding::new();
    let settings = "connect_timeout: 100ms, circuit: {max_connections: 1}";
    let gateway = before(&[&held.upstream], settings).start();
    let mut first = send(&gateway);
    wait_until("it is there", PATIENCE, || {
        held.upstream.received().len() == 1
    });
    overloaded(&gateway);
    assert_eq!(errors(&gateway, "pending_timeout"), 1.0);
    held.release();
    assert_eq!(first.read().text(), "held");
}
