//! A store for unit tests, with a clock that stands still.

use super::Store;
use super::webhooks::{SealedSecret, WebhookRecord, WebhookState};
use super::workspaces::WorkspaceRecord;
use crate::clock::{Clock, TestClock};
use crate::config::StoreLocation;
use crate::domain::actor::Actor;
use crate::domain::id::{Id, Kind};
use crate::domain::key::record::{InactivityMarks, KeyDetail, RecordedUse, SecretVersion};
use crate::domain::key::{Algorithm, KeyHash, KeyRecord, KeyState};
use crate::domain::time::Timestamp;
use crate::domain::workspace::{Lineage, root};
use std::collections::BTreeMap;
use std::sync::Arc;

/// 2027-01-01.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_798_761_600_000);

/// Who acts in tests.
pub(crate) fn system() -> Actor {
    Actor::system("test")
}

/// Path of the root or of a workspace right below it.
pub(crate) fn path(id: Id) -> String {
    let above = root().text(Kind::Workspace);
    if id == root() {
        format!("{above}/")
    } else {
        format!("{above}/{}/", id.text(Kind::Workspace))
    }
}

async fn open(folder: &tempfile::TempDir, clock: &Arc<TestClock>) -> Store {
    let place = StoreLocation::Sqlite(folder.path().join("keygate.db"));
    Store::open(&place, Arc::clone(clock) as Arc<dyn Clock>)
        .await
        .unwrap()
}

/// A store in a folder of its own.
pub(crate) struct Home {
    pub(crate) store: Store,
    pub(crate) clock: Arc<TestClock>,
    folder: tempfile::TempDir,
}

impl Home {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::at(START));
        let store = open(&folder, &clock).await;
        Self {
            store,
            clock,
            folder,
        }
    }

    /// The same store, opened anew.
    pub(crate) async fn open(&self) -> Store {
        open(&self.folder, &self.clock).await
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn later(&self, millis: i64) -> Timestamp {
        Timestamp::from_millis(self.now().as_millis() + millis)
    }

    /// A workspace below the root.
    pub(crate) async fn workspace(&self, name: &str) -> Id {
        let now = self.now();
        let mut write = self.store.begin(&system()).await.unwrap();
        let new = WorkspaceRecord {
            id: Id::new(now),
            parent: None,
            lineage: Lineage::new(Vec::new()),
            name: name.into(),
            kind: "location".into(),
            external_id: None,
            metadata: BTreeMap::new(),
            inactivity: None,
            created_at: now,
            created_by: String::new(),
            updated_at: now,
            updated_by: String::new(),
            revision: 0,
        };
        let made = write.insert_workspace(new, root()).await.unwrap();
        write.commit().await.unwrap();
        made.id
    }

    /// An active key with one secret.
    pub(crate) async fn key(&self, workspace: Id, edit: impl FnOnce(&mut KeyRecord)) -> KeyRecord {
        let now = self.now();
        let id = Id::new(now);
        let secret = SecretVersion {
            id: Id::new(now),
            number: 1,
            hash: KeyHash::of(&id.bits().to_be_bytes()),
            algorithm: Algorithm::Blake3,
            hint: None,
            created_at: now,
            retires_at: None,
            last_used_at: None,
            last_used_ip: None,
            uses: 0,
        };
        let mut key = KeyRecord {
            id,
            workspace,
            consumer: None,
            name: "ci".into(),
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
            secrets: vec![secret],
            usage: RecordedUse::default(),
            created_at: now,
            created_by: String::new(),
            updated_at: now,
            updated_by: String::new(),
            revision: 0,
        };
        edit(&mut key);
        let mut write = self.store.begin(&system()).await.unwrap();
        let made = write.insert_key(key, "key.created").await.unwrap();
        write.commit().await.unwrap();
        made
    }

    /// Changes a key as an admin would.
    pub(crate) async fn edit(
        &self,
        id: Id,
        edit: impl FnOnce(&mut KeyRecord, Timestamp),
    ) -> KeyRecord {
        let mut write = self.store.begin(&system()).await.unwrap();
        let before = write.key(id).await.unwrap();
        let mut after = before.clone();
        edit(&mut after, write.now);
        let saved = write.save_key(&before, after, "key.updated").await.unwrap();
        write.commit().await.unwrap();
        saved
    }

    /// A webhook with one secret that nobody can open.
    pub(crate) async fn webhook(
        &self,
        workspace: Id,
        name: &str,
        events: &[&str],
    ) -> WebhookRecord {
        let now = self.now();
        let mut write = self.store.begin(&system()).await.unwrap();
        let new = WebhookRecord {
            id: Id::new(now),
            workspace,
            name: name.into(),
            url: "https://example.com/hook".into(),
            events: events.iter().map(|&event| event.to_owned()).collect(),
            state: WebhookState::Active,
            state_reason: None,
            secrets: vec![SealedSecret {
                sealed: "sealed".into(),
                until: None,
            }],
            created_at: now,
            created_by: String::new(),
            updated_at: now,
            updated_by: String::new(),
            failing_since: None,
            revision: 0,
        };
        let made = write.insert_webhook(new).await.unwrap();
        write.commit().await.unwrap();
        made
    }
}
