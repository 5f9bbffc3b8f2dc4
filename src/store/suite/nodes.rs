//! Nodes: each row is its node's, and goes when the node is not heard of.

use super::Home;
use crate::clock::Clock;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::store::nodes::NodeRecord;
use std::sync::Arc;

on_both!(nodes_say_how_they_are_and_are_forgotten);

async fn nodes_say_how_they_are_and_are_forgotten(home: Arc<Home>) {
    let store = home.open().await;
    let now = home.clock.now();
    let later = Timestamp::from_millis(now.as_millis() + 60_000);
    let node = |number: u128, seen_at| NodeRecord {
        id: Id::from_bits(number),
        name: "host".into(),
        version: "1".into(),
        started_at: now,
        seen_at,
        observed: 1,
        applied: 1,
    };
    let (one, mut other) = (node(1, now), node(2, now));
    store.note_node(&one).await.unwrap();
    store.note_node(&other).await.unwrap();
    other.seen_at = later;
    other.applied = 9;
    store.note_node(&other).await.unwrap();
    assert_eq!(store.nodes().await.unwrap(), [one, other.clone()]);
    assert_eq!(store.forget_nodes(later).await.unwrap(), ["host"]);
    assert_eq!(store.nodes().await.unwrap(), [other.clone()]);
    store.forget_node(other.id).await.unwrap();
    assert_eq!(store.nodes().await.unwrap(), []);
}
