//! The key a consumer presents: its text form, its hash at rest, and what is declared about it.
//!
//! Native form: `kg_<env>_<43 base62 = 256 random bits><6 base62 CRC32>`. The checksum covers everything before it,
//! so that a mistyped key is refused before any hash or lookup.

use super::id::Id;
use super::method::MethodSet;
use super::route::LocationSet;
use super::scope::Scope;
use super::time::Timestamp;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

/// One expression that finds every native key and admin token of a default installation, for secret scanners.
pub const SCANNER_REGEX: &str = r"\bkg_[a-z0-9]{1,16}_[0-9A-Za-z]{49}\b";
/// Characters of a native key after `kg_<env>_`.
pub const BODY_LEN: usize = RANDOM_LEN + CHECKSUM_LEN;
/// Most bytes of any presented key, native or imported.
pub const MAX_PRESENTED_LEN: usize = 512;
/// The environment that belongs to the admin API; no data key ever has it.
pub const ADMIN_ENVIRONMENT: &str = "admin";

const RANDOM_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;
const HINT_ENDS: usize = 4;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

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

    /// Reads `blake3:<64 hex digits>`.
    pub fn parse(text: &str) -> Result<Self, HashFault> {
        if text.starts_with("sha256:") {
            return Err(HashFault::Sha256);
        }
        let hex = text.strip_prefix("blake3:").ok_or(HashFault::Algorithm)?;
        let hash = blake3::Hash::from_hex(hex).map_err(|_| HashFault::Digits)?;
        Ok(Self(*hash.as_bytes()))
    }

    /// The 32 bytes, as the key table wants them.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The form at rest, `blake3:<hex>`; for a config file or a store, never for a log.
    pub fn at_rest(&self) -> String {
        format!("blake3:{}", blake3::Hash::from_bytes(self.0).to_hex())
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
    #[error("sha256 hashes are not supported yet")]
    Sha256,
}

/// What stands before the body of a native key: brand and known environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFormat {
    brand: String,
    environments: Vec<String>,
    /// `<brand>_`, for the check on every request.
    prefix: String,
}

impl Default for KeyFormat {
    fn default() -> Self {
        Self::assemble("kg".into(), vec!["live".into(), "test".into()])
    }
}

/// What a presented text looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A native key with a right checksum.
    Native,
    /// Looks native, but its checksum, its length or its environment is wrong: no key of ours.
    Malformed,
    /// Another form; may have been imported.
    Foreign,
}

impl KeyFormat {
    /// A format with this brand and these environments; `Err` says what is wrong with them.
    pub fn new(brand: &str, environments: &[String]) -> Result<Self, FormatFault> {
        let word = |text: &str| {
            (1..=16).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if !word(brand) {
            return Err(FormatFault::Brand);
        }
        if environments.is_empty() {
            return Err(FormatFault::NoEnvironment);
        }
        if environments.iter().any(|name| name == ADMIN_ENVIRONMENT) {
            return Err(FormatFault::AdminEnvironment);
        }
        if !environments.iter().all(|name| word(name)) {
            return Err(FormatFault::Environment);
        }
        Ok(Self::assemble(brand.into(), environments.to_vec()))
    }

    fn assemble(brand: String, environments: Vec<String>) -> Self {
        let prefix = format!("{brand}_");
        Self {
            brand,
            environments,
            prefix,
        }
    }

    /// The brand in front of every key.
    pub fn brand(&self) -> &str {
        &self.brand
    }

    /// The environments a key may have.
    pub fn environments(&self) -> &[String] {
        &self.environments
    }

    /// Makes a key for an environment from 256 bits of the operating system's randomness.
    pub fn generate(&self, environment: &str) -> Result<PlainKey, GenerateError> {
        if !self.environments.iter().any(|name| name == environment) {
            return Err(GenerateError::Environment(
                environment.into(),
                self.environments.join(", "),
            ));
        }
        let mut random = Zeroizing::new([0_u8; 32]);
        getrandom::fill(&mut random[..])
            .map_err(|fault| GenerateError::Randomness(fault.to_string()))?;
        Ok(self.compose(environment, &random))
    }

    /// The key that these 256 bits make; environment as given.
    pub fn compose(&self, environment: &str, random: &[u8; 32]) -> PlainKey {
        let mut text = String::with_capacity(self.prefix.len() + environment.len() + 1 + BODY_LEN);
        text.push_str(&self.prefix);
        text.push_str(environment);
        text.push('_');
        push_base62(&mut text, random);
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.iter().copied().map(char::from));
        PlainKey::new(text)
    }

