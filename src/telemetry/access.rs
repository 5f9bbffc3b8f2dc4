//! The access record: what one request leaves behind, written as one JSON line.
//!
//! A worker appends lines to its own buffer and hands the buffer to the log thread when it is full or 50 ms old.

use super::logs::LogSink;
use super::redact::redact;
use crate::domain::id::{Id, Kind};
use crate::domain::path::lax_reading;
use crate::domain::time::Timestamp;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// A full buffer is handed over at once.
const FULL: usize = 128 * 1024;
/// Buffers kept for the next lines.
const SPARE: usize = 4;

/// One finished request, refusals included. Holds no header, no query and no secret.
#[derive(Debug)]
pub struct AccessRecord<'a> {
    /// When the request began.
    pub time: Timestamp,
    /// `X-Request-Id`.
    pub request_id: &'a [u8],
    /// What is the same for all requests of a connection: see [`connection_members`].
    pub connection: &'a str,
    /// Where the request comes from, if that is not the same for all requests of the connection.
    pub client: Option<IpAddr>,
    /// A standard method or `OTHER`.
    pub method: &'static str,
    /// Name of the route; `None` when none was found.
    pub route: Option<&'a str>,
    /// The key, once its hash matched.
    pub key: Option<Id>,
    /// The stable code of an answer of our own.
    pub code: Option<&'static str>,
    /// Status sent.
    pub status: u16,
    /// Whether the answer was sent to its end.
    pub complete: bool,
    /// Bytes of the request's body that were read.
    pub bytes_in: u64,
    /// Bytes of the answer's body that were handed on.
    pub bytes_out: u64,
    /// From the head read to the last byte handed on, nanoseconds.
    pub total_nanos: u64,
    /// From forwarding to the upstream's answer head, nanoseconds.
    pub upstream_nanos: Option<u64>,
    /// The endpoint that was tried last.
    pub endpoint: Option<&'a str>,
    /// How many endpoints were tried, one twice included; shown when it is more than one.
    pub tries: u32,
    /// Path of the request, if the log is to show it.
    pub path: Option<&'a str>,
}

/// The members of a line that say which connection it was, as JSON without braces; made once for a connection. Where the
/// requests of a `proxy` come from, each of them says.
///
/// `listener` is its name as JSON, `address` that of the peer.
pub fn connection_members(
    listener: &str,
    (peer, address): (SocketAddr, &str),
    proxy: bool,
) -> String {
    let mut members = String::with_capacity(128);
    let mut port = itoa::Buffer::new();
    let (before, behind) = if peer.is_ipv6() {
        ("[", "]:")
    } else {
        ("", ":")
    };
    for part in [
        "\"listener\":",
        listener,
        ",\"peer.address\":\"",
        before,
        address,
        behind,
        port.format(peer.port()),
        "\"",
    ] {
        members.push_str(part);
    }
    if !proxy {
        for part in [",\"client.address\":\"", address, "\""] {
            members.push_str(part);
        }
    }
    members
}

/// An address as text. Each connection needs it, and the library's way takes a thousand steps.
pub fn address_text(address: IpAddr) -> String {
    let IpAddr::V4(v4) = address else {
        return address.to_string();
    };
    let mut text = String::with_capacity(15);
    for (place, part) in v4.octets().into_iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(part));
    }
    text
}

