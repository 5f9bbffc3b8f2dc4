//! What a gateway says of itself in the store: that it runs, what it serves by, and with that, that all its uses of keys
//! are written. One that falls silent may take uses with it, so nothing ends for want of uses meanwhile.

use crate::clock::Clock;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::snapshot::handle::Shared;
use crate::store::nodes::NodeRecord;
use crate::store::{Store, StoreError};
use std::fs;
use std::sync::Arc;

/// How often it says so.
const EVERY_MILLIS: i64 = 10 * 1000;
/// One that says nothing for so long is forgotten.
const FORGOTTEN_MILLIS: i64 = 10 * 60 * 1000;

/// This gateway among those that share the store.
pub(super) struct Node {
    record: NodeRecord,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    said: bool,
}

impl Node {
    pub(super) fn new(id: Id, shared: Arc<Shared>, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let record = NodeRecord {
            id,
            name: host_name(),
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: now,
            seen_at: now,
            observed: 0,
            applied: 0,
        };
        Self {
            record,
            shared,
            clock,
            said: false,
        }
    }

    /// Says how it is, unless it has just done so; and forgets those that say nothing any more.
    pub(super) async fn say(&mut self, store: &Store) -> Result<(), StoreError> {
        let now = self.clock.now();
        let passed = now.as_millis() - self.record.seen_at.as_millis();
        if self.said && (0..EVERY_MILLIS).contains(&passed) {
            return Ok(());
        }
        let next = NodeRecord {
            seen_at: now,
            observed: self.shared.store().observed,
            applied: self.shared.applied(),
            ..self.record.clone()
        };
        store.note_node(&next).await?;
        self.record = next;
        self.said = true;
        let oldest = Timestamp::from_millis(now.as_millis() - FORGOTTEN_MILLIS);
        for name in store.forget_nodes(oldest).await? {
            tracing::warn!(
                name,
                "a gateway has ended without a word: uses that it had not written are lost, \
                 and the time until a key ends for want of uses begins anew"
            );
        }
        Ok(())
    }

    /// Says that it is no more. Should it not be heard, the others forget it in a while.
    pub(super) async fn leave(&self, store: &Store) -> Result<(), StoreError> {
        store.forget_node(self.record.id).await
    }
}

/// The host's name, as the kernel has it.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "unknown".into(),
        name => name.chars().take(253).collect(),
    }
}
