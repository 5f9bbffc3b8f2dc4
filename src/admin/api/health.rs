//! `/livez` and `/readyz`: for orchestrators, open to anyone who reaches the port.

use crate::admin::error::AdminError;
use crate::admin::server::AdminParts;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::Arc;

/// The process is there.
pub(in crate::admin) async fn show_live() -> Json<Value> {
    Json(json!({"status": "live"}))
}

/// Traffic may be sent here: the first key set is loaded and no drain has begun.
pub(in crate::admin) async fn show_ready(
    State(parts): State<Arc<AdminParts>>,
) -> Result<Json<Value>, AdminError> {
    if parts.shared.is_draining() {
        return Err(AdminError::Draining);
    }
    let snapshot = parts.shared.snapshot();
    if !snapshot.ready {
        return Err(AdminError::NotReady);
    }
    Ok(Json(
        json!({"status": "ready", "revision": snapshot.revision}),
    ))
}
