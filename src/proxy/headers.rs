//! The head that goes upstream, written anew field by field: keys, hop-by-hop fields and claims stay out, identity and
//! forwarding go in. And the last touch on every answer.

use super::answer::Answer;
use super::connection::Connection;
use super::context::RequestContext;
use super::fields::Field;
use super::limits;
use super::request::Head;
use super::request_head::RequestHead;
use crate::domain::path::strip_prefix;
use crate::domain::route::{AuthPolicy, Route};
use crate::domain::upstream::HostHeader;
use crate::gate::authorize::Permit;
use crate::gate::extract;
use crate::gate::extract::websocket_protocol::Offer;
use crate::snapshot::router::CompiledRoute;
use http::header::{COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderName, Version};
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
    /// An empty head in a buffer, which is empty too.
    pub(super) fn begin(buffer: Vec<u8>) -> Self {
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
    pub(super) fn carry_over(
        &mut self,
        request: &Head,
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
        self.request_line(request.method.as_str(), &target, host);
        self.pass_on(request, head, &route.auth)
    }

    /// Passes the fields of a request on that are meant for the service; whether one of them says a trace.
    fn pass_on(&mut self, request: &Head, head: &RequestHead<'_>, policy: &AuthPolicy) -> bool {
        let protocols = extract::protocol_prefix(policy);
        let (mut traced, mut cookies) = (false, None);
        let is = |name: &[u8], wanted: &HeaderName| name == wanted.as_str().as_bytes();
        let mut run = 0..0;
        for ((name, value, line), kind) in request.fields.iter_lines().zip(&head.kinds) {
            traced |= is(name, &TRACEPARENT);
            // HTTP/2 may take a cookie apart; HTTP/1.1 has one field for all of it (RFC 9113 §8.2.3).
            if request.version == Version::HTTP_2 && is(name, &COOKIE) {
                join(cookies.get_or_insert_with(Vec::new), value);
                continue;
            }
            if protocols.is_some() && is(name, &SEC_WEBSOCKET_PROTOCOL) {
                continue;
            }
            let passes = *kind == Field::EndToEnd
                && !extract::is_key_field(policy, name, value)
                && !head.for_this_hop.contains(name);
            match line {
                Some(line) if passes && line.start == run.end => run.end = line.end,
                Some(line) if passes => {
                    self.push(request.fields.lines(run));
                    run = line;
                }
                None if passes => {
                    self.push(request.fields.lines(std::mem::take(&mut run)));
                    self.line(name, value);
                }
                Some(_) | None => {}
            }
        }
        self.push(request.fields.lines(run));
        if let Some(cookies) = cookies {
            self.add("cookie", &cookies);
        }
        if let Some(prefix) = protocols
            && !head.names_for_this_hop(&SEC_WEBSOCKET_PROTOCOL)
            && let Some(rest) = Offer::of(&request.fields, prefix).rest
        {
            self.add("sec-websocket-protocol", rest.as_bytes());
        }
        traced
    }

    /// Adds a field.
    #[inline]
    pub(super) fn add(&mut self, name: &str, value: &[u8]) {
        self.line(name.as_bytes(), value);
    }

    #[inline]
    fn line(&mut self, name: &[u8], value: &[u8]) {
        self.push(name);
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
pub(super) fn prepare(
    request: &Head,
    head: &RequestHead<'_>,
    route: &CompiledRoute,
    permit: &Permit,
    cx: &RequestContext,
) -> UpstreamHead {
    let host = &route.upstream.config.host_header;
    let mut upstream = UpstreamHead::begin(cx.worker.spare.buffer());
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
    let [high, low] = halves(trace);
    field[16..32].copy_from_slice(&hex(high));
    field[32..48].copy_from_slice(&hex(low));
    field[49..65].copy_from_slice(&hex(halves(span)[1]));
    upstream.push(&field);
}

fn say_who_forwards(upstream: &mut UpstreamHead, head: &RequestHead<'_>, cx: &RequestContext) {
    let forwarding = &cx.view.snapshot.forwarding;
    let origin = cx.origin.as_deref();
    let way = origin.map_or(&[][..], |origin| &origin.way);
    // Of a trusted proxy's list stays what is believed of it; nothing of what the caller wrote is.
    if let Some(origin) = origin {
        upstream.push(b"x-forwarded-for: ");
        for address in way {
            // Writing to a Vec cannot fail.
            let _ = write!(upstream.bytes, "{address}, ");
        }
        upstream.push(cx.connection.peer_ip.as_bytes());
        upstream.push(b"\r\n");
        let secure = origin.secure.unwrap_or(cx.connection.secure);
        upstream.add("x-forwarded-proto", scheme(secure));
    } else {
        upstream.push(&cx.connection.forwarded);
    }
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

#[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
fn halves(bits: u128) -> [u64; 2] {
    [(bits >> 64) as u64, bits as u64]
}

/// Sixteen hex digits, eight at a time: this is on every request.
fn hex(bits: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (half, places) in [bits >> 32, bits & 0xffff_ffff]
        .into_iter()
        .zip(digits.chunks_exact_mut(8))
    {
        // Spread the eight digits over the eight bytes.
        let spread = (half | half << 16) & 0x0000_ffff_0000_ffff;
        let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
        let spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        // Digits above nine are letters: they lie 39 places further.
        let letters = (spread + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
        let text = spread + 0x3030_3030_3030_3030 + letters * 39;
        places.copy_from_slice(&text.to_be_bytes());
    }
    digits
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
    fn of(request: &'a Head, route: &Route) -> Self {
        let whole = request.path();
        let path = match &route.strip_prefix {
            // The router has matched this prefix, so it is there.
            Some(prefix) => strip_prefix(whole, prefix).unwrap_or(whole),
            None => whole,
        };
        let query = request.query();
        let stripped = query.and_then(|query| extract::strip_query(&route.auth, query));
        Self {
            path,
            query,
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
pub(super) fn finish(mut answer: Answer, cx: Box<RequestContext>) -> Answer {
    last_touch(&mut answer, &cx);
    answer.body.attend(cx);
    answer
}

/// As [`finish`], for an answer that the context does not wait for.
pub(super) fn last_touch(answer: &mut Answer, cx: &RequestContext) {
    answer.lines.add("x-request-id", cx.request_id.as_bytes());
    if let Some(standing) = cx.standing {
        limits::tell(&mut answer.lines, standing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_standard_library() {
        for bits in [
            0,
            1,
            0x0123_4567_89ab_cdef,
            u64::MAX,
            0xfedc_ba98_7654_3210,
            9 << 60,
        ] {
            assert_eq!(hex(bits), *format!("{bits:016x}").as_bytes());
        }
    }
}
