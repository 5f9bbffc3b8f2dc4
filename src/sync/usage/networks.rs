//! Networks of keys that the store knows already: what was written within the hour is not written again.

use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::snapshot::events::{HOUR_MILLIS, Seen};
use crate::store::usage::KeyUse;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// Networks that are remembered; when there are more, all are forgotten, and written once more.
const MOST: usize = 200_000;

/// What was written lately: key, a digest of the network, and the hour of its last use. In the order of keys, in which they are
/// asked for.
#[derive(Debug, Default)]
pub(super) struct Networks {
    written: BTreeMap<(Id, u64), i64>,
    digest: RandomState,
}

impl Networks {
    /// Whether the store knows that the key was used from this address's network within the hour.
    pub(super) fn knows(&self, key: Id, seen: &Seen) -> bool {
        let place = self.place(key, network(seen.1));
        let written = self.written.get(&place);
        written.is_some_and(|hour| *hour >= hour_of(seen.0))
    }

    /// These were written.
    pub(super) fn written(&mut self, portion: &[KeyUse]) {
        for one in portion {
            for seen in &one.networks {
                if self.written.len() >= MOST {
                    self.written.clear();
                }
                let place = self.place(one.key, seen.network.parse().ok());
                self.written.insert(place, hour_of(seen.last_at));
            }
        }
    }

    fn place(&self, key: Id, network: Option<IpNet>) -> (Id, u64) {
        (key, self.digest.hash_one(network))
    }
}

fn hour_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(HOUR_MILLIS)
}

/// What is taken for one network: as much as one subscriber usually has.
pub(super) fn network(address: IpAddr) -> Option<IpNet> {
    let network = match address.to_canonical() {
        IpAddr::V4(v4) => Ipv4Net::new(v4, 24).map(IpNet::V4),
        IpAddr::V6(v6) => Ipv6Net::new(v6, 48).map(IpNet::V6),
    };
    network.ok().map(|network| network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::usage::NetworkUse;

    fn seen(key: u128, network: &str, hour: i64) -> KeyUse {
        let mut one = KeyUse::new(Id::from_bits(key), false);
        let at = Timestamp::from_millis(hour * HOUR_MILLIS + 5);
        one.networks.push(NetworkUse {
            network: network.into(),
            first_at: at,
            last_at: at,
        });
        one
    }

    #[test]
    fn a_network_is_known_for_an_hour() {
        let mut networks = Networks::default();
        let knows = |networks: &Networks, key: u128, address: &str, hour: i64| {
            let at = Timestamp::from_millis(hour * HOUR_MILLIS + 9);
            networks.knows(Id::from_bits(key), &(at, address.parse().unwrap()))
        };
        assert!(!knows(&networks, 1, "10.0.0.1", 3));
        networks.written(&[seen(1, "10.0.0.0/24", 3), seen(1, "2001:db8:1::/48", 3)]);
        for (key, address, hour, known) in [
            (1, "10.0.0.9", 3, true),
            (1, "::ffff:10.0.0.9", 2, true),
            (1, "10.0.0.9", 4, false),
            (1, "10.0.1.9", 3, false),
            (2, "10.0.0.9", 3, false),
            (1, "2001:db8:1:2::3", 3, true),
            (1, "2001:db8:2:2::3", 3, false),
        ] {
            assert_eq!(
                knows(&networks, key, address, hour),
                known,
                "{key} {address} {hour}"
            );
        }
    }

    #[test]
    fn not_too_many_are_remembered() {
        let mut networks = Networks::default();
        for key in 0..u128::try_from(MOST).unwrap() + 5 {
            networks.written(&[seen(key, "10.0.0.0/24", 3)]);
        }
        assert_eq!(networks.written.len(), 5);
    }
}
