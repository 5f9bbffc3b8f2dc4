//! Every metric, in one table. Handles with labels are resolved when a route or upstream is compiled, or at the first
//! request that needs them; a request then touches one atomic.
//!
//! Long because the table, and the handles that are resolved from it, have a line for each metric.

use crate::domain::limit::Policy;
use crate::domain::method;
use crate::domain::route::LocationKind;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use std::sync::OnceLock;

/// Label of a request that found no route; no route can have this name.
pub const NO_ROUTE: &str = "_none";

const REQUEST_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];
const AUTH_BUCKETS: [f64; 10] = [
    1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 1e-4, 1e-3, 1e-2,
];

const LAG_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0];

/// All metrics of one gateway, with the registry that exposes them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    http_requests: IntCounterVec,
    http_duration: HistogramVec,
    auth_decisions: IntCounterVec,
    /// By place in [`Policy::ALL`]: limited, allowed.
    rate_limits: [[IntCounter; 2]; Policy::ALL.len()],
    upstream_duration: HistogramVec,
    upstream_errors: IntCounterVec,
    upstream_up: IntGaugeVec,
    upstream_ejections: IntCounterVec,
    upstream_retries: IntCounterVec,
    connections: IntGaugeVec,
    handshakes: IntCounterVec,
    shed: IntCounterVec,
    certificates: IntGaugeVec,
    keys: IntGaugeVec,
    reloads: IntCounterVec,
    /// Time from a request's head to its permit or refusal.
    pub auth_duration: Histogram,
    /// 1 after a good reload, 0 after a bad one.
    pub reload_successful: IntGauge,
    /// Revision read from the source.
    pub revision_observed: IntGauge,
    /// Revision that requests are served from.
    pub revision_applied: IntGauge,
    revocation_lag: Histogram,
    audit_sequence: IntGauge,
    audit_timestamp: IntGauge,
    notices: IntGaugeVec,
    /// Log lines that were dropped because the log could not keep up.
    pub log_dropped: IntCounter,
    /// Keys whose last use is not in the store yet.
    pub last_used_pending: IntGauge,
    /// Requests that were not counted in the store because it could not keep up.
    pub usage_dropped: IntCounter,
    /// What was under way when its key ended, by `kind` and `reason`.
    pub streams_cut: IntCounterVec,
}

impl Metrics {
    /// Fresh metrics in a registry of their own.
    ///
    /// # Errors
    /// Never in practice: only if this table named one metric twice.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("keygate".into()), None)?;
        let table = Table {
            registry: &registry,
        };
        let metrics = Self {
            http_requests: table.counters(
                "http_requests_total",
                "Requests answered, by route, method and status.",
                &["route", "method", "code"],
            )?,
            http_duration: table.histograms(
                "http_request_duration_seconds",
                "From a request's head to the last byte of its answer.",
                &["route"],
                &REQUEST_BUCKETS,
            )?,
            auth_decisions: table.counters(
                "auth_decisions_total",
                "Decisions on requests that found a route, by result, reason and where the key stood.",
                &["route", "result", "reason", "location"],
            )?,
            rate_limits: table.rate_limits()?,
            upstream_duration: table.histograms(
                "upstream_request_duration_seconds",
                "From forwarding a request to the head of the upstream's answer.",
                &["upstream"],
                &REQUEST_BUCKETS,
            )?,
            upstream_errors: table.counters(
                "upstream_errors_total",
                "Requests that an upstream failed, by reason.",
                &["upstream", "reason"],
            )?,
            upstream_up: table.upstream_up()?,
            upstream_ejections: table.ejections()?,
            upstream_retries: table.retries()?,
            connections: table.gauges("connections", "Open downstream connections.", &["listener", "state"])?,
            handshakes: table.handshakes()?,
            shed: table.shed()?,
            certificates: table.certificates()?,
            keys: table.gauges("keys", "Keys known, by status.", &["status"])?,
            reloads: table.counters("config_reloads_total", "Reloads of the config file, by result.", &["result"])?,
            auth_duration: table.add(Histogram::with_opts(
                HistogramOpts::new("auth_duration_seconds", "Time spent on finding and checking a key.")
                    .buckets(AUTH_BUCKETS.to_vec()),
            )?)?,
            reload_successful: table
                .gauge("config_last_reload_successful", "Whether the config file in force is the one on disk.")?,
            revision_observed: table.gauge("revision_observed", "Last revision read from its source.")?,
            revision_applied: table.gauge("revision_applied", "Revision that requests are served from.")?,
            revocation_lag: table.add(Histogram::with_opts(
                HistogramOpts::new(
                    "revocation_lag_seconds",
                    "From a change of a key in the store to its enforcement on this node.",
                )
                .buckets(LAG_BUCKETS.to_vec()),
            )?)?,
            audit_sequence: table.gauge("audit_head_sequence", "Number of the last event of the audit log.")?,
            audit_timestamp: table
                .gauge("audit_head_timestamp_seconds", "When the last event of the audit log was.")?,
            notices: table.gauges("notices", "Notices of the last 30 days that stand, by kind.", &["kind"])?,
            log_dropped: table.add(IntCounter::new("log_dropped_total", "Log lines dropped under pressure.")?)?,
            last_used_pending: table
                .gauge("last_used_pending", "Keys whose last use is not in the store yet.")?,
            usage_dropped: table.add(IntCounter::new("usage_dropped_total",
                "Requests left out of the usage kept in the store, because too many waited for it.")?)?,
            streams_cut: table.streams_cut()?,
            registry: registry.clone(),
        };
        let build = table.gauges(
            "build_info",
            "Always 1; the label tells the version.",
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics.reload_successful.set(1);
        Ok(metrics)
    }

