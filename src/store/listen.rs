//! Changes of other processes, told by the database. `SQLite` tells nothing: there the poll finds them.

use super::Store;
use super::dialect::Dialect;
use crate::config::StoreLocation;
use sqlx::postgres::PgListener;
use std::time::Duration;

/// Wait before a broken connection is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// Waits for changes of other processes.
pub struct Listener {
    url: Option<String>,
    connection: Option<PgListener>,
}

impl Store {
    /// Listens for changes of other processes.
    pub fn listen(&self) -> Listener {
        let url = match (self.dialect, &*self.location) {
            (Dialect::Postgres, StoreLocation::Postgres(url)) => Some(url.expose().clone()),
            (Dialect::Postgres | Dialect::Sqlite, _) => None,
        };
        Listener {
            url,
            connection: None,
        }
    }

    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match self.dialect {
            Dialect::Sqlite => "sqlite",
            Dialect::Postgres => "postgres",
        }
    }
}

impl Listener {
    /// Waits for the next change. Can be dropped at any moment; a change that is told meanwhile is found by the poll.
    pub async fn next(&mut self) {
        let Some(url) = &self.url else {
            return std::future::pending().await;
        };
        if self.connection.is_none() {
            let connected = PgListener::connect(url).await;
            match connected {
                Ok(mut listener) => {
                    if listener.listen("keygate_changes").await.is_ok() {
                        self.connection = Some(listener);
                        return;
                    }
                }
                Err(fault) => tracing::debug!(error = %fault, "no connection to listen on"),
            }
            tokio::time::sleep(PAUSE).await;
            return;
        }
        if let Some(listener) = &mut self.connection
            && listener.recv().await.is_err()
        {
            self.connection = None;
            tokio::time::sleep(PAUSE).await;
        }
    }
}
