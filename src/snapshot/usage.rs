//! What a key's use leaves behind: atomics in memory, forward only, never a lock on the request path.

use crate::domain::time::Timestamp;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// No use yet. Real times are later than 1970.
const NEVER: i64 = 0;

/// First and last use of a key, from where, and how often.
#[derive(Debug)]
pub struct KeyUsage {
    first_used: AtomicI64,
    last_used: AtomicI64,
    /// The address as an IPv6 address in two halves. They are written one after the other: a reader may see the halves
    /// of two uses in the same instant, which the next use puts right.
    address: [AtomicU64; 2],
    permitted: AtomicU64,
    refused: AtomicU64,
}

/// A reading of [`KeyUsage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageReading {
    /// First permitted request.
    pub first_used_at: Option<Timestamp>,
    /// Last permitted request.
    pub last_used_at: Option<Timestamp>,
    /// Where the last permitted request came from.
    pub last_used_ip: Option<IpAddr>,
    /// Permitted requests.
    pub permitted: u64,
    /// Requests refused although the key was right.
    pub refused: u64,
}

impl Default for KeyUsage {
    fn default() -> Self {
        Self {
            first_used: AtomicI64::new(NEVER),
            last_used: AtomicI64::new(NEVER),
            address: [AtomicU64::new(0), AtomicU64::new(0)],
            permitted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }
}

impl KeyUsage {
    /// Continues from what the store remembers. Counts begin at nothing: they are those of this process.
    pub fn recorded(
        first: Option<Timestamp>,
        last: Option<Timestamp>,
        from: Option<IpAddr>,
    ) -> Self {
        let usage = Self::default();
        if let Some(last) = last {
            usage.last_used.store(last.as_millis(), Relaxed);
            let first = first.unwrap_or(last);
            usage.first_used.store(first.as_millis(), Relaxed);
            usage.came_from(from.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        }
        usage
    }

    /// A permitted request. Times only move forward, whatever the clock does.
    pub fn used(&self, now: Timestamp, from: IpAddr) {
        self.permitted.fetch_add(1, Relaxed);
        let now = now.as_millis();
        if self.last_used.load(Relaxed) < now {
            self.last_used.fetch_max(now, Relaxed);
            self.came_from(from);
            if self.first_used.load(Relaxed) == NEVER {
                // Losing this race means that another first use won it.
                let _ = self
                    .first_used
                    .compare_exchange(NEVER, now, Relaxed, Relaxed);
            }
        }
    }

    /// A refusal of a known key.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// What stands there now.
    pub fn read(&self) -> UsageReading {
        let time = |place: &AtomicI64| {
            Some(place.load(Relaxed))
                .filter(|at| *at != NEVER)
                .map(Timestamp::from_millis)
        };
        let last_used_at = time(&self.last_used);
        UsageReading {
            first_used_at: time(&self.first_used),
            last_used_at,
            last_used_ip: last_used_at
                .map(|_| address([self.address[0].load(Relaxed), self.address[1].load(Relaxed)]))
                .filter(|from| !from.is_unspecified()),
            permitted: self.permitted.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }

    /// Takes over the use of the key this one replaces; uses that were noted here meanwhile stay.
    pub(super) fn absorb(&self, old: &Self) {
        let read = old.read();
        self.permitted.fetch_add(read.permitted, Relaxed);
        self.refused.fetch_add(read.refused, Relaxed);
        if let (Some(last), Some(from)) = (read.last_used_at, read.last_used_ip)
            && self.last_used.fetch_max(last.as_millis(), Relaxed) < last.as_millis()
        {
            self.came_from(from);
        }
        if let Some(first) = read.first_used_at {
            let first = first.as_millis();
            let earlier = |known: i64| (known == NEVER || first < known).then_some(first);
            // No change is needed when the known one is earlier.
            let _ = self.first_used.fetch_update(Relaxed, Relaxed, earlier);
        }
    }

    fn came_from(&self, address: IpAddr) {
        for (place, half) in self.address.iter().zip(halves(address)) {
            // Reading first keeps the cache line shared when the caller is the same as before.
            if place.load(Relaxed) != half {
                place.store(half, Relaxed);
            }
        }
    }
}

fn halves(address: IpAddr) -> [u64; 2] {
    let bits = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let half =
        |shift: u32| u64::try_from((bits >> shift) & u128::from(u64::MAX)).unwrap_or_default();
    [half(64), half(0)]
}

fn address(halves: [u64; 2]) -> IpAddr {
    let v6 = Ipv6Addr::from_bits((u128::from(halves[0]) << 64) | u128::from(halves[1]));
    v6.to_ipv4_mapped()
        .map_or(IpAddr::V6(v6), |v4: Ipv4Addr| IpAddr::V4(v4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn last_used_never_goes_back() {
        let usage = KeyUsage::default();
        assert_eq!(usage.read().last_used_at, None);
        let (here, there): (IpAddr, IpAddr) =
            ("10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        usage.used(Timestamp::from_millis(2000), here);
        usage.used(Timestamp::from_millis(1000), there);
        let reading = usage.read();
        assert_eq!(reading.last_used_at, Some(Timestamp::from_millis(2000)));
        assert_eq!(reading.first_used_at, Some(Timestamp::from_millis(2000)));
        assert_eq!(reading.last_used_ip, Some(here));
        assert_eq!(reading.permitted, 2);
        usage.used(Timestamp::from_millis(3000), there);
        assert_eq!(usage.read().last_used_ip, Some(there));
    }

    #[test]
    fn a_successor_takes_over_and_keeps_its_own() {
        let (old, new) = (KeyUsage::default(), KeyUsage::default());
        let here: IpAddr = "10.0.0.1".parse().unwrap();
        old.used(Timestamp::from_millis(1000), here);
        old.refused();
        new.used(Timestamp::from_millis(2000), here);
        new.absorb(&old);
        let reading = new.read();
        assert_eq!((reading.permitted, reading.refused), (2, 1));
        assert_eq!(reading.first_used_at, Some(Timestamp::from_millis(1000)));
        assert_eq!(reading.last_used_at, Some(Timestamp::from_millis(2000)));
        let untouched = KeyUsage::default();
        untouched.absorb(&old);
        assert_eq!(untouched.read(), old.read());
    }

    proptest! {
        #[test]
        fn addresses_round_trip(bits: u128, v4: u32) {
            let v6 = IpAddr::V6(Ipv6Addr::from_bits(bits));
            if !matches!(v6, IpAddr::V6(a) if a.to_ipv4_mapped().is_some()) {
                prop_assert_eq!(address(halves(v6)), v6);
            }
            let v4 = IpAddr::V4(Ipv4Addr::from_bits(v4));
            prop_assert_eq!(address(halves(v4)), v4);
        }
    }
}
