//! The host of a request: one valid `uri-host [":" port]` (RFC 9110 §7.2, RFC 3986 §3.2.2), or the request is refused.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// Why a `Host` is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host is not valid")]
pub struct HostFault;

/// The name in a `Host` value, lower case, without port and without a trailing dot; IPv6 in its shortest form,
/// in brackets.
pub fn host_name(value: &str) -> Result<Cow<'_, str>, HostFault> {
    if let Some(rest) = value.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(HostFault)?;
        let address: Ipv6Addr = address.parse().map_err(|_| HostFault)?;
        if !after.is_empty() {
            port(Some(after.strip_prefix(':').ok_or(HostFault)?))?;
        }
        // One address, one spelling: `[0:0::1]` is `[::1]`.
        return Ok(Cow::Owned(format!("[{address}]")));
    }
    let (name, after) = match memchr::memchr(b':', value.as_bytes()) {
        Some(colon) => (&value[..colon], Some(&value[colon + 1..])),
        None => (value, None),
    };
    port(after)?;
    let has_capitals = registered_name(name)?;
    let name = name.strip_suffix('.').unwrap_or(name);
    Ok(if has_capitals {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

fn port(digits: Option<&str>) -> Result<(), HostFault> {
    let Some(digits) = digits else { return Ok(()) };
    let number = digits.bytes().try_fold(0, |number: u32, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        Some((number * 10 + digit).min(u32::from(u16::MAX) + 1))
    });
    match number {
        Some(number) if u16::try_from(number).is_ok() && !digits.is_empty() => Ok(()),
        Some(_) | None => Err(HostFault),
    }
}

/// Letters, digits, `-`, `_` and `.`: what real names are made of, and whether there are capitals. RFC 3986 would also
/// allow escapes and sub-delims, which no resolver knows and which have hidden attacks. One pass: this is on every request.
fn registered_name(name: &str) -> Result<bool, HostFault> {
    let absolute = name.strip_suffix('.').unwrap_or(name).as_bytes();
    let (mut label, mut kinds) = (0, 0);
    let ends = |label, at| (1..=LONGEST_LABEL).contains(&(at - label));
    for (at, byte) in absolute.iter().enumerate() {
        let kind = KINDS[usize::from(*byte)];
        kinds |= kind;
        if kind == BAD || kind == DOT && !ends(label, at) {
            return Err(HostFault);
        }
        if kind == DOT {
            label = at + 1;
        }
    }
    if !ends(label, absolute.len()) || name.len() > LONGEST_NAME {
        return Err(HostFault);
    }
    Ok(kinds & CAPITAL != 0)
}

const LONGEST_LABEL: usize = 63;
const LONGEST_NAME: usize = 254;
const BAD: u8 = 0;
const LETTER: u8 = 1;
const CAPITAL: u8 = 2;
const DOT: u8 = 4;

/// What each byte is to a name.
const KINDS: [u8; 256] = {
    let mut kinds = [BAD; 256];
    let mut byte = 0;
    while byte < 128 {
        kinds[byte as usize] = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => LETTER,
            b'A'..=b'Z' => CAPITAL,
            b'.' => DOT,
            _ => BAD,
        };
        byte += 1;
    }
    kinds
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn valid_hosts() {
        let cases = [
            ("example.com", "example.com"),
            ("EXAMPLE.com:8080", "example.com"),
            ("example.com.", "example.com"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[::1]:8080", "[::1]"),
            ("[0:0::1]", "[::1]"),
            ("my_service", "my_service"),
            ("localhost:0", "localhost"),
        ];
        for (value, want) in cases {
            assert_eq!(host_name(value).as_deref(), Ok(want), "{value}");
        }
    }

    #[test]
    fn refused_hosts() {
        for value in [
            "",
            ":80",
            "a:",
            "a:x",
            "a:99999",
            "a b",
            "a/b",
            "user@a",
            "a:80/#@evil",
            "[::1",
            "[::1]x",
            "[zz]",
            "a..b",
            ".a",
            "a,b",
            "a%2eb",
            "a\\b",
            "é",
            "a:80:80",
            "[::1]:",
            ".",
        ] {
            assert_eq!(host_name(value), Err(HostFault), "{value}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(value in ".{0,40}") {
            let _ = host_name(&value);
        }
    }
}
