//! Many keys at once: rows in portions, one audit event for all of them.

use super::row::{columns, labels};
use crate::domain::id::{Id, Kind};
use crate::domain::key::KeyRecord;
use crate::store::error::StoreError;
use crate::store::sql::{Columns, Sql, Value, id};
use crate::store::write::Write;
use std::collections::HashSet;

/// Most ids or hashes that are asked for at once.
const NAMES: usize = 500;

impl Write {
    /// Keeps new keys. `revision`, `created_by` and `updated_*` are set here; nothing is recorded, but the data plane is
    /// told to look at them.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when an id or a secret is there already; see [`Write::taken_hashes`].
    pub async fn insert_keys(&mut self, keys: &mut [KeyRecord]) -> Result<(), StoreError> {
        for key in &mut *keys {
            self.sign(key);
            key.created_by = self.actor().text();
        }
        let rows = keys.iter().map(columns).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<&str> = rows
            .first()
            .map(|row| row.iter().map(|(name, _)| *name).collect())
            .unwrap_or_default();
        let rows = rows
            .into_iter()
            .map(|row| row.into_iter().map(|(_, value)| value).collect())
            .collect();
        self.insert_rows("keys", &names, rows).await?;
        let secrets = keys.iter().flat_map(secret_rows).collect();
        self.insert_rows("secrets", &SECRET_COLUMNS, secrets)
            .await?;
        self.put_label_rows(&*keys).await?;
        let ids: Vec<Id> = keys.iter().map(|key| key.id).collect();
        self.touch_keys(&ids);
        Ok(())
    }

    /// Writes what keys are found by.
    pub(super) async fn put_label_rows(
        &mut self,
        keys: impl IntoIterator<Item = &KeyRecord>,
    ) -> Result<(), StoreError> {
        let rows = keys.into_iter().flat_map(label_rows).collect();
        self.insert_rows("labels", &["kind", "value", "key_id"], rows)
            .await
    }

    /// Those of some hashes, as they stand at rest, that a secret has already, or was imported with.
    pub async fn taken_hashes(&mut self, hashes: &[String]) -> Result<HashSet<String>, StoreError> {
        let mut taken = HashSet::new();
        for batch in hashes.chunks(NAMES) {
            for column in ["hash", "imported_hash"] {
                let mut select = Sql::new("SELECT ");
                select
                    .push(column)
                    .push(" AS taken FROM secrets WHERE ")
                    .push(column)
                    .push(" IN (")
                    .bind_list(batch.iter().cloned())
                    .push(")");
                for row in select.query().fetch_all(self.connection()).await? {
                    taken.insert(row.text("taken")?);
                }
            }
        }
        Ok(taken)
    }

    /// Those of some ids that a key has already, deleted ones too.
    pub async fn taken_key_ids(&mut self, ids: &[Id]) -> Result<HashSet<Id>, StoreError> {
        let mut taken = HashSet::new();
        for batch in ids.chunks(NAMES) {
            let mut select = Sql::new("SELECT id FROM keys WHERE id IN (");
            select
                .bind_list(batch.iter().map(|id| id.text(Kind::Key).to_string()))
                .push(")");
            for row in select.query().fetch_all(self.connection()).await? {
                taken.insert(id(&row.text("id")?, Kind::Key)?);
            }
        }
        Ok(taken)
    }
}

const SECRET_COLUMNS: [&str; 10] = [
    "id",
    "key_id",
    "number",
    "hash",
    "hint",
    "created_at",
    "retires_at",
    "last_used_at",
    "last_used_ip",
    "uses",
];

fn secret_rows(key: &KeyRecord) -> impl Iterator<Item = Vec<Value>> {
    key.secrets.iter().map(|secret| {
        vec![
            secret.id.text(Kind::Secret).to_string().into(),
            key.id.text(Kind::Key).to_string().into(),
            secret.number.into(),
            secret.hash.at_rest_as(secret.algorithm).into(),
            secret.hint.clone().into(),
            secret.created_at.into(),
            secret.retires_at.into(),
            secret.last_used_at.into(),
            secret.last_used_ip.map(|ip| ip.to_string()).into(),
            secret.uses.into(),
        ]
    })
}

fn label_rows(key: &KeyRecord) -> impl Iterator<Item = Vec<Value>> {
    let id = key.id.text(Kind::Key).to_string();
    labels(key)
        .into_iter()
        .map(move |(kind, value)| vec![kind.into(), value.into(), id.clone().into()])
}
