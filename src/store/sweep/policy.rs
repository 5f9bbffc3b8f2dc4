//! Which inactivity policy holds where, and since when. A policy that becomes stricter counts from then on: nobody's key
//! goes because of days that passed under a milder one.

use super::Store;
use crate::domain::id::{Id, Kind};
use crate::domain::key::KeyRecord;
use crate::domain::key::record::{Inactivity, InactivityMode};
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;
use crate::store::sql::Columns;
use crate::store::workspaces::WorkspaceRecord;
use sqlx::AnyConnection;
use std::collections::{BTreeMap, HashMap};

const NAME: &str = "sweep.policies";

/// The policy of a workspace, its own or inherited, and since when it is so strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Effective {
    policy: Inactivity,
    since: Timestamp,
}

/// Policies of all workspaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policies {
    by_workspace: HashMap<Id, Effective>,
    default: Inactivity,
    mark: Mark,
}

/// Tells one state of the workspaces from another: how many there are, and the last revision of any of them.
type Mark = (i64, i64);

async fn mark(connection: &mut AnyConnection) -> Result<Mark, StoreError> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS number, COALESCE(MAX(revision), 0) AS last FROM workspaces",
    )
    .fetch_one(connection)
    .await?;
    Ok((row.number("number")?, row.number("last")?))
}

impl Policies {
    /// Whether no workspace has changed since they were read.
    pub(super) async fn hold(&self, connection: &mut AnyConnection) -> Result<bool, StoreError> {
        Ok(mark(connection).await? == self.mark)
    }

    /// What holds for a key, and since when nobody has used it.
    pub(super) fn of(&self, key: &KeyRecord) -> (Inactivity, Timestamp) {
        // A key that is not valid yet cannot be used.
        let baseline = key
            .not_before
            .map_or(key.baseline(), |begin| begin.max(key.baseline()));
        if let Some(own) = key.inactivity {
            return (own, baseline);
        }
        match self.by_workspace.get(&key.workspace) {
            Some(effective) => (effective.policy, baseline.max(effective.since)),
            None => (self.default, baseline),
        }
    }

    /// Policies as they are now, given what they were.
    fn compute(
        before: &HashMap<Id, Effective>,
        (workspaces, mark): (&[WorkspaceRecord], Mark),
        default: Inactivity,
        now: Timestamp,
    ) -> Self {
        let mut by_workspace: HashMap<Id, Effective> = HashMap::new();
        // Parents come first.
        for one in workspaces {
            let above = one
                .parent
                .and_then(|parent| by_workspace.get(&parent))
                .map_or(default, |above| above.policy);
            let policy = one.inactivity.unwrap_or(above);
            let since = match before.get(&one.id) {
                Some(old) if policy.is_stricter_than(&old.policy) => now,
                Some(old) => old.since,
                None => one.updated_at,
            };
            by_workspace.insert(one.id, Effective { policy, since });
        }
        Self {
            by_workspace,
            default,
            mark,
        }
    }

    fn to_text(&self) -> String {
        let rows: BTreeMap<String, (&str, i64, i64)> = self
            .by_workspace
            .iter()
            .map(|(id, one)| {
                let row = (
                    one.policy.mode.name(),
                    one.policy.after,
                    one.since.as_millis(),
                );
                (id.text(Kind::Workspace).to_string(), row)
            })
            .collect();
        serde_json::to_string(&rows).unwrap_or_default()
    }
}

fn parse(text: &str) -> Result<HashMap<Id, Effective>, StoreError> {
    let rows: BTreeMap<String, (String, i64, i64)> = serde_json::from_str(text)?;
    Ok(rows
        .into_iter()
        .filter_map(|(id, (mode, after, since))| {
            let policy = Inactivity {
                mode: InactivityMode::parse(&mode)?,
                after,
            };
            let since = Timestamp::from_millis(since);
            Some((
                Id::parse(Kind::Workspace, &id)?,
                Effective { policy, since },
            ))
        })
        .collect())
}

impl Store {
    /// Policies as they would be noted now; nothing is written.
    pub(super) async fn policies(
        &self,
        default: Inactivity,
    ) -> Result<(Policies, Option<String>), StoreError> {
        let seen = self.setting(NAME).await?;
        let before = seen.as_deref().map(parse).transpose()?.unwrap_or_default();
        // Before the workspaces: what changes in between is read once too often then, and not too seldom.
        let mark = mark(&mut *self.pools.read.acquire().await?).await?;
        let workspaces = self.workspaces().await?;
        let policies = Policies::compute(&before, (&workspaces, mark), default, self.clock.now());
        Ok((policies, seen))
    }

    /// Whether policies that were read before still hold.
    pub(super) async fn policies_hold(&self, policies: &Policies) -> Result<bool, StoreError> {
        policies.hold(&mut *self.pools.read.acquire().await?).await
    }

    /// Notes which policies hold since when. Where one has changed all keys are looked at again.
    pub(super) async fn refresh_policies(
        &self,
        default: Inactivity,
    ) -> Result<Policies, StoreError> {
        let (policies, seen) = self.policies(default).await?;
        let text = policies.to_text();
        if seen.as_deref() == Some(&text) {
            return Ok(policies);
        }
        let before = seen.as_deref().map(parse).transpose()?.unwrap_or_default();
        let changed = before.iter().any(|(id, old)| {
            policies
                .by_workspace
                .get(id)
                .is_some_and(|new| new.policy != old.policy)
        });
        // First the keys: a process that ends in between does it again.
        if changed {
            self.reset_looks().await?;
        }
        self.put_setting(NAME, &text).await?;
        Ok(policies)
    }
}
