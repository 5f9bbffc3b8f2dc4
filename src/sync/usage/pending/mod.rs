//! What is not in the store yet, by key, in the order in which it goes there. Bounded: while the store is away for long, hours and new keys are left out, but
//! the last use of the keys that are known stays right.

use super::networks::{Networks, network};
use crate::domain::id::Id;
use crate::domain::key::Origin;
use crate::domain::time::Timestamp;
use crate::snapshot::events::{Entry, Seen};
use crate::store::usage::{HourUse, KeyUse, MOST_NETWORKS, NetworkUse, SecretUse, UsageCounts};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Rows that wait at most, about.
const MOST_ROWS: usize = 500_000;

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Pending {
    keys: BTreeMap<Id, Box<KeyUse>>,
    rows: usize,
    /// The last key that was taken.
    at: Option<Id>,
}

impl Pending {
    /// Keys that wait.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Takes the keys behind the last ones that were taken, with so many rows in all, but one key at least; and whether
    /// these are the last ones, so that the first come next. Keys whose ids are next to each other are often on one page
    /// of the store, so a round through all of them costs far less than the same keys in any other order.
    pub(super) fn take(&mut self, rows: usize) -> (Vec<KeyUse>, bool) {
        let from = self.at.map_or(Bound::Unbounded, Bound::Excluded);
        let mut taken = 0;
        let fits = |(_, of_key): &(Id, usize)| {
            let first = taken == 0;
            taken += of_key;
            first || taken <= rows
        };
        let behind = self.keys.range((from, Bound::Unbounded));
        let behind = behind.map(|(id, one)| (*id, one.rows()));
        let ids: Vec<Id> = behind.take_while(fits).map(|(id, _)| id).collect();
        let mut portion = Vec::with_capacity(ids.len());
        for id in &ids {
            portion.extend(self.keys.remove(id).map(|one| *one));
        }
        let gone: usize = portion.iter().map(KeyUse::rows).sum();
        self.rows = self.rows.saturating_sub(gone);
        self.at = ids.last().copied().or(self.at);
        let from = self.at.map_or(Bound::Unbounded, Bound::Excluded);
        let last = self.keys.range((from, Bound::Unbounded)).next().is_none();
        if last {
            self.at = None;
        }
        (portion, last)
    }

    /// Takes back what could not be written, older than what came meanwhile.
    pub(super) fn put_back(&mut self, unwritten: Vec<KeyUse>) {
        self.at = None;
        for mut old in unwritten {
            if let Some(new) = self.keys.remove(&old.key) {
                self.rows = self.rows.saturating_sub(new.rows());
                merge(&mut old, *new);
            }
            self.rows += old.rows();
            self.keys.insert(old.key, Box::new(old));
        }
    }

