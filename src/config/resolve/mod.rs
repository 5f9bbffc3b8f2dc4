//! From what was typed to what is valid: each item is read on its own, then what items say about each other is checked.
//! A bad item is reported and left out, so the [`Config`] made here counts only if there was no fault.

mod admission;
mod auth;
mod balance;
mod dns;
mod key_fields;
mod keys;
mod listeners;
mod mail;
mod managed;
mod resilience;
mod routes;
mod seen;
mod tls;
mod upstream_tls;
mod upstreams;

use super::raw::{Fields, Item, table};
use super::value;
use super::{Config, Forwarding, LogConfig};
use crate::domain::consumer::Consumer;
use crate::domain::key::{FormatFault, KeyFormat};
use crate::domain::limit::{Limit, Rate};
use crate::domain::method::MethodSet;
use seen::Seen;
use std::num::NonZeroUsize;
use std::time::Duration;

const MAX_THREADS: u64 = 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything in the file.
pub(super) fn config(root: &Item<'_>) -> Config {
    let fields = root.fields(&table::ROOT);
    let key_format = key_format(&fields.section("key_format", &table::KEY_FORMAT));
    let known = Known {
        upstreams: upstreams::names(&fields),
        routes: names(&fields, "routes"),
        consumers: names(&fields, "consumers"),
        key_format: key_format.as_ref(),
        no_store: managed::is_without_store(&fields),
    };
    let consumers = consumers(&fields);
    let (upstreams, upstream_tls) = upstreams::upstreams(&fields);
    let notifications = fields.section("notifications", &table::NOTIFICATIONS);
    Config {
        threads: fields.get("threads").and_then(|item| threads(&item)),
        drain_timeout: fields
            .get("drain_timeout")
            .and_then(|item| item.read_scalar(value::duration))
            .unwrap_or(DRAIN_TIMEOUT),
        log: log(&fields.section("log", &table::LOG)),
        forwarding: forwarding(&fields.section("forwarding", &table::FORWARDING)),
        admission: admission::admission(&fields.section("admission", &table::ADMISSION)),
        listeners: listeners::listeners(&fields),
        management: listeners::management(&fields.section("management", &table::MANAGEMENT)),
        upstreams,
        upstream_tls,
        dns: dns::dns(&fields.section("dns", &table::DNS)),
        routes: routes::routes(&fields, &known),
        keys: keys::keys(&fields, &known, &consumers),
        portions: Vec::new(),
        consumers,
        store: managed::store(&fields),
        data_dir: managed::data_dir(&fields),
        vault: managed::vault(&fields.section("vault", &table::VAULT)),
        inactivity: managed::inactivity(&fields.section("inactivity", &table::INACTIVITY)),
        audit: managed::audit(&fields.section("audit", &table::AUDIT)),
        usage: managed::usage(&fields.section("usage", &table::USAGE)),
        webhooks: managed::webhooks(&fields.section("webhooks", &table::WEBHOOKS)),
        email: mail::email(&notifications.section("email", &table::EMAIL)),
        key_format: key_format.unwrap_or_default(),
        warnings: Vec::new(),
        files: Vec::new(),
    }
}

/// What one item may name of another: names as they were typed, so that a bad item draws no faults elsewhere.
struct Known<'a> {
    upstreams: Vec<&'a str>,
    routes: Vec<&'a str>,
    consumers: Vec<&'a str>,
    /// `None` when it is at fault itself.
    key_format: Option<&'a KeyFormat>,
    /// `store: none`, in so many words.
    no_store: bool,
}

fn names<'a>(root: &Fields<'a>, list: &str) -> Vec<&'a str> {
    root.get(list).iter().flat_map(Item::item_names).collect()
}

fn threads(item: &Item<'_>) -> Option<NonZeroUsize> {
    if item.scalar() == Some("auto") {
        return None;
    }
    match item.number(&(1..=MAX_THREADS)) {
        Some(number) => NonZeroUsize::new(usize::try_from(number).ok()?),
        None => None,
    }
}

fn key_format(fields: &Fields<'_>) -> Option<KeyFormat> {
    let default = KeyFormat::default();
    let before = fields.item().report().count();
    // Each part is tried with a good other part, so that both are checked and a fault has its place.
    let brand = fields.read("brand", |text| {
        KeyFormat::new(text, default.environments())
            .map(|_| text.to_owned())
            .map_err(|fault| fault.to_string())
    });
    let mut seen = Seen::default();
    let environments = fields.list("environments", |item| {
        let name = item.read(|text| {
            KeyFormat::new(default.brand(), &[text.to_owned()])
                .map(|_| text.to_owned())
                .map_err(|fault| fault.to_string())
        })?;
        seen.claim(name, item, "the same as")
    });
    if environments.as_ref().is_some_and(Vec::is_empty)
        && fields.item().report().count() == before
        && let Some(item) = fields.get("environments")
    {
        item.fault(FormatFault::NoEnvironment.to_string());
    }
    if fields.item().report().count() > before {
        return None;
    }
    KeyFormat::new(
        brand.as_deref().unwrap_or(default.brand()),
        environments.as_deref().unwrap_or(default.environments()),
    )
    .ok()
}

fn log(fields: &Fields<'_>) -> LogConfig {
    let folder = fields.item().report().folder();
    LogConfig {
        level: fields
            .read("level", value::log_filter)
            .unwrap_or_else(|| "info".into()),
        access: fields.flag("access", true),
        access_path: fields.flag("access_path", false),
        access_file: fields
            .read("access_file", value::file_name)
            .map(|path| folder.join(path)),
    }
}

fn forwarding(fields: &Fields<'_>) -> Forwarding {
    Forwarding {
        via: fields.flag("via", false),
        forwarded: fields.flag("forwarded", false),
        realm: fields
            .read("realm", value::realm)
            .unwrap_or_else(|| "keygate".into()),
    }
}

fn consumers(root: &Fields<'_>) -> Vec<Consumer> {
    let mut seen = Seen::default();
    root.list("consumers", |item| {
        let fields = item.fields(&table::CONSUMER);
        let at = fields.required("name")?;
        let name = seen.claim(at.read(value::name)?, &at, "the same name as");
        let limits = limits(&fields);
        Some(Consumer::declared(name?, limits))
    })
    .unwrap_or_default()
}

/// How many requests may come.
fn limits(fields: &Fields<'_>) -> Option<Limit> {
    limit(&fields.get("limits")?)
}

/// A rate and a burst.
fn limit(item: &Item<'_>) -> Option<Limit> {
    let fields = item.fields(&table::LIMITS);
    let rate = fields
        .required("rate")
        .and_then(|item| item.read_scalar(Rate::parse));
    let burst = fields.get("burst");
    let number = burst
        .as_ref()
        .and_then(|item| item.number(&(1..=u64::from(Limit::MOST))));
    let at = burst.as_ref().unwrap_or(item);
    at.checked(Limit::new(rate?, number))
}

/// A list of methods; every method when it is absent.
fn methods(fields: &Fields<'_>) -> MethodSet {
    let Some(item) = fields.get("methods") else {
        return MethodSet::ANY;
    };
    if !item.is_list() {
        item.fault("expected a list of methods, such as [GET, POST]");
        return MethodSet::ANY;
    }
    let items = item.items();
    if items.is_empty() {
        item.fault("an empty list allows no method; leave `methods` out for all");
    }
    let mut seen = Seen::default();
    items
        .iter()
        .filter_map(|item| seen.claim(item.read(value::method)?, item, "the same as"))
        .fold(MethodSet::EMPTY, |set, method| {
            set.with(&method).unwrap_or(set)
        })
}
