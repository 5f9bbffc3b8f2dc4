//! Where things are: the tree of workspaces as a call needs it, and the workspace of something new.

use super::api::keys::create::id;
use super::auth::Caller;
use super::body::Body;
use super::error::AdminError;
use crate::domain::id::{Id, Kind};
use crate::domain::role::Permission;
use crate::domain::workspace::Lineage;
use crate::store::{Store, Write};
use std::collections::HashMap;

/// The tree. A workspace never moves, so what was read before a change holds within it.
pub(super) struct Places(HashMap<Id, Lineage>);

impl Places {
    pub(super) async fn load(store: &Store) -> Result<Self, AdminError> {
        let all = store.workspaces().await?.into_iter();
        Ok(Self(all.map(|one| (one.id, one.lineage)).collect()))
    }

    /// Where a workspace stands; what is not known is out of everybody's reach.
    pub(super) fn find(&self, workspace: Id) -> Result<&Lineage, AdminError> {
        self.0.get(&workspace).ok_or(AdminError::NotFound)
    }
}

/// The workspace that a body names, else the caller's own; a place where the caller has the permission.
pub(super) async fn of_body(
    write: &mut Write,
    body: &mut Body,
    caller: &Caller,
    permission: Permission,
) -> Result<Lineage, AdminError> {
    let named = body.optional("workspace", |value| id(value, Kind::Workspace, "workspace"));
    let id = named.unwrap_or_else(|| caller.home());
    let found = match write.workspace(id).await {
        Ok(found) => caller
            .check(permission, &found.lineage)
            .map(|()| found.lineage),
        Err(fault) => Err(fault.into()),
    };
    match found {
        // What is out of reach is not there, and a field that names it is wrong.
        Err(AdminError::NotFound) => {
            let message = "there is no such workspace".into();
            body.fault("workspace", ("unknown_value", message));
            Ok(Lineage::new(vec![id]))
        }
        other => other,
    }
}
