//! How much an upstream has to do, all threads together: requests under way, connections, and who waits for one.

use super::budget::RetryBudget;
use super::endpoints::EndpointState;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::Notify;

/// The counts of one upstream; they outlive reloads.
#[derive(Debug, Default)]
pub struct Load {
    requests: AtomicUsize,
    connections: AtomicUsize,
    pending: AtomicUsize,
    /// Tells those who wait that a connection was closed.
    pub closed: Notify,
    /// What may be sent again.
    pub budget: RetryBudget,
}

impl Load {
    /// A place for a request at an endpoint; `None`: there are `most` already.
    pub fn request(
        self: &Arc<Self>,
        endpoint: &Arc<EndpointState>,
        most: Option<usize>,
    ) -> Option<InFlight> {
        enter(&self.requests, most).then(|| {
            endpoint.in_flight.fetch_add(1, Relaxed);
            InFlight {
                endpoint: Arc::clone(endpoint),
                load: Arc::clone(self),
            }
        })
    }

    /// A place for a connection; `None`: there are `most` already.
    pub fn connection(self: &Arc<Self>, most: usize) -> Option<ConnectionPlace> {
        enter(&self.connections, Some(most)).then(|| ConnectionPlace(Arc::clone(self)))
    }

    /// A place in the queue for a connection; `None`: there are `most` already.
    pub fn wait(self: &Arc<Self>, most: Option<usize>) -> Option<Pending> {
        enter(&self.pending, most).then(|| Pending(Arc::clone(self)))
    }

    /// Whether somebody waits for a connection.
    pub fn is_wanted(&self) -> bool {
        self.pending.load(Relaxed) > 0
    }
}

/// Counts one more, unless there are `most`.
fn enter(count: &AtomicUsize, most: Option<usize>) -> bool {
    let most = most.unwrap_or(usize::MAX);
    let more = |now: usize| (now < most).then(|| now + 1);
    count.fetch_update(Relaxed, Relaxed, more).is_ok()
}

/// A request that is under way until this is dropped.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<EndpointState>,
    load: Arc<Load>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Relaxed);
        self.load.requests.fetch_sub(1, Relaxed);
    }
}

/// A connection that is open until this is dropped.
#[derive(Debug)]
pub struct ConnectionPlace(Arc<Load>);

impl ConnectionPlace {
    /// Whether somebody waits for it.
    pub fn is_wanted(&self) -> bool {
        self.0.is_wanted()
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
        self.0.closed.notify_waiters();
    }
}

/// Somebody who waits for a connection until this is dropped.
#[derive(Debug)]
pub struct Pending(Arc<Load>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back() {
        let load = Arc::new(Load::default());
        let first = load.connection(1).unwrap();
        assert!(load.connection(1).is_none());
        drop(first);
        assert!(load.connection(1).is_some());
        assert!(load.wait(Some(0)).is_none() && !load.is_wanted());
        let waiting = load.wait(Some(1)).unwrap();
        assert!(load.is_wanted() && load.wait(Some(1)).is_none());
        drop(waiting);
        assert!(!load.is_wanted());
    }

    #[tokio::test]
    async fn who_waits_is_told() {
        let load = Arc::new(Load::default());
        let place = load.connection(1);
        let closed = load.closed.notified();
        drop(place);
        closed.await;
    }
}