impl AccessRecord<'_> {
    /// Appends the record as one JSON line. Texts but `path` come from a small alphabet without quotes.
    pub fn write(&self, out: &mut Vec<u8>, brand: &str) {
        let mut numbers = itoa::Buffer::new();
        out.extend_from_slice(b"{\"time\":\"");
        push_time(out, self.time);
        out.extend_from_slice(b"\",\"event\":\"access\",\"request.id\":\"");
        out.extend_from_slice(self.request_id);
        push(out, b"\",\"method\":\"", self.method);
        out.extend_from_slice(b"\",");
        out.extend_from_slice(self.connection.as_bytes());
        if let Some(client) = self.client {
            // Writing to a Vec cannot fail.
            let _ = write!(out, ",\"client.address\":\"{client}\"");
        }
        push_optional(out, b",\"route\":", self.route);
        match self.key {
            Some(id) => {
                out.extend_from_slice(b",\"key.id\":\"");
                out.extend_from_slice(id.text(Kind::Key).as_bytes());
                out.push(b'"');
            }
            None => out.extend_from_slice(b",\"key.id\":null"),
        }
        push(out, b",\"status\":", numbers.format(self.status));
        push_optional(out, b",\"code\":", self.code);
        push(
            out,
            b",\"complete\":",
            if self.complete { "true" } else { "false" },
        );
        push(out, b",\"request.bytes\":", numbers.format(self.bytes_in));
        push(out, b",\"response.bytes\":", numbers.format(self.bytes_out));
        push(
            out,
            b",\"duration_us\":",
            numbers.format(self.total_nanos / 1000),
        );
        match self.upstream_nanos {
            Some(nanos) => push(
                out,
                b",\"upstream.duration_us\":",
                numbers.format(nanos / 1000),
            ),
            None => out.extend_from_slice(b",\"upstream.duration_us\":null"),
        }
        push_optional(out, b",\"upstream.endpoint\":", self.endpoint);
        if self.tries > 1 {
            push(out, b",\"upstream.tries\":", numbers.format(self.tries));
        }
        if let Some(path) = self.path {
            out.extend_from_slice(b",\"path\":");
            push_json(out, &shown(path, brand));
        }
        out.extend_from_slice(b"}\n");
    }
}

/// A path for the log. One whose percent-encoding hides something to mask is not shown at all.
fn shown<'a>(path: &'a str, brand: &str) -> Cow<'a, str> {
    let decoded = path.contains('%').then(|| lax_reading(path));
    match decoded {
        None => redact(path, brand),
        Some(Ok(decoded)) if matches!(redact(&decoded, brand), Cow::Borrowed(_)) => {
            redact(path, brand)
        }
        Some(_) => Cow::Borrowed("[redacted]"),
    }
}

#[inline]
fn push(out: &mut Vec<u8>, before: &[u8], text: &str) {
    out.extend_from_slice(before);
    out.extend_from_slice(text.as_bytes());
}

