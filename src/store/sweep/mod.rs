//! What time does to keys. Each key has a time when it must be looked at next, so a sweep reads those that are due and
//! no others; what is to be done is decided again inside the transaction that does it.
//!
//! Long because a sweep is told from its lease to what it removes last.

mod act;
mod known;
mod plan;
mod policy;
mod preview;

pub use preview::Preview;

use super::Store;
use super::error::StoreError;
use super::sql::{Columns, Sql};
use super::write::Write;
use crate::domain::actor::Actor;
use crate::domain::id::{Id, Kind};
use crate::domain::key::KeyRecord;
use crate::domain::key::record::{DAY_MILLIS, Inactivity};
use crate::domain::time::Timestamp;
use known::Known;
use policy::Policies;
use std::collections::HashMap;

const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;
/// Keys that are looked at together.
const BATCH: i64 = 200;
/// Keys that change in one transaction.
const AT_ONCE: usize = 50;
/// Nobody else sweeps for so long.
const LEASE: i64 = 5 * MINUTE;
/// A pause longer than this is a downtime or a jump of the clock: nothing ends for a day after it.
const PAUSE: i64 = 36 * HOUR;
/// What a flush may be late by.
const LATE: i64 = 10 * MINUTE;
/// A key that is never at rest is left alone for a while.
const MOST_ACTS: u8 = 8;

const LEASE_NAME: &str = "sweep.lease";
const SWEPT: &str = "sweep.swept_at";
const DOUBT: &str = "sweep.doubt_until";
const PRUNED: &str = "sweep.pruned_at";
const AUDIT_CUT: &str = "sweep.audit_cut_at";
const JOURNAL_GAP: &str = "usage.gap_at";

/// A node that says nothing for so long may have uses that nobody else knows of.
const SILENT: i64 = MINUTE;

/// What a sweep goes by.
#[derive(Debug, Clone)]
pub struct SweepInput {
    /// This process, as it is noted among the nodes.
    pub node: String,
    /// Policy of workspaces that have none and inherit none.
    pub default: Inactivity,
    /// Whether uses may be missing in the store now.
    pub uses_missing: bool,
    /// Whether the clock has jumped since the sweep before.
    pub clock_jumped: bool,
    /// How long the audit log is kept, in milliseconds; `None`: for ever.
    pub audit_retention: Option<i64>,
    /// How long figures of use are kept, in milliseconds; `None`: for ever.
    pub usage_retention: Option<i64>,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SweepReport {
    /// Whether it was this process's turn.
    pub acted: bool,
    /// Keys that were looked at.
    pub looked: u64,
    /// Notices of inactivity.
    pub announced: u64,
    /// Those taken back.
    pub withdrawn: u64,
    /// Keys disabled for inactivity.
    pub disabled: u64,
    /// Keys deleted for inactivity.
    pub deleted: u64,
    /// Notices of a coming end.
    pub expiring: u64,
    /// Keys whose end has come.
    pub expired: u64,
    /// Rotations whose grace is over.
    pub retired: u64,
    /// Keys that lost secrets which had retired long ago.
    pub forgotten: u64,
    /// Tombstones removed.
    pub purged: u64,
}

/// What all keys of one sweep are looked at with.
#[derive(Debug, Clone)]
struct Context {
    policies: Policies,
    /// Nothing ends.
    hold: bool,
    /// Uses before this may be lost.
    journal_gap: Option<Timestamp>,
}

impl Store {
    /// Does what time has made due, if no other node is at it.
    pub async fn sweep(&self, input: &SweepInput) -> Result<SweepReport, StoreError> {
        let mut report = SweepReport::default();
        if !self.take_sweep_lease(&input.node).await? {
            return Ok(report);
        }
        report.acted = true;
        let hold = self.note_sweep_time(input).await?;
        let silent = later(self.clock.now(), -SILENT);
        let missing = input.uses_missing || self.is_another_silent(&input.node, silent).await?;
        let mut context = Context {
            policies: self.refresh_policies(input.default).await?,
            hold: hold || missing,
            journal_gap: self.setting_time(JOURNAL_GAP).await?,
        };
        let mut acts: HashMap<Id, u8> = HashMap::new();
        while self.take_sweep_lease(&input.node).await? {
            // A sweep of many keys lasts: a policy that is switched off meanwhile ends no more of them.
            if !self.policies_hold(&context.policies).await? {
                context.policies = self.refresh_policies(input.default).await?;
            }
            let keys = self.due_keys().await?;
            if keys.is_empty() {
                break;
            }
            report.looked += keys.len() as u64;
            self.look_at(&keys, &context, &mut acts, &mut report)
                .await?;
        }
        if !hold {
            self.prune_all(input.usage_retention).await?;
            self.cut_audit(input.audit_retention).await?;
        }
        Ok(report)
    }

