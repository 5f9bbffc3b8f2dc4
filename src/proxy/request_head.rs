//! What a request's head says, in one pass over its fields; refused if it can be understood in more than one way.

use super::connection::Connection;
use super::error::ProxyError;
use super::fields::{self, Field};
use super::request::Head;
use super::websocket;
use crate::config::ListenerLimits;
use crate::domain::host::host_name;
use crate::domain::method;
use http::header::UPGRADE;
use http::{HeaderName, Method, Version};
use smallvec::SmallVec;
use std::borrow::Cow;

/// A head that is clear. Borrows from the request.
pub(super) struct RequestHead<'a> {
    /// The host as it was written; `None`: HTTP/1.0 without one.
    pub(super) host: Option<&'a str>,
    /// Its name: lower case, without port; empty when there is none.
    pub(super) host_name: Cow<'a, str>,
    /// What each field is for.
    pub(super) kinds: Kinds,
    /// Fields that `Connection` names.
    pub(super) for_this_hop: Options<'a>,
    /// Whether the caller understands trailers.
    pub(super) takes_trailers: bool,
    /// Whether the caller wants to go on with a WebSocket (RFC 6455 §4.1).
    pub(super) asks_for_websocket: bool,
}

/// What fields are for, in their order; that many without asking for memory.
type Kinds = SmallVec<[Field; 40]>;

/// What one pass over the fields finds.
#[derive(Default)]
struct Survey<'a> {
    kinds: Kinds,
    bytes: usize,
    host: Option<&'a [u8]>,
    hosts: usize,
    chunked: bool,
    for_this_hop: Options<'a>,
    takes_trailers: bool,
}

/// Names of fields, in any case of letters.
#[derive(Default)]
pub(super) struct Options<'a>(SmallVec<[&'a [u8]; 2]>);

impl Options<'_> {
    /// Whether a name in lower case is among them.
    pub(super) fn contains(&self, name: &[u8]) -> bool {
        self.0
            .iter()
            .any(|option| option.eq_ignore_ascii_case(name))
    }

    /// All of them.
    #[cfg(any(test, fuzzing))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().copied()
    }
}

/// Fields that `Connection` may name.
const MOST_OPTIONS: usize = 32;

const BAD_HOST: ProxyError =
    ProxyError::BadRequest("Host must be there once and be one valid host");

impl<'a> RequestHead<'a> {
    /// Whether `Connection` names this field.
    pub(super) fn names_for_this_hop(&self, name: &HeaderName) -> bool {
        self.for_this_hop.contains(name.as_str().as_bytes())
    }

    /// Reads the head of a request that is well-formed.
    pub(super) fn understand(
        request: &'a Head,
        connection: &Connection,
    ) -> Result<Self, ProxyError> {
        Self::read(request, &connection.limits)
    }

    /// As [`RequestHead::understand`], with what it wants of the connection: the caps.
    pub(super) fn read(request: &'a Head, limits: &ListenerLimits) -> Result<Self, ProxyError> {
        let authority = request.authority();
        let target = request.path_and_query().map_or(0, str::len);
        if target + authority.map_or(0, str::len) > limits.max_uri_bytes {
            return Err(ProxyError::UriTooLong);
        }
        let survey = Survey::of(request);
        if request.fields.len() > limits.max_headers || survey.bytes > limits.max_header_bytes {
            return Err(ProxyError::HeadersTooLarge);
        }
        let http2 = request.version == Version::HTTP_2;
        if http2
            && !request
                .fields
                .iter()
                .all(|(name, _)| fields::is_token(name))
        {
            return Err(ProxyError::BadRequest("a field's name is no token"));
        }
        if survey.for_this_hop.0.len() > MOST_OPTIONS {
            return Err(ProxyError::BadRequest("Connection names too many fields"));
        }
        if method::is_misspelt(&request.method) {
            return Err(ProxyError::BadRequest("methods are upper case"));
        }
        if matches!(request.method, Method::CONNECT | Method::TRACE) {
            return Err(ProxyError::BadRequest(
                "this gateway takes no CONNECT and no TRACE",
            ));
        }
        if request.is_for_others() {
            return Err(ProxyError::BadRequest(
                "the request target is in a form that is not for gateways",
            ));
        }
        // RFC 9113 §8.3.1; in HTTP/1.1 a whole URL may have no path.
        let bare = |target: &str| target.starts_with('?');
        if http2 && request.path_and_query().is_some_and(bare) {
            return Err(ProxyError::BadRequest(
                "the path does not begin with a slash",
            ));
        }
        // RFC 9112 §3.2.4.
        if request.path() == "*" && request.method != Method::OPTIONS {
            return Err(ProxyError::BadRequest("only OPTIONS may ask for *"));
        }
        let written = survey.host(request.version, authority)?;
        // The absolute form's authority wins over Host (RFC 9112 §3.2.2); both must be valid.
        let mut host_name = written.map_or(Ok(Cow::Borrowed("")), host_name_of)?;
        if let Some(authority) = authority {
            host_name = host_name_of(authority)?;
        }
        let asks_for_websocket = survey.asks_for_websocket(request)?;
        let Survey {
            kinds,
            for_this_hop,
            takes_trailers,
            ..
        } = survey;
        Ok(Self {
            kinds,
            host: authority.or(written),
            host_name,
            for_this_hop,
            takes_trailers,
            asks_for_websocket,
        })
    }
}

