//! One request on one connection, HTTP/1.1 spoken on the socket itself: no second task, no channel, buffers reused.
//! The request may still be going out while its answer comes in.

use super::answer::{self, AnswerHead, Framing, Malformed};
use super::chunked::{Decoder, Piece};
use super::incoming::Broken;
use super::outgoing::{Outgoing, Stopped};
use super::secure;
use crate::proxy::error::TlsFault;
use crate::proxy::socket::Socket;
use crate::proxy::worker::Worker;
use bytes::{Bytes, BytesMut};
use http::Method;
use http_body::Frame;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Interim answers to one request; more is no HTTP any more.
pub(super) const MOST_INTERIM: usize = 16;

/// So much rather is copied than to keep the room it was read into: one frame of HTTP/2.
pub(in crate::proxy) const SMALL: usize = 16 * 1024;

/// An open connection to an endpoint.
pub(in crate::proxy) struct Connection {
    stream: Socket,
    buffer: BytesMut,
    /// Waits for answers; kept from request to request, since setting it later costs next to nothing.
    timer: Pin<Box<Sleep>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum SendFault {
    /// The connection ended before a byte of an answer.
    NoAnswer,
    /// The caller's body ended early or is refused.
    Body,
    /// What came is no HTTP, or not in one way only.
    Protocol,
    /// Nothing came in time.
    Timeout,
    /// It says that it has not acted upon the request.
    Refused,
    /// It took the request back without an answer.
    Reset,
    /// The service would not have us after all: in TLS 1.3 it may say so once the handshake is over for us.
    Tls(TlsFault),
}

impl Connection {
    /// Takes over a socket.
    pub(in crate::proxy) fn new(stream: Socket) -> Self {
        let timer = Box::pin(tokio::time::sleep(Duration::from_hours(1)));
        Self {
            stream,
            buffer: BytesMut::new(),
            timer,
        }
    }

    /// Whether an idle connection is good for a request: open, and silent.
    pub(in crate::proxy) fn is_good(&mut self) -> bool {
        self.buffer.is_empty() && self.stream.is_silent()
    }

    /// Keeps no room for what has been read, if that is little; whether it is.
    pub(super) fn shrink(&mut self, worker: &Worker) -> bool {
        let is_small = (1..=SMALL).contains(&self.buffer.len());
        if is_small {
            let small = BytesMut::from(&self.buffer[..]);
            let room = std::mem::replace(&mut self.buffer, small);
            worker.spare.recycle_room(room);
        }
        is_small
    }

    /// Lets go of memory that an idle connection does not need.
    pub(in crate::proxy) fn rest(&mut self, worker: &Worker) {
        worker.spare.recycle_room(std::mem::take(&mut self.buffer));
    }

    /// The socket, and what has been read from it: for a WebSocket.
    pub(in crate::proxy) fn into_parts(self) -> (Socket, BytesMut) {
        (self.stream, self.buffer)
    }

    /// Sends a request and waits for the head of its answer; interim answers go to `interim`. `asked` is its method, and
    /// whether it asks for a WebSocket.
    ///
    /// `patience` counts from the last byte that the service took, and not while the caller has to send more.
    pub(in crate::proxy) async fn send(
        &mut self,
        outgoing: &mut Outgoing,
        asked: (&Method, bool),
        patience: Duration,
        (interim, worker, now): (impl Fn(&AnswerHead), &Worker, Instant),
    ) -> Result<AnswerHead, SendFault> {
        let mut waiting_since = None;
        let mut began = Some(now);
        let mut seen = 0;
        let mut note = |head: &AnswerHead| {
            interim(head);
            seen += 1;
            seen <= MOST_INTERIM
        };
        poll_fn(|cx| {
            let sending = self.poll_sending(outgoing, cx)?;
            if let Poll::Ready(head) = self.poll_head(asked, (&mut note, worker), cx) {
                return Poll::Ready(head);
            }
            if sending && outgoing.waits_for_body() {
                (waiting_since, began) = (None, None);
                return Poll::Pending;
            }
            if waiting_since.replace(outgoing.sent()) != Some(outgoing.sent()) {
                // The first time that is hardly later than when it was decided to send.
                let since = began.take().unwrap_or_else(Instant::now);
                self.timer.as_mut().reset(since + patience);
            }
            ready!(self.timer.as_mut().poll(cx));
            Poll::Ready(Err(SendFault::Timeout))
        })
        .await
    }

    /// Sends on; whether there is more to send. A connection that takes no more may still hold an answer.
    fn poll_sending(
        &mut self,
        outgoing: &mut Outgoing,
        cx: &mut Context<'_>,
    ) -> Result<bool, SendFault> {
        if outgoing.is_done() {
            return Ok(false);
        }
        match outgoing.poll_send(&mut self.stream, cx) {
            Poll::Pending => Ok(true),
            Poll::Ready(Err(Stopped::Body)) => Err(SendFault::Body),
            Poll::Ready(Ok(()) | Err(Stopped::Connection)) => Ok(false),
        }
    }

