//! Faults of the management port and the answers they become (RFC 9457).

use super::refusal::Refused;
use crate::domain::key::acts::ActFault;
use crate::store::StoreError;
use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Seconds until a store that is away is asked again: it comes back in some, or in many.
const STORE_WAIT: u64 = 5;

tokio::task_local! {
    /// The request that is being answered: faults arise in places that do not know it.
    static REQUEST: Asked;
}

/// What faults tell of a request.
pub(super) struct Asked {
    pub(super) id: String,
    /// Whether its method is one that changes something.
    pub(super) changes: bool,
}

/// Answers a request; its faults name its id.
pub(super) async fn for_request<F: Future>(asked: Asked, answer: F) -> F::Output {
    REQUEST.scope(asked, answer).await
}

/// Why an admin request gets no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    /// No token, or a wrong one.
    #[error("an admin token is needed, behind `Authorization: Bearer`")]
    Unauthorized,
    /// Asked for under a foreign name, or by a page of another site.
    #[error(
        "this port answers to addresses, `localhost` and `management.allowed_hosts`, and to no other origin than its own; \
         under other names to a good token only, unless names are set"
    )]
    Misdirected,
    /// No such thing.
    #[error("there is nothing here")]
    NotFound,
    /// Not in this way.
    #[error("this method is not for this address")]
    MethodNotAllowed,
    /// Parameters that make no sense, each with its reason.
    #[error("some parameters are not valid")]
    Invalid(Vec<FieldFault>),
    /// The caller is known, but its role does not allow this.
    #[error("this needs the permission `{0}`")]
    Forbidden(&'static str),
    /// A role is given, taken or touched that is greater than the caller's own.
    #[error("this is about a role that yours does not cover")]
    RoleNotCovered,
    /// The caller's roles are less than when the call began.
    #[error("your roles have changed since this call began")]
    RolesChanged,
    /// The body takes too long to arrive.
    #[error("the request body did not arrive in time")]
    RequestTimeout,
    /// E-mail address or password is wrong; which of them, nobody is told.
    #[error("this e-mail address and this password open nothing")]
    SignInRefused,
    /// The request as such makes no sense.
    #[error("{0}")]
    BadRequest(&'static str),
    /// Larger than it may be.
    #[error("the request body is larger than it may be")]
    BodyTooLarge,
    /// Not JSON.
    #[error("the request body must be JSON: `Content-Type: application/json`")]
    MediaType,
    /// The state of things does not allow it; the code says which.
    #[error("{message}")]
    Conflict { code: &'static str, message: String },
    /// `If-Match` names another version.
    #[error("the object has changed since you read it")]
    PreconditionFailed,
    /// `If-None-Match` names what is there.
    #[error("`If-None-Match` says that it must not be there, and it is")]
    ThereAlready,
    /// Too many wrong tokens or passwords from this network; the seconds until the next try.
    #[error("too many failed attempts; wait a while")]
    TooManyFailures(u64),
    /// Too many requests of this caller.
    #[error("too many requests; wait a moment")]
    RateLimited,
    /// The store is away.
    #[error("the store cannot be used right now")]
    DependencyDown,
    /// The store went away when a part of the work was done.
    #[error(
        "the store cannot be used right now; what was changed stays, and the same call does the rest"
    )]
    Interrupted,
    /// The change is in the store, but this node has not taken it in.
    #[error("the change is made, but this node does not serve by it yet")]
    NotInForce,
    /// The gateway stops.
    #[error("the gateway is draining")]
    Draining,
    /// The keys have not been loaded yet.
    #[error("the gateway has not loaded its keys yet")]
    NotReady,
    /// Our own fault.
    #[error("this went wrong on our side")]
    Internal,
}

