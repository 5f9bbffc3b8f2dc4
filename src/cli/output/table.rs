//! Tables without lines, one row per object, as wide as the terminal: what does not fit goes, the least needed column first.

use super::cell::{Cell, long, short};
use crate::domain::time::Timestamp;
use comfy_table::presets::NOTHING;
use comfy_table::{
    Attribute, Cell as Field, Color, ColumnConstraint, ContentArrangement, Row, Table,
};
use serde_json::Value;

/// Between two columns.
const GAP: u16 = 2;
/// Least width of text that is cut.
const LEAST_TEXT: u16 = 12;

/// What is told first of an object.
const FIRST: &[&str] = &[
    "id",
    "sequence",
    "name",
    "email",
    "url",
    "ok",
    "valid",
    "allowed",
    "code",
    "status",
    "state",
    "description",
    "workspace",
    "consumer",
    "role",
    "environment",
    "hint",
    "scopes",
];

/// A column of a list.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Column {
    title: &'static str,
    /// Where its value is: names with dots between, alternatives with bars.
    path: &'static str,
    cell: Cell,
    /// What goes first when there is no room; 0 stays.
    rank: u8,
}

/// A column of a list.
pub(in crate::cli) const fn column(
    title: &'static str,
    path: &'static str,
    cell: Cell,
    rank: u8,
) -> Column {
    Column {
        title,
        path,
        cell,
        rank,
    }
}

impl Column {
    fn text(&self, row: &Value, now: Timestamp) -> String {
        let at = |path: &str| path.split('.').fold(row, |value, name| &value[name]);
        let mut found = self.path.split('|').map(at);
        let value = found.find(|value| !value.is_null()).unwrap_or(&Value::Null);
        short(value, self.cell, now).replace('\n', ", ")
    }
}

/// How much room and colour there is.
pub(super) struct Look {
    pub(super) color: bool,
    pub(super) width: Option<u16>,
    pub(super) now: Timestamp,
}

/// Columns of the terminal that standard output is.
pub(super) fn width() -> Option<u16> {
    Table::new().width()
}

/// Objects as rows.
pub(super) fn list(columns: &[Column], rows: &[Value], look: &Look) -> String {
    let texts: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            columns
                .iter()
                .map(|column| column.text(row, look.now))
                .collect()
        })
        .collect();
    let widths = natural(columns, &texts);
    let shown = fitting(columns, &widths, look.width);
    let mut table = blank(look);
    let title = |at: &usize| styled(columns[*at].title, Attribute::Bold);
    table.set_header(shown.iter().map(title).collect::<Vec<_>>());
    for texts in &texts {
        let cells = shown.iter().map(|at| painted(&columns[*at], &texts[*at]));
        let mut row = Row::from(cells.collect::<Vec<_>>());
        row.max_height(1);
        table.add_row(row);
    }
    let fits = look
        .width
        .is_none_or(|room| wanted(columns, &widths, &shown) <= u32::from(room));
    for (place, at) in shown.iter().enumerate() {
        if let Some(column) = table.column_mut(place) {
            let is_last = place + 1 == shown.len();
            column.set_padding((0, if is_last { 0 } else { GAP }));
            if fits && !columns[*at].may_be_cut() {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
    }
    table.trim_fmt()
}

/// One row without the others.
pub(super) fn line(columns: &[Column], row: &Value, now: Timestamp) -> String {
    let texts = columns.iter().map(|column| column.text(row, now));
    texts.collect::<Vec<_>>().join("  ")
}

/// One object: a row per field.
pub(super) fn object(object: &Value, look: &Look) -> String {
    let fields = collect(object);
    if fields.is_empty() {
        return long(object, "", look.now);
    }
    let mut table = blank(look);
    for (name, value) in fields {
        let text = if value.is_null() {
            "never".into()
        } else {
            long(value, &name, look.now)
        };
        let text = if name.ends_with("status") {
            paint(Field::new(&text), &text)
        } else {
            Field::new(text)
        };
        table.add_row([styled(&name, Attribute::Bold), text]);
    }
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, GAP));
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_padding((0, 0));
    }
    table.trim_fmt()
}

