//! The way up: what keys did, counted by each worker for itself and handed over in batches. A request touches memory of
//! its own core only; what nobody fetches in time is dropped and counted, never waited for.

use super::key::{KeyMark, SymbolId};
use crate::domain::key::KeyHash;
use crate::domain::time::Timestamp;
use crate::telemetry::metrics::Decision;
use hashbrown::HashTable;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Entries that a batch holds at most.
pub const MOST_ENTRIES: usize = 4096;
/// Imported keys that a batch names at most; the others are named at their next use.
const MOST_REHASHES: usize = 256;
/// Batches that wait at most.
const MOST_BATCHES: usize = 64;
/// Whoever fetches batches is called when so many wait.
const CALL_AT: usize = 4;
/// Lists that are kept for the next batches at most.
const MOST_SPARE: usize = 8;
/// An hour, the step in which use is kept.
pub const HOUR_MILLIS: i64 = 60 * 60 * 1000;

/// A use: when, and from where.
pub type Seen = (Timestamp, IpAddr);

/// What one secret did on one route within one hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which secret of which key; `None`: refusals of what is no key.
    pub key: Option<KeyMark>,
    /// The route.
    pub route: SymbolId,
    /// Decisions, in the order of [`Decision::ALL`].
    pub decisions: [u32; Decision::ALL.len()],
    /// Answers to permitted requests: up to 2xx, 3xx, 4xx, above.
    pub statuses: [u32; 4],
    /// Bytes of their bodies.
    pub bytes_in: u64,
    /// Bytes of the answers' bodies.
    pub bytes_out: u64,
    /// The first permitted request.
    pub first: Option<Seen>,
    /// The last one.
    pub last: Option<Seen>,
}

impl Entry {
    fn new(key: Option<KeyMark>, route: SymbolId) -> Self {
        Self {
            key,
            route,
            decisions: [0; Decision::ALL.len()],
            statuses: [0; 4],
            bytes_in: 0,
            bytes_out: 0,
            first: None,
            last: None,
        }
    }

    /// Permitted requests.
    pub fn permitted(&self) -> u64 {
        self.decisions[Decision::Permitted as usize].into()
    }

    /// Reasons of refusals, and how many there were of each.
    pub fn refusals(&self) -> impl Iterator<Item = (Decision, u64)> {
        // Nearly always there are none, and to add up is quicker than to look at each.
        let others = self.requests() - self.permitted();
        let all = if others == 0 { &[][..] } else { &Decision::ALL };
        all.iter()
            .copied()
            .zip(self.decisions)
            .filter(|(decision, count)| decision.is_refusal() && *count > 0)
            .map(|(decision, count)| (decision, count.into()))
    }

    fn requests(&self) -> u64 {
        self.decisions.iter().copied().map(u64::from).sum()
    }
}

/// A key that was imported as a sha256 has shown its secret: from now on it can be known by our own hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rehash {
    /// The key, by its sha256.
    pub key: KeyMark,
    /// The blake3 of the same secret.
    pub blake3: KeyHash,
}

/// What one worker counted since its last batch; all of it within one hour.
#[derive(Debug, Default)]
pub struct Batch {
    /// The beginning of that hour.
    pub hour: Timestamp,
    /// The counts.
    pub entries: Vec<Entry>,
    /// Imported keys that were used.
    pub rehashes: Vec<Rehash>,
}

impl Batch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.rehashes.is_empty()
    }

    /// Decisions that it counts.
    pub fn requests(&self) -> u64 {
        self.entries.iter().map(Entry::requests).sum()
    }
}

/// Batches on their way from the workers to whoever keeps them. A worker takes its lock about once a second.
#[derive(Debug, Default)]
pub struct Queue {
    batches: Mutex<Vec<Batch>>,
    /// Lists of batches that were fetched. One that grew for many keys is a megabyte, which a worker would else get from the
    /// system page by page, and copy several times while it grows.
    spare: Mutex<Vec<Vec<Entry>>>,
    called: Notify,
}

impl Queue {
    /// Adds a batch.
    ///
    /// # Errors
    /// Gives it back when too many wait already.
    pub fn push(&self, batch: Batch) -> Result<(), Batch> {
        let mut batches = self.batches();
        if batches.len() >= MOST_BATCHES {
            return Err(batch);
        }
        batches.push(batch);
        let many = batches.len() >= CALL_AT;
        drop(batches);
        if many {
            self.called.notify_one();
        }
        Ok(())
    }

    /// All that wait.
    pub fn drain(&self) -> Vec<Batch> {
        std::mem::take(&mut *self.batches())
    }

    /// A list for a worker's next batch: one that was used before, if there is one.
    pub fn spare(&self) -> Vec<Entry> {
        self.spares().pop().unwrap_or_default()
    }

    /// Takes the list of a batch back for [`Queue::spare`]. Short ones cost a worker nothing.
    pub fn recycle(&self, mut entries: Vec<Entry>) {
        entries.clear();
        let mut spare = self.spares();
        if entries.capacity() >= MOST_ENTRIES / 4 && spare.len() < MOST_SPARE {
            spare.push(entries);
        }
    }

