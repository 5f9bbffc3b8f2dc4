//! What each stage learned about a request. Dropped when the last byte of the answer has been handed on, or when the
//! caller is gone; then, once, it is accounted for.

use super::client_address::Origin;
use super::connection::Connection;
use super::grpc;
use super::outflow::Outflow;
use super::streams::{self, Stream, WatchedCall};
use super::upstream::answer::AnswerHead;
use super::websocket::Handshake;
use super::worker::{View, Worker};
use crate::domain::id::{Id, Kind};
use crate::domain::key::KeyHash;
use crate::domain::method;
use crate::domain::time::Timestamp;
use crate::gate::Denied;
use crate::gate::authorize::Permit;
use crate::gate::limit::Standing;
use crate::snapshot::endpoints::EndpointState;
use crate::snapshot::events::{Answer, Place};
use crate::snapshot::key::{KeyMark, SymbolId};
use crate::snapshot::load::InFlight;
use crate::snapshot::router::CompiledRoute;
use crate::telemetry::access::AccessRecord;
use crate::telemetry::metrics::Decision;
use http::{HeaderValue, Method, Request, StatusCode};
use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

/// The caller left before it was answered: nginx's 499, in logs and metrics only.
const CLIENT_GONE: (u16, &str) = (499, "client_closed");
/// A request id from outside is kept if it is no longer than this.
const LONGEST_FOREIGN_ID: usize = 64;

/// One request's facts.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
pub(super) struct RequestContext {
    pub(super) worker: Rc<Worker>,
    pub(super) view: Rc<View>,
    pub(super) connection: Rc<Connection>,
    /// What a trusted proxy says of where it comes from.
    pub(super) origin: Option<Box<Origin>>,
    /// How its answer flows out; HTTP/2 only.
    pub(super) outflow: Option<Rc<Outflow>>,
    /// `X-Request-Id`, the caller's own if it is harmless.
    pub(super) request_id: HeaderValue,
    /// Wall time at the head.
    pub(super) now: Timestamp,
    pub(super) started: u64,
    method: usize,
    /// Whether the caller speaks HTTP/1.1.
    modern: bool,
    /// Whether the connection carries nothing else meanwhile.
    alone: bool,
    path: Option<Box<str>>,
    /// Place of the route in the view.
    route: Option<usize>,
    /// The key, once its hash matched.
    pub(super) key: Option<KeyMark>,
    /// What is left of its limits, if it has any.
    pub(super) standing: Option<Standing>,
    /// Where its use is counted, if it is.
    place: Option<Place>,
    /// Bytes read of the request's body; shared with the body, which goes another way.
    pub(super) bytes_in: Option<Rc<Cell<u64>>>,
    /// Bytes of the answer's body handed on.
    pub(super) bytes_out: u64,
    /// The endpoint tried last.
    pub(super) endpoint: Option<Arc<EndpointState>>,
    /// Endpoints it was sent to, or would have been.
    pub(super) tries: u32,
    /// Keeps its place among the requests under way, if those are counted.
    pub(super) in_flight: Option<InFlight>,
    /// When the decision was made; what follows is forwarding.
    pub(super) decided: u64,
    upstream_nanos: Option<u64>,
    /// When the last byte was handed on; 0 while it has not been.
    ended: u64,
    status: u16,
    code: Option<&'static str>,
    /// The answer was handed on to its end.
    pub(super) complete: bool,
    /// Number among the worker's streams.
    stream: Option<usize>,
    /// Whether it is a call of gRPC, which is refused in other words.
    pub(super) grpc: bool,
    /// The handshake of a WebSocket.
    pub(super) handshake: Option<Box<Handshake>>,
}

