//! The one table: every fault of the request path, whose it is, and the answer it becomes. The gate's part of it is
//! `Denied::told`.

use super::answer::{Answer, Lines};
use super::body::AnswerBody;
use super::limits;
use super::request_id::RequestId;
use crate::gate::Denied;
use crate::snapshot::handle::Challenges;
use bytes::Bytes;
use http::StatusCode;
use std::fmt::{self, Write};

/// Why a request gets an answer of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProxyError {
    /// The request cannot be understood in one way only.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The gate said no.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// No route takes it.
    #[error("no route matches this host, path and method")]
    NoRoute,
    /// The body is larger than the route allows.
    #[error("the request body is larger than this route allows")]
    BodyTooLarge,
    /// The target is too long.
    #[error("the request target is too long")]
    UriTooLong,
    /// Too many header fields, or too many bytes in them.
    #[error("the request's header fields are too many or too large")]
    HeadersTooLarge,
    /// The caller took too long to send.
    #[error("the request did not arrive in time")]
    RequestTimeout,
    /// The listener has all the connections it may have.
    #[error("the gateway has too many connections")]
    Overloaded,
    /// The thread is late.
    #[error("the gateway has more requests than it can serve")]
    Late,
    /// The caller's network has shown too many wrong keys; seconds to wait.
    #[error("too many requests of this network had a wrong API key")]
    TooManyFailures(u32),
    /// The keys have not been loaded yet.
    #[error("the gateway has not loaded its keys yet")]
    NotReady,
    /// The upstream failed.
    #[error(transparent)]
    Upstream(#[from] UpstreamFault),
}

/// How an upstream failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UpstreamFault {
    /// Its name has no address.
    #[error("the service's address could not be found")]
    Dns,
    /// No connection.
    #[error("the service could not be reached")]
    Connect,
    /// No connection in time.
    #[error("the service did not accept a connection in time")]
    ConnectTimeout,
    /// No handshake of TLS; which check failed is for the log.
    #[error("no secure connection to the service could be made")]
    Tls(TlsFault),
    /// The connection ended before an answer.
    #[error("the service closed the connection without an answer")]
    Closed,
    /// It says that it has not acted upon the request.
    #[error("the service refused the request without looking at it")]
    Refused,
    /// Its answer is not HTTP, or not in one way only.
    #[error("the service gave an answer that cannot be understood")]
    Protocol,
    /// No answer in time.
    #[error("the service did not answer in time")]
    Timeout,
    /// Every endpoint is taken out.
    #[error("no endpoint of the service is healthy")]
    NoHealthyEndpoint,
    /// It has as many requests as it may have.
    #[error("the service has too many requests under way")]
    MaxRequests,
    /// As many wait for a connection to it as may.
    #[error("too many requests wait for a connection to the service")]
    MaxPending,
    /// No connection to it was free in time.
    #[error("no connection to the service was free in time")]
    PendingTimeout,
}

/// What was wrong with a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsFault {
    /// The service's certificate is not good, or not its own.
    Certificate,
    /// The service would not have us.
    Alert,
    /// What came is no TLS, or none that we speak.
    Protocol,
}

impl UpstreamFault {
    /// Label `reason` of `upstream_errors_total`.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls(_) => "tls",
            Self::Closed => "closed",
            Self::Refused => "refused_stream",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::NoHealthyEndpoint => "no_healthy_endpoint",
            Self::MaxRequests => "max_requests",
            Self::MaxPending => "max_pending",
            Self::PendingTimeout => "pending_timeout",
        }
    }

    /// Error type of RFC 9209 §2.3.
    fn proxy_status(self) -> &'static str {
        match self {
            Self::Dns => "keygate; error=dns_error",
            Self::Connect => "keygate; error=connection_refused",
            Self::ConnectTimeout => "keygate; error=connection_timeout",
            Self::Tls(TlsFault::Certificate) => "keygate; error=tls_certificate_error",
            Self::Tls(TlsFault::Alert) => "keygate; error=tls_alert_received",
            Self::Tls(TlsFault::Protocol) => "keygate; error=tls_protocol_error",
            Self::Closed | Self::Refused => "keygate; error=connection_terminated",
            Self::Protocol => "keygate; error=http_protocol_error",
            Self::Timeout => "keygate; error=http_response_timeout",
            Self::NoHealthyEndpoint => "keygate; error=destination_unavailable",
            Self::MaxRequests | Self::MaxPending | Self::PendingTimeout => {
                "keygate; error=connection_limit_reached"
            }
        }
    }
}