    /// `note` takes interim answers, and says when there were too many.
    fn poll_head(
        &mut self,
        asked: (&Method, bool),
        (note, worker): (&mut impl FnMut(&AnswerHead) -> bool, &Worker),
        cx: &mut Context<'_>,
    ) -> Poll<Result<AnswerHead, SendFault>> {
        loop {
            if !self.buffer.is_empty() {
                match answer::take(&mut self.buffer, asked, || worker.spare.buffer()) {
                    Ok(Some(head))
                        if !head.status.is_informational()
                            || head.framing == Framing::WebSocket =>
                    {
                        return Poll::Ready(Ok(head));
                    }
                    Ok(Some(head)) if note(&head) => continue,
                    Ok(Some(_)) | Err(Malformed) => return Poll::Ready(Err(SendFault::Protocol)),
                    Ok(None) => {}
                }
            }
            match ready!(self.poll_read(worker, cx)) {
                Ok(1..) => {}
                Ok(_) | Err(_) if !self.buffer.is_empty() => {
                    return Poll::Ready(Err(SendFault::Protocol));
                }
                Ok(_) => return Poll::Ready(Err(SendFault::NoAnswer)),
                Err(fault) => {
                    let said = secure::said(&fault);
                    return Poll::Ready(Err(said.map_or(SendFault::NoAnswer, SendFault::Tls)));
                }
            }
        }
    }

    fn poll_read(&mut self, worker: &Worker, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        worker
            .spare
            .poll_read(&mut self.stream, &mut self.buffer, cx)
    }
}

/// An answer's body coming in, while the rest of the request may still be going out.
pub(in crate::proxy) struct Incoming {
    state: State,
    /// A piece of a chunked body that was read with the head.
    ahead: Option<Piece>,
    /// Whether the connection can carry another request once this one is over.
    keep_alive: bool,
    /// The rest of the request.
    outgoing: Option<Box<Outgoing>>,
}

enum State {
    Length(u64),
    Chunked(Decoder),
    UntilClose,
    Done,
}

impl Incoming {
    /// The body behind a head. `outgoing` is what is left of the request.
    ///
    /// # Errors
    /// When the first chunk has come along with the head and is none: while nothing has been passed on, the caller can
    /// still be told.
    pub(in crate::proxy) fn begin(
        head: &AnswerHead,
        outgoing: Option<Outgoing>,
        connection: &mut Connection,
    ) -> Result<Self, Malformed> {
        let mut ahead = None;
        let state = match head.framing {
            Framing::Empty | Framing::WebSocket => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::UntilClose => State::UntilClose,
            Framing::Chunked => {
                let mut decoder = Decoder::default();
                if !connection.buffer.is_empty() {
                    ahead = Some(decoder.next(&mut connection.buffer)?)
                        .filter(|piece| *piece != Piece::More);
                }
                State::Chunked(decoder)
            }
        };
        Ok(Self {
            state,
            ahead,
            keep_alive: head.keep_alive,
            outgoing: outgoing.map(Box::new),
        })
    }

    /// Whether the last byte has been taken.
    pub(in crate::proxy) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Bytes still to come, where that is known.
    pub(in crate::proxy) fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            State::Chunked(_) | State::UntilClose => None,
        }
    }

    /// Whether the connection can go back to the pool: all read, all sent, nothing left over.
    pub(in crate::proxy) fn leaves_good(&self, connection: &Connection) -> bool {
        let sent = self.outgoing.as_deref().is_none_or(Outgoing::is_done);
        self.is_done() && self.keep_alive && sent && connection.buffer.is_empty()
    }

    /// The next piece of the body.
    pub(in crate::proxy) fn poll_frame(
        &mut self,
        (connection, worker): (&mut Connection, &Worker),
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.send_on(connection, cx);
        loop {
            if let Some(piece) = self.next_piece(&mut connection.buffer) {
                return Poll::Ready(piece.transpose());
            }
            match ready!(connection.poll_read(worker, cx)) {
                Ok(1..) => {}
                Ok(0) if matches!(self.state, State::UntilClose) => self.state = State::Done,
                Ok(_) | Err(_) => return Poll::Ready(Some(Err(Broken::Cut))),
            }
        }
    }

    /// What the buffer has of the body: a piece, its end (`Ok(None)`), or nothing before more is read (`None`).
    fn next_piece(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Option<Result<Option<Frame<Bytes>>, Broken>> {
        match &mut self.state {
            State::Done => Some(Ok(None)),
            State::Length(_) | State::UntilClose if buffer.is_empty() => None,
            State::UntilClose => Some(Ok(Some(Frame::data(buffer.split().freeze())))),
            State::Length(left) => {
                let ready = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                *left -= ready as u64;
                if *left == 0 {
                    self.state = State::Done;
                }
                Some(Ok(Some(Frame::data(buffer.split_to(ready).freeze()))))
            }
            State::Chunked(decoder) => {
                let piece = self.ahead.take().map_or_else(|| decoder.next(buffer), Ok);
                if matches!(piece, Ok(Piece::Trailers(_) | Piece::End)) {
                    self.state = State::Done;
                }
                match piece {
                    Ok(Piece::Data(data)) => Some(Ok(Some(Frame::data(data)))),
                    Ok(Piece::Trailers(trailers)) => Some(Ok(Some(Frame::trailers(*trailers)))),
                    Ok(Piece::End) => Some(Ok(None)),
                    Ok(Piece::More) => None,
                    Err(Malformed) => Some(Err(Broken::Cut)),
                }
            }
        }
    }

    /// Sends more of the request, if there is more. When that fails the answer may still be whole.
    fn send_on(&mut self, connection: &mut Connection, cx: &mut Context<'_>) {
        let Some(outgoing) = &mut self.outgoing else {
            return;
        };
        if let Poll::Ready(sent) = outgoing.poll_send(&mut connection.stream, cx) {
            self.keep_alive &= sent.is_ok();
            self.outgoing = None;
        }
    }
}
