//! Lists of keys: order, pages, filters, search, reach.

use super::keys::consumer;
use super::{
    Arc, Home, START, Store, StoreError, add, add_all, add_workspace, new_key, sql, workspace,
};
use crate::domain::id::Kind;
use crate::domain::key::{KeyRecord, KeyState};
use crate::domain::time::Timestamp;
use crate::store::keys::{KeyQuery, SortBy};

on_both!(
    every_order_gives_every_key_once,
    ten_thousand_keys_of_one_moment_are_paged_without_loss,
    filters_find_what_they_say,
    words_are_found_by_their_beginning,
    a_list_shows_what_its_reader_reaches,
    what_no_text_can_be_is_refused,
);

fn root() -> String {
    format!("{}/", workspace::root().text(Kind::Workspace))
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + millis)
}

/// All pages of a query, each from the last key of the one before.
async fn walk(store: &Store, mut query: KeyQuery) -> Vec<KeyRecord> {
    let mut all: Vec<KeyRecord> = Vec::new();
    loop {
        let page = store.list_keys(&query).await.unwrap();
        assert!(page.keys.len() <= query.limit);
        all.extend(page.keys);
        if !page.more {
            return all;
        }
        let last = all.last().unwrap();
        query.after = Some((query.sort.value_of(last), last.id));
    }
}

async fn names(store: &Store, change: impl FnOnce(&mut KeyQuery)) -> Vec<String> {
    let mut query = KeyQuery::all(vec![root()]);
    query.sort = SortBy::Name;
    query.descending = false;
    change(&mut query);
    let page = store.list_keys(&query).await.unwrap();
    let count = store.count_keys(&query).await.unwrap();
    assert_eq!(count, page.keys.len() as u64);
    page.keys.into_iter().map(|key| key.name).collect()
}

async fn every_order_gives_every_key_once(home: Arc<Home>) {
    let store = home.open().await;
    let mut random = fastrand::Rng::with_seed(1);
    let keys: Vec<KeyRecord> = (0..150)
        .map(|_| {
            let mut key = new_key(["a", "b", "B", "ä", "z z", ""][random.usize(0..6)]);
            let mut time = || (random.u8(0..3) > 0).then(|| at(random.i64(0..5)));
            key.expires_at = time();
            key.usage.last_used_at = time();
            key.created_at = time().unwrap_or(START);
            key.updated_at = time().unwrap_or(START);
            key.secrets.clear();
            key
        })
        .collect();
    add_all(&store, &keys).await;
    for sort in SortBy::ALL {
        for descending in [false, true] {
            let query = KeyQuery {
                sort,
                descending,
                limit: 7,
                ..KeyQuery::all(vec![root()])
            };
            let found: Vec<_> = walk(&store, query).await.iter().map(|key| key.id).collect();
            let mut want = keys.clone();
            want.sort_by_cached_key(|key| {
                let time = key_time(sort, key);
                let name = (sort == SortBy::Name).then(|| key.name.clone());
                (name, time, key.id.text(Kind::Key).to_string())
            });
            if descending {
                want.reverse();
            }
            let want: Vec<_> = want.iter().map(|key| key.id).collect();
            assert_eq!(found, want, "{} {descending}", sort.name());
        }
    }
}

fn key_time(sort: SortBy, key: &KeyRecord) -> i64 {
    match sort {
        SortBy::CreatedAt => key.created_at.as_millis(),
        SortBy::UpdatedAt => key.updated_at.as_millis(),
        SortBy::LastUsedAt => key.usage.last_used_at.map_or(0, Timestamp::as_millis),
        SortBy::ExpiresAt => key.expires_at.map_or(i64::MAX, Timestamp::as_millis),
        SortBy::Name => 0,
    }
}

async fn ten_thousand_keys_of_one_moment_are_paged_without_loss(home: Arc<Home>) {
    let store = home.open().await;
    let insert = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
         INSERT INTO keys (id, workspace, name, environment, state, created_at, created_by, updated_at, updated_by, \
         revision, uses, refusals, detail) \
         SELECT 'key_' || substr('00000000000000000000000000' || CAST(i AS TEXT), length(CAST(i AS TEXT)) + 1), \
         '{}', 'same', 'live', 'active', 5, 'x', 5, 'x', 1, 0, 0, '{{}}' FROM n",
        workspace::root().text(Kind::Workspace)
    );
    assert_eq!(sql(&store, &insert).await, 10_000);
    for (sort, descending) in [(SortBy::CreatedAt, true), (SortBy::ExpiresAt, false)] {
        let query = KeyQuery {
            sort,
            descending,
            limit: 200,
            ..KeyQuery::all(vec![root()])
        };
        assert_eq!(store.count_keys(&query).await.unwrap(), 10_000);
        let mut found: Vec<_> = walk(&store, query).await.iter().map(|key| key.id).collect();
        if descending {
            found.reverse();
        }
        assert_eq!(found.len(), 10_000);
        assert!(
            found.is_sorted_by(|one, next| one < next),
            "{}",
            sort.name()
        );
    }
}

