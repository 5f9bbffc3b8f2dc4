//! One request on a connection that others share, and its answer coming in. Whoever drops it half-way takes it back: h2
//! resets the stream with CANCEL then.

use super::super::answer::{AnswerHead, Framing, Malformed};
use super::super::exchange::{MOST_INTERIM, SendFault};
use super::super::incoming::Broken;
use super::super::outgoing::{Outgoing, Stopped};
use super::{Shared, answer, request, upload};
use crate::proxy::fields::may_trail;
use crate::proxy::worker::Worker;
use crate::snapshot::load::ConnectionPlace;
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::Method;
use http_body::Frame;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use tokio_util::task::AbortOnDropHandle;

/// A place for one request on a shared connection; given back when dropped.
pub(in crate::proxy) struct Stream {
    shared: Rc<Shared>,
    reused: bool,
    /// What had been read when the request was sent, or the last piece of its answer came.
    reads: u64,
    /// The answer's body and the way for the rest of the request, once the head is there.
    halves: Option<(RecvStream, SendStream<Bytes>)>,
}

impl Stream {
    pub(in crate::proxy::upstream) fn on(shared: &Rc<Shared>, reused: bool) -> Self {
        let vitals = &shared.vitals;
        vitals.streams.set(vitals.streams.get() + 1);
        shared.used.set(true);
        Self {
            shared: Rc::clone(shared),
            reused,
            reads: 0,
            halves: None,
        }
    }

    /// Gives the connection its place among those that are counted.
    pub(in crate::proxy::upstream) fn hold(&self, place: Option<ConnectionPlace>) {
        self.shared.place.set(place);
    }

    pub(in crate::proxy::upstream) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends a request and waits for the head of its answer, as on a connection that speaks HTTP/1.1.
    pub(in crate::proxy::upstream) async fn send(
        &mut self,
        outgoing: &mut Outgoing,
        method: &Method,
        patience: Duration,
        interim: impl Fn(&AnswerHead),
    ) -> Result<AnswerHead, SendFault> {
        let request = request::head(outgoing.head_bytes(), &self.shared.endpoint)
            .ok_or(SendFault::Protocol)?;
        let mut sender = self.shared.sender.clone();
        poll_fn(|cx| sender.poll_ready(cx))
            .await
            .map_err(|fault| SendFault::of(&fault))?;
        self.heard();
        let ends = outgoing.take_head();
        let (response, stream) = sender
            .send_request(request, ends)
            .map_err(|fault| SendFault::of(&fault))?;
        let mut exchange = Exchange {
            response,
            stream,
            interim: 0,
            timer: Box::pin(tokio::time::sleep(patience)),
            patience,
        };
        let answered = exchange.run(outgoing, method, interim).await;
        if matches!(answered, Err(SendFault::Timeout)) {
            self.doubt();
        }
        let (head, body) = answered?;
        self.halves = Some((body, exchange.stream));
        Ok(head)
    }

    /// The body behind a head. `outgoing` is what is left of the request; it goes on by itself, however slowly the answer is
    /// read.
    pub(in crate::proxy::upstream) fn begin(
        &mut self,
        head: &AnswerHead,
        outgoing: Option<Outgoing>,
        worker: &Rc<Worker>,
    ) -> Result<Incoming, Malformed> {
        let (body, stream) = self.halves.take().ok_or(Malformed)?;
        let sent = Rc::new(Cell::new(outgoing.is_none()));
        let upload = outgoing.map(|outgoing| {
            let rest = upload::rest(Rc::clone(worker), outgoing, stream, Rc::clone(&sent));
            AbortOnDropHandle::new(worker.background.spawn_local(rest))
        });
        Ok(Incoming {
            over: head.framing == Framing::Empty,
            left: head.framing.length(),
            body,
            sent,
            _upload: upload,
        })
    }

    /// Something came.
    pub(in crate::proxy::upstream) fn heard(&mut self) {
        self.reads = self.shared.vitals.reads.get();
    }

    /// A connection on which nothing came, where something was due, is for no other request.
    pub(in crate::proxy::upstream) fn doubt(&self) {
        if self.shared.vitals.reads.get() == self.reads {
            self.shared.vitals.retired.set(true);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let streams = &self.shared.vitals.streams;
        streams.set(streams.get().saturating_sub(1));
    }
}

/// A request that waits for the head of its answer.
struct Exchange {
    response: ResponseFuture,
    stream: SendStream<Bytes>,
    interim: usize,
    timer: Pin<Box<Sleep>>,
    patience: Duration,
}

impl Exchange {
    async fn run(
        &mut self,
        outgoing: &mut Outgoing,
        method: &Method,
        interim: impl Fn(&AnswerHead),
    ) -> Result<(AnswerHead, RecvStream), SendFault> {
        let mut waiting_since = Some(outgoing.sent());
        poll_fn(|cx| {
            let sending = self.poll_sending(outgoing, cx)?;
            self.pass_interim(method, &interim, cx)?;
            if let Poll::Ready(answer) = Pin::new(&mut self.response).poll(cx) {
                let (parts, body) = answer.map_err(|fault| SendFault::of(&fault))?.into_parts();
                let answer = http::Response::from_parts(parts, ());
                let head = answer::head(answer, method, body.is_end_stream());
                let head = head.map_err(|Malformed| SendFault::Protocol)?;
                return Poll::Ready(Ok((head, body)));
            }
            if sending && outgoing.waits_for_body() {
                waiting_since = None;
                return Poll::Pending;
            }
            if waiting_since.replace(outgoing.sent()) != Some(outgoing.sent()) {
                self.timer.as_mut().reset(Instant::now() + self.patience);
            }
            ready!(self.timer.as_mut().poll(cx));
            Poll::Ready(Err(SendFault::Timeout))
        })
        .await
    }

