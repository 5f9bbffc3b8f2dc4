//! `/v1/members`: people who administer. Whoever reaches none of a person's roles does not see that person; whoever
//! changes a person must cover each of their roles, wherever those are.

pub(in crate::admin) mod acts;
pub(in crate::admin) mod data;
pub(in crate::admin) mod view;

use super::few::{Places, Wanted};
use super::place::{PathId, id_parameter, named, path_id};
use crate::admin::auth::Caller;
use crate::admin::body::{BY_GATEWAY, Body, Wrong, invalid, name, text};
use crate::admin::call::{Call, etag};
use crate::admin::change::{Begun, Change, Reply, begin};
use crate::admin::error::AdminError;
use crate::admin::page::Page;
use crate::admin::password;
use crate::admin::schema::{IdempotencyKey, Refusals};
use crate::admin::server::AdminParts;
use crate::config::email_address;
use crate::domain::id::{Id, Kind};
use crate::domain::role::Permission;
use crate::domain::workspace::{Lineage, root};
use crate::store::people::{Binding, MemberRecord, MemberState};
use axum::Json;
use axum::extract::State;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::sync::Arc;
use view::{MemberPatch, MemberView, NewMember, is_self};

pub(super) type Answer = Result<Response, AdminError>;

/// Whether the caller sees a person: one of their roles is in a place where the caller has the permission. A person
/// without any role is the root's.
pub(super) fn check_seen(
    caller: &Caller,
    member: &MemberRecord,
    places: &Places,
    permission: Permission,
) -> Result<(), AdminError> {
    if member.roles.is_empty() {
        return caller.check(permission, &Lineage::new(vec![root()]));
    }
    let mut seen = Err(AdminError::NotFound);
    for held in &member.roles {
        match caller.check(permission, places.find(held.workspace)?) {
            Ok(()) => return Ok(()),
            Err(AdminError::NotFound) => {}
            Err(other) => seen = Err(other),
        }
    }
    seen
}

/// Whether the caller may do something to a person: with the permission and a role that covers theirs, in every place
/// where they have one. What is done to a person in one place is done to them in all.
pub(super) fn check_governed(
    caller: &Caller,
    member: &MemberRecord,
    places: &Places,
    permission: Permission,
) -> Result<(), AdminError> {
    check_seen(caller, member, places, permission)?;
    for held in &member.roles {
        match caller.check_role(permission, places.find(held.workspace)?, held.role) {
            Err(AdminError::NotFound) => return Err(AdminError::RoleNotCovered),
            other => other?,
        }
    }
    Ok(())
}

/// Ends a change of a member with what the caller may see of them.
async fn close(
    change: Box<Change>,
    parts: &AdminParts,
    call: &Call,
    (member, places): (&MemberRecord, &Places),
) -> Answer {
    let view = MemberView::of(member, &call.caller, places);
    let id = view.id.clone();
    let body = serde_json::to_value(view).map_err(|_| AdminError::Internal)?;
    change.finish(parts, Reply::ok(id, body)).await
}

/// Lists members, the newest first.
#[utoipa::path(
    get, path = "/v1/members", tag = "members",
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("q" = Option<String>, Query, description = "Words that each begin a word of name or e-mail address"),
        ("workspace" = Option<String>, Query, description = "Id; those with a role there or below"),
        ("state" = Option<String>, Query, description = "active, disabled or erased"),
        ("total" = Option<bool>, Query)
    ),
    responses((status = 200, body = view::MemberList), Refusals)
)]
pub(in crate::admin) async fn list_members(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<Page<MemberView>>, AdminError> {
    let needed = Permission::MembersRead;
    call.caller.reach(needed)?;
    let mut parameters = call.parameters();
    let wanted = Wanted::read(&mut parameters);
    let workspace = id_parameter(&mut parameters, "workspace", Kind::Workspace);
    let state = parameters.read("state", |text| {
        let state = MemberState::parse(text);
        state.map_or_else(|| invalid("state is active, disabled or erased"), Ok)
    });
    parameters.finish()?;
    let store = parts.store()?;
    let places = Places::load(store).await?;
    if let Some(workspace) = workspace {
        call.caller.check(needed, places.find(workspace)?)?;
    }
    let mut rows = Vec::new();
    for member in store.members().await? {
        let is_there = |above: Id| {
            let mut held = member.roles.iter().map(|held| places.find(held.workspace));
            held.any(|place| place.is_ok_and(|place| place.is_reached_from(above)))
        };
        let texts =
            [member.name.as_deref(), member.email.as_deref()].map(Option::unwrap_or_default);
        let fits = check_seen(&call.caller, &member, &places, needed).is_ok()
            && workspace.is_none_or(is_there)
            && state.is_none_or(|state| member.state == state)
            && wanted.names(&texts);
        if fits {
            let view = MemberView::of(&member, &call.caller, &places);
            rows.push((view.id.clone(), view));
        }
    }
    Ok(Json(wanted.page(rows)))
}

/// Shows a member; anybody may look at themselves.
#[utoipa::path(
    get, path = "/v1/members/{id}", tag = "members", params(("id" = String, Path)),
    responses((status = 200, body = MemberView), Refusals)
)]
pub(in crate::admin) async fn show_member(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let id = path_id(path, Kind::Member)?;
    let store = parts.store()?;
    let (member, places) = (store.member(id).await?, Places::load(store).await?);
    if !is_self(&call.caller, &member) {
        check_seen(&call.caller, &member, &places, Permission::MembersRead)?;
    }
    let view = MemberView::of(&member, &call.caller, &places);
    Ok(([(ETAG, etag(member.revision))], Json(view)).into_response())
}

