//! load → compile → swap. What failed to load never comes this far, so the last good state stays in force.

use super::fixed::Fixed;
use super::portions::{DeclaredTwice, Portions};
use crate::clock::Clock;
use crate::config::upstream_tls::UpstreamTls;
use crate::config::{Admission, Config, Forwarding, Listener, PortionId};
use crate::domain::consumer::Consumer;
use crate::domain::id::{Id, Kind};
use crate::domain::key::record::RecordedUse;
use crate::domain::key::{Algorithm, KeyFormat, KeyHash, KeySpec, Origin};
use crate::domain::route::Route;
use crate::domain::upstream::Upstream;
use crate::snapshot::endpoints::UpstreamCompiler;
use crate::snapshot::handle::{Challenges, OpenListener, Shared, Snapshot};
use crate::snapshot::key::{Key, KeyCompiler, Symbols};
use crate::snapshot::keys::{KeyChange, KeyTable};
use crate::snapshot::limits::Buckets;
use crate::snapshot::router::{RoutePlace, Router};
use crate::snapshot::tls::TlsCompiler;
use crate::snapshot::usage::KeyUsage;
use crate::snapshot::workspaces::Workspaces;
use crate::store::keys::LoadedKey;
use crate::telemetry::metrics::Metrics;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Puts configurations and keys in force, one after the other. The file and the store share it.
pub struct Publisher {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// What the next view is made from.
struct State {
    upstreams: UpstreamCompiler,
    compiler: KeyCompiler,
    /// Of routes.
    buckets: Buckets,
    tls: TlsCompiler,
    config: Published,
    workspaces: Workspaces,
    /// Managed keys that a declared key with the same secret stands in front of.
    hidden: HashMap<KeyHash, Arc<Key>>,
    /// Keys of the config file.
    portions: Portions,
    ready: bool,
    /// What cannot change without a restart, as it was at the start.
    fixed: Fixed,
}

/// What of a configuration is needed again when something else changes. Its keys are not: they are in the table.
struct Published {
    upstreams: Vec<Upstream>,
    upstream_tls: HashMap<String, UpstreamTls>,
    routes: Vec<Route>,
    key_format: KeyFormat,
    consumers: Vec<Consumer>,
    forwarding: Forwarding,
    admission: Admission,
    listeners: Vec<Listener>,
    log_path: bool,
}

impl Published {
    fn of(config: &Config) -> Self {
        Self {
            upstreams: config.upstreams.clone(),
            upstream_tls: config.upstream_tls.clone(),
            routes: config.routes.clone(),
            key_format: config.key_format.clone(),
            consumers: config.consumers.clone(),
            forwarding: config.forwarding.clone(),
            admission: config.admission,
            listeners: config.listeners.clone(),
            log_path: config.log.access_path,
        }
    }
}

impl Publisher {
    /// Puts the first configuration in force. With a store, nothing is served before its keys are there.
    pub fn start(config: &Config, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        let symbols = Symbols::default();
        let mut state = State {
            upstreams: UpstreamCompiler::default(),
            compiler: KeyCompiler::default(),
            buckets: Buckets::default(),
            tls: TlsCompiler::default(),
            config: Published::of(config),
            workspaces: Workspaces::default(),
            hidden: HashMap::new(),
            portions: Portions::default(),
            ready: config.store.is_none(),
            fixed: Fixed::of(config),
        };
        let snapshot = state.compile(1, &symbols, &metrics);
        let keys = KeyTable::default();
        for spec in &config.keys {
            keys.put(state.compiler.compile(spec, &symbols));
        }
        state.portions.note(config, &keys);
        let publisher = Self {
            shared: Arc::new(Shared::new(snapshot, keys, symbols)),
            metrics,
            clock,
            state: Mutex::new(state),
        };
        publisher.note(config, Vec::new());
        publisher
    }

    /// What the rest of the gateway holds.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Whether this portion of the config file's keys is in force.
    pub fn knows(&self, portion: &PortionId) -> bool {
        self.state().portions.knows(portion)
    }

