//! When a delivery is tried again: soon at first, then ever later, for about three days.

use crate::domain::time::Timestamp;

/// Seconds from an attempt to the next: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h.
const DELAYS: [i64; 9] = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// The next attempt after this many have failed; `None`: it is given up. Up to a tenth is added by chance, so that
/// what failed together does not come together again.
pub(super) fn next_attempt(failed: i64, now: Timestamp) -> Option<Timestamp> {
    let place = usize::try_from(failed.checked_sub(1)?).ok()?;
    let delay = DELAYS.get(place)? * 1000;
    Some(Timestamp::from_millis(
        now.as_millis() + delay + fastrand::i64(0..=delay / 10),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

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
