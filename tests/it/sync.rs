//! The gateway follows its store, whoever changes it; and serves on, and starts, while the store is away.

use crate::harness::{
    Answer, Durability, Gateway, GatewayBuilder, Manager, PATIENCE, Place, Served, Upstream, actor,
    ask, hash_of, tell, wait_until,
};
use keygate::domain::id::{Id, Kind};
use keygate::domain::key::record::SecretVersion;
use keygate::domain::key::{KeyHash, KeyRecord, KeyState};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How soon a change of another process is in force.
const SOON: Duration = Duration::from_secs(1);

fn builder(upstream: &Upstream, place: &Place, data: &Path) -> GatewayBuilder {
    let (store, data) = (place.setting(), data.display());
    GatewayBuilder::new(upstream.address).top(&format!("store: {store}\ndata_dir: {data}"))
}

/// A gateway with a store.
struct Managed {
    upstream: Upstream,
    gateway: Gateway,
    manager: Manager,
    place: Place,
    data: TempDir,
}

impl Managed {
    fn start(place: Place) -> Self {
        let (upstream, data) = (Upstream::ok(), tempfile::tempdir().unwrap());
        let gateway = builder(&upstream, &place, data.path()).start();
        Self {
            manager: place.manager(),
            upstream,
            gateway,
            place,
            data,
        }
    }

    /// Ends the gateway and whoever changes the store; a new gateway starts while the store is away.
    fn restart_alone(self) -> (Gateway, Upstream, Place, TempDir) {
        self.gateway.stop();
        drop(self.manager);
        self.place.leave();
        let gateway = builder(&self.upstream, &self.place, self.data.path()).start();
        (gateway, self.upstream, self.place, self.data)
    }
}

fn call(gateway: &Gateway, secret: &str) -> Answer {
    gateway.request("GET /", &[&format!("x-api-key: {secret}")])
}

/// 200, or the code of the refusal.
fn outcome(gateway: &Gateway, secret: &str) -> String {
    let answer = call(gateway, secret);
    if answer.status == 200 {
        return "200".into();
    }
    answer.code()
}

fn wait_for(gateway: &Gateway, secret: &str, wanted: &str) {
    let what = format!("{secret} is answered with {wanted}");
    wait_until(&what, PATIENCE, || outcome(gateway, secret) == wanted);
}

/// How long it took.
#[expect(clippy::disallowed_methods, reason = "a test's patience is real time")]
fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// A change of another process is in force within a second: of three tries the best counts, since the machine may be busy.
fn soon(mut round: impl FnMut(u32) -> Duration) {
    let best = (0..3).map(&mut round).min().unwrap();
    assert!(best < SOON, "it took {best:?}");
}

fn in_force_within_a_second(place: Place) {
    let served = Managed::start(place);
    let (gateway, manager) = (&served.gateway, &served.manager);
    assert_eq!(outcome(gateway, "k0"), "invalid_api_key");
    let mut keys = Vec::new();
    soon(|round| {
        let secret = format!("k{round}");
        keys.push(manager.add("other", &secret));
        timed(|| wait_for(gateway, &secret, "200"))
    });
    soon(|round| {
        manager.set_state(&keys[round as usize], KeyState::Revoked);
        timed(|| wait_for(gateway, &format!("k{round}"), "api_key_revoked"))
    });
    let status = gateway.status();
    let store = &status["store"];
    assert_eq!(
        (&store["reachable"], &store["from_last_good"]),
        (&true.into(), &false.into())
    );
    assert_eq!(store["revision_applied"], store["revision_observed"]);
}

