//! The only file that knows which database it is: how to connect, and the few words that differ.

use super::error::StoreError;
use super::sql::{Columns, Sql};
use crate::config::StoreLocation;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, ConnectOptions, Connection, Executor};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for a connection; an admin waits no longer to hear that the store is away.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections for reading.
const READERS: u32 = 8;
/// Connections to `PostgreSQL` for writing: one writes at a time, the others wait for it.
const WRITERS: u32 = 4;
/// How a reader's connection to `PostgreSQL` is limited: the management port cuts a caller off with whom nothing moves for 45
/// seconds, so nobody would get the answer to a statement that takes longer. What reads everything reads it in a
/// transaction of its own, see [`Dialect::take_time`].
const READ_LIMIT: &str = "; SET statement_timeout = '30s'";

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// A file of our own.
    Sqlite,
    /// A server, perhaps shared by several nodes.
    Postgres,
}

/// Connections: `SQLite` has one writer, so it has a pool of its own.
pub(super) struct Pools {
    pub(super) read: AnyPool,
    pub(super) write: AnyPool,
}

impl Pools {
    /// Ends all connections; with the last one `SQLite` folds its write-ahead log into the file.
    pub(super) async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

impl Dialect {
    pub(super) fn of(location: &StoreLocation) -> Self {
        match location {
            StoreLocation::Sqlite(_) => Self::Sqlite,
            StoreLocation::Postgres(_) => Self::Postgres,
        }
    }

    pub(super) async fn connect(location: &StoreLocation) -> Result<Pools, StoreError> {
        sqlx::any::install_default_drivers();
        match location {
            StoreLocation::Sqlite(file) => {
                create(file)?;
                let write = sqlite(file, 1, "").await?;
                let read = sqlite(file, READERS, "PRAGMA query_only = ON;").await?;
                Ok(Pools { read, write })
            }
            StoreLocation::Postgres(url) => {
                let options = AnyConnectOptions::from_str(url.expose()).map_err(|_| {
                    StoreError::Unavailable("the store's URL cannot be read".into())
                })?;
                let options = options.disable_statement_logging();
                // A pool asks again and again until its patience is over: a server that is not there would hold up a start
                // that has a last good state to serve from.
                let first = timeout(PATIENCE, AnyConnection::connect_with(&options)).await;
                let first = first.map_err(|_| sqlx::Error::PoolTimedOut)??;
                first.close().await?;
                let write = postgres(options.clone(), WRITERS, "").await?;
                let read = postgres(options, READERS, READ_LIMIT).await?;
                Ok(Pools { read, write })
            }
        }
    }

    /// How a transaction that writes begins. `SQLite` takes its lock at once, so that no write fails half-way.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }

    /// How a transaction that reads one state begins.
    pub(super) fn begin_reading(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN DEFERRED",
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// Lets the statements of a transaction that reads take as long as they need.
    pub(super) async fn take_time(self, connection: &mut AnyConnection) -> Result<(), StoreError> {
        match self {
            Self::Sqlite => Ok(()),
            Self::Postgres => {
                connection
                    .execute("SET LOCAL statement_timeout = 0")
                    .await?;
                Ok(())
            }
        }
    }

    /// Keeps others from changing the schema until the transaction ends.
    pub(super) async fn lock_schema(
        self,
        connection: &mut AnyConnection,
    ) -> Result<(), StoreError> {
        match self {
            // Its transactions have the whole file already.
            Self::Sqlite => Ok(()),
            Self::Postgres => {
                connection
                    .execute("SELECT pg_advisory_xact_lock(7307199748124532844)")
                    .await?;
                Ok(())
            }
        }
    }

    /// Waits for other changes, and keeps them waiting until the transaction ends.
    pub(super) async fn lock_head(self, connection: &mut AnyConnection) -> Result<(), StoreError> {
        match self {
            // Its transactions have the whole file already.
            Self::Sqlite => Ok(()),
            Self::Postgres => {
                connection
                    .execute("SELECT id FROM head WHERE id = 1 FOR UPDATE")
                    .await?;
                Ok(())
            }
        }
    }

    /// A statement with very many values, each named once and in order. `SQLite` goes through all names for each of them, so
    /// that the work would grow with their square; they have none there.
    pub(super) fn many(self, text: &str) -> Sql {
        match self {
            Self::Sqlite => Sql::unnamed(text),
            Self::Postgres => Sql::new(text),
        }
    }

    /// A migration in this database's words: text compares byte by byte.
    pub(super) fn schema(self, sql: &str) -> String {
        match self {
            Self::Sqlite => sql.to_owned(),
            Self::Postgres => sql
                .replace(" WITHOUT ROWID", "")
                .replace(" TEXT PRIMARY KEY", " TEXT COLLATE \"C\" PRIMARY KEY")
                .replace(" TEXT   NOT NULL", " TEXT COLLATE \"C\" NOT NULL")
                .replace(" TEXT NOT NULL", " TEXT COLLATE \"C\" NOT NULL")
                .replace(" TEXT,", " TEXT COLLATE \"C\",")
                .replace(" TEXT\n", " TEXT COLLATE \"C\"\n"),
        }
    }

    /// Every table with its columns in their order: `in_table`, `name`, `kind`.
    pub(super) fn columns(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "SELECT t.name AS in_table, c.name AS name, LOWER(c.type) AS kind \
                 FROM sqlite_master t JOIN pragma_table_info(t.name) c \
                 WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite#_%' ESCAPE '#' ORDER BY t.name, c.cid"
            }
            Self::Postgres => {
                "SELECT CAST(table_name AS TEXT) AS in_table, CAST(column_name AS TEXT) AS name, \
                 CAST(data_type AS TEXT) AS kind FROM information_schema.columns \
                 WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position"
            }
        }
    }