    /// Lets go of a list that nobody has needed.
    pub fn shrink(&self) {
        let unneeded = self.spares().pop();
        drop(unneeded);
    }

    fn spares(&self) -> MutexGuard<'_, Vec<Vec<Entry>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until many wait.
    pub async fn called(&self) {
        self.called.notified().await;
    }

    fn batches(&self) -> MutexGuard<'_, Vec<Batch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where an entry was last seen, so that the end of a request finds it without a look-up.
pub type Place = usize;

/// A worker's counts since its last batch.
#[derive(Debug, Default)]
pub struct Tally {
    /// Places in `batch.entries`, by hash and route.
    places: HashTable<Place>,
    batch: Batch,
}

impl Tally {
    /// Whether a use at this time belongs into another batch than what is counted here.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let begun = self.batch.hour.as_millis();
        !self.batch.is_empty() && !(begun..begun + HOUR_MILLIS).contains(&now.as_millis())
    }

    /// Whether the batch must be handed over before more is counted.
    pub fn is_full(&self) -> bool {
        self.batch.entries.len() >= MOST_ENTRIES
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// What is counted; begins anew.
    pub fn take(&mut self) -> Batch {
        self.take_for(Vec::new())
    }

    /// What is counted; begins anew with this empty list, see [`Queue::spare`].
    pub fn take_for(&mut self, entries: Vec<Entry>) -> Batch {
        self.places.clear();
        let next = Batch {
            entries,
            ..Batch::default()
        };
        std::mem::replace(&mut self.batch, next)
    }

    /// Counts a decision.
    pub fn decided(
        &mut self,
        decision: Decision,
        (key, route): (Option<KeyMark>, SymbolId),
        seen: Seen,
    ) -> Place {
        let place = self.place(key, route, seen.0);
        let entry = &mut self.batch.entries[place];
        entry.decisions[decision as usize] += 1;
        if decision == Decision::Permitted {
            entry.first.get_or_insert(seen);
            if entry.last.is_none_or(|(last, _)| last <= seen.0) {
                entry.last = Some(seen);
            }
        }
        place
    }

    /// Counts the end of a permitted request. `place` is where its decision was counted, perhaps in an earlier batch.
    pub fn ended(
        &mut self,
        place: Place,
        (key, route): (KeyMark, SymbolId),
        answer: Answer,
        now: impl FnOnce() -> Timestamp,
    ) {
        let is_there = |entry: &Entry| {
            entry.route == route && entry.key.as_ref().map(|mark| &mark.hash) == Some(&key.hash)
        };
        let place = if self.batch.entries.get(place).is_some_and(is_there) {
            place
        } else {
            let begun = self.batch.hour;
            let now = if self.is_empty() { now() } else { begun };
            self.place(Some(key), route, now)
        };
        let entry = &mut self.batch.entries[place];
        entry.statuses[status_class(answer.status)] += 1;
        entry.bytes_in += answer.bytes_in;
        entry.bytes_out += answer.bytes_out;
    }

    /// Notes that an imported key has shown its secret.
    pub fn rehash(&mut self, rehash: Rehash, now: Timestamp) {
        self.begin(now);
        let known = &mut self.batch.rehashes;
        if known.len() < MOST_REHASHES && !known.contains(&rehash) {
            known.push(rehash);
        }
    }

    fn begin(&mut self, now: Timestamp) {
        if self.batch.is_empty() {
            let millis = now.as_millis();
            self.batch.hour = Timestamp::from_millis(millis - millis.rem_euclid(HOUR_MILLIS));
        }
    }

    fn place(&mut self, key: Option<KeyMark>, route: SymbolId, now: Timestamp) -> Place {
        let first = mix(key.as_ref(), route);
        let entries = &self.batch.entries;
        let same = |place: &Place| {
            let entry = &entries[*place];
            entry.route == route
                && entry.key.as_ref().map(|mark| &mark.hash) == key.as_ref().map(|mark| &mark.hash)
        };
        if let Some(place) = self.places.find(first, same) {
            return *place;
        }
        self.begin(now);
        let entries = &mut self.batch.entries;
        let place = entries.len();
        entries.push(Entry::new(key, route));
        let entries = &*entries;
        self.places.insert_unique(first, place, |place| {
            mix(entries[*place].key.as_ref(), entries[*place].route)
        });
        place
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// Status of the answer.
    pub status: u16,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
}

/// Hashes of secrets are random already; an odd constant spreads the routes.
fn mix(key: Option<&KeyMark>, route: SymbolId) -> u64 {
    let first = key.and_then(|mark| mark.hash.as_bytes().first_chunk::<8>());
    let first = first.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    first ^ u64::from(route).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A switch of protocols is a success as well.
fn status_class(status: u16) -> usize {
    match status {
        ..300 => 0,
        300..400 => 1,
        400..500 => 2,
        500.. => 3,
    }
}

#[cfg(test)]
mod tests;