fn upstream_is_told_the_new_name(place: Place) {
    let served = Managed::start(place);
    let (gateway, manager) = (&served.gateway, &served.manager);
    let consumer = manager.add_consumer("before");
    let workspace = manager.add_workspace("berlin");
    manager.add_with("key", "owned", |key| {
        key.consumer = Some(consumer.clone());
        key.workspace = workspace;
    });
    wait_for(gateway, "owned", "200");
    let told = |name: &str| served.upstream.last().header(name).map(str::to_owned);
    assert_eq!(told("x-consumer-username").as_deref(), Some("before"));
    let id = workspace.text(Kind::Workspace).to_string();
    assert_eq!(told("x-keygate-workspace"), Some(id));
    soon(|round| {
        let name = format!("after{round}");
        manager.rename_consumer(&consumer, &name);
        timed(|| {
            wait_until("the new name is told", PATIENCE, || {
                assert_eq!(outcome(gateway, "owned"), "200");
                told("x-consumer-username") == Some(name.clone())
            });
        })
    });
}

fn a_declared_key_stands_in_front(place: Place) {
    let mut served = Managed::start(place);
    served.manager.add("kept", "both");
    wait_for(&served.gateway, "both", "200");
    let who = |served: &Managed| {
        assert_eq!(call(&served.gateway, "both").status, 200);
        let told = served.upstream.last();
        told.header("x-consumer-username").map(str::to_owned)
    };
    assert_eq!(who(&served).as_deref(), Some("kept"));
    let more = format!(
        "  - {{ name: declared, hash: \"{}\", scopes: [app:read] }}\n",
        hash_of("both")
    );
    served.gateway.edit("keys:\n", &format!("keys:\n{more}"));
    let is = |served: &Managed, name: &str| {
        wait_until(name, PATIENCE, || who(served).as_deref() == Some(name));
    };
    is(&served, "declared");
    assert_eq!(served.gateway.status()["store"]["hidden"], 1);
    // What becomes of the one behind does not touch the one in front.
    served.manager.add("other", "later");
    wait_for(&served.gateway, "later", "200");
    assert_eq!(who(&served).as_deref(), Some("declared"));
    served.gateway.edit(&more, "");
    is(&served, "kept");
    assert_eq!(served.gateway.status()["store"]["hidden"], 0);
}

fn a_start_alone_serves_the_last_good_state(place: Place) {
    let served = Managed::start(place);
    let manager = &served.manager;
    let [stays, goes, ends] = ["stays", "goes", "ends"].map(|name| manager.add(name, name));
    for name in ["stays", "goes", "ends"] {
        wait_for(&served.gateway, name, "200");
    }
    let Managed {
        upstream,
        gateway,
        manager,
        place,
        data,
    } = served;
    gateway.stop();
    // Nobody is there to see this.
    manager.set_state(&goes, KeyState::Deleted);
    manager.set_state(&ends, KeyState::Revoked);
    manager.add("comes", "comes");
    drop(manager);
    place.leave();
    let gateway = builder(&upstream, &place, data.path()).start();
    assert_eq!(gateway.manage("/readyz").status, 200);
    let store = gateway.status()["store"].clone();
    assert_eq!(
        (&store["reachable"], &store["from_last_good"]),
        (&false.into(), &true.into())
    );
    assert!(
        store["fault"].is_string() && store["in_step_at"].is_string(),
        "{store}"
    );
    let served = ["stays", "goes", "ends", "comes"].map(|name| outcome(&gateway, name));
    assert_eq!(served, ["200", "200", "200", "invalid_api_key"]);
    place.come_back();
    wait_until("the store is followed again", PATIENCE, || {
        gateway.status()["store"]["reachable"] == true
    });
    let served = ["stays", "goes", "ends", "comes"].map(|name| outcome(&gateway, name));
    assert_eq!(served, ["200", "invalid_api_key", "api_key_revoked", "200"]);
    let store = gateway.status()["store"].clone();
    assert_eq!(
        (&store["fault"], &store["from_last_good"]),
        (&serde_json::Value::Null, &false.into())
    );
    let manager = place.manager();
    manager.set_state(&stays, KeyState::Revoked);
    wait_for(&gateway, "stays", "api_key_revoked");
}

