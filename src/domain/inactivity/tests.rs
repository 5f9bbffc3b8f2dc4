//! The promise under random lives, and the ordinary life by the day.

use super::*;
use proptest::prelude::*;

const HOUR: i64 = 3_600_000;
const YEAR: i64 = 365 * DAY_MILLIS;
const START: i64 = 1_800_000_000_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A key and who sweeps it.
#[derive(Debug)]
struct Life {
    policy: Inactivity,
    baseline: i64,
    now: i64,
    steps: Vec<Step>,
    stale: bool,
    /// What people were told since the baseline, and when: days, moment, due.
    told: Vec<(i64, i64, i64)>,
    ended_at: Option<i64>,
}

impl Life {
    fn new(mode: InactivityMode, after: i64) -> Self {
        Self {
            policy: Inactivity { mode, after },
            baseline: START,
            now: START,
            steps: Vec::new(),
            stale: false,
            told: Vec::new(),
            ended_at: None,
        }
    }

    fn case(&self) -> Case<'_> {
        Case {
            policy: self.policy,
            baseline: at(self.baseline),
            steps: &self.steps,
            stale: self.stale,
            hold: false,
        }
    }

    /// Somebody uses or keeps it.
    fn touch(&mut self) {
        if self.now > self.baseline {
            self.baseline = self.now;
            self.stale |= !self.steps.is_empty();
            self.steps.clear();
        }
    }

    /// One look, as often as there is something to do.
    fn sweep(&mut self) {
        for _ in 0..10 {
            if self.ended_at.is_some() {
                return;
            }
            match self.case().decide(at(self.now)) {
                Decision::Nothing => return,
                Decision::Withdraw => {
                    self.stale = false;
                    self.steps.clear();
                    self.told.clear();
                }
                Decision::RecordNotice {
                    days,
                    covers,
                    due_at,
                } => {
                    assert!(covers.contains(&days));
                    assert!(
                        due_at >= at(self.now + days * DAY_MILLIS),
                        "what is told is true"
                    );
                    let now = at(self.now);
                    self.steps
                        .extend(covers.into_iter().map(|days| Step { days, at: now }));
                    self.told.push((days, self.now, due_at.as_millis()));
                }
                Decision::Act(_) => {
                    self.check_end();
                    self.ended_at = Some(self.now);
                }
            }
        }
        panic!("it never comes to rest: {self:?}");
    }

    fn check_end(&self) {
        let mut recorded: Vec<i64> = self.steps.iter().map(|step| step.days).collect();
        recorded.sort_unstable();
        let mut required: Vec<i64> = self.case().required().collect();
        required.sort_unstable();
        assert_eq!(recorded, required);
        let last = self.told.last().unwrap();
        assert_eq!(last.0, 1, "the last notice was told as such");
        assert!(self.now - last.1 >= DAY_MILLIS);
        assert!(self.now - self.baseline >= self.policy.after);
        assert!(self.told.iter().all(|told| self.now >= told.2), "{self:?}");
        assert!(
            self.told
                .windows(2)
                .all(|two| two[1].1 - two[0].1 >= DAY_MILLIS),
            "{self:?}"
        );
    }

    /// Runs on, a look every so often, until it ends or the days are over.
    fn run(&mut self, days: i64, every: i64) {
        let end = self.now + days * DAY_MILLIS;
        while self.now < end && self.ended_at.is_none() {
            self.now += every;
            self.sweep();
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// Time goes by, and the sweep runs.
    Sweep(i64),
    /// Time goes by without a sweep.
    Off(i64),
    Touch,
    Jump(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (1..30 * HOUR).prop_map(Event::Sweep),
        2 => (1..20 * DAY_MILLIS).prop_map(Event::Sweep),
        1 => (1..150 * DAY_MILLIS).prop_map(Event::Off),
        1 => Just(Event::Touch),
        1 => prop_oneof![Just(YEAR), Just(-YEAR), -YEAR..YEAR].prop_map(Event::Jump),
    ]
}

fn policy() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(90 * DAY_MILLIS),
        HOUR..20 * DAY_MILLIS,
        HOUR..400 * DAY_MILLIS,
    ]
}

proptest! {
    #[test]
    fn nothing_goes_unannounced(after in policy(), events in prop::collection::vec(event(), 1..150)) {
        let mut life = Life::new(InactivityMode::Delete, after);
        for event in events {
            match event {
                Event::Sweep(millis) => {
                    life.now += millis;
                    life.sweep();
                }
                Event::Off(millis) | Event::Jump(millis) => life.now += millis,
                Event::Touch => life.touch(),
            }
        }
        // Left alone it goes in the end, however wrong the clock was.
        let behind = (life.baseline - life.now).max(0);
        life.run((behind + after) / DAY_MILLIS + 60, 6 * HOUR);
        prop_assert!(life.ended_at.is_some(), "{life:?}");
    }

    #[test]
    fn the_next_look_is_when_something_happens(after in policy(), gap in 1..40 * DAY_MILLIS) {
        let mut often = Life::new(InactivityMode::Delete, after);
        often.now += gap;
        often.sweep();
        while often.ended_at.is_none() {
            let next = often.case().next_look(at(often.now)).unwrap().as_millis();
            prop_assert!(next > often.now);
            // Just before it there is nothing to do.
            prop_assert_eq!(often.case().decide(at(next - 1)), Decision::Nothing);
            often.now = next;
            prop_assert_ne!(often.case().decide(at(next)), Decision::Nothing);
            often.sweep();
        }
    }

    #[test]
    fn the_forecast_is_what_happens(after in policy(), gap in 1..200 * DAY_MILLIS) {
        let mut life = Life::new(InactivityMode::Delete, after);
        life.now += gap;
        let forecast = life.case().forecast(at(life.now)).unwrap();
        life.sweep();
        while life.ended_at.is_none() {
            life.now = life.case().next_look(at(life.now)).unwrap().as_millis();
            life.sweep();
        }
        prop_assert_eq!(life.ended_at, Some(forecast.goes_at.as_millis() + SETTLE));
        prop_assert_eq!(forecast.next_notice_at.map(Timestamp::as_millis), Some(life.told[0].1));
    }
}

