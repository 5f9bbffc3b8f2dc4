//! Changes: all of one or nothing, in one row behind the other, each with its event in the chain.

use super::{
    Arc, Fact, Home, START, Store, StoreError, actor, add, id, new_key, number, texts,
    touched_after, workspace,
};
use crate::domain::actor::{Actor, Who};
use crate::domain::id::{Id, Kind};
use crate::store::sql::Columns;
use crate::store::write::{Touched, link};
use serde_json::json;

on_both!(
    parallel_writers_leave_no_gap,
    what_was_touched_is_told_in_order,
    a_dropped_change_never_was,
    a_change_without_a_fact_is_refused,
    nothing_leaves_before_the_commit,
    the_chain_links_each_event_to_the_one_before,
    personal_data_lies_apart,
);

fn some_fact() -> Fact {
    let mut fact = Fact::new("key.updated", workspace::root(), "thing");
    fact.event = Some(json!({}));
    fact
}

async fn record(store: &Store, fact: Fact) -> u64 {
    let mut write = store.begin(&actor()).await.unwrap();
    write.record(fact).await.unwrap();
    write.commit().await.unwrap()
}

async fn parallel_writers_leave_no_gap(home: Arc<Home>) {
    let store = home.open().await;
    // Another node, if there can be one.
    let other = home.open().await;
    let writers =
        (0..50).map(|number| record(if number % 2 == 0 { &store } else { &other }, some_fact()));
    let mut revisions = futures_util::future::join_all(writers).await;
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=50).collect::<Vec<_>>());
    assert_eq!(other.revision().await.unwrap(), 50);
    let sequence = "SELECT MAX(sequence) * 1000 + MIN(sequence) * 100 + COUNT(*) FROM audit";
    assert_eq!(number(&store, sequence).await, 50_150);
}

async fn what_was_touched_is_told_in_order(home: Arc<Home>) {
    let store = home.open().await;
    let ids: [Id; 3] = std::array::from_fn(|_| id());
    let touched = [
        Touched::Key(ids[0]),
        Touched::Consumer(ids[1]),
        Touched::Workspace(ids[2]),
        Touched::Everything,
    ];
    let mut write = store.begin(&actor()).await.unwrap();
    for touched in touched {
        let mut fact = some_fact();
        fact.touched = Some(touched);
        write.record(fact).await.unwrap();
    }
    write.commit().await.unwrap();
    let mut followed = store.committed();
    record(&store, some_fact()).await;
    assert_eq!(*followed.borrow_and_update(), 2);
    let key = add(&store, new_key("ci")).await;
    let change = |revision, touched| (revision, touched);
    let mut all: Vec<(u64, Touched)> = touched.map(|touched| change(1, touched)).into();
    all.push(change(3, Touched::Key(key.id)));
    assert_eq!(touched_after(&store, 0).await, (all, 3));
    let last = vec![change(3, Touched::Key(key.id))];
    assert_eq!(touched_after(&store, 1).await, (last.clone(), 3));
    assert_eq!(touched_after(&store, 2).await, (last, 3));
    assert_eq!(touched_after(&store, 3).await, (Vec::new(), 3));
    assert_eq!(touched_after(&store, u64::MAX).await, (Vec::new(), 3));
}

async fn rows(store: &Store) -> i64 {
    let mut sum = 0;
    for table in [
        "keys",
        "secrets",
        "labels",
        "audit",
        "audit_personal",
        "outbox",
        "changes",
    ] {
        sum += number(store, &format!("SELECT COUNT(*) FROM {table}")).await;
    }
    sum
}

async fn a_dropped_change_never_was(home: Arc<Home>) {
    let store = home.open().await;
    let mut write = store.begin(&actor()).await.unwrap();
    let key = write
        .insert_key(new_key("ci"), "key.created")
        .await
        .unwrap();
    assert!(write.key(key.id).await.is_ok());
    drop(write);
    assert_eq!(rows(&store).await, 0);
    assert_eq!(store.revision().await.unwrap(), 0);
    assert_eq!(*store.committed().borrow(), 0);
    assert_eq!(record(&store, some_fact()).await, 1);
}