fn many_keys_are_there_when_it_is_ready(place: Place) {
    const MANY: u32 = 100_000;
    drop(place.manager());
    let (hex, digits) = match place {
        Place::Sqlite(_) => ("LOWER(HEX(RANDOMBLOB(32)))", "printf('%026d', i)"),
        Place::Postgres(_) => (
            "md5(CAST(i AS TEXT)) || md5(CAST(-i AS TEXT))",
            "lpad(CAST(i AS TEXT), 26, '0')",
        ),
    };
    let number =
        format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY})");
    let root = keygate::domain::workspace::root().text(Kind::Workspace);
    let keys = format!(
        "INSERT INTO keys (id, workspace, name, environment, state, created_at, created_by, updated_at, updated_by, \
         revision, uses, refusals, detail) {number} SELECT 'key_' || {digits}, '{root}', 'k', 'live', 'active', 1, '', 1, '', \
         0, 0, 0, '{{\"scopes\":[\"app:read\"]}}' FROM n"
    );
    let secrets = format!(
        "INSERT INTO secrets (id, key_id, number, hash, created_at, uses) {number} \
         SELECT 'sec_' || {digits}, 'key_' || {digits}, 1, 'blake3:' || {hex}, 1, 0 FROM n"
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        use sqlx::{AssertSqlSafe, Connection, Executor};
        let mut connection = sqlx::AnyConnection::connect(&place.setting())
            .await
            .unwrap();
        for statement in [keys, secrets] {
            connection.execute(AssertSqlSafe(statement)).await.unwrap();
        }
    });
    place.manager().add("last", "last");
    let served = Managed::start(place);
    assert_eq!(outcome(&served.gateway, "last"), "200");
    // And the one that is declared.
    assert_eq!(served.gateway.status()["keys"]["active"], MANY + 2);
    let (gateway, ..) = served.restart_alone();
    assert_eq!(outcome(&gateway, "last"), "200");
    assert_eq!(gateway.status()["keys"]["active"], MANY + 2);
}

fn a_restored_store_is_noticed_within_a_second(place: Place) {
    let served = Managed::start(place);
    let (gateway, manager) = (&served.gateway, &served.manager);
    manager.add("old", "old");
    let saved = served.data.path().join("saved.kg");
    manager
        .run(manager.store.backup(&saved, |_, _| {}))
        .unwrap();
    soon(|round| {
        let secret = format!("new{round}");
        manager.add("new", &secret);
        wait_for(gateway, &secret, "200");
        let actor = actor();
        let restored = manager.store.restore(&saved, true, &actor, |_, _| {});
        manager.run(restored).unwrap();
        timed(|| wait_for(gateway, &secret, "invalid_api_key"))
    });
    assert_eq!(outcome(gateway, "old"), "200");
}

/// A secret that its key does not name any more, and one that another key has by now.
fn a_forgotten_secret_goes(place: Place) {
    let served = Managed::start(place);
    let (gateway, manager) = (&served.gateway, &served.manager);
    let drop_first = |key: &KeyRecord, hash: &str| {
        manager.run(async {
            let mut write = manager.store.begin(&actor()).await.unwrap();
            let before = write.key(key.id).await.unwrap();
            let mut after = before.clone();
            let newer = SecretVersion {
                id: Id::from_bits(u128::from(fastrand::u64(..))),
                number: 2,
                hash: KeyHash::of(hash.as_bytes()),
                ..before.secrets[0].clone()
            };
            after.secrets = vec![newer];
            write.save_key(&before, after, "key.updated").await.unwrap();
            write.commit().await.unwrap();
        });
    };
    let key = manager.add("rotated", "first");
    wait_for(gateway, "first", "200");
    drop_first(&key, "second");
    wait_for(gateway, "first", "invalid_api_key");
    assert_eq!(outcome(gateway, "second"), "200");
    drop_first(&key, "third");
    manager.add("another", "second");
    wait_for(gateway, "third", "200");
    wait_for(gateway, "second", "200");
}

mod sqlite {
    use super::*;

