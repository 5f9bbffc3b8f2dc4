//! Signing secrets of webhooks in the form of Standard Webhooks: `whsec_` and the base64 of 24 to 64 bytes.

use super::VaultError;
use crate::domain::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const PREFIX: &str = "whsec_";
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A new signing secret of 256 random bits.
pub fn new_signing_secret() -> Result<Secret<String>, VaultError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|_| VaultError::Randomness)?;
    let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 44));
    text.push_str(PREFIX);
    STANDARD.encode_string(*bytes, &mut text);
    Ok(Secret::new(std::mem::take(&mut *text)))
}

/// Whether a text is a signing secret.
pub fn is_signing_secret(text: &str) -> bool {
    text.strip_prefix(PREFIX)
        .and_then(|rest| STANDARD.decode(rest).ok())
        .map(Zeroizing::new)
        .is_some_and(|bytes| LENGTHS.contains(&bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets() {
        let (one, other) = (new_signing_secret().unwrap(), new_signing_secret().unwrap());
        assert_ne!(one.expose(), other.expose());
        assert!(is_signing_secret(one.expose()));
        let of = |length: usize| format!("{PREFIX}{}", STANDARD.encode(vec![7; length]));
        assert!(is_signing_secret(&of(24)) && is_signing_secret(&of(64)));
        for bad in [
            of(23),
            of(65),
            String::new(),
            "whsec_!".into(),
            of(32)[6..].into(),
        ] {
            assert!(!is_signing_secret(&bad), "{bad}");
        }
    }
}
