//! The keys in a file, one by one, as the JSON that the API takes: lines of NDJSON, or rows of CSV.

use crate::cli::{Failed, files};
use anyhow::anyhow;
use clap::ValueEnum;
use serde_json::{Map, Value};
use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;
use zeroize::Zeroizing;

/// Longer than any key.
const MAX_LINE: usize = 64 * 1024;
/// Columns of CSV that hold several values.
const LISTS: [&str; 6] = [
    "scopes",
    "routes",
    "methods",
    "ip_allow",
    "locations",
    "tags",
];

/// Fields that have columns of their own for what is in them, such as `metadata.plan`.
const OBJECTS: [&str; 3] = ["metadata", "limits", "inactivity"];

/// How a file tells of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    Ndjson,
    Csv,
}

/// A key of the file. It may hold a secret.
pub(super) struct Item {
    /// From 1.
    pub(super) line: u64,
    pub(super) json: Zeroizing<String>,
}

/// What is wrong with a line.
type Fault = (u64, String);

/// The keys of a file, in their order.
pub(super) struct Items {
    rows: Rows,
    bytes: Option<u64>,
    read: Rc<Cell<u64>>,
}

enum Rows {
    Lines {
        reader: Box<dyn BufRead>,
        line: u64,
    },
    Table {
        reader: Box<csv::Reader<Counted>>,
        header: csv::StringRecord,
    },
}

impl Items {
    pub(super) fn open(file: &Path, form: Option<Form>) -> Result<Self, Failed> {
        let (from, bytes): (Box<dyn Read>, Option<u64>) = if file == Path::new("-") {
            (Box::new(io::stdin()), None)
        } else {
            let opened = files::open(file)?;
            let bytes = opened.metadata().ok().map(|known| known.len());
            (Box::new(opened), bytes)
        };
        let is_csv = file
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("csv"));
        let form = form.unwrap_or(if is_csv { Form::Csv } else { Form::Ndjson });
        Self::read_from(from, bytes, form)
    }

    fn read_from(from: Box<dyn Read>, bytes: Option<u64>, form: Form) -> Result<Self, Failed> {
        let read = Rc::new(Cell::new(0));
        let from = Counted {
            from,
            read: Rc::clone(&read),
        };
        let rows = match form {
            Form::Ndjson => Rows::Lines {
                reader: Box::new(BufReader::new(from)),
                line: 0,
            },
            Form::Csv => {
                let mut reader = csv::ReaderBuilder::new()
                    .trim(csv::Trim::All)
                    .from_reader(from);
                let header = reader
                    .headers()
                    .map_err(|_| anyhow!("the first line of CSV has to name its columns"))?;
                let header = header.clone();
                Rows::Table {
                    reader: Box::new(reader),
                    header,
                }
            }
        };
        Ok(Self { rows, bytes, read })
    }

    /// Bytes in all, if it is a file.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// Bytes read so far.
    pub(super) fn read(&self) -> u64 {
        self.read.get()
    }

    /// The next key of this line or a later one.
    pub(super) fn next(&mut self, from: u64) -> Result<Option<Result<Item, Fault>>, Failed> {
        loop {
            let next = match &mut self.rows {
                Rows::Lines { reader, line } => next_line(reader, line)?,
                Rows::Table { reader, header } => next_row(reader, header)?,
            };
            let line = match &next {
                None => return Ok(None),
                Some(Ok(item)) => item.line,
                Some(Err((line, _))) => *line,
            };
            if line >= from {
                return Ok(next);
            }
        }
    }
}

fn next_line(
    reader: &mut dyn BufRead,
    line: &mut u64,
) -> Result<Option<Result<Item, Fault>>, Failed> {
    loop {
        let mut bytes = Zeroizing::new(Vec::new());
        let most = MAX_LINE as u64 + 1;
        if reader.take(most).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        *line += 1;
        if bytes.len() > MAX_LINE {
            while !bytes.ends_with(b"\n") && !bytes.is_empty() {
                bytes.clear();
                reader.take(most).read_until(b'\n', &mut bytes)?;
            }
            return Ok(Some(Err((*line, "longer than 64 KiB".into()))));
        }
        let text = bytes.trim_ascii();
        if text.is_empty() {
            continue;
        }
        // The parser's own words could repeat a part of a secret.
        let read = serde_json::from_slice::<Map<String, Value>>(text);
        let text = read.ok().and_then(|_| str::from_utf8(text).ok());
        let item = text.map(|text| Item {
            line: *line,
            json: Zeroizing::new(text.to_owned()),
        });
        return Ok(Some(
            item.ok_or_else(|| (*line, "not an object of JSON".into())),
        ));
    }
}

