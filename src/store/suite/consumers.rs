//! Consumers.

use super::{
    Arc, Home, START, Store, StoreError, actor, add, add_workspace, id, new_key, sql, texts,
    touched_after, workspace,
};
use crate::domain::consumer::Consumer;
use crate::domain::id::{Id, Kind};
use crate::domain::key::KeyState;
use crate::store::consumers::{ConsumerQuery, ConsumerRecord};
use crate::store::write::Touched;
use std::collections::BTreeMap;

on_both!(
    a_consumer_comes_back_as_it_was_kept,
    names_are_unique_in_one_workspace,
    external_ids_are_unique_in_one_workspace,
    a_consumer_with_keys_stays,
    filters_find_what_they_say,
    words_of_a_consumer_are_in_an_index_and_follow_it,
    consumers_of_one_moment_are_paged_without_loss,
);

fn new_consumer(name: &str) -> ConsumerRecord {
    ConsumerRecord {
        id: id(),
        workspace: workspace::root(),
        name: name.to_owned(),
        external_id: None,
        description: None,
        metadata: BTreeMap::new(),
        limits: None,
        created_at: START,
        created_by: String::new(),
        updated_at: START,
        updated_by: String::new(),
        revision: 0,
    }
}

async fn add_consumer(store: &Store, consumer: ConsumerRecord) -> ConsumerRecord {
    let mut write = store.begin(&actor()).await.unwrap();
    let consumer = write.insert_consumer(consumer).await.unwrap();
    write.commit().await.unwrap();
    consumer
}

fn root() -> String {
    format!("{}/", workspace::root().text(Kind::Workspace))
}

fn not_found<T>(answer: Result<T, StoreError>) {
    let fault = answer.err().expect("a fault");
    assert!(matches!(fault, StoreError::NotFound), "{fault}");
}

async fn a_consumer_comes_back_as_it_was_kept(home: Arc<Home>) {
    let store = home.open().await;
    let mut new = new_consumer("Kasse Köln");
    new.external_id = Some("crm-7".into());
    new.description = Some("line\n'two'".into());
    new.metadata = BTreeMap::from([("a".into(), "b".into())]);
    let made = add_consumer(&store, new).await;
    assert_eq!(
        (made.revision, made.created_by.as_str()),
        (1, "system:suite")
    );
    assert_eq!(store.consumer(made.id).await.unwrap(), made);
    let mut key = new_key("ci");
    key.consumer = Some(Consumer {
        id: made.id,
        name: made.name.clone(),
        limits: None,
    });
    let key = add(&store, key).await;
    home.clock.advance_millis(5);
    let edited = ConsumerRecord {
        workspace: id(),
        external_id: None,
        description: None,
        ..new_consumer("Kasse Bonn")
    };
    let edited = ConsumerRecord {
        id: made.id,
        created_at: made.created_at,
        created_by: made.created_by.clone(),
        ..edited
    };
    let mut write = store.begin(&actor()).await.unwrap();
    let saved = write.save_consumer(&made, edited).await.unwrap();
    write.commit().await.unwrap();
    assert_eq!((saved.workspace, saved.revision), (made.workspace, 3));
    assert_eq!(store.consumer(made.id).await.unwrap(), saved);
    let shown = store.key(key.id).await.unwrap().consumer.unwrap();
    assert_eq!(shown.name, "Kasse Bonn");
    let change = (3, Touched::Consumer(made.id));
    assert_eq!(touched_after(&store, 2).await, (vec![change], 3));

    let ghost = new_consumer("ghost");
    let mut homeless = new_consumer("homeless");
    homeless.workspace = id();
    not_found(store.consumer(ghost.id).await);
    let mut write = store.begin(&actor()).await.unwrap();
    not_found(write.consumer(ghost.id).await);
    not_found(write.save_consumer(&ghost, ghost.clone()).await);
    not_found(write.delete_consumer(ghost.id).await);
    not_found(write.insert_consumer(homeless).await);
}

