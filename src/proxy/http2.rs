//! HTTP/2 towards callers (RFC 9113): many requests on one connection, each its own task, with limits that a hostile peer
//! cannot talk us out of.
//!
//! What h2 sees to by itself: malformed heads and pseudo-header fields, fields of one connection, lengths that do not add up,
//! frames of `CONTINUATION` and `SETTINGS` without end, streams that are reset as fast as they come (CVE-2023-44487) or that we
//! are made to reset (CVE-2025-8671), and empty frames without end. What is set here bounds the rest.

use super::body::AnswerBody;
use super::caller_body::CallerBody;
use super::connection::{Connection, Driven, Driver, End};
use super::frame_watch::FrameWatch;
use super::handlers::Handlers;
use super::observed::{Observed, Observer};
use super::outflow::Watched;
use super::request::{self as proxy, Head};
use super::socket::Socket;
use super::worker::Worker;
use crate::telemetry::metrics::Shed;
use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::rt::{Executor, Read, ReadBufCursor, Write};
use hyper::server::conn::http2;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::time::Instant;

/// Bytes of a request's body that may be under way before they are read.
const STREAM_WINDOW: u32 = 256 * 1024;
/// And of all requests of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of an answer that wait for a slow peer.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that were reset before they were looked at.
const PENDING_RESETS: usize = 20;
/// Streams that the peer has made us reset.
const OWN_RESETS: usize = 128;
/// Bytes in front of a caller's first frame (RFC 9113 §3.4).
const PREFACE: usize = 24;
/// A silent peer is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// Runs streams on this worker's thread.
#[derive(Clone)]
struct OnThisThread(Rc<Worker>, Rc<Connection>);

impl<F> Executor<F> for OnThisThread
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, stream: F) {
        let watched = Watched::new(stream, Rc::clone(&self.1));
        self.0.tasks.spawn_local(watched);
    }
}

/// Serves a connection to its end. `read` is what has been read from it already.
pub(super) async fn drive(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    socket: Socket,
    read: Bytes,
) -> End {
    let mut observer = Budget {
        connection: Rc::clone(connection),
        frames: FrameWatch::new(PREFACE),
        since: Instant::now(),
    };
    if !observer.holds(&read) {
        return End::Cut;
    }
    let io = Http2Io {
        socket: TokioIo::new(Observed { socket, observer }),
        connection: Rc::clone(connection),
        read,
    };
    let service = {
        let (worker, connection) = (Rc::clone(worker), Rc::clone(connection));
        service_fn(move |request: Request<Incoming>| {
            let (worker, connection) = (Rc::clone(&worker), Rc::clone(&connection));
            let (parts, body) = request.into_parts();
            let request = proxy::Request {
                head: Head::of_http2(parts, worker.spare.head(), || worker.random()),
                body: CallerBody::Http2(body),
            };
            // What a stream's task holds itself is copied several times.
            let answering = Handlers::handle(&worker, &connection, request);
            async move {
                let (answer, mut request) = answering.await;
                worker.spare.recycle_head(&mut request.head);
                Ok::<_, Infallible>(answer.into_response(&worker.spare))
            }
        })
    };
    let limits = &connection.limits;
    let list = limits.max_header_bytes + limits.max_uri_bytes + 32 * limits.max_headers;
    let mut builder = http2::Builder::new(OnThisThread(Rc::clone(worker), Rc::clone(connection)));
    builder
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(OWN_RESETS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE);
    Driver::new(builder.serve_connection(io, service), connection).await
}

impl<S> Driven for http2::Connection<Http2Io, S, OnThisThread>
where
    S: HttpService<Incoming, ResBody = AnswerBody>,
    S::Future: 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn last_requests(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Holds the peer's frames against its budget.
struct Budget {
    connection: Rc<Connection>,
    frames: FrameWatch,
    since: Instant,
}

impl Budget {
    /// Whether these bytes of the peer's are within it; counted if not.
    fn holds(&mut self, bytes: &[u8]) -> bool {
        let holds = self.frames.feed(bytes, self.since.elapsed().as_secs());
        if !holds {
            self.connection.shed(Shed::ControlFrames);
        }
        holds
    }
}

impl Observer for Budget {
    fn read(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        if self.holds(&buffer.filled()[before..]) {
            return Ok(());
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    fn wrote(&mut self, bytes: usize) {
        self.frames.wrote(bytes);
    }
}

/// The caller's socket as h2 sees it: notes when writing stalls.
struct Http2Io {
    socket: TokioIo<Observed<Budget>>,
    connection: Rc<Connection>,
    read: Bytes,
}

impl Http2Io {
    fn socket(&mut self) -> Pin<&mut TokioIo<Observed<Budget>>> {
        Pin::new(&mut self.socket)
    }
}

impl Read for Http2Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read.is_empty() {
            let now = self.read.len().min(buffer.remaining());
            self.connection.first_byte_came();
            let now = self.read.split_to(now);
            buffer.put_slice(&now);
            return Poll::Ready(Ok(()));
        }
        let read = self.socket().poll_read(cx, buffer);
        if read.is_ready() {
            self.connection.first_byte_came();
        }
        read
    }
}

impl Write for Http2Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.socket().poll_write(cx, bytes);
        self.connection.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.socket().poll_write_vectored(cx, slices);
        self.connection.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_shutdown(cx)
    }
}
