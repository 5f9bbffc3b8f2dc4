//! `/metrics` in the Prometheus text format.

use crate::admin::error::AdminError;
use crate::admin::server::AdminParts;
use crate::domain::key::KeyStatus;
use crate::domain::key::record::DAY_MILLIS;
use crate::domain::time::Timestamp;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for the store, for what is only told of it.
pub(super) const STORE_PATIENCE: Duration = Duration::from_secs(1);
/// Notices that count: those of the last 30 days.
const NOTICES_MILLIS: i64 = 30 * DAY_MILLIS;

/// Every metric; the number of keys by status is counted now.
pub(in crate::admin) async fn show_metrics(
    State(parts): State<Arc<AdminParts>>,
) -> Result<impl IntoResponse, AdminError> {
    // What the store knows stays as it was while it is away.
    let _ = tokio::time::timeout(STORE_PATIENCE, ask_store(&parts)).await;
    let text = tokio::task::spawn_blocking(move || {
        for (status, count) in count_by_status(&parts) {
            parts.metrics.set_keys(status.name(), count);
        }
        parts.metrics.encode()
    });
    let text = text
        .await
        .map_err(|_| AdminError::Internal)?
        .map_err(|_| AdminError::Internal)?;
    Ok((
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    ))
}

async fn ask_store(parts: &AdminParts) -> Result<(), AdminError> {
    if parts.store.is_none() {
        return Ok(());
    }
    let store = parts.store()?;
    let head = store.audit_head().await?;
    let at = head.at.map(Timestamp::as_millis);
    parts.metrics.set_audit_head(head.sequence, at);
    let since = Timestamp::from_millis(parts.clock.now().as_millis() - NOTICES_MILLIS);
    parts
        .metrics
        .set_notices(&store.notice_counts(since).await?);
    let deleted = store.count_deleted_keys().await?;
    let deleted = i64::try_from(deleted).unwrap_or(i64::MAX);
    parts.metrics.set_keys(KeyStatus::Deleted.name(), deleted);
    Ok(())
}

/// Number of keys by status; every status is there but `deleted`, of which the store alone knows. A key is counted with its
/// newest secret, not with older ones.
pub(super) fn count_by_status(parts: &AdminParts) -> BTreeMap<KeyStatus, i64> {
    let now = parts.clock.now();
    let mut counts: BTreeMap<KeyStatus, i64> = KeyStatus::ALL
        .into_iter()
        .filter(|status| *status != KeyStatus::Deleted)
        .map(|status| (status, 0))
        .collect();
    parts.shared.keys.each(|key| {
        if !key.superseded {
            *counts.entry(key.status(now)).or_default() += 1;
        }
    });
    counts
}
