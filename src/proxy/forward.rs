//! Pick an endpoint, send, and send again only where that is safe: when no connection could be made, or when a pooled
//! connection turned out to be dead and the request had not been (or may be) repeated.

use super::body::{AnswerBody, BodyFate, RequestBody};
use super::context::RequestContext;
use super::error::{ProxyError, UpstreamFault};
use super::headers;
use super::upstream::exchange::SendFault;
use super::upstream::pool::Lease;
use super::upstream::resolve;
use super::worker::Worker;
use crate::domain::upstream::HostHeader;
use crate::gate::authorize::Permit;
use crate::snapshot::endpoints::EndpointState;
use crate::snapshot::router::CompiledRoute;
use http::header::HOST;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body::Body;
use hyper::body::Incoming;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::Instant;

/// Forwards a permitted request and gives the upstream's answer, its body still under way.
pub(super) async fn send(
    worker: &Rc<Worker>,
    request: Request<Incoming>,
    route: &CompiledRoute,
    _proof: &Permit,
    cx: &mut RequestContext,
) -> Result<Response<AnswerBody>, ProxyError> {
    let (request, fate) = attach_body(request, route, cx)?;
    cx.forwarding();
    let deadline = route.route.timeout.map(|limit| Instant::now() + limit);
    let sent = match deadline {
        None => attempt(worker, request, route, cx).await,
        Some(deadline) => tokio::time::timeout_at(deadline, attempt(worker, request, route, cx))
            .await
            .unwrap_or(Err(UpstreamFault::Timeout)),
    };
    match sent {
        Ok((answer, lease)) => {
            cx.answered();
            Ok(pass_on(answer, lease, route, deadline, cx))
        }
        Err(fault) => {
            // The caller's own body may be what ended the exchange.
            if let Some(cause) = fate.and_then(|fate| fate.fault.get()) {
                return Err(cause);
            }
            route.upstream.metrics.failed(fault.reason());
            Err(fault.into())
        }
    }
}

/// Refuses a body that says it is too large; any other is counted on its way.
fn attach_body(
    request: Request<Incoming>,
    route: &CompiledRoute,
    cx: &mut RequestContext,
) -> Result<(Request<RequestBody>, Option<Rc<BodyFate>>), ProxyError> {
    if request.body().is_end_stream() {
        return Ok((request.map(|_| RequestBody::none()), None));
    }
    let most = route.route.max_body;
    if most.is_some_and(|most| request.body().size_hint().lower() > most) {
        return Err(ProxyError::BodyTooLarge);
    }
    let fate = Rc::new(BodyFate::default());
    cx.bytes_in = Some(Rc::clone(&fate.bytes));
    let connection = Rc::clone(&cx.connection);
    let body = |incoming| RequestBody::streaming(incoming, Rc::clone(&fate), connection, most);
    Ok((request.map(body), Some(fate)))
}

/// Tries the endpoints in turn until one takes a connection, and sends.
async fn attempt(
    worker: &Rc<Worker>,
    mut request: Request<RequestBody>,
    route: &CompiledRoute,
    cx: &mut RequestContext,
) -> Result<(Response<Incoming>, Lease), UpstreamFault> {
    let upstream = &route.upstream;
    let mut fault = UpstreamFault::Connect;
    for endpoint in upstream.in_turn() {
        cx.endpoint = Some(Arc::clone(endpoint));
        set_host(&mut request, route, endpoint);
        let lease = match worker.pools.take(
            endpoint.number,
            worker.clock.monotonic_nanos(),
            upstream.config.pool,
        ) {
            Some(connection) => Lease::new(worker, endpoint, upstream.config.pool, connection),
            None => match resolve::connect(worker, endpoint, upstream).await {
                Ok(lease) => lease,
                Err(failed) => {
                    fault = failed;
                    continue;
                }
            },
        };
        endpoint.requests.fetch_add(1, Relaxed);
        return exchange(worker, request, lease, route, endpoint).await;
    }
    Err(fault)
}

