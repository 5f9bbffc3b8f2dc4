//! A limit of requests: how many in a length of time, and how many at once.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Longest time in which a burst may come back.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// What a rate counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Per {
    Second,
    Minute,
    Hour,
    Day,
}

impl Per {
    const ALL: [(Self, &str); 4] = [
        (Self::Second, "s"),
        (Self::Minute, "m"),
        (Self::Hour, "h"),
        (Self::Day, "d"),
    ];

    fn length(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_mins(1),
            Self::Hour => Duration::from_hours(1),
            Self::Day => Duration::from_hours(24),
        }
    }
}

/// Whose limit it is; the label `policy`, and its name in the header fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// Of one key.
    Key,
    /// Of all keys of a consumer.
    Consumer,
    /// Of all who use a route.
    Route,
}

impl Policy {
    /// All of them, in the order in which they are asked.
    pub const ALL: [Self; 3] = [Self::Key, Self::Consumer, Self::Route];

    /// Name in metrics and header fields.
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Consumer => "consumer",
            Self::Route => "route",
        }
    }
}

/// A number of requests in a length of time, such as `100/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    requests: u32,
    per: Per,
}

impl Rate {
    /// Reads `100/s`, with a unit of s, m, h or d.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (number, unit) = text
            .split_once('/')
            .ok_or("expected a rate such as `100/s`")?;
        let per = Per::ALL.into_iter().find(|(_, name)| *name == unit);
        let (per, _) = per.ok_or("expected a rate such as `100/s`, with a unit of s, m, h or d")?;
        let digits = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
        let requests = number
            .parse()
            .ok()
            .filter(|number| digits && (1..=Limit::MOST).contains(number))
            .ok_or_else(|| {
                format!(
                    "a rate is a whole number from 1 to {} and a unit",
                    Limit::MOST
                )
            })?;
        Ok(Self { requests, per })
    }

    /// How many requests.
    pub fn requests(self) -> u32 {
        self.requests
    }

    /// In which time.
    pub fn unit(self) -> Duration {
        self.per.length()
    }
}

impl TryFrom<String> for Rate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Per::ALL.into_iter().find(|(per, _)| *per == self.per);
        write!(
            out,
            "{}/{}",
            self.requests,
            unit.map_or("", |(_, name)| name)
        )
    }
}

/// A limit: a rate that holds over time, and how many requests may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limit {
    rate: Rate,
    /// `None`: it was not said, and follows the rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
}

impl Limit {
    /// Most requests of a rate, and most of a burst.
    pub const MOST: u32 = 1_000_000;

    /// A limit; without a burst, as many at once as the rate has in its length of time.
    ///
    /// # Errors
    /// What is wrong with the burst, for people.
    pub fn new(rate: Rate, burst: Option<u64>) -> Result<Self, String> {
        let read = |burst| {
            let burst = u32::try_from(burst).ok();
            burst
                .filter(|burst| (1..=Self::MOST).contains(burst))
                .ok_or_else(Self::burst_words)
        };
        let burst = burst.map(read).transpose()?;
        let limit = Self { rate, burst };
        if limit.window() > LONGEST {
            return Err("at this rate, such a burst takes longer than a year to come back".into());
        }
        Ok(limit)
    }

    /// What a burst must be, for people.
    pub fn burst_words() -> String {
        format!("a burst is a whole number from 1 to {}", Self::MOST)
    }

    /// The rate that holds over time.
    pub fn rate(self) -> Rate {
        self.rate
    }

    /// Most requests at once.
    pub fn burst(self) -> u32 {
        self.burst.unwrap_or(self.rate.requests)
    }

    /// The burst that was said; `None`: it follows the rate.
    pub fn said_burst(self) -> Option<u32> {
        self.burst
    }

    /// Time between two requests at the full rate.
    pub fn interval(self) -> Duration {
        self.rate.per.length() / self.rate.requests
    }

    /// Time in which a whole burst comes back.
    pub fn window(self) -> Duration {
        self.interval().saturating_mul(self.burst())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_shown() {
        for text in ["1/s", "100/s", "60/m", "1000/h", "1000000/d"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "/",
            "100",
            "100/",
            "/s",
            "0/s",
            "-1/s",
            "+1/s",
            "1.5/s",
            "1/w",
            "1/S",
            "1000001/s",
            " 1/s",
            "1 /s",
            "1/s/s",
            "1/sec",
        ] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_burst_is_the_rate_unless_said_and_comes_back_within_a_year() {
        let rate = |text| Rate::parse(text).unwrap();
        let limit = Limit::new(rate("100/s"), None).unwrap();
        assert_eq!(limit.burst(), 100);
        assert_eq!(limit.interval(), Duration::from_millis(10));
        assert_eq!(limit.window(), Duration::from_secs(1));
        let limit = Limit::new(rate("60/m"), Some(5)).unwrap();
        assert_eq!(limit.window(), Duration::from_secs(5));
        assert_eq!(limit.said_burst(), Some(5));
        for (text, burst) in [("1/s", 0), ("1/s", 1_000_001), ("1/d", 367)] {
            assert!(
                Limit::new(rate(text), Some(burst)).is_err(),
                "{text} {burst}"
            );
        }
    }

    #[test]
    fn a_burst_is_kept_only_if_it_was_said() {
        let rate = Rate::parse("60/m").unwrap();
        for (burst, text) in [
            (None, r#"{"rate":"60/m"}"#),
            (Some(60), r#"{"rate":"60/m","burst":60}"#),
        ] {
            let limit = Limit::new(rate, burst).unwrap();
            assert_eq!(serde_json::to_string(&limit).unwrap(), text);
            assert_eq!(serde_json::from_str::<Limit>(text).unwrap(), limit);
            assert_eq!(limit.burst(), 60);
        }
    }
}
