//! `/v1/sessions`: members sign in, see where they are signed in, and sign out.

use super::few::{Places, Wanted};
use super::members::check_governed;
use super::place::{PathId, id_parameter, path_id};
use crate::admin::body::text;
use crate::admin::call::Call;
use crate::admin::change::{Begun, Reply, begin, commit};
use crate::admin::error::AdminError;
use crate::admin::page::Page;
use crate::admin::password;
use crate::admin::refusal;
use crate::admin::schema::Refusals;
use crate::admin::server::AdminParts;
use crate::domain::actor::{Actor, Who};
use crate::domain::id::{Id, Kind};
use crate::domain::network::Network;
use crate::domain::role::Permission;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::workspace::root;
use crate::store::Fact;
use crate::store::people::{MemberRecord, MemberState, SessionRecord};
use crate::store::write::Class;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

type Answer = Result<Response, AdminError>;

/// A member's time signed in.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(in crate::admin) struct SessionView {
    /// `ses_…`.
    id: String,
    /// `mem_…`.
    member: String,
    /// Whether this call was made in it.
    current: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Last call in it, to the minute.
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Timestamp,
    /// Not good from then on, however busy.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// Where it began.
    #[schema(value_type = Option<String>)]
    address: Option<IpAddr>,
    /// What the program called itself in which it began.
    agent: Option<String>,
}

impl SessionView {
    /// A session, as it is seen in another one or in none.
    pub(in crate::admin) fn of(session: &SessionRecord, current: Option<Id>) -> Self {
        Self {
            id: session.id.text(Kind::Session).to_string(),
            member: session.member.text(Kind::Member).to_string(),
            current: current == Some(session.id),
            created_at: session.created_at,
            last_seen_at: session.last_seen_at,
            expires_at: session.expires_at,
            ended_at: session.ended_at,
            address: session.address,
            agent: session.agent.clone(),
        }
    }
}

/// A page of sessions.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct SessionList {
    data: Vec<SessionView>,
    /// Cursor of the page behind this one; null: there is none.
    next: Option<String>,
    /// With `total=true`: how many there are in all.
    total: Option<u64>,
}

/// A reply that holds a new secret: shown this once.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct SessionWithSecret {
    session: SessionView,
    /// What the calls of this session are made with.
    secret: String,
    revision: u64,
}

/// Who wants to sign in.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct SignIn {
    email: String,
    password: String,
}

/// Who asks: the member and the session, unless it is a token.
fn own(call: &Call) -> Option<(Id, Id)> {
    match call.caller.actor.who {
        Who::Member { member, session } => Some((member, session)),
        Who::Token(_) | Who::ConfigToken | Who::System(_) => None,
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Signs a member in. What is wrong, if something is, nobody is told.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "sessions", request_body = SignIn, security(()),
    responses((status = 201, body = SessionWithSecret, description = "The secret is never shown again"), Refusals)
)]
pub(in crate::admin) async fn sign_in(State(parts): State<Arc<AdminParts>>, call: Call) -> Answer {
    call.no_parameters()?;
    let mut body = call.json()?;
    let email = body.required("email", text(1, 254));
    let password = body.required("password", password::presented);
    body.finish()?;
    let (Some(email), Some(password)) = (email, password) else {
        return Err(AdminError::Internal);
    };
    let email = email.trim().to_lowercase();
    let network = call.caller.actor.address.map(Network::of);
    let network = network.ok_or(AdminError::Internal)?;
    parts.throttle.check_failures(network)?;
    parts.throttle.try_password(network, &email)?;
    let (known, kept) = parts.store()?.member_by_email(&email).await?.unzip();
    let is_right = password::verify(password, kept.flatten()).await?;
    let is_active = |member: &&MemberRecord| member.state == MemberState::Active;
    let good = known.as_ref().filter(|_| is_right).filter(is_active);
    let opened = match good {
        Some(member) => open(&parts, &call, member).await?,
        None => None,
    };
    let Some((session, secret, revision)) = opened else {
        let one_too_many = parts.throttle.note_failure(network);
        refuse(&parts, &call, (known.as_ref(), is_right)).await;
        one_too_many?;
        return Err(AdminError::SignInRefused);
    };
    parts.throttle.forget_passwords(network, &email);
    let view = SessionView::of(&session, Some(session.id));
    let place = format!("/v1/sessions/{}", view.id);
    let reply = SessionWithSecret {
        session: view,
        secret: secret.expose().clone(),
        revision,
    };
    Ok((StatusCode::CREATED, [(LOCATION, place)], Json(reply)).into_response())
}

/// Begins a session; `None`: the member has changed since the password was looked at, and may not be who they were.
async fn open(
    parts: &AdminParts,
    call: &Call,
    known: &MemberRecord,
) -> Result<Option<(SessionRecord, Secret<String>, u64)>, AdminError> {
    let format = &parts.shared.snapshot().key_format;
    let secret = format.generate_session().map_err(|fault| {
        tracing::error!(error = %fault, "no session could be made");
        AdminError::Internal
    })?;
    let now = parts.clock.now();
    let id = Id::new(now);
    let actor = Actor {
        who: Who::Member {
            member: known.id,
            session: id,
        },
        name: known.email.clone(),
        ..call.caller.actor.clone()
    };
    let mut write = parts.store()?.begin(&actor).await?;
    if write.member(known.id).await?.revision != known.revision {
        return Ok(None);
    }
    let end = now
        .as_millis()
        .saturating_add(millis(parts.sessions.absolute));
    let session = SessionRecord {
        id,
        member: known.id,
        created_at: now,
        last_seen_at: now,
        expires_at: Timestamp::from_millis(end),
        ended_at: None,
        address: actor.address,
        agent: call.agent.clone(),
    };
    let session = write
        .insert_session(session, &secret.hash().at_rest())
        .await?;
    let revision = commit(parts, write).await?;
    let secret = Secret::new(secret.expose().to_owned());
    Ok(Some((session, secret, revision)))
}

