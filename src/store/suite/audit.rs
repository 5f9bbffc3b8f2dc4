//! The audit log: lists, exports, and whatever is done to it behind its back is found.

use super::{
    Arc, Fact, Home, START, Store, actor, add, add_workspace, id, new_key, sql, texts, workspace,
};
use crate::domain::actor::{Actor, Who};
use crate::domain::id::{Id, Kind};
use crate::domain::time::Timestamp;
use crate::store::audit::{AuditEvent, AuditQuery, Fault, Intact, Verdict};
use crate::store::write::Class;
use futures_util::TryStreamExt;

on_both!(
    the_head_is_the_last_event,
    filters_find_what_they_say,
    events_are_paged_and_exported_without_loss,
    an_untouched_log_is_intact,
    each_touched_column_is_found,
    removed_and_added_events_are_found,
    touched_personal_data_is_found,
    an_erased_person_leaves_an_intact_log,
    a_cut_log_is_intact,
    a_cut_that_nobody_recorded_is_found,
);

fn root() -> String {
    format!("{}/", workspace::root().text(Kind::Workspace))
}

fn member(member: Id, name: &str) -> Actor {
    Actor {
        who: Who::Member {
            member,
            session: id(),
        },
        name: Some(name.to_owned()),
        address: Some([203, 0, 113, 77].into()),
        request_id: Some("req_1".into()),
    }
}

async fn record(store: &Store, actor: &Actor, fact: Fact) {
    let mut write = store.begin(actor).await.unwrap();
    write.record(fact).await.unwrap();
    write.commit().await.unwrap();
}

fn fact(action: &'static str) -> Fact {
    Fact::new(action, workspace::root(), "thing")
}

/// Six events: one of the system, four of a member about another one, one of the system again.
async fn six(home: &Home) -> (Store, Id) {
    let store = home.open().await;
    let ada = id();
    record(&store, &actor(), fact("thing.done")).await;
    for _ in 0..4 {
        home.clock.advance_millis(10);
        let mut fact = fact("thing.done");
        fact.target_name = Some("Bob".into());
        fact.target_person = Some(id());
        fact.change("role", "editor", "owner");
        record(&store, &member(ada, "Ada"), fact).await;
    }
    home.clock.advance_millis(10);
    record(&store, &actor(), fact("thing.done")).await;
    (store, ada)
}

async fn intact(store: &Store) -> Intact {
    match store.verify_audit(|_, _| {}).await.unwrap() {
        Verdict::Intact(intact) => intact,
        Verdict::Broken(broken) => panic!("{broken:?}"),
    }
}

async fn broken(store: &Store) -> (u64, Fault) {
    match store.verify_audit(|_, _| {}).await.unwrap() {
        Verdict::Intact(intact) => panic!("{intact:?}"),
        Verdict::Broken(broken) => (broken.sequence, broken.fault),
    }
}

async fn list(store: &Store, change: impl FnOnce(&mut AuditQuery)) -> Vec<AuditEvent> {
    let mut query = AuditQuery::all(vec![root()]);
    change(&mut query);
    let page = store.list_audit(&query).await.unwrap();
    if !page.more && query.after.is_none() {
        let count = store.count_audit(&query).await.unwrap();
        assert_eq!(count, page.events.len() as u64);
    }
    page.events
}

async fn the_head_is_the_last_event(home: Arc<Home>) {
    let store = home.open().await;
    let head = store.audit_head().await.unwrap();
    assert_eq!((head.sequence, head.at), (0, None));
    assert_eq!(head.hash, "0".repeat(64));
    record(&store, &actor(), fact("thing.done")).await;
    let head = store.audit_head().await.unwrap();
    assert_eq!((head.sequence, head.at), (1, Some(START)));
    let event = list(&store, |_| {}).await.remove(0);
    assert_eq!((event.hash, event.sequence), (head.hash, 1));
    assert_eq!(
        (event.via, event.reason, event.request_id),
        (None, None, None)
    );
    assert!(event.id.starts_with("evt_") && !event.erased);
}

