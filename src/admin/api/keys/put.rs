//! `PUT /v1/keys/{id}`: a key with a chosen id as it should be, made if it is not there. For those who keep their keys in
//! a description: sent twice, it changes nothing.

use super::acts::{KeyPath, key_id};
use super::create::{blank, consumer, read, with_secret};
use super::fields;
use super::view::{KeyView, managed};
use crate::admin::body::{Body, name};
use crate::admin::call::Call;
use crate::admin::change::{Begun, Change, Reply, begin};
use crate::admin::error::AdminError;
use crate::admin::schema::Refusals;
use crate::admin::server::AdminParts;
use crate::domain::id::{Id, Kind};
use crate::domain::key::KeyRecord;
use crate::domain::role::Permission;
use crate::store::StoreError;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;
use std::sync::Arc;

/// Makes a key of this id, or gives it exactly these fields.
#[utoipa::path(
    put, path = "/v1/keys/{id}", tag = "keys",
    params(("id" = String, Path, description = "`key_` and 26 characters, of the caller's choice")),
    request_body = super::schema::NewKey,
    responses(
        (status = 200, body = KeyView, description = "It was there; fields that are absent are cleared"),
        (status = 201, body = super::create::KeyWithSecret, description = "The key, and its secret, which is never shown again"),
        Refusals
    )
)]
pub(in crate::admin) async fn put_key(
    State(parts): State<Arc<AdminParts>>,
    path: KeyPath,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    let id = key_id(path)?;
    super::acts::refuse_declared(&parts, &call, id)?;
    let mut body = call.json()?;
    body.fixed(&fields::FIXED);
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    match change.write.key(id).await {
        Ok(before) => replace(&parts, &call, change, (before, body)).await,
        Err(StoreError::NotFound) => {
            call.check_new()?;
            make(&parts, &call, change, (id, body)).await
        }
        Err(fault) => Err(fault.into()),
    }
}

async fn make(
    parts: &AdminParts,
    call: &Call,
    mut change: Box<Change>,
    (id, body): (Id, Body),
) -> Result<Response, AdminError> {
    let snapshot = parts.shared.snapshot();
    let now = change.write.now;
    let (mut key, secret) = read(&mut change, body, blank(now), call, &snapshot).await?;
    key.id = id;
    let key = change.write.insert_key(key, "key.created").await?;
    let body = with_secret(&managed(&key, parts, now), &secret, key.revision);
    let id = id.text(Kind::Key).to_string();
    change
        .finish(parts, Reply::created(id, "/v1/keys", body))
        .await
}

async fn replace(
    parts: &AdminParts,
    call: &Call,
    mut change: Box<Change>,
    (before, mut body): (KeyRecord, Body),
) -> Result<Response, AdminError> {
    let place = change.write.workspace(before.workspace).await?.lineage;
    call.caller.check(Permission::KeysWrite, &place)?;
    call.check_version(before.revision)?;
    before.editable()?;
    let now = change.write.now;
    let mut after = before.clone();
    let workspace = before.workspace.text(Kind::Workspace).to_string();
    for (field, is) in [
        ("workspace", &workspace),
        ("environment", &before.environment),
    ] {
        let stays = |value: &Value| {
            let same = value.as_str() == Some(is);
            same.then_some(())
                .ok_or(("immutable", format!("it is `{is}` and stays so")))
        };
        body.optional(field, stays);
    }
    if body.has("consumer") {
        let here = (before.workspace, before.consumer.as_ref());
        let owner = consumer(&mut change.write, &mut body, &call.caller, here).await?;
        if owner != before.consumer {
            call.caller.check(Permission::KeysEnd, &place)?;
            after.transfer(owner)?;
        }
    }
    if !body.has("name") {
        body.required("name", name);
    }
    body.absent_is_null(&fields::CLEARABLE);
    let known = (&*parts.shared.snapshot(), &call.caller);
    fields::write(&mut body, &mut after, known, now);
    body.finish()?;
    let key = change.write.save_key(&before, after, "key.updated").await?;
    let body = serde_json::to_value(managed(&key, parts, now)).map_err(|_| AdminError::Internal)?;
    let id = key.id.text(Kind::Key).to_string();
    change.finish(parts, Reply::ok(id, body)).await
}