/// One request on one connection, and once more on a fresh one when the pooled one was dead.
async fn exchange(
    worker: &Rc<Worker>,
    request: Request<RequestBody>,
    mut lease: Lease,
    route: &CompiledRoute,
    endpoint: &Arc<EndpointState>,
) -> Result<(Response<Incoming>, Lease), UpstreamFault> {
    let patience = route.upstream.config.first_byte_timeout;
    let spare = if lease.is_reused() {
        Spare::of(&request)
    } else {
        None
    };
    let again = match send_once(&mut lease, request, patience).await {
        Ok(answer) => return Ok((answer, lease)),
        Err(SendFault::Unsent(request)) => *request,
        Err(SendFault::NoAnswer) => spare.ok_or(UpstreamFault::Closed)?.request(),
        Err(SendFault::Protocol) => return Err(UpstreamFault::Protocol),
        Err(SendFault::Timeout) => return Err(UpstreamFault::Timeout),
    };
    if !lease.is_reused() {
        return Err(UpstreamFault::Closed);
    }
    drop(lease);
    let mut lease = resolve::connect(worker, endpoint, &route.upstream).await?;
    match send_once(&mut lease, again, patience).await {
        Ok(answer) => Ok((answer, lease)),
        Err(SendFault::Unsent(_) | SendFault::NoAnswer) => Err(UpstreamFault::Closed),
        Err(SendFault::Protocol) => Err(UpstreamFault::Protocol),
        Err(SendFault::Timeout) => Err(UpstreamFault::Timeout),
    }
}

/// Patience with the upstream begins when it has all of the request that came; what the caller takes to send the rest is
/// watched by the body itself.
async fn send_once(
    lease: &mut Lease,
    request: Request<RequestBody>,
    patience: std::time::Duration,
) -> Result<Response<Incoming>, SendFault> {
    let fate = request.body().fate();
    let mut sent = pin!(lease.send(request));
    let mut until = Instant::now() + patience;
    loop {
        if let Ok(answer) = tokio::time::timeout_at(until, sent.as_mut()).await {
            return answer;
        }
        let Some(fate) = &fate else {
            return Err(SendFault::Timeout);
        };
        let now = Instant::now();
        until = fate.handed_on.get().unwrap_or(now) + patience;
        if until <= now {
            return Err(SendFault::Timeout);
        }
    }
}

/// What it takes to say a request again: only for methods that may be repeated (RFC 9110 §9.2.2), and without body.
struct Spare(Method, Uri, HeaderMap);

impl Spare {
    fn of(request: &Request<RequestBody>) -> Option<Self> {
        let repeatable = request.method().is_idempotent() && request.body().is_end_stream();
        repeatable.then(|| {
            Self(
                request.method().clone(),
                request.uri().clone(),
                request.headers().clone(),
            )
        })
    }

    fn request(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::none());
        *request.method_mut() = self.0;
        *request.uri_mut() = self.1;
        *request.headers_mut() = self.2;
        request
    }
}

fn set_host(request: &mut Request<RequestBody>, route: &CompiledRoute, endpoint: &EndpointState) {
    let host = match (
        &route.upstream.config.host_header,
        &route.upstream.fixed_host,
    ) {
        (HostHeader::Fixed(_), Some(host)) => host,
        (HostHeader::Preserve, _) if request.headers().contains_key(HOST) => return,
        (HostHeader::Preserve | HostHeader::Endpoint | HostHeader::Fixed(_), _) => {
            &endpoint.authority
        }
    };
    request.headers_mut().insert(HOST, host.clone());
}

fn pass_on(
    answer: Response<Incoming>,
    lease: Lease,
    route: &CompiledRoute,
    deadline: Option<Instant>,
    cx: &RequestContext,
) -> Response<AnswerBody> {
    let (mut head, incoming) = answer.into_parts();
    headers::clean(&mut head.headers, cx.view.snapshot.forwarding.via);
    let pause = route.upstream.config.idle_timeout;
    Response::from_parts(head, AnswerBody::upstream(incoming, lease, pause, deadline))
}
