//! What keys do reaches the store: last use, counts by hour, refusals, the audit log; through outages and restarts.

use crate::harness::{Gateway, GatewayBuilder, KEY, PATIENCE, Upstream, ask, hash_of, wait_until};
use keygate::clock::{Clock, SystemClock, TestClock};
use keygate::config::StoreLocation;
use keygate::domain::actor::Actor;
use keygate::domain::id::{Id, Kind};
use keygate::domain::key::record::{
    DAY_MILLIS, InactivityMarks, KeyDetail, RecordedUse, SecretVersion,
};
use keygate::domain::key::{Algorithm, KeyHash, KeyRecord, KeyState};
use keygate::domain::time::Timestamp;
use keygate::domain::workspace;
use keygate::store::Store;
use keygate::store::audit::{AuditEvent, AuditQuery};
use keygate::store::notices::NoticeQuery;
use keygate::store::usage::{UsageQuery, UsageRow};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// 2027-01-01.
const START: i64 = 1_798_761_600_000;
const HOUR: i64 = 3_600_000;
/// For what may have to wait for a lock first.
const LATER: Duration = Duration::from_secs(30);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

/// A store of its own, with a second way in beside the gateway's.
/// The token in the config file, which reads.
const READER_TOKEN: &str = "a-token-that-reads-only";
const READER: &str = "authorization: Bearer a-token-that-reads-only";

struct Home {
    runtime: Runtime,
    store: Store,
    clock: Arc<TestClock>,
    folder: TempDir,
    upstream: Upstream,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let place = StoreLocation::Sqlite(folder.path().join("keygate.db"));
        let clock = Arc::new(TestClock::at(at(0)));
        let store = runtime
            .block_on(Store::open(&place, Arc::clone(&clock) as Arc<dyn Clock>))
            .unwrap();
        Self {
            runtime,
            store,
            clock,
            folder,
            upstream: Upstream::ok(),
        }
    }

    fn builder(&self) -> GatewayBuilder {
        let file = self.folder.path().join("keygate.db");
        GatewayBuilder::new(self.upstream.address).top(&format!("store: sqlite:{}", file.display()))
    }

    /// A gateway whose clock is the test's.
    fn gateway(&self) -> Gateway {
        self.builder()
            .clock(Arc::clone(&self.clock) as Arc<dyn Clock>)
            .start()
    }

    /// Keeps a key with these secrets, the newest first, and the scope `app:read`.
    fn add(&self, secrets: &[(&str, Algorithm)]) -> KeyRecord {
        let count = i64::try_from(secrets.len()).unwrap();
        let secrets = secrets
            .iter()
            .zip(0..)
            .map(|((text, algorithm), place)| SecretVersion {
                id: Id::new(at(0)),
                number: count - place,
                hash: hash(text, *algorithm),
                algorithm: *algorithm,
                hint: None,
                created_at: at(0),
                retires_at: (place > 0).then(|| at(365 * DAY_MILLIS)),
                last_used_at: None,
                last_used_ip: None,
                uses: 0,
            });
        let key = KeyRecord {
            id: Id::new(at(0)),
            workspace: workspace::root(),
            consumer: None,
            name: "till".into(),
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
            secrets: secrets.collect(),
            usage: RecordedUse::default(),
            created_at: at(0),
            created_by: String::new(),
            updated_at: at(0),
            updated_by: String::new(),
            revision: 0,
        };
        self.runtime.block_on(async {
            let mut write = self.store.begin(&Actor::system("test")).await.unwrap();
            let key = write.insert_key(key, "key.created").await.unwrap();
            write.commit().await.unwrap();
            key
        })
    }

    fn key(&self, id: Id) -> KeyRecord {
        self.runtime.block_on(self.store.key(id)).unwrap()
    }

    /// By hour and route, the latest first.
    fn usage(&self, id: Id) -> Vec<UsageRow> {
        let mut query = UsageQuery::all(vec![everything()]);
        query.key = Some(id);
        let page = self.runtime.block_on(self.store.usage(&query));
        page.unwrap().rows
    }

    fn audit(&self, action: &str) -> Vec<AuditEvent> {
        let mut query = AuditQuery::all(vec![everything()]);
        query.action = Some(action.into());
        let page = self.store.list_audit(&query);
        self.runtime.block_on(page).unwrap().events
    }

    fn notices(&self, kind: &str) -> Vec<String> {
        let query = NoticeQuery {
            reach: vec![everything()],
            reader: "tok_a".into(),
            unread: false,
            kind: Some(kind.into()),
            target: None,
            withdrawn: false,
            after: None,
            limit: 10,
        };
        let page = self.runtime.block_on(self.store.list_notices(&query));
        let notices = page.unwrap().notices.into_iter();
        notices.map(|one| one.target).collect()
    }
}

