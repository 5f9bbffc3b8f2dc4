//! The upstream side of a worker: connections, one request at a time on each, kept for the next one.

pub(super) mod answer;
mod chunked;
pub(super) mod dns;
pub(super) mod exchange;
pub(super) mod outgoing;
pub(super) mod pool;
pub(super) mod resolve;
