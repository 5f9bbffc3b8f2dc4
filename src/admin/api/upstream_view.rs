//! Upstreams as `/v1/config` shows them.

use super::system::duration;
use crate::config::upstream_tls::UpstreamTls;
use crate::domain::balance::{Balance, HashOn};
use crate::domain::resilience::{HealthCheck, Probe, Retries};
use crate::domain::upstream::{Endpoint, HostHeader};
use crate::snapshot::endpoints::UpstreamState;
use serde_json::{Value, json};
use std::ops::RangeInclusive;

pub(super) fn upstream(state: &UpstreamState) -> Value {
    let upstream = &state.config;
    let endpoints = upstream.endpoints.iter();
    let endpoints: Vec<Value> = endpoints.map(endpoint).collect();
    json!({
        "endpoints": endpoints,
        "balance": match &upstream.balance {
            Balance::Hash(HashOn::Key) => json!({"hash": "key"}),
            Balance::Hash(HashOn::Header(name)) => json!({"hash": {"header": name.as_str()}}),
            other @ (Balance::RoundRobin | Balance::LeastRequests | Balance::PowerOfTwo) => {
                json!(other.name())
            }
        },
        "protocol": upstream.protocol.name(),
        "tls": state.tls.as_ref().map(tls),
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
        "health_check": upstream.health_check.as_ref().map(health_check),
        "outlier_detection": upstream.outlier_detection.map(|rules| json!({
            "failures": rules.failures,
            "base_ejection": duration(rules.base_ejection),
            "max_ejected_percent": rules.max_ejected_percent,
            "slow_start": duration(rules.slow_start),
        })),
        "circuit": {
            "max_connections": upstream.circuit.max_connections,
            "max_pending": upstream.circuit.max_pending,
            "max_requests": upstream.circuit.max_requests,
        },
    })
}

/// As it may stand in the file: with its weight only where it has one of its own.
fn endpoint(endpoint: &Endpoint) -> Value {
    let url = format!("{}://{}", endpoint.scheme(), endpoint.authority);
    match endpoint.weight {
        1 => url.into(),
        weight => json!({"url": url, "weight": weight}),
    }
}

/// No key, and of certificates only where they are from.
fn tls(tls: &UpstreamTls) -> Value {
    json!({
        "server_name": tls.server_name.as_ref().map(|name| name.to_str()),
        "client_certificate": tls.made_of.identity.as_ref().map(|one| &one.source),
        "insecure": tls.is_insecure(),
        "min_version": if tls.made_of.tls12 { "1.2" } else { "1.3" },
    })
}

fn health_check(check: &HealthCheck) -> Value {
    let mut shown = json!({
        "interval": duration(check.interval),
        "timeout": duration(check.timeout),
        "healthy": check.healthy,
        "unhealthy": check.unhealthy,
    });
    match &check.probe {
        Probe::Tcp => shown["tcp"] = true.into(),
        Probe::Http {
            path,
            host,
            statuses,
        } => {
            let range = |range: &RangeInclusive<u16>| format!("{}-{}", range.start(), range.end());
            shown["path"] = path.as_str().into();
            shown["host"] = host.as_deref().into();
            shown["statuses"] = statuses.iter().map(range).collect();
        }
    }
    shown
}

/// When a route sends a request again.
pub(super) fn retries(rules: &Retries) -> Value {
    let on = [
        ("connect_failure", rules.on.connect_failure),
        ("refused_stream", rules.on.refused_stream),
        ("502", rules.on.bad_gateway),
        ("503", rules.on.unavailable),
        ("504", rules.on.gateway_timeout),
    ];
    let on = on.iter().filter(|(_, is_on)| *is_on);
    json!({
        "attempts": rules.attempts,
        "on": on.map(|(name, _)| *name).collect::<Vec<_>>(),
        "per_try_timeout": rules.per_try_timeout.map(duration),
        "backoff": duration(rules.backoff),
    })
}
