//! `GET /v1/usage` and `GET /v1/keys/{id}/usage`: what keys did, by hour or day and by route. Figures are written in
//! portions, so the last seconds are not in them yet.

use super::place::{PathId, id_parameter, path_id, time_parameter, within};
use crate::admin::call::Call;
use crate::admin::error::AdminError;
use crate::admin::page::{Page, Parameters, cursor};
use crate::admin::schema::Refusals;
use crate::admin::server::AdminParts;
use crate::domain::id::{Id, Kind};
use crate::domain::role::Permission;
use crate::domain::time::Timestamp;
use crate::domain::workspace::{Lineage, root};
use crate::store::usage::{Step, UsageOwner, UsageQuery, UsageRow};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// What a key did on a route within an hour or a day.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage)]
pub(in crate::admin) struct UsageView {
    /// When the hour, or the day in UTC, begins.
    #[schema(value_type = String, format = DateTime)]
    hour: Timestamp,
    /// Id of the key; absent where the address names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Name of the route.
    route: String,
    /// Permitted requests.
    requests: u64,
    /// Refused ones, although the key was right.
    refused: u64,
    /// The refused ones by reason.
    refusals: BTreeMap<String, u64>,
    status: StatusClasses,
    /// Bytes of the bodies of permitted requests.
    bytes_in: u64,
    /// Bytes of the bodies of their answers.
    bytes_out: u64,
}

/// Answers to permitted requests by the class of their status; switches of protocol are among the 2xx.
#[derive(Serialize, ToSchema)]
struct StatusClasses {
    #[serde(rename = "2xx")]
    success: u64,
    #[serde(rename = "3xx")]
    redirect: u64,
    #[serde(rename = "4xx")]
    client: u64,
    #[serde(rename = "5xx")]
    server: u64,
}

impl UsageView {
    fn of(row: UsageRow, names_key: bool) -> Self {
        let [success, redirect, client, server] = row.counts.statuses;
        Self {
            hour: row.at,
            key: names_key.then(|| row.key.text(Kind::Key).to_string()),
            route: row.route,
            requests: row.counts.requests,
            refused: row.counts.refusals,
            refusals: row.reasons,
            status: StatusClasses {
                success,
                redirect,
                client,
                server,
            },
            bytes_in: row.counts.bytes_in,
            bytes_out: row.counts.bytes_out,
        }
    }
}

/// A page of usage.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
struct UsageList {
    data: Vec<UsageView>,
    /// Cursor of the page behind this one; null: there is none.
    next: Option<String>,
    /// With `total=true`: how many rows there are in all.
    total: Option<u64>,
}

