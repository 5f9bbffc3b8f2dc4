//! The only file that reads the time. Everything else takes a [`Clock`], so that tests move it.

use crate::domain::time::Timestamp;
use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Tells wall time (for limits and logs) and monotonic time (for durations).
pub trait Clock: Debug + Send + Sync {
    /// Wall time, UTC.
    fn now(&self) -> Timestamp;

    /// Nanoseconds since some fixed moment; never goes back.
    fn monotonic_nanos(&self) -> u64;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic side starts now.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock the rest must use"
    )]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock the rest must use"
    )]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic_nanos(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the unit belongs to the name")]
pub struct TestClock {
    wall_millis: AtomicI64,
    start_millis: i64,
    /// What the monotonic side showed last: it stays there while the wall time is set back.
    latest_millis: AtomicI64,
}

impl TestClock {
    /// A clock that shows this time.
    pub fn at(time: Timestamp) -> Self {
        Self {
            wall_millis: AtomicI64::new(time.as_millis()),
            start_millis: time.as_millis(),
            latest_millis: AtomicI64::new(0),
        }
    }

    /// Sets the wall time, also backwards.
    pub fn set(&self, time: Timestamp) {
        self.wall_millis.store(time.as_millis(), Ordering::SeqCst);
    }

    /// Moves the wall time on.
    pub fn advance_millis(&self, millis: i64) {
        self.wall_millis.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall_millis.load(Ordering::SeqCst))
    }

    fn monotonic_nanos(&self) -> u64 {
        let passed = self.wall_millis.load(Ordering::SeqCst) - self.start_millis;
        let before = self.latest_millis.fetch_max(passed, Ordering::SeqCst);
        u64::try_from(passed.max(before)).unwrap_or_default() * 1_000_000
    }
}
