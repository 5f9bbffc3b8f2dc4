//! A request on its way upstream: its head, then its body as it comes, framed anew, with no more than one piece of it
//! held at a time. The first piece goes out together with the head if it is there.

use super::chunked;
use crate::proxy::body::{BodyError, RequestBody};
use crate::proxy::headers::UpstreamHead;
use crate::proxy::socket::Socket;
use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Why sending stopped.
pub(in crate::proxy) enum Stopped {
    /// The caller's body ended early or is refused.
    Body,
    /// The connection no longer takes bytes.
    Connection,
}

/// A request being sent.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says something else, and they change at different times"
)]
pub(in crate::proxy) struct Outgoing {
    head: UpstreamHead,
    head_sent: usize,
    body: RequestBody,
    chunked: bool,
    piece: Piece,
    /// The body's end is in `piece` or behind it.
    ended: bool,
    /// Bytes of head and body that the socket took.
    sent: u64,
    /// Whether something of the body has been taken from the caller, who will not say it again.
    begun: bool,
    /// Whether some of them may wait in the socket, to be encrypted.
    unflushed: bool,
}

/// A piece of the body between the two parts of its frame.
#[derive(Default)]
struct Piece {
    before: Bytes,
    data: Bytes,
    after: Bytes,
}

impl Piece {
    fn is_empty(&self) -> bool {
        self.before.is_empty() && self.data.is_empty() && self.after.is_empty()
    }

    fn advance(&mut self, mut bytes: usize) {
        for part in [&mut self.before, &mut self.data, &mut self.after] {
            let here = bytes.min(part.len());
            part.advance(here);
            bytes -= here;
        }
    }
}

impl Outgoing {
    /// Frames a body behind its head: by length where it is known, else in chunks.
    pub(in crate::proxy) fn new(
        mut head: UpstreamHead,
        body: RequestBody,
        says_empty: bool,
    ) -> Self {
        let mut chunked = false;
        let ended = body.is_end_stream();
        if !ended {
            if let Some(length) = body.size_hint().exact() {
                head.add(
                    "content-length",
                    itoa::Buffer::new().format(length).as_bytes(),
                );
            } else {
                chunked = true;
                head.add("transfer-encoding", b"chunked");
            }
        } else if says_empty {
            head.add("content-length", b"0");
        }
        head.end();
        Self {
            head,
            head_sent: 0,
            body,
            chunked,
            piece: Piece::default(),
            ended,
            sent: 0,
            begun: false,
            unflushed: false,
        }
    }

    /// Says who is asked, where that is the endpoint itself; before anything is sent.
    pub(in crate::proxy) fn aim_at(&mut self, authority: &[u8]) {
        self.head.aim_at(authority);
    }

    /// Whether the socket took nothing yet, so that any request can be sent elsewhere.
    pub(in crate::proxy) fn is_untouched(&self) -> bool {
        self.sent == 0
    }

    /// Whether there was nothing but a head, so that it can be said again.
    pub(in crate::proxy) fn is_bodiless(&self) -> bool {
        self.body.is_none()
    }

    /// Whether the caller has kept all of the body, or there is none: whoever refuses the request leaves it whole.
    pub(in crate::proxy) fn is_whole(&self) -> bool {
        self.is_bodiless() || !self.begun
    }

    /// Whether all of it has been sent.
    pub(in crate::proxy) fn is_done(&self) -> bool {
        self.ended && self.has_nothing_to_write() && !self.unflushed
    }

    fn has_nothing_to_write(&self) -> bool {
        self.piece.is_empty() && self.head_sent == self.head.as_bytes().len()
    }

    /// Bytes the socket took.
    pub(in crate::proxy) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether all that came has been sent, and more is to come from the caller.
    pub(in crate::proxy) fn waits_for_body(&self) -> bool {
        !self.ended && self.has_nothing_to_write()
    }

    /// Begins again, for another connection; only what [`Outgoing::is_untouched`] or [`Outgoing::is_bodiless`] may.
    pub(in crate::proxy) fn rewind(&mut self) {
        self.head_sent = 0;
        self.sent = 0;
    }

    /// The head's buffer, for the next request.
    pub(in crate::proxy) fn into_buffer(self) -> Vec<u8> {
        self.head.into_buffer()
    }

