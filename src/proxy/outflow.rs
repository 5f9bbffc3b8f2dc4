//! Answers of HTTP/2 that wait for their peer. h2 asks for no more of a body while the peer gives no window for it, and a
//! peer may do that for ever and answer every ping meanwhile; so somebody has to look at the clock from outside.

use super::connection::Connection;
use crate::config::ListenerLimits;
use crate::telemetry::metrics::Shed;
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// While a connection takes nothing at all, its streams are looked at this much later.
const LATER: Duration = Duration::from_secs(1);

/// How one answer flows out.
#[derive(Debug)]
pub(super) struct Outflow {
    limits: Arc<ListenerLimits>,
    /// Since when nothing more was asked for.
    since: Cell<Option<Instant>>,
    waited: Cell<Duration>,
    bytes: Cell<u64>,
}

impl Outflow {
    fn new(limits: Arc<ListenerLimits>) -> Self {
        Self {
            limits,
            since: Cell::new(None),
            waited: Cell::new(Duration::ZERO),
            bytes: Cell::new(0),
        }
    }

    /// So many bytes were handed over; it is the peer's turn.
    pub(super) fn handed(&self, bytes: u64) {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
        self.since.set(Some(Instant::now()));
    }

    /// More is asked for.
    pub(super) fn asked(&self) {
        if let Some(since) = self.since.take() {
            self.waited.set(self.waited.get() + since.elapsed());
        }
    }

    /// When the peer has taken too long.
    fn until(&self) -> Option<Instant> {
        let allowed = self.limits.stall(self.bytes.get(), self.waited.get());
        Some(self.since.get()? + allowed)
    }
}

pin_project_lite::pin_project! {
    /// A request of HTTP/2 that ends when its answer is not taken.
    pub(super) struct Watched<F> {
        #[pin]
        stream: F,
        outflow: Rc<Outflow>,
        connection: Rc<Connection>,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F> Watched<F> {
    pub(super) fn new(stream: F, connection: Rc<Connection>) -> Self {
        Self {
            stream,
            outflow: Rc::new(Outflow::new(Arc::clone(&connection.limits))),
            connection,
            timer: None,
        }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = ();

    /// When it ends early, h2 resets the stream and the peer's other ones go on.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.connection.enter(Some(this.outflow));
        let done = this.stream.poll(cx);
        this.connection.enter(None);
        if done.is_ready() {
            return Poll::Ready(());
        }
        loop {
            let Some(until) = this.outflow.until() else {
                return Poll::Pending;
            };
            let now = Instant::now();
            // The whole connection has a limit of its own.
            let stalls = this.connection.is_stalled();
            if until <= now && !stalls {
                this.connection.shed(Shed::SlowRead);
                return Poll::Ready(());
            }
            let until = if stalls {
                until.max(now + LATER)
            } else {
                until
            };
            let timer = this
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if timer.deadline() > until || timer.is_elapsed() {
                timer.as_mut().reset(until);
            }
            ready!(timer.as_mut().poll(cx));
        }
    }
}
