//! A look at a request's head before hyper reads it, for what hyper does not tell: whether the head says both how long
//! its body is and that it is chunked, which request smuggling lives on (RFC 9112 §11.2), and whether its target has a
//! fragment. A head that came in one piece with the request before it is not seen; hyper frames it in one way.

const LENGTH: &[u8] = b"content-length";
const CODING: &[u8] = b"transfer-encoding";
/// The longer of the two names and its colon.
const LONGEST: usize = CODING.len() + 1;

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
}

impl HeadWatch {
    /// The next bytes. What stands behind the head's end is not looked at.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while self.place != Place::Body && !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let part = &bytes[..end.unwrap_or(bytes.len())];
            self.fragment |=
                self.place == Place::RequestLine && memchr::memchr(b'#', part).is_some();
            if self.is_of_no_interest(part, end) {
                bytes = &bytes[part.len() + 1..];
                continue;
            }
            let kept = part.len().min(LONGEST - self.filled);
            self.line[self.filled..self.filled + kept].copy_from_slice(&part[..kept]);
            self.filled += kept;
            let Some(end) = end else { return };
            self.line_ends();
            bytes = &bytes[end + 1..];
        }
    }

    /// A whole field line that begins with none of the letters that matter: most lines do.
    fn is_of_no_interest(&self, line: &[u8], end: Option<usize>) -> bool {
        self.place == Place::Fields
            && self.filled == 0
            && end.is_some()
            && !matches!(
                line.first(),
                None | Some(b'c' | b'C' | b't' | b'T' | b'\r' | b' ' | b'\t')
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
            self.length |= name.eq_ignore_ascii_case(LENGTH);
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
            watch.feed(piece);
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
            watch.feed(text.as_bytes());
            watch.fragment
        };
        assert!(fragment("GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert!(!fragment("GET /a HTTP/1.1\r\nreferer: /a#b\r\n\r\n"));
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
