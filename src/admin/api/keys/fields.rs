//! The fields of a key that admins write: read from a body, checked against what there is.

use super::{route_named, sees};
use crate::admin::auth::Caller;
use crate::admin::body::{Body, Wrong, duration, invalid, label, name, text, time};
use crate::admin::limits::limits;
use crate::domain::key::KeyRecord;
use crate::domain::key::record::{DAY_MILLIS, Inactivity, InactivityMode};
use crate::domain::method::MethodSet;
use crate::domain::route::LocationKind;
use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;
use crate::snapshot::handle::Snapshot;
use crate::snapshot::router::CompiledRoute;
use http::Method;
use ipnet::IpNet;
use serde_json::Value;
use std::net::IpAddr;

/// The fields that [`write`] knows and that null clears.
pub(super) const CLEARABLE: [&str; 12] = [
    "description",
    "scopes",
    "routes",
    "methods",
    "ip_allow",
    "locations",
    "limits",
    "tags",
    "metadata",
    "not_before",
    "expires_at",
    "inactivity",
];

/// Writes the fields that a body has into a key; what is absent stays, what is null becomes nothing. Faults stay in the
/// body.
pub(super) fn write(
    body: &mut Body,
    key: &mut KeyRecord,
    (snapshot, caller): (&Snapshot, &Caller),
    now: Timestamp,
) {
    if body.has("name")
        && let Some(name) = body.required("name", name)
    {
        key.name = name;
    }
    let detail = &mut key.detail;
    set(
        &mut detail.description,
        body.nullable("description", text(0, 1024)),
    );
    fill(&mut detail.scopes, body.list("scopes", 64, scope));
    // What the key has already may stay, whoever writes the rest.
    let had = detail.routes.take();
    let may_be = |route: &CompiledRoute| {
        let name = &route.route.name;
        sees(caller, route) || had.as_ref().is_some_and(|had| had.contains(name))
    };
    let routes = body.list("routes", 64, |value| route_named(value, snapshot, may_be));
    detail.routes = routes.unwrap_or(had);
    set(&mut detail.methods, body.some("methods", 9, method));
    fill(&mut detail.ip_allow, body.list("ip_allow", 64, network));
    set(&mut detail.locations, body.some("locations", 3, location));
    set(&mut detail.limits, body.object("limits", limits));
    fill(&mut detail.tags, body.list("tags", 32, label(64)));
    fill(&mut detail.metadata, body.metadata("metadata"));
    set(&mut key.not_before, body.nullable("not_before", time));
    set(&mut key.expires_at, body.nullable("expires_at", time));
    if let (Some(start), Some(end)) = (key.not_before, key.expires_at)
        && end <= start
    {
        body.fault(
            "expires_at",
            ("out_of_range", "must be later than not_before".into()),
        );
    }
    let policy = body.object("inactivity", inactivity);
    if let Some(policy) = policy {
        if begins_anew(policy, key.inactivity) {
            key.marks.policy_enabled_at = Some(now);
        }
        key.inactivity = policy;
    }
}

/// Whether the days that have passed do not count under the new policy. Which of two is stricter cannot be told here: what
/// a key without a policy inherits is known to the sweep, so each change begins the time anew, but one that ends nothing.
fn begins_anew(new: Option<Inactivity>, old: Option<Inactivity>) -> bool {
    new != old && new.is_none_or(|new| new.mode != InactivityMode::Off)
}

#[expect(clippy::option_option, reason = "absent, null, or a value")]
fn set<T>(field: &mut Option<T>, given: Option<Option<T>>) {
    if let Some(given) = given {
        *field = given;
    }
}

#[expect(clippy::option_option, reason = "absent, null, or a value")]
fn fill<T: Default>(field: &mut T, given: Option<Option<T>>) {
    if let Some(given) = given {
        *field = given.unwrap_or_default();
    }
}

