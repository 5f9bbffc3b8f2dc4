//! `POST /v1/verify`: whether a key is good, for an app that asks instead of being proxied. The same gate answers. The
//! presented key is read from the body and goes nowhere else.

use super::view::KeySummary;
use crate::admin::auth::Caller;
use crate::admin::body::{Body, Wrong, flag, invalid, text};
use crate::admin::call::Call;
use crate::admin::error::AdminError;
use crate::admin::limits::StandingView;
use crate::admin::schema::Refusals;
use crate::admin::server::AdminParts;
use crate::domain::host::host_name;
use crate::domain::key::{Algorithm, KeyHash, MAX_PRESENTED_LEN};
use crate::domain::role::Permission;
use crate::gate::Denied;
use crate::gate::limit::Standing;
use crate::gate::trace::{self, Verdict};
use crate::snapshot::events::{Rehash, Seen, Tally};
use crate::snapshot::handle::Snapshot;
use crate::snapshot::key::{Key, route_symbol};
use crate::snapshot::router::{CompiledRoute, RouteFault};
use crate::telemetry::metrics::Decision;
use axum::Json;
use axum::extract::State;
use axum::http::Method;
use serde::Serialize;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use utoipa::ToSchema;

/// Longest path that is looked at.
const MOST_PATH: usize = 16 * 1024;

/// What is asked of a key.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct Verification {
    /// As its holder presented it.
    key: String,
    /// Name of a route that it must be good for; or `path`, with `host` where routes have hosts.
    route: Option<String>,
    /// Of the request; `GET` unless given.
    method: Option<String>,
    host: Option<String>,
    path: Option<String>,
    /// Address of its holder. A key with `ip_allow` is good for nothing without it.
    ip: Option<String>,
    /// Scopes that it must have, beside those of the route.
    scopes: Option<Vec<String>>,
    /// Whether this is a use of the key; needs the permission `keys:write`. Else nothing is noted.
    count: Option<bool>,
}

/// Whether it is good.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Verified {
    /// The answer; the status of this call is 200 either way.
    valid: bool,
    /// `valid`, or the code that a request would be answered with.
    code: &'static str,
    /// The status that a request would be answered with; 200 when the key is good.
    status: u16,
    /// The key; null unless there is one with this secret.
    key: Option<KeySummary>,
    /// Null: nothing limits it, or it was refused before its limits were asked.
    limit: Option<StandingView>,
}

/// What a body asks.
struct Wanted {
    key: String,
    target: Target,
    method: Method,
    from: IpAddr,
    scopes: Vec<String>,
    count: bool,
}

enum Target {
    Anything,
    Route(String),
    Path { host: String, path: String },
}

/// Tells whether a key is good.
#[utoipa::path(
    post, path = "/v1/verify", tag = "keys", request_body = Verification,
    responses((status = 200, body = Verified, description = "Also for a key that is not good: see `valid`"), Refusals)
)]
pub(in crate::admin) async fn verify_key(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<Verified>, AdminError> {
    call.no_parameters()?;
    call.caller.reach(Permission::Read)?;
    let snapshot = parts.shared.snapshot();
    if !snapshot.ready {
        return Err(AdminError::NotReady);
    }
    let wanted = read(call.json()?, &snapshot, &call.caller)?;
    if wanted.count {
        call.caller.reach(Permission::KeysWrite)?;
    }
    let found = look_up(&parts, &snapshot, &wanted.key);
    let found = match found {
        Ok(key) if super::may_hear_of(&parts, &call.caller, &key).await? => Ok(key),
        // What is out of reach is not there.
        Ok(_) => Err(Denied::Unknown),
        Err(denied) => Err(denied),
    };
    let when_where = (parts.clock.now(), wanted.from);
    let route = route_asked(&snapshot, &wanted);
    let nanos = parts.clock.monotonic_nanos();
    let (verdict, standing) = match &found {
        Ok(key) => decide(key, route, &wanted, (when_where, nanos)),
        Err(denied) => (Verdict::Denied(*denied), None),
    };
    if let (Some(standing), true) = (standing, wanted.count) {
        parts.metrics.rate_limit(standing.policy, verdict.passes());
    }
    if let (Ok(key), true) = (&found, wanted.count) {
        let secret = wanted.key.trim_ascii().as_bytes();
        count(&parts, (key, secret), (route, verdict), when_where);
    }
    let (status, code) = verdict.told();
    Ok(Json(Verified {
        valid: verdict.passes(),
        code,
        status,
        key: found.ok().map(|key| KeySummary::of(&key, when_where.0)),
        limit: standing.map(StandingView::from),
    }))
}

/// The key behind a secret.
pub(super) fn look_up(
    parts: &AdminParts,
    snapshot: &Snapshot,
    secret: &str,
) -> Result<Arc<Key>, Denied> {
    let secret = secret.trim_ascii().as_bytes();
    if secret.is_empty() || secret.len() > MAX_PRESENTED_LEN {
        return Err(Denied::Unknown);
    }
    trace::look_up(&parts.shared.keys, &snapshot.key_format, secret)
}

/// The route that is asked about; `None`: any.
fn route_asked<'a>(
    snapshot: &'a Snapshot,
    wanted: &Wanted,
) -> Result<Option<&'a CompiledRoute>, RouteFault> {
    let routes = snapshot.router.routes();
    Ok(match &wanted.target {
        Target::Anything => None,
        Target::Route(name) => routes.iter().find(|route| route.route.name == *name),
        Target::Path { host, path } => {
            let place = snapshot.router.find(host, path, &wanted.method)?;
            routes.get(place)
        }
    })
}

