//! `/v1/webhooks`: who is told of which events. A signing secret is shown once, in the reply that makes it.

pub(in crate::admin) mod view;

use super::place::{PathId, has_words, id_parameter, named, path_id, set};
use crate::admin::auth::Caller;
use crate::admin::body::{BY_GATEWAY, Body, Wrong, invalid, name, text};
use crate::admin::call::{Call, etag};
use crate::admin::change::{Begun, Change, Reply, begin};
use crate::admin::error::AdminError;
use crate::admin::page::{Page, cursor};
use crate::admin::schema::{IdempotencyKey, Refusals};
use crate::admin::server::AdminParts;
use crate::domain::id::{Id, Kind};
use crate::domain::role::Permission;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::workspace::{Lineage, root};
use crate::http;
use crate::store::webhooks::{SealedSecret, WebhookRecord, WebhookState, is_pattern, types};
use crate::store::workspaces::WorkspaceRecord;
use crate::vault::{self, Keyring};
use axum::Json;
use axum::extract::State;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use view::{NewWebhook, WebhookList, WebhookPatch, WebhookView, WebhookWithSecret};

pub(in crate::admin) mod acts;

const SORT: &str = "id";
/// What PATCH does not change of a webhook.
const FIXED: [(&str, &str); 6] = [
    ("workspace", "a webhook does not move: its workspace stays"),
    (
        "secret",
        "is changed by POST /v1/webhooks/{id}/rotate-secret",
    ),
    (
        "secrets",
        "are counted: POST /v1/webhooks/{id}/rotate-secret changes them",
    ),
    (
        "overlap_until",
        "follows from the secrets: POST /v1/webhooks/{id}/rotate-secret changes them",
    ),
    ("state_reason", BY_GATEWAY),
    ("failing_since", BY_GATEWAY),
];

/// Lists webhooks.
#[utoipa::path(
    get, path = "/v1/webhooks", tag = "webhooks",
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("q" = Option<String>, Query, description = "Words that each begin a word of the name; or a whole id"),
        ("workspace" = Option<String>, Query, description = "Id; it and all below"),
        ("total" = Option<bool>, Query)
    ),
    responses((status = 200, body = WebhookList), Refusals)
)]
pub(in crate::admin) async fn list_webhooks(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<Page<WebhookView>>, AdminError> {
    call.caller.reach(Permission::WebhooksRead)?;
    let mut parameters = call.parameters();
    let limit = parameters.limit();
    let after = parameters.cursor(SORT).map(|(_, id)| id);
    let q = parameters.text("q");
    let workspace = id_parameter(&mut parameters, "workspace", Kind::Workspace);
    let wants_total = parameters.flag("total").unwrap_or(false);
    parameters.finish()?;
    let store = parts.store()?;
    if let Some(id) = workspace {
        let place = store.workspace(id).await?.lineage;
        call.caller.check(Permission::WebhooksRead, &place)?;
    }
    let places: HashMap<Id, WorkspaceRecord> = store
        .workspaces()
        .await?
        .into_iter()
        .map(|place| (place.id, place))
        .collect();
    let mut rows: Vec<WebhookView> = Vec::new();
    let now = parts.clock.now();
    for one in store.webhooks().await? {
        let place = places.get(&one.workspace);
        let place = place.map_or_else(nowhere, |place| place.lineage.clone());
        let sees = call.caller.check(Permission::WebhooksRead, &place).is_ok()
            && workspace.is_none_or(|above| place.is_reached_from(above))
            && q.as_ref()
                .is_none_or(|q| text_of(one.id) == q.trim() || has_words(&one.name, q));
        if sees {
            rows.push(WebhookView::of(&one, now, changes(&call.caller, &place)));
        }
    }
    let total = wants_total.then_some(u64::try_from(rows.len()).unwrap_or(u64::MAX));
    rows.retain(|row| after.as_ref().is_none_or(|after| row.id > *after));
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more);
    let next = next.map(|last| cursor(SORT, "", &last.id));
    Ok(Json(Page {
        data: rows,
        next,
        total,
    }))
}

/// Shows a webhook.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)),
    responses((status = 200, body = WebhookView), Refusals)
)]
pub(in crate::admin) async fn show_webhook(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    let id = path_id(path, Kind::Webhook)?;
    let store = parts.store()?;
    let found = store.webhook(id).await?;
    let place = store.workspace(found.workspace).await?.lineage;
    call.caller.check(Permission::WebhooksRead, &place)?;
    let view = WebhookView::of(&found, parts.clock.now(), changes(&call.caller, &place));
    Ok(([(ETAG, etag(found.revision))], Json(view)).into_response())
}

