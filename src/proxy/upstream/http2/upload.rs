//! A request's body on its way to a service that speaks HTTP/2: as much as the service takes, and no more of it held than
//! the piece that waits.

use crate::proxy::upstream::outgoing::{Outgoing, Stopped};
use crate::proxy::worker::Worker;
use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Frame;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Sends on; ready when all is sent or nothing more can be.
pub(super) fn poll_send(
    outgoing: &mut Outgoing,
    stream: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Stopped>> {
    loop {
        if outgoing.is_done() {
            return Poll::Ready(Ok(()));
        }
        if outgoing.waiting().is_empty() {
            match ready!(outgoing.poll_frame(cx)) {
                Some(Ok(frame)) => take(outgoing, stream, frame)?,
                Some(Err(_)) => return Poll::Ready(Err(Stopped::Body)),
                None => end(stream)?,
            }
            continue;
        }
        stream.reserve_capacity(outgoing.waiting().len());
        while stream.capacity() == 0 {
            if !matches!(ready!(stream.poll_capacity(cx)), Some(Ok(_))) {
                return Poll::Ready(Err(Stopped::Connection));
            }
        }
        let (piece, last) = outgoing.take_waiting(stream.capacity());
        sent(stream.send_data(piece, last))?;
    }
}

/// A frame of the caller's: data waits for room, trailers end all.
fn take(
    outgoing: &mut Outgoing,
    stream: &mut SendStream<Bytes>,
    frame: Frame<Bytes>,
) -> Result<(), Stopped> {
    match frame.into_data() {
        Ok(data) => {
            outgoing.wait(data);
            Ok(())
        }
        Err(other) => {
            outgoing.end_body();
            match other.into_trailers() {
                Ok(trailers) if !trailers.is_empty() => sent(stream.send_trailers(trailers)),
                Ok(_) | Err(_) => end(stream),
            }
        }
    }
}

fn end(stream: &mut SendStream<Bytes>) -> Result<(), Stopped> {
    sent(stream.send_data(Bytes::new(), true))
}

fn sent(outcome: Result<(), h2::Error>) -> Result<(), Stopped> {
    outcome.map_err(|_| Stopped::Connection)
}

/// Sends the rest of a request whose answer has begun, however slowly that is read; `done` tells when all of it is out.
pub(super) async fn rest(
    worker: Rc<Worker>,
    mut outgoing: Outgoing,
    mut stream: SendStream<Bytes>,
    done: Rc<Cell<bool>>,
) {
    match poll_fn(|cx| poll_send(&mut outgoing, &mut stream, cx)).await {
        Ok(()) => done.set(true),
        // Half a request must not look like a whole one.
        Err(Stopped::Body) => stream.send_reset(Reason::CANCEL),
        // What the service makes of it is in its answer.
        Err(Stopped::Connection) => {}
    }
    worker.spare.recycle_buffer(outgoing.into_buffer());
}
