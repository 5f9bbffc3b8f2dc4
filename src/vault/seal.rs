//! AES-256-GCM, always with a fresh 96-bit nonce, and always bound to the place the value belongs to, so that one that
//! is copied elsewhere does not open.
//!
//! Under a master key a value has a data key of its own, and the master key wraps that: another master key needs a new
//! wrap only, and no master key seals more than 32 bytes per value.

use super::VaultError;
use super::keyring::{Keyring, MasterKey};
use crate::domain::secret::Secret;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// In front of what is sealed under a master key.
const VAULT: &str = "kgv1";
/// In front of what is sealed under a caller's material.
const CALLER: &str = "kgc1";
const CALLER_LABEL: &str = "keygate sealed under a caller's material v1";

const KEY: usize = 32;
const TAG: usize = 16;
/// Nonce, data key, tag.
const WRAPPED: usize = NONCE_LEN + KEY + TAG;

impl Keyring {
    /// Seals a value for one place, which `aad` names: `webhook whk_… secret`. The text is `kgv1:<key id>:<base64>`.
    pub fn seal(&self, plain: &[u8], aad: &str) -> Result<String, VaultError> {
        let mut data_key = Zeroizing::new([0; KEY]);
        getrandom::fill(&mut *data_key).map_err(|_| VaultError::Randomness)?;
        let mut blob = wrap(self.current(), &data_key, aad)?;
        encrypt(&data_key, plain, &bound(VAULT, "value", aad), &mut blob)?;
        Ok(text(self.current().id(), &blob))
    }

    /// Opens what was sealed for this place.
    pub fn open(&self, sealed: &str, aad: &str) -> Result<Secret<Vec<u8>>, VaultError> {
        let (master, blob) = self.parse(sealed)?;
        let (wrapped, value) = blob.split_at_checked(WRAPPED).ok_or(VaultError::Form)?;
        let data_key = unwrap(master, wrapped, aad)?;
        decrypt(&data_key, value, &bound(VAULT, "value", aad))
    }

    /// The same value under the current master key; `None` when it is already. The value itself is not opened.
    pub fn rewrap(&self, sealed: &str, aad: &str) -> Result<Option<String>, VaultError> {
        let (master, blob) = self.parse(sealed)?;
        if master.id() == self.current().id() {
            return Ok(None);
        }
        let (wrapped, value) = blob.split_at_checked(WRAPPED).ok_or(VaultError::Form)?;
        let data_key = unwrap(master, wrapped, aad)?;
        let mut again = wrap(self.current(), &data_key, aad)?;
        again.extend_from_slice(value);
        Ok(Some(text(self.current().id(), &again)))
    }

    fn parse(&self, sealed: &str) -> Result<(&MasterKey, Vec<u8>), VaultError> {
        let mut parts = sealed.split(':');
        let (Some(VAULT), Some(id), Some(blob), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(VaultError::Form);
        };
        let blob = URL_SAFE_NO_PAD.decode(blob).map_err(|_| VaultError::Form)?;
        Ok((self.find(id)?, blob))
    }
}

/// Seals a value so that only who has the same material can open it; nothing of ours can. The material must be beyond
/// guessing, such as an admin token: it is not stretched. The text is `kgc1:<base64>`.
pub fn seal_with(material: &[u8], plain: &[u8], aad: &str) -> Result<String, VaultError> {
    let key = Zeroizing::new(blake3::derive_key(CALLER_LABEL, material));
    let mut blob = Vec::with_capacity(NONCE_LEN + plain.len() + TAG);
    encrypt(&key, plain, &bound(CALLER, "value", aad), &mut blob)?;
    Ok(format!("{CALLER}:{}", URL_SAFE_NO_PAD.encode(blob)))
}

/// Opens what [`seal_with`] sealed with the same material for the same place.
pub fn open_with(material: &[u8], sealed: &str, aad: &str) -> Result<Secret<Vec<u8>>, VaultError> {
    let blob = sealed
        .strip_prefix(CALLER)
        .and_then(|rest| rest.strip_prefix(':'))
        .and_then(|rest| URL_SAFE_NO_PAD.decode(rest).ok())
        .ok_or(VaultError::Form)?;
    let key = Zeroizing::new(blake3::derive_key(CALLER_LABEL, material));
    decrypt(&key, &blob, &bound(CALLER, "value", aad))
}

fn text(id: &str, blob: &[u8]) -> String {
    format!("{VAULT}:{id}:{}", URL_SAFE_NO_PAD.encode(blob))
}

/// What a ciphertext is bound to: its form, which of its parts it is, and the place.
fn bound(form: &str, part: &str, aad: &str) -> String {
    format!("{form}\n{part}\n{aad}")
}

fn wrap(master: &MasterKey, data_key: &[u8; KEY], aad: &str) -> Result<Vec<u8>, VaultError> {
    let mut blob = Vec::with_capacity(WRAPPED);
    encrypt(
        master.expose(),
        data_key,
        &bound(VAULT, master.id(), aad),
        &mut blob,
    )?;
    Ok(blob)
}

fn unwrap(
    master: &MasterKey,
    wrapped: &[u8],
    aad: &str,
) -> Result<Zeroizing<[u8; KEY]>, VaultError> {
    let opened = decrypt(master.expose(), wrapped, &bound(VAULT, master.id(), aad))?;
    let mut data_key = Zeroizing::new([0; KEY]);
    if opened.expose().len() != KEY {
        return Err(VaultError::Broken);
    }
    data_key.copy_from_slice(opened.expose());
    Ok(data_key)
}

