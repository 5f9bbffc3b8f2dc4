//! `/metrics` in the Prometheus text format.

use crate::admin::error::AdminError;
use crate::admin::server::AdminParts;
use crate::domain::key::KeyStatus;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Every metric; the number of keys by status is counted now.
pub(in crate::admin) async fn show_metrics(
    State(parts): State<Arc<AdminParts>>,
) -> Result<impl IntoResponse, AdminError> {
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

/// Number of keys by status; every status is there.
pub(super) fn count_by_status(parts: &AdminParts) -> BTreeMap<KeyStatus, i64> {
    let now = parts.clock.now();
    let mut counts: BTreeMap<KeyStatus, i64> = KeyStatus::ALL
        .into_iter()
        .map(|status| (status, 0))
        .collect();
    for key in parts.shared.keys.all() {
        *counts.entry(key.status(now)).or_default() += 1;
    }
    counts
}
