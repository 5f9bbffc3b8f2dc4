//! A consumer: the app or third party that calls and owns keys.

use super::id::Id;
use super::limit::Limit;

/// What the data plane knows of a consumer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Consumer {
    /// `con_…`; of a declared one, derived from its name.
    pub id: Id,
    /// Unique name; goes upstream as `X-Consumer-Username`.
    pub name: String,
    /// What all its keys share.
    pub limits: Option<Limit>,
}

impl Consumer {
    /// A declared consumer: its id follows from its name.
    pub fn declared(name: String, limits: Option<Limit>) -> Self {
        Self {
            id: Id::derived("keygate declared consumer v1", name.as_bytes()),
            name,
            limits,
        }
    }
}
