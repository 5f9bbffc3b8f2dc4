//! What every answer below `/v1` carries: the id of its request, that nobody keeps it, and, where an endpoint is on its
//! way out, since when and until when (RFC 9745, RFC 8594).

use super::auth::request_id;
use super::error::{self, Asked};
use super::server::AdminParts;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, LINK, X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// An endpoint that is on its way out. It stays for a year at least after it stands here.
struct Leaving {
    method: &'static str,
    /// As in the document: `/v1/keys/{id}`.
    path: &'static str,
    /// Seconds since the epoch when it was said that it goes.
    since: i64,
    /// When it goes, as HTTP writes dates; `None`: not decided.
    until: Option<&'static str>,
    /// Where it is told what to use instead.
    link: &'static str,
}

/// All of them.
const LEAVING: &[Leaving] = &[];

/// Whether an endpoint is on its way out.
pub(super) fn is_leaving(method: &str, path: &str) -> bool {
    find(LEAVING, method, path).is_some()
}

fn find<'a>(table: &'a [Leaving], method: &str, path: &str) -> Option<&'a Leaving> {
    table
        .iter()
        .find(|one| one.method.eq_ignore_ascii_case(method) && one.path == path)
}

/// Puts all of it on an answer.
pub(super) async fn dress(
    State(parts): State<Arc<AdminParts>>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.uri().path() != "/v1" && !request.uri().path().starts_with("/v1/") {
        return next.run(request).await;
    }
    let id = request_id(&parts, request.headers());
    let value = HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("-"));
    // Whoever is behind this finds the same id.
    request.headers_mut().insert(REQUEST_ID, value.clone());
    let method = request.method().as_str().to_owned();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let changes = !request.method().is_safe();
    let mut answer = error::for_request(Asked { id, changes }, next.run(request)).await;
    let headers = answer.headers_mut();
    headers.insert(REQUEST_ID, value);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(path) = path {
        tell_leaving(LEAVING, &method, path.as_str(), headers);
    }
    answer
}

fn tell_leaving(table: &[Leaving], method: &str, path: &str, headers: &mut HeaderMap) {
    let Some(entry) = find(table, method, path) else {
        return;
    };
    let texts = [
        (DEPRECATION, Some(format!("@{}", entry.since))),
        (SUNSET, entry.until.map(str::to_owned)),
        (LINK, Some(format!("<{}>; rel=\"deprecation\"", entry.link))),
    ];
    for (name, text) in texts {
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_on_its_way_out_says_so() {
        let table = [
            Leaving {
                method: "GET",
                path: "/v1/old/{id}",
                since: 1_798_761_600,
                until: Some("Sat, 01 Jan 2028 00:00:00 GMT"),
                link: "https://example.com/new",
            },
            Leaving {
                method: "POST",
                path: "/v1/old",
                since: 1,
                until: None,
                link: "/docs",
            },
        ];
        let told = |method, path| {
            let mut headers = HeaderMap::new();
            tell_leaving(&table, method, path, &mut headers);
            let mut all: Vec<String> = headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            all.sort();
            all
        };
        let want = [
            "deprecation: @1798761600",
            "link: <https://example.com/new>; rel=\"deprecation\"",
            "sunset: Sat, 01 Jan 2028 00:00:00 GMT",
        ];
        assert_eq!(told("GET", "/v1/old/{id}"), want);
        let want = ["deprecation: @1", "link: </docs>; rel=\"deprecation\""];
        assert_eq!(told("POST", "/v1/old"), want);
        assert!(told("GET", "/v1/old").is_empty());
    }
}