/// Path of the root.
fn everything() -> String {
    format!("{}/", workspace::root().text(Kind::Workspace))
}

fn hash(secret: &str, algorithm: Algorithm) -> KeyHash {
    match algorithm {
        Algorithm::Blake3 => KeyHash::of(secret.as_bytes()),
        Algorithm::Sha256 => {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
            KeyHash::from_bytes(digest.as_ref().try_into().unwrap())
        }
    }
}

fn send(gateway: &Gateway, method: &str, secret: &str) -> u16 {
    let header = format!("x-api-key: {secret}");
    gateway.request(&format!("{method} /"), &[&header]).status
}

#[test]
fn last_use_is_in_the_store_soon_and_only_moves_forward() {
    let home = Home::new();
    let key = home.add(&[
        ("the newer one", Algorithm::Blake3),
        ("the older one", Algorithm::Blake3),
    ]);
    let gateway = home.gateway();
    for secret in ["the newer one", "the older one", "the newer one"] {
        assert_eq!(send(&gateway, "GET", secret), 200);
    }
    assert_eq!(send(&gateway, "POST", "the newer one"), 403);
    assert_eq!(gateway.get("/").status, 200);
    wait_until("the uses are in the store", PATIENCE, || {
        let usage = home.key(key.id).usage;
        (usage.uses, usage.refusals) == (3, 1)
    });
    let kept = home.key(key.id);
    assert_eq!(kept.usage.first_used_at, Some(at(0)));
    assert_eq!(kept.usage.last_used_at, Some(at(0)));
    assert_eq!(kept.usage.last_used_ip, Some([127, 0, 0, 1].into()));
    let uses: Vec<i64> = kept.secrets.iter().map(|secret| secret.uses).collect();
    assert_eq!(uses, [2, 1]);
    assert!(
        kept.secrets
            .iter()
            .all(|secret| secret.last_used_at == Some(at(0)))
    );
    assert_eq!(kept.revision, key.revision, "a use is no change");

    home.clock.advance_millis(2 * HOUR);
    assert_eq!(send(&gateway, "GET", "the newer one"), 200);
    // What is left when it stops is written then.
    gateway.stop();
    let rows = home.usage(key.id);
    let counts: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.at,
                row.counts.requests,
                row.counts.statuses,
                row.counts.refusals,
            )
        })
        .collect();
    assert_eq!(
        counts,
        [
            (at(2 * HOUR), 1, [1, 0, 0, 0], 0),
            (at(0), 3, [3, 0, 0, 0], 1)
        ]
    );
    assert_eq!(rows[1].route, "app");
    assert_eq!(rows[1].reasons.get("scope"), Some(&1));
    assert!(rows[1].counts.bytes_out > 0);
    assert_eq!(home.key(key.id).usage.last_used_at, Some(at(2 * HOUR)));

    // A clock that is behind moves nothing back.
    home.clock.set(at(HOUR));
    let reader = home.folder.path().join("reader");
    std::fs::write(&reader, READER_TOKEN).unwrap();
    let gateway = home
        .builder()
        .management(&format!("token: 'file:{}'", reader.display()))
        .clock(Arc::clone(&home.clock) as Arc<dyn Clock>)
        .start();
    let declared = ask(gateway.management, "GET /v1/keys", &[READER]).json();
    let declared = declared["data"].as_array().unwrap();
    let declared = declared.iter().find(|one| one["name"] == "ci").unwrap();
    assert_eq!(declared["last_used_at"], at(0).to_string());
    assert_eq!(send(&gateway, "GET", "the newer one"), 200);
    assert_eq!(gateway.get("/").status, 200);
    gateway.stop();
    let usage = home.key(key.id).usage;
    assert_eq!((usage.uses, usage.last_used_at), (5, Some(at(2 * HOUR))));
    let declared = home.runtime.block_on(home.store.declared_uses()).unwrap();
    assert_eq!(declared.len(), 1);
    assert_eq!(
        declared[0].0,
        KeyHash::parse(&hash_of(KEY)).unwrap().declared_id()
    );
    assert_eq!(declared[0].1.uses, 2);
}

