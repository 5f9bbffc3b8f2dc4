//! Who may ask the management port. Without a token it is bound to loopback only, which the config has checked.

use super::error::AdminError;
use super::server::AdminParts;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use std::sync::Arc;

/// Lets a request pass that carries the token, or any request when none is set.
pub(super) async fn require_token(
    State(parts): State<Arc<AdminParts>>,
    request: Request,
    next: Next,
) -> Result<Response, AdminError> {
    if let Some(token) = &parts.token {
        let mut values = request.headers().get_all(AUTHORIZATION).iter();
        let presented = values.next().and_then(|value| {
            let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
            scheme
                .eq_ignore_ascii_case(b"bearer ")
                .then(|| rest.trim_ascii())
        });
        if values.next().is_some() || !presented.is_some_and(|presented| token.matches(presented)) {
            return Err(AdminError::Unauthorized);
        }
    }
    Ok(next.run(request).await)
}
