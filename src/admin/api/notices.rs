//! `/v1/notices`: what people should know; who has read what is kept for each. And which keys will go for want of use.

use super::keys::view::{InactivityView, KeyView, managed};
use super::place::{PathId, id_parameter, path_id, time_cursor, within};
use crate::admin::body::{invalid, text};
use crate::admin::call::Call;
use crate::admin::error::AdminError;
use crate::admin::page::{Page, cursor};
use crate::admin::schema::Refusals;
use crate::admin::server::AdminParts;
use crate::domain::id::{Id, Kind};
use crate::domain::role::Permission;
use crate::domain::time::Timestamp;
use crate::domain::workspace::{Lineage, root};
use crate::store::notices::{NoticeQuery, NoticeRecord};
use crate::store::{Store, StoreError};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

const SORT: &str = "-at";
/// Days that a preview looks ahead unless it is told, and most.
const PREVIEW_DAYS: i64 = 30;
const MOST_DAYS: i64 = 3650;

/// A notice, as its reader sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Notice)]
pub(in crate::admin) struct NoticeView {
    /// `ntc_…`
    id: String,
    /// `key.expiring`
    kind: String,
    /// `info`, `warning`, `critical`
    severity: &'static str,
    /// Id of the workspace it is about.
    workspace: String,
    /// Id of what it is about.
    target: String,
    /// One sentence.
    title: String,
    #[schema(value_type = Object)]
    data: Value,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// When what it tells of happens.
    #[schema(value_type = Option<String>, format = DateTime)]
    due_at: Option<Timestamp>,
    /// When it was taken back: it is not so any more.
    #[schema(value_type = Option<String>, format = DateTime)]
    withdrawn_at: Option<Timestamp>,
    /// When you read it.
    #[schema(value_type = Option<String>, format = DateTime)]
    read_at: Option<Timestamp>,
}

impl From<NoticeRecord> for NoticeView {
    fn from(notice: NoticeRecord) -> Self {
        Self {
            id: notice.id.text(Kind::Notice).to_string(),
            kind: notice.kind,
            severity: notice.severity.name(),
            workspace: notice.workspace.text(Kind::Workspace).to_string(),
            target: notice.target,
            title: notice.title,
            data: notice.data,
            at: notice.at,
            due_at: notice.due_at,
            withdrawn_at: notice.withdrawn_at,
            read_at: notice.read_at,
        }
    }
}

/// A page of notices.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
struct NoticeList {
    data: Vec<NoticeView>,
    /// Cursor of the page behind this one; null: there is none.
    next: Option<String>,
    /// With `total=true`: how many there are in all.
    total: Option<u64>,
}

/// Which notices have been read.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
struct ReadNotices {
    /// Only of this kind; `key.*`: all that begin so.
    kind: Option<String>,
    /// Only about this object.
    target: Option<String>,
}

/// How many notices were new.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct ReadCount {
    read: u64,
}

/// A key that will go.
#[derive(Serialize, ToSchema)]
#[schema(as = InactivityPreview)]
pub(in crate::admin) struct PreviewView {
    key: KeyView,
    /// What holds for it: its own policy, its workspace's, or the config's.
    policy: InactivityView,
    #[schema(value_type = String, format = DateTime)]
    unused_since: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    next_notice_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    goes_at: Timestamp,
}

/// Keys that will go, the next first.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct PreviewList {
    data: Vec<PreviewView>,
    /// Always null: ask for fewer days.
    next: Option<String>,
    /// Whether there are more than were asked for.
    more: bool,
}

