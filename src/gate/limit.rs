//! Limit: takes a request out of what is left of its key's limit, its consumer's and its route's, out of all of them or
//! out of none.

use super::Denied;
use crate::domain::limit::{Policy, Rate};
use crate::snapshot::key::Key;
use crate::snapshot::limits::{Bucket, Level};
use crate::snapshot::router::CompiledRoute;
use std::time::Duration;

/// How things stand with the limits of a request: those of the one that leaves the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whose limit it is.
    pub policy: Policy,
    /// Most requests at once.
    pub limit: u32,
    /// Those of them that may still come.
    pub remaining: u32,
    /// What holds over time.
    pub rate: Rate,
    /// Until all of them may come again, in seconds; parts of one count as one, here and below.
    pub reset: u32,
    /// Until the next one may come, in seconds; 0 while one may.
    pub wait: u32,
}

/// What a request is limited by; `None`: by nothing.
type Limits<'a> = [Option<(Policy, &'a Bucket)>; 3];

/// The limits of a request, the narrowest first.
pub fn of<'a>(key: Option<&'a Key>, route: Option<&'a CompiledRoute>) -> Limits<'a> {
    let key_bucket = key.and_then(Key::bucket);
    let consumer = key.and_then(Key::owner);
    [
        key_bucket.map(|bucket| (Policy::Key, bucket)),
        consumer.and_then(|owner| Some((Policy::Consumer, owner.bucket.as_deref()?))),
        route.and_then(|route| Some((Policy::Route, route.bucket.as_deref()?))),
    ]
}

/// Takes one request out of each limit; now is [`crate::clock::Clock::monotonic_nanos`].
///
/// # Errors
/// One of them is used up; then nothing is taken.
pub(super) fn take(limits: &Limits<'_>, now: u64) -> Result<Option<Standing>, Denied> {
    let mut least: Option<Standing> = None;
    for (place, (policy, bucket)) in limits.iter().enumerate().filter_map(present) {
        match bucket.take(now) {
            Ok(level) => least = Some(tighter(least, standing(policy, bucket, level))),
            Err(level) => {
                for (_, taken) in limits[..place].iter().flatten() {
                    taken.give_back();
                }
                return Err(Denied::RateLimited(standing(policy, bucket, level)));
            }
        }
    }
    Ok(least)
}

/// How things stand before anything is taken.
///
/// # Errors
/// One of them is used up: [`take`] would say so too.
pub(super) fn peek(limits: &Limits<'_>, now: u64) -> Result<Option<Standing>, Denied> {
    let mut least: Option<Standing> = None;
    for (policy, bucket) in limits.iter().flatten() {
        let told = |level| standing(*policy, bucket, level);
        let level = bucket.peek(now);
        let level = level.map_err(|level| Denied::RateLimited(told(level)))?;
        least = Some(tighter(least, told(level)));
    }
    Ok(least)
}

type Present<'a> = (usize, (Policy, &'a Bucket));

fn present<'a>((place, one): (usize, &Option<(Policy, &'a Bucket)>)) -> Option<Present<'a>> {
    one.map(|one| (place, one))
}

fn standing(policy: Policy, bucket: &Bucket, level: Level) -> Standing {
    Standing {
        policy,
        limit: bucket.limit().burst(),
        remaining: level.remaining,
        rate: bucket.limit().rate(),
        reset: seconds(level.full_in),
        wait: seconds(level.free_in),
    }
}

fn seconds(length: Duration) -> u32 {
    let whole = length.as_secs() + u64::from(length.subsec_nanos() > 0);
    u32::try_from(whole).unwrap_or(u32::MAX)
}

fn tighter(one: Option<Standing>, other: Standing) -> Standing {
    match one {
        Some(one) if one.remaining <= other.remaining => one,
        Some(_) | None => other,
    }
}