    #[test]
    fn a_secret_that_is_forgotten_goes_everywhere() {
        a_forgotten_secret_goes(Place::sqlite());
    }

    #[test]
    fn changes_of_another_process_are_in_force_within_a_second() {
        in_force_within_a_second(Place::sqlite());
    }

    #[test]
    fn a_consumer_that_is_renamed_is_told_upstream() {
        upstream_is_told_the_new_name(Place::sqlite());
    }

    #[test]
    fn a_declared_key_stands_in_front_of_a_managed_one() {
        a_declared_key_stands_in_front(Place::sqlite());
    }

    #[test]
    fn a_start_without_the_store_serves_the_last_good_state() {
        a_start_alone_serves_the_last_good_state(Place::sqlite());
    }

    #[test]
    fn a_hundred_thousand_keys_are_loaded() {
        many_keys_are_there_when_it_is_ready(Place::sqlite());
    }

    #[test]
    fn a_restored_store_is_noticed() {
        a_restored_store_is_noticed_within_a_second(Place::sqlite());
    }
}

mod postgres {
    use super::*;

    #[test]
    fn a_secret_that_is_forgotten_goes_everywhere() {
        a_forgotten_secret_goes(Place::postgres());
    }

    #[test]
    fn changes_of_another_process_are_in_force_within_a_second() {
        in_force_within_a_second(Place::postgres());
    }

    #[test]
    fn a_consumer_that_is_renamed_is_told_upstream() {
        upstream_is_told_the_new_name(Place::postgres());
    }

    #[test]
    fn a_declared_key_stands_in_front_of_a_managed_one() {
        a_declared_key_stands_in_front(Place::postgres());
    }

    #[test]
    fn a_start_without_the_store_serves_the_last_good_state() {
        a_start_alone_serves_the_last_good_state(Place::own_postgres(Durability::None));
    }

    #[test]
    fn a_hundred_thousand_keys_are_loaded() {
        many_keys_are_there_when_it_is_ready(Place::own_postgres(Durability::None));
    }

    #[test]
    fn a_restored_store_is_noticed() {
        a_restored_store_is_noticed_within_a_second(Place::postgres());
    }

    #[test]
    fn traffic_goes_on_while_the_server_is_stopped_and_changes_are_noticed_after() {
        let served = Managed::start(Place::own_postgres(Durability::None));
        let (gateway, place) = (&served.gateway, &served.place);
        served.manager.add("key", "key");
        wait_for(gateway, "key", "200");
        place.leave();
        wait_until("its absence is told", PATIENCE, || {
            gateway.status()["store"]["reachable"] == false
        });
        assert_eq!(outcome(gateway, "key"), "200");
        assert_eq!(gateway.manage("/readyz").status, 200);
        place.come_back();
        place.manager().add("later", "later");
        wait_for(gateway, "later", "200");
        wait_until("its return is told", PATIENCE, || {
            let status = gateway.status();
            status["store"]["reachable"] == true && status["store"]["fault"].is_null()
        });
    }

    /// Whatever uses the store finds out by itself, and the log is none the longer for it.
    #[test]
    fn an_absence_is_a_line_in_the_log_and_its_end_another() {
        let place = Place::own_postgres(Durability::None);
        let (upstream, data) = (Upstream::ok(), tempfile::tempdir().unwrap());
        fs::write(data.path().join("master"), "a7".repeat(32)).unwrap();
        let yaml = builder(&upstream, &place, data.path()).yaml();
        let master = data.path().join("master").display().to_string();
        let more = format!(
            "vault: {{ master_key: \"file:{master}\" }}\nnotifications: {{ email: {{ \
             smtp: \"smtp+plain://127.0.0.1:1\", from: \"a@example.com\" }} }}\n\
             audit: {{ head_interval: 1s }}\nlog: {{ level: \"info,keygate=debug\" }}\n"
        );
        let mut served = Served::start(&format!("{more}{yaml}"));
        served.setup_token();
        let lines = |words: &str| {
            let log = served.err.all();
            log.lines()
                .filter(|line| line.contains(words))
                .map(ToOwned::to_owned)
                .collect::<Vec<_>>()
        };
        place.leave();
        for part in ["changes", "usage", "webhooks", "e-mail", "audit head"] {
            wait_until(part, PATIENCE, || {
                let all = lines("the store");
                all.iter().any(|line| line.contains(part))
            });
        }
        place.come_back();
        wait_until("its return is told", PATIENCE, || {
            !lines("the store is back").is_empty()
        });
        let aloud = [lines("WARN"), lines("ERROR")].concat();
        assert_eq!(aloud.len(), 1, "{aloud:#?}");
        assert!(aloud[0].contains("no store: "));
        assert_eq!(lines("the store is back").len(), 1);
        assert_eq!(served.stop(), Some(0));
    }

