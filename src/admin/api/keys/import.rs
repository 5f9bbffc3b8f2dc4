//! `POST /v1/keys/import`: keys that were made elsewhere, in portions. Raw secrets are hashed on the way in. A bad item
//! does not keep the good ones out; each has its own result, which shows nothing of a secret.
//!
//! Long because an item is read, placed, compared with what is there and told of in one pass.

use super::create::may_name;
use super::create::{blank, environment, id};
use super::fields;
use crate::admin::body::{Body, Wrong, invalid, text, time};
use crate::admin::call::Call;
use crate::admin::change::{Begun, Change, Reply, begin};
use crate::admin::error::{AdminError, FieldFault};
use crate::admin::json::{self, Unread};
use crate::admin::schema::{IdempotencyKey, Refusals};
use crate::admin::server::AdminParts;
use crate::domain::consumer::Consumer;
use crate::domain::id::{Id, Kind};
use crate::domain::key::record::SecretVersion;
use crate::domain::key::{
    Algorithm, KeyFormat, KeyHash, KeyRecord, MAX_PRESENTED_LEN, MIN_FOREIGN_LEN, Origin, PlainKey,
    Shape,
};
use crate::domain::role::Permission;
use crate::domain::time::Timestamp;
use crate::snapshot::handle::Snapshot;
use crate::store::{Fact, StoreError};
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use utoipa::ToSchema;

/// Most keys of one call.
const MOST: usize = 1000;

/// A key that was made elsewhere: the fields of a new key, and these.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct ImportedKey {
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// As its holder presents it, 8 to 512 printable ASCII characters without spaces; or `hash`.
    secret: Option<String>,
    /// `blake3:` or `sha256:` and 64 hex digits.
    hash: Option<String>,
    /// A chosen id, `key_…`.
    id: Option<String>,
    created_at: Option<String>,
    last_used_at: Option<String>,
}

/// Keys that were made elsewhere.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct Import {
    #[schema(max_items = 1000)]
    keys: Vec<ImportedKey>,
}

/// What became of them.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct ImportResult {
    data: Vec<ImportItem>,
    imported: usize,
    failed: usize,
    dry_run: bool,
    revision: u64,
}

/// What became of one of them.
#[derive(Serialize, ToSchema)]
struct ImportItem {
    /// Its line, or its place in the list; from 1.
    line: usize,
    ok: bool,
    id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<crate::admin::schema::ProblemField>)]
    errors: Vec<FieldFault>,
}

/// One item as it was sent.
struct Sent {
    line: usize,
    body: Result<Body, Vec<FieldFault>>,
}

/// An item that can be read: the key, and its hashes at rest, by which it may be there already.
struct Wanted {
    line: usize,
    key: KeyRecord,
    hashes: Vec<String>,
    chosen: bool,
    raw: bool,
}

