//! One file per resource.

pub(super) mod audit;
pub(super) mod consumers;
mod few;
pub(super) mod health;
pub(super) mod keys;
pub(super) mod members;
pub(super) mod metrics;
pub(super) mod notices;
mod place;
pub(super) mod sessions;
pub(super) mod status;
pub(super) mod system;
pub(super) mod tokens;
mod upstream_view;
pub(super) mod usage;
pub(super) mod webhooks;
pub(super) mod whoami;
pub(super) mod workspaces;
