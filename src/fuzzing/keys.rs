//! Keys: what looks like one of ours, and how little is shown of any.

use crate::domain::key::{BODY_LEN, KeyFormat, KeyHash, PlainKey, Shape};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Any text as a presented key, as a hash at rest, and as brand, environment and random bits of a key that is made.
pub fn key_format(data: &[u8]) {
    let format = KeyFormat::default();
    assert_eq!(format.shape(data), shape_by_hand(data), "shape");
    if format.admin_shape(data).is_some() {
        assert_eq!(
            format.shape(data),
            Shape::Malformed,
            "no key of the data plane"
        );
    }
    if let Ok(text) = std::str::from_utf8(data) {
        little_is_shown(&format, &PlainKey::new(text.into()));
        hash_at_rest(text);
    }
    let random = KeyHash::of(data);
    let key = format.compose("live", random.as_bytes());
    little_is_shown(&format, &key);
    a_slip_is_noticed(&format, &key, data);
    named_by_the_caller(data, &random);
}

/// Brand and environments between commas.
fn named_by_the_caller(data: &[u8], random: &KeyHash) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut names = text.split(',').map(String::from);
    let brand = names.next().unwrap_or_default();
    let environments: Vec<String> = names.collect();
    let Ok(format) = KeyFormat::new(&brand, &environments) else {
        return;
    };
    for environment in &environments {
        let key = format.compose(environment, random.as_bytes());
        assert_eq!(format.shape(key.expose().as_bytes()), Shape::Native);
        little_is_shown(&format, &key);
    }
}

/// The hint is all that is ever shown: eight of the 49 characters of a native key, four of any other.
fn little_is_shown(format: &KeyFormat, key: &PlainKey) {
    let (text, hint) = (key.expose(), format.hint(key));
    let bytes = text.as_bytes();
    let own = format.shape(bytes) == Shape::Native || format.admin_shape(bytes).is_some();
    let shown = hint.chars().filter(|shown| *shown != '…').count();
    let head = if own { text.len() - BODY_LEN } else { 0 };
    let most = if own { head + 8 } else { 4 };
    assert!(shown <= most, "the hint shows {shown} characters");
    if !own && text.chars().count() < 24 {
        assert_eq!(hint, "…", "a short key is not shown at all");
    }
    assert!(
        text.is_empty() || text == "…" || hint != text,
        "the hint is the key"
    );
    let debug = format!("{key:?} {:?}", key.hash());
    assert_eq!(debug, "PlainKey([redacted]) KeyHash([redacted])");
}

/// One other character anywhere in the body makes it no key.
fn a_slip_is_noticed(format: &KeyFormat, key: &PlainKey, data: &[u8]) {
    let mut text = key.expose().as_bytes().to_vec();
    assert_eq!(format.shape(&text), Shape::Native);
    let (place, other) = match data {
        [place, other, ..] => (usize::from(*place), usize::from(*other)),
        _ => (0, 0),
    };
    let place = text.len() - 1 - place % BODY_LEN;
    let other = BASE62[other % 62];
    if text[place] != other {
        text[place] = other;
        assert_eq!(format.shape(&text), Shape::Malformed, "at {place}");
    }
}

fn hash_at_rest(text: &str) {
    if let Ok((hash, algorithm)) = KeyHash::parse_any(text) {
        let said = hash.at_rest_as(algorithm);
        assert!(said.eq_ignore_ascii_case(text), "another hash");
        assert_eq!(KeyHash::parse_any(&said), Ok((hash, algorithm)));
    }
    if let Ok(hash) = KeyHash::parse(text) {
        assert!(hash.at_rest().eq_ignore_ascii_case(text), "another hash");
        assert!(text.starts_with("blake3:"));
    }
}

/// What [`KeyFormat::shape`] says of a default installation, the slow way.
fn shape_by_hand(presented: &[u8]) -> Shape {
    let mut parts = presented.splitn(3, |byte| *byte == b'_');
    let (brand, environment, body) = (parts.next(), parts.next(), parts.next());
    let (Some(b"kg"), Some(environment), Some(body)) = (brand, environment, body) else {
        return Shape::Foreign;
    };
    match environment {
        b"admin" | b"session" => return Shape::Malformed,
        b"live" | b"test" => {}
        _ => return Shape::Foreign,
    }
    let whole = body.len() == 49 && body.iter().all(|byte| BASE62.contains(byte));
    if !whole {
        return Shape::Malformed;
    }
    let (covered, sum) = presented.split_at(presented.len() - 6);
    let said = sum.iter().fold(0_u64, |sum, byte| {
        let digit = BASE62.iter().position(|one| one == byte);
        sum * 62 + digit.unwrap_or_default() as u64
    });
    if said == u64::from(crc32(covered)) {
        Shape::Native
    } else {
        Shape::Malformed
    }
}

/// CRC32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1 == 1;
            crc >>= 1;
            if carry {
                crc ^= 0xedb8_8320;
            }
        }
    }
    !crc
}
