//! `/v1/audit`: the log, its head, its proof, its way out and its cut. Reading the log is itself logged.

use super::place::{id_parameter, on_the_whole, time_parameter, within};
use crate::admin::body::{Wrong, time};
use crate::admin::call::Call;
use crate::admin::change::{Begun, Change, Reply, begin};
use crate::admin::error::AdminError;
use crate::admin::page::{Page, Parameters, cursor};
use crate::admin::schema::{IdempotencyKey, Refusals};
use crate::admin::server::AdminParts;
use crate::admin::standing;
use crate::domain::id::{Id, Kind};
use crate::domain::role::Permission;
use crate::domain::time::Timestamp;
use crate::store::audit::{AuditEvent, AuditHead, AuditQuery, Checkpoint};
use crate::store::write::Class;
use crate::store::{Fact, Store};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use moka::sync::Cache;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

pub(in crate::admin) mod export;
pub(in crate::admin) mod verify;

const SORT: &str = "-sequence";
/// Readers that are remembered at a time.
const READERS: u64 = 10_000;

/// Who has read the log lately, and that one verification runs at a time: each holds a connection to the store.
#[derive(Debug)]
pub struct AuditDesk {
    readers: Cache<String, ()>,
    verifying: Arc<Semaphore>,
}

impl Default for AuditDesk {
    fn default() -> Self {
        Self {
            readers: Cache::builder()
                .max_capacity(READERS)
                .time_to_live(Duration::from_mins(1))
                .build(),
            verifying: Arc::new(Semaphore::new(1)),
        }
    }
}

/// An event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEvent)]
pub(in crate::admin) struct EventView {
    /// Its number; there is no gap.
    sequence: u64,
    /// `evt_…`
    id: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Who: `tok_…`, `mem_…`, `config`, `system:…`
    actor: String,
    /// Name of who did it; null once erased.
    actor_name: Option<String>,
    /// Address it came from; null once erased.
    address: Option<String>,
    /// The session it was done in.
    via: Option<String>,
    /// `key.created`: noun and verb.
    action: String,
    /// `management`, `authentication`, `authorization`, `use`, `system`
    class: String,
    /// `success`, `denied`, `error`
    outcome: String,
    /// Id of the workspace it is about.
    workspace: String,
    /// Id of the object, or a word.
    target: String,
    /// The object's name; null once erased.
    target_name: Option<String>,
    /// A code for why.
    reason: Option<String>,
    /// Fields and what became of them; secret ones say `changed`.
    #[schema(value_type = Object)]
    changes: Map<String, Value>,
    /// Id of the admin request.
    request_id: Option<String>,
    /// Its link in the chain.
    hash: String,
    /// Whether there was personal data that is erased now.
    erased: bool,
}

impl From<AuditEvent> for EventView {
    fn from(event: AuditEvent) -> Self {
        Self {
            sequence: event.sequence,
            id: event.id,
            at: event.at,
            actor: event.actor,
            actor_name: event.actor_name,
            address: event.address,
            via: event.via,
            action: event.action,
            class: event.class,
            outcome: event.outcome,
            workspace: event.workspace,
            target: event.target,
            target_name: event.target_name,
            reason: event.reason,
            changes: event.changes,
            request_id: event.request_id,
            hash: event.hash,
            erased: event.erased,
        }
    }
}

/// A page of events.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
struct EventList {
    data: Vec<EventView>,
    /// Cursor of the page behind this one; null: there is none.
    next: Option<String>,
    /// With `total=true`: how many there are in all.
    total: Option<u64>,
}

/// Where the chain ends. Written down elsewhere, it shows later whether the newest events were removed.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = AuditHead)]
pub(in crate::admin) struct HeadView {
    /// Number of the last event; 0: there was none yet.
    sequence: u64,
    hash: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
}

impl From<AuditHead> for HeadView {
    fn from(head: AuditHead) -> Self {
        Self {
            sequence: head.sequence,
            hash: head.hash,
            at: head.at,
        }
    }
}

