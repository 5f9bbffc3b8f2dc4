//! The way back: everything of a backup in place of everything in the store, in one change, with a revision that is new to
//! every node.

use super::{Backup, BackupFault, Cell, ColumnKind, Contents, HEAD, Layout, Rows, layout, schema};
use crate::domain::actor::Actor;
use crate::domain::workspace;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::frame::FrameFault;
use crate::store::sql::{Sql, Value};
use crate::store::write::{Fact, Touched, Write};
use std::path::Path;

/// Most values of a statement.
const VALUES: usize = 900;

impl Store {
    /// Puts a backup in place of what is in the store. What is there is only replaced if the caller says so, and only once
    /// the whole file has been checked. `progress` hears how many rows of how many are done.
    pub async fn restore(
        &self,
        place: &Path,
        replace: bool,
        actor: &Actor,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Contents, BackupFault> {
        let mut backup = Backup::open(place)?;
        let contents = backup.contents.clone();
        let mut write = self.begin(actor).await?;
        let before = write.revision.saturating_sub(1);
        if before > 0 && !replace {
            return Err(BackupFault::InUse);
        }
        let known = schema(write.connection()).await?;
        if contents.schema > known {
            return Err(BackupFault::Newer(contents.schema, known));
        }
        let layout = layout(self.dialect, write.connection()).await?;
        let tables = fitting(&contents, &layout)?;
        // Whoever waits for the head would never let it go; nobody else writes there.
        let names = layout.keys().map(String::as_str);
        let names: Vec<&str> = names.filter(|name| *name != HEAD).collect();
        self.dialect.lock_tables(write.connection(), &names).await?;
        for name in names {
            let delete = Sql::new(&format!("DELETE FROM \"{name}\""));
            write.run(delete).await?;
        }
        let mut done = 0;
        while let Some(rows) = backup.next()? {
            done += rows.rows.len() as u64;
            let table = tables.get(rows.table).ok_or(FrameFault::Nonsense)?;
            table.put(rows, &mut write).await?;
            progress(done, contents.rows());
        }
        write.go_on().await?;
        // Nobody knows what was used between the backup and now.
        write.note_usage_gap().await?;
        write
            .record(fact(&contents, before, write.revision))
            .await?;
        write.commit().await?;
        Ok(contents)
    }
}

fn fact(contents: &Contents, before: u64, after: u64) -> Fact {
    let mut fact = Fact::new("store.restored", workspace::root(), "store");
    fact.touched = Some(Touched::Everything);
    fact.change("revision", before, after);
    fact.change(
        "backup_revision",
        serde_json::Value::Null,
        contents.revision,
    );
    fact
}

/// Where the rows of one table go.
struct Table<'a> {
    name: &'a str,
    columns: Vec<(&'a str, ColumnKind)>,
}

/// The tables of a backup as this store has them. Its names come from outside: none of them is used that is not ours.
fn fitting<'a>(contents: &Contents, layout: &'a Layout) -> Result<Vec<Table<'a>>, FrameFault> {
    let table = |about: &super::TableContents| {
        let (name, known) = layout.get_key_value(&about.name)?;
        let column = |wanted: &String| {
            let (name, kind) = known.iter().find(|(name, _)| name == wanted)?;
            Some((&**name, *kind))
        };
        Some(Table {
            name,
            columns: about.columns.iter().map(column).collect::<Option<_>>()?,
        })
    };
    let tables: Option<Vec<_>> = contents.tables.iter().map(table).collect();
    tables.ok_or(FrameFault::Nonsense)
}

impl Table<'_> {
    async fn put(&self, rows: Rows, write: &mut Write) -> Result<(), BackupFault> {
        if self.name == HEAD {
            return self.put_head(rows, write).await;
        }
        let at_a_time = (VALUES / self.columns.len().max(1)).max(1);
        let mut rows = rows.rows.into_iter().peekable();
        let names: Vec<String> = self.columns.iter().map(|(name, _)| quoted(name)).collect();
        while rows.peek().is_some() {
            let into = format!(
                "INSERT INTO {} ({}) VALUES ",
                quoted(self.name),
                names.join(", ")
            );
            let mut insert = Sql::new(&into);
            for (place, row) in rows.by_ref().take(at_a_time).enumerate() {
                insert.push(if place == 0 { "(" } else { ", (" });
                insert.bind_list(self.values(row)?).push(")");
            }
            write.run(insert).await?;
        }
        Ok(())
    }

    /// The head is locked by this change, so it is never taken away.
    async fn put_head(&self, rows: Rows, write: &mut Write) -> Result<(), BackupFault> {
        for row in rows.rows {
            let mut update = Sql::new("UPDATE head SET ");
            for (place, ((name, _), value)) in
                self.columns.iter().zip(self.values(row)?).enumerate()
            {
                update.push(if place == 0 { "" } else { ", " });
                update.push(&quoted(name)).push(" = ").bind(value);
            }
            update.push(" WHERE id = 1");
            write.run(update).await?;
        }
        Ok(())
    }

    fn values(&self, row: Vec<Cell>) -> Result<Vec<Value>, StoreError> {
        let value = |(cell, (name, kind)): (Cell, &(&str, ColumnKind))| match (cell, kind) {
            (Cell::Text(text), ColumnKind::Text) => Ok(Value::Text(Some(text))),
            (Cell::Number(number), ColumnKind::Number) => Ok(Value::Number(Some(number))),
            (Cell::Null, ColumnKind::Text) => Ok(Value::Text(None)),
            (Cell::Null, ColumnKind::Number) => Ok(Value::Number(None)),
            (Cell::Text(_), ColumnKind::Number) | (Cell::Number(_), ColumnKind::Text) => {
                let (table, wrong) = (self.name, "does not fit what the backup has for it");
                Err(StoreError::Foreign(format!("{table}.{name} {wrong}")))
            }
        };
        row.into_iter().zip(&self.columns).map(value).collect()
    }
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}
