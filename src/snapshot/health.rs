//! What is known of an endpoint's health: by its connections, by checks, and by the requests it failed. One record per
//! endpoint, shared by all threads; a healthy one is only read.

use prometheus::IntGauge;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A full share, of which an endpoint that returns gets a part.
pub const FULL_SHARE: u32 = 1024;
/// The share that an endpoint returns with.
const LEAST_SHARE: u64 = 102;
/// An ejection is at most so many times as long as the first.
const LONGEST: u32 = 10;

/// What the checks found.
const UNCHECKED: u8 = 0;
const GOOD: u8 = 1;
const BAD: u8 = 2;

/// Times are nanoseconds of the monotonic clock; 0 is never.
#[derive(Debug)]
pub struct Health {
    /// Whether the last connection succeeded.
    reachable: AtomicBool,
    checked: AtomicU8,
    /// Requests failed in a row.
    failures: AtomicU32,
    /// Ejections that count for the length of the next.
    ejections: AtomicU32,
    ejected_until: AtomicU64,
    /// When the last ejection ended.
    back_since: AtomicU64,
    /// Since when its share grows.
    growing_since: AtomicU64,
    gauge: IntGauge,
}

impl Health {
    /// A new endpoint is healthy until the contrary is known.
    pub fn new(gauge: IntGauge) -> Self {
        gauge.set(1);
        Self {
            reachable: AtomicBool::new(true),
            checked: AtomicU8::new(UNCHECKED),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            back_since: AtomicU64::new(0),
            growing_since: AtomicU64::new(0),
            gauge,
        }
    }

    /// Whether requests go there: by the checks if there are any, else by the last connection; never while it is ejected.
    pub fn is_up(&self) -> bool {
        let checked = match self.checked.load(Relaxed) {
            GOOD => true,
            BAD => false,
            _ => self.reachable.load(Relaxed),
        };
        checked && !self.is_ejected()
    }

    /// Whether it is taken out for its failures.
    pub fn is_ejected(&self) -> bool {
        self.ejected_until.load(Relaxed) != 0
    }

    /// Notes whether a connection succeeded; whether that is news.
    pub fn connected(&self, good: bool) -> bool {
        if self.reachable.load(Relaxed) == good {
            return false;
        }
        self.reachable.store(good, Relaxed);
        self.show();
        true
    }

    /// Notes what checks found, `None` when there are none any more; whether that is news. From a change on for the
    /// better, its share grows.
    pub fn checked(&self, good: Option<bool>, now: u64) -> bool {
        let state = good.map_or(UNCHECKED, |good| if good { GOOD } else { BAD });
        let before = self.checked.swap(state, Relaxed);
        if before == BAD && state == GOOD {
            self.growing_since.store(now.max(1), Relaxed);
        }
        self.show();
        (before == BAD) != (state == BAD)
    }

    /// Whether it may be asked. The end of an ejection is noticed here, by one caller: `back` is told.
    pub fn is_usable(&self, now: u64, back: impl FnOnce()) -> bool {
        if self.checked.load(Relaxed) == BAD {
            return false;
        }
        let until = self.ejected_until.load(Relaxed);
        if until == 0 {
            return true;
        }
        if now < until {
            return false;
        }
        let ended = self
            .ejected_until
            .compare_exchange(until, 0, Relaxed, Relaxed);
        if ended.is_ok() {
            self.failures.store(0, Relaxed);
            self.back_since.store(now.max(1), Relaxed);
            self.growing_since.store(now.max(1), Relaxed);
            self.show();
            back();
        }
        true
    }

    /// Its share of what its weight says, of [`FULL_SHARE`].
    pub fn share(&self, now: u64, slow_start: Duration) -> u32 {
        let since = self.growing_since.load(Relaxed);
        if since == 0 {
            return FULL_SHARE;
        }
        let share = share_after(Duration::from_nanos(now.saturating_sub(since)), slow_start);
        if share == FULL_SHARE {
            self.growing_since.store(0, Relaxed);
        }
        share
    }