    /// The handles of a route.
    pub fn route(&self, name: &str) -> RouteMetrics {
        RouteMetrics {
            name: name.to_owned(),
            requests: self.http_requests.clone(),
            decisions: self.auth_decisions.clone(),
            duration: self.http_duration.with_label_values(&[name]),
            request_slots: slots(method::SLOTS * STATUSES.len()),
            decision_slots: slots(Decision::ALL.len() * LOCATION_SLOTS),
        }
    }

    /// The handles of an upstream.
    pub fn upstream(&self, name: &str) -> UpstreamMetrics {
        UpstreamMetrics {
            name: name.to_owned(),
            duration: self.upstream_duration.with_label_values(&[name]),
            errors: self.upstream_errors.clone(),
            ejections: self.upstream_ejections.with_label_values(&[name]),
            retries: RetryOutcome::ALL.map(|outcome| {
                self.upstream_retries
                    .with_label_values(&[name, outcome.name()])
            }),
        }
    }

    /// Whether an endpoint can be reached.
    pub fn upstream_up(&self, upstream: &str, endpoint: &str) -> IntGauge {
        self.upstream_up.with_label_values(&[upstream, endpoint])
    }

    /// Forgets an endpoint that is gone from the configuration.
    pub fn forget_endpoint(&self, upstream: &str, endpoint: &str) {
        // Removing what is not there is no fault here.
        let _ = self.upstream_up.remove_label_values(&[upstream, endpoint]);
    }

    /// Open connections of a listener.
    pub fn connections(&self, listener: &str) -> IntGauge {
        self.connections.with_label_values(&[listener, "open"])
    }

    /// Handshakes of a listener.
    pub fn handshakes(&self, listener: &str) -> HandshakeMetrics {
        let of = |result| self.handshakes.with_label_values(&[listener, result]);
        HandshakeMetrics {
            ok: of("ok"),
            failed: of("failed"),
            timeout: of("timeout"),
            shed: of("shed"),
        }
    }

    /// What a listener turns away.
    pub fn shed(&self, listener: &str) -> ShedMetrics {
        ShedMetrics(Shed::ALL.map(|reason| self.shed.with_label_values(&[listener, reason.name()])))
    }