/// A text that may hold anything.
fn push_json(out: &mut Vec<u8>, text: &str) {
    // Writing to a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}

#[inline]
fn push_optional(out: &mut Vec<u8>, before: &[u8], text: Option<&str>) {
    out.extend_from_slice(before);
    match text {
        Some(text) => {
            out.push(b'"');
            out.extend_from_slice(text.as_bytes());
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

thread_local! {
    /// The second that was formatted last, and its text up to the seconds.
    static SECOND: RefCell<(i64, [u8; 19])> = const { RefCell::new((i64::MIN, [0; 19])) };
}

/// RFC 3339 with milliseconds. The text of the second is made once a second, not once a request.
fn push_time(out: &mut Vec<u8>, time: Timestamp) {
    let (second, millis) = (
        time.as_millis().div_euclid(1000),
        time.as_millis().rem_euclid(1000),
    );
    SECOND.with_borrow_mut(|(known, text)| {
        if *known != second {
            let full = Timestamp::from_millis(second * 1000).to_string();
            if let Some(head) = full.as_bytes().first_chunk::<19>() {
                (*known, *text) = (second, *head);
            }
        }
        out.extend_from_slice(text);
    });
    let digit = |value: i64| b'0' + u8::try_from(value % 10).unwrap_or_default();
    out.extend_from_slice(&[
        b'.',
        digit(millis / 100),
        digit(millis / 10),
        digit(millis),
        b'Z',
    ]);
}

/// A worker's own buffer of access lines.
pub struct AccessBuffer {
    sink: LogSink,
    brand: String,
    lines: RefCell<Vec<u8>>,
    count: Cell<u64>,
    /// Buffers on their way back from the log thread: fresh ones would cost a page fault for each page, each time.
    home: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
}

impl AccessBuffer {
    /// An empty buffer in front of a sink.
    pub fn new(sink: LogSink, brand: &str) -> Self {
        let (home, empty) = sync_channel(SPARE);
        let lines = RefCell::new(Vec::with_capacity(FULL + 1024));
        Self {
            sink,
            brand: brand.to_owned(),
            lines,
            count: Cell::new(0),
            home,
            empty,
        }
    }

    /// Appends a record; hands over when the buffer is full.
    pub fn append(&self, record: &AccessRecord<'_>) {
        let mut lines = self.lines.borrow_mut();
        record.write(&mut lines, &self.brand);
        self.count.set(self.count.get() + 1);
        let full = lines.len() >= FULL;
        drop(lines);
        if full {
            self.flush();
        }
    }

    /// Hands over what is there.
    pub fn flush(&self) {
        let mut lines = self.lines.borrow_mut();
        if !lines.is_empty() {
            let next = self
                .empty
                .try_recv()
                .unwrap_or_else(|_| Vec::with_capacity(FULL + 1024));
            let batch = std::mem::replace(&mut *lines, next);
            self.sink.access(batch, self.count.take(), &self.home);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTION: &str = r#""listener":"main","peer.address":"127.0.0.1:5000""#;

    fn record() -> AccessRecord<'static> {
        AccessRecord {
            time: Timestamp::from_millis(1_798_761_600_042),
            request_id: b"req_1",
            connection: CONNECTION,
            client: None,
            method: "GET",
            route: Some("billing"),
            key: Some(Id::from_bits(1)),
            code: None,
            status: 200,
            complete: true,
            bytes_in: 0,
            bytes_out: 12,
            total_nanos: 1_234_000,
            upstream_nanos: None,
            endpoint: Some("127.0.0.1:9000"),
            tries: 2,
            path: Some("/a\"b/kg_live_0123456789abcdefghijABCDEFGHIJ0123456789abcdefghi"),
        }
    }

    #[test]
    fn a_record_is_one_json_line() {
        let mut out = Vec::new();
        record().write(&mut out, "kg");
        let line = String::from_utf8(out).unwrap();
        assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["time"], "2027-01-01T00:00:00.042Z");
        assert_eq!(json["key.id"], "key_00000000000000000000000001");
        assert_eq!(json["upstream.duration_us"], serde_json::Value::Null);
        assert_eq!(json["duration_us"], 1234);
        assert_eq!(json["upstream.tries"], 2);
        assert_eq!(json["path"], "/a\"b/kg_live_[redacted]");
    }

    #[test]
    fn the_name_of_a_listener_is_escaped() {
        let name = serde_json::Value::from("my \"x\" \\").to_string();
        let peer = ("127.0.0.1:5000".parse().unwrap(), "127.0.0.1");
        let members = connection_members(&name, peer, false);
        let mut out = Vec::new();
        AccessRecord {
            connection: &members,
            ..record()
        }
        .write(&mut out, "kg");
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["listener"], "my \"x\" \\");
        assert_eq!(json["peer.address"], "127.0.0.1:5000");
        assert_eq!(json["client.address"], "127.0.0.1");
    }

    #[test]
    fn addresses_are_written_as_the_library_does() {
        for address in ["0.0.0.0", "10.0.200.7", "255.255.255.255", "2001:db8::1"] {
            assert_eq!(address_text(address.parse().unwrap()), address);
        }
        let peer = ("[2001:db8::1]:443".parse().unwrap(), "2001:db8::1");
        let members = connection_members("\"a\"", peer, true);
        assert_eq!(
            members,
            r#""listener":"a","peer.address":"[2001:db8::1]:443""#
        );
    }

    #[test]
    fn an_encoded_key_is_not_shown_either() {
        for path in [
            "/a/kg%5Flive%5F0123456789abcdefghijABCDEFGHIJ",
            "/a%",
            "/k%67_live_0123456789abcdefghijABCDEFGHIJ",
        ] {
            assert_eq!(shown(path, "kg"), "[redacted]", "{path}");
        }
        assert_eq!(shown("/a%20b", "kg"), "/a%20b");
    }

    #[test]
    fn a_refusal_without_route_is_a_line_too() {
        let mut out = Vec::new();
        let refusal = AccessRecord {
            route: None,
            key: None,
            code: Some("no_route"),
            endpoint: None,
            path: None,
            tries: 0,
            upstream_nanos: Some(5000),
            ..record()
        };
        refusal.write(&mut out, "kg");
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["route"], serde_json::Value::Null);
        assert_eq!(json["code"], "no_route");
        assert_eq!(json["upstream.duration_us"], 5);
        assert!(json.get("upstream.tries").is_none());
    }
}
