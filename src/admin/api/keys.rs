//! `/v1/keys`, read-only: keys declared in the config file, with their use. No secret and no hash is ever shown.

use crate::admin::error::{AdminError, FieldFault};
use crate::admin::server::AdminParts;
use crate::domain::id::{Id, Kind};
use crate::domain::key::KeyStatus;
use crate::domain::time::Timestamp;
use crate::snapshot::key::Key;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;

const DEFAULT_LIMIT: usize = 50;
const LARGEST_LIMIT: usize = 200;

/// A key as an admin sees it.
#[derive(Serialize)]
pub(in crate::admin) struct KeyView {
    id: String,
    name: String,
    /// Prefix, four characters, `…`, four characters; `null` when the key itself was never at hand.
    hint: Option<String>,
    status: &'static str,
    environment: String,
    consumer: Option<ConsumerView>,
    scopes: Vec<String>,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    first_used_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    last_used_ip: Option<IpAddr>,
    uses: u64,
    refusals: u64,
    managed_by: &'static str,
}

#[derive(Serialize)]
struct ConsumerView {
    id: String,
    name: String,
}

/// A page of a list; `next` is the cursor of the page behind it.
#[derive(Serialize)]
pub(in crate::admin) struct Page<T> {
    data: Vec<T>,
    next: Option<String>,
}

struct Wanted {
    limit: usize,
    after: Option<Id>,
    status: Option<KeyStatus>,
}

/// Keys by id, a page at a time: `limit`, `cursor`, `status`.
pub(in crate::admin) async fn list_keys(
    State(parts): State<Arc<AdminParts>>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Json<Page<KeyView>>, AdminError> {
    // Without these two, axum would refuse what is not UTF-8 in words of its own.
    let Query(query) = query.map_err(|_| AdminError::Invalid(Vec::new()))?;
    let wanted = understand(&query)?;
    let page = tokio::task::spawn_blocking(move || page(&parts, &wanted));
    Ok(Json(page.await.map_err(|_| AdminError::Internal)?))
}

/// One key.
pub(in crate::admin) async fn show_key(
    State(parts): State<Arc<AdminParts>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<KeyView>, AdminError> {
    let Path(id) = id.map_err(|_| AdminError::NotFound)?;
    let id = Id::parse(Kind::Key, &id).ok_or(AdminError::NotFound)?;
    let now = parts.clock.now();
    let all = tokio::task::spawn_blocking(move || parts.shared.keys.all())
        .await
        .map_err(|_| AdminError::Internal)?;
    let key = all
        .iter()
        .find(|key| key.id == id)
        .ok_or(AdminError::NotFound)?;
    Ok(Json(view(key, now)))
}

fn understand(query: &[(String, String)]) -> Result<Wanted, AdminError> {
    let mut wanted = Wanted {
        limit: DEFAULT_LIMIT,
        after: None,
        status: None,
    };
    let mut faults = Vec::new();
    for (place, (name, value)) in query.iter().enumerate() {
        let twice = query[..place].iter().any(|(before, _)| before == name);
        let taken = if twice {
            Err(("duplicate", "given twice".into()))
        } else {
            wanted.take(name, value)
        };
        let fault = |(code, message)| FieldFault {
            pointer: format!("?{name}"),
            code,
            message,
        };
        faults.extend(taken.err().map(fault));
    }
    if faults.is_empty() {
        Ok(wanted)
    } else {
        Err(AdminError::Invalid(faults))
    }
}

impl Wanted {
    /// Takes one parameter in; the code and words of what is wrong with it.
    fn take(&mut self, name: &str, value: &str) -> Result<(), (&'static str, String)> {
        match name {
            "limit" => {
                let limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=LARGEST_LIMIT).contains(limit));
                self.limit = limit.ok_or_else(|| {
                    (
                        "out_of_range",
                        format!("limit must be 1 to {LARGEST_LIMIT}"),
                    )
                })?;
            }
            "cursor" => {
                let id = Id::parse(Kind::Key, value);
                self.after = Some(id.ok_or_else(|| {
                    (
                        "invalid",
                        String::from("cursor must be the `next` of a page"),
                    )
                })?);
            }
            "status" => {
                let status = KeyStatus::ALL
                    .into_iter()
                    .find(|status| status.name() == value);
                let names = || KeyStatus::ALL.map(KeyStatus::name).join(", ");
                let fault = || {
                    (
                        "unknown_value",
                        format!("status must be one of {}", names()),
                    )
                };
                self.status = Some(status.ok_or_else(fault)?);
            }
            _ => {
                return Err((
                    "unknown_field",
                    "known parameters are limit, cursor and status".into(),
                ));
            }
        }
        Ok(())
    }
}

fn page(parts: &AdminParts, wanted: &Wanted) -> Page<KeyView> {
    let now = parts.clock.now();
    let mut keys = parts.shared.keys.all();
    keys.retain(|key| {
        wanted.after.is_none_or(|after| key.id > after)
            && wanted.status.is_none_or(|status| key.status(now) == status)
    });
    keys.sort_unstable_by_key(|key| key.id);
    let more = keys.len() > wanted.limit;
    keys.truncate(wanted.limit);
    let last = keys.last().map(|key| key.id.text(Kind::Key).to_string());
    Page {
        data: keys.iter().map(|key| view(key, now)).collect(),
        next: last.filter(|_| more),
    }
}

fn view(key: &Key, now: Timestamp) -> KeyView {
    let usage = key.usage.read();
    let scopes = key.scopes().header.to_str().unwrap_or_default();
    KeyView {
        id: key.id.text(Kind::Key).to_string(),
        name: key.name().to_owned(),
        hint: key.hint().map(ToOwned::to_owned),
        status: key.status(now).name(),
        environment: key.environment().to_owned(),
        consumer: key.owner().map(|owner| ConsumerView {
            id: owner.consumer.id.text(Kind::Consumer).to_string(),
            name: owner.consumer.name.clone(),
        }),
        scopes: scopes.split_whitespace().map(ToOwned::to_owned).collect(),
        not_before: key.not_before(),
        expires_at: key.expires_at(),
        first_used_at: usage.first_used_at,
        last_used_at: usage.last_used_at,
        last_used_ip: usage.last_used_ip,
        uses: usage.permitted,
        refusals: usage.refused,
        managed_by: "file",
    }
}
