//! The gateways that share the store, as each says of itself.

use super::Store;
use super::error::StoreError;
use super::sql::{Columns, Sql};
use crate::domain::id::{Id, Kind};
use crate::domain::time::Timestamp;
use sqlx::any::AnyRow;

/// A running gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// `node_…`; made at its start.
    pub id: Id,
    /// Its host's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last wrote this.
    pub seen_at: Timestamp,
    /// Revision that it has read.
    pub observed: u64,
    /// Revision that it serves by.
    pub applied: u64,
}

impl Store {
    /// Notes how a node is. No change of its own: it has no revision and no audit event.
    pub async fn note_node(&self, node: &NodeRecord) -> Result<(), StoreError> {
        let number = |revision: u64| i64::try_from(revision).unwrap_or(i64::MAX);
        let mut put = Sql::new(
            "INSERT INTO nodes (id, name, version, started_at, seen_at, observed, applied) VALUES (",
        );
        put.bind(node.id.text(Kind::Node).to_string()).push(", ");
        put.bind(node.name.clone()).push(", ");
        put.bind(node.version.clone()).push(", ");
        put.bind(node.started_at).push(", ");
        put.bind(node.seen_at).push(", ");
        put.bind(number(node.observed)).push(", ");
        put.bind(number(node.applied));
        put.push(
            ") ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, observed = excluded.observed, \
             applied = excluded.applied",
        );
        put.query().execute(&self.pools.write).await?;
        Ok(())
    }

    /// All nodes, the oldest first.
    pub async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        let select = "SELECT id, name, version, started_at, seen_at, observed, applied FROM nodes \
            ORDER BY started_at, id";
        let rows = sqlx::query(select).fetch_all(&self.pools.read).await?;
        rows.iter().map(node).collect()
    }

    /// Forgets nodes that have not been seen since a time; their names. Uses that they had not written are lost: that is
    /// noted first, so that it is known whatever happens in between.
    pub async fn forget_nodes(&self, before: Timestamp) -> Result<Vec<String>, StoreError> {
        let mut silent = Sql::new("SELECT name FROM nodes WHERE seen_at < ");
        silent.bind(before).push(" ORDER BY started_at, id");
        let silent = silent.query().fetch_all(&self.pools.read).await?;
        if silent.is_empty() {
            return Ok(Vec::new());
        }
        self.note_usage_gap(self.clock.now()).await?;
        let mut delete = Sql::new("DELETE FROM nodes WHERE seen_at < ");
        delete.bind(before);
        delete.query().execute(&self.pools.write).await?;
        silent.iter().map(|row| row.text("name")).collect()
    }

    /// Whether a node other than this one has not been seen since a time.
    pub(super) async fn is_another_silent(
        &self,
        node: &str,
        since: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut silent = Sql::new("SELECT id FROM nodes WHERE seen_at < ");
        silent.bind(since).push(" AND id <> ").bind(node);
        silent.push(" LIMIT 1");
        let silent = silent.query().fetch_optional(&self.pools.read).await?;
        Ok(silent.is_some())
    }

    /// Forgets one node: it has stopped.
    pub async fn forget_node(&self, id: Id) -> Result<(), StoreError> {
        let mut delete = Sql::new("DELETE FROM nodes WHERE id = ");
        delete.bind(id.text(Kind::Node).to_string());
        delete.query().execute(&self.pools.write).await?;
        Ok(())
    }
}

fn node(row: &AnyRow) -> Result<NodeRecord, StoreError> {
    Ok(NodeRecord {
        id: row.id("id", Kind::Node)?,
        name: row.text("name")?,
        version: row.text("version")?,
        started_at: row.time("started_at")?,
        seen_at: row.time("seen_at")?,
        observed: row.natural("observed")?,
        applied: row.natural("applied")?,
    })
}