pub(in crate::admin) fn inactivity(body: &mut Body) -> Option<Inactivity> {
    let mode = body.required("mode", |value| {
        let mode = value.as_str().and_then(InactivityMode::parse);
        mode.map_or_else(
            || {
                Err((
                    "unknown_value",
                    "mode is off, notify, disable or delete".into(),
                ))
            },
            Ok,
        )
    });
    let after = body.optional("after", |value| {
        let after = duration(value)?;
        if after < DAY_MILLIS {
            return Err(("out_of_range", "at least 1d".into()));
        }
        Ok(after)
    });
    Some(Inactivity {
        mode: mode?,
        after: after.unwrap_or(Inactivity::DEFAULT.after),
    })
}

/// What neither PATCH nor PUT changes of a key, though it is shown.
pub(super) const FIXED: [(&str, &str); 15] = [
    (
        "state",
        "is changed by POST /v1/keys/{id}/disable, enable and revoke",
    ),
    (
        "status",
        "follows from the key: POST /v1/keys/{id}/disable, enable and revoke change it",
    ),
    ("state_reason", OF_STATE),
    ("state_text", OF_STATE),
    ("state_by", OF_STATE),
    ("state_at", OF_STATE),
    (
        "secrets",
        "are changed by POST /v1/keys/{id}/rotate and retire",
    ),
    (
        "hint",
        "is the secret's: POST /v1/keys/{id}/rotate makes a new one",
    ),
    ("first_used_at", COUNTED),
    ("last_used_at", COUNTED),
    ("last_used_ip", COUNTED),
    ("uses", COUNTED),
    ("refusals", COUNTED),
    (
        "inactive_at",
        "follows from the inactivity policy: POST /v1/keys/{id}/keep puts it off",
    ),
    ("managed_by", "follows from where the key was made"),
];

/// What PATCH does not change of a key besides.
pub(super) const FIXED_IN_PATCH: [(&str, &str); 3] = [
    ("consumer", "is changed by POST /v1/keys/{id}/transfer"),
    ("environment", "a key keeps it: make a new key"),
    ("workspace", "a key keeps it: make a new key"),
];

const OF_STATE: &str = "is set with the state: POST /v1/keys/{id}/disable, enable and revoke";
const COUNTED: &str = "is counted by the gateway";

fn scope(value: &Value) -> Result<String, Wrong> {
    let scope = value.as_str().and_then(Scope::parse);
    scope.map_or_else(
        || invalid("a scope has 1 to 128 letters, digits and : / . - _"),
        |scope| Ok(scope.to_string()),
    )
}

fn method(value: &Value) -> Result<String, Wrong> {
    let method = value
        .as_str()
        .and_then(|name| Method::from_bytes(name.as_bytes()).ok());
    match method.filter(|method| MethodSet::EMPTY.with(method).is_some()) {
        Some(method) => Ok(method.to_string()),
        None => Err((
            "unknown_value",
            "expected GET, HEAD, POST, PUT, DELETE, PATCH or OPTIONS".into(),
        )),
    }
}

fn network(value: &Value) -> Result<IpNet, Wrong> {
    let text = value.as_str().unwrap_or_default();
    let net = text
        .parse::<IpNet>()
        .ok()
        .or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)));
    match net {
        Some(net) if net.addr() != net.network() => {
            invalid("the address has bits behind its prefix")
        }
        Some(net) => Ok(net),
        None => invalid("expected a network such as 10.0.0.0/8 or 2001:db8::/32, or an address"),
    }
}

fn location(value: &Value) -> Result<String, Wrong> {
    let kind = LocationKind::ALL
        .into_iter()
        .find(|kind| value.as_str() == Some(kind.name()));
    kind.map_or_else(
        || {
            Err((
                "unknown_value",
                "expected header, bearer, query or websocket_protocol".into(),
            ))
        },
        |kind| Ok(kind.name().to_owned()),
    )
}
