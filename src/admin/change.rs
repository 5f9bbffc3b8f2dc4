//! A call that changes something: one transaction with its reply, remembered for whoever asks again with the same
//! `Idempotency-Key`, and in force on this node before the caller hears of it.

use super::call::{Call, etag};
use super::error::AdminError;
use super::server::AdminParts;
use super::standing;
use crate::store::Write;
use crate::store::idempotency::Remembered;
use crate::vault;
use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{ETAG, HeaderName, HeaderValue, LOCATION};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::time::Duration;

/// Longest wait for this node to have taken a change in.
const PATIENCE: Duration = Duration::from_secs(10);
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A change that has begun, or the reply to the same one made before.
pub(super) enum Begun {
    /// To be made.
    Change(Box<Change>),
    /// Made before.
    Replay(Response),
}

/// A change in the making.
pub(super) struct Change {
    pub(super) write: Write,
    /// Caller, hash of the key, fingerprint of the request; material to seal the reply with.
    memory: Option<Memory>,
    dry_run: bool,
}

struct Memory {
    caller: String,
    key_hash: String,
    fingerprint: String,
    material: Vec<u8>,
}

/// What a change answers.
pub(super) struct Reply {
    status: StatusCode,
    object: String,
    body: Value,
    location: Option<String>,
}

impl Reply {
    /// 200 with an object.
    pub(super) fn ok(object: impl Into<String>, body: Value) -> Self {
        Self {
            status: StatusCode::OK,
            object: object.into(),
            body,
            location: None,
        }
    }

    /// 201 with an object and where it is.
    pub(super) fn created(object: impl Into<String>, place: &str, body: Value) -> Self {
        let object = object.into();
        Self {
            status: StatusCode::CREATED,
            location: Some(format!("{place}/{object}")),
            object,
            body,
        }
    }

    fn answer(self) -> Response {
        let revision = self.body.get("revision").and_then(Value::as_u64);
        let mut answer = (self.status, Json(self.body)).into_response();
        let headers = answer.headers_mut();
        if let Some(place) = self
            .location
            .and_then(|place| HeaderValue::from_str(&place).ok())
        {
            headers.insert(LOCATION, place);
        }
        if let Some(tag) = revision.and_then(|revision| HeaderValue::from_str(&etag(revision)).ok())
        {
            headers.insert(ETAG, tag);
        }
        answer
    }
}

/// Begins a change by the caller of `call`.
pub(super) async fn begin(parts: &AdminParts, call: &Call) -> Result<Begun, AdminError> {
    let store = parts.store()?;
    let mut write = standing::begin(store, &call.caller).await?;
    let memory = memory(call);
    if let Some(memory) = &memory
        && let Some(before) = write.remembered(&memory.caller, &memory.key_hash).await?
    {
        let answer = replay(memory, &before)?;
        // The first answer may have been that it is not in force yet, or come from another node. What was true before this
        // transaction, whose number is not used, holds the change that is told of again.
        let revision = write.revision.saturating_sub(1);
        drop(write);
        await_applied(parts, revision).await?;
        return Ok(Begun::Replay(answer));
    }
    Ok(Begun::Change(Box::new(Change {
        write,
        memory,
        dry_run: false,
    })))
}

fn memory(call: &Call) -> Option<Memory> {
    let key = call
        .idempotency_key
        .as_ref()
        .filter(|_| call.method == "POST")?;
    // Keyed with what is not kept, so that nobody who reads the store can guess at a password in a body.
    let mut fingerprint = blake3::Hasher::new_derive_key("keygate idempotency fingerprint v1");
    fingerprint.update(call.caller.secret.expose().as_bytes());
    for part in [call.method.as_bytes(), call.path.as_bytes(), &call.body] {
        fingerprint.update(&part.len().to_le_bytes());
        fingerprint.update(part);
    }
    for (name, value) in &call.query {
        fingerprint.update(format!("{name}={value}&").as_bytes());
    }
    let mut material = call.caller.secret.expose().as_bytes().to_vec();
    material.push(0);
    material.extend_from_slice(key.as_bytes());
    Some(Memory {
        caller: call.caller.actor.text(),
        key_hash: blake3::hash(key.as_bytes()).to_hex().to_string(),
        fingerprint: fingerprint.finalize().to_hex().to_string(),
        material,
    })
}

fn replay(memory: &Memory, before: &Remembered) -> Result<Response, AdminError> {
    let mismatch = |message: &str| AdminError::Conflict {
        code: "idempotency_mismatch",
        message: message.into(),
    };
    if before.fingerprint != memory.fingerprint {
        return Err(mismatch(
            "this `Idempotency-Key` was used for another request, or with another token or session",
        ));
    }
    let sealed = vault::open_with(&memory.material, &before.reply, &memory.key_hash);
    let plain = sealed
        .map_err(|_| mismatch("this `Idempotency-Key` was used with another token or session"))?;
    let body: Value = serde_json::from_slice(plain.expose()).map_err(|_| AdminError::Internal)?;
    let status = u16::try_from(before.status)
        .ok()
        .and_then(|status| StatusCode::from_u16(status).ok());
    let location = body
        .pointer("/_location")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let mut body = body;
    if let Some(fields) = body.as_object_mut() {
        fields.remove("_location");
    }
    let reply = Reply {
        status: status.unwrap_or(StatusCode::OK),
        object: before.object.clone(),
        body,
        location,
    };
    let mut answer = reply.answer();
    answer
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(answer)
}

impl Change {
    /// Does everything but make it true.
    pub(super) fn only_try(&mut self) {
        self.dry_run = true;
    }

    /// Makes it true, waits until this node serves by it, and answers.
    pub(super) async fn finish(
        mut self: Box<Self>,
        parts: &AdminParts,
        reply: Reply,
    ) -> Result<Response, AdminError> {
        if self.dry_run {
            return Ok(reply.answer());
        }
        if let Some(memory) = &self.memory {
            let mut kept = reply.body.clone();
            if let (Some(fields), Some(place)) = (kept.as_object_mut(), &reply.location) {
                fields.insert("_location".into(), place.as_str().into());
            }
            let sealed = vault::seal_with(
                &memory.material,
                kept.to_string().as_bytes(),
                &memory.key_hash,
            );
            let remembered = Remembered {
                fingerprint: memory.fingerprint.clone(),
                object: reply.object.clone(),
                status: i64::from(reply.status.as_u16()),
                reply: sealed.map_err(|_| AdminError::Internal)?,
            };
            self.write
                .remember(&memory.caller, &memory.key_hash, &remembered)
                .await?;
        }
        let revision = self.write.commit().await?;
        await_applied(parts, revision).await?;
        Ok(reply.answer())
    }
}

/// Makes a change true that stands outside of a call with a caller, and waits until this node serves by it.
pub(super) async fn commit(parts: &AdminParts, write: Write) -> Result<u64, AdminError> {
    let revision = write.commit().await?;
    await_applied(parts, revision).await?;
    Ok(revision)
}

/// Waits until this node serves by a revision.
async fn await_applied(parts: &AdminParts, revision: u64) -> Result<(), AdminError> {
    let mut applied = parts.shared.watch_applied();
    let there = tokio::time::timeout(PATIENCE, applied.wait_for(|now| *now >= revision)).await;
    match there {
        Ok(Ok(_)) => Ok(()),
        // It is true in the store, but not yet enforced here: nobody is told that it is.
        Ok(Err(_)) | Err(_) => Err(AdminError::NotInForce),
    }
}
