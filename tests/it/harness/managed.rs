//! Managed keys: a database of either kind, and somebody who changes it as another process does.

use super::postgres::{Database, Durability, Postgres};
use super::process::{PATIENCE, wait_until};
use keygate::clock::{Clock, SystemClock};
use keygate::config::StoreLocation;
use keygate::domain::actor::Actor;
use keygate::domain::consumer::Consumer;
use keygate::domain::id::Id;
use keygate::domain::key::record::{InactivityMarks, KeyDetail, RecordedUse, SecretVersion};
use keygate::domain::key::{Algorithm, KeyHash, KeyRecord, KeyState};
use keygate::domain::secret::Secret;
use keygate::domain::workspace::{Lineage, root};
use keygate::store::Store;
use keygate::store::consumers::ConsumerRecord;
use keygate::store::workspaces::WorkspaceRecord;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Where a store is: a database of this test's own, which can be made to be away.
pub(crate) enum Place {
    Sqlite(TempDir),
    Postgres(Database),
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    pub(crate) fn postgres() -> Self {
        Self::Postgres(Postgres::shared().database())
    }

    /// In a server that no other test uses, so that it may be stopped.
    pub(crate) fn own_postgres(durability: Durability) -> Self {
        Self::Postgres(Postgres::start(durability).database())
    }

    /// The file of a `SQLite` store.
    pub(crate) fn file(&self) -> PathBuf {
        match self {
            Self::Sqlite(folder) => folder.path().join("store/keygate.db"),
            Self::Postgres(_) => panic!("it is no file"),
        }
    }

    pub(crate) fn location(&self) -> StoreLocation {
        match self {
            Self::Sqlite(_) => StoreLocation::Sqlite(self.file()),
            Self::Postgres(database) => StoreLocation::Postgres(Secret::new(database.url())),
        }
    }

    /// What the config file says behind `store:`.
    pub(crate) fn setting(&self) -> String {
        match self {
            Self::Sqlite(_) => format!("sqlite:{}", self.file().display()),
            Self::Postgres(database) => database.url(),
        }
    }

    /// From now on it cannot be opened. Nobody may have it open.
    pub(crate) fn leave(&self) {
        match self {
            Self::Sqlite(folder) => {
                self.wait_until_closed();
                fs::rename(folder.path().join("store"), folder.path().join("away")).unwrap();
                fs::write(folder.path().join("store"), "no folder").unwrap();
            }
            Self::Postgres(database) => database.server.stop(),
        }
    }

    /// As it was before [`Place::leave`].
    pub(crate) fn come_back(&self) {
        match self {
            Self::Sqlite(folder) => {
                fs::remove_file(folder.path().join("store")).unwrap();
                fs::rename(folder.path().join("away"), folder.path().join("store")).unwrap();
            }
            Self::Postgres(database) => database.server.start_again(),
        }
    }

    /// Instead of what left, another `SQLite` store will come back.
    pub(crate) fn replace_with(&self, other: &Self) {
        let (Self::Sqlite(folder), Self::Sqlite(new)) = (self, other) else {
            panic!("they are no files");
        };
        other.wait_until_closed();
        fs::remove_dir_all(folder.path().join("away")).unwrap();
        fs::rename(new.path().join("store"), folder.path().join("away")).unwrap();
    }

    /// Connections are closed a moment after they were let go.
    fn wait_until_closed(&self) {
        let folder = self.file().parent().unwrap().to_owned();
        wait_until("nobody has it open", PATIENCE, || {
            let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
            let mut files = open.filter_map(|one| fs::read_link(one.path()).ok());
            !files.any(|file| file.starts_with(&folder))
        });
    }

    pub(crate) fn manager(&self) -> Manager {
        Manager::open(&self.location())
    }
}

/// Changes a store, with connections of its own.
pub(crate) struct Manager {
    runtime: Runtime,
    pub(crate) store: Store,
}

