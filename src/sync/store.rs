//! The store as a source: what it holds at the start, and every change from then on, whoever makes it.

use super::publisher::{KeptHashes, Publisher, number};
use crate::clock::Clock;
use crate::domain::id::Id;
use crate::domain::key::record::DAY_MILLIS;
use crate::domain::key::{Algorithm, KeyHash};
use crate::domain::time::Timestamp;
use crate::snapshot::handle::Shared;
use crate::snapshot::workspaces::Workspaces;
use crate::store::keys::LoadedKey;
use crate::store::write::Touched;
use crate::store::{CHANGES_AT_A_TIME, Change, Store, StoreError};
use crate::telemetry::metrics::Metrics;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Changes of other processes are looked for this often, if nobody tells us sooner.
const POLL: Duration = Duration::from_millis(500);
/// Loaded keys are put into the table in portions of this size.
const PORTION: usize = 10_000;
/// Whoever was out of step for longer compares everything: older changes are not kept for ever, and a day is left for
/// clocks that differ.
const LISTED_MILLIS: i64 = 6 * DAY_MILLIS;

/// Keeps the data plane in step with the store.
pub struct Follower {
    store: Store,
    publisher: Arc<Publisher>,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// The revision that is in force.
    applied: u64,
    /// When it was in step last.
    in_step_at: Timestamp,
}

impl Follower {
    /// A follower that has nothing yet.
    pub fn new(
        store: Store,
        publisher: Arc<Publisher>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let shared = publisher.shared();
        shared.store().kind = Some(store.kind());
        Self {
            store,
            shared,
            publisher,
            metrics,
            in_step_at: clock.now(),
            clock,
            applied: 0,
        }
    }

    /// Puts everything in force, and nothing else: keys that are not in the store are forgotten, wherever they came from.
    /// `progress` is told the number of secrets taken in so far.
    pub async fn load(&mut self, mut progress: impl FnMut(u64)) -> Result<(), StoreError> {
        self.read_workspaces().await?;
        let publisher = Arc::clone(&self.publisher);
        let mut portion: Vec<LoadedKey> = Vec::with_capacity(PORTION);
        let mut wanted = KeptHashes::default();
        let mut taken = 0;
        let revision = self
            .store
            .load_keys(|key| {
                if key.spec.is_some() {
                    wanted.add(&key.hash);
                }
                portion.push(key);
                if portion.len() == PORTION {
                    taken += PORTION as u64;
                    publisher.put_keys(portion.drain(..));
                    progress(taken);
                }
            })
            .await?;
        publisher.put_keys(portion);
        tokio::task::block_in_place(|| publisher.keep_keys(wanted));
        publisher.recall(self.store.declared_uses().await?);
        self.in_step(revision);
        Ok(())
    }

    /// Follows the store until `stop`.
    pub async fn follow(mut self, stop: CancellationToken) {
        let mut committed = self.store.committed();
        let mut others = self.store.listen();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = news(&mut committed) => {}
                () = others.next() => {}
                () = tokio::time::sleep(POLL) => {}
            }
            let outcome = self.catch_up().await;
            self.note(outcome);
        }
    }

    /// Puts in force what has changed.
    pub async fn catch_up(&mut self) -> Result<(), StoreError> {
        let away = self.clock.now().as_millis() - self.in_step_at.as_millis();
        if away > LISTED_MILLIS {
            tracing::warn!("out of step with the store for days: everything is compared");
            return self.load(|_| {}).await;
        }
        let mut most = CHANGES_AT_A_TIME;
        loop {
            let (changes, head) = self.store.changes_after(self.applied, most).await?;
            self.metrics.revision_observed.set(number(head));
            self.shared.store().observed = head;
            let full = changes.len() == most;
            // The last revision of a full page may go on behind it.
            let until = changes
                .last()
                .filter(|_| full)
                .map_or(head, |last| last.revision.saturating_sub(1));
            if head < self.applied
                || changes
                    .iter()
                    .any(|change| change.touched == Touched::Everything)
            {
                // The store was restored, or changed beyond its list of changes.
                return self.load(|_| {}).await;
            }
            self.apply(&changes).await?;
            // A revision may be larger than a page. It is in force only with all that it touched.
            if full && until <= self.applied {
                most *= 4;
                continue;
            }
            self.in_step(until);
            if !full {
                return Ok(());
            }
        }
    }

    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut keys: BTreeSet<Id> = BTreeSet::new();
        let mut secrets: Vec<(KeyHash, Algorithm)> = Vec::new();
        let mut tree = false;
        for change in changes {
            match change.touched {
                Touched::Key(id) => {
                    keys.insert(id);
                }
                Touched::Secret(hash, algorithm) => secrets.push((hash, algorithm)),
                Touched::Consumer(id) => keys.extend(self.store.key_ids_of(id).await?),
                Touched::Workspace(_) => tree = true,
                Touched::Everything => {}
            }
        }
        if tree {
            self.read_workspaces().await?;
        }
        let keys: Vec<Id> = keys.into_iter().collect();
        let loaded = self.store.load_some(&keys).await?;
        self.publisher.put_keys(loaded);
        self.forget(&secrets).await?;
        if let Some(last) = changes.last() {
            let lag = self.clock.now().as_millis() - last.at.as_millis();
            self.metrics.revocation_lag(lag);
        }
        Ok(())
    }

    /// Takes secrets out of force that are not in the store any more. One that another key has by now stays.
    async fn forget(&self, secrets: &[(KeyHash, Algorithm)]) -> Result<(), StoreError> {
        if secrets.is_empty() {
            return Ok(());
        }
        let hashes: Vec<KeyHash> = secrets.iter().map(|(hash, _)| *hash).collect();
        let there = self.store.load_by_hash(&hashes).await?;
        let gone = secrets.iter().filter(|(hash, algorithm)| {
            let same = |one: &LoadedKey| one.hash == *hash && one.algorithm == *algorithm;
            !there.iter().any(same)
        });
        self.publisher.forget_keys(gone.copied());
        Ok(())
    }

    async fn read_workspaces(&self) -> Result<(), StoreError> {
        let all = self.store.workspaces().await?;
        let all = all.into_iter().map(|one| (one.lineage, one.name));
        self.publisher.put_workspaces(Workspaces::new(all));
        Ok(())
    }

    fn in_step(&mut self, revision: u64) {
        self.applied = revision;
        self.metrics.revision_observed.set(number(revision));
        self.metrics.revision_applied.set(number(revision));
        let now = self.clock.now();
        self.in_step_at = now;
        let mut report = self.shared.store();
        report.reachable = true;
        report.fault = None;
        report.from_last_good = false;
        report.observed = revision;
        report.in_step_at = Some(now);
        drop(report);
        // Last, since admins wait for it.
        self.shared.note_applied(revision);
    }

    fn note(&self, outcome: Result<(), StoreError>) {
        let part = "changes";
        match &outcome {
            Ok(()) => self.store.outage().worked(part),
            Err(fault) => self.store.outage().failed(part, fault),
        }
        let mut report = self.shared.store();
        report.reachable = outcome.is_ok();
        report.fault = outcome.err().map(|fault| fault.to_string());
    }
}

/// Waits for a commit of this process.
async fn news(committed: &mut watch::Receiver<u64>) {
    if committed.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
