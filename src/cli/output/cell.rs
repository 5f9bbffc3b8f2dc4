//! One value as a person reads it.

use crate::domain::time::Timestamp;
use serde_json::{Map, Value};

/// What a value is, and so how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Cell {
    /// An id: never cut.
    Id,
    Text,
    /// One of a few words; has a colour.
    Status,
    /// How long ago, or until then.
    Time,
    /// When, to the second.
    Moment,
    Count,
}

/// What a terminal would act on, and what changes the direction of text, is replaced: names come from anybody.
pub(in crate::cli) fn plain(text: &str) -> String {
    let odd = |letter: char| {
        letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|letter| if odd(letter) { '\u{fffd}' } else { letter })
        .collect()
}

/// `1 key`, `7 keys`.
pub(in crate::cli) fn keys(count: u64) -> String {
    format!("{count} key{}", if count == 1 { "" } else { "s" })
}

/// A value in a table of several rows.
pub(super) fn short(value: &Value, cell: Cell, now: Timestamp) -> String {
    match (cell, value) {
        (Cell::Time, Value::Null) => "never".into(),
        (Cell::Time, Value::String(text)) => {
            Timestamp::parse(text).map_or_else(|| plain(text), |at| distance(at, now))
        }
        (Cell::Moment, Value::String(text)) => to_the_second(text),
        _ => long(value, "", now),
    }
}

/// A time without its fraction, as long as it is written as the gateway does.
fn to_the_second(text: &str) -> String {
    match text.split_once('.') {
        Some((seconds, _)) if Timestamp::parse(text).is_some() => format!("{}Z", plain(seconds)),
        Some(_) | None => plain(text),
    }
}

/// A value beside the name of its field.
pub(super) fn long(value: &Value, field: &str, now: Timestamp) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => match Timestamp::parse(text).filter(|_| is_time(field)) {
            Some(at) => format!("{} ({})", plain(text), distance(at, now)),
            None => plain(text),
        },
        Value::Array(entries) if entries.is_empty() => "-".into(),
        Value::Array(entries) => {
            let words: Vec<String> = entries.iter().map(|entry| long(entry, "", now)).collect();
            let lines = entries.iter().any(Value::is_object);
            words.join(if lines { "\n" } else { ", " })
        }
        Value::Object(fields) => match (fields.get("name"), fields.get("id")) {
            (Some(Value::String(name)), Some(Value::String(id))) if fields.len() == 2 => {
                format!("{} ({})", plain(name), plain(id))
            }
            _ if fields.is_empty() => "-".into(),
            _ => binding(fields).unwrap_or_else(|| {
                let pairs = fields.iter().filter(|(_, value)| !value.is_null());
                let pairs =
                    pairs.map(|(name, value)| format!("{}={}", plain(name), long(value, "", now)));
                pairs.collect::<Vec<_>>().join(" ")
            }),
        },
    }
}

/// A role and where it holds: `editor in ws_…`.
fn binding(fields: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| fields.get(name)?.as_str().map(plain);
    let (role, place) = (text("role")?, text("workspace")?);
    Some(match text("workspace_name") {
        Some(name) => format!("{role} in {name} ({place})"),
        None => format!("{role} in {place}"),
    })
}

fn is_time(field: &str) -> bool {
    let field = field.rsplit('.').next().unwrap_or_default();
    let ends = ["_at", "_since", "_until"];
    ends.iter().any(|end| field.ends_with(end)) || matches!(field, "at" | "not_before")
}

/// `3d ago`, `in 12d`.
fn distance(at: Timestamp, now: Timestamp) -> String {
    let millis = at.as_millis().saturating_sub(now.as_millis());
    let mut seconds = millis.unsigned_abs() / 1000;
    if millis > 0 && seconds > 3600 {
        // What was set to 90 days a moment ago is still 90 days away.
        seconds += 59;
    }
    let text = match seconds {
        0 => return "now".into(),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        172_800..63_072_000 => format!("{}d", seconds / 86_400),
        63_072_000.. => format!("{}y", seconds / 31_536_000),
    };
    if millis > 0 {
        format!("in {text}")
    } else {
        format!("{text} ago")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_millis(1_798_761_600_000);

    #[test]
    fn distances() {
        for (seconds, want) in [
            (0, "now"),
            (90 * 86_400 - 1, "in 90d"),
            (-59, "59s ago"),
            (-3599, "59m ago"),
            (-172_799, "47h ago"),
            (-172_800, "2d ago"),
            (90 * 86_400, "in 90d"),
            (3 * 31_536_000, "in 3y"),
        ] {
            let at = Timestamp::from_millis(NOW.as_millis() + seconds * 1000);
            assert_eq!(distance(at, NOW), want);
        }
        let far = distance(Timestamp::from_millis(i64::MIN), NOW);
        assert!(far.ends_with("y ago"), "{far}");
    }

    #[test]
    fn values_are_told() {
        for (value, want) in [
            (json!(null), "-"),
            (json!([]), "-"),
            (json!(["a", "b"]), "a, b"),
            (json!({"id": "con_1", "name": "acme"}), "acme (con_1)"),
            (
                json!({"mode": "delete", "after": "90d", "x": null}),
                "after=90d mode=delete",
            ),
            (json!([{"number": 1}, {"number": 2}]), "number=1\nnumber=2"),
            (
                json!([{"role": "owner", "workspace": "ws_1"}, {"role": "editor", "workspace": "ws_2", "workspace_name": "n"}]),
                "owner in ws_1\neditor in n (ws_2)",
            ),
            (json!(true), "yes"),
            (json!("a\u{1b}[31mb\u{202e}"), "a\u{fffd}[31mb\u{fffd}"),
        ] {
            assert_eq!(long(&value, "", NOW), want);
        }
    }

    #[test]
    fn times_are_told_where_a_field_is_one() {
        let value = json!("2027-01-02T00:00:00.000Z");
        assert_eq!(
            long(&value, "expires_at", NOW),
            "2027-01-02T00:00:00.000Z (in 24h)"
        );
        assert_eq!(long(&value, "name", NOW), "2027-01-02T00:00:00.000Z");
        assert_eq!(short(&value, Cell::Time, NOW), "in 24h");
        assert_eq!(short(&Value::Null, Cell::Time, NOW), "never");
        assert_eq!(short(&Value::Null, Cell::Text, NOW), "-");
        assert_eq!(short(&value, Cell::Moment, NOW), "2027-01-02T00:00:00Z");
        assert_eq!(
            short(&json!("soon. Or so"), Cell::Moment, NOW),
            "soon. Or so"
        );
    }
}
