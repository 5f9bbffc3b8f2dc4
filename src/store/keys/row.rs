//! A key as rows, and back.

use crate::domain::consumer::Consumer;
use crate::domain::id::{Id, Kind};
use crate::domain::key::record::{
    Inactivity, InactivityMarks, InactivityMode, RecordedUse, SecretVersion, StateNote,
};
use crate::domain::key::{KeyHash, KeyRecord, KeyState};
use crate::store::consumers;
use crate::store::error::StoreError;
use crate::store::sql::{Columns, Sql, Value, words};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use std::collections::{BTreeSet, HashMap};

/// Columns of a key with its consumer's name; `k` and `c` are the tables.
pub(super) const COLUMNS: &str = "k.id, k.workspace, k.consumer, c.name AS consumer_name, c.limits AS consumer_limits, \
    k.name, k.environment, k.state, k.state_reason, k.state_text, k.state_by, k.state_at, k.state_before, \
    k.before_reason, k.before_text, k.before_by, k.before_at, k.not_before, k.expires_at, k.rotating_until, \
    k.inactivity_mode, k.inactivity_after, k.inactive_at, k.enabled_at, k.restored_at, k.kept_at, k.policy_enabled_at, \
    k.created_at, k.created_by, k.updated_at, k.updated_by, k.revision, k.first_used_at, k.last_used_at, \
    k.last_used_ip, k.uses, k.refusals, k.detail";
/// Behind `keys k`, where they come from.
pub(super) const WITH_CONSUMER: &str = " LEFT JOIN consumers c ON c.id = k.consumer";

/// Columns of the note on a key's state.
const STATE: [&str; 4] = ["state_reason", "state_text", "state_by", "state_at"];
/// And of the note on the state that a deleted key had.
const BEFORE: [&str; 4] = ["before_reason", "before_text", "before_by", "before_at"];

/// Most ids in one statement.
const BATCH: usize = 500;

pub(super) async fn one(connection: &mut AnyConnection, id: Id) -> Result<KeyRecord, StoreError> {
    let mut found = some(connection, &[id]).await?;
    found.pop().ok_or(StoreError::NotFound)
}

pub(super) async fn some(
    connection: &mut AnyConnection,
    ids: &[Id],
) -> Result<Vec<KeyRecord>, StoreError> {
    let mut all = Vec::with_capacity(ids.len());
    for batch in ids.chunks(BATCH) {
        let mut select = Sql::new("SELECT ");
        select
            .push(COLUMNS)
            .push(" FROM keys k")
            .push(WITH_CONSUMER);
        select.push(" WHERE k.id IN (");
        select
            .bind_list(batch.iter().map(|id| id.text(Kind::Key).to_string()))
            .push(")");
        let rows = select.query().fetch_all(&mut *connection).await?;
        all.extend(with_secrets(connection, &rows).await?);
    }
    Ok(all)
}

/// Keys of these rows, in their order, each with its secrets.
pub(super) async fn with_secrets(
    connection: &mut AnyConnection,
    rows: &[AnyRow],
) -> Result<Vec<KeyRecord>, StoreError> {
    let mut keys = rows.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    let mut secrets: HashMap<Id, Vec<SecretVersion>> = HashMap::new();
    for batch in keys.chunks(BATCH) {
        let mut select = Sql::new(
            "SELECT id, key_id, number, hash, hint, created_at, retires_at, last_used_at, last_used_ip, uses \
             FROM secrets WHERE key_id IN (",
        );
        select.bind_list(batch.iter().map(|key| key.id.text(Kind::Key).to_string()));
        select.push(") ORDER BY key_id, number DESC");
        for row in select.query().fetch_all(&mut *connection).await? {
            secrets
                .entry(row.id("key_id", Kind::Key)?)
                .or_default()
                .push(secret(&row)?);
        }
    }
    for key in &mut keys {
        key.secrets = secrets.remove(&key.id).unwrap_or_default();
    }
    Ok(keys)
}

fn key(row: &AnyRow) -> Result<KeyRecord, StoreError> {
    let state = row.text("state")?;
    let state = KeyState::parse(&state).ok_or(StoreError::Foreign(state))?;
    let consumer = row.maybe_id("consumer", Kind::Consumer)?.map(|id| {
        Ok::<_, StoreError>(Consumer {
            id,
            name: row.maybe_text("consumer_name")?.unwrap_or_default(),
            limits: consumers::limits(row, "consumer_limits")?,
        })
    });
    Ok(KeyRecord {
        id: row.id("id", Kind::Key)?,
        workspace: row.id("workspace", Kind::Workspace)?,
        consumer: consumer.transpose()?,
        name: row.text("name")?,
        environment: row.text("environment")?,
        state,
        state_note: note(row, STATE)?,
        state_before: row
            .maybe_text("state_before")?
            .and_then(|name| KeyState::parse(&name)),
        note_before: note(row, BEFORE)?,
        not_before: row.maybe_time("not_before")?,
        expires_at: row.maybe_time("expires_at")?,
        rotating_until: row.maybe_time("rotating_until")?,
        inactivity: inactivity(row)?,
        marks: InactivityMarks {
            enabled_at: row.maybe_time("enabled_at")?,
            restored_at: row.maybe_time("restored_at")?,
            kept_at: row.maybe_time("kept_at")?,
            policy_enabled_at: row.maybe_time("policy_enabled_at")?,
            inactive_at: row.maybe_time("inactive_at")?,
        },
        detail: serde_json::from_str(&row.text("detail")?)?,
        secrets: Vec::new(),
        usage: RecordedUse {
            first_used_at: row.maybe_time("first_used_at")?,
            last_used_at: row.maybe_time("last_used_at")?,
            last_used_ip: row
                .maybe_text("last_used_ip")?
                .and_then(|ip| ip.parse().ok()),
            uses: row.number("uses")?,
            refusals: row.number("refusals")?,
        },
        created_at: row.time("created_at")?,
        created_by: row.text("created_by")?,
        updated_at: row.time("updated_at")?,
        updated_by: row.text("updated_by")?,
        revision: row.natural("revision")?,
    })
}

