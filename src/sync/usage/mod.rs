//! What keys do, on its way from the workers to the store: fetched often, kept while the store is away, written in
//! portions. Writing takes a bounded share of the machine: where very many keys are used, a round through all of them
//! lasts longer, and each is written with all that it did meanwhile. Who counted it says how it is as part of the same, so that it is only seen while its uses are.

mod audit;
mod hints;
mod networks;
mod pending;
mod purse;

use crate::clock::Clock;
use crate::domain::actor::Actor;
use crate::domain::id::Id;
use crate::domain::key::KeyHash;
use crate::snapshot::events::{Batch, Entry, Rehash};
use crate::snapshot::handle::Shared;
use crate::snapshot::key::SymbolId;
use crate::store::usage::KeyUse;
use crate::store::{Store, StoreError, StoreSlot};
use crate::sync::node::Node;
use crate::telemetry::metrics::Metrics;
use audit::Span;
use hints::Hints;
use networks::Networks;
use pending::Pending;
use purse::Purse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Workers' counts are fetched this often.
const FETCH_EVERY: Duration = Duration::from_secs(1);
/// What was fetched is written this often; together with the second before and the one in the worker, well below ten, unless
/// so many keys are used that there is no time to write them all.
const WRITE_EVERY: Duration = Duration::from_secs(4);
/// Rows that one transaction writes, about.
const PORTION: usize = 4000;
/// A round that lasts longer than this may take all the time that there is for writing.
const LATE: Duration = Duration::from_mins(3);
/// Of a round that lasts longer than this, it is said that uses are missing in the store: one waits for two rounds at most,
/// and a minute after its deadline a key may end.
const MISSING: Duration = Duration::from_secs(30);
/// Imported keys that one change gives our own hash.
const REHASHED_AT_A_TIME: usize = 100;
/// Imported keys that wait for it; the others come at their next use.
const MOST_REHASHES: usize = 10_000;

/// How much must be written now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Much {
    /// What there is time for.
    Any,
    /// A portion, so that a slow store is not taken for many keys.
    Some,
    /// Everything: there will be no other time.
    All,
}

/// Takes what keys do to the store.
pub struct Flusher {
    shared: Arc<Shared>,
    slot: Arc<StoreSlot>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    pending: Pending,
    /// When the round through the keys began that is not at its end yet.
    begun: Option<Duration>,
    purse: Purse,
    networks: Networks,
    span: Span,
    hints: Hints,
    rehashes: HashMap<KeyHash, Rehash>,
    routes: HashMap<SymbolId, Arc<str>>,
    /// Memory for putting what was fetched in order: key, batch, place in it.
    order: Vec<(u128, usize, usize)>,
    node: Node,
    /// Requests that there was no room for, as far as the store has been told.
    dropped: u64,
    /// Whether the store had all of it at the last try.
    written: watch::Sender<bool>,
    failing: bool,
}

impl Flusher {
    /// A flusher for the store that is, or will be, in the slot.
    pub fn new(
        node: Id,
        shared: Arc<Shared>,
        slot: Arc<StoreSlot>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let node = Node::new(node, Arc::clone(&shared), Arc::clone(&clock));
        let purse = Purse::new(Duration::from_nanos(clock.monotonic_nanos()));
        Self {
            node,
            dropped: 0,
            written: watch::Sender::new(false),
            shared,
            slot,
            metrics,
            clock,
            pending: Pending::default(),
            begun: None,
            purse,
            networks: Networks::default(),
            span: Span::default(),
            hints: Hints::default(),
            rehashes: HashMap::new(),
            routes: HashMap::new(),
            order: Vec::new(),
            failing: false,
        }
    }

    /// Whether the store had all that was counted when it was last to be written; not before that.
    pub fn written(&self) -> watch::Receiver<bool> {
        self.written.subscribe()
    }

