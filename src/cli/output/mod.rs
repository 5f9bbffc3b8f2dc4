//! How answers are shown: tables for people, JSON and YAML as the gateway said it, ids for scripts.

mod cell;
mod table;

use super::client::Listed;
use super::{Failed, print, say};
use crate::clock::{Clock, SystemClock};
use crate::domain::time::Timestamp;
use clap::ValueEnum;
use serde_json::{Value, json};
use std::io::{self, IsTerminal};

pub(super) use cell::{Cell, keys, plain};
pub(super) use table::{Column, column};

/// The forms of an answer: for people, as the gateway says it, the same as YAML, ids only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
    Yaml,
    Name,
}

/// Standard output, and how wide and colourful it may be.
pub(super) struct Output {
    format: Format,
    color: bool,
    /// Of the terminal; without one, lines are as long as they are.
    width: Option<u16>,
    now: Timestamp,
}

impl Output {
    pub(super) fn new(format: Format, no_color: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        Self {
            format,
            color: terminal && !no_color,
            width: if terminal { table::width() } else { None },
            now: SystemClock::new().now(),
        }
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// A list, in the columns that fit.
    pub(super) fn list(&self, columns: &[Column], listed: &Listed) -> Result<(), Failed> {
        let Listed { rows, next, total } = listed;
        match self.format {
            Format::Table => {
                if rows.is_empty() {
                    say("nothing found");
                    return Ok(());
                }
                print(&table::list(columns, rows, &self.look()))?;
                if next.is_some() {
                    let of = total
                        .map(|total| format!(" of {total}"))
                        .unwrap_or_default();
                    say(&format!("{}{of} shown; --all shows all", rows.len()));
                }
                Ok(())
            }
            Format::Name => {
                for row in rows {
                    print(&name(row))?;
                }
                Ok(())
            }
            Format::Json | Format::Yaml => {
                let mut whole = json!({"data": rows, "next": next});
                if let Some(total) = total {
                    whole["total"] = json!(total);
                }
                self.one(&whole)
            }
        }
    }

    /// One object.
    pub(super) fn one(&self, object: &Value) -> Result<(), Failed> {
        match self.format {
            Format::Table => print(&table::object(object, &self.look()))?,
            Format::Json => print(&format!("{object:#}"))?,
            Format::Yaml => {
                let text = serde_saphyr::to_string(object)?;
                print(text.trim_end_matches('\n'))?;
            }
            Format::Name => {
                let name = name(object);
                if !name.is_empty() {
                    print(&name)?;
                }
            }
        }
        Ok(())
    }

    /// A row on its own, for lists that never end.
    pub(super) fn line(&self, columns: &[Column], row: &Value) -> String {
        table::line(columns, row, self.now)
    }

    /// A sentence instead of an object, for people only.
    pub(super) fn tell(&self, object: &Value, sentence: &str) -> Result<(), Failed> {
        match self.format {
            Format::Table => Ok(print(&plain(sentence))?),
            Format::Json | Format::Yaml | Format::Name => self.one(object),
        }
    }

    fn look(&self) -> table::Look {
        table::Look {
            color: self.color,
            width: self.width,
            now: self.now,
        }
    }
}

/// What a row is called: its id, or that of the object in it.
pub(super) fn name(object: &Value) -> String {
    let own = |object: &Value| {
        let id = object["id"].as_str().map(str::to_owned);
        id.or_else(|| object["sequence"].as_u64().map(|number| number.to_string()))
    };
    let inner = || object.as_object()?.values().find_map(own);
    plain(&own(object).or_else(inner).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ids() {
        for (object, want) in [
            (json!({"id": "key_1", "name": "ci"}), "key_1"),
            (
                json!({"revision": 3, "key": {"id": "key_1"}, "secret": "x"}),
                "key_1",
            ),
            (json!({"sequence": 7}), "7"),
            (json!({}), ""),
            (Value::Null, ""),
        ] {
            assert_eq!(name(&object), want);
        }
    }
}