impl RequestContext {
    pub(super) fn begin<B>(
        worker: &Rc<Worker>,
        connection: &Rc<Connection>,
        request: &Request<B>,
    ) -> Box<Self> {
        let view = worker.view();
        let now = worker.clock.now();
        let path = view.snapshot.log_path.then(|| request.uri().path().into());
        let origin = connection.trust.as_deref();
        let origin = origin.map(|trust| Box::new(Origin::of(request.headers(), trust)));
        Box::new(Self {
            origin,
            outflow: connection.outflow(),
            request_id: request_id(worker, &view, request, now),
            started: worker.clock.monotonic_nanos(),
            worker: Rc::clone(worker),
            connection: Rc::clone(connection),
            view,
            now,
            method: method::index(request.method()),
            modern: request.version() == http::Version::HTTP_11,
            alone: request.version() != http::Version::HTTP_2,
            path,
            route: None,
            key: None,
            standing: None,
            place: None,
            bytes_in: None,
            bytes_out: 0,
            endpoint: None,
            tries: 0,
            in_flight: None,
            decided: 0,
            upstream_nanos: None,
            ended: 0,
            status: CLIENT_GONE.0,
            code: Some(CLIENT_GONE.1),
            complete: false,
            stream: None,
            grpc: grpc::is_call(request.headers()),
            handshake: None,
        })
    }

    /// It is under way with a key, and ends when that does.
    pub(super) fn watch(&mut self, permit: &Permit, rehashed: Option<KeyHash>, method: &Method) {
        let (Some(mark), Some(route)) = (permit.mark(), self.route) else {
            return;
        };
        let kind = if self.grpc {
            streams::Kind::Grpc
        } else {
            streams::Kind::Waiting
        };
        let stream = Stream::new(
            (mark, rehashed, permit.expires_at()),
            (Rc::clone(&self.view), route),
            (method.clone(), self.client()),
            kind,
            self.alone.then(|| Rc::clone(&self.connection)),
        );
        self.stream = Some(self.worker.watch(stream));
    }

    /// What its answer turns out to be.
    pub(super) fn becomes(&self, kind: streams::Kind) {
        if let Some(stream) = self.stream {
            self.worker.streams.becomes(stream, kind);
        }
    }

    /// Whether its connection carries nothing else meanwhile, as in HTTP/1.1.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Why it must end before its end, if it must.
    pub(super) fn is_cut(&self) -> Option<Denied> {
        self.worker.streams.is_cut(self.stream?)
    }

    /// If it is a call of gRPC with a key: what tells when it must end.
    pub(super) fn watched_call(&self) -> Option<WatchedCall> {
        let number = self.stream.filter(|_| self.grpc)?;
        Some(WatchedCall {
            worker: Rc::clone(&self.worker),
            number,
        })
    }

    /// The task is woken when it must.
    pub(super) fn wake_at_cut(&self, cx: &Context<'_>) {
        if let Some(stream) = self.stream {
            self.worker.streams.wake_at_cut(stream, cx);
        }
    }

    /// It was ended before its end.
    pub(super) fn ended_by(&mut self, code: &'static str) {
        self.code = Some(code);
    }

    /// The caller's true address.
    pub(super) fn client(&self) -> IpAddr {
        let said = self.origin.as_ref().and_then(|origin| origin.client());
        said.unwrap_or(self.connection.peer.ip())
    }

    pub(super) fn routed(&mut self, place: usize) {
        self.route = Some(place);
    }

    pub(super) fn route(&self) -> Option<&CompiledRoute> {
        self.view.snapshot.router.routes().get(self.route?)
    }

    /// The decision is made: how long it took.
    pub(super) fn decided(&mut self) {
        self.decided = self.worker.clock.monotonic_nanos();
        self.worker
            .metrics
            .auth_duration
            .observe(seconds(self.decided.saturating_sub(self.started)));
    }

    /// Its limits were asked.
    pub(super) fn limited(&mut self, standing: Option<Standing>, passes: bool) {
        let Some(standing) = standing else { return };
        self.standing = Some(standing);
        self.worker.metrics.rate_limit(standing.policy, passes);
    }

    /// Takes the decision into the usage of the key.
    pub(super) fn counted(&mut self, decision: Decision, route: SymbolId) {
        let place = self
            .worker
            .count(decision, (self.key, route), (self.now, self.client()));
        if decision == Decision::Permitted {
            self.place = place;
        }
    }

    /// The head of the upstream's answer is there.
    pub(super) fn answered(&mut self) {
        let nanos = self
            .worker
            .clock
            .monotonic_nanos()
            .saturating_sub(self.decided);
        self.upstream_nanos = Some(nanos);
        if let Some(route) = self.route() {
            route.upstream.metrics.duration.observe(seconds(nanos));
        }
    }

