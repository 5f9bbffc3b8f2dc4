//! Sends a request again that failed, where its route wants it and where that is safe: nothing was sent, or the method is
//! idempotent and there is no body. A budget keeps a failing service from a multiple of its load.

use super::attempt::{Sending, attempt};
use super::context::RequestContext;
use super::error::UpstreamFault;
use super::upstream::answer::AnswerHead;
use super::upstream::pool::Lease;
use super::worker::Worker;
use crate::domain::resilience::{Retries, RetryOn};
use crate::snapshot::router::CompiledRoute;
use crate::telemetry::metrics::RetryOutcome;
use std::rc::Rc;
use std::time::Duration;

/// Longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(10);

type Outcome = Result<(AnswerHead, Lease), UpstreamFault>;

/// Sends, and sends again as the route's `retries` say.
pub(super) async fn send(
    worker: &Rc<Worker>,
    sending: &mut Sending<'_>,
    route: &CompiledRoute,
    cx: &mut RequestContext,
) -> Outcome {
    let Some(rules) = &route.route.retries else {
        let outcome = attempt(worker, sending, route, cx).await;
        note(worker, &outcome, sending, (route, cx));
        return outcome;
    };
    Box::pin(repeatedly(worker, sending, (route, rules), cx)).await
}

async fn repeatedly(
    worker: &Rc<Worker>,
    sending: &mut Sending<'_>,
    (route, rules): (&CompiledRoute, &Retries),
    cx: &mut RequestContext,
) -> Outcome {
    let upstream = &route.upstream;
    upstream.load.budget.request(cx.decided);
    let mut done = 0;
    loop {
        let outcome = one_try(worker, sending, (route, rules), cx).await;
        note(worker, &outcome, sending, (route, cx));
        let worth = is_worth(rules.on, &outcome, sending);
        if done > 0 {
            let failed = worth || outcome.is_err();
            upstream.metrics.retried(if failed {
                RetryOutcome::Failure
            } else {
                RetryOutcome::Success
            });
        }
        if !worth || done == rules.attempts {
            return outcome;
        }
        if !upstream.load.budget.take(worker.clock.monotonic_nanos()) {
            upstream.metrics.retried(RetryOutcome::Budget);
            return outcome;
        }
        // The connection is in the middle of an answer that nobody wants.
        drop(outcome);
        cx.in_flight = None;
        tokio::time::sleep(pause(rules.backoff, done, |end| worker.random_below(end))).await;
        sending.outgoing.rewind();
        sending.choice.again(worker.clock.monotonic_nanos());
        done += 1;
    }
}

/// One try, within its time. What the caller has to send is not timed here.
async fn one_try(
    worker: &Rc<Worker>,
    sending: &mut Sending<'_>,
    (route, rules): (&CompiledRoute, &Retries),
    cx: &mut RequestContext,
) -> Outcome {
    match rules.per_try_timeout {
        Some(limit) if sending.outgoing.is_bodiless() => {
            tokio::time::timeout(limit, attempt(worker, sending, route, cx))
                .await
                .unwrap_or(Err(UpstreamFault::Timeout))
        }
        Some(_) | None => attempt(worker, sending, route, cx).await,
    }
}

/// Takes the outcome into what is known of the endpoint. Connections that could not be made were noted one by one, a
/// caller that broke off says nothing about the service, and a request that was not taken next to nothing.
fn note(
    worker: &Worker,
    outcome: &Outcome,
    sending: &Sending<'_>,
    (route, cx): (&CompiledRoute, &RequestContext),
) {
    let Some(endpoint) = &cx.endpoint else { return };
    let failed = match outcome {
        Ok((head, _)) => matches!(head.status.as_u16(), 502..=504),
        Err(UpstreamFault::Closed) => !sending.is_broken_off(),
        Err(UpstreamFault::Protocol | UpstreamFault::Timeout) => true,
        Err(
            UpstreamFault::Dns
            | UpstreamFault::Connect
            | UpstreamFault::ConnectTimeout
            | UpstreamFault::Tls(_)
            | UpstreamFault::Refused
            | UpstreamFault::NoHealthyEndpoint
            | UpstreamFault::MaxRequests
            | UpstreamFault::MaxPending
            | UpstreamFault::PendingTimeout,
        ) => return,
    };
    if failed {
        let now = worker.clock.monotonic_nanos();
        route.upstream.failed(endpoint, now);
    } else {
        route.upstream.succeeded(endpoint);
    }
}

/// Whether the outcome is one to try again after, and doing so is safe (RFC 9110 §9.2.2).
fn is_worth(on: RetryOn, outcome: &Outcome, sending: &Sending<'_>) -> bool {
    let outgoing = &sending.outgoing;
    let repeatable = outgoing.is_bodiless() && sending.method.is_idempotent();
    match outcome {
        Ok((head, _)) => repeatable && on.status(head.status.as_u16()),
        // Nothing was sent, and nothing was read of a body.
        Err(
            UpstreamFault::Dns
            | UpstreamFault::Connect
            | UpstreamFault::ConnectTimeout
            | UpstreamFault::Tls(_),
        ) => on.connect_failure,
        // All of the request is still there.
        Err(UpstreamFault::Refused) => on.refused_stream,
        Err(UpstreamFault::Closed) => {
            let refused = outgoing.is_bodiless() && outgoing.is_untouched();
            refused && on.refused_stream || repeatable && on.bad_gateway
        }
        Err(UpstreamFault::Protocol) => repeatable && on.bad_gateway,
        Err(UpstreamFault::Timeout) => repeatable && on.gateway_timeout,
        Err(
            UpstreamFault::NoHealthyEndpoint
            | UpstreamFault::MaxRequests
            | UpstreamFault::MaxPending
            | UpstreamFault::PendingTimeout,
        ) => false,
    }
}

/// A random part of the backoff, which doubles with each try.
fn pause(backoff: Duration, done: u32, random: impl FnOnce(u64) -> u64) -> Duration {
    let longest = backoff.saturating_mul(1 << done.min(16)).min(LONGEST);
    let nanos = u64::try_from(longest.as_nanos()).unwrap_or_default();
    Duration::from_nanos(random(nanos + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let longest = |backoff, done| pause(Duration::from_millis(backoff), done, |end| end - 1);
        assert_eq!(longest(25, 0), Duration::from_millis(25));
        assert_eq!(longest(25, 3), Duration::from_millis(200));
        assert_eq!(longest(10_000, 9), LONGEST);
        assert_eq!(pause(Duration::from_millis(25), 3, |_| 0), Duration::ZERO);
        assert_eq!(longest(0, 5), Duration::ZERO);
    }
}
