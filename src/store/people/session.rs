//! Sessions: hashes at rest, a member, an end.

use super::{MemberRecord, fact, one, text};
use crate::domain::id::{Id, Kind};
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::sql::{Columns, Sql};
use crate::store::write::{Class, Write};
use sqlx::any::AnyRow;
use std::net::IpAddr;

/// How exact the last sight of a session is: a write per call would be a write per click.
const SIGHT_MILLIS: i64 = 60_000;

/// A member's time signed in, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// `ses_…`.
    pub id: Id,
    /// Who.
    pub member: Id,
    /// When it began.
    pub created_at: Timestamp,
    /// Last call in it, to the minute.
    pub last_seen_at: Timestamp,
    /// Not good from then on, however busy.
    pub expires_at: Timestamp,
    /// When it was ended.
    pub ended_at: Option<Timestamp>,
    /// Address it began from; `None` once its member is erased.
    pub address: Option<IpAddr>,
    /// What the browser calls itself; `None` once its member is erased.
    pub agent: Option<String>,
}

impl SessionRecord {
    /// Whether it opens anything now, when one that was idle so long does not.
    pub fn is_good(&self, now: Timestamp, idle_millis: i64) -> bool {
        let quiet = now.as_millis() - self.last_seen_at.as_millis();
        self.ended_at.is_none() && now < self.expires_at && quiet < idle_millis
    }
}

const SELECT: &str = "SELECT id, member, created_at, last_seen_at, expires_at, ended_at, address, agent FROM sessions";

impl Store {
    /// The session with this hash, good or not, and its member.
    pub async fn session_by_hash(
        &self,
        hash: &str,
    ) -> Result<Option<(SessionRecord, MemberRecord)>, StoreError> {
        let mut connection = self.pools.read.acquire().await?;
        let mut select = Sql::new(SELECT);
        select.push(" WHERE hash = ").bind(hash);
        let Some(row) = select.query().fetch_optional(&mut *connection).await? else {
            return Ok(None);
        };
        let session = session(&row)?;
        let member = one(&mut connection, session.member).await?;
        Ok(Some((session, member)))
    }

    /// One session.
    pub async fn session(&self, id: Id) -> Result<SessionRecord, StoreError> {
        let mut select = Sql::new(SELECT);
        select
            .push(" WHERE id = ")
            .bind(id.text(Kind::Session).to_string());
        session(&select.query().fetch_one(&self.pools.read).await?)
    }

    /// All sessions of a member that are still kept, also those that are over, the newest first.
    pub async fn kept_sessions(&self, member: Id) -> Result<Vec<SessionRecord>, StoreError> {
        let mut select = Sql::new(SELECT);
        select.push(" WHERE member = ").bind(text(member));
        select.push(" ORDER BY created_at DESC, id DESC");
        let rows = select.query().fetch_all(&self.pools.read).await?;
        rows.iter().map(session).collect()
    }

    /// Sessions that were not ended and have not expired, of one member or of all, the newest first.
    pub async fn sessions(&self, member: Option<Id>) -> Result<Vec<SessionRecord>, StoreError> {
        let mut select = Sql::new(SELECT);
        select
            .push(" WHERE ended_at IS NULL AND expires_at > ")
            .bind(self.clock.now());
        if let Some(member) = member {
            select.push(" AND member = ").bind(text(member));
        }
        select.push(" ORDER BY created_at DESC, id DESC");
        let rows = select.query().fetch_all(&self.pools.read).await?;
        rows.iter().map(session).collect()
    }

    /// Notes a call in a session, once a minute. No change of its own: it has no revision and no audit event.
    pub async fn note_session_use(
        &self,
        session: &SessionRecord,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let due = Timestamp::from_millis(at.as_millis() - SIGHT_MILLIS);
        if due < session.last_seen_at {
            return Ok(());
        }
        let mut update = Sql::new("UPDATE sessions SET last_seen_at = ");
        update
            .bind(at)
            .push(" WHERE id = ")
            .bind(session.id.text(Kind::Session).to_string());
        update
            .push(" AND ended_at IS NULL AND last_seen_at <= ")
            .bind(due);
        update.query().execute(&self.pools.write).await?;
        Ok(())
    }
}

