//! Events to webhooks, as Standard Webhooks has it: signed, at least once, with patience.

use super::retry::{next_attempt_after, retry_after};
use crate::clock::Clock;
use crate::domain::actor::Actor;
use crate::domain::id::{Id, Kind};
use crate::domain::key::record::DAY_MILLIS;
use crate::domain::time::Timestamp;
use crate::http::{Client, HttpError, HttpSettings};
use crate::store::deliveries::{Attempt, Leased};
use crate::store::notices::{NewNotice, Severity};
use crate::store::outbox::OutboxEvent;
use crate::store::webhooks::{WebhookRecord, WebhookState};
use crate::store::{Store, StoreError};
use crate::vault::Keyring;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};
use standardwebhooks::{
    HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook,
};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A webhook that let nothing through for so long is told no more.
const PATIENCE_MILLIS: i64 = 5 * DAY_MILLIS;
/// Deliveries that one worker takes at a time.
const BATCH: usize = 8;
/// Most bytes of an answer that are read; nobody looks at them.
const MAX_BODY: usize = 4096;
const GONE: u16 = 410;
/// What a receiver says that may ask for time: too many requests, unavailable.
const BUSY: [u16; 2] = [429, 503];

/// How webhooks are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Whether they may be inside the network that the gateway stands in.
    pub allow_private: bool,
    /// Longest time for one call.
    pub timeout: Duration,
}

/// Delivers events to webhooks.
#[derive(Clone)]
pub struct Deliverer {
    pub(super) store: Store,
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    client: Client,
    timeout: Duration,
}

impl Deliverer {
    /// Makes one.
    pub fn new(
        store: Store,
        keyring: Arc<Keyring>,
        clock: Arc<dyn Clock>,
        settings: WebhookSettings,
    ) -> Result<Self, HttpError> {
        let client = Client::new(HttpSettings {
            allow_private: settings.allow_private,
            timeout: settings.timeout,
            max_body: MAX_BODY,
        })?;
        Ok(Self {
            store,
            keyring,
            clock,
            client,
            timeout: settings.timeout,
        })
    }

    /// Makes the deliveries of one webhook that are due, one after the other; how many were tried.
    pub async fn deliver_to(
        &self,
        webhook: WebhookRecord,
        stop: &CancellationToken,
    ) -> Result<usize, StoreError> {
        let channel = webhook.id.text(Kind::Webhook).to_string();
        if webhook.state == WebhookState::Disabled {
            let why = "the webhook is disabled";
            self.store.cancel_deliveries(&channel, why).await?;
            return Ok(0);
        }
        let until = later(self.clock.now(), self.lease_millis());
        let leased = self.store.lease_deliveries(&channel, BATCH, until).await?;
        let ids: Vec<String> = leased.iter().map(|one| one.event.clone()).collect();
        let mut events = self.store.outbox_events(&ids).await?;
        let mut webhook = webhook;
        let mut tried = 0;
        for (place, one) in leased.iter().enumerate() {
            if stop.is_cancelled() {
                self.store.release_deliveries(&leased[place..]).await?;
                break;
            }
            let attempt = match events.remove(&one.event) {
                Some(event) => self.attempt(&webhook, one, &event).await,
                None => Attempt::Failed {
                    status: None,
                    error: "the event is too old: it is not kept any more".into(),
                },
            };
            self.store.finish_delivery(one.id, &attempt).await?;
            tried += 1;
            if !self.note(&mut webhook, &attempt).await? {
                break;
            }
        }
        Ok(tried)
    }

