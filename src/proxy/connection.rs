//! One downstream connection: HTTP/1.1 off a socket, with the timeouts that hyper leaves to us, and with answers of our
//! own where hyper's parser would give a bare status.
//!
//! A connection has one timer, set again only when it fires or a nearer deadline appears: a kept-alive request does not
//! touch it. Deadlines are told apart by what the connection is doing (its [`Phase`]).

use super::context::RequestContext;
use super::error::ProxyError;
use super::handler;
use super::head_watch::HeadWatch;
use super::listener::ListenerState;
use super::upstream::answer::AnswerHead;
use super::worker::Worker;
use crate::config::ListenerLimits;
use crate::domain::method;
use crate::telemetry::access::connection_members;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// How long the rest of a refused request is read and thrown away, so that the caller gets to read the answer instead
/// of a reset.
const LINGER: Duration = Duration::from_secs(2);
/// Hyper's own read buffer, when the caps on a head are smaller.
const LEAST_BUFFER: usize = 8192;
/// Bytes of a request line besides its target.
const REQUEST_LINE: usize = 64;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing of a next request has come.
    Idle,
    /// Some of a request's head has come.
    Head,
    /// A request is being answered.
    Request,
}

/// What one connection's parts (socket, timer, requests) know together.
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    /// The peer's address for `X-Forwarded-For`.
    pub(super) peer_ip: Box<str>,
    /// The connection's part of an access line.
    pub(super) log_members: Box<str>,
    pub(super) limits: ListenerLimits,
    phase: Cell<Phase>,
    read_deadline: Cell<Option<Instant>>,
    write_deadline: Cell<Option<Instant>>,
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
    /// The parser's refusal, once it gave one.
    refusal: Cell<Option<ProxyError>>,
    /// The socket, handed back when hyper lets go of it.
    leftover: RefCell<Option<TcpStream>>,
}

