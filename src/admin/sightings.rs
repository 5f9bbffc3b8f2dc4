//! When tokens and sessions were used last. It is noted in the store beside the calls: whoever only reads does not wait for
//! somebody who writes. What is on its way there is known here.

use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use moka::sync::Cache;
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// Tokens and sessions that are known at a time.
const MOST: u64 = 10_000;
/// Longer than a note needs, or needs to fail.
const KEPT: Duration = Duration::from_mins(15);
/// Uses are noted to the minute.
const EACH_MILLIS: i64 = 60_000;

/// The last uses, by token or session.
#[derive(Debug, Clone)]
pub struct Sightings(Cache<Id, Timestamp>);

impl Default for Sightings {
    fn default() -> Self {
        let cache = Cache::builder().max_capacity(MOST).time_to_idle(KEPT);
        Self(cache.build())
    }
}

impl Sightings {
    /// The last use, when the store knows of this one.
    pub(super) fn latest(&self, id: Id, kept: Timestamp) -> Timestamp {
        self.0.get(&id).map_or(kept, |seen| seen.max(kept))
    }

    /// Notes a use, unless there was one within the minute; nobody waits for it.
    pub(super) fn note(
        &self,
        id: Id,
        kept: Option<Timestamp>,
        now: Timestamp,
        note: impl Future<Output = Result<(), StoreError>> + Send + 'static,
    ) {
        let last = self.0.get(&id).max(kept);
        if last.is_some_and(|last| now.as_millis() - last.as_millis() < EACH_MILLIS) {
            return;
        }
        self.0.insert(id, now);
        let own = self.clone();
        TaskTracker::new().spawn(async move {
            if note.await.is_err() {
                // The next call tries again.
                own.0.invalidate(&id);
            }
        });
    }
}
