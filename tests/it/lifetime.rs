//! What time does to keys of a real gateway, through its restarts: a key that nobody uses is announced, deleted and at
//! last removed; one that is used, whoever it is shown to, is not.

use crate::harness::{Gateway, GatewayBuilder, PATIENCE, Upstream, wait_until};
use keygate::clock::{Clock, TestClock};
use keygate::config::StoreLocation;
use keygate::domain::id::{Id, Kind};
use keygate::domain::key::KeyState;
use keygate::domain::time::Timestamp;
use keygate::domain::workspace;
use keygate::store::notices::NoticeQuery;
use keygate::store::{Store, StoreError};
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// 2027-01-01.
const START: i64 = 1_798_761_600_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// A store that gateways come and go beside, by the test's clock.
struct House {
    runtime: Runtime,
    store: Store,
    folder: TempDir,
    clock: Arc<TestClock>,
    upstream: Upstream,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(START)));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let place = StoreLocation::Sqlite(folder.path().join("keygate.db"));
        let store = Store::open(&place, Arc::clone(&clock) as Arc<dyn Clock>);
        Self {
            store: runtime.block_on(store).unwrap(),
            runtime,
            folder,
            clock,
            upstream: Upstream::ok(),
        }
    }

    /// A gateway so many hours after the start.
    fn gateway_at(&self, hours: i64) -> Gateway {
        self.clock.set(Timestamp::from_millis(START + hours * HOUR));
        let file = self.folder.path().join("keygate.db");
        GatewayBuilder::new(self.upstream.address)
            .top(&format!("store: sqlite:{}", file.display()))
            .clock(Arc::clone(&self.clock) as Arc<dyn Clock>)
            .start()
    }

    /// How many notices of a kind about a key stand. Asked of the store: the gateway's clock stands still, and so does
    /// its patience with many questions.
    fn notices(&self, kind: &str, key: &str) -> usize {
        let query = NoticeQuery {
            reach: vec![format!("{}/", workspace::root().text(Kind::Workspace))],
            reader: "tok_a".into(),
            unread: false,
            kind: Some(kind.into()),
            target: Some(key.into()),
            withdrawn: true,
            after: None,
            limit: 10,
        };
        let page = self.runtime.block_on(self.store.list_notices(&query));
        page.unwrap().notices.len()
    }

    /// `None`: there is no such key any more.
    fn state(&self, key: &str) -> Option<KeyState> {
        let id = Id::parse(Kind::Key, key).unwrap();
        match self.runtime.block_on(self.store.key(id)) {
            Ok(key) => Some(key.state),
            Err(StoreError::NotFound) => None,
            Err(fault) => panic!("{fault}"),
        }
    }
}

fn make(gateway: &Gateway, body: Value) -> (String, String) {
    let made = gateway.api("POST", "/v1/keys", body).must(201);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&made["key"]["id"]), text(&made["secret"]))
}

#[test]
fn a_key_that_nobody_uses_is_announced_deleted_and_at_last_removed() {
    let house = House::new();
    let gateway = house.gateway_at(0);
    let (idle, secret) = make(&gateway, json!({"name": "idle", "scopes": ["app:read"]}));
    let (asked, shown) = make(&gateway, json!({"name": "asked", "scopes": ["app:read"]}));
    // Ends of its own tell that a sweep has been there.
    let ends = |day: i64| Timestamp::from_millis(START + day * DAY).to_string();
    let mark = json!({"name": "mark", "inactivity": {"mode": "off"}, "expires_at": ends(121)});
    let (mark, _) = make(&gateway, mark);
    gateway.stop();

    // Announced once for each time it is looked at in the last days; nothing ends on the day after a downtime.
    for (hours, announced) in [(75 * 24 + 1, 1), (83 * 24 + 2, 2), (89 * 24 + 3, 3)] {
        let gateway = house.gateway_at(hours);
        wait_until(&format!("{announced} times announced"), PATIENCE, || {
            house.notices("key.inactive", &idle) == announced
        });
        let path = format!("/v1/keys/{idle}");
        let shown_as = gateway.api("GET", &path, None).must(200)["status"].clone();
        assert_eq!(shown_as, "inactive_warning");
        // An app that asks instead of being proxied shows it too.
        let body = json!({"key": shown, "count": true, "ip": "203.0.113.7"});
        assert_eq!(
            gateway.api("POST", "/v1/verify", body).must(200)["valid"],
            true
        );
        gateway.stop();
    }
    let gateway = house.gateway_at(90 * 24 + 6);
    wait_until("it ends", PATIENCE, || {
        house.state(&idle) == Some(KeyState::Deleted)
    });
    // The sweep is in the store first, and followed from there.
    wait_until("it opens nothing", PATIENCE, || {
        let header = format!("x-api-key: {secret}");
        gateway.request("GET /", &[&header]).status == 401
    });
    assert_eq!(house.state(&asked), Some(KeyState::Active));
    let hours = gateway
        .api("GET", &format!("/v1/keys/{asked}/usage"), None)
        .must(200);
    assert_eq!(hours["data"].as_array().unwrap().len(), 3);
    assert_eq!(
        (&hours["data"][0]["route"], &hours["data"][0]["requests"]),
        (&json!(""), &json!(1))
    );
    gateway.stop();

    // What was deleted can be restored for a month, and is removed once the clock can be believed.
    let gateway = house.gateway_at(122 * 24);
    wait_until("there was a sweep", PATIENCE, || {
        house.notices("key.expired", &mark) == 1
    });
    assert_eq!(house.state(&idle), Some(KeyState::Deleted));
    gateway.stop();
    let _gateway = house.gateway_at(123 * 24 + 6);
    wait_until("it is removed", PATIENCE, || house.state(&idle).is_none());
}
