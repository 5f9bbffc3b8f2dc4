//! The audit log: read, taken out, cut at its old end. Names and addresses lie beside it and can be erased; the chain holds
//! without them.

mod cut;
mod verify;

pub use verify::{Broken, Fault, Intact, Verdict};

use super::Store;
use super::error::StoreError;
use super::reach::below;
use super::sql::{Columns, Sql};
use super::write::Class;
use crate::domain::time::Timestamp;
use futures_util::{Stream, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::{Map, Value};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use std::collections::HashMap;

/// Events per statement of an export.
const BATCH: usize = 500;

/// Where the chain ends. Whoever writes it down elsewhere can tell later whether the newest events were removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHead {
    /// Number of the last event; 0: there was none yet.
    pub sequence: u64,
    /// Its hash.
    pub hash: String,
    /// When it was; `None`: there is none, or it was cut off.
    pub at: Option<Timestamp>,
}

/// Where the chain was cut: what stood before is gone, on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Number of the last event that went.
    pub sequence: u64,
    /// Its hash, from which the chain goes on.
    pub hash: String,
    /// When it was cut.
    pub at: Timestamp,
    /// Who cut it, see [`crate::domain::actor::Actor::text`].
    pub by: String,
}

/// Which events, in which order, from where on.
#[derive(Debug, Clone)]
pub struct AuditQuery {
    /// Paths of the workspaces that the caller reaches; an event below any of them is seen.
    pub reach: Vec<String>,
    /// Path of a workspace: it and what is below.
    pub workspace: Option<String>,
    /// Who did it, see [`crate::domain::actor::Actor::text`].
    pub actor: Option<String>,
    /// What was done; with `*` behind it, all that begin so.
    pub action: Option<String>,
    /// What it was done to.
    pub target: Option<String>,
    /// What kind of event.
    pub class: Option<Class>,
    /// How it ended.
    pub outcome: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// The newest first.
    pub descending: bool,
    /// Behind this one.
    pub after: Option<u64>,
    /// Most events.
    pub limit: usize,
}

impl AuditQuery {
    /// All events below these workspaces, the newest first.
    pub fn all(reach: Vec<String>) -> Self {
        Self {
            reach,
            workspace: None,
            actor: None,
            action: None,
            target: None,
            class: None,
            outcome: None,
            from: None,
            to: None,
            descending: true,
            after: None,
            limit: 50,
        }
    }
}

/// One event, with the personal data that is still there. Ids are shown as they stand in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Its number.
    pub sequence: u64,
    /// `evt_…`.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// The session it was done in.
    pub via: Option<String>,
    /// What.
    pub action: String,
    /// What kind of event.
    pub class: String,
    /// How it ended.
    pub outcome: String,
    /// The workspace it is about.
    pub workspace: String,
    /// The object.
    pub target: String,
    /// A code for why.
    pub reason: Option<String>,
    /// Fields and what became of them.
    pub changes: Map<String, Value>,
    /// Id of the admin request.
    pub request_id: Option<String>,
    /// Its link in the chain.
    pub hash: String,
    /// Name of who did it.
    pub actor_name: Option<String>,
    /// Address it came from.
    pub address: Option<String>,
    /// Name of the object.
    pub target_name: Option<String>,
    /// Whether there was personal data that is erased now.
    pub erased: bool,
}

/// Events, and whether there are more behind them.
#[derive(Debug, Clone)]
pub struct AuditPage {
    /// The events.
    pub events: Vec<AuditEvent>,
    /// Whether there are more.
    pub more: bool,
}

/// The part of a body that has no column.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    id: String,
    via: Option<String>,
    reason: Option<String>,
    changes: Map<String, Value>,
    personal: Vec<Value>,
    request_id: Option<String>,
}

/// Personal data of an event; rows of different persons have different fields.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Personal {
    actor: Option<String>,
    address: Option<String>,
    target: Option<String>,
}

impl Store {
    /// The end of the chain.
    pub async fn audit_head(&self) -> Result<AuditHead, StoreError> {
        let mut connection = self.pools.read.acquire().await?;
        head(&mut connection).await
    }

    /// Where the chain was cut, the last cut first.
    pub async fn audit_checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        let mut connection = self.pools.read.acquire().await?;
        checkpoints(&mut connection).await
    }

    /// A page of events.
    pub async fn list_audit(&self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        self.audit_page(query, None).await
    }

    /// Number of events that a query finds, whatever page it asks for.
    pub async fn count_audit(&self, query: &AuditQuery) -> Result<u64, StoreError> {
        let mut select = Sql::new("SELECT COUNT(*) AS number FROM audit a WHERE 1 = 1");
        filter(&mut select, query);
        select
            .query()
            .fetch_one(&self.pools.read)
            .await?
            .natural("number")
    }

    /// All events that a query finds, in its order, up to those that are there when it begins; its limit does not count.
    pub fn export_audit(
        &self,
        mut query: AuditQuery,
    ) -> impl Stream<Item = Result<AuditEvent, StoreError>> + Send + use<> {
        query.limit = BATCH;
        let state = (self.clone(), Some(query), None);
        let pages = stream::try_unfold(state, async |(store, query, through)| {
            let Some(mut query) = query else {
                return Ok::<_, StoreError>(None);
            };
            let through = match through {
                Some(through) => through,
                None => store.audit_head().await?.sequence,
            };
            let page = store.audit_page(&query, Some(through)).await?;
            query.after = page.events.last().map(|event| event.sequence);
            let next = page.more.then_some(query);
            let events = stream::iter(page.events.into_iter().map(Ok));
            Ok(Some((events, (store, next, Some(through)))))
        });
        pages.try_flatten()
    }

    async fn audit_page(
        &self,
        query: &AuditQuery,
        through: Option<u64>,
    ) -> Result<AuditPage, StoreError> {
        let mut connection = self.pools.read.acquire().await?;
        let mut select = Sql::new(
            "SELECT a.sequence, a.at, a.actor, a.action, a.class, a.outcome, a.workspace, a.target, a.body, a.hash \
             FROM audit a WHERE 1 = 1",
        );
        filter(&mut select, query);
        if let Some(after) = query.after {
            let than = if query.descending { " < " } else { " > " };
            select
                .push(" AND a.sequence")
                .push(than)
                .bind(stored(after));
        }
        if let Some(through) = through {
            select.push(" AND a.sequence <= ").bind(stored(through));
        }
        select
            .push(" ORDER BY a.sequence")
            .push(if query.descending { " DESC" } else { "" })
            .push(" LIMIT ")
            .bind(i64::try_from(query.limit + 1).unwrap_or(i64::MAX));
        let mut rows = select.query().fetch_all(&mut *connection).await?;
        let more = rows.len() > query.limit;
        rows.truncate(query.limit);
        let mut personal = personal(&mut connection, &rows).await?;
        let events = rows.iter().map(|row| {
            let own = personal.remove(&row.number("sequence")?);
            event(row, own.unwrap_or_default())
        });
        Ok(AuditPage {
            events: events.collect::<Result<_, StoreError>>()?,
            more,
        })
    }
}

