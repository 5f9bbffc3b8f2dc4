//! Who may use a route: where keys may stand, and which scopes they need.

use super::seen::Seen;
use crate::config::raw::{Fields, Item, table};
use crate::config::value;
use crate::domain::method::{MethodSet, STANDARD};
use crate::domain::route::{AuthPolicy, Location};
use crate::domain::scope::{Scope, ScopeDemand};
use http::{HeaderName, Method};

pub(super) fn auth(fields: &Fields<'_>, methods: Option<MethodSet>) -> AuthPolicy {
    let required = fields.flag("required", true);
    let scopes = match fields.get("scopes") {
        Some(item) => demand(&item, methods),
        None => ScopeDemand::None,
    };
    if !required && scopes != ScopeDemand::None {
        fields
            .item()
            .warn("scopes have no effect on requests without a key, because `required` is false");
    }
    let preflight = fields.flag("preflight", false);
    if preflight && methods.is_some_and(|taken| !taken.contains(&Method::OPTIONS)) {
        fields.item().warn("preflights are OPTIONS requests, which this route does not take: add OPTIONS to its methods");
    }
    AuthPolicy {
        required,
        locations: locations(fields, required),
        scopes,
        preflight,
    }
}

fn locations(fields: &Fields<'_>, required: bool) -> Vec<Location> {
    let Some(item) = fields.get("locations") else {
        return vec![
            Location::Header(HeaderName::from_static("x-api-key")),
            Location::Bearer,
        ];
    };
    let items = item.items();
    if item.is_list() && items.is_empty() && required {
        item.fault("at least one location is needed where a key is required");
    }
    let mut seen = Seen::default();
    let mut read = |item: &Item<'_>| {
        let location = location(item)?;
        let place = match &location {
            Location::Header(name) => ("header", name.as_str().to_owned()),
            Location::Bearer => ("bearer", String::new()),
            Location::Query(name) => ("query", name.clone()),
            Location::WebSocketProtocol(_) => ("websocket_protocol", String::new()),
        };
        seen.claim(place, item, "the same as").map(|_| location)
    };
    items.iter().filter_map(&mut read).collect()
}

fn location(item: &Item<'_>) -> Option<Location> {
    const EXPECTED: &str =
        "expected `bearer`, `{header: name}`, `{query: name}` or `{websocket_protocol: true}`";
    if item.scalar() == Some("bearer") {
        return Some(Location::Bearer);
    }
    if !item.is_map() {
        item.fault(EXPECTED);
        return None;
    }
    let before = item.report().count();
    let fields = item.fields(&table::LOCATION);
    let header = fields.read("header", value::key_header);
    let query = fields.read("query", value::key_parameter);
    let protocol = fields
        .get("websocket_protocol")
        .and_then(|item| item.read_scalar(value::protocol_prefix));
    if item.report().count() > before {
        return None;
    }
    match (header, query, protocol) {
        (Some(header), None, None) => Some(Location::Header(header)),
        (None, Some(query), None) => Some(Location::Query(query)),
        (None, None, Some(prefix)) => Some(Location::WebSocketProtocol(prefix)),
        (_, _, _) => {
            item.fault(EXPECTED);
            None
        }
    }
}

fn demand(item: &Item<'_>, taken: Option<MethodSet>) -> ScopeDemand {
    if !item.is_map() {
        let scopes = scopes(item);
        return if scopes.is_empty() {
            ScopeDemand::None
        } else {
            ScopeDemand::Always(scopes)
        };
    }
    let (mut methods, mut any) = (Vec::new(), None);
    let entries = item.entries().unwrap_or_default();
    if entries.is_empty() {
        item.fault("names no method; leave `scopes` out if none is needed");
    }
    for entry in entries {
        let at = item.value_of(entry);
        let scopes = scopes(&at);
        if &*entry.name == "*" {
            any = Some(scopes);
            continue;
        }
        match value::method(&entry.name) {
            Ok(method) => methods.push((method, scopes)),
            Err(what) => at.fault_at(entry.place, at.path().to_owned(), what),
        }
    }
    if any.is_none() && taken.is_some_and(|taken| !covers(&methods, taken)) {
        item.warn("no key opens other methods: add \"*\"");
    }
    ScopeDemand::PerMethod { methods, any }
}

/// Whether every method that the route takes has an entry.
fn covers(entries: &[(Method, Vec<Scope>)], taken: MethodSet) -> bool {
    let listed = entries
        .iter()
        .filter_map(|(method, _)| match *method {
            // Read as GET where it has no entry of its own.
            Method::GET => MethodSet::EMPTY.with(&Method::GET)?.with(&Method::HEAD),
            _ => MethodSet::EMPTY.with(method),
        })
        .fold(MethodSet::EMPTY, union);
    listed.intersection(taken) == taken
}

fn union(one: MethodSet, other: MethodSet) -> MethodSet {
    STANDARD
        .iter()
        .filter(|method| other.contains(method))
        .fold(one, |set, method| set.with(method).unwrap_or(set))
}

/// One scope or a list of them.
pub(super) fn scopes(item: &Item<'_>) -> Vec<Scope> {
    if !item.is_list() {
        return item.read(value::scope).into_iter().collect();
    }
    let mut seen = Seen::default();
    item.items()
        .iter()
        .filter_map(|item| seen.claim(item.read(value::scope)?, item, "the same as"))
        .collect()
}