#[test]
fn ninety_days() {
    let mut life = Life::new(InactivityMode::Delete, 90 * DAY_MILLIS);
    life.run(100, HOUR);
    let day = |millis: i64| (millis - START) / DAY_MILLIS;
    let told: Vec<_> = life.told.iter().map(|told| (told.0, day(told.1))).collect();
    assert_eq!(told, [(15, 75), (7, 83), (1, 89)]);
    assert_eq!(life.ended_at.map(day), Some(90));
}

#[test]
fn after_four_months_off_one_notice_makes_up_for_two_and_the_last_has_its_own_day() {
    let mut life = Life::new(InactivityMode::Delete, 90 * DAY_MILLIS);
    life.now += 120 * DAY_MILLIS;
    life.sweep();
    life.run(20, HOUR);
    let day = |millis: i64| (millis - START) / DAY_MILLIS;
    let told: Vec<_> = life
        .told
        .iter()
        .map(|told| (told.0, day(told.1), day(told.2)))
        .collect();
    assert_eq!(told, [(7, 120, 127), (1, 126, 127)]);
    assert_eq!(life.ended_at.map(day), Some(127));
}

#[test]
fn a_use_takes_the_notices_back_and_they_come_anew() {
    let mut life = Life::new(InactivityMode::Delete, 90 * DAY_MILLIS);
    life.run(84, HOUR);
    assert_eq!(life.told.len(), 2);
    life.touch();
    life.sweep();
    assert!(life.told.is_empty() && life.ended_at.is_none());
    life.run(89, HOUR);
    assert_eq!(life.told.len(), 3);
    life.run(2, HOUR);
    assert!(life.ended_at.is_some());
}

#[test]
fn a_clock_a_year_ahead_announces_and_back_again_takes_it_back() {
    let mut life = Life::new(InactivityMode::Delete, 90 * DAY_MILLIS);
    life.run(10, HOUR);
    life.now += YEAR;
    life.sweep();
    assert_eq!(life.told.len(), 1);
    life.now -= YEAR;
    assert_eq!(life.case().decide(at(life.now)), Decision::Withdraw);
    life.sweep();
    life.run(60, HOUR);
    assert!(life.told.is_empty());
}

#[test]
fn short_policies_have_one_notice_a_day_before() {
    for after in [HOUR, DAY_MILLIS, 3 * DAY_MILLIS, 7 * DAY_MILLIS] {
        let mut life = Life::new(InactivityMode::Disable, after);
        life.run(10, HOUR);
        assert_eq!(life.told.len(), 1, "{after}");
        assert!(life.ended_at.unwrap() - life.told[0].1 >= DAY_MILLIS);
    }
}

#[test]
fn modes_that_end_nothing() {
    let mut life = Life::new(InactivityMode::Notify, 90 * DAY_MILLIS);
    life.run(400, HOUR);
    assert_eq!((life.told.len(), life.ended_at), (3, None));
    assert_eq!(life.case().next_look(at(life.now)), None);
    life.policy.mode = InactivityMode::Off;
    assert_eq!(life.case().decide(at(life.now)), Decision::Withdraw);
    life.sweep();
    assert_eq!(life.case().next_look(at(life.now)), None);
    assert_eq!(life.case().forecast(at(life.now)), None);
}

#[test]
fn in_doubt_nothing_ends() {
    let mut life = Life::new(InactivityMode::Delete, 90 * DAY_MILLIS);
    life.run(90, HOUR);
    assert!(life.ended_at.is_none());
    life.now += DAY_MILLIS;
    let held = Case {
        hold: true,
        ..life.case()
    };
    assert_eq!(held.decide(at(life.now)), Decision::Nothing);
    assert_eq!(
        life.case().decide(at(life.now)),
        Decision::Act(Ending::Delete)
    );
}

#[test]
fn stricter_is_sooner_or_worse() {
    use InactivityMode::{Delete, Disable, Notify, Off};
    let policy = |mode, days| Inactivity {
        mode,
        after: days * DAY_MILLIS,
    };
    let cases = [
        (policy(Delete, 90), policy(Off, 90), true),
        (policy(Delete, 90), policy(Delete, 91), true),
        (policy(Delete, 90), policy(Delete, 90), false),
        (policy(Delete, 91), policy(Delete, 90), false),
        (policy(Disable, 90), policy(Delete, 90), false),
        (policy(Disable, 30), policy(Delete, 90), true),
        (policy(Notify, 90), policy(Off, 30), true),
        (policy(Off, 1), policy(Delete, 90), false),
    ];
    for (new, old, want) in cases {
        assert_eq!(new.is_stricter_than(&old), want, "{new:?} {old:?}");
    }
}
