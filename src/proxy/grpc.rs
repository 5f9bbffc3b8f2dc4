//! gRPC over HTTP/2: refusals in its own words, and the deadline that a caller sets.
//!
//! Source: "gRPC over HTTP2" (PROTOCOL-HTTP2.md), which names the fields; the statuses of refusals go by its table for HTTP
//! statuses (http-grpc-status-mapping.md), where that does not lose what is known.

use super::answer::{Answer, Lines};
use super::body::AnswerBody;
use super::error::ProxyError;
use crate::domain::fields::Fields;
use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

const GRPC: &[u8] = b"application/grpc";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// `DEADLINE_EXCEEDED`.
const TOO_LATE: &str = "4";

/// Whether a request is a call: `application/grpc`, with or without `+proto` and the like. `application/grpc-web` is not.
pub(super) fn is_call(fields: &Fields) -> bool {
    let Some(kind) = fields.get("content-type") else {
        return false;
    };
    let rest = kind
        .get(..GRPC.len())
        .filter(|start| start.eq_ignore_ascii_case(GRPC))
        .map(|_| &kind[GRPC.len()..]);
    matches!(rest, Some([] | [b'+' | b';' | b' ', ..]))
}

/// How long the caller waits for the whole call: at most eight digits and a unit.
pub(super) fn timeout(fields: &Fields) -> Option<Duration> {
    let text = std::str::from_utf8(fields.get("grpc-timeout")?).ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let fits = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| fits)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The status of gRPC that stands for one of HTTP.
fn status_of(status: StatusCode) -> &'static str {
    match status {
        // INVALID_ARGUMENT
        StatusCode::BAD_REQUEST => "3",
        // DEADLINE_EXCEEDED
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => TOO_LATE,
        // PERMISSION_DENIED
        StatusCode::FORBIDDEN => "7",
        // RESOURCE_EXHAUSTED
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::URI_TOO_LONG
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "8",
        // UNIMPLEMENTED
        StatusCode::NOT_FOUND => "12",
        // UNAVAILABLE
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => "14",
        // UNAUTHENTICATED
        StatusCode::UNAUTHORIZED => "16",
        // INTERNAL
        _ => "13",
    }
}

/// Says a fault as gRPC does: status 200, and how the call ended in the fields. They are the trailers too, since there is no
/// body ("Trailers-Only").
pub(super) fn refusal(error: ProxyError, buffer: Vec<u8>) -> Answer {
    let mut lines = Lines::begin(buffer, StatusCode::OK);
    lines.add("content-type", GRPC);
    for (name, value) in &trailers(error) {
        lines.add(name.as_str(), value.as_bytes());
    }
    Answer {
        status: StatusCode::OK,
        lines,
        body: AnswerBody::full(Bytes::new()),
    }
}

/// The end of a call that had begun.
pub(super) fn trailers(error: ProxyError) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(
        GRPC_STATUS,
        HeaderValue::from_static(status_of(error.status())),
    );
    // Our texts are ASCII without `%`, so they need no escaping (PROTOCOL-HTTP2.md, "Percent-Encoded").
    if let Ok(message) = HeaderValue::from_str(&format!("{}: {error}", error.code())) {
        trailers.insert(GRPC_MESSAGE, message);
    }
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::CONTENT_TYPE;

    const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

    fn with(name: &HeaderName, value: &str) -> Fields {
        let mut fields = Fields::default();
        fields.push(name, value.as_bytes());
        fields
    }

    #[test]
    fn calls_are_told_from_other_requests() {
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "Application/GRPC;a=b",
        ] {
            assert!(is_call(&with(&CONTENT_TYPE, kind)), "{kind}");
        }
        for kind in [
            "application/grpc-web",
            "application/grpcx",
            "application/json",
            "app",
        ] {
            assert!(!is_call(&with(&CONTENT_TYPE, kind)), "{kind}");
        }
        assert!(!is_call(&Fields::default()));
    }

    #[test]
    fn deadlines_have_a_unit() {
        let read = |text| timeout(&with(&GRPC_TIMEOUT, text));
        assert_eq!(read("100m"), Some(Duration::from_millis(100)));
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("1H"), Some(Duration::from_hours(1)));
        assert_eq!(read("3M"), Some(Duration::from_mins(3)));
        assert_eq!(read("5u"), Some(Duration::from_micros(5)));
        assert_eq!(read("5n"), Some(Duration::from_nanos(5)));
        for text in ["", "5", "S", "5s", "+5S", "123456789S", "5.S"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_fault_is_told_by_status_and_message() {
        let answer = refusal(ProxyError::NotReady, Vec::new());
        assert_eq!(answer.status, StatusCode::OK);
        let headers = answer.lines.to_map();
        assert_eq!(headers[CONTENT_TYPE], "application/grpc");
        assert_eq!(headers[GRPC_STATUS], "14");
        assert_eq!(
            headers[GRPC_MESSAGE],
            "not_ready: the gateway has not loaded its keys yet"
        );
        assert!(!trailers(ProxyError::NoRoute).contains_key(CONTENT_TYPE));
    }
}
