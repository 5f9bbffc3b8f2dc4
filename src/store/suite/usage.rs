//! Use of keys: forward only, summed up, bounded; and a flush of many keys is quick.

use super::keys::consumer;
use super::{
    Arc, Home, START, Store, Touched, actor, add, add_all, add_workspace, new_key, new_secret,
    number, touched_after, workspace,
};
use crate::domain::id::{Id, Kind};
use crate::domain::key::record::DAY_MILLIS;
use crate::domain::key::{Algorithm, KeyHash, KeyRecord};
use crate::domain::time::Timestamp;
use crate::store::usage::{
    Findings, HourUse, KeyUse, MOST_NETWORKS, NetworkUse, SecretUse, Step, UsageCounts, UsageOwner,
    UsageQuery,
};
use std::net::IpAddr;

on_both!(
    last_use_moves_forward_only,
    each_secret_has_its_own_use,
    an_imported_secret_keeps_its_use_when_it_gets_our_own_hash,
    hours_are_summed_up_and_pruned,
    usage_is_seen_where_one_reaches,
    usage_of_a_consumer_and_page_by_page,
    networks_are_told_when_new_and_bounded,
    declared_keys_are_kept_apart,
    a_key_that_is_gone_leaves_no_trace,
    refusals_of_the_hour_and_of_the_day_before,
    ten_thousand_keys_are_flushed_quickly,
);

const HOUR: i64 = 3_600_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + millis)
}

fn from(last: u8) -> IpAddr {
    [203, 0, 113, last].into()
}

/// One use of the key's newest secret.
fn used(key: &KeyRecord, when: Timestamp, address: IpAddr) -> KeyUse {
    let mut one = KeyUse::new(key.id, false);
    one.uses = 1;
    one.first_used_at = Some(when);
    one.last_used = Some((when, address));
    one.secrets = vec![SecretUse {
        hash: key.secrets[0].hash,
        algorithm: key.secrets[0].algorithm,
        uses: 1,
        last_used: (when, address),
    }];
    one
}

fn hour(begins: i64, route: &str, requests: u64) -> HourUse {
    HourUse {
        hour: at(begins),
        route: route.into(),
        counts: UsageCounts {
            requests,
            refusals: 2,
            statuses: [requests, 0, 1, 0],
            bytes_in: 10,
            bytes_out: 20,
        },
        reasons: vec![("scope", 2)],
    }
}

async fn last_use_moves_forward_only(home: Arc<Home>) {
    let store = home.open().await;
    let key = add(&store, new_key("a")).await;
    let before = store.revision().await.unwrap();
    for (when, address) in [(2000, 1), (1000, 2), (3000, 3), (3000, 4)] {
        let mut one = used(&key, at(when), from(address));
        one.refusals = 2;
        let found = store.flush(&[one]).await.unwrap();
        assert_eq!(found.used_again.is_empty(), when == 2000);
    }
    // Refusals alone are no use.
    let mut refused = KeyUse::new(key.id, false);
    refused.refusals = 5;
    assert_eq!(store.flush(&[refused]).await.unwrap(), Findings::default());
    let usage = store.key(key.id).await.unwrap().usage;
    assert_eq!(usage.first_used_at, Some(at(1000)));
    assert_eq!(usage.last_used_at, Some(at(3000)));
    assert_eq!(usage.last_used_ip, Some(from(3)));
    assert_eq!((usage.uses, usage.refusals), (4, 13));
    assert_eq!(store.revision().await.unwrap(), before);
}

async fn each_secret_has_its_own_use(home: Arc<Home>) {
    let store = home.open().await;
    let mut key = new_key("a");
    let mut older = new_secret();
    older.algorithm = Algorithm::Sha256;
    older.retires_at = Some(at(HOUR));
    key.secrets[0].number = 2;
    key.secrets.push(older);
    let key = add(&store, key).await;
    let mut one = used(&key, at(1000), from(1));
    one.secrets.push(SecretUse {
        hash: key.secrets[1].hash,
        algorithm: Algorithm::Sha256,
        uses: 7,
        last_used: (at(500), from(2)),
    });
    store.flush(&[one]).await.unwrap();
    let kept = store.key(key.id).await.unwrap();
    let of = |place: usize| {
        let secret = &kept.secrets[place];
        (secret.uses, secret.last_used_at, secret.last_used_ip)
    };
    assert_eq!(of(0), (1, Some(at(1000)), Some(from(1))));
    assert_eq!(of(1), (7, Some(at(500)), Some(from(2))));
}