impl Connection {
    fn new(listener: &ListenerState, limits: ListenerLimits, peer: SocketAddr) -> Self {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Self {
            peer,
            peer_ip: peer.ip().to_string().into(),
            log_members: connection_members(&listener.name, peer).into(),
            limits,
            phase: Cell::new(Phase::Idle),
            read_deadline: Cell::new(Some(Instant::now() + limits.header_timeout)),
            write_deadline: Cell::new(None),
            draining: Cell::new(false),
            cut: Cell::new(false),
            unflushed: Cell::new(false),
            waker: RefCell::new(None),
            unread: Cell::new(false),
            watch: RefCell::default(),
            interim: RefCell::default(),
            refusal: Cell::new(None),
            leftover: RefCell::new(None),
        }
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

    pub(super) fn request_begins(&self) {
        self.phase.set(Phase::Request);
        self.read_deadline.set(None);
    }

    pub(super) fn request_ends(&self) {
        self.phase.set(Phase::Idle);
        self.unflushed.set(true);
    }

    /// Whether the head had both a length and a transfer coding; hyper shows only the latter.
    pub(super) fn is_framed_twice(&self) -> bool {
        let watch = self.watch.borrow();
        watch.length && watch.coding
    }

    /// Passes an interim answer on, in front of whatever is written next.
    pub(super) fn interim(&self, answer: &AnswerHead) {
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

    /// Bytes of a head came, or the first of the next one.
    fn head_came(&self, bytes: &[u8]) {
        if self.phase.get() == Phase::Idle {
            self.phase.set(Phase::Head);
            self.read_deadline.set(None);
            *self.watch.borrow_mut() = HeadWatch::default();
        }
        self.watch.borrow_mut().feed(bytes);
    }

    /// The nearest deadline. Asked for only when there is nothing to do, so that a request that goes straight through
    /// never looks at the clock for it.
    fn deadline(&self) -> Option<Instant> {
        if self.read_deadline.get().is_none() {
            let limit = match self.phase.get() {
                Phase::Idle => Some(self.limits.idle_timeout),
                Phase::Head => Some(self.limits.header_timeout),
                Phase::Request => None,
            };
            self.read_deadline
                .set(limit.map(|limit| Instant::now() + limit));
        }
        match (self.read_deadline.get(), self.write_deadline.get()) {
            (Some(read), Some(write)) => Some(read.min(write)),
            (read, write) => read.or(write),
        }
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
    stream: TcpStream,
    peer: SocketAddr,
) {
    // Without it small answers may wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let connection = Rc::new(Connection::new(&listener, limits, peer));
    let number = worker.register(&connection);
    let end = drive(&worker, &connection, stream).await;
    worker.unregister(number);
    let stream = connection.leftover.take();
    let unheard = connection.refusal.get().is_some() || connection.unread.get();
    match (end, stream) {
        (End::HeadTooSlow, Some(stream)) => refuse_slow_head(&worker, &connection, stream).await,
        (End::Done, Some(stream)) if unheard => linger(stream).await,
        (End::HeadTooSlow | End::Done | End::Cut, _) => {}
    }
}

/// One connection too many: said, not just closed. Bounded by the time the caller gets to hang up.
pub(super) async fn turn_away(
    worker: Rc<Worker>,
    listener: Arc<ListenerState>,
    limits: ListenerLimits,
    mut stream: TcpStream,
    peer: SocketAddr,
) {
    let connection = Rc::new(Connection::new(&listener, limits, peer));
    let answer = refuse(&worker, &connection, ProxyError::Overloaded);
    let _ = tokio::time::timeout(LINGER, stream.write_all(&answer)).await;
    linger(stream).await;
}

/// How a connection ended.
enum End {
    Done,
    HeadTooSlow,
    Cut,
}

async fn drive(worker: &Rc<Worker>, connection: &Rc<Connection>, stream: TcpStream) -> End {
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
    Driver {
        http,
        timer: None,
        connection: Rc::clone(connection),
        told: false,
    }
    .await
}

pin_project_lite::pin_project! {
    /// Polls hyper, and ends it when a deadline passes or the worker says so.
    struct Driver<H> {
        #[pin]
        http: H,
        timer: Option<Pin<Box<Sleep>>>,
        connection: Rc<Connection>,
        told: bool,
    }
}

impl<S> Future for Driver<http1::Connection<ClientIo, S>>
where
    http1::Connection<ClientIo, S>: Future<Output = hyper::Result<()>>,
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = super::body::AnswerBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Output = End;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let mut this = self.project();
        let connection = Rc::clone(this.connection);
        if connection.cut.get() {
            return Poll::Ready(End::Cut);
        }
        if connection.draining.get() && !*this.told {
            *this.told = true;
            this.http.as_mut().graceful_shutdown();
        }
        // An error here is the caller's doing (gone, or refused by the parser) and has been accounted for.
        if this.http.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Done);
        }
        connection.keep_waker(cx);
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
                let slow_head = connection.phase.get() == Phase::Head
                    && connection.write_deadline.get().is_none();
                return Poll::Ready(if slow_head {
                    End::HeadTooSlow
                } else {
                    End::Cut
                });
            }
            Some(_) => {}
            None => return Poll::Pending,
        }
    }
}

/// Half a head, and no more of it for too long.
async fn refuse_slow_head(worker: &Rc<Worker>, connection: &Rc<Connection>, mut stream: TcpStream) {
    let fault = ProxyError::RequestTimeout;
    let answer = refuse(worker, connection, fault);
    let _ = tokio::time::timeout(LINGER, stream.write_all(&answer)).await;
    linger(stream).await;
}

/// The answer to a request whose head could not be read, accounted for like any other.
fn refuse(worker: &Rc<Worker>, connection: &Rc<Connection>, fault: ProxyError) -> Vec<u8> {
    let head = http::Request::new(());
    let mut cx = RequestContext::begin(worker, connection, &head);
    cx.unreadable(method::SLOTS - 1);
    cx.answers(fault.status(), Some(fault.code()));
    cx.complete = true;
    fault.raw_answer(cx.request_id.to_str().unwrap_or_default())
}

