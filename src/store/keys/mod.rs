//! Keys with their secrets: read, made, saved. What may be done with a key is decided in `domain::key::acts`; here it is
//! kept.

mod find;
mod import;
mod list;
mod load;
mod rehash;
mod review;
mod row;

pub use list::{KeyPage, KeyQuery, SortBy};
pub use load::LoadedKey;
pub use review::{Finding, Reason, ReviewQuery};

use super::Store;
use super::error::StoreError;
use super::sql::{Columns, Sql, VALUES};
use super::write::{Fact, Touched, Write};
use crate::domain::id::{Id, Kind};
use crate::domain::key::record::SecretVersion;
use crate::domain::key::{Algorithm, KeyHash, KeyRecord, KeyState};
use crate::domain::time::Timestamp;
use row::{columns, labels};
use serde_json::{Map, Value, json};

impl Store {
    /// A key, deleted ones too.
    pub async fn key(&self, id: Id) -> Result<KeyRecord, StoreError> {
        let mut connection = self.pools.read.acquire().await?;
        row::one(&mut connection, id).await
    }

    /// Several keys; those that are not there are left out.
    pub async fn keys(&self, ids: &[Id]) -> Result<Vec<KeyRecord>, StoreError> {
        let mut connection = self.pools.read.acquire().await?;
        row::some(&mut connection, ids).await
    }

    /// How many keys are deleted and can be restored: the data plane has none of them.
    pub async fn count_deleted_keys(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT COUNT(*) AS number FROM keys WHERE state = $1")
            .bind(KeyState::Deleted.name())
            .fetch_one(&self.pools.read)
            .await?;
        row.natural("number")
    }

    /// The keys of a consumer, by id.
    pub async fn key_ids_of(&self, consumer: Id) -> Result<Vec<Id>, StoreError> {
        let rows = sqlx::query("SELECT id FROM keys WHERE consumer = $1 ORDER BY id")
            .bind(consumer.text(Kind::Consumer).to_string())
            .fetch_all(&self.pools.read)
            .await?;
        rows.iter().map(|row| row.id("id", Kind::Key)).collect()
    }
}

impl Write {
    /// A key as it is inside this transaction.
    pub async fn key(&mut self, id: Id) -> Result<KeyRecord, StoreError> {
        row::one(self.connection(), id).await
    }

    /// Several keys as they are inside this transaction; those that are not there are left out.
    pub async fn keys(&mut self, ids: &[Id]) -> Result<Vec<KeyRecord>, StoreError> {
        row::some(self.connection(), ids).await
    }

    /// Keeps a new key. Its `revision`, `created_*` and `updated_*` are set here.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when its id or a secret is there already.
    pub async fn insert_key(
        &mut self,
        mut key: KeyRecord,
        action: &'static str,
    ) -> Result<KeyRecord, StoreError> {
        self.sign(&mut key);
        key.created_at = self.now;
        key.created_by = self.actor().text();
        self.put_key(&key).await?;
        let mut fact = fact(&key, action);
        differences(None, &key, &mut fact);
        self.record(fact).await?;
        Ok(key)
    }

    /// Writes a key's rows without recording anything.
    pub(in crate::store) async fn put_key(&mut self, key: &KeyRecord) -> Result<(), StoreError> {
        let row = columns(key)?;
        let mut insert = Sql::new("INSERT INTO keys (");
        let names: Vec<&str> = row.iter().map(|(name, _)| *name).collect();
        insert.push(&names.join(", ")).push(") VALUES (");
        insert
            .bind_list(row.into_iter().map(|(_, value)| value))
            .push(")");
        self.run(insert).await?;
        for secret in &key.secrets {
            self.put_secret(key.id, secret).await?;
        }
        self.put_labels(key).await
    }

    /// Saves what became of a key, and records the fields that differ. The same key comes back, with its new revision.
    pub async fn save_key(
        &mut self,
        before: &KeyRecord,
        mut after: KeyRecord,
        action: &'static str,
    ) -> Result<KeyRecord, StoreError> {
        self.sign(&mut after);
        self.update_key(before, &after).await?;
        let mut fact = fact(&after, action);
        differences(Some(before), &after, &mut fact);
        // Of this act, not of an older one that still stands or stands again.
        let note = after.state_note.as_ref();
        let older = [before.state_note.as_ref(), before.note_before.as_ref()];
        fact.reason = note
            .filter(|note| !older.contains(&Some(*note)))
            .and_then(|note| note.reason.clone());
        self.record(fact).await?;
        Ok(after)
    }

