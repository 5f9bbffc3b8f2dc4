//! Paths: whatever is passed on means to the service what it meant here.

use super::decoded;
use crate::domain::path::{lax_reading, strip_prefix};

/// Any text as a path; what stands before the first space is a prefix to cut off.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (prefix, path) = text.split_once(' ').unwrap_or(("", text));
    // Those of requests begin so, but for `*`.
    if !path.starts_with('/') {
        return;
    }
    let Ok(read) = lax_reading(path) else { return };
    no_reader_climbs(path);
    no_reader_climbs(&read);
    assert!(read.starts_with('/'), "{read:?}");
    // `%` is data by now, and would be taken for an escape.
    if !read.contains('%') {
        assert_eq!(lax_reading(&read).as_deref(), Ok(&*read), "read twice");
    }
    if let Some(rest) = strip_prefix(path, prefix) {
        assert!(rest.starts_with('/'), "{rest:?}");
        let whole = format!("{prefix}{rest}");
        assert!(whole == path || rest == "/" && prefix == path, "{whole:?}");
        no_reader_climbs(rest);
    }
}

/// However often a service decodes, and whatever it takes for a separator, it finds no dot segment and no control byte.
fn no_reader_climbs(path: &str) {
    let mut bytes = path.as_bytes().to_vec();
    loop {
        let segments = bytes.split(|byte| matches!(byte, b'/' | b'\\'));
        for segment in segments {
            let name = segment.split(|byte| *byte == b';').next();
            let climbs = matches!(name, Some(b"." | b".."));
            assert!(!climbs, "dot segment in {path:?}");
        }
        let control = bytes.iter().any(|byte| *byte < 0x20 || *byte == 0x7f);
        assert!(!control, "control byte in {path:?}");
        let next = decoded(&bytes);
        if next == bytes {
            return;
        }
        bytes = next;
    }
}
