//! Replies of earlier calls, sealed so that only their caller can read them.

use super::error::StoreError;
use super::sql::{Columns, Sql};
use super::write::Write;
use crate::domain::time::Timestamp;

/// How long a reply is remembered: a day.
pub const REMEMBERED_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// A reply of an earlier call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Digest of the request.
    pub fingerprint: String,
    /// Id of what it made or changed.
    pub object: String,
    /// HTTP status.
    pub status: i64,
    /// The sealed body.
    pub reply: String,
}

impl Write {
    /// The reply to this caller's earlier call with this key, if that was less than a day ago.
    pub async fn remembered(
        &mut self,
        caller: &str,
        key_hash: &str,
    ) -> Result<Option<Remembered>, StoreError> {
        let oldest = Timestamp::from_millis(self.now.as_millis() - REMEMBERED_MILLIS);
        let mut select =
            Sql::new("SELECT fingerprint, object, status, reply FROM idempotency WHERE caller = ");
        select
            .bind(caller)
            .push(" AND key_hash = ")
            .bind(key_hash)
            .push(" AND created_at > ")
            .bind(oldest);
        let row = select.query().fetch_optional(self.connection()).await?;
        row.map(|row| {
            Ok(Remembered {
                fingerprint: row.text("fingerprint")?,
                object: row.text("object")?,
                status: row.number("status")?,
                reply: row.text("reply")?,
            })
        })
        .transpose()
    }

    /// Remembers a reply, in place of one that is too old to count.
    pub async fn remember(
        &mut self,
        caller: &str,
        key_hash: &str,
        reply: &Remembered,
    ) -> Result<(), StoreError> {
        let mut delete = Sql::new("DELETE FROM idempotency WHERE caller = ");
        delete.bind(caller).push(" AND key_hash = ").bind(key_hash);
        self.run(delete).await?;
        let mut insert = Sql::new(
            "INSERT INTO idempotency (caller, key_hash, fingerprint, object, status, reply, created_at) VALUES (",
        );
        insert
            .bind(caller)
            .push(", ")
            .bind(key_hash)
            .push(", ")
            .bind(reply.fingerprint.clone());
        insert
            .push(", ")
            .bind(reply.object.clone())
            .push(", ")
            .bind(reply.status);
        insert
            .push(", ")
            .bind(reply.reply.clone())
            .push(", ")
            .bind(self.now)
            .push(")");
        self.run(insert).await.map(|_| ())
    }
}