/// Where the log was cut.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditCheckpoint)]
pub(in crate::admin) struct CheckpointView {
    /// Number of the last event that went.
    sequence: u64,
    /// Its hash, from which the chain goes on.
    hash: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Who cut it.
    by: String,
}

impl From<Checkpoint> for CheckpointView {
    fn from(cut: Checkpoint) -> Self {
        Self {
            sequence: cut.sequence,
            hash: cut.hash,
            at: cut.at,
            by: cut.by,
        }
    }
}

/// All cuts, the last one first.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct CheckpointList {
    data: Vec<CheckpointView>,
    /// Always null: there are few.
    next: Option<String>,
}

/// What a cut answers.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
struct CutReply {
    /// Null: there was nothing to cut.
    checkpoint: Option<CheckpointView>,
    /// Null: nothing was changed.
    revision: Option<u64>,
}

/// Where to cut.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
struct NewCheckpoint {
    /// What happened before this time goes.
    before: String,
}

/// Lists events, the newest first.
#[utoipa::path(
    get, path = "/v1/audit", tag = "audit",
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("actor" = Option<String>, Query, description = "`tok_…`, `mem_…`, `config`, `system:…`"),
        ("action" = Option<String>, Query, description = "`key.revoked`; `key.*`: all that begin so"),
        ("target" = Option<String>, Query, description = "Id of the object"),
        ("class" = Option<String>, Query, description = "management, authentication, authorization, use or system"),
        ("outcome" = Option<String>, Query, description = "success, denied or error"),
        ("workspace" = Option<String>, Query, description = "Id; it and all below"),
        ("from" = Option<String>, Query, description = "Not before this time"),
        ("to" = Option<String>, Query, description = "Before this time"),
        ("total" = Option<bool>, Query)
    ),
    responses((status = 200, body = EventList), Refusals)
)]
pub(in crate::admin) async fn list_audit(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<Page<EventView>>, AdminError> {
    let mut query = AuditQuery::all(call.caller.reach(Permission::AuditRead)?);
    let mut parameters = call.parameters();
    query.limit = parameters.limit();
    query.after = sequence_cursor(&mut parameters);
    let wants_total = parameters.flag("total").unwrap_or(false);
    let workspace = understand(&mut parameters, &mut query);
    parameters.finish()?;
    let store = parts.store()?;
    query.workspace = within(store, &call.caller, Permission::AuditRead, workspace).await?;
    note_reading(&parts, store, &call).await?;
    let page = store.list_audit(&query).await?;
    let last = page.events.last().filter(|_| page.more);
    let next = last.map(|last| cursor(SORT, &last.sequence.to_string(), &last.id));
    let total = if wants_total {
        Some(store.count_audit(&query).await?)
    } else {
        None
    };
    Ok(Json(Page {
        data: page.events.into_iter().map(EventView::from).collect(),
        next,
        total,
    }))
}

fn sequence_cursor(parameters: &mut Parameters) -> Option<u64> {
    let (sequence, _) = parameters.cursor(SORT)?;
    let sequence = sequence.parse().ok();
    if sequence.is_none() {
        let words = "cursor must be the `next` of a page of this list";
        parameters.fault("cursor", ("invalid", words.into()));
    }
    sequence
}

/// Reads the filters; the workspace that is asked for.
fn understand(parameters: &mut Parameters, query: &mut AuditQuery) -> Option<Id> {
    query.actor = parameters.text("actor");
    query.action = parameters.text("action");
    query.target = parameters.text("target");
    query.class = parameters.read("class", |name| {
        let names = Class::ALL.map(Class::name);
        let found = Class::ALL.into_iter().find(|class| class.name() == name);
        found.ok_or_else(|| one_of("class", &names))
    });
    query.outcome = parameters.read("outcome", |name| {
        let names = ["success", "denied", "error"];
        let found = names.into_iter().find(|known| *known == name);
        found
            .map(str::to_owned)
            .ok_or_else(|| one_of("outcome", &names))
    });
    query.from = time_parameter(parameters, "from");
    query.to = time_parameter(parameters, "to");
    id_parameter(parameters, "workspace", Kind::Workspace)
}

fn one_of(what: &str, names: &[&str]) -> Wrong {
    let words = format!("{what} is one of {}", names.join(", "));
    ("unknown_value", words)
}

/// Notes that somebody reads the log; once a minute for each.
async fn note_reading(parts: &AdminParts, store: &Store, call: &Call) -> Result<(), AdminError> {
    let reader = call.caller.actor.text();
    if parts.audit.readers.contains_key(&reader) {
        return Ok(());
    }
    let mut write = standing::begin(store, &call.caller).await?;
    write.record(fact("audit.read", call)).await?;
    write.commit().await?;
    parts.audit.readers.insert(reader, ());
    Ok(())
}

fn fact(action: &'static str, call: &Call) -> Fact {
    let mut fact = Fact::new(action, call.caller.home(), "audit");
    fact.class = Class::Authentication;
    fact
}

/// Shows where the chain ends.
#[utoipa::path(
    get, path = "/v1/audit/head", tag = "audit", responses((status = 200, body = HeadView), Refusals)
)]
pub(in crate::admin) async fn show_head(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<HeadView>, AdminError> {
    call.no_parameters()?;
    call.caller.reach(Permission::AuditRead)?;
    Ok(Json(parts.store()?.audit_head().await?.into()))
}

/// Lists where the log was cut.
#[utoipa::path(
    get, path = "/v1/audit/checkpoints", tag = "audit",
    responses((status = 200, body = CheckpointList), Refusals)
)]
pub(in crate::admin) async fn list_checkpoints(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<CheckpointList>, AdminError> {
    call.no_parameters()?;
    call.caller.reach(Permission::AuditRead)?;
    let cuts = parts.store()?.audit_checkpoints().await?;
    Ok(Json(CheckpointList {
        data: cuts.into_iter().map(CheckpointView::from).collect(),
        next: None,
    }))
}

/// Cuts off the events before a time, and keeps the hash that the rest goes on from.
#[utoipa::path(
    post, path = "/v1/audit/checkpoints", tag = "audit",
    params(IdempotencyKey, ("dry_run" = Option<bool>, Query, description = "Say what would happen only")),
    request_body = NewCheckpoint, responses((status = 200, body = CutReply), Refusals)
)]
pub(in crate::admin) async fn create_checkpoint(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Response, AdminError> {
    let mut parameters = call.parameters();
    let dry_run = parameters.flag("dry_run").unwrap_or(false);
    parameters.finish()?;
    // The log is one: who cuts it cuts it for all.
    on_the_whole(&call.caller, Permission::AuditCut)?;
    let mut body = call.json()?;
    let before = body.required("before", time);
    body.finish()?;
    let before = before.ok_or(AdminError::Internal)?;
    let mut committed = false;
    let answer = cut(&parts, &call, (before, dry_run), &mut committed).await;
    answer.map_err(|fault| if committed { fault.midway() } else { fault })
}

/// Cuts portion by portion.
async fn cut(
    parts: &AdminParts,
    call: &Call,
    (mut before, dry_run): (Timestamp, bool),
    committed: &mut bool,
) -> Result<Response, AdminError> {
    loop {
        let mut change = match begin(parts, call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Change(change) => change,
        };
        // Of the first portion: what tells of it is not cut by the next.
        before = before.min(change.write.now);
        let cut = if dry_run {
            let end = change.write.audit_before(before, i64::MAX).await?;
            end.map(|cut| (cut, false))
        } else {
            change.write.checkpoint_audit(before).await?
        };
        if let Some((_, true)) = cut {
            let Change { write, .. } = *change;
            write.commit().await?;
            *committed = true;
            continue;
        }
        if dry_run || cut.is_none() {
            change.only_try();
        }
        let revision = cut.as_ref().map(|_| change.write.revision);
        let cut = cut.map(|(cut, _)| CheckpointView::from(cut));
        let reply = json!({"checkpoint": cut, "revision": revision});
        return change.finish(parts, Reply::ok("audit", reply)).await;
    }
}
