//! THE request path: one request, first header to last byte. Each line of [`permitted`] is a stage; each stage is a file;
//! each way a stage can fail is a row of the table in `error.rs`.

use super::answer::Answer;
use super::connection::Connection;
use super::context::RequestContext;
use super::error::ProxyError;
use super::request::{Head, Request};
use super::request_head::RequestHead;
use super::upgrade::{self, Tunnel};
use super::websocket::Handshake;
use super::worker::Worker;
use super::{admission, forward, grpc, headers, leftover};
use crate::domain::key::{Algorithm, KeyHash};
use crate::gate::authorize::{self, Permit};
use crate::gate::{Denied, extract, verify};
use crate::snapshot::handle::Snapshot;
use crate::snapshot::router::{CompiledRoute, RouteFault};
use crate::telemetry::metrics::Decision;
use http::Version;
use std::rc::Rc;

/// Answers a request. Cannot fail: errors become answers here.
pub(super) async fn handle(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    request: &mut Request,
) -> Answer {
    connection.request_begins();
    let mut cx = RequestContext::begin(worker, connection, &request.head);
    let view = Rc::clone(&cx.view);
    let snapshot = &*view.snapshot; // ONE snapshot for the whole request
    let one_at_a_time = request.head.version != Version::HTTP_2;
    let answer = match serve(worker, snapshot, &mut cx, request).await {
        Ok(answer) => {
            cx.answers(answer.status, None);
            answer
        }
        Err(error) => {
            cx.answers(error.status(), Some(error.code()));
            let mut answer = if cx.grpc {
                grpc::refusal(error, worker.spare.buffer())
            } else {
                error.answer(&cx.request_id, &snapshot.challenges, worker.spare.buffer())
            };
            if one_at_a_time && connection.has_left() {
                answer.lines.set("connection", b"close");
            }
            answer
        }
    };
    match cx.handshake.take() {
        Some(handshake) => finish_handshake(answer, *handshake, cx),
        None => headers::finish(answer, cx), // metrics and the access line when the body ends
    }
}

/// Where the service has agreed to a WebSocket, the context goes on with that, and not with the answer.
fn finish_handshake(
    mut answer: Answer,
    mut handshake: Handshake,
    cx: Box<RequestContext>,
) -> Answer {
    let Some((upstream, ahead)) = handshake.upstream.take() else {
        return headers::finish(answer, cx);
    };
    let (worker, connection) = (Rc::clone(&cx.worker), Rc::clone(&cx.connection));
    headers::last_touch(&mut answer, &cx);
    let tunnel = Tunnel::new(cx, upstream, ahead);
    match handshake.take_stream() {
        Some(stream) => upgrade::run_on(&worker, tunnel, stream),
        None => connection.becomes(tunnel),
    }
    answer
}

async fn serve(
    worker: &Rc<Worker>,
    snapshot: &Snapshot,
    cx: &mut RequestContext,
    request: &mut Request,
) -> Result<Answer, ProxyError> {
    let permitted = permitted(worker, snapshot, cx, &request.head).map(|(head, route, permit)| {
        let upstream_head = headers::prepare(&request.head, &head, route, &permit, cx);
        (upstream_head, route, permit)
    });
    match permitted {
        Ok((upstream_head, route, permit)) => {
            forward::send(worker, upstream_head, request, (route, &permit), cx).await // 408, 413, 502, 504
        }
        Err(refusal) => {
            leftover::read_away(worker, request, &cx.connection).await;
            Err(refusal)
        }
    }
}

/// What a request asks for, the route that takes it, and what its key permits.
fn permitted<'r, 's>(
    worker: &Rc<Worker>,
    snapshot: &'s Snapshot,
    cx: &mut RequestContext,
    request: &'r Head,
) -> Result<(RequestHead<'r>, &'s CompiledRoute, Permit), ProxyError> {
    admission::admit(worker, snapshot, cx)?; // 429, 503
    let head = RequestHead::understand(request, &cx.connection)?; // 400, 414, 431
    if !snapshot.ready {
        return Err(ProxyError::NotReady); // 503
    }
    let route = find_route(snapshot, cx, &head.host_name, request)?; // 400, 404
    let permit = decide(worker, snapshot, route, cx, request)?; // 400, 401, 403, 429
    if head.asks_for_websocket && route.takes_websocket() {
        cx.handshake = Some(Box::new(Handshake::of(request, &route.route.auth)));
    }
    Ok((head, route, permit))
}

fn find_route<'a>(
    snapshot: &'a Snapshot,
    cx: &mut RequestContext,
    host: &str,
    request: &Head,
) -> Result<&'a CompiledRoute, ProxyError> {
    let found = snapshot.router.find(host, request.path(), &request.method);
    let place = found.map_err(|fault| match fault {
        RouteFault::None => ProxyError::NoRoute,
        RouteFault::TwoReadings => {
            ProxyError::BadRequest("the path can be read in two ways that lead to different routes")
        }
        RouteFault::Path(_) => ProxyError::BadRequest(
            "the path has a dot segment, a backslash, a control character or a broken encoding",
        ),
    })?;
    cx.routed(place);
    snapshot
        .router
        .routes()
        .get(place)
        .ok_or(ProxyError::NoRoute)
}

/// Extract, verify, authorize, limit; then say how it went. Takes no lock but the key table's shard, and waits for nothing.
fn decide(
    worker: &Rc<Worker>,
    snapshot: &Snapshot,
    route: &CompiledRoute,
    cx: &mut RequestContext,
    request: &Head,
) -> Result<Permit, ProxyError> {
    let (method, fields) = (&request.method, &request.fields);
    let (when_where, nanos) = ((cx.now, cx.client()), cx.started);
    let mut location = None;
    let decided = extract::find(&route.route.auth, fields, request.query())
        .map_err(|denied| (denied, None))
        .and_then(|presented| {
            let Some(presented) = presented else {
                return authorize::check_anonymous(route, method, fields, nanos)
                    .map_err(|denied| (denied, None));
            };
            location = Some(presented.location);
            cx.hide(presented.expose());
            let key = verify::check(
                &worker.shared.keys,
                &snapshot.key_format,
                &presented,
                when_where,
            )?;
            let permit = authorize::check(key, route, method, (when_where, nanos))?;
            let mut rehashed = None;
            if let Some(key) = permit.mark()
                && key.algorithm == Algorithm::Sha256
            {
                let hash = KeyHash::of(presented.expose());
                rehashed = Some(hash);
                worker.shown(key, hash, cx.now);
            }
            cx.key = permit.mark();
            cx.watch(&permit, rehashed, method);
            Ok(permit)
        });
    cx.decided();
    match decided {
        Ok(permit) => {
            cx.limited(permit.standing(), true);
            let decision = if permit.is_anonymous() {
                Decision::Anonymous
            } else {
                Decision::Permitted
            };
            route.metrics.decided(decision, location);
            cx.counted(decision, route.symbol);
            Ok(permit)
        }
        Err((denied, key)) => {
            cx.key = key;
            admission::note_refusal(worker, snapshot, cx, denied);
            if let Denied::RateLimited(standing) = denied {
                cx.limited(Some(standing), false);
            }
            let decision = denied.decision();
            route.metrics.decided(decision, location);
            cx.counted(decision, route.symbol);
            Err(denied.into())
        }
    }
}
