//! How things stand with a request's limits, told in header fields: those that callers have read for years
//! (draft-ietf-httpapi-ratelimit-headers-03) and the structured ones that took their place (draft -08 and later).

use super::answer::Lines;
use crate::gate::limit::Standing;

pub(super) const LIMIT: &str = "ratelimit-limit";
pub(super) const REMAINING: &str = "ratelimit-remaining";
pub(super) const RESET: &str = "ratelimit-reset";
pub(super) const POLICY: &str = "ratelimit-policy";
pub(super) const STRUCTURED: &str = "ratelimit";

/// Whether a field, in any letters, is one of these.
pub(super) fn is_name(name: &str) -> bool {
    let start = name.get(..STRUCTURED.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(STRUCTURED))
}

/// Writes the fields, in place of what the service may have said of its own.
pub(super) fn tell(lines: &mut Lines, standing: Standing) {
    if lines.limited {
        for name in [LIMIT, REMAINING, RESET, POLICY, STRUCTURED] {
            lines.remove(name);
        }
    }
    let mut digits: [itoa::Buffer; 5] = std::array::from_fn(|_| itoa::Buffer::new());
    let [limit, remaining, reset, quota, window] = &mut digits;
    let limit = limit.format(standing.limit);
    let remaining = remaining.format(standing.remaining);
    let reset = reset.format(standing.reset);
    let quota = quota.format(standing.rate.requests());
    let window = window.format(standing.rate.unit().as_secs());
    let name = standing.policy.name();
    // As one piece, since most answers of a gateway that limits say this.
    for part in [
        "ratelimit-limit: ",
        limit,
        "\r\nratelimit-remaining: ",
        remaining,
        "\r\nratelimit-reset: ",
        reset,
        "\r\nratelimit-policy: \"",
        name,
        "\";q=",
        quota,
        ";w=",
        window,
        "\r\nratelimit: \"",
        name,
        "\";r=",
        remaining,
        ";t=",
        reset,
        "\r\n",
    ] {
        lines.add_lines(part.as_bytes());
    }
}

/// When the caller may try again (RFC 9110 §10.2.3).
pub(super) fn retry_after(lines: &mut Lines, seconds: u32) {
    lines.add(
        "retry-after",
        itoa::Buffer::new().format(seconds).as_bytes(),
    );
}
