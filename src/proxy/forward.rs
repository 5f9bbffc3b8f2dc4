//! Sends a request and passes its answer on. Which endpoint gets it is for `attempt.rs` and `balance/` to say.

use super::answer::Answer;
use super::attempt::Sending;
use super::balance::Choice;
use super::body::{AnswerBody, BodyFate, RequestBody};
use super::caller_body::CallerBody;
use super::context::RequestContext;
use super::error::{ProxyError, UpstreamFault};
use super::grpc;
use super::headers::UpstreamHead;
use super::leftover;
use super::request::Request;
use super::retry;
use super::streams::Kind;
use super::upstream::answer::{AnswerHead, Framing, Malformed};
use super::upstream::exchange::SendFault;
use super::upstream::outgoing::Outgoing;
use super::upstream::pool::Lease;
use super::websocket::NotAgreed;
use super::worker::Worker;
use crate::gate::authorize::Permit;
use crate::gate::extract;
use crate::snapshot::router::CompiledRoute;
use bytes::Bytes;
use http::Method;
use http_body::Body;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// For callers whose silence means nothing.
const AS_LONG_AS_IT_TAKES: Duration = Duration::from_hours(24 * 365);

/// Forwards a permitted request and gives the upstream's answer, its body still under way.
pub(super) async fn send(
    worker: &Rc<Worker>,
    head: UpstreamHead,
    request: &mut Request,
    (route, _proof): (&CompiledRoute, &Permit),
    cx: &mut RequestContext,
) -> Result<Answer, ProxyError> {
    let asked = &request.head;
    let patience = cx.grpc.then(|| grpc::timeout(&asked.fields)).flatten();
    let choice = Choice::new(&route.upstream, &asked.fields, cx);
    let body = std::mem::replace(&mut request.body, CallerBody::None);
    let (body, fate) = attach_body(body, route, cx)?;
    let body = body.come_over(asked.version);
    let method = &asked.method;
    // RFC 9110 §8.6: these say that their body is empty.
    let says_empty = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    let mut sending = Sending {
        outgoing: Outgoing::new(head, body, says_empty),
        fate,
        method,
        choice,
    };
    let deadline = shorter(route.route.timeout, patience).map(|limit| Instant::now() + limit);
    // Each way makes its own future: one that is moved is copied, and they are large.
    let sent = match (cx.watched_call(), deadline) {
        (None, None) => retry::send(worker, &mut sending, route, cx).await,
        (None, Some(deadline)) => in_time(worker, &mut sending, (route, deadline), cx).await,
        // A call may send for hours before its answer begins.
        (Some(call), _) => {
            let deadline = deadline.unwrap_or_else(|| Instant::now() + AS_LONG_AS_IT_TAKES);
            tokio::select! {
                biased;
                denied = call.cut() => return Err(denied.into()),
                sent = in_time(worker, &mut sending, (route, deadline), cx) => sent,
            }
        }
    };
    match sent {
        Ok((answer, lease)) => {
            cx.answered();
            if answer.framing == Framing::WebSocket {
                return switch(answer, lease, cx).map_err(|fault| failed(fault, route, cx));
            }
            // To a caller of HTTP/2 any 2xx would say that it is a WebSocket (RFC 8441 §5).
            if cx.handshake.as_ref().is_some_and(|one| one.is_by_connect())
                && answer.status.is_success()
            {
                return Err(failed(UpstreamFault::Protocol, route, cx));
            }
            pass_on(answer, lease, sending.outgoing, (route, deadline), cx)
                .map_err(|fault| failed(fault, route, cx))
        }
        Err(fault) => match sending.broken_off() {
            Some(cause) => Err(cause),
            None => Err(failed(fault, route, cx)),
        },
    }
}

