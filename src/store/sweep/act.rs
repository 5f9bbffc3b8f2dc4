//! Does what is due for a key, inside a transaction.

use super::SweepReport;
use super::plan::Task;
use crate::domain::id::Kind;
use crate::domain::inactivity::{Decision, Ending};
use crate::domain::key::KeyRecord;
use crate::domain::key::acts::{Act, ActFault};
use crate::domain::key::record::{InactivityMode, RESTORABLE_MILLIS};
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;
use crate::store::keys;
use crate::store::notices::{NewNotice, Severity};
use crate::store::sql::Sql;
use crate::store::write::{Class, Fact, Write};
use serde_json::{Value, json};

/// Kinds of the notices that a key will go, and that it went.
const INACTIVE: &str = "key.inactive";
const REASON: &str = "inactivity";

impl Write {
    pub(super) async fn do_tasks(
        &mut self,
        mut key: KeyRecord,
        tasks: Vec<Task>,
        done: &mut SweepReport,
    ) -> Result<(), StoreError> {
        for task in tasks {
            match task {
                Task::EndRotation => {
                    let before = key.clone();
                    key.rotating_until = None;
                    key = self.save_key(&before, key, "key.retired").await?;
                    done.retired += 1;
                }
                Task::Forget => {
                    let before = key.clone();
                    key.forget(self.now);
                    key = self.save_key(&before, key, "key.secret_forgotten").await?;
                    done.forgotten += 1;
                }
                Task::Withdraw => {
                    key = self.withdraw(key).await?;
                    done.withdrawn += 1;
                }
                Task::Announce { baseline, decision } => {
                    key = self.announce(key, baseline, decision).await?;
                    done.announced += 1;
                }
                Task::End(decision) => key = self.end(key, &decision, done).await?,
                Task::WithdrawEnds(facts) => self.withdraw_ends(&key, facts).await?,
                Task::Expiring { days, fact } => {
                    self.expiring(&key, days, fact).await?;
                    done.expiring += 1;
                }
                Task::Expired { fact } => {
                    self.expired(&key, fact).await?;
                    done.expired += 1;
                }
                Task::Purge => {
                    self.purge_key(&key).await?;
                    done.purged += 1;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn withdraw(&mut self, key: KeyRecord) -> Result<KeyRecord, StoreError> {
        self.forget_steps(&key).await?;
        self.withdraw_notices(key.id.text(Kind::Key).as_str(), INACTIVE)
            .await?;
        let mut after = key.clone();
        after.marks.inactive_at = None;
        self.save_key(&key, after, "key.inactive_withdrawn").await
    }

    async fn announce(
        &mut self,
        key: KeyRecord,
        baseline: Timestamp,
        decision: Decision,
    ) -> Result<KeyRecord, StoreError> {
        let Decision::RecordNotice {
            days,
            covers,
            due_at,
        } = decision
        else {
            return Ok(key);
        };
        let id = key.id.text(Kind::Key).to_string();
        for days in &covers {
            let mut insert =
                Sql::new("INSERT INTO inactivity_steps (key_id, baseline, days, at) VALUES (");
            insert.bind(id.clone()).push(", ").bind(baseline);
            insert.push(", ").bind(*days).push(", ").bind(self.now);
            insert.push(") ON CONFLICT (key_id, baseline, days) DO NOTHING");
            self.run(insert).await?;
        }
        // What was told before is told anew, with the time as it is now.
        self.withdraw_notices(&id, INACTIVE).await?;
        let new = NewNotice {
            fact: format!(
                "{INACTIVE}:{id}:{}:{days}:{}",
                baseline.as_millis(),
                self.revision
            ),
            kind: INACTIVE,
            severity: if days == 1 {
                Severity::Critical
            } else {
                Severity::Warning
            },
            workspace: key.workspace,
            target: id,
            title: format!(
                "The key “{}” has not been used since {}; without a use it goes on {}",
                key.name,
                day(baseline),
                day(due_at)
            ),
            data: json!({"days": days, "unused_since": baseline.to_string()}),
            due_at: Some(due_at),
        };
        self.notice(&new).await?;
        let mut after = key.clone();
        after.marks.inactive_at = Some(due_at);
        self.save_key(&key, after, INACTIVE).await
    }

    async fn end(
        &mut self,
        key: KeyRecord,
        decision: &Decision,
        done: &mut SweepReport,
    ) -> Result<KeyRecord, StoreError> {
        let Decision::Act(ending) = decision else {
            return Ok(key);
        };
        let act = Act {
            by: self.actor().text(),
            at: self.now,
            reason: Some(REASON.into()),
            text: None,
        };
        let mut after = key.clone();
        after.marks.inactive_at = None;
        let (action, word) = match ending {
            Ending::Disable => {
                after.disable(act).map_err(refused)?;
                done.disabled += 1;
                ("key.disabled", InactivityMode::Disable)
            }
            Ending::Delete => {
                after.delete(act).map_err(refused)?;
                done.deleted += 1;
                ("key.deleted", InactivityMode::Delete)
            }
        };
        self.forget_steps(&key).await?;
        let id = key.id.text(Kind::Key).to_string();
        self.withdraw_notices(&id, INACTIVE).await?;
        let restorable = Timestamp::from_millis(self.now.as_millis() + RESTORABLE_MILLIS);
        let title = match ending {
            Ending::Disable => format!("The key “{}” was disabled: nobody used it", key.name),
            Ending::Delete => format!(
                "The key “{}” was deleted: nobody used it; it can be restored until {}",
                key.name,
                day(restorable)
            ),
        };
        let new = NewNotice {
            fact: format!("key.ended:{id}:{}", self.revision),
            kind: "key.ended",
            severity: Severity::Warning,
            workspace: key.workspace,
            target: id,
            title,
            data: json!({"mode": word.name()}),
            due_at: None,
        };
        self.notice(&new).await?;
        self.save_key(&key, after, action).await
    }

    async fn forget_steps(&mut self, key: &KeyRecord) -> Result<(), StoreError> {
        let mut gone = Sql::new("DELETE FROM inactivity_steps WHERE key_id = ");
        gone.bind(key.id.text(Kind::Key).to_string());
        self.run(gone).await.map(|_| ())
    }

    async fn withdraw_ends(
        &mut self,
        key: &KeyRecord,
        facts: Vec<String>,
    ) -> Result<(), StoreError> {
        let mut update = Sql::new("UPDATE notices SET withdrawn_at = ");
        update.bind(self.now).push(" WHERE fact IN (");
        update.bind_list(facts).push(")");
        self.run(update).await?;
        let mut fact = system(key, "key.expiry_withdrawn");
        fact.event = None;
        self.record(fact).await.map(|_| ())
    }

    async fn expiring(
        &mut self,
        key: &KeyRecord,
        days: i64,
        fact: String,
    ) -> Result<(), StoreError> {
        let title = format!(
            "The key “{}” expires on {}",
            key.name,
            key.expires_at.map(day).unwrap_or_default()
        );
        let severity = if days == 1 {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let data = json!({"days": days});
        self.tell_of_end(key, ("key.expiring", severity), (fact, title), data)
            .await
    }

    async fn expired(&mut self, key: &KeyRecord, fact: String) -> Result<(), StoreError> {
        let title = format!("The key “{}” has expired", key.name);
        let kind = ("key.expired", Severity::Warning);
        self.tell_of_end(key, kind, (fact, title), json!({})).await
    }

    async fn tell_of_end(
        &mut self,
        key: &KeyRecord,
        (kind, severity): (&'static str, Severity),
        (fact, title): (String, String),
        data: Value,
    ) -> Result<(), StoreError> {
        let new = NewNotice {
            fact,
            kind,
            severity,
            workspace: key.workspace,
            target: key.id.text(Kind::Key).to_string(),
            title,
            data,
            due_at: key.expires_at,
        };
        self.notice(&new).await?;
        self.record(system(key, kind)).await.map(|_| ())
    }
}

/// A fact that changes nothing of the key.
fn system(key: &KeyRecord, action: &'static str) -> Fact {
    let mut fact = keys::fact(key, action);
    fact.class = Class::System;
    fact.touched = None;
    fact
}

fn refused(fault: ActFault) -> StoreError {
    StoreError::refused(fault.code(), fault.to_string())
}

/// The day of a moment, in UTC.
fn day(at: Timestamp) -> String {
    let text = at.to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}
