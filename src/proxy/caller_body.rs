//! What a caller sends behind a head, whatever is spoken.

use super::http1::{BrokenBody, Wire};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// See the head of this file.
pub(super) enum CallerBody {
    None,
    Http1(Rc<Wire>),
    Http2(Incoming),
}

/// Why a caller's body ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallerFault {
    #[error(transparent)]
    Http1(#[from] BrokenBody),
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = CallerFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CallerFault>>> {
        match self.get_mut() {
            Self::None => Poll::Ready(None),
            Self::Http1(wire) => {
                let frame = ready!(wire.poll_body(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(CallerFault::from)))
            }
            Self::Http2(incoming) => {
                let frame = ready!(Pin::new(incoming).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(CallerFault::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::None => true,
            Self::Http1(wire) => wire.is_body_done(),
            Self::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::None => SizeHint::with_exact(0),
            Self::Http1(wire) => wire
                .body_left()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Http2(incoming) => incoming.size_hint(),
        }
    }
}
