//! `/v1/nodes` and `/v1/config`: which gateways share the store, and what is in force here. No secret is shown.

use super::place::on_the_whole;
use crate::admin::body::show_duration;
use crate::admin::call::Call;
use crate::admin::error::AdminError;
use crate::admin::limits::LimitsView;
use crate::admin::schema::Refusals;
use crate::admin::server::AdminParts;
use crate::config::{
    Admission, Config, ListenerLimits, MinRate, ProxyTrust, SmtpSecurity, StoreLocation,
};
use crate::domain::id::Kind;
use crate::domain::role::Permission;
use crate::domain::route::{HostMatch, Location, PathMatch, Route};
use crate::domain::scope::{Scope, ScopeDemand};
use crate::domain::time::Timestamp;
use crate::domain::upstream::{HostHeader, Upstream};
use crate::snapshot::tls::TlsServer;
use crate::store::nodes::NodeRecord;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// A running gateway.
#[derive(Serialize, ToSchema)]
#[schema(as = Node)]
pub(in crate::admin) struct NodeView {
    /// `node_…`; made at its start.
    id: String,
    /// Its host's name.
    name: String,
    version: String,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it last said how it is.
    #[schema(value_type = String, format = DateTime)]
    seen_at: Timestamp,
    /// Revision that it has read.
    observed: u64,
    /// Revision that it serves by.
    applied: u64,
}

impl From<NodeRecord> for NodeView {
    fn from(node: NodeRecord) -> Self {
        Self {
            id: node.id.text(Kind::Node).to_string(),
            name: node.name,
            version: node.version,
            started_at: node.started_at,
            seen_at: node.seen_at,
            observed: node.observed,
            applied: node.applied,
        }
    }
}

/// All nodes, the oldest first.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct NodeList {
    data: Vec<NodeView>,
    /// Always null: there are few.
    next: Option<String>,
}

