//! An answer on its way to a caller: its head as HTTP/1.1 says it, so that for most callers nothing is left to do but to send it,
//! and its body.

use super::body::AnswerBody;
use super::limits;
use super::spare::Spare;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, InvalidHeaderName};
use http::{Response, StatusCode};

const LINE_END: &[u8] = b"\r\n";
/// Where in a status line the minor version stands.
const MINOR: usize = 7;

/// Head and body.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) lines: Lines,
    pub(super) body: AnswerBody,
}

/// A status line and field lines, without the empty line that ends them. Names are as the service wrote them.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where the first field stands.
    fields: usize,
    /// Whether a length is said.
    pub(super) sized: bool,
    /// Whether a date is said.
    pub(super) dated: bool,
    /// Whether something is said about the connection,
    pub(super) linked: bool,
    /// and that it ends.
    pub(super) closes: bool,
    /// Whether something is said about limits.
    pub(super) limited: bool,
}

impl Lines {
    /// A status line in a buffer, which is empty.
    pub(super) fn begin(mut bytes: Vec<u8>, status: StatusCode) -> Self {
        if status == StatusCode::OK {
            bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        } else {
            bytes.extend_from_slice(b"HTTP/1.1 ");
            bytes.extend_from_slice(status.as_str().as_bytes());
            bytes.push(b' ');
            let reason = status.canonical_reason().unwrap_or_default();
            bytes.extend_from_slice(reason.as_bytes());
            bytes.extend_from_slice(LINE_END);
        }
        Self {
            fields: bytes.len(),
            bytes,
            sized: false,
            dated: false,
            linked: false,
            closes: false,
            limited: false,
        }
    }

    /// Adds a field.
    #[inline]
    pub(super) fn add(&mut self, name: &str, value: &[u8]) {
        self.note(name, value);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(LINE_END);
    }

    /// Notes what a field says to whoever sends the answer.
    #[inline]
    pub(super) fn note(&mut self, name: &str, value: &[u8]) {
        match name.len() {
            4 => self.dated |= name.eq_ignore_ascii_case("date"),
            10 if name.eq_ignore_ascii_case("connection") => {
                self.linked = true;
                self.closes |= value == b"close";
            }
            14 => self.sized |= name.eq_ignore_ascii_case("content-length"),
            9 | 15 | 16 | 19 => self.limited |= limits::is_name(name),
            _ => {}
        }
    }

    /// Adds whole lines, of which has been noted what there is to note.
    pub(super) fn add_lines(&mut self, lines: &[u8]) {
        self.bytes.extend_from_slice(lines);
    }

    /// Takes all fields of a name (in lower case) away, and what was noted of them; whether there were any.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        match name {
            "date" => self.dated = false,
            "content-length" => self.sized = false,
            "connection" => (self.linked, self.closes) = (false, false),
            _ => {}
        }
        let mut at = self.fields;
        let before = self.bytes.len();
        while let Some(length) = self.line_at(at) {
            let line = &self.bytes[at..at + length];
            let said = line.split_at_checked(name.len());
            if said.is_some_and(|(said, rest)| {
                said.eq_ignore_ascii_case(name.as_bytes()) && rest.first() == Some(&b':')
            }) {
                self.bytes.drain(at..at + length);
            } else {
                at += length;
            }
        }
        self.bytes.len() < before
    }

    /// Says a field in place of all of its name.
    pub(super) fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.add(name, value);
    }

    /// The value of the first field of a name.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// Bytes of the line that begins here, its end included.
    fn line_at(&self, at: usize) -> Option<usize> {
        memchr::memchr(b'\n', &self.bytes[at..]).map(|end| end + 1)
    }

    /// Name and value of each field.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.bytes[self.fields..];
        std::iter::from_fn(move || {
            let end = memchr::memchr(b'\n', rest)?;
            let (line, behind) = rest.split_at(end + 1);
            rest = behind;
            let line = line.strip_suffix(LINE_END)?;
            let colon = memchr::memchr(b':', line)?;
            Some((&line[..colon], line.get(colon + 2..).unwrap_or_default()))
        })
    }

    /// The bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, for a caller of this version.
    pub(super) fn into_bytes(mut self, modern: bool) -> Vec<u8> {
        if let Some(minor) = self.bytes.get_mut(MINOR).filter(|_| !modern) {
            *minor = b'0';
        }
        self.bytes
    }

    /// The fields as HTTP/2 has them, without what is for a connection of HTTP/1.1 (RFC 9113 §8.2.2).
    pub(super) fn to_map(&self) -> HeaderMap {
        let head = Bytes::copy_from_slice(&self.bytes);
        let mut map = HeaderMap::with_capacity(12);
        for (name, value) in self.iter() {
            if name.eq_ignore_ascii_case(b"connection") {
                continue;
            }
            let start = value.as_ptr() as usize - self.bytes.as_ptr() as usize;
            let value = HeaderValue::from_maybe_shared(head.slice(start..start + value.len()));
            // They were fields before.
            if let (Ok(name), Ok(mut value)) = (name_of(name), value) {
                value.set_sensitive(differs_each_time(name.as_str()));
                map.append(name, value);
            }
        }
        map
    }
}

