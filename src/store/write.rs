//! One transaction that changes something: what is changed, the audit event, the event for others, and the revision stand
//! together or not at all. Nothing leaves before the commit.
//!
//! Long because the order in which all of that is written is what must be seen in one place.

use super::Store;
use super::dialect::Dialect;
use super::error::StoreError;
use super::sql::{Columns, Sql, VALUES, Value as Cell};
use super::webhooks::types::TYPES;
use crate::domain::actor::{Actor, Who};
use crate::domain::id::{Id, Kind};
use crate::domain::key::{Algorithm, KeyHash};
use crate::domain::time::Timestamp;
use serde_json::{Map, Value, json};
use sqlx::{Any, AnyConnection, Transaction};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// Pause before it is tried again to make the files forget something.
const FORGET_EVERY: Duration = Duration::from_secs(2);

/// What an audit event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// An admin changed something.
    Management,
    /// Somebody signed in, failed to, or read what is watched.
    Authentication,
    /// Somebody asked for what they may not have.
    Authorization,
    /// Keys at work, aggregated.
    Use,
    /// The gateway by itself.
    System,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Management,
        Self::Authentication,
        Self::Authorization,
        Self::Use,
        Self::System,
    ];

    /// Name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Management => "management",
            Self::Authentication => "authentication",
            Self::Authorization => "authorization",
            Self::Use => "use",
            Self::System => "system",
        }
    }
}

/// What the data plane must look at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Touched {
    /// A key.
    Key(Id),
    /// A secret that is gone, by its hash: its key does not name it any more.
    Secret(KeyHash, Algorithm),
    /// A consumer: all its keys show its name.
    Consumer(Id),
    /// The tree of workspaces.
    Workspace(Id),
    /// Many keys at once (an import): everything is compared.
    Everything,
}

impl Touched {
    fn row(self) -> (&'static str, String) {
        match self {
            Self::Key(id) => ("key", id.text(Kind::Key).to_string()),
            Self::Secret(hash, algorithm) => ("secret", hash.at_rest_as(algorithm)),
            Self::Consumer(id) => ("consumer", id.text(Kind::Consumer).to_string()),
            Self::Workspace(id) => ("workspace", id.text(Kind::Workspace).to_string()),
            Self::Everything => ("everything", String::new()),
        }
    }

    /// Reads what [`Touched::row`] wrote; what a newer version touched is compared whole.
    pub(super) fn parse(kind: &str, object: &str) -> Self {
        let id = |of: Kind| Id::parse(of, object);
        match kind {
            "key" => id(Kind::Key).map(Self::Key),
            "secret" => KeyHash::parse_any(object)
                .ok()
                .map(|(hash, algorithm)| Self::Secret(hash, algorithm)),
            "consumer" => id(Kind::Consumer).map(Self::Consumer),
            "workspace" => id(Kind::Workspace).map(Self::Workspace),
            _ => None,
        }
        .unwrap_or(Self::Everything)
    }
}

/// What happened, for the audit log and for whoever is told of events. The chain covers ids and codes; names, addresses
/// and e-mails go into `personal` and lie apart.
#[derive(Debug, Clone)]
pub struct Fact {
    /// `key.created`: noun and verb.
    pub action: &'static str,
    /// What kind of event.
    pub class: Class,
    /// `success`, `denied`, `error`.
    pub outcome: &'static str,
    /// The workspace it is about.
    pub workspace: Id,
    /// The object, as its id in text form; for others a word such as `audit`.
    pub target: String,
    /// The object's name for people; personal.
    pub target_name: Option<String>,
    /// The member that the object is.
    pub target_person: Option<Id>,
    /// A code for why.
    pub reason: Option<String>,
    /// Fields and what became of them: `{"field": {"from": …, "to": …}}`; secret ones say `"changed"`.
    pub changes: Map<String, Value>,
    /// What the data plane must look at again.
    pub touched: Option<Touched>,
    /// Whether webhooks hear of it; what they get beside id, type, time and workspace.
    pub event: Option<Value>,
}

impl Fact {
    /// A fact about an object, without anything else.
    pub fn new(action: &'static str, workspace: Id, target: impl Into<String>) -> Self {
        Self {
            action,
            class: Class::Management,
            outcome: "success",
            workspace,
            target: target.into(),
            target_name: None,
            target_person: None,
            reason: None,
            changes: Map::new(),
            touched: None,
            event: None,
        }
    }

