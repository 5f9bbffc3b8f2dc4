//! The upstream side of a worker: connections, with one request at a time on each or shared by many, kept for the next
//! ones.

pub(super) mod answer;
pub(super) mod chunked;
pub(super) mod dns;
pub(super) mod exchange;
mod http2;
pub(super) mod incoming;
pub(super) mod lease;
mod opening;
pub(super) mod outgoing;
pub(super) mod pool;
pub(super) mod resolve;
mod secure;
