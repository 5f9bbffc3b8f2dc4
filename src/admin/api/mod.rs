//! One file per resource.

pub(super) mod health;
pub(super) mod keys;
pub(super) mod members;
pub(super) mod metrics;
pub(super) mod sessions;
pub(super) mod status;
pub(super) mod tokens;
pub(super) mod whoami;
