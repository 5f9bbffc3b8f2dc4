//! What every call has in common in the document of the API.

use utoipa::{IntoParams, IntoResponses, ToSchema};

/// A problem (RFC 9457).
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
pub(super) struct Problem {
    r#type: String,
    title: String,
    status: u16,
    detail: String,
    /// Stable.
    code: String,
    /// Id of the request, as in `X-Request-Id`.
    request_id: Option<String>,
    /// Every field that is wrong.
    errors: Option<Vec<ProblemField>>,
}

/// A field that is wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape in the document")]
pub(super) struct ProblemField {
    /// `/field` of the body or `?parameter` of the query.
    pointer: String,
    code: String,
    message: String,
}

/// What any call may be refused with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "a shape in the document")]
pub(super) enum Refusals {
    /// The request makes no sense.
    #[response(status = 400, content_type = "application/problem+json")]
    BadRequest(#[to_schema] Problem),
    /// No token, or one that is not good.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(#[to_schema] Problem),
    /// The role does not allow it.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// There is no such object within reach.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// The body took too long to arrive.
    #[response(status = 408, content_type = "application/problem+json")]
    RequestTimeout(#[to_schema] Problem),
    /// The state of things does not allow it.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] Problem),
    /// The object has changed since it was read.
    #[response(status = 412, content_type = "application/problem+json")]
    PreconditionFailed(#[to_schema] Problem),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    BodyTooLarge(#[to_schema] Problem),
    /// The body is not JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(#[to_schema] Problem),
    /// Asked for under a foreign name.
    #[response(status = 421, content_type = "application/problem+json")]
    Misdirected(#[to_schema] Problem),
    /// Fields that are wrong, all of them.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
    /// Too fast, or too many wrong tokens.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(#[to_schema] Problem),
    /// The store is away.
    #[response(status = 503, content_type = "application/problem+json")]
    DependencyDown(#[to_schema] Problem),
}

/// For a POST that must not be done twice.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "a shape in the document")]
pub(super) struct IdempotencyKey {
    /// A value of the caller's own; the same call with the same value gets the same reply for a day.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
}