/// The route's time is over. An endpoint that had the whole request has failed it.
fn out_of_time(sending: &Sending<'_>, route: &CompiledRoute, cx: &RequestContext) {
    if let Some(endpoint) = &cx.endpoint
        && sending.outgoing.is_done()
    {
        let now = cx.worker.clock.monotonic_nanos();
        route.upstream.failed(endpoint, now);
    }
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Sends, no longer than until a deadline.
async fn in_time(
    worker: &Rc<Worker>,
    sending: &mut Sending<'_>,
    (route, deadline): (&CompiledRoute, Instant),
    cx: &mut RequestContext,
) -> Result<(AnswerHead, Lease), UpstreamFault> {
    let in_time = {
        // Where it lies it stays: one that is moved is copied.
        let sent = pin!(retry::send(worker, sending, route, cx));
        tokio::time::timeout_at(deadline, sent).await
    };
    in_time.unwrap_or_else(|_| {
        out_of_time(sending, route, cx);
        Err(UpstreamFault::Timeout)
    })
}

/// Counts and notes what the upstream did.
fn failed(fault: UpstreamFault, route: &CompiledRoute, cx: &RequestContext) -> ProxyError {
    route.upstream.metrics.failed(fault.reason());
    let endpoint = cx
        .endpoint
        .as_ref()
        .map(|endpoint| endpoint.endpoint.authority.as_str());
    let request = cx.request_id.as_str();
    tracing::debug!(upstream = %route.upstream.config.name, endpoint, reason = fault.reason(), request.id = request,
        "an upstream failed a request");
    fault.into()
}

/// Refuses a body that says it is too large; any other is counted on its way.
fn attach_body(
    body: CallerBody,
    route: &CompiledRoute,
    cx: &mut RequestContext,
) -> Result<(RequestBody, Option<Rc<BodyFate>>), ProxyError> {
    if body.is_end_stream() {
        return Ok((RequestBody::none(), None));
    }
    let most = route.route.max_body;
    if most.is_some_and(|most| body.size_hint().lower() > most) {
        if cx.is_alone() {
            cx.connection.body_left();
        } else {
            leftover::hold(&cx.worker, body);
        }
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
    let body = RequestBody::streaming(
        (body, &cx.worker),
        Rc::clone(&fate),
        connection,
        (most, patience),
        keys,
    );
    // Its messages come when they come.
    let body = if cx.grpc { body.at_any_pace() } else { body };
    Ok((body, Some(fate)))
}

/// What kind of answer it is. Events have no length, which spares most answers the comparison.
fn kind_of(head: &AnswerHead) -> Kind {
    const EVENTS: &[u8] = b"text/event-stream";
    let endless = matches!(head.framing, Framing::Chunked | Framing::UntilClose);
    let events = |kind: &[u8]| {
        let start = kind.get(..EVENTS.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(EVENTS))
    };
    if endless && head.lines.get("content-type").is_some_and(events) {
        Kind::Events
    } else {
        Kind::Answer
    }
}

/// How an exchange failed.
pub(super) enum Failed {
    /// The request may have been acted upon, or there is no use in trying again.
    Finally(UpstreamFault),
    /// A kept connection was dead, and the request was not taken, or may be said again.
    Repeatably,
    /// The service says that it has not acted upon the request, and all of it is still there (RFC 9113 §8.7).
    Refused,
}

impl Failed {
    pub(super) fn fault(self) -> UpstreamFault {
        match self {
            Self::Finally(fault) => fault,
            Self::Repeatably => UpstreamFault::Closed,
            Self::Refused => UpstreamFault::Refused,
        }
    }
}

/// One request on one connection.
pub(super) async fn exchange(
    outgoing: &mut Outgoing,
    method: &Method,
    route: &CompiledRoute,
    mut lease: Lease,
    cx: &RequestContext,
) -> Result<(AnswerHead, Lease), Failed> {
    let interim = |answer: &AnswerHead| cx.pass_interim(answer);
    let patience = route.upstream.config.first_byte_timeout;
    let asked = (method, cx.handshake.is_some());
    // Later tries have waited for a connection, or for the try before.
    let now = if cx.tries == 1 && lease.is_reused() {
        cx.worker.instant(cx.decided)
    } else {
        Instant::now()
    };
    let fault = match lease.send(outgoing, asked, (patience, now), interim).await {
        Ok(answer) => return Ok((answer, lease)),
        Err(fault) => fault,
    };
    // Idempotent methods: RFC 9110 §9.2.2.
    let repeatable = outgoing.is_untouched() || outgoing.is_bodiless() && method.is_idempotent();
    if fault == SendFault::NoAnswer && lease.is_reused() && repeatable {
        return Err(Failed::Repeatably);
    }
    if fault == SendFault::Refused && outgoing.is_whole() {
        return Err(Failed::Refused);
    }
    Err(Failed::Finally(fault.into()))
}

impl From<SendFault> for UpstreamFault {
    fn from(fault: SendFault) -> Self {
        match fault {
            // A body that broke off has its own cause, which is told instead.
            SendFault::NoAnswer | SendFault::Reset | SendFault::Body => Self::Closed,
            SendFault::Refused => Self::Refused,
            SendFault::Protocol => Self::Protocol,
            SendFault::Timeout => Self::Timeout,
            SendFault::Tls(fault) => Self::Tls(fault),
        }
    }
}

/// The service goes on with a WebSocket.
fn switch(
    mut head: AnswerHead,
    lease: Lease,
    cx: &mut RequestContext,
) -> Result<Answer, UpstreamFault> {
    let handshake = cx.handshake.as_mut().ok_or(UpstreamFault::Protocol)?;
    handshake
        .agree(&mut head)
        .map_err(|NotAgreed| UpstreamFault::Protocol)?;
    handshake.upstream = Some(lease.into_socket().ok_or(UpstreamFault::Protocol)?);
    cx.becomes(Kind::WebSocket);
    Ok(Answer {
        status: head.status,
        lines: head.lines,
        body: AnswerBody::full(Bytes::new()),
    })
}

fn pass_on(
    head: AnswerHead,
    mut lease: Lease,
    outgoing: Outgoing,
    (route, deadline): (&CompiledRoute, Option<Instant>),
    cx: &RequestContext,
) -> Result<Answer, UpstreamFault> {
    cx.becomes(kind_of(&head));
    let rest = if outgoing.is_done() {
        cx.worker.spare.recycle_buffer(outgoing.into_buffer());
        None
    } else {
        Some(outgoing)
    };
    let incoming = lease
        .begin(&head, rest)
        .map_err(|Malformed| UpstreamFault::Protocol)?;
    // Over HTTP/2 nobody may ask for it for long.
    let shrunk = cx.outflow.is_some() && lease.shrink();
    let body = AnswerBody::upstream(
        incoming,
        (lease, shrunk),
        route.upstream.config.idle_timeout,
        deadline,
    );
    let (status, mut lines) = (head.status, head.lines);
    if cx.view.snapshot.forwarding.via {
        lines.add("via", b"1.1 keygate");
    }
    Ok(Answer {
        status,
        lines,
        body,
    })
}
