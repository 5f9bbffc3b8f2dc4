//! HTTP methods as a small closed set: the nine of RFC 9110 §9.3 and RFC 5789, and one name for all others.

use http::Method;

/// The standard methods in a fixed order; the index of a method here is its [`index`].
pub const STANDARD: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::PATCH,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// Number of method slots: the standard ones and one for the rest.
pub const SLOTS: usize = STANDARD.len() + 1;

/// The slot of a method: its place in [`STANDARD`], or the last one for any other method.
pub fn index(method: &Method) -> usize {
    STANDARD
        .iter()
        .position(|standard| standard == method)
        .unwrap_or(STANDARD.len())
}

/// Whether a method is a standard one but for the case of its letters: another one by RFC 9110 §9.1, and the same to many
/// services.
pub fn is_misspelt(method: &Method) -> bool {
    index(method) == STANDARD.len()
        && STANDARD
            .iter()
            .any(|standard| standard.as_str().eq_ignore_ascii_case(method.as_str()))
}

/// The name of a slot as a metric label: the method, or `OTHER`.
pub fn label(slot: usize) -> &'static str {
    match slot {
        0 => "GET",
        1 => "HEAD",
        2 => "POST",
        3 => "PUT",
        4 => "DELETE",
        5 => "PATCH",
        6 => "OPTIONS",
        7 => "TRACE",
        8 => "CONNECT",
        _ => "OTHER",
    }
}

/// A set of standard methods; [`MethodSet::ANY`] also holds every other method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodSet(u16);

impl MethodSet {
    /// Every method there is.
    pub const ANY: Self = Self(u16::MAX);
    /// No method.
    pub const EMPTY: Self = Self(0);

    /// This set with one more standard method; `None` when the method is not a standard one.
    pub fn with(self, method: &Method) -> Option<Self> {
        let slot = index(method);
        (slot < STANDARD.len()).then_some(Self(self.0 | (1 << slot)))
    }

    /// Whether the method is in the set.
    pub fn contains(self, method: &Method) -> bool {
        self.0 & (1 << index(method)) != 0
    }

    /// The methods in both sets.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The set as bits, whose order never changes.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// The set of these bits.
    pub fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Whether the set holds every method.
    pub fn is_any(self) -> bool {
        self == Self::ANY
    }

    /// The names of the methods in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        (0..STANDARD.len())
            .filter(move |slot| self.0 & (1 << slot) != 0)
            .map(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_follow_the_order_of_the_methods() {
        for (slot, method) in STANDARD.iter().enumerate() {
            assert_eq!(label(slot), method.as_str());
            assert_eq!(index(method), slot);
        }
        assert_eq!(
            label(index(&Method::from_bytes(b"PROPFIND").unwrap())),
            "OTHER"
        );
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let set = MethodSet::EMPTY
            .with(&Method::GET)
            .unwrap()
            .with(&Method::PUT)
            .unwrap();
        assert!(set.contains(&Method::GET) && set.contains(&Method::PUT));
        assert!(!set.contains(&Method::POST));
        assert!(!set.contains(&Method::from_bytes(b"PROPFIND").unwrap()));
        assert!(MethodSet::ANY.contains(&Method::from_bytes(b"PROPFIND").unwrap()));
        assert_eq!(MethodSet::ANY.intersection(set), set);
    }
}
