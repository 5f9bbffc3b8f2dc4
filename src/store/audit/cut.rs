//! What goes from the audit log on purpose: personal data of a member, and the events before a moment.

use super::{Checkpoint, stored};
use crate::domain::id::{Id, Kind};
use crate::domain::time::Timestamp;
use crate::domain::workspace;
use crate::store::error::StoreError;
use crate::store::sql::{Columns, Sql};
use crate::store::write::{Fact, Write};
use serde_json::json;

/// Action of the event that tells of a cut.
pub(super) const CUT: &str = "audit.cut";

impl Write {
    /// Removes all personal data about a member from the log, what this change has recorded included; the number of
    /// events that had some.
    pub async fn erase_audit_of(&mut self, member: Id) -> Result<u64, StoreError> {
        let mut delete = Sql::new("DELETE FROM audit_personal WHERE person = ");
        delete.bind(member.text(Kind::Member).to_string());
        self.run(delete).await
    }

    /// Cuts off the events before a moment, and keeps the hash that the rest goes on from; `None` when there are none.
    pub async fn checkpoint_audit(
        &mut self,
        before: Timestamp,
    ) -> Result<Option<Checkpoint>, StoreError> {
        // Clocks go back: what lies behind the first event to keep is kept, whatever its time.
        let before = before.min(self.now);
        let last = sqlx::query(
            "SELECT sequence, hash FROM audit WHERE sequence < \
             (SELECT COALESCE(MIN(sequence), 9223372036854775807) FROM audit WHERE at >= $1) ORDER BY sequence DESC LIMIT 1",
        )
        .bind(before.as_millis())
        .fetch_optional(self.connection())
        .await?;
        let Some(last) = last else { return Ok(None) };
        let cut = Checkpoint {
            sequence: last.natural("sequence")?,
            hash: last.text("hash")?,
            at: self.now,
            by: self.actor().text(),
        };
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
        Ok(Some(cut))
    }
}
