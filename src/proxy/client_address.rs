//! Where a request really comes from, when it comes by way of proxies: their list of addresses is walked from the right,
//! as far as each one was written by somebody who is believed. What stands further left anybody may have written.

use crate::config::{ForwardedBy, ProxyTrust};
use crate::domain::fields::Fields;
use smallvec::SmallVec;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Longest way that is followed; a longer one has proxies in a circle.
const MOST_HOPS: usize = 30;

/// What a trusted proxy says of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// The client, then the proxies on the way but the last one, which is our peer; empty: the peer is all that is known.
    pub(super) way: SmallVec<[IpAddr; 4]>,
    /// Whether the client speaks TLS.
    pub(super) secure: Option<bool>,
    /// The host that the client asked for.
    pub(super) host: Option<Box<str>>,
}

impl Origin {
    /// What the fields of a trusted proxy say.
    pub(super) fn of(fields: &Fields, trust: &ProxyTrust) -> Self {
        match trust.header {
            ForwardedBy::XForwardedFor => Self::by_x_forwarded(fields, trust),
            ForwardedBy::Forwarded => Self::by_forwarded(fields, trust),
        }
    }

    /// The client, if it is known.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.way.first().copied()
    }

    fn by_x_forwarded(fields: &Fields, trust: &ProxyTrust) -> Self {
        let lines = fields.get_all("x-forwarded-for");
        let items = lines.rev().flat_map(|line| {
            let items = line.rsplit(|byte| *byte == b',');
            items.map(<[u8]>::trim_ascii)
        });
        let proto = single(fields, "x-forwarded-proto");
        Self {
            way: walk(
                items.map(|item| address(std::str::from_utf8(item).ok()?)),
                trust,
            ),
            secure: proto.and_then(is_secure),
            host: single(fields, "x-forwarded-host").and_then(host),
        }
    }

    fn by_forwarded(fields: &Fields, trust: &ProxyTrust) -> Self {
        let lines = fields.get_all("forwarded");
        let elements: SmallVec<[Option<Element<'_>>; 4]> = lines
            .rev()
            .flat_map(|line| FromTheRight(Some(line)))
            .map(Element::read)
            .take(MOST_HOPS)
            .collect();
        let addresses = elements.iter().map(|one| address(one.as_ref()?.node?));
        let way = walk(addresses, trust);
        // The proxy that saw the client says how it was asked.
        let first = way.len().checked_sub(1);
        let first = first.and_then(|place| elements.get(place)?.as_ref());
        Self {
            secure: first.and_then(|one| is_secure(one.proto?)),
            host: first.and_then(|one| host(one.host?)),
            way,
        }
    }
}

/// The addresses that are believed, the client's first. `items` come from the right; one that is no address ends the walk.
fn walk(items: impl Iterator<Item = Option<IpAddr>>, trust: &ProxyTrust) -> SmallVec<[IpAddr; 4]> {
    let mut way = SmallVec::new();
    for item in items.take(MOST_HOPS) {
        let Some(address) = item else { break };
        way.push(address);
        if !trust.covers(address) {
            break;
        }
    }
    way.reverse();
    way
}

/// An address as proxies write it: IPv6 with or without brackets, a port behind it or not.
fn address(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, port) = rest.split_once(']')?;
        let port = port.strip_prefix(':').map_or(port.is_empty(), is_port);
        let v6 = Ipv6Addr::from_str(inner).ok().filter(|_| port)?;
        return Some(IpAddr::V6(v6).to_canonical());
    }
    if let Some((v4, port)) = text.split_once(':')
        && let Ok(v4) = Ipv4Addr::from_str(v4)
    {
        return is_port(port).then_some(IpAddr::V4(v4));
    }
    IpAddr::from_str(text)
        .ok()
        .map(|address| address.to_canonical())
}

/// A number, or the `_name` that RFC 7239 §6 allows in its place.
fn is_port(text: &str) -> bool {
    let hidden = text.strip_prefix('_').is_some_and(|name| !name.is_empty());
    hidden || !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_secure(proto: &str) -> Option<bool> {
    let is = |name: &str| proto.eq_ignore_ascii_case(name);
    match () {
        () if is("https") => Some(true),
        () if is("http") => Some(false),
        () => None,
    }
}

/// A host that is valid as one.
fn host(text: &str) -> Option<Box<str>> {
    crate::domain::host::host_name(text).ok()?;
    Some(text.into())
}

/// The value of a field that is there once.
fn single<'a>(fields: &'a Fields, name: &'a str) -> Option<&'a str> {
    let mut all = fields.get_all(name);
    match (all.next(), all.next()) {
        (Some(value), None) => std::str::from_utf8(value).ok(),
        (None | Some(_), _) => None,
    }
}

/// The elements of a line of `Forwarded`, the last one first. Read from the right, quotes included: the last element is the
/// trusted proxy's own, and nothing that a client wrote before it can draw it into a quoted text.
struct FromTheRight<'a>(Option<&'a [u8]>);