    /// Notes a field that changed, if it did.
    pub fn change(&mut self, field: &str, from: impl Into<Value>, to: impl Into<Value>) {
        let (from, to) = (from.into(), to.into());
        if from != to {
            self.changes
                .insert(field.to_owned(), json!({"from": from, "to": to}));
        }
    }
}

/// A transaction that changes something. Dropped without [`Write::commit`], it never was.
pub struct Write {
    tx: Transaction<'static, Any>,
    store: Store,
    actor: Actor,
    /// The time of all of it.
    pub now: Timestamp,
    /// Its revision.
    pub revision: u64,
    sequence: i64,
    hash: String,
    /// Facts recorded so far.
    facts: i64,
    /// Rows of `changes` so far.
    places: i64,
    /// Something was erased that must not be found in the files either.
    erased: bool,
    pending: Pending,
}

/// Rows that facts have become. They are written many at a time: with a database elsewhere each statement is a journey, and
/// an act on many keys would be mostly that.
#[derive(Default)]
struct Pending {
    audit: Vec<Vec<Cell>>,
    personal: Vec<Vec<Cell>>,
    changes: Vec<Vec<Cell>>,
    outbox: Vec<Vec<Cell>>,
}

/// Facts that are held back at most.
const HELD_BACK: usize = 500;

/// How often, and how many times, a connection is looked at again whose last transaction is still being rolled back.
const ROLLBACK_LOOK: Duration = Duration::from_millis(2);
const ROLLBACK_LOOKS: usize = 100;

impl Store {
    /// Begins a change. Whoever else wants to change something waits until this one has ended.
    pub async fn begin(&self, actor: &Actor) -> Result<Write, StoreError> {
        let mut tx = self.transaction().await?;
        let head = sqlx::query(
            "UPDATE head SET revision = revision + 1 WHERE id = 1 RETURNING revision, audit_sequence, audit_hash",
        )
        .fetch_one(&mut *tx)
        .await?;
        Ok(Write {
            store: self.clone(),
            actor: actor.clone(),
            now: self.clock.now(),
            revision: head.natural("revision")?,
            sequence: head.number("audit_sequence")?,
            hash: head.text("audit_hash")?,
            facts: 0,
            places: 0,
            erased: false,
            pending: Pending::default(),
            tx,
        })
    }

    /// A transaction that writes.
    pub(super) async fn transaction(&self) -> Result<Transaction<'static, Any>, StoreError> {
        let begin = || self.pools.write.begin_with(self.dialect.begin());
        for _ in 0..ROLLBACK_LOOKS {
            match begin().await {
                // One that was dropped is being rolled back on this connection, by a thread of its own.
                Err(sqlx::Error::InvalidSavePointStatement) => {
                    tokio::time::sleep(ROLLBACK_LOOK).await;
                }
                other => return Ok(other?),
            }
        }
        // `SQLite` rolls back by itself when its disk is full. sqlx does not see that: the rollback that it sends fails, and
        // it begins nothing more on that connection, so another one takes its place.
        self.pools.write.acquire().await?.close().await?;
        Ok(begin().await?)
    }
}

impl Store {
    /// Sees to it that what was erased is gone from the database's files: at once, or as soon as those who read them are
    /// done.
    async fn forget_old_pages(&self) {
        if let Ok(true) = self.dialect.forget_old_pages(&self.pools).await {
            return;
        }
        tracing::warn!(
            "somebody reads the store's file: what was erased is in its write-ahead log until they are done"
        );
        let store = self.clone();
        TaskTracker::new().spawn(async move {
            while !store.pools.write.is_closed() {
                tokio::time::sleep(FORGET_EVERY).await;
                if let Ok(true) = store.dialect.forget_old_pages(&store.pools).await {
                    tracing::info!("what was erased is gone from the store's file too");
                    return;
                }
            }
        });
    }
}

