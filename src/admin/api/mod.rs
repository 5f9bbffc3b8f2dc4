//! One file per resource.

pub(super) mod audit;
pub(super) mod consumers;
pub(super) mod health;
pub(super) mod keys;
pub(super) mod metrics;
pub(super) mod notices;
mod place;
pub(super) mod status;
pub(super) mod system;
pub(super) mod webhooks;
pub(super) mod workspaces;
