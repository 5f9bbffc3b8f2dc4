//! A request as every stage sees it, whatever it came over.

use super::caller_body::CallerBody;
use super::error::ProxyError;
use super::websocket;
use crate::domain::fields::{Fields, Span};
use http::request::Parts;
use http::{Method, Uri, Version};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;

/// Head and body.
pub(super) struct Request {
    pub(super) head: Head,
    pub(super) body: CallerBody,
}

impl Request {
    /// One that has yet to come.
    pub(super) fn none() -> Self {
        Self {
            head: Head::unread(),
            body: CallerBody::None,
        }
    }
}

/// What a request's head says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) version: Version,
    target: Target,
    /// What the target's parts are parts of.
    text: String,
    pub(super) fields: Fields,
    /// A `CONNECT` of HTTP/2 that asks for a WebSocket: how its stream goes on.
    pub(super) stream: Option<OnUpgrade>,
}

/// Memory of heads that are gone.
#[derive(Debug, Default)]
pub(super) struct HeadMemory {
    pub(super) fields: Fields,
    text: String,
}

/// A request target (RFC 9112 §3.2), as parts of its text.
#[derive(Debug, Clone, Copy, Default)]
struct Target {
    scheme: Scheme,
    authority: Option<Span>,
    /// Path and query; nothing where the target is an authority alone.
    whole: Span,
    path: Span,
    query: Option<Span>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Scheme {
    #[default]
    None,
    Http,
    Other,
}

const BAD_TARGET: ProxyError =
    ProxyError::BadRequest("the request target is in a form that is not for gateways");

/// RFC 9112 §3.2 allows none.
const FRAGMENT: ProxyError = ProxyError::BadRequest("the request target has a fragment");

impl Head {
    /// A head that says nothing.
    pub(super) fn unread() -> Self {
        Self::new(Method::GET, Version::HTTP_11, HeadMemory::default())
    }

    /// A head whose target is still to be said.
    pub(super) fn new(method: Method, version: Version, memory: HeadMemory) -> Self {
        Self {
            method,
            version,
            target: Target::default(),
            text: memory.text,
            fields: memory.fields,
            stream: None,
        }
    }

    /// Says nothing any more.
    pub(super) fn start(&mut self, memory: HeadMemory) {
        self.target = Target::default();
        self.text = memory.text;
        self.fields = memory.fields;
        self.stream = None;
    }

    /// Whether there is nothing to write into.
    pub(super) fn is_without_memory(&self) -> bool {
        self.fields.capacity() == 0
    }

    /// Of a request of HTTP/2; one that asks for a WebSocket (RFC 8441 §4) as the request of HTTP/1.1 that it stands for.
    /// `random` makes the key that HTTP/2 has no use for.
    pub(super) fn of_http2(
        mut parts: Parts,
        mut memory: HeadMemory,
        random: impl FnOnce() -> u128,
    ) -> Self {
        let asks = parts.extensions.get::<Protocol>();
        let websocket = asks.is_some_and(|protocol| protocol.as_str() == "websocket")
            && parts.method == Method::CONNECT;
        if websocket {
            parts.method = Method::GET;
            websocket::as_upgrade(&mut parts.headers, random());
        }
        memory.fields.push_all(&parts.headers);
        let mut head = Self::new(parts.method, parts.version, memory);
        head.aim(&parts.uri);
        if websocket {
            head.stream = parts.extensions.remove::<OnUpgrade>();
        }
        head
    }

    /// Says the target as it was written.
    pub(super) fn aim_at(&mut self, target: &str) -> Result<(), ProxyError> {
        let bytes = target.as_bytes();
        if bytes.first() != Some(&b'/') {
            if memchr::memchr(b'#', bytes).is_some() {
                return Err(FRAGMENT);
            }
            let uri = Uri::try_from(target).map_err(|_| BAD_TARGET)?;
            self.aim(&uri);
            return Ok(());
        }
        let question = bytes.iter().position(|byte| *byte == b'?');
        let (path, query) = bytes.split_at(question.unwrap_or(bytes.len()));
        if !path.iter().all(|byte| is_path_byte(*byte))
            || !query.iter().all(|byte| is_query_byte(*byte))
        {
            return Err(if memchr::memchr(b'#', bytes).is_some() {
                FRAGMENT
            } else {
                ProxyError::BadRequest("the request target has characters that must be encoded")
            });
        }
        self.text.push_str(target);
        self.target = Target {
            whole: Span::of(0..target.len()),
            path: Span::of(0..path.len()),
            query: question.map(|question| Span::of(question + 1..target.len())),
            ..Target::default()
        };
        Ok(())
    }

    fn aim(&mut self, uri: &Uri) {
        let mut hold = |part: &str| {
            let start = self.text.len();
            self.text.push_str(part);
            Span::of(start..self.text.len())
        };
        self.target = Target {
            scheme: match uri.scheme_str() {
                None => Scheme::None,
                Some("http" | "https") => Scheme::Http,
                Some(_) => Scheme::Other,
            },
            authority: uri.authority().map(|authority| hold(authority.as_str())),
            whole: uri
                .path_and_query()
                .map(|whole| hold(whole.as_str()))
                .unwrap_or_default(),
            path: hold(uri.path()),
            query: uri.query().map(hold),
        };
    }

    fn text(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }

    /// What can be used again for another one.
    pub(super) fn take_memory(&mut self) -> HeadMemory {
        HeadMemory {
            fields: std::mem::take(&mut self.fields),
            text: std::mem::take(&mut self.text),
        }
    }

    /// The path, as it was written.
    pub(super) fn path(&self) -> &str {
        self.text(self.target.path)
    }

    /// The query, without its question mark.
    pub(super) fn query(&self) -> Option<&str> {
        self.target.query.map(|query| self.text(query))
    }

    /// Path and query, if they were written.
    pub(super) fn path_and_query(&self) -> Option<&str> {
        Some(self.text(self.target.whole)).filter(|whole| !whole.is_empty())
    }

    /// The authority, where the target says one.
    pub(super) fn authority(&self) -> Option<&str> {
        self.target.authority.map(|authority| self.text(authority))
    }

    /// Whether the target says an authority and no scheme that a gateway serves.
    pub(super) fn is_for_others(&self) -> bool {
        self.target.authority.is_some() && self.target.scheme != Scheme::Http
    }
}

impl HeadMemory {
    /// Forgets what was said.
    pub(super) fn clear(&mut self) {
        self.fields.clear();
        self.text.clear();
    }

    /// Bytes of it.
    pub(super) fn size(&self) -> usize {
        self.fields.capacity() + self.text.capacity()
    }
}

/// RFC 3986 §3.3, and what everybody sends besides.
fn is_path_byte(byte: u8) -> bool {
    is_letter(byte) && !matches!(byte, b'#' | b'<' | b'>' | b'`')
}

fn is_query_byte(byte: u8) -> bool {
    is_letter(byte) && !matches!(byte, b'#' | b'<' | b'>')
}

/// Neither space nor control, or a part of one of other alphabets.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_graphic() || !byte.is_ascii()
}
