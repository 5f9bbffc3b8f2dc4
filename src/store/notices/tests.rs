//! Facts are noted once, read by each person, and told by e-mail once.

use super::*;
use crate::domain::workspace::root;
use crate::store::Fact;
use crate::store::testing::{Home, path, system};

fn expiring(fact: &str, workspace: Id, target: &str) -> NewNotice {
    NewNotice {
        fact: fact.into(),
        kind: "key.expiring",
        severity: Severity::Warning,
        workspace,
        target: target.into(),
        title: "It ends".into(),
        data: Value::Null,
        due_at: None,
    }
}

fn query(reach: Id) -> NoticeQuery {
    NoticeQuery {
        reach: vec![path(reach)],
        reader: "tok_a".into(),
        unread: false,
        kind: None,
        target: None,
        withdrawn: false,
        after: None,
        limit: 2,
    }
}

#[tokio::test]
async fn a_fact_is_noted_once_seen_where_one_reaches_and_read_by_each_alone() {
    let home = Home::new().await;
    let shop = home.workspace("shop").await;
    let mut write = home.store.begin(&system()).await.unwrap();
    assert!(write.notice(&expiring("a", root(), "key_a")).await.unwrap());
    assert!(!write.notice(&expiring("a", root(), "key_a")).await.unwrap());
    for fact in ["b", "c"] {
        assert!(write.notice(&expiring(fact, shop, "key_b")).await.unwrap());
    }
    write.record(Fact::new("x", root(), "x")).await.unwrap();
    write.commit().await.unwrap();

    let store = &home.store;
    let mut all = query(root());
    let first = store.list_notices(&all).await.unwrap();
    assert_eq!((first.notices.len(), first.more), (2, true));
    let last = &first.notices[1];
    all.after = Some((last.at, last.id));
    let rest = store.list_notices(&all).await.unwrap();
    assert_eq!((rest.notices.len(), rest.more), (1, false));
    all.after = None;
    assert_eq!(store.count_notices(&query(shop)).await.unwrap(), 2);

    store.read_notice(last.id, "tok_a").await.unwrap();
    store.read_notice(last.id, "tok_a").await.unwrap();
    all.unread = true;
    assert_eq!(store.count_notices(&all).await.unwrap(), 2);
    all.reader = "tok_b".into();
    assert_eq!(store.count_notices(&all).await.unwrap(), 3);
    all.kind = Some("key.*".into());
    all.target = Some("key_b".into());
    assert_eq!(store.read_notices(&all).await.unwrap(), 2);
    assert_eq!(store.read_notices(&all).await.unwrap(), 0);
    all.target = None;
    assert_eq!(store.count_notices(&all).await.unwrap(), 1);
    assert_eq!(
        store.notice_counts(home.now()).await.unwrap(),
        [("key.expiring".to_owned(), 3)]
    );

    let mut write = store.begin(&system()).await.unwrap();
    assert_eq!(write.withdraw_notices("key_b", "key.in").await.unwrap(), 0);
    assert_eq!(write.withdraw_notices("key_b", "key.").await.unwrap(), 2);
    write.record(Fact::new("x", root(), "x")).await.unwrap();
    write.commit().await.unwrap();
    let mut all = query(root());
    assert_eq!(store.count_notices(&all).await.unwrap(), 1);
    all.withdrawn = true;
    assert_eq!(store.count_notices(&all).await.unwrap(), 3);
}

#[tokio::test]
async fn a_notice_becomes_e_mails_once() {
    let home = Home::new().await;
    let mut write = home.store.begin(&system()).await.unwrap();
    write.notice(&expiring("a", root(), "key_a")).await.unwrap();
    write.record(Fact::new("x", root(), "x")).await.unwrap();
    write.commit().await.unwrap();
    let store = &home.store;
    let waiting = store.unspread_notices(10).await.unwrap();
    let to = ["a@example.com".to_owned(), "mem_x".to_owned()];
    store.spread_notice(waiting[0].id, &to).await.unwrap();
    store
        .spread_notice(waiting[0].id, &["c".to_owned()])
        .await
        .unwrap();
    assert!(store.unspread_notices(10).await.unwrap().is_empty());
    let leased = store
        .lease_deliveries("email", 10, home.later(1000))
        .await
        .unwrap();
    assert_eq!(leased.len(), 2);
}
