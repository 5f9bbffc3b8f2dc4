//! Bodies on their way, both directions: counted, capped, timed while they pause, never held whole.
//!
//! Long because both directions share what times them, and each way a body can end is told here.

use super::caller_body::{CallerBody, CallerFault};
use super::connection::Connection;
use super::context::RequestContext;
use super::error::{ProxyError, UpstreamFault};
use super::fields::may_trail;
use super::grpc;
use super::leftover;
use super::outflow::Outflow;
use super::upstream::exchange::SMALL;
use super::upstream::incoming::{Broken, Incoming as Answer};
use super::upstream::pool::Lease;
use super::worker::Worker;
use crate::config::MinRate;
use crate::gate::Denied;
use crate::gate::identity::is_spelling_of;
use crate::telemetry::metrics::Shed;
use bytes::Bytes;
use http::{HeaderName, Version};
use http_body::{Body, Frame, SizeHint};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// Larger than the route allows.
    #[error("the body is too large")]
    TooLarge,
    /// Paused for too long.
    #[error("the body paused for too long")]
    Paused,
    /// The caller took its request back.
    #[error("the body did not come to its end")]
    Unended,
    /// The caller's connection failed, or what it sends is not what it said.
    #[error(transparent)]
    Caller(#[from] CallerFault),
    /// The key that it was asked for with has ended.
    #[error("the API key has ended")]
    KeyEnded,
    /// The upstream's connection failed.
    #[error(transparent)]
    Upstream(#[from] Broken),
}

/// Measures pauses: armed only when there is really nothing to read.
struct Pause {
    longest: Duration,
    /// No later than this, pauses or not.
    deadline: Option<Instant>,
    /// What all pauses together may amount to.
    rate: Option<MinRate>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when there is nothing to read.
    waiting: Option<Instant>,
    waited: Duration,
}

impl Pause {
    fn new(longest: Duration, deadline: Option<Instant>) -> Self {
        Self {
            longest,
            deadline,
            rate: None,
            timer: None,
            waiting: None,
            waited: Duration::ZERO,
        }
    }

    /// Ready when the pause has been too long, for so many bytes before it.
    fn poll(&mut self, bytes: u64, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.is_none() {
            let now = Instant::now();
            self.waiting = Some(now);
            let slack = |rate: MinRate| rate.allows(bytes).saturating_sub(self.waited);
            let until = now + self.rate.map_or(self.longest, slack).min(self.longest);
            let until = self.deadline.map_or(until, |deadline| deadline.min(until));
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(until),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(until))),
            }
        }
        self.timer
            .as_mut()
            .map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }

    fn over(&mut self) {
        if let (Some(since), Some(_)) = (self.waiting.take(), self.rate) {
            self.waited += since.elapsed();
        }
    }
}

/// What became of a request's body, for whoever waits for the answer.
#[derive(Default)]
pub(super) struct BodyFate {
    pub(super) fault: Cell<Option<ProxyError>>,
    pub(super) bytes: Rc<Cell<u64>>,
}

/// A request's body on its way upstream.
pub(super) struct RequestBody(Option<Box<Streaming>>);

struct Streaming {
    /// Always there, until it is dropped.
    incoming: Option<CallerBody>,
    worker: Rc<Worker>,
    fate: Rc<BodyFate>,
    connection: Rc<Connection>,
    most: Option<u64>,
    /// Fields that are places for keys, also in trailers.
    keys: Vec<HeaderName>,
    pause: Pause,
    /// Whether it has come over HTTP/2.
    http2: bool,
    ended: bool,
}

