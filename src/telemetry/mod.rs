//! What the gateway says about itself: metrics, diagnostics, one access line per request. Never a secret.

pub mod access;
pub mod logs;
pub mod metrics;
pub mod redact;