async fn filters_find_what_they_say(home: Arc<Home>) {
    let store = home.open().await;
    let acme = consumer(&store, "acme").await;
    let team = add_workspace(&store, "team", workspace::root()).await;
    let mut keys = [
        "consumer", "deleted", "expires", "tag", "team", "test", "used",
    ]
    .map(new_key);
    keys[0].consumer = Some(acme.clone());
    keys[1].state = KeyState::Deleted;
    keys[2].expires_at = Some(at(1000));
    keys[3].detail.tags = vec!["Größe XL".into()];
    keys[3].detail.scopes = vec!["app:read".into()];
    keys[4].workspace = team.id;
    keys[5].environment = "test".into();
    keys[6].usage.last_used_at = Some(at(500));
    keys[6].created_at = at(-1);
    add_all(&store, &keys).await;

    let live = ["consumer", "expires", "tag", "team", "test", "used"];
    let text = |text: &str| Some(text.to_owned());
    let cases: [(Change<'_>, &[&str]); 18] = [
        (&|_| {}, &live),
        (&|query| query.consumer = Some(acme.id), &["consumer"]),
        (&|query| query.workspace = Some(team.path()), &["team"]),
        (&|query| query.workspace = Some(root()), &live),
        (&|query| query.tag = text("größe xl"), &["tag"]),
        (&|query| query.tag = text("GRÖßE XL"), &["tag"]),
        (&|query| query.tag = text("größe"), &[]),
        (&|query| query.scope = text("app:read"), &["tag"]),
        (&|query| query.scope = text("app:rea"), &[]),
        (&|query| query.environment = text("test"), &["test"]),
        (&|query| query.expires_before = Some(at(1000)), &[]),
        (&|query| query.expires_before = Some(at(1001)), &["expires"]),
        (&|query| query.never_expires = Some(false), &["expires"]),
        (
            &|query| query.never_expires = Some(true),
            &["consumer", "tag", "team", "test", "used"],
        ),
        (&|query| query.unused_since = Some(at(0)), &[]),
        (&|query| query.unused_since = Some(at(1)), &live[..5]),
        (&|query| query.unused_since = Some(at(501)), &live),
        (
            &|query| {
                query.never_expires = Some(true);
                query.environment = text("test");
                query.q = text("te");
            },
            &["test"],
        ),
    ];
    for (place, (change, want)) in cases.into_iter().enumerate() {
        assert_eq!(names(&store, change).await, want, "case {place}");
    }
}

/// What makes a query of one that finds everything.
type Change<'a> = &'a dyn Fn(&mut KeyQuery);

async fn words_are_found_by_their_beginning(home: Arc<Home>) {
    let store = home.open().await;
    let mut key = new_key("Zahlungs-Dienst_Köln 2");
    key.detail.tags = vec!["Ünïcode 日本語".into()];
    key.secrets[0].hint = Some("kg_live_…aB3x".into());
    let key = add(&store, key).await;
    add(&store, new_key("other")).await;
    let found = async |q: &str| {
        names(&store, |query| query.q = Some(q.to_owned()))
            .await
            .len()
    };
    for q in [
        "zahl",
        "ZAHLUNGS",
        "dienst",
        "köl",
        "KÖLN",
        "2",
        "ünï",
        "ÜNÏCODE",
        "日本",
        "ab3x",
        "AB3",
        "dienst zahl",
        "köln, 2",
        "kg_live_…aB3x",
    ] {
        assert_eq!(found(q).await, 1, "{q}");
    }
    for q in [
        "ahl", "ienst", "köln3", "本", "zahlx", "zahl nix", "%", "_", "zahl%", "***", "'",
    ] {
        assert_eq!(found(q).await, usize::from(q == "zahl%"), "{q}");
    }
    let id = key.id.text(Kind::Key).to_string();
    assert_eq!(found(&id).await, 1);
    assert_eq!(found(&format!("  {id} ")).await, 1);
    assert_eq!(found(&id[..20]).await, 0);
    assert_eq!(found(&id.replace("key_", "con_")).await, 0);
    assert_eq!(found("").await, 2);
    assert_eq!(found("  ").await, 2);
}

async fn a_list_shows_what_its_reader_reaches(home: Arc<Home>) {
    let store = home.open().await;
    let north = add_workspace(&store, "north", workspace::root()).await;
    let shop = add_workspace(&store, "shop", north.id).await;
    let south = add_workspace(&store, "south", workspace::root()).await;
    for (place, name) in [(&north, "n"), (&shop, "sh"), (&south, "so")] {
        let mut key = new_key(name);
        key.workspace = place.id;
        add(&store, key).await;
    }
    add(&store, new_key("root")).await;
    let reach = |paths: Vec<String>| names(&store, move |query| query.reach = paths);
    assert_eq!(reach(vec![root()]).await, ["n", "root", "sh", "so"]);
    assert_eq!(reach(vec![north.path()]).await, ["n", "sh"]);
    assert_eq!(reach(vec![shop.path()]).await, ["sh"]);
    assert_eq!(reach(vec![shop.path(), south.path()]).await, ["sh", "so"]);
    assert_eq!(reach(Vec::new()).await, Vec::<String>::new());
    let inside = names(&store, |query| {
        query.reach = vec![south.path()];
        query.workspace = Some(root());
    });
    assert_eq!(inside.await, ["so"]);
}

async fn what_no_text_can_be_is_refused(home: Arc<Home>) {
    let store = home.open().await;
    let mut query = KeyQuery::all(vec![root()]);
    query.tag = Some("a\0b".into());
    match store.list_keys(&query).await {
        // One database knows no such text, the other has none.
        Ok(page) => assert!(page.keys.is_empty()),
        Err(fault) => assert!(
            matches!(
                fault,
                StoreError::Refused {
                    code: "invalid_text",
                    ..
                }
            ),
            "{fault}"
        ),
    }
}
