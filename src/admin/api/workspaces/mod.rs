//! `/v1/workspaces`: the tree of tenants. A workspace does not move, and goes only when it is empty.

pub(in crate::admin) mod view;

use super::keys::fields;
use super::place::{PathId, has_words, id_parameter, named, path_id, set, set_option};
use crate::admin::body::{Body, Wrong, invalid, label, name, text};
use crate::admin::call::{Call, etag};
use crate::admin::change::{Begun, Change, Reply, begin};
use crate::admin::error::AdminError;
use crate::admin::page::{Page, cursor};
use crate::admin::schema::{IdempotencyKey, Refusals};
use crate::admin::server::AdminParts;
use crate::domain::id::{Id, Kind};
use crate::domain::role::Permission;
use crate::domain::workspace::Lineage;
use crate::store::workspaces::WorkspaceRecord;
use axum::Json;
use axum::extract::State;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use view::{NewWorkspace, WorkspaceList, WorkspacePatch, WorkspaceView};

/// Parents before their children, siblings by age.
const SORT: &str = "tree";
const STAYS: &str = "a workspace does not move: its parent stays";

/// Lists the workspaces within reach, parents before their children.
#[utoipa::path(
    get, path = "/v1/workspaces", tag = "workspaces",
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("q" = Option<String>, Query, description = "Words that each begin a word of the name; or a whole id"),
        ("parent" = Option<String>, Query, description = "Id: only its children"),
        ("external_id" = Option<String>, Query),
        ("total" = Option<bool>, Query)
    ),
    responses((status = 200, body = WorkspaceList), Refusals)
)]
pub(in crate::admin) async fn list_workspaces(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<Page<WorkspaceView>>, AdminError> {
    let reach = call.caller.reach(Permission::Read)?;
    let mut parameters = call.parameters();
    let limit = parameters.limit();
    let after = parameters.cursor(SORT).map(|(path, _)| path);
    let q = parameters.text("q");
    let parent = id_parameter(&mut parameters, "parent", Kind::Workspace);
    let external_id = parameters.text("external_id");
    let total = parameters.flag("total").unwrap_or(false);
    parameters.finish()?;
    let mut all = parts.store()?.workspaces().await?;
    all.retain(|one| {
        let path = one.path();
        reach.iter().any(|above| path.starts_with(above))
            && parent.is_none_or(|parent| one.parent == Some(parent))
            && (external_id.is_none() || external_id == one.external_id)
            && q.as_ref().is_none_or(|q| {
                one.id.text(Kind::Workspace).as_str() == q.trim() || has_words(&one.name, q)
            })
    });
    let total = total.then_some(u64::try_from(all.len()).unwrap_or(u64::MAX));
    if let Some(after) = after {
        all.retain(|one| one.path() > after);
    }
    let more = all.len() > limit;
    all.truncate(limit);
    let next = all.last().filter(|_| more).map(|last| {
        let id = last.id.text(Kind::Workspace);
        cursor(SORT, &last.path(), id.as_str())
    });
    Ok(Json(Page {
        data: all.iter().map(WorkspaceView::of).collect(),
        next,
        total,
    }))
}

/// Shows a workspace.
#[utoipa::path(
    get, path = "/v1/workspaces/{id}", tag = "workspaces", params(("id" = String, Path)),
    responses((status = 200, body = WorkspaceView), Refusals)
)]
pub(in crate::admin) async fn show_workspace(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    let id = path_id(path, Kind::Workspace)?;
    let found = parts.store()?.workspace(id).await?;
    call.caller.check(Permission::Read, &found.lineage)?;
    let tag = etag(found.revision);
    Ok(([(ETAG, tag)], Json(WorkspaceView::of(&found))).into_response())
}

/// Makes a workspace below another one.
#[utoipa::path(
    post, path = "/v1/workspaces", tag = "workspaces", params(IdempotencyKey), request_body = NewWorkspace,
    responses((status = 201, body = WorkspaceView), Refusals)
)]
pub(in crate::admin) async fn create_workspace(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    let body = call.json()?;
    let change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    let id = Id::new(change.write.now);
    make(&parts, &call, change, body, id).await
}

/// Makes a workspace with an id of the caller's choice, or sets all its fields.
#[utoipa::path(
    put, path = "/v1/workspaces/{id}", tag = "workspaces", params(("id" = String, Path)),
    request_body = NewWorkspace,
    responses((status = 200, body = WorkspaceView), (status = 201, body = WorkspaceView), Refusals)
)]
pub(in crate::admin) async fn put_workspace(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    let id = path_id(path, Kind::Workspace)?;
    let mut body = call.json()?;
    body.fixed(&[]);
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    let before = match change.write.workspace(id).await {
        Ok(before) => before,
        Err(crate::store::StoreError::NotFound) => {
            call.check_new()?;
            return make(&parts, &call, change, body, id).await;
        }
        Err(fault) => return Err(fault.into()),
    };
    call.caller
        .check(Permission::WorkspacesWrite, &before.lineage)?;
    call.check_version(before.revision)?;
    let mut after = WorkspaceRecord {
        kind: default_kind(),
        external_id: None,
        metadata: BTreeMap::new(),
        inactivity: None,
        ..before.clone()
    };
    let parent = body.optional("parent", |value| {
        super::keys::create::id(value, Kind::Workspace, "workspace")
    });
    if parent.is_some() && parent != before.parent {
        body.fault("parent", ("immutable", STAYS.into()));
    }
    require_name(&mut body);
    write(&mut body, &mut after);
    body.finish()?;
    save(&parts, change, &before, after).await
}

