//! Check the key: form, hash, state, time, address. The exact reason is told only once the hash has matched.

use super::Denied;
use super::extract::Presented;
use crate::domain::key::{KeyFormat, KeyHash, KeyState, Shape};
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
    if format.shape(presented.expose()) == Shape::Malformed {
        return Err((Denied::Malformed, None));
    }
    let hash = KeyHash::of(presented.expose());
    let key = keys
        .find(&hash)
        .or_else(|| keys.find_imported(presented.expose()))
        .ok_or((Denied::Unknown, None))?;
    match in_force(&key, now).and_then(|()| usable(&key, presented, from)) {
        Ok(()) => Ok(Verified { key }),
        Err(denied) => {
            key.usage.refused();
            Err((denied, Some(key.mark())))
        }
    }
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

fn usable(key: &Key, presented: &Presented<'_>, from: IpAddr) -> Result<(), Denied> {
    if !key.locations.contains(presented.location) {
        return Err(Denied::Location);
    }
    if !key.allows_address(from) {
        return Err(Denied::Address);
    }
    Ok(())
}