    async fn update_key(
        &mut self,
        before: &KeyRecord,
        after: &KeyRecord,
    ) -> Result<(), StoreError> {
        let id = after.id.text(Kind::Key).to_string();
        let mut update = Sql::new("UPDATE keys SET ");
        // Its use is written by the flush alone.
        let fixed = [
            "id",
            "created_at",
            "created_by",
            "first_used_at",
            "last_used_at",
            "last_used_ip",
            "uses",
            "refusals",
        ];
        let mut first = true;
        for (name, value) in columns(after)? {
            if fixed.contains(&name) {
                continue;
            }
            update
                .push(if first { "" } else { ", " })
                .push(name)
                .push(" = ")
                .bind(value);
            first = false;
        }
        update.push(", sweep_at = 0 WHERE id = ").bind(id.clone());
        if self.run(update).await? == 0 {
            return Err(StoreError::NotFound);
        }
        for secret in &after.secrets {
            match before.secrets.iter().find(|old| old.id == secret.id) {
                Some(old) if old == secret => {}
                Some(_) => {
                    let mut update = Sql::new("UPDATE secrets SET retires_at = ");
                    update
                        .bind(secret.retires_at)
                        .push(", hash = ")
                        .bind(secret.hash.at_rest_as(secret.algorithm));
                    update
                        .push(" WHERE id = ")
                        .bind(secret.id.text(Kind::Secret).to_string());
                    self.run(update).await?;
                }
                None => self.put_secret(after.id, secret).await?,
            }
        }
        let kept = |old: &SecretVersion| after.secrets.iter().any(|one| one.id == old.id);
        let gone = before.secrets.iter().filter(|old| !kept(old));
        self.drop_secrets(&gone.map(|old| old.id).collect::<Vec<_>>())
            .await?;
        if labels(before) != labels(after) {
            let mut gone = Sql::new("DELETE FROM labels WHERE key_id = ");
            gone.bind(id);
            self.run(gone).await?;
            self.put_labels(after).await?;
        }
        Ok(())
    }

    /// Removes a key for good; its events stay.
    pub async fn purge_key(&mut self, key: &KeyRecord) -> Result<(), StoreError> {
        let id = key.id.text(Kind::Key).to_string();
        for table in [
            "labels",
            "secrets",
            "inactivity_steps",
            "networks",
            "usage_hours",
            "usage_refusals",
        ] {
            let mut gone = Sql::new("DELETE FROM ");
            gone.push(table).push(" WHERE key_id = ").bind(id.clone());
            self.run(gone).await?;
        }
        let mut gone = Sql::new("DELETE FROM keys WHERE id = ");
        gone.bind(id);
        self.run(gone).await?;
        let mut fact = fact(key, "key.purged");
        fact.touched = None;
        self.record(fact).await.map(|_| ())
    }

    fn sign(&self, key: &mut KeyRecord) {
        key.revision = self.revision;
        key.updated_at = self.now;
        key.updated_by = self.actor().text();
    }

    async fn put_secret(&mut self, key: Id, secret: &SecretVersion) -> Result<(), StoreError> {
        let mut insert = Sql::new(
            "INSERT INTO secrets (id, key_id, number, hash, hint, created_at, retires_at, last_used_at, last_used_ip, uses) VALUES (",
        );
        insert
            .bind(secret.id.text(Kind::Secret).to_string())
            .push(", ");
        insert.bind(key.text(Kind::Key).to_string()).push(", ");
        insert.bind(secret.number).push(", ");
        insert
            .bind(secret.hash.at_rest_as(secret.algorithm))
            .push(", ");
        insert.bind(secret.hint.clone()).push(", ");
        insert.bind(secret.created_at).push(", ");
        insert.bind(secret.retires_at).push(", ");
        insert.bind(secret.last_used_at).push(", ");
        insert
            .bind(secret.last_used_ip.map(|ip| ip.to_string()))
            .push(", ");
        insert.bind(secret.uses).push(")");
        self.run(insert).await.map(|_| ())
    }

