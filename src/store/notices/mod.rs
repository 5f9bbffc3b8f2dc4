//! Notices: what a person should know. The same fact is noted once; who has read it is kept per person.

use super::Store;
use super::error::StoreError;
use super::outbox::insert_deliveries;
use super::reach::below;
use super::sql::{Columns, Sql};
use super::write::Write;
use crate::domain::id::{Id, Kind};
use crate::domain::time::Timestamp;
use serde_json::Value;
use sqlx::any::AnyRow;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it.
    Warning,
    /// Something is about to stop, or has.
    Critical,
}

impl Severity {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// Name in the API and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The severity with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// A notice to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct NewNotice {
    /// What makes it one of its kind.
    pub fact: String,
    /// `key.expiring`.
    pub kind: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Who has a role here or above sees it.
    pub workspace: Id,
    /// Id of what it is about, in text form.
    pub target: String,
    /// One sentence. Never a person's name or address.
    pub title: String,
    /// More about it.
    pub data: Value,
    /// When what it tells of happens.
    pub due_at: Option<Timestamp>,
}

/// A notice as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct NoticeRecord {
    /// `ntc_…`.
    pub id: Id,
    /// What makes it one of its kind.
    pub fact: String,
    /// `key.expiring`.
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// Where it is seen.
    pub workspace: Id,
    /// What it is about.
    pub target: String,
    /// One sentence.
    pub title: String,
    /// More about it.
    pub data: Value,
    /// When it was made.
    pub at: Timestamp,
    /// When what it tells of happens.
    pub due_at: Option<Timestamp>,
    /// When it was taken back.
    pub withdrawn_at: Option<Timestamp>,
    /// When the reader read it.
    pub read_at: Option<Timestamp>,
}

/// Which notices, for whom.
#[derive(Debug, Clone)]
pub struct NoticeQuery {
    /// Paths of the workspaces that the reader reaches.
    pub reach: Vec<String>,
    /// Who reads, see [`crate::domain::actor::Actor::text`].
    pub reader: String,
    /// Only those not read yet.
    pub unread: bool,
    /// Only of this kind; `key.*` means all that begin so.
    pub kind: Option<String>,
    /// Only about this.
    pub target: Option<String>,
    /// Those taken back too.
    pub withdrawn: bool,
    /// Behind this one.
    pub after: Option<(Timestamp, Id)>,
    /// Most notices.
    pub limit: usize,
}

/// Notices, and whether there are more behind them.
#[derive(Debug, Clone)]
pub struct NoticePage {
    /// The notices, the newest first.
    pub notices: Vec<NoticeRecord>,
    /// Whether there are more.
    pub more: bool,
}

const COLUMNS: &str = "n.id, n.fact, n.kind, n.severity, n.workspace, n.target, n.title, n.data, n.at, n.due_at, \
    n.withdrawn_at, r.at AS read_at";

impl Store {
    /// A page of notices, the newest first.
    pub async fn list_notices(&self, query: &NoticeQuery) -> Result<NoticePage, StoreError> {
        let mut select = Self::select_notices(&query.reader);
        select.push(" WHERE 1 = 1");
        filter(&mut select, query);
        if let Some((at, id)) = query.after {
            select
                .push(" AND (n.at, n.id) < (")
                .bind(at)
                .push(", ")
                .bind(id.text(Kind::Notice).to_string())
                .push(")");
        }
        select.push(" ORDER BY n.at DESC, n.id DESC LIMIT ");
        select.bind(i64::try_from(query.limit + 1).unwrap_or(i64::MAX));
        let mut rows = select.query().fetch_all(&self.pools.read).await?;
        let more = rows.len() > query.limit;
        rows.truncate(query.limit);
        Ok(NoticePage {
            notices: rows.iter().map(notice).collect::<Result<_, _>>()?,
            more,
        })
    }

