//! `/v1/tokens`: keys for the admin API itself. A secret is in the reply that makes it and nowhere else; nobody makes or
//! ends a token with a greater role than their own.

use super::few::{Places, Wanted};
use super::place::{PathId, id_parameter, named, path_id};
use crate::admin::body::{Body, Wrong, invalid, name, time};
use crate::admin::call::{Call, etag};
use crate::admin::change::{Begun, Reply, begin};
use crate::admin::error::AdminError;
use crate::admin::page::Page;
use crate::admin::schema::{IdempotencyKey, Refusals};
use crate::admin::server::AdminParts;
use crate::domain::id::{Id, Kind};
use crate::domain::role::{Permission, Role};
use crate::domain::time::Timestamp;
use crate::store::tokens::{TokenKind, TokenRecord};
use axum::Json;
use axum::extract::State;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

type Answer = Result<Response, AdminError>;

/// An admin token, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminToken)]
pub(in crate::admin) struct TokenView {
    /// `tok_…`.
    id: String,
    /// `token`, or `setup`: made at the first start.
    kind: &'static str,
    name: String,
    /// Id of the workspace where its role begins.
    workspace: String,
    /// `owner`, `admin`, `editor`, `auditor`.
    role: &'static str,
    /// Prefix, four characters, `…`, four characters.
    hint: String,
    /// `active`, `expired`, `revoked`.
    status: &'static str,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// To the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    created_by: String,
    revision: u64,
}

impl TokenView {
    fn of(token: &TokenRecord, now: Timestamp) -> Self {
        Self {
            id: token.id.text(Kind::Token).to_string(),
            kind: match token.kind {
                TokenKind::Token => "token",
                TokenKind::Setup => "setup",
            },
            name: token.name.clone(),
            workspace: token.workspace.text(Kind::Workspace).to_string(),
            role: token.role.name(),
            hint: token.hint.clone(),
            status: status(token, now),
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
            revoked_at: token.revoked_at,
            created_at: token.created_at,
            created_by: token.created_by.clone(),
            revision: token.revision,
        }
    }
}

const STATUSES: [&str; 3] = ["active", "expired", "revoked"];

fn status(token: &TokenRecord, now: Timestamp) -> &'static str {
    match token.revoked_at {
        Some(_) => "revoked",
        None if token.is_good(now) => "active",
        None => "expired",
    }
}

/// A page of admin tokens.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminTokenList)]
pub(in crate::admin) struct TokenList {
    data: Vec<TokenView>,
    /// Cursor of the page behind this one; null: there is none.
    next: Option<String>,
    /// With `total=true`: how many there are in all.
    total: Option<u64>,
}

/// A reply that holds a new secret: shown this once.
#[derive(Serialize, ToSchema)]
#[schema(as = AdminTokenWithSecret)]
pub(in crate::admin) struct TokenWithSecret {
    token: TokenView,
    /// The token as its holder presents it.
    secret: String,
    revision: u64,
}

/// What a new token is made of.
#[derive(ToSchema)]
#[schema(as = NewAdminToken)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct NewToken {
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// Id; the caller's own unless given.
    workspace: Option<String>,
    /// `owner`, `admin`, `editor`, `auditor`; not above the caller's own there.
    role: String,
    /// RFC 3339, or a date; null: never.
    expires_at: Option<String>,
}

/// Lists admin tokens, the newest first.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "tokens",
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("q" = Option<String>, Query, description = "Words that each begin a word of name or hint"),
        ("workspace" = Option<String>, Query, description = "Id; it and all below"),
        ("status" = Option<String>, Query, description = "active, expired or revoked"),
        ("total" = Option<bool>, Query)
    ),
    responses((status = 200, body = TokenList), Refusals)
)]
pub(in crate::admin) async fn list_tokens(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<Page<TokenView>>, AdminError> {
    call.caller.reach(Permission::TokensRead)?;
    let mut parameters = call.parameters();
    let wanted = Wanted::read(&mut parameters);
    let workspace = id_parameter(&mut parameters, "workspace", Kind::Workspace);
    let asked = parameters.read("status", |text| {
        let known = STATUSES.into_iter().find(|known| *known == text);
        known.map_or_else(|| invalid("status is active, expired or revoked"), Ok)
    });
    parameters.finish()?;
    let store = parts.store()?;
    let places = Places::load(store).await?;
    if let Some(workspace) = workspace {
        let place = places.find(workspace)?;
        call.caller.check(Permission::TokensRead, place)?;
    }
    let now = parts.clock.now();
    let mut rows = Vec::new();
    for token in store.tokens().await? {
        let place = places.find(token.workspace)?;
        let fits = call.caller.check(Permission::TokensRead, place).is_ok()
            && workspace.is_none_or(|above| place.is_reached_from(above))
            && asked.is_none_or(|asked| status(&token, now) == asked)
            && wanted.names(&[&token.name, &token.hint]);
        if fits {
            let view = TokenView::of(&token, now);
            rows.push((view.id.clone(), view));
        }
    }
    Ok(Json(wanted.page(rows)))
}

/// Shows an admin token.
#[utoipa::path(
    get, path = "/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path)),
    responses((status = 200, body = TokenView), Refusals)
)]
pub(in crate::admin) async fn show_token(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let id = path_id(path, Kind::Token)?;
    let store = parts.store()?;
    let token = store.token(id).await?;
    let place = store.workspace(token.workspace).await?;
    call.caller.check(Permission::TokensRead, &place.lineage)?;
    let view = TokenView::of(&token, parts.clock.now());
    Ok(([(ETAG, etag(token.revision))], Json(view)).into_response())
}

