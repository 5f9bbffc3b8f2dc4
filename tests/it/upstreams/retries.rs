//! What is sent again, and what never is.

use super::{Holding, Moody, answer, before};
use crate::harness::{Answer, Gateway, GatewayBuilder, KEY, Upstream, free_port};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

fn retried(gateway: &Gateway, outcome: &str) -> f64 {
    let labels = [("upstream", "app"), ("outcome", outcome)];
    gateway.metric("keygate_upstream_retries_total", &labels)
}

fn send(gateway: &Gateway, line: &str, body: &str) -> Answer {
    let length = format!("content-length: {}", body.len());
    let mut client = gateway.client();
    let framing = if body.is_empty() { "x: y" } else { &length };
    client.send(format!(
        "{line} HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n{framing}\r\n\r\n{body}"
    ));
    client.read()
}

#[test]
fn a_get_that_failed_is_sent_to_another_endpoint() {
    let (bad, good) = (Moody::new(), Moody::new());
    bad.becomes(503);
    let gateway = before(&[&bad.upstream, &good.upstream], "")
        .route("retries: {}")
        .start();
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!((bad.served(), good.served()), (5, 10));
    assert_eq!(
        (retried(&gateway, "success"), retried(&gateway, "failure")),
        (5.0, 0.0)
    );
}

#[test]
fn without_retries_a_failure_is_passed_on() {
    let (bad, good) = (Moody::new(), Moody::new());
    bad.becomes(503);
    let gateway = before(&[&bad.upstream, &good.upstream], "").start();
    let statuses: Vec<u16> = (0..10).map(|_| gateway.get("/").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 5);
}

#[test]
fn what_is_not_idempotent_or_has_a_body_is_never_sent_again() {
    let bad = Moody::new();
    bad.becomes(503);
    let gateway = before(&[&bad.upstream], "")
        .route("retries: {attempts: 3}")
        .start();
    for (line, body) in [
        ("POST /", ""),
        ("POST /", "hi"),
        ("PUT /", "hi"),
        ("PATCH /", ""),
    ] {
        let before = bad.served();
        assert_eq!(send(&gateway, line, body).status, 503, "{line}");
        assert_eq!(bad.served(), before + 1, "{line}");
    }
    let before = bad.served();
    assert_eq!(send(&gateway, "DELETE /", "").status, 503);
    assert_eq!(bad.served(), before + 4);
    assert_eq!(retried(&gateway, "failure"), 3.0);
}

#[test]
fn a_post_that_found_no_connection_is_sent_again() {
    let address = format!("127.0.0.1:{}", free_port());
    let gateway = GatewayBuilder::new(address.parse().unwrap())
        .route("retries: {attempts: 2, on: [connect_failure], backoff: 1ms}")
        .start();
    let answer = send(&gateway, "POST /", "hi");
    assert_eq!(answer.code(), "upstream_unreachable");
    assert_eq!(retried(&gateway, "failure"), 2.0);
    assert_eq!(
        gateway.status()["upstreams"][0]["endpoints"][0]["connect_failures"],
        3
    );
}

#[test]
fn only_the_statuses_that_are_named() {
    let bad = Moody::new();
    let gateway = before(&[&bad.upstream], "")
        .route("retries: {on: [502]}")
        .start();
    for (status, times) in [(500, 1), (502, 2), (503, 1), (504, 1)] {
        bad.becomes(status);
        let before = bad.served();
        assert_eq!(gateway.get("/").status, status);
        assert_eq!(bad.served() - before, times, "{status}");
    }
}

/// A connection that is closed without an answer would be a 502.
#[test]
fn a_closed_connection_counts_as_the_status_it_would_be() {
    let count = AtomicUsize::new(0);
    let upstream = Upstream::answering(move |_| match count.fetch_add(1, SeqCst) {
        0 => Vec::new(),
        _ => answer(200, "ok"),
    });
    let gateway = before(&[&upstream], "")
        .route("retries: {on: [502]}")
        .start();
    assert_eq!(gateway.get("/").text(), "ok");
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn each_try_has_its_own_time() {
    let (slow, good) = (Holding::new(), Moody::new());
    let gateway = before(&[&slow.upstream, &good.upstream], "")
        .route("retries: {per_try_timeout: 100ms}")
        .start();
    for _ in 0..4 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!((slow.upstream.received().len(), good.served()), (2, 4));
    slow.release();
}

#[test]
fn the_budget_ends_retries_where_everything_fails() {
    let bad = Moody::new();
    bad.becomes(503);
    let gateway = before(&[&bad.upstream], "")
        .route("retries: {backoff: 0s}")
        .start();
    for _ in 0..60 {
        assert_eq!(gateway.get("/").status, 503);
    }
    // Three a second over ten seconds, and no more of sixty requests.
    let (sent, refused) = (retried(&gateway, "failure"), retried(&gateway, "budget"));
    assert_eq!(sent + refused, 60.0);
    assert!((30.0..=36.0).contains(&sent), "{sent}");
    let served = u32::try_from(bad.served()).unwrap();
    assert_eq!(f64::from(served), 60.0 + sent);
}
