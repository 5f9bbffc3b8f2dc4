//! What is done with one key: edit, disable, enable, revoke, rotate, retire, transfer, keep, delete, restore. Each is one
//! line of `domain::key::acts` between the same begin and end.

use super::create::{consumer, new_secret, with_secret};
use super::fields;
use super::view::{KeyView, managed};
use crate::admin::body::{Body, Wrong, duration, text, whole};
use crate::admin::call::Call;
use crate::admin::change::{Begun, Change, Reply, begin};
use crate::admin::error::AdminError;
use crate::admin::limits;
use crate::admin::schema::{IdempotencyKey, Refusals};
use crate::admin::server::AdminParts;
use crate::domain::id::{Id, Kind};
use crate::domain::key::KeyRecord;
use crate::domain::key::acts::{Act, ActFault};
use crate::domain::key::record::MAX_GRACE_MILLIS;
use crate::domain::role::Permission;
use crate::domain::workspace::{Lineage, root};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::Value;
use std::sync::Arc;

/// Grace of a rotation that does not say: a day.
const GRACE: i64 = 24 * 60 * 60 * 1000;

pub(super) type KeyPath = Result<Path<String>, PathRejection>;
type Answer = Result<Response, AdminError>;

/// A change of one key that has begun.
struct KeyChange {
    change: Box<Change>,
    before: KeyRecord,
    after: KeyRecord,
    body: Body,
}

/// Begins: the key is there, within reach, and of the version the caller knows.
async fn open(
    parts: &AdminParts,
    call: &Call,
    path: KeyPath,
    permission: Permission,
) -> Result<Result<KeyChange, Response>, AdminError> {
    let id = key_id(path)?;
    refuse_declared(parts, call, id)?;
    let body = call.json()?;
    let mut change = match begin(parts, call).await? {
        Begun::Replay(answer) => return Ok(Err(answer)),
        Begun::Change(change) => change,
    };
    let before = change.write.key(id).await?;
    let place = change.write.workspace(before.workspace).await?;
    call.caller.check(permission, &place.lineage)?;
    call.check_version(before.revision)?;
    Ok(Ok(KeyChange {
        after: before.clone(),
        before,
        body,
        change,
    }))
}

impl KeyChange {
    /// Saves what became of the key, and answers with it.
    async fn close(mut self, parts: &AdminParts, action: &'static str) -> Answer {
        self.body.finish()?;
        let key = self
            .change
            .write
            .save_key(&self.before, self.after, action)
            .await?;
        let view = managed(&key, parts, self.change.write.now);
        let body = serde_json::to_value(view).map_err(|_| AdminError::Internal)?;
        let id = key.id.text(Kind::Key).to_string();
        self.change.finish(parts, Reply::ok(id, body)).await
    }

    /// Who does it, and why.
    fn act(&mut self) -> Act {
        Act {
            by: self.change.write.actor().text(),
            at: self.change.write.now,
            reason: self.body.optional("reason", text(1, 64)),
            text: self.body.optional("text", text(1, 1024)),
        }
    }
}

/// The id in a path; anything that is no id is not there.
pub(super) fn key_id(path: KeyPath) -> Result<Id, AdminError> {
    let Path(id) = path.map_err(|_| AdminError::NotFound)?;
    Id::parse(Kind::Key, &id).ok_or(AdminError::NotFound)
}

/// A key that is declared in the config file is changed there.
pub(super) fn refuse_declared(parts: &AdminParts, call: &Call, id: Id) -> Result<(), AdminError> {
    if parts.shared.keys.declared_by_id(id).is_some() {
        let place = Lineage::new(vec![root()]);
        call.caller.check(Permission::Read, &place)?;
        return Err(AdminError::Conflict {
            code: "managed_by_file",
            message: "this key is declared in the config file and is changed there".into(),
        });
    }
    Ok(())
}

