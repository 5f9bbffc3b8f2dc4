//! Finding keys and cutting them out: what is found is all there was, and nothing of it is left behind.

use super::decoded;
use crate::domain::fields::Fields;
use crate::domain::key::MAX_PRESENTED_LEN;
use crate::domain::route::{AuthPolicy, Location};
use crate::domain::scope::ScopeDemand;
use crate::gate::Denied;
use crate::gate::extract::websocket_protocol::Offer;
use crate::gate::extract::{find, is_key_field, protocol_prefix, strip_query};
use crate::proxy::fuzzing::looks_native;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};

const PREFIX: &str = "keygate.api-key.";

/// First byte: which places the policy has. First line: the query. Each further line: a field.
pub fn extraction(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else {
        return;
    };
    let policy = policy(*choice);
    let mut lines = text.split(|byte| *byte == b'\n');
    let Some(Ok(query)) = lines.next().map(std::str::from_utf8) else {
        return;
    };
    let headers = fields(lines);
    what_is_found_was_all(&policy, &headers, query);
    nothing_is_left(&policy, &headers, query);
}

fn policy(choice: u8) -> AuthPolicy {
    let places = [
        Location::Header(HeaderName::from_static("x-api-key")),
        Location::Bearer,
        Location::Query("api_key".into()),
        Location::WebSocketProtocol(PREFIX.into()),
        Location::Query("k".into()),
        Location::Header(HeaderName::from_static("key")),
    ];
    let chosen = places.into_iter().enumerate();
    let mut locations: Vec<_> = chosen
        .filter(|(bit, _)| choice & (1 << bit) != 0)
        .map(|(_, place)| place)
        .collect();
    if choice & 0x80 != 0 {
        locations.reverse();
    }
    AuthPolicy {
        required: true,
        locations,
        scopes: ScopeDemand::None,
        preflight: false,
    }
}

fn fields<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.take(64) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = parts.next().unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// Every key that stands at a place, empty ones too.
fn keys_at(place: &Location, headers: &HeaderMap, query: &str) -> Vec<Vec<u8>> {
    let values = |name: &HeaderName| {
        let all = headers.get_all(name).into_iter();
        all.map(|value| value.as_bytes().trim_ascii().to_vec())
    };
    match place {
        Location::Header(name) => values(name).collect(),
        Location::Bearer => values(&AUTHORIZATION)
            .filter(|value| value.len() >= 6 && value[..6].eq_ignore_ascii_case(b"bearer"))
            .filter(|value| matches!(value.get(6), None | Some(b' ')))
            .map(|value| value[6..].trim_ascii().to_vec())
            .collect(),
        Location::Query(name) => pairs(query)
            .filter(|(key, _)| key == name.as_bytes())
            .map(|(_, value)| value)
            .collect(),
        Location::WebSocketProtocol(prefix) => values(&SEC_WEBSOCKET_PROTOCOL)
            .flat_map(|value| {
                let tokens = value.split(|byte| *byte == b',');
                let tokens = tokens.map(|token| token.trim_ascii().to_vec());
                tokens.collect::<Vec<_>>()
            })
            .filter_map(|token| match token.strip_prefix(prefix.as_bytes()) {
                Some(key) => Some(key.to_vec()),
                None => looks_native(&token).then_some(token),
            })
            .collect(),
    }
}

fn pairs(query: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    query.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name.as_bytes()), decoded(value.as_bytes()))
    })
}

fn what_is_found_was_all(policy: &AuthPolicy, headers: &HeaderMap, query: &str) {
    let all: Vec<_> = policy
        .locations
        .iter()
        .map(|place| (place, keys_at(place, headers, query)))
        .collect();
    // Two values of `Authorization` are one too many if either is a Bearer value.
    let doubled = all.iter().any(|(place, keys)| {
        let lines = headers.get_all(AUTHORIZATION).iter().count();
        let beside = **place == Location::Bearer && lines > 1;
        keys.len() > usize::from(!beside)
    });
    let mut said: Vec<_> = all.into_iter().flat_map(|(_, keys)| keys).collect();
    said.retain(|key| !key.is_empty());
    let differ = said.windows(2).any(|pair| pair[0] != pair[1]);
    match find(policy, &Fields::from(headers), Some(query)) {
        Err(Denied::Ambiguous) => assert!(doubled || differ, "refused as ambiguous: {said:?}"),
        Ok(None) => assert!(!doubled && said.is_empty(), "not found: {said:?}"),
        Ok(Some(key)) => {
            assert!(!doubled && !differ, "ambiguous: {said:?}");
            assert_eq!(said.first().map(Vec::as_slice), Some(key.expose()));
            assert!(key.expose().len() <= MAX_PRESENTED_LEN);
        }
        Err(other) => {
            assert_eq!(other, Denied::Unknown);
            let long = said.iter().any(|key| key.len() > MAX_PRESENTED_LEN);
            assert!(long && !doubled && !differ, "refused: {said:?}");
        }
    }
}

fn nothing_is_left(policy: &AuthPolicy, headers: &HeaderMap, query: &str) {
    let rest = stripped_query(policy, query);
    let mut left = HeaderMap::new();
    for (name, value) in headers {
        let protocols = protocol_prefix(policy).is_some() && *name == SEC_WEBSOCKET_PROTOCOL;
        if !protocols && !is_key_field(policy, name.as_str().as_bytes(), value.as_bytes()) {
            left.append(name, value.clone());
        }
    }
    let offer = protocol_prefix(policy).map(|prefix| Offer::of(&Fields::from(headers), prefix));
    if let Some(value) = offer.and_then(|offer| offer.rest) {
        left.append(SEC_WEBSOCKET_PROTOCOL, value);
    }
    let fields = Fields::from(&left);
    let found = find(policy, &fields, Some(&rest));
    assert!(
        matches!(found, Ok(None)),
        "a key is left in {rest:?} {left:?}"
    );
    for place in &policy.locations {
        let keys = keys_at(place, &left, &rest);
        assert!(keys.is_empty(), "{place:?} still says {keys:?}");
        if let Location::Header(key) = place {
            let merged = |name: &HeaderName| name.as_str().replace('_', "-");
            assert!(
                left.keys().all(|name| merged(name) != key.as_str()),
                "{left:?}"
            );
        }
    }
}

/// The query without keys: the other pairs byte for byte, and none of another order.
fn stripped_query(policy: &AuthPolicy, query: &str) -> String {
    let is_key = |pair: &&str| {
        let name = decoded(pair.split('=').next().unwrap_or_default().as_bytes());
        let asks =
            |place: &Location| matches!(place, Location::Query(key) if key.as_bytes() == name);
        policy.locations.iter().any(asks)
    };
    let kept: Vec<_> = query.split('&').filter(|pair| !is_key(pair)).collect();
    let kept = kept.join("&");
    let stripped = strip_query(policy, query);
    assert_eq!(
        stripped.is_some(),
        query.split('&').any(|pair| is_key(&pair))
    );
    let stripped = stripped.unwrap_or_else(|| query.into());
    assert_eq!(stripped, kept, "another byte than the keys' was touched");
    stripped
}
