//! What is done for endpoints whether requests come or not, once per process: their names are looked up, and their health
//! is checked. Follows the configuration: what a reload takes out is no longer asked.

mod check;
mod names;
mod verdict;

use crate::clock::Clock;
use crate::config::DnsConfig;
use crate::domain::resilience::HealthCheck;
use crate::snapshot::endpoints::{EndpointState, UpstreamState};
use crate::snapshot::handle::{Shared, Snapshot};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Looks after the endpoints of the configuration in force.
pub struct Upkeep {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    dns: Arc<DnsConfig>,
    tasks: TaskTracker,
    /// By endpoint; what runs ends when it is dropped.
    names: HashMap<u64, DropGuard>,
    checks: HashMap<u64, (HealthCheck, DropGuard)>,
}

impl Upkeep {
    /// Does nothing before it runs.
    pub fn new(shared: Arc<Shared>, clock: Arc<dyn Clock>, dns: DnsConfig) -> Self {
        Self {
            shared,
            clock,
            dns: Arc::new(dns),
            tasks: TaskTracker::new(),
            names: HashMap::new(),
            checks: HashMap::new(),
        }
    }

    /// Runs until it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut published = self.shared.watch_revision();
        loop {
            published.mark_unchanged();
            let snapshot = self.shared.snapshot();
            self.follow(&snapshot);
            drop(snapshot);
            if !matches!(
                stop.run_until_cancelled(published.changed()).await,
                Some(Ok(()))
            ) {
                return;
            }
        }
    }

    /// Begins what a configuration has new, and ends what it no longer has.
    fn follow(&mut self, snapshot: &Snapshot) {
        let mut endpoints = HashMap::new();
        for route in snapshot.router.routes() {
            for endpoint in &route.upstream.endpoints {
                endpoints.insert(endpoint.number, (&route.upstream, endpoint));
            }
        }
        self.names
            .retain(|number, _| endpoints.contains_key(number));
        self.checks.retain(|number, (check, _)| {
            let kept = endpoints.get(number);
            kept.is_some_and(|(upstream, _)| upstream.config.health_check.as_ref() == Some(check))
        });
        for (number, (upstream, endpoint)) in endpoints {
            if endpoint.endpoint.host.parse::<IpAddr>().is_err() {
                self.look_up(number, endpoint);
            }
            match &upstream.config.health_check {
                Some(check) => self.check(number, check, (upstream, endpoint)),
                None => {
                    endpoint.health.checked(None, self.clock.monotonic_nanos());
                }
            }
        }
    }

    fn look_up(&mut self, number: u64, endpoint: &Arc<EndpointState>) {
        if self.names.contains_key(&number) {
            return;
        }
        let stop = CancellationToken::new();
        let work = names::follow(Arc::clone(endpoint), Arc::clone(&self.dns));
        self.tasks
            .spawn(stop.clone().run_until_cancelled_owned(work));
        self.names.insert(number, stop.drop_guard());
    }

    fn check(
        &mut self,
        number: u64,
        check: &HealthCheck,
        (upstream, endpoint): (&Arc<UpstreamState>, &Arc<EndpointState>),
    ) {
        if self.checks.contains_key(&number) {
            return;
        }
        let stop = CancellationToken::new();
        let work = check::follow(
            (Arc::clone(upstream), Arc::clone(endpoint)),
            check.clone(),
            Arc::clone(&self.clock),
        );
        self.tasks
            .spawn(stop.clone().run_until_cancelled_owned(work));
        self.checks
            .insert(number, (check.clone(), stop.drop_guard()));
    }
}