async fn filters_find_what_they_say(home: Arc<Home>) {
    let store = home.open().await;
    let north = add_workspace(&store, "north", workspace::root()).await;
    let shop = add_workspace(&store, "shop", north.id).await;
    home.clock.advance_millis(10);
    let mut denied = fact("key.denied");
    denied.outcome = "denied";
    denied.class = Class::Authorization;
    denied.target = "key_1".into();
    denied.workspace = shop.id;
    denied.reason = Some("role".into());
    let ada = member(id(), "Ada");
    record(&store, &ada, denied).await;
    let later = Timestamp::from_millis(START.as_millis() + 10);
    let found = async |change: Change<'_>| {
        let events = list(&store, change).await;
        events
            .iter()
            .map(|event| event.sequence)
            .collect::<Vec<_>>()
    };
    let text = |text: &str| Some(text.to_owned());
    let cases: [(Change<'_>, &[u64]); 18] = [
        (&|_| {}, &[3, 2, 1]),
        (&|query| query.descending = false, &[1, 2, 3]),
        (&|query| query.limit = 2, &[3, 2]),
        (&|query| query.after = Some(3), &[2, 1]),
        (&|query| query.actor = text("system:suite"), &[2, 1]),
        (&|query| query.actor = Some(ada.text()), &[3]),
        (&|query| query.action = text("workspace.created"), &[2, 1]),
        (&|query| query.action = text("workspace.*"), &[2, 1]),
        (&|query| query.action = text("work"), &[]),
        (&|query| query.action = text("*"), &[3, 2, 1]),
        (&|query| query.target = text("key_1"), &[3]),
        (&|query| query.class = Some(Class::Management), &[2, 1]),
        (&|query| query.outcome = text("denied"), &[3]),
        (&|query| query.workspace = Some(north.path()), &[3, 2, 1]),
        (&|query| query.workspace = Some(shop.path()), &[3, 2]),
        (&|query| query.reach = vec![shop.path()], &[3, 2]),
        (&|query| query.from = Some(later), &[3]),
        (&|query| query.to = Some(later), &[2, 1]),
    ];
    for (place, (change, want)) in cases.into_iter().enumerate() {
        assert_eq!(found(change).await, want, "case {place}");
    }
    assert_eq!(found(&|query| query.reach.clear()).await, Vec::<u64>::new());
    let event = list(&store, |query| query.limit = 1).await.remove(0);
    assert_eq!(event.actor_name.as_deref(), Some("Ada"));
    assert_eq!(event.address.as_deref(), Some("203.0.113.77"));
    assert_eq!(event.reason.as_deref(), Some("role"));
    assert_eq!(event.request_id.as_deref(), Some("req_1"));
    assert!(event.via.is_some_and(|via| via.starts_with("ses_")));
}

/// What makes a query of one that finds everything.
type Change<'a> = &'a dyn Fn(&mut AuditQuery);

async fn events_are_paged_and_exported_without_loss(home: Arc<Home>) {
    let store = home.open().await;
    let mut write = store.begin(&member(id(), "Ada")).await.unwrap();
    for _ in 0..1203 {
        write.record(fact("thing.done")).await.unwrap();
    }
    write.commit().await.unwrap();
    for descending in [false, true] {
        let mut query = AuditQuery::all(vec![root()]);
        query.descending = descending;
        query.limit = 100;
        let stream = store.export_audit(query.clone());
        let exported: Vec<AuditEvent> = stream.try_collect().await.unwrap();
        let mut paged = Vec::new();
        loop {
            let page = store.list_audit(&query).await.unwrap();
            paged.extend(page.events);
            query.after = paged.last().map(|event: &AuditEvent| event.sequence);
            if !page.more {
                break;
            }
        }
        assert_eq!(exported.len(), 1203);
        assert_eq!(exported, paged);
        let first = if descending { 1203 } else { 1 };
        assert_eq!(exported[0].sequence, first);
        assert!(
            exported
                .iter()
                .all(|event| event.actor_name.as_deref() == Some("Ada"))
        );
    }
    // What is recorded while an export runs is not in it.
    let mut stream = Box::pin(store.export_audit(AuditQuery {
        descending: false,
        ..AuditQuery::all(vec![root()])
    }));
    stream.try_next().await.unwrap().unwrap();
    record(&store, &actor(), fact("thing.done")).await;
    let rest: Vec<AuditEvent> = stream.try_collect().await.unwrap();
    assert_eq!(rest.len(), 1202);
    let mut heard = Vec::new();
    store
        .verify_audit(|done, all| heard.push((done, all)))
        .await
        .unwrap();
    assert_eq!(heard, [(0, 1204), (1000, 1204), (1204, 1204)]);
}

