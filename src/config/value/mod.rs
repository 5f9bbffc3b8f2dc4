//! Checks of single values: text in, value or complaint out. A complaint says what would be right.

mod http;
mod mail;
mod net;
mod path;
mod secret;
mod store;

pub(super) use self::http::{
    check_path, header_name, key_header, key_parameter, method, protocol_prefix, realm, statuses,
};
pub(crate) use mail::address;
pub(super) use mail::{mailbox, smtp};
pub(super) use net::{
    authority, certificate_name, cidr, endpoint, host, host_header, host_match, socket,
};
pub(super) use path::{canonical, folder, is_below, strip_prefix};
pub(super) use secret::{master_key, secret};
pub(super) use store::{referenced_store, store};

use crate::domain::id::{Id, Kind};
use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;
use crate::domain::workspace::MAX_DEPTH;
use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Longer durations are a slip of the pen, and adding them to a clock must not overflow.
const MAX_DAYS: u64 = 3650;
/// Units of a duration, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 24 * 60 * 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];
/// Most characters of a name.
const MAX_NAME: usize = 128;
/// Above this many names no nearest one is searched, or a bad file of many keys would take minutes.
const MAX_CANDIDATES: usize = 1000;

/// Text that is safe to show: without control characters, and not too long.
pub(super) fn echo(text: &str) -> Cow<'_, str> {
    const MAX: usize = 64;
    if text.len() <= MAX && !text.chars().any(char::is_control) {
        return text.into();
    }
    let mut shown = String::new();
    for letter in text.chars().take(MAX) {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    if text.chars().nth(MAX).is_some() {
        shown.push('…');
    }
    shown.into()
}

/// Complaint about a name that is none of the known ones.
pub(super) fn unknown(kind: &str, text: &str, known: &[&str]) -> String {
    let shown = echo(text);
    if let Some(nearest) = nearest(text, known) {
        return format!("unknown {kind} `{shown}`; did you mean `{nearest}`?");
    }
    match known.len() {
        0 => format!("unknown {kind} `{shown}`; there is none"),
        1..=30 => format!("unknown {kind} `{shown}`; known: {}", known.join(", ")),
        _ => format!("unknown {kind} `{shown}`"),
    }
}

fn nearest<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    if known.len() > MAX_CANDIDATES || text.len() > MAX_NAME {
        return None;
    }
    let (distance, name) = known
        .iter()
        .map(|name| (strsim::osa_distance(text, name), *name))
        .min()?;
    (distance <= 1 + text.chars().count() / 4).then_some(name)
}

/// A length of time: a whole number and a unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = quantity(text).ok_or("expected a duration such as `30s`")?;
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    let (_, millis) = known.ok_or(match unit {
        "" => "a duration needs a unit (ms, s, m, h, d), such as `30s`",
        _ => "expected a duration such as `30s`, with a unit of ms, s, m, h or d",
    })?;
    number
        .checked_mul(*millis)
        .map(Duration::from_millis)
        .filter(|length| *length <= Duration::from_hours(24 * MAX_DAYS))
        .ok_or_else(|| format!("longer than {MAX_DAYS}d"))
}

/// A duration that something may wait.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than 0".into()),
        length => Ok(length),
    }
}

/// A duration within a range.
pub(super) fn duration_within(
    range: RangeInclusive<Duration>,
) -> impl FnOnce(&str) -> Result<Duration, String> {
    move |text| match duration(text)? {
        length if range.contains(&length) => Ok(length),
        _ => Err(format!(
            "must be from {} to {}",
            in_units(*range.start()),
            in_units(*range.end())
        )),
    }
}

/// As one would write it: with the largest unit that leaves nothing over.
fn in_units(length: Duration) -> String {
    if length.is_zero() {
        return "0s".into();
    }
    let millis = length.as_millis();
    UNITS
        .iter()
        .find(|(_, unit)| millis.is_multiple_of(u128::from(*unit)))
        .map(|(name, unit)| format!("{}{name}", millis / u128::from(*unit)))
        .unwrap_or_default()
}