/// A row of the table.
struct Row {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    /// Whether the connection must not be used again.
    close: bool,
}

fn row(status: StatusCode, code: &'static str, title: &'static str) -> Row {
    Row {
        status,
        code,
        title,
        close: false,
    }
}

fn closing(status: StatusCode, code: &'static str, title: &'static str) -> Row {
    Row {
        status,
        code,
        title,
        close: true,
    }
}

impl ProxyError {
    /// The table. No wildcard: a new fault cannot be forgotten here.
    fn row(self) -> Row {
        use StatusCode as S;
        match self {
            Self::BadRequest(_) => closing(S::BAD_REQUEST, "bad_request", "Bad request"),
            Self::Denied(denied) => {
                let (status, code, title) = denied.told();
                row(status, code, title)
            }
            Self::NoRoute => row(S::NOT_FOUND, "no_route", "No route"),
            Self::BodyTooLarge => closing(S::PAYLOAD_TOO_LARGE, "body_too_large", "Body too large"),
            Self::UriTooLong => closing(S::URI_TOO_LONG, "uri_too_long", "URI too long"),
            Self::HeadersTooLarge => closing(
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                "Headers too large",
            ),
            Self::RequestTimeout => {
                closing(S::REQUEST_TIMEOUT, "request_timeout", "Request timeout")
            }
            Self::Overloaded => closing(S::SERVICE_UNAVAILABLE, "overloaded", "Overloaded"),
            Self::Late => row(S::SERVICE_UNAVAILABLE, "overloaded", "Overloaded"),
            Self::TooManyFailures(_) => row(
                S::TOO_MANY_REQUESTS,
                "too_many_failures",
                "Too many failures",
            ),
            Self::NotReady => row(S::SERVICE_UNAVAILABLE, "not_ready", "Not ready"),
            Self::Upstream(fault) => match fault {
                UpstreamFault::Dns | UpstreamFault::Connect => row(
                    S::BAD_GATEWAY,
                    "upstream_unreachable",
                    "Upstream unreachable",
                ),
                UpstreamFault::Tls(_) => row(S::BAD_GATEWAY, "upstream_tls", "Upstream TLS error"),
                UpstreamFault::Closed | UpstreamFault::Refused | UpstreamFault::Protocol => row(
                    S::BAD_GATEWAY,
                    "upstream_protocol",
                    "Upstream protocol error",
                ),
                UpstreamFault::ConnectTimeout | UpstreamFault::Timeout => {
                    row(S::GATEWAY_TIMEOUT, "upstream_timeout", "Upstream timeout")
                }
                UpstreamFault::NoHealthyEndpoint => row(
                    S::SERVICE_UNAVAILABLE,
                    "no_healthy_endpoint",
                    "No healthy endpoint",
                ),
                UpstreamFault::MaxRequests
                | UpstreamFault::MaxPending
                | UpstreamFault::PendingTimeout => {
                    row(S::SERVICE_UNAVAILABLE, "overloaded", "Overloaded")
                }
            },
        }
    }

    /// Status of the answer.
    pub(super) fn status(self) -> StatusCode {
        self.row().status
    }

