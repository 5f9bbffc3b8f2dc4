//! A statement that is put together from parts, with its values apart; and rows read by name.

use super::error::StoreError;
use crate::domain::id::{Id, Kind};
use crate::domain::time::Timestamp;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Row};
use std::fmt::Write;

/// Most values with names of a statement that writes rows. Both databases take a hundred times as many, but `SQLite` goes
/// through the names of all parameters for each of them, so that the work grows with their square.
pub(super) const VALUES: usize = 256;

/// A value for a `$1`.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Number(Some(time.as_millis()))
    }
}

impl From<Option<Timestamp>> for Value {
    fn from(time: Option<Timestamp>) -> Self {
        Self::Number(time.map(Timestamp::as_millis))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

/// Text of a statement, made of constants of ours only, and the values it names.
#[derive(Debug, Default, Clone)]
pub(super) struct Sql {
    text: String,
    values: Vec<Value>,
    /// Whether values are found by where they stand alone.
    unnamed: bool,
}

impl Sql {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// With `?` in place of `$n`; see [`Dialect::many`](super::dialect::Dialect::many).
    pub(super) fn unnamed(text: &str) -> Self {
        Self {
            text: text.into(),
            unnamed: true,
            ..Self::default()
        }
    }

    /// Whether there is no text yet.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// More text; never anything that came from outside.
    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// A value, as the next `$n`.
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        if self.unnamed {
            return self.push("?");
        }
        // Writing to a String cannot fail.
        let _ = write!(self.text, "${}", self.values.len());
        self
    }

    /// Values with commas between them.
    pub(super) fn bind_list<T: Into<Value>>(
        &mut self,
        values: impl IntoIterator<Item = T>,
    ) -> &mut Self {
        for (place, value) in values.into_iter().enumerate() {
            if place > 0 {
                self.push(", ");
            }
            self.bind(value);
        }
        self
    }

    pub(super) fn query(self) -> Query<'static, Any, AnyArguments> {
        let query = sqlx::query(AssertSqlSafe(self.text));
        self.values
            .into_iter()
            .fold(query, |query, value| match value {
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
            })
    }
}

/// Reads columns by name; what cannot be read was not written by us.
pub(super) trait Columns {
    fn text(&self, name: &str) -> Result<String, StoreError>;
    fn maybe_text(&self, name: &str) -> Result<Option<String>, StoreError>;
    fn number(&self, name: &str) -> Result<i64, StoreError>;
    fn maybe_number(&self, name: &str) -> Result<Option<i64>, StoreError>;

    fn time(&self, name: &str) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_millis(self.number(name)?))
    }

    fn maybe_time(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.maybe_number(name)?.map(Timestamp::from_millis))
    }

    fn id(&self, name: &str, kind: Kind) -> Result<Id, StoreError> {
        id(&self.text(name)?, kind)
    }

    fn maybe_id(&self, name: &str, kind: Kind) -> Result<Option<Id>, StoreError> {
        self.maybe_text(name)?
            .map(|text| id(&text, kind))
            .transpose()
    }

    /// A count or a revision.
    fn natural(&self, name: &str) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.number(name)?).unwrap_or_default())
    }
}

impl Columns for AnyRow {
    fn text(&self, name: &str) -> Result<String, StoreError> {
        Ok(self.try_get(name)?)
    }

    fn maybe_text(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.try_get(name)?)
    }

    fn number(&self, name: &str) -> Result<i64, StoreError> {
        Ok(self.try_get(name)?)
    }

    fn maybe_number(&self, name: &str) -> Result<Option<i64>, StoreError> {
        Ok(self.try_get(name)?)
    }
}

/// An id in its text form.
pub(super) fn id(text: &str, kind: Kind) -> Result<Id, StoreError> {
    Id::parse(kind, text)
        .ok_or_else(|| StoreError::Foreign(format!("`{text}` is no id of this kind")))
}

/// A condition that an index serves: a column of words begins with this one.
pub(super) fn begins(sql: &mut Sql, column: &str, word: &str) {
    sql.push(column).push(" >= ").bind(word);
    sql.push(" AND ").push(column).push(" < ");
    // No word holds the last code point there is.
    sql.bind(format!("{word}\u{10ffff}"));
}

/// Words that begin what `q` looks for: lower case, split where there is neither letter nor digit.
pub(super) fn words(text: &str) -> Vec<String> {
    text.split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}
