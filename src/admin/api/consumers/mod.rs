//! `/v1/consumers`: who calls, and owns keys. Those of the config file stand beside them, read-only.

pub(in crate::admin) mod view;

use super::place::{
    PathId, has_words, id_parameter, named, path_id, set, set_option, time_cursor, within,
};
use crate::admin::body::{Body, label, name, text};
use crate::admin::call::{Call, etag};
use crate::admin::change::{Begun, Change, Reply, begin};
use crate::admin::error::AdminError;
use crate::admin::limits;
use crate::admin::page::{Page, cursor};
use crate::admin::schema::{IdempotencyKey, Refusals};
use crate::admin::server::AdminParts;
use crate::domain::consumer::Consumer;
use crate::domain::id::{Id, Kind};
use crate::domain::role::Permission;
use crate::domain::time::Timestamp;
use crate::domain::workspace::{Lineage, root};
use crate::store::StoreError;
use crate::store::consumers::{ConsumerQuery, ConsumerRecord};
use axum::Json;
use axum::extract::State;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use view::{ConsumerList, ConsumerPatch, ConsumerView, NewConsumer};

const SORT: &str = "-created_at";
/// What neither PATCH nor PUT changes of a consumer, though it is shown.
const FIXED: [(&str, &str); 1] = [("managed_by", "follows from where the consumer was made")];
const STAYS: &str = "a consumer does not move: its workspace stays";

/// Lists consumers, the newest first; those of the config file come last.
#[utoipa::path(
    get, path = "/v1/consumers", tag = "consumers",
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("q" = Option<String>, Query, description = "Words that each begin a word of name or external id; or a whole id"),
        ("workspace" = Option<String>, Query, description = "Id; it and all below"),
        ("external_id" = Option<String>, Query),
        ("total" = Option<bool>, Query)
    ),
    responses((status = 200, body = ConsumerList), Refusals)
)]
pub(in crate::admin) async fn list_consumers(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<Page<ConsumerView>>, AdminError> {
    let mut query = ConsumerQuery::all(call.caller.reach(Permission::Read)?);
    let mut parameters = call.parameters();
    query.limit = parameters.limit();
    query.after = time_cursor(&mut parameters, SORT, Kind::Consumer);
    query.q = parameters.text("q");
    query.external_id = parameters.text("external_id");
    let workspace = id_parameter(&mut parameters, "workspace", Kind::Workspace);
    let wants_total = parameters.flag("total").unwrap_or(false);
    parameters.finish()?;
    if workspace.is_some() {
        let store = parts.store()?;
        query.workspace = within(store, &call.caller, Permission::Read, workspace).await?;
    }
    // The newest first: what is declared was there before all.
    let mut declared = declared(&parts, &call, &query);
    let mut total = u64::try_from(declared.len()).unwrap_or(u64::MAX);
    if let Some((_, after)) = query.after.filter(|(at, _)| *at == Timestamp::default()) {
        declared.retain(|one| one.id < text_of(after));
    }
    let mut rows: Vec<(i64, ConsumerView)> = Vec::new();
    let mut more = false;
    if parts.store.is_some() {
        let page = parts.store()?.list_consumers(&query).await?;
        more = page.more;
        let row = |one: &ConsumerRecord| (one.created_at.as_millis(), ConsumerView::of(one));
        rows.extend(page.consumers.iter().map(row));
        if wants_total {
            total += parts.store()?.count_consumers(&query).await?;
        }
    }
    if !more {
        rows.extend(declared.into_iter().map(|one| (0, one)));
    }
    more |= rows.len() > query.limit;
    rows.truncate(query.limit);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|(at, last)| cursor(SORT, &at.to_string(), &last.id));
    Ok(Json(Page {
        data: rows.into_iter().map(|(_, view)| view).collect(),
        next,
        total: wants_total.then_some(total),
    }))
}

/// Those of the config file that a query finds, for whoever reaches the root; by id, the greatest first.
fn declared(parts: &AdminParts, call: &Call, query: &ConsumerQuery) -> Vec<ConsumerView> {
    let top = Lineage::new(vec![root()]);
    let root_path = crate::store::workspaces::path_of(&top);
    let sees = call.caller.check(Permission::Read, &top).is_ok()
        && query
            .workspace
            .as_ref()
            .is_none_or(|path| *path == root_path)
        && query.external_id.is_none();
    if !sees {
        return Vec::new();
    }
    let snapshot = parts.shared.snapshot();
    let fits = |one: &&Consumer| {
        let q = query.q.as_ref();
        q.is_none_or(|q| text_of(one.id) == q.trim() || has_words(&one.name, q))
    };
    let found = snapshot.consumers.iter().filter(fits);
    let mut found: Vec<ConsumerView> = found.map(ConsumerView::declared).collect();
    found.sort_by(|a, b| b.id.cmp(&a.id));
    found
}