/// Records that somebody was not let in, summed up by person and cause. What was typed is not kept: it may be a password
/// in the wrong field.
async fn refuse(parts: &AdminParts, call: &Call, (known, is_right): (Option<&MemberRecord>, bool)) {
    let mut fact = Fact::new("session.refused", root(), "session");
    if let Some(member) = known {
        fact.target = member.id.text(Kind::Member).to_string();
        fact.target_name.clone_from(&member.email);
        fact.target_person = Some(member.id);
        fact.workspace = member
            .roles
            .first()
            .map_or_else(root, |held| held.workspace);
    }
    let reason = match known {
        None => "unknown",
        Some(_) if is_right => "not_active",
        Some(_) => "wrong_password",
    };
    fact.class = Class::Authentication;
    fact.reason = Some(reason.into());
    let cause = format!("sign_in {} {reason}", fact.target);
    refusal::record(parts, &call.caller.actor, &cause, fact).await;
}

/// Lists sessions that are not over: one's own or, with `member`, somebody else's.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "sessions",
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("q" = Option<String>, Query, description = "Words that each begin a word of agent or address"),
        ("member" = Option<String>, Query, description = "Id; one's own unless given"),
        ("total" = Option<bool>, Query)
    ),
    responses((status = 200, body = SessionList), Refusals)
)]
pub(in crate::admin) async fn list_sessions(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<Page<SessionView>>, AdminError> {
    let mut parameters = call.parameters();
    let wanted = Wanted::read(&mut parameters);
    let asked = id_parameter(&mut parameters, "member", Kind::Member);
    parameters.finish()?;
    let own = own(&call);
    let Some(member) = asked.or(own.map(|(member, _)| member)) else {
        // A token is nobody: it has no sessions.
        return Ok(Json(wanted.page(Vec::new())));
    };
    check_reach(&parts, &call, member).await?;
    let (now, idle) = (parts.clock.now(), millis(parts.sessions.idle));
    let mut rows = Vec::new();
    for mut session in parts.store()?.sessions(Some(member)).await? {
        session.last_seen_at = parts.sightings.latest(session.id, session.last_seen_at);
        let address = session.address.map(|address| address.to_string());
        let texts = [address.as_deref(), session.agent.as_deref()].map(Option::unwrap_or_default);
        if session.is_good(now, idle) && wanted.names(&texts) {
            let view = SessionView::of(&session, own.map(|(_, session)| session));
            rows.push((view.id.clone(), view));
        }
    }
    Ok(Json(wanted.page(rows)))
}

/// Anybody may deal with their own sessions; those of others are for whoever may manage sessions of such a person.
async fn check_reach(parts: &AdminParts, call: &Call, member: Id) -> Result<(), AdminError> {
    if own(call).is_some_and(|(own, _)| own == member) {
        return Ok(());
    }
    let store = parts.store()?;
    let (member, places) = (store.member(member).await?, Places::load(store).await?);
    check_governed(&call.caller, &member, &places, Permission::SessionsManage)
}

/// Ends a session: its secret is refused from the next call on.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path), ("dry_run" = Option<bool>, Query, description = "Say what would happen only")),
    responses((status = 200, body = SessionView), Refusals)
)]
pub(in crate::admin) async fn end_session(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Answer {
    let id = path_id(path, Kind::Session)?;
    end(&parts, &call, id).await
}

/// Signs out: ends the session of this call.
#[utoipa::path(
    delete, path = "/v1/sessions/current", tag = "sessions",
    params(("dry_run" = Option<bool>, Query, description = "Say what would happen only")),
    responses((status = 200, body = SessionView), Refusals)
)]
pub(in crate::admin) async fn sign_out(State(parts): State<Arc<AdminParts>>, call: Call) -> Answer {
    let (_, session) = own(&call).ok_or(AdminError::NotFound)?;
    end(&parts, &call, session).await
}

async fn end(parts: &AdminParts, call: &Call, id: Id) -> Answer {
    let mut parameters = call.parameters();
    let dry_run = parameters.flag("dry_run").unwrap_or(false);
    parameters.finish()?;
    call.json()?.finish()?;
    let session = parts.store()?.session(id).await?;
    check_reach(parts, call, session.member).await?;
    let mut change = match begin(parts, call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    if dry_run {
        change.only_try();
    }
    let session = change.write.end_session(id).await?;
    let view = SessionView::of(&session, own(call).map(|(_, session)| session));
    let id = view.id.clone();
    let body = serde_json::to_value(view).map_err(|_| AdminError::Internal)?;
    change.finish(parts, Reply::ok(id, body)).await
}
