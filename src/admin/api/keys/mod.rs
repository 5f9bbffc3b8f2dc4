//! `/v1/keys`: keys of the store, and beside them, read-only, those of the config file. No secret and no hash is ever
//! shown, but a new secret in the reply that makes it.

pub(in crate::admin) mod acts;
pub(in crate::admin) mod bulk;
pub(in crate::admin) mod create;
pub(in crate::admin) mod explain;
pub(in crate::admin) mod export;
pub(in crate::admin) mod fields;
pub(in crate::admin) mod import;
pub(in crate::admin) mod put;
pub(in crate::admin) mod review;
pub(in crate::admin) mod schema;
pub(in crate::admin) mod verify;
pub(in crate::admin) mod view;

use crate::admin::auth::Caller;
use crate::admin::body::{Wrong, invalid, text};
use crate::admin::call::{Call, etag};
use crate::admin::error::AdminError;
use crate::admin::page::{Page, Parameters, cursor};
use crate::admin::schema::Refusals;
use crate::admin::server::AdminParts;
use crate::domain::id::{Id, Kind};
use crate::domain::key::KeyStatus;
use crate::domain::role::Permission;
use crate::domain::time::Timestamp;
use crate::domain::workspace::{Lineage, root};
use crate::snapshot::handle::Snapshot;
use crate::snapshot::key::Key;
use crate::snapshot::router::{CompiledRoute, RoutePlace};
use crate::store::keys::{KeyQuery, SortBy};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;
use view::{KeyView, declared, managed};

/// A page of keys.
#[derive(Serialize, ToSchema)]
struct KeyList {
    data: Vec<KeyView>,
    /// Cursor of the page behind this one; null: there is none.
    next: Option<String>,
    /// With `total=true`: how many keys there are in all.
    total: Option<u64>,
}

