//! The head that goes upstream, written anew field by field: keys, hop-by-hop fields and claims stay out, identity and
//! forwarding go in. And the last touch on every answer.

use super::body::AnswerBody;
use super::connection::Connection;
use super::context::RequestContext;
use super::error::REQUEST_ID;
use super::fields::{self, Field};
use super::limits;
use super::request_head::RequestHead;
use crate::domain::path::strip_prefix;
use crate::domain::route::{AuthPolicy, Route};
use crate::domain::upstream::HostHeader;
use crate::gate::authorize::Permit;
use crate::gate::extract;
use crate::gate::extract::websocket_protocol::Offer;
use crate::snapshot::router::CompiledRoute;
use http::header::{COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderName, Request, Response, Version};
use std::io::Write;
use std::net::IpAddr;
use std::ops::Range;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A request's head as bytes, up to where the framing of the body is said. Kept until the answer begins, so that it can
/// be said again.
pub(super) struct UpstreamHead {
    bytes: Vec<u8>,
    /// Where the value of `Host` stands.
    host: Range<usize>,
    /// Whether it is the endpoint's own address, and so waits for the endpoint.
    host_is_endpoint: bool,
}

impl UpstreamHead {
    /// An empty head; `buffer` is reused.
    pub(super) fn begin(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self {
            bytes: buffer,
            host: 0..0,
            host_is_endpoint: false,
        }
    }

    fn request_line(&mut self, method: &str, target: &Target<'_>, host: Option<&[u8]>) {
        self.push(method.as_bytes());
        self.push(b" ");
        self.push(target.path.as_bytes());
        if let Some(query) = target.query() {
            self.push(b"?");
            self.push(query.as_bytes());
        }
        self.push(b" HTTP/1.1\r\nhost: ");
        let start = self.bytes.len();
        self.push(host.unwrap_or_default());
        self.host = start..self.bytes.len();
        self.host_is_endpoint = host.is_none();
        self.push(b"\r\n");
    }

    /// Says all that the service is told in the caller's own words; whether a trace is among it.
    pub(super) fn carry_over<B>(
        &mut self,
        request: &Request<B>,
        head: &RequestHead<'_>,
        route: &Route,
        host: &HostHeader,
    ) -> bool {
        let host = match host {
            HostHeader::Fixed(host) => Some(host.as_bytes()),
            HostHeader::Preserve => head.host.map(str::as_bytes),
            HostHeader::Endpoint => None,
        };
        let target = Target::of(request, route);
        self.request_line(request.method().as_str(), &target, host);
        self.pass_on(request, head, &route.auth)
    }

    /// Passes the fields of a request on that are meant for the service; whether one of them says a trace.
    fn pass_on<B>(
        &mut self,
        request: &Request<B>,
        head: &RequestHead<'_>,
        policy: &AuthPolicy,
    ) -> bool {
        let protocols = extract::protocol_prefix(policy);
        let (mut traced, mut cookies) = (false, None);
        for (name, value) in request.headers() {
            traced |= name == TRACEPARENT;
            // HTTP/2 may take a cookie apart; HTTP/1.1 has one field for all of it (RFC 9113 §8.2.3).
            if name == COOKIE && request.version() == Version::HTTP_2 {
                join(cookies.get_or_insert_with(Vec::new), value.as_bytes());
                continue;
            }
            if protocols.is_some() && name == SEC_WEBSOCKET_PROTOCOL {
                continue;
            }
            let passes = fields::of_request(name) == Field::EndToEnd
                && !extract::is_key_field(policy, name, value)
                && !head.for_this_hop.contains(name);
            if passes {
                self.add(name.as_str(), value.as_bytes());
            }
        }
        if let Some(cookies) = cookies {
            self.add("cookie", &cookies);
        }
        if let Some(prefix) = protocols
            && !head.for_this_hop.contains(&SEC_WEBSOCKET_PROTOCOL)
            && let Some(rest) = Offer::of(request.headers(), prefix).rest
        {
            self.add("sec-websocket-protocol", rest.as_bytes());
        }
        traced
    }

    /// Adds a field.
    pub(super) fn add(&mut self, name: &str, value: &[u8]) {
        self.push(name.as_bytes());
        self.push(b": ");
        self.push(value);
        self.push(b"\r\n");
    }

    /// Says who is asked, where that is the endpoint itself; again for another endpoint.
    pub(super) fn aim_at(&mut self, authority: &[u8]) {
        if self.host_is_endpoint {
            self.bytes
                .splice(self.host.clone(), authority.iter().copied());
            self.host.end = self.host.start + authority.len();
        }
    }