    /// Puts a configuration in force. Counters, last use and open connections stay. Managed keys behind a declared key that
    /// is gone come to light again.
    ///
    /// # Errors
    /// When a key is declared twice, which nobody saw who read a part of them only: all must be read.
    pub fn publish(&self, config: &Config) -> Result<(), DeclaredTwice> {
        let mut state = self.state();
        let wanted = state.compile_keys(&config.keys, &self.shared.symbols);
        let mut change = state.portions.plan(config, wanted, &self.shared.keys)?;
        state.config = Published::of(config);
        let revision = self.shared.revision() + 1;
        let snapshot = state.compile(revision, &self.shared.symbols, &self.metrics);
        for hash in change.removed().to_vec() {
            if let Some(key) = state.hidden.remove(&hash) {
                change.uncover(key, &self.shared.keys);
            }
        }
        for key in change.take_covered() {
            state.hide(key);
        }
        self.shared.publish(snapshot, change);
        state.portions.note(config, &self.shared.keys);
        self.shared.store().hidden = state.hidden.len() as u64;
        self.tell_closed_routes(&state);
        state.compiler.forget_unused();
        state.buckets.forget_unused();
        let restart = state.fixed.differing(config);
        drop(state);
        if !restart.is_empty() {
            tracing::warn!(settings = ?restart, "these settings changed on disk and need a restart");
        }
        self.note(config, restart);
        self.metrics.reloaded(true);
        tracing::info!(
            revision,
            routes = config.routes.len(),
            keys = self.shared.keys.declared_len(),
            read = config.keys.len(),
            "configuration reloaded"
        );
        Ok(())
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

    /// Takes secrets of managed keys over into the table. A declared key with the same secret stays in front.
    pub fn put_keys(&self, loaded: impl IntoIterator<Item = LoadedKey>) {
        let mut state = self.state();
        for key in loaded {
            self.put_key(&mut state, &key);
        }
        self.shared.store().hidden = state.hidden.len() as u64;
    }

    fn put_key(&self, state: &mut State, loaded: &LoadedKey) {
        let table = &self.shared.keys;
        let Some(spec) = &loaded.spec else {
            table.remove_of(&loaded.hash, loaded.algorithm, Origin::Store);
            state.hidden.remove(&loaded.hash);
            if let Some(imported) = &loaded.replaces {
                table.remove_of(imported, Algorithm::Sha256, Origin::Store);
            }
            return;
        };
        let mut key = state.compiler.compile(spec, &self.shared.symbols);
        key.foretell(loaded.rotating_until, loaded.inactive_at);
        let usage = &loaded.usage;
        key.usage = KeyUsage::recorded(usage.first_used_at, usage.last_used_at, usage.last_used_ip);
        if let Some(key) = table.put_unless_declared(Arc::new(key)) {
            state.hide(key);
        }
        // Behind it, so that the key is never unknown.
        if let Some(imported) = &loaded.replaces {
            table.supersede(imported, &loaded.hash);
        }
    }

    /// Takes secrets of managed keys out of the table, those behind a declared key too.
    pub fn forget_keys(&self, gone: impl IntoIterator<Item = (KeyHash, Algorithm)>) {
        let mut state = self.state();
        for (hash, algorithm) in gone {
            self.shared.keys.remove_of(&hash, algorithm, Origin::Store);
            state.hidden.remove(&hash);
        }
        self.shared.store().hidden = state.hidden.len() as u64;
    }

    /// Tells declared keys what the store remembers of their use.
    pub fn recall(&self, uses: Vec<(Id, RecordedUse)>) {
        let recorded = |one: RecordedUse| {
            KeyUsage::recorded(one.first_used_at, one.last_used_at, one.last_used_ip)
        };
        let uses = uses.into_iter().map(|(id, one)| (id, recorded(one)));
        self.shared.keys.recall(&uses.collect());
    }

    /// Forgets all managed keys but those with these hashes.
    pub fn keep_keys(&self, mut wanted: KeptHashes) {
        wanted.0.sort_unstable();
        let mut state = self.state();
        let table = &self.shared.keys;
        for key in table.all() {
            if key.origin == Origin::Store && !wanted.contains(key.hash()) {
                table.remove_of(key.hash(), key.algorithm, Origin::Store);
            }
        }
        state.hidden.retain(|hash, _| wanted.contains(hash));
        state.compiler.forget_unused();
        self.shared.store().hidden = state.hidden.len() as u64;
    }

    /// Every managed key that is in force or hidden, in no order. Going through all of them takes long, and revocations must
    /// not wait for it: one that comes to light or is hidden meanwhile may be there twice, as it was and as it is.
    pub fn managed_keys(&self) -> Vec<Arc<Key>> {
        let hidden = || -> Vec<Arc<Key>> { self.state().hidden.values().cloned().collect() };
        let mut keys = hidden();
        self.shared.keys.extend(&mut keys, Origin::Store);
        keys.extend(hidden());
        keys
    }

    /// The tree of workspaces in force.
    pub fn workspaces(&self) -> Workspaces {
        self.state().workspaces.clone()
    }

    /// Puts another tree of workspaces in force; routes that name one are compiled again.
    pub fn put_workspaces(&self, workspaces: Workspaces) {
        let mut state = self.state();
        state.workspaces = workspaces;
        self.swap(&mut state);
    }

    /// The keys are there: requests are served from now on.
    pub fn ready(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.ready, true) {
            self.swap(&mut state);
        }
    }

