//! An answer's body coming in, whatever is spoken.

use super::exchange;
use super::http2::stream;
use super::lease::Lease;
use bytes::Bytes;
use http_body::Frame;
use std::task::{Context, Poll};

/// The upstream's body ended before its end, or is not framed as it said.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Broken {
    /// Nothing more is known, or is for the caller to know.
    #[error("the upstream's answer broke off")]
    Cut,
    /// With a reason that is passed on, to callers who speak HTTP/2: hyper looks for it among the causes.
    #[error("the upstream took its answer back")]
    Reset(#[source] h2::Error),
}

/// See the head of this file.
pub(in crate::proxy) enum Incoming {
    Http1(exchange::Incoming),
    Http2(stream::Incoming),
}

impl Incoming {
    /// Whether the last byte has been taken.
    pub(in crate::proxy) fn is_done(&self) -> bool {
        match self {
            Self::Http1(incoming) => incoming.is_done(),
            Self::Http2(incoming) => incoming.is_done(),
        }
    }

    /// Whether nothing more comes, trailers included.
    pub(in crate::proxy) fn is_over(&self) -> bool {
        match self {
            Self::Http1(incoming) => incoming.is_done(),
            Self::Http2(incoming) => incoming.is_over(),
        }
    }

    /// Bytes still to come, where that is known.
    pub(in crate::proxy) fn remaining(&self) -> Option<u64> {
        match self {
            Self::Http1(incoming) => incoming.remaining(),
            Self::Http2(incoming) => incoming.remaining(),
        }
    }

    /// The next piece of the body.
    pub(in crate::proxy) fn poll_frame(
        &mut self,
        lease: &mut Lease,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match (self, lease.connection()) {
            (Self::Http1(incoming), Some(connection)) => incoming.poll_frame(connection, cx),
            (Self::Http1(_), None) => Poll::Ready(Some(Err(Broken::Cut))),
            (Self::Http2(incoming), _) => {
                let frame = incoming.poll_frame(cx);
                if frame.is_ready() {
                    lease.heard();
                }
                frame
            }
        }
    }
}
