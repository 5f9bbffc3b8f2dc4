//! How things stand with a request's limits, told in header fields: those that callers have read for years
//! (draft-ietf-httpapi-ratelimit-headers-03) and the structured ones that took their place (draft -08 and later).

use super::answer::Lines;
use crate::gate::limit::Standing;
use std::io::Write;

const LIMIT: &str = "ratelimit-limit";
const REMAINING: &str = "ratelimit-remaining";
const RESET: &str = "ratelimit-reset";
const POLICY: &str = "ratelimit-policy";
const STRUCTURED: &str = "ratelimit";

/// Writes the fields, in place of what the service may have said of its own.
pub(super) fn tell(lines: &mut Lines, standing: Standing) {
    if lines
        .iter()
        .any(|(name, _)| name.starts_with(STRUCTURED.as_bytes()))
    {
        for name in [LIMIT, REMAINING, RESET, POLICY, STRUCTURED] {
            lines.remove(name);
        }
    }
    let (name, limit) = (standing.policy.name(), standing.limit);
    let (remaining, reset) = (standing.remaining, standing.reset);
    let mut digits = itoa::Buffer::new();
    lines.add(LIMIT, digits.format(limit).as_bytes());
    lines.add(REMAINING, digits.format(remaining).as_bytes());
    lines.add(RESET, digits.format(reset).as_bytes());
    let (quota, window) = (standing.rate.requests(), standing.rate.unit().as_secs());
    let mut value = Vec::with_capacity(48);
    // Writing to a Vec cannot fail.
    let _ = write!(value, "\"{name}\";q={quota};w={window}");
    lines.add(POLICY, &value);
    value.clear();
    let _ = write!(value, "\"{name}\";r={remaining};t={reset}");
    lines.add(STRUCTURED, &value);
}

/// When the caller may try again (RFC 9110 §10.2.3).
pub(super) fn retry_after(lines: &mut Lines, seconds: u32) {
    lines.add(
        "retry-after",
        itoa::Buffer::new().format(seconds).as_bytes(),
    );
}
