//! The handle that both halves hold: the snapshot in force, the key table, and how the last reload went.

use super::key::Symbols;
use super::keys::{KeyChange, KeyTable};
use super::router::Router;
use crate::config::{Forwarding, ListenerLimits};
use crate::domain::key::KeyFormat;
use crate::domain::time::Timestamp;
use arc_swap::ArcSwap;
use http::HeaderValue;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One consistent view of the configuration. A request loads it once.
#[derive(Debug)]
pub struct Snapshot {
    /// Number of this view; grows by one with each.
    pub revision: u64,
    /// Routes and upstreams.
    pub router: Router,
    /// Form of native keys.
    pub key_format: KeyFormat,
    /// What goes upstream about the caller.
    pub forwarding: Forwarding,
    /// Caps by listener, in the order of the config.
    pub listeners: Vec<ListenerLimits>,
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
    /// Settings that differ on disk but need a restart.
    pub needs_restart: Vec<&'static str>,
}

/// Shared by every worker and the control plane.
#[derive(Debug)]
pub struct Shared {
    snapshot: ArcSwap<Snapshot>,
    revision: AtomicU64,
    draining: AtomicBool,
    report: Mutex<ReloadReport>,
    /// Every key.
    pub keys: KeyTable,
    /// Numbers of scopes and routes.
    pub symbols: Symbols,
}

impl Shared {
    /// Starts from a first view and the keys that go with it.
    pub fn new(snapshot: Snapshot, keys: KeyTable, symbols: Symbols) -> Self {
        Self {
            revision: AtomicU64::new(snapshot.revision),
            snapshot: ArcSwap::from_pointee(snapshot),
            draining: AtomicBool::new(false),
            report: Mutex::default(),
            keys,
            symbols,
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

    /// Puts a new view and its keys in force, what restricts first.
    pub fn publish(&self, snapshot: Snapshot, mut keys: KeyChange) {
        let revision = snapshot.revision;
        keys.restrict(&self.keys);
        self.snapshot.store(Arc::new(snapshot));
        self.revision.store(revision, Ordering::Release);
        keys.widen(&self.keys);
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
