//! Events on their way out: written with what they tell of, spread into one delivery for each webhook that asked.

use super::Store;
use super::error::StoreError;
use super::sql::{Columns, Sql};
use super::webhooks::{self, WebhookRecord, WebhookState};
use super::write::{Fact, Write};
use crate::domain::id::{Id, Kind};
use crate::domain::time::Timestamp;
use serde_json::{Value, json};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use std::collections::HashMap;

/// Most rows of one statement.
const BATCH: usize = 100;
/// Most events that one replay looks at.
const REPLAYED: i64 = 10_000;

/// An event as it stands in the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxEvent {
    /// `evt_…`, the same as in the audit log.
    pub id: String,
    /// `key.created`.
    pub kind: String,
    /// When it happened.
    pub at: Timestamp,
    /// The workspace it is about.
    pub workspace: String,
    /// What is told.
    pub data: Value,
}

/// Where workspaces stand in the tree.
type Paths = HashMap<String, String>;

impl Store {
    /// Makes deliveries of events that have none yet, the oldest first; the number of events. Each event goes to each
    /// webhook once, however many nodes do this.
    pub async fn spread_outbox(&self) -> Result<usize, StoreError> {
        // Looking takes no lock; most looks find nothing.
        let any = sqlx::query("SELECT id FROM outbox WHERE spread_at IS NULL LIMIT 1")
            .fetch_optional(&self.pools.read)
            .await?;
        if any.is_none() {
            return Ok(0);
        }
        let now = self.clock.now();
        let mut tx = self.transaction().await?;
        let mut take = Sql::new("UPDATE outbox SET spread_at = ");
        take.bind(now)
            .push(" WHERE spread_at IS NULL AND id IN (SELECT id FROM outbox WHERE spread_at IS NULL ORDER BY revision LIMIT ")
            .bind(i64::try_from(BATCH).unwrap_or(i64::MAX))
            .push(") RETURNING id, type, at, workspace, data, revision");
        let mut rows = take.query().fetch_all(&mut *tx).await?;
        rows.sort_by_key(|row| row.number("revision").unwrap_or_default());
        let told = active_webhooks(&mut tx).await?;
        if !told.is_empty() {
            let paths = paths(&mut tx).await?;
            let mut new = Vec::new();
            for row in &rows {
                let event = event(row)?;
                let wanted = told.iter().filter(|one| goes_to(one, &event, &paths));
                new.extend(wanted.map(|one| {
                    let channel = one.id.text(Kind::Webhook).to_string();
                    (channel, event.id.clone(), String::new())
                }));
            }
            insert_deliveries(&mut tx, new, now).await?;
        }
        tx.commit().await?;
        Ok(rows.len())
    }

    /// The events with these ids that are still there.
    pub async fn outbox_events(
        &self,
        ids: &[String],
    ) -> Result<HashMap<String, OutboxEvent>, StoreError> {
        let mut found = HashMap::new();
        for batch in ids.chunks(BATCH) {
            let mut select =
                Sql::new("SELECT id, type, at, workspace, data FROM outbox WHERE id IN (");
            select.bind_list(batch.iter().cloned()).push(")");
            for row in select.query().fetch_all(&self.pools.read).await? {
                let event = event(&row)?;
                found.insert(event.id.clone(), event);
            }
        }
        Ok(found)
    }

    /// Removes events that were spread, and deliveries that have ended, before a time; the number of rows.
    pub async fn prune_outbox(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut gone = self
            .prune(
                "deliveries",
                "created_at",
                " AND state <> 'pending'",
                before,
            )
            .await?;
        gone += self.prune("outbox", "spread_at", "", before).await?;
        Ok(gone)
    }

