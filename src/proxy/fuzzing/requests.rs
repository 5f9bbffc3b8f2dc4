//! Requests: what becomes of a head on the way to the service.

use super::{MOST_FIELDS, is_any, looks_native};
use crate::config::ListenerLimits;
use crate::config::{self, Config};
use crate::domain::host::host_name;
use crate::domain::route::Route;
use crate::domain::upstream::HostHeader;
use crate::gate::extract::{is_key_field, protocol_prefix, strip_query};
use crate::proxy::headers::UpstreamHead;
use crate::proxy::http1::head;
use crate::proxy::request::{Head, HeadMemory};
use crate::proxy::request_head::RequestHead;
use http::{Request, Uri, Version};
use std::path::Path;
use std::sync::LazyLock;

/// Routes with all places for keys and with none, with a prefix to cut and without.
static ROUTES: LazyLock<Option<Config>> = LazyLock::new(|| {
    const TEXT: &str = "
listeners: [{address: '127.0.0.1:0'}]
upstreams: {app: {endpoints: ['http://127.0.0.1:1']}}
routes:
  - {name: usual, match: {path: /}, upstream: app}
  - name: places
    match: {path: /p}
    strip_prefix: /p
    upstream: app
    auth: {locations: [bearer, {header: x-api-key}, {query: api_key}, {websocket_protocol: true}]}
";
    config::parse(Path::new("fuzz.yaml"), TEXT).ok()
});

/// What every listener allows.
pub(super) static LIMITS: LazyLock<Option<ListenerLimits>> =
    LazyLock::new(|| Some(ROUTES.as_ref()?.listeners.first()?.limits));

/// First byte: route, version, host. The rest: a request's head.
pub fn request_head(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    assert!(ROUTES.is_some(), "the routes are wrong");
    let (Some(config), Some(limits)) = (&*ROUTES, &*LIMITS) else {
        return;
    };
    let request = if choice & 1 == 0 {
        let mut head = Head::unread();
        let parsed = head::parse(bytes, limits, &mut head);
        parsed.ok().flatten().map(|_| head)
    } else {
        over_http2(bytes)
    };
    let Some(request) = request else { return };
    let Ok(head) = RequestHead::read(&request, limits) else {
        return;
    };
    if let Some(host) = head.host {
        assert!(host_name(host).is_ok(), "{host:?}");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        assert!(host.bytes().all(plain), "{host:?}");
    }
    let route = &config.routes[usize::from(choice & 2 != 0)];
    let host = match choice >> 2 & 3 {
        0 => HostHeader::Preserve,
        1 => HostHeader::Endpoint,
        _ => HostHeader::Fixed("fixed.example".into()),
    };
    let mut upstream = UpstreamHead::begin(Vec::new());
    let _ = upstream.carry_over(&request, &head, route, &host);
    upstream.aim_at(b"127.0.0.1:1");
    let text = upstream.as_bytes();
    let (target, fields) = read_back(text);
    one_target(&request, route, &target);
    let hosts = fields
        .iter()
        .filter(|(name, _)| is_any(name, &["host"]))
        .count();
    assert_eq!(hosts, 1, "{fields:?}");
    assert_eq!(fields[0].0, "host");
    nothing_for_this_hop(&fields[1..], &head);
    assert_eq!(
        &fields[1..],
        passed(&request, &head, route),
        "what the service is told"
    );
}

/// A request of HTTP/1.1 as it would come over HTTP/2.
fn over_http2(bytes: &[u8]) -> Option<Head> {
    const OF_HTTP_1: [&str; 5] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    let mut slots = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut slots);
    let status = parsed.parse(bytes).ok()?;
    status.is_complete().then_some(())?;
    let uri = Uri::try_from(parsed.path?).ok()?;
    let mut request = Request::builder()
        .method(parsed.method?)
        .uri(uri)
        .version(Version::HTTP_2);
    for field in parsed.headers.iter() {
        let is = |name: &&str| field.name.eq_ignore_ascii_case(name);
        if OF_HTTP_1.iter().any(is) {
            return None;
        }
        request = request.header(field.name, field.value);
    }
    let (parts, ()) = request.body(()).ok()?.into_parts();
    Some(Head::of_http2(parts, HeadMemory::default(), || 7))
}

