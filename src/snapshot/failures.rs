//! Networks that present wrong keys, and how many each has tried: a table of fixed size, shared by all workers, without
//! locks. Whoever fills it with networks drives out others that have failed, and holds up nobody else.
//!
//! Each network has a bucket as in [`super::limits`], told by one number: when it will be full again. As long as no bucket
//! is empty, a request costs one load.

use crate::domain::limit::Limit;
use crate::domain::network::Network;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Networks that share a place in the table; the one that is forgiven first makes room.
const WAYS: usize = 8;
/// Such places; with the above, 65,536 networks in one MiB.
const PLACES: u64 = 8192;

/// One network.
#[derive(Debug, Default)]
struct Slot {
    /// Its hash under a secret of this process; 0: nobody's.
    tag: AtomicU64,
    /// When its bucket is full again, by [`crate::clock::Clock::monotonic_nanos`].
    full_at: AtomicU64,
}

/// The table.
#[derive(Debug)]
pub struct Failures {
    /// Until then some network is held up.
    until: AtomicU64,
    slots: Box<[Slot]>,
    secret: RandomState,
}

impl Default for Failures {
    fn default() -> Self {
        let slots = usize::try_from(PLACES).unwrap_or(1) * WAYS;
        Self {
            until: AtomicU64::new(0),
            slots: (0..slots).map(|_| Slot::default()).collect(),
            secret: RandomState::new(),
        }
    }
}

impl Failures {
    /// Whether no network at all is held up: one load, for whoever need not know more.
    pub fn is_quiet(&self, now: u64) -> bool {
        now >= self.until.load(Relaxed)
    }

    /// Whether requests of a network may come.
    ///
    /// # Errors
    /// It has tried too often; for how long it has to wait.
    pub fn check(&self, network: Network, limit: Limit, now: u64) -> Result<(), Duration> {
        if self.is_quiet(now) {
            return Ok(());
        }
        let (tag, ways) = self.ways(network);
        let Some(slot) = ways.iter().find(|slot| slot.tag.load(Relaxed) == tag) else {
            return Ok(());
        };
        match Pace::of(limit).wait(slot.full_at.load(Relaxed), now) {
            0 => Ok(()),
            wait => Err(Duration::from_nanos(wait)),
        }
    }

    /// Notes a wrong key.
    pub fn note(&self, network: Network, limit: Limit, now: u64) {
        let pace = Pace::of(limit);
        let slot = self.slot(network);
        let took = slot.full_at.fetch_update(Relaxed, Relaxed, |full_at| {
            (pace.wait(full_at, now) == 0).then(|| pace.next(full_at, now))
        });
        if let Ok(full_at) = took {
            let wait = pace.wait(pace.next(full_at, now), now);
            if wait > 0 {
                self.until.fetch_max(now.saturating_add(wait), Relaxed);
            }
        }
    }

    /// The network's slot; a new one if it has none.
    fn slot(&self, network: Network) -> &Slot {
        let (tag, ways) = self.ways(network);
        let mut oldest = &ways[0];
        for slot in ways {
            if slot.tag.load(Relaxed) == tag {
                return slot;
            }
            if slot.full_at.load(Relaxed) < oldest.full_at.load(Relaxed) {
                oldest = slot;
            }
        }
        // In this order, so that nobody pays for another one's tries.
        oldest.full_at.store(0, Relaxed);
        oldest.tag.store(tag, Relaxed);
        oldest
    }

    fn ways(&self, network: Network) -> (u64, &[Slot]) {
        let hash = self.secret.hash_one(network);
        let place = usize::try_from(hash % PLACES).unwrap_or(0) * WAYS;
        (hash | 1, &self.slots[place..place + WAYS])
    }
}

/// A limit in nanoseconds.
struct Pace {
    interval: u64,
    window: u64,
}

impl Pace {
    fn of(limit: Limit) -> Self {
        let nanos = |length: Duration| u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self {
            interval: nanos(limit.interval()),
            window: nanos(limit.window()),
        }
    }

    /// When the bucket is full again after one more try. Under a limit that was longer it misses no more than it can hold.
    fn next(&self, full_at: u64, now: u64) -> u64 {
        full_at
            .clamp(now, now.saturating_add(self.window))
            .saturating_add(self.interval)
    }

    /// Until one more try is free; 0: it is.
    fn wait(&self, full_at: u64, now: u64) -> u64 {
        (self.next(full_at, now) - now).saturating_sub(self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::Rate;
    use std::net::{IpAddr, Ipv4Addr};

    const SECOND: u64 = 1_000_000_000;

    fn network(number: u32) -> Network {
        Network::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    fn limit() -> Limit {
        Limit::new(Rate::parse("6/m").unwrap(), Some(3)).unwrap()
    }

    #[test]
    fn a_network_that_fails_too_often_waits_and_no_other_does() {
        let failures = Failures::default();
        for _ in 0..3 {
            assert_eq!(failures.check(network(1), limit(), SECOND), Ok(()));
            failures.note(network(1), limit(), SECOND);
        }
        let wait = Err(Duration::from_secs(10));
        assert_eq!(failures.check(network(1), limit(), SECOND), wait);
        // Tries at the same time, which were let in before: they do not make it longer.
        failures.note(network(1), limit(), SECOND);
        assert_eq!(failures.check(network(1), limit(), SECOND), wait);
        assert_eq!(failures.check(network(2), limit(), SECOND), Ok(()));
        assert_eq!(failures.check(network(1), limit(), 11 * SECOND), Ok(()));
        failures.note(network(1), limit(), 11 * SECOND);
        assert_eq!(failures.check(network(1), limit(), 11 * SECOND), wait);
        assert_eq!(failures.check(network(1), limit(), 60 * SECOND), Ok(()));
    }

    #[test]
    fn nobody_looks_anything_up_while_nobody_is_held_up() {
        let failures = Failures::default();
        failures.note(network(1), limit(), SECOND);
        assert_eq!(failures.until.load(Relaxed), 0);
        failures.note(network(1), limit(), SECOND);
        failures.note(network(1), limit(), SECOND);
        assert_eq!(failures.until.load(Relaxed), 11 * SECOND);
    }

    #[test]
    fn many_networks_take_no_more_room_and_hold_up_nobody() {
        let failures = Failures::default();
        let strict = Limit::new(Rate::parse("1/h").unwrap(), Some(2)).unwrap();
        for number in 0..300_000 {
            failures.note(network(number), strict, SECOND);
            failures.note(network(number), strict, SECOND);
        }
        let held = |from: u32| {
            (from..from + 1000)
                .filter(|number| failures.check(network(*number), strict, SECOND).is_err())
        };
        assert_eq!(held(1_000_000).count(), 0, "those who never failed");
        assert!(held(299_000).count() > 900, "the last ones");
    }

    #[test]
    fn a_limit_that_was_longer_is_forgiven() {
        let failures = Failures::default();
        let long = Limit::new(Rate::parse("1/d").unwrap(), Some(1)).unwrap();
        failures.note(network(1), long, SECOND);
        assert!(failures.check(network(1), long, SECOND).is_err());
        let wait = failures.check(network(1), limit(), SECOND).unwrap_err();
        assert_eq!(wait, Duration::from_secs(10));
    }
}
