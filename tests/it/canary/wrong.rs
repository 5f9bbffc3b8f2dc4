//! Secrets where they belong and where they do not: in bodies, addresses, header fields, on the wrong port.

use super::search::escaped;
use super::{NEW_PASSWORD, OLD, Objects, PASSWORD, Stage, WRONG_KEY, WRONG_PASSWORD, WRONG_TOKEN};
use crate::harness::{Client, ask};
use serde_json::json;

/// Each key in each place, also where it is refused; no answer of ours says it, and nothing of it goes upstream.
pub(super) fn use_keys(stage: &mut Stage) {
    let all: Vec<String> = stage.secrets.iter().map(|(_, text)| text.clone()).collect();
    let mut passed = 0;
    for secret in &all {
        let header = format!("x-api-key: {secret}");
        let bearer = format!("authorization: Bearer {secret}");
        let query = format!("GET /?a=1&api_key={}&b=2", escaped(secret));
        let lax = format!("GET /?api%5Fkey={}", escaped(secret));
        let other = format!("x-api-key: {WRONG_KEY}");
        for (line, headers) in [
            ("GET /", vec![header.as_str()]),
            ("GET /", vec![&bearer]),
            (&query, vec![]),
            (&lax, vec![]),
            ("GET /", vec![&other, &bearer]),
            ("GET /", vec![&header, &header]),
            (&query, vec![&other]),
            ("POST /", vec![&header]),
            ("GET /a/../b", vec![&header]),
        ] {
            let answer = ask(stage.served.address, line, &headers);
            passed += usize::from(answer.status == 200);
            stage.keep(&answer);
        }
        if secret.starts_with("kg_") {
            let answer = ask(stage.served.address, &format!("GET /{secret}"), &[]);
            stage.keep(&answer);
        }
    }
    assert!(passed >= 16, "{passed}");
}

/// Secrets in places where they do not belong.
pub(super) fn misuse(stage: &mut Stage, objects: &Objects) {
    let admin = stage.admin.clone();
    let member = format!("POST /v1/members/{}/password", objects.member);
    for body in [
        json!({"email": "ada@example.com", "password": WRONG_PASSWORD}),
        json!({"email": WRONG_PASSWORD, "password": "x"}),
        json!({"email": "ada@example.com", "passwort": NEW_PASSWORD}),
        json!({"email": "ada@example.com", "password": [NEW_PASSWORD]}),
    ] {
        stage.hear("", "POST /v1/sessions", Some(body));
    }
    let session = stage.secret("a session");
    for body in [
        json!({"current": WRONG_PASSWORD, "new": PASSWORD}),
        json!({"current": NEW_PASSWORD, "new": [PASSWORD]}),
        json!({"password": NEW_PASSWORD}),
    ] {
        stage.hear(&session, &member, Some(body));
    }
    stage.hear(WRONG_TOKEN, "GET /v1/keys", None);
    for secret in [
        stage.secret("a key"),
        stage.secret("a token"),
        OLD.to_owned(),
    ] {
        stage.hear(&secret, "GET /v1/whoami", None);
        in_bodies(stage, &admin, &secret, objects);
        in_addresses(stage, &admin, &secret);
    }
}

fn in_bodies(stage: &mut Stage, admin: &str, secret: &str, objects: &Objects) {
    for fields in [
        json!({"secret": secret}),
        json!({"key": secret, "hash": secret}),
        json!({secret: 1}),
        json!({"workspace": secret, "consumer": secret, "environment": secret}),
        json!({"scopes": [format!("{secret} ")], "routes": [secret], "methods": [secret]}),
        json!({"ip_allow": [secret], "locations": [secret], "tags": {secret: 1}}),
        json!({"not_before": secret, "expires_at": secret, "inactivity": {"mode": secret}}),
        json!({"metadata": {secret: 1}, "inactivity": {"mode": "off", "after": secret}}),
        json!({"inactivity": {secret: 1}, "secrets": [{"hash": secret}]}),
    ] {
        let mut body = fields.clone();
        body["name"] = json!("wrong");
        stage.hear(admin, "POST /v1/keys", Some(body)).must(422);
        stage
            .hear(
                admin,
                &format!("PATCH /v1/keys/{}", objects.key),
                Some(fields.clone()),
            )
            .must(422);
        let body = json!({"keys": [fields]});
        stage.hear(admin, "POST /v1/keys/import", Some(body));
    }
    in_other_bodies(stage, admin, secret);
}

