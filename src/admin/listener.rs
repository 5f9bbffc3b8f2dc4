//! Connections to the management port: few, none for long without a word, and none for long over one word, so that
//! whoever can reach the port can use up neither the descriptors that the data plane needs nor the seats here.

use super::server::Peer;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::Listener;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
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
/// Longest time for a head, from its first byte, and for a body: a byte now and then is not silent, and never ends.
pub(super) const WHOLE: Duration = Duration::from_mins(1);
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

/// Whether a request of a connection is being answered: from the end of its head until there is an answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Answering(Arc<AtomicBool>);

/// As long as it is there, a request is being answered.
struct Underway<'a>(&'a Answering);

impl Answering {
    fn begin(&self) -> Underway<'_> {
        self.0.store(true, Relaxed);
        Underway(self)
    }

    fn is_underway(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Relaxed);
    }
}

/// Tells the connection that a head has arrived: what follows is not limited by the time for a head.
pub(super) async fn note_head(
    ConnectInfo(Peer(_, answering)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let _underway = answering.begin();
    next.run(request).await
}

/// A connection that fails when nothing moves for too long, or when a head does not come to its end.
pub(super) struct TimedStream {
    stream: TcpStream,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    /// When the head that is arriving is too late; `None`: none is arriving.
    late: Option<Pin<Box<Sleep>>>,
    /// Time for a head.
    whole: Duration,
    answering: Answering,
    _seat: OwnedSemaphorePermit,
}

impl TimedStream {
    fn new(stream: TcpStream, seat: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            timer: Box::pin(tokio::time::sleep(PATIENCE)),
            waiting: false,
            late: None,
            whole: WHOLE,
            answering: Answering::default(),
            _seat: seat,
        }
    }

    pub(super) fn answering(&self) -> Answering {
        self.answering.clone()
    }

    /// Fails once the head that is arriving is too late.
    fn check_head(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.answering.is_underway() {
            self.late = None;
        }
        let late = self.late.as_mut();
        if late.is_some_and(|late| late.as_mut().poll(cx).is_ready()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
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
        self.check_head(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let has_more = buffer.filled().len() > before;
        if has_more && self.late.is_none() && !self.answering.is_underway() {
            self.late = Some(Box::pin(tokio::time::sleep(self.whole)));
        }
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
        // An answer: what comes behind it is another head.
        if written.is_ready() {
            self.late = None;
        }
        self.within_patience(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Both ends of a connection with this much time for a head.
    async fn connection(whole: Duration) -> (TimedStream, TcpStream) {
        let mut listener = CappedListener::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = listener.local_addr().unwrap();
        let (accepted, client) = tokio::join!(listener.accept(), TcpStream::connect(address));
        let mut stream = accepted.0;
        stream.whole = whole;
        (stream, client.unwrap())
    }

    #[tokio::test]
    async fn a_head_that_comes_in_drops_does_not_keep_its_seat() {
        let (mut stream, mut client) = connection(Duration::from_millis(100)).await;
        let drops = async {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let head = async move {
            let fault = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
            assert_eq!(fault.kind(), io::ErrorKind::TimedOut);
        };
        tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(drops, head) })
            .await
            .expect("it is closed, however steadily the drops fall");
    }

    #[tokio::test]
    async fn the_time_of_an_answer_is_not_that_of_a_head() {
        let whole = Duration::from_millis(50);
        let (mut stream, mut client) = connection(whole).await;
        let answering = stream.answering();
        let mut byte = [0];
        client.write_all(b"a").await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        {
            let _underway = answering.begin();
            tokio::time::sleep(whole * 2).await;
            client.write_all(b"b").await.unwrap();
            stream.read_exact(&mut byte).await.unwrap();
        }
        // A pause behind an answer is none within a head.
        stream.write_all(b"answer").await.unwrap();
        tokio::time::sleep(whole * 2).await;
        client.write_all(b"c").await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        tokio::time::sleep(whole * 2).await;
        client.write_all(b"d").await.unwrap();
        let fault = stream.read_exact(&mut byte).await.unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::TimedOut);
    }
}
