//! Webhooks: who is told of which events. Their signing secrets are sealed before they come here.

pub mod types;

use super::Store;
use super::error::StoreError;
use super::sql::{Columns, Sql};
use super::write::{Fact, Write};
use crate::domain::id::{Id, Kind};
use crate::domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::any::AnyRow;

/// Most secrets of one webhook that sign at a time.
const MAX_SECRETS: usize = 3;

/// Whether a webhook is told of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookState {
    /// It is.
    Active,
    /// It is not: somebody said so, or nothing came through for days.
    Disabled,
}

impl WebhookState {
    /// Name in the API and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Active, Self::Disabled]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// One signing secret, sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// As the vault gave it.
    pub sealed: String,
    /// Milliseconds since the epoch when it signs no more; `None` for the newest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<i64>,
}

/// A webhook as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRecord {
    /// `whk_…`.
    pub id: Id,
    /// Hears of what happens here and below.
    pub workspace: Id,
    /// Unique in its workspace.
    pub name: String,
    /// Where it is told; may carry a secret.
    pub url: String,
    /// Types or patterns (`key.*`); empty: all.
    pub events: Vec<String>,
    /// Whether it is told.
    pub state: WebhookState,
    /// Why not: a code.
    pub state_reason: Option<String>,
    /// Signing secrets, the newest first.
    pub secrets: Vec<SealedSecret>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Last change.
    pub updated_at: Timestamp,
    /// Who changed it.
    pub updated_by: String,
    /// Since when nothing has come through.
    pub failing_since: Option<Timestamp>,
    /// Revision of the last change.
    pub revision: u64,
}

impl WebhookRecord {
    /// Whether it asked for events of this type.
    pub fn wants(&self, event: &str) -> bool {
        self.events.is_empty() || self.events.iter().any(|pattern| matches(pattern, event))
    }

    /// What its messages are signed with, the newest first.
    pub fn live_secrets(&self, now: Timestamp) -> impl Iterator<Item = &SealedSecret> {
        self.secrets
            .iter()
            .filter(move |secret| secret.until.is_none_or(|end| now.as_millis() < end))
    }

    /// Puts a new secret in front; the one before signs too for the overlap, in milliseconds.
    pub fn rotate_secret(&mut self, sealed: String, overlap: i64, now: Timestamp) {
        self.secrets
            .retain(|secret| secret.until.is_none_or(|end| now.as_millis() < end));
        let end = now.as_millis().saturating_add(overlap);
        for old in &mut self.secrets {
            old.until = Some(old.until.map_or(end, |sooner| sooner.min(end)));
        }
        let new = SealedSecret {
            sealed,
            until: None,
        };
        self.secrets.insert(0, new);
        self.secrets.truncate(MAX_SECRETS);
    }

    /// Tells it again; what happened in between can be replayed.
    pub fn enable(&mut self) {
        self.state = WebhookState::Active;
        self.state_reason = None;
        self.failing_since = None;
    }

    /// Tells it no more.
    pub fn disable(&mut self, reason: Option<&str>) {
        self.state = WebhookState::Disabled;
        self.state_reason = reason.map(str::to_owned);
    }

    /// What a secret of it is sealed for.
    pub fn place(id: Id) -> String {
        format!("webhook {} secret", id.text(Kind::Webhook))
    }
}

/// Whether a pattern (`key.created`, `key.*`, `*`) means events of this type.
pub fn matches(pattern: &str, event: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(front) => event.starts_with(front),
        None => pattern == event,
    }
}

/// Whether a text is a pattern: words of letters and underscores with dots between them, at the end perhaps a star.
pub fn is_pattern(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let front = match text.strip_suffix('*') {
        Some("") => return true,
        Some(front) => match front.strip_suffix('.') {
            Some(front) => front,
            None => return false,
        },
        None => text,
    };
    text.len() <= 64 && front.split('.').all(word)
}

const SELECT: &str = "SELECT id, workspace, name, url, events, state, state_reason, secrets, created_at, created_by, \
    updated_at, updated_by, failing_since, revision FROM webhooks";

