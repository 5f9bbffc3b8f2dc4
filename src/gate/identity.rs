//! Who calls, told upstream: names and values. Whatever the caller wrote under these names is removed first, in dash
//! and underscore spelling alike, since CGI-like services merge the two.

use crate::domain::id::{Id, Kind};
use crate::snapshot::keys::Key;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;
use std::sync::LazyLock;

/// `con_…`, or the key's id when it has no consumer.
pub const CONSUMER_ID: HeaderName = HeaderName::from_static("x-consumer-id");
/// Name of the consumer, or of the key.
pub const CONSUMER_USERNAME: HeaderName = HeaderName::from_static("x-consumer-username");
/// The key's id.
pub const CREDENTIAL_IDENTIFIER: HeaderName = HeaderName::from_static("x-credential-identifier");
/// The workspace of the key.
pub const WORKSPACE: HeaderName = HeaderName::from_static("x-keygate-workspace");
/// The key's scopes, space-separated.
pub const SCOPES: HeaderName = HeaderName::from_static("x-keygate-scopes");
/// The key's metadata as one JSON object; only where the route asks for it.
pub const METADATA: HeaderName = HeaderName::from_static("x-keygate-metadata");

/// Names under which services expect to be told who calls; cleared on every request. The last three are other
/// gateways' names that services may trust.
const OURS: [&str; 9] = [
    "x-consumer-id",
    "x-consumer-username",
    "x-credential-identifier",
    "x-keygate-workspace",
    "x-keygate-scopes",
    "x-keygate-metadata",
    "x-consumer-custom-id",
    "x-consumer-groups",
    "x-anonymous-consumer",
];

/// The root workspace, which owns every declared key.
static ROOT: LazyLock<HeaderValue> = LazyLock::new(|| {
    let id = Id::derived("keygate root workspace v1", b"");
    HeaderValue::from_str(id.text(Kind::Workspace).as_str())
        .unwrap_or(HeaderValue::from_static("ws_"))
});

/// Whether a field name, read with `_` as `-`, is one of the names (lower case, with dashes).
pub fn is_spelling_of(name: &str, names: &[&str]) -> bool {
    let same = |wanted: &str| {
        wanted.len() == name.len()
            && wanted
                .bytes()
                .zip(name.bytes())
                .all(|(a, b)| a == b || (a == b'-' && b == b'_'))
    };
    names.iter().any(|wanted| same(wanted))
}

/// Whether a field claims who calls.
pub fn is_claim(name: &str) -> bool {
    // One look at the first letter spares most fields the comparison.
    name.starts_with('x') && is_spelling_of(name, &OURS)
}

/// Removes the fields whose name is one of a kind.
pub fn remove_where(headers: &mut HeaderMap, is_one: impl Fn(&str) -> bool) {
    let matching = headers.keys().filter(|name| is_one(name.as_str()));
    let found: SmallVec<[HeaderName; 4]> = matching.cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Removes what the caller claims to be.
pub fn clear(headers: &mut HeaderMap) {
    remove_where(headers, is_claim);
}

/// Says who calls; [`clear`] comes first.
pub(super) fn set(headers: &mut HeaderMap, key: &Key, with_metadata: bool) {
    let id = key.id.text(Kind::Key);
    let id = HeaderValue::from_str(id.as_str()).unwrap_or(HeaderValue::from_static("key_"));
    if let Some(owner) = &key.owner {
        headers.insert(CONSUMER_ID, owner.id.clone());
        headers.insert(CONSUMER_USERNAME, owner.name.clone());
    } else {
        let name = HeaderValue::from_bytes(key.name().as_bytes()).unwrap_or_else(|_| id.clone());
        headers.insert(CONSUMER_ID, id.clone());
        headers.insert(CONSUMER_USERNAME, name);
    }
    headers.insert(CREDENTIAL_IDENTIFIER, id);
    headers.insert(WORKSPACE, ROOT.clone());
    headers.insert(SCOPES, key.scopes.header.clone());
    if with_metadata {
        let none = || HeaderValue::from_static("{}");
        headers.insert(METADATA, key.metadata().cloned().unwrap_or_else(none));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dash_and_underscore_are_one_spelling() {
        for name in ["x-consumer-id", "x_consumer_id", "x-consumer_id"] {
            assert!(is_spelling_of(name, &OURS), "{name}");
        }
        for name in [
            "x-consumer",
            "consumer-id",
            "x-consumer-idx",
            "xxconsumer-id",
        ] {
            assert!(!is_spelling_of(name, &OURS), "{name}");
        }
    }

    #[test]
    fn clearing_leaves_everything_else() {
        let mut headers = HeaderMap::new();
        for name in [
            "x_consumer_id",
            "x-consumer-id",
            "x-keygate_scopes",
            "x-mine",
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("2"));
        }
        clear(&mut headers);
        assert_eq!(
            headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-mine"]
        );
    }
}
