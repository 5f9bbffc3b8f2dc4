//! What a request's head says, in one pass over its fields; refused if it can be understood in more than one way.

use super::connection::Connection;
use super::error::ProxyError;
use super::fields::{self, Field};
use super::head_watch::HeadWatch;
use super::websocket;
use crate::config::ListenerLimits;
use crate::domain::host::host_name;
use crate::domain::method;
use http::header::{CONTENT_LENGTH, UPGRADE};
use http::{HeaderName, HeaderValue, Method, Request, Version};
use smallvec::SmallVec;
use std::borrow::Cow;

/// A head that is clear. Borrows from the request.
pub(super) struct RequestHead<'a> {
    /// The host as it was written; `None`: HTTP/1.0 without one.
    pub(super) host: Option<&'a str>,
    /// Its name: lower case, without port; empty when there is none.
    pub(super) host_name: Cow<'a, str>,
    /// Fields that `Connection` names.
    pub(super) for_this_hop: SmallVec<[HeaderName; 2]>,
    /// Whether the caller understands trailers.
    pub(super) takes_trailers: bool,
    /// Whether the caller wants to go on with a WebSocket (RFC 6455 §4.1).
    pub(super) asks_for_websocket: bool,
}

/// What one pass over the fields finds.
#[derive(Default)]
struct Survey<'a> {
    bytes: usize,
    host: Option<&'a HeaderValue>,
    hosts: usize,
    coding: Option<&'a HeaderValue>,
    codings: usize,
    for_this_hop: SmallVec<[HeaderName; 2]>,
    takes_trailers: bool,
}

/// Fields that `Connection` may name.
const MOST_OPTIONS: usize = 32;

const BAD_HOST: ProxyError =
    ProxyError::BadRequest("Host must be there once and be one valid host");

impl<'a> RequestHead<'a> {
    /// Reads the head of a request that hyper has found to be well-formed.
    pub(super) fn understand<B>(
        request: &'a Request<B>,
        connection: &Connection,
    ) -> Result<Self, ProxyError> {
        Self::read(request, &connection.limits, &connection.watched())
    }

