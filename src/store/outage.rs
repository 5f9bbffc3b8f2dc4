//! What the log says of a store that is away: one line when the first part of the process notices, one when the last of
//! them works again. Many parts use the store, and each would say the same.

use super::error::StoreError;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The parts that the store fails now.
#[derive(Debug, Default)]
pub struct Outage(Mutex<BTreeSet<&'static str>>);

impl Outage {
    fn parts(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part could not use the store. It tries again within seconds, and says how that goes.
    pub fn failed(&self, part: &'static str, fault: &StoreError) {
        let is_first = self.begins(part, is_absence(fault));
        tell(is_first, part, fault);
    }

    /// A part could not use the store, and it may be long until it tries again: that the store is back is told by others.
    pub fn met(&self, part: &'static str, fault: &StoreError) {
        let is_told = is_absence(fault) && !self.parts().is_empty();
        tell(!is_told, part, fault);
    }

    /// A part could use the store.
    pub fn worked(&self, part: &'static str) {
        if self.ends(part) {
            tracing::info!("the store is back");
        }
    }

    /// Whether this is to be told: an absence once, a fault of another kind once by each part.
    fn begins(&self, part: &'static str, absence: bool) -> bool {
        let mut parts = self.parts();
        let is_new = parts.insert(part);
        is_new && (parts.len() == 1 || !absence)
    }

    fn ends(&self, part: &'static str) -> bool {
        let mut parts = self.parts();
        parts.remove(part) && parts.is_empty()
    }
}

fn is_absence(fault: &StoreError) -> bool {
    matches!(fault, StoreError::Unavailable(_))
}

fn tell(aloud: bool, part: &'static str, fault: &StoreError) {
    if aloud {
        tracing::warn!(
            part,
            error = %fault,
            "no store: keys stay as they are, and what is to be written waits until it is back"
        );
    } else {
        tracing::debug!(part, error = %fault, "still no store");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_is_told_once_and_its_end_too() {
        let outage = Outage::default();
        assert!(!outage.ends("changes"), "nothing had begun");
        assert!(outage.begins("changes", true));
        assert!(!outage.begins("changes", true) && !outage.begins("usage", true));
        assert!(outage.begins("webhooks", false), "of another kind");
        assert!(!outage.begins("webhooks", false));
        assert!(!outage.ends("changes") && !outage.ends("webhooks"));
        assert!(outage.ends("usage") && !outage.ends("usage"));
        assert!(outage.begins("usage", true), "the next one");
    }
}