fn host_name_of(host: &str) -> Result<Cow<'_, str>, ProxyError> {
    host_name(host).map_err(|_| BAD_HOST)
}

impl<'a> Survey<'a> {
    fn of(request: &'a Head) -> Self {
        let mut survey = Self::default();
        for (name, value) in request.fields.iter() {
            // Name, colon, space, value, line end: as it came over the wire, give or take a space.
            survey.bytes += name.len() + value.len() + 4;
            let kind = fields::of_request(name);
            survey.kinds.push(kind);
            match kind {
                Field::Host => {
                    survey.host = Some(value);
                    survey.hosts += 1;
                }
                Field::TransferEncoding => survey.chunked = true,
                Field::Connection => {
                    // One more than may be, so that too many are noticed and no more are read.
                    let room = (MOST_OPTIONS + 1).saturating_sub(survey.for_this_hop.0.len());
                    survey.for_this_hop.0.extend(names_in(value).take(room));
                }
                Field::Te => survey.takes_trailers |= mentions_trailers(value),
                Field::EndToEnd
                | Field::HopByHop
                | Field::ContentLength
                | Field::Expect
                | Field::Claim => {}
            }
        }
        survey
    }

    /// An upgrade to anything else is none of ours, and goes no further. A handshake with a body is two requests in one
    /// (CVE-2026-58055).
    fn asks_for_websocket(&self, request: &Head) -> Result<bool, ProxyError> {
        let modern = request.version != Version::HTTP_10;
        let asks = self.for_this_hop.contains(UPGRADE.as_str().as_bytes())
            && modern
            && request.method == Method::GET
            && websocket::is_asked(&request.fields);
        let length = request.fields.get("content-length");
        if asks && (self.chunked || length.is_some_and(|length| length != b"0")) {
            return Err(ProxyError::BadRequest("a WebSocket handshake has no body"));
        }
        Ok(asks)
    }

    /// RFC 9112 §3.2: exactly one `Host`; HTTP/1.0 may do without. In HTTP/2 `:authority` takes its place, and one that is
    /// there too says the same (RFC 9113 §8.3.1).
    fn host(
        &self,
        version: Version,
        authority: Option<&str>,
    ) -> Result<Option<&'a str>, ProxyError> {
        match (self.host, self.hosts) {
            (None, _) if version == Version::HTTP_2 && authority.is_some() => Ok(None),
            (Some(host), _)
                if version == Version::HTTP_2
                    && authority.is_some_and(|authority| host != authority.as_bytes()) =>
            {
                Err(BAD_HOST)
            }
            (Some(host), 1) => std::str::from_utf8(host).map(Some).map_err(|_| BAD_HOST),
            (None, _) if version == Version::HTTP_10 => Ok(None),
            (None | Some(_), _) => Err(BAD_HOST),
        }
    }
}

/// The field names that a `Connection` value lists. `Host` cannot be taken away by it.
fn names_in(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    // What everybody sends names no field.
    let is_option = |option: &&[u8]| {
        !option.eq_ignore_ascii_case(b"keep-alive") && !option.eq_ignore_ascii_case(b"close")
    };
    let options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    options.filter(is_option).filter(|name| !name.is_empty())
}

fn mentions_trailers(value: &[u8]) -> bool {
    value
        .split(|byte| *byte == b',')
        .any(|one| one.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}