    /// Sets when the certificates of listeners end, in milliseconds; others are forgotten.
    pub fn set_certificates<'a>(&self, ends: impl Iterator<Item = (&'a str, &'a str, i64)>) {
        self.certificates.reset();
        for (listener, certificate, end) in ends {
            self.certificates
                .with_label_values(&[listener, certificate])
                .set(end.div_euclid(1000));
        }
    }

    /// Sets how many keys have a status.
    pub fn set_keys(&self, status: &str, count: i64) {
        self.keys.with_label_values(&[status]).set(count);
    }

    /// Sets where the audit log ends: number of the last event, and its time in milliseconds.
    pub fn set_audit_head(&self, sequence: u64, at: Option<i64>) {
        self.audit_sequence
            .set(i64::try_from(sequence).unwrap_or(i64::MAX));
        if let Some(at) = at {
            self.audit_timestamp.set(at.div_euclid(1000));
        }
    }

    /// Sets how many notices of each kind there are; other kinds have none.
    pub fn set_notices(&self, counts: &[(String, u64)]) {
        self.notices.reset();
        for (kind, count) in counts {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            self.notices.with_label_values(&[kind]).set(count);
        }
    }

    /// A change of keys is enforced; milliseconds since it was made.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a duration in a histogram needs no 53rd bit"
    )]
    pub fn revocation_lag(&self, millis: i64) {
        self.revocation_lag.observe(millis.max(0) as f64 / 1000.0);
    }

    /// Counts a request that has a limit.
    pub fn rate_limit(&self, policy: Policy, passes: bool) {
        self.rate_limits[policy as usize][usize::from(passes)].inc();
    }

    /// Counts a reload.
    pub fn reloaded(&self, good: bool) {
        self.reloads
            .with_label_values(&[if good { "ok" } else { "failed" }])
            .inc();
        self.reload_successful.set(i64::from(good));
    }

    /// Everything in the Prometheus text format, version 0.0.4.
    pub fn encode(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Makes metrics and registers them.
struct Table<'a> {
    registry: &'a Registry,
}

impl Table<'_> {
    fn add<C: Collector + Clone + 'static>(&self, collector: C) -> prometheus::Result<C> {
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn streams_cut(&self) -> prometheus::Result<IntCounterVec> {
        let cut = self.counters(
            "streams_cut_total",
            "Answers, event streams, gRPC calls and WebSockets that were cut because their key ended.",
            &["kind", "reason"],
        )?;
        // There before the first, so that an alert can be set on it.
        for kind in ["answer", "sse", "grpc", "websocket"] {
            for end in [Decision::Revoked, Decision::Disabled, Decision::Expired] {
                cut.with_label_values(&[kind, end.reason()]);
            }
        }
        Ok(cut)
    }

    fn handshakes(&self) -> prometheus::Result<IntCounterVec> {
        self.counters(
            "tls_handshakes_total",
            "TLS handshakes with callers, by result.",
            &["listener", "result"],
        )
    }

    fn shed(&self) -> prometheus::Result<IntCounterVec> {
        self.counters(
            "shed_total",
            "Connections and requests that were turned away or ended to keep the gateway well, by reason.",
            &["listener", "reason"],
        )
    }

    fn upstream_up(&self) -> prometheus::Result<IntGaugeVec> {
        self.gauges(
            "upstream_up",
            "1 while requests go to the endpoint: it can be reached, its checks are good, it is not ejected.",
            &["upstream", "endpoint"],
        )
    }

    fn ejections(&self) -> prometheus::Result<IntCounterVec> {
        self.counters(
            "upstream_ejections_total",
            "Endpoints taken out for a while, because they failed too many requests in a row.",
            &["upstream"],
        )
    }

    fn retries(&self) -> prometheus::Result<IntCounterVec> {
        self.counters(
            "upstream_retries_total",
            "Requests sent again after a failure, by what came of it; `budget`: not sent again, because too many were.",
            &["upstream", "outcome"],
        )
    }

    fn certificates(&self) -> prometheus::Result<IntGaugeVec> {
        self.gauges(
            "tls_cert_not_after_timestamp_seconds",
            "When a certificate of a listener ends.",
            &["listener", "certificate"],
        )
    }

    fn rate_limits(&self) -> prometheus::Result<[[IntCounter; 2]; Policy::ALL.len()]> {
        let counters = self.counters(
            "rate_limit_decisions_total",
            "Requests that have a limit, by whose it is (of several: the one used up or with the least left) and result.",
            &["policy", "result"],
        )?;
        Ok(Policy::ALL.map(|policy| {
            ["limited", "allowed"]
                .map(|result| counters.with_label_values(&[policy.name(), result]))
        }))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> prometheus::Result<HistogramVec> {
        self.add(HistogramVec::new(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
            labels,
        )?)
    }
}

