//! A route: which requests (host, path, method) go to which upstream, under which policy.

use super::limit::Limit;
use super::method::MethodSet;
use super::resilience::Retries;
use super::scope::ScopeDemand;
use http::HeaderName;
use std::time::Duration;

/// A route as it was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Unique name; a metric label and a log field.
    pub name: String,
    /// Which requests it takes.
    pub matches: RouteMatch,
    /// Place of its upstream in the list of upstreams.
    pub upstream: usize,
    /// Path prefix that is cut off before the request goes upstream, without a trailing slash.
    pub strip_prefix: Option<String>,
    /// Who may use it.
    pub auth: AuthPolicy,
    /// Most bytes of a request body; `None` is no limit.
    pub max_body: Option<u64>,
    /// Longest time from the request's head to the answer's last byte; `None` is no limit.
    pub timeout: Option<Duration>,
    /// Whether the key's metadata goes upstream as `X-Keygate-Metadata`.
    pub forward_metadata: bool,
    /// The workspace it belongs to, as it was named: an id (`ws_…`) or a path of names below the root, such as
    /// `acme/berlin`; `None`: keys of every workspace may use it.
    pub workspace: Option<String>,
    /// What all who use it share.
    pub limits: Option<Limit>,
    /// Whether a caller may turn its connection into a WebSocket (RFC 6455).
    pub websocket: bool,
    /// Longest time without a byte in either direction of such a connection; `None` is no limit.
    pub websocket_idle_timeout: Option<Duration>,
    /// When a request is sent again; `None`: never.
    pub retries: Option<Retries>,
}

/// What a route takes; the most specific match wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMatch {
    /// Which host.
    pub host: HostMatch,
    /// Which path.
    pub path: PathMatch,
    /// Which methods.
    pub methods: MethodSet,
}

/// Host part of a match; names are lower case, without port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// Every host.
    Any,
    /// `*.example.com`: any name below; holds `example.com`.
    Suffix(String),
    /// This host.
    Exact(String),
}

/// Path part of a match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// The path itself and everything below it, at segment borders; without trailing slash, so `/` is empty.
    Prefix(String),
    /// This path and no other.
    Exact(String),
}

/// Who may use a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthPolicy {
    /// Whether a key is needed. An open route still removes keys and identity headers.
    pub required: bool,
    /// Where a key may stand, in order of preference.
    pub locations: Vec<Location>,
    /// Which scopes a key needs.
    pub scopes: ScopeDemand,
    /// Whether a true CORS preflight passes without a key.
    pub preflight: bool,
}

/// A place in a request where a key may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A header of its own.
    Header(HeaderName),
    /// `Authorization: Bearer` (RFC 6750 §2.1).
    Bearer,
    /// A query parameter, by its decoded name.
    Query(String),
    /// One of the sub-protocols that a WebSocket client offers (RFC 6455 §4.1), which is all that a browser lets a page say.
    /// Holds what stands in front of the key there; a native key may stand alone.
    WebSocketProtocol(String),
}

impl Location {
    /// The kind of place.
    pub fn kind(&self) -> LocationKind {
        match self {
            Self::Header(_) => LocationKind::Header,
            Self::Bearer => LocationKind::Bearer,
            Self::Query(_) => LocationKind::Query,
            Self::WebSocketProtocol(_) => LocationKind::WebSocketProtocol,
        }
    }
}

/// The kind of a [`Location`]; a metric label, and what a key may be restricted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocationKind {
    /// A header of its own.
    Header,
    /// `Authorization: Bearer`.
    Bearer,
    /// A query parameter.
    Query,
    /// A sub-protocol of a WebSocket.
    WebSocketProtocol,
}

impl LocationKind {
    /// All kinds, in the order of [`LocationKind::index`].
    pub const ALL: [Self; 4] = [
        Self::Header,
        Self::Bearer,
        Self::Query,
        Self::WebSocketProtocol,
    ];

    /// Place in [`LocationKind::ALL`].
    pub fn index(self) -> usize {
        match self {
            Self::Header => 0,
            Self::Bearer => 1,
            Self::Query => 2,
            Self::WebSocketProtocol => 3,
        }
    }

    /// Name in config, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Bearer => "bearer",
            Self::Query => "query",
            Self::WebSocketProtocol => "websocket_protocol",
        }
    }
}

/// A set of location kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocationSet(u8);

impl LocationSet {
    /// Every kind.
    pub const ANY: Self = Self(0xff);
    /// None.
    pub const EMPTY: Self = Self(0);

    /// The set as bits, whose order never changes.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The set of these bits.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// This set with one more kind.
    #[must_use]
    pub fn with(self, kind: LocationKind) -> Self {
        Self(self.0 | (1 << kind.index()))
    }

    /// Whether the kind is in the set.
    pub fn contains(self, kind: LocationKind) -> bool {
        self.0 & (1 << kind.index()) != 0
    }

    /// The kinds in both sets.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}