/// Adds a member with a first role.
#[utoipa::path(
    post, path = "/v1/members", tag = "members", params(IdempotencyKey), request_body = NewMember,
    responses((status = 201, body = MemberView), Refusals)
)]
pub(in crate::admin) async fn create_member(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let needed = Permission::MembersWrite;
    // Before any work is done on a password.
    call.caller.reach(needed)?;
    let mut body = call.json()?;
    let email = body.required("email", email);
    let name = body.required("name", name);
    let role = body.required("role", super::tokens::role);
    let password = body.optional("password", password::new_password);
    if let Some(password) = &password {
        let known = [email.as_deref(), name.as_deref()];
        if let Err(wrong) = password::check_fresh(password, known) {
            body.fault("password", wrong);
        }
    }
    // Hashed before the change begins: nobody waits for the store meanwhile.
    let password = match password {
        Some(password) => Some(password::hash(password).await?),
        None => None,
    };
    let places = Places::load(parts.store()?).await?;
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    let able = (&call.caller, needed);
    let place = named(&mut change.write, &mut body, "workspace", able).await?;
    body.finish()?;
    let (Some(place), Some(role)) = (place, role) else {
        return Err(AdminError::Internal);
    };
    call.caller.check_role(needed, &place.lineage, role)?;
    let binding = Binding {
        workspace: place.id,
        role,
    };
    let new = blank(&change, email, name, binding);
    let member = change.write.insert_member(new, password.as_ref()).await?;
    let view = MemberView::of(&member, &call.caller, &places);
    let id = view.id.clone();
    let body = serde_json::to_value(view).map_err(|_| AdminError::Internal)?;
    change
        .finish(&parts, Reply::created(id, "/v1/members", body))
        .await
}

fn blank(
    change: &Change,
    email: Option<String>,
    name: Option<String>,
    binding: Binding,
) -> MemberRecord {
    let now = change.write.now;
    MemberRecord {
        id: Id::new(now),
        email,
        name,
        has_password: false,
        state: MemberState::Active,
        roles: vec![binding],
        created_at: now,
        created_by: String::new(),
        updated_at: now,
        updated_by: String::new(),
        signed_in_at: None,
        revision: 0,
    }
}

/// Changes name, e-mail address or state (merge patch); whoever is disabled is signed out.
#[utoipa::path(
    patch, path = "/v1/members/{id}", tag = "members", params(("id" = String, Path)), request_body = MemberPatch,
    responses((status = 200, body = MemberView), Refusals)
)]
pub(in crate::admin) async fn edit_member(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let id = path_id(path, Kind::Member)?;
    let mut body = call.json()?;
    let places = Places::load(parts.store()?).await?;
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    let before = change.write.member(id).await?;
    check_governed(&call.caller, &before, &places, Permission::MembersWrite)?;
    call.check_version(before.revision)?;
    let mut after = before.clone();
    body.fixed(&FIXED);
    after.email = kept(&mut body, "email", email).or(after.email);
    after.name = kept(&mut body, "name", name).or(after.name);
    after.state = kept(&mut body, "state", state).unwrap_or(after.state);
    body.finish()?;
    if before.state == MemberState::Erased {
        return Err(AdminError::NotFound);
    }
    let member = change.write.save_member(&before, after).await?;
    close(change, &parts, &call, (&member, &places)).await
}

/// What PATCH does not change of a member.
const FIXED: [(&str, &str); 4] = [
    (
        "roles",
        "are changed by PUT and DELETE /v1/members/{id}/roles/{workspace}",
    ),
    ("password", "is changed by POST /v1/members/{id}/password"),
    (
        "has_password",
        "follows from the password: POST /v1/members/{id}/password",
    ),
    ("signed_in_at", BY_GATEWAY),
];

/// A field that can be changed but not cleared.
fn kept<T>(
    body: &mut Body,
    field: &str,
    read: impl FnOnce(&Value) -> Result<T, Wrong>,
) -> Option<T> {
    let read = body.nullable(field, read);
    if matches!(read, Some(None)) {
        body.fault(field, ("invalid", "cannot be cleared".into()));
    }
    read.flatten()
}

fn state(value: &Value) -> Result<MemberState, Wrong> {
    let state = value.as_str().and_then(MemberState::parse);
    let state = state.filter(|state| *state != MemberState::Erased);
    state.ok_or_else(|| ("unknown_value", "state is active or disabled".into()))
}

/// Somebody's e-mail address, in lower case.
pub(super) fn email(value: &Value) -> Result<String, Wrong> {
    let text = text(3, 254)(value)?.to_lowercase();
    email_address(&text).map_err(|message| ("invalid", message))
}
