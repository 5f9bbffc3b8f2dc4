//! Which keys should be looked at, and why: the report of what could be ended.

use crate::domain::id::{Id, Kind};
use crate::domain::key::record::DAY_MILLIS;
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::reach::below;
use crate::store::sql::{Columns, Sql};
use sqlx::any::AnyRow;

/// Why a key should be looked at. The first is worse than all behind it together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Whoever made it is disabled or erased.
    OwnerGone,
    /// Its last use was more than 90 days ago.
    Unused,
    /// It was made more than 90 days ago and never used.
    NeverUsed,
    /// Its secret is older than a year.
    RotationOverdue,
    /// It has no end.
    NeverExpires,
    /// Its time was over more than 30 days ago; nothing else is said of such a one.
    ExpiredLongAgo,
}

impl Reason {
    /// All of them, the worst first.
    pub const ALL: [Self; 6] = [
        Self::OwnerGone,
        Self::Unused,
        Self::NeverUsed,
        Self::RotationOverdue,
        Self::NeverExpires,
        Self::ExpiredLongAgo,
    ];

    /// Name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::OwnerGone => "owner_gone",
            Self::Unused => "unused_90d",
            Self::NeverUsed => "never_used_90d",
            Self::RotationOverdue => "rotation_overdue_365d",
            Self::NeverExpires => "never_expires",
            Self::ExpiredLongAgo => "expired_long_ago",
        }
    }

    /// Its place in a [`Finding::risk`].
    fn bit(self) -> i64 {
        match self {
            Self::OwnerGone => 32,
            Self::Unused => 16,
            Self::NeverUsed => 8,
            Self::RotationOverdue => 4,
            Self::NeverExpires => 2,
            Self::ExpiredLongAgo => 1,
        }
    }
}

/// A key that should be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// The key.
    pub key: Id,
    /// What it is sorted by: a bit for each reason.
    pub risk: i64,
}

impl Finding {
    /// Why, the worst first.
    pub fn reasons(self) -> impl Iterator<Item = Reason> {
        Reason::ALL
            .into_iter()
            .filter(move |reason| self.risk & reason.bit() != 0)
    }
}

/// Which findings, from where on; the worst first.
#[derive(Debug, Clone)]
pub struct ReviewQuery {
    /// Paths of the workspaces that the caller reaches.
    pub reach: Vec<String>,
    /// Path of a workspace: it and what is below.
    pub workspace: Option<String>,
    /// Only for this reason.
    pub reason: Option<Reason>,
    /// Without those that there is no other reason for.
    pub except: Option<Reason>,
    /// Behind this one: risk, and id.
    pub after: Option<(i64, Id)>,
    /// Most findings.
    pub limit: usize,
}

impl Store {
    /// A page of the report, and whether there is more. Keys that are revoked or deleted need no look.
    pub async fn review_keys(
        &self,
        query: &ReviewQuery,
    ) -> Result<(Vec<Finding>, bool), StoreError> {
        let mut select = Sql::new("SELECT r.id, r.risk");
        self.findings(&mut select, query);
        if let Some((risk, id)) = query.after {
            select.push(" AND (r.risk, r.id) < (").bind(risk);
            select
                .push(", ")
                .bind(id.text(Kind::Key).to_string())
                .push(")");
        }
        select.push(" ORDER BY r.risk DESC, r.id DESC LIMIT ");
        select.bind(i64::try_from(query.limit + 1).unwrap_or(i64::MAX));
        let mut rows = select.query().fetch_all(&self.pools.read).await?;
        let more = rows.len() > query.limit;
        rows.truncate(query.limit);
        let finding = |row: &AnyRow| {
            Ok::<_, StoreError>(Finding {
                key: Columns::id(row, "id", Kind::Key)?,
                risk: row.number("risk")?,
            })
        };
        Ok((rows.iter().map(finding).collect::<Result<_, _>>()?, more))
    }

    /// How many findings there are, on all pages.
    pub async fn count_review(&self, query: &ReviewQuery) -> Result<u64, StoreError> {
        let mut select = Sql::new("SELECT COUNT(*) AS found");
        self.findings(&mut select, query);
        let row = select.query().fetch_one(&self.pools.read).await?;
        row.natural("found")
    }

    /// The keys that are meant, as `r`, from wherever.
    fn findings(&self, select: &mut Sql, query: &ReviewQuery) {
        select.push(" FROM (SELECT k.id AS id, CAST(");
        risk(select, self.clock.now());
        select.push(" AS BIGINT) AS risk FROM keys k WHERE k.state IN ('active', 'disabled')");
        below(select, "k.workspace", &query.reach);
        if let Some(path) = &query.workspace {
            below(select, "k.workspace", std::slice::from_ref(path));
        }
        select.push(") r WHERE r.risk > 0");
        if let Some(reason) = query.reason {
            select
                .push(" AND (r.risk & ")
                .bind(reason.bit())
                .push(") <> 0");
        }
        if let Some(reason) = query.except {
            select.push(" AND r.risk <> ").bind(reason.bit());
        }
    }
}

fn risk(sql: &mut Sql, now: Timestamp) {
    let ago = |days: i64| Timestamp::from_millis(now.as_millis() - days * DAY_MILLIS);
    sql.push("CASE WHEN COALESCE(k.expires_at, 9223372036854775807) < ")
        .bind(ago(30))
        .push(" THEN 1 ELSE CASE WHEN k.created_by IN (SELECT m.id FROM members m WHERE m.state <> 'active') THEN 32 ELSE 0 END");
    sql.push(" + CASE WHEN k.last_used_at < ")
        .bind(ago(90))
        .push(" THEN 16 ELSE 0 END");
    sql.push(" + CASE WHEN k.last_used_at IS NULL AND k.created_at < ")
        .bind(ago(90))
        .push(" THEN 8 ELSE 0 END");
    sql.push(
        " + CASE WHEN COALESCE((SELECT MAX(s.created_at) FROM secrets s WHERE s.key_id = k.id), k.created_at) < ",
    )
    .bind(ago(365))
    .push(" THEN 4 ELSE 0 END");
    sql.push(" + CASE WHEN k.expires_at IS NULL THEN 2 ELSE 0 END END");
}
