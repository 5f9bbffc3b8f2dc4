//! Admit: what is turned away before anybody looks at it.

use super::context::RequestContext;
use super::error::ProxyError;
use super::worker::Worker;
use crate::domain::network::Network;
use crate::gate::Denied;
use crate::snapshot::handle::Snapshot;
use crate::telemetry::metrics::Shed;
use std::rc::Rc;

/// Whether a request is looked at.
///
/// # Errors
/// This thread is late, or the caller's network has shown too many wrong keys.
pub(super) fn admit(
    worker: &Rc<Worker>,
    snapshot: &Snapshot,
    cx: &RequestContext,
) -> Result<(), ProxyError> {
    if worker.is_overloaded(snapshot.admission.max_lag) {
        cx.connection.shed(Shed::Overload);
        return Err(ProxyError::Late);
    }
    let failures = &worker.shared.failures;
    let limit = snapshot.admission.failed_attempts;
    let Some(limit) = limit.filter(|_| !failures.is_quiet(cx.started)) else {
        return Ok(());
    };
    failures
        .check(Network::of(cx.client()), limit, cx.started)
        .map_err(|wait| {
            cx.connection.shed(Shed::Throttled);
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            ProxyError::TooManyFailures(u32::try_from(seconds).unwrap_or(u32::MAX))
        })
}

/// Notes what was a guess: a key that nobody has, or that cannot be one. None at all is no guess, and whoever has a key
/// that is over or may not do this has not guessed it.
pub(super) fn note_refusal(
    worker: &Worker,
    snapshot: &Snapshot,
    cx: &RequestContext,
    denied: Denied,
) {
    let guess = cx.key.is_none() && matches!(denied, Denied::Malformed | Denied::Unknown);
    if let (Some(limit), true) = (snapshot.admission.failed_attempts, guess) {
        let network = Network::of(cx.client());
        worker.shared.failures.note(network, limit, cx.started);
    }
}
