//! Paths of routes, which are compared with decoded request paths, so they must have one spelling only; and paths of the
//! file system, which end up absolute.

use std::path::{Path, PathBuf};

/// A path without anything that two readers could take differently.
pub(crate) fn canonical(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("a path must begin with `/`".into());
    }
    if text.contains('%') {
        return Err("a path must not contain `%`: write it decoded".into());
    }
    let odd = |byte: u8| !byte.is_ascii_graphic() || b"?#;\\".contains(&byte);
    if text.bytes().any(odd) {
        return Err("a path is printable ASCII without space ? # ; and backslash".into());
    }
    if text.contains("//") {
        return Err("a path must not contain `//`".into());
    }
    if text
        .split('/')
        .any(|segment| [".", ".."].contains(&segment))
    {
        return Err("a path must not contain the segments `.` and `..`".into());
    }
    Ok(text.into())
}

/// A prefix that is cut off: not empty, without its trailing slash.
pub(crate) fn strip_prefix(text: &str) -> Result<String, String> {
    match canonical(text)?.trim_end_matches('/') {
        "" => Err("`/` cuts nothing off: leave `strip_prefix` out".into()),
        prefix => Ok(prefix.into()),
    }
}

/// Whether `path` is `prefix` or below it, at a segment border; `prefix` has no trailing slash.
pub(crate) fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A folder; a relative one is below the folder of the config file.
pub(crate) fn folder(text: &str, base: &Path) -> Result<PathBuf, String> {
    match super::plain(text)?.as_str() {
        "" => Err("expected the path of a folder".into()),
        path => absolute(path, base),
    }
}

/// Where the file system is left to itself: nothing has to be there yet.
pub(super) fn absolute(path: &str, base: &Path) -> Result<PathBuf, String> {
    std::path::absolute(base.join(path)).map_err(|fault| fault.to_string())
}
