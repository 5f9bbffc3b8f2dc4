//! One admin call as its handler sees it: who asks, and everything that was sent, read and bounded.

use super::auth::Caller;
use super::body::Body;
use super::error::{AdminError, FieldFault};
use super::listener::WHOLE;
use super::page::Parameters;
use super::server::AdminParts;
use axum::body::{Body as RequestBody, to_bytes};
use axum::extract::{FromRequest, Query, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HeaderName, IF_MATCH, IF_NONE_MATCH, USER_AGENT};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of a body; an import is sent in portions.
const MOST_BYTES: usize = 2 * 1024 * 1024;
/// Characters that are kept of what a program calls itself.
const MOST_OF_AGENT: usize = 256;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A call.
pub(super) struct Call {
    pub(super) caller: Caller,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: Bytes,
    pub(super) idempotency_key: Option<String>,
    pub(super) if_match: Option<String>,
    pub(super) if_none_match: Option<String>,
    pub(super) content_type: Option<String>,
    /// What the caller's program calls itself.
    pub(super) agent: Option<String>,
}

impl Call {
    /// Its query, to be read parameter by parameter.
    pub(super) fn parameters(&self) -> Parameters {
        Parameters::new(&self.query)
    }

    /// Whether its query says that it only tries.
    pub(super) fn is_dry(&self) -> bool {
        self.query
            .iter()
            .any(|(name, value)| name == "dry_run" && value == "true")
    }

    /// Refuses any parameter.
    pub(super) fn no_parameters(&self) -> Result<(), AdminError> {
        self.parameters().finish()
    }

    /// Its body, to be read field by field.
    pub(super) fn json(&self) -> Result<Body, AdminError> {
        self.check_json()?;
        Body::parse(&self.body)
    }

    /// As [`Call::json`], with the names that stand there twice beside it.
    pub(super) fn json_all(&self) -> Result<(Body, Vec<FieldFault>), AdminError> {
        self.check_json()?;
        Body::parse_all(&self.body)
    }

    fn check_json(&self) -> Result<(), AdminError> {
        let json = |kind: &String| {
            let kind = kind
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase();
            kind == "application/json" || kind == "application/merge-patch+json"
        };
        if !self.body.is_empty() && !self.content_type.as_ref().is_some_and(json) {
            return Err(AdminError::MediaType);
        }
        // A body that was lost on the way is not a wish to change nothing.
        if self.body.is_empty() && self.method == "PATCH" {
            return Err(AdminError::BadRequest(
                "the request body must be a JSON object",
            ));
        }
        Ok(())
    }

    /// Whether `If-Match` and `If-None-Match` let an object of this revision be changed.
    pub(super) fn check_version(&self, revision: u64) -> Result<(), AdminError> {
        self.check_match(revision)?;
        self.check_none_match(revision)
    }

    /// Whether `If-None-Match` lets it be changed: `*` means only what is not there yet (RFC 9110, section 13.1.2).
    pub(super) fn check_none_match(&self, revision: u64) -> Result<(), AdminError> {
        let own = etag(revision);
        let unwanted = self.if_none_match.iter().flat_map(|all| all.split(','));
        let is_there = |tag: &str| tag == "*" || tag.trim_start_matches("W/") == own;
        if unwanted.map(str::trim).any(is_there) {
            Err(AdminError::ThereAlready)
        } else {
            Ok(())
        }
    }

    /// Whether `If-Match` lets it be changed.
    pub(super) fn check_match(&self, revision: u64) -> Result<(), AdminError> {
        let Some(wanted) = &self.if_match else {
            return Ok(());
        };
        let own = etag(revision);
        let fits = wanted
            .split(',')
            .map(str::trim)
            .any(|tag| tag == "*" || tag == own);
        if fits {
            Ok(())
        } else {
            Err(AdminError::PreconditionFailed)
        }
    }

    /// As [`Call::check_version`], for an object that is not there yet: it has no version.
    pub(super) fn check_new(&self) -> Result<(), AdminError> {
        match self.if_match {
            None => Ok(()),
            Some(_) => Err(AdminError::PreconditionFailed),
        }
    }
}

/// The `ETag` of an object of this revision.
pub(super) fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

impl FromRequest<Arc<AdminParts>> for Call {
    type Rejection = AdminError;

    async fn from_request(request: Request, _: &Arc<AdminParts>) -> Result<Self, AdminError> {
        let (mut parts, body) = request.into_parts();
        let caller = parts
            .extensions
            .remove::<Caller>()
            .ok_or(AdminError::Unauthorized)?;
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(query) = query.map_err(|_| AdminError::Invalid(Vec::new()))?;
        let idempotency_key = one(&parts.headers, &IDEMPOTENCY_KEY)?;
        if idempotency_key
            .as_ref()
            .is_some_and(|key| !is_idempotency_key(key))
        {
            return Err(AdminError::BadRequest(
                "`Idempotency-Key` has 1 to 255 visible ASCII characters",
            ));
        }
        let body = receive(body, WHOLE).await?;
        Ok(Self {
            caller,
            method: parts.method.as_str().to_owned(),
            path: parts.uri.path().to_owned(),
            query,
            body,
            idempotency_key,
            if_match: one(&parts.headers, &IF_MATCH)?,
            if_none_match: one(&parts.headers, &IF_NONE_MATCH)?,
            content_type: one(&parts.headers, &CONTENT_TYPE)?,
            agent: agent(&parts.headers),
        })
    }
}

/// The whole of a body; one that comes in drops is not waited for, however steadily they fall.
async fn receive(body: RequestBody, patience: Duration) -> Result<Bytes, AdminError> {
    let all = tokio::time::timeout(patience, to_bytes(body, MOST_BYTES)).await;
    let all = all.map_err(|_| AdminError::RequestTimeout)?;
    all.map_err(|fault| {
        if std::error::Error::source(&fault)
            .is_some_and(|source| source.to_string().contains("length limit"))
        {
            AdminError::BodyTooLarge
        } else {
            AdminError::BadRequest("the request body did not arrive")
        }
    })
}

fn is_idempotency_key(key: &str) -> bool {
    (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
}

fn agent(headers: &HeaderMap) -> Option<String> {
    let said = headers.get(USER_AGENT)?;
    let said = String::from_utf8_lossy(said.as_bytes());
    let kept: String = said.chars().take(MOST_OF_AGENT).collect();
    (!kept.is_empty()).then_some(kept)
}

fn one(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, AdminError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(AdminError::BadRequest("a header field stands there twice"));
    }
    first
        .map(|value| value.to_str().map(str::to_owned))
        .transpose()
        .map_err(|_| AdminError::BadRequest("a header field is not ASCII"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use futures_util::{StreamExt, stream};
    use std::convert::Infallible;

    #[tokio::test]
    async fn a_body_that_never_ends_is_not_waited_for() {
        let drop = stream::once(async { Ok::<_, Infallible>(Bytes::from_static(b"{")) });
        let body = RequestBody::from_stream(drop.chain(stream::pending()));
        let fault = receive(body, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(fault.into_response().status(), 408, "request_timeout");
        let whole = receive(RequestBody::from("{}"), WHOLE).await.unwrap();
        assert_eq!(whole, "{}");
    }
}
