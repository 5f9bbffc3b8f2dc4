//! The head of an upstream's answer: parsed where it lies in the read buffer, cleaned of its hop, and refused if it can
//! be understood in more than one way.

use super::super::fields::{self, Field};
use crate::proxy::answer::Lines;
use bytes::{Buf, BytesMut};
use http::{Method, StatusCode};
use httparse::{Header, ParserConfig, Status};
use smallvec::SmallVec;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Most fields of an answer.
const MOST_FIELDS: usize = 128;
/// Most bytes of an answer's head.
pub(in crate::proxy) const LARGEST_HEAD: usize = 128 * 1024;

/// An answer is not HTTP/1, or can be read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) struct Malformed;

/// Where the body ends (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Framing {
    /// There is none.
    Empty,
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
    /// What follows is a WebSocket.
    WebSocket,
}

impl Framing {
    /// Bytes of the body, where that is known.
    pub(super) fn length(self) -> Option<u64> {
        match self {
            Self::Empty | Self::WebSocket => Some(0),
            Self::Length(length) => Some(length),
            Self::Chunked | Self::UntilClose => None,
        }
    }
}

/// The head of an answer, ready to be passed on.
#[derive(Debug)]
pub(in crate::proxy) struct AnswerHead {
    pub(in crate::proxy) status: StatusCode,
    pub(in crate::proxy) lines: Lines,
    pub(in crate::proxy) framing: Framing,
    /// Whether the connection can carry another request.
    pub(in crate::proxy) keep_alive: bool,
}

/// Takes the head off the front of the buffer; `None` when more bytes are needed. `spare` gives memory for what is passed on.
pub(in crate::proxy) fn take(
    buffer: &mut BytesMut,
    (method, upgrades): (&Method, bool),
    spare: impl FnOnce() -> Vec<u8>,
) -> Result<Option<AnswerHead>, Malformed> {
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let status =
        ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, buffer, &mut slots);
    let Status::Complete(length) = status.map_err(|_| Malformed)? else {
        return if buffer.len() > LARGEST_HEAD {
            Err(Malformed)
        } else {
            Ok(None)
        };
    };
    // However much of it came at once.
    if length > LARGEST_HEAD || !fields::lines_end_well(&buffer[..length], parsed.headers) {
        return Err(Malformed);
    }
    let status = StatusCode::from_u16(parsed.code.ok_or(Malformed)?).map_err(|_| Malformed)?;
    let mut lines = Lines::begin(spare(), status);
    let survey = Survey::of(&parsed, buffer, &mut lines)?;
    buffer.advance(length);
    let framing = survey.framing(status, method, upgrades)?;
    let keep_alive = survey.keep_alive && !survey.closes && framing != Framing::UntilClose;
    Ok(Some(AnswerHead {
        status,
        lines,
        framing,
        keep_alive,
    }))
}

/// Where the line of a field stands, if it is as we would write it: `name: value`, CR, LF.
fn line(field: &Header<'_>, buffer: &[u8]) -> Option<Range<usize>> {
    let base = buffer.as_ptr() as usize;
    let start = field.name.as_ptr() as usize - base;
    let colon = start + field.name.len();
    let (value, end) = (colon + 2, colon + 2 + field.value.len());
    let plain = field.value.as_ptr() as usize == base + value
        && buffer.get(colon..value) == Some(b": ")
        && buffer.get(end..end + 2) == Some(b"\r\n");
    plain.then_some(start..end + 2)
}

/// Whether a line ends without a carriage return. `httparse` takes it for a line's end, others for a part of a value.
pub(super) fn has_bare_line_feed(lines: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', lines).any(|at| at == 0 || lines[at - 1] != b'\r')
}

/// What one pass over the fields finds.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
struct Survey {
    for_this_hop: SmallVec<[String; 2]>,
    length: Option<u64>,
    chunked: bool,
    keep_alive: bool,
    /// Said somewhere, whatever else is said.
    closes: bool,
    /// Goes on with a WebSocket, it says.
    websocket: bool,
}

impl Survey {
    /// Writes down what may be passed on.
    fn of(
        parsed: &httparse::Response<'_, '_>,
        buffer: &[u8],
        lines: &mut Lines,
    ) -> Result<Self, Malformed> {
        let modern = parsed.version == Some(1);
        let mut survey = Self {
            for_this_hop: SmallVec::new(),
            length: None,
            chunked: false,
            keep_alive: modern,
            closes: false,
            websocket: false,
        };
        // Lines that follow each other and stand as we would write them are copied as one.
        let mut run = 0..0;
        for field in parsed.headers.iter() {
            let mut passes = false;
            match fields::of_answer(field.name) {
                Field::TransferEncoding => survey.coding(field.value, modern)?,
                Field::ContentLength => {
                    let repeated = survey.length.is_some();
                    survey.declare_length(field.value)?;
                    passes = !repeated;
                }
                Field::Connection => survey.connection(field.value),
                Field::HopByHop if field.name.eq_ignore_ascii_case("upgrade") => {
                    survey.websocket = field.value.eq_ignore_ascii_case(b"websocket");
                }
                Field::HopByHop | Field::Claim => {}
                Field::EndToEnd | Field::Te | Field::Host | Field::Expect => passes = true,
            }
            if !passes {
                continue;
            }
            let line = line(field, buffer);
            if line.as_ref().is_none_or(|line| line.start != run.end) {
                let next = line.as_ref().map_or(0..0, |line| line.start..line.start);
                lines.add_lines(&buffer[std::mem::replace(&mut run, next)]);
            }
            if let Some(line) = line {
                lines.note(field.name, field.value);
                run.end = line.end;
            } else {
                lines.add(field.name, field.value);
            }
        }
        lines.add_lines(&buffer[run]);
        if survey.chunked && survey.length.is_some() {
            return Err(Malformed);
        }
        for name in &survey.for_this_hop {
            lines.remove(name);
        }
        Ok(survey)
    }