fn next_row(
    reader: &mut csv::Reader<Counted>,
    header: &csv::StringRecord,
) -> Result<Option<Result<Item, Fault>>, Failed> {
    let mut row = csv::StringRecord::new();
    match reader.read_record(&mut row) {
        Ok(false) => Ok(None),
        Ok(true) => {
            let line = row.position().map_or(0, csv::Position::line);
            let json = Zeroizing::new(object(header, &row).to_string());
            Ok(Some(Ok(Item { line, json })))
        }
        Err(fault) if fault.is_io_error() => {
            Err(anyhow!("the file cannot be read: {fault}").into())
        }
        Err(fault) => {
            let line = fault.position().map_or(0, csv::Position::line);
            let words = format!(
                "this row has another number of columns than the first, which has {}",
                header.len()
            );
            Ok(Some(Err((line, words))))
        }
    }
}

/// A row as an object: empty cells are not there.
fn object(header: &csv::StringRecord, row: &csv::StringRecord) -> Value {
    let mut key = Map::new();
    for (name, value) in header
        .iter()
        .zip(row)
        .filter(|(_, value)| !value.is_empty())
    {
        let within = name.split_once('.');
        if let Some((field, name)) = within.filter(|(field, _)| OBJECTS.contains(field)) {
            let object = key.entry(field).or_insert_with(|| Map::new().into());
            object[name] = inner((field, name), value);
        } else if LISTS.contains(&name) {
            let words = value.split([' ', ';']).filter(|word| !word.is_empty());
            key.insert(name.to_owned(), words.collect::<Vec<_>>().into());
        } else {
            key.insert(name.to_owned(), value.into());
        }
    }
    Value::Object(key)
}

/// A cell of an object's column; what is no number where one is wanted is left to the gateway to refuse.
fn inner(place: (&str, &str), text: &str) -> Value {
    let number = (place == ("limits", "burst")).then(|| text.parse::<u64>().ok());
    number.flatten().map_or_else(|| text.into(), Value::from)
}

/// Counts what goes through.
struct Counted {
    from: Box<dyn Read>,
    read: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line, and JSON or what is wrong.
    fn all(text: &str, form: Form, from: u64) -> Vec<(u64, String)> {
        let reader = Box::new(io::Cursor::new(text.to_owned()));
        let mut items = Items::read_from(reader, None, form).ok().unwrap();
        let mut found = Vec::new();
        while let Some(next) = items.next(from).ok().unwrap() {
            found.push(match next {
                Ok(item) => (item.line, item.json.to_string()),
                Err(fault) => fault,
            });
        }
        found
    }

    #[test]
    fn lines_are_counted_as_an_editor_does() {
        let text = "{\"name\":\"a\"}\n\n  {\"name\":\"b\"}\r\nsecret\n[1]\n{\"name\":\"c\"}";
        let found = all(text, Form::Ndjson, 1);
        let told: Vec<_> = found
            .iter()
            .map(|(line, text)| (*line, text.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (1, "{\"name\":\"a\"}"),
                (3, "{\"name\":\"b\"}"),
                (4, "not an object of JSON"),
                (5, "not an object of JSON"),
                (6, "{\"name\":\"c\"}"),
            ]
        );
        assert_eq!(all(text, Form::Ndjson, 5).len(), 2);
    }

    #[test]
    fn a_line_without_end_is_left_out() {
        let text = format!("{}\n{{\"name\":\"a\"}}\n", "x".repeat(200_000));
        let found = all(&text, Form::Ndjson, 1);
        assert_eq!(found[0], (1, "longer than 64 KiB".to_owned()));
        assert_eq!(found[1].0, 2);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn rows_become_objects() {
        let text = "name,hash,scopes,metadata.plan,expires_at\nci,blake3:00,a b;c,gold,\n\"x, y\",,,,2027-01-01\nshort\n";
        let found = all(text, Form::Csv, 1);
        assert_eq!(
            found[0],
            (
                2,
                r#"{"hash":"blake3:00","metadata":{"plan":"gold"},"name":"ci","scopes":["a","b","c"]}"#.to_owned()
            )
        );
        assert_eq!(
            found[1],
            (3, r#"{"expires_at":"2027-01-01","name":"x, y"}"#.to_owned())
        );
        assert_eq!(found[2].0, 4);
        assert!(found[2].1.contains("columns"));
    }

    #[test]
    fn limits_and_inactivity_have_columns_as_metadata_does() {
        let text = "name,limits.rate,limits.burst,inactivity.mode,inactivity.after,metadata.a.b\n\
            a,10/s,30,delete,90d,1\nb,10/s,many,off,,\nc,,,,,\n";
        let told = [
            r#"{"inactivity":{"after":"90d","mode":"delete"},"limits":{"burst":30,"rate":"10/s"},"metadata":{"a.b":"1"},"name":"a"}"#,
            r#"{"inactivity":{"mode":"off"},"limits":{"burst":"many","rate":"10/s"},"name":"b"}"#,
            r#"{"name":"c"}"#,
        ];
        let found = all(text, Form::Csv, 1);
        assert_eq!(
            found.iter().map(|(_, json)| json).collect::<Vec<_>>(),
            told.iter().collect::<Vec<_>>()
        );
    }
}
