//! Passwords of members: argon2id with the parameters that OWASP names, two at a time at most, and as much work for
//! somebody who is not there as for somebody who is.

use super::body::{Wrong, text};
use super::error::AdminError;
use crate::domain::secret::Secret;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use serde_json::Value;
use std::time::Duration;
use tokio::sync::Semaphore;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SHORTEST: usize = 12;
const LONGEST: usize = 256;
/// Salt of the work that is done for nobody.
const NOBODY: &[u8; 16] = b"keygate: nobody.";

/// Each takes 19 MiB and a core for some hundredths of a second: a flood of sign-ins must not take the machine.
static SEATS: Semaphore = Semaphore::const_new(2);
/// Longest wait for a seat.
const PATIENCE: Duration = Duration::from_secs(10);

/// A new password.
pub(super) fn new_password(value: &Value) -> Result<Secret<String>, Wrong> {
    text(SHORTEST, LONGEST)(value).map(Secret::new)
}

/// A password that somebody presents; what could never have been one is none.
pub(super) fn presented(value: &Value) -> Result<Secret<String>, Wrong> {
    text(1, LONGEST)(value).map(Secret::new)
}

/// Refuses what everybody would try first.
pub(super) fn check_fresh(
    password: &Secret<String>,
    known: [Option<&str>; 2],
) -> Result<(), Wrong> {
    let password = password.expose().to_lowercase();
    let same = |known: &&str| known.to_lowercase() == password;
    if known.iter().flatten().any(same) {
        let message = "must not be the e-mail address or the name";
        return Err(("too_simple", message.into()));
    }
    Ok(())
}

/// A password as it is kept: a PHC string.
pub(super) async fn hash(password: Secret<String>) -> Result<Secret<String>, AdminError> {
    seated(move |argon| {
        let hash = argon.hash_password(password.expose().as_bytes());
        hash.map(|hash| Secret::new(hash.to_string()))
    })
    .await
}

/// Whether a password is the one that is kept; `None`: there is none, and finding that out takes as long.
pub(super) async fn verify(
    password: Secret<String>,
    kept: Option<Secret<String>>,
) -> Result<bool, AdminError> {
    seated(move |argon| {
        let bytes = password.expose().as_bytes();
        let Some(kept) = kept else {
            return argon.hash_password_with_salt(bytes, NOBODY).map(|_| false);
        };
        let kept = PasswordHash::new(kept.expose())?;
        Ok(argon.verify_password(bytes, &kept).is_ok())
    })
    .await
}

async fn seated<T: Send + 'static>(
    work: impl FnOnce(&Argon2<'static>) -> argon2::password_hash::Result<T> + Send + 'static,
) -> Result<T, AdminError> {
    let seat = tokio::time::timeout(PATIENCE, SEATS.acquire()).await;
    let seat = seat
        .map_err(|_| AdminError::RateLimited)?
        .map_err(|_| AdminError::Internal)?;
    let done = tokio::task::spawn_blocking(move || {
        // It is kept until the work is done, whether or not somebody still waits for it.
        let _seat = seat;
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None);
        let params = params.map_err(|fault| fault.to_string())?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        work(&argon).map_err(|fault| fault.to_string())
    });
    let done = done.await.map_err(|_| AdminError::Internal)?;
    done.map_err(|error: String| {
        tracing::error!(error, "a password could not be hashed");
        AdminError::Internal
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn only_the_password_itself_opens() {
        let kept = hash(secret("correct horse battery")).await.unwrap();
        assert!(kept.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let open = |text: &str, kept: Option<&Secret<String>>| verify(secret(text), kept.cloned());
        assert!(open("correct horse battery", Some(&kept)).await.unwrap());
        assert!(!open("correct horse batter", Some(&kept)).await.unwrap());
        assert!(!open("correct horse battery", None).await.unwrap());
        let again = hash(secret("correct horse battery")).await.unwrap();
        assert_ne!(kept.expose(), again.expose(), "each has a salt of its own");
    }

    #[test]
    fn passwords_have_12_to_256_characters_and_are_not_the_obvious_ones() {
        for (text, good) in [
            ("ä".repeat(12), true),
            ("a".repeat(11), false),
            ("a".repeat(256), true),
            ("a".repeat(257), false),
            ("with a\ttab in it".into(), false),
        ] {
            assert_eq!(new_password(&json!(text)).is_ok(), good, "{text}");
        }
        let known = [Some("ada@example.com"), Some("Ada Countess of L")];
        for (text, good) in [
            ("Ada@example.com", false),
            ("ada countess of l", false),
            ("ada countess of ll", true),
        ] {
            assert_eq!(check_fresh(&secret(text), known).is_ok(), good, "{text}");
        }
    }
}