    /// Long enough for a whole batch that is not answered.
    fn lease_millis(&self) -> i64 {
        let one = i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX);
        let all = one.saturating_mul(i64::try_from(BATCH).unwrap_or(i64::MAX));
        all.saturating_add(10_000)
            .min(crate::store::deliveries::MAX_LEASE_MILLIS)
    }

    async fn attempt(&self, webhook: &WebhookRecord, one: &Leased, event: &OutboxEvent) -> Attempt {
        let now = self.clock.now();
        let body = message(event);
        let (status, error, asked) = match self.headers(webhook, event, &body, now) {
            Err(error) => (None, error, None),
            Ok(headers) => {
                let body = Bytes::from(body);
                let sent = self.client.send(Method::POST, &webhook.url, headers, body);
                match sent.await {
                    Ok(answer) if (200..300).contains(&answer.status) => {
                        return Attempt::Delivered(Some(answer.status));
                    }
                    Ok(answer) => {
                        let error = format!("answered with status {}", answer.status);
                        let asked = answer.retry_after.filter(|_| BUSY.contains(&answer.status));
                        (Some(answer.status), error, asked)
                    }
                    Err(fault) => (None, fault.to_string(), None),
                }
            }
        };
        let now = self.clock.now();
        let asked = asked.and_then(|value| retry_after(&value, now));
        match next_attempt_after(one.attempts + 1, now, asked) {
            Some(at) if status != Some(GONE) => Attempt::Retry { at, status, error },
            Some(_) | None => Attempt::Failed { status, error },
        }
    }

    fn headers(
        &self,
        webhook: &WebhookRecord,
        event: &OutboxEvent,
        body: &str,
        now: Timestamp,
    ) -> Result<HeaderMap, String> {
        let seconds = now.as_millis().div_euclid(1000);
        let place = WebhookRecord::place(webhook.id);
        let mut signatures = Vec::new();
        for secret in webhook.live_secrets(now) {
            let opened = self
                .keyring
                .open(&secret.sealed, &place)
                .map_err(|fault| format!("the signing secret: {fault}"))?;
            let signed = std::str::from_utf8(opened.expose())
                .ok()
                .and_then(|text| Webhook::new(text).ok())
                .and_then(|signer| signer.sign(&event.id, seconds, body.as_bytes()).ok())
                .ok_or("the signing secret is none")?;
            signatures.push(signed);
        }
        if signatures.is_empty() {
            return Err("there is no signing secret".into());
        }
        let value =
            |text: &str| HeaderValue::from_str(text).map_err(|_| "no header value".to_owned());
        Ok(HeaderMap::from_iter([
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            ),
            (
                header::HeaderName::from_static(HEADER_WEBHOOK_ID),
                value(&event.id)?,
            ),
            (
                header::HeaderName::from_static(HEADER_WEBHOOK_TIMESTAMP),
                seconds.into(),
            ),
            (
                header::HeaderName::from_static(HEADER_WEBHOOK_SIGNATURE),
                value(&signatures.join(" "))?,
            ),
        ]))
    }

    /// Notes how the webhook is; whether it is still to be told.
    async fn note(
        &self,
        webhook: &mut WebhookRecord,
        attempt: &Attempt,
    ) -> Result<bool, StoreError> {
        let status = match attempt {
            Attempt::Delivered(_) => {
                if webhook.failing_since.take().is_some() {
                    self.store.note_webhook_health(webhook.id, None).await?;
                }
                return Ok(true);
            }
            Attempt::Retry { status, .. } | Attempt::Failed { status, .. } => *status,
        };
        let now = self.clock.now();
        let since = *webhook.failing_since.get_or_insert(now);
        self.store
            .note_webhook_health(webhook.id, Some(now))
            .await?;
        let reason = if status == Some(GONE) {
            "gone"
        } else if now.as_millis() - since.as_millis() >= PATIENCE_MILLIS {
            "failing"
        } else {
            return Ok(true);
        };
        self.disable(webhook.id, reason).await?;
        Ok(false)
    }

    async fn disable(&self, id: Id, reason: &'static str) -> Result<(), StoreError> {
        let mut write = self.store.begin(&Actor::system("deliver")).await?;
        let before = write.webhook(id).await?;
        if before.state == WebhookState::Disabled {
            return Ok(());
        }
        let mut after = before.clone();
        after.disable(Some(reason));
        let after = write
            .save_webhook(&before, after, "webhook.disabled")
            .await?;
        let target = id.text(Kind::Webhook).to_string();
        let why = match reason {
            "gone" => "its receiver says that it is gone",
            _ => "nothing has come through for five days",
        };
        write
            .notice(&NewNotice {
                fact: format!("webhook.disabled:{target}:{}", write.revision),
                kind: "webhook.disabled",
                severity: Severity::Warning,
                workspace: after.workspace,
                target,
                title: format!("The webhook “{}” was disabled: {why}", after.name),
                data: json!({"reason": reason}),
                due_at: None,
            })
            .await?;
        write.commit().await.map(|_| ())
    }
}

/// The body of a message.
fn message(event: &OutboxEvent) -> String {
    let mut data = event.data.clone();
    if let Value::Object(fields) = &mut data
        && !fields.contains_key("workspace")
    {
        fields.insert("workspace".into(), event.workspace.as_str().into());
    }
    json!({"type": event.kind, "timestamp": event.at.to_string(), "data": data}).to_string()
}

fn later(now: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(now.as_millis().saturating_add(millis))
}

#[cfg(test)]
mod tests;