    /// Notes that uses before this moment may be lost: inactivity counts from it, if from nothing later.
    pub async fn note_usage_gap(&self, at: Timestamp) -> Result<(), StoreError> {
        self.put_setting(JOURNAL_GAP, &at.as_millis().to_string())
            .await
    }

    /// Gives the lease back, if this node has it.
    pub async fn leave_sweep(&self, node: &str) -> Result<(), StoreError> {
        let seen = self.setting(LEASE_NAME).await?;
        let mine = |text: &&str| {
            text.rsplit_once(' ')
                .is_some_and(|(holder, _)| holder == node)
        };
        if let Some(seen) = seen.as_deref().filter(mine) {
            self.swap_setting(LEASE_NAME, Some(seen), "").await?;
        }
        Ok(())
    }

    /// Takes or renews the lease; whether this node has it.
    async fn take_sweep_lease(&self, node: &str) -> Result<bool, StoreError> {
        let now = self.clock.now().as_millis();
        let seen = self.setting(LEASE_NAME).await?;
        let held = seen.as_deref().and_then(|text| {
            let (holder, until) = text.rsplit_once(' ')?;
            let until: i64 = until.parse().ok()?;
            // Longer than any lease: given by a clock that was ahead.
            (now < until && until <= now + LEASE).then_some((holder, until))
        });
        match held {
            Some((holder, _)) if holder != node => return Ok(false),
            Some((_, until)) if until - now > LEASE / 2 => return Ok(true),
            Some(_) | None => {}
        }
        let mine = format!("{node} {}", now + LEASE);
        self.swap_setting(LEASE_NAME, seen.as_deref(), &mine).await
    }

    /// Notes the time of this sweep, and makes good what a clock ahead of time left behind; whether time is in doubt.
    async fn note_sweep_time(&self, input: &SweepInput) -> Result<bool, StoreError> {
        let now = self.clock.now().as_millis();
        let before = self.setting_time(SWEPT).await?.map(Timestamp::as_millis);
        let back = before.is_some_and(|before| before > now + 5 * MINUTE);
        if back {
            self.reset_looks().await?;
            self.reset_deliveries().await?;
        }
        let paused = before.is_some_and(|before| now - before > PAUSE);
        let doubt = self.setting_time(DOUBT).await?.map(Timestamp::as_millis);
        let doubt = if back || paused || input.clock_jumped {
            let until = now + DAY_MILLIS;
            self.put_setting(DOUBT, &until.to_string()).await?;
            Some(until)
        } else {
            doubt
        };
        let since = before.unwrap_or(now).min(now) - LATE;
        self.wake_used(Timestamp::from_millis(since)).await?;
        self.put_setting(SWEPT, &now.to_string()).await?;
        Ok(doubt.is_some_and(|until| now < until))
    }

    /// Has keys looked at that were to go and were used since a time.
    pub(super) async fn wake_used(&self, since: Timestamp) -> Result<(), StoreError> {
        let mut wake = Sql::new(
            "UPDATE keys SET sweep_at = 0 WHERE inactive_at IS NOT NULL AND sweep_at > 0 AND last_used_at >= ",
        );
        wake.bind(since);
        self.run_behind_head(wake).await.map(|_| ())
    }

    /// Runs a statement on many rows of keys. Whoever changes keys takes the head first, so this does too: two that took the
    /// rows in different orders would wait for each other.
    async fn run_behind_head(&self, sql: Sql) -> Result<u64, StoreError> {
        let mut tx = self.transaction().await?;
        self.dialect.lock_head(&mut tx).await?;
        let done = sql.query().execute(&mut *tx).await?.rows_affected();
        tx.commit().await?;
        Ok(done)
    }