    /// Number of notices that a query finds, whatever page it asks for.
    pub async fn count_notices(&self, query: &NoticeQuery) -> Result<u64, StoreError> {
        let mut select = Sql::new("SELECT COUNT(*) AS number FROM notices n");
        reads(&mut select, &query.reader);
        select.push(" WHERE 1 = 1");
        filter(&mut select, query);
        let row = select.query().fetch_one(&self.pools.read).await?;
        row.natural("number")
    }

    /// One notice, as this reader sees it.
    pub async fn notice(&self, id: Id, reader: &str) -> Result<NoticeRecord, StoreError> {
        let mut select = Self::select_notices(reader);
        select
            .push(" WHERE n.id = ")
            .bind(id.text(Kind::Notice).to_string());
        notice(&select.query().fetch_one(&self.pools.read).await?)
    }

    /// Notices that were not taken back and are not older than a time, by kind.
    pub async fn notice_counts(&self, since: Timestamp) -> Result<Vec<(String, u64)>, StoreError> {
        let mut select = Sql::new("SELECT kind, COUNT(*) AS number FROM notices WHERE at >= ");
        select
            .bind(since)
            .push(" AND withdrawn_at IS NULL GROUP BY kind ORDER BY kind");
        let rows = select.query().fetch_all(&self.pools.read).await?;
        rows.iter()
            .map(|row| Ok((row.text("kind")?, row.natural("number")?)))
            .collect()
    }

    /// Notes that somebody has read a notice; reading twice changes nothing. No audit event: it changes nothing of
    /// what is administered.
    pub async fn read_notice(&self, id: Id, reader: &str) -> Result<(), StoreError> {
        let mut insert = Sql::new("INSERT INTO notice_reads (notice, reader, at) VALUES (");
        insert
            .bind(id.text(Kind::Notice).to_string())
            .push(", ")
            .bind(reader)
            .push(", ")
            .bind(self.clock.now())
            .push(") ON CONFLICT (notice, reader) DO NOTHING");
        insert.query().execute(&self.pools.write).await?;
        Ok(())
    }

    /// Notes that somebody has read all that a query finds; how many are new to them.
    pub async fn read_notices(&self, query: &NoticeQuery) -> Result<u64, StoreError> {
        let mut insert = Sql::new("INSERT INTO notice_reads (notice, reader, at) SELECT n.id, ");
        // A bare parameter in a select list has no type of its own on PostgreSQL.
        insert.push("CAST(").bind(query.reader.clone());
        insert.push(" AS TEXT), CAST(").bind(self.clock.now());
        insert.push(" AS BIGINT) FROM notices n");
        reads(&mut insert, &query.reader);
        insert.push(" WHERE r.notice IS NULL");
        filter(&mut insert, query);
        insert.push(" ON CONFLICT (notice, reader) DO NOTHING");
        Ok(insert
            .query()
            .execute(&self.pools.write)
            .await?
            .rows_affected())
    }

    /// Notices that e-mails have not been made of yet, the oldest first.
    pub async fn unspread_notices(&self, most: usize) -> Result<Vec<NoticeRecord>, StoreError> {
        let mut select = Self::select_notices("");
        select.push(" WHERE n.spread_at IS NULL ORDER BY n.at LIMIT ");
        select.bind(i64::try_from(most).unwrap_or(i64::MAX));
        let rows = select.query().fetch_all(&self.pools.read).await?;
        rows.iter().map(notice).collect()
    }

