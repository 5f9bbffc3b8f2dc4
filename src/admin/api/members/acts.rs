//! Roles and passwords of members.

use super::view::{MemberView, NewPassword, NewRole, is_self};
use super::{Answer, check_governed, check_seen, close};
use crate::admin::api::few::Places;
use crate::admin::api::place::{PathId, path_id};
use crate::admin::auth::Caller;
use crate::admin::body::Body;
use crate::admin::call::Call;
use crate::admin::change::{Begun, begin};
use crate::admin::error::AdminError;
use crate::admin::password;
use crate::admin::schema::{IdempotencyKey, Refusals};
use crate::admin::server::AdminParts;
use crate::domain::actor::Who;
use crate::domain::id::{Id, Kind};
use crate::domain::network::Network;
use crate::domain::role::{Permission, Role};
use crate::domain::secret::Secret;
use crate::domain::workspace::Lineage;
use crate::store::people::{Binding, MemberRecord};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use std::sync::Arc;

/// A member and a workspace in a path.
type RolePath = Result<Path<(String, String)>, PathRejection>;

fn role_ids(path: RolePath) -> Result<(Id, Id), AdminError> {
    let Path((member, workspace)) = path.map_err(|_| AdminError::NotFound)?;
    let member = Id::parse(Kind::Member, &member);
    let workspace = Id::parse(Kind::Workspace, &workspace);
    member.zip(workspace).ok_or(AdminError::NotFound)
}

/// Whether the caller may give or take roles of a person in a place: the role that is there and the one that comes.
fn check_roles(
    caller: &Caller,
    member: &MemberRecord,
    place: &Lineage,
    new: Option<Role>,
) -> Result<(), AdminError> {
    let held = |held: &&Binding| held.workspace == place.own();
    let old = member.roles.iter().find(held).map(|held| held.role);
    caller.check(Permission::MembersWrite, place)?;
    for role in old.into_iter().chain(new) {
        caller.check_role(Permission::MembersWrite, place, role)?;
    }
    Ok(())
}

/// Gives a member a role in a workspace, in place of the one they had there.
#[utoipa::path(
    put, path = "/v1/members/{id}/roles/{workspace}", tag = "members",
    params(("id" = String, Path), ("workspace" = String, Path)), request_body = NewRole,
    responses((status = 200, body = MemberView), Refusals)
)]
pub(in crate::admin) async fn grant_role(
    State(parts): State<Arc<AdminParts>>,
    path: RolePath,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let (id, workspace) = role_ids(path)?;
    let mut body = call.json()?;
    let places = Places::load(parts.store()?).await?;
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    let before = change.write.member(id).await?;
    let place = places.find(workspace)?;
    call.caller.check(Permission::MembersWrite, place)?;
    check_seen(&call.caller, &before, &places, Permission::MembersWrite)?;
    let role = body.required("role", crate::admin::api::tokens::role);
    body.finish()?;
    check_roles(&call.caller, &before, place, role)?;
    call.check_match(before.revision)?;
    // What is put is the role, not the member.
    if before.roles.iter().any(|held| held.workspace == workspace) {
        call.check_none_match(before.revision)?;
    }
    let Some(role) = role else {
        return Err(AdminError::Internal);
    };
    let binding = Binding { workspace, role };
    let member = change.write.grant_role(id, binding).await?;
    close(change, &parts, &call, (&member, &places)).await
}

