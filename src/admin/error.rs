//! Faults of the management port and the answers they become (RFC 9457).

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Why an admin request gets no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AdminError {
    /// No token, or a wrong one.
    #[error("an admin token is needed: `Authorization: Bearer …`")]
    Unauthorized,
    /// Asked for under a foreign name.
    #[error("without a token this port answers to addresses and `localhost` only")]
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
    fn row(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized"),
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

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: String,
    code: &'a str,
    #[serde(skip_serializing_if = "<[FieldFault]>::is_empty")]
    errors: &'a [FieldFault],
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let (status, code, title) = self.row();
        let errors = if let Self::Invalid(faults) = &self {
            faults.as_slice()
        } else {
            &[]
        };
        let problem = Problem {
            r#type: format!("urn:keygate:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: self.to_string(),
            code,
            errors,
        };
        let mut answer = (status, Json(problem)).into_response();
        let headers = answer.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"keygate admin\""),
            );
        }
        answer
    }
}