/// Changes fields (merge patch, RFC 7396): what is absent stays, null clears.
#[utoipa::path(
    patch, path = "/v1/keys/{id}", tag = "keys", params(("id" = String, Path)),
    request_body = super::schema::KeyPatch,
    responses((status = 200, body = KeyView), Refusals)
)]
pub(in crate::admin) async fn edit_key(
    State(parts): State<Arc<AdminParts>>,
    path: KeyPath,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let mut key = match open(&parts, &call, path, Permission::KeysWrite).await? {
        Ok(key) => key,
        Err(answer) => return Ok(answer),
    };
    key.after.editable()?;
    let now = key.change.write.now;
    key.body.fixed(&fields::FIXED);
    key.body.fixed(&fields::FIXED_IN_PATCH);
    key.body.merge("metadata", &key.after.detail.metadata);
    key.body
        .merge_into("limits", limits::before(key.after.detail.limits));
    let known = (&*parts.shared.snapshot(), &call.caller);
    fields::write(&mut key.body, &mut key.after, known, now);
    key.close(&parts, "key.updated").await
}

/// Switches a key off, reversibly.
#[utoipa::path(
    post, path = "/v1/keys/{id}/disable", tag = "keys", params(("id" = String, Path), IdempotencyKey),
    request_body = Option<super::schema::Why>, responses((status = 200, body = KeyView), Refusals)
)]
pub(in crate::admin) async fn disable_key(
    State(parts): State<Arc<AdminParts>>,
    path: KeyPath,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let mut key = match open(&parts, &call, path, Permission::KeysWrite).await? {
        Ok(key) => key,
        Err(answer) => return Ok(answer),
    };
    let act = key.act();
    key.after.disable(act)?;
    key.close(&parts, "key.disabled").await
}

/// Switches a key on again.
#[utoipa::path(
    post, path = "/v1/keys/{id}/enable", tag = "keys", params(("id" = String, Path), IdempotencyKey),
    responses((status = 200, body = KeyView), Refusals)
)]
pub(in crate::admin) async fn enable_key(
    State(parts): State<Arc<AdminParts>>,
    path: KeyPath,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let mut key = match open(&parts, &call, path, Permission::KeysWrite).await? {
        Ok(key) => key,
        Err(answer) => return Ok(answer),
    };
    let now = key.change.write.now;
    key.after.enable(now)?;
    key.close(&parts, "key.enabled").await
}

/// Ends a key for good.
#[utoipa::path(
    post, path = "/v1/keys/{id}/revoke", tag = "keys", params(("id" = String, Path), IdempotencyKey),
    request_body = Option<super::schema::Why>, responses((status = 200, body = KeyView), Refusals)
)]
pub(in crate::admin) async fn revoke_key(
    State(parts): State<Arc<AdminParts>>,
    path: KeyPath,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let mut key = match open(&parts, &call, path, Permission::KeysEnd).await? {
        Ok(key) => key,
        Err(answer) => return Ok(answer),
    };
    let act = key.act();
    key.after.revoke(act)?;
    key.close(&parts, "key.revoked").await
}

/// Gives a key a new secret; the one before stays good for the grace.
#[utoipa::path(
    post, path = "/v1/keys/{id}/rotate", tag = "keys", params(("id" = String, Path), IdempotencyKey),
    request_body = Option<super::schema::Rotation>,
    responses((status = 200, body = super::create::KeyWithSecret, description = "The new secret is never shown again"), Refusals)
)]
pub(in crate::admin) async fn rotate_key(
    State(parts): State<Arc<AdminParts>>,
    path: KeyPath,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let mut key = match open(&parts, &call, path, Permission::KeysWrite).await? {
        Ok(key) => key,
        Err(answer) => return Ok(answer),
    };
    let grace = key.body.optional("grace", grace).unwrap_or(GRACE);
    let now = key.change.write.now;
    let (secret, version) = new_secret(
        &parts.shared.snapshot().key_format,
        &key.after.environment,
        now,
    )?;
    key.after.rotate(version, grace, now)?;
    let KeyChange {
        mut change,
        before,
        after,
        body,
    } = key;
    body.finish()?;
    let saved = change.write.save_key(&before, after, "key.rotated").await?;
    let id = saved.id.text(Kind::Key).to_string();
    let reply = with_secret(&managed(&saved, &parts, now), &secret, saved.revision);
    change.finish(&parts, Reply::ok(id, reply)).await
}

fn grace(value: &Value) -> Result<i64, Wrong> {
    let grace = duration(value)?;
    if grace > MAX_GRACE_MILLIS {
        return Err(("out_of_range", ActFault::Grace.to_string()));
    }
    Ok(grace)
}

