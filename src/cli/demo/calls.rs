//! The calls of the demo: what is sent, what should come back, and how to send it by hand.

use crate::domain::key::PlainKey;
use anyhow::Context;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// One call and what it should be answered with.
pub(super) struct Call {
    pub(super) title: &'static str,
    method: &'static str,
    target: String,
    header: Option<String>,
    status: u16,
    code: Option<&'static str>,
}

/// An answer, read to its end.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) text: String,
    pub(super) json: Value,
}

impl Call {
    /// The demo, in order.
    pub(super) fn all(key: &PlainKey) -> Vec<Self> {
        let key = key.expose();
        let call = |title, method, target: &str, header: Option<String>, status, code| Self {
            title,
            method,
            target: target.to_owned(),
            header,
            status,
            code,
        };
        let mut wrong = key.to_owned();
        let last = wrong.pop();
        wrong.push(if last == Some('0') { '1' } else { '0' });
        vec![
            call(
                "the key in a header",
                "GET",
                "/echo/hello",
                Some(format!("X-API-Key: {key}")),
                200,
                None,
            ),
            call(
                "as a Bearer token",
                "GET",
                "/echo/hello",
                Some(format!("Authorization: Bearer {key}")),
                200,
                None,
            ),
            call(
                "in the query",
                "GET",
                &format!("/echo/hello?a=1&api_key={key}&b=2"),
                None,
                200,
                None,
            ),
            call(
                "without a key",
                "GET",
                "/echo/hello",
                None,
                401,
                Some("missing_api_key"),
            ),
            call(
                "with a wrong key",
                "GET",
                "/echo/hello",
                Some(format!("X-API-Key: {wrong}")),
                401,
                Some("invalid_api_key"),
            ),
            call(
                "lacking a scope",
                "POST",
                "/echo/hello",
                Some(format!("X-API-Key: {key}")),
                403,
                Some("insufficient_scope"),
            ),
        ]
    }

    /// The same call for a shell.
    pub(super) fn as_curl(&self, gateway: SocketAddr) -> String {
        let method = if self.method == "GET" {
            String::new()
        } else {
            format!(" -X {}", self.method)
        };
        let header = self
            .header
            .as_ref()
            .map(|header| format!(" -H '{header}'"))
            .unwrap_or_default();
        format!("curl -i{method}{header} 'http://{gateway}{}'", self.target)
    }

    pub(super) fn make(&self, gateway: SocketAddr) -> anyhow::Result<Answer> {
        let call = (self.method, &*self.target);
        send(gateway, call, self.header.as_slice(), "")
    }

    /// Whether status and code are right, and the service saw who called but not the key.
    pub(super) fn is_answered_by(&self, answer: &Answer, key: &PlainKey) -> bool {
        let hidden = !answer.text.contains(key.expose());
        let code = answer.json["code"].as_str();
        let told = self.status != 200 || answer.json["headers"]["x-consumer-username"] == "demo";
        answer.status == self.status && code == self.code && hidden && told
    }
}

/// One request, method and target first, and its answer.
pub(super) fn send(
    address: SocketAddr,
    (method, target): (&str, &str),
    headers: &[String],
    body: &str,
) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head =
        format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    if !body.is_empty() {
        for part in ["content-length: ", &body.len().to_string(), "\r\n"] {
            head.push_str(part);
        }
    }
    head.push_str("\r\n");
    head.push_str(body);
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer
        .get(9..12)
        .and_then(|digits| digits.parse().ok())
        .context("the answer is not HTTP")?;
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body)
        .unwrap_or_default();
    let json = serde_json::from_str(body).unwrap_or_default();
    Ok(Answer {
        status,
        json,
        text: answer,
    })
}
