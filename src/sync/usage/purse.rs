//! How much of the machine's time goes into writing what keys did. Where it does not suffice, uses are written later.

use std::time::Duration;

/// What may be spent however little happens, as parts of a thousand of one core.
const LEAST: u32 = 5;
/// What may be spent at most.
const MOST: u32 = 50;
/// For each request more than the least may be spent, up to the most.
const PER_REQUEST: Duration = Duration::from_micros(2);
/// What is not spent is kept, up to what may be spent at most within this time.
const KEPT: Duration = Duration::from_secs(8);
/// Whatever takes longer than this has waited for somebody else.
const LONGEST: Duration = Duration::from_millis(250);

/// Time that may be spent.
#[derive(Debug)]
pub(super) struct Purse {
    /// Until when it has earned, by the monotonic clock.
    at: Duration,
    /// Requests that nothing was earned by yet.
    requests: u32,
    credit: Duration,
    debt: Duration,
}

impl Purse {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            at: now,
            requests: 0,
            credit: KEPT * MOST / 1000,
            debt: Duration::ZERO,
        }
    }

    /// Requests were counted.
    pub(super) fn counted(&mut self, requests: u64) {
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        self.requests = self.requests.saturating_add(requests);
    }

    /// Earns what the time since the last call is worth: the most, if there is a `hurry`.
    pub(super) fn earn(&mut self, now: Duration, hurry: bool) {
        let passed = now.saturating_sub(self.at);
        self.at = now;
        let most = passed.saturating_mul(MOST) / 1000;
        let least = passed.saturating_mul(LEAST) / 1000;
        let requests = std::mem::take(&mut self.requests);
        let earned = least.saturating_add(PER_REQUEST.saturating_mul(requests));
        let earned = if hurry { most } else { earned.min(most) };
        let paid = earned.min(self.debt);
        self.debt -= paid;
        self.credit = (self.credit + earned.saturating_sub(paid)).min(KEPT * MOST / 1000);
    }

    /// Whether anything may be spent.
    pub(super) fn has_some(&self) -> bool {
        !self.credit.is_zero()
    }

    /// So much was spent.
    pub(super) fn spend(&mut self, time: Duration) {
        let time = time.min(LONGEST);
        let paid = time.min(self.credit);
        self.credit -= paid;
        self.debt += time.saturating_sub(paid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spends whatever there is, a step at a time; how much that was.
    fn spent(purse: &mut Purse) -> Duration {
        let step = Duration::from_micros(100);
        let mut sum = Duration::ZERO;
        while purse.has_some() {
            purse.spend(step);
            sum += step;
        }
        sum
    }

    fn later(purse: &mut Purse, requests: u64, hurry: bool) -> Duration {
        purse.counted(requests);
        purse.earn(purse.at + Duration::from_secs(1), hurry);
        spent(purse)
    }

    #[test]
    fn requests_earn_up_to_a_twentieth_of_a_core() {
        let mut purse = Purse::new(Duration::ZERO);
        assert_eq!(spent(&mut purse), Duration::from_millis(400));
        for (requests, hurry, millis) in [
            (0, false, 5),
            (5_000, false, 15),
            (1_000_000, false, 50),
            (u64::MAX, false, 50),
            (0, true, 50),
        ] {
            let got = later(&mut purse, requests, hurry);
            assert_eq!(got, Duration::from_millis(millis), "{requests} {hurry}");
        }
    }

    #[test]
    fn what_was_spent_too_much_is_earned_first() {
        let mut purse = Purse::new(Duration::ZERO);
        spent(&mut purse);
        later(&mut purse, 0, true);
        // A wait for somebody else counts in part only.
        purse.spend(Duration::from_hours(1));
        for _ in 0..5 {
            assert_eq!(later(&mut purse, 0, true), Duration::ZERO);
        }
        assert!(later(&mut purse, 0, true) > Duration::ZERO);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut purse = Purse::new(Duration::ZERO);
        purse.earn(purse.at + Duration::from_hours(1), false);
        assert_eq!(spent(&mut purse), Duration::from_millis(400));
    }
}