async fn an_imported_secret_keeps_its_use_when_it_gets_our_own_hash(home: Arc<Home>) {
    let store = home.open().await;
    let mut key = new_key("a");
    key.secrets[0].algorithm = Algorithm::Sha256;
    let key = add(&store, key).await;
    let other = add(&store, new_key("b")).await;
    let (sha256, blake3) = (key.secrets[0].hash, KeyHash::of(b"the secret"));
    let rehash = async |id, from, to| {
        let mut write = store.begin(&actor()).await.unwrap();
        let done = write.rehash(id, from, to).await.unwrap();
        if done {
            write.commit().await.unwrap();
        }
        done
    };
    assert!(
        !rehash(key.id, &sha256, &other.secrets[0].hash).await,
        "taken"
    );
    assert!(!rehash(other.id, &sha256, &blake3).await, "another key's");
    assert!(rehash(key.id, &sha256, &blake3).await);
    assert!(!rehash(key.id, &sha256, &blake3).await, "done already");

    // Counted in part before and in part behind.
    let mut one = used(&key, at(1000), from(1));
    one.secrets.push(SecretUse {
        hash: blake3,
        algorithm: Algorithm::Blake3,
        uses: 4,
        last_used: (at(2000), from(2)),
    });
    store.flush(&[one]).await.unwrap();
    let secret = store.key(key.id).await.unwrap().secrets.remove(0);
    assert_eq!((secret.hash, secret.algorithm), (blake3, Algorithm::Blake3));
    assert_eq!((secret.uses, secret.last_used_at), (5, Some(at(2000))));
    let loaded = store.load_some(&[key.id]).await.unwrap();
    assert_eq!(loaded[0].replaces, Some(sha256));
    let (touched, _) = touched_after(&store, 2).await;
    assert_eq!(touched, [(3, Touched::Key(key.id))]);
}

async fn hours_are_summed_up_and_pruned(home: Arc<Home>) {
    let store = home.open().await;
    let key = add(&store, new_key("a")).await;
    let mut one = KeyUse::new(key.id, false);
    one.hours = vec![
        hour(0, "app", 3),
        hour(HOUR, "app", 4),
        hour(HOUR, "other", 5),
        hour(DAY_MILLIS, "app", 6),
    ];
    store.flush(&[one.clone()]).await.unwrap();
    store.flush(&[one]).await.unwrap();
    let read = async |step| {
        let mut query = of_key(key.id);
        query.step = step;
        let page = store.usage(&query).await.unwrap();
        assert_eq!(
            store.count_usage(&query).await.unwrap(),
            page.rows.len() as u64
        );
        let told = page.rows.into_iter().map(|row| {
            let reasons = row.reasons.get("scope").copied().unwrap_or_default();
            assert_eq!(reasons, row.counts.refusals);
            (row.at, row.route, row.counts.requests)
        });
        told.collect::<Vec<_>>()
    };
    let row = |begins: i64, route: &str, requests: u64| (at(begins), route.to_owned(), requests);
    assert_eq!(
        read(Step::Hour).await,
        [
            row(DAY_MILLIS, "app", 12),
            row(HOUR, "other", 10),
            row(HOUR, "app", 8),
            row(0, "app", 6)
        ]
    );
    assert_eq!(
        read(Step::Day).await,
        [
            row(DAY_MILLIS, "app", 12),
            row(0, "other", 10),
            row(0, "app", 14)
        ]
    );
    let mut query = of_key(key.id);
    (query.from, query.to) = (at(HOUR), at(2 * HOUR));
    query.route = Some("app".into());
    let page = store.usage(&query).await.unwrap();
    assert_eq!(page.rows.len(), 1);
    assert_eq!(
        page.rows[0].counts,
        UsageCounts {
            requests: 8,
            refusals: 4,
            statuses: [8, 0, 2, 0],
            bytes_in: 20,
            bytes_out: 40,
        }
    );
    assert_eq!(store.prune_usage(at(DAY_MILLIS)).await.unwrap(), 6);
    assert_eq!(read(Step::Hour).await, [row(DAY_MILLIS, "app", 12)]);
    assert_eq!(store.prune_usage(at(DAY_MILLIS)).await.unwrap(), 0);
}

