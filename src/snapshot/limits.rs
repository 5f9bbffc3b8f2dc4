//! What is left of limits: one bucket for each route, consumer and key that has one, shared by all workers.
//!
//! A bucket is a generic cell rate algorithm (ITU-T I.371, annex A): one number, the moment at which it will be full again.
//! Taking from it is one compare-and-swap and no lock, and it leaks at the exact rate, without windows at whose edges twice
//! as much would pass.

use crate::domain::id::Id;
use crate::domain::limit::Limit;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How things stand with a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Requests that may still come at once.
    pub remaining: u32,
    /// Until it is full again.
    pub full_in: Duration,
    /// Until the next request may pass; nothing while one may.
    pub free_in: Duration,
}

/// What is left of one limit.
#[derive(Debug)]
pub struct Bucket {
    limit: Limit,
    interval: u64,
    window: u64,
    /// When it is full again, by [`crate::clock::Clock::monotonic_nanos`].
    full_at: AtomicU64,
}

impl PartialEq for Bucket {
    fn eq(&self, other: &Self) -> bool {
        self.limit == other.limit
    }
}

impl Eq for Bucket {}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

impl Bucket {
    fn new(limit: Limit, full_at: u64) -> Self {
        Self {
            limit,
            interval: nanos(limit.interval()),
            window: nanos(limit.window()),
            full_at: AtomicU64::new(full_at),
        }
    }

    /// The limit.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Takes one request out of it.
    ///
    /// # Errors
    /// It is empty, and nothing was taken.
    pub fn take(&self, now: u64) -> Result<Level, Level> {
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let next = match self.next(full_at, now) {
                Ok(next) => next,
                Err(level) => {
                    self.forgive(full_at, now);
                    return Err(level);
                }
            };
            match self.full_at.compare_exchange_weak(
                full_at,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(self.level(next, now)),
                Err(other) => full_at = other,
            }
        }
    }

    /// Puts one request back that was taken a moment ago and came to nothing.
    pub fn give_back(&self) {
        self.full_at.fetch_sub(self.interval, Ordering::Relaxed);
    }

    /// How it stands; nothing is taken.
    ///
    /// # Errors
    /// It is empty: [`Bucket::take`] would say so too.
    pub fn peek(&self, now: u64) -> Result<Level, Level> {
        let next = self.next(self.full_at.load(Ordering::Relaxed), now)?;
        Ok(self.level(next - self.interval, now))
    }

    /// A bucket that took over from one with a longer window misses no more than it can hold, from now on.
    fn forgive(&self, full_at: u64, now: u64) {
        let empty = now.saturating_add(self.window);
        if full_at > empty {
            // Whoever was faster has done the same, or has taken from it.
            let _ =
                self.full_at
                    .compare_exchange(full_at, empty, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// When it will be full again once one more is taken.
    fn next(&self, full_at: u64, now: u64) -> Result<u64, Level> {
        // See `forgive`.
        let full_at = full_at.clamp(now, now.saturating_add(self.window));
        let next = full_at.saturating_add(self.interval);
        if next - now > self.window {
            return Err(Level {
                remaining: 0,
                full_in: Duration::from_nanos(full_at - now),
                free_in: Duration::from_nanos(next - now - self.window),
            });
        }
        Ok(next)
    }

    fn level(&self, full_at: u64, now: u64) -> Level {
        let missing = full_at - now;
        let left = (self.window - missing) / self.interval.max(1);
        Level {
            remaining: u32::try_from(left).unwrap_or(u32::MAX),
            full_in: Duration::from_nanos(missing),
            free_in: Duration::ZERO,
        }
    }
}

/// Whose bucket it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LimitOwner {
    /// A route, by name.
    Route(String),
    /// A consumer.
    Consumer(Id),
    /// A key, whichever of its secrets is shown.
    Key(Id),
}

/// The buckets that are in use, so that a reload or an edit does not fill them.
#[derive(Debug, Default)]
pub struct Buckets(HashMap<LimitOwner, Arc<Bucket>>);

impl Buckets {
    /// The bucket of this owner. Under another limit it begins as empty as it was.
    pub fn bucket(&mut self, owner: LimitOwner, limit: Limit) -> Arc<Bucket> {
        let known = self.0.get(&owner);
        if let Some(known) = known.filter(|known| known.limit == limit) {
            return Arc::clone(known);
        }
        let full_at = known.map_or(0, |known| known.full_at.load(Ordering::Relaxed));
        let bucket = Arc::new(Bucket::new(limit, full_at));
        self.0.insert(owner, Arc::clone(&bucket));
        bucket
    }

    /// Forgets those that nobody holds any more.
    pub fn forget_unused(&mut self) {
        self.0.retain(|_, bucket| Arc::strong_count(bucket) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::Rate;

    const SECOND: u64 = 1_000_000_000;

    fn limit(rate: &str, burst: u64) -> Limit {
        Limit::new(Rate::parse(rate).unwrap(), Some(burst)).unwrap()
    }

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate() {
        let bucket = Bucket::new(limit("10/s", 3), 0);
        let now = 5 * SECOND;
        for remaining in [2, 1, 0] {
            assert_eq!(bucket.take(now).unwrap().remaining, remaining);
        }
        let empty = bucket.take(now).unwrap_err();
        assert_eq!(empty.free_in, Duration::from_millis(100));
        assert_eq!(empty.full_in, Duration::from_millis(300));
        assert!(bucket.take(now + SECOND / 10 - 1).is_err());
        assert_eq!(bucket.take(now + SECOND / 10).unwrap().remaining, 0);
        assert!(bucket.take(now + SECOND / 10).is_err());
        assert_eq!(bucket.take(now + 60 * SECOND).unwrap().remaining, 2);
    }

    #[test]
    fn what_is_refused_costs_nothing_and_what_is_given_back_is_there_again() {
        let bucket = Bucket::new(limit("1/h", 1), 0);
        let now = 7 * SECOND;
        assert_eq!(bucket.peek(now).unwrap().remaining, 1);
        assert!(bucket.take(now).is_ok());
        for _ in 0..100 {
            assert!(bucket.take(now).is_err());
        }
        assert!(bucket.take(now + 3600 * SECOND).is_ok());
        assert!(bucket.peek(now + 3600 * SECOND).is_err());
        bucket.give_back();
        assert!(bucket.take(now + 3600 * SECOND).is_ok());
    }

    #[test]
    fn many_threads_get_no_more_than_the_limit() {
        let bucket = Bucket::new(limit("1/d", 100), 0);
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| bucket.take(SECOND).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(taken, 100);
    }

    #[test]
    fn another_limit_goes_on_from_where_the_first_one_was() {
        let mut buckets = Buckets::default();
        let owner = || LimitOwner::Route("a".into());
        let first = buckets.bucket(owner(), limit("1/h", 2));
        assert!(first.take(SECOND).is_ok() && first.take(SECOND).is_ok());
        let same = buckets.bucket(owner(), limit("1/h", 2));
        assert!(same.take(SECOND).is_err());
        // Two hours are missing, but no more than its own window can be.
        let wider = buckets.bucket(owner(), limit("1/s", 2));
        assert!(wider.take(SECOND).is_err());
        assert!(wider.take(2 * SECOND).is_ok());
        drop((first, same, wider));
        buckets.forget_unused();
        assert!(buckets.0.is_empty());
    }
}
