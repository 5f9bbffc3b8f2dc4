//! Names and values of HTTP: methods, headers and parameters.

use super::unknown;
use crate::domain::method::STANDARD;
use http::{HeaderName, Method};
use std::ops::RangeInclusive;

/// Headers that cannot hold a key: framing and connection control, or cleared before a key is looked for.
const RESERVED_HEADERS: [&str; 15] = [
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-consumer-id",
    "x-consumer-username",
    "x-credential-identifier",
    "x-request-id",
];

/// A standard method that the gateway forwards.
pub(crate) fn method(text: &str) -> Result<Method, String> {
    let upper = text.to_ascii_uppercase();
    let method = STANDARD.into_iter().find(|method| method.as_str() == upper);
    match method {
        Some(method) if is_refused(&method) => Err(format!("keygate never forwards {method}")),
        Some(method) if upper == text => Ok(method),
        Some(method) => Err(format!("methods are upper case: `{method}`")),
        None => {
            let known: Vec<_> = STANDARD
                .iter()
                .filter(|method| !is_refused(method))
                .map(Method::as_str)
                .collect();
            Err(unknown("method", text, &known))
        }
    }
}

fn is_refused(method: &Method) -> bool {
    [Method::TRACE, Method::CONNECT].contains(method)
}

/// A header that may hold a key.
pub(crate) fn key_header(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| "expected the name of a header, such as `X-API-Key`")?;
    if name == http::header::AUTHORIZATION {
        return Err("for the Authorization header write `bearer`".into());
    }
    // Many servers read both spellings as one.
    let dashed = name.as_str().replace('_', "-");
    let ours = ["x-keygate-", "x-forwarded-"];
    if RESERVED_HEADERS.contains(&&*dashed) || ours.iter().any(|prefix| dashed.starts_with(prefix))
    {
        return Err("this header has another meaning and cannot hold a key".into());
    }
    Ok(name)
}

/// Any header.
pub(crate) fn header_name(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| "expected the name of a header, such as `X-Tenant`".into())
}

/// A path with or without a query, as it stands in a request.
pub(crate) fn check_path(text: &str) -> Result<String, String> {
    let fits = text.starts_with('/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if fits {
        return Ok(text.into());
    }
    Err("must begin with `/` and be printable ASCII without spaces and `#`".into())
}

/// A status, or a range of them.
pub(crate) fn statuses(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| {
        let fits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>()
            .ok()
            .filter(|status| fits && (200..=599).contains(status))
    };
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err("expected a status from 200 to 599, or a range such as `200-399`".into()),
    }
}

/// A query parameter that may hold a key, by its decoded name.
pub(crate) fn key_parameter(text: &str) -> Result<String, String> {
    let fits = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if fits {
        return Ok(text.into());
    }
    Err("must be 1 to 64 characters of A-Z a-z 0-9 _ . -".into())
}

/// What stands in front of the key in a sub-protocol of a WebSocket: `true` is the usual prefix.
pub(crate) fn protocol_prefix(text: &str) -> Result<String, String> {
    const USUAL: &str = "keygate.api-key.";
    if text == "true" {
        return Ok(USUAL.into());
    }
    // RFC 9110 §5.6.2, and not the beginning of a sub-protocol's own name.
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let fits = (2..=64).contains(&text.len()) && text.ends_with('.') && text.bytes().all(token);
    if fits {
        return Ok(text.into());
    }
    Err(
        "expected `true`, or a prefix of its own that ends in a dot, such as `my-app.api-key.`"
            .into(),
    )
}

/// A value for a quoted string in a header.
pub(crate) fn realm(text: &str) -> Result<String, String> {
    let fits = !text.is_empty()
        && text
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte));
    if fits {
        return Ok(text.into());
    }
    Err("must be printable ASCII without quote and backslash".into())
}