/// Takes the role from a member that they have in a workspace.
#[utoipa::path(
    delete, path = "/v1/members/{id}/roles/{workspace}", tag = "members",
    params(
        ("id" = String, Path), ("workspace" = String, Path),
        ("dry_run" = Option<bool>, Query, description = "Say what would happen only")
    ),
    responses((status = 200, body = MemberView), Refusals)
)]
pub(in crate::admin) async fn take_role(
    State(parts): State<Arc<AdminParts>>,
    path: RolePath,
    call: Call,
) -> Answer {
    let mut parameters = call.parameters();
    let dry_run = parameters.flag("dry_run").unwrap_or(false);
    parameters.finish()?;
    let (id, workspace) = role_ids(path)?;
    call.json()?.finish()?;
    let places = Places::load(parts.store()?).await?;
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    if dry_run {
        change.only_try();
    }
    let before = change.write.member(id).await?;
    let place = places.find(workspace)?;
    call.caller.check(Permission::MembersWrite, place)?;
    check_seen(&call.caller, &before, &places, Permission::MembersWrite)?;
    check_roles(&call.caller, &before, place, None)?;
    call.check_version(before.revision)?;
    let member = change.write.take_role(id, workspace).await?;
    close(change, &parts, &call, (&member, &places)).await
}

/// Sets a password and ends all other sessions of the member.
#[utoipa::path(
    post, path = "/v1/members/{id}/password", tag = "members", params(("id" = String, Path), IdempotencyKey),
    request_body = NewPassword, responses((status = 200, body = MemberView), Refusals)
)]
pub(in crate::admin) async fn set_password(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let id = path_id(path, Kind::Member)?;
    let mut body = call.json()?;
    let store = parts.store()?;
    let (known, places) = (store.member(id).await?, Places::load(store).await?);
    let own = is_self(&call.caller, &known);
    if !own {
        check_governed(&call.caller, &known, &places, Permission::MembersWrite)?;
    }
    // Asked before the password is: the one before is not right any more when the same call comes again.
    if call.idempotency_key.is_some()
        && let Begun::Replay(answer) = begin(&parts, &call).await?
    {
        return Ok(answer);
    }
    let new = new_password(&parts, &call, &mut body, (&known, own)).await?;
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    let before = change.write.member(id).await?;
    if !own {
        check_governed(&call.caller, &before, &places, Permission::MembersWrite)?;
    }
    call.check_version(before.revision)?;
    let keep = match call.caller.actor.who {
        Who::Member { session, .. } if own => Some(session),
        Who::Member { .. } | Who::Token(_) | Who::ConfigToken | Who::System(_) => None,
    };
    let member = change.write.set_password(id, Some(&new), keep).await?;
    close(change, &parts, &call, (&member, &places)).await
}

/// Reads a new password and, for one's own, the one before; gives the new one as it is kept.
async fn new_password(
    parts: &AdminParts,
    call: &Call,
    body: &mut Body,
    (member, own): (&MemberRecord, bool),
) -> Result<Secret<String>, AdminError> {
    let current = own.then(|| body.required("current", password::presented));
    let new = body.required("new", password::new_password);
    if let Some(new) = &new {
        let known = [member.email.as_deref(), member.name.as_deref()];
        if let Err(wrong) = password::check_fresh(new, known) {
            body.fault("new", wrong);
        }
    }
    std::mem::replace(body, Body::of(serde_json::Map::new())).finish()?;
    if let Some(current) = current {
        let current = current.ok_or(AdminError::Internal)?;
        check_current(parts, call, member, current).await?;
    }
    password::hash(new.ok_or(AdminError::Internal)?).await
}

/// A session that somebody found open must not be enough to take the person's place, nor to guess at leisure.
async fn check_current(
    parts: &AdminParts,
    call: &Call,
    member: &MemberRecord,
    current: Secret<String>,
) -> Result<(), AdminError> {
    let network = call.caller.actor.address.map(Network::of);
    let email = member.email.as_deref().unwrap_or_default();
    if let Some(network) = network {
        parts.throttle.try_password(network, email)?;
    }
    let kept = parts.store()?.password(member.id).await?;
    if !password::verify(current, kept).await? {
        let mut wrong = Body::of(serde_json::Map::new());
        wrong.fault("current", ("incorrect", "this is not the password".into()));
        return wrong.finish();
    }
    if let Some(network) = network {
        parts.throttle.forget_passwords(network, email);
    }
    Ok(())
}