impl Manager {
    pub(crate) fn open(location: &StoreLocation) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let store = runtime.block_on(Store::open(location, Arc::new(SystemClock::new())));
        Self {
            store: store.unwrap(),
            runtime,
        }
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(Box::pin(work))
    }

    /// A key with this secret in the root workspace that opens the route of
    /// [`GatewayBuilder::new`](super::GatewayBuilder::new).
    pub(crate) fn add(&self, name: &str, secret: &str) -> KeyRecord {
        self.add_with(name, secret, |_| {})
    }

    pub(crate) fn add_with(
        &self,
        name: &str,
        secret: &str,
        change: impl FnOnce(&mut KeyRecord),
    ) -> KeyRecord {
        let mut key = new_key(name, secret);
        change(&mut key);
        self.run(async {
            let mut write = self.store.begin(&actor()).await.unwrap();
            let key = write.insert_key(key, "key.created").await.unwrap();
            write.commit().await.unwrap();
            key
        })
    }

    pub(crate) fn set_state(&self, key: &KeyRecord, state: KeyState) {
        self.run(async {
            let mut write = self.store.begin(&actor()).await.unwrap();
            let before = write.key(key.id).await.unwrap();
            let after = KeyRecord {
                state,
                ..before.clone()
            };
            write.save_key(&before, after, "key.updated").await.unwrap();
            write.commit().await.unwrap();
        });
    }

    pub(crate) fn add_consumer(&self, name: &str) -> Consumer {
        let new = ConsumerRecord {
            id: Id::new(SystemClock::new().now()),
            workspace: root(),
            name: name.to_owned(),
            external_id: None,
            description: None,
            limits: None,
            metadata: BTreeMap::new(),
            created_at: SystemClock::new().now(),
            created_by: String::new(),
            updated_at: SystemClock::new().now(),
            updated_by: String::new(),
            revision: 0,
        };
        self.run(async {
            let mut write = self.store.begin(&actor()).await.unwrap();
            let made = write.insert_consumer(new).await.unwrap();
            write.commit().await.unwrap();
            Consumer {
                id: made.id,
                limits: None,
                name: made.name,
            }
        })
    }

    pub(crate) fn rename_consumer(&self, consumer: &Consumer, name: &str) {
        self.run(async {
            let mut write = self.store.begin(&actor()).await.unwrap();
            let before = write.consumer(consumer.id).await.unwrap();
            let after = ConsumerRecord {
                name: name.to_owned(),
                ..before.clone()
            };
            write.save_consumer(&before, after).await.unwrap();
            write.commit().await.unwrap();
        });
    }

    /// A workspace below the root.
    pub(crate) fn add_workspace(&self, name: &str) -> Id {
        let new = WorkspaceRecord {
            id: Id::new(SystemClock::new().now()),
            parent: None,
            lineage: Lineage::new(Vec::new()),
            name: name.to_owned(),
            kind: "location".into(),
            external_id: None,
            metadata: BTreeMap::new(),
            inactivity: None,
            created_at: SystemClock::new().now(),
            created_by: String::new(),
            updated_at: SystemClock::new().now(),
            updated_by: String::new(),
            revision: 0,
        };
        self.run(async {
            let mut write = self.store.begin(&actor()).await.unwrap();
            let made = write.insert_workspace(new, root()).await.unwrap();
            write.commit().await.unwrap();
            made.id
        })
    }
}

pub(crate) fn actor() -> Actor {
    Actor::system("test")
}

/// See [`Manager::add`].
pub(crate) fn new_key(name: &str, secret: &str) -> KeyRecord {
    let now = SystemClock::new().now();
    KeyRecord {
        id: Id::new(now),
        workspace: root(),
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
        detail: KeyDetail {
            scopes: vec!["app:read".into()],
            ..KeyDetail::default()
        },
        secrets: vec![SecretVersion {
            id: Id::new(now),
            number: 1,
            hash: KeyHash::of(secret.as_bytes()),
            algorithm: Algorithm::Blake3,
            hint: None,
            created_at: now,
            retires_at: None,
            last_used_at: None,
            last_used_ip: None,
            uses: 0,
        }],
        usage: RecordedUse::default(),
        created_at: now,
        created_by: String::new(),
        updated_at: now,
        updated_by: String::new(),
        revision: 0,
    }
}