/// What is not set goes without saying, but when a key ends and when it was used.
fn says_something(name: &str, value: &Value) -> bool {
    let is_empty = match value {
        Value::Null => true,
        Value::Array(entries) => entries.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    !is_empty || matches!(name, "expires_at" | "last_used_at")
}

/// An object's fields, the best known first.
fn sorted(object: &Value) -> Vec<(&String, &Value)> {
    let mut own: Vec<_> = object.as_object().into_iter().flatten().collect();
    let known = |name: &str| FIRST.iter().position(|first| *first == name);
    own.sort_by_key(|(name, _)| known(name).unwrap_or(FIRST.len()));
    own
}

/// Fields with their names. Of an object that holds another one with an id (`{"key": {…}, "revision": 3}`) the fields of
/// both are told; those of other large objects in it have its name in front.
fn collect(object: &Value) -> Vec<(String, &Value)> {
    let mut fields: Vec<(String, &Value)> = Vec::new();
    let is_part = |value: &Value| value.get("id").is_some() && is_large(value);
    let parts = object.as_object().into_iter().flatten();
    let parts: Vec<_> = parts.filter(|(_, value)| is_part(value)).collect();
    for (name, value) in sorted(object) {
        let told_by_part =
            name == "revision" && parts.iter().any(|(_, part)| part.get("revision").is_some());
        if is_part(value) || told_by_part || !says_something(name, value) {
            continue;
        }
        if is_large(value) {
            let inner = sorted(value).into_iter();
            let inner = inner.filter(|(field, value)| says_something(field, value));
            fields.extend(
                inner.map(|(field, value)| (super::plain(&format!("{name}.{field}")), value)),
            );
        } else {
            fields.push((super::plain(name), value));
        }
    }
    for (name, part) in parts {
        for (field, value) in sorted(part) {
            if says_something(field, value) {
                let taken = fields.iter().any(|(known, _)| known == field);
                let field = if taken {
                    format!("{name}.{field}")
                } else {
                    field.clone()
                };
                fields.push((super::plain(&field), value));
            }
        }
    }
    fields
}

/// More than a pair of words, such as those of a policy.
fn is_large(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| fields.len() > 2)
}

impl Column {
    fn may_be_cut(&self) -> bool {
        self.cell == Cell::Text
    }
}

fn natural(columns: &[Column], texts: &[Vec<String>]) -> Vec<u16> {
    let mut table = Table::new();
    table.set_header(
        columns
            .iter()
            .map(|column| column.title)
            .collect::<Vec<_>>(),
    );
    table.add_rows(texts);
    table.column_max_content_widths()
}

/// Least width of these columns, with the gaps between them.
fn wanted(columns: &[Column], widths: &[u16], shown: &[usize]) -> u32 {
    let least = |at: &usize| {
        let most = if columns[*at].may_be_cut() {
            LEAST_TEXT
        } else {
            u16::MAX
        };
        u32::from(widths[*at].min(most)) + u32::from(GAP)
    };
    let all: u32 = shown.iter().map(least).sum();
    all.saturating_sub(u32::from(GAP))
}

/// Places of the columns that there is room for.
fn fitting(columns: &[Column], widths: &[u16], room: Option<u16>) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let room = room.map_or(u32::MAX, u32::from);
    while wanted(columns, widths, &shown) > room {
        let last = shown
            .iter()
            .copied()
            .max_by_key(|at| (columns[*at].rank, *at));
        match last.filter(|last| columns[*last].rank > 0) {
            Some(last) => shown.retain(|at| *at != last),
            None => break,
        }
    }
    shown
}

