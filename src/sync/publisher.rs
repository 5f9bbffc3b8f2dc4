//! load → compile → swap. What failed to load never comes this far, so the last good state stays in force.

use crate::clock::Clock;
use crate::config::{Config, Listener, ListenerLimits};
use crate::domain::key::{KeyFormat, Origin};
use crate::snapshot::endpoints::UpstreamCompiler;
use crate::snapshot::handle::{Challenges, Shared, Snapshot};
use crate::snapshot::key::{Key, KeyCompiler, Symbols};
use crate::snapshot::keys::KeyTable;
use crate::snapshot::router::Router;
use crate::telemetry::metrics::Metrics;
use std::sync::Arc;

/// Puts configurations in force, one after the other.
pub struct Publisher {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    upstreams: UpstreamCompiler,
    /// What cannot change without a restart, as it was at the start.
    fixed: Fixed,
}

#[derive(PartialEq)]
struct Fixed {
    threads: Option<std::num::NonZeroUsize>,
    listeners: Vec<Listener>,
    management: std::net::SocketAddr,
    token: Option<[u8; 32]>,
    log: crate::config::LogConfig,
    drain_timeout: std::time::Duration,
    brand: String,
}

impl Fixed {
    fn of(config: &Config) -> Self {
        let token = config.management.token.as_ref();
        Self {
            threads: config.threads,
            listeners: config.listeners.clone(),
            management: config.management.address,
            token: token.map(|token| *blake3::hash(token.expose().as_bytes()).as_bytes()),
            log: config.log.clone(),
            drain_timeout: config.drain_timeout,
            brand: config.key_format.brand().to_owned(),
        }
    }

    /// The settings that differ and need a restart.
    fn differing(&self, new: &Self) -> Vec<&'static str> {
        let sockets = |listeners: &[Listener]| {
            listeners
                .iter()
                .map(|one| (one.name.clone(), one.address))
                .collect::<Vec<_>>()
        };
        let log = |log: &crate::config::LogConfig| {
            (log.level.clone(), log.access, log.access_file.clone())
        };
        let changes = [
            ("threads", self.threads != new.threads),
            (
                "listeners",
                sockets(&self.listeners) != sockets(&new.listeners),
            ),
            (
                "management",
                (self.management, self.token) != (new.management, new.token),
            ),
            ("log", log(&self.log) != log(&new.log)),
            ("drain_timeout", self.drain_timeout != new.drain_timeout),
            ("key_format.brand", self.brand != new.brand),
        ];
        changes
            .into_iter()
            .filter_map(|(name, differs)| differs.then_some(name))
            .collect()
    }

    /// Caps of the listeners that are open, from a new configuration where it still has them.
    fn limits(&self, new: &[Listener]) -> Vec<ListenerLimits> {
        let current =
            |open: &Listener| new.iter().find(|listener| listener.address == open.address);
        self.listeners
            .iter()
            .map(|open| current(open).unwrap_or(open).limits)
            .collect()
    }
}

impl Publisher {
    /// Puts the first configuration in force.
    pub fn start(config: &Config, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        let mut upstreams = UpstreamCompiler::default();
        let fixed = Fixed::of(config);
        let symbols = Symbols::default();
        let snapshot = compile(config, 1, &mut upstreams, &fixed, (&symbols, &metrics));
        let keys = KeyTable::default();
        for key in compile_keys(config, &symbols) {
            keys.put(key);
        }
        let shared = Arc::new(Shared::new(snapshot, keys, symbols));
        let publisher = Self {
            shared,
            metrics,
            clock,
            upstreams,
            fixed,
        };
        publisher.note(config, 1, Vec::new());
        publisher
    }

    /// What the rest of the gateway holds.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Puts a configuration in force. Counters, last use and open connections stay.
    pub fn publish(&mut self, config: &Config) {
        let revision = self.shared.revision() + 1;
        self.metrics.revision_observed.set(number(revision));
        let tools = (&self.shared.symbols, &*self.metrics);
        let snapshot = compile(config, revision, &mut self.upstreams, &self.fixed, tools);
        let change = self
            .shared
            .keys
            .plan(compile_keys(config, &self.shared.symbols), Origin::File);
        self.shared.publish(snapshot, change);
        let restart = self.fixed.differing(&Fixed::of(config));
        if !restart.is_empty() {
            tracing::warn!(settings = ?restart, "these settings changed on disk and need a restart");
        }
        self.note(config, revision, restart);
        self.metrics.reloaded(true);
        tracing::info!(
            revision,
            routes = config.routes.len(),
            keys = config.keys.len(),
            "configuration reloaded"
        );
    }

    /// Notes a configuration that was not taken; the one in force stays.
    pub fn refused(&self, faults: Vec<String>) {
        for fault in &faults {
            tracing::error!(fault = %fault, "the configuration was not reloaded; the last good one stays in force");
        }
        let mut report = self.shared.report();
        report.tried_at = Some(self.clock.now());
        report.faults = faults;
        self.metrics.reloaded(false);
    }

    fn note(&self, config: &Config, revision: u64, needs_restart: Vec<&'static str>) {
        let now = Some(self.clock.now());
        let mut report = self.shared.report();
        report.applied_at = now;
        report.tried_at = now;
        report.faults.clear();
        report.warnings = config.warnings.iter().map(ToString::to_string).collect();
        report.needs_restart = needs_restart;
        self.metrics.revision_observed.set(number(revision));
        self.metrics.revision_applied.set(number(revision));
    }
}

fn number(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn compile(
    config: &Config,
    revision: u64,
    upstreams: &mut UpstreamCompiler,
    fixed: &Fixed,
    (symbols, metrics): (&Symbols, &Metrics),
) -> Snapshot {
    let compiled = upstreams.compile(&config.upstreams, metrics);
    Snapshot {
        revision,
        router: Router::compile(&config.routes, &compiled, symbols, metrics),
        key_format: KeyFormat::clone(&config.key_format),
        forwarding: config.forwarding.clone(),
        listeners: fixed.limits(&config.listeners),
        challenges: Challenges::new(&config.forwarding.realm),
        log_path: config.log.access_path,
    }
}

fn compile_keys(config: &Config, symbols: &Symbols) -> Vec<Key> {
    let mut compiler = KeyCompiler::default();
    config
        .keys
        .iter()
        .map(|spec| compiler.compile(spec, symbols))
        .collect()
}