/// Lists notices, the newest first.
#[utoipa::path(
    get, path = "/v1/notices", tag = "notices",
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("unread" = Option<bool>, Query, description = "true: only what you have not read"),
        ("kind" = Option<String>, Query, description = "`key.expiring`; `key.*`: all that begin so"),
        ("target" = Option<String>, Query, description = "Id of what it is about"),
        ("workspace" = Option<String>, Query, description = "Id; it and all below"),
        ("withdrawn" = Option<bool>, Query, description = "true: also those that were taken back"),
        ("total" = Option<bool>, Query)
    ),
    responses((status = 200, body = NoticeList), Refusals)
)]
pub(in crate::admin) async fn list_notices(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<Page<NoticeView>>, AdminError> {
    let mut query = all(&call)?;
    let mut parameters = call.parameters();
    query.limit = parameters.limit();
    query.after = time_cursor(&mut parameters, SORT, Kind::Notice);
    query.unread = parameters.flag("unread").unwrap_or(false);
    query.withdrawn = parameters.flag("withdrawn").unwrap_or(false);
    query.kind = parameters.text("kind");
    query.target = parameters.text("target");
    let workspace = id_parameter(&mut parameters, "workspace", Kind::Workspace);
    let wants_total = parameters.flag("total").unwrap_or(false);
    parameters.finish()?;
    let store = parts.store()?;
    if let Some(path) = within(store, &call.caller, Permission::Read, workspace).await? {
        query.reach = vec![path];
    }
    let page = store.list_notices(&query).await?;
    let next = page.notices.last().filter(|_| page.more).map(|last| {
        let id = last.id.text(Kind::Notice);
        cursor(SORT, &last.at.as_millis().to_string(), id.as_str())
    });
    let total = if wants_total {
        Some(store.count_notices(&query).await?)
    } else {
        None
    };
    Ok(Json(Page {
        data: page.notices.into_iter().map(NoticeView::from).collect(),
        next,
        total,
    }))
}

/// Shows a notice.
#[utoipa::path(
    get, path = "/v1/notices/{id}", tag = "notices", params(("id" = String, Path)),
    responses((status = 200, body = NoticeView), Refusals)
)]
pub(in crate::admin) async fn show_notice(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Json<NoticeView>, AdminError> {
    call.no_parameters()?;
    let id = path_id(path, Kind::Notice)?;
    Ok(Json(seen(parts.store()?, &call, id).await?.into()))
}

/// Notes that you have read a notice.
#[utoipa::path(
    post, path = "/v1/notices/{id}/read", tag = "notices", params(("id" = String, Path)),
    responses((status = 200, body = NoticeView), Refusals)
)]
pub(in crate::admin) async fn read_notice(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Json<NoticeView>, AdminError> {
    call.no_parameters()?;
    let id = path_id(path, Kind::Notice)?;
    call.json()?.finish()?;
    let store = parts.store()?;
    seen(store, &call, id).await?;
    store.read_notice(id, &call.caller.actor.text()).await?;
    Ok(Json(seen(store, &call, id).await?.into()))
}

/// Notes that you have read all notices.
#[utoipa::path(
    post, path = "/v1/notices/read", tag = "notices", request_body = Option<ReadNotices>,
    responses((status = 200, body = ReadCount), Refusals)
)]
pub(in crate::admin) async fn read_notices(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<ReadCount>, AdminError> {
    call.no_parameters()?;
    let mut query = all(&call)?;
    let mut body = call.json()?;
    query.kind = body.optional("kind", text(1, 64));
    query.target = body.optional("target", text(1, 64));
    body.finish()?;
    query.withdrawn = true;
    let read = parts.store()?.read_notices(&query).await?;
    Ok(Json(ReadCount { read }))
}

/// Lists keys that will be disabled or deleted because nobody uses them, if nobody does.
#[utoipa::path(
    get, path = "/v1/keys/preview", tag = "keys",
    params(
        ("days" = Option<u16>, Query, minimum = 1, maximum = 3650, description = "How far to look ahead; 30 unless given"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200),
        ("workspace" = Option<String>, Query, description = "Id; it and all below")
    ),
    responses((status = 200, body = PreviewList), Refusals)
)]
pub(in crate::admin) async fn preview_inactivity(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<PreviewList>, AdminError> {
    let mut reach = call.caller.reach(Permission::Read)?;
    let mut parameters = call.parameters();
    let limit = parameters.limit();
    let days = parameters.read("days", |text| {
        let days = text.parse().ok();
        let days = days.filter(|days| (1..=MOST_DAYS).contains(days));
        days.map_or_else(|| invalid(format!("days must be 1 to {MOST_DAYS}")), Ok)
    });
    let workspace = id_parameter(&mut parameters, "workspace", Kind::Workspace);
    parameters.finish()?;
    let store = parts.store()?;
    if let Some(path) = within(store, &call.caller, Permission::Read, workspace).await? {
        reach = vec![path];
    }
    let days = days.unwrap_or(PREVIEW_DAYS);
    let (found, more) = store
        .inactivity_preview(&reach, days, parts.inactivity, limit)
        .await?;
    let now = parts.clock.now();
    let data = found.into_iter().map(|one| PreviewView {
        key: managed(&one.key, &parts, now),
        policy: InactivityView::of(one.policy),
        unused_since: one.unused_since,
        next_notice_at: one.next_notice_at,
        goes_at: one.goes_at,
    });
    Ok(Json(PreviewList {
        data: data.collect(),
        next: None,
        more,
    }))
}

/// All that the caller sees.
fn all(call: &Call) -> Result<NoticeQuery, AdminError> {
    Ok(NoticeQuery {
        reach: call.caller.reach(Permission::Read)?,
        reader: call.caller.actor.text(),
        unread: false,
        kind: None,
        target: None,
        withdrawn: false,
        after: None,
        limit: 50,
    })
}

/// A notice that the caller may see.
async fn seen(store: &Store, call: &Call, id: Id) -> Result<NoticeRecord, AdminError> {
    let notice = store.notice(id, &call.caller.actor.text()).await?;
    let place = match store.workspace(notice.workspace).await {
        Ok(place) => place.lineage,
        // What is about a workspace that is gone is seen from the root.
        Err(StoreError::NotFound) => Lineage::new(vec![root()]),
        Err(fault) => return Err(fault.into()),
    };
    call.caller.check(Permission::Read, &place)?;
    Ok(notice)
}
