//! Which endpoint a request goes to: those that may be asked get their share of the turns, and the upstream's way of
//! balancing picks one. Each worker takes turns on its own, so that no counter is shared between cores.

mod least_requests;
mod power_of_two;
mod rendezvous;
mod round_robin;

use super::context::RequestContext;
use crate::domain::balance::{Balance, HashOn};
use crate::domain::fields::Fields;
use crate::snapshot::endpoints::UpstreamState;
use crate::snapshot::health::FULL_SHARE;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

/// As many as most upstreams have endpoints.
type Few<T> = SmallVec<[T; 8]>;

/// Whose turn it is at each upstream of a view.
#[derive(Default)]
pub(super) struct Turns(RefCell<Vec<Vec<i64>>>);

/// The endpoints of one request: which it may go to, and which were tried.
pub(super) struct Choice<'a> {
    upstream: &'a UpstreamState,
    /// What requests have in common that go to the same endpoint.
    affinity: Option<u64>,
    tried: Few<usize>,
}

impl<'a> Choice<'a> {
    /// For a request to this upstream.
    pub(super) fn new(upstream: &'a UpstreamState, fields: &Fields, cx: &RequestContext) -> Self {
        let affinity = match &upstream.config.balance {
            Balance::Hash(on) if !upstream.plain => affinity(on, fields, cx),
            Balance::Hash(_)
            | Balance::RoundRobin
            | Balance::LeastRequests
            | Balance::PowerOfTwo => None,
        };
        Self {
            upstream,
            affinity,
            tried: SmallVec::new(),
        }
    }

    /// The place of the endpoint to try next; `None`: all that may be asked were tried.
    pub(super) fn next(&mut self, now: u64, cx: &RequestContext) -> Option<usize> {
        let picked = if self.upstream.plain {
            self.tried.is_empty().then_some(0)
        } else {
            self.pick(now, cx)
        };
        self.tried.extend(picked);
        picked
    }

    /// Lets all endpoints be tried once more, those that were not before the others.
    pub(super) fn again(&mut self, now: u64) {
        let open = (0..self.upstream.endpoints.len())
            .any(|place| !self.tried.contains(&place) && self.upstream.share(place, now) > 0);
        if !open {
            self.tried.clear();
        }
    }

    fn pick(&self, now: u64, cx: &RequestContext) -> Option<usize> {
        let upstream = self.upstream;
        let count = upstream.endpoints.len();
        let mut shares: Few<u32> = (0..count).map(|place| upstream.share(place, now)).collect();
        for place in &self.tried {
            shares[*place] = 0;
        }
        if let Some(value) = self.affinity {
            // A share that grows would move values to and fro: they are all or nothing.
            for (share, endpoint) in shares.iter_mut().zip(&upstream.config.endpoints) {
                *share = if *share == 0 { 0 } else { endpoint.weight };
            }
            let seeds: Few<u64> = upstream.endpoints.iter().map(|one| one.seed).collect();
            return rendezvous::pick(&shares, &seeds, value);
        }
        let load = |place: usize| upstream.endpoints[place].in_flight.load(Relaxed);
        let random = |end| cx.worker.random_below(end);
        match upstream.config.balance {
            Balance::PowerOfTwo => power_of_two::pick(&shares, load, random),
            Balance::LeastRequests => cx.view.turns.at(upstream, cx.worker.number, |current| {
                least_requests::pick(current, &mut shares, load)
            }),
            Balance::RoundRobin | Balance::Hash(_) => {
                cx.view.turns.at(upstream, cx.worker.number, |current| {
                    round_robin::next(current, &shares)
                })
            }
        }
    }
}

impl Turns {
    /// Takes a turn at an upstream. Each worker begins somewhere else, or they would all begin with the same endpoint.
    fn at<T>(
        &self,
        upstream: &UpstreamState,
        worker: usize,
        take: impl FnOnce(&mut Vec<i64>) -> T,
    ) -> T {
        let mut all = self.0.borrow_mut();
        if all.len() <= upstream.place {
            all.resize_with(upstream.place + 1, Vec::new);
        }
        let current = &mut all[upstream.place];
        if current.is_empty() {
            let weights = upstream.config.endpoints.iter().map(|one| one.weight);
            let weights: Few<u32> = weights.map(|weight| weight * FULL_SHARE).collect();
            for _ in 0..worker % weights.len().max(1) {
                round_robin::next(current, &weights);
            }
        }
        take(current)
    }
}

/// A number for what is hashed; `None`: the request has none of it.
fn affinity(on: &HashOn, fields: &Fields, cx: &RequestContext) -> Option<u64> {
    let bits = match on {
        HashOn::Header(name) => of_bytes(fields.get(name.as_str())?),
        HashOn::Key => match (cx.key, cx.client()) {
            (Some(key), _) => halves(key.id.bits()),
            (None, IpAddr::V4(address)) => u64::from(address.to_bits()),
            (None, IpAddr::V6(address)) => halves(address.to_bits()),
        },
    };
    Some(rendezvous::mix(bits))
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
fn halves(bits: u128) -> u64 {
    rendezvous::mix((bits >> 64) as u64) ^ bits as u64
}

/// FNV-1a: the same on every node, and short values are what is hashed.
fn of_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
