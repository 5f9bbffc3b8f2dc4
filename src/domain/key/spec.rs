//! What is declared about a key: everything but its secret and its use; and the status a person is shown.

use super::KeyHash;
use crate::domain::id::Id;
use crate::domain::method::MethodSet;
use crate::domain::route::LocationSet;
use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;
use ipnet::IpNet;
use std::collections::BTreeMap;

/// What may be done with a key, apart from time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyState {
    /// In force.
    #[default]
    Active,
    /// Switched off, reversibly.
    Disabled,
    /// Ended for good.
    Revoked,
}

/// What is known about a key: everything but its secret and its use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpec {
    /// `key_…`.
    pub id: Id,
    /// Name for people; goes upstream when there is no consumer.
    pub name: String,
    /// Hash of its secret.
    pub hash: KeyHash,
    /// Display hint, when the secret was at hand.
    pub hint: Option<String>,
    /// Name of the consumer that owns it.
    pub consumer: Option<String>,
    /// One of the configured environments.
    pub environment: String,
    /// Its rights. None open nothing.
    pub scopes: Vec<Scope>,
    /// Names of the only routes it may use; `None`: those its scopes open.
    pub routes: Option<Vec<String>>,
    /// The only methods it may use.
    pub methods: MethodSet,
    /// The only networks it may come from; empty: any.
    pub ip_allow: Vec<IpNet>,
    /// The only kinds of place it may stand in.
    pub locations: LocationSet,
    /// Not valid before.
    pub not_before: Option<Timestamp>,
    /// Not valid from then on.
    pub expires_at: Option<Timestamp>,
    /// In force or not.
    pub state: KeyState,
    /// Goes upstream on request.
    pub metadata: BTreeMap<String, String>,
}

/// What a person is shown of a key's state; the first that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyStatus {
    /// Ended for good.
    Revoked,
    /// Switched off.
    Disabled,
    /// Its time has not come.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// Its time is over within 15 days.
    Expiring,
    /// In force.
    Active,
}

impl KeyStatus {
    /// All of them, in order of precedence.
    pub const ALL: [Self; 6] = [
        Self::Revoked,
        Self::Disabled,
        Self::NotYetValid,
        Self::Expired,
        Self::Expiring,
        Self::Active,
    ];
    const EXPIRING_MILLIS: i64 = 15 * 24 * 60 * 60 * 1000;

    /// The status of a key with this state and these limits of time.
    pub fn of(
        state: KeyState,
        not_before: Option<Timestamp>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        match state {
            KeyState::Revoked => return Self::Revoked,
            KeyState::Disabled => return Self::Disabled,
            KeyState::Active => {}
        }
        if not_before.is_some_and(|start| now < start) {
            return Self::NotYetValid;
        }
        match expires_at {
            Some(end) if now >= end => Self::Expired,
            Some(end) if end.as_millis() - now.as_millis() <= Self::EXPIRING_MILLIS => {
                Self::Expiring
            }
            Some(_) | None => Self::Active,
        }
    }

    /// Name in the API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Disabled => "disabled",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::Expiring => "expiring",
            Self::Active => "active",
        }
    }
}