    #[test]
    fn a_start_without_server_and_last_good_state_waits_for_the_server() {
        let place = Place::own_postgres(Durability::None);
        place.manager().add("key", "key");
        place.leave();
        let (upstream, data) = (Upstream::ok(), tempfile::tempdir().unwrap());
        fs::write(data.path().join("last-good.kg"), "not one of ours").unwrap();
        let gateway = builder(&upstream, &place, data.path()).start();
        assert_eq!(gateway.manage("/readyz").code(), "not_ready");
        assert_eq!(outcome(&gateway, "key"), "not_ready");
        assert_eq!(gateway.status()["state"], "not_ready");
        place.come_back();
        wait_for(&gateway, "key", "200");
        assert_eq!(gateway.manage("/readyz").status, 200);
    }

    /// As when both are started together, and the gateway is faster.
    #[test]
    fn a_new_server_that_comes_after_the_gateway_is_set_up() {
        let place = Place::own_postgres(Durability::None);
        place.leave();
        let (upstream, data) = (Upstream::ok(), tempfile::tempdir().unwrap());
        let mut served = Served::start(&builder(&upstream, &place, data.path()).yaml());
        assert_eq!(served.manage("/readyz").code(), "not_ready");
        assert!(!served.out.all().contains("kg_admin_"));
        place.come_back();
        let bearer = format!("authorization: Bearer {}", served.setup_token());
        wait_until("the store is there", PATIENCE, || {
            let answer = ask(served.management, "GET /v1/whoami", &[&bearer]);
            answer.status == 200
        });
        assert_eq!(served.stop(), Some(0));
    }
}

