//! How a request finds its endpoint.

use http::HeaderName;

/// Which endpoint is asked, of those that may be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Balance {
    /// One after the other, as often as their weights say.
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way for its weight.
    LeastRequests,
    /// The less busy of two that are drawn.
    PowerOfTwo,
    /// The same one for the same value.
    Hash(HashOn),
}

/// What makes requests go to the same endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashOn {
    /// The caller's key; its address where it has none.
    Key,
    /// The value of a header; requests without it take turns.
    Header(HeaderName),
}

impl Balance {
    /// Name in the config.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastRequests => "least_requests",
            Self::PowerOfTwo => "power_of_two",
            Self::Hash(_) => "hash",
        }
    }

    /// Whether it goes by how busy endpoints are.
    pub fn counts_requests(&self) -> bool {
        matches!(self, Self::LeastRequests | Self::PowerOfTwo)
    }
}
