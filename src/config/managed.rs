//! Settings of what is managed while the gateway runs: where it is kept, how long, and who is told of it.

use crate::domain::secret::Secret;
use std::path::PathBuf;

/// Where keys and all that is managed by the API are kept.
#[derive(Debug, Clone)]
pub enum StoreLocation {
    /// A file of our own.
    Sqlite(PathBuf),
    /// URL of a `PostgreSQL` database.
    Postgres(Secret<String>),
}

/// Keys that seal what is kept.
#[derive(Debug, Clone)]
pub struct VaultConfig {
    /// Seals and opens.
    pub master_key: Secret<[u8; 32]>,
    /// Opens what was sealed before the master key was changed.
    pub previous_key: Option<Secret<[u8; 32]>>,
}
