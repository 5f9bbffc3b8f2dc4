//! `POST /v1/keys/bulk`: one act on many keys, some hundred in a transaction, so that others who change something need not
//! wait for all of them. What cannot be done to one key does not keep it from the others; each has its own result. Who
//! asks again after a fault in between finds done what was done: no act does more when it is done twice.
//!
//! Long because what a call asks, how it is carried out in portions and what becomes of each key are read together.

use super::create::may_name;
use super::view::managed;
use crate::admin::body::{Body, Wrong, flag, invalid, text, whole};
use crate::admin::call::Call;
use crate::admin::change::{Begun, Change, Reply, begin};
use crate::admin::error::AdminError;
use crate::admin::page::Parameters;
use crate::admin::schema::{IdempotencyKey, Refusals};
use crate::admin::server::AdminParts;
use crate::domain::consumer::Consumer;
use crate::domain::id::{Id, Kind};
use crate::domain::key::KeyRecord;
use crate::domain::key::acts::{Act, ActFault};
use crate::domain::role::Permission;
use crate::domain::workspace::{Lineage, root};
use crate::store::Fact;
use crate::store::keys::KeyQuery;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use utoipa::ToSchema;

/// Most keys that a call names.
const MOST_IDS: usize = 1000;
/// Keys that change in one transaction.
const AT_ONCE: usize = 500;
/// Most keys that a filter may find.
const MOST_FOUND: usize = 10_000;

/// One act on many keys.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct BulkAct {
    /// `disable`, `enable`, `revoke`, `delete`, `restore`, `retire`, `keep`, `transfer`.
    action: String,
    /// The keys; or `filter`.
    #[schema(max_items = 1000)]
    ids: Option<Vec<String>>,
    /// The filters of the list of keys; finds at most 10000 keys.
    filter: Option<BTreeMap<String, String>>,
    /// A code; for disable, revoke and delete.
    reason: Option<String>,
    /// Words; for disable, revoke and delete.
    text: Option<String>,
    /// Id or name, or null; for transfer.
    consumer: Option<String>,
    /// How many keys the caller saw; needed with `filter`. If there are others now, nothing is done.
    expected: Option<u64>,
    /// Say what would happen only.
    dry_run: Option<bool>,
}

/// What became of many keys.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct BulkResult {
    data: Vec<BulkItem>,
    changed: usize,
    failed: usize,
    dry_run: bool,
    revision: u64,
}

/// What became of one of them.
#[derive(Serialize, ToSchema)]
struct BulkItem {
    id: String,
    ok: bool,
    /// Its status now.
    status: Option<&'static str>,
    /// Why not.
    code: Option<&'static str>,
    message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Disable,
    Enable,
    Revoke,
    Delete,
    Restore,
    Retire,
    Keep,
    Transfer,
}

impl Action {
    /// Names in the API, what the audit log calls them, and what they need.
    const TABLE: [(Self, &'static str, &'static str, Permission); 8] = [
        (
            Self::Disable,
            "disable",
            "key.disabled",
            Permission::KeysWrite,
        ),
        (Self::Enable, "enable", "key.enabled", Permission::KeysWrite),
        (Self::Revoke, "revoke", "key.revoked", Permission::KeysEnd),
        (Self::Delete, "delete", "key.deleted", Permission::KeysEnd),
        (
            Self::Restore,
            "restore",
            "key.restored",
            Permission::KeysEnd,
        ),
        (Self::Retire, "retire", "key.retired", Permission::KeysWrite),
        (Self::Keep, "keep", "key.kept", Permission::KeysWrite),
        (
            Self::Transfer,
            "transfer",
            "key.transferred",
            Permission::KeysEnd,
        ),
    ];

    fn name(self) -> &'static str {
        Self::TABLE[self as usize].1
    }

    fn fact(self) -> &'static str {
        Self::TABLE[self as usize].2
    }

    fn permission(self) -> Permission {
        Self::TABLE[self as usize].3
    }

    fn read(value: &Value) -> Result<Self, Wrong> {
        let row = Self::TABLE.iter().find(|row| value.as_str() == Some(row.1));
        row.map(|row| row.0).ok_or_else(|| {
            let names = Self::TABLE.map(|row| row.1).join(", ");
            ("unknown_value", format!("action is one of {names}"))
        })
    }

    fn apply(self, key: &mut KeyRecord, act: Act, owner: Option<Consumer>) -> Result<(), ActFault> {
        let at = act.at;
        match self {
            Self::Disable => key.disable(act),
            Self::Enable => key.enable(at),
            Self::Revoke => key.revoke(act),
            Self::Delete => key.delete(act),
            Self::Restore => key.restore(at),
            Self::Retire => key.retire(None, at),
            Self::Keep => key.keep(at),
            Self::Transfer => key.transfer(owner),
        }
    }
}

