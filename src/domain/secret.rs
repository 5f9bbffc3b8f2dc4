//! A value that must not be shown: wiped when dropped, silent in `Debug`, read only by saying so.

use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// Holds a secret. There is no `Display`, `Debug` prints `[redacted]`, and the memory is wiped on drop.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Wraps a secret.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The secret itself; the name is there to be searched for in review.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[redacted]")
    }
}

impl<T: Zeroize + AsRef<[u8]>> Secret<T> {
    /// Compares in time that does not depend on where the first difference is: both sides are hashed first.
    pub fn matches(&self, presented: &[u8]) -> bool {
        blake3::hash((*self.0).as_ref()) == blake3::hash(presented)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_says_nothing() {
        assert_eq!(
            format!("{:?}", Secret::new(String::from("hunter2"))),
            "[redacted]"
        );
    }

    #[test]
    fn matches_only_the_same_bytes() {
        let secret = Secret::new(String::from("hunter2"));
        assert!(secret.matches(b"hunter2"));
        assert!(!secret.matches(b"hunter"));
        assert!(!secret.matches(b""));
    }
}