    /// A request succeeded.
    pub fn succeeded(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// A request failed: how many did in a row.
    pub fn failed(&self) -> u32 {
        self.failures.fetch_add(1, Relaxed).saturating_add(1)
    }

    /// Takes it out; for how long. The base grows with each time, and shrinks by one for each base that it was good.
    pub fn eject(&self, now: u64, base: Duration) -> Duration {
        let good_for = Duration::from_nanos(now.saturating_sub(self.back_since.load(Relaxed)));
        let times = times(self.ejections.load(Relaxed), good_for, base);
        self.ejections.store(times, Relaxed);
        let length = base * times;
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        self.ejected_until
            .store(now.saturating_add(nanos).max(1), Relaxed);
        self.show();
        length
    }

    fn show(&self) {
        self.gauge.set(i64::from(self.is_up()));
    }
}

/// Grows evenly from a tenth to all.
fn share_after(back_for: Duration, slow_start: Duration) -> u32 {
    if back_for >= slow_start {
        return FULL_SHARE;
    }
    let grown = u128::from(FULL_SHARE) * back_for.as_nanos() / slow_start.as_nanos();
    let grown = u64::try_from(grown).unwrap_or_default().max(LEAST_SHARE);
    u32::try_from(grown).unwrap_or(FULL_SHARE)
}

/// How many bases the next ejection is long.
fn times(before: u32, good_for: Duration, base: Duration) -> u32 {
    let forgiven = good_for.as_nanos() / base.as_nanos().max(1);
    let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
    (before.saturating_sub(forgiven) + 1).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn health() -> Health {
        Health::new(IntGauge::new("up", "up").unwrap())
    }

    #[test]
    fn the_share_grows_evenly_from_a_tenth() {
        let slow = Duration::from_secs(10);
        let share = |millis| share_after(Duration::from_millis(millis), slow);
        assert_eq!(
            [share(0), share(500), share(5000), share(7500)],
            [102, 102, 512, 768]
        );
        assert_eq!([share(10_000), share(99_000)], [FULL_SHARE; 2]);
        assert_eq!(share_after(Duration::ZERO, Duration::ZERO), FULL_SHARE);
    }

    #[test]
    fn ejections_grow_and_are_forgiven() {
        let base = Duration::from_secs(30);
        let times = |before, seconds| times(before, Duration::from_secs(seconds), base);
        assert_eq!([times(0, 0), times(1, 5), times(2, 29)], [1, 2, 3]);
        assert_eq!([times(3, 31), times(3, 90), times(3, 9000)], [3, 1, 1]);
        assert_eq!(times(50, 0), LONGEST);
    }

    #[test]
    fn an_ejection_ends_once_and_by_time() {
        let health = health();
        let base = Duration::from_secs(30);
        assert_eq!(health.eject(SECOND, base), base);
        assert!(!health.is_up() && health.is_ejected());
        let mut told = 0;
        assert!(!health.is_usable(30 * SECOND, || told += 1));
        assert!(health.is_usable(31 * SECOND, || told += 1));
        assert!(health.is_usable(31 * SECOND, || told += 1));
        assert!(told == 1 && health.is_up());
        assert_eq!(health.share(46 * SECOND, base), 512);
        assert_eq!(health.share(99 * SECOND, base), FULL_SHARE);
        assert_eq!(health.eject(40 * SECOND, base), 2 * base);
    }

    #[test]
    fn checks_outweigh_connections() {
        let health = health();
        assert!(health.connected(false) && !health.connected(false));
        assert!(!health.is_up() && health.is_usable(1, || {}));
        assert!(!health.checked(Some(true), 1) && health.is_up());
        assert!(health.checked(Some(false), 1) && !health.is_up() && !health.is_usable(1, || {}));
        assert!(health.checked(Some(true), SECOND) && health.is_usable(1, || {}));
        assert_eq!(health.share(2 * SECOND, Duration::from_secs(2)), 512);
        assert!(!health.checked(None, 1) && !health.is_up());
    }
}