fn cipher(key: &[u8; KEY]) -> Result<LessSafeKey, VaultError> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| VaultError::Broken)?;
    Ok(LessSafeKey::new(key))
}

/// Appends nonce, ciphertext and tag. Encrypts where the result stays, so that no other copy of the value is made.
fn encrypt(
    key: &[u8; KEY],
    plain: &[u8],
    bound: &str,
    into: &mut Vec<u8>,
) -> Result<(), VaultError> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(|_| VaultError::Randomness)?;
    into.reserve_exact(NONCE_LEN + plain.len() + TAG);
    into.extend_from_slice(&nonce);
    let start = into.len();
    into.extend_from_slice(plain);
    let tag = cipher(key)?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(bound),
            &mut into[start..],
        )
        .map_err(|_| VaultError::Broken)?;
    into.extend_from_slice(tag.as_ref());
    Ok(())
}

fn decrypt(key: &[u8; KEY], sealed: &[u8], bound: &str) -> Result<Secret<Vec<u8>>, VaultError> {
    if sealed.len() < NONCE_LEN + TAG {
        return Err(VaultError::Form);
    }
    let (nonce, value) = sealed.split_at(NONCE_LEN);
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::Form)?;
    let mut plain = Zeroizing::new(value.to_vec());
    let length = cipher(key)?
        .open_in_place(nonce, Aad::from(bound), &mut plain)
        .map_err(|_| VaultError::Broken)?
        .len();
    plain.truncate(length);
    Ok(Secret::new(std::mem::take(&mut *plain)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring(byte: u8) -> Keyring {
        Keyring::new(MasterKey::new(Zeroizing::new([byte; 32])), None)
    }

    /// The text with one bit of its base64 part's bytes turned.
    fn turned(sealed: &str, place: usize) -> String {
        let (front, blob) = sealed.rsplit_once(':').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(blob).unwrap();
        let bit = place % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        format!("{front}:{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_again_for_its_place_only(plain: Vec<u8>, aad in ".{0,20}", other in ".{0,20}") {
            let sealed = ring(1).seal(&plain, &aad).unwrap();
            let opened = ring(1).open(&sealed, &aad).unwrap();
            prop_assert_eq!(opened.expose(), &plain);
            if aad != other {
                prop_assert_eq!(ring(1).open(&sealed, &other).err(), Some(VaultError::Broken));
            }
        }

        #[test]
        fn no_bit_can_be_turned_and_no_byte_cut(plain: Vec<u8>, place: usize) {
            let sealed = ring(1).seal(&plain, "a").unwrap();
            prop_assert_eq!(ring(1).open(&turned(&sealed, place), "a").err(), Some(VaultError::Broken));
            let cut = &sealed[..place % sealed.len()];
            prop_assert!(ring(1).open(cut, "a").is_err());
        }

        #[test]
        fn a_callers_value_opens_with_the_same_material_only(
            plain: Vec<u8>, material: [u8; 16], other: [u8; 16], place: usize,
        ) {
            let sealed = seal_with(&material, &plain, "a").unwrap();
            let opened = open_with(&material, &sealed, "a").unwrap();
            prop_assert_eq!(opened.expose(), &plain);
            prop_assert_eq!(open_with(&material, &sealed, "b").err(), Some(VaultError::Broken));
            prop_assert_eq!(open_with(&material, &turned(&sealed, place), "a").err(), Some(VaultError::Broken));
            prop_assert!(open_with(&material, &sealed[..place % sealed.len()], "a").is_err());
            if material != other {
                prop_assert_eq!(open_with(&other, &sealed, "a").err(), Some(VaultError::Broken));
            }
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in ".{0,200}") {
            prop_assert!(ring(1).open(&text, "").is_err());
            prop_assert!(open_with(b"x", &text, "").is_err());
        }
    }

    #[test]
    fn another_master_key_is_named_not_tried() {
        let sealed = ring(1).seal(b"s", "a").unwrap();
        let id = ring(1).current().id().to_owned();
        assert_eq!(
            ring(2).open(&sealed, "a").err(),
            Some(VaultError::UnknownKey(id.clone()))
        );
        // The id of the other key in front does not make it open.
        let renamed = sealed.replace(&id, ring(2).current().id());
        assert_eq!(ring(2).open(&renamed, "a").err(), Some(VaultError::Broken));
    }

    #[test]
    fn the_same_value_never_looks_the_same() {
        let (one, other) = (ring(1).seal(b"s", "a"), ring(1).seal(b"s", "a"));
        assert_ne!(one, other);
    }

    #[test]
    fn after_a_change_of_master_keys_old_values_open_and_are_wrapped_anew() {
        let old = ring(1).seal(b"s", "a").unwrap();
        let key = |byte| MasterKey::new(Zeroizing::new([byte; 32]));
        let both = Keyring::new(key(2), Some(key(1)));
        assert_eq!(both.open(&old, "a").unwrap().expose(), b"s");
        let new = both.rewrap(&old, "a").unwrap().unwrap();
        assert_eq!(ring(2).open(&new, "a").unwrap().expose(), b"s");
        assert_eq!(both.rewrap(&new, "a"), Ok(None));
        assert_eq!(both.rewrap(&old, "b"), Err(VaultError::Broken));
    }
}
