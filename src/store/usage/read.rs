//! Usage, summed up by hour or day: of one key, or of all that somebody reaches.

use super::UsageCounts;
use crate::domain::id::{Id, Kind};
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::reach::below;
use crate::store::sql::{Columns, Sql};
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, HashMap};

/// How long one row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An hour.
    Hour,
    /// A day, in UTC.
    Day,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Hour, Self::Day];

    /// Name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// How long it is.
    pub fn millis(self) -> i64 {
        match self {
            Self::Hour => DAY / 24,
            Self::Day => DAY,
        }
    }

    /// The beginning of the step that an hour is in.
    fn start(self) -> &'static str {
        match self {
            Self::Hour => "u.hour",
            Self::Day => "(u.hour - u.hour % 86400000)",
        }
    }
}

/// A consumer, as usage is filtered by it.
#[derive(Debug, Clone)]
pub struct UsageOwner {
    /// The consumer.
    pub consumer: Id,
    /// Its keys in the config file: the store knows no more of them than their use.
    pub declared: Vec<Id>,
}

/// Which usage, and how it is summed up.
#[derive(Debug, Clone)]
pub struct UsageQuery {
    /// Paths of the workspaces that the caller reaches. Keys of config files are the root's.
    pub reach: Vec<String>,
    /// Path of a workspace: it and what is below.
    pub workspace: Option<String>,
    /// Only this key.
    pub key: Option<Id>,
    /// Only keys of this consumer.
    pub owner: Option<UsageOwner>,
    /// Only this route.
    pub route: Option<String>,
    /// From the hour that begins then.
    pub from: Timestamp,
    /// To the hour before this one.
    pub to: Timestamp,
    /// Time that a row covers.
    pub step: Step,
    /// Behind this row: its time, key and route.
    pub after: Option<(Timestamp, Id, String)>,
    /// Most rows.
    pub limit: usize,
}

impl UsageQuery {
    /// Everything within reach, by hour.
    pub fn all(reach: Vec<String>) -> Self {
        Self {
            reach,
            workspace: None,
            key: None,
            owner: None,
            route: None,
            from: Timestamp::from_millis(i64::MIN),
            to: Timestamp::from_millis(i64::MAX),
            step: Step::Hour,
            after: None,
            limit: 50,
        }
    }
}

/// Usage of a key on a route within one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The beginning of the step.
    pub at: Timestamp,
    /// The key.
    pub key: Id,
    /// Name of the route.
    pub route: String,
    /// Counts.
    pub counts: UsageCounts,
    /// Refusals by reason.
    pub reasons: BTreeMap<String, u64>,
}

/// A page of usage, the latest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsagePage {
    /// The rows.
    pub rows: Vec<UsageRow>,
    /// Whether there are more behind them.
    pub more: bool,
}

impl Store {
    /// Usage by step, key and route; the latest first.
    pub async fn usage(&self, query: &UsageQuery) -> Result<UsagePage, StoreError> {
        let mut select = head(query);
        for column in COUNTS {
            let sum = format!(", CAST(SUM(u.{column}) AS BIGINT) AS {column}");
            select.push(&sum);
        }
        select.push(" FROM usage_hours u");
        condition(&mut select, query);
        if let Some((at, key, route)) = &query.after {
            select.push(" AND (").push(query.step.start());
            select.push(", u.key_id, u.route) < (").bind(*at);
            select.push(", ").bind(key.text(Kind::Key).to_string());
            select.push(", ").bind(route.as_str()).push(")");
        }
        select
            .push(GROUPED)
            .push(" ORDER BY at DESC, u.key_id DESC, u.route DESC LIMIT ");
        select.bind(i64::try_from(query.limit.saturating_add(1)).unwrap_or(i64::MAX));
        let found = select.query().fetch_all(&self.pools.read).await?;
        let rows: Result<Vec<UsageRow>, _> = found.iter().take(query.limit).map(usage).collect();
        let mut rows = rows?;
        self.reasons(query, &mut rows).await?;
        Ok(UsagePage {
            more: found.len() > rows.len(),
            rows,
        })
    }

