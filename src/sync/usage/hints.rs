//! Use that somebody may want to know of: a new network, a use after a long quiet, many refusals at once. Each is noted
//! once a day and key.

use super::actor;
use crate::domain::id::{Id, Kind};
use crate::domain::key::KeyRecord;
use crate::domain::key::record::DAY_MILLIS;
use crate::domain::time::Timestamp;
use crate::domain::workspace;
use crate::snapshot::events::HOUR_MILLIS;
use crate::store::keys::fact;
use crate::store::notices::{NewNotice, Severity};
use crate::store::usage::{Findings, KeyUse};
use crate::store::write::Class;
use crate::store::{Fact, Store, StoreError, Write};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap, HashSet};

/// As long as this without a use is quiet.
const QUIET_MILLIS: i64 = 30 * DAY_MILLIS;
/// Refusals within an hour that may be too many.
const SPIKE: u64 = 100;
/// They are if the day before had so many times fewer in an hour.
const SPIKE_TIMES: u64 = 10;
/// Hints that wait; more at a time are noise.
const MOST_WAITING: usize = 1000;
/// Hints that one change notes.
const AT_A_TIME: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum HintKind {
    NewNetwork,
    UsedAfterQuiet,
    RefusalSpike,
}

impl HintKind {
    fn name(self) -> &'static str {
        match self {
            Self::NewNetwork => "key.new_network",
            Self::UsedAfterQuiet => "key.used_after_quiet",
            Self::RefusalSpike => "key.refusal_spike",
        }
    }

    fn severity(self) -> Severity {
        match self {
            Self::NewNetwork => Severity::Info,
            Self::UsedAfterQuiet | Self::RefusalSpike => Severity::Warning,
        }
    }

    fn title(self, key: &str) -> String {
        match self {
            Self::NewNetwork => {
                format!("Key {key} was used from a network that it had not been used from before")
            }
            Self::UsedAfterQuiet => {
                format!("Key {key} was used after it had not been used for a month or longer")
            }
            Self::RefusalSpike => {
                format!("Key {key} is being refused far more often than it was the day before")
            }
        }
    }
}

#[derive(Debug)]
struct Hint {
    kind: HintKind,
    key: Id,
    data: Value,
}

/// Hints that are not noted yet, and which were today.
#[derive(Debug, Default)]
pub(super) struct Hints {
    waiting: Vec<Hint>,
    /// Keys that were refused since the last look.
    refused: BTreeSet<Id>,
    day: i64,
    told: HashSet<(HintKind, Id)>,
}

impl Hints {
    /// Takes in what a flush found.
    pub(super) fn found(&mut self, portion: &[KeyUse], findings: Findings) {
        for (key, network) in findings.new_networks {
            self.hint(HintKind::NewNetwork, key, json!({"network": network}));
        }
        for (key, before, now) in findings.used_again {
            if now.as_millis() - before.as_millis() >= QUIET_MILLIS {
                let data = json!({"used_at": now, "used_before_at": before});
                self.hint(HintKind::UsedAfterQuiet, key, data);
            }
        }
        let refused = portion.iter().filter(|one| one.refusals > 0);
        self.refused.extend(refused.map(|one| one.key));
    }

    fn hint(&mut self, kind: HintKind, key: Id, data: Value) {
        let again = |one: &Hint| one.kind == kind && one.key == key;
        if self.waiting.len() < MOST_WAITING && !self.waiting.iter().any(again) {
            self.waiting.push(Hint { kind, key, data });
        }
    }

    /// Notes what waits.
    pub(super) async fn write(&mut self, store: &Store, now: Timestamp) -> Result<(), StoreError> {
        let day = now.as_millis().div_euclid(DAY_MILLIS);
        if std::mem::replace(&mut self.day, day) != day {
            self.told.clear();
        }
        self.look_for_spikes(store, now).await?;
        let told = &self.told;
        self.waiting
            .retain(|one| !told.contains(&(one.kind, one.key)));
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(AT_A_TIME);
            self.note(store, count).await?;
            for one in self.waiting.drain(..count) {
                self.told.insert((one.kind, one.key));
            }
        }
        Ok(())
    }

    async fn look_for_spikes(&mut self, store: &Store, now: Timestamp) -> Result<(), StoreError> {
        let told = |key: &&Id| self.told.contains(&(HintKind::RefusalSpike, **key));
        let keys: Vec<Id> = self
            .refused
            .iter()
            .filter(|key| !told(key))
            .copied()
            .collect();
        let hour = now.as_millis().div_euclid(HOUR_MILLIS) * HOUR_MILLIS;
        let around = store
            .refusals_around(&keys, Timestamp::from_millis(hour))
            .await?;
        self.refused.clear();
        for (key, in_hour, day_before) in around {
            if in_hour >= SPIKE && in_hour * 24 >= SPIKE_TIMES * day_before {
                let data = json!({"refusals": in_hour, "day_before": day_before});
                self.hint(HintKind::RefusalSpike, key, data);
            }
        }
        Ok(())
    }

    /// Notes the first of those that wait. What was noted today, by another node or before a restart, is not noted again.
    async fn note(&self, store: &Store, count: usize) -> Result<(), StoreError> {
        let hints = &self.waiting[..count];
        let ids: Vec<Id> = hints.iter().map(|one| one.key).collect();
        let records = store.keys(&ids).await?;
        let records: HashMap<Id, KeyRecord> =
            records.into_iter().map(|key| (key.id, key)).collect();
        let mut write = store.begin(&actor()).await?;
        let mut any = false;
        for hint in hints {
            any |= one(&mut write, hint, records.get(&hint.key), self.day).await?;
        }
        if any {
            write.commit().await?;
        }
        Ok(())
    }
}

