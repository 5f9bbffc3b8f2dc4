//! One downstream connection: what its parts know together, and the timeouts.
//!
//! A connection has one timer, set again only when it fires or a nearer deadline appears: a kept-alive request does not
//! touch it. Deadlines are told apart by what the connection is doing (its [`Phase`]).
//!
//! Long for its state: timers, refusals, drain and lingering all hang on what the connection is doing, and are kept where
//! that can be seen at once.

use super::arrival::Caller;
use super::context::RequestContext;
use super::error::ProxyError;
use super::http1;
use super::http2;
use super::listener::ListenerState;
use super::outflow::Outflow;
use super::request::Head;
use super::socket::Socket;
use super::tls::ClientIdentity;
use super::upgrade::Tunnel;
use super::upstream::answer::AnswerHead;
use super::worker::Worker;
use crate::config::{ListenerLimits, ProxyTrust};
use crate::domain::method;
use crate::telemetry::access::{address_text, connection_members};
use crate::telemetry::metrics::Shed;
use bytes::Bytes;
use std::cell::{Cell, RefCell, RefMut};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// How long the rest of a refused request is read and thrown away, so that the caller gets to read the answer instead
/// of a reset.
const LINGER: Duration = Duration::from_secs(2);
/// And how much of it.
const MOST_LINGERED: usize = 4 * 1024 * 1024;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing has come.
    Fresh,
    /// Nothing of a next request has come.
    Idle,
    /// Some of a request's head has come.
    Head,
    /// A request is being answered.
    Request,
}

/// What one connection's parts (socket, timer, requests) know together.
pub(super) struct Connection {
    /// Who made it; a PROXY header has been believed.
    pub(super) peer: SocketAddr,
    /// The peer's address for `X-Forwarded-For`.
    pub(super) peer_ip: Box<str>,
    /// What services are told of it, where nobody else is believed: the fields of one hop.
    pub(super) forwarded: Box<[u8]>,
    /// The peer is a proxy that is believed about where a request comes from.
    pub(super) trust: Option<Arc<ProxyTrust>>,
    listener: Arc<ListenerState>,
    /// The connection's part of an access line.
    pub(super) log_members: Box<str>,
    pub(super) limits: Arc<ListenerLimits>,
    phase: Cell<Phase>,
    /// Requests under way: one at most but for HTTP/2.
    open: Cell<usize>,
    read_deadline: Cell<Option<Instant>>,
    /// Since when the caller takes no bytes, and until when it may.
    stall: Cell<Option<(Instant, Instant)>>,
    /// How long it took none since the connection was idle, and how many it took.
    stalled: Cell<Duration>,
    written: Cell<u64>,
    /// How the answer flows out that is being worked on; HTTP/2 only.
    outflow: RefCell<Option<Rc<Outflow>>>,
    draining: Cell<bool>,
    cut: Cell<bool>,
    /// The last answer has said that it is the last.
    closing: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// The caller may still be sending what nobody will read.
    unread: Cell<bool>,
    /// Interim answers that wait to be written.
    interim: RefCell<Vec<u8>>,
    /// It turned out to be HTTP/2.
    http2: Cell<bool>,
    /// The socket, and what has been read from it, when no more requests come.
    leftover: RefCell<(Option<Socket>, Bytes)>,
    /// Whether nobody on the way can read along.
    pub(super) secure: bool,
    /// The caller by its certificate.
    pub(super) client: Option<ClientIdentity>,
    /// What the connection goes on with behind its answer.
    tunnel: RefCell<Option<Tunnel>>,
}

