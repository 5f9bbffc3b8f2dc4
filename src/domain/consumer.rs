//! A consumer: the app or third party that calls and owns keys.

use super::id::Id;

/// What the data plane knows of a consumer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Consumer {
    /// `con_…`; of a declared one, derived from its name.
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