/// Notes one hint; whether it is new. A key without a record is one of a config file.
async fn one(
    write: &mut Write,
    hint: &Hint,
    record: Option<&KeyRecord>,
    day: i64,
) -> Result<bool, StoreError> {
    let kind = hint.kind.name();
    let id = hint.key.text(Kind::Key).to_string();
    let new = NewNotice {
        fact: format!("{kind}:{id}:{day}"),
        kind,
        severity: hint.kind.severity(),
        workspace: record.map_or_else(workspace::root, |key| key.workspace),
        target: id.clone(),
        title: hint.kind.title(record.map_or(&id, |key| &key.name)),
        data: hint.data.clone(),
        due_at: None,
    };
    if !write.notice(&new).await? {
        return Ok(false);
    }
    let mut noted = match record {
        Some(key) => fact(key, kind),
        None => Fact::new(kind, workspace::root(), id),
    };
    noted.class = Class::System;
    noted.touched = None;
    write.record(noted).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::notices::NoticeQuery;
    use crate::store::testing::{Home, path};
    use crate::store::usage::{HourUse, UsageCounts};

    async fn notices(home: &Home, kind: &str) -> u64 {
        let query = NoticeQuery {
            reach: vec![path(workspace::root())],
            reader: "tok_a".into(),
            unread: false,
            kind: Some(kind.into()),
            target: None,
            withdrawn: false,
            after: None,
            limit: 1,
        };
        home.store.count_notices(&query).await.unwrap()
    }

    async fn found(home: &Home, hints: &mut Hints, findings: Findings) {
        hints.found(&[], findings);
        hints.write(&home.store, home.now()).await.unwrap();
    }

    #[tokio::test]
    async fn a_new_network_is_noted_once_a_day_and_key() {
        let home = Home::new().await;
        let new = |key: u128| Findings {
            new_networks: vec![(Id::from_bits(key), "10.0.0.0/24".into())],
            ..Findings::default()
        };
        let kind = "key.new_network";
        let mut hints = Hints::default();
        for key in [1, 1, 2] {
            found(&home, &mut hints, new(key)).await;
        }
        assert_eq!(notices(&home, kind).await, 2);
        // Another process knows it from the store.
        found(&home, &mut Hints::default(), new(1)).await;
        assert_eq!(notices(&home, kind).await, 2);
        home.clock.advance_millis(DAY_MILLIS);
        found(&home, &mut hints, new(1)).await;
        assert_eq!(notices(&home, kind).await, 3);
    }

    #[tokio::test]
    async fn a_month_without_a_use_is_quiet() {
        let home = Home::new().await;
        let again = |key: u128, days: i64| Findings {
            used_again: vec![(
                Id::from_bits(key),
                home.now(),
                home.later(days * DAY_MILLIS),
            )],
            ..Findings::default()
        };
        let mut hints = Hints::default();
        found(&home, &mut hints, again(1, 29)).await;
        assert_eq!(notices(&home, "key.used_after_quiet").await, 0);
        found(&home, &mut hints, again(1, 30)).await;
        assert_eq!(notices(&home, "key.used_after_quiet").await, 1);
    }

    #[tokio::test]
    async fn a_key_that_runs_into_its_limit_is_no_spike() {
        let home = Home::new().await;
        let mut hints = Hints::default();
        for (key, limited, noted) in [(1, 1000, 0), (2, 901, 0), (3, 900, 1)] {
            let mut one = KeyUse::new(Id::from_bits(key), true);
            one.refusals = 1000;
            one.hours = vec![HourUse {
                hour: home.later(0),
                route: "app".into(),
                counts: UsageCounts {
                    refusals: 1000,
                    ..UsageCounts::default()
                },
                reasons: vec![("rate_limited", limited), ("scope", 1000 - limited)],
            }];
            let portion = [one];
            let findings = home.store.flush(&portion).await.unwrap();
            hints.found(&portion, findings);
            hints.write(&home.store, home.now()).await.unwrap();
            assert_eq!(notices(&home, "key.refusal_spike").await, noted, "{key}");
        }
    }

    #[tokio::test]
    async fn refusals_are_too_many_by_number_and_by_custom() {
        let home = Home::new().await;
        let cases = [
            (1, 99, 0, 0),
            (2, 100, 0, 1),
            (3, 100, 240, 2),
            (4, 100, 264, 2),
        ];
        let hour = |back: i64, refusals: u64| HourUse {
            hour: home.later(-back * HOUR_MILLIS),
            route: "app".into(),
            counts: UsageCounts {
                refusals,
                ..UsageCounts::default()
            },
            reasons: Vec::new(),
        };
        let mut hints = Hints::default();
        for (key, in_hour, day_before, noted) in cases {
            let mut one = KeyUse::new(Id::from_bits(key), true);
            one.refusals = in_hour;
            one.hours = vec![hour(0, in_hour), hour(5, day_before)];
            let portion = [one];
            let findings = home.store.flush(&portion).await.unwrap();
            hints.found(&portion, findings);
            hints.write(&home.store, home.now()).await.unwrap();
            assert_eq!(notices(&home, "key.refusal_spike").await, noted, "{key}");
        }
    }
}
