//! Secrets that must be had again are sealed here: under the master key, or under what only a caller has.

mod keyring;
mod seal;
mod signing;

pub use keyring::{Keyring, MasterKey};
pub use seal::{open_with, seal_with};
pub use signing::{is_signing_secret, new_signing_secret};

/// Why something was not sealed or not opened. No variant shows any of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The text of a master key is none.
    #[error("a master key is 32 bytes, as 64 hex digits or as base64")]
    MasterKey,
    /// Not of a form that is made here.
    #[error("this was not sealed by the vault")]
    Form,
    /// Sealed under another master key.
    #[error("sealed under master key {0}, which is not at hand")]
    UnknownKey(String),
    /// Changed, moved to another place, or opened with other material.
    #[error("what was sealed cannot be opened: it was changed, or it belongs elsewhere")]
    Broken,
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness")]
    Randomness,
}
