//! What is done with one webhook: a new signing secret, a test, what was delivered and what is delivered again.

use super::{keyring, new_secret, open, seal, text_of, with_secret};
use crate::admin::api::keys::create::id;
use crate::admin::api::place::{PathId, path_id, time_cursor};
use crate::admin::body::{duration, time};
use crate::admin::call::Call;
use crate::admin::change::Reply;
use crate::admin::error::AdminError;
use crate::admin::page::{Page, cursor};
use crate::admin::schema::{IdempotencyKey, Refusals};
use crate::admin::server::AdminParts;
use crate::domain::id::Kind;
use crate::domain::role::Permission;
use crate::domain::time::Timestamp;
use crate::store::deliveries::{DeliveryRecord, DeliveryState};
use crate::store::webhooks::WebhookState;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::ToSchema;

const SORT: &str = "-created_at";
/// An old secret signs for so long beside a new one: a day, unless it is told.
const OVERLAP: i64 = 24 * 60 * 60 * 1000;
/// And no longer than that.
const MOST_OVERLAP: i64 = 30 * OVERLAP;

/// One event on its way to a webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(in crate::admin) struct DeliveryView {
    /// `dlv_…`
    id: String,
    /// `evt_…`; the message's `webhook-id`.
    event: String,
    /// `key.created`; null once the event is too old to be told again.
    r#type: Option<String>,
    /// `pending`, `delivered`, `failed`
    state: &'static str,
    attempts: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
    /// Status of the last answer.
    last_status: Option<i64>,
    /// Why the last attempt failed.
    last_error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    delivered_at: Option<Timestamp>,
}

impl From<DeliveryRecord> for DeliveryView {
    fn from(delivery: DeliveryRecord) -> Self {
        Self {
            id: delivery.id.text(Kind::Delivery).to_string(),
            event: delivery.event,
            r#type: delivery.kind,
            state: delivery.state.name(),
            attempts: delivery.attempts,
            next_at: delivery.next_at,
            last_status: delivery.last_status,
            last_error: delivery.last_error,
            created_at: delivery.created_at,
            delivered_at: delivery.delivered_at,
        }
    }
}

/// A page of deliveries.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
struct DeliveryList {
    data: Vec<DeliveryView>,
    /// Cursor of the page behind this one; null: there is none.
    next: Option<String>,
}

/// How a signing secret is changed.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
struct SecretRotation {
    /// How long the old one signs beside the new one: `0s` to `30d`; `24h` unless given.
    overlap: Option<String>,
    /// A signing secret of your own; else one is made.
    secret: Option<String>,
}

/// What is delivered again.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
struct Replay {
    /// What has failed, waits or was missed since this time; since the webhook was made unless given.
    since: Option<String>,
    /// Instead: these deliveries, whatever became of them.
    #[schema(max_items = 100)]
    deliveries: Option<Vec<String>>,
}

/// What a test answers.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
struct TestReply {
    /// Id of the delivery; look for it to see what became of the test.
    delivery: String,
    revision: u64,
}

/// What a replay answers.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
struct ReplayReply {
    /// Number of events that are delivered again.
    events: u64,
    revision: u64,
}

/// Gives a webhook a new signing secret; the one before signs beside it for the overlap.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/rotate-secret", tag = "webhooks", params(("id" = String, Path), IdempotencyKey),
    request_body = Option<SecretRotation>,
    responses((status = 200, body = super::view::WebhookWithSecret, description = "The new secret is never shown again"), Refusals)
)]
pub(in crate::admin) async fn rotate_secret(
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
    let overlap = body.optional("overlap", |value: &Value| {
        let overlap = duration(value)?;
        if overlap > MOST_OVERLAP {
            return Err(("out_of_range", "at most 30d".into()));
        }
        Ok(overlap)
    });
    let secret = new_secret(&mut body)?;
    body.finish()?;
    let now = change.write.now;
    let mut after = before.clone();
    let sealed = seal(keyring(&parts)?, before.id, &secret)?;
    after.rotate_secret(sealed, overlap.unwrap_or(OVERLAP), now);
    let saved = change
        .write
        .save_webhook(&before, after, "webhook.secret_rotated")
        .await?;
    let reply = with_secret(&saved, now, &secret);
    change
        .finish(&parts, Reply::ok(text_of(saved.id), reply))
        .await
}

