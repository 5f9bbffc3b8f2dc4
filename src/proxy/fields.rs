//! What a header field is for, by its name: the one table that decides which fields a gateway passes on.

use crate::gate::identity;
use http::HeaderName;

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// Passed on as it is.
    EndToEnd,
    /// For one hop only (RFC 9110 §7.6.1): ends here.
    HopByHop,
    /// Names further fields that end here.
    Connection,
    /// `TE`: only its `trailers` is understood.
    Te,
    /// How the body is framed; every hop frames anew.
    TransferEncoding,
    /// How long the body is.
    ContentLength,
    /// Whom the request is for.
    Host,
    /// `Expect: 100-continue`, which we answer ourselves.
    Expect,
    /// Says who calls or who forwards, which is ours to say.
    Claim,
}

/// The kind of a request's field, by its name in lower case.
pub(super) fn of_request(name: &[u8]) -> Field {
    match name {
        b"host" => Field::Host,
        b"connection" => Field::Connection,
        b"te" => Field::Te,
        b"expect" => Field::Expect,
        b"content-length" => Field::ContentLength,
        b"transfer-encoding" => Field::TransferEncoding,
        b"keep-alive"
        | b"upgrade"
        // What CGI programs take for the address of a proxy to use (httpoxy, CVE-2016-5385).
        | b"proxy"
        | b"proxy-connection"
        | b"proxy-authorization"
        | b"http2-settings"
        // In the spelling that some services take for the same: they would frame or answer by it.
        | b"transfer_encoding"
        | b"content_length"
        | b"keep_alive"
        | b"proxy_connection"
        | b"proxy_authorization"
        | b"http2_settings" => Field::HopByHop,
        _ if is_claim(name) => Field::Claim,
        _ => Field::EndToEnd,
    }
}

/// The kind of an answer's field, by its name in any case.
pub(super) fn of_answer(name: &str) -> Field {
    let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
    match name.len() {
        2 if is("te") => Field::HopByHop,
        7 if is("upgrade") => Field::HopByHop,
        10 if is("connection") => Field::Connection,
        10 if is("keep-alive") => Field::HopByHop,
        12 if is("x-request-id") => Field::Claim,
        14 if is("content-length") => Field::ContentLength,
        16 if is("proxy-connection") => Field::HopByHop,
        17 if is("transfer-encoding") => Field::TransferEncoding,
        18 if is("proxy-authenticate") => Field::HopByHop,
        _ => Field::EndToEnd,
    }
}

/// Whether a field says who calls or who forwards, in dash or underscore spelling. A look at the first letters spares
/// most fields the comparison.
fn is_claim(name: &[u8]) -> bool {
    match name {
        [b'x', _, b'a' | b'c' | b'k', ..] => identity::is_claim(name),
        [b'x', _, b'f' | b'h' | b'm' | b'o' | b'r', ..] => says_who_forwards(name),
        [b'f', ..] => name == b"forwarded",
        // RFC 9440 §4: what the caller says of its certificate is not for the service.
        [b'c', b'l', ..] => identity::is_spelling_of(name, &["client-cert", "client-cert-chain"]),
        _ => false,
    }
}

/// Fields by which some services are told who forwarded a request, or replace the path or the method that was decided on.
const FORWARDED_OR_REPLACED: [&str; 7] = [
    "x-real-ip",
    "x-request-id",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// Whether a field says who forwarded a request, and as what: what the caller wrote there is dropped. The whole family of
/// `X-Forwarded-…` counts, since every service trusts other members of it.
fn says_who_forwards(name: &[u8]) -> bool {
    const FAMILY: &str = "x-forwarded";
    identity::is_spelling_of(name, &FORWARDED_OR_REPLACED)
        || name
            .get(..FAMILY.len())
            .is_some_and(|start| identity::is_spelling_of(start, &[FAMILY]))
}

/// Names that must not stand in trailers (RFC 9110 §6.5.1): they decide about framing, routing, authentication or
/// identity, and came too late for that.
const NOT_IN_TRAILERS: [&str; 14] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "host",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a name is a token (RFC 9110 §5.6.2). The `http` crate lets quotes pass, which HTTP/1.1 does not.
pub(super) fn is_token(name: &[u8]) -> bool {
    memchr::memchr(b'"', name).is_none()
}

/// Whether a field may stand in trailers.
pub(super) fn may_trail(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    is_token(name) && !identity::is_spelling_of(name, &NOT_IN_TRAILERS) && !is_claim(name)
}

/// Many programs have 63 bits for a body's length.
const LONGEST_BODY: u64 = u64::MAX / 2;

/// The value of a `Content-Length` (RFC 9110 §8.6): digits only, no more of them than a length has. `None`: it is none.
pub(super) fn length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?;
    let is_number = digits.len() < 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let length = digits.parse().ok().filter(|_| is_number)?;
    (length < LONGEST_BODY).then_some(length)
}

