//! A key as it is kept: what admins see and change of it. Its secrets are hashes here too.

use super::KeyHash;
use super::spec::{KeyState, KeyStatus};
use crate::domain::consumer::Consumer;
use crate::domain::id::Id;
use crate::domain::limit::Limit;
use crate::domain::time::Timestamp;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The longest grace of a rotation: 30 days.
pub const MAX_GRACE_MILLIS: i64 = 30 * DAY_MILLIS;
/// How long a deleted key can be restored: 30 days.
pub const RESTORABLE_MILLIS: i64 = 30 * DAY_MILLIS;
/// A day.
pub const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// How long a secret that has retired is still told apart from an unknown one: 30 days, as long as a deleted key can be
/// restored. Then it is forgotten, so that a key that rotates for years does not grow.
pub const FORGOTTEN_MILLIS: i64 = 30 * DAY_MILLIS;
/// Most secrets of one key that are good at a time: the newest and two in their grace.
pub const MAX_LIVE_SECRETS: usize = 3;

/// What a key may do, and what is told about it; the part of a key that admins write as they like. Stored as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyDetail {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its rights. None open nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Names of the only routes it may use; `None`: those its scopes open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<String>>,
    /// The only methods it may use; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// The only networks it may come from; empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_allow: Vec<IpNet>,
    /// The only kinds of place it may stand in, by name; `None`: wherever the route says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locations: Option<Vec<String>>,
    /// Its own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limit>,
    /// For search only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Goes upstream on request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// What happens to a key that nobody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InactivityMode {
    /// Nothing.
    Off,
    /// Notices only.
    Notify,
    /// Notices, then it is disabled.
    Disable,
    /// Notices, then it is deleted; restorable.
    Delete,
}

impl InactivityMode {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Off, Self::Notify, Self::Disable, Self::Delete];

    /// Name in the API and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Notify => "notify",
            Self::Disable => "disable",
            Self::Delete => "delete",
        }
    }

    /// The mode with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// A key's inactivity policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inactivity {
    /// What happens.
    pub mode: InactivityMode,
    /// After how long without a use, in milliseconds.
    pub after: i64,
}

impl Inactivity {
    /// Deleted after 90 days.
    pub const DEFAULT: Self = Self {
        mode: InactivityMode::Delete,
        after: 90 * DAY_MILLIS,
    };
}

/// Why a key is not in force, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateNote {
    /// A code, such as `compromised`.
    pub reason: Option<String>,
    /// Words of whoever did it.
    pub text: Option<String>,
    /// Who, see [`crate::domain::actor::Actor::text`].
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// How a secret's hash was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Our own.
    Blake3,
    /// Imported; replaced by blake3 at the first use.
    Sha256,
}

/// One secret of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretVersion {
    /// `sec_…`.
    pub id: Id,
    /// 1 for the first.
    pub number: i64,
    /// Its hash.
    pub hash: KeyHash,
    /// How the hash was made.
    pub algorithm: Algorithm,
    /// Display hint, when the secret was at hand.
    pub hint: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Not good from then on; `None` for the newest.
    pub retires_at: Option<Timestamp>,
    /// Last permitted request with it.
    pub last_used_at: Option<Timestamp>,
    /// Where that came from.
    pub last_used_ip: Option<IpAddr>,
    /// Permitted requests with it.
    pub uses: i64,
}

/// A use as the store knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordedUse {
    /// First permitted request.
    pub first_used_at: Option<Timestamp>,
    /// Last permitted request.
    pub last_used_at: Option<Timestamp>,
    /// Where the last permitted request came from.
    pub last_used_ip: Option<IpAddr>,
    /// Permitted requests.
    pub uses: i64,
    /// Requests refused although the key was right.
    pub refusals: i64,
}

/// When something about a key's inactivity was begun anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InactivityMarks {
    /// Last enabled.
    pub enabled_at: Option<Timestamp>,
    /// Last restored.
    pub restored_at: Option<Timestamp>,
    /// Last kept: somebody said that it is to stay.
    pub kept_at: Option<Timestamp>,
    /// When the key's own policy was last changed to one that may end it.
    pub policy_enabled_at: Option<Timestamp>,
    /// When it will go, once a notice has said so.
    pub inactive_at: Option<Timestamp>,
}

/// A key as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// `key_…`.
    pub id: Id,
    /// The workspace it belongs to.
    pub workspace: Id,
    /// Who owns it.
    pub consumer: Option<Consumer>,
    /// Name for people.
    pub name: String,
    /// One of the configured environments.
    pub environment: String,
    /// In force or not.
    pub state: KeyState,
    /// Why not, and who said so.
    pub state_note: Option<StateNote>,
    /// The state of a deleted key before it was; restored with it.
    pub state_before: Option<KeyState>,
    /// And why it was that.
    pub note_before: Option<StateNote>,
    /// Not valid before.
    pub not_before: Option<Timestamp>,
    /// Not valid from then on.
    pub expires_at: Option<Timestamp>,
    /// Until then, more than one secret is good.
    pub rotating_until: Option<Timestamp>,
    /// Its own inactivity policy; `None`: the workspace's.
    pub inactivity: Option<Inactivity>,
    /// Moments that count for inactivity.
    pub marks: InactivityMarks,
    /// What it may do, and words about it.
    pub detail: KeyDetail,
    /// Its secrets, the newest first.
    pub secrets: Vec<SecretVersion>,
    /// Its use.
    pub usage: RecordedUse,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Last change by an admin.
    pub updated_at: Timestamp,
    /// Who changed it.
    pub updated_by: String,
    /// Revision of the last change.
    pub revision: u64,
}

impl KeyRecord {
    /// What a person is shown.
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        KeyStatus::of(
            self.state,
            (self.not_before, self.expires_at),
            (self.rotating_until, self.marks.inactive_at),
            now,
        )
    }

    /// The newest secret.
    pub fn current(&self) -> Option<&SecretVersion> {
        self.secrets.first()
    }

    /// Whether one of its secrets is good, or was at its last change: what it is found by.
    pub fn has_in_use(&self, secret: &SecretVersion) -> bool {
        secret.retires_at.is_none_or(|end| self.updated_at < end)
    }

    /// When the next of its older secrets is forgotten.
    pub fn forgets_at(&self) -> Option<Timestamp> {
        self.secrets.iter().filter_map(forgotten_at).min()
    }

    /// From when on nobody has used the key, for its inactivity policy.
    pub fn baseline(&self) -> Timestamp {
        let marks = &self.marks;
        [
            self.usage.last_used_at,
            marks.enabled_at,
            marks.policy_enabled_at,
            marks.restored_at,
            marks.kept_at,
        ]
        .into_iter()
        .flatten()
        .fold(self.created_at, Timestamp::max)
    }
}

/// When a secret is forgotten; the newest never is.
pub(super) fn forgotten_at(secret: &SecretVersion) -> Option<Timestamp> {
    let end = secret.retires_at?;
    Some(Timestamp::from_millis(
        end.as_millis().saturating_add(FORGOTTEN_MILLIS),
    ))
}