/// What a body asks.
struct Wanted {
    action: Action,
    which: Which,
    reason: Option<String>,
    text: Option<String>,
    consumer: Option<String>,
    expected: Option<usize>,
    dry_run: bool,
}

enum Which {
    These(Vec<Id>),
    Found(Box<KeyQuery>, Option<Id>),
}

/// Does one thing with many keys.
#[utoipa::path(
    post, path = "/v1/keys/bulk", tag = "keys",
    params(IdempotencyKey, ("dry_run" = Option<bool>, Query, description = "Say what would happen only")),
    request_body = BulkAct,
    responses((status = 200, body = BulkResult, description = "Also when nothing could be done: see `failed`"), Refusals)
)]
pub(in crate::admin) async fn change_keys(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Response, AdminError> {
    let mut parameters = call.parameters();
    let dry_run = parameters.flag("dry_run").unwrap_or(false);
    parameters.finish()?;
    let mut wanted = read(call.json()?, &call)?;
    wanted.dry_run |= dry_run;
    call.caller.reach(wanted.action.permission())?;
    if let Which::Found(query, Some(workspace)) = &mut wanted.which {
        query.workspace = Some(super::subtree(&parts, &call, *workspace).await?);
    }
    let root = Lineage::new(vec![root()]);
    let sees_declared = call.caller.check(Permission::Read, &root).is_ok();
    let mut work = Work {
        parts: &parts,
        call: &call,
        wanted: &wanted,
        sees_declared,
        places: HashMap::new(),
        owners: HashMap::new(),
        saved: 0,
        committed: false,
        data: Vec::new(),
    };
    let answer = work.run().await;
    answer.map_err(|fault| {
        if work.committed {
            fault.midway()
        } else {
            fault
        }
    })
}

/// The keys that are meant, as they are now.
async fn choose(change: &mut Change, wanted: &Wanted) -> Result<Vec<Id>, AdminError> {
    let ids = match &wanted.which {
        Which::These(ids) => ids.clone(),
        Which::Found(query, _) => {
            let page = change.write.list_keys(query).await?;
            if page.more {
                return Err(AdminError::Conflict {
                    code: "too_many_keys",
                    message: format!(
                        "the filter finds more than {MOST_FOUND} keys: narrow it, or send ids in portions"
                    ),
                });
            }
            page.keys.iter().map(|key| key.id).collect()
        }
    };
    match wanted.expected {
        Some(expected) if expected != ids.len() => Err(AdminError::Conflict {
            code: "expected_mismatch",
            message: format!("{} keys are meant, not {expected}", ids.len()),
        }),
        Some(_) | None => Ok(ids),
    }
}

/// A key's status after the act, or why it was not done.
type Done = Result<&'static str, (&'static str, String)>;

struct Work<'a> {
    parts: &'a AdminParts,
    call: &'a Call,
    wanted: &'a Wanted,
    sees_declared: bool,
    places: HashMap<Id, Lineage>,
    owners: HashMap<Id, Option<Consumer>>,
    /// Keys that are another now, in this transaction and those before it.
    saved: usize,
    /// Whether some of that is true already.
    committed: bool,
    data: Vec<BulkItem>,
}