    /// Sends on; whether there is more to send. A service that takes no more may still answer.
    fn poll_sending(
        &mut self,
        outgoing: &mut Outgoing,
        cx: &mut Context<'_>,
    ) -> Result<bool, SendFault> {
        if outgoing.is_done() {
            return Ok(false);
        }
        match upload::poll_send(outgoing, &mut self.stream, cx) {
            Poll::Pending => Ok(true),
            Poll::Ready(Err(Stopped::Body)) => Err(SendFault::Body),
            Poll::Ready(Ok(()) | Err(Stopped::Connection)) => Ok(false),
        }
    }

    fn pass_interim(
        &mut self,
        method: &Method,
        pass: &impl Fn(&AnswerHead),
        cx: &mut Context<'_>,
    ) -> Result<(), SendFault> {
        while let Poll::Ready(Some(Ok(answer))) = self.response.poll_informational(cx) {
            self.interim += 1;
            if self.interim > MOST_INTERIM {
                return Err(SendFault::Protocol);
            }
            let head = answer::head(answer, method, true);
            pass(&head.map_err(|Malformed| SendFault::Protocol)?);
        }
        Ok(())
    }
}

impl SendFault {
    /// What h2 says of a stream without an answer.
    fn of(fault: &h2::Error) -> Self {
        let refused = fault.is_reset() && fault.reason() == Some(Reason::REFUSED_STREAM);
        if fault.is_remote() && (refused || fault.is_go_away()) {
            // RFC 9113 §8.7; h2 says GOAWAY of those streams only that are above the last one that was looked at.
            Self::Refused
        } else if fault.is_io() {
            Self::NoAnswer
        } else if fault.is_remote() {
            Self::Reset
        } else {
            Self::Protocol
        }
    }
}

/// An answer's body coming in.
pub(in crate::proxy) struct Incoming {
    body: RecvStream,
    /// Nothing more comes, or matters.
    over: bool,
    /// Bytes still to come, where that is known.
    left: Option<u64>,
    /// Whether the request is out to its end.
    sent: Rc<Cell<bool>>,
    /// The rest of the request; taken back with the answer.
    _upload: Option<AbortOnDropHandle<()>>,
}

impl Incoming {
    /// Whether the last byte has been taken. There may be trailers behind it.
    pub(in crate::proxy::upstream) fn is_done(&self) -> bool {
        self.left == Some(0) || self.is_over()
    }

    /// Whether nothing more comes.
    pub(in crate::proxy::upstream) fn is_over(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    /// Bytes still to come, where that is known.
    pub(in crate::proxy::upstream) fn remaining(&self) -> Option<u64> {
        self.left
    }

    /// The next piece of the body.
    pub(in crate::proxy::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.is_over() {
            return Poll::Ready(None);
        }
        match ready!(self.body.poll_data(cx)) {
            Some(Ok(data)) => {
                // What is handed on makes room for more.
                let _ = self.body.flow_control().release_capacity(data.len());
                if let Some(left) = &mut self.left {
                    *left = left.saturating_sub(data.len() as u64);
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(fault)) => Poll::Ready(self.ended(&fault).map(Err)),
            None => {
                let trailers = ready!(self.body.poll_trailers(cx));
                self.over = trailers.is_ok();
                Poll::Ready(match trailers {
                    Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(clean(trailers)))),
                    Err(fault) => self.ended(&fault).map(Err),
                })
            }
        }
    }

    /// A reset without an error says that the answer is whole and the rest of the request not wanted (RFC 9113 §8.1); it
    /// comes while there is such a rest.
    fn ended(&self, fault: &h2::Error) -> Option<Broken> {
        let whole = fault.reason() == Some(Reason::NO_ERROR) && self.left.is_none();
        if whole && fault.is_remote() && fault.is_reset() && !self.sent.get() {
            return None;
        }
        Some(match fault.reason() {
            // What a caller can act upon is passed on to it.
            Some(reason @ (Reason::CANCEL | Reason::ENHANCE_YOUR_CALM)) if fault.is_remote() => {
                Broken::Reset(reason.into())
            }
            Some(_) | None => Broken::Cut,
        })
    }
}

/// Without what must not come so late.
fn clean(mut trailers: http::HeaderMap) -> http::HeaderMap {
    let forbidden: Vec<_> = trailers
        .keys()
        .filter(|name| !may_trail(name))
        .cloned()
        .collect();
    for name in forbidden {
        trailers.remove(name);
    }
    trailers
}
