//! The socket of a connection of HTTP/1.1, shared by its loop and by the body of the request that is under way: what has been read
//! and not been used, where in a body the next byte stands, and what waits to be written in front of an answer.

use super::head::{self, Framing, Manners};
use crate::proxy::caller_body::CallerBody;
use crate::proxy::connection::Connection;
use crate::proxy::error::ProxyError;
use crate::proxy::request::{self, Request};
use crate::proxy::socket::Socket;
use crate::proxy::upstream::chunked::{Decoder, Piece};
use crate::proxy::worker::Worker;
use bytes::{Buf, Bytes, BytesMut};
use http_body::Frame;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// How a connection of HTTP/2 begins (RFC 9113 §3.4); no method of HTTP/1.1 does.
const PREFACE: &[u8] = b"PRI * ";

/// What is to come of a request's body.
#[derive(Debug)]
enum Body {
    Length(u64),
    Chunked(Decoder),
    Done,
}

/// What came of waiting for a request.
pub(super) enum Next {
    Request(Manners),
    /// What came is none.
    Refused(ProxyError),
    /// It is HTTP/2.
    Preface,
    /// The caller has left, or no more requests are taken.
    Closed,
}

/// A caller's body is not what it said, or ended before its end.
#[derive(Debug, thiserror::Error)]
#[error("the request body is broken or ended early")]
pub(in crate::proxy) struct BrokenBody;

/// See the head of this file.
pub(in crate::proxy) struct Wire {
    worker: Rc<Worker>,
    pub(super) connection: Rc<Connection>,
    socket: RefCell<Option<Socket>>,
    /// Read and not yet used.
    read: RefCell<BytesMut>,
    body: RefCell<Body>,
    /// The caller waits to be asked for the body.
    expects: Cell<bool>,
    fresh: Cell<bool>,
    /// How much of what has been read has been found to be no whole head.
    seen: Cell<usize>,
}

impl Wire {
    pub(super) fn new(socket: Socket, worker: &Rc<Worker>, connection: &Rc<Connection>) -> Self {
        Self {
            worker: Rc::clone(worker),
            connection: Rc::clone(connection),
            socket: RefCell::new(Some(socket)),
            read: RefCell::default(),
            body: RefCell::new(Body::Done),
            expects: Cell::new(false),
            fresh: Cell::new(true),
            seen: Cell::new(0),
        }
    }

    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// The socket, and what has been read from it.
    pub(super) fn take_apart(&self) -> (Option<Socket>, Bytes) {
        (self.socket.take(), self.read.take().freeze())
    }

