//! Pick an endpoint, send, and send again only where that is safe: when no connection could be made, or when a pooled
//! connection turned out to be dead and the request had not been taken, or may be repeated.

use super::body::{AnswerBody, BodyFate, RequestBody};
use super::context::RequestContext;
use super::error::{ProxyError, UpstreamFault};
use super::grpc;
use super::headers::UpstreamHead;
use super::streams::Kind;
use super::upstream::answer::{AnswerHead, Framing, Malformed};
use super::upstream::exchange::{Incoming as AnswerStream, SendFault};
use super::upstream::outgoing::Outgoing;
use super::upstream::pool::Lease;
use super::upstream::resolve;
use super::websocket::NotAgreed;
use super::worker::Worker;
use crate::gate::authorize::Permit;
use crate::gate::extract;
use crate::snapshot::router::CompiledRoute;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, VIA};
use http::{Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

/// For callers whose silence means nothing.
const AS_LONG_AS_IT_TAKES: Duration = Duration::from_hours(24 * 365);

/// Forwards a permitted request and gives the upstream's answer, its body still under way.
pub(super) async fn send(
    worker: &Rc<Worker>,
    head: UpstreamHead,
    request: Request<Incoming>,
    (route, _proof): (&CompiledRoute, &Permit),
    cx: &mut RequestContext,
) -> Result<Response<AnswerBody>, ProxyError> {
    let method = request.method().clone();
    let patience = cx.grpc.then(|| grpc::timeout(request.headers())).flatten();
    let (body, fate) = attach_body(request.into_body(), route, cx)?;
    // RFC 9110 §8.6: these say that their body is empty.
    let says_empty = matches!(method, Method::POST | Method::PUT | Method::PATCH);
    let mut outgoing = Outgoing::new(head, body, says_empty);
    let deadline = shorter(route.route.timeout, patience).map(|limit| Instant::now() + limit);
    let watched = cx.watched_call();
    let sending = in_time(attempt(worker, &mut outgoing, &method, route, cx), deadline);
    let sent = match watched {
        None => sending.await,
        // A call may send for hours before its answer begins.
        Some(call) => tokio::select! {
            biased;
            denied = call.cut() => return Err(denied.into()),
            sent = sending => sent,
        },
    };
    match sent {
        Ok((answer, lease)) => {
            cx.answered();
            if answer.framing == Framing::WebSocket {
                return switch(answer, lease, cx).map_err(|fault| failed(fault, route, cx));
            }
            pass_on(answer, lease, outgoing, (route, deadline), cx)
                .map_err(|fault| failed(fault, route, cx))
        }
        Err(fault) => {
            // The caller's own body may be what ended the exchange.
            if let Some(cause) = fate.and_then(|fate| fate.fault.get()) {
                return Err(cause);
            }
            Err(failed(fault, route, cx))
        }
    }
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

async fn in_time<T>(
    sending: impl Future<Output = Result<T, UpstreamFault>>,
    deadline: Option<Instant>,
) -> Result<T, UpstreamFault> {
    match deadline {
        None => sending.await,
        Some(deadline) => tokio::time::timeout_at(deadline, sending)
            .await
            .unwrap_or(Err(UpstreamFault::Timeout)),
    }
}

/// Counts and notes what the upstream did.
fn failed(fault: UpstreamFault, route: &CompiledRoute, cx: &RequestContext) -> ProxyError {
    route.upstream.metrics.failed(fault.reason());
    let endpoint = cx
        .endpoint
        .as_ref()
        .map(|endpoint| endpoint.endpoint.authority.as_str());
    let request = cx.request_id.to_str().unwrap_or_default();
    tracing::debug!(upstream = %route.upstream.config.name, endpoint, reason = fault.reason(), request.id = request,
        "an upstream failed a request");
    fault.into()
}

/// Refuses a body that says it is too large; any other is counted on its way.
fn attach_body(
    body: Incoming,
    route: &CompiledRoute,
    cx: &mut RequestContext,
) -> Result<(RequestBody, Option<Rc<BodyFate>>), ProxyError> {
    if body.is_end_stream() {
        return Ok((RequestBody::none(), None));
    }
    let most = route.route.max_body;
    if most.is_some_and(|most| body.size_hint().lower() > most) {
        return Err(ProxyError::BodyTooLarge);
    }
    let fate = Rc::new(BodyFate::default());
    cx.bytes_in = Some(Rc::clone(&fate.bytes));
    let connection = Rc::clone(&cx.connection);
    // Only what is chunked can have trailers.
    let chunked = body.size_hint().exact().is_none();
    let keys = if chunked {
        extract::key_fields(&route.route.auth).cloned().collect()
    } else {
        Vec::new()
    };
    // Who calls may listen for as long as there is something to hear.
    let patience = if cx.grpc {
        AS_LONG_AS_IT_TAKES
    } else {
        connection.limits.body_timeout
    };
    let body = RequestBody::streaming(body, Rc::clone(&fate), connection, (most, patience), keys);
    // Its messages come when they come.
    let body = if cx.grpc { body.at_any_pace() } else { body };
    Ok((body, Some(fate)))
}

/// Tries the endpoints in turn until one takes a connection, and sends. A kept connection that turns out to be dead costs
/// nothing but the try: a fresh one is made, here or at the next endpoint.
async fn attempt(
    worker: &Rc<Worker>,
    outgoing: &mut Outgoing,
    method: &Method,
    route: &CompiledRoute,
    cx: &mut RequestContext,
) -> Result<(AnswerHead, Lease), UpstreamFault> {
    let upstream = &route.upstream;
    let pool = upstream.config.pool;
    let mut fault = UpstreamFault::Connect;
    // A request is said again once, so not on another connection that may be dead too.
    let mut only_fresh = false;
    for endpoint in upstream.in_turn() {
        cx.endpoint = Some(Arc::clone(endpoint));
        outgoing.aim_at(endpoint.endpoint.authority.as_bytes());
        let kept = if only_fresh {
            None
        } else {
            worker.pools.take(endpoint.number, cx.decided, pool)
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
            Err(failed) => fault = failed,
        }
    }
    Err(fault)
}

/// What kind of answer it is. Events have no length, which spares most answers the comparison.
fn kind_of(head: &AnswerHead) -> Kind {
    let endless = matches!(head.framing, Framing::Chunked | Framing::UntilClose);
    let events = |kind: &HeaderValue| kind.as_bytes().starts_with(b"text/event-stream");
    if endless && head.headers.get(CONTENT_TYPE).is_some_and(events) {
        Kind::Events
    } else {
        Kind::Answer
    }
}

/// How an exchange failed.
enum Failed {
    /// The request may have been acted upon, or there is no use in trying again.
    Finally(UpstreamFault),
    /// A kept connection was dead, and the request was not taken, or may be said again.
    Repeatably,
}

impl Failed {
    fn fault(self) -> UpstreamFault {
        match self {
            Self::Finally(fault) => fault,
            Self::Repeatably => UpstreamFault::Closed,
        }
    }
}

/// One request on one connection.
async fn exchange(
    outgoing: &mut Outgoing,
    method: &Method,
    route: &CompiledRoute,
    mut lease: Lease,
    cx: &RequestContext,
) -> Result<(AnswerHead, Lease), Failed> {
    let interim = |answer: &AnswerHead| cx.pass_interim(answer);
    let patience = route.upstream.config.first_byte_timeout;
    let fault = match lease
        .connection()
        .send(
            outgoing,
            (method, cx.handshake.is_some()),
            patience,
            interim,
        )
        .await
    {
        Ok(answer) => return Ok((answer, lease)),
        Err(fault) => fault,
    };
    // Idempotent methods: RFC 9110 §9.2.2.
    let repeatable = outgoing.is_untouched() || outgoing.is_bodiless() && method.is_idempotent();
    if fault == SendFault::NoAnswer && lease.is_reused() && repeatable {
        return Err(Failed::Repeatably);
    }
    Err(Failed::Finally(fault.into()))
}

impl From<SendFault> for UpstreamFault {
    fn from(fault: SendFault) -> Self {
        match fault {
            // A body that broke off has its own cause, which is told instead.
            SendFault::NoAnswer | SendFault::Body => Self::Closed,
            SendFault::Protocol => Self::Protocol,
            SendFault::Timeout => Self::Timeout,
        }
    }
}

/// The service goes on with a WebSocket.
fn switch(
    mut head: AnswerHead,
    lease: Lease,
    cx: &mut RequestContext,
) -> Result<Response<AnswerBody>, UpstreamFault> {
    let handshake = cx.handshake.as_mut().ok_or(UpstreamFault::Protocol)?;
    handshake
        .agree(&mut head)
        .map_err(|NotAgreed| UpstreamFault::Protocol)?;
    handshake.upstream = Some(lease.into_connection().into_parts());
    cx.becomes(Kind::WebSocket);
    let mut answer = Response::new(AnswerBody::full(Bytes::new()));
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    Ok(answer)
}

fn pass_on(
    head: AnswerHead,
    mut lease: Lease,
    outgoing: Outgoing,
    (route, deadline): (&CompiledRoute, Option<Instant>),
    cx: &RequestContext,
) -> Result<Response<AnswerBody>, UpstreamFault> {
    cx.becomes(kind_of(&head));
    let rest = if outgoing.is_done() {
        cx.worker.recycle(outgoing.into_buffer());
        None
    } else {
        Some(outgoing)
    };
    let incoming = AnswerStream::begin(&head, rest, lease.connection())
        .map_err(|Malformed| UpstreamFault::Protocol)?;
    let body = AnswerBody::upstream(
        incoming,
        lease,
        route.upstream.config.idle_timeout,
        deadline,
    );
    let mut answer = Response::new(body);
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    if cx.view.snapshot.forwarding.via {
        answer
            .headers_mut()
            .append(VIA, HeaderValue::from_static("1.1 keygate"));
    }
    Ok(answer)
}