#[test]
fn a_start_without_file_and_last_good_state_ends() {
    let (upstream, place, data) = (
        Upstream::ok(),
        Place::sqlite(),
        tempfile::tempdir().unwrap(),
    );
    drop(place.manager());
    place.leave();
    let config = data.path().join("keygate.yaml");
    fs::write(&config, builder(&upstream, &place, data.path()).yaml()).unwrap();
    for broken in [None, Some("keygate lastgood"), Some("")] {
        if let Some(text) = broken {
            fs::write(data.path().join("last-good.kg"), text).unwrap();
        }
        let ended = crate::harness::keygate(&["serve", "--config", config.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("keygate.db"), "{said}");
        assert_eq!(said.contains("is ignored"), broken.is_some(), "{said}");
    }
}

/// The store comes back as an older one of the same identity, and as another one.
#[test]
fn the_store_wins_over_the_last_good_state_whatever_its_revision() {
    for same in [true, false] {
        let served = Managed::start(Place::sqlite());
        served.manager.add("old", "old");
        let saved = served.data.path().join("saved.kg");
        let manager = &served.manager;
        manager
            .run(manager.store.backup(&saved, |_, _| {}))
            .unwrap();
        for name in ["new", "newer", "newest"] {
            manager.add(name, name);
        }
        wait_for(&served.gateway, "newest", "200");
        let (gateway, _upstream, place, _data) = served.restart_alone();
        assert_eq!(outcome(&gateway, "newest"), "200");
        let other = Place::sqlite();
        let manager = other.manager();
        if same {
            let actor = actor();
            let restored = manager.store.restore(&saved, false, &actor, |_, _| {});
            manager.run(restored).unwrap();
        } else {
            manager.add("foreign", "foreign");
        }
        drop(manager);
        place.replace_with(&other);
        place.come_back();
        for name in ["new", "newer", "newest"] {
            wait_for(&gateway, name, "invalid_api_key");
        }
        let there = if same { "old" } else { "foreign" };
        wait_for(&gateway, there, "200");
        let revision = if same { 3 } else { 1 };
        wait_until("it is in step", PATIENCE, || {
            gateway.status()["store"]["revision_applied"] == revision
        });
        assert_eq!(gateway.status()["store"]["from_last_good"], false);
    }
}

#[test]
fn a_gateway_that_is_killed_leaves_a_whole_last_good_state() {
    let (upstream, place, data) = (
        Upstream::ok(),
        Place::sqlite(),
        tempfile::tempdir().unwrap(),
    );
    let manager = place.manager();
    manager.run(async {
        let mut write = manager.store.begin(&actor()).await.unwrap();
        let key = |number| crate::harness::new_key("k", &format!("many{number}"));
        let mut keys: Vec<_> = (0..3_000).map(key).collect();
        write.insert_keys(&mut keys).await.unwrap();
        let fact =
            keygate::store::Fact::new("key.imported", keygate::domain::workspace::root(), "keys");
        write.record(fact).await.unwrap();
        write.commit().await.unwrap();
    });
    let yaml = builder(&upstream, &place, data.path()).yaml();
    let file = data.path().join("last-good.kg");
    for round in 0..12 {
        manager.add("k", &format!("round{round}"));
        let mut served = Served::start(&yaml);
        if round == 0 {
            wait_until("there is one", PATIENCE, || file.exists());
        }
        // The first writing begins as soon as the keys are there.
        std::thread::sleep(Duration::from_millis(round * 4));
        served.process.signal("KILL");
        served.process.wait(PATIENCE);
        // The store of another test's making, so that nothing but the file can be served.
        let away = Place::sqlite();
        fs::create_dir_all(away.file()).unwrap();
        let gateway = builder(&upstream, &away, data.path()).start();
        assert_eq!(gateway.status()["store"]["from_last_good"], true);
        let answer = ask(gateway.address, "GET /", &["x-api-key: many2999"]);
        assert_eq!(answer.status, 200);
        let last: Vec<bool> = (0..=round)
            .map(|round| outcome(&gateway, &format!("round{round}")) == "200")
            .collect();
        // Old or new: the keys up to some round, and none behind it.
        assert!(last.is_sorted_by(|one, next| one >= next), "{last:?}");
    }
}

/// The other node may not have heard of the change yet when it is asked for it again.
#[test]
fn a_reply_that_is_given_again_is_in_force_where_it_is_given() {
    let (upstream, place) = (Upstream::ok(), Place::sqlite());
    let store = format!("store: {}", place.setting());
    let start = || GatewayBuilder::new(upstream.address).top(&store).start();
    let (one, other) = (start(), start());
    for round in 0..6 {
        let body = json!({"name": "k", "scopes": ["app:read"]});
        let made = one.api("POST", "/v1/keys", body).must(201);
        let secret = made["secret"].as_str().unwrap();
        wait_for(&other, secret, "200");
        let line = format!(
            "POST /v1/keys/{}/revoke",
            made["key"]["id"].as_str().unwrap()
        );
        let revoke = |gateway: &Gateway| {
            let bearer = format!("authorization: Bearer {}", one.admin);
            let tag = format!("idempotency-key: {round}");
            let body = json!({"reason": "compromised"});
            tell(gateway.management, &line, &[&bearer, &tag], Some(body))
        };
        let first = revoke(&one).must(200);
        let again = revoke(&other);
        assert_eq!(again.must(200), first);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(outcome(&other, secret), "api_key_revoked");
    }
}