async fn names_are_unique_in_one_workspace(home: Arc<Home>) {
    let store = home.open().await;
    let north = add_workspace(&store, "north", workspace::root()).await;
    let first = add_consumer(&store, new_consumer("acme")).await;
    let mut other = new_consumer("acme");
    other.workspace = north.id;
    add_consumer(&store, other).await;
    let mut same_id = new_consumer("new");
    same_id.id = first.id;
    for (consumer, what) in [
        (new_consumer("acme"), "consumer name"),
        (same_id, "consumer id"),
    ] {
        let mut write = store.begin(&actor()).await.unwrap();
        let fault = write.insert_consumer(consumer).await.unwrap_err();
        assert!(
            matches!(fault, StoreError::Taken(told) if told == what),
            "{fault}"
        );
    }
}

async fn external_ids_are_unique_in_one_workspace(home: Arc<Home>) {
    let store = home.open().await;
    let north = add_workspace(&store, "north", workspace::root()).await;
    let with = |name: &str, external_id: Option<&str>| ConsumerRecord {
        external_id: external_id.map(str::to_owned),
        ..new_consumer(name)
    };
    let first = add_consumer(&store, with("first", Some("crm-7"))).await;
    let beside = ConsumerRecord {
        workspace: north.id,
        ..with("beside", Some("crm-7"))
    };
    let beside = add_consumer(&store, beside).await;
    let other = add_consumer(&store, with("other", Some("CRM-7"))).await;
    let bare = add_consumer(&store, with("bare", None)).await;
    add_consumer(&store, with("bare too", None)).await;
    let is_taken = |fault: StoreError| {
        assert!(matches!(fault, StoreError::Taken("external id")), "{fault}");
    };
    let mut write = store.begin(&actor()).await.unwrap();
    let same = write.insert_consumer(with("same", Some("crm-7"))).await;
    is_taken(same.unwrap_err());
    let becomes = ConsumerRecord {
        external_id: first.external_id.clone(),
        ..bare.clone()
    };
    is_taken(write.save_consumer(&bare, becomes).await.unwrap_err());
    // It keeps its own, and what nobody has any more is free.
    let first_again = ConsumerRecord {
        name: "renamed".into(),
        ..first.clone()
    };
    let renamed = write.save_consumer(&first, first_again).await.unwrap();
    let freed = ConsumerRecord {
        external_id: None,
        ..renamed.clone()
    };
    write.save_consumer(&renamed, freed).await.unwrap();
    let becomes = ConsumerRecord {
        external_id: first.external_id.clone(),
        ..bare.clone()
    };
    write.save_consumer(&bare, becomes).await.unwrap();
    write.commit().await.unwrap();

    // Two of an older store share one: each can be edited, and given another.
    let share = "UPDATE consumers SET external_id = 'crm-7' WHERE id = '";
    sql(
        &store,
        &format!("{share}{}'", other.id.text(Kind::Consumer)),
    )
    .await;
    let shared = store.consumer(other.id).await.unwrap();
    for (name, external_id) in [
        ("edited", shared.external_id.clone()),
        ("apart", Some("crm-8".into())),
    ] {
        let before = store.consumer(other.id).await.unwrap();
        let after = ConsumerRecord {
            name: name.into(),
            external_id,
            ..before.clone()
        };
        let mut write = store.begin(&actor()).await.unwrap();
        write.save_consumer(&before, after).await.unwrap();
        write.commit().await.unwrap();
    }
    assert_eq!(store.consumer(beside.id).await.unwrap(), beside);
}

async fn a_consumer_with_keys_stays(home: Arc<Home>) {
    let store = home.open().await;
    let acme = add_consumer(&store, new_consumer("acme")).await;
    let mut key = new_key("ci");
    key.state = KeyState::Deleted;
    key.consumer = Some(Consumer {
        id: acme.id,
        name: acme.name.clone(),
        limits: None,
    });
    let key = add(&store, key).await;
    let mut write = store.begin(&actor()).await.unwrap();
    let fault = write.delete_consumer(acme.id).await.unwrap_err();
    assert!(
        matches!(fault, StoreError::Refused { code: "in_use", .. }),
        "{fault}"
    );
    write.purge_key(&key).await.unwrap();
    assert_eq!(write.delete_consumer(acme.id).await.unwrap(), acme);
    write.commit().await.unwrap();
    not_found(store.consumer(acme.id).await);
}

