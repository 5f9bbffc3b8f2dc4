//! Shapes of bodies about keys, for the document of the API only: the bodies are read field by field.

use crate::admin::limits::{LimitsPatch, NewLimits};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What happens when nobody uses a key.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct NewInactivity {
    /// `off`, `notify`, `disable`, `delete`.
    mode: String,
    /// `90d`; at least `1d`.
    after: Option<String>,
}

/// The fields of a key that can be written.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct NewKey {
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    #[schema(max_length = 1024)]
    description: Option<String>,
    /// Id; the token's own unless given.
    workspace: Option<String>,
    /// Id or name.
    consumer: Option<String>,
    environment: Option<String>,
    scopes: Option<Vec<String>>,
    routes: Option<Vec<String>>,
    methods: Option<Vec<String>>,
    ip_allow: Option<Vec<String>>,
    locations: Option<Vec<String>>,
    limits: Option<NewLimits>,
    tags: Option<Vec<String>>,
    metadata: Option<BTreeMap<String, String>>,
    not_before: Option<String>,
    expires_at: Option<String>,
    inactivity: Option<NewInactivity>,
}

/// Fields to change; null clears.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct KeyPatch {
    #[schema(min_length = 1, max_length = 128)]
    name: Option<String>,
    #[schema(max_length = 1024)]
    description: Option<String>,
    scopes: Option<Vec<String>>,
    routes: Option<Vec<String>>,
    methods: Option<Vec<String>>,
    ip_allow: Option<Vec<String>>,
    locations: Option<Vec<String>>,
    limits: Option<LimitsPatch>,
    tags: Option<Vec<String>>,
    /// Entries to set; null takes one away, the others stay.
    metadata: Option<BTreeMap<String, Option<String>>>,
    not_before: Option<String>,
    expires_at: Option<String>,
    inactivity: Option<NewInactivity>,
}

/// Why.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct Why {
    /// A code, such as `compromised`, `superseded`, `owner_left`.
    #[schema(max_length = 64)]
    reason: Option<String>,
    #[schema(max_length = 1024)]
    text: Option<String>,
}

/// How long the secret before stays good.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct Rotation {
    /// `0s` to `30d`; `24h` unless given.
    grace: Option<String>,
}

/// Which older secret ends.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct Retirement {
    /// Its number; all older ones unless given.
    number: Option<i64>,
}

/// To whom a key goes.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct Transfer {
    /// Id or name of a consumer; null: nobody's.
    consumer: Option<String>,
}