fn find_declared(parts: &AdminParts, id: Id) -> Option<ConsumerView> {
    let snapshot = parts.shared.snapshot();
    let found = snapshot.consumers.iter().find(|one| one.id == id);
    found.map(ConsumerView::declared)
}

/// Shows a consumer.
#[utoipa::path(
    get, path = "/v1/consumers/{id}", tag = "consumers", params(("id" = String, Path)),
    responses((status = 200, body = ConsumerView), Refusals)
)]
pub(in crate::admin) async fn show_consumer(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    let id = path_id(path, Kind::Consumer)?;
    if let Some(found) = find_declared(&parts, id) {
        let top = Lineage::new(vec![root()]);
        call.caller.check(Permission::Read, &top)?;
        return Ok(Json(found).into_response());
    }
    if parts.store.is_none() {
        return Err(AdminError::NotFound);
    }
    let store = parts.store()?;
    let found = store.consumer(id).await?;
    let place = store.workspace(found.workspace).await?;
    call.caller.check(Permission::Read, &place.lineage)?;
    let tag = etag(found.revision);
    Ok(([(ETAG, tag)], Json(ConsumerView::of(&found))).into_response())
}

/// Makes a consumer.
#[utoipa::path(
    post, path = "/v1/consumers", tag = "consumers", params(IdempotencyKey), request_body = NewConsumer,
    responses((status = 201, body = ConsumerView), Refusals)
)]
pub(in crate::admin) async fn create_consumer(
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

/// Makes a consumer with an id of the caller's choice, or sets all its fields.
#[utoipa::path(
    put, path = "/v1/consumers/{id}", tag = "consumers", params(("id" = String, Path)),
    request_body = NewConsumer,
    responses((status = 200, body = ConsumerView), (status = 201, body = ConsumerView), Refusals)
)]
pub(in crate::admin) async fn put_consumer(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    let id = path_id(path, Kind::Consumer)?;
    refuse_declared(&parts, &call, id)?;
    let mut body = call.json()?;
    body.fixed(&FIXED);
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    let before = match change.write.consumer(id).await {
        Ok(before) => before,
        Err(StoreError::NotFound) => {
            call.check_new()?;
            return make(&parts, &call, change, body, id).await;
        }
        Err(fault) => return Err(fault.into()),
    };
    check(&mut change, &call, &before).await?;
    let mut after = ConsumerRecord {
        external_id: None,
        description: None,
        metadata: BTreeMap::new(),
        ..before.clone()
    };
    let place = body.optional("workspace", |value| {
        super::keys::create::id(value, Kind::Workspace, "workspace")
    });
    if place.is_some_and(|place| place != before.workspace) {
        body.fault("workspace", ("immutable", STAYS.into()));
    }
    require_name(&mut body);
    write(&mut body, &mut after);
    body.finish()?;
    save(&parts, change, &before, after).await
}

/// Changes fields (merge patch, RFC 7396): what is absent stays, null clears.
#[utoipa::path(
    patch, path = "/v1/consumers/{id}", tag = "consumers", params(("id" = String, Path)),
    request_body = ConsumerPatch, responses((status = 200, body = ConsumerView), Refusals)
)]
pub(in crate::admin) async fn edit_consumer(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    let id = path_id(path, Kind::Consumer)?;
    refuse_declared(&parts, &call, id)?;
    let mut body = call.json()?;
    body.fixed(&FIXED);
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    let before = change.write.consumer(id).await?;
    check(&mut change, &call, &before).await?;
    let mut after = before.clone();
    body.fixed(&[("workspace", STAYS)]);
    body.merge("metadata", &before.metadata);
    body.merge_into("limits", limits::before(before.limits));
    write(&mut body, &mut after);
    body.finish()?;
    save(&parts, change, &before, after).await
}

