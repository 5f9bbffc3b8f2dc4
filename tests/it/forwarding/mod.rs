//! Forwarding: what goes up and comes back, byte by byte and in time.

mod messages;
mod pool;
mod streaming;
mod timeouts;

use crate::harness::KEY;

/// A request with [`KEY`]: request line without version, further header lines, body.
fn request(line: &str, headers: &[&str], body: &str) -> String {
    let mut head = format!("{line} HTTP/1.1\r\nhost: api.example.com\r\nx-api-key: {KEY}\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    format!("{head}\r\n{body}")
}

/// An answer: status and reason, further header lines, body.
fn answer(status: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    format!("{head}\r\n{body}").into_bytes()
}

/// A 200 with a length.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    answer(
        "200 OK",
        &[&format!("content-length: {}", body.len())],
        body,
    )
}
