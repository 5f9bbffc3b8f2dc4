//! One try of a request: pick an endpoint, get a connection, send. An endpoint that takes no connection is passed over;
//! a kept connection that turns out to be dead costs nothing but the try.

use super::balance::Choice;
use super::body::BodyFate;
use super::context::RequestContext;
use super::error::{ProxyError, UpstreamFault};
use super::forward::{Failed, exchange};
use super::queue::{self, Turn};
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

/// A request on its way: what is sent, and where it may go.
pub(super) struct Sending<'a> {
    pub(super) outgoing: Outgoing,
    /// What became of its body, if it has one.
    pub(super) fate: Option<Rc<BodyFate>>,
    pub(super) method: &'a Method,
    pub(super) choice: Choice<'a>,
}

impl Sending<'_> {
    /// Whether the caller's own body is what ended the exchange.
    pub(super) fn is_broken_off(&self) -> bool {
        self.broken_off().is_some()
    }

    /// One request on one connection.
    async fn exchange(
        &mut self,
        route: &CompiledRoute,
        lease: Lease,
        cx: &RequestContext,
    ) -> Result<(AnswerHead, Lease), Failed> {
        exchange(&mut self.outgoing, self.method, route, lease, cx).await
    }

    /// Why the caller's body ended early, if it did.
    pub(super) fn broken_off(&self) -> Option<ProxyError> {
        self.fate.as_ref().and_then(|fate| fate.fault.get())
    }
}

/// Tries the endpoints of a choice until one takes a connection, and sends.
pub(super) async fn attempt(
    worker: &Rc<Worker>,
    sending: &mut Sending<'_>,
    route: &CompiledRoute,
    cx: &mut RequestContext,
) -> Result<(AnswerHead, Lease), UpstreamFault> {
    let upstream = &*route.upstream;
    let pool = upstream.config.pool;
    let mut fault = UpstreamFault::NoHealthyEndpoint;
    let mut only_fresh = false;
    // A WebSocket takes a connection for itself.
    let alone = cx.handshake.is_some();
    let now = if cx.tries == 0 {
        cx.decided
    } else {
        worker.clock.monotonic_nanos()
    };
    while let Some(place) = sending.choice.next(now, cx) {
        let endpoint = &upstream.endpoints[place];
        arrive(upstream, endpoint, cx)?;
        let authority = endpoint.endpoint.authority.as_bytes();
        sending.outgoing.aim_at(authority);
        // A request is said again once, so not on another connection that may be dead too.
        if !only_fresh && let Some(kept) = worker.pools.take(endpoint.number, now, (pool, alone)) {
            endpoint.requests.fetch_add(1, Relaxed);
            let lease = Lease::new(worker, endpoint, pool, kept);
            match sending.exchange(route, lease, cx).await {
                Err(Failed::Repeatably | Failed::Refused) => {
                    sending.outgoing.rewind();
                    only_fresh = true;
                }
                outcome => return outcome.map_err(Failed::fault),
            }
        }
        match open(worker, upstream, endpoint, alone).await {
            Ok(lease) => {
                endpoint.requests.fetch_add(1, Relaxed);
                let outcome = sending.exchange(route, lease, cx).await;
                return outcome.map_err(Failed::fault);
            }
            Err(limit @ (UpstreamFault::MaxPending | UpstreamFault::PendingTimeout)) => {
                return Err(limit);
            }
            Err(failed) => {
                upstream.failed(endpoint, worker.clock.monotonic_nanos());
                fault = failed;
            }
        }
    }
    Err(fault)
}

/// A new connection, or, where there may be no more of them, one that was given back.
async fn open(
    worker: &Rc<Worker>,
    upstream: &UpstreamState,
    endpoint: &Arc<EndpointState>,
    alone: bool,
) -> Result<Lease, UpstreamFault> {
    match queue::turn(worker, upstream, endpoint, alone).await? {
        Turn::Kept(kept) => Ok(Lease::new(worker, endpoint, upstream.config.pool, kept)),
        Turn::Open(place) => {
            let mut lease = resolve::connect(worker, endpoint, upstream, alone).await?;
            lease.hold(place);
            Ok(lease)
        }
    }
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
