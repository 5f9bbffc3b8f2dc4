//! Addresses: sockets, hosts, endpoints and networks. Host names end up in `Host` headers, so they are strict.

use crate::domain::route::HostMatch;
use crate::domain::upstream::{Endpoint, HostHeader};
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// An address to bind.
pub(crate) fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an IP address and a port, such as `127.0.0.1:8080` or `[::1]:8080`".into()
    })
}

/// An address of an upstream.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, String> {
    const EXPECTED: &str = "expected `http://host`, `https://host`, or one of them with a port";
    let (scheme, rest) = text.split_once("://").ok_or(EXPECTED)?;
    let secure = scheme.eq_ignore_ascii_case("https");
    if !secure && !scheme.eq_ignore_ascii_case("http") {
        return Err(EXPECTED.into());
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err("an endpoint cannot hold a user name or password".into());
    }
    if authority.contains(['/', '?', '#']) {
        return Err("an endpoint is scheme, host and port only, without path and query".into());
    }
    let (host, port) = split_port(authority)?;
    let host = host_name(host)?;
    let default = if secure { HTTPS_PORT } else { HTTP_PORT };
    let port = port.unwrap_or(default);
    let authority = if port == default {
        host.clone()
    } else {
        format!("{host}:{port}")
    };
    Ok(Endpoint {
        host: host.trim_matches(['[', ']']).to_owned(),
        port,
        authority,
        secure,
        weight: 1,
    })
}

/// What the upstream is told as `Host`.
pub(crate) fn host_header(text: &str) -> Result<HostHeader, String> {
    match text {
        "preserve" => return Ok(HostHeader::Preserve),
        "endpoint" => return Ok(HostHeader::Endpoint),
        _ => {}
    }
    authority(text)
        .map(HostHeader::Fixed)
        .map_err(|what| format!("expected `preserve`, `endpoint` or a host: {what}"))
}

/// `host[:port]`, as it stands in a `Host` header.
pub(crate) fn authority(text: &str) -> Result<String, String> {
    let (host, port) = split_port(text)?;
    let host = host_name(host)?;
    Ok(match port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    })
}

/// Which hosts a route takes.
pub(crate) fn host_match(text: &str) -> Result<HostMatch, String> {
    if text == "*" {
        return Err("for every host leave `host` out".into());
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        let name = host_name(suffix)?;
        if name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok() {
            return Err("nothing is below an IP address".into());
        }
        return Ok(HostMatch::Suffix(name));
    }
    if text.contains('*') {
        return Err("`*` may only stand in front, as in `*.example.com`".into());
    }
    host(text).map(HostMatch::Exact)
}

/// A host as it may stand in `Host`, but for the port.
pub(crate) fn host(text: &str) -> Result<String, String> {
    match split_port(text)? {
        (_, Some(_)) => Err("a host to match has no port".into()),
        (host, None) => host_name(host),
    }
}

/// A network or a single address. IPv4 written as IPv6 becomes IPv4, as callers' addresses do.
pub(crate) fn cidr(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "expected an address or a network, such as `10.0.0.0/8`".to_owned())?;
    if network.addr() != network.network() {
        return Err(format!(
            "has bits behind its prefix; write `{}` or a single address",
            network.trunc()
        ));
    }
    Ok(unmapped(network))
}

fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(six) = network else {
        return network;
    };
    // A mapped address has its last fixed bit at 96, so a network that is its own address is at least that long.
    let length = six.prefix_len().checked_sub(96);
    let four = six.addr().to_ipv4_mapped().zip(length);
    four.and_then(|(address, length)| Ipv4Net::new(address, length).ok())
        .map_or(network, IpNet::V4)
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(super) fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let border = match text.rfind(']') {
        Some(end) => end + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at(border);
    if rest.is_empty() {
        return Ok((host, None));
    }
    let port = rest
        .strip_prefix(':')
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse::<u16>().ok())
        .filter(|port| *port > 0);
    match port {
        Some(port) => Ok((host, Some(port))),
        None if rest.matches(':').count() > 1 => {
            Err("an IPv6 address stands in brackets, as in `[::1]`".into())
        }
        None => Err("a port is a number from 1 to 65535".into()),
    }
}

/// A name that a certificate is for: a host, or `*.` and the rest of one.
pub(crate) fn certificate_name(text: &str) -> Result<String, String> {
    match host_match(text)? {
        HostMatch::Exact(name) => Ok(name),
        HostMatch::Suffix(parent) => Ok(format!("*.{parent}")),
        HostMatch::Any => Err("expected a name such as `example.com` or `*.example.com`".into()),
    }
}

/// A host in lower case; an IPv6 address in its shortest form, in brackets.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    if let Some(inner) = text.strip_prefix('[') {
        return inner
            .strip_suffix(']')
            .and_then(|inner| inner.parse::<Ipv6Addr>().ok())
            .map(|address| format!("[{address}]"))
            .ok_or_else(|| "not an IPv6 address".into());
    }
    if !text.is_ascii() {
        return Err("a host is ASCII; write other letters as punycode (`xn--…`)".into());
    }
    if text.ends_with('.') {
        return Err("a host is written without a dot at its end".into());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if text.len() > 253 || !text.split('.').all(label) {
        return Err("not a valid host name".into());
    }
    // A last label of digits makes it an IPv4 address for many readers, whatever the rest looks like.
    let numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    if text.rsplit('.').next().is_some_and(numeric) && text.parse::<Ipv4Addr>().is_err() {
        return Err("neither a host name nor an IPv4 address".into());
    }
    Ok(text.to_ascii_lowercase())
}
