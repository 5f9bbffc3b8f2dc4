//! The tree of workspaces. It is small: whoever asks gets it whole.

use super::Store;
use super::error::StoreError;
use super::sql::{Columns, Sql, id};
use super::write::{Fact, Touched, Write};
use crate::domain::id::{Id, Kind};
use crate::domain::key::record::{Inactivity, InactivityMode};
use crate::domain::time::Timestamp;
use crate::domain::workspace::{Lineage, MAX_DEPTH};
use serde_json::{Value, json};
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// A workspace as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceRecord {
    /// `ws_…`.
    pub id: Id,
    /// The one above; `None`: it is the root.
    pub parent: Option<Id>,
    /// From the root down to itself.
    pub lineage: Lineage,
    /// Unique below its parent.
    pub name: String,
    /// A word of the organization's own: `organization`, `location`, `team`, …
    pub kind: String,
    /// Its id elsewhere.
    pub external_id: Option<String>,
    /// Words about it.
    pub metadata: BTreeMap<String, String>,
    /// Inactivity policy of keys here and below; `None`: the parent's.
    pub inactivity: Option<Inactivity>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Last change.
    pub updated_at: Timestamp,
    /// Who changed it.
    pub updated_by: String,
    /// Revision of the last change.
    pub revision: u64,
}

impl WorkspaceRecord {
    /// Ids from the root down, each with a slash behind it: what begins with it is below it.
    pub fn path(&self) -> String {
        path_of(&self.lineage)
    }
}

/// Ids from the root down, each with a slash behind it: what begins with it is below it.
pub fn path_of(lineage: &Lineage) -> String {
    lineage.ids().iter().fold(String::new(), |path, id| {
        path + id.text(Kind::Workspace).as_str() + "/"
    })
}

const SELECT: &str = "SELECT id, parent, path, name, kind, external_id, metadata, inactivity, created_at, created_by, \
    updated_at, updated_by, revision FROM workspaces";

impl Store {
    /// All workspaces, parents before their children.
    pub async fn workspaces(&self) -> Result<Vec<WorkspaceRecord>, StoreError> {
        let mut select = Sql::new(SELECT);
        select.push(" ORDER BY path");
        let rows = select.query().fetch_all(&self.pools.read).await?;
        rows.iter().map(workspace).collect()
    }

    /// One workspace.
    pub async fn workspace(&self, id: Id) -> Result<WorkspaceRecord, StoreError> {
        let mut select = Sql::new(SELECT);
        select
            .push(" WHERE id = ")
            .bind(id.text(Kind::Workspace).to_string());
        workspace(&select.query().fetch_one(&self.pools.read).await?)
    }
}

impl Write {
    /// A workspace as it is inside this transaction.
    pub async fn workspace(&mut self, id: Id) -> Result<WorkspaceRecord, StoreError> {
        let mut select = Sql::new(SELECT);
        select
            .push(" WHERE id = ")
            .bind(id.text(Kind::Workspace).to_string());
        workspace(&select.query().fetch_one(self.connection()).await?)
    }

    /// Keeps a new workspace below `parent`; its lineage and all that is about its making are set here.
    pub async fn insert_workspace(
        &mut self,
        mut new: WorkspaceRecord,
        parent: Id,
    ) -> Result<WorkspaceRecord, StoreError> {
        let above = self.workspace(parent).await?;
        if above.lineage.ids().len() > MAX_DEPTH {
            return Err(StoreError::refused(
                "too_deep",
                format!("workspaces nest at most {MAX_DEPTH} deep"),
            ));
        }
        let mut ids = above.lineage.ids().to_vec();
        ids.push(new.id);
        new.parent = Some(parent);
        new.lineage = Lineage::new(ids);
        new.created_at = self.now;
        new.created_by = self.actor().text();
        self.sign_workspace(&mut new);
        let mut insert = Sql::new(
            "INSERT INTO workspaces (id, parent, path, name, kind, external_id, metadata, inactivity, created_at, created_by, \
             updated_at, updated_by, revision) VALUES (",
        );
        insert
            .bind(new.id.text(Kind::Workspace).to_string())
            .push(", ");
        insert
            .bind(parent.text(Kind::Workspace).to_string())
            .push(", ");
        insert
            .bind(new.path())
            .push(", ")
            .bind(new.name.clone())
            .push(", ")
            .bind(new.kind.clone())
            .push(", ");
        insert
            .bind(new.external_id.clone())
            .push(", ")
            .bind(serde_json::to_string(&new.metadata)?)
            .push(", ");
        insert
            .bind(policy_text(new.inactivity))
            .push(", ")
            .bind(new.created_at)
            .push(", ");
        insert
            .bind(new.created_by.clone())
            .push(", ")
            .bind(new.updated_at)
            .push(", ");
        insert
            .bind(new.updated_by.clone())
            .push(", ")
            .bind(self.revision_number())
            .push(")");
        self.run(insert).await?;
        let mut fact = fact(&new, "workspace.created");
        for (name, value) in told(&new) {
            fact.change(name, Value::Null, value);
        }
        self.record(fact).await?;
        Ok(new)
    }