    /// Makes one e-mail of a notice for each recipient, once, however many nodes do this.
    pub async fn spread_notice(&self, id: Id, recipients: &[String]) -> Result<(), StoreError> {
        let now = self.clock.now();
        let text = id.text(Kind::Notice).to_string();
        let mut tx = self.transaction().await?;
        let mut take = Sql::new("UPDATE notices SET spread_at = ");
        take.bind(now).push(" WHERE spread_at IS NULL AND id = ");
        take.bind(text.clone());
        if take.query().execute(&mut *tx).await?.rows_affected() > 0 {
            let channel = super::deliveries::EMAIL.to_owned();
            let new = recipients
                .iter()
                .map(|one| (channel.clone(), text.clone(), one.clone()))
                .collect();
            insert_deliveries(&mut tx, new, now).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    fn select_notices(reader: &str) -> Sql {
        let mut select = Sql::new("SELECT ");
        select.push(COLUMNS).push(" FROM notices n");
        reads(&mut select, reader);
        select
    }
}

impl Write {
    /// Makes a notice, unless the fact was noted before; whether it is new. What it tells of is recorded apart.
    pub async fn notice(&mut self, new: &NewNotice) -> Result<bool, StoreError> {
        let mut insert = Sql::new(
            "INSERT INTO notices (id, fact, kind, severity, workspace, target, title, data, at, due_at) VALUES (",
        );
        insert.bind_list([
            Id::new(self.now).text(Kind::Notice).as_str(),
            &new.fact,
            new.kind,
            new.severity.name(),
            new.workspace.text(Kind::Workspace).as_str(),
            &new.target,
            &new.title,
            &new.data.to_string(),
        ]);
        insert.push(", ").bind(self.now).push(", ").bind(new.due_at);
        insert.push(") ON CONFLICT (fact) DO NOTHING");
        Ok(self.run(insert).await? > 0)
    }

    /// Takes back what was noted about something: kinds that begin with `prefix`; how many.
    pub async fn withdraw_notices(
        &mut self,
        target: &str,
        prefix: &str,
    ) -> Result<u64, StoreError> {
        let mut update = Sql::new("UPDATE notices SET withdrawn_at = ");
        update.bind(self.now).push(" WHERE target = ").bind(target);
        update.push(" AND withdrawn_at IS NULL");
        begins(&mut update, "kind", prefix);
        self.run(update).await
    }
}

/// Joins who has read it.
fn reads(sql: &mut Sql, reader: &str) {
    sql.push(" LEFT JOIN notice_reads r ON r.notice = n.id AND r.reader = ")
        .bind(reader);
}

fn filter(sql: &mut Sql, query: &NoticeQuery) {
    below(sql, "n.workspace", &query.reach);
    if !query.withdrawn {
        sql.push(" AND n.withdrawn_at IS NULL");
    }
    if query.unread {
        sql.push(" AND r.notice IS NULL");
    }
    if let Some(target) = &query.target {
        sql.push(" AND n.target = ").bind(target.clone());
    }
    let Some(kind) = query.kind.as_deref() else {
        return;
    };
    if let Some(front) = kind.strip_suffix('*') {
        begins(sql, "n.kind", front);
    } else {
        sql.push(" AND n.kind = ").bind(kind);
    }
}

/// Adds that a column begins with a text.
fn begins(sql: &mut Sql, column: &'static str, front: &str) {
    sql.push(" AND ").push(column).push(" >= ").bind(front);
    // No kind holds the last code point there is.
    sql.push(" AND ").push(column).push(" < ");
    sql.bind(format!("{front}\u{10ffff}"));
}

fn notice(row: &AnyRow) -> Result<NoticeRecord, StoreError> {
    let severity = row.text("severity")?;
    Ok(NoticeRecord {
        id: row.id("id", Kind::Notice)?,
        fact: row.text("fact")?,
        kind: row.text("kind")?,
        severity: Severity::parse(&severity).ok_or(StoreError::Foreign(severity))?,
        workspace: row.id("workspace", Kind::Workspace)?,
        target: row.text("target")?,
        title: row.text("title")?,
        data: serde_json::from_str(&row.text("data")?)?,
        at: row.time("at")?,
        due_at: row.maybe_time("due_at")?,
        withdrawn_at: row.maybe_time("withdrawn_at")?,
        read_at: row.maybe_time("read_at")?,
    })
}

#[cfg(test)]
mod tests;
