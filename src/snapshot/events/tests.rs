//! Counting, handing over, bounds.

use super::*;
use crate::domain::id::Id;
use crate::domain::key::{Algorithm, Origin};

fn key(number: u64) -> KeyMark {
    let hash = KeyHash::of(&number.to_be_bytes());
    KeyMark {
        id: Id::from_bits(number.into()),
        hash,
        algorithm: Algorithm::Blake3,
        origin: Origin::Store,
    }
}

fn seen(millis: i64, last: u8) -> Seen {
    (Timestamp::from_millis(millis), [10, 0, 0, last].into())
}

const ANSWER: Answer = Answer {
    status: 200,
    bytes_in: 3,
    bytes_out: 5,
};

fn never() -> Timestamp {
    panic!("the time is known")
}

#[test]
fn uses_of_one_secret_on_one_route_are_one_entry() {
    let mut tally = Tally::default();
    let about = (Some(key(1)), 7);
    let place = tally.decided(Decision::Permitted, about, seen(2000, 1));
    tally.decided(Decision::Permitted, about, seen(3000, 2));
    tally.decided(Decision::Permitted, about, seen(1000, 3));
    tally.decided(Decision::Scope, about, seen(4000, 4));
    tally.decided(Decision::Permitted, (Some(key(1)), 8), seen(4000, 4));
    tally.decided(Decision::Unknown, (None, 7), seen(4000, 4));
    tally.ended(place, (key(1), 7), ANSWER, never);
    let batch = tally.take();
    assert_eq!(batch.entries.len(), 3);
    let entry = &batch.entries[0];
    assert_eq!((entry.permitted(), batch.requests()), (3, 6));
    assert_eq!(entry.refusals().collect::<Vec<_>>(), [(Decision::Scope, 1)]);
    assert_eq!(entry.first, Some(seen(2000, 1)));
    assert_eq!(entry.last, Some(seen(3000, 2)));
    assert_eq!(
        (entry.statuses, entry.bytes_in, entry.bytes_out),
        ([1, 0, 0, 0], 3, 5)
    );
    assert!(tally.is_empty());
}

#[test]
fn the_end_of_a_request_finds_its_entry_or_makes_one() {
    let mut tally = Tally::default();
    let about = (Some(key(1)), 7);
    let place = tally.decided(Decision::Permitted, about, seen(1000, 1));
    tally.take();
    tally.decided(Decision::Permitted, (Some(key(2)), 7), seen(1000, 1));
    tally.ended(place, (key(1), 7), ANSWER, never);
    tally.ended(place, (key(1), 7), ANSWER, never);
    let batch = tally.take();
    let statuses = |place: usize| batch.entries[place].statuses[0];
    assert_eq!((statuses(0), statuses(1)), (0, 2));
    // Alone in its batch, it is of the hour in which it ended.
    let later = HOUR_MILLIS * 5 + 1;
    tally.ended(place, (key(1), 7), ANSWER, || Timestamp::from_millis(later));
    assert_eq!(tally.take().hour, Timestamp::from_millis(HOUR_MILLIS * 5));
}

#[test]
fn a_batch_is_of_one_hour_and_of_bounded_size() {
    let mut tally = Tally::default();
    assert!(!tally.is_over(Timestamp::from_millis(0)));
    let about = (Some(key(1)), 7);
    tally.decided(Decision::Permitted, about, seen(HOUR_MILLIS - 1, 1));
    assert!(!tally.is_over(Timestamp::from_millis(0)));
    assert!(tally.is_over(Timestamp::from_millis(HOUR_MILLIS)));
    assert!(tally.is_over(Timestamp::from_millis(-1)));
    let mut number = 1;
    while !tally.is_full() {
        number += 1;
        let about = (Some(key(number)), 7);
        tally.decided(Decision::Permitted, about, seen(0, 1));
    }
    assert_eq!(tally.take().entries.len(), MOST_ENTRIES);
}

#[test]
fn an_imported_key_is_named_once_and_not_too_many_are() {
    let mut tally = Tally::default();
    for number in 0..1000 {
        let key = key(number);
        let rehash = Rehash {
            key,
            blake3: key.hash,
        };
        tally.rehash(rehash, Timestamp::from_millis(0));
        tally.rehash(rehash, Timestamp::from_millis(0));
    }
    assert!(!tally.is_empty());
    assert_eq!(tally.take().rehashes.len(), MOST_REHASHES);
}

#[test]
fn a_full_queue_gives_the_batch_back() {
    let queue = Queue::default();
    let pushed = (0..1000).take_while(|_| queue.push(Batch::default()).is_ok());
    assert_eq!(pushed.count(), MOST_BATCHES);
    assert_eq!(queue.drain().len(), MOST_BATCHES);
    assert!(queue.push(Batch::default()).is_ok());
}

#[test]
fn statuses_fall_into_four_classes() {
    let classes = [101, 200, 299, 304, 404, 499, 500, 599].map(status_class);
    assert_eq!(classes, [0, 0, 0, 1, 2, 2, 3, 3]);
}