fn note(row: &AnyRow, columns: [&str; 4]) -> Result<Option<StateNote>, StoreError> {
    let [reason, text, by, at] = columns;
    let Some(at) = row.maybe_time(at)? else {
        return Ok(None);
    };
    Ok(Some(StateNote {
        reason: row.maybe_text(reason)?,
        text: row.maybe_text(text)?,
        by: row.maybe_text(by)?.unwrap_or_default(),
        at,
    }))
}

fn inactivity(row: &AnyRow) -> Result<Option<Inactivity>, StoreError> {
    let (mode, after) = (
        row.maybe_text("inactivity_mode")?,
        row.maybe_number("inactivity_after")?,
    );
    let (Some(mode), Some(after)) = (mode, after) else {
        return Ok(None);
    };
    let mode = InactivityMode::parse(&mode).ok_or(StoreError::Foreign(mode))?;
    Ok(Some(Inactivity { mode, after }))
}

fn secret(row: &AnyRow) -> Result<SecretVersion, StoreError> {
    let (hash, algorithm) = KeyHash::parse_any(&row.text("hash")?)
        .map_err(|fault| StoreError::Foreign(fault.to_string()))?;
    Ok(SecretVersion {
        id: row.id("id", Kind::Secret)?,
        number: row.number("number")?,
        hash,
        algorithm,
        hint: row.maybe_text("hint")?,
        created_at: row.time("created_at")?,
        retires_at: row.maybe_time("retires_at")?,
        last_used_at: row.maybe_time("last_used_at")?,
        last_used_ip: row
            .maybe_text("last_used_ip")?
            .and_then(|ip| ip.parse().ok()),
        uses: row.number("uses")?,
    })
}

fn note_columns(
    note: Option<&StateNote>,
    columns: [&'static str; 4],
) -> [(&'static str, Value); 4] {
    let [reason, text, by, at] = columns;
    [
        (reason, note.and_then(|note| note.reason.clone()).into()),
        (text, note.and_then(|note| note.text.clone()).into()),
        (by, note.map(|note| note.by.clone()).into()),
        (at, note.map(|note| note.at).into()),
    ]
}

/// Names and values of a key's row.
pub(super) fn columns(key: &KeyRecord) -> Result<Vec<(&'static str, Value)>, StoreError> {
    let mut columns = vec![
        ("id", key.id.text(Kind::Key).to_string().into()),
        (
            "workspace",
            key.workspace.text(Kind::Workspace).to_string().into(),
        ),
        (
            "consumer",
            key.consumer
                .as_ref()
                .map(|one| one.id.text(Kind::Consumer).to_string())
                .into(),
        ),
        ("name", key.name.clone().into()),
        ("environment", key.environment.clone().into()),
        ("state", key.state.name().into()),
        (
            "state_before",
            key.state_before.map(|state| state.name().to_owned()).into(),
        ),
        ("not_before", key.not_before.into()),
        ("expires_at", key.expires_at.into()),
        ("rotating_until", key.rotating_until.into()),
        (
            "inactivity_mode",
            key.inactivity
                .map(|policy| policy.mode.name().to_owned())
                .into(),
        ),
        (
            "inactivity_after",
            key.inactivity.map(|policy| policy.after).into(),
        ),
        ("inactive_at", key.marks.inactive_at.into()),
        ("enabled_at", key.marks.enabled_at.into()),
        ("restored_at", key.marks.restored_at.into()),
        ("kept_at", key.marks.kept_at.into()),
        ("policy_enabled_at", key.marks.policy_enabled_at.into()),
        ("created_at", key.created_at.into()),
        ("created_by", key.created_by.clone().into()),
        ("updated_at", key.updated_at.into()),
        ("updated_by", key.updated_by.clone().into()),
        (
            "revision",
            i64::try_from(key.revision).unwrap_or(i64::MAX).into(),
        ),
        ("first_used_at", key.usage.first_used_at.into()),
        ("last_used_at", key.usage.last_used_at.into()),
        (
            "last_used_ip",
            key.usage.last_used_ip.map(|ip| ip.to_string()).into(),
        ),
        ("uses", key.usage.uses.into()),
        ("refusals", key.usage.refusals.into()),
        ("detail", serde_json::to_string(&key.detail)?.into()),
    ];
    columns.extend(note_columns(key.state_note.as_ref(), STATE));
    columns.extend(note_columns(key.note_before.as_ref(), BEFORE));
    Ok(columns)
}

/// What a key is found by: of its secrets, those that were good when it was last changed. The end of a grace is such a
/// change.
pub(super) fn labels(key: &KeyRecord) -> BTreeSet<(&'static str, String)> {
    let mut labels = BTreeSet::new();
    let hints = key
        .secrets
        .iter()
        .filter(|secret| key.has_in_use(secret))
        .filter_map(|secret| secret.hint.as_deref());
    let texts = [key.name.as_str()]
        .into_iter()
        .chain(key.detail.tags.iter().map(String::as_str))
        .chain(hints);
    for text in texts {
        labels.extend(words(text).into_iter().map(|word| ("word", word)));
    }
    labels.extend(
        key.detail
            .tags
            .iter()
            .map(|tag| ("tag", tag.to_lowercase())),
    );
    labels.extend(
        key.detail
            .scopes
            .iter()
            .map(|scope| ("scope", scope.clone())),
    );
    labels
}