/// Ends older secrets before their grace is over.
#[utoipa::path(
    post, path = "/v1/keys/{id}/retire", tag = "keys", params(("id" = String, Path), IdempotencyKey),
    request_body = Option<super::schema::Retirement>, responses((status = 200, body = KeyView), Refusals)
)]
pub(in crate::admin) async fn retire_key(
    State(parts): State<Arc<AdminParts>>,
    path: KeyPath,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let mut key = match open(&parts, &call, path, Permission::KeysWrite).await? {
        Ok(key) => key,
        Err(answer) => return Ok(answer),
    };
    let number = key.body.optional("number", |value: &Value| {
        let number = whole(value)?;
        let number = i64::try_from(number).ok().filter(|number| *number > 0);
        number.ok_or(("invalid", "expected the number of a secret".into()))
    });
    let now = key.change.write.now;
    key.after.retire(number, now)?;
    key.close(&parts, "key.retired").await
}

/// Gives a key to another consumer, or to none.
#[utoipa::path(
    post, path = "/v1/keys/{id}/transfer", tag = "keys", params(("id" = String, Path), IdempotencyKey),
    request_body = super::schema::Transfer, responses((status = 200, body = KeyView), Refusals)
)]
pub(in crate::admin) async fn transfer_key(
    State(parts): State<Arc<AdminParts>>,
    path: KeyPath,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let mut key = match open(&parts, &call, path, Permission::KeysEnd).await? {
        Ok(key) => key,
        Err(answer) => return Ok(answer),
    };
    if !key.body.has("consumer") {
        key.body
            .fault("consumer", ("required", "an id, a name, or null".into()));
    }
    let here = (key.before.workspace, key.before.consumer.as_ref());
    let owner = consumer(&mut key.change.write, &mut key.body, &call.caller, here).await?;
    key.after.transfer(owner)?;
    key.close(&parts, "key.transferred").await
}

/// Says that a key is to stay although nobody uses it.
#[utoipa::path(
    post, path = "/v1/keys/{id}/keep", tag = "keys", params(("id" = String, Path), IdempotencyKey),
    responses((status = 200, body = KeyView), Refusals)
)]
pub(in crate::admin) async fn keep_key(
    State(parts): State<Arc<AdminParts>>,
    path: KeyPath,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let mut key = match open(&parts, &call, path, Permission::KeysWrite).await? {
        Ok(key) => key,
        Err(answer) => return Ok(answer),
    };
    let now = key.change.write.now;
    key.after.keep(now)?;
    key.close(&parts, "key.kept").await
}

/// Makes a tombstone of a key; restorable for 30 days.
#[utoipa::path(
    delete, path = "/v1/keys/{id}", tag = "keys",
    params(("id" = String, Path), ("dry_run" = Option<bool>, Query, description = "Say what would happen only")),
    responses((status = 200, body = KeyView), Refusals)
)]
pub(in crate::admin) async fn delete_key(
    State(parts): State<Arc<AdminParts>>,
    path: KeyPath,
    call: Call,
) -> Answer {
    let mut parameters = call.parameters();
    let dry_run = parameters.flag("dry_run").unwrap_or(false);
    parameters.finish()?;
    let mut key = match open(&parts, &call, path, Permission::KeysEnd).await? {
        Ok(key) => key,
        Err(answer) => return Ok(answer),
    };
    if dry_run {
        key.change.only_try();
    }
    let act = key.act();
    key.after.delete(act)?;
    key.close(&parts, "key.deleted").await
}

/// Makes a key of a tombstone again, with the same secrets.
#[utoipa::path(
    post, path = "/v1/keys/{id}/restore", tag = "keys", params(("id" = String, Path), IdempotencyKey),
    responses((status = 200, body = KeyView), Refusals)
)]
pub(in crate::admin) async fn restore_key(
    State(parts): State<Arc<AdminParts>>,
    path: KeyPath,
    call: Call,
) -> Answer {
    call.no_parameters()?;
    let mut key = match open(&parts, &call, path, Permission::KeysEnd).await? {
        Ok(key) => key,
        Err(answer) => return Ok(answer),
    };
    let now = key.change.write.now;
    key.after.restore(now)?;
    key.close(&parts, "key.restored").await
}
