//! A look at a request's head before hyper reads it, for what hyper does not tell: whether the head says both how long
//! its body is and that it is chunked, which request smuggling lives on (RFC 9112 §11.2), whether a line of it ends without a
//! carriage return, and whether its target has a fragment. And where the request ends: what stands behind it is the next
//! head, and is watched in its turn.

use super::body_watch::{BodyWatch, Malformed};

const LENGTH: &[u8] = b"content-length";
const CODING: &[u8] = b"transfer-encoding";
/// The longer of the two names with its colon, and `content-length` with a number of any size that matters.
const LONGEST: usize = 32;

/// Where in a head the watch is.
#[derive(Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before or in the request line. Empty lines before it mean nothing (RFC 9112 §2.2).
    #[default]
    RequestLine,
    Fields,
    /// Behind the head.
    Body,
}

/// Watches the lines of one head as they come, in pieces of any size.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
pub(super) struct HeadWatch {
    /// The beginning of the current line.
    line: [u8; LONGEST],
    filled: usize,
    place: Place,
    /// The target has a fragment, which hyper cuts off (RFC 9112 §3.2 allows none).
    pub(super) fragment: bool,
    /// A `Content-Length` was there.
    pub(super) length: bool,
    /// A `Transfer-Encoding` was there.
    pub(super) coding: bool,
    /// A line ended in a bare line feed, which others take for a part of the line (RFC 9112 §2.2 lets a server do both).
    pub(super) bare: bool,
    /// The value of `Content-Length`.
    declared: u64,
    last: u8,
    body: BodyWatch,
    /// The body's framing is none, or its length cannot be told.
    pub(super) malformed: bool,
}