    /// The caller presented this: it must not stand in the log or in the answer by another way.
    pub(super) fn hide(&mut self, presented: &[u8]) {
        if self.request_id.as_bytes() == presented {
            self.request_id = self.worker.request_id(self.now);
        }
        if self
            .path
            .as_ref()
            .is_some_and(|path| memchr::memmem::find(path.as_bytes(), presented).is_some())
        {
            self.path = Some("[redacted]".into());
        }
    }

    /// Passes an interim answer on: not to HTTP/1.0, and not the 100 that is ours to give (RFC 9110 §15.2).
    pub(super) fn pass_interim(&self, answer: &AnswerHead) {
        if self.modern && answer.status != StatusCode::CONTINUE {
            self.connection.interim(answer);
        }
    }

    /// The answer's status, and its code if it is one of our own.
    pub(super) fn answers(&mut self, status: StatusCode, code: Option<&'static str>) {
        self.status = status.as_u16();
        self.code = code;
    }

    /// The head could not be read: its method is not known.
    pub(super) fn unreadable(&mut self, method: usize) {
        self.method = method;
        self.path = None;
    }

    /// The answer was handed on to its end; gives the time of that.
    pub(super) fn completed(&mut self) -> u64 {
        self.complete = true;
        self.ended = self.worker.clock.monotonic_nanos();
        self.ended
    }

    fn account(&self) {
        let end = if self.ended == 0 {
            self.worker.clock.monotonic_nanos()
        } else {
            self.ended
        };
        let nanos = end.saturating_sub(self.started);
        let route = self.route();
        let metrics = route.map_or(&*self.worker.no_route, |route| &*route.metrics);
        metrics.finished(self.method, self.status, seconds(nanos));
        let answer = Answer {
            status: self.status,
            bytes_in: self.bytes_in.as_ref().map_or(0, |bytes| bytes.get()),
            bytes_out: self.bytes_out,
        };
        if let (Some(place), Some(key), Some(route)) = (self.place, self.key, route) {
            self.worker.count_end(place, (key, route.symbol), answer);
        }
        let record = AccessRecord {
            time: self.now,
            request_id: self.request_id.to_str().unwrap_or_default(),
            connection: &self.connection.log_members,
            client: self.connection.trust.is_some().then(|| self.client()),
            method: method::label(self.method),
            route: route.map(|route| route.route.name.as_str()),
            key: self.key.map(|key| key.id),
            code: self.code,
            status: answer.status,
            complete: self.complete,
            bytes_in: answer.bytes_in,
            bytes_out: answer.bytes_out,
            total_nanos: nanos,
            upstream_nanos: self.upstream_nanos,
            endpoint: self
                .endpoint
                .as_ref()
                .map(|endpoint| endpoint.endpoint.authority.as_str()),
            tries: self.tries,
            path: self.path.as_deref(),
        };
        self.worker.log(&record);
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        if let Some(stream) = self.stream {
            self.worker.streams.remove(stream);
        }
        self.account();
        self.connection.request_ends();
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a duration in a histogram needs no 53rd bit"
)]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn request_id<B>(
    worker: &Worker,
    view: &View,
    request: &Request<B>,
    now: Timestamp,
) -> HeaderValue {
    let mut given = request.headers().get_all(super::error::REQUEST_ID).iter();
    if let (Some(id), None) = (given.next(), given.next())
        && id
            .to_str()
            .is_ok_and(|id| harmless(id, view.snapshot.key_format.brand()))
    {
        return id.clone();
    }
    worker.request_id(now)
}

/// Short, of an alphabet that needs no escaping anywhere, and nothing the redactor would mask.
fn harmless(id: &str, brand: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let own = || Id::parse(Kind::Request, id).is_some();
    let native = || {
        id.match_indices(brand)
            .any(|(at, _)| id[at + brand.len()..].starts_with('_'))
    };
    let clean = || !native() && id.bytes().all(letter);
    (1..=LONGEST_FOREIGN_ID).contains(&id.len()) && (own() || clean())
}
