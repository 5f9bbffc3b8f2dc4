//! The place where the store will be: a gateway serves before a server that is away has come back.

use super::Store;
use super::error::StoreError;
use std::sync::OnceLock;

/// Empty until the store is open.
#[derive(Debug, Default)]
pub struct StoreSlot(OnceLock<Store>);

impl StoreSlot {
    /// Puts the store in. A second one is not taken.
    pub fn fill(&self, store: Store) {
        let _ = self.0.set(store);
    }

    /// The store.
    pub fn get(&self) -> Result<&Store, StoreError> {
        self.0
            .get()
            .ok_or_else(|| StoreError::Unavailable("it has not been reached yet".into()))
    }
}
