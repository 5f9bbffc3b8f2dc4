//! What goes from the audit log on purpose: personal data of a member, and the events before a moment.

use super::{Checkpoint, stored};
use crate::domain::id::{Id, Kind};
use crate::domain::time::Timestamp;
use crate::domain::workspace;
use crate::store::error::StoreError;
use crate::store::sql::{Columns, Sql};
use crate::store::write::{Fact, Write};
use serde_json::json;

/// Events that are cut off in one transaction: others who want to change something wait for so many only. Each cut is whole:
/// it has its checkpoint and its event, so the chain verifies whenever it is looked at.
const CUT_AT_ONCE: i64 = 5000;
/// Action of the event that tells of a cut.
pub(super) const CUT: &str = "audit.cut";

impl Write {
    /// Removes all personal data about a member from the log, what this change has recorded included; the number of
    /// events that had some.
    pub async fn erase_audit_of(&mut self, member: Id) -> Result<u64, StoreError> {
        self.write_facts().await?;
        let mut delete = Sql::new("DELETE FROM audit_personal WHERE person = ");
        delete.bind(member.text(Kind::Member).to_string());
        self.run(delete).await
    }

    /// The end of the events before a moment, at most so many of them; `None` when there are none. Clocks go back: what lies
    /// behind the first event to keep is kept, whatever its time.
    pub async fn audit_before(
        &mut self,
        before: Timestamp,
        most: i64,
    ) -> Result<Option<Checkpoint>, StoreError> {
        self.write_facts().await?;
        let first = sqlx::query("SELECT MIN(sequence) AS first FROM audit")
            .fetch_one(self.connection())
            .await?;
        let Some(first) = first.maybe_number("first")? else {
            return Ok(None);
        };
        let end = first.saturating_add(most);
        let last = sqlx::query(
            "SELECT sequence, hash FROM audit WHERE sequence < $2 AND sequence < \
             (SELECT COALESCE(MIN(sequence), 9223372036854775807) FROM audit WHERE at >= $1 AND sequence < $2) \
             ORDER BY sequence DESC LIMIT 1",
        )
        .bind(before.min(self.now).as_millis())
        .bind(end)
        .fetch_optional(self.connection())
        .await?;
        let Some(last) = last else { return Ok(None) };
        Ok(Some(Checkpoint {
            sequence: last.natural("sequence")?,
            hash: last.text("hash")?,
            at: self.now,
            by: self.actor().text(),
        }))
    }

    /// Cuts off the events before a moment, some thousand at most, and keeps the hash that the rest goes on from; whether
    /// there are more. `None` when there are none.
    pub async fn checkpoint_audit(
        &mut self,
        before: Timestamp,
    ) -> Result<Option<(Checkpoint, bool)>, StoreError> {
        let Some(cut) = self.audit_before(before, CUT_AT_ONCE).await? else {
            return Ok(None);
        };
        let next = sqlx::query("SELECT at FROM audit WHERE sequence = $1")
            .bind(stored(cut.sequence + 1))
            .fetch_optional(self.connection())
            .await?;
        let next = next.map(|row| row.time("at")).transpose()?;
        let more = next.is_some_and(|at| at < before.min(self.now));
        let mut insert =
            Sql::new("INSERT INTO audit_checkpoints (sequence, hash, at, by_whom) VALUES (");
        insert
            .bind(stored(cut.sequence))
            .push(", ")
            .bind(cut.hash.clone())
            .push(", ")
            .bind(cut.at)
            .push(", ")
            .bind(cut.by.clone())
            .push(")");
        self.run(insert).await?;
        for table in ["audit_personal", "audit"] {
            let mut delete = Sql::new("DELETE FROM ");
            delete.push(table).push(" WHERE sequence <= ");
            delete.bind(stored(cut.sequence));
            self.run(delete).await?;
        }
        let mut fact = Fact::new(CUT, workspace::root(), "audit");
        fact.changes.insert("through".into(), json!(cut.sequence));
        fact.changes.insert("hash".into(), json!(cut.hash));
        self.record(fact).await?;
        Ok(Some((cut, more)))
    }
}
