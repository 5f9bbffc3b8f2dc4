//! Consumers: who calls, and owns keys.

use super::Store;
use super::error::StoreError;
use super::reach::below;
use super::sql::{Columns, Sql, begins, words};
use super::write::{Fact, Touched, Write};
use crate::domain::consumer::Consumer;
use crate::domain::id::{Id, Kind};
use crate::domain::limit::Limit;
use crate::domain::time::Timestamp;
use crate::domain::workspace::Lineage;
use serde_json::{Value, json};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, BTreeSet};

/// A consumer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// `con_…`.
    pub id: Id,
    /// The workspace it belongs to.
    pub workspace: Id,
    /// Unique in its workspace; goes upstream.
    pub name: String,
    /// Its id elsewhere.
    pub external_id: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Words about it.
    pub metadata: BTreeMap<String, String>,
    /// What all its keys share.
    pub limits: Option<Limit>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Last change.
    pub updated_at: Timestamp,
    /// Who changed it.
    pub updated_by: String,
    /// Revision of the last change.
    pub revision: u64,
}

/// Which consumers, from where on; the newest first.
#[derive(Debug, Clone)]
pub struct ConsumerQuery {
    /// Paths of the workspaces that the caller reaches; a consumer below any of them is seen.
    pub reach: Vec<String>,
    /// Words that each begin a word of name or external id; or a whole id.
    pub q: Option<String>,
    /// Path of a workspace: it and what is below.
    pub workspace: Option<String>,
    /// Its id elsewhere.
    pub external_id: Option<String>,
    /// Behind this one: when it was made, and id.
    pub after: Option<(Timestamp, Id)>,
    /// Most consumers.
    pub limit: usize,
}

impl ConsumerQuery {
    /// All consumers below these workspaces.
    pub fn all(reach: Vec<String>) -> Self {
        Self {
            reach,
            q: None,
            workspace: None,
            external_id: None,
            after: None,
            limit: 50,
        }
    }
}

/// Consumers, and whether there are more behind them.
#[derive(Debug, Clone)]
pub struct ConsumerPage {
    /// The consumers.
    pub consumers: Vec<ConsumerRecord>,
    /// Whether there are more.
    pub more: bool,
}

const COLUMNS: &str = "SELECT c.id, c.workspace, c.name, c.external_id, c.description, c.metadata, c.limits, c.created_at, \
    c.created_by, c.updated_at, c.updated_by, c.revision";
const FROM: &str = " FROM consumers c WHERE ";

impl Store {
    /// One consumer.
    pub async fn consumer(&self, id: Id) -> Result<ConsumerRecord, StoreError> {
        let mut connection = self.pools.read.acquire().await?;
        one(&mut connection, id).await
    }

    /// A page of consumers.
    pub async fn list_consumers(&self, query: &ConsumerQuery) -> Result<ConsumerPage, StoreError> {
        let mut select = Sql::new(COLUMNS);
        select.push(FROM);
        filter(&mut select, query);
        if let Some((at, id)) = query.after {
            select.push(" AND (c.created_at, c.id) < (").bind(at);
            select.push(", ").bind(text(id)).push(")");
        }
        select.push(" ORDER BY c.created_at DESC, c.id DESC LIMIT ");
        select.bind(i64::try_from(query.limit + 1).unwrap_or(i64::MAX));
        let mut rows = select.query().fetch_all(&self.pools.read).await?;
        let more = rows.len() > query.limit;
        rows.truncate(query.limit);
        Ok(ConsumerPage {
            consumers: rows.iter().map(consumer).collect::<Result<_, _>>()?,
            more,
        })
    }

    /// Number of consumers that a query finds, whatever page it asks for.
    pub async fn count_consumers(&self, query: &ConsumerQuery) -> Result<u64, StoreError> {
        let mut select = Sql::new("SELECT COUNT(*) AS number");
        select.push(FROM);
        filter(&mut select, query);
        select
            .query()
            .fetch_one(&self.pools.read)
            .await?
            .natural("number")
    }
}

impl Write {
    /// A consumer as it is inside this transaction.
    pub async fn consumer(&mut self, id: Id) -> Result<ConsumerRecord, StoreError> {
        one(self.connection(), id).await
    }

    /// The consumer with this id or this name, of a workspace or one above it, where the caller reaches that one; the
    /// nearest. Others are not there for the caller: a key of theirs would call in their name.
    pub async fn consumer_named(
        &mut self,
        text: &str,
        workspace: Id,
        reaches: &(dyn Fn(&Lineage) -> bool + Sync),
    ) -> Result<Option<Consumer>, StoreError> {
        let lineage = self.workspace(workspace).await?.lineage;
        let all = lineage.ids();
        for (depth, place) in all.iter().enumerate().rev() {
            if !reaches(&Lineage::new(all[..=depth].to_vec())) {
                break;
            }
            let mut select = Sql::new("SELECT id, name, limits FROM consumers WHERE workspace = ");
            select.bind(place.text(Kind::Workspace).to_string());
            let column = if Id::parse(Kind::Consumer, text).is_some() {
                "id"
            } else {
                "name"
            };
            select.push(" AND ").push(column).push(" = ").bind(text);
            if let Some(row) = select.query().fetch_optional(self.connection()).await? {
                return Ok(Some(Consumer {
                    id: row.id("id", Kind::Consumer)?,
                    name: row.text("name")?,
                    limits: limits(&row, "limits")?,
                }));
            }
        }
        Ok(None)
    }