#[test]
fn an_imported_key_works_at_once_and_gets_our_own_hash() {
    let home = Home::new();
    let key = home.add(&[("from another gateway", Algorithm::Sha256)]);
    let gateway = home.gateway();
    let mut sent = 0;
    wait_until("it has our own hash", PATIENCE, || {
        assert_eq!(send(&gateway, "GET", "from another gateway"), 200);
        sent += 1;
        home.key(key.id).secrets[0].algorithm == Algorithm::Blake3
    });
    let own = hash("from another gateway", Algorithm::Blake3);
    assert_eq!(home.key(key.id).secrets[0].hash, own);
    let applied = home.runtime.block_on(home.store.revision()).unwrap();
    wait_until("the gateway knows it", PATIENCE, || {
        assert_eq!(send(&gateway, "GET", "from another gateway"), 200);
        sent += 1;
        gateway.metric("keygate_revision_applied", &[])
            >= f64::from(u32::try_from(applied).unwrap())
    });
    for _ in 0..10 {
        assert_eq!(send(&gateway, "GET", "from another gateway"), 200);
        sent += 1;
    }
    gateway.stop();
    let kept = home.key(key.id);
    assert_eq!((kept.usage.uses, kept.secrets[0].uses), (sent, sent));
    assert_eq!(home.audit("key.rehashed").len(), 1);
}

#[test]
fn while_the_store_is_away_use_is_kept_and_written_later() {
    let home = Home::new();
    let key = home.add(&[("a till", Algorithm::Blake3)]);
    let gateway = home.builder().clock(Arc::new(SystemClock::new())).start();
    let pending = || gateway.metric("keygate_last_used_pending", &[]);
    let lock = home
        .runtime
        .block_on(home.store.begin(&Actor::system("test")));
    let mut sent = 0;
    // Long enough for the gateway to have tried, and given up.
    wait_until("it has been away for long", LATER, || {
        assert_eq!(send(&gateway, "GET", "a till"), 200);
        sent += 1;
        sent >= 1000 && pending() > 0.0
    });
    let fault = || gateway.status()["store"]["write_fault"].clone();
    wait_until("it is told", LATER, || fault().is_string());
    assert_eq!(home.key(key.id).usage.uses, 0);
    // A rollback needs the runtime.
    home.runtime.block_on(async { drop(lock) });
    wait_until("all of it is written", LATER, || {
        home.key(key.id).usage.uses == sent && pending() == 0.0
    });
    assert_eq!(gateway.metric("keygate_usage_dropped_total", &[]), 0.0);
    wait_until("nothing is wrong any more", LATER, || fault().is_null());
}

#[test]
fn a_flood_of_unknown_keys_is_one_row_a_minute() {
    let home = Home::new();
    let clock = Arc::clone(&home.clock) as Arc<dyn Clock>;
    let mut builder = home.builder().clock(clock).one_thread();
    builder
        .top
        .push_str("admission: { failed_attempts: off }\n");
    let gateway = builder.start();
    for number in 0..300 {
        assert_eq!(send(&gateway, "GET", &format!("nobody's {number}")), 401);
    }
    // One worker counts in order: when this one is there, so are the others.
    assert_eq!(gateway.get("/").status, 200);
    wait_until("all are fetched", PATIENCE, || {
        let known = home.runtime.block_on(home.store.declared_uses());
        known.unwrap().len() == 1
    });
    assert!(
        home.audit("keys.refused").is_empty(),
        "the minute is not over"
    );
    home.clock.advance_millis(60_000);
    wait_until("it is in the log", PATIENCE, || {
        !home.audit("keys.used").is_empty()
    });
    gateway.stop();
    let refused = home.audit("keys.refused");
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].target, "route/app");
    assert_eq!(refused[0].changes["unknown"], 300);
    assert_eq!(refused[0].changes["reasons"]["unknown"], 300);
    let used = home.audit("keys.used");
    assert_eq!(used.len(), 1, "{used:#?}");
    assert_eq!(used[0].changes["requests"], 1);
}

#[test]
fn odd_use_becomes_a_notice() {
    let home = Home::new();
    let key = home.add(&[("a till", Algorithm::Blake3)]);
    let id = key.id.text(Kind::Key).to_string();
    let gateway = home.gateway();
    assert_eq!(send(&gateway, "GET", "a till"), 200);
    wait_until("the first use is written", PATIENCE, || {
        home.key(key.id).usage.uses == 1
    });
    home.clock.advance_millis(31 * DAY_MILLIS);
    assert_eq!(send(&gateway, "GET", "a till"), 200);
    for _ in 0..100 {
        assert_eq!(send(&gateway, "POST", "a till"), 403);
    }
    gateway.stop();
    assert_eq!(
        home.notices("key.used_after_quiet"),
        std::slice::from_ref(&id)
    );
    assert_eq!(home.notices("key.refusal_spike"), [id]);
    assert!(home.notices("key.new_network").is_empty());
}