/// Closes our side, then reads what still comes until the caller closes too. Bounded.
async fn linger(mut stream: TcpStream) {
    let rest = async {
        stream.shutdown().await?;
        let mut scrap = vec![0; 16 * 1024];
        while stream.read(&mut scrap).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(LINGER, rest).await;
}

/// The socket as hyper sees it. Notes when bytes come and when writing stalls, and puts our answer in the place of the
/// bare one that hyper's parser writes when it cannot read a head.
struct ClientIo {
    stream: Option<TokioIo<TcpStream>>,
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    /// Our answer to an unreadable head, and how much of it is written.
    refusal: Option<(Vec<u8>, usize)>,
}

impl ClientIo {
    fn new(stream: TcpStream, worker: Rc<Worker>, connection: Rc<Connection>) -> Self {
        Self {
            stream: Some(TokioIo::new(stream)),
            worker,
            connection,
            refusal: None,
        }
    }

    fn socket(&mut self) -> io::Result<Pin<&mut TokioIo<TcpStream>>> {
        self.stream
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Bytes written between two requests can only be the parser's refusal of the next one, which may have come in one
    /// piece with the one before.
    fn between_requests(&self) -> bool {
        self.connection.phase.get() != Phase::Request && !self.connection.unflushed.get()
    }

    fn is_refusal(&self, bytes: &[u8]) -> Option<ProxyError> {
        if !self.between_requests() || self.refusal.is_some() {
            return None;
        }
        let status = bytes
            .strip_prefix(b"HTTP/1.1 ")
            .or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?
            .get(..3)?;
        let status = std::str::from_utf8(status).ok()?.parse().ok()?;
        Some(ProxyError::of_parser(status))
    }

    /// Reads what may be a head, with a look at it before hyper has it.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let worker = Rc::clone(&self.worker);
        let mut scratch = worker.scratch.borrow_mut();
        let room = scratch.len().min(buffer.remaining());
        let mut read = ReadBuf::new(&mut scratch[..room]);
        ready!(Pin::new(self.socket()?.get_mut().inner_mut()).poll_read(cx, &mut read))?;
        if !read.filled().is_empty() {
            self.connection.head_came(read.filled());
            buffer.put_slice(read.filled());
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the interim answers that wait.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = Rc::clone(&self.connection);
        let mut waiting = connection.interim.borrow_mut();
        while !waiting.is_empty() {
            let written = ready!(self.socket()?.poll_write(cx, &waiting))?;
            waiting.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((answer, written)) = &mut self.refusal {
            if *written == answer.len() {
                return Poll::Ready(Ok(()));
            }
            let Some(stream) = &mut self.stream else {
                break;
            };
            *written += ready!(Pin::new(stream).poll_write(cx, &answer[*written..]))?;
        }
        Poll::Ready(Ok(()))
    }

    fn note<T>(&self, written: &Poll<T>) {
        let stalled = written.is_pending();
        match (stalled, self.connection.write_deadline.get()) {
            (true, None) => {
                self.connection
                    .write_deadline
                    .set(Some(Instant::now() + self.connection.limits.body_timeout));
            }
            (false, Some(_)) => self.connection.write_deadline.set(None),
            (true, Some(_)) | (false, None) => {}
        }
    }
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        *self.connection.leftover.borrow_mut() = self.stream.take().map(TokioIo::into_inner);
    }
}

impl Read for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.connection.phase.get() == Phase::Request {
            return self.socket()?.poll_read(cx, buffer);
        }
        self.poll_head(cx, buffer)
    }
}

impl Write for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(fault) = self.is_refusal(bytes) {
            self.connection.refusal.set(Some(fault));
            self.refusal = Some((refuse(&self.worker, &self.connection, fault), 0));
        }
        if self.refusal.is_some() {
            return self.poll_refusal(cx).map_ok(|()| bytes.len());
        }
        ready!(self.poll_interim(cx))?;
        let written = self.socket()?.poll_write(cx, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.between_requests() || self.refusal.is_some() {
            let bytes = slices
                .iter()
                .map(|slice| &**slice)
                .find(|slice| !slice.is_empty())
                .unwrap_or_default();
            return self.poll_write(cx, bytes);
        }
        ready!(self.poll_interim(cx))?;
        let written = self.socket()?.poll_write_vectored(cx, slices);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        ready!(self.poll_interim(cx))?;
        let flushed = self.socket()?.poll_flush(cx);
        if flushed.is_ready() {
            self.connection.unflushed.set(false);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        self.socket()?.poll_shutdown(cx)
    }
}
