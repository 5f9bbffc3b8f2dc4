//! Connections of one worker, by endpoint. Those that are idle: most recently used first, so the warmest is taken and the
//! coldest age out. And those that many requests share.

use super::exchange::Connection;
use super::http2::Shared;
use super::http2::stream::Stream;
use super::lease::Carrier;
use crate::domain::upstream::Pool;
use crate::snapshot::addresses::Home;
use crate::snapshot::handle::Snapshot;
use crate::snapshot::load::ConnectionPlace;
use hashbrown::{HashMap, HashSet};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};

pub(in crate::proxy) use super::lease::Lease;

/// Shared connections to an endpoint; beyond that requests wait for the service to take them.
const MOST_SHARED: usize = 16;

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
    pub(super) fn fresh(connection: Connection, home: Option<Home>, now: u64) -> Box<Self> {
        Box::new(Self {
            connection,
            born: now,
            idle_since: now,
            idle_limit: Duration::MAX,
            reused: false,
            place: None,
            home,
        })
    }

    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }

    /// Gives it its place among those that are counted.
    pub(super) fn hold(&mut self, place: Option<ConnectionPlace>) {
        self.place = place;
    }

    /// Whether a request waits that cannot have a connection before one is closed.
    fn is_wanted(&self) -> bool {
        self.place.as_ref().is_some_and(ConnectionPlace::is_wanted)
    }

    /// Whether it leads to where the endpoint is now, is open, and silent.
    fn is_good(&mut self) -> bool {
        self.home.as_ref().is_none_or(Home::is_current) && self.connection.is_good()
    }

    fn outlived(&self, now: u64) -> bool {
        Duration::from_nanos(now.saturating_sub(self.idle_since)) >= self.idle_limit
    }
}

/// Connections to one endpoint.
#[derive(Default)]
struct Ways {
    #[expect(
        clippy::vec_box,
        reason = "each is handed on by several hands while it is in use, and is large"
    )]
    idle: Vec<Box<Aged>>,
    shared: Vec<Rc<Shared>>,
    /// How long shared ones may be idle.
    shared_idle: Duration,
    /// Held by whoever opens a connection that others may share.
    turn: Arc<Mutex<()>>,
    /// It was offered HTTP/2 and speaks something else, so nobody waits for anybody.
    shares_nothing: bool,
}

impl Ways {
    fn is_empty(&self) -> bool {
        self.idle.is_empty() && self.shared.is_empty()
    }

    /// A place on a shared connection; on one that is full only when there are as many as there may be.
    fn share(&mut self, now: u64, limits: Pool) -> Option<Stream> {
        // Requests that are under way keep what is let go of here until they are done.
        self.shared.retain(|one| one.is_good(now, limits));
        let roomy = self.shared.iter().find(|one| one.has_room());
        let found = match roomy {
            Some(roomy) => roomy,
            None if self.shared.len() < MOST_SHARED => return None,
            None => self.shared.iter().min_by_key(|one| one.streams())?,
        };
        Some(Stream::on(found, true))
    }
}

/// All connections of a worker that can take another request.
#[derive(Default)]
pub(in crate::proxy) struct Pools {
    ways: RefCell<HashMap<u64, Ways>>,
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
    /// A shared connection, or the most recently used one that is alive and young enough.
    /// `alone`: only one that a request has for itself.
    pub(in crate::proxy) fn take(
        &self,
        endpoint: u64,
        now: u64,
        (limits, alone): (Pool, bool),
    ) -> Option<Carrier> {
        let mut pools = self.ways.borrow_mut();
        let ways = pools.get_mut(&endpoint)?;
        if !alone
            && !ways.shared.is_empty()
            && let Some(stream) = ways.share(now, limits)
        {
            return Some(Carrier::Shared(stream));
        }
        while let Some(mut aged) = ways.idle.pop() {
            let age = Duration::from_nanos(now.saturating_sub(aged.born));
            if age < limits.max_lifetime && !aged.outlived(now) && aged.is_good() {
                aged.reused = true;
                return Some(Carrier::Own(aged));
            }
        }
        None
    }

    pub(super) fn put(&self, endpoint: u64, mut aged: Box<Aged>, now: u64, limits: Pool) {
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
        let mut pools = self.ways.borrow_mut();
        let idle = &mut pools.entry(endpoint).or_default().idle;
        if idle.len() < limits.max_idle {
            aged.idle_since = now;
            aged.idle_limit = limits.idle_timeout;
            idle.push(aged);
        }
    }

    /// A place on a connection that has been opened meanwhile.
    pub(super) fn share(&self, endpoint: u64, now: u64, limits: Pool) -> Option<Stream> {
        self.ways
            .borrow_mut()
            .get_mut(&endpoint)?
            .share(now, limits)
    }

    /// Lets others share a connection; gives the first place on it.
    pub(super) fn add(&self, endpoint: u64, shared: Shared, limits: Pool) -> Stream {
        let shared = Rc::new(shared);
        let stream = Stream::on(&shared, false);
        let mut pools = self.ways.borrow_mut();
        let ways = pools.entry(endpoint).or_default();
        ways.shared.push(shared);
        ways.shared_idle = if limits.max_idle == 0 {
            Duration::ZERO
        } else {
            limits.idle_timeout
        };
        stream
    }

    /// What whoever wants to open a shared connection waits for; `None`: there is nothing to share.
    pub(super) fn turn(&self, endpoint: u64) -> Option<Arc<Mutex<()>>> {
        let mut pools = self.ways.borrow_mut();
        let ways = pools.entry(endpoint).or_default();
        (!ways.shares_nothing).then(|| Arc::clone(&ways.turn))
    }

    /// The endpoint was offered HTTP/2 and did not want it.
    pub(super) fn shares_nothing(&self, endpoint: u64) {
        let mut pools = self.ways.borrow_mut();
        pools.entry(endpoint).or_default().shares_nothing = true;
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
        for ways in self.ways.borrow_mut().values_mut() {
            ways.idle.retain(|aged| !aged.is_wanted());
        }
    }

    /// Whether any connection waits for requests.
    pub(in crate::proxy) fn any_idle(&self) -> bool {
        self.ways.borrow().values().any(|ways| !ways.is_empty())
    }

    /// Closes what is dead or has been idle for too long.
    pub(in crate::proxy) fn reap(&self, now: u64) {
        for ways in self.ways.borrow_mut().values_mut() {
            ways.idle
                .retain_mut(|aged| !aged.outlived(now) && !aged.is_wanted() && aged.is_good());
            let limit = ways.shared_idle;
            ways.shared.retain(|one| one.is_wanted(now, limit));
        }
    }

    /// Closes connections to endpoints that are gone from the configuration; shared ones once their requests are done.
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
        self.ways
            .borrow_mut()
            .retain(|endpoint, _| known.contains(endpoint));
    }
}
