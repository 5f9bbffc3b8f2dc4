//! What the audit log tells of calls that were refused: who had no good token, and who asked for more than their role
//! allows. The first of a network for a cause at once; those that follow within a minute when it ends, as one event with
//! their number: whoever is refused in a flood fills no disk, and the end of a flood is told of too.

use super::server::AdminParts;
use super::throttle::{Tally, take_one};
use crate::clock::Clock;
use crate::domain::actor::Actor;
use crate::domain::network::Network;
use crate::store::{Fact, Store, StoreError, StoreSlot};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Networks and causes that are counted at a time; those beyond are not told of.
const MOST_COUNTED: usize = 10_000;
/// Events about refusals within a minute, of all networks together.
const MOST_EVENTS: u32 = 60;
const MINUTE: Duration = Duration::from_mins(1);
const MINUTE_NANOS: u64 = 60_000_000_000;
/// How often it is looked whether a minute has ended.
const LOOK: Duration = Duration::from_secs(1);
/// Longest time for the last events of a process.
const LAST: Duration = Duration::from_secs(3);

/// On an answer: why the call was refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused(pub(super) &'static str);

type Cause = (Network, String);

/// An event about refusals.
#[derive(Debug, Clone)]
struct Telling {
    cause: Cause,
    actor: Actor,
    fact: Fact,
    tries: u64,
}

/// The refusals of a minute that are alike.
#[derive(Debug)]
struct Sum {
    actor: Actor,
    fact: Fact,
    /// When its minute ends, on the monotonic clock.
    until: u64,
    untold: u64,
}

/// Refusals by network and cause.
#[derive(Debug)]
pub(super) struct Refusals {
    sums: Mutex<HashMap<Cause, Sum>>,
    events: Tally,
    clock: Arc<dyn Clock>,
}

impl Refusals {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            sums: Mutex::default(),
            events: Tally::default(),
            clock,
        }
    }

    fn sums(&self) -> MutexGuard<'_, HashMap<Cause, Sum>> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there may be one more event.
    fn take_event(&self, now: u64) -> bool {
        let take = |all: &mut _| take_one(all, MOST_EVENTS);
        self.events.within(now, MINUTE, take)
    }

    /// Notes a refusal; `Some`: it is the first of its minute, to be told at once.
    fn note(&self, cause: Cause, actor: &Actor, fact: Fact) -> Option<Telling> {
        let now = self.clock.monotonic_nanos();
        let mut sums = self.sums();
        let has_room = sums.len() < MOST_COUNTED;
        let vacant = match sums.entry(cause) {
            Entry::Occupied(mut counted) => {
                counted.get_mut().untold += 1;
                return None;
            }
            Entry::Vacant(vacant) if has_room => vacant,
            Entry::Vacant(_) => return None,
        };
        let is_told = self.take_event(now);
        let first = Telling {
            cause: vacant.key().clone(),
            actor: actor.clone(),
            fact: fact.clone(),
            tries: 1,
        };
        vacant.insert(Sum {
            // The sum is of many requests; and whoever it names may be erased before it is told: their id is enough.
            actor: Actor {
                request_id: None,
                name: None,
                ..actor.clone()
            },
            fact: Fact {
                target_name: None,
                ..fact
            },
            until: now.saturating_add(MINUTE_NANOS),
            untold: u64::from(!is_told),
        });
        is_told.then_some(first)
    }

    /// What is to be told of minutes that have ended. A flood goes on into the next one; what has ended is forgotten.
    fn ended(&self) -> Vec<Telling> {
        let now = self.clock.monotonic_nanos();
        let mut told = Vec::new();
        self.sums().retain(|cause, sum| {
            if now < sum.until {
                return true;
            }
            if sum.untold == 0 {
                return false;
            }
            if self.take_event(now) {
                sum.until = now.saturating_add(MINUTE_NANOS);
                told.push(Telling {
                    cause: cause.clone(),
                    actor: sum.actor.clone(),
                    fact: sum.fact.clone(),
                    tries: std::mem::take(&mut sum.untold),
                });
            }
            true
        });
        told
    }

    /// All that is untold, the most first, and the tries of those for which there is no event any more: a process ends
    /// soon however many were refused.
    fn rest(&self) -> (Vec<Telling>, u64) {
        let sums = std::mem::take(&mut *self.sums());
        let untold = sums.into_iter().filter(|(_, sum)| sum.untold > 0);
        let mut told: Vec<Telling> = untold
            .map(|(cause, sum)| Telling {
                cause,
                actor: sum.actor,
                fact: sum.fact,
                tries: sum.untold,
            })
            .collect();
        told.sort_unstable_by_key(|one| std::cmp::Reverse(one.tries));
        let most = usize::try_from(MOST_EVENTS).unwrap_or(usize::MAX);
        let others = told.split_off(told.len().min(most));
        (told, others.iter().map(|one| one.tries).sum())
    }

    /// The store was away: told with the sum of the next minute.
    fn give_back(&self, cause: &Cause, tries: u64) {
        if let Some(sum) = self.sums().get_mut(cause) {
            sum.untold += tries;
        }
    }
}

