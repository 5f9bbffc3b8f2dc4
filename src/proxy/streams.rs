//! What is under way with a key, so that it ends when the key does. Every request with a key whose answer takes longer than one
//! piece is in the list of its worker; four times a second the worker looks whether keys have changed, or the time of one is over, and checks again by the same rules.
//!
//! WebSocket, server-sent events and gRPC are cut at once. An ordinary answer gets [`GRACE`] to come to its end, and a request
//! that still waits for one is left alone: it was permitted when it came, and nobody could tell what became of it.

use super::connection::Connection;
use super::worker::{View, Worker};
use crate::domain::key::KeyHash;
use crate::domain::time::Timestamp;
use crate::gate::{Denied, authorize};
use crate::snapshot::key::{KeyMark, SymbolId};
use http::Method;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How often keys are looked at.
const EVERY: Duration = Duration::from_millis(250);
/// So many are looked at before other tasks have their turn: a look-up in a large table takes about a microsecond.
const AT_A_TIME: usize = 256;
/// How long an ordinary answer may go on.
const GRACE: Duration = Duration::from_secs(1);

/// What kind of exchange it is; a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request that waits for its answer.
    Waiting,
    /// An ordinary answer on its way.
    Answer,
    /// Server-sent events.
    Events,
    /// gRPC.
    Grpc,
    /// A WebSocket.
    WebSocket,
}

impl Kind {
    /// Label `kind` of `streams_cut_total`.
    fn label(self) -> &'static str {
        match self {
            Self::Waiting | Self::Answer => "answer",
            Self::Events => "sse",
            Self::Grpc => "grpc",
            Self::WebSocket => "websocket",
        }
    }

    /// How long it may go on; `None`: to its end.
    fn grace(self) -> Option<Duration> {
        match self {
            Self::Waiting => None,
            Self::Answer => Some(GRACE),
            Self::Events | Self::Grpc | Self::WebSocket => Some(Duration::ZERO),
        }
    }
}

/// A request with a key.
pub(super) struct Stream {
    pub(super) mark: KeyMark,
    /// The hash of its secret by which an imported key will be found.
    pub(super) rehashed: Option<KeyHash>,
    pub(super) expires_at: Option<Timestamp>,
    /// Where its route stands: a view, and the place in it.
    pub(super) route: (Rc<View>, usize),
    pub(super) method: Method,
    pub(super) from: IpAddr,
    pub(super) kind: Kind,
    /// What carries it and nothing else; `None`: a stream of HTTP/2.
    pub(super) connection: Option<Rc<Connection>>,
    state: State,
    /// Its key may have changed since it was permitted, and nobody has looked.
    fresh: bool,
    waker: Option<Waker>,
}

/// How long a stream has to live.
#[derive(Debug, Clone, Copy)]
enum State {
    Permitted,
    /// Not permitted any more since then, in nanoseconds of the monotonic clock.
    Doomed(Denied, u64),
    Cut(Denied),
}

impl Stream {
    /// A request that has been permitted.
    pub(super) fn new(
        (mark, rehashed, expires_at): (KeyMark, Option<KeyHash>, Option<Timestamp>),
        route: (Rc<View>, usize),
        (method, from): (Method, IpAddr),
        kind: Kind,
        connection: Option<Rc<Connection>>,
    ) -> Self {
        Self {
            mark,
            rehashed,
            expires_at,
            route,
            method,
            from,
            kind,
            connection,
            state: State::Permitted,
            fresh: true,
            waker: None,
        }
    }

    /// The route as it is now, by its name; one that is gone counts as it was. `places` are the routes of that view.
    fn follow(&mut self, view: &Rc<View>, places: &HashMap<SymbolId, usize>) {
        let (before, place) = &self.route;
        let Some(old) = before.snapshot.router.routes().get(*place) else {
            return;
        };
        if let Some(place) = places.get(&old.symbol) {
            self.route = (Rc::clone(view), *place);
        }
    }

    /// Whether its route stands in a view that is no longer in force.
    fn is_of_before(&self, view: &View) -> bool {
        self.route.0.snapshot.revision != view.snapshot.revision
    }

    /// Looks at the key again.
    fn recheck(&mut self, worker: &Worker, now: Timestamp, nanos: u64) {
        let (view, place) = &self.route;
        let Some(route) = view.snapshot.router.routes().get(*place) else {
            return;
        };
        let verdict = authorize::recheck(
            &worker.shared.keys,
            (&self.mark, self.rehashed.as_ref()),
            (route, &self.method),
            (now, self.from),
        );
        match (verdict, self.state) {
            (Ok(expires_at), _) => {
                self.expires_at = expires_at;
                self.state = State::Permitted;
            }
            (Err(denied), State::Permitted) => self.state = State::Doomed(denied, nanos),
            (Err(_), State::Doomed(..) | State::Cut(_)) => {}
        }
    }

