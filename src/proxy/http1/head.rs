//! The head of a request, parsed where it lies, and refused if it can be understood in more than one way. What holds for
//! HTTP/2 as well is for `request_head.rs` to see.

use crate::config::ListenerLimits;
use crate::domain::fields::Span;
use crate::proxy::error::ProxyError;
use crate::proxy::fields;
use crate::proxy::request;
use http::{Method, Version};
use httparse::{Header, Status};
use std::mem::MaybeUninit;

/// Bytes of a request line besides its target.
const REQUEST_LINE: usize = 64;
/// Fields that are parsed without asking for memory.
const USUAL_FIELDS: usize = 100;

/// How the body is framed (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Framing {
    /// By its length; 0: there is none.
    Length(u64),
    Chunked,
}

/// What a head asks of the connection.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
pub(in crate::proxy) struct Manners {
    /// Whether the caller speaks HTTP/1.1, and not 1.0.
    pub(in crate::proxy) modern: bool,
    /// Whether it wants to send another request.
    pub(in crate::proxy) keep_alive: bool,
    /// Whether it asked with `HEAD`.
    pub(in crate::proxy) is_head: bool,
    /// Whether it understands trailers.
    pub(in crate::proxy) takes_trailers: bool,
}

/// A head that is clear.
#[derive(Debug)]
pub(in crate::proxy) struct Head {
    /// Bytes of the head.
    pub(in crate::proxy) length: usize,
    pub(in crate::proxy) framing: Framing,
    pub(in crate::proxy) manners: Manners,
    /// Whether the caller waits to be asked for the body.
    pub(in crate::proxy) expects: bool,
}

const NOT_HTTP: ProxyError = ProxyError::BadRequest("the request is not valid HTTP/1.1");

/// Most bytes that a head may have.
fn most(limits: &ListenerLimits) -> usize {
    (limits.max_header_bytes + limits.max_uri_bytes + REQUEST_LINE) * 2
}

/// The head at the front of these bytes; `None`: more of them are needed. What it says is put into `said`, which says nothing.
pub(in crate::proxy) fn parse(
    bytes: &[u8],
    limits: &ListenerLimits,
    said: &mut request::Head,
) -> Result<Option<Head>, ProxyError> {
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; USUAL_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, &mut slots) {
        Ok(Status::Complete(length)) => understand(&parsed, bytes, length, said).map(Some),
        Ok(Status::Partial) => too_long_already(bytes, limits).map_or(Ok(None), Err),
        Err(httparse::Error::TooManyHeaders) => parse_many(bytes, limits, said),
        Err(_) => Err(NOT_HTTP),
    }
}

/// As [`parse`], where more fields are allowed than most requests have.
fn parse_many(
    bytes: &[u8],
    limits: &ListenerLimits,
    said: &mut request::Head,
) -> Result<Option<Head>, ProxyError> {
    if limits.max_headers < USUAL_FIELDS {
        return Err(ProxyError::HeadersTooLarge);
    }
    let mut slots = vec![httparse::EMPTY_HEADER; limits.max_headers + 1];
    let mut parsed = httparse::Request::new(&mut slots);
    match parsed.parse(bytes) {
        Ok(Status::Complete(length)) => understand(&parsed, bytes, length, said).map(Some),
        Ok(Status::Partial) => too_long_already(bytes, limits).map_or(Ok(None), Err),
        Err(httparse::Error::TooManyHeaders) => Err(ProxyError::HeadersTooLarge),
        Err(_) => Err(NOT_HTTP),
    }
}

/// Whether what has come of a head is more than a whole one may have.
pub(super) fn too_long_already(bytes: &[u8], limits: &ListenerLimits) -> Option<ProxyError> {
    if memchr::memchr(b'\n', bytes).is_none() && bytes.len() > limits.max_uri_bytes + REQUEST_LINE {
        return Some(ProxyError::UriTooLong);
    }
    (bytes.len() > most(limits)).then_some(ProxyError::HeadersTooLarge)
}

