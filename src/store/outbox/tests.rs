//! Events are spread and delivered once, and can be replayed.

use super::*;
use crate::domain::workspace::root;
use crate::store::Store;
use crate::store::deliveries::{Attempt, DeliveryState};
use crate::store::testing::{Home, system};

async fn happen(home: &Home, kind: &'static str, workspace: Id) {
    let mut write = home.store.begin(&system()).await.unwrap();
    let mut fact = Fact::new(kind, workspace, "x");
    fact.event = Some(json!({"n": 1}));
    write.record(fact).await.unwrap();
    write.commit().await.unwrap();
}

async fn channel(store: &Store, id: Id) -> Vec<(Option<String>, DeliveryState)> {
    let page = store.list_deliveries(id, None, None, 50).await.unwrap();
    let mut all: Vec<_> = page
        .deliveries
        .into_iter()
        .map(|one| (one.kind, one.state))
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

#[tokio::test]
async fn an_event_goes_once_to_each_webhook_that_reaches_and_wants_it() {
    let home = Home::new().await;
    let (shop, office) = (home.workspace("shop").await, home.workspace("office").await);
    let above = home.webhook(root(), "above", &["key.*"]).await;
    let shops = home.webhook(shop, "shops", &["key.*"]).await;
    let picky = home.webhook(root(), "picky", &["key.created"]).await;
    for (kind, place) in [
        ("key.created", shop),
        ("key.revoked", office),
        ("token.created", root()),
    ] {
        happen(&home, kind, place).await;
    }
    let (one, other) = (home.store.clone(), home.store.clone());
    let (one, other) = tokio::join!(one.spread_outbox(), other.spread_outbox());
    let made = one.unwrap() + other.unwrap();
    // Workspaces and webhooks made events too.
    assert_eq!(made, 8);
    assert_eq!(home.store.spread_outbox().await.unwrap(), 0);
    let pending = |kind: &str| (Some(kind.to_owned()), DeliveryState::Pending);
    let store = &home.store;
    assert_eq!(
        channel(store, above.id).await,
        [pending("key.created"), pending("key.revoked")]
    );
    assert_eq!(channel(store, shops.id).await, [pending("key.created")]);
    assert_eq!(channel(store, picky.id).await, [pending("key.created")]);
}

#[tokio::test]
async fn one_worker_at_a_time_has_a_webhooks_deliveries_until_its_lease_ends() {
    let home = Home::new().await;
    let hook = home.webhook(root(), "hook", &["key.*"]).await;
    for _ in 0..3 {
        happen(&home, "key.created", root()).await;
    }
    home.store.spread_outbox().await.unwrap();
    let store = &home.store;
    let name = hook.id.text(Kind::Webhook).to_string();
    assert_eq!(store.due_webhooks().await.unwrap().len(), 1);
    let (one, other) = tokio::join!(
        store.lease_deliveries(&name, 2, home.later(60_000)),
        store.lease_deliveries(&name, 2, home.later(60_000)),
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.len() + other.len(), 2);
    let mine = if one.is_empty() { other } else { one };
    store
        .finish_delivery(mine[0].id, &Attempt::Delivered(Some(204)))
        .await
        .unwrap();
    let later = Attempt::Retry {
        at: home.later(5_000),
        status: None,
        error: "away".into(),
    };
    store.finish_delivery(mine[1].id, &later).await.unwrap();
    // The third; the second is not due.
    let third = store
        .lease_deliveries(&name, 9, home.later(60_000))
        .await
        .unwrap();
    assert_eq!(third.len(), 1);
    home.clock.advance_millis(5_000);
    assert!(
        store
            .lease_deliveries(&name, 9, home.later(60_000))
            .await
            .unwrap()
            .is_empty()
    );
    home.clock.advance_millis(55_000);
    let again = store
        .lease_deliveries(&name, 9, home.later(60_000))
        .await
        .unwrap();
    assert_eq!(
        again.iter().map(|one| one.attempts).collect::<Vec<_>>(),
        [0, 1]
    );
    // A lease of a clock that was a year ahead holds nobody up.
    home.clock.advance_millis(-365 * 86_400_000);
    assert!(store.due_webhooks().await.unwrap().is_empty());
    store.reset_deliveries().await.unwrap();
    assert_eq!(
        store
            .lease_deliveries(&name, 9, home.later(1))
            .await
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn a_replay_brings_forward_what_waits_for_its_next_attempt() {
    let home = Home::new().await;
    let hook = home.webhook(root(), "hook", &["key.*"]).await;
    for _ in 0..3 {
        happen(&home, "key.created", root()).await;
    }
    let store = &home.store;
    store.spread_outbox().await.unwrap();
    let name = hook.id.text(Kind::Webhook).to_string();
    let lease = home.later(60_000);
    let taken = store.lease_deliveries(&name, 2, lease).await.unwrap();
    let later = Attempt::Retry {
        at: home.later(3_600_000),
        status: Some(503),
        error: "away".into(),
    };
    for one in &taken {
        store.finish_delivery(one.id, &later).await.unwrap();
    }
    // The third is in hand, due as it is: it is not told twice.
    let third = store.lease_deliveries(&name, 9, lease).await.unwrap();
    assert_eq!(third.len(), 1);
    let replay = async || {
        let mut write = store.begin(&system()).await.unwrap();
        let count = write.replay_webhook(&hook, hook.created_at).await.unwrap();
        write.commit().await.unwrap();
        count
    };
    assert_eq!(replay().await, 2);
    assert_eq!(replay().await, 0, "they are due already");
    store.release_deliveries(&third).await.unwrap();
    let due = store.lease_deliveries(&name, 9, lease).await.unwrap();
    let mut attempts: Vec<_> = due.iter().map(|one| one.attempts).collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [0, 0, 0]);
}

#[tokio::test]
async fn what_failed_or_was_missed_can_be_replayed() {
    let home = Home::new().await;
    let hook = home.webhook(root(), "hook", &["key.*"]).await;
    let start = home.now();
    let store = &home.store;
    happen(&home, "key.created", root()).await;
    store.spread_outbox().await.unwrap();
    let mut write = store.begin(&system()).await.unwrap();
    let mut off = hook.clone();
    off.disable(Some("gone"));
    let off = write
        .save_webhook(&hook, off, "webhook.disabled")
        .await
        .unwrap();
    write.commit().await.unwrap();
    happen(&home, "key.revoked", root()).await;
    store.spread_outbox().await.unwrap();
    let kind = |kind: &str, state| (Some(kind.to_owned()), state);
    let failed = [kind("key.created", DeliveryState::Failed)];
    assert_eq!(channel(store, hook.id).await, failed);

    let mut write = store.begin(&system()).await.unwrap();
    let mut on = off.clone();
    on.enable();
    let on = write
        .save_webhook(&off, on, "webhook.enabled")
        .await
        .unwrap();
    assert_eq!(write.replay_webhook(&on, start).await.unwrap(), 2);
    let test = write.test_webhook(&on).await.unwrap();
    write.commit().await.unwrap();
    let pending = ["key.created", "key.revoked", "webhook.test"];
    assert_eq!(
        channel(store, hook.id).await,
        pending.map(|name| kind(name, DeliveryState::Pending))
    );
    let taken = Attempt::Delivered(Some(200));
    store.finish_delivery(test, &taken).await.unwrap();
    let mut write = store.begin(&system()).await.unwrap();
    write.replay_delivery(&on, test).await.unwrap();
    let unknown = write.replay_delivery(&on, root()).await;
    assert!(matches!(unknown, Err(StoreError::NotFound)));
    write.commit().await.unwrap();
    assert_eq!(store.count_pending(hook.id).await.unwrap(), 3);

    let far = home.later(31 * 86_400_000);
    assert!(store.prune_outbox(far).await.unwrap() > 0);
    assert_eq!(store.count_pending(hook.id).await.unwrap(), 3);
}
