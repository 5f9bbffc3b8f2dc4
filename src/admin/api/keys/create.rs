//! `POST /v1/keys`: a new key, whose secret is in the reply and nowhere else.

use super::fields;
use super::view::{KeyView, managed};
use crate::admin::auth::Caller;
use crate::admin::body::{Body, Wrong, name, text};
use crate::admin::call::Call;
use crate::admin::change::{Begun, Change, Reply, begin};
use crate::admin::error::AdminError;
use crate::admin::server::AdminParts;
use crate::domain::consumer::Consumer;
use crate::domain::id::{Id, Kind};
use crate::domain::key::record::{InactivityMarks, KeyDetail, RecordedUse, SecretVersion};
use crate::domain::key::{Algorithm, KeyFormat, KeyRecord, KeyState, PlainKey};
use crate::domain::role::Permission;
use crate::domain::time::Timestamp;
use crate::domain::workspace::Lineage;
use crate::store::Write;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::ToSchema;

/// A reply that holds a new secret: shown this once.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct KeyWithSecret {
    key: KeyView,
    /// The key as its holder presents it.
    secret: String,
    revision: u64,
}

/// Makes a key.
#[utoipa::path(
    post, path = "/v1/keys", tag = "keys",
    request_body = super::schema::NewKey,
    params(crate::admin::schema::IdempotencyKey),
    responses(
        (status = 201, body = KeyWithSecret, description = "The key, and its secret, which is never shown again"),
        crate::admin::schema::Refusals
    )
)]
pub(in crate::admin) async fn create_key(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    let body = call.json()?;
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    let snapshot = parts.shared.snapshot();
    let (mut key, secret) = {
        let now = change.write.now;
        let key = blank(now);
        read(&mut change, body, key, &call, &snapshot).await?
    };
    key.id = Id::new(change.write.now);
    let key = change.write.insert_key(key, "key.created").await?;
    let id = key.id.text(Kind::Key).to_string();
    let reply = KeyWithSecret {
        revision: key.revision,
        key: managed(&key, &parts, change.write.now),
        secret: secret.expose().to_owned(),
    };
    let reply = serde_json::to_value(reply).map_err(|_| AdminError::Internal)?;
    change
        .finish(&parts, Reply::created(id, "/v1/keys", reply))
        .await
}

/// Reads everything a new key is made of, all faults at once.
pub(super) async fn read(
    change: &mut Change,
    mut body: Body,
    mut key: KeyRecord,
    call: &Call,
    snapshot: &crate::snapshot::handle::Snapshot,
) -> Result<(KeyRecord, PlainKey), AdminError> {
    let now = change.write.now;
    if !body.has("name") {
        body.required("name", name);
    }
    if let Some(place) = workspace(&mut change.write, &mut body, call).await? {
        key.workspace = place;
        let here = (place, None);
        key.consumer = consumer(&mut change.write, &mut body, &call.caller, here).await?;
    } else {
        // Nothing is looked up where the caller is not: the answer would tell what is there.
        body.optional("consumer", text(1, 128));
    }
    let format = &snapshot.key_format;
    let environment = body.optional("environment", |value| environment(value, format));
    key.environment =
        environment.unwrap_or_else(|| format.environments().first().cloned().unwrap_or_default());
    fields::write(&mut body, &mut key, (snapshot, &call.caller), now);
    if key.expires_at.is_some_and(|end| end <= now) {
        body.fault(
            "expires_at",
            ("out_of_range", "must be in the future".into()),
        );
    }
    body.finish()?;
    let (secret, version) = new_secret(format, &key.environment, now)?;
    key.secrets.push(version);
    Ok((key, secret))
}

/// A fresh secret, and how it is kept.
pub(super) fn new_secret(
    format: &KeyFormat,
    environment: &str,
    now: Timestamp,
) -> Result<(PlainKey, SecretVersion), AdminError> {
    let secret = format.generate(environment).map_err(|fault| {
        tracing::error!(error = %fault, "no key could be made");
        AdminError::Internal
    })?;
    let version = SecretVersion {
        id: Id::new(now),
        number: 1,
        hash: secret.hash(),
        algorithm: Algorithm::Blake3,
        hint: Some(format.hint(&secret)),
        created_at: now,
        retires_at: None,
        last_used_at: None,
        last_used_ip: None,
        uses: 0,
    };
    Ok((secret, version))
}