    /// Tells a native key from a foreign one, and refuses what only looks native. Touches no heap.
    pub fn shape(&self, presented: &[u8]) -> Shape {
        let Some(rest) = presented.strip_prefix(self.prefix.as_bytes()) else {
            return Shape::Foreign;
        };
        let Some(border) = rest.iter().position(|byte| *byte == b'_') else {
            return Shape::Foreign;
        };
        let (environment, body) = (&rest[..border], &rest[border + 1..]);
        if environment == ADMIN_ENVIRONMENT.as_bytes() {
            return Shape::Malformed;
        }
        if !self
            .environments
            .iter()
            .any(|name| name.as_bytes() == environment)
        {
            return Shape::Foreign;
        }
        if body.len() != BODY_LEN || !body.iter().all(u8::is_ascii_alphanumeric) {
            return Shape::Malformed;
        }
        let (covered, sum) = presented.split_at(presented.len() - CHECKSUM_LEN);
        if checksum(covered) == sum {
            Shape::Native
        } else {
            Shape::Malformed
        }
    }

    /// The part of a key that may be shown: prefix, four characters, `…`, four characters.
    /// A foreign key shows its last four characters, and only if it has at least 24.
    pub fn hint(&self, key: &PlainKey) -> String {
        let text = key.expose();
        if self.shape(text.as_bytes()) == Shape::Native {
            let (head, body) = text.split_at(text.len() - BODY_LEN);
            return format!(
                "{head}{}…{}",
                &body[..HINT_ENDS],
                &body[BODY_LEN - HINT_ENDS..]
            );
        }
        let tail: String = text.chars().rev().take(HINT_ENDS).collect();
        if text.chars().count() < 24 {
            "…".into()
        } else {
            format!("…{}", tail.chars().rev().collect::<String>())
        }
    }
}

/// What is wrong with a brand or a list of environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatFault {
    /// The brand.
    #[error("brand must be 1 to 16 characters of a-z and 0-9")]
    Brand,
    /// One of the environments.
    #[error("an environment must be 1 to 16 characters of a-z and 0-9")]
    Environment,
    /// An empty list.
    #[error("at least one environment is needed")]
    NoEnvironment,
    /// The admin API's own name.
    #[error("`admin` is reserved for tokens of the admin API")]
    AdminEnvironment,
}

/// Why no key could be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Not one of the configured environments.
    #[error("unknown environment `{0}` (known: {1})")]
    Environment(String, String),
    /// The operating system gave no random bits.
    #[error("no randomness from the operating system: {0}")]
    Randomness(String),
}

/// Appends 256 bits as 43 base62 digits, most significant first. 62^43 > 2^256, so nothing is lost.
fn push_base62(text: &mut String, bits: &[u8; 32]) {
    let mut limbs = Zeroizing::new([0_u32; 8]);
    for (limb, chunk) in limbs.iter_mut().zip(bits.chunks_exact(4)) {
        *limb = u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
    }
    let mut digits = Zeroizing::new([0_u8; RANDOM_LEN]);
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_u64;
        for limb in limbs.iter_mut() {
            let value = (remainder << 32) | u64::from(*limb);
            *limb = u32::try_from(value / 62).unwrap_or_default();
            remainder = value % 62;
        }
        *digit = BASE62[usize::try_from(remainder).unwrap_or_default()];
        remainder.zeroize();
    }
    text.extend(digits.iter().copied().map(char::from));
}

