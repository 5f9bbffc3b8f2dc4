//! The caller's socket as hyper sees it. Notes when bytes come and when writing stalls, looks at heads before hyper does,
//! writes interim answers, which hyper cannot, and puts our answer in the place of the bare one that hyper's parser gives.
//!
//! It relies on two habits of hyper: what is written between two requests is the parser's refusal of the next one, and
//! `poll_flush` is asked once everything before has been written. `tests/it/codes.rs` fails when either changes.

use super::connection::{Connection, refuse};
use super::error::ProxyError;
use super::observed::{Observed, Observer};
use super::socket::Socket;
use super::worker::Worker;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// See the head of this file.
pub(super) struct ClientIo {
    stream: Option<TokioIo<Observed<BodyEnd>>>,
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    /// Our answer to an unreadable head, and how much of it is written.
    refusal: Option<(Vec<u8>, usize)>,
    /// Bytes of the next request, which came in one piece with this one.
    next: Vec<u8>,
}

impl ClientIo {
    pub(super) fn new(stream: Socket, worker: Rc<Worker>, connection: Rc<Connection>) -> Self {
        Self {
            stream: Some(TokioIo::new(Observed {
                socket: stream,
                observer: BodyEnd {
                    connection: Rc::clone(&connection),
                    beyond: Vec::new(),
                },
            })),
            worker,
            connection,
            refusal: None,
            next: Vec::new(),
        }
    }

    fn socket(&mut self) -> io::Result<Pin<&mut TokioIo<Observed<BodyEnd>>>> {
        self.stream
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn is_refusal(&self, bytes: &[u8]) -> Option<ProxyError> {
        if !self.connection.is_between_requests() || self.refusal.is_some() {
            return None;
        }
        let status = bytes
            .strip_prefix(b"HTTP/1.1 ")
            .or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?
            .get(..3)?;
        let status = std::str::from_utf8(status).ok()?.parse().ok()?;
        Some(ProxyError::of_parser(status))
    }

    /// What was read beyond the request.
    pub(super) fn next(&self) -> &[u8] {
        &self.next
    }

    /// Hands out what was kept of the next request, now that it is its turn.
    fn next_head(&mut self, mut buffer: ReadBufCursor<'_>) -> io::Result<()> {
        let room = self.next.len().min(buffer.remaining());
        let taken = self.connection.head_came(&self.next[..room]);
        // While nobody has looked at the head, its request is refused for it.
        if self.connection.is_in_request() && self.connection.is_misframed() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        buffer.put_slice(&self.next[..taken]);
        self.next.drain(..taken);
        self.connection.holds_next.set(!self.next.is_empty());
        Ok(())
    }

    /// Reads what may be a head, with a look at it before hyper has it.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let worker = Rc::clone(&self.worker);
        let mut scratch = worker.scratch.borrow_mut();
        let room = scratch.len().min(buffer.remaining());
        let mut read = ReadBuf::new(&mut scratch[..room]);
        let watched = self.socket()?.get_mut().inner_mut();
        ready!(Pin::new(&mut watched.socket).poll_read(cx, &mut read))?;
        if !read.filled().is_empty() {
            if self.connection.is_preface(read.filled()) {
                return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
            }
            let read = read.filled();
            let (now, next) = read.split_at(self.connection.head_came(read));
            buffer.put_slice(now);
            if !next.is_empty() {
                self.next.extend_from_slice(next);
                self.connection.holds_next.set(true);
                if now.is_empty() {
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what belongs to a body; what stands behind it is kept.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.socket()?.poll_read(cx, buffer))?;
        let beyond = &mut self.socket()?.get_mut().inner_mut().observer.beyond;
        if !beyond.is_empty() {
            self.next = std::mem::take(beyond);
            self.connection.holds_next.set(true);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the interim answers that wait.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = Rc::clone(&self.connection);
        let mut waiting = connection.interim_answers();
        while !waiting.is_empty() {
            let written = ready!(self.socket()?.poll_write(cx, &waiting))?;
            waiting.drain(..some(written)?);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((answer, written)) = &mut self.refusal {
            if *written == answer.len() {
                return Poll::Ready(Ok(()));
            }
            let Some(stream) = &mut self.stream else {
                break;
            };
            *written += some(ready!(
                Pin::new(stream).poll_write(cx, &answer[*written..])
            )?)?;
        }
        Poll::Ready(Ok(()))
    }
}

/// Looks where a body ends that hyper reads.
struct BodyEnd {
    connection: Rc<Connection>,
    /// What stood behind the body.
    beyond: Vec<u8>,
}

impl Observer for BodyEnd {
    fn read(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let read = &buffer.filled()[before..];
        let taken = self.connection.body_came(read);
        let taken = taken.ok_or(io::ErrorKind::InvalidData)?;
        if taken < read.len() {
            self.beyond = read[taken..].to_vec();
            buffer.set_filled(before + taken);
        }
        Ok(())
    }
}

/// A socket that takes nothing and says so is dead.
fn some(written: usize) -> io::Result<usize> {
    if written == 0 {
        Err(io::ErrorKind::WriteZero.into())
    } else {
        Ok(written)
    }
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        self.connection
            .hand_back(self.stream.take().map(|stream| stream.into_inner().socket));
    }
}

impl Read for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.next.is_empty() {
            // The connection is woken when this request is over.
            if self.connection.is_all_there() {
                return Poll::Pending;
            }
            return Poll::Ready(self.next_head(buffer));
        }
        if self.connection.is_in_request() && !self.connection.is_all_there() {
            return self.poll_body(cx, buffer);
        }
        self.poll_head(cx, buffer)
    }
}

impl Write for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(fault) = self.is_refusal(bytes) {
            self.connection.refused();
            self.refusal = Some((refuse(&self.worker, &self.connection, fault), 0));
        }
        if self.refusal.is_some() {
            return self.poll_refusal(cx).map_ok(|()| bytes.len());
        }
        ready!(self.poll_interim(cx))?;
        let written = self.socket()?.poll_write(cx, bytes);
        self.connection.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.connection.is_between_requests() || self.refusal.is_some() {
            let bytes = slices
                .iter()
                .map(|slice| &**slice)
                .find(|slice| !slice.is_empty())
                .unwrap_or_default();
            return self.poll_write(cx, bytes);
        }
        ready!(self.poll_interim(cx))?;
        let written = self.socket()?.poll_write_vectored(cx, slices);
        self.connection.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        ready!(self.poll_interim(cx))?;
        let flushed = self.socket()?.poll_flush(cx);
        if flushed.is_ready() {
            self.connection.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // It goes on in another way.
        if self.connection.goes_on() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_refusal(cx))?;
        self.socket()?.poll_shutdown(cx)
    }
}
