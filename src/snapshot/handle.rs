//! The handle that both halves hold: the snapshot in force, the key table, and how the last reload went.

use super::events::Queue;
use super::failures::Failures;
use super::key::Symbols;
use super::keys::{KeyChange, KeyTable};
use super::router::Router;
use super::tls::TlsServer;
use crate::config::{Admission, Forwarding, ListenerLimits, ProxyTrust};
use crate::domain::consumer::Consumer;
use crate::domain::key::KeyFormat;
use crate::domain::time::Timestamp;
use arc_swap::ArcSwap;
use http::HeaderValue;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// One consistent view of the configuration. A request loads it once.
#[derive(Debug)]
pub struct Snapshot {
    /// Number of this view; grows by one with each.
    pub revision: u64,
    /// Whether the keys are there. Until then, requests are told to come back.
    pub ready: bool,
    /// Routes and upstreams.
    pub router: Router,
    /// Form of native keys.
    pub key_format: KeyFormat,
    /// Consumers that the config file declares.
    pub consumers: Vec<Consumer>,
    /// What goes upstream about the caller.
    pub forwarding: Forwarding,
    /// What is turned away before it is looked at.
    pub admission: Admission,
    /// Caps by listener, in the order of the config.
    pub listeners: Vec<OpenListener>,
    /// `WWW-Authenticate`, made once.
    pub challenges: Challenges,
    /// Whether access lines show the path.
    pub log_path: bool,
}

/// The values of `WWW-Authenticate` on a 401 (RFC 6750 §3; `ApiKey` has no registration).
#[derive(Debug)]
pub struct Challenges {
    /// Nothing was presented.
    pub bearer: HeaderValue,
    /// What was presented is not good.
    pub bearer_invalid: HeaderValue,
    /// For callers that use a header or the query.
    pub api_key: HeaderValue,
}

impl Challenges {
    /// The challenges of a realm, which the config has found to be printable.
    pub fn new(realm: &str) -> Self {
        let value = |text: String| {
            HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"))
        };
        Self {
            bearer: value(format!("Bearer realm=\"{realm}\"")),
            bearer_invalid: value(format!("Bearer realm=\"{realm}\", error=\"invalid_token\"")),
            api_key: value(format!("ApiKey realm=\"{realm}\"")),
        }
    }
}

/// What of a listener a reload may change.
#[derive(Debug, Clone)]
pub struct OpenListener {
    /// Caps and timeouts.
    pub limits: Arc<ListenerLimits>,
    /// Whom it believes about where a request comes from.
    pub trust: Arc<ProxyTrust>,
    /// `None`: cleartext.
    pub tls: Option<Arc<TlsServer>>,
}

/// How the last reload went; for `/status`.
#[derive(Debug, Clone, Default)]
pub struct ReloadReport {
    /// When the configuration in force was read.
    pub applied_at: Option<Timestamp>,
    /// When a configuration was read last, good or bad.
    pub tried_at: Option<Timestamp>,
    /// What was wrong with it, if it was not taken.
    pub faults: Vec<String>,
    /// What is odd about the one in force.
    pub warnings: Vec<String>,
    /// Routes that no key may use, and why.
    pub closed_routes: Vec<String>,
    /// Settings that differ on disk but need a restart.
    pub needs_restart: Vec<&'static str>,
}

/// How things stand with the store; for `/status`.
#[derive(Debug, Clone, Default)]
pub struct StoreReport {
    /// What it is: `sqlite`, `postgres`; `None`: there is none.
    pub kind: Option<&'static str>,
    /// Whether the last look at it succeeded.
    pub reachable: bool,
    /// Why not.
    pub fault: Option<String>,
    /// Why the uses of keys cannot be written to it: its disk may be full.
    pub write_fault: Option<String>,
    /// Whether the keys in force come from the last-good file.
    pub from_last_good: bool,
    /// The last revision that was seen in it.
    pub observed: u64,
    /// When it was last in step.
    pub in_step_at: Option<Timestamp>,
    /// Managed keys that a declared key with the same secret hides.
    pub hidden: u64,
}

/// Shared by every worker and the control plane.
#[derive(Debug)]
pub struct Shared {
    snapshot: ArcSwap<Snapshot>,
    /// Views that were in force, until no worker holds them: who lets go of the last hold frees thousands of routes, which
    /// must not be a worker.
    retired: Mutex<Vec<Arc<Snapshot>>>,
    revision: AtomicU64,
    draining: AtomicBool,
    report: Mutex<ReloadReport>,
    store: Mutex<StoreReport>,
    /// Number of the view in force, for those who wait for the next.
    published: watch::Sender<u64>,
    /// The store's revision that requests are served from.
    applied: watch::Sender<u64>,
    /// Every key.
    pub keys: KeyTable,
    /// Numbers of scopes and routes.
    pub symbols: Symbols,
    /// Networks that present wrong keys.
    pub failures: Failures,
    /// What keys did, on its way to the store.
    pub events: Queue,
}

impl Shared {
    /// Starts from a first view and the keys that go with it.
    pub fn new(snapshot: Snapshot, keys: KeyTable, symbols: Symbols) -> Self {
        Self {
            revision: AtomicU64::new(snapshot.revision),
            published: watch::Sender::new(snapshot.revision),
            snapshot: ArcSwap::from_pointee(snapshot),
            retired: Mutex::default(),
            draining: AtomicBool::new(false),
            report: Mutex::default(),
            store: Mutex::default(),
            applied: watch::Sender::new(0),
            keys,
            symbols,
            failures: Failures::default(),
            events: Queue::default(),
        }
    }

    /// The view in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Number of the view in force: one load, for workers that keep their own copy.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Follows [`Shared::revision`].
    pub fn watch_revision(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// Puts a new view and its keys in force, what restricts first.
    pub fn publish(&self, snapshot: Snapshot, mut keys: KeyChange) {
        let revision = snapshot.revision;
        keys.restrict(&self.keys);
        let before = self.snapshot.swap(Arc::new(snapshot));
        self.revision.store(revision, Ordering::Release);
        self.published.send_replace(revision);
        keys.widen(&self.keys);
        self.retire(before);
    }

    /// Frees what no worker holds any more, and keeps the rest until the next time.
    fn retire(&self, before: Arc<Snapshot>) {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.push(before);
        let gone: Vec<_> = retired
            .extract_if(.., |view| Arc::strong_count(view) == 1)
            .collect();
        drop(retired);
        drop(gone);
    }

    /// How things stand with the store.
    pub fn store(&self) -> MutexGuard<'_, StoreReport> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store's revision that requests are served from.
    pub fn applied(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Follows [`Shared::applied`].
    pub fn watch_applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Says that requests are served from this revision of the store.
    pub fn note_applied(&self, revision: u64) {
        self.applied.send_replace(revision);
    }

    /// Whether the gateway is about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Says that the gateway is about to stop.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// How the last reload went.
    pub fn report(&self) -> MutexGuard<'_, ReloadReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
