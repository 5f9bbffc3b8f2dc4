//! What is done about endpoints that fail: health checks, ejection, limits, and requests that are sent again.

use crate::config::raw::{Fields, Item, table};
use crate::config::value;
use crate::domain::resilience::{Circuit, HealthCheck, OutlierDetection, Probe, Retries, RetryOn};
use std::ops::RangeInclusive;
use std::time::Duration;

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(5);
const EJECTION: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(24);
const SLOW_START: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);
const BACKOFF: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(10);
const MAX_COUNT: u64 = 1_000_000;
const OCCASIONS: [&str; 5] = ["connect_failure", "refused_stream", "502", "503", "504"];

pub(super) fn health_check(upstream: &Fields<'_>) -> Option<HealthCheck> {
    let item = upstream.get("health_check")?;
    let fields = item.fields(&table::HEALTH_CHECK);
    let interval = fields.duration_within("interval", INTERVAL);
    let timeout = fields.duration_within("timeout", TIMEOUT);
    let (healthy, unhealthy) = (times(&fields, "healthy", 2), times(&fields, "unhealthy", 3));
    Some(HealthCheck {
        probe: probe(&item, &fields)?,
        interval: interval.unwrap_or(Duration::from_secs(10)),
        timeout: timeout.unwrap_or(Duration::from_secs(2)),
        healthy,
        unhealthy,
    })
}

fn probe(item: &Item<'_>, fields: &Fields<'_>) -> Option<Probe> {
    let tcp = fields.flag("tcp", false);
    let path = fields.get("path");
    let host = fields.read("host", value::authority);
    let statuses = fields.list("statuses", |item| item.read_scalar(value::statuses));
    if statuses.as_ref().is_some_and(Vec::is_empty)
        && let Some(item) = fields.get("statuses")
        && item.is_list()
        && item.items().is_empty()
    {
        item.fault("at least one status is needed");
    }
    if tcp {
        for name in ["path", "host", "statuses"] {
            if let Some(other) = fields.get(name) {
                other.fault(format!("`tcp` and `{name}` exclude each other"));
            }
        }
        return Some(Probe::Tcp);
    }
    if path.is_none() && !fields.is_hollow() {
        item.fault("one of `path` and `tcp` is required");
    }
    Some(Probe::Http {
        path: path?.read(value::check_path)?,
        host,
        statuses: statuses.unwrap_or_else(|| vec![200..=399]),
    })
}

pub(super) fn outlier_detection(upstream: &Fields<'_>) -> Option<OutlierDetection> {
    let fields = upstream
        .get("outlier_detection")?
        .fields(&table::OUTLIER_DETECTION);
    let base_ejection = fields.duration_within("base_ejection", EJECTION);
    let slow_start = fields.duration_within("slow_start", SLOW_START);
    let percent = fields.number("max_ejected_percent", 1..=100, 50);
    Some(OutlierDetection {
        failures: times(&fields, "failures", 5),
        base_ejection: base_ejection.unwrap_or(Duration::from_secs(30)),
        max_ejected_percent: u32::try_from(percent).unwrap_or(50),
        slow_start: slow_start.unwrap_or(Duration::from_secs(30)),
    })
}

pub(super) fn circuit(fields: &Fields<'_>) -> Circuit {
    let limit = |name, least| {
        let item: Item<'_> = fields.get(name)?;
        let number = item.read_scalar(value::or_off(value::count(least..=MAX_COUNT)))?;
        number.and_then(|number| usize::try_from(number).ok())
    };
    let circuit = Circuit {
        max_connections: limit("max_connections", 1),
        max_pending: limit("max_pending", 0),
        max_requests: limit("max_requests", 1),
    };
    if circuit.max_pending.is_some()
        && fields
            .get("max_connections")
            .is_none_or(|item| item.scalar() == Some("off"))
        && let Some(item) = fields.get("max_pending")
    {
        item.fault("requests only wait where `max_connections` is set");
    }
    circuit
}

pub(super) fn retries(route: &Fields<'_>) -> Option<Retries> {
    let fields = route.get("retries")?.fields(&table::RETRIES);
    let on = fields.get("on").map(|item| occasions(&item));
    let per_try_timeout = fields
        .get("per_try_timeout")
        .and_then(|item| item.read_scalar(value::timeout));
    let backoff = fields.duration_within("backoff", BACKOFF);
    let attempts = fields.number("attempts", 1..=10, 1);
    Some(Retries {
        attempts: u32::try_from(attempts).unwrap_or(1),
        on: on.unwrap_or(RetryOn::ALL),
        per_try_timeout,
        backoff: backoff.unwrap_or(Duration::from_millis(25)),
    })
}

fn occasions(item: &Item<'_>) -> RetryOn {
    let mut on = RetryOn::default();
    let items = item.items();
    if item.is_list() && items.is_empty() {
        item.fault("at least one occasion is needed; for no retries leave `retries` out");
    }
    for item in items {
        item.read_scalar(|text| {
            let occasion = match text {
                "connect_failure" => &mut on.connect_failure,
                "refused_stream" => &mut on.refused_stream,
                "502" => &mut on.bad_gateway,
                "503" => &mut on.unavailable,
                "504" => &mut on.gateway_timeout,
                text => return Err(value::unknown("value", text, &OCCASIONS)),
            };
            *occasion = true;
            Ok(())
        });
    }
    on
}

fn times(fields: &Fields<'_>, name: &str, default: u32) -> u32 {
    let number = fields.get(name).and_then(|item| item.number(&(1..=1000)));
    number
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(default)
}
