//! The proof that the log is as it was written: every hash anew, every column against its body, no number left out.

use super::cut::CUT;
use super::{AuditHead, Checkpoint, checkpoints, head, stored};
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::migrate::FIRST_HASH;
use crate::store::sql::Columns;
use crate::store::write::{digest, link};
use serde_json::Value;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use std::collections::HashMap;

/// Events per statement.
const BATCH: i64 = 1000;

/// What became of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody has touched the log.
    Intact(Intact),
    /// Somebody has.
    Broken(Broken),
}

/// What an unbroken chain holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intact {
    /// Number of events.
    pub events: u64,
    /// Number of events some of whose personal data is erased.
    pub erased: u64,
    /// Where the chain was cut last.
    pub checkpoint: Option<Checkpoint>,
    /// Where it ends; to compare with what was written down elsewhere.
    pub head: AuditHead,
}

/// The first place where the chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Number of the event.
    pub sequence: u64,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not there.
    #[error("the event is missing")]
    Missing,
    /// It should not be there: it stands before a checkpoint, or behind the head.
    #[error("the event stands outside of the chain")]
    Outside,
    /// It names another hash than the one of the event before it.
    #[error("the event does not follow the one before it")]
    Previous,
    /// Body and hash do not belong together.
    #[error("the body of the event does not give its hash")]
    Hash,
    /// The body is no event.
    #[error("the body of the event cannot be read")]
    Body,
    /// A column says something else than the body.
    #[error("`{0}` of the event differs from its body")]
    Column(&'static str),
    /// Personal data beside it is not what was recorded.
    #[error("the personal data beside the event is not what was recorded")]
    Personal,
    /// The head names another hash than the last event has.
    #[error("the head does not name the last event")]
    Head,
    /// A checkpoint that no event tells of.
    #[error("no event tells of the checkpoint behind this one")]
    Checkpoint,
}

impl Store {
    /// Checks the whole chain from the last checkpoint on, as it stands now. `progress` hears how many events of how many
    /// are done.
    pub async fn verify_audit(
        &self,
        mut progress: impl FnMut(u64, u64) + Send,
    ) -> Result<Verdict, StoreError> {
        let mut tx = self.reading().await?;
        let head = head(&mut tx).await?;
        let checkpoint = checkpoints(&mut tx).await?.into_iter().next();
        let start = checkpoint.as_ref().map_or(0, |cut| cut.sequence);
        let total = head.sequence.saturating_sub(start);
        let mut chain = Chain::from(checkpoint);
        if let Some(sequence) = outside(&mut tx, start).await? {
            let fault = Fault::Outside;
            return Ok(Verdict::Broken(Broken { sequence, fault }));
        }
        loop {
            progress(chain.events, total);
            let rows = events(&mut tx, chain.sequence).await?;
            if rows.is_empty() {
                break;
            }
            let personal = personal(&mut tx, &rows).await?;
            for row in &rows {
                let fault = chain.follow(row, &personal)?;
                if let Some(broken) = fault {
                    return Ok(Verdict::Broken(broken));
                }
            }
        }
        tx.commit().await?;
        Ok(chain.end(head))
    }
}

/// The chain as far as it was followed.
struct Chain {
    sequence: u64,
    hash: String,
    events: u64,
    erased: u64,
    checkpoint: Option<Checkpoint>,
    /// Whether an event tells of the checkpoint.
    told: bool,
}

impl Chain {
    fn from(checkpoint: Option<Checkpoint>) -> Self {
        let (sequence, hash) = checkpoint
            .as_ref()
            .map_or((0, FIRST_HASH.to_owned()), |cut| {
                (cut.sequence, cut.hash.clone())
            });
        Self {
            sequence,
            hash,
            events: 0,
            erased: 0,
            told: checkpoint.is_none(),
            checkpoint,
        }
    }

    /// Goes on to the next event; what is wrong with it.
    fn follow(
        &mut self,
        row: &AnyRow,
        personal: &HashMap<i64, Vec<(String, String)>>,
    ) -> Result<Option<Broken>, StoreError> {
        let sequence = self.sequence + 1;
        let found = row.number("sequence")?;
        let beside = personal.get(&found).map_or(&[][..], Vec::as_slice);
        let fault = if found == stored(sequence) {
            self.fault(row, beside)?
        } else {
            Some(Fault::Missing)
        };
        if let Some(fault) = fault {
            return Ok(Some(Broken { sequence, fault }));
        }
        self.sequence = sequence;
        self.hash = row.text("hash")?;
        self.events += 1;
        Ok(None)
    }

