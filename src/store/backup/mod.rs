//! A copy of everything in one file, as it stood at one revision. The file is the same for both databases: rows of text and
//! numbers, table by table.

mod restore;

use super::Store;
use super::dialect::Dialect;
use super::error::StoreError;
use super::frame::{Format, FrameFault, FrameReader, FrameWriter};
use super::sql::Columns;
use crate::domain::time::Timestamp;
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

pub(in crate::store) const FORMAT: Format = Format {
    name: b"keygate   backup",
    version: 1,
};
/// Rows are written in blocks of at most so many, and of about [`BLOCK_BYTES`].
const BLOCK_ROWS: usize = 1000;
const BLOCK_BYTES: usize = 256 << 10;
/// What sqlx keeps for itself; made by whoever opens the store.
const MIGRATIONS: &str = "_sqlx_migrations";
/// The one row that says which store this is and how far it is.
const HEAD: &str = "head";

/// Why there is no backup, or why it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupFault {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file.
    #[error(transparent)]
    File(#[from] FrameFault),
    /// The file cannot be written.
    #[error(transparent)]
    Unwritable(#[from] io::Error),
    /// The file is of a later version of the program.
    #[error("its tables have version {0}; this program knows them up to version {1}")]
    Newer(i64, i64),
    /// There is something in the store already.
    #[error("the store is not empty; `--replace` replaces everything in it")]
    InUse,
}

impl From<sqlx::Error> for BackupFault {
    fn from(fault: sqlx::Error) -> Self {
        Self::Store(fault.into())
    }
}

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The store it was made of, see [`Store::identity`].
    pub store: String,
    /// The revision it shows.
    pub revision: u64,
    /// When it was made, in milliseconds.
    at: i64,
    /// The program that made it.
    pub program: String,
    /// Version of the tables.
    pub(in crate::store) schema: i64,
    /// What is in it.
    pub tables: Vec<TableContents>,
}

/// One table of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableContents {
    /// Its name.
    pub name: String,
    columns: Vec<String>,
    /// Number of its rows.
    pub rows: u64,
}

impl Contents {
    /// When it was made.
    pub fn made_at(&self) -> Timestamp {
        Timestamp::from_millis(self.at)
    }