/// Sends an event of type `webhook.test`.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/test", tag = "webhooks", params(("id" = String, Path), IdempotencyKey),
    responses((status = 200, body = TestReply), Refusals)
)]
pub(in crate::admin) async fn test_webhook(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    call.json()?.finish()?;
    let (mut change, webhook) = match open(&parts, &call, path).await? {
        Ok(opened) => opened,
        Err(answer) => return Ok(answer),
    };
    keyring(&parts)?;
    refuse_disabled(webhook.state)?;
    let delivery = change.write.test_webhook(&webhook).await?;
    let reply = json!({
        "delivery": delivery.text(Kind::Delivery).to_string(),
        "revision": change.write.revision,
    });
    change
        .finish(&parts, Reply::ok(text_of(webhook.id), reply))
        .await
}

/// Delivers again what has failed or waits for its next attempt, and what it was not told while it was disabled.
#[utoipa::path(
    post, path = "/v1/webhooks/{id}/replay", tag = "webhooks", params(("id" = String, Path), IdempotencyKey),
    request_body = Option<Replay>, responses((status = 200, body = ReplayReply), Refusals)
)]
pub(in crate::admin) async fn replay_webhook(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    let mut body = call.json()?;
    let (mut change, webhook) = match open(&parts, &call, path).await? {
        Ok(opened) => opened,
        Err(answer) => return Ok(answer),
    };
    let since = body.optional("since", time);
    let some = body.list("deliveries", 100, |value| {
        id(value, Kind::Delivery, "delivery")
    });
    let some = some.flatten();
    if since.is_some() && some.is_some() {
        let words = "either a time or deliveries";
        body.fault("deliveries", ("invalid", words.into()));
    }
    if some.as_ref().is_some_and(Vec::is_empty) {
        body.fault("deliveries", ("out_of_range", "at least one".into()));
    }
    body.finish()?;
    keyring(&parts)?;
    refuse_disabled(webhook.state)?;
    let events = if let Some(some) = some {
        for delivery in &some {
            change.write.replay_delivery(&webhook, *delivery).await?;
        }
        u64::try_from(some.len()).unwrap_or(u64::MAX)
    } else {
        let since = since.unwrap_or(webhook.created_at);
        change.write.replay_webhook(&webhook, since).await?
    };
    let reply = json!({"events": events, "revision": change.write.revision});
    change
        .finish(&parts, Reply::ok(text_of(webhook.id), reply))
        .await
}

/// Lists deliveries to a webhook, the newest first.
#[utoipa::path(
    get, path = "/v1/webhooks/{id}/deliveries", tag = "webhooks",
    params(
        ("id" = String, Path),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("state" = Option<String>, Query, description = "pending, delivered or failed")
    ),
    responses((status = 200, body = DeliveryList), Refusals)
)]
pub(in crate::admin) async fn list_deliveries(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Json<Page<DeliveryView>>, AdminError> {
    let id = path_id(path, Kind::Webhook)?;
    let mut parameters = call.parameters();
    let limit = parameters.limit();
    let after = time_cursor(&mut parameters, SORT, Kind::Delivery);
    let state = parameters.read("state", |name| {
        let words = "state is pending, delivered or failed";
        DeliveryState::parse(name).ok_or_else(|| ("unknown_value", words.into()))
    });
    parameters.finish()?;
    let store = parts.store()?;
    let webhook = store.webhook(id).await?;
    let place = store.workspace(webhook.workspace).await?;
    call.caller
        .check(Permission::WebhooksRead, &place.lineage)?;
    let page = store.list_deliveries(id, state, after, limit).await?;
    let next = page.deliveries.last().filter(|_| page.more).map(|last| {
        let id = last.id.text(Kind::Delivery);
        cursor(SORT, &last.created_at.as_millis().to_string(), id.as_str())
    });
    Ok(Json(Page {
        data: page
            .deliveries
            .into_iter()
            .map(DeliveryView::from)
            .collect(),
        next,
        total: None,
    }))
}

fn refuse_disabled(state: WebhookState) -> Result<(), AdminError> {
    match state {
        WebhookState::Active => Ok(()),
        WebhookState::Disabled => Err(AdminError::Conflict {
            code: "webhook_disabled",
            message: "the webhook is disabled; enable it first".into(),
        }),
    }
}