/// Makes an admin token.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "tokens", params(IdempotencyKey), request_body = NewToken,
    responses((status = 201, body = TokenWithSecret, description = "The secret is never shown again"), Refusals)
)]
pub(in crate::admin) async fn create_token(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let mut body = call.json()?;
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    let now = change.write.now;
    let needed = Permission::TokensWrite;
    let able = (&call.caller, needed);
    let place = named(&mut change.write, &mut body, "workspace", able).await?;
    let (name, role) = (body.required("name", name), body.required("role", role));
    let expires_at = future(&mut body, now);
    body.finish()?;
    let (Some(place), Some(name), Some(role)) = (place, name, role) else {
        return Err(AdminError::Internal);
    };
    call.caller.check_role(needed, &place.lineage, role)?;
    let format = &parts.shared.snapshot().key_format;
    let secret = format.generate_admin().map_err(|fault| {
        tracing::error!(error = %fault, "no token could be made");
        AdminError::Internal
    })?;
    let token = TokenRecord {
        id: Id::new(now),
        kind: TokenKind::Token,
        name,
        workspace: place.id,
        role,
        hash: secret.hash().at_rest(),
        hint: format.hint(&secret),
        created_at: now,
        created_by: String::new(),
        expires_at,
        last_used_at: None,
        revoked_at: None,
        revision: 0,
    };
    let token = change.write.insert_token(token).await?;
    let view = TokenView::of(&token, now);
    let id = view.id.clone();
    let reply = TokenWithSecret {
        token: view,
        secret: secret.expose().to_owned(),
        revision: token.revision,
    };
    let reply = serde_json::to_value(reply).map_err(|_| AdminError::Internal)?;
    let reply = Reply::created(id, "/v1/tokens", reply);
    change.finish(&parts, reply).await
}

/// Revokes an admin token, which stays to be seen.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "tokens",
    params(("id" = String, Path), ("dry_run" = Option<bool>, Query, description = "Say what would happen only")),
    responses((status = 200, body = TokenView), Refusals)
)]
pub(in crate::admin) async fn delete_token(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Answer {
    let mut parameters = call.parameters();
    let dry_run = parameters.flag("dry_run").unwrap_or(false);
    parameters.finish()?;
    end(&parts, path, &call, dry_run).await
}

/// Revokes an admin token: refused from the next call on.
#[utoipa::path(
    post, path = "/v1/tokens/{id}/revoke", tag = "tokens", params(("id" = String, Path), IdempotencyKey),
    responses((status = 200, body = TokenView), Refusals)
)]
pub(in crate::admin) async fn revoke_token(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    end(&parts, path, &call, false).await
}

async fn end(parts: &AdminParts, path: PathId, call: &Call, dry_run: bool) -> Answer {
    let id = path_id(path, Kind::Token)?;
    call.json()?.finish()?;
    let mut change = match begin(parts, call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    if dry_run {
        change.only_try();
    }
    let token = change.write.token(id).await?;
    let place = change.write.workspace(token.workspace).await?.lineage;
    let needed = Permission::TokensWrite;
    call.caller.check_role(needed, &place, token.role)?;
    call.check_version(token.revision)?;
    let token = change.write.revoke_token(id).await?;
    let view = TokenView::of(&token, change.write.now);
    let id = view.id.clone();
    let body = serde_json::to_value(view).map_err(|_| AdminError::Internal)?;
    change.finish(parts, Reply::ok(id, body)).await
}

/// The name of a role.
pub(in crate::admin) fn role(value: &Value) -> Result<Role, Wrong> {
    let role = value.as_str().and_then(Role::parse);
    role.ok_or_else(|| {
        let names = Role::ALL.map(Role::name).join(", ");
        ("unknown_value", format!("role is one of {names}"))
    })
}

/// `expires_at`, which is not over yet.
fn future(body: &mut Body, now: Timestamp) -> Option<Timestamp> {
    let end = body.optional("expires_at", time);
    if end.is_some_and(|end| end <= now) {
        let message = "must be in the future".into();
        body.fault("expires_at", ("out_of_range", message));
    }
    end
}
