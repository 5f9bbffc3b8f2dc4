//! What becomes of a key that nobody uses: notices 15, 7 and 1 days before, then its end. Pure: takes what is known of
//! a key at a moment, and says what to do.
//!
//! The promise: nothing goes unless every notice for its present baseline was made, the last at least a day before. A
//! notice that is late moves the deadline, so that what it says is true; missed ones are made up for by one, but never
//! by the last alone.

use super::key::record::{DAY_MILLIS, Inactivity, InactivityMode};
use super::time::Timestamp;

/// How many days before the deadline there is a notice.
pub const NOTICE_DAYS: [i64; 3] = [15, 7, 1];
/// Uses are written within ten seconds: whoever used the key in time must be seen.
const SETTLE: i64 = 60_000;
/// How far clocks of nodes may be apart.
const SKEW: i64 = 5 * 60_000;

/// A notice that was made for a baseline. One that made up for others stands beside them, with the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which of [`NOTICE_DAYS`].
    pub days: i64,
    /// When.
    pub at: Timestamp,
}

/// What is known of a key.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What is to happen, and after how long.
    pub policy: Inactivity,
    /// Since when nobody has used it.
    pub baseline: Timestamp,
    /// Notices made for this baseline.
    pub steps: &'a [Step],
    /// Whether notices for another baseline still stand.
    pub stale: bool,
    /// Whether uses may be missing, or time itself is in doubt: nothing ends then.
    pub hold: bool,
}

/// How a key ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Switched off.
    Disable,
    /// Made a tombstone.
    Delete,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Nothing,
    /// Take back what was announced.
    Withdraw,
    /// Announce it.
    RecordNotice {
        /// Which notice it is.
        days: i64,
        /// Which ones are done with by it, itself included.
        covers: Vec<i64>,
        /// What it says: when the key goes, unless it is used.
        due_at: Timestamp,
    },
    /// End it.
    Act(Ending),
}

/// What will be, if nobody uses the key and nothing is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// The next notice.
    pub next_notice_at: Option<Timestamp>,
    /// When the key goes; with mode `notify`, when it would.
    pub goes_at: Timestamp,
}