impl Write {
    /// The connection, for statements inside the transaction.
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }

    /// Which database it is in.
    pub(super) fn dialect(&self) -> Dialect {
        self.store.dialect
    }

    /// Who makes the change.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The revision as the store has it.
    pub(super) fn revision_number(&self) -> i64 {
        i64::try_from(self.revision).unwrap_or(i64::MAX)
    }

    /// Runs a statement; the number of rows it touched.
    pub(super) async fn run(&mut self, sql: Sql) -> Result<u64, StoreError> {
        Ok(sql.query().execute(&mut *self.tx).await?.rows_affected())
    }

    /// Sees to it that what this change overwrites is gone from the database's files as well, once it is committed.
    pub(super) fn leave_no_trace(&mut self) {
        self.erased = true;
    }

    /// Records a fact: an audit event, an event for others, and what the data plane must look at again.
    pub async fn record(&mut self, fact: Fact) -> Result<Id, StoreError> {
        let id = Id::new(self.now);
        self.facts += 1;
        self.chain(id, &fact);
        if let Some(touched) = fact.touched {
            let (kind, object) = touched.row();
            self.touch(kind, [object]);
        }
        if let Some(data) = fact.event {
            debug_assert!(
                TYPES.contains(&fact.action),
                "{} is no type of event",
                fact.action
            );
            self.pending.outbox.push(vec![
                id.text(Kind::Event).to_string().into(),
                self.revision_number().into(),
                self.now.into(),
                fact.action.into(),
                fact.workspace.text(Kind::Workspace).to_string().into(),
                data.to_string().into(),
            ]);
        }
        if self.pending.audit.len() >= HELD_BACK {
            self.write_facts().await?;
        }
        Ok(id)
    }

    /// Names keys that the data plane must look at again, beside those of recorded facts.
    pub fn touch_keys(&mut self, keys: &[Id]) {
        let names = keys.iter().map(|key| key.text(Kind::Key).to_string());
        self.touch("key", names);
    }

    /// Names objects of a kind, see [`Touched::parse`].
    pub(super) fn touch(&mut self, kind: &'static str, objects: impl IntoIterator<Item = String>) {
        for object in objects {
            self.places += 1;
            self.pending.changes.push(vec![
                self.revision_number().into(),
                self.places.into(),
                kind.into(),
                object.into(),
                self.now.into(),
            ]);
        }
    }

    /// Writes what was recorded so far, for whoever looks at these tables inside this transaction.
    pub(super) async fn write_facts(&mut self) -> Result<(), StoreError> {
        let Pending {
            audit,
            personal,
            changes,
            outbox,
        } = std::mem::take(&mut self.pending);
        let columns = ["sequence", "person", "salt", "data"];
        self.insert_rows("audit_personal", &columns, personal)
            .await?;
        self.insert_rows("audit", &AUDIT_COLUMNS, audit).await?;
        let columns = ["revision", "place", "kind", "object", "at"];
        self.insert_rows("changes", &columns, changes).await?;
        let columns = ["id", "revision", "at", "type", "workspace", "data"];
        self.insert_rows("outbox", &columns, outbox).await
    }

    /// Writes rows of a table, as many in a statement as it may have values.
    pub(super) async fn insert_rows(
        &mut self,
        table: &str,
        names: &[&str],
        rows: Vec<Vec<Cell>>,
    ) -> Result<(), StoreError> {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let mut insert = Sql::new("INSERT INTO ");
            insert
                .push(table)
                .push(" (")
                .push(&names.join(", "))
                .push(") VALUES ");
            let most = VALUES / names.len().max(1);
            for (place, row) in rows.by_ref().take(most).enumerate() {
                insert.push(if place == 0 { "(" } else { ", (" });
                insert.bind_list(row).push(")");
            }
            self.run(insert).await?;
        }
        Ok(())
    }

    /// Adds an event to the chain.
    fn chain(&mut self, id: Id, fact: &Fact) {
        self.sequence += 1;
        let actor = self.actor.text();
        let mut digests = Vec::new();
        for (person, data) in personal(&self.actor, fact) {
            let person = person
                .map(|id| id.text(Kind::Member).to_string())
                .unwrap_or_default();
            let salt = format!("{:032x}", Id::new(self.now).bits());
            let data = Value::Object(data).to_string();
            digests.push(json!({"person": person, "digest": digest(&salt, &data)}));
            self.pending.personal.push(vec![
                self.sequence.into(),
                person.into(),
                salt.into(),
                data.into(),
            ]);
        }
        let workspace = fact.workspace.text(Kind::Workspace).to_string();
        let via = match self.actor.who {
            Who::Member { session, .. } => Some(session.text(Kind::Session).to_string()),
            Who::Token(_) | Who::ConfigToken | Who::System(_) => None,
        };
        let body = json!({
            "sequence": self.sequence,
            "id": id.text(Kind::Event).to_string(),
            "at": self.now.as_millis(),
            "actor": actor,
            "via": via,
            "action": fact.action,
            "class": fact.class.name(),
            "outcome": fact.outcome,
            "workspace": workspace,
            "target": fact.target,
            "reason": fact.reason,
            "changes": fact.changes,
            "personal": digests,
            "request_id": self.actor.request_id,
        })
        .to_string();
        let hash = link(&self.hash, &body);
        let previous = std::mem::replace(&mut self.hash, hash.clone());
        self.pending.audit.push(vec![
            self.sequence.into(),
            self.now.into(),
            actor.into(),
            fact.action.into(),
            fact.class.name().into(),
            fact.outcome.into(),
            workspace.into(),
            fact.target.clone().into(),
            body.into(),
            previous.into(),
            hash.into(),
        ]);
    }

    /// Goes on behind another head, which has been put in place of the one that this change began with: behind the last
    /// event of its chain, with a revision that neither of them ever had.
    pub(super) async fn go_on(&mut self) -> Result<(), StoreError> {
        let head =
            sqlx::query("SELECT revision, audit_sequence, audit_hash FROM head WHERE id = 1")
                .fetch_one(&mut *self.tx)
                .await?;
        self.revision = self.revision.max(head.natural("revision")? + 1);
        self.sequence = head.number("audit_sequence")?;
        self.hash = head.text("audit_hash")?;
        sqlx::query("UPDATE head SET revision = $1 WHERE id = 1")
            .bind(self.revision_number())
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Makes all of it true at once; the revision.
    ///
    /// # Errors
    /// Also when nothing was recorded: a change without an audit event is a mistake of ours.
    pub async fn commit(mut self) -> Result<u64, StoreError> {
        if self.facts == 0 {
            return Err(StoreError::Statement(
                "a change without an audit event".into(),
            ));
        }
        self.write_facts().await?;
        sqlx::query("UPDATE head SET audit_sequence = $1, audit_hash = $2 WHERE id = 1")
            .bind(self.sequence)
            .bind(&self.hash)
            .execute(&mut *self.tx)
            .await?;
        self.store.dialect.announce(&mut self.tx).await?;
        self.tx.commit().await?;
        signal(&self.store.committed, self.revision);
        if self.erased {
            self.store.forget_old_pages().await;
        }
        Ok(self.revision)
    }
}

