//! Check the key: form, hash, state, time, address. The exact reason is told only once the hash has matched.

use super::Denied;
use super::extract::Presented;
use crate::domain::key::{KeyFormat, KeyHash, KeyState, Shape};
use crate::domain::route::LocationKind;
use crate::domain::time::Timestamp;
use crate::snapshot::key::{Key, KeyMark};
use crate::snapshot::keys::{KeyRef, KeyTable};
use std::net::IpAddr;

/// A key that exists and is in force; what it may do is `authorize`'s business. Holds the table's shard.
pub struct Verified<'a> {
    pub(super) key: KeyRef<'a>,
}

/// A refusal, and the key it is about if there is one, for the log and for its usage.
pub type Refusal = (Denied, Option<KeyMark>);

/// Looks the presented key up and checks what does not depend on the request's target.
pub fn check<'a>(
    keys: &'a KeyTable,
    format: &KeyFormat,
    presented: &Presented<'_>,
    (now, from): (Timestamp, IpAddr),
) -> Result<Verified<'a>, Refusal> {
    let key = find(keys, format, presented.expose()).map_err(|denied| (denied, None))?;
    match fits(&key, Some(presented.location), (now, from)) {
        Ok(()) => Ok(Verified { key }),
        Err(denied) => {
            key.usage.refused();
            Err((denied, Some(key.mark())))
        }
    }
}

/// The key with this secret; nothing is noted.
pub(super) fn find<'a>(
    keys: &'a KeyTable,
    format: &KeyFormat,
    secret: &[u8],
) -> Result<KeyRef<'a>, Denied> {
    if format.shape(secret) == Shape::Malformed {
        return Err(Denied::Malformed);
    }
    let hash = KeyHash::of(secret);
    keys.find(&hash)
        .or_else(|| keys.find_imported(secret))
        .ok_or(Denied::Unknown)
}

/// Whether a key is in force, and may stand in this place (`None`: nobody knows where it stood) and come from this
/// address; nothing is noted.
pub(super) fn fits(
    key: &Key,
    location: Option<LocationKind>,
    (now, from): (Timestamp, IpAddr),
) -> Result<(), Denied> {
    in_force(key, now)?;
    if location.is_some_and(|kind| !key.locations.contains(kind)) {
        return Err(Denied::Location);
    }
    if !key.allows_address(from) {
        return Err(Denied::Address);
    }
    Ok(())
}

fn in_force(key: &Key, now: Timestamp) -> Result<(), Denied> {
    match key.state {
        KeyState::Active => {}
        KeyState::Disabled => return Err(Denied::Disabled),
        KeyState::Revoked => return Err(Denied::Revoked),
        KeyState::Deleted => return Err(Denied::Unknown),
    }
    if key.not_before().is_some_and(|start| now < start) {
        return Err(Denied::NotYetValid);
    }
    if key.expires_at().is_some_and(|end| now >= end) {
        return Err(Denied::Expired);
    }
    Ok(())
}