impl Connection {
    pub(super) fn new(
        listener: &Arc<ListenerState>,
        limits: &Arc<ListenerLimits>,
        caller: Caller,
    ) -> Self {
        let peer = SocketAddr::new(caller.peer.ip().to_canonical(), caller.peer.port());
        let scheme = if caller.secure { "https" } else { "http" };
        let address = address_text(peer.ip());
        let forwarded = [
            "x-forwarded-for: ",
            &address,
            "\r\nx-forwarded-proto: ",
            scheme,
            "\r\n",
        ]
        .concat();
        let is_proxy = caller.trust.is_some();
        let members = connection_members(&listener.json_name, (peer, &address), is_proxy);
        Self {
            peer,
            peer_ip: address.into(),
            forwarded: forwarded.into_bytes().into(),
            trust: caller.trust,
            log_members: members.into(),
            listener: Arc::clone(listener),
            limits: Arc::clone(limits),
            phase: Cell::new(Phase::Fresh),
            open: Cell::new(0),
            read_deadline: Cell::new(Some(caller.since + limits.first_byte_timeout)),
            stall: Cell::new(None),
            stalled: Cell::new(Duration::ZERO),
            written: Cell::new(0),
            outflow: RefCell::new(None),
            draining: Cell::new(false),
            cut: Cell::new(false),
            closing: Cell::new(false),
            waker: RefCell::new(None),
            unread: Cell::new(false),
            interim: RefCell::default(),
            http2: Cell::new(false),
            leftover: RefCell::default(),
            secure: caller.secure,
            client: caller.client,
            tunnel: RefCell::new(None),
        }
    }

    /// Counts that this connection, or a request of it, was ended or refused.
    pub(super) fn shed(&self, reason: Shed) {
        self.listener.shed.count(reason);
    }