/// Whether all lines of a head that `httparse` has taken apart end in CR LF. It takes a line feed alone for a line's end too,
/// which others take for a part of the line (RFC 9112 §2.2 lets a receiver do both). Where lines end is known but for the first,
/// so that the bytes need not be gone through again.
pub(super) fn lines_end_well(head: &[u8], fields: &[httparse::Header<'_>]) -> bool {
    let mut start = 0;
    while head[start..].starts_with(b"\r\n") {
        start += 2;
    }
    let first = memchr::memchr(b'\n', &head[start..]).map_or(0, |end| start + end);
    let ends = |field: &httparse::Header<'_>| {
        let before = if field.value.is_empty() {
            // Behind the colon.
            place_of(field.name.as_bytes(), head) + field.name.len() + 1
        } else {
            place_of(field.value, head) + field.value.len()
        };
        let rest = head.get(before..).unwrap_or_default();
        let space = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
        rest[space.count()..].starts_with(b"\r\n")
    };
    first > start
        && head[first - 1] == b'\r'
        && fields.iter().all(ends)
        && head.ends_with(b"\r\n\r\n")
}

/// Where a part of a head stands in it.
fn place_of(part: &[u8], head: &[u8]) -> usize {
    (part.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_numbers_that_a_body_can_have() {
        assert_eq!(length(b"0"), Some(0));
        assert_eq!(length(b"0000000000000000042"), Some(42));
        assert_eq!(length(b"9223372036854775806"), Some(LONGEST_BODY - 1));
        for bad in [
            "",
            "+5",
            "-5",
            "5 ",
            "5, 5",
            "0x5",
            "9223372036854775807",
            "18446744073709551616",
            "00000000000000000005",
            "\u{665}",
        ] {
            assert_eq!(length(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn line_feeds_alone_are_seen_wherever_they_stand() {
        let ends_well = |text: &str| {
            let mut slots = [httparse::EMPTY_HEADER; 8];
            let mut parsed = httparse::Request::new(&mut slots);
            parsed.parse(text.as_bytes()).unwrap();
            lines_end_well(text.as_bytes(), parsed.headers)
        };
        for good in [
            "GET / HTTP/1.1\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\na: b\r\nc:d\r\ne:\r\nf:  \r\ng: h \t\r\n\r\n",
        ] {
            assert!(ends_well(good), "{good:?}");
            for (place, _) in good.match_indices("\r\n") {
                let bad = format!("{}{}", &good[..place], &good[place + 1..]);
                assert!(!ends_well(&bad), "{bad:?}");
            }
        }
    }

    /// The look at the first letters must not miss any.
    #[test]
    fn every_claim_is_one_in_each_spelling() {
        let more = [
            "x-forwarded-for",
            "x-keygate-anything",
            "forwarded",
            "client-cert-chain",
        ];
        for name in identity::OURS
            .into_iter()
            .chain(FORWARDED_OR_REPLACED)
            .chain(more)
        {
            for spelling in [
                name.to_owned(),
                name.replace('-', "_"),
                name.replacen('-', "_", 1),
            ] {
                assert_eq!(of_request(spelling.as_bytes()), Field::Claim, "{spelling}");
            }
        }
    }

    #[test]
    fn kinds_of_request_fields() {
        let cases = [
            ("host", Field::Host),
            ("keep-alive", Field::HopByHop),
            ("x-consumer-id", Field::Claim),
            ("x_consumer_id", Field::Claim),
            ("content_length", Field::HopByHop),
            ("transfer_encoding", Field::HopByHop),
            ("x_forwarded-for", Field::Claim),
            ("forwarded", Field::Claim),
            ("x-mine", Field::EndToEnd),
            ("accept", Field::EndToEnd),
        ];
        for (name, want) in cases {
            assert_eq!(of_request(name.as_bytes()), want, "{name}");
        }
    }

    #[test]
    fn kinds_of_answer_fields_in_any_case() {
        assert_eq!(of_answer("Connection"), Field::Connection);
        assert_eq!(of_answer("TRANSFER-ENCODING"), Field::TransferEncoding);
        assert_eq!(of_answer("Content-Type"), Field::EndToEnd);
    }

    #[test]
    fn trailers_decide_nothing() {
        for name in [
            "content-length",
            "authorization",
            "x-consumer-id",
            "x_consumer_id",
        ] {
            assert!(!may_trail(&HeaderName::from_static(name)), "{name}");
        }
        assert!(may_trail(&HeaderName::from_static("grpc-status")));
    }
}
