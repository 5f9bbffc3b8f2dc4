//! What is typed behind flags: times, lengths of time, pairs, inactivity. Each says what it wants when it is something else.

use crate::domain::key::record::InactivityMode;
use crate::domain::time::Timestamp;
use serde_json::{Value, json};
use std::str::FromStr;

const SPAN_WANTED: &str = "a whole number with s, m, h or d, such as 90d";
/// As in the config file: ten years.
const LONGEST_MILLIS: i64 = 3650 * 24 * 60 * 60 * 1000;

/// A length of time, with the text it came as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) text: String,
    pub(super) millis: i64,
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit: i64 = match unit {
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(SPAN_WANTED.into()),
        };
        let millis = number.parse::<i64>().ok();
        let millis = millis.and_then(|number| number.checked_mul(unit));
        match millis {
            Some(millis) if millis <= LONGEST_MILLIS => Ok(Self {
                text: text.to_owned(),
                millis,
            }),
            Some(_) => Err("at most 3650d".into()),
            None => Err(SPAN_WANTED.into()),
        }
    }
}

/// A point in time: far from now, or itself, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum When {
    Never,
    Away(Span),
    At(Timestamp),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Never);
        }
        if let Some(at) = Timestamp::parse(text) {
            return Ok(Self::At(at));
        }
        let span = text.parse().map_err(|_| {
            "a time such as 90d, 2027-01-01, 2027-01-01T08:00:00Z, or never".to_owned()
        })?;
        Ok(Self::Away(span))
    }
}

impl When {
    /// Ahead of now; `null` for never.
    pub(super) fn ahead(&self, now: Timestamp) -> Value {
        self.told(now, 1)
    }

    /// Back from now; `null` for never.
    pub(super) fn back(&self, now: Timestamp) -> Value {
        self.told(now, -1)
    }

    fn told(&self, now: Timestamp, direction: i64) -> Value {
        match self {
            Self::Never => Value::Null,
            Self::At(at) => json!(at.to_string()),
            Self::Away(span) => {
                let at = now.as_millis().saturating_add(span.millis * direction);
                json!(Timestamp::from_millis(at).to_string())
            }
        }
    }
}

/// `name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) value: String,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            Some(_) | None => Err("a name and a value, such as plan=gold".into()),
        }
    }
}

/// What happens to a key that nobody uses; `Inherited`: what the workspace says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Idle {
    Inherited,
    Off,
    After(&'static str, Span),
}

impl FromStr for Idle {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted =
            || "off, workspace, or notify, disable or delete with a time: delete:90d".to_owned();
        match text {
            "workspace" => return Ok(Self::Inherited),
            "off" => return Ok(Self::Off),
            _ => {}
        }
        let (mode, after) = text.split_once(':').ok_or_else(wanted)?;
        let mode = InactivityMode::parse(mode).filter(|mode| *mode != InactivityMode::Off);
        let after = after
            .parse()
            .map_err(|fault| format!("the time behind the colon: {fault}"))?;
        Ok(Self::After(mode.ok_or_else(wanted)?.name(), after))
    }
}

impl Idle {
    /// As the API takes it.
    pub(super) fn told(&self) -> Value {
        match self {
            Self::Inherited => Value::Null,
            Self::Off => json!({"mode": "off"}),
            Self::After(mode, span) => json!({"mode": mode, "after": span.text}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_798_761_600_000);

    #[test]
    fn spans() {
        for (text, millis) in [
            ("90d", Some(7_776_000_000)),
            ("24h", Some(86_400_000)),
            ("5m", Some(300_000)),
            ("0s", Some(0)),
            ("3651d", None),
            ("99999999999999999999d", None),
            ("9223372036854775807d", None),
            ("90", None),
            ("d", None),
            ("-1d", None),
            ("1.5d", None),
            ("1w", None),
            ("", None),
        ] {
            let read = text.parse::<Span>().ok().map(|span| span.millis);
            assert_eq!(read, millis, "{text}");
        }
    }

    #[test]
    fn times_ahead_and_back() {
        let ahead = |text: &str| text.parse::<When>().map(|when| when.ahead(NOW));
        assert_eq!(ahead("never"), Ok(Value::Null));
        assert_eq!(ahead("1d"), Ok(json!("2027-01-02T00:00:00.000Z")));
        assert_eq!(ahead("2028-02-29"), Ok(json!("2028-02-29T00:00:00.000Z")));
        assert_eq!(
            ahead("2027-01-01T08:00:00+01:00"),
            Ok(json!("2027-01-01T07:00:00.000Z"))
        );
        for bad in ["", "tomorrow", "2027-02-29", "90", "Never"] {
            assert!(ahead(bad).is_err(), "{bad}");
        }
        let back = "1d".parse::<When>().map(|when| when.back(NOW));
        assert_eq!(back, Ok(json!("2026-12-31T00:00:00.000Z")));
    }

    #[test]
    fn pairs() {
        let pair = |text: &str| {
            text.parse::<Pair>()
                .ok()
                .map(|pair| (pair.name, pair.value))
        };
        let of = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(pair("plan=gold"), of("plan", "gold"));
        assert_eq!(pair("query=a=b"), of("query", "a=b"));
        assert_eq!(pair("empty="), of("empty", ""));
        assert_eq!(pair("=x"), None);
        assert_eq!(pair("plan"), None);
    }

    #[test]
    fn inactivity() {
        let idle = |text: &str| text.parse::<Idle>().ok().map(|idle| idle.told());
        assert_eq!(idle("off"), Some(json!({"mode": "off"})));
        assert_eq!(idle("workspace"), Some(Value::Null));
        assert_eq!(
            idle("delete:90d"),
            Some(json!({"mode": "delete", "after": "90d"}))
        );
        for bad in ["delete", "off:90d", "delete:90", "remove:90d", ":90d", ""] {
            assert_eq!(idle(bad), None, "{bad}");
        }
    }
}