/// A number of bytes: a whole number and a unit.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = quantity(text).ok_or("expected a size such as `1MiB`")?;
    let bytes = match unit {
        "B" => 1,
        "kB" => 1000,
        "MB" => 1000 * 1000,
        "GB" => 1000 * 1000 * 1000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" => {
            return Err(
                "a size needs a unit (B, KiB, MiB, GiB, kB, MB, GB), such as `1MiB`".into(),
            );
        }
        _ => {
            return Err(
                "expected a size such as `1MiB`, with a unit of B, KiB, MiB, GiB, kB, MB or GB"
                    .into(),
            );
        }
    };
    number
        .checked_mul(bytes)
        .ok_or_else(|| "too large".to_owned())
}

/// `off`, or what the check says.
pub(super) fn or_off<T>(
    check: impl FnOnce(&str) -> Result<T, String>,
) -> impl FnOnce(&str) -> Result<Option<T>, String> {
    move |text| match text {
        "off" => Ok(None),
        text => check(text)
            .map(Some)
            .map_err(|what| format!("{what} (or `off` for no limit)")),
    }
}

/// A whole number within a range.
pub(super) fn count(range: RangeInclusive<u64>) -> impl FnOnce(&str) -> Result<u64, String> {
    move |text| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                format!("expected a whole number from {least} to {most}")
            })
    }
}

fn quantity(text: &str) -> Option<(u64, &str)> {
    let border = text
        .bytes()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(border);
    Some((digits.parse().ok()?, unit))
}

/// The name of a route or an upstream: a metric label, so of a small alphabet.
pub(super) fn label(text: &str) -> Result<String, String> {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = text.len() <= 63
        && text.bytes().next().is_some_and(alphanumeric)
        && text
            .bytes()
            .all(|byte| alphanumeric(byte) || b"._-".contains(&byte));
    if fits {
        return Ok(text.into());
    }
    Err("must be 1 to 63 of a-z 0-9 . _ - and begin with a letter or digit".into())
}

/// A name for people that also stands in a header.
pub(super) fn name(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    let fits = (1..=MAX_NAME).contains(&length)
        && text.trim() == text
        && !text.chars().any(char::is_control);
    if fits {
        return Ok(text.into());
    }
    Err(
        "must be 1 to 128 characters, none of them a control character, no space at either end"
            .into(),
    )
}

/// A right.
pub(super) fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text)
        .ok_or_else(|| "a scope is 1 to 128 characters of A-Z a-z 0-9 : . _ / -".into())
}

/// A point in time.
pub(super) fn timestamp(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| {
        "expected a date (`2027-01-01`) or a time with zone (`2027-01-01T08:00:00Z`)".into()
    })
}

/// A filter for log lines: levels, alone or behind the name of a module. A misspelt level would silence everything.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let module = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte))
    };
    let directive = |part: &str| {
        let (name, level) = part
            .split_once('=')
            .map_or((None, part), |(name, level)| (Some(name), level));
        name.is_none_or(module) && LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))
    };
    if text.split(',').all(directive) {
        return Ok(text.into());
    }
    Err(format!(
        "expected a level ({}), or a filter such as `info,keygate=debug`",
        LEVELS.join(", ")
    ))
}

/// A workspace below the root: its id, or the names on the way to it. Which one is there, only the store knows.
pub(super) fn workspace(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("for the root leave `workspace` out".into());
    }
    if text.starts_with(Kind::Workspace.prefix()) {
        return Id::parse(Kind::Workspace, text)
            .map(|_| text.into())
            .ok_or_else(|| "expected `ws_` and 26 characters, as keygate shows it".into());
    }
    if text.split('/').count() > MAX_DEPTH {
        return Err(format!("workspaces are at most {MAX_DEPTH} levels deep"));
    }
    if text.split('/').all(|segment| name(segment).is_ok()) {
        return Ok(text.into());
    }
    Err("expected an id (`ws_…`), or names such as `acme/berlin`".into())
}

/// Text without control characters.
pub(super) fn plain(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".into());
    }
    Ok(text.into())
}

/// The path of a file.
pub(super) fn file_name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("expected the path of a file".into());
    }
    plain(text)
}