fn blank(look: &Look) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_truncation_indicator("…");
    if look.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    match look.width {
        Some(width) => {
            table.set_width(width);
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    table
}

fn painted(column: &Column, text: &str) -> Field {
    let field = Field::new(text);
    if column.cell == Cell::Status {
        paint(field, text)
    } else {
        field
    }
}

/// Green is well, yellow wants a look, red is over.
fn paint(field: Field, status: &str) -> Field {
    let color = match status {
        "active" | "delivered" | "success" | "ok" => Color::Green,
        "rotating" | "expiring" | "inactive_warning" | "not_yet_valid" | "disabled" | "pending"
        | "denied" | "warning" => Color::Yellow,
        "expired" | "revoked" | "deleted" | "quota_exhausted" | "failed" | "error" | "erased" => {
            Color::Red
        }
        _ => return field,
    };
    field.fg(color)
}

fn styled(text: &str, attribute: Attribute) -> Field {
    Field::new(text).add_attribute(attribute)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_millis(1_798_761_600_000);
    const COLUMNS: &[Column] = &[
        column("ID", "id", Cell::Id, 0),
        column("NAME", "name", Cell::Text, 0),
        column("STATUS", "status", Cell::Status, 1),
        column("USED", "last_used_at", Cell::Time, 2),
        column("CONSUMER", "consumer.name|consumer", Cell::Text, 3),
        column("HINT", "hint", Cell::Id, 4),
    ];

    fn look(width: Option<u16>) -> Look {
        Look {
            color: false,
            width,
            now: NOW,
        }
    }

    fn rows() -> Vec<Value> {
        vec![
            json!({"id": "key_01jyzx5rhdf3sbz3hv1yqn2tp9", "name": "Nightly export of all invoices to the tax office",
                "status": "active", "last_used_at": "2026-12-30T00:00:00Z", "consumer": {"id": "con_1", "name": "acme"},
                "hint": "kg_live_4Jf9…x2Qa"}),
            json!({"id": "key_01jyzx5rhdf3sbz3hv1yqn2tpa", "name": "ci", "status": "revoked", "last_used_at": null,
                "consumer": null, "hint": null}),
        ]
    }

    fn widest(text: &str) -> usize {
        text.lines()
            .map(|line| line.chars().count())
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn a_table_fits() {
        for width in [80, 120] {
            let text = list(COLUMNS, &rows(), &look(Some(width)));
            assert!(widest(&text) <= usize::from(width), "{width}\n{text}");
            assert_eq!(text.lines().count(), 3, "{text}");
            assert!(text.contains("key_01jyzx5rhdf3sbz3hv1yqn2tp9"), "{text}");
        }
    }

    #[test]
    fn tables_of_80_and_120_columns() {
        insta::assert_snapshot!("width_80", list(COLUMNS, &rows(), &look(Some(80))));
        insta::assert_snapshot!("width_120", list(COLUMNS, &rows(), &look(Some(120))));
        insta::assert_snapshot!("no_terminal", list(COLUMNS, &rows(), &look(None)));
    }

    #[test]
    fn there_is_always_something() {
        let text = list(COLUMNS, &rows(), &look(Some(20)));
        assert!(text.starts_with("ID"), "{text}");
    }

    #[test]
    fn an_object_has_a_line_per_field() {
        let object_with_inner = json!({"key": {"id": "key_1", "name": "ci", "consumer": {"id": "con_1", "name": "acme"},
            "scopes": ["a", "b"], "expires_at": null, "hint": null, "tags": [], "revision": 7}, "revision": 7});
        let text = object(&object_with_inner, &look(Some(80)));
        insta::assert_snapshot!("object", text);
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        let colourful = Look {
            color: true,
            ..look(Some(120))
        };
        assert!(list(COLUMNS, &rows(), &colourful).contains("\u{1b}["));
        assert!(!list(COLUMNS, &rows(), &look(Some(120))).contains('\u{1b}'));
    }
}
