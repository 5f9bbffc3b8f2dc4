//! What is kept: one SQL for `SQLite` and `PostgreSQL`, a file per aggregate. SQL types end here.

pub mod audit;
pub mod backup;
pub mod consumers;
pub mod deliveries;
mod dialect;
mod error;
pub mod frame;
pub mod idempotency;
pub mod keys;
mod listen;
mod migrate;
pub mod nodes;
pub mod notices;
mod outage;
pub mod outbox;
pub mod people;
mod reach;
mod settings;
mod slot;
mod sql;
#[cfg(test)]
mod suite;
pub mod sweep;
#[cfg(test)]
pub(crate) mod testing;
pub mod tokens;
pub mod usage;
pub mod webhooks;
pub mod workspaces;
pub mod write;

use crate::clock::Clock;
use crate::config::StoreLocation;
use crate::domain::time::Timestamp;
use dialect::{Dialect, Pools};
use sql::Columns;
use sqlx::{Any, Transaction};
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;
use write::Touched;

pub use error::StoreError;
pub use outage::Outage;
pub use slot::StoreSlot;
pub use write::{Fact, Write};

/// The store, open. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pools: Arc<Pools>,
    dialect: Dialect,
    location: Arc<StoreLocation>,
    clock: Arc<dyn Clock>,
    identity: Arc<str>,
    /// The last revision that this process has committed.
    committed: watch::Sender<u64>,
    outage: Arc<Outage>,
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Store({:?}, {})", self.dialect, self.identity)
    }
}

/// One object that was touched, and by which revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The revision.
    pub revision: u64,
    /// What it touched.
    pub touched: Touched,
    /// When it was committed, about.
    pub at: Timestamp,
}

/// Most changes that are read at a time.
pub const CHANGES_AT_A_TIME: usize = 10_000;

impl Store {
    /// Connects, and brings the schema up to date.
    pub async fn open(location: &StoreLocation, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let dialect = Dialect::of(location);
        let pools = Dialect::connect(location).await?;
        migrate::run(dialect, &pools, clock.now()).await?;
        let identity = migrate::identity(&pools).await?;
        Ok(Self {
            pools: Arc::new(pools),
            dialect,
            location: Arc::new(location.clone()),
            clock,
            identity: identity.into(),
            committed: watch::Sender::new(0),
            outage: Arc::default(),
        })
    }

    /// Ends all connections once they are free. A store that is closed answers nothing more.
    pub async fn close(&self) {
        self.pools.close().await;
    }

    /// Tells one store from another; made with it, kept in backups.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// What the log says while it is away.
    pub fn outage(&self) -> &Outage {
        &self.outage
    }

    /// Follows the revisions that this process commits.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    /// The last revision of all.
    pub async fn revision(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT revision FROM head WHERE id = 1")
            .fetch_one(&self.pools.read)
            .await?;
        row.natural("revision")
    }

    /// A transaction that reads everything as it stood at one revision, for as long as it takes.
    async fn reading(&self) -> Result<Transaction<'static, Any>, StoreError> {
        let begin = self.dialect.begin_reading();
        let mut tx = self.pools.read.begin_with(begin).await?;
        self.dialect.take_time(&mut tx).await?;
        Ok(tx)
    }

    /// What was touched after a revision, in order, at most so many, and the last revision of all. Revisions that touched
    /// nothing of the data plane's are only in the latter. When there is more, the last revision may be incomplete.
    pub async fn changes_after(
        &self,
        revision: u64,
        most: usize,
    ) -> Result<(Vec<Change>, u64), StoreError> {
        let mut tx = self
            .pools
            .read
            .begin_with(self.dialect.begin_reading())
            .await?;
        let head = sqlx::query("SELECT revision FROM head WHERE id = 1")
            .fetch_one(&mut *tx)
            .await?;
        let rows = sqlx::query(
            "SELECT revision, kind, object, at FROM changes WHERE revision > $1 ORDER BY revision, place LIMIT $2",
        )
        .bind(i64::try_from(revision).unwrap_or(i64::MAX))
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let mut changes = Vec::with_capacity(rows.len());
        for row in &rows {
            changes.push(Change {
                revision: row.natural("revision")?,
                touched: Touched::parse(&row.text("kind")?, &row.text("object")?),
                at: row.time("at")?,
            });
        }
        Ok((changes, head.natural("revision")?))
    }
}
