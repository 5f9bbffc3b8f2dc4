//! Find the key: look at every place a route names, refuse what is ambiguous, take the first. And cut every place out
//! again before the request goes upstream, whatever the decision was, leaving all other bytes as they came.

pub mod websocket_protocol;

use super::Denied;
use super::identity::is_spelling_of;
use crate::domain::fields::Fields;
use crate::domain::key::MAX_PRESENTED_LEN;
use crate::domain::route::{AuthPolicy, Location, LocationKind};
use http::header::{AUTHORIZATION, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use std::borrow::Cow;

/// A key as it was presented: bytes of the request, never kept.
pub struct Presented<'a> {
    bytes: Cow<'a, [u8]>,
    /// Where it stood.
    pub location: LocationKind,
}

impl<'a> Presented<'a> {
    /// A key that is said to have been presented there.
    pub(super) fn said(secret: &'a [u8], location: LocationKind) -> Self {
        Self {
            bytes: Cow::Borrowed(secret),
            location,
        }
    }

    /// The bytes; the name is there to be searched for in review.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }
}

/// The key a request presents, by the policy of its route. `None`: none, or only empty ones.
///
/// # Errors
/// [`Denied::Ambiguous`] when one place holds two keys or two places hold different ones.
pub fn find<'a>(
    policy: &'a AuthPolicy,
    fields: &'a Fields,
    query: Option<&'a str>,
) -> Result<Option<Presented<'a>>, Denied> {
    let mut first: Option<Presented<'a>> = None;
    for location in &policy.locations {
        let Some(found) = find_in(location, fields, query)? else {
            continue;
        };
        match &first {
            None => first = Some(found),
            Some(earlier) if earlier.bytes == found.bytes => {}
            Some(_) => return Err(Denied::Ambiguous),
        }
    }
    match &first {
        Some(key) if key.bytes.len() > MAX_PRESENTED_LEN => Err(Denied::Unknown),
        _ => Ok(first),
    }
}

/// The place where the key stands that [`find`] finds.
pub(super) fn place<'p>(
    policy: &'p AuthPolicy,
    fields: &Fields,
    query: Option<&str>,
) -> Option<&'p Location> {
    let holds = |place: &&Location| matches!(find_in(place, fields, query), Ok(Some(_)));
    policy.locations.iter().find(holds)
}

/// What would be cut out of a request: names of header fields, and of parameters with `?` in front.
pub(super) fn cut(policy: &AuthPolicy, fields: &Fields, query: Option<&str>) -> Vec<String> {
    let mut cut: Vec<String> = fields
        .iter()
        .filter(|(name, value)| is_key_field(policy, name, value))
        .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
        .collect();
    cut.dedup();
    cut.extend(policy.locations.iter().filter_map(|place| match place {
        Location::Query(name) => {
            let there = !matches!(in_query(query.unwrap_or_default(), name), Ok(None));
            there.then(|| format!("?{name}"))
        }
        Location::WebSocketProtocol(prefix) => {
            let offered = websocket_protocol::Offer::of(fields, prefix);
            offered
                .has_key
                .then(|| format!("{}: {prefix}…", SEC_WEBSOCKET_PROTOCOL.as_str()))
        }
        Location::Header(_) | Location::Bearer => None,
    }));
    cut
}

fn find_in<'a>(
    location: &'a Location,
    fields: &'a Fields,
    query: Option<&'a str>,
) -> Result<Option<Presented<'a>>, Denied> {
    let found = match location {
        Location::Header(name) => in_header(fields, name)?.map(Cow::Borrowed),
        Location::Bearer => in_authorization(fields)?.map(Cow::Borrowed),
        Location::Query(name) => in_query(query.unwrap_or_default(), name)?,
        Location::WebSocketProtocol(prefix) => {
            websocket_protocol::find(fields, prefix)?.map(Cow::Borrowed)
        }
    };
    let presented = |bytes| Presented {
        bytes,
        location: location.kind(),
    };
    Ok(found.filter(|bytes| !bytes.is_empty()).map(presented))
}

