//! Admin tokens, members and sessions: who may do what on the admin API, and for how long.

mod acts;
mod calls;
mod late;
mod matrix;
mod secrets;
mod time;

use crate::harness::{Answer, Gateway, GatewayBuilder, Upstream};
use keygate::clock::{Clock, SystemClock};
use keygate::config::StoreLocation;
use keygate::domain::actor::Actor;
use keygate::domain::id::{Id, Kind};
use keygate::domain::key::KeyFormat;
use keygate::domain::time::Timestamp;
use keygate::domain::workspace::{Lineage, root};
use keygate::store::audit::{AuditEvent, AuditQuery};
use keygate::store::notices::{NewNotice, NoticeQuery, Severity};
use keygate::store::people::SessionRecord;
use keygate::store::workspaces::{WorkspaceRecord, path_of};
use keygate::store::{Fact, Store};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::runtime::Runtime;

const PASSWORD: &str = "correct horse battery";

/// A gateway with three workspaces below the root: `north`, `south` beside it, and `shop` below `north`.
struct House {
    gateway: Gateway,
    /// The same store, opened a second time.
    store: Store,
    runtime: Runtime,
    clock: Arc<dyn Clock>,
    root: String,
    north: String,
    south: String,
    shop: String,
}

impl House {
    fn new(upstream: &Upstream) -> Self {
        Self::with_clock(upstream, Arc::new(SystemClock::new()))
    }

    fn with_clock(upstream: &Upstream, clock: Arc<dyn Clock>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let place = StoreLocation::Sqlite(folder.path().join("keygate.db"));
        let store = runtime
            .block_on(Store::open(&place, Arc::clone(&clock)))
            .unwrap();
        let add = |name: &str, parent: Id| {
            let id = runtime.block_on(add_workspace(&store, name, parent));
            (id, id.text(Kind::Workspace).to_string())
        };
        let (north_id, north) = add("north", root());
        let ((_, south), (_, shop)) = (add("south", root()), add("shop", north_id));
        let builder = GatewayBuilder::new(upstream.address);
        std::fs::write(folder.path().join("master.key"), "07".repeat(32)).unwrap();
        let gateway = builder
            .stored()
            .top("vault: { master_key: 'file:master.key' }\nwebhooks: { allow_private: true }")
            .clock(Arc::clone(&clock))
            .start_in(folder);
        Self {
            root: root().text(Kind::Workspace).to_string(),
            gateway,
            store,
            runtime,
            clock,
            north,
            south,
            shop,
        }
    }

    /// The secret of a new token.
    fn token(&self, workspace: &str, role: &str) -> String {
        let body = json!({"name": role, "workspace": workspace, "role": role});
        let made = self.gateway.api("POST", "/v1/tokens", body).must(201);
        text(&made["secret"])
    }

    /// The id of a new member with [`PASSWORD`].
    fn member(&self, email: &str, workspace: &str, role: &str) -> String {
        let body = json!({"email": email, "name": "Some Body", "workspace": workspace, "role": role, "password": PASSWORD});
        text(&self.gateway.api("POST", "/v1/members", body).must(201)["id"])
    }

    fn sign_in(&self, email: &str, password: &str) -> Answer {
        let body = json!({"email": email, "password": password});
        self.gateway.api_as("", "POST", "/v1/sessions", body)
    }

    /// The secret of a new session.
    fn session(&self, email: &str) -> String {
        text(&self.sign_in(email, PASSWORD).must(201)["secret"])
    }

    /// A session as the store makes it: id, and secret. A password takes its time.
    fn open_session(&self, member: &str) -> (String, String) {
        let member = Id::parse(Kind::Member, member).unwrap();
        let secret = KeyFormat::default().generate_session().unwrap();
        let now = self.clock.now();
        let session = SessionRecord {
            id: Id::new(now),
            member,
            created_at: now,
            last_seen_at: now,
            expires_at: Timestamp::from_millis(now.as_millis() + 3_600_000),
            ended_at: None,
            address: None,
            agent: None,
        };
        let id = session.id.text(Kind::Session).to_string();
        self.runtime.block_on(async {
            let mut write = self.store.begin(&Actor::system("test")).await.unwrap();
            let hash = secret.hash().at_rest();
            write.insert_session(session, &hash).await.unwrap();
            write.commit().await.unwrap();
        });
        (id, secret.expose().to_owned())
    }

    /// The id of a new notice.
    fn notice(&self, workspace: &str, number: usize) -> String {
        let fact = format!("test:{number}");
        let new = NewNotice {
            fact: fact.clone(),
            kind: "key.expiring",
            severity: Severity::Info,
            workspace: Id::parse(Kind::Workspace, workspace).unwrap(),
            target: fact,
            title: "something should be known".into(),
            data: json!({}),
            due_at: None,
        };
        let query = NoticeQuery {
            reach: vec![path_of(&Lineage::new(vec![root()]))],
            reader: String::new(),
            unread: false,
            kind: None,
            target: Some(new.target.clone()),
            withdrawn: false,
            after: None,
            limit: 1,
        };
        let page = self.runtime.block_on(async {
            let mut write = self.store.begin(&Actor::system("test")).await.unwrap();
            assert!(write.notice(&new).await.unwrap());
            let fact = Fact::new("test.noted", new.workspace, "test");
            write.record(fact).await.unwrap();
            write.commit().await.unwrap();
            self.store.list_notices(&query).await.unwrap()
        });
        page.notices[0].id.text(Kind::Notice).to_string()
    }

    /// Everything in the audit log that was done so, the oldest first.
    fn audit(&self, action: &str) -> Vec<AuditEvent> {
        let mut query = AuditQuery::all(vec![path_of(&Lineage::new(vec![root()]))]);
        query.action = Some(action.to_owned());
        query.descending = false;
        query.limit = 1000;
        let page = self.runtime.block_on(self.store.list_audit(&query));
        page.unwrap().events
    }
}

async fn add_workspace(store: &Store, name: &str, parent: Id) -> Id {
    let mut write = store.begin(&Actor::system("test")).await.unwrap();
    let now = write.now;
    let new = WorkspaceRecord {
        id: Id::new(now),
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
    let made = write.insert_workspace(new, parent).await.unwrap();
    write.commit().await.unwrap();
    made.id
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// Ids of the objects of a page.
fn ids(page: &Value) -> Vec<String> {
    let all = page["data"].as_array().unwrap().iter();
    all.map(|one| text(&one["id"])).collect()
}