    /// Removes secrets for good. By their hashes the data plane is told to forget them: nothing else names them then.
    async fn drop_secrets(&mut self, ids: &[Id]) -> Result<(), StoreError> {
        for batch in ids.chunks(VALUES) {
            let names = || batch.iter().map(|id| id.text(Kind::Secret).to_string());
            let mut select = Sql::new("SELECT hash, imported_hash FROM secrets WHERE id IN (");
            select.bind_list(names()).push(")");
            let mut hashes = Vec::new();
            for row in select.query().fetch_all(self.connection()).await? {
                hashes.push(row.text("hash")?);
                hashes.extend(row.maybe_text("imported_hash")?);
            }
            let mut gone = Sql::new("DELETE FROM secrets WHERE id IN (");
            gone.bind_list(names()).push(")");
            self.run(gone).await?;
            self.touch("secret", hashes);
        }
        Ok(())
    }

    async fn put_labels(&mut self, key: &KeyRecord) -> Result<(), StoreError> {
        self.put_label_rows([key]).await
    }
}

/// A digest as it may stand in the store.
fn forms_at_rest(hash: &KeyHash) -> [String; 2] {
    [Algorithm::Blake3, Algorithm::Sha256].map(|algorithm| hash.at_rest_as(algorithm))
}

/// A fact about a key, for everybody who is told of such.
pub fn fact(key: &KeyRecord, action: &'static str) -> Fact {
    let id = key.id.text(Kind::Key).to_string();
    let mut fact = Fact::new(action, key.workspace, id.clone());
    fact.target_name = Some(key.name.clone());
    fact.touched = Some(Touched::Key(key.id));
    fact.event = Some(json!({
        "id": id,
        "name": key.name,
        "workspace": key.workspace.text(Kind::Workspace).to_string(),
        "consumer": key.consumer.as_ref().map(|one| one.id.text(Kind::Consumer).to_string()),
        "environment": key.environment,
        "state": key.state.name(),
        "hint": key.current().and_then(|secret| secret.hint.clone()),
        "expires_at": key.expires_at.map(|at| at.to_string()),
        "inactive_at": key.marks.inactive_at.map(|at| at.to_string()),
        "revision": key.revision,
    }));
    fact
}

/// The fields that differ, for the audit log; of a new key, those that it has. No hash is among them: a new secret is
/// "changed".
fn differences(before: Option<&KeyRecord>, after: &KeyRecord, fact: &mut Fact) {
    let mut old = before.map(fields).unwrap_or_default();
    for (name, new) in fields(after) {
        fact.change(&name, old.remove(&name).unwrap_or_default(), new);
    }
    for (name, gone) in old {
        fact.change(&name, gone, Value::Null);
    }
    let secrets = |key: &KeyRecord| {
        key.secrets
            .iter()
            .map(|secret| (secret.id, secret.retires_at, secret.hash))
            .collect::<Vec<_>>()
    };
    if before.map(secrets) != Some(secrets(after)) {
        fact.changes.insert("secrets".into(), "changed".into());
    }
}

/// A key's fields as the audit log tells of them.
fn fields(key: &KeyRecord) -> Map<String, Value> {
    let time = |at: Option<Timestamp>| json!(at.map(|at| at.to_string()));
    let owner = key.consumer.as_ref();
    let policy = key.inactivity;
    let own = [
        ("name", json!(key.name)),
        ("state", json!(key.state.name())),
        (
            "consumer",
            json!(owner.map(|one| one.id.text(Kind::Consumer).to_string())),
        ),
        ("environment", json!(key.environment)),
        ("not_before", time(key.not_before)),
        ("expires_at", time(key.expires_at)),
        (
            "inactivity",
            json!(
                policy.map(|policy| json!({"mode": policy.mode.name(), "after_ms": policy.after}))
            ),
        ),
        ("kept_at", time(key.marks.kept_at)),
    ];
    let mut fields: Map<String, Value> = own
        .map(|(name, value)| (name.into(), value))
        .into_iter()
        .collect();
    // What is not there is not in it either.
    if let Ok(Value::Object(detail)) = serde_json::to_value(&key.detail) {
        fields.extend(detail);
    }
    fields
}

/// Whether the data plane has a key with this state at all.
pub fn is_served(state: KeyState) -> bool {
    match state {
        KeyState::Active | KeyState::Disabled | KeyState::Revoked => true,
        KeyState::Deleted => false,
    }
}
