//! What must hold of bytes off the wire; see [`crate::fuzzing`], which has a name for each of these. Here because they look
//! into what no other room sees.

#![expect(
    clippy::missing_panics_doc,
    reason = "to panic is what a target is for"
)]

mod answers;
mod framing;
mod requests;

use super::client_address::Origin;
use super::proxy_protocol::{self, Header};
use crate::config::{ForwardedBy, ProxyTrust};
use crate::domain::fields::Fields;
use http::header::{FORWARDED, HeaderName, HeaderValue};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use answers::{answer_head, chunked};
pub use framing::request_framing;
pub use requests::request_head;

/// Fields of a head.
const MOST_FIELDS: usize = 100;

/// Whether a name, read with `_` as `-`, is one of these.
fn is_any(name: &str, names: &[&str]) -> bool {
    let merged = name.to_ascii_lowercase().replace('_', "-");
    names.contains(&&*merged)
}

/// Whether a sub-protocol has the form of a native key, of whatever brand and environment, right checksum or not.
pub(crate) fn looks_native(token: &[u8]) -> bool {
    let parts: Vec<_> = token.split(|byte| *byte == b'_').collect();
    let [brand, environment, body] = parts[..] else {
        return false;
    };
    let word = |part: &[u8]| {
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        (1..=16).contains(&part.len()) && part.iter().all(plain)
    };
    let whole = body.len() == 49 && body.iter().all(u8::is_ascii_alphanumeric);
    word(brand) && word(environment) && whole
}

/// The first bytes of a connection.
pub fn proxy_protocol(data: &[u8]) {
    let parsed = proxy_protocol::parse(data);
    if let Ok(Some((header, length))) = parsed {
        assert!(length <= data.len(), "bytes that have not come");
        for end in 0..length {
            let part = proxy_protocol::parse(&data[..end]);
            assert_eq!(part, Ok(None), "after {end} of {length}");
        }
        let alone = proxy_protocol::parse(&data[..length]);
        assert_eq!(alone, Ok(Some((header, length))));
        assert_eq!(Some(header), header_by_hand(&data[..length]), "who it is");
    } else {
        // Neither more bytes nor fewer make one of what is none.
        let more = [data, b"\r\n"].concat();
        assert!(parsed.is_ok() || proxy_protocol::parse(&more) == parsed);
    }
}

/// A whole header, the slow way; only what a client's address may come from.
fn header_by_hand(header: &[u8]) -> Option<Header> {
    let from = |address: IpAddr, port: u16| {
        Some(Header::From(SocketAddr::new(address.to_canonical(), port)))
    };
    if let Ok(text) = std::str::from_utf8(header)
        && let Some(line) = text.strip_prefix("PROXY ")
    {
        let words: Vec<_> = line.strip_suffix("\r\n")?.split(' ').collect();
        return match words[..] {
            ["UNKNOWN", ..] => Some(Header::NoClient),
            ["TCP4", source, _, port, _] => {
                from(source.parse::<Ipv4Addr>().ok()?.into(), port.parse().ok()?)
            }
            ["TCP6", source, _, port, _] => {
                from(source.parse::<Ipv6Addr>().ok()?.into(), port.parse().ok()?)
            }
            _ => None,
        };
    }
    let port = |at: usize| Some(u16::from_be_bytes([*header.get(at)?, *header.get(at + 1)?]));
    match (*header.get(12)?, *header.get(13)?) {
        (0x21, 0x11) => {
            let octets: [u8; 4] = header.get(16..20)?.try_into().ok()?;
            from(octets.into(), port(24)?)
        }
        (0x21, 0x21) => {
            let octets: [u8; 16] = header.get(16..32)?.try_into().ok()?;
            from(octets.into(), port(48)?)
        }
        _ => Some(Header::NoClient),
    }
}

/// What a client wrote before the trusted proxy added its own: lines of the field, all but the last as they are.
pub fn client_address(data: &[u8]) {
    let network = "10.0.0.0/8".parse().ok();
    let proxies: Vec<IpNet> = network.into_iter().collect();
    let client = IpAddr::from([192, 0, 2, 9]);
    let kinds = [
        (
            ForwardedBy::XForwardedFor,
            HeaderName::from_static("x-forwarded-for"),
            "192.0.2.9",
        ),
        (
            ForwardedBy::Forwarded,
            FORWARDED,
            "for=192.0.2.9;proto=https",
        ),
    ];
    for (header, name, said) in kinds {
        let trust = ProxyTrust {
            proxies: proxies.clone(),
            header,
            proxy_protocol: false,
        };
        let mut lines: Vec<Vec<u8>> = data.split(|byte| *byte == b'\n').map(Vec::from).collect();
        let origin = origin(&name, &lines, &trust);
        assert!(origin.way.len() <= 30, "a way without end");
        let believed = origin
            .way
            .iter()
            .skip(1)
            .all(|address| trust.covers(*address));
        assert!(believed, "{origin:?}");
        // On the same line or on one of its own.
        if let Some(last) = lines.last_mut() {
            last.extend_from_slice(b", ");
            last.extend_from_slice(said.as_bytes());
        }
        let is_text = lines
            .iter()
            .all(|line| HeaderValue::from_bytes(line).is_ok());
        if is_text {
            let origin = self::origin(&name, &lines, &trust);
            assert_eq!(origin.client(), Some(client), "{origin:?}");
        }
        lines.push(said.into());
        let origin = self::origin(&name, &lines, &trust);
        assert_eq!(origin.client(), Some(client), "{origin:?}");
    }
}

fn origin(name: &HeaderName, lines: &[Vec<u8>], trust: &ProxyTrust) -> Origin {
    let mut fields = Fields::default();
    for line in lines
        .iter()
        .filter(|line| HeaderValue::from_bytes(line).is_ok())
    {
        fields.push(name, line);
    }
    Origin::of(&fields, trust)
}
