//! One file per resource.

pub(super) mod consumers;
pub(super) mod health;
pub(super) mod keys;
pub(super) mod metrics;
mod place;
pub(super) mod status;
pub(super) mod workspaces;
