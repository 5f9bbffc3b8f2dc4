//! Looks for secrets, in every form that they may have taken on.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use keygate::domain::key::PlainKey;
use serde_json::json;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Where secrets are found, and in which form. A hash belongs into the store, and nowhere else.
pub(super) fn search(
    secrets: &[(&'static str, String)],
    place: &str,
    bytes: &[u8],
    hashes: bool,
) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut found = Vec::new();
    for (name, secret) in secrets {
        let mut forms = vec![("raw", secret.clone()), ("escaped", escaped(secret))];
        forms.push(("escaped in small letters", escaped(secret).to_lowercase()));
        forms.push((
            "as JSON",
            json!(secret).to_string().trim_matches('"').to_owned(),
        ));
        forms.push((
            "as hex",
            secret
                .bytes()
                .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}")),
        ));
        for engine in [&STANDARD, &URL_SAFE] {
            for skip in 0..3 {
                let part = &secret.as_bytes()[skip..];
                let part = &part[..part.len() - part.len() % 3];
                forms.push(("base64", engine.encode(part)));
            }
        }
        if hashes {
            let hash = PlainKey::new(secret.clone()).hash().at_rest();
            forms.push(("its hash", hash.trim_start_matches("blake3:").to_owned()));
        }
        for (form, needle) in forms {
            if let Some(at) = text.find(&needle) {
                let around: String = text[..at].chars().rev().take(120).collect();
                let around: String = around.chars().rev().collect();
                found.push(format!("{name}, {form}, in {place}, behind: {around}"));
            }
        }
        let inner = secret
            .strip_prefix("whsec_")
            .and_then(|text| STANDARD.decode(text).ok());
        if inner.is_some_and(|inner| bytes.windows(inner.len()).any(|part| part == inner)) {
            found.push(format!("{name}, as bytes, in {place}"));
        }
    }
    found
}

/// Looks into every file of a folder, one of which has this name.
pub(super) fn search_files(
    secrets: &[(&'static str, String)],
    folder: &Path,
    one: &str,
) -> Vec<String> {
    let mut files = Vec::new();
    walk(folder, &mut files);
    assert!(
        files.iter().any(|file| file.ends_with(one)),
        "{one}: {files:?}"
    );
    files.retain(|file| !file.ends_with("master.key"));
    let look = |file: &PathBuf| {
        let place = file.display().to_string();
        search(secrets, &place, &std::fs::read(file).unwrap(), false)
    };
    files.iter().flat_map(look).collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            walk(&entry.path(), files);
        } else {
            files.push(entry.path());
        }
    }
}

/// Percent-encoded, all but letters and digits.
pub(super) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
