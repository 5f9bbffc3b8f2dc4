//! Webhooks as they are shown and written.

use super::text_of;
use crate::domain::id::Kind;
use crate::domain::time::Timestamp;
use crate::store::webhooks::WebhookRecord;
use serde::Serialize;
use utoipa::ToSchema;

/// A webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(in crate::admin) struct WebhookView {
    /// `whk_…`
    pub(super) id: String,
    /// Id: it hears of what happens there and below.
    workspace: String,
    /// Unique in its workspace.
    name: String,
    /// Where it is told. It may carry a secret, so whoever may not change webhooks sees its host only.
    url: String,
    /// Types of event or patterns (`key.*`); none: all.
    events: Vec<String>,
    /// `active`, `disabled`
    state: &'static str,
    /// Why it is disabled: `gone`, `failing`; null: somebody said so.
    state_reason: Option<String>,
    /// How many secrets sign its messages: more than one while an old one goes.
    secrets: usize,
    /// When an old secret signs no more.
    #[schema(value_type = Option<String>, format = DateTime)]
    overlap_until: Option<Timestamp>,
    /// Since when nothing has come through.
    #[schema(value_type = Option<String>, format = DateTime)]
    failing_since: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    updated_by: String,
    /// Revision of its last change; its `ETag`.
    revision: u64,
}

impl WebhookView {
    pub(super) fn of(webhook: &WebhookRecord, now: Timestamp, whole_url: bool) -> Self {
        let ends = webhook.live_secrets(now).filter_map(|secret| secret.until);
        Self {
            id: text_of(webhook.id),
            workspace: webhook.workspace.text(Kind::Workspace).to_string(),
            name: webhook.name.clone(),
            url: if whole_url {
                webhook.url.clone()
            } else {
                origin(&webhook.url)
            },
            events: webhook.events.clone(),
            state: webhook.state.name(),
            state_reason: webhook.state_reason.clone(),
            secrets: webhook.live_secrets(now).count(),
            overlap_until: ends.max().map(Timestamp::from_millis),
            failing_since: webhook.failing_since,
            created_at: webhook.created_at,
            created_by: webhook.created_by.clone(),
            updated_at: webhook.updated_at,
            updated_by: webhook.updated_by.clone(),
            revision: webhook.revision,
        }
    }
}

/// Scheme and host of a URL.
fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    format!("{scheme}://{host}/…")
}

/// A reply that holds a new signing secret: shown this once.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
pub(super) struct WebhookWithSecret {
    webhook: WebhookView,
    /// `whsec_…`: what messages are signed with (Standard Webhooks).
    secret: String,
    revision: u64,
}

/// A page of webhooks.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
pub(super) struct WebhookList {
    data: Vec<WebhookView>,
    /// Cursor of the page behind this one; null: there is none.
    next: Option<String>,
    /// With `total=true`: how many there are in all.
    total: Option<u64>,
}

/// A new webhook.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(super) struct NewWebhook {
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// `https://…`
    #[schema(max_length = 2048)]
    url: String,
    /// Id; the token's own unless given. It cannot be changed later.
    workspace: Option<String>,
    /// Types of event or patterns (`key.*`); none: all.
    #[schema(max_items = 64)]
    events: Option<Vec<String>>,
    /// A signing secret of your own; else one is made.
    secret: Option<String>,
}

/// Fields to change; null clears.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(super) struct WebhookPatch {
    #[schema(min_length = 1, max_length = 128)]
    name: Option<String>,
    #[schema(max_length = 2048)]
    url: Option<String>,
    #[schema(max_items = 64)]
    events: Option<Vec<String>>,
    /// `active`, `disabled`
    state: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_its_host_is_no_secret() {
        for (url, want) in [
            (
                "https://hooks.example.com/T0/xyz",
                "https://hooks.example.com/…",
            ),
            ("http://a:8080?token=x", "http://a:8080/…"),
        ] {
            assert_eq!(origin(url), want);
        }
    }
}
