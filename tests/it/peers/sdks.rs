//! httpx, and the SDKs of `OpenAI` and Stripe, in front of a small service that speaks like theirs.

use super::under_tls;
use crate::harness::{Gateway, GatewayBuilder, KEY, peer_says, peer_server};

fn url(gateway: &Gateway) -> String {
    format!("http://{}", gateway.address)
}

#[test]
fn httpx_over_both_versions_under_tls() {
    let (_service, address) = peer_server("small_api.py");
    let gateway = under_tls(address);
    let url = format!("https://localhost:{}", gateway.address.port());
    let authority = gateway.file.with_file_name("ca.pem");
    peer_says("httpx_client.py", &[&url, authority.to_str().unwrap(), KEY]);
}

#[test]
fn the_sdk_of_openai() {
    let (_service, address) = peer_server("small_api.py");
    let limited = |name: &str, rate: &str| {
        format!(
            "  - {{ name: {name}, match: {{ path: /{name}/ }}, strip_prefix: /{name}, upstream: app,\n\
             \x20     auth: {{ scopes: app:read }}, limits: {{ rate: {rate}, burst: 1 }} }}\n"
        )
    };
    let routes = limited("limited", "1/m") + &limited("hurried", "1/s");
    let gateway = GatewayBuilder::new(address)
        .replace("consumers:", &format!("{routes}consumers:"))
        .start();
    peer_says("openai_client.py", &[&url(&gateway), KEY]);
    let decided = |reason| gateway.metric("keygate_auth_decisions_total", &[("reason", reason)]);
    assert_eq!(decided("unknown") + decided("malformed"), 2.0);
}

#[test]
fn the_sdk_of_stripe() {
    let (_service, address) = peer_server("small_api.py");
    let gateway = GatewayBuilder::new(address).start();
    peer_says("stripe_client.py", &[&url(&gateway), KEY]);
}
