//! Why the store did not do as it was told.

use std::io;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is away, full, locked or broken; the same call may succeed later.
    #[error("the store cannot be used: {0}")]
    Unavailable(String),
    /// There is no such thing, or not in a place the caller reaches.
    #[error("no such object")]
    NotFound,
    /// Another object has this name, id, hash or address already.
    #[error("taken already: {0}")]
    Taken(&'static str),
    /// The object's state does not allow it.
    #[error("{message}")]
    Refused {
        /// Stable code.
        code: &'static str,
        /// For people.
        message: String,
    },
    /// What is in the store was not written by this program.
    #[error("the store holds what this version cannot read: {0}")]
    Foreign(String),
    /// A statement of ours is wrong.
    #[error("the store refused a statement: {0}")]
    Statement(String),
}

impl StoreError {
    /// A refusal with its code.
    pub fn refused(code: &'static str, message: impl Into<String>) -> Self {
        Self::Refused {
            code,
            message: message.into(),
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(fault: io::Error) -> Self {
        Self::Unavailable(fault.to_string())
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(fault: serde_json::Error) -> Self {
        Self::Foreign(fault.to_string())
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(fault: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError as M;
        if let M::Execute(fault) | M::ExecuteMigration(fault, _) = fault {
            return fault.into();
        }
        Self::Foreign(fault.to_string())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(fault: sqlx::Error) -> Self {
        use sqlx::Error as E;
        if let E::RowNotFound = fault {
            return Self::NotFound;
        }
        if let E::Database(database) = &fault {
            return of_database(&**database);
        }
        let foreign = matches!(
            fault,
            E::ColumnDecode { .. } | E::Decode(_) | E::ColumnNotFound(_) | E::TypeNotFound { .. }
        );
        let mistaken = matches!(
            fault,
            E::ColumnIndexOutOfBounds { .. } | E::Encode(_) | E::InvalidArgument(_)
        );
        if foreign {
            Self::Foreign(fault.to_string())
        } else if mistaken {
            Self::Statement(fault.to_string())
        } else {
            // Network, pool, TLS, a worker that is gone: all of them are an absence.
            Self::Unavailable(fault.to_string())
        }
    }
}

/// `SQLite` codes are numbers (<https://www.sqlite.org/rescode.html>), those of `PostgreSQL` are five characters whose
/// first two are the class (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn of_database(fault: &dyn sqlx::error::DatabaseError) -> StoreError {
    if fault.is_unique_violation() {
        return StoreError::Taken(taken(fault.message()));
    }
    let code = fault.code().unwrap_or_default();
    if code == "22021" {
        return StoreError::refused("invalid_text", "a text cannot hold the character NUL");
    }
    // No number of `SQLite` has five digits.
    let away = if code.len() == 5 {
        // Connection, read-only or failed transaction, login, no such database, transaction rollback, resources, not in
        // the needed state, operator, system, internal.
        ["08", "25", "28", "3D", "40", "53", "55", "57", "58", "XX"]
            .iter()
            .any(|class| code.starts_with(class))
    } else {
        // busy, locked, no memory, read-only, interrupt, I/O, corrupt, full, cannot open, protocol, not a database.
        code.parse::<u32>()
            .is_ok_and(|code| matches!(code & 0xff, 5..=11 | 13..=15 | 26))
    };
    let text = format!("{} ({code})", fault.message());
    if away {
        StoreError::Unavailable(text)
    } else {
        StoreError::Statement(text)
    }
}

/// Which of our unique indexes it was; both stores name it, or its columns, in the message.
fn taken(message: &str) -> &'static str {
    const NAMES: [(&[&str], &str); 14] = [
        (&["workspaces_by_name", "workspaces.name"], "workspace name"),
        (&["consumers_by_name", "consumers.name"], "consumer name"),
        (&["secrets_by_hash", "secrets.hash"], "key"),
        (&["keys_pkey", "keys.id"], "key id"),
        (&["members_by_email", "members.email"], "e-mail address"),
        (&["tokens_by_hash", "tokens.hash"], "token"),
        (&["sessions_by_hash", "sessions.hash"], "session"),
        (&["members_pkey", "members.id"], "member id"),
        (&["roles_pkey", "roles.member"], "role"),
        (&["webhooks_by_name", "webhooks.name"], "webhook name"),
        (&["notices_by_fact", "notices.fact"], "notice"),
        (&["idempotency_pkey", "idempotency."], "idempotency key"),
        (&["workspaces_pkey", "workspaces.id"], "workspace id"),
        (&["consumers_pkey", "consumers.id"], "consumer id"),
    ];
    NAMES
        .iter()
        .find(|(marks, _)| marks.iter().any(|mark| message.contains(mark)))
        .map_or("id", |(_, name)| name)
}