impl Work<'_> {
    /// Portion by portion. The reply is remembered with the last; who asks again before that acts on all of them anew.
    async fn run(&mut self) -> Result<Response, AdminError> {
        let mut change = match begin(self.parts, self.call).await? {
            Begun::Replay(answer) => return Ok(answer),
            Begun::Change(change) => change,
        };
        let ids = choose(&mut change, self.wanted).await?;
        let mut portions = ids.chunks(AT_ONCE).peekable();
        while let Some(portion) = portions.next() {
            let before = self.saved;
            self.act_on(&mut change, portion).await?;
            if portions.peek().is_none() {
                break;
            }
            let Change { write, .. } = *change;
            if self.saved > before && !self.wanted.dry_run {
                write.commit().await?;
                self.committed = true;
            } else {
                drop(write);
            }
            change = match begin(self.parts, self.call).await? {
                // The same call, sent again meanwhile, was faster.
                Begun::Replay(answer) => return Ok(answer),
                Begun::Change(change) => change,
            };
        }
        self.finish(change, ids.len() > AT_ONCE).await
    }

    async fn act_on(&mut self, change: &mut Change, ids: &[Id]) -> Result<(), AdminError> {
        let keys = change.write.keys(ids).await?;
        let mut keys: HashMap<Id, KeyRecord> = keys.into_iter().map(|key| (key.id, key)).collect();
        for id in ids {
            let done = self.act(change, *id, keys.remove(id)).await?;
            self.data.push(item(*id, done));
        }
        Ok(())
    }

    async fn finish(
        &mut self,
        mut change: Box<Change>,
        in_portions: bool,
    ) -> Result<Response, AdminError> {
        let data = std::mem::take(&mut self.data);
        let failed = data.iter().filter(|item| !item.ok).count();
        let changed = data.len() - failed;
        if self.wanted.dry_run || self.saved == 0 {
            change.only_try();
        } else if in_portions {
            // The last portion may have changed nothing; the reply is remembered with this then.
            let mut fact = Fact::new("keys.bulk_ended", self.call.caller.home(), "keys");
            for (name, value) in [
                ("action", json!(self.wanted.action.name())),
                ("changed", json!(changed)),
                ("failed", json!(failed)),
            ] {
                fact.changes.insert(name.into(), value);
            }
            change.write.record(fact).await?;
        }
        let result = BulkResult {
            changed,
            failed,
            data,
            dry_run: self.wanted.dry_run,
            revision: change.write.revision,
        };
        let body = serde_json::to_value(result).map_err(|_| AdminError::Internal)?;
        change.finish(self.parts, Reply::ok("bulk", body)).await
    }

    async fn act(
        &mut self,
        change: &mut Change,
        id: Id,
        key: Option<KeyRecord>,
    ) -> Result<Done, AdminError> {
        let wanted = self.wanted;
        let keys = &self.parts.shared.keys;
        if self.sees_declared && keys.declared_by_id(id).is_some() {
            let message = "this key is declared in the config file and is changed there";
            return Ok(Err(("managed_by_file", message.into())));
        }
        let Some(before) = key else {
            return Ok(not_there());
        };
        if let Entry::Vacant(free) = self.places.entry(before.workspace) {
            free.insert(change.write.workspace(before.workspace).await?.lineage);
        }
        let place = self.places.get(&before.workspace);
        let allowed = place.map(|place| self.call.caller.check(wanted.action.permission(), place));
        match allowed {
            Some(Ok(())) => {}
            Some(Err(AdminError::Forbidden(permission))) => {
                return Ok(Err((
                    "forbidden",
                    format!("this needs the permission `{permission}`"),
                )));
            }
            Some(Err(_)) | None => return Ok(not_there()),
        }
        let owner = match self.owner(change, &before).await? {
            Ok(owner) => owner,
            Err(wrong) => return Ok(Err(wrong)),
        };
        let act = Act {
            by: change.write.actor().text(),
            at: change.write.now,
            reason: wanted.reason.clone(),
            text: wanted.text.clone(),
        };
        let mut after = before.clone();
        if let Err(fault) = wanted.action.apply(&mut after, act, owner) {
            return Ok(Err((fault.code(), fault.to_string())));
        }
        if after != before {
            self.saved += 1;
            if !wanted.dry_run {
                let action = wanted.action.fact();
                after = change.write.save_key(&before, after, action).await?;
            }
        }
        Ok(Ok(managed(&after, self.parts, change.write.now).status))
    }

    /// To whom a key goes: the consumer of this name that is nearest to it.
    async fn owner(
        &mut self,
        change: &mut Change,
        key: &KeyRecord,
    ) -> Result<Result<Option<Consumer>, (&'static str, String)>, AdminError> {
        let Some(named) = &self.wanted.consumer else {
            return Ok(Ok(None));
        };
        if let Entry::Vacant(free) = self.owners.entry(key.workspace) {
            let reaches = may_name(&self.call.caller);
            let found = change.write.consumer_named(named, key.workspace, &reaches);
            free.insert(found.await?);
        }
        let found = self.owners.get(&key.workspace).cloned().flatten();
        Ok(found.map(Some).ok_or_else(|| {
            let message = "there is no such consumer in the key's workspace or above";
            ("unknown_value", message.into())
        }))
    }
}