    /// Writes until `stop`, and then once more.
    pub async fn run(mut self, stop: CancellationToken) {
        let shared = Arc::clone(&self.shared);
        let mut due = tokio::time::interval(WRITE_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = due.tick() => {
                    self.fetch();
                    self.write(Much::Some).await;
                }
                () = tokio::time::sleep(FETCH_EVERY) => {
                    self.fetch();
                    // Others wait for the first time.
                    let first = !*self.written.borrow() && !self.failing;
                    if first || self.begun.is_some() {
                        self.write(Much::Any).await;
                    }
                }
                () = shared.events.called() => self.fetch(),
            }
        }
        self.fetch();
        self.write(Much::All).await;
    }

    /// Takes over what the workers counted.
    fn fetch(&mut self) {
        let batches = self.shared.events.drain();
        if batches.is_empty() {
            self.shared.events.shrink();
            self.order = Vec::new();
        }
        self.take_entries(&batches);
        for batch in batches {
            self.purse.counted(batch.requests());
            for rehash in batch.rehashes {
                if self.rehashes.len() < MOST_REHASHES {
                    self.rehashes.insert(rehash.key.hash, rehash);
                }
            }
            self.shared.events.recycle(batch.entries);
        }
        self.show();
    }

    /// In the order of keys: what is known of them lies in that order too, and very many are in no cache.
    fn take_entries(&mut self, batches: &[Batch]) {
        let now = self.clock.now();
        let mut order = std::mem::take(&mut self.order);
        for (batch, one) in batches.iter().enumerate() {
            let id = |entry: &Entry| entry.key.map_or(0, |mark| mark.id.bits());
            let entries = one.entries.iter().enumerate();
            order.extend(entries.map(|(place, entry)| (id(entry), batch, place)));
        }
        order.sort_unstable();
        for (_, batch, place) in order.drain(..) {
            let batch = &batches[batch];
            let entry = &batch.entries[place];
            let Some(route) = self.route(entry.route) else {
                continue;
            };
            self.span.add(now, &route, entry);
            let of_hour = (batch.hour, &route);
            let left_out = self.pending.add(of_hour, entry, &self.networks);
            self.metrics.usage_dropped.inc_by(left_out);
        }
        self.order = order;
    }

    fn route(&mut self, symbol: SymbolId) -> Option<Arc<str>> {
        if let Some(known) = self.routes.get(&symbol) {
            return Some(Arc::clone(known));
        }
        let name = self.shared.symbols.route(symbol)?;
        self.routes.insert(symbol, Arc::clone(&name));
        Some(name)
    }

    fn show(&self) {
        let waiting = i64::try_from(self.pending.len()).unwrap_or(i64::MAX);
        self.metrics.last_used_pending.set(waiting);
    }

    async fn write(&mut self, much: Much) {
        // Until it is there for the first time, others say so.
        let Ok(store) = self.slot.get().cloned() else {
            self.show();
            return;
        };
        let outcome = self.try_write(&store, much).await;
        self.show();
        let written = outcome.is_ok() && !self.lasts(MISSING);
        self.written.send_replace(written);
        self.shared.store().write_fault = outcome.as_ref().err().map(ToString::to_string);
        self.failing = outcome.is_err();
        let part = "usage";
        match outcome {
            Ok(()) => store.outage().worked(part),
            Err(fault) => store.outage().failed(part, &fault),
        }
    }

    async fn try_write(&mut self, store: &Store, much: Much) -> Result<(), StoreError> {
        let all = much == Much::All;
        self.flush(store, much).await?;
        self.rehash(store).await?;
        self.span.write(store, self.clock.now(), all).await?;
        self.hints.write(store, self.clock.now()).await?;
        self.note_dropped(store).await?;
        if all {
            self.node.leave(store).await
        } else {
            self.node.say(store).await
        }
    }

    /// Of what was dropped, nobody knows whether it was the last use of a key.
    async fn note_dropped(&mut self, store: &Store) -> Result<(), StoreError> {
        let dropped = self.metrics.usage_dropped.get();
        if dropped > self.dropped {
            store.note_usage_gap(self.clock.now()).await?;
            tracing::warn!(
                requests = dropped - self.dropped,
                "uses of keys were dropped: the time until a key ends for want of uses begins anew"
            );
            self.dropped = dropped;
        }
        Ok(())
    }

    /// Writes what waits, as far as there is time for it: `much` of it at least. Fetches in between, so that nothing is
    /// dropped meanwhile.
    async fn flush(&mut self, store: &Store, much: Much) -> Result<(), StoreError> {
        self.purse.earn(self.moment(), self.lasts(LATE));
        let mut left = self.pending.len();
        let mut must = much != Much::Any;
        while left > 0 && (must || self.purse.has_some()) {
            must = much == Much::All;
            self.begun = self.begun.or_else(|| Some(self.moment()));
            let (portion, last) = self.pending.take(PORTION);
            left = left.saturating_sub(portion.len());
            if last {
                self.begun = None;
            }
            self.write_portion(store, portion).await?;
            self.fetch();
        }
        Ok(())
    }

    async fn write_portion(
        &mut self,
        store: &Store,
        portion: Vec<KeyUse>,
    ) -> Result<(), StoreError> {
        let begun = self.moment();
        match store.flush(&portion).await {
            Ok(findings) => {
                self.purse.spend(self.moment().saturating_sub(begun));
                self.networks.written(&portion);
                self.hints.found(&portion, findings);
                Ok(())
            }
            Err(fault) => {
                self.pending.put_back(portion);
                self.begun = None;
                Err(fault)
            }
        }
    }

    /// Whether the round has lasted longer than this.
    fn lasts(&self, time: Duration) -> bool {
        self.begun
            .is_some_and(|begun| self.moment().saturating_sub(begun) > time)
    }

    /// Now, by the monotonic clock.
    fn moment(&self) -> Duration {
        Duration::from_nanos(self.clock.monotonic_nanos())
    }

    /// Gives imported keys our own hash.
    async fn rehash(&mut self, store: &Store) -> Result<(), StoreError> {
        while !self.rehashes.is_empty() {
            let some: Vec<Rehash> = self
                .rehashes
                .values()
                .take(REHASHED_AT_A_TIME)
                .copied()
                .collect();
            let mut write = store.begin(&actor()).await?;
            let mut any = false;
            for one in &some {
                let (sha256, blake3) = (&one.key.hash, &one.blake3);
                any |= write.rehash(one.key.id, sha256, blake3).await?;
            }
            if any {
                write.commit().await?;
            }
            for one in &some {
                self.rehashes.remove(&one.key.hash);
            }
        }
        Ok(())
    }
}

fn actor() -> Actor {
    Actor::system("usage")
}