async fn usage_is_seen_where_one_reaches(home: Arc<Home>) {
    let store = home.open().await;
    let shop = add_workspace(&store, "shop", workspace::root()).await;
    let mut inside = new_key("inside");
    inside.workspace = shop.id;
    let inside = add(&store, inside).await;
    let outside = add(&store, new_key("outside")).await;
    let declared = Id::derived("test", b"declared");
    for (key, of_file, requests) in [
        (inside.id, false, 3),
        (outside.id, false, 4),
        (declared, true, 5),
    ] {
        let mut one = KeyUse::new(key, of_file);
        one.hours = vec![hour(0, "app", requests)];
        store.flush(&[one]).await.unwrap();
    }
    let root = format!("{}/", workspace::root().text(Kind::Workspace));
    let below = format!("{root}{}/", shop.id.text(Kind::Workspace));
    let seen = async |reach: &[&String], narrow: Option<&String>| {
        let mut query = UsageQuery::all(reach.iter().map(|&path| path.clone()).collect());
        query.workspace = narrow.cloned();
        let rows = store.usage(&query).await.unwrap().rows;
        let mut seen: Vec<u64> = rows.iter().map(|row| row.counts.requests).collect();
        seen.sort_unstable();
        seen
    };
    assert_eq!(seen(&[&root], None).await, [3, 4, 5]);
    assert_eq!(seen(&[&root], Some(&below)).await, [3]);
    assert_eq!(seen(&[&below], None).await, [3]);
    assert!(seen(&[], None).await.is_empty());
}

async fn usage_of_a_consumer_and_page_by_page(home: Arc<Home>) {
    let store = home.open().await;
    let acme = consumer(&store, "acme").await;
    let mut owned = new_key("owned");
    owned.consumer = Some(acme.clone());
    let owned = add(&store, owned).await;
    let other = add(&store, new_key("other")).await;
    let declared = Id::derived("test", b"declared");
    for (key, of_file) in [(owned.id, false), (other.id, false), (declared, true)] {
        let mut one = KeyUse::new(key, of_file);
        let hours = (0..3).flat_map(|number| ["a", "b"].map(|route| hour(number * HOUR, route, 1)));
        one.hours = hours.collect();
        store.flush(&[one]).await.unwrap();
    }
    let root = format!("{}/", workspace::root().text(Kind::Workspace));
    let mut query = UsageQuery::all(vec![root]);
    for (keys, rows) in [(vec![], 6), (vec![declared], 12)] {
        query.owner = Some(UsageOwner {
            consumer: acme.id,
            declared: keys,
        });
        assert_eq!(store.count_usage(&query).await.unwrap(), rows);
        assert_eq!(store.usage(&query).await.unwrap().rows.len() as u64, rows);
    }
    query.owner = None;
    let whole = store.usage(&query).await.unwrap();
    assert_eq!((whole.rows.len(), whole.more), (18, false));
    query.limit = 4;
    for step in Step::ALL {
        query.step = step;
        query.after = None;
        let mut rows = Vec::new();
        loop {
            let page = store.usage(&query).await.unwrap();
            let last = page.rows.last().unwrap();
            query.after = Some((last.at, last.key, last.route.clone()));
            rows.extend(page.rows);
            if !page.more {
                break;
            }
        }
        if step == Step::Hour {
            assert_eq!(rows, whole.rows);
        }
        let requests: u64 = rows.iter().map(|row| row.counts.requests).sum();
        let reasons: u64 = rows.iter().map(|row| row.reasons["scope"]).sum();
        assert_eq!((requests, reasons), (18, 36), "{step:?}");
    }
}

/// Everything of one key.
fn of_key(key: Id) -> UsageQuery {
    let root = workspace::root().text(Kind::Workspace);
    let mut query = UsageQuery::all(vec![format!("{root}/")]);
    query.key = Some(key);
    query
}

