//! Connections to the management port: few, and none for long without a word, so that whoever can reach the port cannot
//! use up the descriptors that the data plane needs.

use axum::serve::Listener;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Open connections at a time; more wait in the kernel.
const MOST_CONNECTIONS: usize = 128;
/// Longest silence of a caller, and longest wait for one that does not read. No usual interval of scraping, so that a
/// kept connection is not closed just as it is used again.
const PATIENCE: Duration = Duration::from_secs(45);
/// Out of descriptors: accepting again at once would only spin.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener with a cap.
pub(super) struct CappedListener {
    listener: TcpListener,
    seats: Arc<Semaphore>,
}

impl CappedListener {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            seats: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
        }
    }

    async fn seat(&self) -> OwnedSemaphorePermit {
        loop {
            // Nobody closes the semaphore, so this does not fail.
            if let Ok(seat) = Arc::clone(&self.seats).acquire_owned().await {
                return seat;
            }
        }
    }
}

impl Listener for CappedListener {
    type Io = TimedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TimedStream, SocketAddr) {
        let seat = self.seat().await;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => return (TimedStream::new(stream, seat), peer),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when nothing moves for too long.
pub(super) struct TimedStream {
    stream: TcpStream,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    _seat: OwnedSemaphorePermit,
}

impl TimedStream {
    fn new(stream: TcpStream, seat: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            timer: Box::pin(tokio::time::sleep(PATIENCE)),
            waiting: false,
            _seat: seat,
        }
    }

    /// Passes a ready result on; a pending one fails once it has been pending for too long.
    fn within_patience<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = false;
            return result;
        }
        if !std::mem::replace(&mut self.waiting, true) {
            self.timer.set(tokio::time::sleep(PATIENCE));
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.within_patience(read, cx)
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.within_patience(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