    /// Removes rows of one table by their age, a few at a time, so that others can write in between.
    pub(super) async fn prune(
        &self,
        table: &'static str,
        column: &'static str,
        more: &'static str,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        const AT_ONCE: i64 = 1000;
        // Tables without an id of their own are told by what their rows are unique by.
        let key = match table {
            "changes" => "revision",
            "idempotency" => "key_hash",
            _ => "id",
        };
        let mut gone = 0;
        loop {
            let mut delete = Sql::new("DELETE FROM ");
            delete.push(table).push(" WHERE ").push(column).push(" < ");
            delete.bind(before).push(more).push(" AND ").push(key);
            delete.push(" IN (SELECT ").push(key).push(" FROM ");
            delete.push(table).push(" WHERE ").push(column).push(" < ");
            delete.bind(before).push(more).push(" LIMIT ");
            delete.bind(AT_ONCE).push(")");
            let some = delete
                .query()
                .execute(&self.pools.write)
                .await?
                .rows_affected();
            gone += some;
            if some == 0 {
                return Ok(gone);
            }
        }
    }
}

impl Write {
    /// Sends an event of type `webhook.test` to one webhook, whatever it asked for; the delivery.
    pub async fn test_webhook(&mut self, webhook: &WebhookRecord) -> Result<Id, StoreError> {
        let id = webhook.id.text(Kind::Webhook).to_string();
        let workspace = webhook.workspace.text(Kind::Workspace).to_string();
        let mut fact = Fact::new("webhook.tested", webhook.workspace, id.clone());
        fact.target_name = Some(webhook.name.clone());
        let event = self.record(fact).await?.text(Kind::Event).to_string();
        let mut insert = Sql::new(
            "INSERT INTO outbox (id, revision, at, type, workspace, data, spread_at) VALUES (",
        );
        insert
            .bind(event.clone())
            .push(", ")
            .bind(self.revision_number())
            .push(", ")
            .bind(self.now)
            .push(", 'webhook.test', ")
            .bind(workspace)
            .push(", ")
            .bind(json!({"id": id}).to_string())
            .push(", ")
            .bind(self.now)
            .push(")");
        self.run(insert).await?;
        let now = self.now;
        let ids =
            insert_deliveries(self.connection(), vec![(id, event, String::new())], now).await?;
        ids.first().copied().ok_or(StoreError::NotFound)
    }

    /// Delivers again what has failed since a time, what waits for its next attempt, and what it was never told because
    /// it was switched off; the number of events. What is due, or leased and so being delivered, goes on as it is.
    pub async fn replay_webhook(
        &mut self,
        webhook: &WebhookRecord,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        let id = webhook.id.text(Kind::Webhook).to_string();
        let now = self.now;
        let mut again =
            Sql::new("UPDATE deliveries SET state = 'pending', attempts = 0, next_at = ");
        again
            .bind(now)
            .push(" WHERE channel = ")
            .bind(id.clone())
            .push(" AND (state = 'failed' OR state = 'pending' AND next_at > ")
            .bind(now)
            .push(" AND (leased_until IS NULL OR leased_until <= ")
            .bind(now)
            .push(")) AND created_at >= ")
            .bind(since);
        let mut count = self.run(again).await?;
        let mut select =
            Sql::new("SELECT id, type, at, workspace, data FROM outbox WHERE spread_at >= ");
        select
            .bind(since)
            .push(" AND id NOT IN (SELECT event FROM deliveries WHERE channel = ")
            .bind(id.clone())
            .push(") ORDER BY revision LIMIT ")
            .bind(REPLAYED);
        let rows = select.query().fetch_all(self.connection()).await?;
        let paths = paths(self.connection()).await?;
        let mut missing = Vec::new();
        for row in &rows {
            let event = event(row)?;
            if event.kind != "webhook.test" && goes_to(webhook, &event, &paths) {
                missing.push((id.clone(), event.id, String::new()));
            }
        }
        count += insert_deliveries(self.connection(), missing, now)
            .await?
            .len() as u64;
        let mut fact = Fact::new("webhook.replayed", webhook.workspace, id);
        fact.target_name = Some(webhook.name.clone());
        fact.change("events", Value::Null, count);
        self.record(fact).await?;
        Ok(count)
    }

