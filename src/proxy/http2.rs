//! HTTP/2 towards callers (RFC 9113): many requests on one connection, each its own task, with limits that a hostile peer
//! cannot talk us out of.
//!
//! What h2 sees to by itself: malformed heads and pseudo-header fields, fields of one connection, lengths that do not add up,
//! frames of `CONTINUATION` and `SETTINGS` without end, streams that are reset as fast as they come (CVE-2023-44487) or that we
//! are made to reset (CVE-2025-8671), and empty frames without end. What is set here bounds the rest.

use super::body::AnswerBody;
use super::connection::{Connection, Driven, Driver, End};
use super::frame_watch::FrameWatch;
use super::handler;
use super::outflow::Watched;
use super::socket::Socket;
use super::worker::Worker;
use crate::telemetry::metrics::Shed;
use bytes::Bytes;
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
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
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
    let mut watched = Counted {
        socket,
        connection: Rc::clone(connection),
        frames: FrameWatch::new(PREFACE),
        since: Instant::now(),
    };
    if !watched.keeps_within(&read) {
        return End::Cut;
    }
    let io = Http2Io {
        socket: TokioIo::new(watched),
        connection: Rc::clone(connection),
        read,
    };
    let service = {
        let (worker, connection) = (Rc::clone(worker), Rc::clone(connection));
        service_fn(move |request| {
            let (worker, connection) = (Rc::clone(&worker), Rc::clone(&connection));
            async move { Ok::<_, Infallible>(handler::handle(&worker, &connection, request).await) }
        })
    };
    let limits = connection.limits;
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

/// The caller's socket with an eye on its frames.
struct Counted {
    socket: Socket,
    connection: Rc<Connection>,
    frames: FrameWatch,
    since: Instant,
}

impl Counted {
    /// Whether these bytes of the peer's are within its budget; counted if not.
    fn keeps_within(&mut self, bytes: &[u8]) -> bool {
        let within = self.frames.feed(bytes, self.since.elapsed().as_secs());
        if !within {
            self.connection.shed(Shed::ControlFrames);
        }
        within
    }

    fn wrote(&mut self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.frames.wrote(*bytes);
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        if self.keeps_within(&buffer.filled()[before..]) {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// The caller's socket as h2 sees it: notes when writing stalls.
struct Http2Io {
    socket: TokioIo<Counted>,
    connection: Rc<Connection>,
    read: Bytes,
}

impl Http2Io {
    fn socket(&mut self) -> Pin<&mut TokioIo<Counted>> {
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
        let flushed = self.socket().poll_flush(cx);
        if flushed.is_ready() {
            self.connection.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_shutdown(cx)
    }
}
