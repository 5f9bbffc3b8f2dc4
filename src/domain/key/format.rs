//! The text form of native keys: `kg_<env>_<43 base62 = 256 random bits><6 base62 CRC32>`. The checksum covers everything
//! before it, so that a mistyped key is refused before any hash or lookup.

use super::PlainKey;
use zeroize::{Zeroize, Zeroizing};

/// One expression that finds every native key and admin token of a default installation, for secret scanners.
pub const SCANNER_REGEX: &str = r"\bkg_[a-z0-9]{1,16}_[0-9A-Za-z]{49}\b";
/// Characters of a native key after `kg_<env>_`.
pub const BODY_LEN: usize = RANDOM_LEN + CHECKSUM_LEN;
/// The environment that belongs to the admin API; no data key ever has it.
pub const ADMIN_ENVIRONMENT: &str = "admin";
/// The environment of sessions of the admin API; no key has it.
pub(super) const SESSION_ENVIRONMENT: &str = "session";

const RANDOM_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;
const HINT_ENDS: usize = 4;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

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
        let reserved = [ADMIN_ENVIRONMENT, SESSION_ENVIRONMENT];
        if environments.iter().any(|name| reserved.contains(&&**name)) {
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

    /// Makes a token for the admin API: in the form of a key, of an environment that no key has.
    pub fn generate_admin(&self) -> Result<PlainKey, GenerateError> {
        self.generate_reserved(ADMIN_ENVIRONMENT)
    }

    /// Makes the secret of a session of the admin API.
    pub fn generate_session(&self) -> Result<PlainKey, GenerateError> {
        self.generate_reserved(SESSION_ENVIRONMENT)
    }

    fn generate_reserved(&self, environment: &str) -> Result<PlainKey, GenerateError> {
        let mut random = Zeroizing::new([0_u8; 32]);
        getrandom::fill(&mut random[..])
            .map_err(|fault| GenerateError::Randomness(fault.to_string()))?;
        Ok(self.compose(environment, &random))
    }

    /// What a secret of the admin API is; `None`: nothing of the kind, or with a wrong checksum.
    pub fn admin_shape(&self, presented: &[u8]) -> Option<AdminSecret> {
        let rest = presented.strip_prefix(self.prefix.as_bytes())?;
        let border = rest.iter().position(|byte| *byte == b'_')?;
        let (environment, body) = (&rest[..border], &rest[border + 1..]);
        let kind = match environment {
            name if name == ADMIN_ENVIRONMENT.as_bytes() => AdminSecret::Token,
            name if name == SESSION_ENVIRONMENT.as_bytes() => AdminSecret::Session,
            _ => return None,
        };
        if body.len() != BODY_LEN || !body.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let (covered, sum) = presented.split_at(presented.len() - CHECKSUM_LEN);
        (checksum(covered) == sum).then_some(kind)
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
        if environment == ADMIN_ENVIRONMENT.as_bytes()
            || environment == SESSION_ENVIRONMENT.as_bytes()
        {
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
        let own = self.shape(text.as_bytes()) == Shape::Native;
        if own || self.admin_shape(text.as_bytes()).is_some() {
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

/// A secret of the admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminSecret {
    /// An admin token.
    Token,
    /// A member's session.
    Session,
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
    #[error("`admin` and `session` are reserved for the admin API")]
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