    /// Delivers one event again, whatever became of it before.
    pub async fn replay_delivery(
        &mut self,
        webhook: &WebhookRecord,
        delivery: Id,
    ) -> Result<(), StoreError> {
        let id = webhook.id.text(Kind::Webhook).to_string();
        let mut again =
            Sql::new("UPDATE deliveries SET state = 'pending', attempts = 0, next_at = ");
        again
            .bind(self.now)
            .push(" WHERE channel = ")
            .bind(id.clone())
            .push(" AND id = ")
            .bind(delivery.text(Kind::Delivery).to_string());
        if self.run(again).await? == 0 {
            return Err(StoreError::NotFound);
        }
        let mut fact = Fact::new("webhook.replayed", webhook.workspace, id);
        fact.target_name = Some(webhook.name.clone());
        fact.change("events", Value::Null, 1);
        self.record(fact).await.map(|_| ())
    }
}

/// Keeps deliveries that are not there yet: channel, event, recipient. Ids of those that are new.
pub(super) async fn insert_deliveries(
    connection: &mut AnyConnection,
    new: Vec<(String, String, String)>,
    now: Timestamp,
) -> Result<Vec<Id>, StoreError> {
    let mut made = Vec::with_capacity(new.len());
    for batch in new.chunks(BATCH) {
        let mut insert = Sql::new(
            "INSERT INTO deliveries (id, channel, event, recipient, state, attempts, next_at, created_at) VALUES ",
        );
        // They are delivered in the order of their ids.
        let mut ids: Vec<Id> = batch.iter().map(|_| Id::new(now)).collect();
        ids.sort_unstable();
        for (place, ((channel, event, recipient), id)) in batch.iter().zip(ids).enumerate() {
            insert.push(if place == 0 { "(" } else { ", (" });
            let id = id.text(Kind::Delivery).to_string();
            insert.bind_list([&id, channel, event, recipient].map(String::as_str));
            insert.push(", 'pending', 0, ").bind(now).push(", ");
            insert.bind(now).push(")");
        }
        insert.push(" ON CONFLICT (event, channel, recipient) DO NOTHING RETURNING id");
        for row in insert.query().fetch_all(&mut *connection).await? {
            made.push(row.id("id", Kind::Delivery)?);
        }
    }
    Ok(made)
}

async fn active_webhooks(connection: &mut AnyConnection) -> Result<Vec<WebhookRecord>, StoreError> {
    let rows = webhooks::select().query().fetch_all(connection).await?;
    let all = rows
        .iter()
        .map(webhooks::webhook)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(all
        .into_iter()
        .filter(|one| one.state == WebhookState::Active)
        .collect())
}

async fn paths(connection: &mut AnyConnection) -> Result<Paths, StoreError> {
    let rows = sqlx::query("SELECT id, path FROM workspaces")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((row.text("id")?, row.text("path")?)))
        .collect()
}

/// Whether an event is of the webhook's workspace or below, and of a type it asked for. What is about a workspace that
/// is gone is told at the root only.
fn goes_to(webhook: &WebhookRecord, event: &OutboxEvent, paths: &Paths) -> bool {
    let own = webhook.workspace.text(Kind::Workspace);
    let own = paths.get(own.as_str());
    let root = crate::domain::workspace::root();
    let below = match (own, paths.get(&event.workspace)) {
        (Some(own), Some(path)) => path.starts_with(own),
        (_, None) => webhook.workspace == root,
        (None, Some(_)) => false,
    };
    // What happened before it was there is told by a replay only.
    let after = webhook.created_at <= event.at;
    below && after && webhook.wants(&event.kind)
}

fn event(row: &AnyRow) -> Result<OutboxEvent, StoreError> {
    Ok(OutboxEvent {
        id: row.text("id")?,
        kind: row.text("type")?,
        at: row.time("at")?,
        workspace: row.text("workspace")?,
        data: serde_json::from_str(&row.text("data")?)?,
    })
}

#[cfg(test)]
mod tests;
