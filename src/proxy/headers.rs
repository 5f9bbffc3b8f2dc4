//! What a request says about itself, checked on the way in and rewritten on the way out: target, framing, hop-by-hop
//! fields, who forwarded it. And the answer's fields on the way back.

use super::body::AnswerBody;
use super::context::RequestContext;
use super::error::{ProxyError, REQUEST_ID, UpstreamFault};
use crate::config::ListenerLimits;
use crate::domain::host::host_name;
use crate::domain::path::strip_prefix;
use crate::gate::authorize::Permit;
use crate::gate::extract;
use crate::gate::identity::{is_spelling_of, remove_where};
use crate::snapshot::router::CompiledRoute;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, Response, Version};
use smallvec::SmallVec;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whether a field tells services who forwarded a request: what the caller wrote there is dropped. The whole family of
/// `X-Forwarded-…` counts, since every service trusts other members of it.
pub(super) fn says_who_forwards(name: &str) -> bool {
    const FAMILY: &str = "x-forwarded";
    name.starts_with(['f', 'x'])
        && (is_spelling_of(name, &["forwarded", "x-real-ip", "x-request-id"])
            || name
                .get(..FAMILY.len())
                .is_some_and(|start| is_spelling_of(start, &[FAMILY])))
}

/// Where a request wants to go, once it is clear.
pub(super) struct Target {
    /// The host as it was written, for the service; `None`: HTTP/1.0 without one.
    host: Option<HeaderValue>,
    name: String,
}

impl Target {
    /// The host's name: lower case, no port; empty when there is none.
    pub(super) fn host_name(&self) -> &str {
        &self.name
    }
}

/// Refuses what can be understood in more than one way, or is too large; finds the host.
pub(super) fn understand<B>(
    request: &Request<B>,
    limits: &ListenerLimits,
) -> Result<Target, ProxyError> {
    check_sizes(request, limits)?;
    check_framing(request)?;
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(ProxyError::BadRequest(
            "this gateway takes no CONNECT and no TRACE",
        ));
    }
    find_host(request)
}

fn check_sizes<B>(request: &Request<B>, limits: &ListenerLimits) -> Result<(), ProxyError> {
    let uri = request.uri();
    let target = uri.path_and_query().map_or(0, |path| path.as_str().len());
    if target
        + uri
            .authority()
            .map_or(0, |authority| authority.as_str().len())
        > limits.max_uri_bytes
    {
        return Err(ProxyError::UriTooLong);
    }
    let headers = request.headers();
    // Name, colon, space, value, line end: as it came over the wire, give or take a space.
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if headers.len() > limits.max_headers || bytes > limits.max_header_bytes {
        return Err(ProxyError::HeadersTooLarge);
    }
    Ok(())
}

/// RFC 9112 §6: one `chunked` and no length, or one length, or neither. hyper has checked the length's form.
fn check_framing<B>(request: &Request<B>) -> Result<(), ProxyError> {
    let headers = request.headers();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    let single = codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if !single || request.version() != Version::HTTP_11 {
        return Err(ProxyError::BadRequest(
            "Transfer-Encoding must be one `chunked`, in HTTP/1.1",
        ));
    }
    if headers.contains_key(CONTENT_LENGTH) {
        return Err(ProxyError::BadRequest(
            "Content-Length and Transfer-Encoding exclude each other",
        ));
    }
    Ok(())
}

/// RFC 9112 §3.2: exactly one valid `Host`; the absolute form's authority wins over it.
fn find_host<B>(request: &Request<B>) -> Result<Target, ProxyError> {
    const INVALID: ProxyError =
        ProxyError::BadRequest("Host must be there once and be one valid host");
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(host),
        (None, _) if request.version() == Version::HTTP_10 => None,
        (None | Some(_), _) => return Err(INVALID),
    };
    if let Some(host) = host {
        host_name(host.to_str().map_err(|_| INVALID)?).map_err(|_| INVALID)?;
    }
    let uri = request.uri();
    let Some(authority) = uri.authority() else {
        let name = host.and_then(|host| host_name(host.to_str().ok()?).ok());
        return Ok(Target {
            host: host.cloned(),
            name: name.unwrap_or_default().into_owned(),
        });
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(ProxyError::BadRequest(
            "the request target is in a form that is not for gateways",
        ));
    }
    let name = host_name(authority.as_str())
        .map_err(|_| INVALID)?
        .into_owned();
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| INVALID)?;
    Ok(Target {
        host: Some(host),
        name,
    })
}

/// Makes the request ours: keys and hop-by-hop fields out, identity and forwarding in. The bytes of path and query stay,
/// but for a stripped prefix and cut-out keys.
pub(super) fn prepare<B>(
    request: &mut Request<B>,
    route: &CompiledRoute,
    permit: &Permit,
    target: Target,
    cx: &RequestContext,
) -> Result<(), ProxyError> {
    rewrite_target(request, route)?;
    *request.version_mut() = Version::HTTP_11;
    let takes_trailers = takes_trailers(request.headers());
    let headers = request.headers_mut();
    extract::strip_headers(&route.route.auth, headers);
    remove_hop_by_hop(headers);
    // The body is framed anew; a 100 is ours to give.
    headers.remove(CONTENT_LENGTH);
    headers.remove(EXPECT);
    headers.remove(PROXY_AUTHORIZATION);
    permit.identify(headers, route);
    remove_where(headers, says_who_forwards);
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    tell_who_forwards(headers, target, cx);
    Ok(())
}

