//! How late a worker is, and which part of its requests it sheds for that.
//!
//! A probe sleeps for a moment and looks by how much it overslept: so long does whatever comes now wait for its turn. Two
//! late probes in a row begin to shed, more with each further one; timely ones shed less. Between late and timely nothing
//! changes, so that load which is just right is not met with all or nothing.

use super::worker::Worker;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// Time between two probes.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// All requests; a level is a part of it.
const ALL: u8 = 16;
/// Levels that a late probe adds, and that a timely one takes away.
const UP: u8 = 2;
const DOWN: u8 = 1;

/// What the probes of a worker have found.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// So many of [`ALL`] requests are shed.
    level: Cell<u8>,
    /// What is due of one more request to shed, in parts of [`ALL`].
    due: Cell<u8>,
    /// The last probe was late.
    late: Cell<bool>,
    probing: Cell<bool>,
    /// Requests have come since the last probe.
    asked: Cell<bool>,
}

impl Load {
    /// Whether the next request is shed.
    fn sheds(&self) -> bool {
        let level = self.level.get();
        if level == 0 {
            return false;
        }
        let due = self.due.get() + level;
        self.due.set(due % ALL);
        due >= ALL
    }

    /// A probe was so late.
    fn observe(&self, lag: Duration, most: Duration) {
        let (level, late) = (self.level.get(), lag > most);
        if late && self.late.replace(true) {
            self.level.set((level + UP).min(ALL));
        } else if !late {
            self.late.set(false);
            if lag <= most / 2 {
                self.level.set(level.saturating_sub(DOWN));
            }
        }
    }
}

impl Worker {
    /// Whether a request has to be shed, because this thread is late.
    pub(super) fn is_overloaded(self: &Rc<Self>, max_lag: Option<Duration>) -> bool {
        if max_lag.is_none() {
            return false;
        }
        self.load.asked.set(true);
        if !self.load.probing.get() {
            self.probe();
        }
        self.load.sheds()
    }

    /// Probes as long as requests come or are shed; an idle worker is not woken for nothing.
    #[cold]
    fn probe(self: &Rc<Self>) {
        self.load.probing.set(true);
        let worker = Rc::clone(self);
        self.background.spawn_local(async move {
            let load = &worker.load;
            while load.asked.replace(false) || load.level.get() > 0 || load.late.get() {
                let due = Instant::now() + PROBE_EVERY;
                tokio::time::sleep_until(due).await;
                match worker.view().snapshot.admission.max_lag {
                    Some(most) => load.observe(due.elapsed(), most),
                    None => break,
                }
            }
            load.level.set(0);
            load.probing.set(false);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(500);
    const LATE: Duration = Duration::from_millis(501);
    const SO_SO: Duration = Duration::from_millis(400);
    const TIMELY: Duration = Duration::from_millis(250);

    fn after(probes: &[Duration]) -> Load {
        let load = Load::default();
        for lag in probes {
            load.observe(*lag, MOST);
        }
        load
    }

    /// How many of 16 requests are shed.
    fn shed(load: &Load) -> usize {
        (0..16).filter(|_| load.sheds()).count()
    }

    #[test]
    fn one_pause_sheds_nothing() {
        assert_eq!(shed(&after(&[LATE])), 0);
        assert_eq!(shed(&after(&[LATE, TIMELY, LATE, SO_SO, LATE])), 0);
    }

    #[test]
    fn the_longer_it_lasts_the_more_is_shed_up_to_all() {
        assert_eq!(shed(&after(&[LATE; 2])), 2);
        assert_eq!(shed(&after(&[LATE; 5])), 8);
        assert_eq!(shed(&after(&[LATE; 9])), 16);
        assert_eq!(shed(&after(&[LATE; 100])), 16);
    }

    #[test]
    fn it_ends_slower_than_it_began_and_does_not_flap() {
        let load = after(&[LATE; 9]);
        load.observe(SO_SO, MOST);
        assert_eq!(shed(&load), 16, "neither late nor timely");
        load.observe(TIMELY, MOST);
        assert_eq!(shed(&load), 15);
        load.observe(LATE, MOST);
        assert_eq!(shed(&load), 15);
        for _ in 0..15 {
            load.observe(TIMELY, MOST);
        }
        assert_eq!(shed(&load), 0);
    }

    #[test]
    fn what_is_shed_is_spread_evenly() {
        let load = after(&[LATE; 3]);
        let shed: Vec<bool> = (0..8).map(|_| load.sheds()).collect();
        assert_eq!(shed, [false, false, false, true, false, false, false, true]);
    }
}
