//! Every endpoint of the management port, on one page.

use super::api::{health, keys, metrics, status};
use super::auth;
use super::error::AdminError;
use super::server::AdminParts;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use std::sync::Arc;

/// The whole of it.
pub(super) fn all(parts: Arc<AdminParts>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics::show_metrics))
        .route("/status", get(status::show_status))
        .route("/v1/keys", get(keys::list_keys))
        .route("/v1/keys/{id}", get(keys::show_key))
        .layer(from_fn_with_state(Arc::clone(&parts), auth::require_token));
    Router::new()
        .route("/livez", get(health::show_live))
        .route("/readyz", get(health::show_ready))
        .merge(guarded)
        .fallback(async || AdminError::NotFound)
        .method_not_allowed_fallback(async || AdminError::MethodNotAllowed)
        .with_state(parts)
}