impl<'a> Iterator for FromTheRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0.take()?;
        let mut quoted = false;
        for place in (0..rest.len()).rev() {
            match rest[place] {
                b'"' if !is_escaped(rest, place) => quoted = !quoted,
                b',' if !quoted => {
                    self.0 = Some(&rest[..place]);
                    return Some(rest[place + 1..].trim_ascii());
                }
                _ => {}
            }
        }
        Some(rest.trim_ascii())
    }
}

/// Whether an odd number of backslashes stands before this place.
fn is_escaped(text: &[u8], place: usize) -> bool {
    let slashes = text[..place]
        .iter()
        .rev()
        .take_while(|byte| **byte == b'\\');
    slashes.count() % 2 == 1
}

/// One element of `Forwarded` (RFC 7239 §4).
#[derive(Default)]
struct Element<'a> {
    node: Option<&'a str>,
    proto: Option<&'a str>,
    host: Option<&'a str>,
}

impl<'a> Element<'a> {
    /// `None`: it is malformed, or says something twice.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut element = Self::default();
        for pair in std::str::from_utf8(bytes).ok()?.split(';') {
            let (name, value) = pair.trim().split_once('=')?;
            let value = unquoted(value)?;
            let place = match name.to_ascii_lowercase().as_str() {
                "for" => &mut element.node,
                "proto" => &mut element.proto,
                "host" => &mut element.host,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(element)
    }
}

/// A token, or what stands in quotes. What needs escaping is neither an address nor a host.
fn unquoted(value: &str) -> Option<&str> {
    let inner = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    (!inner.is_empty() && !inner.contains(['"', '\\', ' ', '\t'])).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use proptest::prelude::*;

    fn trust(header: ForwardedBy) -> ProxyTrust {
        let proxies = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap());
        ProxyTrust {
            proxies: proxies.into(),
            header,
            proxy_protocol: false,
        }
    }

