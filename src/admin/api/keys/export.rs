//! `GET /v1/keys/export`: what is known of keys, a line each, without their secrets and hashes.

use super::view::{KeyView, declared, managed};
use crate::admin::call::Call;
use crate::admin::error::AdminError;
use crate::admin::page::LARGEST_LIMIT;
use crate::admin::schema::Refusals;
use crate::admin::server::AdminParts;
use crate::admin::standing;
use crate::domain::role::Permission;
use crate::domain::workspace::{Lineage, root};
use crate::store::keys::KeyQuery;
use crate::store::{Fact, Store};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use std::sync::Arc;

/// What is still to be sent.
struct Rest {
    parts: Arc<AdminParts>,
    store: Store,
    query: KeyQuery,
    /// Lines that are ready.
    ready: Option<Bytes>,
    more: bool,
}

/// Takes the metadata of keys out.
#[utoipa::path(
    get, path = "/v1/keys/export", tag = "keys",
    params(
        ("q" = Option<String>, Query),
        ("status" = Option<String>, Query),
        ("workspace" = Option<String>, Query, description = "Id; it and all below"),
        ("consumer" = Option<String>, Query),
        ("tag" = Option<String>, Query),
        ("environment" = Option<String>, Query),
        ("scope" = Option<String>, Query),
        ("expires_before" = Option<String>, Query),
        ("unused_since" = Option<String>, Query),
        ("never_expires" = Option<bool>, Query)
    ),
    responses((status = 200, content_type = "application/x-ndjson", body = KeyView, description = "A key in each line"), Refusals)
)]
pub(in crate::admin) async fn export_keys(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Response, AdminError> {
    let mut query = KeyQuery::all(call.caller.reach(Permission::KeysExport)?);
    let mut parameters = call.parameters();
    let workspace = super::filters(&mut parameters, &mut query);
    parameters.finish()?;
    if let Some(workspace) = workspace {
        query.workspace = Some(super::subtree(&parts, &call, workspace).await?);
    }
    query.descending = false;
    query.limit = LARGEST_LIMIT;
    let store = parts.store()?.clone();
    let mut write = standing::begin(&store, &call.caller).await?;
    write
        .record(Fact::new("keys.exported", call.caller.home(), "keys"))
        .await?;
    write.commit().await?;
    let root = Lineage::new(vec![root()]);
    let first = if call.caller.check(Permission::KeysExport, &root).is_ok() {
        let now = parts.clock.now();
        let keys = parts.shared.keys.declared();
        let fitting = keys.iter().filter(|key| super::fits(key, &query, now));
        lines(fitting.map(|key| declared(key, now)))?
    } else {
        Bytes::new()
    };
    let rest = Rest {
        parts,
        store,
        query,
        ready: Some(first),
        more: true,
    };
    let headers = [
        (CONTENT_TYPE, "application/x-ndjson"),
        (CONTENT_DISPOSITION, "attachment; filename=\"keys.jsonl\""),
    ];
    let body = Body::from_stream(stream::try_unfold(rest, next));
    Ok((headers, body).into_response())
}

/// The next lines. A fault breaks the answer off, so that half of it is not taken for the whole.
async fn next(mut rest: Rest) -> Result<Option<(Bytes, Rest)>, AdminError> {
    if let Some(ready) = rest.ready.take() {
        return Ok(Some((ready, rest)));
    }
    if !rest.more {
        return Ok(None);
    }
    let page = rest.store.list_keys(&rest.query).await?;
    rest.more = page.more;
    rest.query.after = page
        .keys
        .last()
        .map(|key| (rest.query.sort.value_of(key), key.id));
    let now = rest.parts.clock.now();
    let views = page.keys.iter().map(|key| managed(key, &rest.parts, now));
    let lines = lines(views)?;
    Ok(Some((lines, rest)))
}

fn lines(views: impl Iterator<Item = KeyView>) -> Result<Bytes, AdminError> {
    let mut text = Vec::new();
    for view in views {
        serde_json::to_writer(&mut text, &view).map_err(|_| AdminError::Internal)?;
        text.push(b'\n');
    }
    Ok(text.into())
}
