//! Merging, bounds, networks.

use super::*;
use crate::domain::key::{Algorithm, KeyHash};
use crate::snapshot::events::Tally;
use crate::snapshot::key::KeyMark;
use crate::telemetry::metrics::Decision;

fn mark(number: u64, origin: Origin) -> KeyMark {
    KeyMark {
        id: Id::from_bits(number.into()),
        hash: KeyHash::of(&number.to_be_bytes()),
        algorithm: Algorithm::Blake3,
        origin,
    }
}

fn seen(millis: i64, address: &str) -> Seen {
    (Timestamp::from_millis(millis), address.parse().unwrap())
}

/// What one worker counts of these decisions.
fn entries(decisions: &[(Decision, Option<KeyMark>, Seen)]) -> Vec<Entry> {
    let mut tally = Tally::default();
    for (decision, key, seen) in decisions {
        tally.decided(*decision, (*key, 1), *seen);
    }
    tally.take().entries
}

fn add(pending: &mut Pending, hour: i64, entries: &[Entry]) -> u64 {
    let route: Arc<str> = "app".into();
    let hour = Timestamp::from_millis(hour);
    entries
        .iter()
        .map(|entry| pending.add((hour, &route), entry, &Networks::default()))
        .sum()
}

#[test]
fn what_workers_counted_is_merged_by_key() {
    let key = mark(1, Origin::Store);
    let mut pending = Pending::default();
    let one = entries(&[
        (Decision::Permitted, Some(key), seen(2000, "10.0.0.1")),
        (Decision::Scope, Some(key), seen(2000, "10.0.0.1")),
        (Decision::Unknown, None, seen(2000, "10.0.0.1")),
    ]);
    let other = entries(&[
        (Decision::Permitted, Some(key), seen(1000, "10.0.1.1")),
        (
            Decision::Permitted,
            Some(key),
            seen(3000, "::ffff:10.0.1.9"),
        ),
        (Decision::Scope, Some(key), seen(3000, "10.0.1.1")),
    ]);
    add(&mut pending, 0, &one);
    let (unwritten, _) = pending.take(usize::MAX);
    assert_eq!((pending.len(), pending.rows), (0, 0));
    add(&mut pending, 0, &other);
    add(&mut pending, 3_600_000, &other);
    pending.put_back(unwritten);
    assert_eq!(pending.len(), 1);
    let rows = pending.rows;
    let merged = pending.take(usize::MAX).0.pop().unwrap();
    assert_eq!(
        (merged.uses, merged.refusals, merged.declared),
        (5, 3, false)
    );
    assert_eq!(merged.first_used_at, Some(Timestamp::from_millis(1000)));
    assert_eq!(merged.last_used.unwrap().0, Timestamp::from_millis(3000));
    assert_eq!((merged.secrets.len(), merged.secrets[0].uses), (1, 5));
    assert_eq!(merged.hours.len(), 2);
    assert_eq!(merged.hours[0].counts.requests, 3);
    assert_eq!(merged.hours[0].reasons, [("scope", 2)]);
    let networks: Vec<&str> = merged
        .networks
        .iter()
        .map(|one| one.network.as_str())
        .collect();
    assert_eq!(networks, ["10.0.0.0/24", "10.0.1.0/24"]);
    assert!(rows >= merged.rows(), "{rows} {}", merged.rows());
}

#[test]
fn declared_keys_have_no_secrets_of_their_own() {
    let key = mark(1, Origin::File);
    let mut pending = Pending::default();
    let one = entries(&[(Decision::Permitted, Some(key), seen(1, "2001:db8:1:2::3"))]);
    add(&mut pending, 0, &one);
    let merged = pending.take(usize::MAX).0.pop().unwrap();
    assert!(merged.declared && merged.secrets.is_empty());
    assert_eq!(merged.networks[0].network, "2001:db8:1::/48");
}

#[test]
fn when_it_is_full_the_last_use_of_known_keys_goes_on() {
    let (known, new) = (mark(1, Origin::Store), mark(2, Origin::Store));
    let mut pending = Pending::default();
    let used = |key, at| entries(&[(Decision::Permitted, Some(key), seen(at, "10.0.0.1"))]);
    assert_eq!(add(&mut pending, 0, &used(known, 1000)), 0);
    pending.rows = MOST_ROWS;
    assert_eq!(add(&mut pending, 0, &used(new, 2000)), 1);
    assert_eq!(add(&mut pending, 0, &used(known, 2000)), 0);
    assert_eq!(add(&mut pending, 3_600_000, &used(known, 3000)), 1);
    let (all, _) = pending.take(usize::MAX);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].last_used.unwrap().0, Timestamp::from_millis(3000));
    assert_eq!((all[0].uses, all[0].hours.len()), (3, 1));
}

#[test]
fn keys_are_taken_round_and_round_in_the_order_of_their_ids() {
    let mut pending = Pending::default();
    let used = |pending: &mut Pending, numbers: &[u64]| {
        for number in numbers {
            let key = mark(*number, Origin::Store);
            let one = entries(&[(Decision::Permitted, Some(key), seen(1, "10.0.0.1"))]);
            add(pending, 0, &one);
        }
    };
    // Each key is four rows: itself, its secret, an hour, a network.
    let take = |pending: &mut Pending, rows| {
        let (portion, last) = pending.take(rows);
        let ids: Vec<u128> = portion.iter().map(|one| one.key.bits()).collect();
        (ids, last)
    };
    used(&mut pending, &[5, 3, 1, 4, 2]);
    assert_eq!(take(&mut pending, 9), (vec![1, 2], false));
    used(&mut pending, &[1, 6]);
    assert_eq!(take(&mut pending, 8), (vec![3, 4], false));
    assert_eq!(take(&mut pending, 1), (vec![5], false));
    assert_eq!(take(&mut pending, 100), (vec![6], true));
    assert_eq!(take(&mut pending, 100), (vec![1], true));
    assert_eq!(take(&mut pending, 100), (vec![], true));
    assert_eq!(pending.rows, 0);
}
