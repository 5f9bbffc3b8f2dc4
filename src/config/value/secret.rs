//! Secrets stand outside the config file: `file:path` or `env:NAME`. No complaint here shows what was given instead.

use crate::domain::secret::Secret;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Most bytes of a file that holds a secret.
const MAX_BYTES: u64 = 64 * 1024;
const EXPECTED: &str = "a secret is given as `file:path` or `env:NAME`, never in this file";

/// The secret that a reference names, and the file it should be in.
pub(crate) fn secret(
    reference: &str,
    folder: &Path,
) -> (Result<Secret<String>, String>, Option<PathBuf>) {
    if let Some(name) = reference.strip_prefix("env:") {
        return (from_environment(name), None);
    }
    match reference.strip_prefix("file:") {
        Some("") | None => (Err(EXPECTED.into()), None),
        Some(path) => {
            let path = folder.join(path);
            (from_file(&path), Some(path))
        }
    }
}

/// 256 bits, as 64 hex digits or as base64.
pub(crate) fn master_key(text: &str) -> Result<Secret<[u8; 32]>, String> {
    // Wiped here; room for the three bytes that base64 may put behind.
    let mut bytes = Zeroizing::new([0; 35]);
    let length = match text.len() {
        64 => hex(text, &mut bytes[..32]).map(|()| 32),
        _ => BASE64_STANDARD.decode_slice(text, &mut bytes[..]).ok(),
    };
    match (length, bytes.first_chunk()) {
        (Some(32), Some(key)) => Ok(Secret::new(*key)),
        (_, _) => Err(
            "expected a key of 32 bytes there: 64 hex digits, or 44 characters of base64".into(),
        ),
    }
}

fn hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |place: usize| char::from(digits[place]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where `env:` references are read"
)]
fn from_environment(name: &str) -> Result<Secret<String>, String> {
    let fits = name
        .bytes()
        .next()
        .is_some_and(|byte| !byte.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !fits {
        return Err(EXPECTED.into());
    }
    let value = std::env::var(name).map_err(|fault| match fault {
        std::env::VarError::NotPresent => format!("environment variable `{name}` is not set"),
        std::env::VarError::NotUnicode(_) => format!("environment variable `{name}` is not UTF-8"),
    })?;
    if value.is_empty() {
        return Err(format!("environment variable `{name}` is empty"));
    }
    Ok(Secret::new(value))
}

fn from_file(path: &Path) -> Result<Secret<String>, String> {
    let shown = path.display();
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|fault| format!("{shown}: {fault}"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("{shown}: larger than 64 KiB"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{shown}: not UTF-8"))?;
    match text.trim_end_matches(['\n', '\r']) {
        "" => Err(format!("{shown}: empty")),
        text => Ok(Secret::new(text.to_owned())),
    }
}