impl RequestBody {
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// A body that may take its time between two pieces: it is a stream of messages, and not an upload.
    pub(super) fn at_any_pace(mut self) -> Self {
        if let Some(body) = &mut self.0 {
            body.pause.rate = None;
        }
        self
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// A body that is passed on as it comes, up to so many bytes and with pauses no longer than that; without the fields of `keys` in its trailers.
    pub(super) fn streaming(
        (incoming, worker): (CallerBody, &Rc<Worker>),
        fate: Rc<BodyFate>,
        connection: Rc<Connection>,
        (most, longest_pause): (Option<u64>, Duration),
        keys: Vec<HeaderName>,
    ) -> Self {
        let mut pause = Pause::new(longest_pause, None);
        pause.rate = connection.limits.min_body_rate;
        Self(Some(Box::new(Streaming {
            incoming: Some(incoming),
            worker: Rc::clone(worker),
            fate,
            connection,
            most,
            keys,
            pause,
            http2: false,
            ended: false,
        })))
    }

    /// Notes what it has come over: HTTP/2 has an end that says so.
    pub(super) fn come_over(mut self, version: Version) -> Self {
        if let Some(body) = &mut self.0 {
            body.http2 = version == Version::HTTP_2;
        }
        self
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let incoming = self.incoming.take();
        let left = |incoming: &CallerBody| !self.ended && !incoming.is_end_stream();
        let Some(incoming) = incoming.filter(left) else {
            return;
        };
        if self.http2 {
            leftover::hold(&self.worker, incoming);
        } else {
            self.connection.body_left();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let Some(incoming) = &mut body.incoming else {
            return Poll::Ready(None);
        };
        let frame = match Pin::new(&mut *incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(body.pause.poll(body.fate.bytes.get(), cx));
                body.connection.shed(Shed::SlowBody);
                body.fate.fault.set(Some(ProxyError::RequestTimeout));
                return Poll::Ready(Some(Err(BodyError::Paused)));
            }
        };
        body.pause.over();
        let Some(frame) = frame else {
            body.ended = true;
            // hyper takes a reset without an error for the end, which is none of the body's (RFC 9113 §8.1).
            if body.http2 && !incoming.is_end_stream() {
                let broken = ProxyError::BadRequest("the request body is broken or ended early");
                body.fate.fault.set(Some(broken));
                return Poll::Ready(Some(Err(BodyError::Unended)));
            }
            return Poll::Ready(None);
        };
        let frame = frame.inspect_err(|_| {
            let broken = ProxyError::BadRequest("the request body is broken or ended early");
            body.fate.fault.set(Some(broken));
        })?;
        if let Some(data) = frame.data_ref() {
            let bytes = body.fate.bytes.get() + data.len() as u64;
            body.fate.bytes.set(bytes);
            if body.most.is_some_and(|most| bytes > most) {
                body.fate.fault.set(Some(ProxyError::BodyTooLarge));
                return Poll::Ready(Some(Err(BodyError::TooLarge)));
            }
        }
        Poll::Ready(Some(Ok(without_forbidden_trailers(frame, &body.keys))))
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .and_then(|body| body.incoming.as_ref())
            .is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .and_then(|body| body.incoming.as_ref())
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Takes out of a frame of trailers what must not come so late.
fn without_forbidden_trailers(frame: Frame<Bytes>, keys: &[HeaderName]) -> Frame<Bytes> {
    let is_key = |name: &HeaderName| {
        keys.iter()
            .any(|key| is_spelling_of(name.as_str().as_bytes(), &[key.as_str()]))
    };
    match frame.into_trailers() {
        Ok(mut trailers) => {
            let forbidden: Vec<HeaderName> = trailers
                .keys()
                .filter(|name| !may_trail(name) || is_key(name))
                .cloned()
                .collect();
            for name in forbidden {
                trailers.remove(name);
            }
            Frame::trailers(trailers)
        }
        Err(data) => data,
    }
}

/// An answer's body. The request is accounted for when it is dropped.
pub(super) struct AnswerBody {
    content: Content,
    cx: Option<Box<RequestContext>>,
}

enum Content {
    Full(Bytes),
    Upstream(Box<UpstreamBody>),
}

struct UpstreamBody {
    incoming: Answer,
    /// Gone once the body has come to its end.
    lease: Option<Lease>,
    /// The next piece keeps no more memory than it needs.
    shrunk: bool,
    pause: Pause,
}

impl AnswerBody {
    /// An answer of our own.
    pub(super) fn full(bytes: Bytes) -> Self {
        Self {
            content: Content::Full(bytes),
            cx: None,
        }
    }

    /// What the upstream sends; its connection goes back to the pool at the end.
    pub(super) fn upstream(
        incoming: Answer,
        (lease, shrunk): (Lease, bool),
        longest_pause: Duration,
        deadline: Option<Instant>,
    ) -> Self {
        let pause = Pause::new(longest_pause, deadline);
        Self {
            content: Content::Upstream(Box::new(UpstreamBody {
                incoming,
                lease: Some(lease),
                shrunk,
                pause,
            })),
            cx: None,
        }
    }

    /// Leaves the request's context here until the last byte.
    pub(super) fn attend(&mut self, cx: Box<RequestContext>) {
        if let Some(outflow) = &cx.outflow {
            outflow.handed(0);
        }
        self.cx = Some(cx);
    }

    /// The body came to its end: the upstream's connection is free again.
    fn ended(&mut self) {
        let Some(cx) = &mut self.cx else { return };
        let now = cx.completed();
        if let Content::Upstream(body) = &mut self.content
            && let Some(lease) = body.lease.take()
        {
            lease.give_back(&body.incoming, now);
        }
    }

    fn outflow(&self) -> Option<&Outflow> {
        self.cx.as_ref()?.outflow.as_deref()
    }

    /// The key has ended: so does the answer, before its end, or as gRPC ends a call.
    fn cut(&mut self, denied: Denied) -> Option<Result<Frame<Bytes>, BodyError>> {
        if let Some(end) = self.end_call(denied.into()) {
            return Some(Ok(end));
        }
        self.content = Content::Full(Bytes::new());
        self.cx.take()?.ended_by(denied.told().1);
        Some(Err(BodyError::KeyEnded))
    }

    /// A call of gRPC is told how it ended; `None`: it is none.
    fn end_call(&mut self, error: ProxyError) -> Option<Frame<Bytes>> {
        let context = self.cx.as_mut().filter(|context| context.grpc)?;
        context.ended_by(error.code());
        self.content = Content::Full(Bytes::new());
        self.cx = None;
        Some(Frame::trailers(grpc::trailers(error)))
    }

    fn failed(&self, reason: &'static str) {
        if let Some(route) = self.cx.as_ref().and_then(|cx| cx.route()) {
            route.upstream.metrics.failed(reason);
        }
    }
}

impl Content {
    /// Whether this piece keeps no more memory than it needs; of the next one that is not known.
    fn is_shrunk(&mut self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Upstream(body) => std::mem::take(&mut body.shrunk),
        }
    }
}

impl UpstreamBody {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(lease) = &mut self.lease else {
            return Poll::Ready(None);
        };
        match self.incoming.poll_frame(lease, cx) {
            Poll::Ready(frame) => {
                self.pause.over();
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Upstream)))
            }
            Poll::Pending => {
                ready!(self.pause.poll(0, cx));
                lease.doubt();
                Poll::Ready(Some(Err(BodyError::Paused)))
            }
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        let done = match &self.content {
            Content::Full(bytes) => bytes.is_empty(),
            Content::Upstream(body) => body.incoming.is_done(),
        };
        if done {
            self.ended();
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(outflow) = self.outflow() {
            outflow.asked();
        }
        if let Some(denied) = self.cx.as_ref().and_then(|cx| cx.is_cut()) {
            return Poll::Ready(self.cut(denied));
        }
        let mut frame = match &mut self.content {
            Content::Full(bytes) => Some(std::mem::take(bytes))
                .filter(|bytes| !bytes.is_empty())
                .map(Frame::data)
                .map(Ok),
            Content::Upstream(body) => match body.poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    if let Some(context) = &self.cx {
                        context.wake_at_cut(cx);
                    }
                    return Poll::Pending;
                }
            },
        };
        match &mut frame {
            None => self.ended(),
            Some(Ok(frame)) => {
                if let (Some(data), Some(context)) = (frame.data_mut(), &mut self.cx) {
                    if context.bytes_out > 0 {
                        context.lasts();
                    }
                    context.bytes_out += data.len() as u64;
                    if let Some(outflow) = &context.outflow {
                        outflow.handed(data.len() as u64);
                        // It may wait for long, and must not keep the whole room it was read into.
                        if data.len() <= SMALL && !self.content.is_shrunk() {
                            *data = Bytes::copy_from_slice(data);
                        }
                    }
                }
            }
            Some(Err(BodyError::Paused)) => {
                self.failed(UpstreamFault::Timeout.reason());
                if let Some(ended) = self.end_call(UpstreamFault::Timeout.into()) {
                    return Poll::Ready(Some(Ok(ended)));
                }
            }
            Some(Err(_)) => self.failed("body"),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Full(bytes) => bytes.is_empty(),
            Content::Upstream(body) => body.incoming.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let length = match &self.content {
            Content::Full(bytes) => Some(bytes.len() as u64),
            Content::Upstream(body) => body.incoming.remaining(),
        };
        length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