/// The target, and the fields with names as they stand; every line is one.
fn read_back(head: &[u8]) -> (String, Vec<(String, Vec<u8>)>) {
    assert!(head.ends_with(b"\r\n"));
    let lines: Vec<&[u8]> = head.split(|byte| *byte == b'\n').collect();
    let (mut target, mut fields) = (String::new(), Vec::new());
    // Nothing stands behind the last line feed.
    for (number, line) in lines[..lines.len() - 1].iter().enumerate() {
        let text = line.strip_suffix(b"\r").unwrap_or_default();
        assert_eq!(text.len() + 1, line.len(), "a bare line feed");
        assert!(
            !text.iter().any(|byte| matches!(byte, b'\r' | 0)),
            "{text:?}"
        );
        if number == 0 {
            target = String::from_utf8_lossy(text).into_owned();
            continue;
        }
        let colon = text
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or_default();
        assert!(colon > 0 && text[colon..].starts_with(b": "), "{text:?}");
        let name = String::from_utf8_lossy(&text[..colon]).into_owned();
        let value = &text[(colon + 2).min(text.len())..];
        fields.push((name, value.to_vec()));
    }
    (target, fields)
}

fn one_target(request: &Head, route: &Route, line: &str) {
    let whole = request.path();
    let path = match whole
        .strip_prefix("/p")
        .filter(|_| route.strip_prefix.is_some())
    {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        _ => whole,
    };
    let query = request
        .query()
        .map(|query| match strip_query(&route.auth, query) {
            Some(rest) if rest.is_empty() => String::new(),
            Some(rest) => format!("?{rest}"),
            None => format!("?{query}"),
        });
    let wanted = format!(
        "{} {path}{} HTTP/1.1",
        request.method,
        query.unwrap_or_default()
    );
    assert_eq!(line, wanted);
    assert_eq!(line.split(' ').count(), 3, "{line:?}");
    let target = line.split(' ').nth(1).unwrap_or_default();
    assert!(!target.contains('#'), "{target:?}");
    assert!(
        !line.bytes().any(|byte| byte < 0x20 || byte == 0x7f),
        "{line:?}"
    );
}

/// Neither the caller's framing nor its connection nor what is ours to say, in either spelling.
fn nothing_for_this_hop(fields: &[(String, Vec<u8>)], head: &RequestHead<'_>) {
    for (name, _) in fields {
        assert!(!is_any(name, &FOR_THIS_HOP), "{name} is passed on");
        assert!(!is_claim(name), "{name} is passed on");
        let named = head
            .for_this_hop
            .iter()
            .any(|option| option.eq_ignore_ascii_case(name.as_bytes()));
        assert!(!named, "{name} is for this hop");
    }
}

const FOR_THIS_HOP: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "client-cert",
    "client-cert-chain",
];

fn is_claim(name: &str) -> bool {
    const NAMES: [&str; 14] = [
        "forwarded",
        "x-anonymous-consumer",
        "x-consumer-custom-id",
        "x-consumer-groups",
        "x-consumer-id",
        "x-consumer-username",
        "x-credential-identifier",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-real-ip",
        "x-request-id",
        "x-rewrite-url",
    ];
    let merged = name.replace('_', "-");
    let family = |start: &str| merged.starts_with(start);
    is_any(name, &NAMES) || family("x-forwarded") || family("x-keygate")
}

/// All else is passed on as it came, in its order; a cookie in pieces and what is left of an offer come last.
fn passed(request: &Head, head: &RequestHead<'_>, route: &Route) -> Vec<(String, Vec<u8>)> {
    let second = request.version == Version::HTTP_2;
    let protocols = protocol_prefix(&route.auth);
    let mut passed = Vec::new();
    let mut cookies: Vec<&[u8]> = Vec::new();
    let mut offered: Vec<&[u8]> = Vec::new();
    for (name, bytes) in request.fields.iter() {
        if head.for_this_hop.contains(name) {
            continue;
        }
        let text = String::from_utf8_lossy(name).into_owned();
        if second && text == "cookie" {
            cookies.push(bytes);
        } else if protocols.is_some() && text == "sec-websocket-protocol" {
            offered.extend(bytes.split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
        } else if !is_any(&text, &FOR_THIS_HOP)
            && !is_claim(&text)
            && !is_key_field(&route.auth, name, bytes)
        {
            passed.push((text, bytes.to_vec()));
        }
    }
    if !cookies.is_empty() {
        // Empty ones in front say nothing.
        let said = cookies.iter().position(|cookie| !cookie.is_empty());
        cookies.drain(..said.unwrap_or(cookies.len()));
        passed.push(("cookie".into(), cookies.join(&b"; "[..])));
    }
    let prefix = protocols.unwrap_or_default();
    offered.retain(|token| {
        let name = prefix.strip_suffix('.').unwrap_or(prefix).as_bytes();
        let carries = token.starts_with(prefix.as_bytes()) || *token == name;
        !token.is_empty() && !carries && !looks_native(token)
    });
    if !offered.is_empty() {
        passed.push(("sec-websocket-protocol".into(), offered.join(&b", "[..])));
    }
    passed
}