    /// Sends on; ready when all is sent or nothing more can be.
    pub(in crate::proxy) fn poll_send(
        &mut self,
        stream: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Stopped>> {
        loop {
            if self.piece.is_empty() && !self.ended {
                match self.poll_piece(cx) {
                    // It was empty, as the last one of HTTP/2 often is. Nothing written would be taken for a dead connection.
                    Poll::Ready(Ok(())) if !self.ended && self.has_nothing_to_write() => continue,
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Stopped::Body)),
                    // The head does not wait for the body.
                    Poll::Pending if self.head_sent < self.head.as_bytes().len() => {}
                    Poll::Pending => {
                        let _ = self.poll_flush(stream, cx);
                        return Poll::Pending;
                    }
                }
            }
            if self.ended && self.has_nothing_to_write() {
                return self.poll_flush(stream, cx);
            }
            if ready!(self.poll_write(stream, cx)).is_err() {
                return Poll::Ready(Err(Stopped::Connection));
            }
        }
    }

    /// What has been written leaves: under TLS it may still be with us.
    fn poll_flush(
        &mut self,
        stream: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Stopped>> {
        if self.unflushed {
            let flushed = ready!(Pin::new(stream).poll_flush(cx));
            self.unflushed = false;
            if flushed.is_err() {
                return Poll::Ready(Err(Stopped::Connection));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, stream: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let head = &self.head.as_bytes()[self.head_sent..];
        let stream = Pin::new(stream);
        let written = if self.piece.is_empty() {
            ready!(stream.poll_write(cx, head))?
        } else {
            let parts = [
                head,
                &self.piece.before,
                &self.piece.data,
                &self.piece.after,
            ]
            .map(IoSlice::new);
            ready!(stream.poll_write_vectored(cx, &parts))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_head = written.min(head.len());
        self.head_sent += of_head;
        self.piece.advance(written - of_head);
        self.sent += written as u64;
        self.unflushed = true;
        Poll::Ready(Ok(()))
    }

    /// What the caller sends next of its body.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.begun = true;
        self.ended |= frame.is_none();
        Poll::Ready(frame)
    }

    /// The head, with the framing of HTTP/1.1, for whoever says it in another way.
    pub(super) fn head_bytes(&self) -> &[u8] {
        self.head.as_bytes()
    }

    /// Notes that the head is out; whether nothing is behind it.
    pub(super) fn take_head(&mut self) -> bool {
        self.head_sent = self.head.as_bytes().len();
        self.sent += self.head_sent as u64;
        // A piece that waits since another try may be in a frame of HTTP/1.1.
        (self.piece.before, self.piece.after) = (Bytes::new(), Bytes::new());
        self.ended && self.piece.is_empty()
    }

    /// Data of the body that has been taken from the caller, and not been sent.
    pub(super) fn waiting(&self) -> &Bytes {
        &self.piece.data
    }

    /// Keeps data until it can be sent.
    pub(super) fn wait(&mut self, data: Bytes) {
        self.piece.data = data;
    }

    /// As much of what waits as there is room for, and whether it is the last of the body.
    pub(super) fn take_waiting(&mut self, room: usize) -> (Bytes, bool) {
        let piece = self.piece.data.split_to(room.min(self.piece.data.len()));
        self.sent += piece.len() as u64;
        if self.piece.data.is_empty() {
            self.ended |= self.body.is_end_stream();
        }
        (piece, self.ended && self.piece.data.is_empty())
    }

    /// The body has come to its end.
    pub(super) fn end_body(&mut self) {
        self.ended = true;
    }

    /// Takes the next piece of the body.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        match ready!(self.poll_frame(cx)) {
            None => {
                if self.chunked {
                    self.piece.after = Bytes::from_static(b"0\r\n\r\n");
                }
            }
            Some(frame) => match frame?.into_data() {
                Ok(data) => self.frame_data(data),
                Err(other) => {
                    if let Ok(trailers) = other.into_trailers() {
                        self.ended = true;
                        self.frame_trailers(&trailers);
                    }
                }
            },
        }
        Poll::Ready(Ok(()))
    }

    fn frame_data(&mut self, data: Bytes) {
        // An empty chunk would be the last one.
        if data.is_empty() {
            return;
        }
        if self.chunked {
            self.piece.before = Bytes::from(format!("{:x}\r\n", data.len()));
            self.piece.after = Bytes::from_static(b"\r\n");
        }
        self.piece.data = data;
    }

    fn frame_trailers(&mut self, trailers: &HeaderMap) {
        if !self.chunked {
            return;
        }
        let mut end = Vec::new();
        chunked::write_end(&mut end, Some(trailers));
        self.piece.after = Bytes::from(end);
    }
}
