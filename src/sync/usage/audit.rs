//! Uses and refusals in the audit log: one event of each per route and minute, however many there were.

use super::actor;
use crate::domain::id::{Id, Kind};
use crate::domain::time::Timestamp;
use crate::domain::workspace;
use crate::snapshot::events::Entry;
use crate::store::write::Class;
use crate::store::{Fact, Store, StoreError};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Keys that an event names.
const NAMED: usize = 100;
/// Keys that are told apart while a span lasts; those that come later are in the sums only.
const MOST_KEYS: usize = 100_000;
const MINUTE_MILLIS: i64 = 60_000;

/// What happened since the last events.
#[derive(Debug, Default)]
pub(super) struct Span {
    from: Timestamp,
    to: Timestamp,
    routes: BTreeMap<Arc<str>, OnRoute>,
}

#[derive(Debug, Default)]
struct OnRoute {
    used: Requests,
    refused: Requests,
    reasons: BTreeMap<&'static str, u64>,
    /// Refusals of what is no key.
    unknown: u64,
}

#[derive(Debug, Default)]
struct Requests {
    all: u64,
    by_key: BTreeMap<Id, u64>,
}

impl Requests {
    fn add(&mut self, key: Option<Id>, count: u64) {
        self.all += count;
        if let Some(key) = key
            && (self.by_key.len() < MOST_KEYS || self.by_key.contains_key(&key))
        {
            *self.by_key.entry(key).or_default() += count;
        }
    }

    /// The busiest keys with their counts, and how many more there are.
    fn tell(&self, into: &mut Map<String, Value>) {
        let mut keys: Vec<(Id, u64)> = self
            .by_key
            .iter()
            .map(|(id, count)| (*id, *count))
            .collect();
        let order = |(id, count): &(Id, u64)| (std::cmp::Reverse(*count), *id);
        let others = keys.len().saturating_sub(NAMED);
        if others > 0 {
            keys.select_nth_unstable_by_key(NAMED, order);
            keys.truncate(NAMED);
        }
        keys.sort_unstable_by_key(order);
        let keys: Map<String, Value> = keys
            .into_iter()
            .map(|(id, count)| (id.text(Kind::Key).to_string(), count.into()))
            .collect();
        into.insert("requests".into(), self.all.into());
        into.insert("keys".into(), keys.into());
        into.insert("other_keys".into(), others.into());
    }
}

impl Span {
    /// Takes in what a worker counted.
    pub(super) fn add(&mut self, now: Timestamp, route: &Arc<str>, entry: &Entry) {
        if self.routes.is_empty() {
            self.from = now;
        }
        self.to = now;
        let key = entry.key.map(|mark| mark.id);
        let on = self.routes.entry(Arc::clone(route)).or_default();
        if entry.permitted() > 0 {
            on.used.add(key, entry.permitted());
        }
        for (decision, count) in entry.refusals() {
            on.refused.add(key, count);
            *on.reasons.entry(decision.reason()).or_default() += count;
            if key.is_none() {
                on.unknown += count;
            }
        }
    }

    /// Writes the events if the minute in which the span began is over, or if there will be no other time.
    pub(super) async fn write(
        &mut self,
        store: &Store,
        now: Timestamp,
        all: bool,
    ) -> Result<(), StoreError> {
        let minute = |at: Timestamp| at.as_millis().div_euclid(MINUTE_MILLIS);
        if self.routes.is_empty() || !(all || minute(self.from) != minute(now)) {
            return Ok(());
        }
        let facts = self.facts();
        let mut write = store.begin(&actor()).await?;
        for fact in facts {
            write.record(fact).await?;
        }
        write.commit().await?;
        self.routes.clear();
        Ok(())
    }

    fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        for (route, on) in &self.routes {
            if on.used.all > 0 {
                let mut fact = self.fact("keys.used", route);
                on.used.tell(&mut fact.changes);
                facts.push(fact);
            }
            if on.refused.all > 0 {
                let mut fact = self.fact("keys.refused", route);
                fact.outcome = "denied";
                on.refused.tell(&mut fact.changes);
                let reasons: Map<String, Value> = on
                    .reasons
                    .iter()
                    .map(|(reason, count)| ((*reason).to_owned(), (*count).into()))
                    .collect();
                fact.changes.insert("reasons".into(), reasons.into());
                fact.changes.insert("unknown".into(), on.unknown.into());
                facts.push(fact);
            }
        }
        facts
    }

    fn fact(&self, action: &'static str, route: &str) -> Fact {
        let mut fact = Fact::new(action, workspace::root(), format!("route/{route}"));
        fact.class = Class::Use;
        fact.changes
            .insert("from".into(), self.from.to_string().into());
        fact.changes.insert("to".into(), self.to.to_string().into());
        fact
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::{Algorithm, KeyHash, Origin};
    use crate::snapshot::events::Tally;
    use crate::snapshot::key::KeyMark;
    use crate::store::audit::AuditQuery;
    use crate::store::testing::{Home, path};
    use crate::telemetry::metrics::Decision;

    fn used(number: u128, times: u128) -> Vec<Entry> {
        let key = KeyMark {
            id: Id::from_bits(number),
            hash: KeyHash::of(b"a"),
            algorithm: Algorithm::Blake3,
            origin: Origin::Store,
        };
        let mut tally = Tally::default();
        let seen = (Timestamp::from_millis(0), [10, 0, 0, 1].into());
        for _ in 0..times {
            tally.decided(Decision::Permitted, (Some(key), 1), seen);
        }
        tally.decided(Decision::Unknown, (None, 1), seen);
        tally.take().entries
    }

    #[tokio::test]
    async fn a_minute_is_one_event_of_each_kind_and_names_the_busiest() {
        let home = Home::new().await;
        let mut span = Span::default();
        let route: Arc<str> = "app".into();
        for number in 1..=150 {
            for entry in used(number, number) {
                span.add(home.now(), &route, &entry);
            }
        }
        let query = AuditQuery::all(vec![path(workspace::root())]);
        span.write(&home.store, home.now(), false).await.unwrap();
        assert_eq!(home.store.count_audit(&query).await.unwrap(), 0);
        home.clock.advance_millis(MINUTE_MILLIS);
        for _ in 0..2 {
            span.write(&home.store, home.now(), true).await.unwrap();
        }
        let events = home.store.list_audit(&query).await.unwrap().events;
        let [refused, used] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(
            (used.action.as_str(), used.target.as_str()),
            ("keys.used", "route/app")
        );
        let named = used.changes["keys"].as_object().unwrap();
        assert_eq!(
            (named.len(), &used.changes["other_keys"]),
            (100, &50.into())
        );
        let busiest = Id::from_bits(150).text(Kind::Key);
        assert_eq!(named[busiest.as_str()], 150);
        assert_eq!(used.changes["requests"], 150 * 151 / 2);
        assert_eq!(
            (refused.action.as_str(), refused.outcome.as_str()),
            ("keys.refused", "denied")
        );
        assert_eq!(refused.changes["unknown"], 150);
        assert_eq!(refused.changes["reasons"]["unknown"], 150);
        assert!(refused.changes["keys"].as_object().unwrap().is_empty());
    }
}