const AUDIT_COLUMNS: [&str; 11] = [
    "sequence",
    "at",
    "actor",
    "action",
    "class",
    "outcome",
    "workspace",
    "target",
    "body",
    "previous",
    "hash",
];

fn signal(committed: &watch::Sender<u64>, revision: u64) {
    committed.send_if_modified(|last| {
        let news = revision > *last;
        *last = revision.max(*last);
        news
    });
}

/// Names and addresses of a fact, by whom they are about.
fn personal(actor: &Actor, fact: &Fact) -> Vec<(Option<Id>, Map<String, Value>)> {
    let mut own = Map::new();
    if let Some(name) = &actor.name {
        own.insert("actor".into(), name.as_str().into());
    }
    if let Some(address) = actor.address {
        own.insert("address".into(), address.to_string().into());
    }
    let mut all = vec![(actor.person(), own)];
    if let Some(name) = &fact.target_name {
        let name = Value::from(name.as_str());
        match all
            .iter_mut()
            .find(|(person, _)| *person == fact.target_person)
        {
            Some((_, data)) => {
                data.insert("target".into(), name);
            }
            None => all.push((
                fact.target_person,
                Map::from_iter([("target".into(), name)]),
            )),
        }
    }
    all.retain(|(_, data)| !data.is_empty());
    all
}

/// The hash of an event: blake3 over the hash before it and its body.
pub(super) fn link(previous: &str, body: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous.as_bytes());
    hasher.update(b"\n");
    hasher.update(body.as_bytes());
    hasher.finalize().to_hex().to_string()
}

/// The digest by which the chain covers personal data without holding it.
pub(super) fn digest(salt: &str, data: &str) -> String {
    link(salt, data)
}