/// Records a refusal, or counts it to be recorded when its minute ends.
pub(super) async fn record(parts: &AdminParts, actor: &Actor, cause: &str, fact: Fact) {
    let network = actor.address.map(Network::of);
    let Some(network) = network.filter(|_| parts.store.is_some()) else {
        return;
    };
    let cause = (network, cause.to_owned());
    if let Some(first) = parts.throttle.refusals.note(cause, actor, fact) {
        tell(parts, first).await;
    }
}

/// Records the sums of minutes that have ended, for ever.
pub(super) async fn tell_sums(parts: &AdminParts) {
    loop {
        tokio::time::sleep(LOOK).await;
        for sum in parts.throttle.refusals.ended() {
            tell(parts, sum).await;
        }
    }
}

/// Records what no minute will end any more for, as long as there is time. What cannot be recorded is lost.
pub(super) async fn tell_rest(parts: &AdminParts) {
    let (told, mut lost) = parts.throttle.refusals.rest();
    let mut left: u64 = told.iter().map(|one| one.tries).sum();
    let recorded = async {
        let Some(Ok(store)) = parts.store.as_deref().map(StoreSlot::get) else {
            return;
        };
        for one in told {
            let tries = one.tries;
            if let Err(StoreError::Unavailable(_)) = write(store, one).await {
                return;
            }
            left -= tries;
        }
    };
    let _ = tokio::time::timeout(LAST, recorded).await;
    lost += left;
    if lost > 0 {
        tracing::warn!(
            tries = lost,
            "refused calls could not be recorded before the end"
        );
    }
}

async fn tell(parts: &AdminParts, telling: Telling) {
    // Until it is there for the first time, others say so.
    let Some(Ok(store)) = parts.store.as_deref().map(StoreSlot::get) else {
        return parts
            .throttle
            .refusals
            .give_back(&telling.cause, telling.tries);
    };
    let (cause, tries) = (telling.cause.clone(), telling.tries);
    let Err(fault) = write(store, telling).await else {
        return;
    };
    store.outage().met("refusals", &fault);
    if let StoreError::Unavailable(_) = fault {
        parts.throttle.refusals.give_back(&cause, tries);
    }
}