/// Lists keys.
#[utoipa::path(
    get, path = "/v1/keys", tag = "keys",
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next` of the page before, with the same sort"),
        ("sort" = Option<String>, Query, description = "created_at, updated_at, last_used_at, expires_at or name; `-` in front: the greatest first. Default: -created_at"),
        ("q" = Option<String>, Query, description = "Words that each begin a word of name, tags or hint; or a whole id"),
        ("status" = Option<String>, Query),
        ("workspace" = Option<String>, Query, description = "Id; it and all below"),
        ("consumer" = Option<String>, Query),
        ("tag" = Option<String>, Query),
        ("environment" = Option<String>, Query),
        ("scope" = Option<String>, Query),
        ("expires_before" = Option<String>, Query),
        ("unused_since" = Option<String>, Query),
        ("never_expires" = Option<bool>, Query),
        ("total" = Option<bool>, Query)
    ),
    responses((status = 200, body = KeyList), Refusals)
)]
pub(in crate::admin) async fn list_keys(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<Page<KeyView>>, AdminError> {
    let reach = call.caller.reach(Permission::Read)?;
    let mut parameters = call.parameters();
    let mut query = KeyQuery::all(reach);
    let wanted = understand(&mut parameters, &mut query);
    parameters.finish()?;
    let now = parts.clock.now();
    if let Some(workspace) = wanted.workspace {
        query.workspace = Some(subtree(&parts, &call, workspace).await?);
    }
    // Keys of the config file belong to the root, so only whoever reaches that sees them.
    let sees_declared = call
        .caller
        .check(Permission::Read, &Lineage::new(vec![root()]))
        .is_ok();
    let mut rows: Vec<(String, String, KeyView)> = Vec::new();
    if sees_declared {
        let keys = parts.shared.keys.declared();
        rows.extend(keys.iter().filter(|key| fits(key, &query, now)).map(|key| {
            let view = declared(key, now);
            (value_of(&view, query.sort), view.id.clone(), view)
        }));
    }
    let mut total = wanted
        .total
        .then_some(u64::try_from(rows.len()).unwrap_or(u64::MAX));
    rows.retain(|(value, id, _)| is_behind((value, id), &query));
    let mut more = false;
    if parts.store.is_some() {
        let store = parts.store()?;
        let page = store.list_keys(&query).await?;
        more = page.more;
        rows.extend(page.keys.iter().map(|key| {
            let view = managed(key, &parts, now);
            (query.sort.value_of(key), view.id.clone(), view)
        }));
        if let Some(total) = &mut total {
            *total += store.count_keys(&query).await?;
        }
    }
    rows.sort_by(|a, b| order((&a.0, &a.1), (&b.0, &b.1), &query));
    more |= rows.len() > query.limit;
    rows.truncate(query.limit);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|(value, id, _)| cursor(&wanted.sort, value, id));
    Ok(Json(Page {
        data: rows.into_iter().map(|(_, _, view)| view).collect(),
        next,
        total,
    }))
}

/// Shows a key.
#[utoipa::path(
    get, path = "/v1/keys/{id}", tag = "keys", params(("id" = String, Path)),
    responses((status = 200, body = KeyView), Refusals)
)]
pub(in crate::admin) async fn show_key(
    State(parts): State<Arc<AdminParts>>,
    path: Result<Path<String>, PathRejection>,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    let id = acts::key_id(path)?;
    let now = parts.clock.now();
    if let Some(key) = parts.shared.keys.declared_by_id(id) {
        call.caller
            .check(Permission::Read, &Lineage::new(vec![root()]))?;
        return Ok(Json(declared(&key, now)).into_response());
    }
    if parts.store.is_none() {
        return Err(AdminError::NotFound);
    }
    let store = parts.store()?;
    let key = store.key(id).await?;
    let place = store.workspace(key.workspace).await?;
    call.caller.check(Permission::Read, &place.lineage)?;
    let tag = etag(key.revision);
    Ok(([(ETAG, tag)], Json(managed(&key, &parts, now))).into_response())
}

/// Path of a workspace that a filter names.
async fn subtree(parts: &AdminParts, call: &Call, workspace: Id) -> Result<String, AdminError> {
    let place = parts.store()?.workspace(workspace).await?;
    call.caller.check(Permission::Read, &place.lineage)?;
    Ok(place.path())
}

/// Where a workspace stands in the tree.
async fn lineage(parts: &AdminParts, workspace: Id) -> Result<Lineage, AdminError> {
    if workspace == root() {
        return Ok(Lineage::new(vec![root()]));
    }
    Ok(parts.store()?.workspace(workspace).await?.lineage)
}

/// Whether whoever presents a key to us may hear of it: the caller reaches it, or it acts where the caller is.
async fn may_hear_of(parts: &AdminParts, caller: &Caller, key: &Key) -> Result<bool, AdminError> {
    let own = lineage(parts, key.workspace()).await?;
    Ok(caller
        .bindings()
        .any(|(place, _)| own.is_reached_from(place.own()) || place.is_reached_from(own.own())))
}

/// A route that belongs nowhere is for keys of every workspace, and whoever looks after those may hear of it.
fn sees(caller: &Caller, route: &CompiledRoute) -> bool {
    match &route.place {
        RoutePlace::Anywhere => true,
        RoutePlace::In(place) => caller.check(Permission::Read, place).is_ok(),
        RoutePlace::Unknown => caller.check_whole(Permission::Read).is_ok(),
    }
}

/// The name of a route among those that may be named: what may not be is not there.
fn route_named(
    value: &Value,
    snapshot: &Snapshot,
    may_be: impl Fn(&CompiledRoute) -> bool,
) -> Result<String, Wrong> {
    let name = text(1, 63)(value)?;
    let mut routes = snapshot.router.routes().iter();
    if routes.any(|route| route.route.name == name && may_be(route)) {
        Ok(name)
    } else {
        Err(("unknown_value", "there is no such route".into()))
    }
}

struct Wanted {
    sort: String,
    workspace: Option<Id>,
    total: bool,
}

fn understand(parameters: &mut Parameters, query: &mut KeyQuery) -> Wanted {
    query.limit = parameters.limit();
    let sort = parameters.read("sort", |text| {
        let (descending, name) = text
            .strip_prefix('-')
            .map_or((false, text), |name| (true, name));
        let by = SortBy::ALL.into_iter().find(|by| by.name() == name);
        let names = || SortBy::ALL.map(SortBy::name).join(", ");
        let by = by.ok_or_else(|| {
            (
                "unknown_value",
                format!("sort is one of {}, with - in front or not", names()),
            )
        })?;
        Ok((by, descending, text.to_owned()))
    });
    let (by, descending, sort) = sort.unwrap_or((SortBy::CreatedAt, true, "-created_at".into()));
    (query.sort, query.descending) = (by, descending);
    let after = parameters.cursor(&sort);
    query.after = after.and_then(|(value, id)| Some((value, Id::parse(Kind::Key, &id)?)));
    Wanted {
        sort,
        workspace: filters(parameters, query),
        total: parameters.flag("total").unwrap_or(false),
    }
}

/// Reads which keys are meant; the workspace that is named, for whoever can look it up.
fn filters(parameters: &mut Parameters, query: &mut KeyQuery) -> Option<Id> {
    query.q = parameters.read("q", |text| {
        if text.chars().count() > 256 {
            invalid("at most 256 characters")
        } else {
            Ok(text.to_owned())
        }
    });
    query.status = parameters.read("status", status);
    query.consumer = parameters.read("consumer", |text| id(text, Kind::Consumer));
    query.tag = parameters.text("tag");
    query.environment = parameters.text("environment");
    query.scope = parameters.text("scope");
    query.expires_before = parameters.read("expires_before", time);
    query.unused_since = parameters.read("unused_since", time);
    query.never_expires = parameters.flag("never_expires");
    parameters.read("workspace", |text| id(text, Kind::Workspace))
}

fn status(text: &str) -> Result<KeyStatus, Wrong> {
    let found = KeyStatus::ALL
        .into_iter()
        .find(|status| status.name() == text);
    let names = || KeyStatus::ALL.map(KeyStatus::name).join(", ");
    found.ok_or_else(|| {
        (
            "unknown_value",
            format!("status must be one of {}", names()),
        )
    })
}

fn id(text: &str, kind: Kind) -> Result<Id, Wrong> {
    Id::parse(kind, text).ok_or_else(|| {
        (
            "invalid",
            format!("expected an id that begins with {}", kind.prefix()),
        )
    })
}

fn time(text: &str) -> Result<Timestamp, Wrong> {
    Timestamp::parse(text).ok_or_else(|| {
        (
            "invalid",
            "expected a time such as 2027-01-01T08:00:00Z, or a date".into(),
        )
    })
}

/// Whether a declared key is among those that are looked for; what is not known of it does not fit.
fn fits(key: &Key, query: &KeyQuery, now: Timestamp) -> bool {
    let usage = key.usage.read();
    let scopes = key.scopes().header.to_str().unwrap_or_default();
    let id = || key.id.text(Kind::Key).to_string();
    let words = |q: &String| {
        let texts = format!("{} {}", key.name(), key.hint().unwrap_or_default()).to_lowercase();
        let known: Vec<&str> = texts
            .split(|letter: char| !letter.is_alphanumeric())
            .collect();
        let q = q.to_lowercase();
        let mut asked = q
            .split(|letter: char| !letter.is_alphanumeric())
            .filter(|word| !word.is_empty());
        // As in the store: what has no word finds nothing.
        asked.clone().next().is_some()
            && asked.all(|word| known.iter().any(|known| known.starts_with(word)))
    };
    query.workspace.is_none()
        && query.tag.is_none()
        && query
            .unused_since
            .is_none_or(|since| usage.last_used_at.is_none_or(|last| last < since))
        && query.status.is_none_or(|status| key.status(now) == status)
        && query.consumer.is_none_or(|consumer| {
            key.owner()
                .is_some_and(|owner| owner.consumer.id == consumer)
        })
        && query
            .environment
            .as_ref()
            .is_none_or(|name| key.environment() == name)
        && query
            .scope
            .as_ref()
            .is_none_or(|scope| scopes.split(' ').any(|own| own == scope))
        && query
            .expires_before
            .is_none_or(|end| key.expires_at().is_some_and(|own| own < end))
        && query
            .never_expires
            .is_none_or(|never| key.expires_at().is_none() == never)
        && query
            .q
            .as_ref()
            .is_none_or(|q| id() == q.trim() || words(q))
}

/// What a declared key is sorted by; it was made before all others.
fn value_of(view: &KeyView, sort: SortBy) -> String {
    let time =
        |at: Option<Timestamp>, never: i64| at.map_or(never, Timestamp::as_millis).to_string();
    match sort {
        SortBy::CreatedAt | SortBy::UpdatedAt => "0".into(),
        SortBy::LastUsedAt => time(view.last_used_at, 0),
        SortBy::ExpiresAt => time(view.expires_at, i64::MAX),
        SortBy::Name => view.name.clone(),
    }
}

fn order(a: (&str, &str), b: (&str, &str), query: &KeyQuery) -> std::cmp::Ordering {
    let by_value = match query.sort {
        SortBy::Name => a.0.cmp(b.0),
        SortBy::CreatedAt | SortBy::UpdatedAt | SortBy::LastUsedAt | SortBy::ExpiresAt => {
            let number = |text: &str| text.parse::<i64>().unwrap_or_default();
            number(a.0).cmp(&number(b.0))
        }
    };
    let order = by_value.then_with(|| a.1.cmp(b.1));
    if query.descending {
        order.reverse()
    } else {
        order
    }
}

fn is_behind(row: (&str, &str), query: &KeyQuery) -> bool {
    query.after.as_ref().is_none_or(|(value, id)| {
        let id = id.text(Kind::Key).to_string();
        order(row, (value, &id), query).is_gt()
    })
}