    /// As [`RequestHead::understand`], with what it wants of the connection: the caps, and what its lines were seen to say.
    pub(super) fn read<B>(
        request: &'a Request<B>,
        limits: &ListenerLimits,
        watched: &HeadWatch,
    ) -> Result<Self, ProxyError> {
        let uri = request.uri();
        let authority = uri.authority().map(http::uri::Authority::as_str);
        let target = uri.path_and_query().map_or(0, |path| path.as_str().len());
        if target + authority.map_or(0, str::len) > limits.max_uri_bytes {
            return Err(ProxyError::UriTooLong);
        }
        let survey = Survey::of(request);
        if request.headers().len() > limits.max_headers || survey.bytes > limits.max_header_bytes {
            return Err(ProxyError::HeadersTooLarge);
        }
        survey.check_framing(request.version(), watched)?;
        if request.version() == Version::HTTP_2 && !request.headers().keys().all(fields::is_token) {
            return Err(ProxyError::BadRequest("a field's name is no token"));
        }
        if watched.bare {
            return Err(ProxyError::BadRequest(
                "a line of the head ends without a carriage return",
            ));
        }
        if watched.malformed {
            return Err(ProxyError::BadRequest(
                "the request's body is not framed as it must be",
            ));
        }
        if survey.for_this_hop.len() > MOST_OPTIONS {
            return Err(ProxyError::BadRequest("Connection names too many fields"));
        }
        if watched.fragment {
            return Err(ProxyError::BadRequest("the request target has a fragment"));
        }
        if method::is_misspelt(request.method()) {
            return Err(ProxyError::BadRequest("methods are upper case"));
        }
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Err(ProxyError::BadRequest(
                "this gateway takes no CONNECT and no TRACE",
            ));
        }
        if authority.is_some() && !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(ProxyError::BadRequest(
                "the request target is in a form that is not for gateways",
            ));
        }
        // RFC 9113 §8.3.1; in HTTP/1.1 a whole URL may have no path.
        let bare = |target: &http::uri::PathAndQuery| target.as_str().starts_with('?');
        if request.version() == Version::HTTP_2 && uri.path_and_query().is_some_and(bare) {
            return Err(ProxyError::BadRequest(
                "the path does not begin with a slash",
            ));
        }
        // RFC 9112 §3.2.4.
        if uri.path() == "*" && *request.method() != Method::OPTIONS {
            return Err(ProxyError::BadRequest("only OPTIONS may ask for *"));
        }
        let written = survey.host(request.version(), authority)?;
        // The absolute form's authority wins over Host (RFC 9112 §3.2.2); both must be valid.
        let mut host_name = written.map_or(Ok(Cow::Borrowed("")), host_name_of)?;
        if let Some(authority) = authority {
            host_name = host_name_of(authority)?;
        }
        let asks_for_websocket = survey.asks_for_websocket(request)?;
        let Survey {
            for_this_hop,
            takes_trailers,
            ..
        } = survey;
        Ok(Self {
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
    fn of<B>(request: &'a Request<B>) -> Self {
        let mut survey = Self::default();
        for (name, value) in request.headers() {
            // Name, colon, space, value, line end: as it came over the wire, give or take a space.
            survey.bytes += name.as_str().len() + value.len() + 4;
            match fields::of_request(name) {
                Field::Host => {
                    survey.host = Some(value);
                    survey.hosts += 1;
                }
                Field::TransferEncoding => {
                    survey.coding = Some(value);
                    survey.codings += 1;
                }
                Field::Connection => {
                    // One more than may be, so that too many are noticed and no more are read.
                    let room = (MOST_OPTIONS + 1).saturating_sub(survey.for_this_hop.len());
                    survey.for_this_hop.extend(names_in(value).take(room));
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

    /// RFC 9112 §6: one `chunked` and no length, or one length, or neither. hyper has checked the length's form.
    fn check_framing(&self, version: Version, watched: &HeadWatch) -> Result<(), ProxyError> {
        let Some(coding) = self.coding else {
            return Ok(());
        };
        let single = self.codings == 1 && coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !single || version != Version::HTTP_11 {
            return Err(ProxyError::BadRequest(
                "Transfer-Encoding must be one `chunked`, in HTTP/1.1",
            ));
        }
        if watched.length && watched.coding {
            return Err(ProxyError::BadRequest(
                "Content-Length and Transfer-Encoding exclude each other",
            ));
        }
        Ok(())
    }

    /// An upgrade to anything else is none of ours, and goes no further. A handshake with a body is two requests in one
    /// (CVE-2026-58055).
    fn asks_for_websocket<B>(&self, request: &Request<B>) -> Result<bool, ProxyError> {
        let modern = request.version() != Version::HTTP_10;
        let asks = self.for_this_hop.contains(&UPGRADE)
            && modern
            && *request.method() == Method::GET
            && websocket::is_asked(request.headers());
        let length = request.headers().get(CONTENT_LENGTH);
        if asks && (self.coding.is_some() || length.is_some_and(|length| length != "0")) {
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
                    && authority
                        .is_some_and(|authority| host.as_bytes() != authority.as_bytes()) =>
            {
                Err(BAD_HOST)
            }
            (Some(host), 1) => host.to_str().map(Some).map_err(|_| BAD_HOST),
            (None, _) if version == Version::HTTP_10 => Ok(None),
            (None | Some(_), _) => Err(BAD_HOST),
        }
    }
}

/// The field names that a `Connection` value lists. `Host` cannot be taken away by it.
fn names_in(value: &HeaderValue) -> impl Iterator<Item = HeaderName> {
    // What everybody sends names no field.
    let is_option = |option: &&[u8]| {
        !option.eq_ignore_ascii_case(b"keep-alive") && !option.eq_ignore_ascii_case(b"close")
    };
    let options = value
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii);
    options
        .filter(is_option)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
}

fn mentions_trailers(value: &HeaderValue) -> bool {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .any(|one| one.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}