    /// Does something with the socket, if it is still here.
    fn with_socket<T>(
        &self,
        act: impl FnOnce(Pin<&mut Socket>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut *self.socket.borrow_mut() {
            Some(socket) => act(Pin::new(socket)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Waits for the head of a request.
    pub(super) async fn next_request(self: &Rc<Self>, request: &mut Request) -> Next {
        poll_fn(|cx| self.poll_request(request, cx)).await
    }

    fn poll_request(self: &Rc<Self>, request: &mut Request, cx: &mut Context<'_>) -> Poll<Next> {
        let mut read = self.read.borrow_mut();
        loop {
            if read.len() > self.seen.get() {
                self.connection.head_came();
                if let Some(next) = self.parse(request, &mut read) {
                    self.seen.set(0);
                    return Poll::Ready(next);
                }
                self.seen.set(read.len());
            } else if read.is_empty() && self.connection.is_draining() {
                return Poll::Ready(Next::Closed);
            }
            // Half a head may wait for long: what comes is put behind it, and keeps no room.
            let mut more = BytesMut::new();
            match ready!(self.poll_read(&mut more, cx)) {
                Ok(1..) if read.is_empty() => *read = more,
                Ok(1..) => {
                    read.extend_from_slice(&more);
                    self.worker.spare.recycle_room(more);
                }
                Ok(_) | Err(_) => return Poll::Ready(Next::Closed),
            }
            let is_first = self.fresh.replace(false) && self.connection.limits.http2;
            if is_first && read.starts_with(PREFACE) {
                return Poll::Ready(Next::Preface);
            }
        }
    }

    fn poll_read(&self, read: &mut BytesMut, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.with_socket(|socket| self.worker.spare.poll_read(socket.get_mut(), read, cx))
    }

    /// Keeps no more room for what has been read than it needs.
    fn shrink(&self, read: &mut BytesMut) {
        let rest = if read.is_empty() {
            BytesMut::new()
        } else {
            BytesMut::from(&read[..])
        };
        self.worker
            .spare
            .recycle_room(std::mem::replace(read, rest));
    }

    /// What has been read, if it is a head or none.
    fn parse(self: &Rc<Self>, request: &mut Request, read: &mut BytesMut) -> Option<Next> {
        let limits = &self.connection.limits;
        let seen = self.seen.get();
        if seen > 0 && !head::may_end(read, seen) {
            return head::too_long_already(read, limits).map(Next::Refused);
        }
        match head::parse(read, limits, self.fresh_head(request)) {
            Ok(Some(head)) => {
                if head.length == read.len() {
                    read.clear();
                } else {
                    read.advance(head.length);
                }
                let next = self.begin(request, &head);
                // What stands behind is the next request, which may wait for long, or the body, which is taken where it lies.
                if self.is_body_done() {
                    self.shrink(read);
                }
                Some(next)
            }
            Ok(None) => {
                // The rest may take its time.
                if seen == 0 {
                    self.shrink(read);
                }
                None
            }
            Err(fault) => Some(Next::Refused(fault)),
        }
    }

    /// A head that says nothing, with memory for what it will say.
    fn fresh_head<'r>(&self, request: &'r mut Request) -> &'r mut request::Head {
        if request.head.is_without_memory() {
            request.head.start(self.worker.spare.head());
        }
        &mut request.head
    }

    fn begin(self: &Rc<Self>, request: &mut Request, head: &head::Head) -> Next {
        let body = match head.framing {
            Framing::Length(0) => Body::Done,
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Decoder::of_request()),
        };
        let is_bodiless = matches!(body, Body::Done);
        self.body.replace(body);
        self.expects.set(head.expects && !is_bodiless);
        request.body = if is_bodiless {
            CallerBody::None
        } else {
            CallerBody::Http1(Rc::clone(self))
        };
        Next::Request(head.manners)
    }

    /// Whether nothing more of the request's body is to come.
    pub(in crate::proxy) fn is_body_done(&self) -> bool {
        matches!(*self.body.borrow(), Body::Done)
    }

    /// Bytes of the body to come, where that is known.
    pub(in crate::proxy) fn body_left(&self) -> Option<u64> {
        match *self.body.borrow() {
            Body::Length(left) => Some(left),
            Body::Done => Some(0),
            Body::Chunked(_) => None,
        }
    }

    /// The next piece of the request's body.
    pub(in crate::proxy) fn poll_body(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let mut read = self.read.borrow_mut();
        loop {
            if let Some(piece) = self.next_piece(&mut read) {
                return Poll::Ready(piece.transpose());
            }
            if self.expects.replace(false) && read.is_empty() {
                self.connection.says(CONTINUE);
                ready!(self.poll_says(cx)).map_err(|_| BrokenBody)?;
            }
            match ready!(self.poll_read(&mut read, cx)) {
                Ok(1..) => {}
                Ok(_) | Err(_) => return Poll::Ready(Some(Err(BrokenBody))),
            }
        }
    }

    /// What has been read of the body: a piece, its end (`Ok(None)`), or nothing before more is read (`None`).
    fn next_piece(&self, read: &mut BytesMut) -> Option<Result<Option<Frame<Bytes>>, BrokenBody>> {
        let mut body = self.body.borrow_mut();
        let (piece, done) = match &mut *body {
            Body::Done => (None, true),
            Body::Length(_) if read.is_empty() => return None,
            Body::Length(left) => {
                let ready = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= ready as u64;
                let piece = Frame::data(read.split_to(ready).freeze());
                (Some(piece), *left == 0)
            }
            Body::Chunked(decoder) => match decoder.next(read) {
                Ok(Piece::Data(data)) => (Some(Frame::data(data)), false),
                Ok(Piece::Trailers(trailers)) => (Some(Frame::trailers(*trailers)), true),
                Ok(Piece::End) => (None, true),
                Ok(Piece::More) => return None,
                Err(_) => return Some(Err(BrokenBody)),
            },
        };
        if done {
            *body = Body::Done;
        }
        Some(Ok(piece))
    }

    /// Waits for something that is done for the caller, unless the caller leaves; what it is told meanwhile is sent.
    pub(super) async fn unless_gone<T>(
        &self,
        mut work: impl Future<Output = T> + Unpin,
    ) -> Option<T> {
        poll_fn(|cx| {
            if let Poll::Ready(done) = Pin::new(&mut work).poll(cx) {
                return Poll::Ready(Some(done));
            }
            // Whoever cannot be told has left, which is seen next.
            let _ = self.poll_says(cx);
            self.poll_gone(cx).map(|()| None)
        })
        .await
    }

    /// Ready when the caller has left. What it sends of a next request is kept; when there is some, no more is read.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut read = self.read.borrow_mut();
        while read.is_empty() && self.is_body_done() {
            match ready!(self.poll_read(&mut read, cx)) {
                Ok(1..) => self.shrink(&mut read),
                Ok(_) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Whether another request may come after this one.
    pub(super) fn is_ready_for_next(&self, manners: Manners) -> bool {
        if !self.is_body_done() {
            self.connection.body_left();
        }
        self.shrink(&mut self.read.borrow_mut());
        manners.keep_alive && !self.connection.has_left() && !self.connection.is_closing()
    }

    /// Writes what waits to be said in front of an answer.
    pub(super) fn poll_says(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut waiting = self.connection.interim_answers();
            if waiting.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let written = ready!(self.poll_write(cx, &[io::IoSlice::new(&waiting)]))?;
            waiting.drain(..written);
        }
    }

    /// Writes some; never nothing.
    pub(super) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.with_socket(|socket| match parts {
            [one] => socket.poll_write(cx, one),
            parts => socket.poll_write_vectored(cx, parts),
        });
        self.connection.wrote(&written);
        match written {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written @ (Poll::Ready(_) | Poll::Pending) => written,
        }
    }

    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_socket(|socket| socket.poll_flush(cx))
    }

    /// Writes all of these bytes.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        poll_fn(|cx| {
            while !bytes.is_empty() {
                let written = ready!(self.poll_write(cx, &[io::IoSlice::new(bytes)]))?;
                bytes = &bytes[written..];
            }
            self.poll_flush(cx)
        })
        .await
    }

    /// Says goodbye where there is one to say.
    pub(super) async fn close(&self) {
        if self.connection.goes_on() {
            return;
        }
        let _ = poll_fn(|cx| {
            self.with_socket(|socket| {
                if matches!(*socket, Socket::Tls(_)) {
                    socket.poll_shutdown(cx)
                } else {
                    Poll::Ready(Ok(()))
                }
            })
        })
        .await;
    }
}
