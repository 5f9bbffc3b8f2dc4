//! A key as an admin sees it. No secret and no hash is ever in it.

use crate::admin::body::show_duration;
use crate::admin::limits::LimitsView;
use crate::admin::server::AdminParts;
use crate::domain::id::Kind;
use crate::domain::key::KeyRecord;
use crate::domain::key::record::SecretVersion;
use crate::domain::time::Timestamp;
use crate::snapshot::key::Key;
use crate::snapshot::usage::UsageReading;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use utoipa::ToSchema;

/// A key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub(in crate::admin) struct KeyView {
    /// `key_…`; never changes, also across rotations.
    pub(super) id: String,
    pub(super) name: String,
    description: Option<String>,
    /// Id of the workspace it belongs to.
    workspace: String,
    consumer: Option<ConsumerView>,
    environment: String,
    /// Its rights; none open nothing.
    scopes: Vec<String>,
    /// Names of the only routes it may use; null: those its scopes open.
    routes: Option<Vec<String>>,
    /// The only methods it may use; null: all.
    methods: Option<Vec<String>>,
    /// The only networks it may come from; none: any.
    #[schema(value_type = Vec<String>)]
    ip_allow: Vec<ipnet::IpNet>,
    /// The only places it may stand in; null: wherever the route says.
    locations: Option<Vec<String>>,
    /// How many requests it may make; null: as many as it likes.
    limits: Option<LimitsView>,
    tags: Vec<String>,
    metadata: BTreeMap<String, String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    not_before: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) expires_at: Option<Timestamp>,
    /// Its own inactivity policy; null: the workspace's.
    inactivity: Option<InactivityView>,
    /// `active`, `disabled`, `revoked`, `deleted`.
    state: &'static str,
    /// What a person is shown; the first that applies.
    pub(super) status: &'static str,
    state_reason: Option<String>,
    state_text: Option<String>,
    state_by: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    state_at: Option<Timestamp>,
    /// Its secrets, the newest first.
    secrets: Vec<SecretView>,
    /// Of the newest secret: prefix, four characters, `…`, four characters; null when it was never at hand.
    hint: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    first_used_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) last_used_at: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    last_used_ip: Option<IpAddr>,
    /// Permitted requests that are written to the store; seconds behind `last_used_at`, or minutes where very many keys are
    /// in use.
    uses: i64,
    /// Requests that were refused although the key was right; as late as `uses`.
    refusals: i64,
    /// When it will be disabled or deleted because nobody uses it, once a notice has said so.
    #[schema(value_type = Option<String>, format = DateTime)]
    inactive_at: Option<Timestamp>,
    /// `api`, or `file`: declared in the config file and read-only here.
    managed_by: &'static str,
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Option<Timestamp>,
    created_by: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Timestamp>,
    updated_by: Option<String>,
    /// Revision of its last change; its `ETag`.
    revision: u64,
}

/// A key's owner.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyConsumer)]
pub(in crate::admin) struct ConsumerView {
    id: String,
    name: String,
}

/// What happens when nobody uses a key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Inactivity)]
pub(in crate::admin) struct InactivityView {
    /// `off`, `notify`, `disable`, `delete`.
    mode: &'static str,
    /// `90d`.
    after: String,
}

impl InactivityView {
    pub(in crate::admin) fn of(policy: crate::domain::key::record::Inactivity) -> Self {
        Self {
            mode: policy.mode.name(),
            after: show_duration(policy.after),
        }
    }
}

/// One secret of a key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeySecret)]
pub(in crate::admin) struct SecretView {
    id: String,
    /// 1 for the first.
    number: i64,
    hint: Option<String>,
    /// `current`, `retiring`, `retired`.
    state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    retires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    #[schema(value_type = Option<String>)]
    last_used_ip: Option<IpAddr>,
    /// Permitted requests that are written to the store; seconds behind `last_used_at`, or minutes where very many keys are
    /// in use.
    uses: i64,
}