    /// The connection goes on with a WebSocket once its answer is written.
    pub(super) fn becomes(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    pub(super) fn drain(&self) {
        self.draining.set(true);
        self.wake();
    }

    pub(super) fn cut(&self) {
        self.cut.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// A request's body was left unread: the connection cannot be used again, and must not be reset under the answer.
    pub(super) fn body_left(&self) {
        self.unread.set(true);
    }

    /// Whether that has happened.
    pub(super) fn has_left(&self) -> bool {
        self.unread.get()
    }

    pub(super) fn request_begins(&self) {
        let open = self.open.get();
        if open == 0 {
            self.stalled.set(Duration::ZERO);
            self.written.set(0);
        }
        self.open.set(open + 1);
        self.phase.set(Phase::Request);
        self.read_deadline.set(None);
    }

    /// One is over, at this moment.
    pub(super) fn request_ends(&self, now: Instant) {
        let open = self.open.get().saturating_sub(1);
        self.open.set(open);
        if open > 0 {
            return;
        }
        self.phase.set(Phase::Idle);
        self.read_deadline.set(Some(now + self.limits.idle_timeout));
    }

    /// Passes an interim answer on, in front of whatever is written next.
    pub(super) fn interim(&self, answer: &AnswerHead) {
        self.says(answer.lines.as_bytes());
        self.says(b"\r\n");
    }

    /// Says something in front of whatever is written next.
    pub(super) fn says(&self, bytes: &[u8]) {
        self.interim.borrow_mut().extend_from_slice(bytes);
    }

    /// The connection goes on as HTTP/2.
    pub(super) fn speaks_http2(&self) {
        self.http2.set(true);
    }

    /// Whether the connection goes on in another way.
    pub(super) fn goes_on(&self) -> bool {
        self.http2.get() || self.tunnel.borrow().is_some()
    }

    /// Bytes of a head came.
    pub(super) fn head_came(&self) {
        if matches!(self.phase.get(), Phase::Fresh | Phase::Idle) {
            self.phase.set(Phase::Head);
            self.read_deadline.set(None);
        }
    }

    /// The last answer has said that it is the last.
    pub(super) fn closes(&self) {
        self.closing.set(true);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// The first byte of a connection of HTTP/2.
    pub(super) fn first_byte_came(&self) {
        if self.phase.get() == Phase::Fresh {
            self.phase.set(Phase::Idle);
            self.read_deadline.set(None);
        }
    }

    /// The socket took bytes, or would not.
    pub(super) fn wrote(&self, written: &Poll<io::Result<usize>>) {
        match (written, self.stall.get()) {
            (Poll::Pending, Some(_)) => {}
            (Poll::Pending, None) => {
                let now = Instant::now();
                let most = self.limits.stall(self.written.get(), self.stalled.get());
                self.stall.set(Some((now, now + most)));
            }
            (Poll::Ready(took), stall) => {
                let took = took.as_ref().map_or(0, |bytes| *bytes as u64);
                self.written.set(self.written.get() + took);
                if let Some((since, _)) = stall {
                    self.stalled.set(self.stalled.get() + since.elapsed());
                    self.stall.set(None);
                }
            }
        }
    }

    /// Whether the caller takes no bytes.
    pub(super) fn is_stalled(&self) -> bool {
        self.stall.get().is_some()
    }

    /// One stream of HTTP/2 is worked on, or none.
    pub(super) fn enter(&self, outflow: Option<&Rc<Outflow>>) {
        *self.outflow.borrow_mut() = outflow.map(Rc::clone);
    }

    /// The stream that is worked on.
    pub(super) fn outflow(&self) -> Option<Rc<Outflow>> {
        self.outflow.borrow().clone()
    }

    /// Interim answers that wait to be written.
    pub(super) fn interim_answers(&self) -> RefMut<'_, Vec<u8>> {
        self.interim.borrow_mut()
    }

    /// No more requests are read from the socket.
    pub(super) fn hand_back(&self, socket: Option<Socket>, read: Bytes) {
        *self.leftover.borrow_mut() = (socket, read);
    }

    /// The nearest deadline. Asked for only when there is nothing to do, so that a request that goes straight through
    /// never looks at the clock for it.
    fn deadline(&self) -> Option<Instant> {
        if self.read_deadline.get().is_none() {
            let limit = match self.phase.get() {
                Phase::Fresh => Some(self.limits.first_byte_timeout),
                Phase::Idle => Some(self.limits.idle_timeout),
                Phase::Head => Some(self.limits.header_timeout),
                Phase::Request => None,
            };
            self.read_deadline
                .set(limit.map(|limit| Instant::now() + limit));
        }
        let write = self.stall.get().map(|(_, until)| until);
        match (self.read_deadline.get(), write) {
            (Some(read), Some(write)) => Some(read.min(write)),
            (read, write) => read.or(write),
        }
    }

    /// A deadline has passed: what that means, counted.
    fn too_late(&self) -> End {
        let (reason, end) = match (self.stall.get(), self.phase.get()) {
            (Some(_), _) => (Shed::SlowRead, End::Cut),
            (None, Phase::Fresh) => (Shed::FirstByte, End::Cut),
            (None, Phase::Head) => (Shed::SlowHeader, End::HeadTooSlow),
            (None, Phase::Idle | Phase::Request) => return End::Cut,
        };
        self.shed(reason);
        end
    }

    fn keep_waker(&self, cx: &Context<'_>) {
        let mut kept = self.waker.borrow_mut();
        if !kept
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *kept = Some(cx.waker().clone());
        }
    }
}

/// Serves a connection to its end. What a silent connection of HTTP/1.1 does not need is asked for when it is: ten thousand
/// of them are no rare thing.
pub(super) async fn serve(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    socket: Socket,
    http2: bool,
) {
    let number = worker.register(&connection);
    if worker.is_draining() {
        connection.drain();
    }
    let mut end = if http2 {
        Box::pin(http2::drive(&worker, &connection, socket, Bytes::new())).await
    } else {
        http1::drive(&worker, &connection, socket).await
    };
    let (mut stream, ahead) = connection.leftover.take();
    if connection.http2.get()
        && let Some(socket) = stream.take()
    {
        end = Box::pin(http2::drive(&worker, &connection, socket, ahead.clone())).await;
    }
    worker.unregister(number);
    let tunnel = connection.tunnel.take();
    let (Some(tunnel), End::Done) = (tunnel, &end) else {
        return Box::pin(finish(&worker, &connection, end, stream)).await;
    };
    if let Some(socket) = stream {
        Box::pin(worker.unless_cut(tunnel.run(socket, ahead))).await;
    }
}

/// What is left to do on a connection that is over.
async fn finish(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    end: End,
    stream: Option<Socket>,
) {
    match (end, stream) {
        (End::HeadTooSlow, Some(stream)) => refuse_slow_head(worker, connection, stream).await,
        (End::Done, Some(stream)) if connection.has_left() => linger(stream).await,
        (End::HeadTooSlow | End::Done | End::Cut, _) => {}
    }
}

/// Tells a caller that there is no room. Bounded by the time it gets to hang up.
pub(super) async fn turn_away(
    worker: &Rc<Worker>,
    connection: Rc<Connection>,
    mut stream: TcpStream,
) {
    let answer = refuse(worker, &connection, ProxyError::Overloaded);
    let _ = tokio::time::timeout(LINGER, stream.write_all(&answer)).await;
    linger(Socket::Clear(stream)).await;
}

/// How a connection ended.
pub(super) enum End {
    Done,
    HeadTooSlow,
    Cut,
}

/// A connection as its driver sees it: what serves its requests.
pub(super) trait Driven: Future {
    /// No more requests than those that are under way.
    fn last_requests(self: Pin<&mut Self>);
}

pin_project_lite::pin_project! {
    /// Serves requests, and ends that when a deadline passes or the worker says so.
    pub(super) struct Driver<H> {
        #[pin]
        http: H,
        timer: Option<Pin<Box<Sleep>>>,
        connection: Rc<Connection>,
        told: bool,
    }
}

impl<H: Driven> Driver<H> {
    pub(super) fn new(http: H, connection: &Rc<Connection>) -> Self {
        Self {
            http,
            timer: None,
            connection: Rc::clone(connection),
            told: false,
        }
    }
}

impl<H: Driven> Future for Driver<H> {
    type Output = End;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let mut this = self.project();
        let connection = Rc::clone(this.connection);
        if connection.cut.get() {
            return Poll::Ready(End::Cut);
        }
        if connection.draining.get() && !*this.told {
            *this.told = true;
            this.http.as_mut().last_requests();
        }
        connection.keep_waker(cx);
        // An error here is the caller's doing and has been accounted for.
        if this.http.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Done);
        }
        let expired = ready!(poll_deadline(&connection, this.timer, cx));
        Poll::Ready(expired)
    }
}

