//! `/status`: what runs here, on which configuration, and how its upstreams are.

use super::audit::HeadView;
use super::metrics::{STORE_PATIENCE, count_by_status};
use crate::admin::error::AdminError;
use crate::admin::server::{AdminParts, ListenerInfo};
use crate::config::upstream_tls::UpstreamTls;
use crate::domain::key::KeyStatus;
use crate::domain::route::{HostMatch, PathMatch};
use crate::domain::time::Timestamp;
use crate::snapshot::endpoints::{EndpointState, UpstreamState};
use crate::snapshot::router::CompiledRoute;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

#[derive(Serialize)]
pub(in crate::admin) struct Status {
    version: &'static str,
    state: &'static str,
    started_at: Timestamp,
    revision: u64,
    config: ConfigStatus,
    store: Option<StoreStatus>,
    listeners: Vec<ListenerInfo>,
    routes: Vec<RouteStatus>,
    upstreams: Vec<UpstreamStatus>,
    /// By status; `deleted` is absent without a store, or while it does not answer.
    keys: BTreeMap<&'static str, i64>,
    /// Where the audit log ends; null: there is no store, or it does not answer.
    audit: Option<HeadView>,
}

#[derive(Serialize)]
struct ConfigStatus {
    file: Option<PathBuf>,
    /// Whether what is on disk is what is in force.
    last_reload_successful: bool,
    applied_at: Option<Timestamp>,
    tried_at: Option<Timestamp>,
    faults: Vec<String>,
    warnings: Vec<String>,
    needs_restart: Vec<&'static str>,
}

/// How things stand with the store; `null`: there is none.
#[derive(Serialize)]
struct StoreStatus {
    kind: &'static str,
    reachable: bool,
    fault: Option<String>,
    /// Why nothing can be written to it, though it can be read: its disk may be full.
    write_fault: Option<String>,
    /// Whether the keys in force were read from the last good state, because the store was away at the start.
    from_last_good: bool,
    revision_observed: u64,
    revision_applied: u64,
    in_step_at: Option<Timestamp>,
    /// Managed keys that a declared key with the same secret stands in front of.
    hidden: u64,
}

#[derive(Serialize)]
struct RouteStatus {
    name: String,
    host: Option<String>,
    path: Option<String>,
    exact_path: Option<String>,
    methods: Option<Vec<&'static str>>,
    upstream: String,
    auth_required: bool,
}

#[derive(Serialize)]
struct UpstreamStatus {
    name: String,
    /// Whether it has to prove who it is: `verified`, or `insecure` if not; null: it is spoken to in cleartext.
    tls: Option<&'static str>,
    endpoints: Vec<EndpointStatus>,
}

#[derive(Serialize)]
struct EndpointStatus {
    address: String,
    up: bool,
    requests: u64,
    connect_failures: u64,
}

/// All of it at once; it is small.
pub(in crate::admin) async fn show_status(
    State(parts): State<Arc<AdminParts>>,
) -> Result<Json<Status>, AdminError> {
    let (audit, deleted) = tokio::join!(audit_head(&parts), deleted_keys(&parts));
    let status = tokio::task::spawn_blocking(move || read(&parts));
    let mut status = status.await.map_err(|_| AdminError::Internal)?;
    status.audit = audit;
    if let Some(deleted) = deleted {
        status.keys.insert(KeyStatus::Deleted.name(), deleted);
    }
    Ok(Json(status))
}

/// A store that is away holds nobody up who asks how things are.
async fn audit_head(parts: &AdminParts) -> Option<HeadView> {
    let store = parts.store().ok()?;
    let head = tokio::time::timeout(STORE_PATIENCE, store.audit_head()).await;
    Some(head.ok()?.ok()?.into())
}

/// How many keys are deleted, which nobody but the store knows.
async fn deleted_keys(parts: &AdminParts) -> Option<i64> {
    let store = parts.store().ok()?;
    let count = tokio::time::timeout(STORE_PATIENCE, store.count_deleted_keys()).await;
    i64::try_from(count.ok()?.ok()?).ok()
}

fn read(parts: &AdminParts) -> Status {
    let snapshot = parts.shared.snapshot();
    let routes = snapshot.router.routes();
    let mut upstreams: BTreeMap<&str, &UpstreamState> = BTreeMap::new();
    for route in routes {
        upstreams.insert(&route.upstream.config.name, &route.upstream);
    }
    let report = parts.shared.report().clone();
    Status {
        version: env!("CARGO_PKG_VERSION"),
        state: if parts.shared.is_draining() {
            "draining"
        } else if snapshot.ready {
            "ready"
        } else {
            "not_ready"
        },
        started_at: parts.started_at,
        revision: snapshot.revision,
        config: ConfigStatus {
            file: parts.config_file.clone(),
            last_reload_successful: report.faults.is_empty(),
            applied_at: report.applied_at,
            tried_at: report.tried_at,
            faults: report.faults,
            warnings: [report.warnings, report.closed_routes].concat(),
            needs_restart: report.needs_restart,
        },
        store: store_status(parts),
        listeners: parts.listeners.clone(),
        routes: routes.iter().map(route_status).collect(),
        upstreams: upstreams.into_values().map(upstream_status).collect(),
        keys: count_by_status(parts)
            .into_iter()
            .map(|(status, count)| (status.name(), count))
            .collect(),
        audit: None,
    }
}

fn store_status(parts: &AdminParts) -> Option<StoreStatus> {
    let report = parts.shared.store().clone();
    Some(StoreStatus {
        kind: report.kind?,
        reachable: report.reachable,
        fault: report.fault,
        write_fault: report.write_fault,
        from_last_good: report.from_last_good,
        revision_observed: report.observed,
        revision_applied: parts.shared.applied(),
        in_step_at: report.in_step_at,
        hidden: report.hidden,
    })
}

fn route_status(route: &CompiledRoute) -> RouteStatus {
    let config = &route.route;
    let (path, exact_path) = match &config.matches.path {
        PathMatch::Prefix(prefix) => (Some(format!("{prefix}/")), None),
        PathMatch::Exact(path) => (None, Some(path.clone())),
    };
    RouteStatus {
        name: config.name.clone(),
        host: match &config.matches.host {
            HostMatch::Any => None,
            HostMatch::Suffix(name) => Some(format!("*.{name}")),
            HostMatch::Exact(name) => Some(name.clone()),
        },
        path,
        exact_path,
        methods: (!config.matches.methods.is_any())
            .then(|| config.matches.methods.names().collect()),
        upstream: route.upstream.config.name.clone(),
        auth_required: config.auth.required,
    }
}

fn upstream_status(upstream: &UpstreamState) -> UpstreamStatus {
    let endpoint = |state: &Arc<EndpointState>| EndpointStatus {
        address: state.endpoint.authority.clone(),
        up: state.is_up(),
        requests: state.requests.load(Relaxed),
        connect_failures: state.connect_failures.load(Relaxed),
    };
    UpstreamStatus {
        name: upstream.config.name.clone(),
        tls: upstream.tls.as_ref().map(trust),
        endpoints: upstream.endpoints.iter().map(endpoint).collect(),
    }
}

fn trust(tls: &UpstreamTls) -> &'static str {
    if tls.is_insecure() {
        "insecure"
    } else {
        "verified"
    }
}
