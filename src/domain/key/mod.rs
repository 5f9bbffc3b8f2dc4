//! The key a consumer presents: its hash at rest here, its text form in `format`, what is declared about it in `spec`.

pub mod acts;
mod format;
pub mod record;
mod spec;

use super::id::Id;
use std::fmt;
use zeroize::Zeroizing;

pub use format::{
    ADMIN_ENVIRONMENT, AdminSecret, BODY_LEN, FormatFault, GenerateError, KeyFormat, SCANNER_REGEX,
    Shape,
};
pub use record::{Algorithm, KeyRecord};
pub use spec::{KeySpec, KeyState, KeyStatus, Origin};

/// Most bytes of any presented key, native or imported.
pub const MAX_PRESENTED_LEN: usize = 512;
/// Least bytes of a key that was made elsewhere: fewer are guessed, and found from their hash at once.
pub const MIN_FOREIGN_LEN: usize = 8;

/// A key as its holder has it. Wiped when dropped; `Debug` shows nothing of it.
#[derive(Clone)]
pub struct PlainKey(Zeroizing<String>);

impl PlainKey {
    /// Takes over the text of a key; the given string is moved, not copied.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The key itself; the name is there to be searched for in review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its hash at rest.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PlainKey([redacted])")
    }
}

/// blake3 of a key: the only form in which a key is kept. `Debug` shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Hashes the bytes of a key.
    pub fn of(key: &[u8]) -> Self {
        Self(*blake3::hash(key).as_bytes())
    }

    /// The sha256 of the bytes of a key, by which imported keys may be known.
    pub fn sha256_of(key: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// Reads `blake3:<64 hex digits>`.
    pub fn parse(text: &str) -> Result<Self, HashFault> {
        if text.starts_with("sha256:") {
            return Err(HashFault::Sha256);
        }
        match Self::parse_any(text)? {
            (hash, Algorithm::Blake3) => Ok(hash),
            (_, Algorithm::Sha256) => Err(HashFault::Sha256),
        }
    }

    /// Reads `blake3:<64 hex digits>` or `sha256:<64 hex digits>`.
    pub fn parse_any(text: &str) -> Result<(Self, Algorithm), HashFault> {
        let (name, hex) = text.split_once(':').ok_or(HashFault::Algorithm)?;
        let algorithm = match name {
            "blake3" => Algorithm::Blake3,
            "sha256" => Algorithm::Sha256,
            _ => return Err(HashFault::Algorithm),
        };
        let digits = blake3::Hash::from_hex(hex).map_err(|_| HashFault::Digits)?;
        Ok((Self(*digits.as_bytes()), algorithm))
    }

    /// From 32 bytes of a digest.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, as the key table wants them.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The form at rest, `blake3:<hex>`; for a config file or a store, never for a log.
    pub fn at_rest(&self) -> String {
        self.at_rest_as(Algorithm::Blake3)
    }

    /// The form at rest of a digest that was made in this way.
    pub fn at_rest_as(&self, algorithm: Algorithm) -> String {
        let name = match algorithm {
            Algorithm::Blake3 => "blake3",
            Algorithm::Sha256 => "sha256",
        };
        format!("{name}:{}", blake3::Hash::from_bytes(self.0).to_hex())
    }

    /// The id of a key that is declared with this hash and without an id of its own.
    pub fn declared_id(&self) -> Id {
        Id::derived("keygate declared key v1", &self.0)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("KeyHash([redacted])")
    }
}

/// Why a text is not a [`KeyHash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashFault {
    /// No known algorithm in front.
    #[error("expected `blake3:` and 64 hex digits (`keygate hash` makes one from a key)")]
    Algorithm,
    /// Not 64 hex digits.
    #[error("expected 64 hex digits after `blake3:`")]
    Digits,
    /// A hash for import.
    #[error("a declared key needs a blake3 hash; sha256 hashes are for `keygate keys import`")]
    Sha256,
}

#[cfg(test)]
mod tests;
