//! Workspaces as they are shown and written.

use crate::admin::api::keys::schema::NewInactivity;
use crate::admin::api::keys::view::InactivityView;
use crate::domain::id::{Id, Kind};
use crate::domain::time::Timestamp;
use crate::store::workspaces::WorkspaceRecord;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A workspace.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Workspace)]
pub(in crate::admin) struct WorkspaceView {
    /// `ws_…`
    pub(super) id: String,
    /// Id of the one above; null: it is the root.
    parent: Option<String>,
    /// Unique below its parent.
    name: String,
    /// A word of your own: `organization`, `location`, `team`, …
    kind: String,
    /// Its id elsewhere.
    external_id: Option<String>,
    metadata: BTreeMap<String, String>,
    /// Inactivity policy of keys here and below; null: the parent's.
    inactivity: Option<InactivityView>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    updated_by: String,
    /// Revision of its last change; its `ETag`.
    revision: u64,
}

impl WorkspaceView {
    pub(super) fn of(workspace: &WorkspaceRecord) -> Self {
        let text = |id: Id| id.text(Kind::Workspace).to_string();
        Self {
            id: text(workspace.id),
            parent: workspace.parent.map(text),
            name: workspace.name.clone(),
            kind: workspace.kind.clone(),
            external_id: workspace.external_id.clone(),
            metadata: workspace.metadata.clone(),
            inactivity: workspace.inactivity.map(InactivityView::of),
            created_at: workspace.created_at,
            created_by: workspace.created_by.clone(),
            updated_at: workspace.updated_at,
            updated_by: workspace.updated_by.clone(),
            revision: workspace.revision,
        }
    }
}

/// A page of workspaces.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
pub(super) struct WorkspaceList {
    data: Vec<WorkspaceView>,
    /// Cursor of the page behind this one; null: there is none.
    next: Option<String>,
    /// With `total=true`: how many there are in all.
    total: Option<u64>,
}

/// The fields of a workspace that can be written.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(super) struct NewWorkspace {
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// Id; the token's own unless given. It cannot be changed later.
    parent: Option<String>,
    #[schema(min_length = 1, max_length = 64)]
    kind: Option<String>,
    #[schema(max_length = 256)]
    external_id: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    inactivity: Option<NewInactivity>,
}

/// Fields to change; null clears.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(super) struct WorkspacePatch {
    #[schema(min_length = 1, max_length = 128)]
    name: Option<String>,
    #[schema(min_length = 1, max_length = 64)]
    kind: Option<String>,
    #[schema(max_length = 256)]
    external_id: Option<String>,
    /// Entries to set; null takes one away, the others stay.
    metadata: Option<BTreeMap<String, Option<String>>>,
    inactivity: Option<NewInactivity>,
}
