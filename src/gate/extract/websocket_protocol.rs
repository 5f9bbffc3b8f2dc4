//! A key among the sub-protocols that a WebSocket client offers: all that a browser lets a page say there (RFC 6455 §4.1).
//!
//! A page offers `keygate.api-key.<key>` beside the sub-protocols it speaks, or a native key as it is. The service sees the
//! others only. A browser gives up when none of what it offered is chosen; so that one that speaks no sub-protocol at all can
//! be answered without saying its key again, it may offer the bare name `keygate.api-key` too, which is chosen for it then.

use super::Denied;
use crate::domain::fields::Fields;
use http::header::HeaderValue;

/// Characters of a native key behind its environment.
const NATIVE_BODY: usize = crate::domain::key::BODY_LEN;

/// The offered sub-protocols in order.
fn tokens(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    fields
        .get_all("sec-websocket-protocol")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// The key that a token carries.
fn key_in<'a>(token: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    match token.strip_prefix(prefix.as_bytes()) {
        Some(key) => Some(key),
        None => looks_native(token).then_some(token),
    }
}

/// `brand_environment_body`, whatever brand and environment are.
fn looks_native(token: &[u8]) -> bool {
    let mut parts = token.split(|byte| *byte == b'_');
    let word = |part: Option<&[u8]>| {
        part.is_some_and(|part| {
            (1..=16).contains(&part.len())
                && part
                    .iter()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
    };
    let named = word(parts.next()) && word(parts.next());
    let body = parts.next();
    named
        && body.is_some_and(|body| {
            body.len() == NATIVE_BODY && body.iter().all(u8::is_ascii_alphanumeric)
        })
        && parts.next().is_none()
}

/// The bare name: the prefix without its dot.
fn is_marker(token: &[u8], prefix: &str) -> bool {
    prefix
        .strip_suffix('.')
        .is_some_and(|name| token == name.as_bytes())
}

/// The key that is offered; empty ones count as none.
///
/// # Errors
/// [`Denied::Ambiguous`] when two sub-protocols carry one.
pub(super) fn find<'a>(fields: &'a Fields, prefix: &str) -> Result<Option<&'a [u8]>, Denied> {
    let mut keys = tokens(fields).filter_map(|token| key_in(token, prefix));
    let first = keys.next();
    if keys.next().is_some() {
        return Err(Denied::Ambiguous);
    }
    Ok(first)
}

/// What is offered besides keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Whether a key was among it.
    pub has_key: bool,
    /// The sub-protocols for the service, as they go upstream; `None`: there is none.
    pub rest: Option<HeaderValue>,
    /// What is chosen if the service chooses nothing: the bare name, else, for a client that offered nothing but its key, the
    /// very sub-protocol that carries it, since a browser would give up otherwise.
    pub fallback: Option<HeaderValue>,
}

impl Offer {
    /// Looks through what a request offers.
    pub fn of(fields: &Fields, prefix: &str) -> Self {
        let mut offer = Self::default();
        let mut rest = Vec::new();
        let (mut marker, mut carrier) = (None, None);
        for token in tokens(fields) {
            if key_in(token, prefix).is_some() {
                offer.has_key = true;
                carrier = Some(token);
            } else if is_marker(token, prefix) {
                marker = Some(token);
            } else {
                if !rest.is_empty() {
                    rest.extend_from_slice(b", ");
                }
                rest.extend_from_slice(token);
            }
        }
        let carrier = carrier.filter(|_| rest.is_empty());
        offer.fallback = marker
            .or(carrier)
            .and_then(|token| HeaderValue::from_bytes(token).ok());
        if !rest.is_empty() {
            offer.rest = HeaderValue::from_bytes(&rest).ok();
        }
        offer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PREFIX: &str = "keygate.api-key.";

    fn offer(values: &[&str]) -> Fields {
        let mut fields = Fields::default();
        for value in values {
            fields.push(&http::header::SEC_WEBSOCKET_PROTOCOL, value.as_bytes());
        }
        fields
    }

    fn native() -> String {
        crate::domain::key::KeyFormat::default()
            .compose("live", &[7; 32])
            .expose()
            .to_owned()
    }

    #[test]
    fn a_key_is_found_in_either_form_and_taken_out() {
        let native = native();
        let bare = format!("chat, {native}");
        let long = "keygate.api-key.abc, chat ,superchat";
        let cases: [(&[&str], Option<&str>, Option<&str>); 7] = [
            (&[long], Some("abc"), Some("chat, superchat")),
            (&["chat", "keygate.api-key.abc"], Some("abc"), Some("chat")),
            (&[&bare], Some(&native), Some("chat")),
            (&["chat"], None, Some("chat")),
            (&["kg_live_short"], None, Some("kg_live_short")),
            (&["keygate.api-key, keygate.api-key.abc"], Some("abc"), None),
            (&[], None, None),
        ];
        for (values, key, rest) in cases {
            let headers = offer(values);
            let found = find(&headers, PREFIX).unwrap();
            assert_eq!(found, key.map(str::as_bytes), "{values:?}");
            let offer = Offer::of(&headers, PREFIX);
            assert_eq!(
                offer.rest.as_ref().map(|rest| rest.to_str().unwrap()),
                rest,
                "{values:?}"
            );
            assert_eq!(offer.has_key, key.is_some());
        }
    }

    #[test]
    fn two_keys_are_one_too_many() {
        for values in [
            &["keygate.api-key.a, keygate.api-key.b"][..],
            &["keygate.api-key.a", "keygate.api-key.a"],
        ] {
            assert_eq!(find(&offer(values), PREFIX), Err(Denied::Ambiguous));
        }
    }

    #[test]
    fn what_is_chosen_where_the_service_chooses_nothing() {
        let fallback = |value: &str| {
            Offer::of(&offer(&[value]), PREFIX)
                .fallback
                .map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(
            fallback("keygate.api-key, keygate.api-key.abc").as_deref(),
            Some("keygate.api-key")
        );
        assert_eq!(
            fallback("keygate.api-key.abc").as_deref(),
            Some("keygate.api-key.abc")
        );
        assert_eq!(fallback("chat, keygate.api-key.abc"), None);
        assert_eq!(fallback("chat"), None);
    }

    proptest! {
        #[test]
        fn no_rest_carries_a_key(tokens in proptest::collection::vec("[a-z.-]{0,20}|keygate\\.api-key\\.[a-z]{0,5}", 0..6)) {
            let headers = offer(&[&tokens.join(",")]);
            let mut left = Fields::default();
            if let Some(rest) = Offer::of(&headers, PREFIX).rest {
                left.push(&http::header::SEC_WEBSOCKET_PROTOCOL, rest.as_bytes());
            }
            prop_assert_eq!(find(&left, PREFIX), Ok(None));
        }
    }
}