    /// Has all keys looked at, some at a time, so that others can write in between.
    pub(super) async fn reset_looks(&self) -> Result<(), StoreError> {
        const SOME: i64 = 5000;
        loop {
            let mut reset = Sql::new(
                "UPDATE keys SET sweep_at = 0 WHERE id IN (SELECT id FROM keys WHERE sweep_at > 0 LIMIT ",
            );
            reset.bind(SOME).push(")");
            if self.run_behind_head(reset).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn due_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let mut select = Sql::new("SELECT id FROM keys WHERE sweep_at <= ");
        select
            .bind(self.clock.now())
            .push(" ORDER BY sweep_at, id LIMIT ")
            .bind(BATCH);
        let rows = select.query().fetch_all(&self.pools.read).await?;
        let ids = rows
            .iter()
            .map(|row| row.id("id", Kind::Key))
            .collect::<Result<Vec<_>, _>>()?;
        self.keys(&ids).await
    }

    /// Does what is due for these keys, and notes when the others must be looked at again.
    async fn look_at(
        &self,
        keys: &[KeyRecord],
        context: &Context,
        acts: &mut HashMap<Id, u8>,
        report: &mut SweepReport,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut connection = self.pools.read.acquire().await?;
        let ids: Vec<Id> = keys.iter().map(|key| key.id).collect();
        let mut known = known::of(&mut connection, &ids).await?;
        drop(connection);
        let mut quiet = Vec::new();
        let mut busy = Vec::new();
        for key in keys {
            let plan = plan::plan(
                key,
                &known.remove(&key.id).unwrap_or_default(),
                context,
                now,
            );
            let tries = acts.entry(key.id).or_default();
            if plan.tasks.is_empty() {
                quiet.push((key, plan.next));
            } else if *tries < MOST_ACTS {
                *tries += 1;
                busy.push(key.id);
            } else {
                quiet.push((key, Some(later(now, HOUR))));
            }
        }
        self.note_looks(&quiet).await?;
        for some in busy.chunks(AT_ONCE) {
            if let Err(fault) = self.act_on(some, context, report).await {
                self.act_on_each(some, context, report, fault).await?;
            }
        }
        Ok(())
    }

    /// After a fault with some keys: each alone, so that one that cannot be dealt with does not stop the others.
    async fn act_on_each(
        &self,
        ids: &[Id],
        context: &Context,
        report: &mut SweepReport,
        fault: StoreError,
    ) -> Result<(), StoreError> {
        if let StoreError::Unavailable(_) = fault {
            return Err(fault);
        }
        for id in ids {
            match self.act_on(&[*id], context, report).await {
                Ok(()) => {}
                Err(fault @ StoreError::Unavailable(_)) => return Err(fault),
                Err(fault) => {
                    tracing::warn!(key.id = %id.text(Kind::Key), %fault, "a key cannot be swept");
                    let mut later_then = Sql::new("UPDATE keys SET sweep_at = ");
                    later_then
                        .bind(later(self.clock.now(), HOUR))
                        .push(" WHERE id = ")
                        .bind(id.text(Kind::Key).to_string());
                    later_then.query().execute(&self.pools.write).await?;
                }
            }
        }
        Ok(())
    }

    /// Notes when keys must be looked at again, unless they have changed since they were read.
    pub(super) async fn note_looks(
        &self,
        looks: &[(&KeyRecord, Option<Timestamp>)],
    ) -> Result<(), StoreError> {
        if looks.is_empty() {
            return Ok(());
        }
        let soonest = later(self.clock.now(), MINUTE);
        let mut tx = self.transaction().await?;
        self.dialect.lock_head(&mut tx).await?;
        for (key, next) in looks {
            let next = next.map_or(Timestamp::from_millis(i64::MAX), |next| next.max(soonest));
            let mut note = Sql::new("UPDATE keys SET sweep_at = ");
            note.bind(next).push(" WHERE id = ");
            note.bind(key.id.text(Kind::Key).to_string());
            note.push(" AND revision = ");
            note.bind(i64::try_from(key.revision).unwrap_or(i64::MAX));
            note.query().execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Does what is due for these keys, in one transaction.
    async fn act_on(
        &self,
        ids: &[Id],
        context: &Context,
        report: &mut SweepReport,
    ) -> Result<(), StoreError> {
        let mut write = self.begin(&Actor::system("sweep")).await?;
        if !context.policies.hold(write.connection()).await? {
            // Decided by what held before; they are due still, and looked at again.
            return Ok(());
        }
        let mut done = SweepReport::default();
        let mut any = false;
        let mut known = known::of(write.connection(), ids).await?;
        for &id in ids {
            let key = match write.key(id).await {
                Ok(key) => key,
                Err(StoreError::NotFound) => continue,
                Err(fault) => return Err(fault),
            };
            let facts: Known = known.remove(&id).unwrap_or_default();
            let plan = plan::plan(&key, &facts, context, write.now);
            any |= !plan.tasks.is_empty();
            write.do_tasks(key, plan.tasks, &mut done).await?;
        }
        if any {
            write.commit().await?;
            report.add(&done);
        }
        Ok(())
    }

    /// Cuts off what of the audit log is older than it is kept; once a day, since each cut is an event itself.
    async fn cut_audit(&self, retention: Option<i64>) -> Result<(), StoreError> {
        let Some(retention) = retention else {
            return Ok(());
        };
        let now = self.clock.now();
        let age = |before: Timestamp| now.as_millis() - before.as_millis();
        let before = self.setting_time(AUDIT_CUT).await?;
        if before.is_some_and(|before| (0..DAY_MILLIS).contains(&age(before))) {
            return Ok(());
        }
        let mut more = true;
        while more {
            let mut write = self.begin(&Actor::system("retention")).await?;
            let cut = write.checkpoint_audit(later(now, -retention)).await?;
            more = cut.as_ref().is_some_and(|(_, more)| *more);
            if let Some((cut, _)) = cut {
                write.commit().await?;
                tracing::info!(through = cut.sequence, hash = %cut.hash, "the audit log was cut");
            }
        }
        self.put_setting(AUDIT_CUT, &now.as_millis().to_string())
            .await
    }

    /// Removes what is kept for a time only; once an hour.
    async fn prune_all(&self, usage_retention: Option<i64>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let before = self.setting_time(PRUNED).await?;
        let fresh = |before: Timestamp| {
            let age = now.as_millis() - before.as_millis();
            (0..HOUR).contains(&age)
        };
        if before.is_some_and(fresh) {
            return Ok(());
        }
        let ago = |days: i64| later(now, -days * DAY_MILLIS);
        // Where no gateway tells webhooks, nobody else takes events out.
        while self.spread_outbox().await? > 0 {}
        self.prune_outbox(ago(30)).await?;
        if let Some(retention) = usage_retention {
            self.prune_usage(later(now, -retention)).await?;
        }
        self.prune("idempotency", "created_at", "", ago(1)).await?;
        self.prune("changes", "at", "", ago(7)).await?;
        for column in ["ended_at", "expires_at"] {
            self.prune("sessions", column, "", ago(30)).await?;
        }
        let mut reads = Sql::new(
            "DELETE FROM notice_reads WHERE notice IN (SELECT id FROM notices WHERE at < ",
        );
        reads.bind(ago(366)).push(")");
        reads.query().execute(&self.pools.write).await?;
        self.prune("notices", "at", "", ago(366)).await?;
        self.put_setting(PRUNED, &now.as_millis().to_string()).await
    }
}

impl Write {
    /// As [`Store::note_usage_gap`], now.
    pub(super) async fn note_usage_gap(&mut self) -> Result<(), StoreError> {
        let now = self.now.as_millis().to_string();
        let mut put = Sql::new("INSERT INTO settings (name, value) VALUES (");
        put.bind(JOURNAL_GAP).push(", ").bind(now);
        put.push(") ON CONFLICT (name) DO UPDATE SET value = excluded.value");
        self.run(put).await?;
        Ok(())
    }
}

impl SweepReport {
    fn add(&mut self, more: &Self) {
        self.announced += more.announced;
        self.withdrawn += more.withdrawn;
        self.disabled += more.disabled;
        self.deleted += more.deleted;
        self.expiring += more.expiring;
        self.expired += more.expired;
        self.retired += more.retired;
        self.forgotten += more.forgotten;
        self.purged += more.purged;
    }
}

fn later(now: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_add(millis))
}

#[cfg(test)]
mod tests;
