//! Admin tokens, members and sessions: who may do what on the admin API, and for how long.

use crate::harness::{Gateway, GatewayBuilder, Upstream, tell};
use serde_json::json;

fn stored(upstream: &Upstream) -> Gateway {
    GatewayBuilder::new(upstream.address).stored().start()
}

#[test]
fn the_setup_token_opens_the_admin_api() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let made = gateway
        .api(
            "POST",
            "/v1/keys",
            json!({"name": "first", "scopes": ["app:read"]}),
        )
        .must(201);
    let secret = made["secret"].as_str().unwrap();
    let header = format!("x-api-key: {secret}");
    assert_eq!(gateway.request("GET /", &[&header]).status, 200);
    assert_eq!(
        gateway.api_as("", "GET", "/v1/keys", None).code(),
        "unauthorized"
    );
}

#[test]
fn a_page_of_another_site_cannot_ask() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    for origin in [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
    ] {
        let header = format!("origin: {origin}");
        let answer = gateway.api_with(&[&header], "GET", "/v1/keys", None);
        assert_eq!(
            (answer.status, &*answer.code()),
            (421, "misdirected"),
            "{origin}"
        );
    }
    let same = gateway.api_with(&["origin: http://localhost"], "GET", "/v1/keys", None);
    assert_eq!(same.status, 200);
    let bearer = format!("authorization: Bearer {}", gateway.admin);
    let headers = [&*bearer, "host: keys.example.com"];
    let named = tell(gateway.management, "GET /v1/keys", &headers, None);
    assert_eq!(named.status, 200, "no names are set, so any is answered");
}
