//! Routes: what they match and where they lead.

use super::auth::auth;
use super::resilience::retries;
use super::seen::Seen;
use super::{Known, limits, methods};
use crate::config::raw::{Fields, Item, table};
use crate::config::value;
use crate::domain::method::{MethodSet, STANDARD};
use crate::domain::route::{HostMatch, PathMatch, Route, RouteMatch};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

const MAX_BODY: u64 = 10 * 1024 * 1024;
/// Programs that keep a WebSocket open say something every 20 to 60 seconds.
const WEBSOCKET_IDLE: Duration = Duration::from_mins(5);

pub(super) fn routes(root: &Fields<'_>, known: &Known<'_>) -> Vec<Route> {
    let (mut names, mut matches) = (Seen::default(), Matches::default());
    let mut used = HashSet::new();
    let routes = root.list("routes", |item| {
        let fields = item.fields(&table::ROUTE);
        let name = fields
            .required("name")
            .and_then(|at| names.claim(at.read(value::label)?, &at, "the same name as"));
        let found = fields
            .required("match")
            .and_then(|at| route_match(&at, &mut matches));
        let upstream = upstream(&fields, known);
        used.extend(upstream);
        route(&fields, found.as_ref(), known).and_then(|route| {
            Some(Route {
                name: name?,
                upstream: upstream?,
                ..route
            })
        })
    });
    if routes.as_ref().is_none_or(Vec::is_empty) {
        let item = root.get("routes").unwrap_or_else(|| root.item().clone());
        item.warn("no routes: every request is a 404");
    }
    warn_of_unused(root, &used);
    routes.unwrap_or_default()
}

/// Everything of a route but its name and its upstream.
fn route(fields: &Fields<'_>, found: Option<&RouteMatch>, known: &Known<'_>) -> Option<Route> {
    let strip_prefix = fields.get("strip_prefix").and_then(|item| {
        let prefix = item.read(value::strip_prefix)?;
        let path = match &found?.path {
            PathMatch::Prefix(path) | PathMatch::Exact(path) => path,
        };
        if !value::is_below(path, &prefix) {
            item.fault("must be the route's path or whole segments from its beginning");
        }
        Some(prefix)
    });
    let max_body = fields
        .get("max_body")
        .and_then(|item| item.read_scalar(value::or_off(value::size)));
    let timeout = fields
        .get("timeout")
        .and_then(|item| item.read_scalar(value::or_off(value::timeout)));
    let websocket_idle_timeout = fields
        .get("websocket_idle_timeout")
        .and_then(|item| item.read_scalar(value::or_off(value::timeout)));
    let methods = found.map(|found| found.methods);
    let auth = auth(&fields.section("auth", &table::AUTH), methods);
    let forward_metadata = fields.flag("forward_metadata", false);
    let workspace = workspace(fields, known);
    let limits = limits(fields);
    let retries = retries(fields);
    Some(Route {
        name: String::new(),
        matches: found?.clone(),
        upstream: 0,
        strip_prefix,
        auth,
        max_body: max_body.unwrap_or(Some(MAX_BODY)),
        timeout: timeout.flatten(),
        forward_metadata,
        workspace,
        limits,
        websocket: fields.flag("websocket", true),
        websocket_idle_timeout: websocket_idle_timeout.unwrap_or(Some(WEBSOCKET_IDLE)),
        retries,
    })
}

/// Whether it is there is for the store to say.
fn workspace(fields: &Fields<'_>, known: &Known<'_>) -> Option<String> {
    let item = fields.get("workspace")?;
    let name = item.read(value::workspace)?;
    if known.no_store {
        item.fault("workspaces are kept in the store, and `store` is `none`");
    }
    Some(name)
}

fn upstream(fields: &Fields<'_>, known: &Known<'_>) -> Option<usize> {
    let item = fields.required("upstream")?;
    let name = item.text()?;
    let place = known.upstreams.iter().position(|known| *known == name);
    if place.is_none() {
        item.fault(value::unknown("upstream", name, &known.upstreams));
    }
    place
}

fn warn_of_unused(root: &Fields<'_>, used: &HashSet<usize>) {
    let Some(item) = root.get("upstreams") else {
        return;
    };
    for (place, entry) in item.quiet_entries().iter().enumerate() {
        if !used.contains(&place) {
            item.value_of(entry).warn("no route uses this upstream");
        }
    }
}

/// Which methods of a host and path are taken, by which route.
#[derive(Default)]
struct Matches(HashMap<(HostMatch, PathMatch), Vec<(MethodSet, String)>>);

/// What a route takes; `None` if anything in it is at fault.
fn route_match(item: &Item<'_>, matches: &mut Matches) -> Option<RouteMatch> {
    let before = item.report().count();
    let fields = item.fields(&table::MATCH);
    let host = fields.read("host", value::host_match);
    let prefix = fields.read("path", value::canonical);
    let exact = fields.read("exact_path", value::canonical);
    if let Some(exact) = fields.get("exact_path")
        && fields.get("path").is_some()
    {
        exact.fault("`path` and `exact_path` exclude each other");
    }
    let path = match (exact, prefix) {
        (Some(exact), _) => PathMatch::Exact(exact),
        (None, Some(prefix)) => PathMatch::Prefix(prefix.trim_end_matches('/').to_owned()),
        (None, None) => PathMatch::Prefix(String::new()),
    };
    let found = RouteMatch {
        host: host.unwrap_or(HostMatch::Any),
        path,
        methods: methods(&fields),
    };
    if item.report().count() > before {
        return None;
    }
    let taken = matches
        .0
        .entry((found.host.clone(), found.path.clone()))
        .or_default();
    match taken
        .iter()
        .find(|(methods, _)| overlap(*methods, found.methods))
    {
        Some((_, first)) => item.fault(format!("takes the same requests as {first}")),
        None => taken.push((found.methods, item.path().to_owned())),
    }
    Some(found)
}

/// A route that names methods comes before one that takes all, so those two do not compete.
fn overlap(one: MethodSet, other: MethodSet) -> bool {
    one.is_any() == other.is_any()
        && STANDARD
            .iter()
            .any(|method| one.contains(method) && other.contains(method))
}