/// CRC32 (IEEE) of the bytes as six base62 digits.
fn checksum(covered: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut rest = crc32fast::hash(covered);
    let mut digits = [b'0'; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// What may be done with a key, apart from time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyState {
    /// In force.
    #[default]
    Active,
    /// Switched off, reversibly.
    Disabled,
    /// Ended for good.
    Revoked,
}

/// What is known about a key: everything but its secret and its use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpec {
    /// `key_…`.
    pub id: Id,
    /// Name for people; goes upstream when there is no consumer.
    pub name: String,
    /// Hash of its secret.
    pub hash: KeyHash,
    /// Display hint, when the secret was at hand.
    pub hint: Option<String>,
    /// Name of the consumer that owns it.
    pub consumer: Option<String>,
    /// One of the configured environments.
    pub environment: String,
    /// Its rights. None open nothing.
    pub scopes: Vec<Scope>,
    /// Names of the only routes it may use; `None`: those its scopes open.
    pub routes: Option<Vec<String>>,
    /// The only methods it may use.
    pub methods: MethodSet,
    /// The only networks it may come from; empty: any.
    pub ip_allow: Vec<IpNet>,
    /// The only kinds of place it may stand in.
    pub locations: LocationSet,
    /// Not valid before.
    pub not_before: Option<Timestamp>,
    /// Not valid from then on.
    pub expires_at: Option<Timestamp>,
    /// In force or not.
    pub state: KeyState,
    /// Goes upstream on request.
    pub metadata: BTreeMap<String, String>,
}

/// What a person is shown of a key's state; the first that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyStatus {
    /// Ended for good.
    Revoked,
    /// Switched off.
    Disabled,
    /// Its time has not come.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// Its time is over within 15 days.
    Expiring,
    /// In force.
    Active,
}

impl KeyStatus {
    /// All of them, in order of precedence.
    pub const ALL: [Self; 6] = [
        Self::Revoked,
        Self::Disabled,
        Self::NotYetValid,
        Self::Expired,
        Self::Expiring,
        Self::Active,
    ];
    const EXPIRING_MILLIS: i64 = 15 * 24 * 60 * 60 * 1000;

    /// The status of a key with this state and these limits of time.
    pub fn of(
        state: KeyState,
        not_before: Option<Timestamp>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        match state {
            KeyState::Revoked => return Self::Revoked,
            KeyState::Disabled => return Self::Disabled,
            KeyState::Active => {}
        }
        if not_before.is_some_and(|start| now < start) {
            return Self::NotYetValid;
        }
        match expires_at {
            Some(end) if now >= end => Self::Expired,
            Some(end) if end.as_millis() - now.as_millis() <= Self::EXPIRING_MILLIS => {
                Self::Expiring
            }
            Some(_) | None => Self::Active,
        }
    }

    /// Name in the API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Disabled => "disabled",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::Expiring => "expiring",
            Self::Active => "active",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scanner() -> regex::Regex {
        regex::Regex::new(SCANNER_REGEX).unwrap()
    }