fn in_header<'a>(fields: &'a Fields, name: &'a HeaderName) -> Result<Option<&'a [u8]>, Denied> {
    let mut values = fields.get_all(name.as_str());
    let first = values.next();
    if values.next().is_some() {
        return Err(Denied::Ambiguous);
    }
    Ok(first.map(<[u8]>::trim_ascii))
}

/// RFC 6750 §2.1. Another scheme is none of our business, unless a Bearer value stands beside it.
fn in_authorization(fields: &Fields) -> Result<Option<&[u8]>, Denied> {
    let mut values = fields.get_all("authorization");
    let Some(first) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        let bearers = fields
            .get_all("authorization")
            .filter(|value| bearer(value).is_some());
        return if bearers.count() > 0 {
            Err(Denied::Ambiguous)
        } else {
            Ok(None)
        };
    }
    Ok(bearer(first))
}

/// The token behind `Bearer` in any case and one or more spaces; empty when nothing follows.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return None;
    }
    match rest.first() {
        None => Some(b""),
        Some(b' ') => Some(rest.trim_ascii()),
        Some(_) => None,
    }
}

fn in_query<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, [u8]>>, Denied> {
    let mut values = query.split('&').filter_map(|pair| {
        let (found, value) = pair.split_once('=').unwrap_or((pair, ""));
        (*percent_decoded(found) == *name.as_bytes()).then_some(value)
    });
    let first = values.next();
    if values.next().is_some() {
        return Err(Denied::Ambiguous);
    }
    Ok(first.map(percent_decoded))
}

/// Decodes `%XX` once; a broken escape and `+` stay as they are, since keys of other makers may hold either.
fn percent_decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let digit = |at: usize| {
        text.as_bytes()
            .get(at)
            .and_then(|byte| char::from(*byte).to_digit(16))
    };
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        if let (b'%', Some(high), Some(low)) = (byte, digit(at + 1), digit(at + 2)) {
            out.push(u8::try_from(high * 16 + low).unwrap_or_default());
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    Cow::Owned(out)
}

/// Whether a header field is a place for a key by this policy, and so must not go upstream. `Authorization` is one only
/// where it is a Bearer value.
pub fn is_key_field(policy: &AuthPolicy, name: &[u8], value: &[u8]) -> bool {
    policy.locations.iter().any(|location| match location {
        // Services that merge dashes and underscores would take the one for the other.
        Location::Header(place) => is_spelling_of(name, &[place.as_str()]),
        Location::Bearer => name == AUTHORIZATION.as_str().as_bytes() && resembles_bearer(value),
        Location::Query(_) | Location::WebSocketProtocol(_) => false,
    })
}

/// What stands in front of a key among the sub-protocols of a WebSocket, where this policy looks there.
pub fn protocol_prefix(policy: &AuthPolicy) -> Option<&str> {
    policy.locations.iter().find_map(|location| match location {
        Location::WebSocketProtocol(prefix) => Some(prefix.as_str()),
        Location::Header(_) | Location::Bearer | Location::Query(_) => None,
    })
}

/// The header fields that are places for keys by this policy.
pub fn key_fields(policy: &AuthPolicy) -> impl Iterator<Item = &HeaderName> {
    policy
        .locations
        .iter()
        .filter_map(|location| match location {
            Location::Header(name) => Some(name),
            Location::Bearer | Location::Query(_) | Location::WebSocketProtocol(_) => None,
        })
}

/// A Bearer value, or what a lax service may take for one: with other white space than RFC 6750 has.
fn resembles_bearer(value: &[u8]) -> bool {
    let scheme = value.trim_ascii().split(u8::is_ascii_whitespace).next();
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
}

/// The query without the parameters that are places for keys; every other byte as it was. `None`: nothing to cut.
pub fn strip_query(policy: &AuthPolicy, query: &str) -> Option<String> {
    let is_key = |pair: &str| {
        let name = percent_decoded(pair.split('=').next().unwrap_or_default());
        policy
            .locations
            .iter()
            .any(|place| matches!(place, Location::Query(key) if *name == *key.as_bytes()))
    };
    let asks = policy
        .locations
        .iter()
        .any(|place| matches!(place, Location::Query(_)));
    if !asks || !query.split('&').any(is_key) {
        return None;
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_key(pair)).collect();
    Some(kept.join("&"))
}

#[cfg(test)]
mod tests;
