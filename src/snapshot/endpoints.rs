//! Upstreams as workers see them. An endpoint's record outlives reloads, so that pools and health stay.

use super::addresses::Addresses;
use super::health::{FULL_SHARE, Health};
use super::load::Load;
use crate::config::upstream_tls::UpstreamTls;
use crate::domain::resilience::Circuit;
use crate::domain::upstream::{Endpoint, Protocol, Upstream};
use crate::telemetry::metrics::{Metrics, UpstreamMetrics};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One address of an upstream and what is known of its health.
#[derive(Debug)]
pub struct EndpointState {
    /// Number of this endpoint, never given twice in a process; pools are kept by it.
    pub number: u64,
    /// Where it is. Its weight is that of the configuration that first had it: see [`UpstreamState::config`].
    pub endpoint: Endpoint,
    /// Requests sent to it.
    pub requests: AtomicU64,
    /// Requests under way, where somebody goes by them.
    pub in_flight: AtomicUsize,
    /// Connections that could not be made.
    pub connect_failures: AtomicU64,
    /// Whether it may be asked.
    pub health: Health,
    /// What its name stands for, if it is a name.
    pub addresses: Arc<Addresses>,
    /// What it draws from when values are hashed; the same on every node.
    pub seed: u64,
}

impl EndpointState {
    /// Notes that a connection succeeded or failed; whether that is news.
    pub fn connected(&self, good: bool) -> bool {
        if !good {
            self.connect_failures.fetch_add(1, Relaxed);
        }
        self.health.connected(good)
    }

    /// Whether requests go there.
    pub fn is_up(&self) -> bool {
        self.health.is_up()
    }
}

/// An upstream with its endpoints.
#[derive(Debug)]
pub struct UpstreamState {
    /// Its place among the upstreams of this view.
    pub place: usize,
    /// As configured.
    pub config: Upstream,
    /// How it is spoken to under TLS; `None`: in cleartext.
    pub tls: Option<UpstreamTls>,
    /// At least one, in the order of the configuration.
    pub endpoints: Vec<Arc<EndpointState>>,
    /// Its metrics.
    pub metrics: UpstreamMetrics,
    /// What it has to do.
    pub load: Arc<Load>,
    /// One endpoint and nothing that could keep a request from it: there is nothing to choose and nothing to count.
    pub plain: bool,
    /// Whether requests under way are counted.
    pub counted: bool,
    /// Held while it is decided whether one more may be taken out.
    ejecting: Mutex<()>,
}

impl UpstreamState {
    /// What an endpoint gets of the requests; 0: none. Full shares are weights times [`FULL_SHARE`].
    pub fn share(&self, place: usize, now: u64) -> u32 {
        let weight = self.config.endpoints[place].weight;
        let endpoint = &self.endpoints[place];
        let back = || {
            let (upstream, endpoint) = (&self.config.name, &endpoint.endpoint.authority);
            tracing::info!(%upstream, %endpoint, "an ejected endpoint is back");
        };
        if weight == 0 || !endpoint.health.is_usable(now, back) {
            return 0;
        }
        let slow_start = self.config.outlier_detection.map(|rules| rules.slow_start);
        weight * slow_start.map_or(FULL_SHARE, |length| endpoint.health.share(now, length))
    }

    /// A request failed at an endpoint: one that has failed too many in a row is taken out, if not too many are.
    pub fn failed(&self, endpoint: &EndpointState, now: u64) {
        let Some(rules) = self.config.outlier_detection else {
            return;
        };
        if endpoint.health.failed() < rules.failures {
            return;
        }
        let _alone = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let ejected = self.endpoints.iter();
        let ejected = ejected.filter(|one| one.health.is_ejected()).count();
        let most = self.endpoints.len() * rules.max_ejected_percent as usize / 100;
        if endpoint.health.is_ejected() || ejected >= most {
            return;
        }
        let length = endpoint.health.eject(now, rules.base_ejection);
        self.tell_ejected(endpoint, length);
    }

    fn tell_ejected(&self, endpoint: &EndpointState, length: Duration) {
        self.metrics.ejected();
        let (upstream, endpoint) = (&self.config.name, &endpoint.endpoint.authority);
        let seconds = length.as_secs_f64();
        tracing::warn!(%upstream, %endpoint, seconds, "an endpoint is ejected: it failed too many requests in a row");
    }