fn in_other_bodies(stage: &mut Stage, admin: &str, secret: &str) {
    for (line, body) in [
        (
            "POST /v1/keys/bulk",
            json!({"action": secret, "ids": [secret]}),
        ),
        (
            "POST /v1/keys/bulk",
            json!({"action": "revoke", "filter": {"tag": "x", secret: secret, "status": secret}}),
        ),
        (
            "POST /v1/tokens",
            json!({"name": "x", "role": secret, "workspace": secret, "token": secret}),
        ),
        (
            "POST /v1/webhooks",
            json!({"name": "x", "url": secret, "secret": secret, "events": [secret]}),
        ),
        (
            "POST /v1/webhooks",
            json!({"name": "x", "url": format!("ftp://{}@x/", escaped(secret)), "events": [secret]}),
        ),
        (
            "POST /v1/members",
            json!({"name": "x", "email": secret, "role": secret, "secret": secret}),
        ),
        (
            "POST /v1/consumers",
            json!({"name": "x", "limits": secret, "workspace": secret, secret: 1}),
        ),
        (
            "POST /v1/workspaces",
            json!({"name": "x", "parent": secret, "inactivity": secret}),
        ),
        ("POST /v1/audit/checkpoints", json!({"before": secret})),
        ("POST /v1/verify", json!({"key": secret})),
        (
            "POST /v1/verify",
            json!({"key": secret, "route": secret, "method": secret, "ip": secret}),
        ),
        (
            "POST /v1/explain",
            json!({"key": secret, "request": {"path": "/"}}),
        ),
        (
            "POST /v1/explain",
            json!({"request": {"path": format!("/?api_key={}&x=1", escaped(secret)), "ip": "127.0.0.1"}}),
        ),
        (
            "POST /v1/explain",
            json!({"request": {"path": "/", "headers": {"X-API-Key": secret, "Authorization": format!("Bearer {secret}")}}}),
        ),
        (
            "POST /v1/explain",
            json!({"key_id": secret, "request": {"path": "/", "method": secret, secret: 1}}),
        ),
    ] {
        stage.hear(admin, line, Some(body));
    }
    in_a_broken_body(stage, admin, secret);
}

fn in_a_broken_body(stage: &mut Stage, admin: &str, secret: &str) {
    let broken = format!("{{\"name\": \"{secret}");
    let lines = format!(
        "POST /v1/keys HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {admin}\r\ncontent-type: application/json\r\nx-request-id: {secret}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        broken.len()
    );
    let mut client = Client::connect(stage.served.management);
    client.send(format!("{lines}{broken}"));
    let answer = client.read();
    stage.keep(&answer);
}

fn in_addresses(stage: &mut Stage, admin: &str, secret: &str) {
    let secret = escaped(secret);
    for line in [
        format!("GET /v1/keys/{secret}"),
        format!("POST /v1/keys/{secret}/rotate"),
        format!("GET /v1/{secret}"),
        format!("GET /{secret}"),
        format!("GET /v1/keys?q={secret}&tag={secret}&scope={secret}&environment={secret}"),
        format!("GET /v1/keys?sort={secret}&status={secret}&cursor={secret}&limit={secret}"),
        format!("GET /v1/keys?workspace={secret}&consumer={secret}&{secret}=1&total={secret}"),
        format!("GET /v1/keys?api_key={secret}&token={secret}&expires_before={secret}"),
        format!("GET /v1/usage?by={secret}&from={secret}&key={secret}"),
        format!("GET /v1/usage?route={secret}"),
        format!("GET /v1/audit?q={secret}"),
        format!("GET /v1/audit?action={secret}"),
        format!("GET /v1/audit?actor={secret}"),
        format!("GET /v1/audit?target={secret}"),
        format!("GET /v1/audit/export?format={secret}"),
        format!("GET /v1/audit/export?target={secret}"),
        format!("GET /v1/notices?kind={secret}"),
        format!("GET /v1/members?q={secret}"),
        format!("GET /metrics?token={secret}"),
        format!("GET /status?{secret}"),
    ] {
        stage.hear(admin, &line, None);
    }
}
