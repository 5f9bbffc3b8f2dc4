//! The main job: a key in, an answer out.

use crate::harness::{Gateway, KEY, Upstream};

#[test]
fn a_request_with_a_key_is_forwarded() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let answer = gateway.get("/hello?a=1");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    let received = upstream.last();
    assert_eq!(received.line, "GET /hello?a=1 HTTP/1.1");
    assert_eq!(received.header("x-consumer-username"), Some("acme"));
    assert!(!received.whole().contains(KEY));
}

#[test]
fn a_request_without_a_key_is_not() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let answer = gateway.request("GET /hello", &[]);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (401, "missing_api_key")
    );
    assert!(upstream.received().is_empty());
}