    /// The stable code.
    pub(super) fn code(self) -> &'static str {
        self.row().code
    }

    /// Seconds after which it is worth another try.
    fn wait(self) -> Option<u32> {
        match self {
            Self::Late => Some(1),
            Self::Denied(Denied::RateLimited(standing)) => Some(standing.wait),
            Self::TooManyFailures(seconds) => Some(seconds),
            Self::BadRequest(_)
            | Self::Denied(_)
            | Self::NoRoute
            | Self::BodyTooLarge
            | Self::UriTooLong
            | Self::HeadersTooLarge
            | Self::RequestTimeout
            | Self::Overloaded
            | Self::NotReady
            | Self::Upstream(_) => None,
        }
    }

    /// The answer, as RFC 9457 wants it; `buffer` is for its head.
    pub(super) fn answer(
        self,
        request_id: &RequestId,
        challenges: &Challenges,
        buffer: Vec<u8>,
    ) -> Answer {
        let row = self.row();
        let body = self.problem(request_id.as_str());
        let mut lines = Lines::begin(buffer, row.status);
        lines.add("content-type", b"application/problem+json");
        if row.status == StatusCode::UNAUTHORIZED {
            let proven = !matches!(self, Self::Denied(Denied::Missing));
            let bearer = if proven {
                &challenges.bearer_invalid
            } else {
                &challenges.bearer
            };
            lines.add("www-authenticate", bearer.as_bytes());
            lines.add("www-authenticate", challenges.api_key.as_bytes());
        }
        if let Some(seconds) = self.wait() {
            limits::retry_after(&mut lines, seconds);
        }
        if let Self::Upstream(fault) = self {
            lines.add("proxy-status", fault.proxy_status().as_bytes());
        }
        if row.close {
            lines.add("connection", b"close");
        }
        Answer {
            status: row.status,
            lines,
            body: AnswerBody::full(Bytes::from(body)),
        }
    }

    /// The answer as bytes, for a connection whose head could not be read; it is closed behind it.
    pub(super) fn raw_answer(self, request_id: &RequestId) -> Vec<u8> {
        let request_id = request_id.as_str();
        let row = self.row();
        let body = self.problem(request_id);
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
             x-request-id: {request_id}\r\nconnection: close\r\n\r\n",
            row.status.as_u16(),
            row.status.canonical_reason().unwrap_or_default(),
            body.len(),
        );
        let mut answer = head.into_bytes();
        answer.extend_from_slice(&body);
        answer
    }

    /// RFC 9457, written by hand: whoever floods us with bad keys makes us do this for each. Codes, titles and request ids
    /// have nothing to escape.
    fn problem(self, request_id: &str) -> Vec<u8> {
        let row = self.row();
        let mut out = Vec::with_capacity(320);
        let mut push = |texts: [&str; 2]| {
            for text in texts {
                out.extend_from_slice(text.as_bytes());
            }
        };
        push(["{\"type\":\"urn:keygate:problem:", row.code]);
        push(["\",\"title\":\"", row.title]);
        push(["\",\"status\":", row.status.as_str()]);
        push([",\"code\":\"", row.code]);
        push(["\",\"request_id\":\"", request_id]);
        push(["\",\"detail\":\"", ""]);
        // Writing to a Vec cannot fail.
        let _ = write!(Escaped(&mut out), "{self}");
        out.extend_from_slice(b"\"}");
        out
    }
}

/// Writes text into a JSON string; ours has no control characters.
struct Escaped<'a>(&'a mut Vec<u8>);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if matches!(byte, b'"' | b'\\') {
                self.0.push(b'\\');
            }
            self.0.push(byte);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_json_whatever_its_detail_says() {
        let fault = ProxyError::BadRequest("a \"quoted\" word and a \\");
        let json: serde_json::Value = serde_json::from_slice(&fault.problem("req_1")).unwrap();
        assert_eq!(json["detail"], "a \"quoted\" word and a \\");
        assert_eq!(json["type"], "urn:keygate:problem:bad_request");
        assert_eq!(json["status"], 400);
        assert_eq!(json["title"], "Bad request");
        assert_eq!(json["code"], "bad_request");
        assert_eq!(json["request_id"], "req_1");
    }
}
