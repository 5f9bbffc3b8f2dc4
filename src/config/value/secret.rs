//! Secrets stand outside the config file: `file:path` or `env:NAME`. No complaint here shows what was given instead.

use crate::domain::secret::Secret;
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
