//! Who is believed about where a request comes from, and what is turned away before it is looked at.

use crate::config::raw::{Fields, Item, table};
use crate::config::value;
use crate::config::{Admission, ForwardedBy, MinRate, ProxyTrust};
use crate::domain::limit::{Limit, Rate};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

const GRACE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
const LAG: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_mins(1);
/// Most bytes in a second that a body can be held to.
const MOST_RATE: u64 = 1024 * 1024 * 1024;

pub(super) fn trust(fields: &Fields<'_>) -> Arc<ProxyTrust> {
    let proxies = fields.list("trusted_proxies", |item| item.read(value::cidr));
    let header = fields.read("client_address", |text| {
        let known = ForwardedBy::ALL;
        let named = known.into_iter().find(|one| one.name() == text);
        named.ok_or_else(|| "expected `x_forwarded_for` or `forwarded`".to_owned())
    });
    let proxy_protocol = fields.read("proxy_protocol", |text| match text {
        "off" => Ok(false),
        "required" => Ok(true),
        _ => Err("expected `off` or `required`".to_owned()),
    });
    let trust = ProxyTrust {
        proxies: proxies.unwrap_or_default(),
        header: header.unwrap_or_default(),
        proxy_protocol: proxy_protocol.unwrap_or(false),
    };
    let nobody = fields
        .get("trusted_proxies")
        .is_none_or(|item| item.is_list() && item.items().is_empty());
    if let Some(item) = fields
        .get("proxy_protocol")
        .filter(|_| trust.proxy_protocol && nobody)
    {
        item.fault("needs `trusted_proxies`: those who may say where a connection comes from");
    }
    if trust.header == ForwardedBy::Forwarded
        && nobody
        && let Some(item) = fields.get("client_address")
    {
        item.warn("has no effect without `trusted_proxies`");
    }
    Arc::new(trust)
}

/// A number of connections, or `off`.
pub(super) fn per_address(fields: &Fields<'_>, most: u64) -> Option<usize> {
    let item = fields.get("max_connections_per_address")?;
    if item.scalar() == Some("off") {
        return None;
    }
    item.read_scalar(|text| {
        let number = text
            .parse()
            .ok()
            .filter(|number| (1..=most).contains(number));
        let number = number.and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| format!("expected a whole number from 1 to {most}, or `off`"))
    })
}

pub(super) fn min_rate(fields: &Fields<'_>) -> Option<MinRate> {
    let default = MinRate {
        bytes: 240,
        grace: Duration::from_secs(10),
    };
    let Some(item) = fields.get("min_body_rate") else {
        return Some(default);
    };
    if item.scalar() == Some("off") {
        return None;
    }
    let fields = item.fields(&table::MIN_RATE);
    let bytes = fields.size("bytes", 1..=MOST_RATE, 240);
    Some(MinRate {
        bytes: bytes as u64,
        grace: fields
            .duration_within("grace", GRACE)
            .unwrap_or(default.grace),
    })
}

pub(super) fn admission(fields: &Fields<'_>) -> Admission {
    let lag = fields
        .get("max_lag")
        .and_then(|item| item.read_scalar(value::or_off(value::duration_within(LAG))));
    Admission {
        failed_attempts: match fields.get("failed_attempts") {
            Some(item) => failed_attempts(&item),
            None => default_attempts(),
        },
        max_lag: lag.unwrap_or(Some(Duration::from_millis(500))),
    }
}

fn default_attempts() -> Option<Limit> {
    Limit::new(Rate::parse("100/m").ok()?, Some(100)).ok()
}

fn failed_attempts(item: &Item<'_>) -> Option<Limit> {
    if item.scalar() == Some("off") {
        return None;
    }
    super::limit(item)
}
