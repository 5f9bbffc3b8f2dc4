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
