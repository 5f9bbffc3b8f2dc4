//! The composition root: builds each part once, hands out handles, waits for the end.

mod background;
mod store;

use crate::admin::server::{Admin, AdminParts, AuditDesk, ListenerInfo, Settings};
use crate::admin::sightings::Sightings;
use crate::admin::throttle::Throttle;
use crate::clock::Clock;
use crate::config::{Config, VaultConfig};
use crate::domain::id::Id;
use crate::domain::key::{GenerateError, PlainKey};
use crate::domain::secret::Secret;
use crate::proxy::{self, BindError, BoundListener, Proxy, ProxyParts, Upkeep, WorkerFault};
use crate::shutdown::{Shutdown, Signals};
use crate::snapshot::handle::Shared;
use crate::store::{StoreError, StoreSlot};
use crate::sync::file::{self, Source};
use crate::sync::publisher::Publisher;
use crate::sync::usage::Flusher;
use crate::telemetry::logs::{self, LogSink, LogThread};
use crate::telemetry::metrics::Metrics;
use crate::vault::{Keyring, MasterKey};
use background::Background;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// Threads of the control plane: admin calls, reloads, signals. The data plane has its own.
const CONTROL_THREADS: usize = 2;

/// Longest wait for the management port when the gateway ends: it has some last words for the store.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Longest wait for whoever still uses the store when the gateway ends.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Longest wait for the store when the gateway ends.
const LAST_FLUSH: Duration = Duration::from_secs(10);

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is not to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The log file cannot be opened.
    #[error("cannot write the access log {file}: {source}", file = .file.display())]
    Log {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No threads, no descriptors, no signals.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The store cannot be used, and there is nothing else to serve from.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// No randomness for the setup token.
    #[error(transparent)]
    Token(#[from] GenerateError),
    /// The table of metrics contradicts itself.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl From<WorkerFault> for StartError {
    fn from(fault: WorkerFault) -> Self {
        match fault {
            WorkerFault::Bind(fault) => Self::Bind(fault),
            WorkerFault::System(fault) => Self::System(fault),
        }
    }
}

/// Where access lines and diagnostics go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// To the process's own streams.
    Process,
    /// Nowhere: for an embedded gateway.
    Silent,
}

/// The way of usage into the store, under way.
struct Flush {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Flush {
    fn start(control: &Runtime, flusher: Flusher) -> Self {
        let stop = CancellationToken::new();
        let task = control.spawn(flusher.run(stop.clone()));
        Self { stop, task }
    }

