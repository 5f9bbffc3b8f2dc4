//! Waiting for a connection where an upstream may have only so many: a new one takes a place; when all are taken, the
//! request waits for one that is closed, or given back on this thread. Idle ones elsewhere make room within a second.

use super::error::UpstreamFault;
use super::upstream::lease::Carrier;
use super::worker::Worker;
use crate::snapshot::endpoints::{EndpointState, UpstreamState};
use crate::snapshot::load::ConnectionPlace;
use std::pin::pin;

/// What a request may connect with.
pub(super) enum Turn {
    /// A place for a new connection; none where connections are not counted.
    Open(Option<ConnectionPlace>),
    /// A connection that was given back meanwhile.
    Kept(Carrier),
}

/// Waits for a turn, no longer than for a connection. `alone`: only a connection of its own will do.
pub(super) async fn turn(
    worker: &Worker,
    upstream: &UpstreamState,
    endpoint: &EndpointState,
    alone: bool,
) -> Result<Turn, UpstreamFault> {
    let circuit = upstream.config.circuit;
    let Some(most) = circuit.max_connections else {
        return Ok(Turn::Open(None));
    };
    if let Some(place) = upstream.load.connection(most) {
        return Ok(Turn::Open(Some(place)));
    }
    let pending = upstream.load.wait(circuit.max_pending);
    let _pending = pending.ok_or(UpstreamFault::MaxPending)?;
    let limit = upstream.config.connect_timeout;
    tokio::time::timeout(limit, wait(worker, upstream, endpoint, (most, alone)))
        .await
        .map_err(|_| UpstreamFault::PendingTimeout)
}

async fn wait(
    worker: &Worker,
    upstream: &UpstreamState,
    endpoint: &EndpointState,
    (most, alone): (usize, bool),
) -> Turn {
    let _here = worker.pools.waits_for(endpoint.number);
    worker.pools.make_room();
    loop {
        // Both listen before the look, or a place that is free in between would be missed.
        let (mut closed, mut returned) = (
            pin!(upstream.load.closed.notified()),
            pin!(worker.pools.returned.notified()),
        );
        closed.as_mut().enable();
        returned.as_mut().enable();
        let now = worker.clock.monotonic_nanos();
        if let Some(kept) = worker
            .pools
            .take(endpoint.number, now, (upstream.config.pool, alone))
        {
            return Turn::Kept(kept);
        }
        if let Some(place) = upstream.load.connection(most) {
            return Turn::Open(Some(place));
        }
        tokio::select! {
            () = closed => {}
            () = returned => {}
        }
    }
}
