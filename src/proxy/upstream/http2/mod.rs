//! HTTP/2 towards services (RFC 9113), by the h2 crate: one connection for many requests of a worker, driven by a task on
//! its thread.
//!
//! h2 sees to frames, flow control, the service's limit of streams, lengths that do not add up, and floods of empty frames
//! or resets. What is here bounds memory, finds out dead connections, and opens no stream where none is wanted.

mod answer;
mod request;
pub(in crate::proxy) mod stream;
mod upload;
mod watched;

use self::watched::{Reads, watched};
use crate::domain::upstream::{Endpoint, Pool};
use crate::proxy::error::UpstreamFault;
use crate::proxy::observed::Observed;
use crate::proxy::socket::Socket;
use crate::proxy::upstream::answer::LARGEST_HEAD;
use crate::proxy::worker::Worker;
use crate::snapshot::addresses::Home;
use crate::snapshot::load::ConnectionPlace;
use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// Requests under way on one connection; a service may allow fewer.
const MOST_STREAMS: usize = 100;
/// Bytes of an answer that may be under way before they are read.
const STREAM_WINDOW: u32 = 256 * 1024;
/// And of all answers of a connection: enough for each, so that callers who read slowly hold up no others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 100;
/// Bytes of a request that wait for a slow service.
const SEND_BUFFER: usize = 64 * 1024;
/// How often a connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A service that is silent for so long, with requests under way, is asked whether it is there,
const PING_AFTER: Duration = Duration::from_secs(30);
/// and given up if it does not answer.
const PING_PATIENCE: Duration = Duration::from_secs(20);
/// Not more often than this: gRPC servers close a connection that is pinged more than once in five minutes.
const PING_GAP: Duration = Duration::from_mins(6);

/// What a connection's parts (socket, driver, requests) know together.
#[derive(Default)]
struct Vitals {
    /// Reads that brought bytes.
    reads: Cell<u64>,
    /// Requests under way.
    streams: Cell<usize>,
    /// No longer for new requests.
    retired: Cell<bool>,
}

/// A connection that many requests share. It closes when the last one has let go of it.
pub(in crate::proxy) struct Shared {
    sender: SendRequest<Bytes>,
    endpoint: Endpoint,
    vitals: Rc<Vitals>,
    /// In nanoseconds of the monotonic clock.
    born: u64,
    idle_since: Cell<u64>,
    /// Taken since it was looked at.
    used: Cell<bool>,
    /// Its place, where connections to the upstream are counted.
    place: Cell<Option<ConnectionPlace>>,
    /// The address it leads to, where that was found by name.
    home: Option<Home>,
}

impl Shared {
    /// Begins to speak HTTP/2 on a socket, and waits for the service's settings: so no more is asked of it than it takes,
    /// and nothing at all if it speaks something else.
    pub(super) async fn begin(
        worker: &Rc<Worker>,
        endpoint: &Endpoint,
        (socket, home): (Socket, Option<Home>),
    ) -> Result<Self, UpstreamFault> {
        let vitals = Rc::new(Vitals::default());
        let socket = watched(socket, Rc::clone(&vitals));
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(0)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(LARGEST_HEAD).unwrap_or(u32::MAX))
            .max_send_buffer_size(SEND_BUFFER)
            .handshake(socket)
            .await
            .map_err(|fault| not_spoken(&fault))?;
        poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Err(fault)) => Poll::Ready(Err(not_spoken(&fault))),
            Poll::Ready(Ok(())) => Poll::Ready(Err(UpstreamFault::Closed)),
            Poll::Pending if sender.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        let driver = drive(connection, Rc::clone(&vitals));
        worker.background.spawn_local(driver);
        let now = worker.clock.monotonic_nanos();
        Ok(Self {
            sender,
            endpoint: endpoint.clone(),
            vitals,
            born: now,
            idle_since: Cell::new(now),
            used: Cell::new(true),
            place: Cell::new(None),
            home,
        })
    }

    /// Whether it takes requests at all.
    pub(super) fn is_good(&self, now: u64, limits: Pool) -> bool {
        let age = Duration::from_nanos(now.saturating_sub(self.born));
        !self.vitals.retired.get()
            && age < limits.max_lifetime
            && self.home.as_ref().is_none_or(Home::is_current)
            && self.is_open()
    }

    /// No more once it has ended, or the service has said that it is about to (GOAWAY).
    fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !matches!(self.sender.clone().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    /// Requests under way.
    pub(super) fn streams(&self) -> usize {
        self.vitals.streams.get()
    }

    /// Whether one more request would be sent at once.
    pub(super) fn has_room(&self) -> bool {
        let most = self.sender.current_max_send_streams().min(MOST_STREAMS);
        self.streams() < most
    }

    /// Whether it is still of use; asked now and then.
    pub(super) fn is_wanted(&self, now: u64, idle_limit: Duration) -> bool {
        if self.used.take() || self.streams() > 0 {
            self.idle_since.set(now);
        }
        let idle = Duration::from_nanos(now.saturating_sub(self.idle_since.get()));
        !self.vitals.retired.get() && idle <= idle_limit && self.is_open()
    }
}

