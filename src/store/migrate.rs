//! Brings the schema up to date: forward only, each version once, under a lock.

use super::dialect::{Dialect, Pools};
use super::error::StoreError;
use super::sql::Columns;
use crate::domain::id::Id;
use crate::domain::id::Kind;
use crate::domain::time::Timestamp;
use crate::domain::workspace;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

/// Every version, the first one first. A version that was released is never changed.
const VERSIONS: [(&str, &str); 1] = [("keys", include_str!("migrations/0001_keys.sql"))];

/// What the chain of audit events starts from.
pub(super) const FIRST_HASH: &str =
    "0000000000000000000000000000000000000000000000000000000000000000";

/// Applies what is missing, and makes the head and the root workspace if they are not there.
pub(super) async fn run(dialect: Dialect, pools: &Pools, now: Timestamp) -> Result<(), StoreError> {
    let migrations = VERSIONS.iter().zip(1_i64..).map(|((name, sql), version)| {
        Migration::new(
            version,
            (*name).into(),
            MigrationType::Simple,
            AssertSqlSafe(dialect.schema(sql)).into_sql_str(),
            false,
        )
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    // One transaction and one lock for all of it: the lock of sqlx is for `PostgreSQL` only, and ends before the head is made.
    migrator.set_locking(false);
    let mut first = pools.write.begin_with(dialect.begin()).await?;
    dialect.lock_schema(&mut first).await?;
    migrator.run_direct(None, &mut *first, false).await?;
    let made = sqlx::query(
        "INSERT INTO head (id, store, revision, audit_sequence, audit_hash, created_at) \
         VALUES (1, $1, 0, 0, $2, $3) ON CONFLICT (id) DO NOTHING",
    )
    .bind(format!("{:032x}", Id::new(now).bits()))
    .bind(FIRST_HASH)
    .bind(now.as_millis())
    .execute(&mut *first)
    .await?;
    if made.rows_affected() > 0 {
        let root = workspace::root().text(Kind::Workspace).to_string();
        sqlx::query(
            "INSERT INTO workspaces (id, parent, path, name, kind, metadata, created_at, created_by, updated_at, \
             updated_by, revision) VALUES ($1, NULL, $2, 'root', 'organization', '{}', $3, $4, $3, $4, 0) \
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(&root)
        .bind(format!("{root}/"))
        .bind(now.as_millis())
        .bind("system:setup")
        .execute(&mut *first)
        .await?;
    }
    first.commit().await?;
    Ok(())
}

/// The identity of the store, made with it: a last-good file of another store is told by it.
pub(super) async fn identity(pools: &Pools) -> Result<String, StoreError> {
    let row = sqlx::query("SELECT store FROM head WHERE id = 1")
        .fetch_one(&pools.read)
        .await?;
    row.text("store")
}