    fn origin(header: ForwardedBy, lines: &[(&str, &str)]) -> Origin {
        let mut fields = Fields::default();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            fields.push(&name, value.as_bytes());
        }
        Origin::of(&fields, &trust(header))
    }

    fn way(origin: &Origin) -> String {
        let all: Vec<_> = origin.way.iter().map(ToString::to_string).collect();
        all.join(" ")
    }

    #[test]
    fn the_first_from_the_right_that_is_no_proxy_is_the_client() {
        let cases = [
            ("192.0.2.1", "192.0.2.1"),
            ("6.6.6.6, 192.0.2.1", "192.0.2.1"),
            (
                "6.6.6.6,192.0.2.1 , 10.0.0.2,\t10.0.0.3",
                "192.0.2.1 10.0.0.2 10.0.0.3",
            ),
            ("10.9.9.9, 10.0.0.2", "10.9.9.9 10.0.0.2"),
            (
                "192.0.2.1:4711, [fd00::1]:80, [fd00::2]",
                "192.0.2.1 fd00::1 fd00::2",
            ),
            ("2001:db8::7, ::ffff:10.0.0.2", "2001:db8::7 10.0.0.2"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ];
        for (line, want) in cases {
            let found = origin(ForwardedBy::XForwardedFor, &[("x-forwarded-for", line)]);
            assert_eq!(way(&found), want, "{line}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        for bad in [
            "",
            "unknown",
            "_hidden",
            "localhost",
            "192.0.2.1:",
            "192.0.2.1:x",
            "192.0.2.256",
            "192.0.2.1 10.0.0.1",
            "[fd00::1",
            "fd00::1]",
            "[192.0.2.1]",
            "fe80::1%eth0",
            "010.0.0.1",
            "::ffff:1.2.3.4:80",
        ] {
            let line = format!("192.0.2.1, {bad}, 10.0.0.2");
            let found = origin(ForwardedBy::XForwardedFor, &[("x-forwarded-for", &line)]);
            assert_eq!(way(&found), "10.0.0.2", "{bad}");
            let found = origin(ForwardedBy::XForwardedFor, &[("x-forwarded-for", bad)]);
            assert_eq!(found.client(), None, "{bad}");
        }
    }

    #[test]
    fn lines_follow_each_other_and_a_circle_has_an_end() {
        let lines = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "10.0.0.2"),
        ];
        let found = origin(ForwardedBy::XForwardedFor, &lines);
        assert_eq!(way(&found), "192.0.2.1 10.0.0.2");
        let circle = vec!["10.0.0.1"; 1000].join(",");
        let found = origin(ForwardedBy::XForwardedFor, &[("x-forwarded-for", &circle)]);
        assert_eq!(found.way.len(), MOST_HOPS);
    }

    #[test]
    fn scheme_and_host_are_believed_where_they_are_clear() {
        let line = ("x-forwarded-for", "192.0.2.1");
        let said = |more: &[(&str, &str)]| {
            let found = origin(ForwardedBy::XForwardedFor, &[&[line], more].concat());
            (found.secure, found.host.map(String::from))
        };
        let proto = |text| ("x-forwarded-proto", text);
        assert_eq!(said(&[proto("https")]).0, Some(true));
        assert_eq!(said(&[proto("HTTP")]).0, Some(false));
        assert_eq!(said(&[proto("https, http")]).0, None);
        assert_eq!(said(&[proto("https"), proto("http")]).0, None);
        let host = |text| said(&[("x-forwarded-host", text)]).1;
        assert_eq!(
            host("shop.example.com:444").as_deref(),
            Some("shop.example.com:444")
        );
        assert_eq!(host("a/b"), None);
        assert_eq!(host("a, b"), None);
    }

    #[test]
    fn forwarded_is_read_from_the_right_too() {
        let cases = [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=\"[2001:db8::7]:4711\"; Proto=https", "2001:db8::7"),
            (
                "for=6.6.6.6, for=192.0.2.1;by=10.0.0.1, for=10.0.0.2",
                "192.0.2.1 10.0.0.2",
            ),
            (
                "for=192.0.2.1;host=\"a,b\", for=10.0.0.2",
                "192.0.2.1 10.0.0.2",
            ),
            // A client's open quote reaches no further than its own element.
            ("for=\", for=192.0.2.1", "192.0.2.1"),
            ("for=\"\\\", for=192.0.2.1", "192.0.2.1"),
            (
                "for=6.6.6.6;x=\", for=\"[fd00::1]\", for=10.0.0.2",
                "fd00::1 10.0.0.2",
            ),
            ("for=192.0.2.1, for=unknown, for=10.0.0.2", "10.0.0.2"),
            ("for=192.0.2.1, for=_x, for=10.0.0.2", "10.0.0.2"),
            ("for=192.0.2.1;for=6.6.6.6", ""),
            ("for = 192.0.2.1", ""),
            ("192.0.2.1", ""),
            ("proto=https", ""),
            ("", ""),
        ];
        for (line, want) in cases {
            let found = origin(ForwardedBy::Forwarded, &[("forwarded", line)]);
            assert_eq!(way(&found), want, "{line}");
        }
        let line =
            "for=192.0.2.1;proto=https;host=a.example, for=10.0.0.2;proto=http;host=b.example";
        let found = origin(ForwardedBy::Forwarded, &[("forwarded", line)]);
        assert_eq!(
            (found.secure, found.host.as_deref()),
            (Some(true), Some("a.example"))
        );
    }

    #[test]
    fn only_the_field_that_was_named_is_read() {
        let both = [
            ("x-forwarded-for", "192.0.2.1"),
            ("forwarded", "for=192.0.2.2"),
        ];
        assert_eq!(way(&origin(ForwardedBy::XForwardedFor, &both)), "192.0.2.1");
        assert_eq!(way(&origin(ForwardedBy::Forwarded, &both)), "192.0.2.2");
        assert_eq!(way(&origin(ForwardedBy::XForwardedFor, &both[1..])), "");
        assert_eq!(way(&origin(ForwardedBy::Forwarded, &both[..1])), "");
    }

    proptest! {
        #[test]
        fn whatever_a_client_writes_the_proxy_behind_it_is_believed(text in "[ -~]{0,60}") {
            let line = format!("{text}, 192.0.2.9");
            let found = origin(ForwardedBy::XForwardedFor, &[("x-forwarded-for", &line)]);
            prop_assert_eq!(way(&found), "192.0.2.9");
            let line = format!("{text}, for=192.0.2.9;host=\"a\"");
            let found = origin(ForwardedBy::Forwarded, &[("forwarded", &line)]);
            prop_assert_eq!(way(&found), "192.0.2.9");
        }
    }
}