    /// Writes what the workers left behind; not for long, should the store be away.
    fn finish(self, control: &Runtime) {
        self.stop.cancel();
        let written = control.block_on(async { timeout(LAST_FLUSH, self.task).await });
        if !matches!(written, Ok(Ok(()))) {
            tracing::error!("the last use of keys could not be written");
        }
    }
}

/// A running gateway.
pub struct App {
    control: Runtime,
    proxy: Proxy,
    shutdown: Shutdown,
    shared: Arc<Shared>,
    listeners: Vec<ListenerInfo>,
    management: SocketAddr,
    drain_timeout: Duration,
    log: Option<LogThread>,
    flush: Option<Flush>,
    store: Arc<StoreSlot>,
    admin: JoinHandle<()>,
    /// Where a setup token comes from; `None`: there is none to come.
    setup_token: Option<oneshot::Receiver<PlainKey>>,
}

impl App {
    /// Starts a gateway; it serves when this returns. `file` is followed for changes.
    ///
    /// Longer than most functions: the one place where every part is made and named.
    #[expect(
        clippy::too_many_lines,
        reason = "a list of parts: cut in two it would be harder to read"
    )]
    pub fn start(
        config: &Config,
        file: Option<PathBuf>,
        clock: Arc<dyn Clock>,
        output: Output,
    ) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new()?);
        let shutdown = Shutdown::default();
        let (sink, log) = start_log(config, &metrics, output)?;
        let bound = proxy::bind(&config.listeners, &metrics)?;
        let listeners = listeners(&bound);
        let control = control()?;
        let source = watch(&control, file.as_ref(), config)?;
        let publisher = Arc::new(Publisher::start(
            config,
            Arc::clone(&metrics),
            Arc::clone(&clock),
        ));
        let shared = publisher.shared();
        let store = Arc::new(StoreSlot::default());
        let vault = config.vault.as_ref().map(|vault| Arc::new(keyring(vault)));
        let admin = AdminParts {
            shared: Arc::clone(&shared),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            listeners: listeners.clone(),
            config_file: file,
            token: config.management.token.clone(),
            started_at: clock.now(),
            store: config.store.is_some().then(|| Arc::clone(&store)),
            throttle: Throttle::new(Arc::clone(&clock)),
            sightings: Sightings::default(),
            allowed_hosts: config.management.allowed_hosts.clone(),
            sessions: config.management.sessions,
            inactivity: config.inactivity,
            webhooks: config.webhooks,
            settings: Settings::of(config),
            audit: AuditDesk::default(),
            vault: vault.clone(),
        };
        let admin = control
            .block_on(Admin::bind(config.management.address, admin))
            .map_err(|source| BindError {
                address: config.management.address,
                source,
            })?;
        let management = admin.address();
        let admin = control.spawn(admin.serve(shutdown.cut.clone()));
        if let Some(source) = source {
            let stop = shutdown.drain.clone();
            control.spawn(file::follow(source, Arc::clone(&publisher), stop));
        }
        let node = Id::new(clock.now());
        let flusher = {
            let (slot, metrics) = (Arc::clone(&store), Arc::clone(&metrics));
            let (shared, clock) = (Arc::clone(&shared), Arc::clone(&clock));
            Flusher::new(node, shared, slot, metrics, clock)
        };
        let background = Background::of(config, vault, node, flusher.written());
        let flush = config
            .store
            .is_some()
            .then(|| Flush::start(&control, flusher));
        let (setup, setup_token) = oneshot::channel();
        let parts = store::Parts {
            slot: Arc::clone(&store),
            publisher,
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            stop: shutdown.drain.clone(),
            background,
            setup: Some(setup),
        };
        if let Some(location) = &config.store {
            store::start(&control, location, config, parts)?;
        }
        let parts = ProxyParts {
            shared: Arc::clone(&shared),
            clock,
            metrics,
            access: sink.filter(|_| config.log.access),
            usage: config.store.is_some(),
            brand: config.key_format.brand().to_owned(),
            drain: shutdown.drain.clone(),
            cut: shutdown.cut.clone(),
        };
        let upkeep = Upkeep::new(
            parts.shared.clone(),
            parts.clock.clone(),
            config.dns.clone(),
        );
        control.spawn(upkeep.run(shutdown.drain.clone()));
        let proxy = proxy::start(&parts, &bound, threads(config))?;
        Ok(Self {
            control,
            proxy,
            shutdown,
            shared,
            listeners,
            management,
            drain_timeout: config.drain_timeout,
            log,
            flush,
            store,
            admin,
            setup_token: Some(setup_token),
        })
    }

    /// The addresses that accept traffic.
    pub fn listeners(&self) -> &[ListenerInfo] {
        &self.listeners
    }

    /// The token with which the first admin sets things up, if one was made so far. It is shown once.
    pub fn take_setup_token(&mut self) -> Option<PlainKey> {
        match self.setup_token.as_mut()?.try_recv() {
            Err(TryRecvError::Empty) => None,
            done => {
                self.setup_token = None;
                done.ok()
            }
        }
    }

    /// Does something with the setup token once there is one: a server that was away at the start may turn out to be new.
    pub fn await_setup_token(&mut self, show: impl FnOnce(PlainKey) + Send + 'static) {
        let Some(token) = self.setup_token.take() else {
            return;
        };
        self.control.spawn(async move {
            if let Ok(token) = token.await {
                show(token);
            }
        });
    }

    /// The management port.
    pub fn management(&self) -> SocketAddr {
        self.management
    }

    /// Takes over the signals that end a process; from now on they mean a drain, see [`App::run_until_signal`].
    pub fn catch_signals(&self) -> io::Result<Signals> {
        let _in_its_runtime = self.control.enter();
        Signals::install()
    }

    /// Serves until SIGTERM or SIGINT, then drains; a second signal cuts.
    pub fn run_until_signal(self, mut signals: Signals) {
        let signal = self.control.block_on(signals.next());
        tracing::info!(
            signal,
            "draining: no new connections, running requests are finished"
        );
        let cut = self.shutdown.cut.clone();
        self.control.spawn(async move {
            let signal = signals.next().await;
            tracing::warn!(signal, "second signal: what still runs is cut");
            cut.cancel();
        });
        self.stop();
    }

    /// Drains, waits, and ends.
    pub fn stop(self) {
        self.shared.drain();
        let (shutdown, deadline) = (self.shutdown.clone(), self.drain_timeout);
        self.control
            .spawn(async move { shutdown.drain_then_cut(deadline).await });
        self.proxy.join();
        if let Some(flush) = self.flush {
            flush.finish(&self.control);
        }
        // The management port stays up to the end, so that readiness can be seen to be down.
        self.shutdown.cut.cancel();
        let admin = self.admin;
        let ended = self
            .control
            .block_on(async { timeout(LAST_WORDS, admin).await });
        if !matches!(ended, Ok(Ok(()))) {
            tracing::error!("the management port did not end in time");
        }
        if let Ok(store) = self.store.get() {
            let closed = async { timeout(LAST_LOOK, store.close()).await };
            if self.control.block_on(closed).is_err() {
                tracing::warn!("the store was still busy when this process ended");
            }
        }
        self.control.shutdown_timeout(Duration::from_secs(1));
        drop(self.log);
    }
}

fn keyring(vault: &VaultConfig) -> Keyring {
    let key = |secret: &Secret<[u8; 32]>| MasterKey::new(Zeroizing::new(*secret.expose()));
    Keyring::new(key(&vault.master_key), vault.previous_key.as_ref().map(key))
}

/// The config file, under watch.
fn watch(control: &Runtime, file: Option<&PathBuf>, config: &Config) -> io::Result<Option<Source>> {
    let _in_its_runtime = control.enter();
    let watch = |file: &PathBuf| Source::watch(file.clone(), config.files.clone());
    file.map(watch).transpose()
}

fn listeners(bound: &[BoundListener]) -> Vec<ListenerInfo> {
    let info = |one: &BoundListener| ListenerInfo {
        name: one.name().to_owned(),
        address: one.address(),
        tls: one.speaks_tls(),
    };
    bound.iter().map(info).collect()
}

/// The runtime of the control plane.
fn control() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .enable_all()
        .build()
}

fn start_log(
    config: &Config,
    metrics: &Metrics,
    output: Output,
) -> Result<(Option<LogSink>, Option<LogThread>), StartError> {
    if output == Output::Silent {
        return Ok((None, None));
    }
    let file = config.log.access_file.as_deref();
    let (sink, thread) =
        LogSink::start(config.key_format.brand(), file, metrics.log_dropped.clone()).map_err(
            |source| StartError::Log {
                file: file.unwrap_or(Path::new("-")).to_owned(),
                source,
            },
        )?;
    logs::install(&config.log.level, &sink);
    Ok((Some(sink), Some(thread)))
}

/// One per core the process may use, cgroup limits included, unless the config says how many.
fn threads(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    config
        .threads
        .map_or_else(cores, std::num::NonZeroUsize::get)
}
