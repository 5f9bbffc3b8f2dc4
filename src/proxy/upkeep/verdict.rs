//! From single checks to healthy or not: so many in a row decide, and the first one decides alone.

use crate::domain::resilience::HealthCheck;

/// What the checks of one endpoint say so far.
#[derive(Default)]
pub(super) struct Verdict {
    healthy: Option<bool>,
    /// Checks in a row that say otherwise.
    against: u32,
}

impl Verdict {
    /// Takes a check into account; whether the endpoint is healthy now.
    pub(super) fn take(&mut self, good: bool, rules: &HealthCheck) -> bool {
        let Some(healthy) = self.healthy else {
            self.healthy = Some(good);
            return good;
        };
        if good == healthy {
            self.against = 0;
            return healthy;
        }
        self.against += 1;
        let needed = if good { rules.healthy } else { rules.unhealthy };
        if self.against < needed {
            return healthy;
        }
        *self = Self {
            healthy: Some(good),
            against: 0,
        };
        good
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::resilience::Probe;
    use std::time::Duration;

    fn verdicts(checks: &[bool]) -> Vec<bool> {
        let rules = HealthCheck {
            probe: Probe::Tcp,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy: 2,
            unhealthy: 3,
        };
        let mut verdict = Verdict::default();
        let checks = checks.iter();
        checks.map(|good| verdict.take(*good, &rules)).collect()
    }

    #[test]
    fn the_first_check_decides_alone() {
        assert_eq!(verdicts(&[false]), [false]);
        assert_eq!(verdicts(&[true]), [true]);
    }

    #[test]
    fn then_only_checks_in_a_row_do() {
        const T: bool = true;
        const F: bool = false;
        assert_eq!(verdicts(&[T, F, F, F, T, T]), [T, T, T, F, F, T]);
        assert_eq!(verdicts(&[T, F, F, T, F, F]), [T; 6]);
        assert_eq!(verdicts(&[F, T, F, T, T]), [F, F, F, F, T]);
    }
}