/// Makes a webhook.
#[utoipa::path(
    post, path = "/v1/webhooks", tag = "webhooks", params(IdempotencyKey), request_body = NewWebhook,
    responses(
        (status = 201, body = WebhookWithSecret, description = "The webhook, and its signing secret, which is never shown again"),
        Refusals
    )
)]
pub(in crate::admin) async fn create_webhook(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    let mut body = call.json()?;
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    let now = change.write.now;
    let able = (&call.caller, Permission::WebhooksWrite);
    let place = named(&mut change.write, &mut body, "workspace", able).await?;
    let keyring = keyring(&parts)?;
    let mut new = WebhookRecord {
        id: Id::new(now),
        workspace: place.map_or_else(root, |place| place.id),
        name: String::new(),
        url: String::new(),
        events: Vec::new(),
        state: WebhookState::Active,
        state_reason: None,
        secrets: Vec::new(),
        created_at: now,
        created_by: String::new(),
        updated_at: now,
        updated_by: String::new(),
        failing_since: None,
        revision: 0,
    };
    for field in ["name", "url"] {
        if !body.has(field) {
            body.fault(field, ("required", "this field is required".into()));
        }
    }
    write(&mut body, &mut new, &parts);
    let secret = new_secret(&mut body)?;
    body.finish()?;
    new.secrets.push(SealedSecret {
        sealed: seal(keyring, new.id, &secret)?,
        until: None,
    });
    let made = change.write.insert_webhook(new).await?;
    let id = text_of(made.id);
    let reply = with_secret(&made, now, &secret);
    change
        .finish(&parts, Reply::created(id, "/v1/webhooks", reply))
        .await
}

/// Changes fields (merge patch, RFC 7396): what is absent stays, null clears.
#[utoipa::path(
    patch, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)),
    request_body = WebhookPatch, responses((status = 200, body = WebhookView), Refusals)
)]
pub(in crate::admin) async fn edit_webhook(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    let mut body = call.json()?;
    let (mut change, before) = match open(&parts, &call, path).await? {
        Ok(opened) => opened,
        Err(answer) => return Ok(answer),
    };
    let mut after = before.clone();
    body.fixed(&FIXED);
    write(&mut body, &mut after, &parts);
    let state = body.optional("state", |value| {
        let state = value.as_str().and_then(WebhookState::parse);
        state.ok_or_else(|| ("unknown_value", "state is active or disabled".into()))
    });
    body.finish()?;
    let action = match state {
        Some(WebhookState::Active) if before.state == WebhookState::Disabled => {
            after.enable();
            "webhook.enabled"
        }
        Some(WebhookState::Disabled) if before.state == WebhookState::Active => {
            after.disable(None);
            "webhook.disabled"
        }
        Some(WebhookState::Active | WebhookState::Disabled) | None => "webhook.updated",
    };
    let saved = change.write.save_webhook(&before, after, action).await?;
    let reply = reply(&saved, change.write.now)?;
    change
        .finish(&parts, Reply::ok(text_of(saved.id), reply))
        .await
}

