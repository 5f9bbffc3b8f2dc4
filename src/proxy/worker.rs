//! One core: a thread with its own runtime, listeners, upstream connections and log buffer. A request never leaves it.

use super::balance::Turns;
use super::connection::Connection;
use super::counting::Counts;
use super::handlers::Handlers;
use super::listener::{self, BindError, BoundListener, ListenerState};
use super::overload::Load;
use super::spare::Spare;
use super::streams::Streams;
use super::upstream::pool::Pools;
use crate::clock::Clock;
use crate::domain::time::Timestamp;
use crate::snapshot::handle::{Shared, Snapshot};
use crate::telemetry::access::{AccessBuffer, AccessRecord};
use crate::telemetry::logs::LogSink;
use crate::telemetry::metrics::{Metrics, NO_ROUTE, RouteMetrics};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};
use tokio::task::LocalSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Log lines wait at most this long in a worker.
const FLUSH_EVERY: Duration = Duration::from_millis(50);
/// Connections over the cap that are told so at a time; the others are closed at once, or the cap would be none.
const MOST_TURNED_AWAY: usize = 64;
/// Room for what one read of a tunnel may bring.
const SCRATCH: usize = 16 * 1024;
/// Nanoseconds for which the wall time is not asked for again.
const WALL_TIME_HOLDS: u64 = 500_000;
/// Idle upstream connections are looked through this often.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// What every worker is made of.
#[derive(Clone)]
pub struct ProxyParts {
    /// Snapshot and keys.
    pub shared: Arc<Shared>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Where access lines go, if they are wanted.
    pub access: Option<LogSink>,
    /// Whether somebody keeps what keys did.
    pub usage: bool,
    /// Brand of native keys, for the redactor.
    pub brand: String,
    /// Accept no more, finish what runs.
    pub drain: CancellationToken,
    /// End at once.
    pub cut: CancellationToken,
}

/// The running data plane.
pub struct Proxy {
    threads: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Waits until every worker has ended; they do after `drain`, at the latest after `cut`.
    pub fn join(self) {
        for thread in self.threads {
            // A worker that panicked has said so on standard error.
            let _ = thread.join();
        }
    }
}

/// Why the workers did not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerFault {
    /// A socket is not to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No thread, or no runtime for it.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Starts `threads` workers on these listeners.
pub fn start(
    parts: &ProxyParts,
    listeners: &[BoundListener],
    threads: usize,
) -> Result<Proxy, WorkerFault> {
    let mut started = Vec::with_capacity(threads);
    for number in 0..threads {
        let sockets = listeners
            .iter()
            .map(BoundListener::socket)
            .collect::<Result<Vec<_>, BindError>>()?;
        let states: Vec<_> = listeners.iter().map(BoundListener::state).collect();
        let parts = parts.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let work = move || {
            let worker = Rc::new(Worker::new(number, parts));
            let local = LocalSet::new();
            local.block_on(&runtime, worker.run(sockets, states));
        };
        started.push(
            std::thread::Builder::new()
                .name(format!("keygate-{number}"))
                .spawn(work)?,
        );
    }
    Ok(Proxy { threads: started })
}

/// One connection that is being told why it is turned away.
pub(super) struct TurnedAway(Rc<Worker>);

impl Drop for TurnedAway {
    fn drop(&mut self) {
        self.0.turned_away.set(self.0.turned_away.get() - 1);
    }
}

/// A worker's own hold on the snapshot in force.
pub(super) struct View {
    pub(super) snapshot: Arc<Snapshot>,
    /// Whose turn it is at each upstream.
    pub(super) turns: Turns,
}

impl View {
    fn of(shared: &Shared) -> Rc<Self> {
        Rc::new(Self {
            snapshot: shared.snapshot(),
            turns: Turns::default(),
        })
    }
}