/// Removes a consumer that owns no keys.
#[utoipa::path(
    delete, path = "/v1/consumers/{id}", tag = "consumers",
    params(("id" = String, Path), ("dry_run" = Option<bool>, Query, description = "Say what would happen only")),
    responses((status = 200, body = ConsumerView), Refusals)
)]
pub(in crate::admin) async fn delete_consumer(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Response, AdminError> {
    let mut parameters = call.parameters();
    let dry_run = parameters.flag("dry_run").unwrap_or(false);
    parameters.finish()?;
    let id = path_id(path, Kind::Consumer)?;
    refuse_declared(&parts, &call, id)?;
    call.json()?.finish()?;
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    if dry_run {
        change.only_try();
    }
    let before = change.write.consumer(id).await?;
    check(&mut change, &call, &before).await?;
    let mut gone = change.write.delete_consumer(id).await?;
    gone.revision = change.write.revision;
    let reply = reply(&gone)?;
    change.finish(&parts, Reply::ok(text_of(id), reply)).await
}

/// Whether the caller may change a consumer, and knows its version.
async fn check(
    change: &mut Change,
    call: &Call,
    consumer: &ConsumerRecord,
) -> Result<(), AdminError> {
    let place = change.write.workspace(consumer.workspace).await?;
    call.caller
        .check(Permission::ConsumersWrite, &place.lineage)?;
    call.check_version(consumer.revision)
}

/// Those of the config file are not there for whoever does not reach the root.
fn refuse_declared(parts: &AdminParts, call: &Call, id: Id) -> Result<(), AdminError> {
    if find_declared(parts, id).is_none() {
        return Ok(());
    }
    let top = Lineage::new(vec![root()]);
    call.caller.check(Permission::Read, &top)?;
    Err(AdminError::Conflict {
        code: "managed_by_file",
        message: "this consumer is declared in the config file and is changed there".into(),
    })
}

/// Those of the config file belong to the root, and a name there is one consumer's.
fn refuse_declared_name(parts: &AdminParts, consumer: &ConsumerRecord) -> Result<(), AdminError> {
    let snapshot = parts.shared.snapshot();
    let mut declared = snapshot.consumers.iter();
    if consumer.workspace != root() || !declared.any(|one| one.name == consumer.name) {
        return Ok(());
    }
    Err(AdminError::Conflict {
        code: "name_taken",
        message: "a consumer in the config file has this name".into(),
    })
}

/// Reads a new consumer and keeps it.
async fn make(
    parts: &AdminParts,
    call: &Call,
    mut change: Box<Change>,
    mut body: Body,
    id: Id,
) -> Result<Response, AdminError> {
    let now = change.write.now;
    let able = (&call.caller, Permission::ConsumersWrite);
    let place = named(&mut change.write, &mut body, "workspace", able).await?;
    let mut new = ConsumerRecord {
        id,
        workspace: place.map_or_else(root, |place| place.id),
        name: String::new(),
        external_id: None,
        description: None,
        metadata: BTreeMap::new(),
        limits: None,
        created_at: now,
        created_by: String::new(),
        updated_at: now,
        updated_by: String::new(),
        revision: 0,
    };
    require_name(&mut body);
    write(&mut body, &mut new);
    body.finish()?;
    refuse_declared_name(parts, &new)?;
    let made = change.write.insert_consumer(new).await?;
    let reply = reply(&made)?;
    change
        .finish(parts, Reply::created(text_of(id), "/v1/consumers", reply))
        .await
}

async fn save(
    parts: &AdminParts,
    mut change: Box<Change>,
    before: &ConsumerRecord,
    after: ConsumerRecord,
) -> Result<Response, AdminError> {
    refuse_declared_name(parts, &after)?;
    let saved = change.write.save_consumer(before, after).await?;
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
fn write(body: &mut Body, consumer: &mut ConsumerRecord) {
    if body.has("name")
        && let Some(name) = body.required("name", name)
    {
        consumer.name = name;
    }
    let external_id = body.nullable("external_id", label(256));
    set_option(&mut consumer.external_id, external_id);
    let description = body.nullable("description", text(0, 1024));
    set_option(&mut consumer.description, description);
    set(&mut consumer.metadata, body.metadata("metadata"));
    set_option(&mut consumer.limits, body.object("limits", limits::limits));
}

fn text_of(id: Id) -> String {
    id.text(Kind::Consumer).to_string()
}

fn reply(consumer: &ConsumerRecord) -> Result<Value, AdminError> {
    serde_json::to_value(ConsumerView::of(consumer)).map_err(|_| AdminError::Internal)
}