fn filter(sql: &mut Sql, query: &AuditQuery) {
    below(sql, "a.workspace", &query.reach);
    if let Some(path) = &query.workspace {
        below(sql, "a.workspace", std::slice::from_ref(path));
    }
    if let Some(action) = &query.action {
        match action.strip_suffix('*') {
            Some(begin) => sql
                .push(" AND a.action >= ")
                .bind(begin)
                .push(" AND a.action < ")
                .bind(format!("{begin}\u{10ffff}")),
            None => sql.push(" AND a.action = ").bind(action.clone()),
        };
    }
    let class = query.class.map(|class| class.name().to_owned());
    for (column, value) in [
        ("a.actor", &query.actor),
        ("a.target", &query.target),
        ("a.class", &class),
        ("a.outcome", &query.outcome),
    ] {
        if let Some(value) = value {
            sql.push(" AND ")
                .push(column)
                .push(" = ")
                .bind(value.clone());
        }
    }
    if let Some(from) = query.from {
        sql.push(" AND a.at >= ").bind(from);
    }
    if let Some(to) = query.to {
        sql.push(" AND a.at < ").bind(to);
    }
}

/// The personal data that is still there, by event.
async fn personal(
    connection: &mut AnyConnection,
    rows: &[AnyRow],
) -> Result<HashMap<i64, Vec<String>>, StoreError> {
    let mut all: HashMap<i64, Vec<String>> = HashMap::new();
    for batch in rows.chunks(BATCH) {
        let sequences = batch.iter().map(|row| row.number("sequence"));
        let sequences = sequences.collect::<Result<Vec<_>, _>>()?;
        let mut select = Sql::new("SELECT sequence, data FROM audit_personal WHERE sequence IN (");
        select.bind_list(sequences).push(")");
        for row in select.query().fetch_all(&mut *connection).await? {
            let own = all.entry(row.number("sequence")?).or_default();
            own.push(row.text("data")?);
        }
    }
    Ok(all)
}

/// What was tampered with is shown as far as it can be read; the proof of it is [`Store::verify_audit`]'s.
fn event(row: &AnyRow, personal: Vec<String>) -> Result<AuditEvent, StoreError> {
    let body: Body = serde_json::from_str(&row.text("body")?).unwrap_or_default();
    let erased = personal.len() < body.personal.len();
    let mut known = Personal::default();
    for data in personal {
        let own: Personal = serde_json::from_str(&data).unwrap_or_default();
        known.actor = known.actor.or(own.actor);
        known.address = known.address.or(own.address);
        known.target = known.target.or(own.target);
    }
    Ok(AuditEvent {
        sequence: row.natural("sequence")?,
        id: body.id,
        at: row.time("at")?,
        actor: row.text("actor")?,
        via: body.via,
        action: row.text("action")?,
        class: row.text("class")?,
        outcome: row.text("outcome")?,
        workspace: row.text("workspace")?,
        target: row.text("target")?,
        reason: body.reason,
        changes: body.changes,
        request_id: body.request_id,
        hash: row.text("hash")?,
        actor_name: known.actor,
        address: known.address,
        target_name: known.target,
        erased,
    })
}

async fn head(connection: &mut AnyConnection) -> Result<AuditHead, StoreError> {
    let row = sqlx::query(
        "SELECT h.audit_sequence, h.audit_hash, a.at FROM head h LEFT JOIN audit a ON a.sequence = h.audit_sequence \
         WHERE h.id = 1",
    )
    .fetch_one(connection)
    .await?;
    Ok(AuditHead {
        sequence: row.natural("audit_sequence")?,
        hash: row.text("audit_hash")?,
        at: row.maybe_time("at")?,
    })
}

async fn checkpoints(connection: &mut AnyConnection) -> Result<Vec<Checkpoint>, StoreError> {
    let rows = sqlx::query(
        "SELECT sequence, hash, at, by_whom FROM audit_checkpoints ORDER BY sequence DESC",
    )
    .fetch_all(connection)
    .await?;
    let read = |row: &AnyRow| {
        Ok(Checkpoint {
            sequence: row.natural("sequence")?,
            hash: row.text("hash")?,
            at: row.time("at")?,
            by: row.text("by_whom")?,
        })
    };
    rows.iter().map(read).collect()
}

/// A sequence as the store has it.
fn stored(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
