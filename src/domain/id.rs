//! Identifiers: a type prefix and 128 bits in Crockford base32, lower case (26 characters, as in `TypeID`).
//! New ids are `UUIDv7` (RFC 9562 §5.7); ids of things declared in a file are derived from their content,
//! so that they are the same after a reload, a restart and on every node.

use std::fmt;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ENCODED_LEN: usize = 26;

/// Which kind of object an [`Id`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `key_`: what a consumer presents.
    Key,
    /// `con_`: who calls.
    Consumer,
    /// `ws_`: a tenant.
    Workspace,
    /// `req_`: one request.
    Request,
    /// `sec_`: one of a key's secrets.
    Secret,
    /// `mem_`: a person who administers.
    Member,
    /// `tok_`: an admin token.
    Token,
    /// `ses_`: a member's time signed in.
    Session,
    /// `evt_`: something that happened.
    Event,
    /// `ntc_`: something a person should know.
    Notice,
    /// `whk_`: an address that is told of events.
    Webhook,
    /// `dlv_`: one event on its way to one receiver.
    Delivery,
    /// `node_`: one running gateway.
    Node,
}

impl Kind {
    /// The prefix with its underscore.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Key => "key_",
            Self::Consumer => "con_",
            Self::Workspace => "ws_",
            Self::Request => "req_",
            Self::Secret => "sec_",
            Self::Member => "mem_",
            Self::Token => "tok_",
            Self::Session => "ses_",
            Self::Event => "evt_",
            Self::Notice => "ntc_",
            Self::Webhook => "whk_",
            Self::Delivery => "dlv_",
            Self::Node => "node_",
        }
    }
}

/// 128 bits that name one object. Its text form needs the [`Kind`]: see [`Id::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u128);

impl Id {
    /// An id with these bits.
    pub fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits.
    pub fn bits(self) -> u128 {
        self.0
    }

    /// A `UUIDv7`: 48 bits of milliseconds since the epoch, then version, variant and 74 random bits.
    pub fn v7(unix_millis: u64, random: u128) -> Self {
        let time = u128::from(unix_millis & 0xffff_ffff_ffff) << 80;
        let tail = random & ((1 << 80) - 1);
        let versioned = (tail & !(0xf << 76)) | (0x7 << 76);
        Self(time | (versioned & !(0x3 << 62)) | (0x2 << 62))
    }

    /// A new id: a `UUIDv7` of this time with randomness of the operating system.
    pub fn new(now: super::time::Timestamp) -> Self {
        let mut random = [0; 16];
        // Ids need to differ, not to be secret: should the system have no randomness, a weaker source will do.
        if getrandom::fill(&mut random).is_err() {
            random = fastrand::u128(..).to_be_bytes();
        }
        let millis = u64::try_from(now.as_millis()).unwrap_or_default();
        Self::v7(millis, u128::from_be_bytes(random))
    }

    /// The id of a declared object: 128 bits of blake3 over `label` and `content`.
    pub fn derived(label: &str, content: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(label.as_bytes());
        hasher.update(&[0]);
        hasher.update(content);
        let mut bits = [0; 16];
        hasher.finalize_xof().fill(&mut bits);
        Self(u128::from_be_bytes(bits))
    }

    /// Prefix and 26 base32 characters, at most 31 bytes, without touching the heap.
    pub fn text(self, kind: Kind) -> IdText {
        let prefix = kind.prefix().as_bytes();
        let mut bytes = [0; IdText::MAX];
        bytes[..prefix.len()].copy_from_slice(prefix);
        // Twelve digits are 60 bits: shifting 64-bit halves costs a third of shifting the whole.
        let places = &mut bytes[prefix.len()..prefix.len() + ENCODED_LEN];
        let part =
            |shift: u32| u64::try_from((self.0 >> shift) & ((1 << 60) - 1)).unwrap_or_default();
        encode(&mut places[..2], part(120));
        encode(&mut places[2..14], part(60));
        encode(&mut places[14..], part(0));
        IdText {
            bytes,
            len: prefix.len() + ENCODED_LEN,
        }
    }

    /// Reads the text form of an id of this kind; `None` when it is anything else.
    pub fn parse(kind: Kind, text: &str) -> Option<Self> {
        let digits = text.strip_prefix(kind.prefix())?.as_bytes();
        // 26 × 5 = 130 bits: the first character may only carry three.
        if digits.len() != ENCODED_LEN || digits[0] > b'7' {
            return None;
        }
        let mut bits = 0_u128;
        for digit in digits {
            let value = ALPHABET.iter().position(|letter| letter == digit)?;
            bits = (bits << 5) | value as u128;
        }
        Some(Self(bits))
    }
}

/// All pairs of digits: a request says three ids, and pairs halve what that costs.
const PAIRS: [[u8; 2]; 1024] = {
    let mut pairs = [[0; 2]; 1024];
    let mut pair = 0;
    while pair < pairs.len() {
        pairs[pair] = [ALPHABET[pair / 32], ALPHABET[pair % 32]];
        pair += 1;
    }
    pairs
};

/// Fills the places, of which there are an even number, with base32 digits, the lowest last.
fn encode(places: &mut [u8], mut bits: u64) {
    for place in places.rchunks_exact_mut(2) {
        place.copy_from_slice(&PAIRS[(bits & 1023) as usize]);
        bits >>= 10;
    }
}

/// The text form of an [`Id`], on the stack.
#[derive(Clone, Copy)]
pub struct IdText {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl IdText {
    const MAX: usize = 5 + ENCODED_LEN;

    /// The text's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Only ASCII is ever written.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Display for IdText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_form_round_trips(bits: u128) {
            for kind in [Kind::Key, Kind::Consumer, Kind::Workspace, Kind::Request] {
                let id = Id::from_bits(bits);
                prop_assert_eq!(Id::parse(kind, id.text(kind).as_str()), Some(id));
            }
        }

        #[test]
        fn parse_never_panics(text in ".{0,40}") {
            let _ = Id::parse(Kind::Key, &text);
        }
    }

    #[test]
    fn v7_carries_version_variant_and_time() {
        let id = Id::v7(0x0123_4567_89ab, u128::MAX);
        assert_eq!(id.bits() >> 80, 0x0123_4567_89ab);
        assert_eq!((id.bits() >> 76) & 0xf, 7);
        assert_eq!((id.bits() >> 62) & 0x3, 2);
    }

    #[test]
    fn other_kinds_and_overflowing_text_are_refused() {
        let text = Id::from_bits(7).text(Kind::Consumer);
        assert_eq!(Id::parse(Kind::Key, text.as_str()), None);
        assert_eq!(Id::parse(Kind::Key, "key_80000000000000000000000000"), None);
        assert_eq!(Id::parse(Kind::Key, "key_0000000000000000000000000U"), None);
    }

    #[test]
    fn derived_ids_depend_on_label_and_content_only() {
        assert_eq!(Id::derived("a", b"x"), Id::derived("a", b"x"));
        assert_ne!(Id::derived("a", b"x"), Id::derived("b", b"x"));
        assert_ne!(Id::derived("a", b"x"), Id::derived("a", b"y"));
    }
}