    /// Keeps a new consumer; all that is about its making is set here.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when its workspace has one with this name or external id; not found when there is no such workspace.
    pub async fn insert_consumer(
        &mut self,
        mut new: ConsumerRecord,
    ) -> Result<ConsumerRecord, StoreError> {
        self.workspace(new.workspace).await?;
        self.refuse_external_id(&new).await?;
        new.created_at = self.now;
        new.created_by = self.actor().text();
        self.sign_consumer(&mut new);
        let mut insert = Sql::new(
            "INSERT INTO consumers (id, workspace, name, external_id, description, metadata, limits, created_at, created_by, \
             updated_at, updated_by, revision) VALUES (",
        );
        insert.bind(text(new.id)).push(", ");
        insert
            .bind(new.workspace.text(Kind::Workspace).to_string())
            .push(", ");
        insert.bind(new.name.clone()).push(", ");
        insert.bind(new.external_id.clone()).push(", ");
        insert.bind(new.description.clone()).push(", ");
        insert
            .bind(serde_json::to_string(&new.metadata)?)
            .push(", ");
        insert.bind(json_text(new.limits)?).push(", ");
        insert.bind(new.created_at).push(", ");
        insert.bind(new.created_by.clone()).push(", ");
        insert.bind(new.updated_at).push(", ");
        insert.bind(new.updated_by.clone()).push(", ");
        insert.bind(self.revision_number()).push(")");
        self.run(insert).await?;
        self.put_words(&new).await?;
        let mut fact = fact(&new, "consumer.created");
        for (name, value) in told(&new) {
            fact.change(name, Value::Null, value);
        }
        self.record(fact).await?;
        Ok(new)
    }

    /// Saves what became of a consumer. It does not move: its workspace stays.
    pub async fn save_consumer(
        &mut self,
        before: &ConsumerRecord,
        mut after: ConsumerRecord,
    ) -> Result<ConsumerRecord, StoreError> {
        after.workspace = before.workspace;
        // Those of older stores may share one: they can be edited as they are.
        if after.external_id != before.external_id {
            self.refuse_external_id(&after).await?;
        }
        self.sign_consumer(&mut after);
        let mut update = Sql::new("UPDATE consumers SET name = ");
        update.bind(after.name.clone()).push(", external_id = ");
        update
            .bind(after.external_id.clone())
            .push(", description = ");
        update.bind(after.description.clone()).push(", metadata = ");
        update.bind(serde_json::to_string(&after.metadata)?);
        update.push(", limits = ").bind(json_text(after.limits)?);
        update.push(", updated_at = ").bind(after.updated_at);
        update
            .push(", updated_by = ")
            .bind(after.updated_by.clone());
        update.push(", revision = ").bind(self.revision_number());
        update.push(" WHERE id = ").bind(text(after.id));
        if self.run(update).await? == 0 {
            return Err(StoreError::NotFound);
        }
        if found_by(before) != found_by(&after) {
            self.drop_words(after.id).await?;
            self.put_words(&after).await?;
        }
        let mut fact = fact(&after, "consumer.updated");
        for ((name, old), (_, new)) in told(before).into_iter().zip(told(&after)) {
            fact.change(name, old, new);
        }
        self.record(fact).await?;
        Ok(after)
    }

    /// Removes a consumer that owns nothing.
    ///
    /// # Errors
    /// `in_use` while it has keys, deleted ones that can be restored too.
    pub async fn delete_consumer(&mut self, id: Id) -> Result<ConsumerRecord, StoreError> {
        let gone = self.consumer(id).await?;
        let mut select = Sql::new("SELECT COUNT(*) AS number FROM keys WHERE consumer = ");
        select.bind(text(id));
        let keys = select.query().fetch_one(self.connection()).await?;
        let keys = keys.natural("number")?;
        if keys > 0 {
            return Err(StoreError::refused(
                "in_use",
                format!("the consumer still has {keys} keys, deleted ones included"),
            ));
        }
        let mut delete = Sql::new("DELETE FROM consumers WHERE id = ");
        delete.bind(text(id));
        self.run(delete).await?;
        self.drop_words(id).await?;
        self.record(fact(&gone, "consumer.deleted")).await?;
        Ok(gone)
    }

