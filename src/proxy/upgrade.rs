//! A WebSocket between a caller and a service: bytes both ways as they come, nothing held back, and a proper end when the key
//! ends, when the gateway stops, or when nothing has been said for too long.

use super::context::RequestContext;
use super::socket::Socket;
use super::websocket::{self, Frames};
use super::worker::Worker;
use crate::gate::Denied;
use bytes::{Buf, Bytes, BytesMut};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long one side may go on when the other has nothing more to say.
const HALF_CLOSED: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);
/// Pieces moved in a row before others get their turn.
const IN_A_ROW: usize = 32;

/// A WebSocket whose handshake is done but for the answer's last byte.
pub(super) struct Tunnel {
    cx: Box<RequestContext>,
    upstream: Socket,
    /// What the service has sent behind its answer.
    ahead: BytesMut,
}

/// How a tunnel ended.
enum End {
    /// Both sides are done.
    Over,
    /// A connection broke.
    Broken,
    /// Nothing was said for too long.
    Idle,
    /// The gateway stops.
    Stop,
    /// The key has ended.
    Key(Denied),
}

impl Tunnel {
    pub(super) fn new(cx: Box<RequestContext>, upstream: Socket, ahead: BytesMut) -> Self {
        Self {
            cx,
            upstream,
            ahead,
        }
    }

    /// Carries bytes until one side ends it. `ahead` is what the caller has sent behind its request.
    pub(super) async fn run<C>(mut self, mut client: C, ahead: Bytes)
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let mut up = Flow::new(BytesMut::from(ahead));
        let mut down = Flow::new(std::mem::take(&mut self.ahead));
        let end = self.carry(&mut client, &mut up, &mut down).await;
        self.cx.bytes_in = Some(Rc::new(up.bytes.into()));
        self.cx.bytes_out = down.bytes;
        let said = match end {
            End::Over => {
                self.cx.completed();
                None
            }
            End::Broken => None,
            End::Idle => Some((websocket::GOING_AWAY, "idle")),
            End::Stop => Some((websocket::GOING_AWAY, "the gateway is restarting")),
            End::Key(denied) => {
                let (_, code, _) = denied.told();
                self.cx.ended_by(code);
                Some((websocket::POLICY, code))
            }
        };
        if let Some((code, reason)) = said {
            let mask = self.cx.worker.random().to_be_bytes();
            let mask = [mask[0], mask[1], mask[2], mask[3]];
            let to_client = down.last_words(&websocket::closing(code, reason, None));
            let to_upstream = up.last_words(&websocket::closing(code, reason, Some(mask)));
            // Accounted for before the goodbye, which is no part of it.
            drop(self.cx);
            tokio::join!(
                say_goodbye(&mut client, to_client),
                say_goodbye(&mut self.upstream, to_upstream),
            );
        }
    }

    async fn carry<C>(&mut self, client: &mut C, up: &mut Flow, down: &mut Flow) -> End
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let worker = Rc::clone(&self.cx.worker);
        let mut stop = pin!(worker.drains());
        let mut idle = Idle::new(
            self.cx
                .route()
                .and_then(|route| route.route.websocket_idle_timeout),
        );
        poll_fn(|cx| {
            if let Some(denied) = self.cx.is_cut() {
                return Poll::Ready(End::Key(denied));
            }
            self.cx.wake_at_cut(cx);
            if stop.as_mut().poll(cx).is_ready() {
                return Poll::Ready(End::Stop);
            }
            let before = up.bytes + down.bytes;
            let upwards = up.poll(&worker, client, &mut self.upstream, cx);
            let downwards = down.poll(&worker, &mut self.upstream, client, cx);
            let half_closed = match (upwards, downwards) {
                (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => {
                    return Poll::Ready(End::Broken);
                }
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(End::Over),
                (Poll::Pending, Poll::Pending) => false,
                (Poll::Ready(Ok(())), Poll::Pending) | (Poll::Pending, Poll::Ready(Ok(()))) => true,
            };
            let moved = up.bytes + down.bytes != before;
            ready!(idle.poll(moved, half_closed, cx));
            Poll::Ready(if half_closed { End::Over } else { End::Idle })
        })
        .await
    }
}

/// Goes on with a stream of HTTP/2 once its answer has been sent.
pub(super) fn run_on(worker: &Rc<Worker>, tunnel: Tunnel, stream: OnUpgrade) {
    let cutting = Rc::clone(worker);
    worker.tasks.spawn_local(async move {
        let work = async {
            if let Ok(stream) = stream.await {
                tunnel.run(TokioIo::new(stream), Bytes::new()).await;
            }
        };
        cutting.unless_cut(work).await;
    });
}

/// Says a last thing, and waits a moment for the other side to hear it: what it still sends would make the system throw away
/// what it has yet to read.
async fn say_goodbye<S>(socket: &mut S, words: Option<Vec<u8>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let saying = async {
        if let Some(words) = words {
            socket.write_all(&words).await?;
        }
        socket.shutdown().await?;
        let mut scrap = [0; 1024];
        while socket.read(&mut scrap).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(GOODBYE, saying).await;
}

/// Bytes in one direction.
struct Flow {
    /// Read and not yet written.
    waiting: BytesMut,
    frames: Frames,
    bytes: u64,
    ended: bool,
}

impl Flow {
    fn new(waiting: BytesMut) -> Self {
        Self {
            waiting,
            frames: Frames::default(),
            bytes: 0,
            ended: false,
        }
    }

    /// Moves what there is; ready when the source has ended and the other side knows.
    fn poll<R, W>(
        &mut self,
        worker: &Worker,
        from: &mut R,
        to: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..IN_A_ROW {
            while !self.waiting.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.waiting))?;
                self.passed(written)?;
            }
            if self.ended {
                return Pin::new(to).poll_shutdown(cx);
            }
            // Nothing is kept for a connection that is silent.
            self.waiting = BytesMut::new();
            let mut scratch = worker.scratch.borrow_mut();
            let mut read = ReadBuf::new(&mut scratch);
            if Pin::new(&mut *from).poll_read(cx, &mut read)?.is_pending() {
                // Under TLS what was written may wait for this.
                let _ = Pin::new(to).poll_flush(cx)?;
                return Poll::Pending;
            }
            self.ended = read.filled().is_empty();
            self.waiting.extend_from_slice(read.filled());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn passed(&mut self, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.frames.feed(&self.waiting[..bytes]);
        self.waiting.advance(bytes);
        self.bytes += bytes as u64;
        Ok(())
    }

    /// The rest of the frame that has begun, and a closing frame; `None` if there is no room for one.
    fn last_words(&self, closing: &[u8]) -> Option<Vec<u8>> {
        if self.frames.closed || self.ended {
            return None;
        }
        let border = self.frames.border(&self.waiting)?;
        Some([&self.waiting[..border], closing].concat())
    }
}

/// Measures silence.
struct Idle {
    longest: Option<Duration>,
    since: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    fn new(longest: Option<Duration>) -> Self {
        Self {
            longest,
            since: Instant::now(),
            timer: None,
        }
    }

    /// Ready when it has been silent for too long. The timer is set again only when it fires.
    fn poll(&mut self, moved: bool, half_closed: bool, cx: &mut Context<'_>) -> Poll<()> {
        if moved {
            self.since = Instant::now();
        }
        let longest = if half_closed {
            Some(
                self.longest
                    .map_or(HALF_CLOSED, |longest| longest.min(HALF_CLOSED)),
            )
        } else {
            self.longest
        };
        let Some(longest) = longest else {
            return Poll::Pending;
        };
        let deadline = self.since + longest;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
