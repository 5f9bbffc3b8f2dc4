//! The body of a request that is answered without it. Over HTTP/1.1 it is read away if it is small and comes at once, so that the
//! connection serves on; else the connection ends with the answer, which says so: a caller must not send its next request into
//! the end. Over HTTP/2 the stream stays open for a moment: a reset right behind an answer makes callers lose it.

use super::caller_body::CallerBody;
use super::connection::Connection;
use super::request::Request;
use super::worker::Worker;
use http::Version;
use http_body::Body;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// More is not worth its way, and whoever is refused need not send it.
const MOST: u64 = 64 * 1024;
/// A body that comes right behind its head is there by then.
const WAIT: Duration = Duration::from_millis(500);
/// How long a stream stays open behind its answer.
const LINGER: Duration = Duration::from_secs(2);

/// Sees to the body of a request that is refused.
pub(super) async fn read_away(worker: &Rc<Worker>, request: &mut Request, connection: &Connection) {
    let http2 = request.head.version == Version::HTTP_2;
    // Who waits to be asked for it is not asked.
    let waits = request.head.fields.has("expect");
    let mut body = std::mem::replace(&mut request.body, CallerBody::None);
    if body.is_end_stream() {
        return;
    }
    let small = body.size_hint().exact().is_some_and(|bytes| bytes <= MOST);
    if small && !waits {
        let ended = tokio::time::timeout(WAIT, ends(&mut body)).await;
        if ended.unwrap_or(false) {
            return;
        }
    }
    if http2 {
        hold(worker, body);
    } else {
        connection.body_left();
    }
}

/// Keeps a stream of HTTP/2 open until its caller has heard the answer. No more is taken than its window has.
pub(super) fn hold(worker: &Rc<Worker>, body: CallerBody) {
    worker.background.spawn_local(async move {
        tokio::time::sleep(LINGER).await;
        drop(body);
    });
}

async fn ends(body: &mut CallerBody) -> bool {
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        if frame.is_err() {
            return false;
        }
    }
    true
}