    /// Number of rows in all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}

/// Some rows of the table in this place of [`Contents::tables`].
#[derive(Serialize, Deserialize)]
struct Rows {
    table: usize,
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::store) enum Cell {
    Null,
    Number(i64),
    Text(String),
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum ColumnKind {
    Text,
    Number,
}

/// Tables with their columns.
pub(in crate::store) type Layout = BTreeMap<String, Vec<(String, ColumnKind)>>;

impl Store {
    /// Writes everything into a file, as it stands at one revision, while others go on writing. `progress` hears how many
    /// rows of how many are done.
    pub async fn backup(
        &self,
        place: &Path,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Contents, BackupFault> {
        let mut tx = self.reading().await?;
        let layout = layout(self.dialect, &mut tx).await?;
        let contents = self.contents(&mut tx, &layout).await?;
        let mut file = FrameWriter::create(place, FORMAT)?;
        file.block(&encode(&contents)?)?;
        let mut done = 0;
        for (table, about) in contents.tables.iter().enumerate() {
            let columns = layout.get(&about.name).map_or(&[][..], Vec::as_slice);
            let select = select(&about.name, columns);
            let mut found = sqlx::query(AssertSqlSafe(select)).fetch(&mut *tx);
            let mut rows = Rows {
                table,
                rows: Vec::new(),
            };
            let mut bytes = 0;
            while let Some(row) = found.try_next().await? {
                let cells = cells(&row, columns)?;
                bytes += cells.iter().map(Cell::bytes).sum::<usize>();
                rows.rows.push(cells);
                if rows.rows.len() == BLOCK_ROWS || bytes > BLOCK_BYTES {
                    done += rows.write(&mut file)?;
                    bytes = 0;
                    progress(done, contents.rows());
                }
            }
            done += rows.write(&mut file)?;
        }
        progress(done, contents.rows());
        tx.commit().await?;
        file.finish()?;
        Ok(contents)
    }

    async fn contents(
        &self,
        connection: &mut AnyConnection,
        layout: &Layout,
    ) -> Result<Contents, StoreError> {
        let head = sqlx::query("SELECT store, revision FROM head WHERE id = 1")
            .fetch_one(&mut *connection)
            .await?;
        let mut tables = Vec::new();
        for (name, columns) in layout {
            let count = format!("SELECT COUNT(*) AS number FROM \"{name}\"");
            let count = sqlx::query(AssertSqlSafe(count))
                .fetch_one(&mut *connection)
                .await?;
            tables.push(TableContents {
                name: name.clone(),
                columns: columns.iter().map(|(name, _)| name.clone()).collect(),
                rows: count.natural("number")?,
            });
        }
        Ok(Contents {
            store: head.text("store")?,
            revision: head.natural("revision")?,
            at: self.clock.now().as_millis(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            schema: schema(connection).await?,
            tables,
        })
    }
}

/// The tables of a store, as it stands.
pub(in crate::store) async fn layout(
    dialect: Dialect,
    connection: &mut AnyConnection,
) -> Result<Layout, StoreError> {
    let mut layout = Layout::new();
    for row in sqlx::query(dialect.columns()).fetch_all(connection).await? {
        let table = row.text("in_table")?;
        if table == MIGRATIONS {
            continue;
        }
        let kind = match &*row.text("kind")? {
            "text" => ColumnKind::Text,
            "bigint" => ColumnKind::Number,
            other => {
                return Err(StoreError::Foreign(format!(
                    "a column of {table} is {other}"
                )));
            }
        };
        let columns = layout.entry(table).or_default();
        columns.push((row.text("name")?, kind));
    }
    Ok(layout)
}

/// Version of the tables.
async fn schema(connection: &mut AnyConnection) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT MAX(version) AS version FROM _sqlx_migrations")
        .fetch_one(connection)
        .await?;
    row.number("version")
}

pub(in crate::store) fn select(table: &str, columns: &[(String, ColumnKind)]) -> String {
    let names: Vec<String> = columns
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    format!("SELECT {} FROM \"{table}\"", names.join(", "))
}

pub(in crate::store) fn cells(
    row: &AnyRow,
    columns: &[(String, ColumnKind)],
) -> Result<Vec<Cell>, StoreError> {
    let cell = |(place, (_, kind)): (usize, &(String, ColumnKind))| {
        Ok(match kind {
            ColumnKind::Text => row
                .try_get::<Option<String>, _>(place)?
                .map_or(Cell::Null, Cell::Text),
            ColumnKind::Number => row
                .try_get::<Option<i64>, _>(place)?
                .map_or(Cell::Null, Cell::Number),
        })
    };
    columns.iter().enumerate().map(cell).collect()
}

impl Cell {
    fn bytes(&self) -> usize {
        match self {
            Self::Null => 1,
            Self::Number(_) => 8,
            Self::Text(text) => text.len(),
        }
    }
}

impl Rows {
    /// Writes them as one block and forgets them; their number.
    fn write(&mut self, file: &mut FrameWriter) -> Result<u64, BackupFault> {
        let number = self.rows.len() as u64;
        if number > 0 {
            file.block(&encode(self)?)?;
            self.rows.clear();
        }
        Ok(number)
    }
}

fn encode(value: &impl Serialize) -> Result<Vec<u8>, FrameFault> {
    Ok(postcard::to_extend(value, Vec::new())?)
}

/// A backup that is whole: its checksum is right, and its rows are as many as it says.
struct Backup {
    file: FrameReader,
    contents: Contents,
}

impl Backup {
    fn open(place: &Path) -> Result<Self, FrameFault> {
        let mut file = FrameReader::open(place, FORMAT)?;
        let contents = first(&mut file)?;
        let mut backup = Self { file, contents };
        let mut found = vec![0; backup.contents.tables.len()];
        while let Some(rows) = backup.next()? {
            let table = backup.contents.tables.get(rows.table);
            let width = table.ok_or(FrameFault::Nonsense)?.columns.len();
            if rows.rows.iter().any(|row| row.len() != width) {
                return Err(FrameFault::Nonsense);
            }
            found[rows.table] += rows.rows.len() as u64;
        }
        let said = backup.contents.tables.iter().map(|table| table.rows);
        if !said.eq(found) {
            return Err(FrameFault::Nonsense);
        }
        backup.file.rewind()?;
        first(&mut backup.file)?;
        Ok(backup)
    }

    fn next(&mut self) -> Result<Option<Rows>, FrameFault> {
        let block = self.file.next_block()?;
        Ok(block.map(postcard::from_bytes).transpose()?)
    }
}

fn first(file: &mut FrameReader) -> Result<Contents, FrameFault> {
    let block = file.next_block()?.ok_or(FrameFault::Nonsense)?;
    Ok(postcard::from_bytes(block)?)
}
