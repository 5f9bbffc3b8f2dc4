//! The fields of a key that say nothing about other items.

use super::seen::Seen;
use crate::config::raw::Fields;
use crate::config::value;
use crate::domain::key::KeyState;
use crate::domain::route::{LocationKind, LocationSet};
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;

const MAX_METADATA_ENTRIES: usize = 32;
const MAX_METADATA_BYTES: usize = 4096;
const STATES: [(&str, KeyState); 3] = [
    ("active", KeyState::Active),
    ("disabled", KeyState::Disabled),
    ("revoked", KeyState::Revoked),
];

/// Fields for people: checked, so that a slip is told, but of no use to the gateway.
pub(super) fn unkept(fields: &Fields<'_>) {
    fields.read("description", |_| Ok(()));
    fields.list("tags", |item| item.read(value::name));
}

pub(super) fn times(fields: &Fields<'_>) -> (Option<Timestamp>, Option<Timestamp>) {
    let start = fields.get("not_before");
    let not_before = start
        .as_ref()
        .and_then(|item| item.read_scalar(value::timestamp));
    let end = fields.get("expires_at");
    let expires_at = end
        .as_ref()
        .and_then(|item| item.read_scalar(value::timestamp));
    if let (Some(item), Some(end), Some(start)) = (end, expires_at, not_before)
        && end <= start
    {
        item.fault("must be later than `not_before`");
    }
    (not_before, expires_at)
}

pub(super) fn state(fields: &Fields<'_>) -> KeyState {
    let known = STATES.map(|(name, _)| name);
    let find = |text: &str| {
        STATES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, state)| *state)
            .ok_or_else(|| value::unknown("state", text, &known))
    };
    fields.read("state", find).unwrap_or_default()
}

pub(super) fn locations(fields: &Fields<'_>) -> LocationSet {
    let Some(item) = fields.get("locations") else {
        return LocationSet::ANY;
    };
    let items = item.items();
    if item.is_list() && items.is_empty() {
        item.fault("an empty list allows no location; leave `locations` out for all");
    }
    let known = LocationKind::ALL.map(LocationKind::name);
    let find = |text: &str| {
        LocationKind::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| value::unknown("location", text, &known))
    };
    let mut seen = Seen::default();
    items
        .iter()
        .filter_map(|item| {
            let kind = item.read(find)?;
            seen.claim(kind.name(), item, "the same as").map(|_| kind)
        })
        .fold(LocationSet::EMPTY, LocationSet::with)
}

pub(super) fn metadata(fields: &Fields<'_>) -> BTreeMap<String, String> {
    let Some(item) = fields.get("metadata") else {
        return BTreeMap::new();
    };
    let entries = item.entries().unwrap_or_default();
    let mut metadata = BTreeMap::new();
    for entry in entries {
        let at = item.value_of(entry);
        if let Err(what) = value::name(&entry.name) {
            at.fault_at(entry.place, at.path().to_owned(), what);
        }
        match at.scalar().map(value::plain) {
            Some(Ok(text)) => {
                metadata.insert(entry.name.to_string(), text);
            }
            Some(Err(what)) => at.fault(what),
            None => at.fault("expected text, a number, `true` or `false`"),
        }
    }
    let bytes: usize = metadata
        .iter()
        .map(|(name, text)| name.len() + text.len())
        .sum();
    if entries.len() > MAX_METADATA_ENTRIES || bytes > MAX_METADATA_BYTES {
        item.fault("at most 32 entries, and 4096 bytes of names and values in all");
    }
    metadata
}
