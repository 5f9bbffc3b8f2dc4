//! What keys did, counted by the worker that served them, and handed over about once a second while there is something.

use super::worker::Worker;
use crate::domain::key::KeyHash;
use crate::domain::time::Timestamp;
use crate::snapshot::events::{Answer, Place, Rehash, Seen, Tally};
use crate::snapshot::key::{KeyMark, SymbolId};
use crate::telemetry::metrics::Decision;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Counts wait at most this long in a worker.
const HAND_OVER_EVERY: Duration = Duration::from_secs(1);

/// A worker's own counts.
#[derive(Default)]
pub(super) struct Counts {
    tally: RefCell<Tally>,
    /// Whether handing over is planned.
    planned: Cell<bool>,
}

impl Worker {
    /// Counts a decision; where, if anybody wants to know. Anonymous requests are nobody's use.
    pub(super) fn count(
        self: &Rc<Self>,
        decision: Decision,
        about: (Option<KeyMark>, SymbolId),
        seen: Seen,
    ) -> Option<Place> {
        let counts = self.counts.as_ref()?;
        if decision == Decision::Anonymous {
            return None;
        }
        if counts.tally.borrow().is_over(seen.0) {
            self.hand_over();
        }
        let place = counts.tally.borrow_mut().decided(decision, about, seen);
        self.hand_over_later();
        Some(place)
    }

    /// Counts the end of a permitted request.
    pub(super) fn count_end(
        self: &Rc<Self>,
        place: Place,
        about: (KeyMark, SymbolId),
        answer: Answer,
    ) {
        let Some(counts) = &self.counts else { return };
        let now = || self.clock.now();
        counts.tally.borrow_mut().ended(place, about, answer, now);
        self.hand_over_later();
    }

    /// An imported key was used: its secret is known now.
    pub(super) fn shown(self: &Rc<Self>, key: KeyMark, blake3: KeyHash, now: Timestamp) {
        let Some(counts) = &self.counts else { return };
        if counts.tally.borrow().is_over(now) {
            self.hand_over();
        }
        let rehash = Rehash { key, blake3 };
        counts.tally.borrow_mut().rehash(rehash, now);
        self.hand_over_later();
    }

    /// Hands over what is counted, if anything.
    pub(super) fn hand_over(&self) {
        let Some(counts) = &self.counts else { return };
        if counts.tally.borrow().is_empty() {
            return;
        }
        // A list that was used before: one for thousands of keys is not grown anew each time.
        let next = self.shared.events.spare();
        let batch = counts.tally.borrow_mut().take_for(next);
        if let Err(left) = self.shared.events.push(batch) {
            self.metrics.usage_dropped.inc_by(left.requests());
        }
    }

    fn hand_over_later(self: &Rc<Self>) {
        let Some(counts) = &self.counts else { return };
        if counts.tally.borrow().is_full() {
            self.hand_over();
        }
        if counts.planned.replace(true) {
            return;
        }
        let worker = Rc::clone(self);
        self.background.spawn_local(async move {
            tokio::time::sleep(HAND_OVER_EVERY).await;
            if let Some(counts) = &worker.counts {
                counts.planned.set(false);
            }
            worker.hand_over();
        });
    }
}
