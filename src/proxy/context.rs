//! What each stage learned about a request. Dropped when the last byte of the answer has been handed on, or when the
//! caller is gone; then, once, it is accounted for.

use super::client_address::Origin;
use super::connection::Connection;
use super::grpc;
use super::outflow::Outflow;
use super::request::Head;
use super::request_id::RequestId;
use super::streams::{self, Stream, WatchedCall};
use super::upstream::answer::AnswerHead;
use super::websocket::Handshake;
use super::worker::{View, Worker};
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
use http::{Method, StatusCode, Version};
use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

/// The caller left before it was answered: nginx's 499, in logs and metrics only.
const CLIENT_GONE: (u16, &str) = (499, "client_closed");

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
    pub(super) request_id: RequestId,
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
    /// What was asked, with what, until when; where a key was.
    permitted: Option<Permitted>,
    /// What its answer turned out to be.
    kind: Cell<streams::Kind>,
    /// Number among the worker's streams, once it lasts.
    stream: Cell<Option<usize>>,
    /// Whether it is a call of gRPC, which is refused in other words.
    pub(super) grpc: bool,
    /// The handshake of a WebSocket.
    pub(super) handshake: Option<Box<Handshake>>,
}

/// What has to be known of a request to decide on it again.
struct Permitted {
    rehashed: Option<KeyHash>,
    expires_at: Option<Timestamp>,
    method: Method,
}

/// Milliseconds since the epoch.
fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or_default()
}

impl RequestContext {
    pub(super) fn begin(
        worker: &Rc<Worker>,
        connection: &Rc<Connection>,
        head: &Head,
    ) -> Box<Self> {
        let view = worker.view();
        let (now, started) = worker.times();
        let path = view.snapshot.log_path.then(|| head.path().into());
        let origin = connection.trust.as_deref();
        let origin = origin.map(|trust| Box::new(Origin::of(&head.fields, trust)));
        Box::new(Self {
            origin,
            outflow: connection.outflow(),
            request_id: RequestId::of(worker, head, view.snapshot.key_format.brand(), millis(now)),
            started,
            worker: Rc::clone(worker),
            connection: Rc::clone(connection),
            view,
            now,
            method: method::index(&head.method),
            modern: head.version == Version::HTTP_11,
            alone: head.version != Version::HTTP_2,
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
            permitted: None,
            kind: Cell::new(streams::Kind::Waiting),
            stream: Cell::new(None),
            grpc: grpc::is_call(&head.fields),
            handshake: None,
        })
    }

    /// It is under way with a key, and ends when that does.
    pub(super) fn watch(&mut self, permit: &Permit, rehashed: Option<KeyHash>, method: &Method) {
        self.permitted = Some(Permitted {
            rehashed,
            expires_at: permit.expires_at(),
            method: method.clone(),
        });
        if self.grpc {
            self.kind.set(streams::Kind::Grpc);
            self.lasts();
        }
    }

    /// It goes on for longer than one piece: from now on its key is looked at again.
    pub(super) fn lasts(&self) -> Option<usize> {
        if let Some(number) = self.stream.get() {
            return Some(number);
        }
        let (Some(permitted), Some(mark), Some(route)) = (&self.permitted, self.key, self.route)
        else {
            return None;
        };
        let stream = Stream::new(
            (mark, permitted.rehashed, permitted.expires_at),
            (Rc::clone(&self.view), route),
            (permitted.method.clone(), self.client()),
            self.kind.get(),
            self.alone.then(|| Rc::clone(&self.connection)),
        );
        self.stream.set(Some(self.worker.watch(stream)));
        self.stream.get()
    }

    /// What its answer turns out to be.
    pub(super) fn becomes(&self, kind: streams::Kind) {
        if self.kind.get() == streams::Kind::Grpc {
            return;
        }
        self.kind.set(kind);
        if let Some(stream) = self.stream.get() {
            self.worker.streams.becomes(stream, kind);
        }
    }

    /// Whether its connection carries nothing else meanwhile, as in HTTP/1.1.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Why it must end before its end, if it must.
    pub(super) fn is_cut(&self) -> Option<Denied> {
        self.worker.streams.is_cut(self.stream.get()?)
    }

    /// If it is a call of gRPC with a key: what tells when it must end.
    pub(super) fn watched_call(&self) -> Option<WatchedCall> {
        let number = self.stream.get().filter(|_| self.grpc)?;
        Some(WatchedCall {
            worker: Rc::clone(&self.worker),
            number,
        })
    }

    /// The task is woken when it must.
    pub(super) fn wake_at_cut(&self, cx: &Context<'_>) {
        if let Some(stream) = self.lasts() {
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
        let nanos = self.worker.times().1.saturating_sub(self.decided);
        self.upstream_nanos = Some(nanos);
        if let Some(route) = self.route() {
            route.upstream.metrics.duration.observe(seconds(nanos));
        }
    }

    /// The caller presented this: it must not stand in the log or in the answer by another way.
    pub(super) fn hide(&mut self, presented: &[u8]) {
        if self.request_id.as_bytes() == presented {
            self.request_id = RequestId::fresh(&self.worker, millis(self.now));
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

    /// Tells what there is to tell of it; gives the time of its end.
    fn account(&self) -> u64 {
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
            request_id: self.request_id.as_bytes(),
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
        end
    }
}

impl Drop for RequestContext {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.get() {
            self.worker.streams.remove(stream);
        }
        let end = self.account();
        self.connection.request_ends(self.worker.instant(end));
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a duration in a histogram needs no 53rd bit"
)]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