    /// The keys are not those that are meant: requests wait for [`Publisher::ready`].
    pub fn not_ready(&self) {
        let mut state = self.state();
        if std::mem::replace(&mut state.ready, false) {
            self.swap(&mut state);
        }
    }

    fn swap(&self, state: &mut State) {
        let revision = self.shared.revision() + 1;
        let snapshot = state.compile(revision, &self.shared.symbols, &self.metrics);
        self.shared.publish(snapshot, KeyChange::default());
        self.tell_closed_routes(state);
    }

    /// Says which routes name a workspace that is not there. Before the store is read, none is.
    fn tell_closed_routes(&self, state: &State) {
        if !state.ready {
            return;
        }
        let snapshot = self.shared.snapshot();
        let routes = snapshot.router.routes().iter();
        let closed: Vec<String> = routes
            .filter(|route| route.place == RoutePlace::Unknown)
            .map(|route| {
                let (name, workspace) = (&route.route.name, route.route.workspace.as_deref());
                let workspace = workspace.unwrap_or_default();
                format!("route `{name}` is closed to keys: there is no workspace `{workspace}`")
            })
            .collect();
        let before = std::mem::replace(&mut self.shared.report().closed_routes, closed.clone());
        for fault in closed.iter().filter(|fault| !before.contains(fault)) {
            tracing::warn!("{fault}");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, config: &Config, needs_restart: Vec<&'static str>) {
        let now = Some(self.clock.now());
        let mut report = self.shared.report();
        report.applied_at = now;
        report.tried_at = now;
        report.faults.clear();
        report.warnings = config.warnings.iter().map(ToString::to_string).collect();
        report.needs_restart = needs_restart;
        if config.store.is_none() {
            let revision = number(self.shared.revision());
            self.metrics.revision_observed.set(revision);
            self.metrics.revision_applied.set(revision);
        }
    }
}

/// A set of hashes in little memory: halves of them, sorted when they are looked for.
#[derive(Debug, Default)]
pub struct KeptHashes(Vec<u128>);

impl KeptHashes {
    /// One more.
    pub fn add(&mut self, hash: &KeyHash) {
        self.0.push(Self::half(hash));
    }

    fn half(hash: &KeyHash) -> u128 {
        hash.as_bytes()
            .first_chunk::<16>()
            .map_or(0, |half| u128::from_be_bytes(*half))
    }

    fn contains(&self, hash: &KeyHash) -> bool {
        self.0.binary_search(&Self::half(hash)).is_ok()
    }
}

impl State {
    /// Keeps a managed key until the declared one in front of it is gone.
    fn hide(&mut self, key: Arc<Key>) {
        let id = key.id;
        if self.hidden.insert(*key.hash(), key).is_none() {
            tracing::warn!(
                key = %id.text(Kind::Key),
                "a key in the config file has the same secret as this managed key, and is in front of it"
            );
        }
    }

    fn compile(&mut self, revision: u64, symbols: &Symbols, metrics: &Metrics) -> Snapshot {
        let config = &self.config;
        let compiled = self
            .upstreams
            .compile(&config.upstreams, &config.upstream_tls, metrics);
        let tls = &mut self.tls;
        let open = self.fixed.listeners(&config.listeners).map(|listener| {
            let server = listener.tls.as_ref();
            OpenListener {
                limits: listener.limits.into(),
                trust: Arc::clone(&listener.trust),
                tls: server.map(|server| tls.compile(&listener.name, server)),
            }
        });
        let listeners = open.collect();
        metrics.set_certificates(self.fixed.certificates(&config.listeners));
        Snapshot {
            revision,
            ready: self.ready,
            router: Router::compile(
                &config.routes,
                &compiled,
                &self.workspaces,
                (symbols, &mut self.buckets),
                metrics,
            ),
            key_format: config.key_format.clone(),
            consumers: config.consumers.clone(),
            forwarding: config.forwarding.clone(),
            admission: config.admission,
            listeners,
            challenges: Challenges::new(&config.forwarding.realm),
            log_path: config.log_path,
        }
    }

    fn compile_keys(&mut self, keys: &[KeySpec], symbols: &Symbols) -> Vec<Key> {
        let compile = |spec| self.compiler.compile(spec, symbols);
        keys.iter().map(compile).collect()
    }
}

/// A revision as a gauge shows it.
pub(super) fn number(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