    /// Saves what became of a workspace. It does not move: its parent stays.
    pub async fn save_workspace(
        &mut self,
        before: &WorkspaceRecord,
        mut after: WorkspaceRecord,
    ) -> Result<WorkspaceRecord, StoreError> {
        self.sign_workspace(&mut after);
        let mut update = Sql::new("UPDATE workspaces SET name = ");
        update
            .bind(after.name.clone())
            .push(", kind = ")
            .bind(after.kind.clone());
        update
            .push(", external_id = ")
            .bind(after.external_id.clone());
        update
            .push(", metadata = ")
            .bind(serde_json::to_string(&after.metadata)?);
        update
            .push(", inactivity = ")
            .bind(policy_text(after.inactivity));
        update
            .push(", updated_at = ")
            .bind(after.updated_at)
            .push(", updated_by = ")
            .bind(after.updated_by.clone());
        update.push(", revision = ").bind(self.revision_number());
        update
            .push(" WHERE id = ")
            .bind(after.id.text(Kind::Workspace).to_string());
        if self.run(update).await? == 0 {
            return Err(StoreError::NotFound);
        }
        let mut fact = fact(&after, "workspace.updated");
        for ((name, old), (_, new)) in told(before).into_iter().zip(told(&after)) {
            fact.change(name, old, new);
        }
        self.record(fact).await?;
        Ok(after)
    }

    /// Removes an empty workspace.
    ///
    /// # Errors
    /// `in_use` while it has children, consumers, keys, tokens, roles or webhooks; the root is never empty.
    pub async fn delete_workspace(&mut self, id: Id) -> Result<WorkspaceRecord, StoreError> {
        let gone = self.workspace(id).await?;
        let text = id.text(Kind::Workspace).to_string();
        let Some(parent) = gone.parent else {
            return Err(StoreError::refused(
                "in_use",
                "the root workspace cannot be deleted",
            ));
        };
        let uses = [
            ("workspaces", "parent"),
            ("keys", "workspace"),
            ("consumers", "workspace"),
            ("tokens", "workspace"),
            ("roles", "workspace"),
            ("webhooks", "workspace"),
        ];
        for (table, column) in uses {
            let mut select = Sql::new("SELECT COUNT(*) AS number FROM ");
            select
                .push(table)
                .push(" WHERE ")
                .push(column)
                .push(" = ")
                .bind(text.clone());
            let found = select
                .query()
                .fetch_one(self.connection())
                .await?
                .natural("number")?;
            if found > 0 {
                return Err(StoreError::refused(
                    "in_use",
                    format!("the workspace still has {found} {table}"),
                ));
            }
        }
        let mut delete = Sql::new("DELETE FROM workspaces WHERE id = ");
        delete.bind(text);
        self.run(delete).await?;
        let mut fact = fact(&gone, "workspace.deleted");
        // Who reaches only places that are no more would not hear of it.
        fact.workspace = parent;
        self.record(fact).await?;
        Ok(gone)
    }

    fn sign_workspace(&self, workspace: &mut WorkspaceRecord) {
        workspace.updated_at = self.now;
        workspace.updated_by = self.actor().text();
        workspace.revision = self.revision;
    }
}

/// Its fields as the audit log tells of them; no metadata is none at all.
fn told(workspace: &WorkspaceRecord) -> [(&'static str, Value); 5] {
    let metadata = Some(&workspace.metadata).filter(|words| !words.is_empty());
    [
        ("name", json!(workspace.name)),
        ("kind", json!(workspace.kind)),
        ("external_id", json!(workspace.external_id)),
        ("metadata", json!(metadata)),
        ("inactivity", json!(policy_text(workspace.inactivity))),
    ]
}

fn fact(workspace: &WorkspaceRecord, action: &'static str) -> Fact {
    let id = workspace.id.text(Kind::Workspace).to_string();
    let mut fact = Fact::new(action, workspace.id, id.clone());
    fact.target_name = Some(workspace.name.clone());
    fact.touched = Some(Touched::Workspace(workspace.id));
    fact.event = Some(json!({"id": id, "name": workspace.name, "revision": workspace.revision}));
    fact
}

fn policy_text(policy: Option<Inactivity>) -> Option<String> {
    policy.map(|policy| format!("{}:{}", policy.mode.name(), policy.after))
}

fn policy(text: &str) -> Result<Inactivity, StoreError> {
    let read = || {
        let (mode, after) = text.split_once(':')?;
        Some(Inactivity {
            mode: InactivityMode::parse(mode)?,
            after: after.parse().ok()?,
        })
    };
    read().ok_or_else(|| StoreError::Foreign(text.to_owned()))
}

fn workspace(row: &AnyRow) -> Result<WorkspaceRecord, StoreError> {
    let path = row.text("path")?;
    let ids = path
        .split_terminator('/')
        .map(|text| id(text, Kind::Workspace))
        .collect::<Result<_, _>>()?;
    Ok(WorkspaceRecord {
        id: row.id("id", Kind::Workspace)?,
        parent: row.maybe_id("parent", Kind::Workspace)?,
        lineage: Lineage::new(ids),
        name: row.text("name")?,
        kind: row.text("kind")?,
        external_id: row.maybe_text("external_id")?,
        metadata: serde_json::from_str(&row.text("metadata")?)?,
        inactivity: row
            .maybe_text("inactivity")?
            .as_deref()
            .map(policy)
            .transpose()?,
        created_at: row.time("created_at")?,
        created_by: row.text("created_by")?,
        updated_at: row.time("updated_at")?,
        updated_by: row.text("updated_by")?,
        revision: row.natural("revision")?,
    })
}