async fn an_untouched_log_is_intact(home: Arc<Home>) {
    let store = home.open().await;
    assert_eq!(intact(&store).await.events, 0);
    let (store, _) = six(&home).await;
    add(&store, new_key("ci")).await;
    let whole = intact(&store).await;
    assert_eq!((whole.events, whole.erased, whole.checkpoint), (7, 0, None));
    assert_eq!(whole.head, store.audit_head().await.unwrap());
}

async fn each_touched_column_is_found(home: Arc<Home>) {
    let (store, _) = six(&home).await;
    let cases = [
        ("at = at + 1", Fault::Column("at")),
        ("actor = 'config'", Fault::Column("actor")),
        ("action = 'thing.undone'", Fault::Column("action")),
        ("class = 'use'", Fault::Column("class")),
        ("outcome = 'denied'", Fault::Column("outcome")),
        ("workspace = 'ws_1'", Fault::Column("workspace")),
        ("target = 'other'", Fault::Column("target")),
        ("body = replace(body, 'owner', 'admin')", Fault::Hash),
        ("body = body || ' '", Fault::Hash),
        ("hash = previous", Fault::Hash),
        ("previous = hash", Fault::Previous),
        ("sequence = 99", Fault::Missing),
        ("sequence = -3", Fault::Outside),
    ];
    sql(&store, "CREATE TABLE kept AS SELECT * FROM audit").await;
    for (change, fault) in cases {
        assert_eq!(
            sql(
                &store,
                &format!("UPDATE audit SET {change} WHERE sequence = 3")
            )
            .await,
            1
        );
        let sequence = if fault == Fault::Outside { 0 } else { 3 };
        assert_eq!(broken(&store).await, (sequence, fault), "{change}");
        assert!(
            list(&store, |_| {}).await.len() >= 5,
            "it is still shown: {change}"
        );
        sql(&store, "DELETE FROM audit").await;
        sql(&store, "INSERT INTO audit SELECT * FROM kept").await;
        intact(&store).await;
    }
    // Whoever makes the hash anew breaks the link of the next one.
    let row = texts(
        &store,
        "SELECT previous || body AS text FROM audit WHERE sequence = 3",
    )
    .await;
    let (previous, body) = row[0].split_at(64);
    let body = body.replace("owner", "admin");
    let hash = crate::store::write::link(previous, &body);
    let change = format!("UPDATE audit SET body = '{body}', hash = '{hash}' WHERE sequence = 3");
    sql(&store, &change).await;
    assert_eq!(broken(&store).await, (4, Fault::Previous));
}

async fn removed_and_added_events_are_found(home: Arc<Home>) {
    let (store, _) = six(&home).await;
    sql(&store, "CREATE TABLE kept AS SELECT * FROM audit").await;
    for (gone, first) in [
        ("sequence = 4", 4),
        ("sequence >= 5", 5),
        ("sequence = 1", 1),
        ("1 = 1", 1),
    ] {
        sql(&store, &format!("DELETE FROM audit WHERE {gone}")).await;
        assert_eq!(broken(&store).await, (first, Fault::Missing), "{gone}");
        sql(&store, "DELETE FROM audit").await;
        sql(&store, "INSERT INTO audit SELECT * FROM kept").await;
    }
    sql(&store, "UPDATE head SET audit_sequence = 5").await;
    assert_eq!(broken(&store).await, (6, Fault::Outside));
    sql(
        &store,
        "UPDATE head SET audit_sequence = 6, audit_hash = 'other'",
    )
    .await;
    assert_eq!(broken(&store).await, (6, Fault::Head));
}

