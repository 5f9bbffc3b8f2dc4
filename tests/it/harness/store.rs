//! The gateway's store, opened beside it, for what tests need and the admin API is not asked for.

use super::gateway::Gateway;
use keygate::clock::SystemClock;
use keygate::config::StoreLocation;
use keygate::domain::actor::Actor;
use keygate::domain::id::{Id, Kind};
use keygate::domain::key::KeyFormat;
use keygate::domain::role::Role;
use keygate::domain::time::Timestamp;
use keygate::domain::workspace::{Lineage, root};
use keygate::store::Store;
use keygate::store::tokens::{TokenKind, TokenRecord};
use keygate::store::workspaces::WorkspaceRecord;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Does something with the store of a gateway; see [`super::GatewayBuilder::stored`].
pub(crate) fn with_store<T>(gateway: &Gateway, work: impl AsyncFnOnce(Store) -> T) -> T {
    let file = gateway.file.with_file_name("keygate.db");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let location = StoreLocation::Sqlite(file);
        let store = Store::open(&location, Arc::new(SystemClock::new()));
        work(store.await.unwrap()).await
    })
}

/// Makes a workspace below another one, or below the root; its id.
pub(crate) fn workspace(gateway: &Gateway, parent: Option<&str>, name: &str) -> String {
    let parent = parent.map_or_else(root, |id| Id::parse(Kind::Workspace, id).unwrap());
    let id = Id::from_bits(u128::from(fastrand::u64(..)));
    let now = Timestamp::from_millis(0);
    let record = WorkspaceRecord {
        id,
        parent: None,
        lineage: Lineage::new(Vec::new()),
        name: name.to_owned(),
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
    with_store(gateway, async |store| {
        let mut write = store.begin(&Actor::system("test")).await.unwrap();
        write.insert_workspace(record, parent).await.unwrap();
        write.commit().await.unwrap();
    });
    id.text(Kind::Workspace).to_string()
}

/// Makes an admin token without an end; its secret.
pub(crate) fn token(gateway: &Gateway, workspace: Option<&str>, role: Role) -> String {
    let format = KeyFormat::default();
    let secret = format.generate_admin().unwrap();
    let now = Timestamp::from_millis(0);
    let record = TokenRecord {
        id: Id::from_bits(u128::from(fastrand::u64(..))),
        kind: TokenKind::Token,
        name: "test".into(),
        workspace: workspace.map_or_else(root, |id| Id::parse(Kind::Workspace, id).unwrap()),
        role,
        hash: secret.hash().at_rest(),
        hint: format.hint(&secret),
        created_at: now,
        created_by: String::new(),
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
        revision: 0,
    };
    with_store(gateway, async |store| {
        let mut write = store.begin(&Actor::system("test")).await.unwrap();
        write.insert_token(record).await.unwrap();
        write.commit().await.unwrap();
    });
    secret.expose().to_owned()
}
