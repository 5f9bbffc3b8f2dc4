//! The last good state on this node's own disk: written after changes, read when the store is away at the start, and
//! replaced by what the store says as soon as it is there.

mod format;
#[cfg(test)]
mod tests;

use super::publisher::{Publisher, number};
use crate::clock::Clock;
use crate::snapshot::handle::Shared;
use crate::store::frame::FrameFault;
use crate::telemetry::metrics::Metrics;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use format::Head;

/// The file, in the data folder.
pub const FILE: &str = "last-good.kg";
/// It is written no more often than this.
const PAUSE: Duration = Duration::from_secs(10);
/// So many times as long as a writing took, the next one waits: it never takes more than about 5 % of one core.
const REST: u32 = 20;

/// Where nothing has happened but uses, it is written no more often than this: what is enforced is there.
const USES_PAUSE: Duration = Duration::from_mins(10);

/// Writes the last good state.
pub struct Keeper {
    file: PathBuf,
    store: String,
    publisher: Arc<Publisher>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    applied: watch::Receiver<u64>,
    /// Whether there were uses since it was written, and nothing else.
    uses_are_new: bool,
}

impl Keeper {
    /// For the store of this identity. Begins to write when there is a first revision of it, or a next one.
    pub fn new(
        folder: &Path,
        store: &str,
        publisher: Arc<Publisher>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let shared = publisher.shared();
        let mut applied = shared.watch_applied();
        applied.mark_changed();
        Self {
            file: folder.join(FILE),
            store: store.to_owned(),
            applied,
            publisher,
            shared,
            clock,
            uses_are_new: false,
        }
    }

    /// What is enforced: grows with every change of it.
    fn version(&self) -> (u64, u64) {
        (self.shared.keys.changes(), self.shared.revision())
    }

    /// Writes after changes until `stop`, and once more then if something is new.
    pub async fn keep(mut self, stop: CancellationToken) {
        let mut was_good = true;
        let mut written: Option<((u64, u64), u64)> = None;
        loop {
            let (new, now) = (self.uses_are_new, self.clock.monotonic_nanos());
            let due = written.filter(|_| new).map(|(_, at)| uses_wait(now, at));
            let changed = stop.run_until_cancelled(self.changed(due)).await;
            if changed != Some(true) {
                self.write_last();
                return;
            }
            let (version, began) = (self.version(), self.clock.monotonic_nanos());
            let only_uses = written
                .is_some_and(|(before, at)| before == version && !uses_wait(began, at).is_zero());
            if only_uses {
                self.uses_are_new = true;
                continue;
            }
            let outcome = tokio::task::block_in_place(|| self.write());
            let took = Duration::from_nanos(self.clock.monotonic_nanos() - began);
            written = outcome.is_ok().then_some((version, began));
            self.uses_are_new = false;
            match &outcome {
                Ok(keys) => {
                    tracing::debug!(keys, took_ms = took.as_millis(), "last good state written");
                }
                Err(fault) if was_good => tracing::error!(
                    error = %fault,
                    file = %self.file.display(),
                    "the last good state cannot be written; a start without the store would not have it"
                ),
                Err(_) => {}
            }
            was_good = outcome.is_ok();
            let rest = PAUSE.max(took * REST);
            let stopped = stop.run_until_cancelled(tokio::time::sleep(rest)).await;
            if stopped.is_none() {
                self.write_last();
                return;
            }
        }
    }

    /// Waits for a change, but no longer than this; false: there will be none.
    async fn changed(&mut self, most: Option<Duration>) -> bool {
        let changed = self.applied.changed();
        let Some(most) = most else {
            return changed.await.is_ok();
        };
        // That the time is over is as good as a change.
        let changed = tokio::time::timeout(most, changed).await;
        changed.is_err() || matches!(changed, Ok(Ok(())))
    }

    fn write_last(&self) {
        if self.uses_are_new || self.applied.has_changed().unwrap_or_default() {
            // Nobody is left to tell if it fails.
            let _ = tokio::task::block_in_place(|| self.write());
        }
    }

    fn write(&self) -> io::Result<u64> {
        // Before the keys are looked at: what is written is this revision, or a newer one in part.
        let head = Head {
            store: self.store.clone(),
            revision: self.shared.applied(),
            at: self.clock.now(),
        };
        let keys = self.publisher.managed_keys();
        let routes = self.shared.symbols.routes();
        let workspaces = self.publisher.workspaces();
        format::write(&self.file, &head, &workspaces, keys, &routes)
    }
}

/// How long uses still wait that came after a writing at `at`, in nanoseconds of the monotonic clock.
fn uses_wait(now: u64, at: u64) -> Duration {
    USES_PAUSE.saturating_sub(Duration::from_nanos(now.saturating_sub(at)))
}

/// Puts the last good state in force, because the store is away. `None`: there is none that could be used.
pub fn serve(folder: &Path, publisher: &Publisher, metrics: &Metrics) -> Option<Head> {
    let file = folder.join(FILE);
    let read = format::read(&file, |portion| publisher.put_keys(portion));
    let (head, workspaces) = match read {
        Ok(read) => read,
        Err(fault) => {
            note_unusable(&file, &fault);
            publisher.keep_keys(super::publisher::KeptHashes::default());
            return None;
        }
    };
    publisher.put_workspaces(workspaces);
    let shared = publisher.shared();
    let mut report = shared.store();
    report.from_last_good = true;
    report.observed = head.revision;
    report.in_step_at = Some(head.at);
    drop(report);
    metrics.revision_observed.set(number(head.revision));
    metrics.revision_applied.set(number(head.revision));
    shared.note_applied(head.revision);
    publisher.ready();
    tracing::warn!(
        revision = head.revision,
        written_at = %head.at,
        keys = shared.keys.len(),
        "serving from the last good state, because the store is away"
    );
    Some(head)
}

fn note_unusable(file: &Path, fault: &FrameFault) {
    let file = file.display();
    if fault.is_missing() {
        tracing::warn!(%file, "there is no last good state to serve from");
    } else {
        tracing::error!(%file, error = %fault, "the last good state cannot be used and is ignored");
    }
}
