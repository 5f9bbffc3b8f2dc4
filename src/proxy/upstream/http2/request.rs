//! A request's head as HTTP/2 has it, made of the bytes that would go to a service that speaks HTTP/1.1. They are our own,
//! so their form is known.

use crate::domain::upstream::Endpoint;
use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri, Version};

/// `None`: there is something in it that HTTP/2 cannot say.
pub(super) fn head(bytes: &[u8], endpoint: &Endpoint) -> Option<Request<()>> {
    let mut lines = bytes
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .take_while(|line| !line.is_empty());
    let mut words = lines.next()?.split(|byte| *byte == b' ');
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = HeaderMap::with_capacity(24);
    let mut authority = Bytes::new();
    for line in lines {
        let colon = memchr::memchr(b':', line)?;
        let (name, value) = (&line[..colon], line.get(colon + 2..)?);
        match name {
            b"host" => authority = Bytes::copy_from_slice(value),
            // These are for the hop before (RFC 9113 §8.2.2); `TE: trailers` may stay.
            b"connection" | b"transfer-encoding" => {}
            _ => {
                let name = HeaderName::from_bytes(name).ok()?;
                let mut value = HeaderValue::from_bytes(value).ok()?;
                // What is secret is kept out of the table that requests of several callers share (RFC 7541 §7.1.3).
                value.set_sensitive(name == AUTHORIZATION || name == COOKIE);
                headers.append(name, value);
            }
        }
    }
    // HTTP/1.0 may come without a host, HTTP/2 may not.
    if authority.is_empty() {
        authority = Bytes::copy_from_slice(endpoint.authority.as_bytes());
    }
    let uri = Uri::builder()
        .scheme(endpoint.scheme())
        .authority(&*authority)
        .path_and_query(target)
        .build();
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method).ok()?;
    *request.uri_mut() = uri.ok()?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            host: "10.0.0.1".into(),
            port: 8443,
            authority: "10.0.0.1:8443".into(),
            secure: true,
            weight: 1,
        }
    }

    #[test]
    fn what_is_for_one_hop_stays_behind() {
        let bytes = b"POST /a?b=c HTTP/1.1\r\nhost: api.example.com:81\r\nte: trailers\r\nconnection: te\r\n\
            x-mine: 1\r\nx-mine: 2\r\ncookie: a=b\r\nempty: \r\ntransfer-encoding: chunked\r\n\r\n";
        let request = head(bytes, &endpoint()).unwrap();
        assert_eq!(request.uri(), "https://api.example.com:81/a?b=c");
        assert_eq!(request.method(), Method::POST);
        let names: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["te", "x-mine", "x-mine", "cookie", "empty"]);
        assert!(request.headers()["cookie"].is_sensitive());
    }

    #[test]
    fn whoever_names_no_host_asks_the_endpoint() {
        let request = head(b"OPTIONS * HTTP/1.1\r\nhost: \r\n\r\n", &endpoint()).unwrap();
        assert_eq!(request.uri().authority().unwrap(), "10.0.0.1:8443");
        assert_eq!(request.uri().path(), "*");
    }
}
