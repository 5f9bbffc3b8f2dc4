//! One try of a request: pick an endpoint, get a connection, send. An endpoint that takes no connection is passed over;
//! a kept connection that turns out to be dead costs nothing but the try.

use super::balance::Choice;
use super::context::RequestContext;
use super::error::UpstreamFault;
use super::forward::{Failed, exchange};
use super::upstream::answer::AnswerHead;
use super::upstream::outgoing::Outgoing;
use super::upstream::pool::Lease;
use super::upstream::resolve;
use super::worker::Worker;
use crate::snapshot::endpoints::{EndpointState, UpstreamState};
use crate::snapshot::router::CompiledRoute;
use http::Method;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Tries the endpoints of a choice until one takes a connection, and sends.
pub(super) async fn attempt(
    worker: &Rc<Worker>,
    outgoing: &mut Outgoing,
    (method, route): (&Method, &CompiledRoute),
    choice: &mut Choice<'_>,
    cx: &mut RequestContext,
) -> Result<(AnswerHead, Lease), UpstreamFault> {
    let upstream = &*route.upstream;
    let pool = upstream.config.pool;
    let mut fault = UpstreamFault::NoHealthyEndpoint;
    // A request is said again once, so not on another connection that may be dead too.
    let mut only_fresh = false;
    let now = if cx.tries == 0 {
        cx.decided
    } else {
        worker.clock.monotonic_nanos()
    };
    while let Some(place) = choice.next(now, cx) {
        let endpoint = &upstream.endpoints[place];
        arrive(upstream, endpoint, cx)?;
        outgoing.aim_at(endpoint.endpoint.authority.as_bytes());
        let kept = if only_fresh {
            None
        } else {
            worker.pools.take(endpoint.number, now, pool)
        };
        if let Some(kept) = kept {
            endpoint.requests.fetch_add(1, Relaxed);
            let lease = Lease::new(worker, endpoint, pool, kept);
            match exchange(outgoing, method, route, lease, cx).await {
                Ok(answered) => return Ok(answered),
                Err(Failed::Finally(fault)) => return Err(fault),
                Err(Failed::Repeatably) => {
                    outgoing.rewind();
                    only_fresh = true;
                }
            }
        }
        match resolve::connect(worker, endpoint, upstream).await {
            Ok(lease) => {
                endpoint.requests.fetch_add(1, Relaxed);
                return exchange(outgoing, method, route, lease, cx)
                    .await
                    .map_err(Failed::fault);
            }
            Err(failed) => {
                upstream.failed(endpoint, worker.clock.monotonic_nanos());
                fault = failed;
            }
        }
    }
    Err(fault)
}

/// The request goes to this endpoint now: it leaves the one before, and takes its place here.
fn arrive(
    upstream: &UpstreamState,
    endpoint: &Arc<EndpointState>,
    cx: &mut RequestContext,
) -> Result<(), UpstreamFault> {
    cx.tries += 1;
    cx.in_flight = None;
    if upstream.counted {
        let most = upstream.config.circuit.max_requests;
        let place = upstream.load.request(endpoint, most);
        cx.in_flight = Some(place.ok_or(UpstreamFault::MaxRequests)?);
    }
    cx.endpoint = Some(Arc::clone(endpoint));
    Ok(())
}
