//! Services and their endpoints.

use super::balance::balance;
use super::resilience::{circuit, health_check, outlier_detection};
use super::seen::Seen;
use super::upstream_tls;
use crate::config::raw::{Fields, Item, table};
use crate::config::upstream_tls::UpstreamTls;
use crate::config::value;
use crate::domain::upstream::{Endpoint, HostHeader, Pool, Upstream};
use std::collections::HashMap;
use std::time::Duration;

const MAX_IDLE: u64 = 10_000;
const MAX_WEIGHT: u64 = 1000;

/// The names of all upstreams, in the order of the file; [`upstreams`] keeps that order.
pub(super) fn names<'a>(root: &Fields<'a>) -> Vec<&'a str> {
    root.get("upstreams")
        .iter()
        .flat_map(Item::quiet_entries)
        .map(|entry| &*entry.name)
        .collect()
}

/// Services, and by their names how those under TLS are spoken to.
pub(super) fn upstreams(root: &Fields<'_>) -> (Vec<Upstream>, HashMap<String, UpstreamTls>) {
    let mut secured = HashMap::new();
    let Some(item) = root.get("upstreams") else {
        return (Vec::new(), secured);
    };
    let entries = item.entries().unwrap_or_default();
    let mut read = |entry| {
        let at = item.value_of(entry);
        let name = value::label(&entry.name)
            .map_err(|what| at.fault_at(entry.place, at.path().to_owned(), what));
        let (upstream, tls) = upstream(&at);
        let name = name.ok()?;
        secured.extend(tls.map(|tls| (name.clone(), tls)));
        Some(Upstream { name, ..upstream })
    };
    let upstreams = entries.iter().filter_map(&mut read).collect();
    (upstreams, secured)
}

fn upstream(item: &Item<'_>) -> (Upstream, Option<UpstreamTls>) {
    let fields = item.fields(&table::UPSTREAM);
    let seconds = Duration::from_secs;
    let endpoints = endpoints(&fields);
    let protocol = upstream_tls::protocol(&fields);
    let tls = upstream_tls::tls(&fields, &endpoints, protocol);
    let upstream = Upstream {
        name: String::new(),
        endpoints,
        protocol,
        balance: balance(&fields),
        host_header: fields
            .read("host_header", value::host_header)
            .unwrap_or(HostHeader::Preserve),
        connect_timeout: fields.duration("connect_timeout", seconds(5)),
        first_byte_timeout: fields.duration("first_byte_timeout", seconds(60)),
        idle_timeout: fields.duration("idle_timeout", seconds(60)),
        pool: pool(&fields.section("pool", &table::POOL)),
        health_check: health_check(&fields),
        outlier_detection: outlier_detection(&fields),
        circuit: circuit(&fields.section("circuit", &table::CIRCUIT)),
    };
    (upstream, tls)
}

fn pool(fields: &Fields<'_>) -> Pool {
    Pool {
        max_idle: fields.number("max_idle", 0..=MAX_IDLE, 64),
        idle_timeout: fields.duration("idle_timeout", Duration::from_mins(1)),
        max_lifetime: fields.duration("max_lifetime", Duration::from_mins(10)),
    }
}

fn endpoints(fields: &Fields<'_>) -> Vec<Endpoint> {
    let Some(item) = fields.required("endpoints") else {
        return Vec::new();
    };
    let items = item.items();
    if item.is_list() && items.is_empty() {
        item.fault("at least one endpoint is needed");
    }
    let before = item.report().count();
    let mut seen = Seen::default();
    let mut read = |item: &Item<'_>| {
        let endpoint = endpoint(item)?;
        let place = (endpoint.host.clone(), endpoint.port);
        seen.claim(place, item, "the same as").map(|_| endpoint)
    };
    let endpoints: Vec<Endpoint> = items.iter().filter_map(&mut read).collect();
    let idle = endpoints.iter().all(|endpoint| endpoint.weight == 0);
    if idle && item.report().count() == before && !endpoints.is_empty() {
        item.fault("at least one endpoint needs a weight above 0");
    }
    endpoints
}

/// A URL, or a URL with its weight.
fn endpoint(item: &Item<'_>) -> Option<Endpoint> {
    if !item.is_map() {
        return item.read(value::endpoint);
    }
    let fields = item.fields(&table::ENDPOINT);
    let weight = fields.number("weight", 0..=MAX_WEIGHT, 1);
    let url = fields.required("url")?;
    Some(Endpoint {
        weight: u32::try_from(weight).unwrap_or(1),
        ..url.read(value::endpoint)?
    })
}
