//! Durations as bodies and answers write them.

use super::body::{Wrong, invalid};
use serde_json::Value;

/// A whole number with its unit, `90d` or `12h`, as milliseconds.
pub(super) fn duration(value: &Value) -> Result<i64, Wrong> {
    let text = value.as_str().unwrap_or_default();
    if let Some(millis) = parse_duration(text) {
        return Ok(millis);
    }
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole && parse_duration(&format!("0{}", &text[digits.len()..])).is_some() {
        return Err(("out_of_range", "at most 3650d".into()));
    }
    invalid("expected a duration such as 90d, 12h or 30m")
}

/// As [`duration`], of text.
fn parse_duration(text: &str) -> Option<i64> {
    let border = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(border);
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // Ten years is more than anything here lasts.
    number
        .parse::<i64>()
        .ok()?
        .checked_mul(unit)
        .filter(|millis| *millis <= 3650 * 86_400_000)
}

/// The shortest way to write a duration.
pub(super) fn show_duration(millis: i64) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    let whole = units
        .into_iter()
        .find(|(unit, _)| millis != 0 && millis % unit == 0);
    whole.map_or_else(
        || format!("{millis}ms"),
        |(unit, name)| format!("{}{name}", millis / unit),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_alike() {
        for text in ["90d", "12h", "30m", "5s", "250ms", "0ms"] {
            assert_eq!(
                parse_duration(text).map(show_duration).as_deref(),
                Some(text)
            );
        }
        for text in [
            "",
            "d",
            "1",
            "-1d",
            "1.5h",
            "1w",
            "99999d",
            "9999999999999999999d",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