fn tell_who_forwards(headers: &mut HeaderMap, target: Target, cx: &RequestContext) {
    let forwarding = &cx.view.snapshot.forwarding;
    if forwarding.forwarded {
        headers.insert(FORWARDED, forwarded(cx, target.host.as_ref()));
    }
    if forwarding.via {
        headers.append(VIA, HeaderValue::from_static("1.1 keygate"));
    }
    headers.insert(X_FORWARDED_FOR, cx.connection.peer_ip.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.insert(REQUEST_ID, cx.request_id.clone());
    if let Some(host) = target.host {
        headers.insert(X_FORWARDED_HOST, host.clone());
        headers.insert(HOST, host);
    }
}

/// RFC 7239 §4; an IPv6 address is quoted and in brackets.
fn forwarded(cx: &RequestContext, host: Option<&HeaderValue>) -> HeaderValue {
    let address = match cx.peer() {
        std::net::IpAddr::V4(v4) => v4.to_string(),
        std::net::IpAddr::V6(v6) => format!("\"[{v6}]\""),
    };
    let host = host
        .and_then(|host| host.to_str().ok())
        .map(|host| format!(";host=\"{host}\""))
        .unwrap_or_default();
    HeaderValue::from_str(&format!("for={address}{host};proto=http"))
        .unwrap_or(HeaderValue::from_static("for=unknown"))
}

/// Origin form, with the prefix and the key parameters cut out; untouched when there is nothing to cut.
fn rewrite_target<B>(request: &mut Request<B>, route: &CompiledRoute) -> Result<(), ProxyError> {
    let uri = request.uri();
    let path = match &route.route.strip_prefix {
        Some(prefix) => strip_prefix(uri.path(), prefix).ok_or(ProxyError::BadRequest(
            "the path has an empty segment behind the prefix that is cut off here",
        ))?,
        None => uri.path(),
    };
    let query = uri
        .query()
        .and_then(|query| extract::strip_query(&route.route.auth, query));
    if path.len() == uri.path().len() && query.is_none() {
        if uri.scheme().is_some() {
            let kept = uri
                .path_and_query()
                .cloned()
                .unwrap_or(PathAndQuery::from_static("/"));
            *request.uri_mut() = Uri::from(kept);
        }
        return Ok(());
    }
    let target = match query.as_deref().or(uri.query()) {
        Some(query)
            if !(query.is_empty() && uri.query().is_some_and(|before| !before.is_empty())) =>
        {
            format!("{path}?{query}")
        }
        Some(_) | None => path.to_owned(),
    };
    // Parts of a valid target are a valid target.
    if let Ok(target) = PathAndQuery::from_maybe_shared(bytes::Bytes::from(target)) {
        *request.uri_mut() = Uri::from(target);
    }
    Ok(())
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    let accepts = |value: &HeaderValue| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|one| one.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    };
    headers.get_all(TE).iter().any(accepts)
}

/// RFC 9110 §7.6.1: what `Connection` names, then the fields that are always for one hop. What we say about the caller
/// is set afterwards, so that a caller cannot have it removed (CVE-2022-31813).
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: SmallVec<[HeaderName; 4]> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .filter(|name| *name != HOST)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        HTTP2_SETTINGS,
    ] {
        headers.remove(name);
    }
}

/// Refuses an upstream's answer whose framing can be read in two ways, and one that leaves HTTP unasked.
pub(super) fn check_answer<B>(answer: &Response<B>) -> Result<(), UpstreamFault> {
    let headers = answer.headers();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let single = codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !single || headers.contains_key(CONTENT_LENGTH) {
            return Err(UpstreamFault::Protocol);
        }
    }
    if answer.status().is_informational() {
        return Err(UpstreamFault::Protocol);
    }
    Ok(())
}

/// Takes the upstream's hop out of its answer.
pub(super) fn clean(headers: &mut HeaderMap, via: bool) {
    remove_hop_by_hop(headers);
    headers.remove(PROXY_AUTHENTICATE);
    if via {
        headers.append(VIA, HeaderValue::from_static("1.1 keygate"));
    }
}

/// The last touch on every answer: its request id, and the context that waits for its last byte.
pub(super) fn finish(
    mut answer: Response<AnswerBody>,
    cx: Box<RequestContext>,
) -> Response<AnswerBody> {
    answer
        .headers_mut()
        .insert(REQUEST_ID, cx.request_id.clone());
    *answer.version_mut() = Version::HTTP_11;
    answer.body_mut().attend(cx);
    answer
}
