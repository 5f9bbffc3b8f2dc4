//! From nothing to a connection that takes requests: an address, TCP, TLS, and what is spoken on it. Where one connection
//! will do for many requests, the first opens it and the others wait for that.

use super::exchange::Connection;
use super::http2::Shared;
use super::lease::Carrier;
use super::pool::Aged;
use super::{resolve, secure};
use crate::domain::upstream::Protocol;
use crate::proxy::error::UpstreamFault;
use crate::proxy::worker::Worker;
use crate::snapshot::endpoints::{EndpointState, UpstreamState};
use std::rc::Rc;

/// Opens a connection, or takes a place on one that was opened meanwhile. `alone`: one of HTTP/1.1, which a request has for itself.
pub(super) async fn open(
    worker: &Rc<Worker>,
    endpoint: &EndpointState,
    upstream: &UpstreamState,
    alone: bool,
) -> Result<Carrier, UpstreamFault> {
    let pools = &worker.pools;
    let turn = match upstream.config.protocol {
        _ if alone => None,
        Protocol::Http1 => None,
        Protocol::Auto if upstream.tls.is_none() => None,
        Protocol::Auto | Protocol::Http2 => pools.turn(endpoint.number),
    };
    let _turn = match &turn {
        None => None,
        Some(turn) => {
            let waited = turn.lock().await;
            let now = worker.clock.monotonic_nanos();
            if let Some(stream) = pools.share(endpoint.number, now, upstream.config.pool) {
                return Ok(Carrier::Shared(stream));
            }
            Some(waited)
        }
    };
    let (stream, home) = resolve::open(endpoint, upstream.config.connect_timeout).await?;
    let shaken = secure::shake(stream, endpoint, upstream, alone).await?;
    if shaken.http2 {
        let shared = Shared::begin(worker, &endpoint.endpoint, (shaken.socket, home)).await?;
        let stream = pools.add(endpoint.number, shared, upstream.config.pool);
        worker.reap_later();
        return Ok(Carrier::Shared(stream));
    }
    if turn.is_some() {
        pools.shares_nothing(endpoint.number);
    }
    let now = worker.clock.monotonic_nanos();
    Ok(Carrier::Own(Aged::fresh(
        Connection::new(shaken.socket),
        home,
        now,
    )))
}
