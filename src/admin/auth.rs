//! Who may ask the management port. Without a token it is bound to loopback only, which the config has checked.

use super::error::AdminError;
use super::server::AdminParts;
use crate::domain::host::host_name;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Lets a request pass that carries the token, or any request when none is set.
pub(super) async fn require_token(
    State(parts): State<Arc<AdminParts>>,
    request: Request,
    next: Next,
) -> Result<Response, AdminError> {
    if parts.token.is_none() && !is_local(request.headers().get(HOST)) {
        return Err(AdminError::Misdirected);
    }
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

/// Without a token, loopback is all that protects the port; a page in a browser on this machine can reach it under a name
/// that its author made to lead here (DNS rebinding), but not under an address or `localhost`.
fn is_local(host: Option<&HeaderValue>) -> bool {
    let Some(host) = host else { return true };
    let Some(name) = host.to_str().ok().and_then(|host| host_name(host).ok()) else {
        return false;
    };
    name == "localhost" || name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok()
}
