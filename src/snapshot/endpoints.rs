//! Upstreams as workers see them. An endpoint's record outlives reloads, so that pools and health stay.

use crate::config::upstream_tls::UpstreamTls;
use crate::domain::upstream::{Endpoint, Protocol, Upstream};
use crate::telemetry::metrics::{Metrics, UpstreamMetrics};
use prometheus::IntGauge;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// One address of an upstream and what is known of its health.
#[derive(Debug)]
pub struct EndpointState {
    /// Number of this endpoint, never given twice in a process; pools are kept by it.
    pub number: u64,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Requests sent to it.
    pub requests: AtomicU64,
    /// Connections that could not be made.
    pub connect_failures: AtomicU64,
    up: AtomicBool,
    gauge: IntGauge,
}

impl EndpointState {
    /// Notes that a connection succeeded or failed; whether that is news.
    pub fn connected(&self, good: bool) -> bool {
        if !good {
            self.connect_failures.fetch_add(1, Relaxed);
        }
        let news = self.up.swap(good, Relaxed) != good;
        if news {
            self.gauge.set(i64::from(good));
        }
        news
    }

    /// Whether the last connection succeeded; true before the first.
    pub fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }
}

/// An upstream with its endpoints.
#[derive(Debug)]
pub struct UpstreamState {
    /// As configured.
    pub config: Upstream,
    /// How it is spoken to under TLS; `None`: in cleartext.
    pub tls: Option<UpstreamTls>,
    /// At least one.
    pub endpoints: Vec<Arc<EndpointState>>,
    /// Its metrics.
    pub metrics: UpstreamMetrics,
    next: AtomicUsize,
}

impl UpstreamState {
    /// The endpoints from the one whose turn it is; the next call begins one later.
    pub fn in_turn(&self) -> impl Iterator<Item = &Arc<EndpointState>> {
        let first = if self.endpoints.len() == 1 {
            0
        } else {
            self.next.fetch_add(1, Relaxed) % self.endpoints.len()
        };
        self.endpoints[first..]
            .iter()
            .chain(&self.endpoints[..first])
    }
}

/// Makes upstreams, keeping the record of each endpoint that was there before.
#[derive(Debug, Default)]
pub struct UpstreamCompiler {
    known: HashMap<(String, String), Arc<EndpointState>>,
    spoken: HashMap<String, Spoken>,
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
            .map(|config| {
                let wanted = Spoken {
                    protocol: config.protocol,
                    tls: tls.get(&config.name).cloned(),
                };
                // As before where nothing has changed, so that sessions of TLS go on.
                let kept = spoken.get(&config.name).filter(|kept| **kept == wanted);
                let before = kept.map(|_| &before);
                let spoken = kept.cloned().unwrap_or(wanted);
                let upstream = self.upstream(config, spoken.tls.clone(), before, metrics);
                self.spoken.insert(config.name.clone(), spoken);
                Arc::new(upstream)
            })
            .collect::<Vec<_>>();
        for (upstream, endpoint) in before.keys().filter(|name| !self.known.contains_key(*name)) {
            metrics.forget_endpoint(upstream, endpoint);
        }
        compiled
    }

    fn upstream(
        &mut self,
        config: &Upstream,
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
        let endpoints = endpoints.collect();
        UpstreamState {
            config: config.clone(),
            tls,
            endpoints,
            metrics: metrics.upstream(&config.name),
            next: AtomicUsize::new(0),
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
        gauge.set(1);
        Arc::new(EndpointState {
            number: self.numbers,
            endpoint: endpoint.clone(),
            requests: AtomicU64::new(0),
            connect_failures: AtomicU64::new(0),
            up: AtomicBool::new(true),
            gauge,
        })
    }
}
