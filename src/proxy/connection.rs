//! One downstream connection: HTTP/1.1 off a socket, with the timeouts that hyper leaves to us, and with answers of our
//! own where hyper's parser would give a bare status.
//!
//! A connection has one timer, set again only when it fires or a nearer deadline appears: a kept-alive request does not
//! touch it. Deadlines are told apart by what the connection is doing (its [`Phase`]).
//!
//! Long for its state: timers, refusals, drain and lingering all hang on what the connection is doing, and are kept where
//! that can be seen at once.

use super::arrival::Caller;
use super::client_io::ClientIo;
use super::context::RequestContext;
use super::error::ProxyError;
use super::handler;
use super::head_watch::HeadWatch;
use super::http2;
use super::listener::ListenerState;
use super::outflow::Outflow;
use super::socket::Socket;
use super::tls::{ClientIdentity, Shaken};
use super::upgrade::Tunnel;
use super::upstream::answer::AnswerHead;
use super::worker::Worker;
use crate::config::{ListenerLimits, ProxyTrust};
use crate::domain::method;
use crate::telemetry::access::connection_members;
use crate::telemetry::metrics::Shed;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use std::cell::{Cell, Ref, RefCell, RefMut};
use std::convert::Infallible;
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
/// Hyper's own read buffer, when the caps on a head are smaller.
const LEAST_BUFFER: usize = 8192;
/// Bytes of a request line besides its target.
const REQUEST_LINE: usize = 64;

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
    /// The peer is a proxy that is believed about where a request comes from.
    pub(super) trust: Option<Arc<ProxyTrust>>,
    listener: Arc<ListenerState>,
    /// The connection's part of an access line.
    pub(super) log_members: Box<str>,
    pub(super) limits: ListenerLimits,
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
    /// The last answer has ended, but its bytes may not have left yet.
    unflushed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// The caller may still be sending what nobody will read.
    unread: Cell<bool>,
    /// What the head's lines say before hyper has read them.
    watch: RefCell<HeadWatch>,
    /// Interim answers that wait to be written.
    interim: RefCell<Vec<u8>>,
    /// The parser gave its refusal.
    refused: Cell<bool>,
    /// Bytes that have been read of a connection that turned out to be HTTP/2.
    preface: RefCell<Option<Bytes>>,
    /// Bytes of the next request have been read, and wait for the end of this one.
    pub(super) holds_next: Cell<bool>,
    /// Whether nothing has been read yet.
    fresh: Cell<bool>,
    /// The socket, handed back when hyper lets go of it.
    leftover: RefCell<Option<Socket>>,
    /// Whether nobody on the way can read along.
    pub(super) secure: bool,
    /// The caller by its certificate.
    pub(super) client: Option<ClientIdentity>,
    /// What the connection goes on with when hyper has let go of it.
    tunnel: RefCell<Option<Tunnel>>,
    /// What hyper had read beyond it.
    ahead: RefCell<Bytes>,
}