async fn touched_personal_data_is_found(home: Arc<Home>) {
    let (store, _) = six(&home).await;
    sql(&store, "CREATE TABLE kept AS SELECT * FROM audit_personal").await;
    for change in [
        "data = replace(data, 'Ada', 'Eve')",
        "salt = 'other'",
        "person = person || 'x'",
        "sequence = sequence - 2",
    ] {
        let touched = format!("UPDATE audit_personal SET {change} WHERE sequence = 3");
        assert_eq!(
            sql(&store, &touched).await,
            2,
            "one row each for actor and target"
        );
        let found = broken(&store).await;
        assert_eq!(found.1, Fault::Personal, "{change}");
        sql(&store, "DELETE FROM audit_personal").await;
        sql(&store, "INSERT INTO audit_personal SELECT * FROM kept").await;
    }
    intact(&store).await;
}

async fn an_erased_person_leaves_an_intact_log(home: Arc<Home>) {
    let (store, ada) = six(&home).await;
    let mut write = store.begin(&member(ada, "Ada")).await.unwrap();
    write.record(fact("member.erased")).await.unwrap();
    assert_eq!(write.erase_audit_of(ada).await.unwrap(), 5);
    write.commit().await.unwrap();
    let whole = intact(&store).await;
    assert_eq!((whole.events, whole.erased), (7, 5));
    let events = list(&store, |_| {}).await;
    assert!(
        events
            .iter()
            .all(|event| event.actor_name.is_none() && event.address.is_none())
    );
    let erased: Vec<bool> = events.iter().map(|event| event.erased).collect();
    assert_eq!(erased, [true, false, true, true, true, true, false]);
    assert_eq!(events[2].target_name.as_deref(), Some("Bob"), "others stay");
}

async fn checkpoint(store: &Store, before: i64) -> Option<u64> {
    let mut write = store.begin(&actor()).await.unwrap();
    let before = Timestamp::from_millis(START.as_millis() + before);
    let (cut, more) = write.checkpoint_audit(before).await.unwrap()?;
    assert!(!more);
    write.commit().await.unwrap();
    assert_eq!(cut.by, "system:suite");
    Some(cut.sequence)
}

async fn a_cut_log_is_intact(home: Arc<Home>) {
    let (store, _) = six(&home).await;
    assert_eq!(checkpoint(&store, 0).await, None);
    assert_eq!(intact(&store).await.events, 6);
    // The third event was at 20 ms.
    assert_eq!(checkpoint(&store, 20).await, Some(2));
    let whole = intact(&store).await;
    assert_eq!(
        (
            whole.events,
            whole.checkpoint.as_ref().map(|cut| cut.sequence)
        ),
        (5, Some(2))
    );
    let told = list(&store, |query| query.action = Some("audit.cut".into())).await;
    assert_eq!(told[0].changes["through"], 2);
    home.clock.advance_millis(10);
    assert_eq!(checkpoint(&store, 1_000_000).await, Some(7));
    let whole = intact(&store).await;
    assert_eq!(whole.events, 1);
    let cuts = store.audit_checkpoints().await.unwrap();
    assert_eq!(
        cuts.iter().map(|cut| cut.sequence).collect::<Vec<_>>(),
        [7, 2]
    );
    assert_eq!(whole.checkpoint.as_ref(), cuts.first());
    record(&store, &actor(), fact("thing.done")).await;
    assert_eq!(intact(&store).await.events, 2);
    let personal = "SELECT COUNT(*) FROM audit_personal";
    assert_eq!(super::number(&store, personal).await, 0);
    // A clock that went back keeps what stands behind the first event to keep.
    home.clock
        .set(Timestamp::from_millis(START.as_millis() - 1_000_000));
    record(&store, &actor(), fact("thing.done")).await;
    home.clock
        .set(Timestamp::from_millis(START.as_millis() + 1_000_000));
    assert_eq!(checkpoint(&store, 50).await, None);
}

async fn a_cut_that_nobody_recorded_is_found(home: Arc<Home>) {
    let (store, _) = six(&home).await;
    sql(
        &store,
        "INSERT INTO audit_checkpoints (sequence, hash, at, by_whom) SELECT sequence, hash, at, 'x' FROM audit \
         WHERE sequence = 3",
    )
    .await;
    assert_eq!(broken(&store).await, (1, Fault::Outside));
    sql(&store, "DELETE FROM audit WHERE sequence <= 3").await;
    assert_eq!(broken(&store).await, (3, Fault::Checkpoint));
}
