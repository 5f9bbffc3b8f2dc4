//! Points in time as plain numbers: milliseconds since the Unix epoch, UTC. RFC 3339 only at the edges.

use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads an RFC 3339 time with zone (`2027-01-01T08:00:00Z`) or a bare date, which means its first instant in UTC.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            return Some(Self(instant.as_millisecond()));
        }
        let date = text.parse::<jiff::civil::Date>().ok()?;
        // `Date` also parses longer forms; a bare date is exactly ten characters.
        if text.len() != 10 {
            return None;
        }
        let instant = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(Self(instant.timestamp().as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(out, "{instant:.3}"),
            Err(_) => write!(out, "{}ms", self.0),
        }
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dates_and_instants_and_nothing_else() {
        let cases = [
            ("2027-01-01", Some(1_798_761_600_000)),
            ("2027-01-01T00:00:00Z", Some(1_798_761_600_000)),
            ("2027-01-01T01:00:00+01:00", Some(1_798_761_600_000)),
            ("2027-01-01T00:00:00", None),
            ("2027-13-01", None),
            ("tomorrow", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(
                Timestamp::parse(text).map(Timestamp::as_millis),
                want,
                "{text}"
            );
        }
    }

    #[test]
    fn shows_rfc_3339_with_milliseconds() {
        assert_eq!(
            Timestamp::from_millis(1_798_761_600_123).to_string(),
            "2027-01-01T00:00:00.123Z"
        );
    }
}