    /// Says whether what is read now comes in the order of an index, row by row until the page is full. `PostgreSQL` knows
    /// nothing of how many rows the conditions of a list leave, and would rather read all of them and sort. Inside a
    /// transaction.
    pub(super) async fn walk(
        self,
        connection: &mut AnyConnection,
        in_order: bool,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite => Ok(()),
            Self::Postgres => {
                let others = if in_order { "off" } else { "on" };
                let set = ["sort", "seqscan", "bitmapscan", "hashjoin", "mergejoin"]
                    .map(|way| format!("SET LOCAL enable_{way} = {others}"));
                connection.execute(AssertSqlSafe(set.join("; "))).await?;
                Ok(())
            }
        }
    }

    /// Keeps others from writing into these tables until the transaction ends.
    pub(super) async fn lock_tables(
        self,
        connection: &mut AnyConnection,
        tables: &[&str],
    ) -> Result<(), StoreError> {
        match self {
            // Its transactions have the whole file already.
            Self::Sqlite => Ok(()),
            Self::Postgres => {
                let lock = format!("LOCK TABLE {} IN EXCLUSIVE MODE", tables.join(", "));
                connection.execute(AssertSqlSafe(lock)).await?;
                Ok(())
            }
        }
    }

    /// Ends what the database keeps of rows as they were before the last change: until then `SQLite` has their old pages in
    /// the file of its write-ahead log. `PostgreSQL` sees to its own. Whether that is done; not while somebody else reads
    /// the file, who is not waited for, since changes would wait too.
    pub(super) async fn forget_old_pages(self, pools: &Pools) -> Result<bool, StoreError> {
        match self {
            Self::Sqlite => {
                let mut connection = pools.write.acquire().await?;
                connection.execute("PRAGMA busy_timeout = 100").await?;
                let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
                let done = checkpoint.fetch_one(&mut *connection).await;
                connection.execute("PRAGMA busy_timeout = 5000").await?;
                Ok(done?.number("busy")? == 0)
            }
            Self::Postgres => Ok(true),
        }
    }

    /// Tells other nodes of a change, inside the transaction that makes it.
    pub(super) async fn announce(self, connection: &mut AnyConnection) -> Result<(), StoreError> {
        match self {
            Self::Sqlite => Ok(()),
            Self::Postgres => {
                connection.execute("NOTIFY keygate_changes").await?;
                Ok(())
            }
        }
    }
}

fn pool(connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        // A wait that is no fault needs no line; one that is has its own.
        .acquire_slow_threshold(PATIENCE)
        .max_lifetime(Duration::from_hours(1))
}

async fn postgres(
    options: AnyConnectOptions,
    connections: u32,
    more: &'static str,
) -> Result<AnyPool, StoreError> {
    let pool = pool(connections).after_connect(move |connection, _| {
        Box::pin(async move {
            let setup = "SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '60s'; \
                         SET TIME ZONE 'UTC'; SET client_min_messages = warning; SET jit = off";
            let setup = format!("{setup}{more}");
            connection.execute(AssertSqlSafe(setup)).await.map(|_| ())
        })
    });
    Ok(pool.connect_with(options).await?)
}

async fn sqlite(file: &Path, connections: u32, more: &'static str) -> Result<AnyPool, StoreError> {
    let path = file
        .to_str()
        .ok_or_else(|| StoreError::Unavailable(format!("{}: not UTF-8", file.display())))?;
    let encoded = path
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    let options = AnyConnectOptions::from_str(&format!("sqlite:{encoded}"))?;
    // WAL: readers and the writer do not wait for each other. FULL: what was acknowledged survives a power cut.
    // Deleted means deleted: a person who was erased is not in the file any more.
    let pool = pool(connections).after_connect(move |connection, _| {
        Box::pin(async move {
            let setup = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                         PRAGMA secure_delete = ON; \
                         PRAGMA temp_store = MEMORY; PRAGMA cache_size = -32768;";
            connection.execute(setup).await?;
            connection.execute(more).await.map(|_| ())
        })
    });
    Ok(pool
        .connect_with(options.disable_statement_logging())
        .await?)
}

/// The file, for its owner only; the folder too if it is not there.
fn create(file: &Path) -> Result<(), StoreError> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.exists()) {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|fault| StoreError::Unavailable(format!("{}: {fault}", folder.display())))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(file)
        .map_err(|fault| StoreError::Unavailable(format!("{}: {fault}", file.display())))?;
    Ok(())
}