    /// Ends the head.
    pub(super) fn end(&mut self) {
        self.push(b"\r\n");
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The buffer, for the next head.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

/// Writes the head that goes upstream, but for the framing, which waits for the body.
pub(super) fn prepare<B>(
    request: &Request<B>,
    head: &RequestHead<'_>,
    route: &CompiledRoute,
    permit: &Permit,
    cx: &RequestContext,
) -> UpstreamHead {
    let host = &route.upstream.config.host_header;
    let mut upstream = UpstreamHead::begin(cx.worker.head_buffer());
    let traced = upstream.carry_over(request, head, &route.route, host);
    permit.identify(route, |name, value| upstream.add(name, value));
    if cx.handshake.is_some() {
        upstream.add("upgrade", b"websocket");
        upstream.add("connection", b"upgrade");
    } else if head.takes_trailers {
        upstream.add("te", b"trailers");
        upstream.add("connection", b"te");
    }
    if !traced {
        begin_trace(&mut upstream, cx);
    }
    say_who_forwards(&mut upstream, head, cx);
    upstream
}

fn join(cookies: &mut Vec<u8>, more: &[u8]) {
    if !cookies.is_empty() {
        cookies.extend_from_slice(b"; ");
    }
    cookies.extend_from_slice(more);
}

/// A trace of the service begins here if the caller has none (W3C Trace Context §3.2): random ids, not sampled.
fn begin_trace(upstream: &mut UpstreamHead, cx: &RequestContext) {
    let (trace, span) = (cx.worker.random(), cx.worker.random());
    let mut field = *b"traceparent: 00-00000000000000000000000000000000-0000000000000000-00\r\n";
    write_hex(&mut field[16..48], trace);
    write_hex(&mut field[49..65], span);
    upstream.push(&field);
}

fn say_who_forwards(upstream: &mut UpstreamHead, head: &RequestHead<'_>, cx: &RequestContext) {
    let forwarding = &cx.view.snapshot.forwarding;
    let origin = cx.origin.as_deref();
    let way = origin.map_or(&[][..], |origin| &origin.way);
    // Of a trusted proxy's list stays what is believed of it; nothing of what the caller wrote is.
    upstream.push(b"x-forwarded-for: ");
    for address in way {
        // Writing to a Vec cannot fail.
        let _ = write!(upstream.bytes, "{address}, ");
    }
    upstream.push(cx.connection.peer_ip.as_bytes());
    upstream.push(b"\r\n");
    let secure = origin.and_then(|origin| origin.secure);
    upstream.add(
        "x-forwarded-proto",
        scheme(secure.unwrap_or(cx.connection.secure)),
    );
    if let Some(client) = &cx.connection.client {
        upstream.add("x-keygate-client-subject", client.subject.as_bytes());
        upstream.add("client-cert", client.certificate.as_bytes());
    }
    let asked = origin.and_then(|origin| origin.host.as_deref());
    if let Some(host) = asked.or(head.host) {
        upstream.add("x-forwarded-host", host.as_bytes());
    }
    upstream.add("x-request-id", cx.request_id.as_bytes());
    if forwarding.forwarded {
        write_forwarded(upstream, way, head.host, &cx.connection);
    }
    if forwarding.via {
        upstream.add("via", b"1.1 keygate");
    }
}

fn scheme(secure: bool) -> &'static [u8] {
    if secure { b"https" } else { b"http" }
}

/// The lowest bits as hex digits, as many as there are places.
fn write_hex(places: &mut [u8], bits: u128) {
    for (half, places) in places.rchunks_mut(16).enumerate() {
        let mut bits =
            u64::try_from((bits >> (64 * half)) & u128::from(u64::MAX)).unwrap_or_default();
        for place in places.iter_mut().rev() {
            *place = b"0123456789abcdef"[(bits & 15) as usize];
            bits >>= 4;
        }
    }
}

/// RFC 7239 §4: the way until here, and the last part of it as we have seen it.
fn write_forwarded(
    upstream: &mut UpstreamHead,
    way: &[IpAddr],
    host: Option<&str>,
    connection: &Connection,
) {
    upstream.push(b"forwarded: ");
    for address in way {
        write_node(upstream, *address);
        upstream.push(b", ");
    }
    write_node(upstream, connection.peer.ip());
    if let Some(host) = host {
        // Writing to a Vec cannot fail.
        let _ = write!(upstream.bytes, ";host=\"{host}\"");
    }
    upstream.push(b";proto=");
    upstream.push(scheme(connection.secure));
    upstream.push(b"\r\n");
}

/// An IPv6 address is quoted and in brackets.
fn write_node(upstream: &mut UpstreamHead, address: IpAddr) {
    // Writing to a Vec cannot fail.
    let _ = match address {
        IpAddr::V4(v4) => write!(upstream.bytes, "for={v4}"),
        IpAddr::V6(v6) => write!(upstream.bytes, "for=\"[{v6}]\""),
    };
}

/// Path and query as they go upstream: the bytes that came, but for a stripped prefix and cut-out keys.
struct Target<'a> {
    path: &'a str,
    query: Option<&'a str>,
    /// The query without its key parameters, where it had any.
    stripped: Option<String>,
}

impl<'a> Target<'a> {
    fn of<B>(request: &'a Request<B>, route: &Route) -> Self {
        let uri = request.uri();
        let path = match &route.strip_prefix {
            // The router has matched this prefix, so it is there.
            Some(prefix) => strip_prefix(uri.path(), prefix).unwrap_or(uri.path()),
            None => uri.path(),
        };
        let stripped = uri
            .query()
            .and_then(|query| extract::strip_query(&route.auth, query));
        Self {
            path,
            query: uri.query(),
            stripped,
        }
    }

    /// No question mark stays behind when a key was all there was.
    fn query(&self) -> Option<&str> {
        match &self.stripped {
            Some(rest) => Some(rest.as_str()).filter(|rest| !rest.is_empty()),
            None => self.query,
        }
    }
}

/// The last touch on every answer: its request id, how things stand with its limits, and the context that waits for its last byte.
pub(super) fn finish(
    mut answer: Response<AnswerBody>,
    cx: Box<RequestContext>,
) -> Response<AnswerBody> {
    answer = last_touch(answer, &cx);
    answer.body_mut().attend(cx);
    answer
}

/// As [`finish`], for an answer that the context does not wait for.
pub(super) fn last_touch(
    mut answer: Response<AnswerBody>,
    cx: &RequestContext,
) -> Response<AnswerBody> {
    answer
        .headers_mut()
        .insert(REQUEST_ID, cx.request_id.clone());
    if let Some(standing) = cx.standing {
        limits::tell(answer.headers_mut(), standing);
    }
    answer
}
