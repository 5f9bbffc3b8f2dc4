//! A consumer: the app or third party that calls and owns keys.

use super::id::Id;

/// A consumer declared in the config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// `con_…`, derived from the name.
    pub id: Id,
    /// Unique name; goes upstream as `X-Consumer-Username`.
    pub name: String,
}

impl Consumer {
    /// A declared consumer: its id follows from its name.
    pub fn declared(name: String) -> Self {
        Self {
            id: Id::derived("keygate declared consumer v1", name.as_bytes()),
            name,
        }
    }
}
