//! How many requests may be sent again: a share of all of the last seconds. Without it, a service that begins to fail
//! would get a multiple of its load, just then.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Seconds that count.
const WINDOW: u64 = 10;
const SLOTS: usize = 10;
/// Of so many requests, one may be sent again.
const ONE_IN: u64 = 5;
/// So many a second always may.
const LEAST: u64 = 3;

/// The requests of an upstream that might be sent again, and those that were; all threads together.
#[derive(Debug, Default)]
pub struct RetryBudget {
    requests: Recent,
    retries: Recent,
}

impl RetryBudget {
    /// Counts a request; `now` in nanoseconds.
    pub fn request(&self, now: u64) {
        self.requests.add(second(now));
    }

    /// Takes one retry out of the budget; false: there is none left.
    pub fn take(&self, now: u64) -> bool {
        let now = second(now);
        let most = (self.requests.sum(now) / ONE_IN).max(LEAST * WINDOW);
        let left = self.retries.sum(now) < most;
        if left {
            self.retries.add(now);
        }
        left
    }
}

/// Nothing happens in second 0, which an empty slot stands for.
fn second(nanos: u64) -> u64 {
    nanos / 1_000_000_000 + 1
}

/// Counts of the last seconds: a slot for each, the second above and the count below.
#[derive(Debug, Default)]
struct Recent([AtomicU64; SLOTS]);

impl Recent {
    fn add(&self, now: u64) {
        let slot = &self.0[usize::try_from(now % WINDOW).unwrap_or_default()];
        let next = |old: u64| {
            let count = if old >> 32 == now {
                old + 1
            } else {
                now << 32 | 1
            };
            Some(count)
        };
        // It never refuses.
        let _ = slot.fetch_update(Relaxed, Relaxed, next);
    }

    fn sum(&self, now: u64) -> u64 {
        let slots = self.0.iter().map(|slot| slot.load(Relaxed));
        slots
            .filter(|slot| now.saturating_sub(slot >> 32) < WINDOW)
            .map(|slot| slot & u64::from(u32::MAX))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn taken(budget: &RetryBudget, now: u64) -> usize {
        (0..1000).filter(|_| budget.take(now)).count()
    }

    #[test]
    fn three_a_second_are_always_there() {
        let budget = RetryBudget::default();
        assert_eq!(taken(&budget, 0), 30);
        assert_eq!(taken(&budget, 9 * SECOND), 0);
        assert_eq!(taken(&budget, 10 * SECOND), 30);
    }

    #[test]
    fn one_in_five_of_the_recent_ones() {
        let budget = RetryBudget::default();
        for at in 0..1000 {
            budget.request(at * SECOND / 200);
        }
        assert_eq!(taken(&budget, 5 * SECOND), 200);
        assert_eq!(taken(&budget, 40 * SECOND), 30);
    }
}
