//! An answer on its way to a caller of HTTP/1.1: head and first piece in one write where both are there, the rest as it comes.

use super::head::Manners;
use super::wire::Wire;
use crate::proxy::answer::{Answer, Lines};
use crate::proxy::body::AnswerBody;
use crate::proxy::upstream::chunked;
use bytes::{Buf, Bytes};
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame};
use std::future::poll_fn;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A piece up to this size is written together with what stands before it.
const SMALL: usize = 8 * 1024;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// With its last byte.
    Whole,
    /// Before that: the connection is of no use any more.
    Broken,
}

/// How the body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// There is none, whatever the fields say.
    None,
    Length,
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

impl Framing {
    fn of(status: StatusCode, body: &AnswerBody, manners: Manners) -> Self {
        let bodiless = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || manners.is_head;
        match body.size_hint().exact() {
            _ if bodiless => Self::None,
            Some(_) => Self::Length,
            None if manners.modern => Self::Chunked,
            None => Self::UntilClose,
        }
    }
}

/// What waits to be written.
struct Waiting {
    bytes: Vec<u8>,
    written: usize,
    data: Bytes,
    /// Behind the data.
    end: &'static [u8],
}

impl Waiting {
    fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            written: 0,
            data: Bytes::new(),
            end: b"",
        }
    }

    fn is_empty(&self) -> bool {
        self.written == self.bytes.len() && self.data.is_empty() && self.end.is_empty()
    }

    /// Whether another piece may be put behind what waits.
    fn has_room(&self) -> bool {
        self.data.is_empty() && self.end.is_empty() && self.bytes.len() < SMALL
    }

    fn poll_write(&mut self, wire: &Wire, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let bytes = &self.bytes[self.written..];
            let parts = [bytes, &self.data, self.end].map(IoSlice::new);
            let parts = if self.data.is_empty() && self.end.is_empty() {
                &parts[..1]
            } else {
                &parts[..]
            };
            let written = ready!(wire.poll_write(cx, parts))?;
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        let here = written.min(self.bytes.len() - self.written);
        self.written += here;
        written -= here;
        let here = written.min(self.data.len());
        self.data.advance(here);
        written -= here;
        self.end = &self.end[written..];
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        }
    }

    /// Puts a piece of the body behind what waits.
    fn push(&mut self, data: Bytes, framing: Framing) {
        if data.is_empty() || framing == Framing::None {
            return;
        }
        if framing == Framing::Chunked {
            // Writing to a Vec cannot fail.
            let _ = write!(self.bytes, "{:x}\r\n", data.len());
        }
        let end: &[u8] = if framing == Framing::Chunked {
            b"\r\n"
        } else {
            b""
        };
        if data.len() <= SMALL {
            self.bytes.extend_from_slice(&data);
            self.bytes.extend_from_slice(end);
        } else {
            self.data = data;
            self.end = end;
        }
    }

    fn push_end(&mut self, trailers: Option<&HeaderMap>, framing: Framing) {
        if framing != Framing::Chunked {
            return;
        }
        chunked::write_end(&mut self.bytes, trailers);
    }
}

impl Wire {
    /// Sends an answer to its end.
    pub(super) async fn send(&self, answer: Answer, manners: Manners) -> Ended {
        let Answer {
            status,
            lines,
            body,
        } = answer;
        let framing = Framing::of(status, &body, manners);
        let closes = !manners.keep_alive
            || framing == Framing::UntilClose
            || lines.closes
            || self.connection.is_draining()
            || self.connection.has_left();
        let length = body.size_hint().exact();
        let mut head = self.head((status, lines), (framing, length), (manners, closes));
        // Interim answers that have not been sent stand in front.
        let interim = std::mem::take(&mut *self.connection.interim_answers());
        if !interim.is_empty() {
            head.splice(0..0, interim);
        }
        let mut sending = Sending {
            waiting: Waiting::new(head),
            ended: false,
            body,
            framing,
            takes_trailers: manners.takes_trailers,
        };
        let ended = poll_fn(|cx| sending.poll(self, cx)).await;
        if closes {
            self.connection.closes();
        }
        self.worker().spare.recycle_buffer(sending.waiting.bytes);
        ended
    }

    /// All of a head.
    fn head(
        &self,
        (status, mut lines): (StatusCode, Lines),
        (framing, length): (Framing, Option<u64>),
        (manners, closes): (Manners, bool),
    ) -> Vec<u8> {
        if lines.sized && !may_say_length(status) {
            lines.remove("content-length");
        }
        match (framing, length) {
            (Framing::Length, Some(length)) if !lines.sized => {
                lines.add(
                    "content-length",
                    itoa::Buffer::new().format(length).as_bytes(),
                );
            }
            (Framing::Chunked, _) => lines.add("transfer-encoding", b"chunked"),
            (Framing::None | Framing::Length | Framing::UntilClose, _) => {}
        }
        if closes && !lines.linked {
            lines.add("connection", b"close");
        } else if !manners.modern && !lines.linked {
            lines.add("connection", b"keep-alive");
        }
        if !lines.dated {
            lines.add("date", &self.worker().date());
        }
        let mut head = lines.into_bytes(manners.modern);
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// RFC 9110 §8.6.
fn may_say_length(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT
}

/// An answer whose head is written, and whose body is on its way.
struct Sending {
    waiting: Waiting,
    /// Nothing more of the body comes.
    ended: bool,
    body: AnswerBody,
    framing: Framing,
    takes_trailers: bool,
}

impl Sending {
    fn poll(&mut self, wire: &Wire, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            if !self.ended
                && self.waiting.has_room()
                && let Poll::Ready(Err(Broken)) = self.poll_piece(cx)
            {
                // What came before goes out, and then no proper end.
                let _ = self.waiting.poll_write(wire, cx);
                return Poll::Ready(Ended::Broken);
            }
            if self.waiting.is_empty() && !self.ended {
                if wire.poll_flush(cx).is_ready() && wire.poll_gone(cx).is_ready() {
                    return Poll::Ready(Ended::Broken);
                }
                return Poll::Pending;
            }
            if ready!(self.waiting.poll_write(wire, cx)).is_err() {
                return Poll::Ready(Ended::Broken);
            }
            if self.ended {
                return Poll::Ready(match ready!(wire.poll_flush(cx)) {
                    Ok(()) => Ended::Whole,
                    Err(_) => Ended::Broken,
                });
            }
        }
    }

    /// Takes what there is of the body behind what waits.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.framing != Framing::None && !self.body.is_end_stream() {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            match frame.transpose().map_err(|_| Broken)?.map(Frame::into_data) {
                Some(Ok(data)) => self.waiting.push(data, self.framing),
                Some(Err(frame)) => {
                    let trailers = frame.into_trailers().ok().filter(|_| self.takes_trailers);
                    self.waiting.push_end(trailers.as_ref(), self.framing);
                    self.ended = true;
                    return Poll::Ready(Ok(()));
                }
                None => self.ended = true,
            }
        }
        if self.ended || self.framing == Framing::None || self.body.is_end_stream() {
            self.ended = true;
            self.waiting.push_end(None, self.framing);
        }
        Poll::Ready(Ok(()))
    }
}

/// The body ended before its end.
struct Broken;