/// Waits for the nearest deadline; the timer is only touched when it fires or is too late.
fn poll_deadline(
    connection: &Connection,
    timer: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut Context<'_>,
) -> Poll<End> {
    loop {
        let Some(deadline) = connection.deadline() else {
            return Poll::Pending;
        };
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline || timer.is_elapsed() {
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(cx));
        // It may have been set for a deadline that has moved on since.
        match connection.deadline() {
            Some(deadline) if deadline <= Instant::now() => {
                return Poll::Ready(connection.too_late());
            }
            Some(_) => {}
            None => return Poll::Pending,
        }
    }
}

/// Half a head, and no more of it for too long.
async fn refuse_slow_head(worker: &Rc<Worker>, connection: &Rc<Connection>, mut stream: Socket) {
    let fault = ProxyError::RequestTimeout;
    let answer = refuse(worker, connection, fault);
    let _ = tokio::time::timeout(LINGER, stream.write_all(&answer)).await;
    linger(stream).await;
}

/// The answer to a request whose head could not be read, accounted for like any other.
pub(super) fn refuse(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    fault: ProxyError,
) -> Vec<u8> {
    let mut cx = RequestContext::begin(worker, connection, &Head::unread());
    cx.unreadable(method::SLOTS - 1);
    cx.answers(fault.status(), Some(fault.code()));
    cx.complete = true;
    fault.raw_answer(&cx.request_id)
}

/// Closes our side, then reads what still comes until the caller closes too. Bounded.
async fn linger(mut stream: Socket) {
    let rest = async {
        stream.shutdown().await?;
        let mut scrap = vec![0; 4 * 1024];
        let mut left = MOST_LINGERED;
        while left > 0 {
            match stream.read(&mut scrap).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(LINGER, rest).await;
}
