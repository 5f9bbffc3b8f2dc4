//! How names of endpoints are looked up.

use super::seen::Seen;
use crate::config::DnsConfig;
use crate::config::raw::Fields;
use crate::config::value;
use std::ops::RangeInclusive;
use std::time::Duration;

const TTL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(24);

pub(super) fn dns(fields: &Fields<'_>) -> DnsConfig {
    let before = fields.item().report().count();
    let mut seen = Seen::default();
    let servers = fields.list("servers", |item| {
        seen.claim(item.read(value::socket)?, item, "the same as")
    });
    let ttl = |name| fields.duration_within(name, TTL);
    let (least, most) = (ttl("min_ttl"), ttl("max_ttl"));
    let dns = DnsConfig {
        servers: servers.unwrap_or_default(),
        min_ttl: least.unwrap_or(Duration::from_secs(1)),
        max_ttl: most.unwrap_or(Duration::from_mins(5)),
    };
    // Whichever was given is at fault; the other one has its default.
    if dns.min_ttl > dns.max_ttl
        && fields.item().report().count() == before
        && let Some(item) = fields.get(if most.is_some() { "max_ttl" } else { "min_ttl" })
    {
        item.fault("`max_ttl` must not be shorter than `min_ttl` (5m and 1s unless given)");
    }
    dns
}