fn not_there() -> Done {
    Err(("not_found", "there is no such key".into()))
}

fn item(id: Id, done: Done) -> BulkItem {
    let (status, fault) = match done {
        Ok(status) => (Some(status), None),
        Err(fault) => (None, Some(fault)),
    };
    let (code, message) = fault.unzip();
    BulkItem {
        id: id.text(Kind::Key).to_string(),
        ok: status.is_some(),
        status,
        code,
        message,
    }
}

fn read(mut body: Body, call: &Call) -> Result<Wanted, AdminError> {
    let action = body.required("action", Action::read);
    let ids = body.list("ids", MOST_IDS, |value| {
        super::create::id(value, Kind::Key, "key")
    });
    let filter = body.entries("filter", |_, value| Ok(filter(value)));
    let (ids, filter) = (ids.flatten(), filter.flatten());
    let named_both = ids.is_some() == filter.is_some();
    if named_both && !body.has_faults() {
        body.fault("ids", ("required", "either `ids` or `filter`".into()));
    }
    let expected = body.optional("expected", |value| {
        // As many as do not fit are certainly not there.
        whole(value).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    });
    let dry_run = body.optional("dry_run", flag).unwrap_or(false);
    if filter.is_some() && expected.is_none() && !dry_run && !call.is_dry() {
        let message = "say how many keys you saw; a dry run tells";
        body.fault("expected", ("required", message.into()));
    }
    let transfer = action == Some(Action::Transfer);
    if transfer && !body.has("consumer") {
        body.fault("consumer", ("required", "an id, a name, or null".into()));
    }
    let consumer = if transfer {
        body.optional("consumer", text(1, 128))
    } else {
        None
    };
    let (mut reason, mut words) = (None, None);
    if matches!(
        action,
        Some(Action::Disable | Action::Revoke | Action::Delete) | None
    ) {
        reason = body.optional("reason", text(1, 64));
        words = body.optional("text", text(1, 1024));
    }
    let mut query = KeyQuery::all(call.caller.reach(Permission::Read)?);
    query.limit = MOST_FOUND;
    query.descending = false;
    let which = match filter {
        Some(filter) => {
            let workspace = find(&mut body, filter, &mut query);
            Which::Found(Box::new(query), workspace)
        }
        None => Which::These(ids.unwrap_or_default()),
    };
    body.finish()?;
    Ok(Wanted {
        action: action.ok_or(AdminError::Internal)?,
        which,
        reason,
        text: words,
        consumer,
        expected,
        dry_run,
    })
}

/// Reads the filters of a body as those of a query string; the workspace that is named.
fn find(
    body: &mut Body,
    filter: Vec<(String, Result<String, Wrong>)>,
    query: &mut KeyQuery,
) -> Option<Id> {
    let mut pairs = Vec::with_capacity(filter.len());
    for (name, value) in filter {
        match value {
            Ok(text) => pairs.push((name, text)),
            // That there is no such filter goes before what it holds.
            Err(_) if !is_filter(&name, query) => pairs.push((name, String::new())),
            Err(wrong) => body.fault_below("filter", &name, wrong),
        }
    }
    let mut parameters = Parameters::new(&pairs);
    let workspace = super::filters(&mut parameters, query);
    body.faults_in("filter", parameters.into_faults());
    workspace
}

/// Whether the filters have one of this name.
fn is_filter(name: &str, query: &KeyQuery) -> bool {
    let mut alone = Parameters::new(&[(name.to_owned(), String::new())]);
    super::filters(&mut alone, &mut query.clone());
    let faults = alone.into_faults();
    faults.iter().all(|fault| fault.code != "unknown_field")
}

/// A filter in a body, as it stands in a query string.
fn filter(value: &Value) -> Result<String, Wrong> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            invalid("expected text, true or false")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_in_the_order_of_their_table() {
        for (place, row) in Action::TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, place);
        }
    }
}