async fn write(store: &Store, telling: Telling) -> Result<(), StoreError> {
    let mut fact = telling.fact;
    fact.outcome = "denied";
    fact.changes.insert("tries".into(), telling.tries.into());
    let mut write = store.begin(&telling.actor).await?;
    write.record(fact).await?;
    write.commit().await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TestClock;
    use crate::domain::actor::Who;
    use crate::domain::time::Timestamp;
    use crate::domain::workspace::root;
    use std::net::IpAddr;

    /// Refusals, and what is noted and told of them: as network and tries.
    struct Book(Refusals, Arc<TestClock>);

    impl Book {
        fn new() -> Self {
            let clock = Arc::new(TestClock::at(Timestamp::from_millis(0)));
            Self(Refusals::new(Arc::clone(&clock) as Arc<dyn Clock>), clock)
        }

        fn note(&self, last: u8, cause: &str) -> Option<u64> {
            let address = IpAddr::from([203, 0, 113, last]);
            let actor = Actor {
                who: Who::System("way_in"),
                name: None,
                address: Some(address),
                request_id: Some("req_x".into()),
            };
            let fact = Fact::new("token.refused", root(), "token");
            let cause = (Network::of(address), cause.to_owned());
            self.0.note(cause, &actor, fact).map(|first| first.tries)
        }

        fn ended(&self) -> Vec<u64> {
            let ended = self.0.ended().into_iter();
            ended
                .map(|sum| {
                    assert_eq!(sum.actor.request_id, None);
                    sum.tries
                })
                .collect()
        }
    }

    #[test]
    fn a_flood_of_refusals_is_an_event_a_minute_and_its_end_is_told() {
        let book = Book::new();
        let told: Vec<u64> = (0..500).filter_map(|_| book.note(1, "a")).collect();
        assert_eq!(told, [1]);
        book.1.advance_millis(59_999);
        assert!(book.ended().is_empty());
        book.1.advance_millis(1);
        assert_eq!(
            book.ended(),
            [499],
            "nobody else needs to be refused for it"
        );
        assert_eq!((book.note(1, "a"), book.note(1, "b")), (None, Some(1)));
        book.1.advance_millis(60_000);
        assert_eq!(book.ended(), [1], "of b there was no more");
        book.1.advance_millis(60_000);
        assert!(book.ended().is_empty());
        assert!(book.0.sums().is_empty(), "nothing is kept of what is over");
        assert_eq!(book.note(1, "a"), Some(1));
    }

    #[test]
    fn many_networks_are_told_of_in_turn() {
        let book = Book::new();
        let first = (0..=255).filter_map(|last| book.note(last, "a"));
        assert_eq!(first.count(), 60);
        let mut told = 0;
        for _ in 0..4 {
            book.1.advance_millis(60_000);
            let now = book.ended();
            assert!(now.len() <= 60);
            told += now.into_iter().sum::<u64>();
        }
        assert_eq!(told, 196, "each once");
    }

    #[test]
    fn what_could_not_be_written_is_told_later() {
        let book = Book::new();
        book.note(1, "a");
        let cause = book.0.sums().keys().next().unwrap().clone();
        book.0.give_back(&cause, 1);
        book.1.advance_millis(60_000);
        assert_eq!(book.ended(), [1]);
    }

    #[test]
    fn the_end_tells_what_no_minute_ends_for() {
        let book = Book::new();
        for _ in 0..3 {
            book.note(1, "a");
        }
        book.note(1, "b");
        for last in 2..=MOST_EVENTS + 2 {
            let last = u8::try_from(last).unwrap();
            (0..7).for_each(|_| _ = book.note(last, "a"));
        }
        let (told, lost) = book.0.rest();
        let tries: Vec<u64> = told.iter().map(|one| one.tries).collect();
        assert_eq!(tries.len(), 60);
        assert!(tries.is_sorted_by(|a, b| a >= b), "the most first");
        // Of 61 networks with 7 refusals 58 were told of their first, and of one network with 3 too.
        assert_eq!(tries.iter().sum::<u64>() + lost, 58 * 6 + 3 * 7 + 2);
        assert!(book.0.sums().is_empty());
    }

    #[test]
    fn more_causes_than_can_be_kept_are_not_kept() {
        let book = Book::new();
        for cause in 0..MOST_COUNTED + 9 {
            book.note(1, &cause.to_string());
        }
        assert_eq!(book.0.sums().len(), MOST_COUNTED);
    }
}