impl Case<'_> {
    /// What to do at this time.
    pub fn decide(&self, now: Timestamp) -> Decision {
        if self.stale || self.is_void(now) {
            return Decision::Withdraw;
        }
        if self.policy.mode == InactivityMode::Off {
            return match self.steps {
                [] => Decision::Nothing,
                _ => Decision::Withdraw,
            };
        }
        let missing = self.missing();
        if missing.is_empty() {
            let due = !self.hold && self.end_at().is_some_and(|end| now >= end);
            return match self.ending() {
                Some(ending) if due => Decision::Act(ending),
                Some(_) | None => Decision::Nothing,
            };
        }
        self.notice(&missing, now)
    }

    /// When there will be something to decide, as long as nothing changes; `None`: never.
    pub fn next_look(&self, now: Timestamp) -> Option<Timestamp> {
        if self.decide(now) != Decision::Nothing {
            return Some(now);
        }
        if self.policy.mode == InactivityMode::Off {
            return None;
        }
        let missing = self.missing();
        match missing.first() {
            Some(&days) => Some(self.planned(days).max(self.spaced(&missing))),
            None => self.ending().and_then(|_| self.end_at()),
        }
    }

    /// What will be, if nobody uses the key and each moment is seen in time.
    pub fn forecast(&self, now: Timestamp) -> Option<Forecast> {
        if self.policy.mode == InactivityMode::Off {
            return None;
        }
        let mut steps = if self.stale || self.is_void(now) {
            Vec::new()
        } else {
            self.steps.to_vec()
        };
        let mut next_notice_at = None;
        let mut at = now;
        // Each round makes a notice, waits, or ends.
        for _ in 0..4 * NOTICE_DAYS.len() {
            let case = Case {
                steps: &steps,
                stale: false,
                hold: false,
                ..*self
            };
            match case.decide(at) {
                Decision::RecordNotice { covers, .. } => {
                    next_notice_at = next_notice_at.or(Some(at));
                    steps.extend(covers.into_iter().map(|days| Step { days, at }));
                }
                Decision::Nothing => match case.next_look(at) {
                    Some(next) if next > at => at = next,
                    Some(_) | None => break,
                },
                Decision::Withdraw | Decision::Act(_) => break,
            }
        }
        let goes_at = Case {
            steps: &steps,
            ..*self
        }
        .deadline();
        Some(Forecast {
            next_notice_at,
            goes_at,
        })
    }

    /// When the key goes, as far as it was announced: what the latest notice said, never before its time.
    pub fn deadline(&self) -> Timestamp {
        self.steps
            .iter()
            .filter(|step| {
                // Of notices made at once the nearest was the one that was told.
                !self
                    .steps
                    .iter()
                    .any(|other| other.at == step.at && other.days < step.days)
            })
            .map(|step| after(step.at, step.days * DAY_MILLIS))
            .fold(self.own_deadline(), Timestamp::max)
    }

    /// Without what was late.
    fn own_deadline(&self) -> Timestamp {
        after(self.baseline, self.policy.after)
    }

    /// Notices that this policy needs, the earliest first. A short one still has the last.
    fn required(&self) -> impl Iterator<Item = i64> {
        let after = self.policy.after;
        NOTICE_DAYS
            .into_iter()
            .filter(move |&days| days == 1 || days * DAY_MILLIS < after)
    }

    fn missing(&self) -> Vec<i64> {
        self.required()
            .filter(|&days| !self.steps.iter().any(|step| step.days == days))
            .collect()
    }

    fn planned(&self, days: i64) -> Timestamp {
        after(self.deadline(), -days * DAY_MILLIS)
    }

    /// Not before: the last notice keeps a day's distance from the one before it.
    fn spaced(&self, missing: &[i64]) -> Timestamp {
        let latest = self.steps.iter().map(|step| step.at).max();
        match (missing, latest) {
            ([_], Some(latest)) => after(latest, DAY_MILLIS),
            _ => Timestamp::from_millis(i64::MIN),
        }
    }

    /// Whether a notice was made that could not have been: by a clock that was ahead, or under a policy that was
    /// stricter. What it said is not true.
    fn is_void(&self, now: Timestamp) -> bool {
        let latest = after(now, SKEW);
        self.steps.iter().any(|step| {
            step.at > latest || after(self.own_deadline(), -step.days * DAY_MILLIS) > latest
        })
    }

    fn notice(&self, missing: &[i64], now: Timestamp) -> Decision {
        let mut covers: Vec<i64> = missing
            .iter()
            .copied()
            .filter(|&days| self.planned(days) <= now)
            .collect();
        // The last notice is never the only one that is seen, where there should be more.
        if covers.len() > 1 && covers.last() == Some(&1) {
            covers.pop();
        }
        match covers.last() {
            Some(&days) if self.spaced(missing) <= now => Decision::RecordNotice {
                days,
                due_at: after(now, days * DAY_MILLIS).max(self.deadline()),
                covers,
            },
            Some(_) | None => Decision::Nothing,
        }
    }

    /// When everything was announced for long enough.
    fn end_at(&self) -> Option<Timestamp> {
        let last = self.steps.iter().map(|step| step.at).max()?;
        Some(after(self.deadline().max(after(last, DAY_MILLIS)), SETTLE))
    }

    fn ending(&self) -> Option<Ending> {
        match self.policy.mode {
            InactivityMode::Off | InactivityMode::Notify => None,
            InactivityMode::Disable => Some(Ending::Disable),
            InactivityMode::Delete => Some(Ending::Delete),
        }
    }
}

impl Inactivity {
    /// Whether a key may go sooner under this policy, or go where it would not have.
    pub fn is_stricter_than(&self, other: &Self) -> bool {
        self.mode != InactivityMode::Off && (self.mode > other.mode || self.after < other.after)
    }
}

fn after(at: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(at.as_millis().saturating_add(millis))
}

#[cfg(test)]
mod tests;