/// A key with nothing in it yet.
pub(super) fn blank(now: Timestamp) -> KeyRecord {
    KeyRecord {
        id: Id::from_bits(0),
        workspace: crate::domain::workspace::root(),
        consumer: None,
        name: String::new(),
        environment: String::new(),
        state: KeyState::Active,
        state_note: None,
        state_before: None,
        note_before: None,
        not_before: None,
        expires_at: None,
        rotating_until: None,
        inactivity: None,
        marks: InactivityMarks::default(),
        detail: KeyDetail::default(),
        secrets: Vec::new(),
        usage: RecordedUse::default(),
        created_at: now,
        created_by: String::new(),
        updated_at: now,
        updated_by: String::new(),
        revision: 0,
    }
}

/// The workspace a body names, else the caller's own; where the caller may make keys. `None`: there is none such, and that
/// is a fault.
async fn workspace(
    write: &mut Write,
    body: &mut Body,
    call: &Call,
) -> Result<Option<Id>, AdminError> {
    let named = body.optional("workspace", |value| id(value, Kind::Workspace, "workspace"));
    let id = named.unwrap_or_else(|| call.caller.home());
    let found = match write.workspace(id).await {
        Ok(found) => call
            .caller
            .check(Permission::KeysWrite, &found.lineage)
            .map(|()| Some(found.id)),
        Err(fault) => Err(fault.into()),
    };
    match found {
        // What is out of reach is not there, and a field that names it is wrong.
        Err(AdminError::NotFound) => {
            body.fault(
                "workspace",
                ("unknown_value", "there is no such workspace".into()),
            );
            Ok(None)
        }
        other => other,
    }
}

/// Whether a caller may make keys that call in the name of a workspace's consumers.
pub(super) fn may_name(caller: &Caller) -> impl Fn(&Lineage) -> bool + Sync + '_ {
    |place| caller.check(Permission::KeysWrite, place).is_ok()
}

/// The consumer a body names, by id or by name, of the key's own workspace or one above that the caller reaches; or the one
/// that the key has.
pub(super) async fn consumer(
    write: &mut Write,
    body: &mut Body,
    caller: &Caller,
    (workspace, current): (Id, Option<&Consumer>),
) -> Result<Option<Consumer>, AdminError> {
    let Some(named) = body.optional("consumer", text(1, 128)) else {
        return Ok(None);
    };
    let is_current =
        |one: &&Consumer| one.name == named || one.id.text(Kind::Consumer).as_str() == named;
    if let Some(current) = current.filter(is_current) {
        return Ok(Some(current.clone()));
    }
    let found = write
        .consumer_named(&named, workspace, &may_name(caller))
        .await?;
    if found.is_none() {
        body.fault(
            "consumer",
            (
                "unknown_value",
                "there is no such consumer in this workspace or above".into(),
            ),
        );
    }
    Ok(found)
}

pub(super) fn environment(value: &Value, format: &KeyFormat) -> Result<String, Wrong> {
    let known = format
        .environments()
        .iter()
        .find(|name| value.as_str() == Some(name));
    known.cloned().ok_or_else(|| {
        (
            "unknown_value",
            format!("environment is one of {}", format.environments().join(", ")),
        )
    })
}

/// An id of a kind.
pub(in crate::admin) fn id(value: &Value, kind: Kind, what: &str) -> Result<Id, Wrong> {
    let id = value.as_str().and_then(|text| Id::parse(kind, text));
    id.ok_or_else(|| {
        (
            "invalid",
            format!("expected the id of a {what}, {}…", kind.prefix()),
        )
    })
}

/// A reply with a key and a new secret of it.
pub(super) fn with_secret(key: &KeyView, secret: &PlainKey, revision: u64) -> Value {
    json!({"key": key, "secret": secret.expose(), "revision": revision})
}