    /// Adds what a worker counted; the number of requests that there was no room for.
    pub(super) fn add(
        &mut self,
        (hour, route): (Timestamp, &Arc<str>),
        entry: &Entry,
        networks: &Networks,
    ) -> u64 {
        let Some(mark) = entry.key else { return 0 };
        let refusals: u64 = entry.refusals().map(|(_, count)| count).sum();
        let requests = entry.permitted() + refusals;
        let full = self.rows >= MOST_ROWS;
        if full && !self.keys.contains_key(&mark.id) {
            return requests;
        }
        let one = self.keys.entry(mark.id).or_insert_with(|| {
            self.rows += 1;
            Box::new(KeyUse::new(mark.id, mark.origin == Origin::File))
        });
        one.uses += entry.permitted();
        one.refusals += refusals;
        if let (Some(first), Some(last)) = (entry.first, entry.last) {
            one.first_used_at = earlier(one.first_used_at, Some(first.0));
            one.last_used = later(one.last_used, Some(last));
            if mark.origin == Origin::Store {
                let secret = SecretUse {
                    hash: mark.hash,
                    algorithm: mark.algorithm,
                    uses: entry.permitted(),
                    last_used: last,
                };
                self.rows += add_secret(one, secret);
            }
            // From nowhere: somebody counted it who was not told.
            let other = Some(first).filter(|first| first.1 != last.1);
            for seen in other.into_iter().chain([last]) {
                if !seen.1.is_unspecified() && !networks.knows(mark.id, &seen) {
                    self.rows += add_network(one, seen);
                }
            }
        }
        let new = hour_of(hour, route, entry);
        match find_hour(one, &new) {
            Some(there) => add_hour(there, &new),
            None if full => return requests,
            None => {
                self.rows += 1 + new.reasons.len();
                one.hours.reserve_exact(1);
                one.hours.push(new);
            }
        }
        0
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    [one, other].into_iter().flatten().min()
}

fn later(one: Option<Seen>, other: Option<Seen>) -> Option<Seen> {
    [one, other].into_iter().flatten().max_by_key(|(at, _)| *at)
}

/// Adds to a secret's use; the number of new rows.
fn add_secret(one: &mut KeyUse, more: SecretUse) -> usize {
    if let Some(there) = one.secrets.iter_mut().find(|known| known.hash == more.hash) {
        there.uses += more.uses;
        if there.last_used.0 <= more.last_used.0 {
            there.last_used = more.last_used;
        }
        return 0;
    }
    // Most keys have one, and a vector would begin with room for four.
    one.secrets.reserve_exact(1);
    one.secrets.push(more);
    1
}

/// Adds a network while there is room; the number of new rows.
fn add_network(one: &mut KeyUse, (at, from): Seen) -> usize {
    let network = network(from).map_or_else(|| from.to_string(), |network| network.to_string());
    add_seen(
        one,
        NetworkUse {
            network,
            first_at: at,
            last_at: at,
        },
    )
}

fn add_seen(one: &mut KeyUse, more: NetworkUse) -> usize {
    let known = one
        .networks
        .iter_mut()
        .find(|known| known.network == more.network);
    if let Some(there) = known {
        there.first_at = there.first_at.min(more.first_at);
        there.last_at = there.last_at.max(more.last_at);
        return 0;
    }
    if one.networks.len() >= MOST_NETWORKS {
        return 0;
    }
    one.networks.reserve_exact(1);
    one.networks.push(more);
    1
}

fn hour_of(hour: Timestamp, route: &Arc<str>, entry: &Entry) -> HourUse {
    let reasons: Vec<(&'static str, u64)> = entry
        .refusals()
        .map(|(decision, count)| (decision.reason(), count))
        .collect();
    HourUse {
        hour,
        route: Arc::clone(route),
        counts: UsageCounts {
            requests: entry.permitted(),
            refusals: reasons.iter().map(|(_, count)| count).sum(),
            statuses: entry.statuses.map(u64::from),
            bytes_in: entry.bytes_in,
            bytes_out: entry.bytes_out,
        },
        reasons,
    }
}

/// The latest hours stand at the end.
fn find_hour<'a>(one: &'a mut KeyUse, new: &HourUse) -> Option<&'a mut HourUse> {
    one.hours
        .iter_mut()
        .rev()
        .find(|there| there.hour == new.hour && there.route == new.route)
}

fn add_hour(there: &mut HourUse, new: &HourUse) {
    there.counts.add(&new.counts);
    for (reason, count) in &new.reasons {
        match there.reasons.iter_mut().find(|(known, _)| known == reason) {
            Some((_, sum)) => *sum += count,
            None => there.reasons.push((reason, *count)),
        }
    }
}

fn merge(old: &mut KeyUse, new: KeyUse) {
    old.uses += new.uses;
    old.refusals += new.refusals;
    old.first_used_at = earlier(old.first_used_at, new.first_used_at);
    old.last_used = later(old.last_used, new.last_used);
    for more in new.secrets {
        add_secret(old, more);
    }
    for more in new.hours {
        match find_hour(old, &more) {
            Some(there) => add_hour(there, &more),
            None => old.hours.push(more),
        }
    }
    for more in new.networks {
        add_seen(old, more);
    }
}

#[cfg(test)]
mod tests;