/// Statuses with a slot of their own; any other takes the slower way of a look-up by label.
const STATUSES: [u16; 26] = [
    200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409, 412,
    413, 422, 429, 500, 502, 503, 504,
];
/// No key, then the kinds of location.
const LOCATION_SLOTS: usize = LocationKind::ALL.len() + 1;

fn slots(count: usize) -> Box<[OnceLock<IntCounter>]> {
    (0..count).map(|_| OnceLock::new()).collect()
}

/// How the decision on a request went; the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A key that may.
    Permitted,
    /// An open route or a preflight.
    Anonymous,
    /// Two different keys, or one place twice.
    Ambiguous,
    /// No key.
    Missing,
    /// Looks native, but is not.
    Malformed,
    /// No such key.
    Unknown,
    /// Its time has not come.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// Switched off.
    Disabled,
    /// Ended.
    Revoked,
    /// Not from this address.
    Address,
    /// Not in this place.
    Location,
    /// Of a workspace that the route's is not below.
    Workspace,
    /// Not on this route.
    Route,
    /// Not with this method.
    Method,
    /// Lacks a scope.
    Scope,
    /// Too many requests.
    RateLimited,
}

impl Decision {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 17] = [
        Self::Permitted,
        Self::Anonymous,
        Self::Ambiguous,
        Self::Missing,
        Self::Malformed,
        Self::Unknown,
        Self::NotYetValid,
        Self::Expired,
        Self::Disabled,
        Self::Revoked,
        Self::Address,
        Self::Location,
        Self::Workspace,
        Self::Route,
        Self::Method,
        Self::Scope,
        Self::RateLimited,
    ];

    /// Whether the request was refused.
    pub fn is_refusal(self) -> bool {
        self.labels().0 == "denied"
    }

    /// The label `reason`.
    pub fn reason(self) -> &'static str {
        self.labels().1
    }

    /// The labels `result` and `reason`.
    fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::Permitted => ("allowed", "ok"),
            Self::Anonymous => ("allowed", "anonymous"),
            Self::Ambiguous => ("denied", "ambiguous"),
            Self::Missing => ("denied", "missing"),
            Self::Malformed => ("denied", "malformed"),
            Self::Unknown => ("denied", "unknown"),
            Self::NotYetValid => ("denied", "not_yet_valid"),
            Self::Expired => ("denied", "expired"),
            Self::Disabled => ("denied", "disabled"),
            Self::Revoked => ("denied", "revoked"),
            Self::Address => ("denied", "ip"),
            Self::Location => ("denied", "location"),
            Self::Workspace => ("denied", "workspace"),
            Self::Route => ("denied", "route"),
            Self::Method => ("denied", "method"),
            Self::Scope => ("denied", "scope"),
            Self::RateLimited => ("denied", "rate_limited"),
        }
    }
}

/// The handles of one route.
#[derive(Debug)]
pub struct RouteMetrics {
    name: String,
    requests: IntCounterVec,
    decisions: IntCounterVec,
    duration: Histogram,
    request_slots: Box<[OnceLock<IntCounter>]>,
    decision_slots: Box<[OnceLock<IntCounter>]>,
}

impl RouteMetrics {
    /// Counts a finished request; `method` is a slot of [`method`].
    pub fn finished(&self, method: usize, status: u16, seconds: f64) {
        self.duration.observe(seconds);
        let resolve = || {
            let mut code = itoa::Buffer::new();
            self.requests.with_label_values(&[
                &self.name,
                method::label(method),
                code.format(status),
            ])
        };
        match STATUSES.iter().position(|known| *known == status) {
            Some(place) => self.request_slots[method * STATUSES.len() + place]
                .get_or_init(resolve)
                .inc(),
            None => resolve().inc(),
        }
    }

    /// Counts a decision.
    pub fn decided(&self, decision: Decision, location: Option<LocationKind>) {
        let place = location.map_or(0, |kind| kind.index() + 1);
        self.decision_slots[decision as usize * LOCATION_SLOTS + place]
            .get_or_init(|| {
                let (result, reason) = decision.labels();
                let location = location.map_or("none", LocationKind::name);
                self.decisions
                    .with_label_values(&[&self.name, result, reason, location])
            })
            .inc();
    }
}

