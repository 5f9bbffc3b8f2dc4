//! An upstream: a named service and the addresses (endpoints) that serve it.

use super::balance::Balance;
use super::resilience::{Circuit, HealthCheck, OutlierDetection};
use std::time::Duration;

/// A service behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Unique name; a metric label.
    pub name: String,
    /// At least one address, at least one of them with a weight above 0.
    pub endpoints: Vec<Endpoint>,
    /// What is spoken to it.
    pub protocol: Protocol,
    /// Which of them is asked.
    pub balance: Balance,
    /// What the `Host` header says upstream.
    pub host_header: HostHeader,
    /// Longest wait for a connection that can take a request: its name, TCP, TLS and the settings of HTTP/2 included.
    pub connect_timeout: Duration,
    /// Longest wait from the whole request head sent to the first byte of the answer.
    pub first_byte_timeout: Duration,
    /// Longest pause while a body is under way, either direction.
    pub idle_timeout: Duration,
    /// Idle connections: how many, how long, how old.
    pub pool: Pool,
    /// How endpoints are asked how they are; `None`: only requests show it.
    pub health_check: Option<HealthCheck>,
    /// When an endpoint is taken out that fails its requests; `None`: never.
    pub outlier_detection: Option<OutlierDetection>,
    /// The most it is asked at a time.
    pub circuit: Circuit,
}

/// What is spoken to an upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Under TLS what both sides agree on (ALPN), in cleartext HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; in cleartext by prior knowledge (RFC 9113 §3.3).
    Http2,
}

impl Protocol {
    /// As it stands in the config file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Http1 => "http1",
            Self::Http2 => "h2",
        }
    }
}

/// One address of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or IP address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `host[:port]` as it stands in a `Host` header; the port is left out when it is the scheme's default.
    pub authority: String,
    /// Whether it is spoken to under TLS.
    pub secure: bool,
    /// Its share of the requests, beside the weights of the others; 0: none.
    pub weight: u32,
}

impl Endpoint {
    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

/// Which host the upstream is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeader {
    /// What the caller asked for.
    Preserve,
    /// The endpoint's own address.
    Endpoint,
    /// Always this one.
    Fixed(String),
}

/// Limits on idle connections to an upstream; per thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Idle connections kept per thread and endpoint.
    pub max_idle: usize,
    /// An idle connection is closed after this long.
    pub idle_timeout: Duration,
    /// No connection is reused once it is this old.
    pub max_lifetime: Duration,
}