async fn networks_are_told_when_new_and_bounded(home: Arc<Home>) {
    let store = home.open().await;
    let key = add(&store, new_key("a")).await;
    let seen = async |network: usize, when: i64| {
        let mut one = KeyUse::new(key.id, false);
        one.networks = vec![NetworkUse {
            network: format!("10.0.{network}.0/24"),
            first_at: at(when),
            last_at: at(when),
        }];
        store.flush(&[one]).await.unwrap().new_networks.len()
    };
    assert_eq!(seen(0, 0).await, 0, "the very first one is nothing special");
    assert_eq!(seen(0, 1).await, 0);
    for network in 1..MOST_NETWORKS {
        assert_eq!(seen(network, 2).await, 1);
    }
    assert_eq!(seen(0, 3).await, 0);
    assert_eq!(seen(MOST_NETWORKS, 4).await, 1);
    let most = i64::try_from(MOST_NETWORKS).unwrap();
    assert_eq!(number(&store, "SELECT COUNT(*) FROM networks").await, most);
    assert_eq!(seen(0, 5).await, 0, "it was seen later than others");
}

async fn declared_keys_are_kept_apart(home: Arc<Home>) {
    let store = home.open().await;
    let key = Id::derived("test", b"declared");
    for (when, uses) in [(2000, 1), (1000, 2)] {
        let mut one = KeyUse::new(key, true);
        one.uses = uses;
        one.refusals = 3;
        one.first_used_at = Some(at(when));
        one.last_used = Some((at(when), from(1)));
        let found = store.flush(&[one]).await.unwrap();
        assert_eq!(found.used_again.is_empty(), when == 2000);
    }
    let all = store.declared_uses().await.unwrap();
    assert_eq!(all.len(), 1);
    let (id, usage) = all[0];
    assert_eq!(id, key);
    assert_eq!(usage.first_used_at, Some(at(1000)));
    assert_eq!(usage.last_used_at, Some(at(2000)));
    assert_eq!((usage.uses, usage.refusals), (3, 6));
}

async fn a_key_that_is_gone_leaves_no_trace(home: Arc<Home>) {
    let store = home.open().await;
    let mut one = used(&new_key("never kept"), at(0), from(1));
    one.hours = vec![hour(0, "app", 1)];
    store.flush(&[one]).await.unwrap();
    for table in ["keys", "usage_hours", "usage_refusals", "networks"] {
        let count = format!("SELECT COUNT(*) FROM {table}");
        assert_eq!(number(&store, &count).await, 0, "{table}");
    }
}

async fn refusals_of_the_hour_and_of_the_day_before(home: Arc<Home>) {
    let store = home.open().await;
    let key = add(&store, new_key("a")).await;
    let mut one = KeyUse::new(key.id, false);
    let now = 48 * HOUR;
    for (begins, refusals) in [
        (now, 100),
        (now - HOUR, 7),
        (now - 24 * HOUR, 5),
        (now - 25 * HOUR, 1000),
        (now + HOUR, 1000),
    ] {
        let mut hour = hour(begins, "app", 0);
        hour.counts.refusals = refusals + 3;
        hour.reasons = vec![("rate_limited", 3), ("scope", refusals)];
        one.hours.push(hour);
    }
    store.flush(&[one]).await.unwrap();
    assert_eq!(
        store.refusals_around(&[key.id], at(now)).await.unwrap(),
        [(key.id, 100, 12)]
    );
}

/// What a busy gateway writes at a time. The bound is generous: builds for tests are slow, and so are busy machines.
async fn ten_thousand_keys_are_flushed_quickly(home: Arc<Home>) {
    let store = home.open().await;
    let keys: Vec<KeyRecord> = (0..10_000).map(|_| new_key("many")).collect();
    add_all(&store, &keys).await;
    let all: Vec<KeyUse> = keys
        .iter()
        .map(|key| {
            let mut one = used(key, at(0), from(1));
            one.hours = vec![hour(0, "app", 1)];
            one.networks = vec![NetworkUse {
                network: "203.0.113.0/24".into(),
                first_at: at(0),
                last_at: at(0),
            }];
            one
        })
        .collect();
    let flush = async |store: &Store| {
        for portion in all.chunks(200) {
            store.flush(portion).await.unwrap();
        }
    };
    let limit = std::time::Duration::from_secs(20);
    tokio::time::timeout(limit, flush(&store)).await.unwrap();
    tokio::time::timeout(limit, flush(&store)).await.unwrap();
    assert_eq!(number(&store, "SELECT SUM(uses) FROM keys").await, 20_000);
    assert_eq!(
        number(&store, "SELECT SUM(uses) FROM secrets").await,
        20_000
    );
    assert_eq!(
        number(&store, "SELECT SUM(requests) FROM usage_hours").await,
        20_000
    );
}
