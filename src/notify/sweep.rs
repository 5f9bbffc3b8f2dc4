//! Once a minute: what time does to keys. The store knows what is due; here is when it is asked, and whether the clock
//! can be believed.

use crate::clock::Clock;
use crate::domain::id::{Id, Kind};
use crate::domain::key::record::Inactivity;
use crate::domain::time::Timestamp;
use crate::store::sweep::{SweepInput, SweepReport};
use crate::store::{Store, StoreError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_mins(1);
/// How far wall time and monotonic time may part between two sweeps.
const DRIFT_MILLIS: i64 = 5 * 60_000;

/// What the sweep asks others at each turn.
#[derive(Clone)]
pub struct SweepSettings {
    /// Policy of workspaces that have none and inherit none; the config may change it.
    pub inactivity: Arc<dyn Fn() -> Inactivity + Send + Sync>,
    /// Whether uses may be missing in the store now, such as while they cannot be written.
    pub uses_missing: Arc<dyn Fn() -> bool + Send + Sync>,
    /// How long the audit log is kept; `None`: for ever.
    pub audit_retention: Option<Duration>,
    /// How long figures of use are kept.
    pub usage_retention: Duration,
}

/// Sweeps.
pub struct Sweeper {
    store: Store,
    clock: Arc<dyn Clock>,
    settings: SweepSettings,
    node: String,
    /// Wall time and monotonic time of the sweep before.
    before: Mutex<Option<(Timestamp, u64)>>,
}

impl Sweeper {
    /// Makes one.
    pub fn new(store: Store, clock: Arc<dyn Clock>, node: Id, settings: SweepSettings) -> Self {
        Self {
            store,
            clock,
            settings,
            node: node.text(Kind::Node).to_string(),
            before: Mutex::new(None),
        }
    }

    /// Sweeps until it is told to stop; then whoever comes next need not wait for its turn.
    pub async fn run(self, stop: CancellationToken) {
        while let Some(swept) = stop.run_until_cancelled(Box::pin(self.sweep_once())).await {
            match swept {
                Ok(report) => tell(&report),
                Err(fault) => self.store.outage().met("sweep", &fault),
            }
            let _ = stop.run_until_cancelled(tokio::time::sleep(EVERY)).await;
        }
        if let Err(fault) = self.store.leave_sweep(&self.node).await {
            self.store.outage().met("sweep", &fault);
        }
    }

    /// One sweep, at the time of the clock.
    pub async fn sweep_once(&self) -> Result<SweepReport, StoreError> {
        let input = SweepInput {
            node: self.node.clone(),
            default: (self.settings.inactivity)(),
            uses_missing: (self.settings.uses_missing)(),
            clock_jumped: self.clock_jumped(),
            audit_retention: self.settings.audit_retention.map(millis),
            usage_retention: Some(millis(self.settings.usage_retention)),
        };
        if input.clock_jumped {
            tracing::warn!("the clock has jumped: no key ends for a day");
        }
        self.store.sweep(&input).await
    }

    /// Whether wall time went another way than time did.
    fn clock_jumped(&self) -> bool {
        let now = (self.clock.now(), self.clock.monotonic_nanos());
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((wall, nanos)) = before.replace(now) else {
            return false;
        };
        let passed = i64::try_from(now.1.saturating_sub(nanos) / 1_000_000).unwrap_or(i64::MAX);
        let shown = now.0.as_millis() - wall.as_millis();
        shown.saturating_sub(passed).saturating_abs() > DRIFT_MILLIS
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn tell(report: &SweepReport) {
    if report.disabled + report.deleted + report.purged > 0 {
        tracing::info!(
            disabled = report.disabled,
            deleted = report.deleted,
            purged = report.purged,
            "keys ended by time"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::KeyState;
    use crate::domain::key::record::DAY_MILLIS;
    use crate::domain::workspace::root;
    use crate::store::testing::{Home, START};
    use std::sync::atomic::{AtomicI64, Ordering};

    /// Wall time that goes as the store's clock does, time that goes as it likes.
    #[derive(Debug)]
    struct Apart {
        wall: Arc<crate::clock::TestClock>,
        passed_millis: AtomicI64,
    }

    impl Clock for Apart {
        fn now(&self) -> Timestamp {
            self.wall.now()
        }

        fn monotonic_nanos(&self) -> u64 {
            let passed = self.passed_millis.load(Ordering::SeqCst);
            u64::try_from(passed).unwrap() * 1_000_000
        }
    }

    fn settings() -> SweepSettings {
        SweepSettings {
            inactivity: Arc::new(|| Inactivity::DEFAULT),
            uses_missing: Arc::new(|| false),
            audit_retention: None,
            usage_retention: Duration::from_hours(24),
        }
    }

    #[tokio::test]
    async fn a_jump_of_the_clock_after_the_last_notice_leaves_the_day_that_was_promised() {
        let home = Home::new().await;
        let key = home.key(root(), |_| {}).await;
        let clock = Arc::new(Apart {
            wall: Arc::clone(&home.clock),
            passed_millis: AtomicI64::new(0),
        });
        let shared = Arc::clone(&clock) as Arc<dyn Clock>;
        let sweeper = Sweeper::new(home.store.clone(), shared, Id::from_bits(1), settings());
        let pass = async |wall: i64, real: i64| {
            home.clock.advance_millis(wall);
            clock.passed_millis.fetch_add(real, Ordering::SeqCst);
            sweeper.sweep_once().await.unwrap()
        };
        let day = DAY_MILLIS;
        for _ in 0..89 {
            pass(day, day).await;
        }
        // An hour later the clock says it is next year.
        assert_eq!(pass(365 * day, day / 24).await.deleted, 0);
        assert_eq!(pass(day / 2, day / 2).await.deleted, 0);
        assert_eq!(pass(day / 2, day / 2).await.deleted, 1);
        let gone = home.store.key(key.id).await.unwrap();
        assert_eq!(gone.state, KeyState::Deleted);
    }

    #[tokio::test]
    async fn it_sweeps_at_once_and_stops() {
        let home = Home::new().await;
        let end = home.later(-DAY_MILLIS);
        assert!(end < START);
        home.key(root(), |key| {
            key.rotating_until = Some(end);
        })
        .await;
        let shared = Arc::clone(&home.clock) as Arc<dyn Clock>;
        let sweeper = Sweeper::new(home.store.clone(), shared, Id::from_bits(1), settings());
        let stop = CancellationToken::new();
        let tasks = tokio_util::task::TaskTracker::new();
        let mut committed = home.store.committed();
        committed.mark_unchanged();
        tasks.spawn(sweeper.run(stop.clone()));
        let soon = Duration::from_secs(10);
        tokio::time::timeout(soon, committed.changed())
            .await
            .unwrap()
            .unwrap();
        stop.cancel();
        tasks.close();
        tokio::time::timeout(soon, tasks.wait()).await.unwrap();
    }
}