/// Brings keys in from elsewhere, a thousand at a time.
#[utoipa::path(
    post, path = "/v1/keys/import", tag = "keys",
    params(IdempotencyKey, ("dry_run" = Option<bool>, Query, description = "Say what would happen only")),
    request_body(content((Import = "application/json"), (String = "application/x-ndjson"))),
    responses((status = 200, body = ImportResult, description = "Also when no key could be taken: see `failed`"), Refusals)
)]
pub(in crate::admin) async fn import_keys(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Response, AdminError> {
    let mut parameters = call.parameters();
    let dry_run = parameters.flag("dry_run").unwrap_or(false);
    parameters.finish()?;
    call.caller.reach(Permission::KeysImport)?;
    let sent = items(&call)?;
    let mut change = match begin(&parts, &call).await? {
        Begun::Replay(answer) => return Ok(answer),
        Begun::Change(change) => change,
    };
    let (mut good, mut data) = read_all(&mut change, &parts, &call, sent).await?;
    data.extend(take_out_taken(&mut change, &parts, &mut good).await?);
    let mut keys = Vec::with_capacity(good.len());
    for wanted in good {
        data.push(ImportItem {
            line: wanted.line,
            ok: true,
            id: Some(wanted.key.id.text(Kind::Key).to_string()),
            errors: Vec::new(),
        });
        keys.push(wanted.key);
    }
    data.sort_by_key(|item| item.line);
    if dry_run || keys.is_empty() {
        change.only_try();
    } else {
        change.write.insert_keys(&mut keys).await?;
        record(&mut change, &keys).await?;
    }
    let result = ImportResult {
        imported: keys.len(),
        failed: data.len() - keys.len(),
        data,
        dry_run,
        revision: change.write.revision,
    };
    let body = serde_json::to_value(result).map_err(|_| AdminError::Internal)?;
    change.finish(&parts, Reply::ok("import", body)).await
}

/// One event for each workspace that got keys, in that workspace, with their ids: who may read there finds out which keys
/// came, and whoever has a key finds out where from.
async fn record(change: &mut Change, keys: &[KeyRecord]) -> Result<(), AdminError> {
    let mut places: BTreeMap<Id, Vec<String>> = BTreeMap::new();
    for key in keys {
        let ids = places.entry(key.workspace).or_default();
        ids.push(key.id.text(Kind::Key).to_string());
    }
    for (workspace, ids) in places {
        let mut fact = Fact::new("keys.imported", workspace, "keys");
        fact.event = Some(json!({
            "workspace": workspace.text(Kind::Workspace).to_string(),
            "count": ids.len(),
            "ids": ids,
        }));
        fact.changes.insert("count".into(), ids.len().into());
        fact.changes.insert("ids".into(), ids.into());
        change.write.record(fact).await?;
    }
    Ok(())
}

/// The items of a call: a line each, or a list.
fn items(call: &Call) -> Result<Vec<Sent>, AdminError> {
    let kind = call.content_type.as_deref().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let lines = ["application/x-ndjson", "application/jsonl"];
    let items: Vec<Sent> = if lines.iter().any(|name| kind.eq_ignore_ascii_case(name)) {
        let lines = call.body.split(|byte| *byte == b'\n').enumerate();
        lines
            .filter(|(_, line)| !line.trim_ascii().is_empty())
            .map(|(place, line)| Sent {
                line: place + 1,
                body: line_of(line),
            })
            .collect()
    } else {
        let (mut body, twice) = call.json_all()?;
        let mut twice = by_item(twice)?;
        let list = body.required("keys", |value| match value {
            Value::Array(items) => Ok(items.clone()),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => invalid("expected a list"),
        });
        body.finish()?;
        let list = list.unwrap_or_default().into_iter().enumerate();
        list.map(|(place, value)| Sent {
            line: place + 1,
            body: twice.remove(&place).map_or_else(|| object(value), Err),
        })
        .collect()
    };
    if items.len() > MOST {
        return Err(AdminError::Invalid(vec![FieldFault {
            pointer: "/keys".into(),
            code: "out_of_range",
            message: format!("at most {MOST} keys at a time"),
        }]));
    }
    Ok(items)
}

/// Names that stand twice, by the item they stand in. Those beside the items are a fault of the whole.
fn by_item(twice: Vec<FieldFault>) -> Result<HashMap<usize, Vec<FieldFault>>, AdminError> {
    let mut items: HashMap<usize, Vec<FieldFault>> = HashMap::new();
    let mut others = Vec::new();
    for fault in twice {
        let inside = fault.pointer.strip_prefix("/keys/");
        let inside = inside.and_then(|inside| inside.split_once('/'));
        match inside.and_then(|(place, _)| place.parse().ok()) {
            Some(place) => {
                let start = format!("/keys/{place}").len();
                let pointer = fault.pointer[start..].to_owned();
                items
                    .entry(place)
                    .or_default()
                    .push(FieldFault { pointer, ..fault });
            }
            None => others.push(fault),
        }
    }
    if others.is_empty() {
        Ok(items)
    } else {
        Err(AdminError::Invalid(others))
    }
}

fn line_of(text: &[u8]) -> Result<Body, Vec<FieldFault>> {
    match json::parse(text) {
        Ok(value) => object(value),
        Err(Unread::Syntax) => object(Value::Null),
        Err(Unread::Twice(faults)) => Err(faults),
    }
}

fn object(value: Value) -> Result<Body, Vec<FieldFault>> {
    match value {
        Value::Object(fields) => Ok(Body::of(fields)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(vec![FieldFault {
                pointer: String::new(),
                code: "invalid",
                message: "expected a JSON object".into(),
            }])
        }
    }
}

/// Reads all items; those that cannot be read have their result already.
async fn read_all(
    change: &mut Change,
    parts: &AdminParts,
    call: &Call,
    sent: Vec<Sent>,
) -> Result<(Vec<Wanted>, Vec<ImportItem>), AdminError> {
    let mut reader = Reader {
        snapshot: parts.shared.snapshot(),
        call,
        places: HashMap::new(),
        owners: HashMap::new(),
    };
    let (mut good, mut bad) = (Vec::with_capacity(sent.len()), Vec::new());
    for Sent { line, body } in sent {
        let read = match body {
            Ok(body) => reader.read(change, line, body).await?,
            Err(faults) => Err(faults),
        };
        match read {
            Ok(wanted) => good.push(wanted),
            Err(errors) => bad.push(refused(line, errors)),
        }
    }
    Ok((good, bad))
}

fn refused(line: usize, errors: Vec<FieldFault>) -> ImportItem {
    ImportItem {
        line,
        ok: false,
        id: None,
        errors,
    }
}

/// Reads items; what many of them name is looked up once.
struct Reader<'a> {
    snapshot: Arc<Snapshot>,
    call: &'a Call,
    /// Whether keys may be brought into a workspace.
    places: HashMap<Id, Result<(), Wrong>>,
    owners: HashMap<(Id, String), Option<Consumer>>,
}

