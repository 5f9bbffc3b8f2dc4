//! An imported key gets our own hash once its secret has been seen.

use super::fact;
use crate::domain::id::{Id, Kind};
use crate::domain::key::{Algorithm, KeyHash};
use crate::store::error::StoreError;
use crate::store::sql::Sql;
use crate::store::write::{Class, Write};

impl Write {
    /// Puts the blake3 of a secret in the place of the sha256 that it was imported with; whether it did. It does not where
    /// the secret is gone, has its blake3 already, or is another key's too. The sha256 stays beside it, so that nodes
    /// which know the key by that can forget it.
    pub async fn rehash(
        &mut self,
        key: Id,
        sha256: &KeyHash,
        blake3: &KeyHash,
    ) -> Result<bool, StoreError> {
        let (own, imported) = (blake3.at_rest(), sha256.at_rest_as(Algorithm::Sha256));
        let mut taken = Sql::new("SELECT key_id FROM secrets WHERE hash = ");
        taken.bind(own.clone());
        let taken = taken.query().fetch_optional(self.connection()).await?;
        if taken.is_some() {
            return Ok(false);
        }
        let mut update = Sql::new("UPDATE secrets SET hash = ");
        update.bind(own).push(", imported_hash = ");
        update.bind(imported.clone()).push(" WHERE key_id = ");
        update.bind(key.text(Kind::Key).to_string());
        update.push(" AND hash = ").bind(imported);
        if self.run(update).await? == 0 {
            return Ok(false);
        }
        let record = self.key(key).await?;
        let mut fact = fact(&record, "key.rehashed");
        fact.class = Class::System;
        fact.event = None;
        fact.changes.insert("secrets".into(), "changed".into());
        self.record(fact).await?;
        Ok(true)
    }
}
