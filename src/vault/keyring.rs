//! The master keys: the current one seals, the one before still opens.

use super::VaultError;
use crate::domain::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use zeroize::Zeroizing;

const ID_LABEL: &str = "keygate master key id v1";

/// 256 bits that wrap the keys of sealed values. `Debug` shows the id only.
pub struct MasterKey {
    bytes: Zeroizing<[u8; 32]>,
    id: String,
}

impl MasterKey {
    /// Takes over the bytes of a key.
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        let digest = blake3::derive_key(ID_LABEL, &*bytes);
        let mut first = [0; 4];
        first.copy_from_slice(&digest[..4]);
        let id = format!("{:08x}", u32::from_be_bytes(first));
        Self { bytes, id }
    }

    /// A new key, of the operating system's randomness.
    pub fn generate() -> Result<Self, VaultError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(|_| VaultError::Randomness)?;
        Ok(Self::new(bytes))
    }

    /// Reads 64 hex digits or the base64 of 32 bytes, with white space around.
    pub fn parse(text: &str) -> Result<Self, VaultError> {
        let text = text.trim();
        let mut bytes = Zeroizing::new([0; 32]);
        if text.len() == 64 {
            for (place, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
                let digits = std::str::from_utf8(pair).map_err(|_| VaultError::MasterKey)?;
                if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return Err(VaultError::MasterKey);
                }
                *place = u8::from_str_radix(digits, 16).map_err(|_| VaultError::MasterKey)?;
            }
        } else {
            let decoded = Zeroizing::new(STANDARD.decode(text).map_err(|_| VaultError::MasterKey)?);
            if decoded.len() != bytes.len() {
                return Err(VaultError::MasterKey);
            }
            bytes.copy_from_slice(&decoded);
        }
        Ok(Self::new(bytes))
    }

    /// The text form for a file: base64.
    pub fn to_text(&self) -> Secret<String> {
        Secret::new(STANDARD.encode(*self.bytes))
    }

    /// Tells one key from another; eight hex digits that say nothing of it.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "MasterKey({})", self.id)
    }
}

/// The master keys at hand.
#[derive(Debug)]
pub struct Keyring {
    current: MasterKey,
    previous: Option<MasterKey>,
}

impl Keyring {
    /// The current key, and the one before while there is something sealed under it.
    pub fn new(current: MasterKey, previous: Option<MasterKey>) -> Self {
        Self { current, previous }
    }

    /// The key that seals.
    pub fn current(&self) -> &MasterKey {
        &self.current
    }

    /// The key with this id.
    pub(super) fn find(&self, id: &str) -> Result<&MasterKey, VaultError> {
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.id == id)
            .ok_or_else(|| VaultError::UnknownKey(id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_text_forms_are_the_same_key() {
        let key = MasterKey::new(Zeroizing::new([0xa7; 32]));
        let hex = MasterKey::parse(&format!("{}\n", "A7".repeat(32))).unwrap();
        let base64 = MasterKey::parse(key.to_text().expose()).unwrap();
        assert_eq!((hex.id(), base64.id()), (key.id(), key.id()));
        assert_eq!(key.id().len(), 8);
        assert_eq!(base64.expose(), key.expose());
    }

    #[test]
    fn other_texts_are_none() {
        let odd = "é".repeat(32);
        let signs = "+1".repeat(32);
        for text in ["", "x", "YWJj", &"g".repeat(64), &odd, &signs] {
            assert_eq!(
                MasterKey::parse(text).err(),
                Some(VaultError::MasterKey),
                "{text}"
            );
        }
    }

    #[test]
    fn debug_shows_the_id_only() {
        let key = MasterKey::generate().unwrap();
        let text = format!("{:?}", Keyring::new(key, None));
        assert!(!text.contains("bytes"), "{text}");
    }
}