/// Whether these bytes may hold a head's end that was not among the first `seen` of them: spares parsing what cannot be whole.
pub(in crate::proxy) fn may_end(bytes: &[u8], seen: usize) -> bool {
    let news = &bytes[seen.saturating_sub(3)..];
    memchr::memchr_iter(b'\n', news)
        .any(|at| matches!(news.get(at + 1..), Some([b'\n', ..] | [b'\r', b'\n', ..])))
}

fn understand(
    parsed: &httparse::Request<'_, '_>,
    bytes: &[u8],
    length: usize,
    said: &mut request::Head,
) -> Result<Head, ProxyError> {
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(NOT_HTTP);
    };
    if !fields::lines_end_well(&bytes[..length], parsed.headers) {
        return Err(ProxyError::BadRequest(
            "a line of the head ends without a carriage return",
        ));
    }
    let modern = version == 1;
    let survey = Survey::of(parsed.headers, modern)?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| NOT_HTTP)?;
    let is_head = method == Method::HEAD;
    let place = |part: &[u8]| {
        let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
        Span::of(start..start + part.len())
    };
    said.fields.hold(&bytes[..length]);
    for field in parsed.headers.iter() {
        said.fields
            .name(place(field.name.as_bytes()), place(field.value));
    }
    let version = if modern {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    said.method = method;
    said.version = version;
    said.aim_at(target)?;
    Ok(Head {
        length,
        framing: survey.framing(),
        manners: Manners {
            modern,
            keep_alive: survey.keep_alive,
            is_head,
            takes_trailers: survey.takes_trailers,
        },
        expects: survey.expects && modern,
    })
}

/// What the fields say about the message and its connection.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
struct Survey {
    length: Option<u64>,
    chunked: bool,
    closes: bool,
    keep_alive: bool,
    expects: bool,
    takes_trailers: bool,
}

impl Survey {
    fn of(lines: &[Header<'_>], modern: bool) -> Result<Self, ProxyError> {
        let mut survey = Self {
            length: None,
            chunked: false,
            closes: false,
            keep_alive: modern,
            expects: false,
            takes_trailers: false,
        };
        for field in lines {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            match field.name.len() {
                2 if is("te") => survey.takes_trailers |= lists(field.value, b"trailers"),
                6 if is("expect") => {
                    survey.expects = field.value.eq_ignore_ascii_case(b"100-continue");
                }
                10 if is("connection") => {
                    survey.closes |= lists(field.value, b"close");
                    survey.keep_alive |= lists(field.value, b"keep-alive");
                }
                14 if is("content-length") => survey.declare_length(field.value)?,
                17 if is("transfer-encoding") => survey.coding(field.value, modern)?,
                _ => {}
            }
        }
        if survey.chunked && survey.length.is_some() {
            return Err(ProxyError::BadRequest(
                "Content-Length and Transfer-Encoding exclude each other",
            ));
        }
        survey.keep_alive &= !survey.closes;
        Ok(survey)
    }

    /// Exactly one `chunked`, in HTTP/1.1.
    fn coding(&mut self, value: &[u8], modern: bool) -> Result<(), ProxyError> {
        if self.chunked || !modern || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(ProxyError::BadRequest(
                "Transfer-Encoding must be one `chunked`, in HTTP/1.1",
            ));
        }
        self.chunked = true;
        Ok(())
    }

    /// Digits only; said twice it must say the same.
    fn declare_length(&mut self, value: &[u8]) -> Result<(), ProxyError> {
        let length = fields::length(value);
        match (length, self.length) {
            (Some(length), None) => self.length = Some(length),
            (Some(length), Some(before)) if length == before => {}
            (None | Some(_), _) => {
                return Err(ProxyError::BadRequest("Content-Length must be one number"));
            }
        }
        Ok(())
    }

    fn framing(&self) -> Framing {
        if self.chunked {
            Framing::Chunked
        } else {
            Framing::Length(self.length.unwrap_or_default())
        }
    }
}

fn lists(value: &[u8], wanted: &[u8]) -> bool {
    value
        .split(|byte| *byte == b',')
        .any(|one| one.trim_ascii().eq_ignore_ascii_case(wanted))
}
