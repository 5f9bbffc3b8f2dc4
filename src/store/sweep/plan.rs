//! What is due for a key at a moment, and when to look again. Pure: the same is asked outside and inside the transaction.

use super::known::Known;
use super::{Context, later};
use crate::domain::id::Kind;
use crate::domain::inactivity::{Case, Decision, NOTICE_DAYS, Step};
use crate::domain::key::record::{DAY_MILLIS, RESTORABLE_MILLIS};
use crate::domain::key::{KeyRecord, KeyState};
use crate::domain::time::Timestamp;

/// A tombstone stays a day longer than it can be restored, so that nobody's restore meets its end.
const PURGE_MILLIS: i64 = RESTORABLE_MILLIS + DAY_MILLIS;
/// Nobody needs to hear of an end that is long over, such as an imported key's.
const OLD_NEWS: i64 = 30 * DAY_MILLIS;

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    /// The grace of a rotation is over.
    EndRotation,
    /// Drop secrets that retired long ago.
    Forget,
    /// Take back what was announced.
    Withdraw,
    /// Announce that it will go.
    Announce {
        /// Since when nobody has used it.
        baseline: Timestamp,
        /// Which notice it is, which ones it makes up for, when the key goes.
        decision: Decision,
    },
    /// End it for inactivity.
    End(Decision),
    /// Take back these facts about its end.
    WithdrawEnds(Vec<String>),
    /// Say that it will expire.
    Expiring {
        /// In so many days at most.
        days: i64,
        /// What makes it one of its kind.
        fact: String,
    },
    /// Say that it has expired.
    Expired {
        /// What makes it one of its kind.
        fact: String,
    },
    /// Remove the tombstone.
    Purge,
}

/// What is due, and when to look again if nothing is; `None`: never, as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    pub(super) tasks: Vec<Task>,
    pub(super) next: Option<Timestamp>,
}

impl Plan {
    fn look(&mut self, at: Timestamp) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

pub(super) fn plan(key: &KeyRecord, known: &Known, context: &Context, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    match key.state {
        KeyState::Deleted => purge(&mut plan, key, context, now),
        KeyState::Active | KeyState::Disabled | KeyState::Revoked => {
            if let Some(end) = key.rotating_until {
                if end <= now {
                    plan.tasks.push(Task::EndRotation);
                } else {
                    plan.look(end);
                }
            }
            forget(&mut plan, key, context, now);
        }
    }
    if key.state == KeyState::Active {
        inactivity(&mut plan, key, known, context, now);
        expiry(&mut plan, key, known, now);
    } else {
        if key.marks.inactive_at.is_some() || !known.steps.is_empty() {
            plan.tasks.push(Task::Withdraw);
        }
        withdraw_ends(&mut plan, known, |_| false);
    }
    plan
}

fn forget(plan: &mut Plan, key: &KeyRecord, context: &Context, now: Timestamp) {
    match key.forgets_at() {
        Some(end) if now < end || context.hold => plan.look(end),
        Some(_) => plan.tasks.push(Task::Forget),
        None => {}
    }
}

fn purge(plan: &mut Plan, key: &KeyRecord, context: &Context, now: Timestamp) {
    let deleted = key
        .state_note
        .as_ref()
        .map_or(key.updated_at, |note| note.at);
    let end = later(deleted, PURGE_MILLIS);
    if now < end || context.hold {
        plan.look(end);
    } else {
        plan.tasks.push(Task::Purge);
    }
}

/// The case of a key: steps of its present baseline, and whether others stand.
pub(super) fn case<'a>(
    key: &KeyRecord,
    known: &Known,
    context: &Context,
    steps: &'a mut Vec<Step>,
) -> Case<'a> {
    let (policy, baseline) = context.policies.of(key);
    let baseline = context
        .journal_gap
        .map_or(baseline, |gap| gap.max(baseline));
    steps.extend(
        known
            .steps
            .iter()
            .filter(|(of, _)| *of == baseline)
            .map(|(_, step)| *step),
    );
    let others = steps.len() < known.steps.len();
    let orphaned = steps.is_empty() && key.marks.inactive_at.is_some();
    Case {
        policy,
        baseline,
        steps,
        stale: others || orphaned,
        hold: context.hold,
    }
}

fn inactivity(plan: &mut Plan, key: &KeyRecord, known: &Known, context: &Context, now: Timestamp) {
    let mut steps = Vec::new();
    let case = case(key, known, context, &mut steps);
    match case.decide(now) {
        Decision::Nothing => {
            if let Some(next) = case.next_look(now) {
                plan.look(next);
            }
        }
        Decision::Withdraw => plan.tasks.push(Task::Withdraw),
        decision @ Decision::RecordNotice { .. } => plan.tasks.push(Task::Announce {
            baseline: case.baseline,
            decision,
        }),
        decision @ Decision::Act(_) => plan.tasks.push(Task::End(decision)),
    }
}

fn expiry(plan: &mut Plan, key: &KeyRecord, known: &Known, now: Timestamp) {
    let Some(end) = key.expires_at else {
        withdraw_ends(plan, known, |_| false);
        return;
    };
    let id = key.id.text(Kind::Key);
    let expired = format!("key.expired:{id}:{}:", end.as_millis());
    let expiring = format!("key.expiring:{id}:{}:", end.as_millis());
    if end <= now {
        withdraw_ends(plan, known, |fact| fact.starts_with(&expired));
        let news = now.as_millis() - end.as_millis() < OLD_NEWS && end >= key.created_at;
        if news && !known.stands(&expired) {
            let fact = format!("{expired}{}", now.as_millis());
            plan.tasks.push(Task::Expired { fact });
        }
        return;
    }
    withdraw_ends(plan, known, |fact| fact.starts_with(&expiring));
    plan.look(end);
    let mut due = None;
    for days in NOTICE_DAYS {
        let at = later(end, -days * DAY_MILLIS);
        if at > now {
            plan.look(at);
        } else if at >= key.created_at {
            due = Some(days);
        }
    }
    if let Some(days) = due {
        let step = format!("{expiring}{days}:");
        if !known.stands(&step) {
            let fact = format!("{step}{}", now.as_millis());
            plan.tasks.push(Task::Expiring { days, fact });
        }
    }
}

/// Takes back what stands and is not true any more.
fn withdraw_ends(plan: &mut Plan, known: &Known, holds: impl Fn(&str) -> bool) {
    let gone: Vec<String> = known
        .ends
        .iter()
        .filter(|(fact, stands)| *stands && !holds(fact))
        .map(|(fact, _)| fact.clone())
        .collect();
    if !gone.is_empty() {
        plan.tasks.push(Task::WithdrawEnds(gone));
    }
}