/// The handles of one listener's handshakes.
#[derive(Debug)]
pub struct HandshakeMetrics {
    /// Those that came to an end.
    pub ok: IntCounter,
    /// Refused by either side, or not TLS.
    pub failed: IntCounter,
    /// Not done in time.
    pub timeout: IntCounter,
    /// Not begun, because too many others were under way.
    pub shed: IntCounter,
}

/// Why a connection or a request was turned away or ended; the label `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// The listener has all the connections it may have.
    MaxConnections,
    /// The address has.
    MaxConnectionsPerAddress,
    /// No PROXY header where there must be one, or not from a trusted proxy.
    ProxyProtocol,
    /// Nothing came.
    FirstByte,
    /// The handshake took too long, or there were too many at a time.
    Handshake,
    /// The head of a request took too long.
    SlowHeader,
    /// The body of a request took too long.
    SlowBody,
    /// The caller did not take the answer, or not fast enough.
    SlowRead,
    /// The thread was late.
    Overload,
    /// Too many wrong keys from its network.
    Throttled,
    /// Too many frames of HTTP/2 that ask for nothing.
    ControlFrames,
}

impl Shed {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::MaxConnections,
        Self::MaxConnectionsPerAddress,
        Self::ProxyProtocol,
        Self::FirstByte,
        Self::Handshake,
        Self::SlowHeader,
        Self::SlowBody,
        Self::SlowRead,
        Self::Overload,
        Self::Throttled,
        Self::ControlFrames,
    ];

    /// The label.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxConnections => "max_connections",
            Self::MaxConnectionsPerAddress => "max_connections_per_address",
            Self::ProxyProtocol => "proxy_protocol",
            Self::FirstByte => "first_byte",
            Self::Handshake => "handshake",
            Self::SlowHeader => "slow_header",
            Self::SlowBody => "slow_body",
            Self::SlowRead => "slow_read",
            Self::Overload => "overload",
            Self::Throttled => "throttled",
            Self::ControlFrames => "control_frames",
        }
    }
}

/// What one listener turns away, by reason.
#[derive(Debug)]
pub struct ShedMetrics([IntCounter; Shed::ALL.len()]);

impl ShedMetrics {
    /// Counts one.
    pub fn count(&self, reason: Shed) {
        self.0[reason as usize].inc();
    }
}

/// The handles of one upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    name: String,
    /// Time to the head of the answer.
    pub duration: Histogram,
    errors: IntCounterVec,
    ejections: IntCounter,
    /// By place in [`RetryOutcome::ALL`].
    retries: [IntCounter; RetryOutcome::ALL.len()],
}

/// What came of sending a request again; a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOutcome {
    /// An answer that is not to be retried.
    Success,
    /// Another failure of the same kind, or of another.
    Failure,
    /// It was not sent again: too many were.
    Budget,
}

impl RetryOutcome {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::Budget];

    fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Budget => "budget",
        }
    }
}

impl UpstreamMetrics {
    /// Counts an endpoint that is taken out.
    pub fn ejected(&self) {
        self.ejections.inc();
    }

    /// Counts a request that was sent again, or that was not.
    pub fn retried(&self, outcome: RetryOutcome) {
        self.retries[outcome as usize].inc();
    }

    /// Counts a request the upstream failed.
    pub fn failed(&self, reason: &'static str) {
        self.errors.with_label_values(&[&self.name, reason]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_stand_in_the_order_of_their_slots() {
        for (place, decision) in Decision::ALL.iter().enumerate() {
            assert_eq!(*decision as usize, place);
        }
        for (place, reason) in Shed::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
        }
    }

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new().unwrap();
        let route = metrics.route("billing");
        route.finished(0, 200, 0.002);
        route.finished(9, 299, 0.002);
        route.decided(Decision::Permitted, Some(LocationKind::Bearer));
        metrics.upstream("app").failed("connect");
        let text = String::from_utf8(metrics.encode().unwrap()).unwrap();
        for line in [
            r#"keygate_http_requests_total{code="200",method="GET",route="billing"} 1"#,
            r#"keygate_http_requests_total{code="299",method="OTHER",route="billing"} 1"#,
            r#"keygate_auth_decisions_total{location="bearer",reason="ok",result="allowed",route="billing"} 1"#,
            r#"keygate_upstream_errors_total{reason="connect",upstream="app"} 1"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