    proptest! {
        #[test]
        fn every_composed_key_is_native_and_found_by_the_regex(random: [u8; 32]) {
            let format = KeyFormat::default();
            for environment in format.environments() {
                let key = format.compose(environment, &random);
                prop_assert_eq!(format.shape(key.expose().as_bytes()), Shape::Native);
                prop_assert!(scanner().is_match(key.expose()));
                prop_assert!(key.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
                prop_assert_eq!(key.expose().len(), 3 + environment.len() + 1 + BODY_LEN);
            }
        }

        #[test]
        fn any_changed_character_is_noticed(random: [u8; 32], place in 0..57_usize, letter in "[0-9A-Za-z]") {
            let format = KeyFormat::default();
            let key = format.compose("live", &random);
            let mut text = key.expose().to_owned();
            text.replace_range(place..=place, &letter);
            if text != key.expose() {
                prop_assert_ne!(format.shape(text.as_bytes()), Shape::Native);
            }
        }

        #[test]
        fn shape_never_panics(bytes: Vec<u8>) {
            let _ = KeyFormat::default().shape(&bytes);
        }

        #[test]
        fn different_bits_make_different_keys(one: [u8; 32], other: [u8; 32]) {
            let format = KeyFormat::default();
            prop_assert_eq!(one == other,
                format.compose("live", &one).expose() == format.compose("live", &other).expose());
        }

        #[test]
        fn hash_text_round_trips(bytes: Vec<u8>) {
            let hash = KeyHash::of(&bytes);
            prop_assert_eq!(KeyHash::parse(&hash.at_rest()), Ok(hash));
        }
    }

    #[test]
    fn all_bits_set_and_none_fill_43_digits() {
        let format = KeyFormat::default();
        assert!(
            format
                .compose("live", &[0; 32])
                .expose()
                .starts_with(&format!("kg_live_{}", "0".repeat(43)))
        );
        assert_eq!(format.compose("live", &[0xff; 32]).expose().len(), 57);
    }

    #[test]
    fn shapes() {
        let format = KeyFormat::default();
        let admin = format.compose("admin", &[7; 32]);
        let native = format.compose("test", &[7; 32]);
        let longer = format!("{}x", native.expose());
        let cases: [(&str, Shape); 8] = [
            (native.expose(), Shape::Native),
            (&longer, Shape::Malformed),
            (
                &native.expose()[..native.expose().len() - 1],
                Shape::Malformed,
            ),
            (admin.expose(), Shape::Malformed),
            ("kg_live_", Shape::Malformed),
            ("kg_staging_abc", Shape::Foreign),
            ("sk-abc", Shape::Foreign),
            ("", Shape::Foreign),
        ];
        for (text, want) in cases {
            assert_eq!(format.shape(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn the_hint_shows_eight_characters_of_a_native_key() {
        let format = KeyFormat::default();
        let key = format.compose("live", &[9; 32]);
        let body = &key.expose()[8..];
        assert_eq!(
            format.hint(&key),
            format!("kg_live_{}…{}", &body[..4], &body[45..])
        );
        assert_eq!(format.hint(&PlainKey::new("short".into())), "…");
        assert_eq!(
            format.hint(&PlainKey::new("0123456789abcdefghijklmnop".into())),
            "…mnop"
        );
    }

    #[test]
    fn nothing_prints_a_key_or_its_hash() {
        let key = KeyFormat::default().compose("live", &[3; 32]);
        assert!(!format!("{key:?}").contains(&key.expose()[8..]));
        assert!(!format!("{:?}", key.hash()).contains(&key.hash().at_rest()[7..]));
    }

    #[test]
    fn generated_keys_differ_and_need_a_known_environment() {
        let format = KeyFormat::default();
        assert_ne!(
            format.generate("live").unwrap().expose(),
            format.generate("live").unwrap().expose()
        );
        assert!(matches!(
            format.generate("admin"),
            Err(GenerateError::Environment(..))
        ));
    }

    #[test]
    fn formats_refuse_what_would_not_scan() {
        let live = vec![String::from("live")];
        assert_eq!(KeyFormat::new("K", &live), Err(FormatFault::Brand));
        assert_eq!(KeyFormat::new("kg", &[]), Err(FormatFault::NoEnvironment));
        assert_eq!(
            KeyFormat::new("kg", &["admin".into()]),
            Err(FormatFault::AdminEnvironment)
        );
        assert_eq!(
            KeyFormat::new("kg", &["a_b".into()]),
            Err(FormatFault::Environment)
        );
        assert_eq!(KeyFormat::new("acme", &live).unwrap().brand(), "acme");
    }

    #[test]
    fn status_is_the_first_that_applies() {
        let at = Timestamp::from_millis;
        let day = 24 * 60 * 60 * 1000;
        let now = at(100 * day);
        let cases = [
            (KeyState::Revoked, None, Some(at(0)), KeyStatus::Revoked),
            (KeyState::Disabled, None, Some(at(0)), KeyStatus::Disabled),
            (
                KeyState::Active,
                Some(at(101 * day)),
                None,
                KeyStatus::NotYetValid,
            ),
            (KeyState::Active, None, Some(now), KeyStatus::Expired),
            (
                KeyState::Active,
                None,
                Some(at(115 * day)),
                KeyStatus::Expiring,
            ),
            (
                KeyState::Active,
                None,
                Some(at(116 * day)),
                KeyStatus::Active,
            ),
            (KeyState::Active, Some(now), None, KeyStatus::Active),
        ];
        for (state, not_before, expires_at, want) in cases {
            assert_eq!(KeyStatus::of(state, not_before, expires_at, now), want);
        }
    }
}