    /// Exactly one `chunked`, in HTTP/1.1: anything else would have to be guessed.
    fn coding(&mut self, value: &[u8], modern: bool) -> Result<(), Malformed> {
        if self.chunked || !modern || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Malformed);
        }
        self.chunked = true;
        Ok(())
    }

    /// Digits only; said twice it must say the same.
    fn declare_length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let length = fields::length(value).ok_or(Malformed)?;
        if self.length.is_some_and(|before| before != length) {
            return Err(Malformed);
        }
        self.length = Some(length);
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                self.closes = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if let Ok(name) = std::str::from_utf8(option) {
                self.for_this_hop.push(name.to_ascii_lowercase());
            }
        }
    }

    /// `upgrades`: whether a WebSocket was asked for.
    fn framing(
        &self,
        status: StatusCode,
        method: &Method,
        upgrades: bool,
    ) -> Result<Framing, Malformed> {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let agrees = upgrades
                && self.websocket
                && self.for_this_hop.iter().any(|name| name == "upgrade");
            // Else nobody asked for it.
            return agrees.then_some(Framing::WebSocket).ok_or(Malformed);
        }
        let bodiless = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || *method == Method::HEAD;
        Ok(match (bodiless, self.chunked, self.length) {
            (true, _, _) | (false, false, Some(0)) => Framing::Empty,
            (false, true, _) => Framing::Chunked,
            (false, false, Some(length)) => Framing::Length(length),
            (false, false, None) => Framing::UntilClose,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Option<AnswerHead>, Malformed> {
        take(&mut BytesMut::from(text), (&Method::GET, false), Vec::new)
    }

    #[test]
    fn framing_of_clear_answers() {
        let cases = [
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
                Framing::Length(5),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n",
                Framing::Length(5),
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n",
                Framing::Chunked,
                true,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose, false),
            ("HTTP/1.1 204 No Content\r\n\r\n", Framing::Empty, true),
            (
                "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
                Framing::Empty,
                true,
            ),
            (
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\n",
                Framing::Length(5),
                false,
            ),
            (
                "HTTP/1.1 200 OK\r\nconnection: close, keep-alive\r\ncontent-length: 5\r\n\r\n",
                Framing::Length(5),
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n",
                Framing::Length(5),
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\n",
                Framing::Length(5),
                true,
            ),
        ];
        for (text, framing, keep_alive) in cases {
            let head = parse(text).unwrap().unwrap();
            assert_eq!(
                (head.framing, head.keep_alive),
                (framing, keep_alive),
                "{text}"
            );
            assert!(head.lines.to_map().get_all("content-length").iter().count() <= 1);
        }
    }

    #[test]
    fn unclear_answers_are_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/1.1 200 OK\r\nbad header: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
            "HTTP/1.1 200 OK\ncontent-length: 5\n\n",
            "HTTP/1.1 200 OK\r\nx: y\nz: 1\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "hello\r\n\r\n",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_websocket_begins_only_where_one_was_asked_for() {
        let agrees = |text: &str| {
            let taken = take(&mut BytesMut::from(text), (&Method::GET, true), Vec::new);
            taken.map(|head| head.unwrap().framing)
        };
        let good = "HTTP/1.1 101 S\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n";
        assert_eq!(agrees(good), Ok(Framing::WebSocket));
        assert!(parse(good).is_err());
        for text in [
            "HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
            "HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.1 101 S\r\nConnection: Upgrade\r\n\r\n",
        ] {
            assert!(agrees(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_for_one_hop_stays_here() {
        let text = "HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nx-hop: 1\r\nKeep-Alive: timeout=5\r\n\
                    x-request-id: theirs\r\nx-mine: 1\r\nx-mine: 2\r\ncontent-length: 0\r\n\r\n";
        let head = parse(text).unwrap().unwrap();
        let passed = head.lines.to_map();
        assert_eq!(passed.len(), 3);
        assert_eq!(
            passed.get_all("x-mine").iter().collect::<Vec<_>>(),
            ["1", "2"]
        );
    }

    proptest! {
        #[test]
        fn any_cut_of_a_head_asks_for_more(cut in 0_usize..37) {
            let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
            prop_assert!(matches!(parse(&text[..cut]), Ok(None)));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = take(&mut BytesMut::from(&bytes[..]), (&Method::GET, true), Vec::new);
        }
    }
}