/// The state of one core.
pub(super) struct Worker {
    /// From 0.
    pub(super) number: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    /// For requests that found no route.
    pub(super) no_route: Arc<RouteMetrics>,
    pub(super) pools: Pools,
    /// Downstream connections: shutdown waits for them.
    pub(super) tasks: TaskTracker,
    /// Upstream connections, timers: they end with the worker.
    pub(super) background: TaskTracker,
    view: RefCell<Rc<View>>,
    access: Option<AccessBuffer>,
    pub(super) counts: Option<Counts>,
    /// What is under way with a key.
    pub(super) streams: Streams,
    reaping: Cell<bool>,
    turned_away: Cell<usize>,
    pub(super) load: Load,
    /// Whether a flush of the log is planned.
    flushing: Cell<bool>,
    /// Where tunnels read into, before others get what came.
    pub(super) scratch: RefCell<Vec<u8>>,
    /// Memory that is used again and again.
    pub(super) spare: Spare,
    pub(super) handlers: Handlers,
    random: RefCell<fastrand::Rng>,
    /// When the monotonic clock began.
    origin: Instant,
    /// The wall time, and when by the monotonic clock it was asked for.
    wall: Cell<(Timestamp, u64)>,
    /// `Date` of answers, and the second it is of.
    date: RefCell<(i64, [u8; 29])>,
    connections: RefCell<HashMap<u64, Rc<Connection>>>,
    next_connection: Cell<u64>,
    drain: CancellationToken,
    cut: CancellationToken,
}

impl Worker {
    fn new(number: usize, parts: ProxyParts) -> Self {
        let view = View::of(&parts.shared);
        let now = parts.clock.monotonic_nanos();
        let origin = Instant::now() - Duration::from_nanos(now);
        let wall = Cell::new((parts.clock.now(), parts.clock.monotonic_nanos()));
        Self {
            number,
            no_route: Arc::new(parts.metrics.route(NO_ROUTE)),
            access: parts
                .access
                .map(|sink| AccessBuffer::new(sink, &parts.brand)),
            counts: parts.usage.then(Counts::default),
            streams: Streams::default(),
            shared: parts.shared,
            clock: parts.clock,
            metrics: parts.metrics,
            pools: Pools::default(),
            tasks: TaskTracker::new(),
            background: TaskTracker::new(),
            view: RefCell::new(view),
            reaping: Cell::new(false),
            turned_away: Cell::new(0),
            load: Load::default(),
            flushing: Cell::new(false),
            scratch: RefCell::new(vec![0; SCRATCH]),
            spare: Spare::default(),
            handlers: Handlers::default(),
            random: RefCell::new(fastrand::Rng::new()),
            wall,
            origin,
            date: RefCell::new((i64::MIN, [b' '; 29])),
            connections: RefCell::default(),
            next_connection: Cell::new(0),
            drain: parts.drain,
            cut: parts.cut,
        }
    }

