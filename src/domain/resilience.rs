//! What is done about endpoints that fail, and about too many requests for those that do not.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Asking endpoints how they are, whether requests come or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// From the beginning of one check to that of the next.
    pub interval: Duration,
    /// Longest time for one check.
    pub timeout: Duration,
    /// Good checks in a row after which an endpoint is healthy again.
    pub healthy: u32,
    /// Failed checks in a row after which it no longer is.
    pub unhealthy: u32,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Whether a connection can be made.
    Tcp,
    /// `GET` of a path.
    Http {
        /// With its query, if any.
        path: String,
        /// `Host`; `None`: the endpoint's own.
        host: Option<String>,
        /// Statuses of a healthy endpoint.
        statuses: Vec<RangeInclusive<u16>>,
    },
}

/// Taking an endpoint out that fails request after request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Failures in a row that are too many.
    pub failures: u32,
    /// How long it is out the first time; longer each time it comes soon again.
    pub base_ejection: Duration,
    /// Of all endpoints, how many may be out at a time, in percent.
    pub max_ejected_percent: u32,
    /// How long an endpoint that returns takes to its full share; zero: it has it at once.
    pub slow_start: Duration,
}

/// The most that an upstream is asked at a time, all threads together; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Circuit {
    /// Open connections.
    pub max_connections: Option<usize>,
    /// Requests that wait for one of them.
    pub max_pending: Option<usize>,
    /// Requests under way.
    pub max_requests: Option<usize>,
}

/// Sending a request again that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// How often, besides the first time.
    pub attempts: u32,
    /// After what.
    pub on: RetryOn,
    /// Longest wait for the head of one answer.
    pub per_try_timeout: Option<Duration>,
    /// Longest pause before the first repeat; doubles with each, and a random part of it is taken.
    pub backoff: Duration,
}

/// What a request is sent again after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set with a name for each member"
)]
pub struct RetryOn {
    /// No endpoint took a connection.
    pub connect_failure: bool,
    /// The service said that it has not looked at the request.
    pub refused_stream: bool,
    /// 502.
    pub bad_gateway: bool,
    /// 503.
    pub unavailable: bool,
    /// 504.
    pub gateway_timeout: bool,
}

impl RetryOn {
    /// All of it.
    pub const ALL: Self = Self {
        connect_failure: true,
        refused_stream: true,
        bad_gateway: true,
        unavailable: true,
        gateway_timeout: true,
    };

    /// Whether an answer with this status is a failure worth another try.
    pub fn status(self, status: u16) -> bool {
        match status {
            502 => self.bad_gateway,
            503 => self.unavailable,
            504 => self.gateway_timeout,
            _ => false,
        }
    }
}
