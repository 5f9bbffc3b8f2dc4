//! Idle connections of one worker, by endpoint, most recently used first: the warmest is taken, the coldest age out.

use super::exchange::{Connection, Incoming};
use crate::domain::upstream::Pool;
use crate::proxy::worker::Worker;
use crate::snapshot::addresses::Home;
use crate::snapshot::endpoints::EndpointState;
use crate::snapshot::handle::Snapshot;
use crate::snapshot::load::ConnectionPlace;
use hashbrown::{HashMap, HashSet};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A connection and its age, in nanoseconds of the monotonic clock.
pub(in crate::proxy) struct Aged {
    connection: Connection,
    born: u64,
    idle_since: u64,
    idle_limit: Duration,
    reused: bool,
    /// Its place, where connections to the upstream are counted.
    place: Option<ConnectionPlace>,
    /// The address it leads to, where that was found by name.
    home: Option<Home>,
}

impl Aged {
    pub(in crate::proxy) fn fresh(connection: Connection, home: Option<Home>, now: u64) -> Self {
        Self {
            connection,
            born: now,
            idle_since: now,
            idle_limit: Duration::MAX,
            reused: false,
            place: None,
            home,
        }
    }

    /// Whether a request waits that cannot have a connection before one is closed.
    fn is_wanted(&self) -> bool {
        self.place.as_ref().is_some_and(ConnectionPlace::is_wanted)
    }

    /// Whether it leads to where the endpoint is now, is open, and silent.
    fn is_good(&self) -> bool {
        self.home.as_ref().is_none_or(Home::is_current) && self.connection.is_good()
    }

    fn outlived(&self, now: u64) -> bool {
        Duration::from_nanos(now.saturating_sub(self.idle_since)) >= self.idle_limit
    }
}

/// All idle connections of a worker.
#[derive(Default)]
pub(in crate::proxy) struct Pools {
    idle: RefCell<HashMap<u64, Vec<Aged>>>,
    /// Endpoints that requests of this worker wait for, once for each.
    waiting: RefCell<Vec<u64>>,
    /// Tells them that a connection was given back.
    pub(in crate::proxy) returned: Notify,
}

/// A request that waits for a connection until this is dropped.
pub(in crate::proxy) struct Waiting<'a> {
    pools: &'a Pools,
    endpoint: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.pools.waiting.borrow_mut();
        if let Some(place) = waiting.iter().position(|one| *one == self.endpoint) {
            waiting.swap_remove(place);
        }
    }
}

impl Pools {
    /// The most recently used connection that is alive and young enough.
    pub(in crate::proxy) fn take(&self, endpoint: u64, now: u64, limits: Pool) -> Option<Aged> {
        let mut pools = self.idle.borrow_mut();
        let idle = pools.get_mut(&endpoint)?;
        while let Some(mut aged) = idle.pop() {
            let age = Duration::from_nanos(now.saturating_sub(aged.born));
            if age < limits.max_lifetime && !aged.outlived(now) && aged.is_good() {
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
        if aged.is_wanted() {
            // Here it is handed on as it is; elsewhere somebody needs its place.
            if !self.waiting.borrow().contains(&endpoint) {
                return;
            }
            self.returned.notify_waiters();
        }
        let mut pools = self.idle.borrow_mut();
        let idle = pools.entry(endpoint).or_default();
        if idle.len() < limits.max_idle {
            aged.idle_since = now;
            aged.idle_limit = limits.idle_timeout;
            idle.push(aged);
        }
    }

    /// Says that a request waits for a connection to this endpoint.
    pub(in crate::proxy) fn waits_for(&self, endpoint: u64) -> Waiting<'_> {
        self.waiting.borrow_mut().push(endpoint);
        Waiting {
            pools: self,
            endpoint,
        }
    }

    /// Closes idle connections whose places are wanted.
    pub(in crate::proxy) fn make_room(&self) {
        for idle in self.idle.borrow_mut().values_mut() {
            idle.retain(|aged| !aged.is_wanted());
        }
    }

    /// Whether any connection is idle.
    pub(in crate::proxy) fn any_idle(&self) -> bool {
        self.idle.borrow().values().any(|idle| !idle.is_empty())
    }

    /// Closes what is dead or has been idle for too long.
    pub(in crate::proxy) fn reap(&self, now: u64) {
        let mut pools = self.idle.borrow_mut();
        for idle in pools.values_mut() {
            idle.retain(|aged| !aged.outlived(now) && !aged.is_wanted() && aged.is_good());
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
        self.idle
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

    /// Gives the connection its place among those that are counted.
    pub(in crate::proxy) fn hold(&mut self, place: Option<ConnectionPlace>) {
        self.aged.place = place;
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