impl Write {
    /// A session as it is inside this transaction.
    pub async fn session(&mut self, id: Id) -> Result<SessionRecord, StoreError> {
        let mut select = Sql::new(SELECT);
        select
            .push(" WHERE id = ")
            .bind(id.text(Kind::Session).to_string());
        session(&select.query().fetch_one(self.connection()).await?)
    }

    /// Keeps a new session with the hash of its secret: its member has signed in.
    pub async fn insert_session(
        &mut self,
        mut session: SessionRecord,
        hash: &str,
    ) -> Result<SessionRecord, StoreError> {
        session.created_at = self.now;
        session.last_seen_at = self.now;
        session.ended_at = None;
        let id = session.id.text(Kind::Session).to_string();
        let member = self.member(session.member).await?;
        let mut insert = Sql::new(
            "INSERT INTO sessions (id, member, hash, created_at, last_seen_at, expires_at, address, agent) VALUES (",
        );
        insert.bind(id.clone()).push(", ");
        insert.bind(text(session.member)).push(", ");
        insert.bind(hash).push(", ");
        insert.bind(session.created_at).push(", ");
        insert.bind(session.last_seen_at).push(", ");
        insert.bind(session.expires_at).push(", ");
        let address = session.address.map(|address| address.to_string());
        insert.bind(address).push(", ");
        insert.bind(session.agent.clone()).push(")");
        self.run(insert).await?;
        let mut update = Sql::new("UPDATE members SET signed_in_at = ");
        update
            .bind(self.now)
            .push(" WHERE id = ")
            .bind(text(session.member));
        self.run(update).await?;
        let mut fact = fact(&member, "session.created");
        fact.class = Class::Authentication;
        fact.event = None;
        fact.changes.insert("session".into(), id.into());
        self.record(fact).await?;
        Ok(session)
    }

    /// Ends a session. Doing so twice is no fault; the first end stays.
    pub async fn end_session(&mut self, id: Id) -> Result<SessionRecord, StoreError> {
        let text = id.text(Kind::Session).to_string();
        let mut update = Sql::new("UPDATE sessions SET ended_at = COALESCE(ended_at, ");
        update
            .bind(self.now)
            .push(") WHERE id = ")
            .bind(text.clone());
        if self.run(update).await? == 0 {
            return Err(StoreError::NotFound);
        }
        let mut select = Sql::new(SELECT);
        select.push(" WHERE id = ").bind(text.clone());
        let ended = session(&select.query().fetch_one(self.connection()).await?)?;
        let member = self.member(ended.member).await?;
        let mut fact = fact(&member, "session.ended");
        fact.class = Class::Authentication;
        fact.event = None;
        fact.changes.insert("session".into(), text.into());
        self.record(fact).await?;
        Ok(ended)
    }

    /// Ends all sessions of a member but one; how many. It records nothing: it is part of a greater change.
    pub async fn end_sessions_of(
        &mut self,
        member: Id,
        keep: Option<Id>,
    ) -> Result<u64, StoreError> {
        let mut update = Sql::new("UPDATE sessions SET ended_at = ");
        update
            .bind(self.now)
            .push(" WHERE ended_at IS NULL AND member = ")
            .bind(text(member));
        if let Some(keep) = keep {
            update
                .push(" AND id <> ")
                .bind(keep.text(Kind::Session).to_string());
        }
        self.run(update).await
    }

    /// Ends the sessions of a member and forgets where they came from.
    pub(super) async fn forget_sessions_of(&mut self, member: Id) -> Result<(), StoreError> {
        self.end_sessions_of(member, None).await?;
        let mut update =
            Sql::new("UPDATE sessions SET address = NULL, agent = NULL WHERE member = ");
        update.bind(text(member));
        self.run(update).await.map(|_| ())
    }
}

fn session(row: &AnyRow) -> Result<SessionRecord, StoreError> {
    let address = row.maybe_text("address")?;
    Ok(SessionRecord {
        id: row.id("id", Kind::Session)?,
        member: row.id("member", Kind::Member)?,
        created_at: row.time("created_at")?,
        last_seen_at: row.time("last_seen_at")?,
        expires_at: row.time("expires_at")?,
        ended_at: row.maybe_time("ended_at")?,
        address: address.and_then(|address| address.parse().ok()),
        agent: row.maybe_text("agent")?,
    })
}
