//! The store of a running gateway from beside it: tokens and members that no test needs to make by calls, and SQL of
//! whoever has the file.

use super::gateway::Gateway;
use keygate::clock::{Clock, SystemClock};
use keygate::config::StoreLocation;
use keygate::domain::actor::Actor;
use keygate::domain::id::{Id, Kind};
use keygate::domain::key::KeyFormat;
use keygate::domain::role::Role;
use keygate::domain::workspace::root;
use keygate::store::Store;
use keygate::store::people::{Binding, MemberRecord, MemberState};
use keygate::store::tokens::{TokenKind, TokenRecord};
use sqlx::{Connection, Executor, SqliteConnection};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// A second way into the store.
pub(crate) struct Desk {
    runtime: Runtime,
    store: Store,
    clock: Arc<dyn Clock>,
    file: PathBuf,
}

impl Desk {
    /// Of a gateway that is [`super::GatewayBuilder::stored`].
    pub(crate) fn of(gateway: &Gateway) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let file = gateway.file.with_file_name("keygate.db");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let location = StoreLocation::Sqlite(file.clone());
        let store = runtime
            .block_on(Store::open(&location, Arc::clone(&clock)))
            .unwrap();
        Self {
            runtime,
            store,
            clock,
            file,
        }
    }

    /// An admin token with a role in a workspace, which is given by its id.
    pub(crate) fn token(&self, workspace: &str, role: Role) -> String {
        let format = KeyFormat::default();
        let secret = format.generate_admin().unwrap();
        let now = self.clock.now();
        let token = TokenRecord {
            id: Id::new(now),
            kind: TokenKind::Token,
            name: role.name().into(),
            workspace: Id::parse(Kind::Workspace, workspace).unwrap(),
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
        self.runtime.block_on(async {
            let mut write = self.store.begin(&Actor::system("test")).await.unwrap();
            write.insert_token(token).await.unwrap();
            write.commit().await.unwrap();
        });
        secret.expose().to_owned()
    }

    /// An active member with a role in the root workspace.
    pub(crate) fn member(&self, email: &str, role: Role) -> Id {
        let now = self.clock.now();
        let member = MemberRecord {
            id: Id::new(now),
            email: Some(email.into()),
            name: Some("Someone".into()),
            has_password: false,
            state: MemberState::Active,
            roles: vec![Binding {
                workspace: root(),
                role,
            }],
            created_at: now,
            created_by: String::new(),
            updated_at: now,
            updated_by: String::new(),
            signed_in_at: None,
            revision: 0,
        };
        let id = member.id;
        self.runtime.block_on(async {
            let mut write = self.store.begin(&Actor::system("test")).await.unwrap();
            write.insert_member(member, None).await.unwrap();
            write.commit().await.unwrap();
        });
        id
    }

    /// Erases a member.
    pub(crate) fn erase(&self, member: Id) {
        self.runtime.block_on(async {
            let mut write = self.store.begin(&Actor::system("test")).await.unwrap();
            write.erase_member(member).await.unwrap();
            write.commit().await.unwrap();
        });
    }

    /// Runs a statement on the file itself.
    pub(crate) fn sql(&self, statement: &'static str) {
        self.runtime.block_on(run_sql(&self.file, statement));
    }
}

/// Runs a statement on the file of a store.
pub(crate) fn sql(file: &Path, statement: &'static str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run_sql(file, statement));
}

async fn run_sql(file: &Path, statement: &'static str) {
    let url = format!("sqlite:{}", file.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    connection.execute(statement).await.unwrap();
    connection.close().await.unwrap();
}