async fn a_change_without_a_fact_is_refused(home: Arc<Home>) {
    let store = home.open().await;
    let mut write = store.begin(&actor()).await.unwrap();
    write.put_key(&new_key("ci")).await.unwrap();
    let fault = write.commit().await.unwrap_err();
    assert!(matches!(fault, StoreError::Statement(_)), "{fault}");
    assert_eq!(rows(&store).await, 0);
    assert_eq!(store.revision().await.unwrap(), 0);
}

async fn nothing_leaves_before_the_commit(home: Arc<Home>) {
    let store = home.open().await;
    let followed = store.committed();
    let mut write = store.begin(&actor()).await.unwrap();
    write
        .insert_key(new_key("ci"), "key.created")
        .await
        .unwrap();
    assert_eq!(rows(&store).await, 0);
    assert_eq!(touched_after(&store, 0).await, (Vec::new(), 0));
    assert!(!followed.has_changed().unwrap());
    write.commit().await.unwrap();
    assert!(followed.has_changed().unwrap());
    let outbox = texts(&store, "SELECT data AS text FROM outbox").await;
    assert_eq!(outbox.len(), 1);
    let data: serde_json::Value = serde_json::from_str(&outbox[0]).unwrap();
    assert_eq!(
        (&data["name"], &data["revision"]),
        (&json!("ci"), &json!(1))
    );
}

async fn the_chain_links_each_event_to_the_one_before(home: Arc<Home>) {
    let store = home.open().await;
    let mut write = store.begin(&actor()).await.unwrap();
    write.record(some_fact()).await.unwrap();
    write.record(some_fact()).await.unwrap();
    write.commit().await.unwrap();
    add(&store, new_key("ci")).await;
    let rows = sqlx::query("SELECT sequence, body, previous, hash FROM audit ORDER BY sequence")
        .fetch_all(&store.pools.read)
        .await
        .unwrap();
    assert_eq!(rows.len(), 3);
    let mut last = "0".repeat(64);
    for (row, sequence) in rows.iter().zip(1..) {
        let body = row.text("body").unwrap();
        assert_eq!(row.number("sequence").unwrap(), sequence);
        assert_eq!(row.text("previous").unwrap(), last);
        let hash = blake3::hash(format!("{last}\n{body}").as_bytes())
            .to_hex()
            .to_string();
        assert_eq!(link(&last, &body), hash);
        assert_eq!(row.text("hash").unwrap(), hash);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["sequence"], json!(sequence));
        assert_eq!(body["at"], json!(START.as_millis()));
        last = hash;
    }
    assert_eq!(
        texts(&store, "SELECT audit_hash AS text FROM head").await,
        [last]
    );
}

async fn personal_data_lies_apart(home: Arc<Home>) {
    let store = home.open().await;
    let (member, subject) = (id(), id());
    let ada = Actor {
        who: Who::Member {
            member,
            session: id(),
        },
        name: Some("Ada Personal".into()),
        address: Some([203, 0, 113, 77].into()),
        request_id: Some("req_1".into()),
    };
    let mut write = store.begin(&ada).await.unwrap();
    let mut fact = some_fact();
    fact.target_name = Some("Bob Personal".into());
    fact.target_person = Some(subject);
    fact.touched = Some(Touched::Everything);
    write.record(fact).await.unwrap();
    write.commit().await.unwrap();
    let person = |id: Id| id.text(Kind::Member).to_string();
    let apart = texts(
        &store,
        "SELECT person || data AS text FROM audit_personal ORDER BY data",
    )
    .await;
    assert_eq!(
        apart,
        [
            format!(
                r#"{}{{"actor":"Ada Personal","address":"203.0.113.77"}}"#,
                person(member)
            ),
            format!(r#"{}{{"target":"Bob Personal"}}"#, person(subject)),
        ]
    );
    let open = [
        "SELECT actor || target || body AS text FROM audit",
        "SELECT type || data AS text FROM outbox",
        "SELECT kind || object AS text FROM changes",
    ];
    for statement in open {
        for text in texts(&store, statement).await {
            assert!(
                !text.contains("Personal") && !text.contains("203.0.113"),
                "{text}"
            );
        }
    }
    let salts = texts(
        &store,
        "SELECT salt AS text FROM audit_personal ORDER BY data",
    )
    .await;
    let body = texts(&store, "SELECT body AS text FROM audit")
        .await
        .remove(0);
    for (salt, line) in salts.iter().zip(&apart) {
        let digest = link(salt, &line[person(member).len()..]);
        assert!(body.contains(&digest), "{body}");
    }
}