/// Counts as a worker of the proxy would. Without a route the use is noted under none, which no route's name can be.
fn count(
    parts: &AdminParts,
    (key, secret): (&Key, &[u8]),
    (route, verdict): (Result<Option<&CompiledRoute>, RouteFault>, Verdict),
    when_where: Seen,
) {
    let decision = match verdict {
        Verdict::Permitted | Verdict::Anonymous => Decision::Permitted,
        Verdict::Denied(denied) => denied.decision(),
        // What no route takes is not a use of the key.
        Verdict::NoRoute(_) => return,
    };
    // Who does not say from where it came leaves what is known.
    let from = Some(when_where.1).filter(|from| *from != NOWHERE);
    let before = key.usage.read().last_used_ip;
    let when_where = (when_where.0, from.or(before).unwrap_or(NOWHERE));
    if decision == Decision::Permitted {
        key.usage.used(when_where.0, when_where.1);
    } else {
        key.usage.refused();
    }
    if parts.store.is_none() {
        return;
    }
    let symbol = match route {
        Ok(Some(route)) => route.symbol,
        Ok(None) | Err(_) => parts.shared.symbols.id(&route_symbol("")),
    };
    let (mark, mut tally) = (key.mark(), Tally::default());
    tally.decided(decision, (Some(mark), symbol), when_where);
    if decision == Decision::Permitted && mark.algorithm == Algorithm::Sha256 {
        let blake3 = KeyHash::of(secret);
        tally.rehash(Rehash { key: mark, blake3 }, when_where.0);
    }
    if let Err(left) = parts.shared.events.push(tally.take()) {
        parts.metrics.usage_dropped.inc_by(left.requests());
    }
}

fn decide(
    key: &Key,
    route: Result<Option<&CompiledRoute>, RouteFault>,
    wanted: &Wanted,
    (when_where, nanos): (Seen, u64),
) -> (Verdict, Option<Standing>) {
    let route = match route {
        Ok(route) => route,
        Err(fault) => return (Verdict::NoRoute(fault), None),
    };
    let target = route.map(|route| (route, &wanted.method));
    if let Err(denied) = trace::verify(key, target, when_where) {
        return (Verdict::Denied(denied), None);
    }
    let held = key.scopes().header.to_str().unwrap_or_default();
    let holds = |scope: &String| held.split(' ').any(|own| own == scope);
    if !wanted.scopes.iter().all(holds) {
        return (Verdict::Denied(Denied::Scope), None);
    }
    match trace::limits(key, route, (nanos, wanted.count)) {
        Ok(standing) => (Verdict::Permitted, standing),
        Err(denied) => (Verdict::Denied(denied), denied.standing()),
    }
}

fn read(mut body: Body, snapshot: &Snapshot, caller: &Caller) -> Result<Wanted, AdminError> {
    let key = body.required("key", secret);
    let route = body.optional("route", |value| {
        super::route_named(value, snapshot, |route| super::sees(caller, route))
    });
    let path = body.optional("path", path);
    let host = body.optional("host", host);
    if route.is_some() && path.is_some() {
        body.fault("path", ("invalid", "either `route` or `path`".into()));
    }
    if host.is_some() && path.is_none() {
        body.fault("host", ("invalid", "`host` goes with `path`".into()));
    }
    let target = match (route, path) {
        (Some(route), _) => Target::Route(route),
        (None, Some(path)) => Target::Path {
            host: host.unwrap_or_default(),
            path: path.split('?').next().unwrap_or_default().to_owned(),
        },
        (None, None) => Target::Anything,
    };
    let wanted = Wanted {
        key: key.unwrap_or_default(),
        target,
        method: body.optional("method", method).unwrap_or(Method::GET),
        from: body.optional("ip", address).unwrap_or(NOWHERE),
        scopes: body
            .list("scopes", 64, text(1, 128))
            .flatten()
            .unwrap_or_default(),
        count: body.optional("count", flag).unwrap_or(false),
    };
    body.finish()?;
    Ok(wanted)
}

/// Stands for an address that was not given.
pub(super) const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A key as it was presented. What is wrong with it is told without showing it.
pub(super) fn secret(value: &Value) -> Result<String, Wrong> {
    match value.as_str() {
        Some(text) if text.len() <= 2 * MAX_PRESENTED_LEN => Ok(text.to_owned()),
        Some(_) => Err(("out_of_range", "at most 512 bytes".into())),
        None => invalid("expected text"),
    }
}

pub(super) fn method(value: &Value) -> Result<Method, Wrong> {
    let read = value
        .as_str()
        .and_then(|name| Method::from_bytes(name.as_bytes()).ok());
    read.map_or_else(|| invalid("expected a method such as GET"), Ok)
}

/// A path as it is sent, with its query or without.
pub(super) fn path(value: &Value) -> Result<String, Wrong> {
    match value.as_str() {
        Some(path) if path.len() > MOST_PATH => {
            Err(("out_of_range", format!("at most {MOST_PATH} bytes")))
        }
        Some(path) if path.starts_with('/') && !path.contains('#') => Ok(path.to_owned()),
        Some(_) | None => invalid("expected a path that begins with /"),
    }
}

/// The name in a `Host` field.
pub(super) fn host(value: &Value) -> Result<String, Wrong> {
    let read = value.as_str().and_then(|text| host_name(text).ok());
    read.map_or_else(
        || invalid("expected a host, with or without port"),
        |name| Ok(name.into_owned()),
    )
}

pub(super) fn address(value: &Value) -> Result<IpAddr, Wrong> {
    let read = value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
    read.map_or_else(
        || invalid("expected an address such as 192.0.2.1"),
        |address| Ok(address.to_canonical()),
    )
}
