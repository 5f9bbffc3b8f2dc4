//! What every store does, whichever database it is: each test is written once and run on `SQLite` and on `PostgreSQL`.

#[path = "../../../tests/support/ports.rs"]
mod ports;
#[path = "../../../tests/support/postgres.rs"]
mod postgres;

use super::sql::Columns;
use super::{Fact, Store, StoreError};
use crate::clock::{Clock, TestClock};
use crate::config::StoreLocation;
use crate::domain::actor::Actor;
use crate::domain::id::Id;
use crate::domain::key::record::{InactivityMarks, KeyDetail, RecordedUse, SecretVersion};
use crate::domain::key::{Algorithm, KeyHash, KeyRecord, KeyState};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::workspace::{self, Lineage};
use crate::store::workspaces::WorkspaceRecord;
use crate::store::write::Touched;
use postgres::{Database, Durability, Postgres};
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// Makes of each function two tests, one for each database. The one macro of ours: a function cannot make tests.
macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test] fn $test() { crate::store::suite::run(crate::store::suite::Home::sqlite(), super::$test); })+
        }
        mod postgres {
            $(#[test] fn $test() { crate::store::suite::run(crate::store::suite::Home::postgres(), super::$test); })+
        }
    };
}

mod audit;
mod backup;
mod consumers;
mod failures;
mod full;
mod keys;
mod lists;
mod load;
mod nodes;
mod people;
mod schema;
mod status;
mod tokens;
mod usage;
mod workspaces;
mod writes;

/// 2027-01-01.
const START: Timestamp = Timestamp::from_millis(1_798_761_600_000);

/// A database that no other test uses, and a clock that stands still.
pub(super) struct Home {
    location: StoreLocation,
    place: Place,
    clock: Arc<TestClock>,
}

enum Place {
    Folder(TempDir),
    Database(Database),
}

impl Home {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::new(
            StoreLocation::Sqlite(folder.path().join("data/keygate.db")),
            Place::Folder(folder),
        )
    }

    fn postgres() -> Self {
        Self::in_database(Postgres::shared().database())
    }

    /// In a database of a server that may be stopped.
    fn in_database(database: Database) -> Self {
        Self::new(
            StoreLocation::Postgres(Secret::new(database.url())),
            Place::Database(database),
        )
    }

    fn new(location: StoreLocation, place: Place) -> Self {
        let clock = Arc::new(TestClock::at(START));
        Self {
            location,
            place,
            clock,
        }
    }

    async fn try_open(&self) -> Result<Store, StoreError> {
        Store::open(&self.location, Arc::clone(&self.clock) as Arc<dyn Clock>).await
    }

    async fn open(&self) -> Store {
        self.try_open().await.unwrap()
    }

    /// The file, if it is one.
    fn file(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Folder(folder) => Some(folder.path().join("data/keygate.db")),
            Place::Database(_) => None,
        }
    }
}

/// Runs a test to its end, on a runtime of its own.
fn run<F: Future<Output = ()>>(home: Home, test: impl FnOnce(Arc<Home>) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(Box::pin(test(Arc::new(home))));
}

fn actor() -> Actor {
    Actor::system("suite")
}

fn id() -> Id {
    Id::new(START)
}

/// A key in the root workspace with one secret, not kept yet.
fn new_key(name: &str) -> KeyRecord {
    let id = id();
    KeyRecord {
        id,
        workspace: workspace::root(),
        consumer: None,
        name: name.to_owned(),
        environment: "live".into(),
        state: KeyState::Active,
        state_note: None,
        state_before: None,
        note_before: None,
        not_before: None,
        expires_at: None,
        rotating_until: None,
        inactivity: None,
        marks: InactivityMarks::default(),
        detail: KeyDetail::default(),
        secrets: vec![new_secret()],
        usage: RecordedUse::default(),
        created_at: START,
        created_by: String::new(),
        updated_at: START,
        updated_by: String::new(),
        revision: 0,
    }
}

fn new_secret() -> SecretVersion {
    let id = id();
    SecretVersion {
        id,
        number: 1,
        hash: KeyHash::of(&id.bits().to_be_bytes()),
        algorithm: Algorithm::Blake3,
        hint: None,
        created_at: START,
        retires_at: None,
        last_used_at: None,
        last_used_ip: None,
        uses: 0,
    }
}

/// Keeps a key in a change of its own.
async fn add(store: &Store, key: KeyRecord) -> KeyRecord {
    let mut write = store.begin(&actor()).await.unwrap();
    let key = write.insert_key(key, "key.created").await.unwrap();
    write.commit().await.unwrap();
    key
}

/// Keeps keys in one change.
async fn add_all(store: &Store, keys: &[KeyRecord]) {
    let mut write = store.begin(&actor()).await.unwrap();
    for key in keys {
        write.put_key(key).await.unwrap();
    }
    let fact = Fact::new("key.imported", workspace::root(), "keys");
    write.record(fact).await.unwrap();
    write.commit().await.unwrap();
}

fn new_workspace(name: &str) -> WorkspaceRecord {
    WorkspaceRecord {
        id: id(),
        parent: None,
        lineage: Lineage::new(Vec::new()),
        name: name.to_owned(),
        kind: "team".into(),
        external_id: None,
        metadata: BTreeMap::new(),
        inactivity: None,
        created_at: START,
        created_by: String::new(),
        updated_at: START,
        updated_by: String::new(),
        revision: 0,
    }
}

/// Keeps a workspace in a change of its own.
async fn add_workspace(store: &Store, name: &str, parent: Id) -> WorkspaceRecord {
    let mut write = store.begin(&actor()).await.unwrap();
    let made = write
        .insert_workspace(new_workspace(name), parent)
        .await
        .unwrap();
    write.commit().await.unwrap();
    made
}

/// Changes rows behind the store's back.
async fn sql(store: &Store, statement: &str) -> u64 {
    sqlx::query(AssertSqlSafe(statement.to_owned()))
        .execute(&store.pools.write)
        .await
        .unwrap_or_else(|fault| panic!("{statement}: {fault}"))
        .rows_affected()
}

/// What was touched after a revision, and the last revision.
async fn touched_after(store: &Store, revision: u64) -> (Vec<(u64, Touched)>, u64) {
    let (changes, head) = store.changes_after(revision, 100).await.unwrap();
    let touched = changes
        .iter()
        .map(|change| (change.revision, change.touched));
    (touched.collect(), head)
}

/// The number in the one row that a statement finds.
async fn number(store: &Store, statement: &str) -> i64 {
    let statement = statement.replacen("SELECT ", "SELECT CAST((", 1);
    let (what, rest) = statement.split_once(" FROM ").unwrap();
    sqlx::query(AssertSqlSafe(format!(
        "{what}) AS BIGINT) AS number FROM {rest}"
    )))
    .fetch_one(&store.pools.read)
    .await
    .unwrap()
    .number("number")
    .unwrap()
}

/// The texts that a statement finds, in its one column `text`.
async fn texts(store: &Store, statement: &str) -> Vec<String> {
    let rows = sqlx::query(AssertSqlSafe(statement.to_owned()))
        .fetch_all(&store.pools.read)
        .await
        .unwrap();
    rows.iter().map(|row| row.text("text").unwrap()).collect()
}