/// One wrong parameter.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct FieldFault {
    pub(super) pointer: String,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl AdminError {
    /// What the audit log tells of it, if the caller asked for what they may not have.
    fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Forbidden(permission) => Some(permission),
            Self::RoleNotCovered => Some("role_not_covered"),
            Self::RolesChanged => Some("roles_changed"),
            Self::Unauthorized => Some("not_good_any_more"),
            Self::RequestTimeout
            | Self::SignInRefused
            | Self::Misdirected
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Invalid(_)
            | Self::BadRequest(_)
            | Self::BodyTooLarge
            | Self::MediaType
            | Self::Conflict { .. }
            | Self::PreconditionFailed
            | Self::ThereAlready
            | Self::TooManyFailures(_)
            | Self::RateLimited
            | Self::DependencyDown
            | Self::Interrupted
            | Self::NotInForce
            | Self::Draining
            | Self::NotReady
            | Self::Internal => None,
        }
    }

    /// Seconds until it is worth trying again, if that is known.
    fn wait(&self) -> Option<u64> {
        match self {
            Self::TooManyFailures(seconds) => Some(*seconds),
            // The pace is a thousand requests a second: a second later there is room again.
            Self::RateLimited => Some(1),
            Self::DependencyDown | Self::Interrupted | Self::NotInForce | Self::NotReady => {
                Some(STORE_WAIT)
            }
            Self::Unauthorized
            | Self::Misdirected
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Invalid(_)
            | Self::Forbidden(_)
            | Self::RoleNotCovered
            | Self::RolesChanged
            | Self::RequestTimeout
            | Self::SignInRefused
            | Self::BadRequest(_)
            | Self::BodyTooLarge
            | Self::MediaType
            | Self::Conflict { .. }
            | Self::PreconditionFailed
            | Self::ThereAlready
            | Self::Draining
            | Self::Internal => None,
        }
    }

    /// The same fault, of a call that had changed something before.
    pub(super) fn midway(self) -> Self {
        if matches!(self, Self::DependencyDown) {
            return Self::Interrupted;
        }
        self
    }

    fn detail(&self) -> String {
        let changes = REQUEST.try_with(|asked| asked.changes).unwrap_or(false);
        if changes && matches!(self, Self::DependencyDown) {
            return format!("{self}; nothing was changed");
        }
        self.to_string()
    }

    fn row(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unauthorized | Self::SignInRefused => {
                (StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized")
            }
            Self::Misdirected => (
                StatusCode::MISDIRECTED_REQUEST,
                "misdirected",
                "Misdirected request",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "Not found"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "Method not allowed",
            ),
            Self::Invalid(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "validation_failed",
                "Validation failed",
            ),
            Self::Forbidden(_) | Self::RoleNotCovered | Self::RolesChanged => {
                (StatusCode::FORBIDDEN, "forbidden", "Forbidden")
            }
            Self::RequestTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "Request timeout",
            ),
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request", "Bad request"),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "Body too large",
            ),
            Self::MediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "Unsupported media type",
            ),
            Self::Conflict { code, .. } => (StatusCode::CONFLICT, code, "Conflict"),
            Self::PreconditionFailed | Self::ThereAlready => (
                StatusCode::PRECONDITION_FAILED,
                "precondition_failed",
                "Precondition failed",
            ),
            Self::TooManyFailures(_) => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_failures",
                "Too many failures",
            ),
            Self::RateLimited => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "Rate limited",
            ),
            Self::DependencyDown | Self::Interrupted | Self::NotInForce => (
                StatusCode::SERVICE_UNAVAILABLE,
                "dependency_down",
                "Dependency down",
            ),
            Self::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining", "Draining"),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready"),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Internal error",
            ),
        }
    }
}

impl From<StoreError> for AdminError {
    fn from(fault: StoreError) -> Self {
        match fault {
            StoreError::Unavailable(_) => {
                tracing::warn!(error = %fault, "an admin call failed");
                Self::DependencyDown
            }
            StoreError::NotFound => Self::NotFound,
            StoreError::Taken(what) => Self::Conflict {
                code: taken_code(what),
                message: format!("this {what} is taken already"),
            },
            StoreError::Refused { code, message } => Self::Conflict { code, message },
            StoreError::Foreign(_) | StoreError::Statement(_) => {
                tracing::error!(error = %fault, "an admin call failed");
                Self::Internal
            }
        }
    }
}

impl From<ActFault> for AdminError {
    fn from(fault: ActFault) -> Self {
        let (code, message) = (fault.code(), fault.to_string());
        if fault == ActFault::Grace {
            let pointer = "/grace".into();
            return Self::Invalid(vec![FieldFault {
                pointer,
                code,
                message,
            }]);
        }
        Self::Conflict { code, message }
    }
}

fn taken_code(what: &str) -> &'static str {
    match what {
        "workspace name" | "consumer name" | "webhook name" => "name_taken",
        "key" => "key_taken",
        "external id" => "external_id_taken",
        "e-mail address" => "email_taken",
        _ => "conflict",
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: String,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "<[FieldFault]>::is_empty")]
    errors: &'a [FieldFault],
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let (status, code, title) = self.row();
        let wait = self.wait();
        let errors = if let Self::Invalid(faults) = &self {
            faults.as_slice()
        } else {
            &[]
        };
        let problem = Problem {
            r#type: format!("urn:keygate:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: self.detail(),
            code,
            request_id: REQUEST.try_with(|asked| asked.id.clone()).ok(),
            errors,
        };
        let mut answer = (status, Json(problem)).into_response();
        if let Some(why) = self.refusal() {
            answer.extensions_mut().insert(Refused(why));
        }
        let headers = answer.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = wait {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"keygate admin\""),
            );
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use serde_json::Value;

    /// Detail and `Retry-After` of an answer to a request.
    async fn told(fault: AdminError, changes: bool) -> (String, Option<HeaderValue>) {
        let asked = Asked {
            id: "req_1".into(),
            changes,
        };
        let answer = for_request(asked, async { fault.into_response() }).await;
        let wait = answer.headers().get(RETRY_AFTER).cloned();
        let body = to_bytes(answer.into_body(), 4096).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let code = body["code"].as_str().unwrap();
        assert!(["dependency_down", "draining"].contains(&code), "{body}");
        (body["detail"].as_str().unwrap().to_owned(), wait)
    }

    #[tokio::test]
    async fn what_became_of_a_change_is_told() {
        let wait = Some(HeaderValue::from(STORE_WAIT));
        let down = "the store cannot be used right now";
        for (fault, changes, want) in [
            (AdminError::DependencyDown, false, down.to_owned()),
            (
                AdminError::DependencyDown,
                true,
                format!("{down}; nothing was changed"),
            ),
            (
                AdminError::DependencyDown.midway(),
                true,
                format!("{down}; what was changed stays, and the same call does the rest"),
            ),
            (
                AdminError::NotInForce.midway(),
                true,
                "the change is made, but this node does not serve by it yet".to_owned(),
            ),
        ] {
            assert_eq!(told(fault, changes).await, (want, wait.clone()));
        }
        // Another gateway is to be asked, and at once.
        assert_eq!(told(AdminError::Draining, true).await.1, None);
    }
}
