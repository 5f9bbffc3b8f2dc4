//! What a list says of a key's status is what the key itself says, for every mixture of states and times.

use super::{Arc, Home, START, add_all, new_key};
use crate::domain::key::{KeyRecord, KeyState, KeyStatus};
use crate::domain::time::Timestamp;
use crate::store::keys::KeyQuery;
use std::collections::BTreeSet;

on_both!(filters_by_status_agree_with_the_keys);

/// Times that lie before, at, and behind each limit.
fn moments() -> Vec<Option<Timestamp>> {
    let near = KeyStatus::EXPIRING_MILLIS;
    let mut moments = vec![None];
    moments.extend(
        [-1_000_000, -1, 0, 1, near - 1, near, near + 1, 2 * near]
            .map(|away| Some(Timestamp::from_millis(START.as_millis() + away))),
    );
    moments
}

fn some_keys(count: usize) -> Vec<KeyRecord> {
    let moments = moments();
    let mut random = fastrand::Rng::with_seed(7);
    let states = [
        KeyState::Active,
        KeyState::Active,
        KeyState::Active,
        KeyState::Disabled,
        KeyState::Revoked,
        KeyState::Deleted,
    ];
    let mut pick = |most: usize| random.usize(0..most);
    (0..count)
        .map(|number| KeyRecord {
            state: states[pick(states.len())],
            not_before: moments[pick(if number % 3 == 0 { moments.len() } else { 3 })],
            expires_at: moments[if number % 5 == 0 {
                0
            } else {
                pick(moments.len())
            }],
            rotating_until: moments[pick(if number % 2 == 0 { moments.len() } else { 3 })],
            marks: crate::domain::key::record::InactivityMarks {
                inactive_at: moments[if number % 3 == 0 {
                    pick(moments.len())
                } else {
                    0
                }],
                ..Default::default()
            },
            secrets: Vec::new(),
            ..new_key("some")
        })
        .collect()
}

async fn filters_by_status_agree_with_the_keys(home: Arc<Home>) {
    let store = home.open().await;
    let keys = some_keys(800);
    add_all(&store, &keys).await;
    let root = store.workspaces().await.unwrap()[0].path();
    for status in KeyStatus::ALL {
        let query = KeyQuery {
            status: Some(status),
            limit: keys.len(),
            ..KeyQuery::all(vec![root.clone()])
        };
        let page = store.list_keys(&query).await.unwrap();
        let found: BTreeSet<_> = page.keys.iter().map(|key| key.id).collect();
        let want: BTreeSet<_> = keys
            .iter()
            .filter(|key| key.status(START) == status)
            .map(|key| key.id)
            .collect();
        assert!(want.len() > 5, "{} is hardly there", status.name());
        assert_eq!(found, want, "{}", status.name());
        let count = store.count_keys(&query).await.unwrap();
        assert_eq!(count, want.len() as u64, "{}", status.name());
    }
    let all = KeyQuery::all(vec![root]);
    let live = keys.iter().filter(|key| key.state != KeyState::Deleted);
    assert_eq!(store.count_keys(&all).await.unwrap(), live.count() as u64);
}