/// Removes a webhook, and what was delivered to it.
#[utoipa::path(
    delete, path = "/v1/webhooks/{id}", tag = "webhooks",
    params(("id" = String, Path), ("dry_run" = Option<bool>, Query, description = "Say what would happen only")),
    responses((status = 200, body = WebhookView), Refusals)
)]
pub(in crate::admin) async fn delete_webhook(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Response, AdminError> {
    let mut parameters = call.parameters();
    let dry_run = parameters.flag("dry_run").unwrap_or(false);
    parameters.finish()?;
    call.json()?.finish()?;
    let (mut change, before) = match open(&parts, &call, path).await? {
        Ok(opened) => opened,
        Err(answer) => return Ok(answer),
    };
    if dry_run {
        change.only_try();
    }
    let mut gone = change.write.delete_webhook(before.id).await?;
    gone.revision = change.write.revision;
    let reply = reply(&gone, change.write.now)?;
    change
        .finish(&parts, Reply::ok(text_of(gone.id), reply))
        .await
}

/// Begins a change of a webhook: it is there, within reach, and of the version the caller knows.
async fn open(
    parts: &AdminParts,
    call: &Call,
    path: PathId,
) -> Result<Result<(Box<Change>, WebhookRecord), Response>, AdminError> {
    let id = path_id(path, Kind::Webhook)?;
    let mut change = match begin(parts, call).await? {
        Begun::Replay(answer) => return Ok(Err(answer)),
        Begun::Change(change) => change,
    };
    let before = change.write.webhook(id).await?;
    let place = change.write.workspace(before.workspace).await?;
    call.caller
        .check(Permission::WebhooksWrite, &place.lineage)?;
    call.check_version(before.revision)?;
    Ok(Ok((change, before)))
}

/// Writes the fields that a body has.
fn write(body: &mut Body, webhook: &mut WebhookRecord, parts: &AdminParts) {
    if body.has("name")
        && let Some(name) = body.required("name", name)
    {
        webhook.name = name;
    }
    let url = |value: &Value| url(value, parts.webhooks.allow_private);
    if body.has("url")
        && let Some(url) = body.required("url", url)
    {
        webhook.url = url;
    }
    set(&mut webhook.events, body.list("events", 64, pattern));
}

fn url(value: &Value, allow_private: bool) -> Result<String, Wrong> {
    let url = text(1, 2048)(value)?;
    http::check_url(&url, allow_private).map_err(|fault| {
        let code = match fault {
            http::HttpError::Private => "private_address",
            http::HttpError::Url(_)
            | http::HttpError::Name(_)
            | http::HttpError::Connect(_)
            | http::HttpError::Timeout
            | http::HttpError::Protocol(_)
            | http::HttpError::Setup(_) => "invalid",
        };
        (code, fault.to_string())
    })?;
    Ok(url)
}

fn pattern(value: &Value) -> Result<String, Wrong> {
    let Some(text) = value.as_str().filter(|text| is_pattern(text)) else {
        return invalid("expected a type of event such as key.created, or a pattern such as key.*");
    };
    if types::is_known(text) {
        return Ok(text.to_owned());
    }
    // Not the text itself: it may be a secret in the wrong place.
    let near = types::near(text).join(", ");
    Err((
        "unknown_value",
        format!("there are no events of this type; there are {near}"),
    ))
}

/// The signing secret that a body brings along, else a new one.
fn new_secret(body: &mut Body) -> Result<Secret<String>, AdminError> {
    let given = body.optional("secret", |value| {
        let text = value.as_str().filter(|text| vault::is_signing_secret(text));
        let words = "expected whsec_ and the base64 of 24 to 64 bytes";
        text.map_or_else(|| invalid(words), |text| Ok(Secret::new(text.to_owned())))
    });
    match given {
        Some(secret) => Ok(secret),
        None => vault::new_signing_secret().map_err(|_| AdminError::Internal),
    }
}

/// What seals signing secrets.
fn keyring(parts: &AdminParts) -> Result<&Keyring, AdminError> {
    parts.vault.as_deref().ok_or_else(|| AdminError::Conflict {
        code: "vault_not_configured",
        message: "signing secrets are kept sealed: set `vault.master_key` in the config file"
            .into(),
    })
}

fn seal(keyring: &Keyring, id: Id, secret: &Secret<String>) -> Result<String, AdminError> {
    let place = WebhookRecord::place(id);
    let sealed = keyring.seal(secret.expose().as_bytes(), &place);
    sealed.map_err(|_| AdminError::Internal)
}

/// Whether the caller may change webhooks there, and so sees where they lead.
fn changes(caller: &Caller, place: &Lineage) -> bool {
    caller.check(Permission::WebhooksWrite, place).is_ok()
}

/// Where what belongs to no workspace that is there is looked for.
fn nowhere() -> Lineage {
    Lineage::new(vec![root()])
}

fn text_of(id: Id) -> String {
    id.text(Kind::Webhook).to_string()
}

/// For whoever has just changed it.
fn reply(webhook: &WebhookRecord, now: Timestamp) -> Result<Value, AdminError> {
    serde_json::to_value(WebhookView::of(webhook, now, true)).map_err(|_| AdminError::Internal)
}

fn with_secret(webhook: &WebhookRecord, now: Timestamp, secret: &Secret<String>) -> Value {
    json!({
        "webhook": WebhookView::of(webhook, now, true),
        "secret": secret.expose(),
        "revision": webhook.revision,
    })
}
