//! Who calls, told upstream: names and values. Whatever the caller wrote under these names is removed first, in dash
//! and underscore spelling alike, since CGI-like services merge the two.

use crate::domain::id::Kind;
use crate::snapshot::key::Key;

/// Names under which services are told who calls: consumer, key, workspace, scopes, metadata. The last three are other
/// gateways' names, which services may trust too.
pub const OURS: [&str; 9] = [
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

/// Whether a field name, read with `_` as `-`, is one of the names (lower case, with dashes).
pub fn is_spelling_of(name: &[u8], names: &[&str]) -> bool {
    let same = |wanted: &str| {
        wanted.len() == name.len()
            && wanted
                .bytes()
                .zip(name)
                .all(|(a, b)| a == *b || (a == b'-' && *b == b'_'))
    };
    names.iter().any(|wanted| same(wanted))
}

/// Whether a field claims to say who calls. Such a field of the caller's never goes upstream.
pub fn is_claim(name: &[u8]) -> bool {
    const FAMILY: &str = "x-keygate";
    is_spelling_of(name, &OURS)
        || name
            .get(..FAMILY.len())
            .is_some_and(|start| is_spelling_of(start, &[FAMILY]))
}

/// Says who calls: exactly one of each.
#[inline]
pub(super) fn tell(key: &Key, with_metadata: bool, mut say: impl FnMut(&str, &[u8])) {
    let id = key.id.text(Kind::Key);
    let id = id.as_bytes();
    let (consumer, username) = match key.owner() {
        Some(owner) => (owner.id.as_bytes(), owner.name.as_bytes()),
        None => (id, key.name().as_bytes()),
    };
    say("x-consumer-id", consumer);
    say("x-consumer-username", username);
    say("x-credential-identifier", id);
    say("x-keygate-workspace", key.workspace_header().as_bytes());
    say("x-keygate-scopes", key.scopes().header.as_bytes());
    if with_metadata {
        say(
            "x-keygate-metadata",
            key.metadata().map_or(b"{}", |json| json.as_bytes()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dash_and_underscore_are_one_spelling() {
        for name in [
            "x-consumer-id",
            "x_consumer_id",
            "x-consumer_id",
            "x-keygate-anything",
            "x_keygate_scopes",
        ] {
            assert!(is_claim(name.as_bytes()), "{name}");
        }
        for name in [
            "x-consumer",
            "consumer-id",
            "x-consumer-idx",
            "xxconsumer-id",
        ] {
            assert!(!is_claim(name.as_bytes()), "{name}");
        }
    }
}