async fn filters_find_what_they_say(home: Arc<Home>) {
    let store = home.open().await;
    let north = add_workspace(&store, "north", workspace::root()).await;
    let mut acme = new_consumer("ACME Köln-West");
    acme.external_id = Some("crm-7".into());
    let acme = add_consumer(&store, acme).await;
    home.clock.advance_millis(1);
    let mut shop = new_consumer("shop");
    shop.workspace = north.id;
    add_consumer(&store, shop).await;
    let names = async |change: Filter<'_>| {
        let mut query = ConsumerQuery::all(vec![root()]);
        change(&mut query);
        let page = store.list_consumers(&query).await.unwrap();
        let count = store.count_consumers(&query).await.unwrap();
        assert_eq!(count, page.consumers.len() as u64);
        let all = page.consumers.into_iter().map(|one| one.name);
        all.collect::<Vec<_>>().join(", ")
    };
    let text = |text: &str| Some(text.to_owned());
    let whole = acme.id.text(Kind::Consumer).to_string();
    let cases: [(Filter<'_>, &str); 17] = [
        (&|_| {}, "shop, ACME Köln-West"),
        (&|query| query.reach = vec![north.path()], "shop"),
        (&|query| query.reach.clear(), ""),
        (&|query| query.workspace = Some(north.path()), "shop"),
        (&|query| query.external_id = text("crm-7"), "ACME Köln-West"),
        (&|query| query.external_id = text("crm"), ""),
        (&|query| query.q = text("acm"), "ACME Köln-West"),
        (&|query| query.q = text("KÖL west"), "ACME Köln-West"),
        (&|query| query.q = text("öln"), ""),
        (&|query| query.q = text("7"), "ACME Köln-West"),
        (&|query| query.q = text("crm-7"), "ACME Köln-West"),
        (&|query| query.q = text(&whole), "ACME Köln-West"),
        (&|query| query.q = text(&whole[..20]), ""),
        (&|query| query.q = text("%"), ""),
        (&|query| query.q = text("s%p"), ""),
        (&|query| query.q = text(" "), "shop, ACME Köln-West"),
        (&|query| query.q = text("sh"), "shop"),
    ];
    for (place, (change, want)) in cases.into_iter().enumerate() {
        assert_eq!(names(change).await, want, "case {place}");
    }
}

async fn words_of_a_consumer_are_in_an_index_and_follow_it(home: Arc<Home>) {
    let store = home.open().await;
    let mut new = new_consumer("Acme Acme Köln");
    new.external_id = Some("crm-7".into());
    let before = add_consumer(&store, new).await;
    add_consumer(&store, new_consumer("other")).await;
    let words = async || {
        let select = "SELECT word AS text FROM consumer_words WHERE word <> 'other' ORDER BY word";
        texts(&store, select).await.join(" ")
    };
    assert_eq!(words().await, "7 acme crm köln");
    let mut write = store.begin(&actor()).await.unwrap();
    let mut after = before.clone();
    after.name = "Bonn".into();
    after.external_id = None;
    let after = write.save_consumer(&before, after).await.unwrap();
    write.commit().await.unwrap();
    assert_eq!(words().await, "bonn");
    let mut write = store.begin(&actor()).await.unwrap();
    write.delete_consumer(after.id).await.unwrap();
    write.commit().await.unwrap();
    assert_eq!(words().await, "");
}

/// What makes a query of one that finds everything.
type Filter<'a> = &'a dyn Fn(&mut ConsumerQuery);

async fn consumers_of_one_moment_are_paged_without_loss(home: Arc<Home>) {
    let store = home.open().await;
    let mut write = store.begin(&actor()).await.unwrap();
    let mut ids: Vec<Id> = Vec::new();
    for number in 0..105 {
        let made = write
            .insert_consumer(new_consumer(&number.to_string()))
            .await;
        ids.push(made.unwrap().id);
    }
    write.commit().await.unwrap();
    let mut query = ConsumerQuery::all(vec![root()]);
    query.limit = 10;
    let mut found: Vec<Id> = Vec::new();
    loop {
        let page = store.list_consumers(&query).await.unwrap();
        found.extend(page.consumers.iter().map(|one| one.id));
        let last = page.consumers.last().unwrap();
        query.after = Some((last.created_at, last.id));
        if !page.more {
            break;
        }
    }
    ids.sort_unstable();
    found.reverse();
    assert_eq!(found, ids);
}
