//! Every endpoint of the management port, on one page, with the document of the API that is made of it.

use super::api::{health, keys, metrics, status};
use super::auth;
use super::error::AdminError;
use super::server::AdminParts;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The head of the document.
#[derive(OpenApi)]
#[openapi(
    info(title = "keygate admin API", description = "Keys, who holds them, and what became of them.", license(name = "Apache-2.0")),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Document;

/// How callers prove who they are.
struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An admin token (`kg_admin_…`) or a session's secret"))
            .build();
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// `/v1`: every call of the admin API.
fn api() -> OpenApiRouter<Arc<AdminParts>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(keys::list_keys, keys::create::create_key))
        .routes(routes!(
            keys::show_key,
            keys::put::put_key,
            keys::acts::edit_key,
            keys::acts::delete_key
        ))
        .routes(routes!(keys::acts::disable_key))
        .routes(routes!(keys::acts::enable_key))
        .routes(routes!(keys::acts::revoke_key))
        .routes(routes!(keys::acts::rotate_key))
        .routes(routes!(keys::acts::retire_key))
        .routes(routes!(keys::acts::transfer_key))
        .routes(routes!(keys::acts::keep_key))
        .routes(routes!(keys::acts::restore_key))
        .routes(routes!(keys::bulk::change_keys))
        .routes(routes!(keys::import::import_keys))
        .routes(routes!(keys::export::export_keys))
        .routes(routes!(keys::review::review_keys))
        .routes(routes!(keys::verify::verify_key))
        .routes(routes!(keys::explain::explain_request))
}

/// The whole of it.
pub(super) fn all(parts: Arc<AdminParts>) -> Router {
    let (api, document) = api().split_for_parts();
    let api = api.layer(from_fn_with_state(Arc::clone(&parts), auth::guard_api));
    let system = Router::new()
        .route("/metrics", get(metrics::show_metrics))
        .route("/status", get(status::show_status))
        .layer(from_fn_with_state(Arc::clone(&parts), auth::guard_system));
    Router::new()
        .route("/livez", get(health::show_live))
        .route("/readyz", get(health::show_ready))
        .merge(system)
        .merge(api)
        .merge(utoipa_swagger_ui::SwaggerUi::new("/docs").url("/openapi.json", document))
        .fallback(async || AdminError::NotFound)
        .method_not_allowed_fallback(async || AdminError::MethodNotAllowed)
        .with_state(parts)
}
