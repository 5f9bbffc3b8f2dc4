//! One file per resource.

pub(super) mod health;
pub(super) mod keys;
pub(super) mod metrics;
pub(super) mod status;