impl Reader<'_> {
    async fn read(
        &mut self,
        change: &mut Change,
        line: usize,
        mut body: Body,
    ) -> Result<Result<Wanted, Vec<FieldFault>>, AdminError> {
        let now = change.write.now;
        let snapshot = Arc::clone(&self.snapshot);
        let format = &snapshot.key_format;
        let mut key = blank(now);
        // Whoever brings keys in could not have used them here: their inactivity begins now.
        key.marks.policy_enabled_at = Some(now);
        if !body.has("name") {
            body.fault("name", ("required", "this field is required".into()));
        }
        let chosen = body.optional("id", |value| id(value, Kind::Key, "key"));
        key.id = chosen.unwrap_or_else(|| Id::new(now));
        key.workspace = self.workspace(change, &mut body).await?;
        key.consumer = self.consumer(change, &mut body, key.workspace).await?;
        key.environment = body
            .optional("environment", |value| environment(value, format))
            .unwrap_or_else(|| format.environments().first().cloned().unwrap_or_default());
        fields::write(&mut body, &mut key, (&snapshot, &self.call.caller), now);
        let past = |value: &Value| past(value, now);
        key.created_at = body.optional("created_at", past).unwrap_or(now);
        key.usage.last_used_at = body.optional("last_used_at", past);
        key.usage.first_used_at = key.usage.last_used_at;
        let secret = secret(&mut body, format);
        let raw = secret.as_ref().is_some_and(|secret| secret.hint.is_some());
        let hashes = secret.as_ref().map(|secret| secret.forms.clone());
        key.secrets.extend(secret.map(|secret| SecretVersion {
            id: Id::new(now),
            number: 1,
            hash: secret.hash,
            algorithm: secret.algorithm,
            hint: secret.hint,
            created_at: key.created_at,
            retires_at: None,
            last_used_at: key.usage.last_used_at,
            last_used_ip: None,
            uses: 0,
        }));
        let faults = body.into_faults();
        if !faults.is_empty() {
            return Ok(Err(faults));
        }
        Ok(Ok(Wanted {
            line,
            key,
            hashes: hashes.unwrap_or_default(),
            chosen: chosen.is_some(),
            raw,
        }))
    }

    async fn workspace(&mut self, change: &mut Change, body: &mut Body) -> Result<Id, AdminError> {
        let named = body.optional("workspace", |value| id(value, Kind::Workspace, "workspace"));
        let place = named.unwrap_or_else(|| self.call.caller.home());
        if !self.places.contains_key(&place) {
            let found = match change.write.workspace(place).await {
                Ok(found) => self
                    .call
                    .caller
                    .check(Permission::KeysImport, &found.lineage),
                Err(StoreError::NotFound) => Err(AdminError::NotFound),
                Err(fault) => return Err(fault.into()),
            };
            let found = found.map_err(|fault| {
                if let AdminError::Forbidden(_) = fault {
                    ("forbidden", fault.to_string())
                } else {
                    ("unknown_value", "there is no such workspace".into())
                }
            });
            self.places.insert(place, found);
        }
        if let Some(Err(wrong)) = self.places.get(&place) {
            body.fault("workspace", wrong.clone());
        }
        Ok(place)
    }

    async fn consumer(
        &mut self,
        change: &mut Change,
        body: &mut Body,
        workspace: Id,
    ) -> Result<Option<Consumer>, AdminError> {
        let Some(named) = body.optional("consumer", text(1, 128)) else {
            return Ok(None);
        };
        if !matches!(self.places.get(&workspace), Some(Ok(()))) {
            return Ok(None);
        }
        let name = (workspace, named);
        if !self.owners.contains_key(&name) {
            let reaches = may_name(&self.call.caller);
            let found = change.write.consumer_named(&name.1, workspace, &reaches);
            let found = found.await?;
            self.owners.insert(name.clone(), found);
        }
        let found = self.owners.get(&name).cloned().flatten();
        if found.is_none() {
            let message = "there is no such consumer in this workspace or above";
            body.fault("consumer", ("unknown_value", message.into()));
        }
        Ok(found)
    }
}

