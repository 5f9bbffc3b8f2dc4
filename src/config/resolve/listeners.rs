//! Sockets that accept: listeners and the management port.

use super::seen::Seen;
use super::{admission, tls};
use crate::config::raw::{Fields, Item, table};
use crate::config::{Listener, ListenerLimits, Management, SessionConfig, value};
use crate::domain::secret::Secret;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

const MANAGEMENT_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
/// Shorter tokens can be guessed.
const MIN_TOKEN: usize = 16;
const SESSION: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(90 * 24);
const KIB: u64 = 1024;
/// The largest request target the HTTP parser takes.
const MAX_URI: u64 = 64 * KIB - 2;
const MAX_CONNECTIONS: u64 = 10_000_000;

pub(super) fn listeners(root: &Fields<'_>) -> Vec<Listener> {
    let Some(item) = root.required("listeners") else {
        return Vec::new();
    };
    if item.is_list() && item.items().is_empty() {
        item.fault("at least one listener is needed");
    }
    let (mut names, mut addresses) = (Seen::default(), Seen::default());
    let listeners = root.list("listeners", |item| {
        let listener = listener(item)?;
        // Port 0 is a different port each time.
        if listener.address.port() != 0 {
            addresses.claim(listener.address, item, "the same address as")?;
        }
        names.claim(
            listener.name.clone(),
            item,
            "a listener needs a `name` of its own, this is the same as",
        )?;
        Some(listener)
    });
    listeners.unwrap_or_default()
}

fn listener(item: &Item<'_>) -> Option<Listener> {
    let fields = item.fields(&table::LISTENER);
    let address = fields
        .required("address")
        .and_then(|item| item.read(value::socket));
    let name = fields.read("name", value::name);
    let reuse_port_handover = fields.flag("reuse_port_handover", false);
    let limits = limits(&fields);
    let trust = admission::trust(&fields);
    let tls = tls::tls(&fields, limits.http2);
    let address = address?;
    Some(Listener {
        name: name.unwrap_or_else(|| address.to_string()),
        address,
        reuse_port_handover,
        limits,
        trust,
        tls,
    })
}

fn limits(fields: &Fields<'_>) -> ListenerLimits {
    let seconds = Duration::from_secs;
    ListenerLimits {
        max_connections: fields.number("max_connections", 1..=MAX_CONNECTIONS, 16384),
        max_connections_per_address: admission::per_address(fields, MAX_CONNECTIONS),
        max_header_bytes: fields.size("max_header_bytes", KIB..=KIB * KIB, 32 * 1024),
        max_headers: fields.number("max_headers", 1..=1000, 100),
        max_uri_bytes: fields.size("max_uri_bytes", 64..=MAX_URI, 8 * 1024),
        first_byte_timeout: fields.duration("first_byte_timeout", seconds(10)),
        header_timeout: fields.duration("header_timeout", seconds(10)),
        idle_timeout: fields.duration("idle_timeout", seconds(75)),
        body_timeout: fields.duration("body_timeout", seconds(60)),
        min_body_rate: admission::min_rate(fields),
        http2: fields.flag("http2", true),
        max_streams: u32::try_from(fields.number("max_streams", 1..=10_000, 100)).unwrap_or(100),
    }
}

pub(super) fn management(fields: &Fields<'_>) -> Management {
    let given = fields.get("token");
    let token = given.as_ref().and_then(token);
    let at = fields.get("address");
    let address = at.as_ref().and_then(|item| item.read(value::socket));
    if let (Some(at), Some(address)) = (&at, address)
        && !address.ip().to_canonical().is_loopback()
        && given.is_none()
    {
        at.fault("a public address needs `management.token`");
    }
    Management {
        address: address.unwrap_or(MANAGEMENT_ADDRESS),
        token,
        sessions: sessions(&fields.section("sessions", &table::SESSIONS)),
        allowed_hosts: allowed_hosts(fields),
    }
}

fn sessions(fields: &Fields<'_>) -> SessionConfig {
    let before = fields.item().report().count();
    let length = |name| fields.duration_within(name, SESSION);
    let (idle, absolute) = (length("idle"), length("absolute"));
    let sessions = SessionConfig {
        idle: idle.unwrap_or(Duration::from_mins(30)),
        absolute: absolute.unwrap_or(Duration::from_hours(12)),
    };
    // Whichever was given is at fault; the other one has its default.
    if sessions.idle > sessions.absolute
        && fields.item().report().count() == before
        && let Some(item) = fields.get(if idle.is_some() { "idle" } else { "absolute" })
    {
        item.fault("`idle` must not be longer than `absolute` (30m and 12h unless given)");
    }
    sessions
}

fn allowed_hosts(fields: &Fields<'_>) -> Vec<String> {
    let mut seen = Seen::default();
    let hosts = fields.list("allowed_hosts", |item| {
        seen.claim(item.read(value::host)?, item, "the same as")
    });
    hosts.unwrap_or_default()
}

fn token(item: &Item<'_>) -> Option<Secret<String>> {
    let token = item.read_secret()?;
    let text = token.expose();
    if text.len() < MIN_TOKEN {
        item.fault("the token must have at least 16 bytes");
        return None;
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        item.fault("the token must be printable ASCII without spaces");
        return None;
    }
    Some(token)
}
