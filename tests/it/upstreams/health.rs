//! Endpoints that are taken out: by checks, and by the requests they failed.

use super::{Moody, before, is_check};
use crate::harness::{Gateway, GatewayBuilder, PATIENCE, Upstream, free_port, wait_until};
use keygate::clock::TestClock;
use keygate::domain::time::Timestamp;
use std::sync::Arc;

const CHECK: &str = "health_check: {path: '/healthz?deep=1', interval: 100ms, timeout: 1s, healthy: 2, unhealthy: 2}";

fn is_up(gateway: &Gateway, upstream: &Upstream) -> bool {
    let endpoint = upstream.address.to_string();
    gateway.metric("keygate_upstream_up", &[("endpoint", &endpoint)]) == 1.0
}

#[test]
fn an_unhealthy_endpoint_gets_no_request_until_it_is_healthy_again() {
    let (one, two) = (Moody::new(), Moody::new());
    let gateway = before(&[&one.upstream, &two.upstream], CHECK).start();
    wait_until("both are checked", PATIENCE, || {
        [&one, &two]
            .iter()
            .all(|one| one.upstream.received().iter().any(is_check))
    });
    let check = one.upstream.received().into_iter().find(is_check).unwrap();
    assert_eq!(check.target(), "/healthz?deep=1");
    assert_eq!(
        check.header("host"),
        Some(&*one.upstream.address.to_string())
    );
    one.becomes(500);
    wait_until("it is out", PATIENCE, || !is_up(&gateway, &one.upstream));
    let before = one.served();
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(one.served(), before);
    assert_eq!(
        gateway.status()["upstreams"][0]["endpoints"][0]["up"],
        false
    );
    one.becomes(200);
    wait_until("it is back", PATIENCE, || is_up(&gateway, &one.upstream));
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(one.served(), before + 5);
}

#[test]
fn checks_with_a_host_and_statuses_of_their_own() {
    let one = Moody::new();
    one.becomes(404);
    let settings = "health_check: {path: /, interval: 100ms, statuses: [204, '404-405'], host: app.example.com}";
    let gateway = before(&[&one.upstream], settings).start();
    wait_until("it is checked", PATIENCE, || {
        one.upstream.received().len() > 1
    });
    assert!(is_up(&gateway, &one.upstream));
    assert_eq!(one.upstream.last().header("host"), Some("app.example.com"));
    one.becomes(200);
    wait_until("it is out", PATIENCE, || !is_up(&gateway, &one.upstream));
    let answer = gateway.get("/");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "no_healthy_endpoint")
    );
}

/// Unlike a refused connection, which is a 502.
#[test]
fn nobody_healthy_is_a_503_and_no_endpoint_is_asked() {
    let dead = format!("127.0.0.1:{}", free_port());
    let gateway = GatewayBuilder::new(dead.parse().unwrap())
        .upstream("health_check: {tcp: true, interval: 100ms}")
        .start();
    wait_until("it is out", PATIENCE, || gateway.get("/").status == 503);
    let answer = gateway.get("/");
    assert_eq!(answer.code(), "no_healthy_endpoint");
    assert_eq!(
        answer.header("proxy-status"),
        Some("keygate; error=destination_unavailable")
    );
    let labels = [("upstream", "app"), ("reason", "no_healthy_endpoint")];
    assert!(gateway.metric("keygate_upstream_errors_total", &labels) >= 2.0);
}

#[test]
fn a_check_that_is_taken_out_of_the_file_ends() {
    let one = Moody::new();
    let mut gateway = before(&[&one.upstream], CHECK).start();
    one.becomes(500);
    wait_until("it is out", PATIENCE, || gateway.get("/").status == 503);
    gateway.edit(CHECK, "connect_timeout: 5s");
    wait_until("it is asked again", PATIENCE, || {
        gateway.get("/").status == 500
    });
    assert!(is_up(&gateway, &one.upstream));
}

const OUTLIER: &str = "outlier_detection: {failures: 3, base_ejection: 30s, max_ejected_percent: 50, slow_start: 30s}";

#[test]
fn an_endpoint_that_fails_is_ejected_and_comes_back_slowly() {
    let (one, two) = (Moody::new(), Moody::new());
    let clock = Arc::new(TestClock::at(Timestamp::from_millis(1_798_761_600_000)));
    let gateway = before(&[&one.upstream, &two.upstream], OUTLIER)
        .clock(clock.clone())
        .start();
    clock.advance_millis(1_000);
    one.becomes(503);
    let statuses: Vec<u16> = (0..12).map(|_| gateway.get("/").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 3);
    assert_eq!(one.served(), 3);
    assert!(!is_up(&gateway, &one.upstream));
    assert_eq!(
        gateway.metric("keygate_upstream_ejections_total", &[("upstream", "app")]),
        1.0
    );
    // The other one fails too, but half of them are out already.
    two.becomes(503);
    for _ in 0..5 {
        assert_eq!(gateway.get("/").status, 503);
    }
    assert!(is_up(&gateway, &two.upstream));
    one.becomes(200);
    two.becomes(200);
    clock.advance_millis(31_000);
    // A tenth of its share: one in eleven.
    for _ in 0..22 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert!((4..=6).contains(&one.served()), "{}", one.served());
    assert!(is_up(&gateway, &one.upstream));
    clock.advance_millis(31_000);
    let before = one.served();
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert!((9..=11).contains(&(one.served() - before)));
}

#[test]
fn other_faults_of_a_service_do_not_eject_it() {
    let (one, two) = (Moody::new(), Moody::new());
    let gateway = before(&[&one.upstream, &two.upstream], OUTLIER).start();
    one.becomes(500);
    for _ in 0..20 {
        gateway.get("/");
    }
    assert_eq!(one.served(), 10);
}

#[test]
fn an_endpoint_that_takes_no_connection_is_ejected() {
    let dead = format!("127.0.0.1:{}", free_port());
    let good = Upstream::ok();
    let gateway = GatewayBuilder::new(good.address)
        .replace("endpoints: [", &format!("endpoints: [\"http://{dead}\", "))
        .upstream(OUTLIER)
        .start();
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status, 200);
    }
    let tried = gateway.status()["upstreams"][0]["endpoints"][0]["connect_failures"].clone();
    assert_eq!(tried, 3);
}