/// Tells what a key did, the latest hour first.
#[utoipa::path(
    get, path = "/v1/keys/{id}/usage", tag = "usage",
    params(
        ("id" = String, Path),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next` of the page before, with the same `by`"),
        ("by" = Option<String>, Query, description = "`hour` (default) or `day`"),
        ("route" = Option<String>, Query),
        ("from" = Option<String>, Query, description = "From the hour or day that this time is in"),
        ("to" = Option<String>, Query, description = "Hours that begin before this time"),
        ("total" = Option<bool>, Query)
    ),
    responses((status = 200, body = UsageList), Refusals)
)]
pub(in crate::admin) async fn show_usage(
    State(parts): State<Arc<AdminParts>>,
    path: PathId,
    call: Call,
) -> Result<Json<Page<UsageView>>, AdminError> {
    let mut query = UsageQuery::all(call.caller.reach(Permission::Read)?);
    let mut parameters = call.parameters();
    let wants_total = understand(&mut parameters, &mut query);
    parameters.finish()?;
    let id = path_id(path, Kind::Key)?;
    check_key(&parts, &call, id).await?;
    query.key = Some(id);
    page(&parts, &query, wants_total, false).await
}

/// Tells what all keys did that the caller reaches, the latest hour first.
#[utoipa::path(
    get, path = "/v1/usage", tag = "usage",
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next` of the page before, with the same `by`"),
        ("by" = Option<String>, Query, description = "`hour` (default) or `day`"),
        ("key" = Option<String>, Query, description = "Id"),
        ("consumer" = Option<String>, Query, description = "Id"),
        ("workspace" = Option<String>, Query, description = "Id; it and all below"),
        ("route" = Option<String>, Query),
        ("from" = Option<String>, Query, description = "From the hour or day that this time is in"),
        ("to" = Option<String>, Query, description = "Hours that begin before this time"),
        ("total" = Option<bool>, Query)
    ),
    responses((status = 200, body = UsageList), Refusals)
)]
pub(in crate::admin) async fn list_usage(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<Page<UsageView>>, AdminError> {
    let mut query = UsageQuery::all(call.caller.reach(Permission::Read)?);
    let mut parameters = call.parameters();
    let wants_total = understand(&mut parameters, &mut query);
    let key = id_parameter(&mut parameters, "key", Kind::Key);
    let consumer = id_parameter(&mut parameters, "consumer", Kind::Consumer);
    let workspace = id_parameter(&mut parameters, "workspace", Kind::Workspace);
    parameters.finish()?;
    if let Some(key) = key {
        check_key(&parts, &call, key).await?;
        query.key = Some(key);
    }
    if let Some(consumer) = consumer {
        query.owner = Some(owner(&parts, &call, consumer).await?);
    }
    if workspace.is_some() {
        let store = parts.store()?;
        query.workspace = within(store, &call.caller, Permission::Read, workspace).await?;
    }
    page(&parts, &query, wants_total, true).await
}

/// Reads what both calls have in common; whether the total is wanted.
fn understand(parameters: &mut Parameters, query: &mut UsageQuery) -> bool {
    query.limit = parameters.limit();
    let step = parameters.read("by", |text| {
        let found = Step::ALL.into_iter().find(|step| step.name() == text);
        found.ok_or_else(|| {
            let names = Step::ALL.map(Step::name).join(", ");
            ("unknown_value", format!("by is one of {names}"))
        })
    });
    query.step = step.unwrap_or(Step::Hour);
    query.route = parameters.text("route");
    if let Some(from) = time_parameter(parameters, "from") {
        let millis = from.as_millis();
        let into = millis.rem_euclid(query.step.millis());
        query.from = Timestamp::from_millis(millis - into);
    }
    query.to = time_parameter(parameters, "to").unwrap_or(query.to);
    if query.to <= query.from {
        parameters.fault("to", ("out_of_range", "must be later than from".into()));
    }
    if let Some((at, row)) = parameters.cursor(query.step.name()) {
        query.after = behind(&at, &row);
        if query.after.is_none() {
            let words = "cursor must be the `next` of a page of this list";
            parameters.fault("cursor", ("invalid", words.into()));
        }
    }
    parameters.flag("total").unwrap_or(false)
}

/// The row that a cursor names: its time, and key and route with a space between them.
fn behind(at: &str, row: &str) -> Option<(Timestamp, Id, String)> {
    let (key, route) = row.split_once(' ')?;
    let at = Timestamp::from_millis(at.parse().ok()?);
    Some((at, Id::parse(Kind::Key, key)?, route.to_owned()))
}

async fn check_key(parts: &AdminParts, call: &Call, id: Id) -> Result<(), AdminError> {
    if parts.shared.keys.declared_by_id(id).is_some() {
        return check_top(call);
    }
    let store = parts.store()?;
    let key = store.key(id).await?;
    let place = store.workspace(key.workspace).await?;
    call.caller.check(Permission::Read, &place.lineage)
}

/// What the config file declares is the root's.
fn check_top(call: &Call) -> Result<(), AdminError> {
    let top = Lineage::new(vec![root()]);
    call.caller.check(Permission::Read, &top)
}

/// A consumer within reach, with its keys of the config file.
async fn owner(parts: &AdminParts, call: &Call, id: Id) -> Result<UsageOwner, AdminError> {
    let snapshot = parts.shared.snapshot();
    let mut declared = Vec::new();
    if snapshot.consumers.iter().any(|one| one.id == id) {
        check_top(call)?;
        let keys = parts.shared.keys.declared();
        let own = keys
            .iter()
            .filter(|key| key.owner().is_some_and(|owner| owner.consumer.id == id));
        declared.extend(own.map(|key| key.id));
    } else {
        let store = parts.store()?;
        let consumer = store.consumer(id).await?;
        let place = store.workspace(consumer.workspace).await?;
        call.caller.check(Permission::Read, &place.lineage)?;
    }
    Ok(UsageOwner {
        consumer: id,
        declared,
    })
}

async fn page(
    parts: &AdminParts,
    query: &UsageQuery,
    wants_total: bool,
    names_keys: bool,
) -> Result<Json<Page<UsageView>>, AdminError> {
    let store = parts.store()?;
    let found = store.usage(query).await?;
    let total = if wants_total {
        Some(store.count_usage(query).await?)
    } else {
        None
    };
    let last = found.rows.last().filter(|_| found.more);
    let next = last.map(|row| {
        let place = format!("{} {}", row.key.text(Kind::Key), row.route);
        cursor(query.step.name(), &row.at.as_millis().to_string(), &place)
    });
    let rows = found.rows.into_iter();
    Ok(Json(Page {
        data: rows.map(|row| UsageView::of(row, names_keys)).collect(),
        next,
        total,
    }))
}
