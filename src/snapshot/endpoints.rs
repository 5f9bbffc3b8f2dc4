//! Upstreams as workers see them. An endpoint's record outlives reloads, so that pools and health stay.

use crate::domain::upstream::{Endpoint, Upstream};
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
    numbers: u64,
}

impl UpstreamCompiler {
    /// The upstreams of a configuration; endpoints it no longer has are forgotten.
    pub fn compile(
        &mut self,
        upstreams: &[Upstream],
        metrics: &Metrics,
    ) -> Vec<Arc<UpstreamState>> {
        let before = std::mem::take(&mut self.known);
        let compiled = upstreams
            .iter()
            .map(|config| Arc::new(self.upstream(config, &before, metrics)))
            .collect::<Vec<_>>();
        for (upstream, endpoint) in before.keys().filter(|name| !self.known.contains_key(*name)) {
            metrics.forget_endpoint(upstream, endpoint);
        }
        compiled
    }

    fn upstream(
        &mut self,
        config: &Upstream,
        before: &HashMap<(String, String), Arc<EndpointState>>,
        metrics: &Metrics,
    ) -> UpstreamState {
        let endpoints = config.endpoints.iter().map(|endpoint| {
            let name = (config.name.clone(), endpoint.authority.clone());
            let state = before
                .get(&name)
                .cloned()
                .unwrap_or_else(|| self.endpoint(config, endpoint, metrics));
            self.known.insert(name, Arc::clone(&state));
            state
        });
        let endpoints = endpoints.collect();
        UpstreamState {
            config: config.clone(),
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
