//! The body of a request that is refused: read away if it is small and comes at once, so that the connection serves on. Else the
//! connection ends with the answer, which says so: a caller must not send its next request into the end.

use super::connection::Connection;
use http::header::EXPECT;
use http::{Request, Version};
use http_body::Body;
use hyper::body::Incoming;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

/// More is not worth its way, and whoever is refused need not send it.
const MOST: u64 = 64 * 1024;
/// A body that comes right behind its head is there by then.
const WAIT: Duration = Duration::from_millis(500);

/// Reads it away, or notes that it is left. In HTTP/2 a stream just ends.
pub(super) async fn read_away(request: Request<Incoming>, connection: &Connection) {
    let one_of_many = request.version() == Version::HTTP_2;
    // Who waits to be asked for it is not asked.
    let waits = request.headers().contains_key(EXPECT);
    let mut body = request.into_body();
    if body.is_end_stream() {
        return;
    }
    let small = body.size_hint().exact().is_some_and(|bytes| bytes <= MOST);
    let ended = small && !waits && !one_of_many && ends(&mut body).await;
    if !ended {
        connection.body_left();
    }
}

async fn ends(body: &mut Incoming) -> bool {
    let end = async {
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            if frame.is_err() {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(WAIT, end).await.unwrap_or(false)
}