/// Changes fields (merge patch, RFC 7396): what is absent stays, null clears.
#[utoipa::path(
    patch, path = "/v1/workspaces/{id}", tag = "workspaces", params(("id" = String, Path)),
    request_body = WorkspacePatch, responses((status = 200, body = WorkspaceView), Refusals)
)]
pub(in crate::admin) async fn edit_workspace(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    let id = path_id(path, Kind::Workspace)?;
    let mut body = call.json()?;
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    let before = change.write.workspace(id).await?;
    call.caller
        .check(Permission::WorkspacesWrite, &before.lineage)?;
    call.check_version(before.revision)?;
    let mut after = before.clone();
    body.fixed(&[("parent", STAYS)]);
    body.merge("metadata", &before.metadata);
    write(&mut body, &mut after);
    body.finish()?;
    save(&parts, change, &before, after).await
}

/// Removes an empty workspace.
#[utoipa::path(
    delete, path = "/v1/workspaces/{id}", tag = "workspaces",
    params(("id" = String, Path), ("dry_run" = Option<bool>, Query, description = "Say what would happen only")),
    responses((status = 200, body = WorkspaceView), Refusals)
)]
pub(in crate::admin) async fn delete_workspace(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Response, AdminError> {
    let mut parameters = call.parameters();
    let dry_run = parameters.flag("dry_run").unwrap_or(false);
    parameters.finish()?;
    let id = path_id(path, Kind::Workspace)?;
    call.json()?.finish()?;
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    if dry_run {
        change.only_try();
    }
    let before = change.write.workspace(id).await?;
    call.caller
        .check(Permission::WorkspacesWrite, &before.lineage)?;
    call.check_version(before.revision)?;
    let mut gone = change.write.delete_workspace(id).await?;
    gone.revision = change.write.revision;
    let reply = reply(&gone)?;
    change.finish(&parts, Reply::ok(text_of(id), reply)).await
}

/// Reads a new workspace and keeps it.
async fn make(
    parts: &AdminParts,
    call: &Call,
    mut change: Box<Change>,
    mut body: Body,
    id: Id,
) -> Result<Response, AdminError> {
    let now = change.write.now;
    let able = (&call.caller, Permission::WorkspacesWrite);
    let parent = named(&mut change.write, &mut body, "parent", able).await?;
    let mut new = WorkspaceRecord {
        id,
        parent: None,
        lineage: Lineage::new(Vec::new()),
        name: String::new(),
        kind: default_kind(),
        external_id: None,
        metadata: BTreeMap::new(),
        inactivity: None,
        created_at: now,
        created_by: String::new(),
        updated_at: now,
        updated_by: String::new(),
        revision: 0,
    };
    require_name(&mut body);
    write(&mut body, &mut new);
    body.finish()?;
    let parent = parent.ok_or(AdminError::Internal)?;
    let made = change.write.insert_workspace(new, parent.id).await?;
    let reply = reply(&made)?;
    change
        .finish(parts, Reply::created(text_of(id), "/v1/workspaces", reply))
        .await
}

async fn save(
    parts: &AdminParts,
    mut change: Box<Change>,
    before: &WorkspaceRecord,
    after: WorkspaceRecord,
) -> Result<Response, AdminError> {
    let saved = change.write.save_workspace(before, after).await?;
    let reply = reply(&saved)?;
    change
        .finish(parts, Reply::ok(text_of(saved.id), reply))
        .await
}

fn require_name(body: &mut Body) {
    if !body.has("name") {
        body.required("name", name);
    }
}

/// Writes the fields that a body has.
fn write(body: &mut Body, workspace: &mut WorkspaceRecord) {
    if body.has("name")
        && let Some(name) = body.required("name", workspace_name)
    {
        workspace.name = name;
    }
    if let Some(kind) = body.nullable("kind", text(1, 64)) {
        workspace.kind = kind.unwrap_or_else(default_kind);
    }
    let external_id = body.nullable("external_id", label(256));
    set_option(&mut workspace.external_id, external_id);
    set(&mut workspace.metadata, body.metadata("metadata"));
    let inactivity = body.object("inactivity", fields::inactivity);
    set_option(&mut workspace.inactivity, inactivity);
}

/// Routes name workspaces by their names with slashes between them, or by id.
fn workspace_name(value: &Value) -> Result<String, Wrong> {
    let name = name(value)?;
    if name.contains('/') {
        return invalid("must not have a slash: routes name workspaces as above/below");
    }
    if Id::parse(Kind::Workspace, &name).is_some() {
        return invalid("must not look like an id");
    }
    Ok(name)
}

fn default_kind() -> String {
    "workspace".into()
}

fn text_of(id: Id) -> String {
    id.text(Kind::Workspace).to_string()
}

fn reply(workspace: &WorkspaceRecord) -> Result<Value, AdminError> {
    serde_json::to_value(WorkspaceView::of(workspace)).map_err(|_| AdminError::Internal)
}
