//! THE DECISION: find the key, check it, decide. No I/O, no hyper; the proxy, and whoever else asks, get the same answer.

pub mod authorize;
pub mod extract;
pub mod identity;
pub mod limit;
pub mod trace;
pub mod verify;

use crate::telemetry::metrics::Decision;
use http::StatusCode;
use limit::Standing;

/// Why a request may not pass. What the caller is told follows from it in one place, [`Denied::told`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// One place twice, or different keys in two places.
    #[error("more than one key was presented")]
    Ambiguous,
    /// No key where one is needed.
    #[error("no API key was presented")]
    Missing,
    /// Looks like a key of ours, but its checksum or form is wrong.
    #[error("the API key is not valid")]
    Malformed,
    /// No key has this hash.
    #[error("the API key is not valid")]
    Unknown,
    /// The key's time has not come.
    #[error("the API key is not valid yet")]
    NotYetValid,
    /// The key's time is over.
    #[error("the API key has expired")]
    Expired,
    /// The key is switched off.
    #[error("the API key is disabled")]
    Disabled,
    /// The key has been ended.
    #[error("the API key has been revoked")]
    Revoked,
    /// The key may not be sent in this place.
    #[error("the API key may not be presented in this place")]
    Location,
    /// The key may not come from this address.
    #[error("the API key may not be used from this address")]
    Address,
    /// The route is of a workspace that the key does not reach.
    #[error("the API key belongs to another workspace")]
    Workspace,
    /// The key may not use this route.
    #[error("the API key may not use this route")]
    Route,
    /// The key may not use this method.
    #[error("the API key may not use this method")]
    Method,
    /// The key lacks a scope that the route demands.
    #[error("the API key lacks a scope that this request needs")]
    Scope,
    /// There have been too many requests.
    #[error("too many requests: the limit of the {} is used up", .0.policy.name())]
    RateLimited(Standing),
}

impl Denied {
    /// How things stand with the limit that is used up, if it is one.
    pub fn standing(self) -> Option<Standing> {
        if let Self::RateLimited(standing) = self {
            Some(standing)
        } else {
            None
        }
    }

    /// The metric's word for it.
    pub fn decision(self) -> Decision {
        match self {
            Self::Ambiguous => Decision::Ambiguous,
            Self::Missing => Decision::Missing,
            Self::Malformed => Decision::Malformed,
            Self::Unknown => Decision::Unknown,
            Self::NotYetValid => Decision::NotYetValid,
            Self::Expired => Decision::Expired,
            Self::Disabled => Decision::Disabled,
            Self::Revoked => Decision::Revoked,
            Self::Location => Decision::Location,
            Self::Address => Decision::Address,
            Self::Workspace => Decision::Workspace,
            Self::Route => Decision::Route,
            Self::Method => Decision::Method,
            Self::Scope => Decision::Scope,
            Self::RateLimited(_) => Decision::RateLimited,
        }
    }

    /// What the caller is told: status, stable code, title.
    pub fn told(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::Ambiguous => (
                S::BAD_REQUEST,
                "ambiguous_credentials",
                "Ambiguous credentials",
            ),
            Self::Missing => (S::UNAUTHORIZED, "missing_api_key", "API key missing"),
            Self::Malformed | Self::Unknown | Self::NotYetValid | Self::Location => {
                (S::UNAUTHORIZED, "invalid_api_key", "API key not valid")
            }
            Self::Expired => (S::UNAUTHORIZED, "api_key_expired", "API key expired"),
            Self::Disabled => (S::UNAUTHORIZED, "api_key_disabled", "API key disabled"),
            Self::Revoked => (S::UNAUTHORIZED, "api_key_revoked", "API key revoked"),
            Self::Address => (S::FORBIDDEN, "ip_not_allowed", "Address not allowed"),
            Self::Workspace => (S::FORBIDDEN, "workspace_mismatch", "Workspace mismatch"),
            Self::Route => (S::FORBIDDEN, "route_not_allowed", "Route not allowed"),
            Self::Method => (
                S::FORBIDDEN,
                "method_not_allowed_for_key",
                "Method not allowed for this key",
            ),
            Self::Scope => (S::FORBIDDEN, "insufficient_scope", "Insufficient scope"),
            Self::RateLimited(_) => (S::TOO_MANY_REQUESTS, "rate_limited", "Rate limited"),
        }
    }
}