    /// Its id elsewhere is one consumer's in its workspace. Looked up here and not by an index, which would not be made
    /// where there are two already; writers wait for each other.
    async fn refuse_external_id(&mut self, consumer: &ConsumerRecord) -> Result<(), StoreError> {
        let Some(external_id) = &consumer.external_id else {
            return Ok(());
        };
        let mut select = Sql::new("SELECT COUNT(*) AS number FROM consumers WHERE external_id = ");
        select.bind(external_id.clone()).push(" AND workspace = ");
        select.bind(consumer.workspace.text(Kind::Workspace).to_string());
        select.push(" AND id <> ").bind(text(consumer.id));
        let others = select.query().fetch_one(self.connection()).await?;
        if others.natural("number")? > 0 {
            return Err(StoreError::Taken("external id"));
        }
        Ok(())
    }

    async fn put_words(&mut self, consumer: &ConsumerRecord) -> Result<(), StoreError> {
        let id = text(consumer.id);
        let rows = found_by(consumer)
            .into_iter()
            .map(|word| vec![word.into(), id.clone().into()]);
        self.insert_rows("consumer_words", &["word", "consumer"], rows.collect())
            .await
    }

    async fn drop_words(&mut self, consumer: Id) -> Result<(), StoreError> {
        let mut delete = Sql::new("DELETE FROM consumer_words WHERE consumer = ");
        delete.bind(text(consumer));
        self.run(delete).await.map(|_| ())
    }

    fn sign_consumer(&self, consumer: &mut ConsumerRecord) {
        consumer.updated_at = self.now;
        consumer.updated_by = self.actor().text();
        consumer.revision = self.revision;
    }
}

/// A limit as it is kept.
fn json_text(limits: Option<Limit>) -> Result<Option<String>, StoreError> {
    Ok(limits
        .map(|limit| serde_json::to_string(&limit))
        .transpose()?)
}

/// A limit as it was kept.
pub(super) fn limits(row: &AnyRow, column: &str) -> Result<Option<Limit>, StoreError> {
    let text = row.maybe_text(column)?;
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
}

fn filter(sql: &mut Sql, query: &ConsumerQuery) {
    sql.push("1 = 1");
    below(sql, "c.workspace", &query.reach);
    if let Some(path) = &query.workspace {
        below(sql, "c.workspace", std::slice::from_ref(path));
    }
    if let Some(external_id) = &query.external_id {
        sql.push(" AND c.external_id = ").bind(external_id.clone());
    }
    let Some(q) = &query.q else { return };
    if Id::parse(Kind::Consumer, q.trim()).is_some() {
        sql.push(" AND c.id = ").bind(q.trim());
        return;
    }
    let words = words(q);
    if words.is_empty() && !q.trim().is_empty() {
        sql.push(" AND 1 = 0");
    }
    for word in words {
        sql.push(" AND c.id IN (SELECT w.consumer FROM consumer_words w WHERE ");
        begins(sql, "w.word", &word);
        sql.push(")");
    }
}

/// The words it is found by.
fn found_by(consumer: &ConsumerRecord) -> BTreeSet<String> {
    let external = consumer.external_id.as_deref().unwrap_or_default();
    [&consumer.name, external]
        .into_iter()
        .flat_map(words)
        .collect()
}

/// Its fields as the audit log tells of them; no metadata is none at all.
fn told(consumer: &ConsumerRecord) -> [(&'static str, Value); 5] {
    let metadata = Some(&consumer.metadata).filter(|words| !words.is_empty());
    [
        ("name", json!(consumer.name)),
        ("external_id", json!(consumer.external_id)),
        ("description", json!(consumer.description)),
        ("metadata", json!(metadata)),
        ("limits", json!(consumer.limits)),
    ]
}

fn text(consumer: Id) -> String {
    consumer.text(Kind::Consumer).to_string()
}

fn fact(consumer: &ConsumerRecord, action: &'static str) -> Fact {
    let id = text(consumer.id);
    let mut fact = Fact::new(action, consumer.workspace, id.clone());
    fact.target_name = Some(consumer.name.clone());
    fact.touched = Some(Touched::Consumer(consumer.id));
    fact.event = Some(json!({"id": id, "name": consumer.name, "revision": consumer.revision}));
    fact
}

async fn one(connection: &mut AnyConnection, id: Id) -> Result<ConsumerRecord, StoreError> {
    let mut select = Sql::new(COLUMNS);
    select.push(FROM).push("c.id = ").bind(text(id));
    consumer(&select.query().fetch_one(connection).await?)
}

fn consumer(row: &AnyRow) -> Result<ConsumerRecord, StoreError> {
    Ok(ConsumerRecord {
        id: row.id("id", Kind::Consumer)?,
        workspace: row.id("workspace", Kind::Workspace)?,
        name: row.text("name")?,
        external_id: row.maybe_text("external_id")?,
        description: row.maybe_text("description")?,
        limits: limits(row, "limits")?,
        metadata: serde_json::from_str(&row.text("metadata")?)?,
        created_at: row.time("created_at")?,
        created_by: row.text("created_by")?,
        updated_at: row.time("updated_at")?,
        updated_by: row.text("updated_by")?,
        revision: row.natural("revision")?,
    })
}