    /// Cuts it off if its time is over; whether that is news.
    fn end(&mut self, nanos: u64) -> bool {
        match (self.state, self.kind.grace()) {
            (State::Doomed(denied, since), Some(grace))
                if Duration::from_nanos(nanos.saturating_sub(since)) >= grace =>
            {
                self.state = State::Cut(denied);
                if let Some(waker) = self.waker.take() {
                    waker.wake();
                }
                true
            }
            // It was told and has not ended: nobody reads what it writes.
            (State::Cut(_), _) if self.kind != Kind::WebSocket => {
                if let Some(connection) = &self.connection {
                    connection.cut();
                }
                false
            }
            (State::Permitted | State::Doomed(..) | State::Cut(_), _) => false,
        }
    }
}

/// Where in a view each route stands.
fn places_of(view: &View) -> HashMap<SymbolId, usize> {
    let routes = view.snapshot.router.routes().iter().enumerate();
    routes.map(|(place, route)| (route.symbol, place)).collect()
}

/// All of a worker's.
#[derive(Default)]
pub(super) struct Streams {
    open: RefCell<Slab<Stream>>,
    /// Whether somebody looks.
    watched: Cell<bool>,
    /// [`crate::snapshot::keys::KeyTable::changes`] at the last look, and the revision of the configuration.
    seen: Cell<(u64, u64)>,
}

impl Streams {
    pub(super) fn remove(&self, number: usize) {
        self.open.borrow_mut().try_remove(number);
    }

    /// It turns out to be of another kind.
    pub(super) fn becomes(&self, number: usize, kind: Kind) {
        if let Some(stream) = self.open.borrow_mut().get_mut(number)
            && stream.kind != Kind::Grpc
        {
            stream.kind = kind;
        }
    }

    /// Why it must end, if it must.
    pub(super) fn is_cut(&self, number: usize) -> Option<Denied> {
        match self.open.borrow().get(number)?.state {
            State::Cut(denied) => Some(denied),
            State::Permitted | State::Doomed(..) => None,
        }
    }

    /// Whom to wake when it must end.
    pub(super) fn wake_at_cut(&self, number: usize, cx: &Context<'_>) {
        if let Some(stream) = self.open.borrow_mut().get_mut(number)
            && !stream
                .waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            stream.waker = Some(cx.waker().clone());
        }
    }
}

/// A call of gRPC that has no answer yet.
pub(super) struct WatchedCall {
    pub(super) worker: Rc<Worker>,
    pub(super) number: usize,
}

impl WatchedCall {
    /// Waits until it must end, and says why.
    pub(super) async fn cut(&self) -> Denied {
        let streams = &self.worker.streams;
        poll_fn(|cx| {
            streams.wake_at_cut(self.number, cx);
            streams
                .is_cut(self.number)
                .map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl Worker {
    /// Takes a request into the list.
    pub(super) fn watch(self: &Rc<Self>, stream: Stream) -> usize {
        let number = self.streams.open.borrow_mut().insert(stream);
        if !self.streams.watched.replace(true) {
            let worker = Rc::clone(self);
            // What changed before the list was last empty concerned nobody.
            self.background.spawn_local(async move {
                loop {
                    tokio::time::sleep(EVERY).await;
                    if worker.streams.open.borrow().is_empty() {
                        break;
                    }
                    worker.look().await;
                }
                worker.streams.watched.set(false);
            });
        }
        number
    }

    /// Checks what may have changed, and ends what must end: some at a time.
    async fn look(&self) {
        let view = self.view();
        let version = (self.shared.keys.changes(), view.snapshot.revision);
        let before = self.streams.seen.replace(version);
        let (changed, reloaded) = (before != version, before.1 != version.1);
        let mut places = None;
        let (now, nanos) = (self.clock.now(), self.clock.monotonic_nanos());
        let mut from = 0;
        loop {
            let end = self.streams.open.borrow().capacity();
            let until = end.min(from + AT_A_TIME);
            for number in from..until {
                let mut open = self.streams.open.borrow_mut();
                let Some(stream) = open.get_mut(number) else {
                    continue;
                };
                let fresh = std::mem::take(&mut stream.fresh);
                if reloaded || fresh && stream.is_of_before(&view) {
                    stream.follow(&view, places.get_or_insert_with(|| places_of(&view)));
                }
                if changed || fresh || stream.expires_at.is_some_and(|end| now >= end) {
                    stream.recheck(self, now, nanos);
                }
                if stream.end(nanos)
                    && let State::Cut(denied) = stream.state
                {
                    self.metrics
                        .streams_cut
                        .with_label_values(&[stream.kind.label(), denied.decision().reason()])
                        .inc();
                }
            }
            from = until;
            if from >= end {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}
