//! The addresses of an endpoint's name, as they were found last. Found in one place of the process; workers read them when
//! they connect, and notice when one of theirs is gone.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use tokio::sync::watch;

/// What is known of a name.
#[derive(Debug, Clone)]
enum Known {
    /// It has not been looked up yet.
    Nothing,
    /// It has no address, or nobody could be asked.
    NoAddress,
    /// At least one.
    Some(Arc<[IpAddr]>),
}

/// The addresses of one name.
#[derive(Debug)]
pub struct Addresses {
    known: watch::Sender<Known>,
    /// Grows when an address goes.
    departures: AtomicU64,
    next: AtomicUsize,
}

impl Default for Addresses {
    fn default() -> Self {
        Self {
            known: watch::Sender::new(Known::Nothing),
            departures: AtomicU64::new(0),
            next: AtomicUsize::new(0),
        }
    }
}

impl Addresses {
    /// What was found; none when there is nothing to be found. Whether that is news.
    pub fn found(&self, mut addresses: Vec<IpAddr>) -> bool {
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            self.known.send_replace(Known::NoAddress);
            return true;
        }
        let before = self.now();
        if before == addresses {
            return false;
        }
        let gone = before.iter().any(|one| !addresses.contains(one));
        self.known.send_replace(Known::Some(addresses.into()));
        if gone {
            self.departures.fetch_add(1, Relaxed);
        }
        true
    }

    /// All of them, from another one each time; waits until the name has been looked up. `None`: it has none.
    pub async fn in_turn(&self) -> Option<Vec<IpAddr>> {
        let mut known = self.known.subscribe();
        let known = known
            .wait_for(|known| !matches!(known, Known::Nothing))
            .await;
        let Known::Some(addresses) = known.ok()?.clone() else {
            return None;
        };
        let first = self.next.fetch_add(1, Relaxed) % addresses.len();
        let (front, back) = addresses.split_at(first);
        Some([back, front].concat())
    }

    /// What is known now, in no order of preference.
    pub fn now(&self) -> Vec<IpAddr> {
        match &*self.known.borrow() {
            Known::Some(addresses) => addresses.to_vec(),
            Known::Nothing | Known::NoAddress => Vec::new(),
        }
    }
}

/// Where a connection leads; as long as the name has this address, it may be used again.
#[derive(Debug)]
pub struct Home {
    addresses: Arc<Addresses>,
    address: IpAddr,
    /// Departures up to which the address was there.
    departures: Cell<u64>,
}

impl Home {
    /// An address of a name.
    pub fn new(addresses: &Arc<Addresses>, address: IpAddr) -> Self {
        Self {
            departures: Cell::new(addresses.departures.load(Relaxed)),
            addresses: Arc::clone(addresses),
            address,
        }
    }

    /// Whether the name still has the address: one load, unless any has gone.
    pub fn is_current(&self) -> bool {
        let departures = self.addresses.departures.load(Relaxed);
        if departures == self.departures.get() {
            return true;
        }
        let current = self.addresses.now().contains(&self.address);
        if current {
            self.departures.set(departures);
        }
        current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(last: &[u8]) -> Vec<IpAddr> {
        last.iter().map(|last| [10, 0, 0, *last].into()).collect()
    }

    #[tokio::test]
    async fn each_address_is_first_in_turn() {
        let addresses = Addresses::default();
        assert!(addresses.found(ips(&[2, 1, 2])) && !addresses.found(ips(&[1, 2])));
        assert_eq!(addresses.in_turn().await, Some(ips(&[1, 2])));
        assert_eq!(addresses.in_turn().await, Some(ips(&[2, 1])));
        assert_eq!(addresses.in_turn().await, Some(ips(&[1, 2])));
        addresses.found(Vec::new());
        assert_eq!(addresses.in_turn().await, None);
    }

    #[test]
    fn connections_to_an_address_that_is_gone_are_not_current() {
        let addresses = Arc::new(Addresses::default());
        addresses.found(ips(&[1, 2]));
        let [one, two] = [1, 2].map(|last| Home::new(&addresses, ips(&[last])[0]));
        addresses.found(ips(&[1, 2, 3]));
        assert!(one.is_current() && two.is_current());
        addresses.found(ips(&[2, 3]));
        assert!(!one.is_current() && two.is_current());
    }
}