impl HeadWatch {
    /// The next bytes; where among them the head ends, if it does. What stands behind is not looked at.
    fn feed(&mut self, all: &[u8]) -> Option<usize> {
        let mut bytes = all;
        while self.place != Place::Body && !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let part = &bytes[..end.unwrap_or(bytes.len())];
            self.bare |= end.is_some() && *part.last().unwrap_or(&self.last) != b'\r';
            self.last = bytes[part.len().min(bytes.len() - 1)];
            self.fragment |=
                self.place == Place::RequestLine && memchr::memchr(b'#', part).is_some();
            if self.is_of_no_interest(part, end) {
                bytes = &bytes[part.len() + 1..];
                continue;
            }
            let kept = part.len().min(LONGEST - self.filled);
            self.line[self.filled..self.filled + kept].copy_from_slice(&part[..kept]);
            self.filled += kept;
            let end = end?;
            self.line_ends();
            bytes = &bytes[end + 1..];
            if self.place == Place::Body {
                return Some(all.len() - bytes.len());
            }
        }
        None
    }

    /// The next bytes; how many of them belong to this request. All of them once it is malformed.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let mut head = 0;
        if self.place != Place::Body {
            match self.feed(bytes) {
                None => return bytes.len(),
                Some(end) => head = end,
            }
            self.body = match (self.coding, self.length) {
                (false, false) => BodyWatch::Over,
                (false, true) => BodyWatch::length(self.declared),
                (true, _) => BodyWatch::chunks(),
            };
        }
        match self.body.take(&bytes[head..]) {
            Ok(taken) if !self.malformed => head + taken,
            Ok(_) | Err(Malformed) => {
                self.malformed = true;
                bytes.len()
            }
        }
    }

    /// Whether the request's end has been seen, so that nothing more belongs to it.
    pub(super) fn is_over(&self) -> bool {
        self.place == Place::Body && self.body == BodyWatch::Over && !self.malformed
    }

    /// Whether the head has ended, and more of its body is to come.
    pub(super) fn is_in_body(&self) -> bool {
        self.place == Place::Body && !self.is_over()
    }

    /// A whole field line that begins with none of the letters that matter: most lines do.
    fn is_of_no_interest(&self, line: &[u8], end: Option<usize>) -> bool {
        self.place == Place::Fields
            && self.filled == 0
            && end.is_some()
            && !matches!(
                line.first(),
                None | Some(b'c' | b'C' | b't' | b'T' | b'\r' | b' ' | b'\t' | b'\x0c')
            )
    }

    fn line_ends(&mut self) {
        let line = &self.line[..self.filled];
        let empty = matches!(line, [] | [b'\r']);
        match (&self.place, empty) {
            (Place::RequestLine, false) => self.place = Place::Fields,
            (Place::Fields, true) => self.place = Place::Body,
            _ => {}
        }
        if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            let name = line[..colon].trim_ascii();
            if name.eq_ignore_ascii_case(LENGTH) {
                self.length = true;
                let value = std::str::from_utf8(line[colon + 1..].trim_ascii());
                let declared = value.ok().and_then(|digits| digits.parse().ok());
                // The rest of a longer line is not kept.
                self.malformed |= declared.is_none() || line.len() == LONGEST;
                self.declared = declared.unwrap_or_default();
            }
            self.coding |= name.eq_ignore_ascii_case(CODING);
        }
        self.filled = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(text: &str, step: usize) -> (bool, bool) {
        let mut watch = HeadWatch::default();
        for piece in text.as_bytes().chunks(step) {
            let _ = watch.feed(piece);
        }
        (watch.length, watch.coding)
    }

    #[test]
    fn both_fields_are_seen_however_they_are_cut_up() {
        let text =
            "POST / HTTP/1.1\r\nhost: a\r\nContent-LENGTH: 5\r\ntransfer-encoding:chunked\r\n\r\n";
        for step in 1..text.len() {
            assert_eq!(watch(text, step), (true, true), "{step}");
        }
    }

    #[test]
    fn empty_lines_before_a_request_do_not_end_it() {
        assert_eq!(
            watch("\r\n\r\nGET / HTTP/1.1\r\ncontent-length: 0\r\n\r\n", 3),
            (true, false)
        );
    }

    #[test]
    fn a_fragment_is_seen_in_the_target_only() {
        let fragment = |text: &str| {
            let mut watch = HeadWatch::default();
            let _ = watch.feed(text.as_bytes());
            watch.fragment
        };
        assert!(fragment("GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert!(!fragment("GET /a HTTP/1.1\r\nreferer: /a#b\r\n\r\n"));
    }

    #[test]
    fn a_bare_line_feed_is_seen_however_the_head_is_cut_up() {
        let bare = |text: &str, step: usize| {
            let mut watch = HeadWatch::default();
            for piece in text.as_bytes().chunks(step) {
                let _ = watch.feed(piece);
            }
            watch.bare
        };
        let good = "GET / HTTP/1.1\r\nhost: a\r\nc: d\r\nx: y\r\n\r\nbody\n";
        for step in 1..good.len() {
            assert!(!bare(good, step), "{step}");
        }
        for place in good.match_indices("\r\n").map(|(place, _)| place) {
            let bad = format!("{}{}", &good[..place], &good[place + 1..]);
            for step in 1..bad.len() {
                assert!(bare(&bad, step), "{step} {bad:?}");
            }
        }
    }

    #[test]
    fn the_end_of_a_request_is_known_if_all_of_it_is_there() {
        let rest = |text: &str| {
            let mut watch = HeadWatch::default();
            let taken = watch.take(text.as_bytes());
            watch.is_over().then(|| text.as_bytes()[taken..].to_vec())
        };
        let cases = [
            ("GET / HTTP/1.1\r\n\r\nGET", Some("GET")),
            ("GET / HTTP/1.1\r\n\r\n", Some("")),
            ("GET / HTTP/1.1\r\nhost: a\r\n", None),
            (
                "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcGET",
                Some("GET"),
            ),
            ("POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nab", None),
            ("POST / HTTP/1.1\r\ncontent-length: x\r\n\r\nab", None),
            (
                "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\nGET",
                None,
            ),
            (
                "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET",
                Some("GET"),
            ),
            (
                "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\na: b\r\n\r\nGET",
                Some("GET"),
            ),
            (
                "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
                None,
            ),
        ];
        for (text, want) in cases {
            assert_eq!(rest(text).as_deref(), want.map(str::as_bytes), "{text:?}");
        }
    }

    #[test]
    fn bodies_and_other_fields_are_not_taken_for_them() {
        let text = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nx-content-length: 1\r\n\r\n\
                    5\r\ncontent-length: 7\r\n";
        for step in 1..text.len() {
            assert_eq!(watch(text, step), (false, true), "{step}");
        }
    }
}
