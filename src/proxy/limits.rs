//! How things stand with a request's limits, told in header fields: those that callers have read for years
//! (draft-ietf-httpapi-ratelimit-headers-03) and the structured ones that took their place (draft -08 and later).

use crate::gate::limit::Standing;
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STRUCTURED: HeaderName = HeaderName::from_static("ratelimit");

/// Writes the fields, in place of what the service may have said of its own.
pub(super) fn tell(headers: &mut HeaderMap, standing: Standing) {
    let (name, limit) = (standing.policy.name(), standing.limit);
    let (remaining, reset) = (standing.remaining, standing.reset);
    headers.insert(LIMIT, HeaderValue::from(limit));
    headers.insert(REMAINING, HeaderValue::from(remaining));
    headers.insert(RESET, HeaderValue::from(reset));
    let (quota, window) = (standing.rate.requests(), standing.rate.unit().as_secs());
    structured(headers, POLICY, format!("\"{name}\";q={quota};w={window}"));
    structured(
        headers,
        STRUCTURED,
        format!("\"{name}\";r={remaining};t={reset}"),
    );
}

/// When the caller may try again (RFC 9110 §10.2.3).
pub(super) fn retry_after(headers: &mut HeaderMap, standing: Standing) {
    headers.insert(RETRY_AFTER, HeaderValue::from(standing.wait));
}

fn structured(headers: &mut HeaderMap, name: HeaderName, value: String) {
    // Digits and a word of ours are always a value.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}
