//! Lists of keys: filtered, sorted and paged in the store. How the keys are found is chosen in [`super::find`].

use super::find::{Filter, Way};
use super::row;
use crate::domain::id::{Id, Kind};
use crate::domain::key::{KeyRecord, KeyStatus};
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::store::dialect::Dialect;
use crate::store::error::StoreError;
use crate::store::sql::{Columns, Sql};
use crate::store::write::Write;
use sqlx::AnyConnection;

/// What a list is sorted by; equal ones by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    /// When it was made.
    CreatedAt,
    /// Its last change.
    UpdatedAt,
    /// Its last use; never used is the oldest.
    LastUsedAt,
    /// Its end; never is the latest.
    ExpiresAt,
    /// Its name, by bytes.
    Name,
}

impl SortBy {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::CreatedAt,
        Self::UpdatedAt,
        Self::LastUsedAt,
        Self::ExpiresAt,
        Self::Name,
    ];

    /// Name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
            Self::LastUsedAt => "last_used_at",
            Self::ExpiresAt => "expires_at",
            Self::Name => "name",
        }
    }

    fn column(self) -> &'static str {
        match self {
            Self::CreatedAt => "k.created_at",
            Self::UpdatedAt => "k.updated_at",
            Self::LastUsedAt => "COALESCE(k.last_used_at, 0)",
            Self::ExpiresAt => "COALESCE(k.expires_at, 9223372036854775807)",
            Self::Name => "k.name",
        }
    }

    /// The value that a key is sorted by, as text for a cursor.
    pub fn value_of(self, key: &KeyRecord) -> String {
        let time =
            |at: Option<Timestamp>, never: i64| at.map_or(never, Timestamp::as_millis).to_string();
        match self {
            Self::CreatedAt => key.created_at.as_millis().to_string(),
            Self::UpdatedAt => key.updated_at.as_millis().to_string(),
            Self::LastUsedAt => time(key.usage.last_used_at, 0),
            Self::ExpiresAt => time(key.expires_at, i64::MAX),
            Self::Name => key.name.clone(),
        }
    }
}

/// Which keys, in which order, from where on.
#[derive(Debug, Clone)]
pub struct KeyQuery {
    /// Paths of the workspaces that the caller reaches; a key below any of them is seen.
    pub reach: Vec<String>,
    /// Words that each begin a word of name, tags or hint; or a whole id.
    pub q: Option<String>,
    /// Status shown. Without it deleted keys are left out.
    pub status: Option<KeyStatus>,
    /// Path of a workspace: it and what is below.
    pub workspace: Option<String>,
    /// Its owner.
    pub consumer: Option<Id>,
    /// A whole tag.
    pub tag: Option<String>,
    /// Environment.
    pub environment: Option<String>,
    /// A scope it has.
    pub scope: Option<String>,
    /// Ends before.
    pub expires_before: Option<Timestamp>,
    /// Never used since, and made before.
    pub unused_since: Option<Timestamp>,
    /// Whether it has no end.
    pub never_expires: Option<bool>,
    /// Order.
    pub sort: SortBy,
    /// The greatest first.
    pub descending: bool,
    /// Behind this one: value of the sort key, and id.
    pub after: Option<(String, Id)>,
    /// Most keys.
    pub limit: usize,
}

impl KeyQuery {
    /// All keys below these workspaces, the newest first.
    pub fn all(reach: Vec<String>) -> Self {
        Self {
            reach,
            q: None,
            status: None,
            workspace: None,
            consumer: None,
            tag: None,
            environment: None,
            scope: None,
            expires_before: None,
            unused_since: None,
            never_expires: None,
            sort: SortBy::CreatedAt,
            descending: true,
            after: None,
            limit: 50,
        }
    }
}

/// Keys, and whether there are more behind them.
#[derive(Debug, Clone)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<KeyRecord>,
    /// Whether there are more.
    pub more: bool,
}

impl Store {
    /// A page of keys.
    pub async fn list_keys(&self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        let mut tx = self.pools.read.begin().await?;
        let page = page((self.dialect, &mut tx), query, self.clock.now()).await?;
        tx.commit().await?;
        Ok(page)
    }

    /// Number of keys that a query finds, whatever page it asks for.
    pub async fn count_keys(&self, query: &KeyQuery) -> Result<u64, StoreError> {
        let mut connection = self.pools.read.acquire().await?;
        let filters = Filter::all(query, self.clock.now());
        let way = Way::choose(&mut connection, &filters, None).await?;
        let mut select = Sql::new("SELECT COUNT(*) AS number FROM ");
        way.from(&mut select, &filters);
        way.conditions(&mut select, &filters);
        let found = select.query().fetch_one(&mut *connection).await?;
        found.natural("number")
    }
}

impl Write {
    /// A page of keys as they are inside this transaction.
    pub async fn list_keys(&mut self, query: &KeyQuery) -> Result<KeyPage, StoreError> {
        let (now, dialect) = (self.now, self.dialect());
        page((dialect, self.connection()), query, now).await
    }
}

async fn page(
    (dialect, connection): (Dialect, &mut AnyConnection),
    query: &KeyQuery,
    now: Timestamp,
) -> Result<KeyPage, StoreError> {
    let filters = Filter::all(query, now);
    let way = Way::choose(connection, &filters, Some(query.sort)).await?;
    let mut select = Sql::new("SELECT ");
    select.push(row::COLUMNS).push(" FROM ");
    way.from(&mut select, &filters);
    select.push(row::WITH_CONSUMER);
    way.conditions(&mut select, &filters);
    after(&mut select, query);
    let direction = if query.descending { " DESC" } else { "" };
    select
        .push(" ORDER BY ")
        .push(query.sort.column())
        .push(direction);
    select.push(", k.id").push(direction).push(" LIMIT ");
    select.bind(i64::try_from(query.limit + 1).unwrap_or(i64::MAX));
    let in_order = matches!(way, Way::Order(_));
    if in_order {
        dialect.walk(connection, true).await?;
    }
    let mut rows = select.query().fetch_all(&mut *connection).await?;
    if in_order {
        dialect.walk(connection, false).await?;
    }
    let more = rows.len() > query.limit;
    rows.truncate(query.limit);
    let keys = row::with_secrets(connection, &rows).await?;
    Ok(KeyPage { keys, more })
}

fn after(sql: &mut Sql, query: &KeyQuery) {
    let Some((value, id)) = &query.after else {
        return;
    };
    let than = if query.descending { " < " } else { " > " };
    sql.push(" AND (")
        .push(query.sort.column())
        .push(", k.id)")
        .push(than)
        .push("(");
    match query.sort {
        SortBy::Name => sql.bind(value.clone()),
        SortBy::CreatedAt | SortBy::UpdatedAt | SortBy::LastUsedAt | SortBy::ExpiresAt => {
            sql.bind(value.parse::<i64>().unwrap_or_default())
        }
    };
    sql.push(", ")
        .bind(id.text(Kind::Key).to_string())
        .push(")");
}
