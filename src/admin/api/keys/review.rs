//! `GET /v1/keys/review`: which keys should be looked at, and why; the worst first.

use super::view::{KeyView, managed};
use crate::admin::body::Wrong;
use crate::admin::call::Call;
use crate::admin::error::AdminError;
use crate::admin::page::{Page, cursor};
use crate::admin::schema::Refusals;
use crate::admin::server::AdminParts;
use crate::domain::id::{Id, Kind};
use crate::domain::role::Permission;
use crate::store::keys::{Finding, Reason, ReviewQuery};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

const SORT: &str = "-risk";

/// A key that should be looked at.
#[derive(Serialize, ToSchema)]
#[schema(as = ReviewedKey)]
pub(in crate::admin) struct FindingView {
    key: KeyView,
    /// Why, the worst first: `owner_gone`, `unused_90d`, `never_used_90d`, `rotation_overdue_365d`, `never_expires`,
    /// `expired_long_ago`.
    reasons: Vec<&'static str>,
    /// What the list is sorted by; the greater, the worse.
    risk: i64,
}

/// A page of the report.
#[derive(Serialize, ToSchema)]
struct Review {
    data: Vec<FindingView>,
    /// Cursor of the page behind this one; null: there is none.
    next: Option<String>,
    /// Only if it was asked for.
    total: Option<u64>,
}

/// Tells which keys could be ended, and why.
#[utoipa::path(
    get, path = "/v1/keys/review", tag = "keys",
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("workspace" = Option<String>, Query, description = "Id; it and all below"),
        ("reason" = Option<String>, Query),
        ("except" = Option<String>, Query, description = "Leave out keys that there is no other reason for"),
        ("total" = Option<bool>, Query, description = "Count all of them too")
    ),
    responses((status = 200, body = Review), Refusals)
)]
pub(in crate::admin) async fn review_keys(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<Page<FindingView>>, AdminError> {
    let reach = call.caller.reach(Permission::Read)?;
    let mut parameters = call.parameters();
    let limit = parameters.limit();
    let after = parameters.cursor(SORT);
    let reason = parameters.read("reason", why);
    let except = parameters.read("except", why);
    let total = parameters.flag("total").unwrap_or(false);
    let workspace = parameters.read("workspace", |text| super::id(text, Kind::Workspace));
    parameters.finish()?;
    let mut query = ReviewQuery {
        reach,
        workspace: None,
        reason,
        except,
        after: after.and_then(|(risk, id)| Some((risk.parse().ok()?, Id::parse(Kind::Key, &id)?))),
        limit,
    };
    if let Some(workspace) = workspace {
        query.workspace = Some(super::subtree(&parts, &call, workspace).await?);
    }
    let store = parts.store()?;
    let (findings, more) = store.review_keys(&query).await?;
    let total = if total {
        Some(store.count_review(&query).await?)
    } else {
        None
    };
    let ids: Vec<Id> = findings.iter().map(|one| one.key).collect();
    let keys = store.keys(&ids).await?;
    let now = parts.clock.now();
    let view = |finding: &Finding| {
        let key = keys.iter().find(|key| key.id == finding.key)?;
        Some(FindingView {
            key: managed(key, &parts, now),
            reasons: finding.reasons().map(Reason::name).collect(),
            risk: finding.risk,
        })
    };
    let last = findings.last().filter(|_| more);
    let next = last.map(|one| {
        let id = one.key.text(Kind::Key).to_string();
        cursor(SORT, &one.risk.to_string(), &id)
    });
    Ok(Json(Page {
        data: findings.iter().filter_map(view).collect(),
        next,
        total,
    }))
}

fn why(text: &str) -> Result<Reason, Wrong> {
    let found = Reason::ALL.into_iter().find(|one| one.name() == text);
    found.ok_or_else(|| {
        let names = Reason::ALL.map(Reason::name).join(", ");
        ("unknown_value", format!("reason is one of {names}"))
    })
}
