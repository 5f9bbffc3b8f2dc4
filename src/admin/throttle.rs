//! The pace of callers of the management port, by network: how fast anybody may ask, and how often anybody may guess.

use super::error::AdminError;
use crate::clock::Clock;
use moka::sync::Cache;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// Networks that are remembered at a time.
const NETWORKS: u64 = 10_000;
/// Wrong tokens of one network within a minute.
const MOST_FAILURES: u32 = 60;
/// Wrong passwords for one address of one network within a quarter of an hour.
const MOST_PASSWORDS: u32 = 5;
/// Requests of one network: so many at once, then one each so many nanoseconds.
const BURST: i64 = 2000;
const EACH_NANOS: i64 = 1_000_000;

/// An IPv4 address, or an IPv6 network of 64 bits: what one household has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Network(IpAddr);

impl Network {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(v4.octets())),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        })
    }
}

/// The counters.
#[derive(Debug)]
pub struct Throttle {
    failures: Cache<Network, Arc<AtomicU32>>,
    passwords: Cache<(Network, String), Arc<AtomicU32>>,
    /// When the bucket of a network is full again, in nanoseconds of the monotonic clock.
    pace: Cache<Network, Arc<AtomicI64>>,
    clock: Arc<dyn Clock>,
}

impl Throttle {
    /// Nobody has asked yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        Self {
            failures: Cache::builder()
                .max_capacity(NETWORKS)
                .time_to_live(minutes(1))
                .build(),
            passwords: Cache::builder()
                .max_capacity(NETWORKS)
                .time_to_live(minutes(15))
                .build(),
            pace: Cache::builder()
                .max_capacity(NETWORKS)
                .time_to_idle(minutes(1))
                .build(),
            clock,
        }
    }

    /// Whether a network has guessed too often.
    pub(super) fn check_failures(&self, network: Network) -> Result<(), AdminError> {
        match self.failures.get(&network) {
            Some(count) if count.load(Relaxed) >= MOST_FAILURES => Err(AdminError::TooManyFailures),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn note_failure(&self, network: Network) {
        self.failures
            .get_with(network, Arc::default)
            .fetch_add(1, Relaxed);
    }

    /// Whether a network has guessed passwords of one person too often.
    pub(super) fn check_password(&self, network: Network, email: &str) -> Result<(), AdminError> {
        match self.passwords.get(&(network, email.to_owned())) {
            Some(count) if count.load(Relaxed) >= MOST_PASSWORDS => {
                Err(AdminError::TooManyFailures)
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn note_password(&self, network: Network, email: &str) {
        let key = (network, email.to_owned());
        self.passwords
            .get_with(key, Arc::default)
            .fetch_add(1, Relaxed);
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
