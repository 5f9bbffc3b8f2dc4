//! Words that the gateway keeps for itself between starts, by name.

use super::Store;
use super::error::StoreError;
use super::sql::{Columns, Sql};
use crate::domain::time::Timestamp;

impl Store {
    /// What was kept under a name.
    pub(super) async fn setting(&self, name: &'static str) -> Result<Option<String>, StoreError> {
        let mut select = Sql::new("SELECT value FROM settings WHERE name = ");
        select.bind(name);
        let found = select.query().fetch_optional(&self.pools.read).await?;
        found.map(|row| row.text("value")).transpose()
    }

    /// A time that was kept under a name.
    pub(super) async fn setting_time(
        &self,
        name: &'static str,
    ) -> Result<Option<Timestamp>, StoreError> {
        let found = self.setting(name).await?;
        Ok(found
            .and_then(|text| text.parse().ok())
            .map(Timestamp::from_millis))
    }

    /// Keeps a word under a name, instead of what was there.
    pub(super) async fn put_setting(
        &self,
        name: &'static str,
        value: &str,
    ) -> Result<(), StoreError> {
        let mut put = Sql::new("INSERT INTO settings (name, value) VALUES (");
        put.bind(name).push(", ").bind(value);
        put.push(") ON CONFLICT (name) DO UPDATE SET value = excluded.value");
        put.query().execute(&self.pools.write).await?;
        Ok(())
    }

    /// Keeps a word under a name only if what is there is what was seen; whether it was.
    pub(super) async fn swap_setting(
        &self,
        name: &'static str,
        seen: Option<&str>,
        value: &str,
    ) -> Result<bool, StoreError> {
        let swap = match seen {
            None => {
                let mut insert = Sql::new("INSERT INTO settings (name, value) VALUES (");
                insert.bind(name).push(", ").bind(value);
                insert.push(") ON CONFLICT (name) DO NOTHING");
                insert
            }
            Some(seen) => {
                let mut update = Sql::new("UPDATE settings SET value = ");
                update.bind(value).push(" WHERE name = ").bind(name);
                update.push(" AND value = ").bind(seen);
                update
            }
        };
        let done = swap.query().execute(&self.pools.write).await?;
        Ok(done.rows_affected() > 0)
    }
}