impl Connection {
    pub(super) fn new(
        listener: &Arc<ListenerState>,
        limits: ListenerLimits,
        caller: Caller,
    ) -> Self {
        let peer = SocketAddr::new(caller.peer.ip().to_canonical(), caller.peer.port());
        let members = connection_members(&listener.name, peer, caller.trust.is_some());
        Self {
            peer,
            peer_ip: peer.ip().to_string().into(),
            trust: caller.trust,
            log_members: members.into(),
            listener: Arc::clone(listener),
            limits,
            phase: Cell::new(Phase::Fresh),
            open: Cell::new(0),
            read_deadline: Cell::new(Some(caller.since + limits.first_byte_timeout)),
            stall: Cell::new(None),
            stalled: Cell::new(Duration::ZERO),
            written: Cell::new(0),
            outflow: RefCell::new(None),
            draining: Cell::new(false),
            cut: Cell::new(false),
            unflushed: Cell::new(false),
            waker: RefCell::new(None),
            unread: Cell::new(false),
            watch: RefCell::default(),
            interim: RefCell::default(),
            refused: Cell::new(false),
            preface: RefCell::new(None),
            holds_next: Cell::new(false),
            fresh: Cell::new(true),
            leftover: RefCell::new(None),
            secure: caller.secure,
            client: caller.client,
            tunnel: RefCell::new(None),
            ahead: RefCell::default(),
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

    pub(super) fn request_ends(&self) {
        let open = self.open.get().saturating_sub(1);
        self.open.set(open);
        if open > 0 {
            return;
        }
        self.phase.set(Phase::Idle);
        self.unflushed.set(true);
        if self.holds_next.get() {
            self.wake();
        }
    }

    /// Passes an interim answer on, in front of whatever is written next. Not into the bytes of an answer that have yet to
    /// leave: rather none than one in the wrong place.
    pub(super) fn interim(&self, answer: &AnswerHead) {
        if self.unflushed.get() {
            return;
        }
        let mut out = self.interim.borrow_mut();
        let reason = answer.status.canonical_reason().unwrap_or_default();
        // Writing to a Vec cannot fail.
        let _ = io::Write::write_fmt(
            &mut *out,
            format_args!("HTTP/1.1 {} {reason}\r\n", answer.status.as_u16()),
        );
        for (name, value) in &answer.headers {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Whether these first bytes begin HTTP/2: they are kept for it then. No method of HTTP/1.1 begins so.
    pub(super) fn is_preface(&self, bytes: &[u8]) -> bool {
        const BEGIN: &[u8] = b"PRI * ";
        let is_preface = self.fresh.replace(false) && self.limits.http2 && bytes.starts_with(BEGIN);
        if is_preface {
            *self.preface.borrow_mut() = Some(Bytes::copy_from_slice(bytes));
        }
        is_preface
    }

    /// Whether the connection goes on as HTTP/2 when hyper has let go of it.
    pub(super) fn goes_on(&self) -> bool {
        self.preface.borrow().is_some() || self.tunnel.borrow().is_some()
    }

    /// What the lines of the head say.
    pub(super) fn watched(&self) -> Ref<'_, HeadWatch> {
        self.watch.borrow()
    }

    /// Bytes of a head came, or the first of the next one; how many of them belong to this request.
    pub(super) fn head_came(&self, bytes: &[u8]) -> usize {
        let mut watch = self.watch.borrow_mut();
        // The rest of a body that nobody read is not the next head.
        if matches!(self.phase.get(), Phase::Fresh | Phase::Idle) && !watch.is_in_body() {
            self.phase.set(Phase::Head);
            self.read_deadline.set(None);
            *watch = HeadWatch::default();
        }
        watch.take(bytes)
    }

    /// Bytes of a body came, and maybe of what stands behind it; how many of them are the body's. `None`: it is none.
    pub(super) fn body_came(&self, bytes: &[u8]) -> Option<usize> {
        let mut watch = self.watch.borrow_mut();
        let taken = watch.take(bytes);
        (!watch.malformed).then_some(taken)
    }

    /// Whether the body that came with the head is framed in no way that counts.
    pub(super) fn is_misframed(&self) -> bool {
        self.watch.borrow().malformed
    }

    /// Whether the end of a request that is not over has been seen, so that the next bytes are not for it.
    pub(super) fn is_all_there(&self) -> bool {
        self.phase.get() != Phase::Idle && self.watch.borrow().is_over()
    }

    /// The first byte of a connection of HTTP/2.
    pub(super) fn first_byte_came(&self) {
        if self.phase.get() == Phase::Fresh {
            self.phase.set(Phase::Idle);
            self.read_deadline.set(None);
        }
    }

    pub(super) fn is_in_request(&self) -> bool {
        self.phase.get() == Phase::Request
    }

    /// Bytes written between two requests can only be the parser's refusal of the next one, which may have come in one
    /// piece with the one before.
    pub(super) fn is_between_requests(&self) -> bool {
        !self.is_in_request() && !self.unflushed.get()
    }

    /// The parser gave its refusal.
    pub(super) fn refused(&self) {
        self.refused.set(true);
    }

    /// All that was written has left.
    pub(super) fn flushed(&self) {
        self.unflushed.set(false);
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

    /// hyper has let go of the socket.
    pub(super) fn hand_back(&self, stream: Option<Socket>) {
        *self.leftover.borrow_mut() = stream;
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

/// Serves a connection to its end.
pub(super) async fn serve(
    worker: Rc<Worker>,
    listener: Arc<ListenerState>,
    limits: ListenerLimits,
    Shaken { socket, http2, .. }: Shaken,
    caller: Caller,
) {
    let connection = Rc::new(Connection::new(&listener, limits, caller));
    let number = worker.register(&connection);
    if worker.is_draining() {
        connection.drain();
    }
    let mut end = if http2 {
        http2::drive(&worker, &connection, socket, Bytes::new()).await
    } else {
        drive(&worker, &connection, socket).await
    };
    if let Some(read) = connection.preface.take()
        && let Some(socket) = connection.leftover.take()
    {
        end = http2::drive(&worker, &connection, socket, read).await;
    }
    worker.unregister(number);
    let stream = connection.leftover.take();
    let tunnel = connection.tunnel.take();
    let (Some(tunnel), End::Done) = (tunnel, &end) else {
        return finish(&worker, &connection, end, stream).await;
    };
    if let Some(socket) = stream {
        let ahead = connection.ahead.take();
        worker.unless_cut(tunnel.run(socket, ahead)).await;
    }
}

/// What is left to do on a connection that is over.
async fn finish(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    end: End,
    stream: Option<Socket>,
) {
    let unheard = connection.refused.get() || connection.unread.get();
    match (end, stream) {
        (End::HeadTooSlow, Some(stream)) => refuse_slow_head(worker, connection, stream).await,
        (End::Done, Some(stream)) if unheard => linger(stream).await,
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

async fn drive(worker: &Rc<Worker>, connection: &Rc<Connection>, stream: Socket) -> End {
    let io = ClientIo::new(stream, Rc::clone(worker), Rc::clone(connection));
    let service = {
        let (worker, connection) = (Rc::clone(worker), Rc::clone(connection));
        service_fn(move |request| {
            let (worker, connection) = (Rc::clone(&worker), Rc::clone(&connection));
            async move { Ok::<_, Infallible>(handler::handle(&worker, &connection, request).await) }
        })
    };
    let limits = connection.limits;
    let head = limits.max_header_bytes + limits.max_uri_bytes + REQUEST_LINE;
    let mut builder = http1::Builder::new();
    // The driver below has the clock; callers that leave cancel their work, so no half-close.
    builder
        .header_read_timeout(None)
        .half_close(false)
        .max_header_size(head * 2);
    if head * 2 > LEAST_BUFFER {
        builder.max_buf_size((head * 2).max(LEAST_BUFFER * 8));
    }
    if limits.max_headers >= 100 {
        builder.max_headers(limits.max_headers + 1);
    }
    let http = builder.serve_connection(io, service);
    let mut driver = Driver::new(http, connection);
    let end = Pin::new(&mut driver).await;
    if connection.tunnel.borrow().is_some() {
        let parts = driver.http.into_parts();
        *connection.ahead.borrow_mut() = [&parts.read_buf, parts.io.next()].concat().into();
    }
    end
}

/// A connection as hyper drives it.
pub(super) trait Driven: Future<Output = hyper::Result<()>> {
    /// No more requests than those that are under way.
    fn last_requests(self: Pin<&mut Self>);
}

impl<S> Driven for http1::Connection<ClientIo, S>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = super::body::AnswerBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn last_requests(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

pin_project_lite::pin_project! {
    /// Polls hyper, and ends it when a deadline passes or the worker says so.
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
        // Before: a request that is answered at once may end while hyper is asked, and leave the next one waiting.
        connection.keep_waker(cx);
        // An error here is the caller's doing (gone, or refused by the parser) and has been accounted for.
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
    let head = http::Request::new(());
    let mut cx = RequestContext::begin(worker, connection, &head);
    cx.unreadable(method::SLOTS - 1);
    cx.answers(fault.status(), Some(fault.code()));
    cx.complete = true;
    fault.raw_answer(cx.request_id.to_str().unwrap_or_default())
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