/// A secret as it will be kept.
struct Secret {
    hash: KeyHash,
    algorithm: Algorithm,
    hint: Option<String>,
    /// Every form in which it may be there already.
    forms: Vec<String>,
}

fn secret(body: &mut Body, format: &KeyFormat) -> Option<Secret> {
    let both = body.has("secret") && body.has("hash");
    let neither = !body.has("secret") && !body.has("hash");
    if both || neither {
        body.fault("secret", ("required", "either `secret` or `hash`".into()));
    }
    let raw = body.optional("secret", |value| plain(value, format));
    let hashed = body.optional("hash", |value| {
        let read = value
            .as_str()
            .and_then(|text| KeyHash::parse_any(text).ok());
        read.map_or_else(
            || invalid("expected blake3: or sha256: and 64 hex digits"),
            Ok,
        )
    });
    if let Some(key) = raw {
        let sha256 = KeyHash::sha256_of(key.expose().as_bytes());
        return Some(Secret {
            hash: key.hash(),
            algorithm: Algorithm::Blake3,
            hint: Some(format.hint(&key)),
            forms: vec![key.hash().at_rest(), sha256.at_rest_as(Algorithm::Sha256)],
        });
    }
    hashed.map(|(hash, algorithm)| Secret {
        hash,
        algorithm,
        hint: None,
        forms: vec![hash.at_rest_as(algorithm)],
    })
}

/// A secret that a request can carry.
fn plain(value: &Value, format: &KeyFormat) -> Result<PlainKey, Wrong> {
    let Some(text) = value.as_str() else {
        return invalid("expected text");
    };
    if !(MIN_FOREIGN_LEN..=MAX_PRESENTED_LEN).contains(&text.len()) {
        let words = format!("must have {MIN_FOREIGN_LEN} to {MAX_PRESENTED_LEN} characters");
        return Err(("out_of_range", words));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return invalid(
            "must be printable ASCII without spaces, since it stands in a header field",
        );
    }
    let key = PlainKey::new(text.to_owned());
    match format.shape(text.as_bytes()) {
        Shape::Malformed => invalid("looks like one of our own keys, but its checksum is wrong"),
        Shape::Native | Shape::Foreign => Ok(key),
    }
}

fn past(value: &Value, now: Timestamp) -> Result<Timestamp, Wrong> {
    let at = time(value)?;
    if at > now {
        return Err(("out_of_range", "must not be in the future".into()));
    }
    Ok(at)
}

/// Takes out what is there already: among the items before, in the store, in the config file.
async fn take_out_taken(
    change: &mut Change,
    parts: &AdminParts,
    good: &mut Vec<Wanted>,
) -> Result<Vec<ImportItem>, AdminError> {
    let hashes: Vec<String> = good.iter().flat_map(|one| one.hashes.clone()).collect();
    let mut taken = change.write.taken_hashes(&hashes).await?;
    let chosen: Vec<Id> = good
        .iter()
        .filter(|one| one.chosen)
        .map(|one| one.key.id)
        .collect();
    let mut ids = change.write.taken_key_ids(&chosen).await?;
    let mut refusals = Vec::new();
    good.retain(|one| {
        let mut errors = Vec::new();
        let hidden = one.key.secrets.iter().any(|secret| {
            let there = parts.shared.keys.find_of(&secret.hash, secret.algorithm);
            there.is_some_and(|key| key.origin == Origin::File)
        });
        if hidden || one.hashes.iter().any(|hash| taken.contains(hash)) {
            errors.push(there_already(if one.raw { "/secret" } else { "/hash" }));
        }
        let declared = parts.shared.keys.declared_by_id(one.key.id).is_some();
        if one.chosen && (declared || ids.contains(&one.key.id)) {
            errors.push(there_already("/id"));
        }
        let free = errors.is_empty();
        if free {
            taken.extend(one.hashes.iter().cloned());
            ids.insert(one.key.id);
        } else {
            refusals.push(refused(one.line, errors));
        }
        free
    });
    Ok(refusals)
}

fn there_already(pointer: &str) -> FieldFault {
    FieldFault {
        pointer: pointer.into(),
        code: "key_taken",
        message: "there is such a key already".into(),
    }
}