    /// How many rows there are in all.
    pub async fn count_usage(&self, query: &UsageQuery) -> Result<u64, StoreError> {
        let mut count = Sql::new("SELECT COUNT(*) AS number FROM (");
        count.push("SELECT ").push(query.step.start());
        count.push(" AS at, u.key_id, u.route FROM usage_hours u");
        condition(&mut count, query);
        count.push(GROUPED).push(") AS counted");
        let row = count.query().fetch_one(&self.pools.read).await?;
        row.natural("number")
    }

    /// Adds the reasons to the rows of a page.
    async fn reasons(&self, query: &UsageQuery, rows: &mut [UsageRow]) -> Result<(), StoreError> {
        let refused = || rows.iter().filter(|row| row.counts.refusals > 0);
        let (Some(newest), Some(oldest)) = (refused().next(), refused().next_back()) else {
            return Ok(());
        };
        let mut keys: Vec<Id> = refused().map(|row| row.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut only = query.clone();
        only.from = query.from.max(oldest.at);
        let end = newest.at.as_millis().saturating_add(query.step.millis());
        only.to = query.to.min(Timestamp::from_millis(end));
        let mut select = head(query);
        select.push(", u.reason AS reason, CAST(SUM(u.count) AS BIGINT) AS number");
        select.push(" FROM usage_refusals u");
        condition(&mut select, &only);
        select.push(" AND u.key_id IN (");
        select.bind_list(keys.iter().map(|id| id.text(Kind::Key).to_string()));
        select.push(")").push(GROUPED).push(", u.reason");
        let mut found: HashMap<(Timestamp, Id, String), BTreeMap<String, u64>> = HashMap::new();
        for row in select.query().fetch_all(&self.pools.read).await? {
            let (reason, number) = (row.text("reason")?, row.natural("number")?);
            found
                .entry(place(&row)?)
                .or_default()
                .insert(reason, number);
        }
        for row in rows {
            let place = (row.at, row.key, row.route.clone());
            row.reasons = found.remove(&place).unwrap_or_default();
        }
        Ok(())
    }

    /// Refusals of each of these keys: within the hour that begins then, and in the day before it. Those by its own limit
    /// are not among them: it is that which was asked for.
    pub async fn refusals_around(
        &self,
        keys: &[Id],
        hour: Timestamp,
    ) -> Result<Vec<(Id, u64, u64)>, StoreError> {
        let mut found = Vec::new();
        for batch in keys.chunks(500) {
            let sums = self
                .around(batch, hour, ("usage_hours", "refusals", ""))
                .await?;
            let limited = ("usage_refusals", "count", LIMITED);
            let limited: HashMap<Id, (u64, u64)> = self
                .around(batch, hour, limited)
                .await?
                .into_iter()
                .map(|(key, now, before)| (key, (now, before)))
                .collect();
            found.extend(sums.into_iter().map(|(key, now, before)| {
                let (less_now, less_before) = limited.get(&key).copied().unwrap_or_default();
                let now = now.saturating_sub(less_now);
                (key, now, before.saturating_sub(less_before))
            }));
        }
        Ok(found)
    }

    /// Sums of a column of a table of hours, by key: within the hour that begins then, and in the day before it.
    async fn around(
        &self,
        keys: &[Id],
        hour: Timestamp,
        (table, column, which): (&'static str, &'static str, &'static str),
    ) -> Result<Vec<(Id, u64, u64)>, StoreError> {
        let mut select = Sql::new("SELECT key_id, CAST(SUM(CASE WHEN hour = ");
        select.bind(hour).push(" THEN ").push(column);
        select
            .push(" ELSE 0 END) AS BIGINT) AS now, CAST(SUM(")
            .push(column);
        select.push(") AS BIGINT) AS sum FROM ").push(table);
        select.push(" WHERE hour >= ");
        select.bind(Timestamp::from_millis(hour.as_millis() - DAY));
        select.push(" AND hour <= ").bind(hour).push(which);
        select.push(" AND key_id IN (");
        select
            .bind_list(keys.iter().map(|id| id.text(Kind::Key).to_string()))
            .push(") GROUP BY key_id");
        let rows = select.query().fetch_all(&self.pools.read).await?;
        let read = |row: &AnyRow| {
            let (now, sum) = (row.natural("now")?, row.natural("sum")?);
            Ok((row.id("key_id", Kind::Key)?, now, sum.saturating_sub(now)))
        };
        rows.iter().map(read).collect()
    }
}

const DAY: i64 = crate::domain::key::record::DAY_MILLIS;
/// What a key is refused for that asks too often.
const LIMITED: &str = " AND reason = 'rate_limited'";
const GROUPED: &str = " GROUP BY at, u.key_id, u.route";

const COUNTS: [&str; 8] = [
    "requests",
    "refusals",
    "status_2xx",
    "status_3xx",
    "status_4xx",
    "status_5xx",
    "bytes_in",
    "bytes_out",
];

fn head(query: &UsageQuery) -> Sql {
    let mut select = Sql::new("SELECT ");
    select.push(query.step.start());
    select.push(" AS at, u.key_id AS key_id, u.route AS route");
    select
}

fn condition(sql: &mut Sql, query: &UsageQuery) {
    sql.push(" WHERE u.hour >= ").bind(query.from);
    sql.push(" AND u.hour < ").bind(query.to);
    if let Some(key) = query.key {
        sql.push(" AND u.key_id = ")
            .bind(key.text(Kind::Key).to_string());
    }
    if let Some(route) = &query.route {
        sql.push(" AND u.route = ").bind(route.clone());
    }
    if let Some(owner) = &query.owner {
        sql.push(" AND (u.key_id IN (SELECT k.id FROM keys k WHERE k.consumer = ");
        sql.bind(owner.consumer.text(Kind::Consumer).to_string());
        sql.push(")");
        if !owner.declared.is_empty() {
            let ids = owner.declared.iter();
            sql.push(" OR u.key_id IN (");
            sql.bind_list(ids.map(|id| id.text(Kind::Key).to_string()));
            sql.push(")");
        }
        sql.push(")");
    }
    // From the root everything is seen, keys of config files too.
    let mut inside = Sql::default();
    below(&mut inside, "k.workspace", &query.reach);
    if let Some(path) = &query.workspace {
        below(&mut inside, "k.workspace", std::slice::from_ref(path));
    }
    if !inside.is_empty() {
        sql.push(" AND u.key_id IN (SELECT k.id FROM keys k WHERE 1 = 1");
        below(sql, "k.workspace", &query.reach);
        if let Some(path) = &query.workspace {
            below(sql, "k.workspace", std::slice::from_ref(path));
        }
        sql.push(")");
    }
}

/// Time, key and route of a row.
fn place(row: &AnyRow) -> Result<(Timestamp, Id, String), StoreError> {
    Ok((
        row.time("at")?,
        row.id("key_id", Kind::Key)?,
        row.text("route")?,
    ))
}

fn usage(row: &AnyRow) -> Result<UsageRow, StoreError> {
    let (at, key, route) = place(row)?;
    Ok(UsageRow {
        at,
        key,
        route,
        counts: UsageCounts {
            requests: row.natural("requests")?,
            refusals: row.natural("refusals")?,
            statuses: [
                row.natural("status_2xx")?,
                row.natural("status_3xx")?,
                row.natural("status_4xx")?,
                row.natural("status_5xx")?,
            ],
            bytes_in: row.natural("bytes_in")?,
            bytes_out: row.natural("bytes_out")?,
        },
        reasons: BTreeMap::new(),
    })
}
