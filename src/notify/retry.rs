//! When a delivery is tried again: soon at first, then ever later, for about three days.

use crate::domain::time::Timestamp;
use std::time::UNIX_EPOCH;

/// Seconds from an attempt to the next: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
const DELAYS: [i64; 9] = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// The last of them: nobody makes us wait longer.
const LONGEST: i64 = DELAYS[DELAYS.len() - 1];

/// The next attempt after this many have failed; `None`: it is given up. Up to a tenth is added by chance, so that
/// what failed together does not come together again.
pub(super) fn next_attempt(failed: i64, now: Timestamp) -> Option<Timestamp> {
    let place = usize::try_from(failed.checked_sub(1)?).ok()?;
    let delay = DELAYS.get(place)? * 1000;
    Some(Timestamp::from_millis(
        now.as_millis() + delay + fastrand::i64(0..=delay / 10),
    ))
}

/// As [`next_attempt`], but no sooner than the receiver asks for, up to the longest of our own waits: whoever asks for
/// more would not be told for as long as it likes.
pub(super) fn next_attempt_after(
    failed: i64,
    now: Timestamp,
    asked: Option<Timestamp>,
) -> Option<Timestamp> {
    let own = next_attempt(failed, now)?;
    let most = Timestamp::from_millis(now.as_millis() + LONGEST * 1000);
    Some(asked.map_or(own, |asked| own.max(asked.min(most))))
}

/// What a `Retry-After` asks for (RFC 9110 §10.2.3): seconds from now, or a date.
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Timestamp> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than a number holds are as good as for ever.
        let seconds: i64 = value.parse().unwrap_or(i64::MAX);
        let at = now.as_millis().saturating_add(seconds.saturating_mul(1000));
        return Some(Timestamp::from_millis(at));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let since = date.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(
        i64::try_from(since.as_millis()).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_may_ask_for_more_time_but_not_for_ever() {
        let now = Timestamp::from_millis(1_798_761_600_000);
        let after = |seconds: i64| Timestamp::from_millis(now.as_millis() + seconds * 1000);
        for (value, want) in [
            ("0", Some(after(0))),
            (" 120 ", Some(after(120))),
            ("Fri, 01 Jan 2027 00:02:00 GMT", Some(after(120))),
            (
                "99999999999999999999",
                Some(Timestamp::from_millis(i64::MAX)),
            ),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now), want, "{value}");
        }
        let wait = |failed: i64, asked: Option<i64>| {
            let at = next_attempt_after(failed, now, asked.map(after))?;
            Some((at.as_millis() - now.as_millis()) / 1000)
        };
        assert!((5..=6).contains(&wait(1, None).unwrap()));
        assert!(
            (5..=6).contains(&wait(1, Some(1)).unwrap()),
            "ours is longer"
        );
        assert_eq!(wait(1, Some(60)), Some(60));
        assert_eq!(wait(1, Some(i64::from(u32::MAX))), Some(LONGEST));
        assert!(wait(9, Some(1)).unwrap() >= LONGEST);
        assert_eq!(wait(10, Some(60)), None, "it is given up all the same");
    }

    #[test]
    fn ten_attempts_in_about_three_days() {
        let mut now = Timestamp::from_millis(0);
        let mut attempts = 1;
        while let Some(next) = next_attempt(attempts, now) {
            assert!(next > now);
            now = next;
            attempts += 1;
        }
        assert_eq!(attempts, 10);
        let hours = now.as_millis() / 3_600_000;
        assert!((75..84).contains(&hours), "{hours}");
        assert_eq!(next_attempt(0, now), None);
    }
}
