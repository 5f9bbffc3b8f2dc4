//! Every endpoint of the management port, on one page, with the document of the API that is made of it.

use super::api::{
    audit, consumers, health, keys, members, metrics, notices, sessions, status, system, tokens,
    usage, webhooks, whoami, workspaces,
};
use super::auth;
use super::error::AdminError;
use super::listener;
use super::policy;
use super::server::AdminParts;
use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

/// The head of the document.
#[derive(OpenApi)]
#[openapi(
    info(title = "keygate admin API", description = "Keys, who holds them, and what became of them. \
        Every call is described in prose, with its conventions, in docs/api.md.", license(name = "Apache-2.0")),
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
        .routes(routes!(members::list_members, members::create_member))
        .routes(routes!(members::show_member, members::edit_member))
        .routes(routes!(members::acts::grant_role, members::acts::take_role))
        .routes(routes!(members::acts::set_password))
        .routes(routes!(members::data::export_member))
        .routes(routes!(members::data::erase_member))
        .routes(routes!(sessions::list_sessions))
        .routes(routes!(sessions::sign_out))
        .routes(routes!(sessions::end_session))
        .routes(routes!(tokens::list_tokens, tokens::create_token))
        .routes(routes!(tokens::show_token, tokens::delete_token))
        .routes(routes!(tokens::revoke_token))
        .routes(routes!(whoami::show_caller))
        .routes(routes!(
            workspaces::list_workspaces,
            workspaces::create_workspace
        ))
        .routes(routes!(
            workspaces::show_workspace,
            workspaces::put_workspace,
            workspaces::edit_workspace,
            workspaces::delete_workspace
        ))
        .routes(routes!(
            consumers::list_consumers,
            consumers::create_consumer
        ))
        .routes(routes!(
            consumers::show_consumer,
            consumers::put_consumer,
            consumers::edit_consumer,
            consumers::delete_consumer
        ))
        .routes(routes!(audit::list_audit))
        .routes(routes!(audit::show_head))
        .routes(routes!(audit::verify::verify_audit))
        .routes(routes!(audit::export::export_audit))
        .routes(routes!(audit::list_checkpoints, audit::create_checkpoint))
        .routes(routes!(notices::list_notices))
        .routes(routes!(notices::show_notice))
        .routes(routes!(notices::read_notice))
        .routes(routes!(notices::read_notices))
        .routes(routes!(notices::preview_inactivity))
        .routes(routes!(webhooks::list_webhooks, webhooks::create_webhook))
        .routes(routes!(
            webhooks::show_webhook,
            webhooks::edit_webhook,
            webhooks::delete_webhook
        ))
        .routes(routes!(webhooks::acts::rotate_secret))
        .routes(routes!(webhooks::acts::test_webhook))
        .routes(routes!(webhooks::acts::replay_webhook))
        .routes(routes!(webhooks::acts::list_deliveries))
        .routes(routes!(system::list_nodes))
        .routes(routes!(system::show_config))
        .routes(routes!(keys::bulk::change_keys))
        .routes(routes!(keys::import::import_keys))
        .routes(routes!(keys::export::export_keys))
        .routes(routes!(keys::review::review_keys))
        .routes(routes!(usage::show_usage))
        .routes(routes!(usage::list_usage))
        .routes(routes!(keys::verify::verify_key))
        .routes(routes!(keys::explain::explain_request))
}

/// What is asked for before there is a caller.
fn entry() -> OpenApiRouter<Arc<AdminParts>> {
    OpenApiRouter::new().routes(routes!(sessions::sign_in))
}

/// The whole of it.
pub(super) fn all(parts: Arc<AdminParts>) -> Router {
    let (api, mut document) = api().split_for_parts();
    let (entry, way_in) = entry().split_for_parts();
    document.merge(way_in);
    let document = super::document::finish(&document).unwrap_or_default();
    let entry = entry.layer(from_fn_with_state(Arc::clone(&parts), auth::guard_sign_in));
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
        .merge(entry)
        .merge(SwaggerUi::new("/docs").external_url_unchecked("/openapi.json", document))
        .fallback(async || AdminError::NotFound)
        .method_not_allowed_fallback(async || AdminError::MethodNotAllowed)
        .layer(from_fn_with_state(Arc::clone(&parts), policy::dress))
        .layer(from_fn(listener::note_head))
        .with_state(parts)
}