/// A managed key, with what this node knows of its use beyond the store.
pub(in crate::admin) fn managed(key: &KeyRecord, parts: &AdminParts, now: Timestamp) -> KeyView {
    let secrets: Vec<(&SecretVersion, Option<UsageReading>)> = key
        .secrets
        .iter()
        .map(|secret| {
            (
                secret,
                parts
                    .shared
                    .keys
                    .find(&secret.hash)
                    .map(|there| there.usage.read()),
            )
        })
        .collect();
    let seen = secrets
        .iter()
        .filter_map(|(_, read)| *read)
        .filter(|read| read.last_used_at > key.usage.last_used_at);
    let latest = seen.max_by_key(|read| read.last_used_at);
    let first = secrets
        .iter()
        .filter_map(|(_, read)| read.and_then(|read| read.first_used_at))
        .min();
    let note = key.state_note.as_ref();
    KeyView {
        id: key.id.text(Kind::Key).to_string(),
        name: key.name.clone(),
        description: key.detail.description.clone(),
        workspace: key.workspace.text(Kind::Workspace).to_string(),
        consumer: key.consumer.as_ref().map(|owner| ConsumerView {
            id: owner.id.text(Kind::Consumer).to_string(),
            name: owner.name.clone(),
        }),
        environment: key.environment.clone(),
        scopes: key.detail.scopes.clone(),
        routes: key.detail.routes.clone(),
        methods: key.detail.methods.clone(),
        ip_allow: key.detail.ip_allow.clone(),
        locations: key.detail.locations.clone(),
        limits: key.detail.limits.map(LimitsView::of),
        tags: key.detail.tags.clone(),
        metadata: key.detail.metadata.clone(),
        not_before: key.not_before,
        expires_at: key.expires_at,
        inactivity: key.inactivity.map(InactivityView::of),
        state: key.state.name(),
        status: key.status(now).name(),
        state_reason: note.and_then(|note| note.reason.clone()),
        state_text: note.and_then(|note| note.text.clone()),
        state_by: note.map(|note| note.by.clone()),
        state_at: note.map(|note| note.at),
        hint: key.current().and_then(|secret| secret.hint.clone()),
        secrets: secrets
            .iter()
            .enumerate()
            .map(|(place, (secret, read))| view(secret, *read, (place == 0, now)))
            .collect(),
        first_used_at: key.usage.first_used_at.or(first),
        last_used_at: latest
            .and_then(|read| read.last_used_at)
            .or(key.usage.last_used_at),
        last_used_ip: latest
            .and_then(|read| read.last_used_ip)
            .or(key.usage.last_used_ip),
        uses: key.usage.uses,
        refusals: key.usage.refusals,
        inactive_at: key.marks.inactive_at,
        managed_by: "api",
        created_at: Some(key.created_at),
        created_by: Some(key.created_by.clone()),
        updated_at: Some(key.updated_at),
        updated_by: Some(key.updated_by.clone()),
        revision: key.revision,
    }
}

/// What is told of a key to whoever presents it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct KeySummary {
    id: String,
    name: String,
    consumer: Option<ConsumerView>,
    /// Id of the workspace it belongs to.
    workspace: String,
    environment: String,
    /// As in a key.
    status: &'static str,
    scopes: Vec<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    not_before: Option<Timestamp>,
    /// When this secret ends; after a rotation sooner than the key.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    metadata: BTreeMap<String, String>,
}

impl KeySummary {
    pub(super) fn of(key: &Key, now: Timestamp) -> Self {
        let scopes = key.scopes().header.to_str().unwrap_or_default();
        let metadata = key.metadata().map(http::HeaderValue::as_bytes);
        Self {
            id: key.id.text(Kind::Key).to_string(),
            name: key.name().to_owned(),
            consumer: owner(key),
            workspace: key.workspace().text(Kind::Workspace).to_string(),
            environment: key.environment().to_owned(),
            status: key.status(now).name(),
            scopes: scopes.split_whitespace().map(ToOwned::to_owned).collect(),
            not_before: key.not_before(),
            expires_at: key.expires_at(),
            metadata: metadata
                .and_then(|json| serde_json::from_slice(json).ok())
                .unwrap_or_default(),
        }
    }
}

fn owner(key: &Key) -> Option<ConsumerView> {
    key.owner().map(|owner| ConsumerView {
        id: owner.consumer.id.text(Kind::Consumer).to_string(),
        name: owner.consumer.name.clone(),
    })
}

fn view(
    secret: &SecretVersion,
    read: Option<UsageReading>,
    (newest, now): (bool, Timestamp),
) -> SecretView {
    let newer = read.filter(|read| read.last_used_at > secret.last_used_at);
    let state = match secret.retires_at {
        _ if newest => "current",
        Some(end) if now < end => "retiring",
        Some(_) | None => "retired",
    };
    SecretView {
        id: secret.id.text(Kind::Secret).to_string(),
        number: secret.number,
        hint: secret.hint.clone(),
        state,
        created_at: secret.created_at,
        retires_at: secret.retires_at,
        last_used_at: newer
            .and_then(|read| read.last_used_at)
            .or(secret.last_used_at),
        last_used_ip: newer
            .and_then(|read| read.last_used_ip)
            .or(secret.last_used_ip),
        uses: secret.uses,
    }
}

/// A key that is declared in the config file.
pub(in crate::admin) fn declared(key: &Key, now: Timestamp) -> KeyView {
    let usage = key.usage.read();
    let scopes = key.scopes().header.to_str().unwrap_or_default();
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    KeyView {
        id: key.id.text(Kind::Key).to_string(),
        name: key.name().to_owned(),
        description: None,
        workspace: key.workspace().text(Kind::Workspace).to_string(),
        consumer: owner(key),
        environment: key.environment().to_owned(),
        scopes: scopes.split_whitespace().map(ToOwned::to_owned).collect(),
        routes: None,
        methods: None,
        ip_allow: Vec::new(),
        locations: None,
        limits: key.limit().map(LimitsView::of),
        tags: Vec::new(),
        metadata: BTreeMap::new(),
        not_before: key.not_before(),
        expires_at: key.expires_at(),
        inactivity: None,
        state: key.state.name(),
        status: key.status(now).name(),
        state_reason: None,
        state_text: None,
        state_by: None,
        state_at: None,
        secrets: Vec::new(),
        hint: key.hint().map(ToOwned::to_owned),
        first_used_at: usage.first_used_at,
        last_used_at: usage.last_used_at,
        last_used_ip: usage.last_used_ip,
        uses: count(usage.permitted),
        refusals: count(usage.refused),
        inactive_at: None,
        managed_by: "file",
        created_at: None,
        created_by: None,
        updated_at: None,
        updated_by: None,
        revision: 0,
    }
}
