//! Deliveries: one event on its way to one receiver. Several nodes may deliver; each delivery is leased by one.

use super::Store;
use super::error::StoreError;
use super::sql::{Columns, Sql};
use super::webhooks::{self, WebhookRecord};
use crate::domain::id::{Id, Kind};
use crate::domain::time::Timestamp;
use sqlx::any::AnyRow;

/// The channel of e-mails.
pub const EMAIL: &str = "email";
/// The longest lease. What is leased for longer was leased by a clock that was ahead, and is free.
pub const MAX_LEASE_MILLIS: i64 = 10 * 60 * 1000;
/// The longest wait for the next attempt.
pub const MAX_WAIT_MILLIS: i64 = 48 * 60 * 60 * 1000;

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// On its way.
    Pending,
    /// Taken.
    Delivered,
    /// Given up.
    Failed,
}

impl DeliveryState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// Name in the API and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A delivery as admins see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// `dlv_…`.
    pub id: Id,
    /// `evt_…`.
    pub event: String,
    /// `key.created`; `None` once the event is too old.
    pub kind: Option<String>,
    /// What became of it.
    pub state: DeliveryState,
    /// Attempts so far.
    pub attempts: i64,
    /// The next one.
    pub next_at: Option<Timestamp>,
    /// Status of the last answer.
    pub last_status: Option<i64>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was taken.
    pub delivered_at: Option<Timestamp>,
}

/// A delivery that this process has to make now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// `dlv_…`.
    pub id: Id,
    /// `evt_…`, or the notice.
    pub event: String,
    /// By e-mail: member or address.
    pub recipient: String,
    /// Attempts before this one.
    pub attempts: i64,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// Taken, perhaps with a status.
    Delivered(Option<u16>),
    /// Not yet: the next attempt, what was answered, and why it was no good.
    Retry {
        /// When.
        at: Timestamp,
        /// Status of the answer.
        status: Option<u16>,
        /// Words.
        error: String,
    },
    /// Given up.
    Failed {
        /// Status of the answer.
        status: Option<u16>,
        /// Words.
        error: String,
    },
}

/// Deliveries, and whether there are more behind them.
#[derive(Debug, Clone)]
pub struct DeliveryPage {
    /// The deliveries, the newest first.
    pub deliveries: Vec<DeliveryRecord>,
    /// Whether there are more.
    pub more: bool,
}

impl Store {
    /// Webhooks for which something is due that nobody has leased.
    pub async fn due_webhooks(&self) -> Result<Vec<WebhookRecord>, StoreError> {
        let now = self.clock.now();
        let mut select = webhooks::select();
        select.push(" WHERE EXISTS (SELECT 1 FROM deliveries d WHERE d.channel = webhooks.id AND ");
        due(&mut select, "d.", now);
        select.push(") ORDER BY id");
        let rows = select.query().fetch_all(&self.pools.read).await?;
        rows.iter().map(webhooks::webhook).collect()
    }

    /// Takes what is due for a channel, the oldest first, unless another worker has some of it in hand.
    pub async fn lease_deliveries(
        &self,
        channel: &str,
        most: usize,
        until: Timestamp,
    ) -> Result<Vec<Leased>, StoreError> {
        let now = self.clock.now();
        let mut lease = Sql::new("UPDATE deliveries SET leased_until = ");
        lease.bind(until).push(" WHERE ");
        due(&mut lease, "", now);
        lease.push(" AND id IN (SELECT d.id FROM deliveries d WHERE d.channel = ");
        lease.bind(channel).push(" AND ");
        due(&mut lease, "d.", now);
        lease.push(" ORDER BY d.next_at, d.id LIMIT ");
        lease.bind(i64::try_from(most).unwrap_or(i64::MAX));
        lease.push(") AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.channel = ");
        lease
            .bind(channel)
            .push(" AND o.state = 'pending' AND o.leased_until > ")
            .bind(now)
            .push(" AND o.leased_until <= ")
            .bind(later(now, MAX_LEASE_MILLIS));
        lease.push(") RETURNING id, event, recipient, attempts, next_at");
        let mut rows = lease.query().fetch_all(&self.pools.write).await?;
        rows.sort_by_key(|row| (row.number("next_at").ok(), row.text("id").ok()));
        rows.iter().map(leased).collect()
    }

    /// Notes how an attempt ended, and gives the lease back.
    pub async fn finish_delivery(&self, id: Id, attempt: &Attempt) -> Result<(), StoreError> {
        let mut update = Sql::new(
            "UPDATE deliveries SET attempts = attempts + 1, leased_until = NULL, state = ",
        );
        let (state, status, error) = match attempt {
            Attempt::Delivered(status) => (DeliveryState::Delivered, *status, None),
            Attempt::Retry { status, error, .. } => (DeliveryState::Pending, *status, Some(error)),
            Attempt::Failed { status, error } => (DeliveryState::Failed, *status, Some(error)),
        };
        update.bind(state.name()).push(", last_status = ");
        update.bind(status.map(i64::from)).push(", last_error = ");
        update.bind(error.cloned()).push(", next_at = ");
        match attempt {
            Attempt::Retry { at, .. } => update.bind(*at),
            Attempt::Delivered(_) => {
                let now = self.clock.now();
                update.push("NULL, delivered_at = ").bind(now)
            }
            Attempt::Failed { .. } => update.push("NULL"),
        };
        // Cancelled in between: that stands, unless it was taken after all.
        update
            .push(" WHERE id = ")
            .bind(id.text(Kind::Delivery).to_string());
        if state != DeliveryState::Delivered {
            update.push(" AND state = 'pending'");
        }
        update.query().execute(&self.pools.write).await?;
        Ok(())
    }