impl Store {
    /// One webhook.
    pub async fn webhook(&self, id: Id) -> Result<WebhookRecord, StoreError> {
        let mut select = Sql::new(SELECT);
        select
            .push(" WHERE id = ")
            .bind(id.text(Kind::Webhook).to_string());
        webhook(&select.query().fetch_one(&self.pools.read).await?)
    }

    /// All webhooks, by id; there are few.
    pub async fn webhooks(&self) -> Result<Vec<WebhookRecord>, StoreError> {
        let mut select = Sql::new(SELECT);
        select.push(" ORDER BY id");
        let rows = select.query().fetch_all(&self.pools.read).await?;
        rows.iter().map(webhook).collect()
    }

    /// Notes whether something came through. No change of its own: it has no revision and no audit event.
    pub async fn note_webhook_health(
        &self,
        id: Id,
        failing_since: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let mut update = Sql::new("UPDATE webhooks SET failing_since = ");
        match failing_since {
            // What began earlier goes on.
            Some(at) => update
                .push("COALESCE(failing_since, ")
                .bind(at)
                .push(") WHERE "),
            None => update.push("NULL WHERE failing_since IS NOT NULL AND "),
        };
        update
            .push("id = ")
            .bind(id.text(Kind::Webhook).to_string());
        update.query().execute(&self.pools.write).await?;
        Ok(())
    }
}

impl Write {
    /// A webhook as it is inside this transaction.
    pub async fn webhook(&mut self, id: Id) -> Result<WebhookRecord, StoreError> {
        let mut select = Sql::new(SELECT);
        select
            .push(" WHERE id = ")
            .bind(id.text(Kind::Webhook).to_string());
        webhook(&select.query().fetch_one(self.connection()).await?)
    }

    /// Keeps a new webhook.
    pub async fn insert_webhook(
        &mut self,
        mut webhook: WebhookRecord,
    ) -> Result<WebhookRecord, StoreError> {
        webhook.created_at = self.now;
        webhook.created_by = self.actor().text();
        self.sign_webhook(&mut webhook);
        let mut insert = Sql::new(
            "INSERT INTO webhooks (workspace, name, url, events, state, state_reason, secrets, updated_at, updated_by, \
             failing_since, revision, id, created_at, created_by) VALUES (",
        );
        let id = webhook.id.text(Kind::Webhook).to_string();
        insert
            .bind_list(self.webhook_columns(&webhook)?.map(|(_, value)| value))
            .push(", ")
            .bind(id)
            .push(", ")
            .bind(webhook.created_at)
            .push(", ")
            .bind(webhook.created_by.clone())
            .push(")");
        self.run(insert).await?;
        let mut fact = fact(&webhook, "webhook.created");
        fact.change("name", Value::Null, webhook.name.clone());
        fact.change("events", Value::Null, webhook.events.clone());
        for secret in ["url", "secret"] {
            fact.changes.insert(secret.into(), "changed".into());
        }
        self.record(fact).await?;
        Ok(webhook)
    }

    /// Saves what became of a webhook. Switched off, it is told nothing of what still waits.
    pub async fn save_webhook(
        &mut self,
        before: &WebhookRecord,
        mut after: WebhookRecord,
        action: &'static str,
    ) -> Result<WebhookRecord, StoreError> {
        self.sign_webhook(&mut after);
        let mut update = Sql::new("UPDATE webhooks SET ");
        for (place, (name, value)) in self.webhook_columns(&after)?.enumerate() {
            update.push(if place == 0 { "" } else { ", " });
            update.push(name).push(" = ").bind(value);
        }
        let id = after.id.text(Kind::Webhook).to_string();
        update.push(" WHERE id = ").bind(id.clone());
        if self.run(update).await? == 0 {
            return Err(StoreError::NotFound);
        }
        if after.state == WebhookState::Disabled {
            let mut cancel = Sql::new(
                "UPDATE deliveries SET state = 'failed', last_error = 'the webhook was disabled', leased_until = NULL \
                 WHERE state = 'pending' AND channel = ",
            );
            cancel.bind(id);
            self.run(cancel).await?;
        }
        let mut fact = fact(&after, action);
        fact.reason.clone_from(&after.state_reason);
        fact.change("name", before.name.clone(), after.name.clone());
        fact.change("events", before.events.clone(), after.events.clone());
        fact.change("state", before.state.name(), after.state.name());
        for (name, differs) in [
            ("url", before.url != after.url),
            ("secret", before.secrets != after.secrets),
        ] {
            if differs {
                fact.changes.insert(name.into(), "changed".into());
            }
        }
        self.record(fact).await?;
        Ok(after)
    }

