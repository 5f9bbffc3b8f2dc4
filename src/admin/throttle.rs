//! The pace of callers of the management port, by network: how fast anybody may ask, and how often anybody may guess.

use super::error::AdminError;
use super::refusal::Refusals;
use crate::clock::Clock;
use crate::domain::network::Network;
use moka::sync::Cache;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Networks that are remembered at a time.
const NETWORKS: u64 = 10_000;
/// Wrong tokens and passwords of one network within a minute.
const MOST_FAILURES: u32 = 60;
/// Wrong passwords for one address of one network within a quarter of an hour.
const MOST_PASSWORDS: u32 = 5;
const MINUTE: Duration = Duration::from_mins(1);
const QUARTER: Duration = Duration::from_mins(15);
/// Requests of one network: so many at once, then one each so many nanoseconds.
const BURST: i64 = 2000;
const EACH_NANOS: i64 = 1_000_000;

/// What is counted for a while and then from zero again.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counted>);

#[derive(Debug, Default)]
pub(super) struct Counted {
    /// On the monotonic clock.
    until: u64,
    count: u32,
}

impl Tally {
    pub(super) fn within<T>(
        &self,
        now: u64,
        span: Duration,
        act: impl FnOnce(&mut Counted) -> T,
    ) -> T {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= counted.until {
            let span = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
            counted.until = now.saturating_add(span);
            counted.count = 0;
        }
        act(&mut counted)
    }
}

impl Counted {
    /// What a caller is told that is over the limit: when to come back.
    fn too_many(&self, now: u64) -> AdminError {
        let left = self.until.saturating_sub(now).div_ceil(1_000_000_000);
        AdminError::TooManyFailures(left.max(1))
    }
}

/// Counts one more, unless there are so many already.
pub(super) fn take_one(counted: &mut Counted, most: u32) -> bool {
    let free = counted.count < most;
    counted.count += u32::from(free);
    free
}

/// The counters.
#[derive(Debug)]
pub struct Throttle {
    failures: Cache<Network, Arc<Tally>>,
    passwords: Cache<(Network, String), Arc<Tally>>,
    /// What the audit log is still to be told of.
    pub(super) refusals: Refusals,
    /// When the bucket of a network is full again, in nanoseconds of the monotonic clock.
    pace: Cache<Network, Arc<AtomicI64>>,
    clock: Arc<dyn Clock>,
}

impl Throttle {
    /// Nobody has asked yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        // The spans are told by the clock; these are for how long a counter stays in memory.
        let for_a = |span: Duration| Cache::builder().max_capacity(NETWORKS).time_to_idle(span);
        Self {
            failures: for_a(MINUTE).build(),
            passwords: Cache::builder()
                .max_capacity(NETWORKS)
                .time_to_idle(QUARTER)
                .build(),
            refusals: Refusals::new(Arc::clone(&clock)),
            pace: Cache::builder()
                .max_capacity(NETWORKS)
                .time_to_idle(MINUTE)
                .build(),
            clock,
        }
    }

    /// Whether a network has guessed too often.
    pub(super) fn check_failures(&self, network: Network) -> Result<(), AdminError> {
        let Some(tally) = self.failures.get(&network) else {
            return Ok(());
        };
        let now = self.clock.monotonic_nanos();
        tally.within(now, MINUTE, |counted| {
            if counted.count < MOST_FAILURES {
                Ok(())
            } else {
                Err(counted.too_many(now))
            }
        })
    }

    /// Notes a wrong token or password; whether it was one too many. Known from then on: tries at the same time count too.
    pub(super) fn note_failure(&self, network: Network) -> Result<(), AdminError> {
        let tally = self.failures.get_with(network, Arc::default);
        let now = self.clock.monotonic_nanos();
        tally.within(now, MINUTE, |counted| {
            if take_one(counted, MOST_FAILURES) {
                Ok(())
            } else {
                Err(counted.too_many(now))
            }
        })
    }

    /// One try of a network at the password of a person, counted before it is made: tries at the same time count too.
    pub(super) fn try_password(&self, network: Network, email: &str) -> Result<(), AdminError> {
        let key = (network, email.to_owned());
        let tally = self.passwords.get_with(key, Arc::default);
        let now = self.clock.monotonic_nanos();
        tally.within(now, QUARTER, |counted| {
            if take_one(counted, MOST_PASSWORDS) {
                Ok(())
            } else {
                Err(counted.too_many(now))
            }
        })
    }

    /// The password was right: the tries before it do not count.
    pub(super) fn forget_passwords(&self, network: Network, email: &str) {
        self.passwords.invalidate(&(network, email.to_owned()));
    }

    /// One request of a network (GCRA).
    pub(super) fn take(&self, network: Network) -> Result<(), AdminError> {
        let now = i64::try_from(self.clock.monotonic_nanos()).unwrap_or(i64::MAX);
        let full = self.pace.get_with(network, Arc::default);
        let next = full.load(Relaxed).max(now) + EACH_NANOS;
        if next - now > BURST * EACH_NANOS {
            return Err(AdminError::RateLimited);
        }
        full.store(next, Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TestClock;
    use crate::domain::time::Timestamp;
    use std::net::IpAddr;

    fn throttle() -> (Throttle, Arc<TestClock>) {
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(0)));
        (Throttle::new(Arc::clone(&clock) as Arc<dyn Clock>), clock)
    }

    fn network(last: u8) -> Network {
        Network::of(IpAddr::from([203, 0, 113, last]))
    }

    /// The seconds that somebody is told to wait.
    fn wait(told: Result<(), AdminError>) -> u64 {
        match told {
            Err(AdminError::TooManyFailures(seconds)) => seconds,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn five_passwords_within_a_quarter_of_an_hour() {
        let (throttle, clock) = throttle();
        let tries = |last: u8, email: &str| {
            let tries = (0..9).map(|_| throttle.try_password(network(last), email));
            tries.flatten().count()
        };
        assert_eq!(tries(1, "ada"), 5);
        assert_eq!((tries(1, "bob"), tries(2, "ada")), (5, 5));
        clock.advance_millis(15 * 60 * 1000 - 1);
        assert_eq!(tries(1, "ada"), 0);
        assert_eq!(wait(throttle.try_password(network(1), "ada")), 1);
        clock.advance_millis(1);
        assert_eq!(tries(1, "ada"), 5);
        throttle.forget_passwords(network(1), "ada");
        assert_eq!(tries(1, "ada"), 5);
    }

    #[test]
    fn a_network_that_guesses_waits_for_the_minute_to_end() {
        let (throttle, clock) = throttle();
        for _ in 0..MOST_FAILURES {
            throttle.check_failures(network(1)).unwrap();
            throttle.note_failure(network(1)).unwrap();
        }
        clock.advance_millis(18_500);
        assert_eq!(wait(throttle.note_failure(network(1))), 42);
        assert_eq!(wait(throttle.check_failures(network(1))), 42);
        assert!(throttle.check_failures(network(2)).is_ok());
        clock.advance_millis(41_500);
        assert!(throttle.check_failures(network(1)).is_ok());
    }
}
