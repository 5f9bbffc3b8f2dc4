//! What the data plane sees: the one place where the two halves meet. Control writes, workers read.

pub mod endpoints;
pub mod events;
pub mod failures;
pub mod handle;
pub mod key;
pub mod keys;
pub mod limits;
pub mod router;
pub mod tls;
pub mod usage;
pub mod workspaces;
