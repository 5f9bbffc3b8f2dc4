//! Consumers as they are shown and written.

use super::text_of;
use crate::admin::limits::{LimitsPatch, LimitsView, NewLimits};
use crate::domain::consumer::Consumer;
use crate::domain::id::Kind;
use crate::domain::time::Timestamp;
use crate::domain::workspace::root;
use crate::store::consumers::ConsumerRecord;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A consumer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Consumer)]
pub(in crate::admin) struct ConsumerView {
    /// `con_…`
    pub(super) id: String,
    /// Id of the workspace it belongs to.
    workspace: String,
    /// Unique in its workspace; goes upstream.
    name: String,
    /// Its id elsewhere.
    external_id: Option<String>,
    description: Option<String>,
    metadata: BTreeMap<String, String>,
    /// How many requests all its keys together may make; null: as many as they like.
    limits: Option<LimitsView>,
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

impl ConsumerView {
    pub(super) fn of(consumer: &ConsumerRecord) -> Self {
        Self {
            id: text_of(consumer.id),
            workspace: consumer.workspace.text(Kind::Workspace).to_string(),
            name: consumer.name.clone(),
            external_id: consumer.external_id.clone(),
            description: consumer.description.clone(),
            metadata: consumer.metadata.clone(),
            limits: consumer.limits.map(LimitsView::of),
            managed_by: "api",
            created_at: Some(consumer.created_at),
            created_by: Some(consumer.created_by.clone()),
            updated_at: Some(consumer.updated_at),
            updated_by: Some(consumer.updated_by.clone()),
            revision: consumer.revision,
        }
    }

    pub(super) fn declared(consumer: &Consumer) -> Self {
        Self {
            id: text_of(consumer.id),
            workspace: root().text(Kind::Workspace).to_string(),
            name: consumer.name.clone(),
            external_id: None,
            description: None,
            metadata: BTreeMap::new(),
            limits: consumer.limits.map(LimitsView::of),
            managed_by: "file",
            created_at: None,
            created_by: None,
            updated_at: None,
            updated_by: None,
            revision: 0,
        }
    }
}

/// A page of consumers.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
pub(super) struct ConsumerList {
    data: Vec<ConsumerView>,
    /// Cursor of the page behind this one; null: there is none.
    next: Option<String>,
    /// With `total=true`: how many there are in all.
    total: Option<u64>,
}

/// The fields of a consumer that can be written.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(super) struct NewConsumer {
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// Id; the token's own unless given. It cannot be changed later.
    workspace: Option<String>,
    #[schema(max_length = 256)]
    external_id: Option<String>,
    #[schema(max_length = 1024)]
    description: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    limits: Option<NewLimits>,
}

/// Fields to change; null clears.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(super) struct ConsumerPatch {
    #[schema(min_length = 1, max_length = 128)]
    name: Option<String>,
    #[schema(max_length = 256)]
    external_id: Option<String>,
    #[schema(max_length = 1024)]
    description: Option<String>,
    /// Entries to set; null takes one away, the others stay.
    metadata: Option<BTreeMap<String, Option<String>>>,
    limits: Option<LimitsPatch>,
}