    /// A request succeeded at an endpoint.
    pub fn succeeded(&self, endpoint: &EndpointState) {
        if self.config.outlier_detection.is_some() {
            endpoint.health.succeeded();
        }
    }
}

/// Makes upstreams, keeping the record of each endpoint that was there before.
#[derive(Debug, Default)]
pub struct UpstreamCompiler {
    known: HashMap<(String, String), Arc<EndpointState>>,
    spoken: HashMap<String, Spoken>,
    loads: HashMap<String, Arc<Load>>,
    numbers: u64,
}

/// What connections to an upstream depend on: they are of no use once it has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Spoken {
    protocol: Protocol,
    tls: Option<UpstreamTls>,
}

impl UpstreamCompiler {
    /// The upstreams of a configuration; endpoints it no longer has are forgotten.
    pub fn compile(
        &mut self,
        upstreams: &[Upstream],
        tls: &HashMap<String, UpstreamTls>,
        metrics: &Metrics,
    ) -> Vec<Arc<UpstreamState>> {
        let before = std::mem::take(&mut self.known);
        let spoken = std::mem::take(&mut self.spoken);
        let compiled = upstreams
            .iter()
            .enumerate()
            .map(|(place, config)| {
                let wanted = Spoken {
                    protocol: config.protocol,
                    tls: tls.get(&config.name).cloned(),
                };
                // As before where nothing has changed, so that sessions of TLS go on.
                let kept = spoken.get(&config.name).filter(|kept| **kept == wanted);
                let before = kept.map(|_| &before);
                let spoken = kept.cloned().unwrap_or(wanted);
                let upstream = self.upstream((place, config), spoken.tls.clone(), before, metrics);
                self.spoken.insert(config.name.clone(), spoken);
                Arc::new(upstream)
            })
            .collect::<Vec<_>>();
        self.loads
            .retain(|name, _| upstreams.iter().any(|upstream| upstream.name == *name));
        for (upstream, endpoint) in before.keys().filter(|name| !self.known.contains_key(*name)) {
            metrics.forget_endpoint(upstream, endpoint);
        }
        compiled
    }

    fn upstream(
        &mut self,
        (place, config): (usize, &Upstream),
        tls: Option<UpstreamTls>,
        before: Option<&HashMap<(String, String), Arc<EndpointState>>>,
        metrics: &Metrics,
    ) -> UpstreamState {
        let endpoints = config.endpoints.iter().map(|endpoint| {
            let name = (config.name.clone(), endpoint.authority.clone());
            let state = before
                .and_then(|before| before.get(&name).cloned())
                .unwrap_or_else(|| self.endpoint(config, endpoint, metrics));
            self.known.insert(name, Arc::clone(&state));
            state
        });
        let endpoints: Vec<_> = endpoints.collect();
        let circuit = config.circuit;
        let simple = config.health_check.is_none()
            && config.outlier_detection.is_none()
            && circuit == Circuit::default();
        UpstreamState {
            place,
            plain: endpoints.len() == 1 && simple,
            counted: config.balance.counts_requests() || circuit.max_requests.is_some(),
            load: Arc::clone(self.loads.entry(config.name.clone()).or_default()),
            config: config.clone(),
            tls,
            endpoints,
            metrics: metrics.upstream(&config.name),
            ejecting: Mutex::default(),
        }
    }

    fn endpoint(
        &mut self,
        upstream: &Upstream,
        endpoint: &Endpoint,
        metrics: &Metrics,
    ) -> Arc<EndpointState> {
        self.numbers += 1;
        let gauge = metrics.upstream_up(&upstream.name, &endpoint.authority);
        Arc::new(EndpointState {
            number: self.numbers,
            endpoint: endpoint.clone(),
            requests: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            connect_failures: AtomicU64::new(0),
            health: Health::new(gauge),
            addresses: Arc::default(),
            seed: seed(&endpoint.authority),
        })
    }
}

/// A number that a text always has.
pub fn seed(text: &str) -> u64 {
    let hash = blake3::hash(text.as_bytes());
    hash.as_bytes()
        .first_chunk::<8>()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