    /// Gives leases back without an attempt.
    pub async fn release_deliveries(&self, leased: &[Leased]) -> Result<(), StoreError> {
        let mut update = Sql::new("UPDATE deliveries SET leased_until = NULL WHERE id IN (");
        update
            .bind_list(
                leased
                    .iter()
                    .map(|one| one.id.text(Kind::Delivery).to_string()),
            )
            .push(")");
        update.query().execute(&self.pools.write).await?;
        Ok(())
    }

    /// Gives up whatever still waits in a channel.
    pub async fn cancel_deliveries(
        &self,
        channel: &str,
        why: &'static str,
    ) -> Result<u64, StoreError> {
        let mut cancel = Sql::new("UPDATE deliveries SET state = 'failed', last_error = ");
        cancel
            .bind(why)
            .push(", leased_until = NULL, next_at = NULL WHERE state = 'pending' AND channel = ")
            .bind(channel);
        Ok(cancel
            .query()
            .execute(&self.pools.write)
            .await?
            .rows_affected())
    }

    /// Makes due what waits for a time further away than any retry: the clock was ahead when that was written.
    pub async fn reset_deliveries(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let mut update = Sql::new("UPDATE deliveries SET next_at = ");
        update
            .bind(now)
            .push(" WHERE state = 'pending' AND next_at > ")
            .bind(later(now, MAX_WAIT_MILLIS));
        Ok(update
            .query()
            .execute(&self.pools.write)
            .await?
            .rows_affected())
    }

    /// Deliveries that a webhook still waits for.
    pub async fn count_pending(&self, webhook: Id) -> Result<u64, StoreError> {
        let mut select = Sql::new("SELECT COUNT(*) AS number FROM deliveries WHERE channel = ");
        select
            .bind(webhook.text(Kind::Webhook).to_string())
            .push(" AND state = 'pending'");
        let row = select.query().fetch_one(&self.pools.read).await?;
        row.natural("number")
    }

    /// Deliveries to a webhook, the newest first.
    pub async fn list_deliveries(
        &self,
        webhook: Id,
        state: Option<DeliveryState>,
        after: Option<(Timestamp, Id)>,
        limit: usize,
    ) -> Result<DeliveryPage, StoreError> {
        let mut select = Sql::new(
            "SELECT d.id, d.event, o.type AS kind, d.state, d.attempts, d.next_at, d.last_status, d.last_error, \
             d.created_at, d.delivered_at FROM deliveries d LEFT JOIN outbox o ON o.id = d.event WHERE d.channel = ",
        );
        select.bind(webhook.text(Kind::Webhook).to_string());
        if let Some(state) = state {
            select.push(" AND d.state = ").bind(state.name());
        }
        if let Some((at, id)) = after {
            select
                .push(" AND (d.created_at, d.id) < (")
                .bind(at)
                .push(", ")
                .bind(id.text(Kind::Delivery).to_string())
                .push(")");
        }
        select.push(" ORDER BY d.created_at DESC, d.id DESC LIMIT ");
        select.bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let mut rows = select.query().fetch_all(&self.pools.read).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok(DeliveryPage {
            deliveries: rows.iter().map(delivery).collect::<Result<_, _>>()?,
            more,
        })
    }
}

fn later(now: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_add(millis))
}

/// Waits, its time has come, and no lease of now holds it.
fn due(sql: &mut Sql, table: &'static str, now: Timestamp) {
    sql.push(table).push("state = 'pending' AND ");
    sql.push(table).push("next_at <= ").bind(now);
    sql.push(" AND (")
        .push(table)
        .push("leased_until IS NULL OR ");
    sql.push(table).push("leased_until <= ").bind(now);
    sql.push(" OR ").push(table).push("leased_until > ");
    sql.bind(later(now, MAX_LEASE_MILLIS)).push(")");
}

fn leased(row: &AnyRow) -> Result<Leased, StoreError> {
    Ok(Leased {
        id: row.id("id", Kind::Delivery)?,
        event: row.text("event")?,
        recipient: row.text("recipient")?,
        attempts: row.number("attempts")?,
    })
}

fn delivery(row: &AnyRow) -> Result<DeliveryRecord, StoreError> {
    let state = row.text("state")?;
    Ok(DeliveryRecord {
        id: row.id("id", Kind::Delivery)?,
        event: row.text("event")?,
        kind: row.maybe_text("kind")?,
        state: DeliveryState::parse(&state).ok_or(StoreError::Foreign(state))?,
        attempts: row.number("attempts")?,
        next_at: row.maybe_time("next_at")?,
        last_status: row.maybe_number("last_status")?,
        last_error: row.maybe_text("last_error")?,
        created_at: row.time("created_at")?,
        delivered_at: row.maybe_time("delivered_at")?,
    })
}