    fn fault(
        &mut self,
        row: &AnyRow,
        beside: &[(String, String)],
    ) -> Result<Option<Fault>, StoreError> {
        if row.text("previous")? != self.hash {
            return Ok(Some(Fault::Previous));
        }
        let body = row.text("body")?;
        if row.text("hash")? != link(&self.hash, &body) {
            return Ok(Some(Fault::Hash));
        }
        let Ok(body) = serde_json::from_str::<Value>(&body) else {
            return Ok(Some(Fault::Body));
        };
        for name in ["sequence", "at"] {
            if body[name] != row.number(name)? {
                return Ok(Some(Fault::Column(name)));
            }
        }
        for name in ["actor", "action", "class", "outcome", "workspace", "target"] {
            if body[name] != row.text(name)? {
                return Ok(Some(Fault::Column(name)));
            }
        }
        let recorded = body["personal"].as_array().map_or(&[][..], Vec::as_slice);
        let as_recorded = |(person, digest): &(String, String)| {
            let same = |one: &Value| one["person"] == *person && one["digest"] == *digest;
            recorded.iter().any(same)
        };
        if !beside.iter().all(as_recorded) {
            return Ok(Some(Fault::Personal));
        }
        self.erased += u64::from(beside.len() < recorded.len());
        self.told |= self.checkpoint.as_ref().is_some_and(|cut| {
            let changes = &body["changes"];
            body["action"] == CUT
                && changes["through"] == cut.sequence
                && changes["hash"] == *cut.hash
        });
        Ok(None)
    }

    fn end(self, head: AuditHead) -> Verdict {
        let (sequence, fault) = if self.sequence < head.sequence {
            (self.sequence + 1, Fault::Missing)
        } else if self.sequence > head.sequence {
            (head.sequence + 1, Fault::Outside)
        } else if self.hash != head.hash {
            (head.sequence, Fault::Head)
        } else if !self.told {
            let cut = self.checkpoint.map_or(0, |cut| cut.sequence);
            (cut, Fault::Checkpoint)
        } else {
            return Verdict::Intact(Intact {
                events: self.events,
                erased: self.erased,
                checkpoint: self.checkpoint,
                head,
            });
        };
        Verdict::Broken(Broken { sequence, fault })
    }
}

/// An event before the first one that there should be.
async fn outside(connection: &mut AnyConnection, start: u64) -> Result<Option<u64>, StoreError> {
    let found =
        sqlx::query("SELECT sequence FROM audit WHERE sequence <= $1 ORDER BY sequence LIMIT 1")
            .bind(stored(start))
            .fetch_optional(connection)
            .await?;
    found.map(|row| row.natural("sequence")).transpose()
}

async fn events(connection: &mut AnyConnection, after: u64) -> Result<Vec<AnyRow>, StoreError> {
    let select = "SELECT sequence, at, actor, action, class, outcome, workspace, target, body, previous, hash \
        FROM audit WHERE sequence > $1 ORDER BY sequence LIMIT $2";
    let rows = sqlx::query(select).bind(stored(after)).bind(BATCH);
    Ok(rows.fetch_all(connection).await?)
}

/// Whom the personal data beside these events is about, and its digest.
async fn personal(
    connection: &mut AnyConnection,
    rows: &[AnyRow],
) -> Result<HashMap<i64, Vec<(String, String)>>, StoreError> {
    let edge = |row: Option<&AnyRow>| row.map_or(Ok(0), |row| row.number("sequence"));
    let select = "SELECT sequence, person, salt, data FROM audit_personal WHERE sequence >= $1 AND sequence <= $2";
    let found = sqlx::query(select)
        .bind(edge(rows.first())?)
        .bind(edge(rows.last())?)
        .fetch_all(connection)
        .await?;
    let mut all: HashMap<i64, Vec<(String, String)>> = HashMap::new();
    for row in found {
        let digest = digest(&row.text("salt")?, &row.text("data")?);
        let own = all.entry(row.number("sequence")?).or_default();
        own.push((row.text("person")?, digest));
    }
    Ok(all)
}