fn not_spoken(fault: &h2::Error) -> UpstreamFault {
    if fault.is_io() {
        UpstreamFault::Closed
    } else {
        UpstreamFault::Protocol
    }
}

/// Drives a connection to its end, which comes when nobody holds it any more, or when the service is gone.
async fn drive(mut connection: Connection<Observed<Reads>, Bytes>, vitals: Rc<Vitals>) {
    let mut watch = connection.ping_pong().map(|ping| Watch::new(ping, &vitals));
    poll_fn(|cx| {
        if Pin::new(&mut connection).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match &mut watch {
            Some(watch) => watch.poll_gone(cx),
            None => Poll::Pending,
        }
    })
    .await;
    // Requests that are under way end with the connection.
    vitals.retired.set(true);
}

/// Notices that a service is gone without a word.
struct Watch {
    vitals: Rc<Vitals>,
    ping: PingPong,
    looks: Interval,
    reads: u64,
    /// When something was last read, as far as was looked.
    heard: Instant,
    asked: Option<Instant>,
}

impl Watch {
    fn new(ping: PingPong, vitals: &Rc<Vitals>) -> Self {
        let now = Instant::now();
        let mut looks = tokio::time::interval_at(now + LOOK_EVERY, LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            vitals: Rc::clone(vitals),
            ping,
            looks,
            reads: 0,
            heard: now,
            asked: None,
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Taken off, so that the next one can be asked for; that it has come shows in the reads.
        while matches!(self.ping.poll_pong(cx), Poll::Ready(Ok(_))) {}
        while self.looks.poll_tick(cx).is_ready() {
            if self.is_gone(Instant::now()) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    fn is_gone(&mut self, now: Instant) -> bool {
        let reads = self.vitals.reads.get();
        if reads != self.reads || self.vitals.streams.get() == 0 {
            self.reads = reads;
            self.heard = now;
            return false;
        }
        let asked_since = self.asked.filter(|asked| *asked > self.heard);
        if let Some(asked) = asked_since {
            return now.duration_since(asked) >= PING_PATIENCE;
        }
        let may_ask = self
            .asked
            .is_none_or(|asked| now.duration_since(asked) >= PING_GAP);
        if now.duration_since(self.heard) >= PING_AFTER
            && may_ask
            && self.ping.send_ping(Ping::opaque()).is_ok()
        {
            self.asked = Some(now);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watch over a connection with one request under way, and when it began.
    async fn watch(vitals: &Rc<Vitals>) -> (Watch, Instant, impl Sized) {
        let (ours, theirs) = tokio::io::duplex(1024);
        let spoken = Builder::new().handshake::<_, Bytes>(ours).await;
        let (sender, mut connection) = spoken.unwrap();
        vitals.streams.set(1);
        let ping = connection.ping_pong().unwrap();
        let watch = Watch::new(ping, vitals);
        let begun = watch.heard;
        (watch, begun, (sender, connection, theirs))
    }

    fn run(part: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.unwrap().block_on(part);
    }

    #[test]
    fn a_service_that_answers_no_ping_is_gone() {
        run(async {
            let vitals = Rc::default();
            let (mut watch, begun, _kept) = watch(&vitals).await;
            let after = |seconds| begun + Duration::from_secs(seconds);
            assert!(!watch.is_gone(after(20)));
            assert_eq!(watch.asked, None);
            assert!(!watch.is_gone(after(30)));
            assert_eq!(watch.asked, Some(after(30)));
            assert!(!watch.is_gone(after(40)));
            assert!(watch.is_gone(after(50)));
        });
    }

    #[test]
    fn a_service_that_lives_is_asked_rarely_and_an_idle_one_never() {
        run(async {
            let vitals = Rc::<Vitals>::default();
            let (mut watch, begun, _kept) = watch(&vitals).await;
            let after = |seconds| begun + Duration::from_secs(seconds);
            vitals.streams.set(0);
            assert!(!watch.is_gone(after(1000)));
            assert_eq!(watch.asked, None);
            vitals.streams.set(1);
            assert!(!watch.is_gone(after(1030)));
            assert_eq!(watch.asked, Some(after(1030)));
            vitals.reads.set(1);
            for seconds in (1040..1380).step_by(10) {
                assert!(!watch.is_gone(after(seconds)));
                assert_eq!(watch.asked, Some(after(1030)), "{seconds}");
            }
        });
    }
}