    /// Removes a webhook and what was delivered to it.
    pub async fn delete_webhook(&mut self, id: Id) -> Result<WebhookRecord, StoreError> {
        let gone = self.webhook(id).await?;
        for (table, column) in [("deliveries", "channel"), ("webhooks", "id")] {
            let mut delete = Sql::new("DELETE FROM ");
            delete.push(table).push(" WHERE ").push(column).push(" = ");
            delete.bind(id.text(Kind::Webhook).to_string());
            self.run(delete).await?;
        }
        self.record(fact(&gone, "webhook.deleted")).await?;
        Ok(gone)
    }

    fn sign_webhook(&self, webhook: &mut WebhookRecord) {
        webhook.updated_at = self.now;
        webhook.updated_by = self.actor().text();
        webhook.revision = self.revision;
    }

    /// Columns that change, with their values.
    fn webhook_columns(
        &self,
        webhook: &WebhookRecord,
    ) -> Result<impl Iterator<Item = (&'static str, super::sql::Value)> + use<>, StoreError> {
        Ok([
            (
                "workspace",
                webhook.workspace.text(Kind::Workspace).to_string().into(),
            ),
            ("name", webhook.name.clone().into()),
            ("url", webhook.url.clone().into()),
            ("events", serde_json::to_string(&webhook.events)?.into()),
            ("state", webhook.state.name().into()),
            ("state_reason", webhook.state_reason.clone().into()),
            ("secrets", serde_json::to_string(&webhook.secrets)?.into()),
            ("updated_at", webhook.updated_at.into()),
            ("updated_by", webhook.updated_by.clone().into()),
            ("failing_since", webhook.failing_since.into()),
            ("revision", self.revision_number().into()),
        ]
        .into_iter())
    }
}

/// A fact about a webhook. Its URL is in none: some carry a secret.
fn fact(webhook: &WebhookRecord, action: &'static str) -> Fact {
    let id = webhook.id.text(Kind::Webhook).to_string();
    let mut fact = Fact::new(action, webhook.workspace, id.clone());
    fact.target_name = Some(webhook.name.clone());
    fact.event = Some(json!({
        "id": id,
        "name": webhook.name,
        "workspace": webhook.workspace.text(Kind::Workspace).to_string(),
        "state": webhook.state.name(),
        "revision": webhook.revision,
    }));
    fact
}

/// A select of whole webhooks.
pub(super) fn select() -> Sql {
    Sql::new(SELECT)
}

pub(super) fn webhook(row: &AnyRow) -> Result<WebhookRecord, StoreError> {
    let state = row.text("state")?;
    Ok(WebhookRecord {
        id: row.id("id", Kind::Webhook)?,
        workspace: row.id("workspace", Kind::Workspace)?,
        name: row.text("name")?,
        url: row.text("url")?,
        events: serde_json::from_str(&row.text("events")?)?,
        state: WebhookState::parse(&state).ok_or(StoreError::Foreign(state))?,
        state_reason: row.maybe_text("state_reason")?,
        secrets: serde_json::from_str(&row.text("secrets")?)?,
        created_at: row.time("created_at")?,
        created_by: row.text("created_by")?,
        updated_at: row.time("updated_at")?,
        updated_by: row.text("updated_by")?,
        failing_since: row.maybe_time("failing_since")?,
        revision: row.natural("revision")?,
    })
}

#[cfg(test)]
mod tests;
