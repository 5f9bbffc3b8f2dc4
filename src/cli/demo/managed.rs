//! A key that is managed while the gateway runs: made by the admin API, used, revoked, refused.

use super::calls::{self, Answer};
use crate::cli::print;
use crate::domain::key::PlainKey;
use std::net::SocketAddr;

const NEW_KEY: &str = r#"{"name": "managed", "scopes": ["echo:read"]}"#;

/// Does it, prints each step as a curl command with its answer, and tells whether all went as it should.
pub(super) fn try_out(
    gateway: SocketAddr,
    management: SocketAddr,
    token: &PlainKey,
) -> anyhow::Result<bool> {
    let token = format!("Authorization: Bearer {}", token.expose());
    let post = |path: &str, body: &str| {
        let headers = [token.clone(), "Content-Type: application/json".into()];
        calls::send(management, ("POST", path), &headers, body)
    };
    print(&format!(
        "# a key by the admin API, kept in a store\n\
         curl -H '{token}' -H 'Content-Type: application/json' -d '{NEW_KEY}' http://{management}/v1/keys"
    ))?;
    let made = post("/v1/keys", NEW_KEY)?;
    let id = made.json["key"]["id"].as_str().unwrap_or_default();
    let secret = made.json["secret"].as_str().unwrap_or_default();
    print(&format!(
        "→ {} {id}, shown this once: {secret}",
        made.status
    ))?;
    let used = call(gateway, secret)?;
    print(&format!("→ {} with that key", used.status))?;
    let revoke = format!("/v1/keys/{id}/revoke");
    print(&format!(
        "curl -H '{token}' -X POST http://{management}{revoke}"
    ))?;
    let revoked = post(&revoke, "")?;
    let state = revoked.json["state"].as_str().unwrap_or_default();
    print(&format!("→ {} {state}", revoked.status))?;
    let refused = call(gateway, secret)?;
    let code = refused.json["code"].as_str().unwrap_or_default();
    print(&format!("→ {} {code} with that key", refused.status))?;
    let told = [made.status, used.status, revoked.status, refused.status];
    let good = told == [201, 200, 200, 401] && code == "api_key_revoked";
    let mark = if good { "ok" } else { "NOT AS IT SHOULD BE" };
    print(&format!("[{mark}]\n"))?;
    Ok(good)
}

fn call(gateway: SocketAddr, secret: &str) -> anyhow::Result<Answer> {
    let header = [format!("X-API-Key: {secret}")];
    calls::send(gateway, ("GET", "/echo/hello"), &header, "")
}