/// A name that was a field's before. Our own need not be read, nor take memory.
fn name_of(name: &[u8]) -> Result<HeaderName, InvalidHeaderName> {
    static OWN: [HeaderName; 6] = [
        HeaderName::from_static("x-request-id"),
        HeaderName::from_static(limits::LIMIT),
        HeaderName::from_static(limits::REMAINING),
        HeaderName::from_static(limits::RESET),
        HeaderName::from_static(limits::POLICY),
        HeaderName::from_static(limits::STRUCTURED),
    ];
    let own = OWN.iter().find(|own| own.as_str().as_bytes() == name);
    own.map_or_else(|| HeaderName::from_bytes(name), |own| Ok(own.clone()))
}

/// Whether hardly two answers have the same value for this field. What HPACK remembers of such values (RFC 7541 §6.2) is of
/// no use to anybody, pushes out what is, and is searched through with each answer.
fn differs_each_time(name: &str) -> bool {
    name == "x-request-id" || name == "retry-after" || limits::is_name(name)
}

impl Answer {
    /// For a library that speaks HTTP/2; what the head stood in is free again.
    pub(super) fn into_response(self, spare: &Spare) -> Response<AnswerBody> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.lines.to_map();
        spare.recycle_buffer(self.lines.into_bytes(true));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(fields: &[(&str, &str)]) -> Lines {
        let mut lines = Lines::begin(Vec::new(), StatusCode::OK);
        for (name, value) in fields {
            lines.add(name, value.as_bytes());
        }
        lines
    }

    #[test]
    fn fields_are_found_and_taken_away_by_their_whole_names() {
        let mut lines = lines(&[("X-A", "1"), ("x-ab", "2"), ("x-a", ""), ("b", "x-a: 3")]);
        assert_eq!(lines.get("x-a"), Some(&b"1"[..]));
        assert!(lines.remove("x-a") && !lines.remove("x-a"));
        lines.set("B", b"4");
        assert_eq!(lines.as_bytes(), b"HTTP/1.1 200 OK\r\nx-ab: 2\r\nB: 4\r\n");
        assert_eq!(lines.to_map().len(), 2);
    }

    #[test]
    fn what_the_sender_has_to_know_is_noted() {
        let plain = lines(&[("x", "close")]);
        assert!(!plain.sized && !plain.dated && !plain.linked && !plain.closes);
        let full = lines(&[
            ("Date", "d"),
            ("Content-Length", "5"),
            ("Connection", "close"),
        ]);
        assert!(full.sized && full.dated && full.linked && full.closes);
        assert!(!full.to_map().contains_key("connection"));
        assert!(full.into_bytes(false).starts_with(b"HTTP/1.0 200 OK\r\n"));
        let mut gone = lines(&[("Content-Length", "5"), ("Connection", "close")]);
        gone.remove("content-length");
        gone.set("connection", b"upgrade");
        assert!(!gone.sized && gone.linked && !gone.closes);
    }
}
