//! What is known about a person: taken out whole, and forgotten.

use super::view::{MemberView, is_self};
use super::{Answer, check_governed, close};
use crate::admin::api::few::Places;
use crate::admin::api::place::{PathId, path_id};
use crate::admin::api::sessions::SessionView;
use crate::admin::call::Call;
use crate::admin::change::{Begun, begin, commit};
use crate::admin::error::AdminError;
use crate::admin::schema::{IdempotencyKey, Refusals};
use crate::admin::server::AdminParts;
use crate::admin::standing;
use crate::domain::id::Kind;
use crate::domain::role::Permission;
use crate::domain::workspace::{Lineage, root};
use crate::store::audit::{AuditEvent, AuditQuery};
use crate::store::people::{MemberRecord, MemberState};
use crate::store::workspaces::path_of;
use crate::store::{Fact, Store, StoreError};
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::ToSchema;

/// Everything that is known about a person.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct MemberData {
    member: MemberView,
    sessions: Vec<SessionView>,
    /// What they did and what was done to them, the oldest first; of other people there is nothing in it.
    audit: Vec<Value>,
}

/// Takes out everything that is known about a person; that it was taken out is recorded. Anybody may take out their own.
#[utoipa::path(
    get, path = "/v1/members/{id}/export", tag = "members", params(("id" = String, Path)),
    responses((status = 200, body = MemberData), Refusals)
)]
pub(in crate::admin) async fn export_member(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let id = path_id(path, Kind::Member)?;
    let store = parts.store()?;
    let (member, places) = (store.member(id).await?, Places::load(store).await?);
    let reach = if is_self(&call.caller, &member) {
        vec![path_of(&Lineage::new(vec![root()]))]
    } else {
        let needed = Permission::MembersErase;
        check_governed(&call.caller, &member, &places, needed)?;
        call.caller.reach(needed)?
    };
    let mut write = standing::begin(store, &call.caller).await?;
    write.record(exported(&member)).await?;
    commit(&parts, write).await?;
    let view = MemberView::of(&member, &call.caller, &places);
    let sessions = store.kept_sessions(id).await?;
    let sessions = sessions.iter().map(|one| SessionView::of(one, None));
    let sessions: Vec<SessionView> = sessions.collect();
    let (view, sessions) = (to_text(&view)?, to_text(&sessions)?);
    let head = format!("{{\"member\":{view},\"sessions\":{sessions},\"audit\":[");
    let events = events(store, &member, reach).enumerate();
    let events = events.map(|(place, event)| {
        let comma = if place == 0 { "" } else { "," };
        event.map(|event| format!("{comma}{event}"))
    });
    let end = stream::once(async { Ok("]}".to_owned()) });
    let text = stream::once(async { Ok(head) }).chain(events).chain(end);
    let body = Body::from_stream(text.inspect_err(|fault| {
        tracing::warn!(error = %fault, "the export of a member broke off");
    }));
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

fn to_text(value: &impl Serialize) -> Result<String, AdminError> {
    serde_json::to_string(value).map_err(|_| AdminError::Internal)
}

fn exported(member: &MemberRecord) -> Fact {
    let home = member
        .roles
        .first()
        .map_or_else(root, |held| held.workspace);
    let id = member.id.text(Kind::Member).to_string();
    let mut fact = Fact::new("member.exported", home, id);
    fact.target_name.clone_from(&member.email);
    fact.target_person = Some(member.id);
    fact
}

/// First what they did, then what others did to them.
fn events(
    store: &Store,
    member: &MemberRecord,
    reach: Vec<String>,
) -> impl Stream<Item = Result<Value, StoreError>> + Send + use<> {
    let id = member.id.text(Kind::Member).to_string();
    let mut did = AuditQuery::all(reach);
    did.descending = false;
    let mut suffered = did.clone();
    did.actor = Some(id.clone());
    suffered.target = Some(id.clone());
    let (own, others) = (id.clone(), id);
    let did = store
        .export_audit(did)
        .map_ok(move |event| about(&event, &own));
    let suffered = store.export_audit(suffered).try_filter_map(move |event| {
        let one = (event.actor != others).then(|| about(&event, &others));
        std::future::ready(Ok(one))
    });
    did.chain(suffered)
}

/// An event without what it says about other people.
fn about(event: &AuditEvent, person: &str) -> Value {
    let (acts, is_target) = (event.actor == person, event.target == person);
    json!({
        "sequence": event.sequence,
        "id": event.id,
        "at": event.at,
        "action": event.action,
        "class": event.class,
        "outcome": event.outcome,
        "workspace": event.workspace,
        "actor": event.actor,
        "actor_name": event.actor_name.as_ref().filter(|_| acts),
        "address": event.address.as_ref().filter(|_| acts),
        "target": event.target,
        "target_name": event.target_name.as_ref().filter(|_| is_target),
        "reason": event.reason,
        "changes": event.changes,
    })
}

/// Forgets a person: e-mail address, name, password, roles, sessions, and what the audit log knows of them. That there
/// was somebody stays, as an id.
#[utoipa::path(
    post, path = "/v1/members/{id}/erase", tag = "members",
    params(
        ("id" = String, Path), IdempotencyKey,
        ("dry_run" = Option<bool>, Query, description = "Say what would happen only")
    ),
    responses((status = 200, body = MemberView), Refusals)
)]
pub(in crate::admin) async fn erase_member(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Answer {
    let mut parameters = call.parameters();
    let dry_run = parameters.flag("dry_run").unwrap_or(false);
    parameters.finish()?;
    let id = path_id(path, Kind::Member)?;
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
    check_governed(&call.caller, &before, &places, Permission::MembersErase)?;
    if before.state == MemberState::Erased {
        return Err(AdminError::NotFound);
    }
    call.check_version(before.revision)?;
    let member = change.write.erase_member(id).await?;
    close(change, &parts, &call, (&member, &places)).await
}
