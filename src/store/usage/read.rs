//! Usage, summed up: of one key, or of all that somebody reaches.

use super::UsageCounts;
use crate::domain::id::{Id, Kind};
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::reach::below;
use crate::store::sql::{Columns, Sql};
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// How long one row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An hour.
    Hour,
    /// A day, in UTC.
    Day,
    /// The whole span.
    All,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::All];

    /// Name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::All => "all",
        }
    }

    /// The beginning of the step that an hour is in.
    fn start(self) -> &'static str {
        match self {
            Self::Hour => "u.hour",
            Self::Day => "(u.hour - u.hour % 86400000)",
            Self::All => "CAST(0 AS BIGINT)",
        }
    }
}

/// What rows are told apart by, beside time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBy {
    /// Nothing.
    Nothing,
    /// The route.
    Route,
    /// The key.
    Key,
}

impl UsageBy {
    fn column(self) -> &'static str {
        match self {
            Self::Nothing => "CAST('' AS TEXT)",
            Self::Route => "u.route",
            Self::Key => "u.key_id",
        }
    }
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
    /// Only this route.
    pub route: Option<String>,
    /// From the hour that begins then.
    pub from: Timestamp,
    /// To the hour before this one.
    pub to: Timestamp,
    /// Time that a row covers.
    pub step: Step,
    /// What rows are told apart by.
    pub by: UsageBy,
    /// Most rows.
    pub limit: usize,
}

/// Usage within one step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsageRow {
    /// The beginning of the step; [`UsageQuery::from`] where it is the whole span.
    pub at: Timestamp,
    /// Name of the route, or the key's id as text; empty if rows are not told apart.
    pub what: String,
    /// Counts.
    pub counts: UsageCounts,
    /// Refusals by reason.
    pub reasons: BTreeMap<String, u64>,
}

impl Store {
    /// Usage of one key between two times, in order of time.
    pub async fn key_usage(
        &self,
        key: Id,
        (from, to): (Timestamp, Timestamp),
        step: Step,
        by_route: bool,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let root = crate::domain::workspace::root().text(Kind::Workspace);
        self.usage(&UsageQuery {
            reach: vec![format!("{root}/")],
            workspace: None,
            key: Some(key),
            route: None,
            from,
            to,
            step,
            by: if by_route {
                UsageBy::Route
            } else {
                UsageBy::Nothing
            },
            limit: usize::MAX,
        })
        .await
    }

    /// Usage of all keys that somebody reaches, in order of time; the busiest first within a step.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        let mut select = head(query);
        for column in COUNTS {
            let sum = format!(", CAST(SUM(u.{column}) AS BIGINT) AS {column}");
            select.push(&sum);
        }
        select.push(" FROM usage_hours u");
        tail(&mut select, query);
        select.push(" ORDER BY at, requests DESC, what LIMIT ");
        select.bind(i64::try_from(query.limit).unwrap_or(i64::MAX));
        let rows = select.query().fetch_all(&self.pools.read).await?;
        let mut all = rows
            .iter()
            .map(|row| usage(row, query))
            .collect::<Result<Vec<_>, _>>()?;
        self.reasons(query, &mut all).await?;
        Ok(all)
    }

    async fn reasons(&self, query: &UsageQuery, rows: &mut [UsageRow]) -> Result<(), StoreError> {
        if rows.iter().all(|row| row.counts.refusals == 0) {
            return Ok(());
        }
        let mut select = head(query);
        select.push(", u.reason AS reason, CAST(SUM(u.count) AS BIGINT) AS number");
        select.push(" FROM usage_refusals u");
        tail(&mut select, query);
        select.push(", u.reason");
        let mut found: BTreeMap<(Timestamp, String), BTreeMap<String, u64>> = BTreeMap::new();
        for row in select.query().fetch_all(&self.pools.read).await? {
            found
                .entry((at(&row, query)?, row.text("what")?))
                .or_default()
                .insert(row.text("reason")?, row.natural("number")?);
        }
        for row in rows {
            row.reasons = found
                .remove(&(row.at, row.what.clone()))
                .unwrap_or_default();
        }
        Ok(())
    }

    /// Refusals of each of these keys: within the hour that begins then, and in the day before it.
    pub async fn refusals_around(
        &self,
        keys: &[Id],
        hour: Timestamp,
    ) -> Result<Vec<(Id, u64, u64)>, StoreError> {
        let mut found = Vec::new();
        for batch in keys.chunks(500) {
            let mut select = Sql::new("SELECT key_id, CAST(SUM(CASE WHEN hour = ");
            select.bind(hour);
            select.push(" THEN refusals ELSE 0 END) AS BIGINT) AS now, CAST(SUM(refusals) AS BIGINT) AS sum");
            select.push(" FROM usage_hours WHERE hour >= ");
            select.bind(Timestamp::from_millis(hour.as_millis() - DAY));
            select
                .push(" AND hour <= ")
                .bind(hour)
                .push(" AND key_id IN (");
            select
                .bind_list(batch.iter().map(|id| id.text(Kind::Key).to_string()))
                .push(") GROUP BY key_id");
            for row in select.query().fetch_all(&self.pools.read).await? {
                let (now, sum) = (row.natural("now")?, row.natural("sum")?);
                found.push((row.id("key_id", Kind::Key)?, now, sum.saturating_sub(now)));
            }
        }
        Ok(found)
    }
}

const DAY: i64 = crate::domain::key::record::DAY_MILLIS;

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
    select.push(query.step.start()).push(" AS at, ");
    select.push(query.by.column()).push(" AS what");
    select
}

/// The condition and the groups.
fn tail(sql: &mut Sql, query: &UsageQuery) {
    sql.push(" WHERE u.hour >= ").bind(query.from);
    sql.push(" AND u.hour < ").bind(query.to);
    if let Some(key) = query.key {
        sql.push(" AND u.key_id = ")
            .bind(key.text(Kind::Key).to_string());
    }
    if let Some(route) = &query.route {
        sql.push(" AND u.route = ").bind(route.clone());
    }
    let mut inside = Sql::default();
    below(&mut inside, "k.workspace", &query.reach);
    if let Some(path) = &query.workspace {
        below(&mut inside, "k.workspace", std::slice::from_ref(path));
    }
    // From the root everything is seen, keys of config files too.
    if !inside.is_empty() {
        sql.push(" AND u.key_id IN (SELECT k.id FROM keys k WHERE 1 = 1");
        below(sql, "k.workspace", &query.reach);
        if let Some(path) = &query.workspace {
            below(sql, "k.workspace", std::slice::from_ref(path));
        }
        sql.push(")");
    }
    sql.push(" GROUP BY at, what");
}

fn at(row: &AnyRow, query: &UsageQuery) -> Result<Timestamp, StoreError> {
    match query.step {
        Step::Hour | Step::Day => row.time("at"),
        Step::All => Ok(query.from),
    }
}

fn usage(row: &AnyRow, query: &UsageQuery) -> Result<UsageRow, StoreError> {
    Ok(UsageRow {
        at: at(row, query)?,
        what: row.text("what")?,
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