    /// Accepts until told to drain, then waits for the connections to end.
    async fn run(
        self: Rc<Self>,
        sockets: Vec<std::net::TcpListener>,
        states: Vec<Arc<ListenerState>>,
    ) {
        let accepting = TaskTracker::new();
        for (socket, state) in sockets.into_iter().zip(states) {
            accepting.spawn_local(listener::accept(
                Rc::clone(&self),
                socket,
                state,
                self.drain.clone(),
            ));
        }
        accepting.close();
        self.drain.cancelled().await;
        self.each_connection(Connection::drain);
        accepting.wait().await;
        self.each_connection(Connection::drain);
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            () = self.cut.cancelled() => {
                self.each_connection(Connection::cut);
                // Cut connections end at their next poll, which this leaves room for.
                let _ = tokio::time::timeout(Duration::from_millis(500), self.tasks.wait()).await;
            }
        }
        if let Some(access) = &self.access {
            access.flush();
        }
        self.hand_over();
    }

    /// The snapshot in force: one load of the revision, and a new hold only when it has changed.
    pub(super) fn view(&self) -> Rc<View> {
        let mut view = self.view.borrow_mut();
        if view.snapshot.revision != self.shared.revision() {
            *view = View::of(&self.shared);
            self.pools.keep_only(&view.snapshot);
        }
        Rc::clone(&view)
    }

    /// Random bits that need no secrecy; never all zero in either half.
    pub(super) fn random(&self) -> u128 {
        self.random.borrow_mut().u128(..) | (1 << 64) | 1
    }

    /// A random number below another, which is above 0.
    pub(super) fn random_below(&self, end: u64) -> u64 {
        self.random.borrow_mut().u64(..end)
    }

    /// A moment of the monotonic clock, for timers.
    pub(super) fn instant(&self, nanos: u64) -> Instant {
        self.origin + Duration::from_nanos(nanos)
    }

    /// Wall time and monotonic time. The first is asked for anew only when it may have changed by half a millisecond.
    pub(super) fn times(&self) -> (Timestamp, u64) {
        let nanos = self.clock.monotonic_nanos();
        let (mut now, at) = self.wall.get();
        // A clock that stands still is one that somebody moves.
        if nanos == at || nanos.wrapping_sub(at) > WALL_TIME_HOLDS {
            now = self.clock.now();
            self.wall.set((now, nanos));
        }
        (now, nanos)
    }

    /// The time for `Date` (RFC 9110 §5.6.7), written once a second.
    pub(super) fn date(&self) -> [u8; 29] {
        let now = self.wall.get().0.as_millis().div_euclid(1000);
        let mut date = self.date.borrow_mut();
        if date.0 != now {
            let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(now).unwrap_or_default());
            let text = httpdate::fmt_http_date(time);
            if let Ok(text) = text.as_bytes().try_into() {
                *date = (now, text);
            }
        }
        date.1
    }

    /// Takes a finished request into the log.
    pub(super) fn log(self: &Rc<Self>, record: &AccessRecord<'_>) {
        let Some(access) = &self.access else { return };
        access.append(record);
        if self.flushing.replace(true) {
            return;
        }
        let worker = Rc::clone(self);
        self.background.spawn_local(async move {
            tokio::time::sleep(FLUSH_EVERY).await;
            worker.flushing.set(false);
            if let Some(access) = &worker.access {
                access.flush();
            }
        });
    }

    /// Sees to it that idle upstream connections are closed in time, without waking an idle worker for nothing.
    pub(super) fn reap_later(self: &Rc<Self>) {
        if self.reaping.replace(true) {
            return;
        }
        let worker = Rc::clone(self);
        self.background.spawn_local(async move {
            while worker.pools.any_idle() && !worker.drain.is_cancelled() {
                tokio::time::sleep(REAP_EVERY).await;
                // Connections to endpoints that a reload took out are closed without a request.
                worker.view();
                worker.pools.reap(worker.clock.monotonic_nanos());
            }
            worker.reaping.set(false);
        });
    }

    pub(super) fn register(&self, connection: &Rc<Connection>) -> u64 {
        let number = self.next_connection.get();
        self.next_connection.set(number + 1);
        self.connections
            .borrow_mut()
            .insert(number, Rc::clone(connection));
        number
    }

    /// What comes of something; `None`: it was cut off.
    pub(super) async fn unless_cut<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.cut.run_until_cancelled(work).await
    }

    /// Waits until no more may begin.
    pub(super) async fn drains(&self) {
        self.drain.cancelled().await;
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// A place among the connections that are told why they are turned away; `None` when enough are being told.
    pub(super) fn turning_away(self: &Rc<Self>) -> Option<TurnedAway> {
        let busy = self.turned_away.get();
        (busy < MOST_TURNED_AWAY).then(|| {
            self.turned_away.set(busy + 1);
            TurnedAway(Rc::clone(self))
        })
    }

    pub(super) fn unregister(&self, number: u64) {
        self.connections.borrow_mut().remove(&number);
    }

    fn each_connection(&self, act: impl Fn(&Connection)) {
        for connection in self.connections.borrow().values() {
            act(connection);
        }
    }
}
