//! What is declared about a key: everything but its secret and its use; and the status a person is shown.

use super::KeyHash;
use super::record::Algorithm;
use crate::domain::consumer::Consumer;
use crate::domain::id::Id;
use crate::domain::limit::Limit;
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
    /// A tombstone, restorable for a while; the data plane does not know it.
    Deleted,
}

impl KeyState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Active, Self::Disabled, Self::Revoked, Self::Deleted];

    /// Name in the API and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
            Self::Deleted => "deleted",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Where a key is managed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// The config file; read-only in the API.
    #[default]
    File,
    /// The store, by the API.
    Store,
}

/// What is known about a key: everything but its secret and its use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpec {
    /// `key_…`.
    pub id: Id,
    /// Name for people; goes upstream when there is no consumer.
    pub name: String,
    /// Where it is managed.
    pub origin: Origin,
    /// Its workspace.
    pub workspace: Id,
    /// Hash of its secret.
    pub hash: KeyHash,
    /// How that hash was made.
    pub algorithm: Algorithm,
    /// When this secret ends, if a newer one has taken over.
    pub retires_at: Option<Timestamp>,
    /// Display hint, when the secret was at hand.
    pub hint: Option<String>,
    /// The consumer that owns it.
    pub consumer: Option<Consumer>,
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
    /// Its own limit, whichever of its secrets is shown.
    pub limits: Option<Limit>,
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
    /// Gone, but restorable.
    Deleted,
    /// Ended for good.
    Revoked,
    /// Switched off.
    Disabled,
    /// Its time has not come.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// More than one secret is good.
    Rotating,
    /// A notice has said when it will go, because nobody uses it.
    InactiveWarning,
    /// Its time is over within 15 days.
    Expiring,
    /// In force.
    Active,
}

impl KeyStatus {
    /// All of them, in order of precedence.
    pub const ALL: [Self; 9] = [
        Self::Deleted,
        Self::Revoked,
        Self::Disabled,
        Self::NotYetValid,
        Self::Expired,
        Self::Rotating,
        Self::InactiveWarning,
        Self::Expiring,
        Self::Active,
    ];
    /// From when on an end is near: 15 days.
    pub const EXPIRING_MILLIS: i64 = 15 * 24 * 60 * 60 * 1000;

    /// The status of a key with this state, these limits of time (not before, expires), and these moments (rotating
    /// until, to go for inactivity).
    pub fn of(
        state: KeyState,
        (not_before, expires_at): (Option<Timestamp>, Option<Timestamp>),
        (rotating_until, inactive_at): (Option<Timestamp>, Option<Timestamp>),
        now: Timestamp,
    ) -> Self {
        match state {
            KeyState::Deleted => return Self::Deleted,
            KeyState::Revoked => return Self::Revoked,
            KeyState::Disabled => return Self::Disabled,
            KeyState::Active => {}
        }
        if not_before.is_some_and(|start| now < start) {
            return Self::NotYetValid;
        }
        if expires_at.is_some_and(|end| now >= end) {
            return Self::Expired;
        }
        if rotating_until.is_some_and(|end| now < end) {
            return Self::Rotating;
        }
        if inactive_at.is_some() {
            return Self::InactiveWarning;
        }
        let near = |end: Timestamp| end.as_millis() - now.as_millis() <= Self::EXPIRING_MILLIS;
        if expires_at.is_some_and(near) {
            return Self::Expiring;
        }
        Self::Active
    }

    /// Name in the API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Revoked => "revoked",
            Self::Disabled => "disabled",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::Rotating => "rotating",
            Self::InactiveWarning => "inactive_warning",
            Self::Expiring => "expiring",
            Self::Active => "active",
        }
    }
}
