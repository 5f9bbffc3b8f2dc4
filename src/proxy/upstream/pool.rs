//! Idle connections of one worker, by endpoint, most recently used first: the warmest is taken, the coldest age out.

use super::exchange::{Connection, Incoming};
use crate::domain::upstream::Pool;
use crate::proxy::worker::Worker;
use crate::snapshot::endpoints::EndpointState;
use crate::snapshot::handle::Snapshot;
use hashbrown::{HashMap, HashSet};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A connection and its age, in nanoseconds of the monotonic clock.
pub(in crate::proxy) struct Aged {
    connection: Connection,
    born: u64,
    idle_since: u64,
    idle_limit: Duration,
    reused: bool,
}

impl Aged {
    pub(in crate::proxy) fn fresh(connection: Connection, now: u64) -> Self {
        Self {
            connection,
            born: now,
            idle_since: now,
            idle_limit: Duration::MAX,
            reused: false,
        }
    }

    fn outlived(&self, now: u64) -> bool {
        Duration::from_nanos(now.saturating_sub(self.idle_since)) >= self.idle_limit
    }
}

/// All idle connections of a worker.
#[derive(Default)]
pub(in crate::proxy) struct Pools(RefCell<HashMap<u64, Vec<Aged>>>);

impl Pools {
    /// The most recently used connection that is alive and young enough.
    pub(in crate::proxy) fn take(&self, endpoint: u64, now: u64, limits: Pool) -> Option<Aged> {
        let mut pools = self.0.borrow_mut();
        let idle = pools.get_mut(&endpoint)?;
        while let Some(mut aged) = idle.pop() {
            let age = Duration::from_nanos(now.saturating_sub(aged.born));
            if age < limits.max_lifetime && !aged.outlived(now) && aged.connection.is_good() {
                aged.reused = true;
                return Some(aged);
            }
        }
        None
    }

    fn put(&self, endpoint: u64, mut aged: Aged, now: u64, limits: Pool) {
        let age = Duration::from_nanos(now.saturating_sub(aged.born));
        if age >= limits.max_lifetime {
            return;
        }
        let mut pools = self.0.borrow_mut();
        let idle = pools.entry(endpoint).or_default();
        if idle.len() < limits.max_idle {
            aged.idle_since = now;
            aged.idle_limit = limits.idle_timeout;
            idle.push(aged);
        }
    }

    /// Whether any connection is idle.
    pub(in crate::proxy) fn any_idle(&self) -> bool {
        self.0.borrow().values().any(|idle| !idle.is_empty())
    }

    /// Closes what is dead or has been idle for too long.
    pub(in crate::proxy) fn reap(&self, now: u64) {
        let mut pools = self.0.borrow_mut();
        for idle in pools.values_mut() {
            idle.retain_mut(|aged| !aged.outlived(now) && aged.connection.is_good());
        }
        pools.retain(|_, idle| !idle.is_empty());
    }

    /// Closes connections to endpoints that are gone from the configuration.
    pub(in crate::proxy) fn keep_only(&self, snapshot: &Snapshot) {
        let mut known = HashSet::new();
        for route in snapshot.router.routes() {
            known.extend(
                route
                    .upstream
                    .endpoints
                    .iter()
                    .map(|endpoint| endpoint.number),
            );
        }
        self.0
            .borrow_mut()
            .retain(|endpoint, _| known.contains(endpoint));
    }
}

/// A connection in use. Given back when the answer has been read to its end; closed when dropped before.
pub(in crate::proxy) struct Lease {
    aged: Aged,
    worker: Rc<Worker>,
    endpoint: u64,
    limits: Pool,
}

impl Lease {
    pub(in crate::proxy) fn new(
        worker: &Rc<Worker>,
        endpoint: &Arc<EndpointState>,
        limits: Pool,
        aged: Aged,
    ) -> Self {
        Self {
            aged,
            worker: Rc::clone(worker),
            endpoint: endpoint.number,
            limits,
        }
    }

    /// Whether it has carried a request before, so that the other side may have closed it meanwhile.
    pub(in crate::proxy) fn is_reused(&self) -> bool {
        self.aged.reused
    }

    pub(in crate::proxy) fn connection(&mut self) -> &mut Connection {
        &mut self.aged.connection
    }

    /// Back to the pool, if the answer has left the connection fit for another request.
    pub(in crate::proxy) fn give_back(mut self, answer: &Incoming, now: u64) {
        if !answer.leaves_good(&self.aged.connection) {
            return;
        }
        self.aged.connection.rest();
        self.worker
            .pools
            .put(self.endpoint, self.aged, now, self.limits);
        self.worker.reap_later();
    }
}
