//! What the data plane needs of keys, and no more: all of them at the start, some of them after a change.

use super::is_served;
use crate::domain::consumer::Consumer;
use crate::domain::id::{Id, Kind};
use crate::domain::key::record::{KeyDetail, RecordedUse};
use crate::domain::key::{Algorithm, KeyHash, KeySpec, KeyState, Origin};
use crate::domain::method::MethodSet;
use crate::domain::route::{LocationKind, LocationSet};
use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::store::consumers;
use crate::store::error::StoreError;
use crate::store::sql::{Columns, Sql};
use futures_util::TryStreamExt;
use http::Method;
use sqlx::any::AnyRow;

/// One secret of a key, as the data plane wants it.
#[derive(Debug)]
pub struct LoadedKey {
    /// What it may do; `None`: the data plane must not know it.
    pub spec: Option<KeySpec>,
    /// Its hash.
    pub hash: KeyHash,
    /// How the hash was made.
    pub algorithm: Algorithm,
    /// The sha256 it was known by before its first use.
    pub replaces: Option<KeyHash>,
    /// Until when an older secret of its key is good beside it.
    pub rotating_until: Option<Timestamp>,
    /// When its key will go for want of use, if that was announced.
    pub inactive_at: Option<Timestamp>,
    /// Its use so far.
    pub usage: RecordedUse,
}

const SELECT: &str = "SELECT k.id, k.workspace, k.consumer, c.name AS consumer_name, c.limits AS consumer_limits, \
    k.name, k.environment, k.state, \
    k.not_before, k.expires_at, k.rotating_until, k.inactive_at, k.detail, s.hash, s.imported_hash, s.hint, s.retires_at, \
    s.last_used_at, s.last_used_ip, s.uses, k.first_used_at \
    FROM secrets s JOIN keys k ON k.id = s.key_id LEFT JOIN consumers c ON c.id = k.consumer";

impl Store {
    /// Every secret of every key that the data plane serves, as it stood at one revision, which is given first.
    pub async fn load_keys(&self, mut each: impl FnMut(LoadedKey)) -> Result<u64, StoreError> {
        let mut tx = self.reading().await?;
        let head = sqlx::query("SELECT revision FROM head WHERE id = 1")
            .fetch_one(&mut *tx)
            .await?;
        let mut select = Sql::new(SELECT);
        select.push(" WHERE k.state <> 'deleted'");
        let mut rows = select.query().fetch(&mut *tx);
        while let Some(row) = rows.try_next().await? {
            each(loaded(&row)?);
        }
        drop(rows);
        tx.commit().await?;
        head.natural("revision")
    }

    /// Number of secrets that [`Store::load_keys`] will give, about.
    pub async fn count_secrets(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT COUNT(*) AS number FROM secrets")
            .fetch_one(&self.pools.read)
            .await?;
        row.natural("number")
    }

    /// Every secret of these keys.
    pub async fn load_some(&self, ids: &[Id]) -> Result<Vec<LoadedKey>, StoreError> {
        let mut all = Vec::with_capacity(ids.len());
        for batch in ids.chunks(500) {
            let mut select = Sql::new(SELECT);
            select.push(" WHERE s.key_id IN (");
            select
                .bind_list(batch.iter().map(|id| id.text(Kind::Key).to_string()))
                .push(")");
            for row in select.query().fetch_all(&self.pools.read).await? {
                all.push(loaded(&row)?);
            }
        }
        Ok(all)
    }

    /// The secrets with these hashes, whichever way they were made.
    pub async fn load_by_hash(&self, hashes: &[KeyHash]) -> Result<Vec<LoadedKey>, StoreError> {
        let mut all = Vec::new();
        for batch in hashes.chunks(250) {
            let mut select = Sql::new(SELECT);
            select.push(" WHERE s.hash IN (");
            select
                .bind_list(batch.iter().flat_map(super::forms_at_rest))
                .push(")");
            for row in select.query().fetch_all(&self.pools.read).await? {
                all.push(loaded(&row)?);
            }
        }
        Ok(all)
    }
}

fn loaded(row: &AnyRow) -> Result<LoadedKey, StoreError> {
    let (hash, algorithm) = KeyHash::parse_any(&row.text("hash")?)
        .map_err(|fault| StoreError::Foreign(fault.to_string()))?;
    let state = row.text("state")?;
    let state = KeyState::parse(&state).ok_or(StoreError::Foreign(state))?;
    let usage = RecordedUse {
        first_used_at: row.maybe_time("first_used_at")?,
        last_used_at: row.maybe_time("last_used_at")?,
        last_used_ip: row
            .maybe_text("last_used_ip")?
            .and_then(|ip| ip.parse().ok()),
        uses: row.number("uses")?,
        refusals: 0,
    };
    let spec = if is_served(state) {
        Some(spec(row, (hash, algorithm), state)?)
    } else {
        None
    };
    let imported = row.maybe_text("imported_hash")?;
    let replaces = imported.and_then(|hash| Some(KeyHash::parse_any(&hash).ok()?.0));
    Ok(LoadedKey {
        spec,
        hash,
        algorithm,
        replaces,
        rotating_until: row.maybe_time("rotating_until")?,
        inactive_at: row.maybe_time("inactive_at")?,
        usage,
    })
}

fn spec(
    row: &AnyRow,
    (hash, algorithm): (KeyHash, Algorithm),
    state: KeyState,
) -> Result<KeySpec, StoreError> {
    let detail: KeyDetail = serde_json::from_str(&row.text("detail")?)?;
    let consumer = row.maybe_id("consumer", Kind::Consumer)?.map(|id| {
        Ok::<_, StoreError>(Consumer {
            id,
            name: row.maybe_text("consumer_name")?.unwrap_or_default(),
            limits: consumers::limits(row, "consumer_limits")?,
        })
    });
    let times: (Option<Timestamp>, Option<Timestamp>) =
        (row.maybe_time("not_before")?, row.maybe_time("expires_at")?);
    Ok(KeySpec {
        id: row.id("id", Kind::Key)?,
        name: row.text("name")?,
        origin: Origin::Store,
        workspace: row.id("workspace", Kind::Workspace)?,
        hash,
        algorithm,
        retires_at: row.maybe_time("retires_at")?,
        hint: row.maybe_text("hint")?,
        consumer: consumer.transpose()?,
        environment: row.text("environment")?,
        scopes: detail
            .scopes
            .iter()
            .filter_map(|scope| Scope::parse(scope))
            .collect(),
        routes: detail.routes,
        methods: methods(detail.methods.as_deref()),
        ip_allow: detail.ip_allow,
        locations: locations(detail.locations.as_deref()),
        limits: detail.limits,
        not_before: times.0,
        expires_at: times.1,
        state,
        metadata: detail.metadata,
    })
}

/// Names that the API has checked; one that is not known any more allows nothing.
fn methods(names: Option<&[String]>) -> MethodSet {
    let Some(names) = names else {
        return MethodSet::ANY;
    };
    names
        .iter()
        .filter_map(|name| Method::from_bytes(name.as_bytes()).ok())
        .fold(MethodSet::EMPTY, |set, method| {
            set.with(&method).unwrap_or(set)
        })
}

fn locations(names: Option<&[String]>) -> LocationSet {
    let Some(names) = names else {
        return LocationSet::ANY;
    };
    LocationKind::ALL
        .into_iter()
        .filter(|kind| names.iter().any(|name| name == kind.name()))
        .fold(LocationSet::EMPTY, LocationSet::with)
}