/// Lists the gateways that share the store; one that is not heard of for ten minutes is left out.
#[utoipa::path(
    get, path = "/v1/nodes", tag = "system", responses((status = 200, body = NodeList), Refusals)
)]
pub(in crate::admin) async fn list_nodes(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<NodeList>, AdminError> {
    call.no_parameters()?;
    on_the_whole(&call.caller, Permission::SystemRead)?;
    let nodes = parts.store()?.nodes().await?;
    Ok(Json(NodeList {
        data: nodes.into_iter().map(NodeView::from).collect(),
        next: None,
    }))
}

/// Shows the configuration in force on this node, secrets left out.
#[utoipa::path(
    get, path = "/v1/config", tag = "system",
    responses((status = 200, body = Object, description = "Sections as in the config file"), Refusals)
)]
pub(in crate::admin) async fn show_config(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<Value>, AdminError> {
    call.no_parameters()?;
    on_the_whole(&call.caller, Permission::SystemRead)?;
    let snapshot = parts.shared.snapshot();
    let mut upstreams: BTreeMap<&str, Value> = BTreeMap::new();
    for route in snapshot.router.routes() {
        let config = &route.upstream.config;
        upstreams.insert(&config.name, upstream(config));
    }
    let routes = snapshot.router.routes().iter();
    let routes: Vec<Value> = routes
        .map(|one| route(&one.route, &one.upstream.config.name))
        .collect();
    let open = parts.listeners.iter().zip(&snapshot.listeners);
    let listeners: Vec<Value> = open
        .map(|(one, open)| {
            let mut fields = listener(&open.limits);
            fields.extend(trust(&open.trust));
            fields.insert("tls".into(), open.tls.as_deref().map_or(Value::Null, tls));
            fields.insert("name".into(), one.name.as_str().into());
            fields.insert("address".into(), one.address.to_string().into());
            Value::Object(fields)
        })
        .collect();
    let consumers = snapshot.consumers.iter();
    let consumers: Vec<Value> = consumers
        .map(|one| json!({"name": one.name, "limits": one.limits.map(LimitsView::of)}))
        .collect();
    let mut all = parts.settings.0.clone();
    let reloaded = [
        ("file", json!(parts.config_file)),
        ("revision", json!(snapshot.revision)),
        ("listeners", json!(listeners)),
        ("upstreams", json!(upstreams)),
        ("routes", json!(routes)),
        ("consumers", json!(consumers)),
        (
            "key_format",
            json!({
                "brand": snapshot.key_format.brand(),
                "environments": snapshot.key_format.environments(),
            }),
        ),
        (
            "forwarding",
            json!({
                "via": snapshot.forwarding.via,
                "forwarded": snapshot.forwarding.forwarded,
                "realm": snapshot.forwarding.realm,
            }),
        ),
        ("admission", admission(snapshot.admission)),
    ];
    for (name, value) in reloaded {
        all.insert(name.into(), value);
    }
    Ok(Json(Value::Object(all)))
}

/// The settings that stay as they were at the start.
#[derive(Debug, Clone)]
pub struct Settings(Map<String, Value>);

impl Settings {
    /// Those of a configuration, secrets left out.
    pub fn of(config: &Config) -> Self {
        let store = config.store.as_ref().map(|store| match store {
            StoreLocation::Sqlite(file) => format!("sqlite:{}", file.display()),
            // The URL holds a password.
            StoreLocation::Postgres(_) => "postgres".into(),
        });
        let email = config.email.as_ref().map(|email| {
            let security = match email.smtp.security {
                SmtpSecurity::StartTls => "smtp",
                SmtpSecurity::Tls => "smtps",
                SmtpSecurity::Plain => "smtp+plain",
            };
            json!({
                "smtp": format!("{security}://{}:{}", email.smtp.host, email.smtp.port),
                "username": email.login.as_ref().map(|login| &login.username),
                "from": email.from.address,
                "to": email.to,
            })
        });
        let all = json!({
            "threads": config.threads,
            "drain_timeout": duration(config.drain_timeout),
            "log": {
                "level": config.log.level,
                "access": config.log.access,
                "access_path": config.log.access_path,
                "access_file": config.log.access_file,
            },
            "management": {
                "address": config.management.address,
                "token": config.management.token.is_some(),
                "allowed_hosts": config.management.allowed_hosts,
                "sessions": {
                    "idle": duration(config.management.sessions.idle),
                    "absolute": duration(config.management.sessions.absolute),
                },
            },
            "store": store,
            "data_dir": config.data_dir,
            "vault": config.vault.is_some(),
            "inactivity": {
                "mode": config.inactivity.mode.name(),
                "after": show_duration(config.inactivity.after),
            },
            "audit": {
                "retention": config.audit.retention.map(duration),
                "head_interval": duration(config.audit.head_interval),
            },
            "usage": { "retention": duration(config.usage.retention) },
            "webhooks": {
                "allow_private": config.webhooks.allow_private,
                "timeout": duration(config.webhooks.timeout),
            },
            "notifications": { "email": email },
        });
        match all {
            Value::Object(fields) => Self(fields),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Self(Map::new()),
        }
    }
}

/// Certificates by where they were read from; no key is shown.
fn tls(server: &TlsServer) -> Value {
    let certificates = server
        .certificates
        .iter()
        .map(|one| json!({"source": one.source, "names": one.names, "not_after": one.not_after}));
    json!({"certificates": certificates.collect::<Vec<_>>()})
}

fn listener(limits: &ListenerLimits) -> Map<String, Value> {
    Map::from_iter(
        [
            ("max_connections", json!(limits.max_connections)),
            (
                "max_connections_per_address",
                json!(limits.max_connections_per_address),
            ),
            ("max_header_bytes", json!(limits.max_header_bytes)),
            ("max_headers", json!(limits.max_headers)),
            ("max_uri_bytes", json!(limits.max_uri_bytes)),
            (
                "first_byte_timeout",
                duration(limits.first_byte_timeout).into(),
            ),
            ("header_timeout", duration(limits.header_timeout).into()),
            ("idle_timeout", duration(limits.idle_timeout).into()),
            ("body_timeout", duration(limits.body_timeout).into()),
            ("min_body_rate", json!(limits.min_body_rate.map(rate))),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    )
}

fn rate(rate: MinRate) -> Value {
    json!({"bytes": rate.bytes, "grace": duration(rate.grace)})
}

fn trust(trust: &ProxyTrust) -> [(String, Value); 3] {
    let proxies = trust.proxies.iter().map(ToString::to_string);
    let protocol = if trust.proxy_protocol {
        "required"
    } else {
        "off"
    };
    [
        ("trusted_proxies", proxies.collect()),
        ("client_address", trust.header.name().into()),
        ("proxy_protocol", protocol.into()),
    ]
    .map(|(name, value): (&str, Value)| (name.to_owned(), value))
}

fn admission(admission: Admission) -> Value {
    json!({
        "failed_attempts": admission.failed_attempts.map(LimitsView::of),
        "max_lag": admission.max_lag.map(duration),
    })
}

fn upstream(upstream: &Upstream) -> Value {
    let endpoints = upstream.endpoints.iter();
    let endpoints: Vec<String> = endpoints
        .map(|one| format!("http://{}", one.authority))
        .collect();
    json!({
        "endpoints": endpoints,
        "host_header": match &upstream.host_header {
            HostHeader::Preserve => "preserve",
            HostHeader::Endpoint => "endpoint",
            HostHeader::Fixed(name) => name,
        },
        "connect_timeout": duration(upstream.connect_timeout),
        "first_byte_timeout": duration(upstream.first_byte_timeout),
        "idle_timeout": duration(upstream.idle_timeout),
        "pool": {
            "max_idle": upstream.pool.max_idle,
            "idle_timeout": duration(upstream.pool.idle_timeout),
            "max_lifetime": duration(upstream.pool.max_lifetime),
        },
    })
}

fn route(route: &Route, upstream: &str) -> Value {
    let (path, exact_path) = match &route.matches.path {
        PathMatch::Prefix(prefix) => (Some(format!("{prefix}/")), None),
        PathMatch::Exact(path) => (None, Some(path)),
    };
    let host = match &route.matches.host {
        HostMatch::Any => None,
        HostMatch::Suffix(name) => Some(format!("*.{name}")),
        HostMatch::Exact(name) => Some(name.clone()),
    };
    let methods: Option<Vec<&str>> =
        (!route.matches.methods.is_any()).then(|| route.matches.methods.names().collect());
    let locations: Vec<Value> = route.auth.locations.iter().map(location).collect();
    json!({
        "name": route.name,
        "workspace": route.workspace,
        "match": { "host": host, "path": path, "exact_path": exact_path, "methods": methods },
        "upstream": upstream,
        "strip_prefix": route.strip_prefix,
        "auth": {
            "required": route.auth.required,
            "locations": locations,
            "scopes": scopes(&route.auth.scopes),
            "preflight": route.auth.preflight,
        },
        "max_body": route.max_body,
        "timeout": route.timeout.map(duration),
        "forward_metadata": route.forward_metadata,
        "limits": route.limits.map(LimitsView::of),
        "websocket": route.websocket,
        "websocket_idle_timeout": route.websocket_idle_timeout.map(duration),
    })
}

fn location(location: &Location) -> Value {
    match location {
        Location::Header(name) => json!({"header": name.as_str()}),
        Location::Bearer => json!("bearer"),
        Location::Query(name) => json!({"query": name}),
        Location::WebSocketProtocol(prefix) => json!({"websocket_protocol": prefix}),
    }
}

fn scopes(demand: &ScopeDemand) -> Value {
    let list = |scopes: &[Scope]| -> Value { scopes.iter().map(Scope::as_str).collect() };
    match demand {
        ScopeDemand::None => json!([]),
        ScopeDemand::Always(scopes) => list(scopes),
        ScopeDemand::PerMethod { methods, any } => {
            let entries = methods
                .iter()
                .map(|(method, scopes)| (method.to_string(), list(scopes)));
            let any = any.iter().map(|scopes| ("*".to_owned(), list(scopes)));
            Value::Object(entries.chain(any).collect())
        }
    }
}

fn duration(duration: Duration) -> String {
    show_duration(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
