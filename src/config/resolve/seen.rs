//! Things that must be unique: the first one keeps its place, the others are reported.

use crate::config::raw::Item;
use std::collections::HashMap;
use std::hash::Hash;

/// What was seen, and the path it was first seen at.
pub(super) struct Seen<K>(HashMap<K, String>);

impl<K> Default for Seen<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Seen<K> {
    /// The thing itself if it is new; a fault such as `the same name as routes[0]` if not.
    pub(super) fn claim(&mut self, thing: K, item: &Item<'_>, complaint: &str) -> Option<K> {
        if let Some(first) = self.0.get(&thing) {
            item.fault(format!("{complaint} {first}"));
            return None;
        }
        self.0.insert(thing.clone(), item.path().to_owned());
        Some(thing)
    }
}
