//! The two readings of a path. Many advisories are one story: the gateway decided on one path, the service behind it
//! acted on another. So a path that can be read in a dangerous way is refused, and any other is matched twice: as it
//! stands, and as a lax service may read it. Only if both find the same route are its bytes passed on, unchanged.

use std::borrow::Cow;

/// Rounds of decoding after the first.
const MOST_ROUNDS: usize = 4;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// `.` or `..` as a segment, in any encoding.
    #[error("the path has a dot segment")]
    DotSegment,
    /// A backslash, raw or encoded.
    #[error("the path has a backslash")]
    Backslash,
    /// A control byte, raw or encoded.
    #[error("the path has a control character")]
    Control,
    /// A `%` without two hex digits.
    #[error("the path has a broken percent-encoding")]
    Escape,
    /// Not UTF-8 once decoded (overlong forms too).
    #[error("the path is not valid UTF-8")]
    Utf8,
    /// `%252f` and its kin.
    #[error("the path has a separator that is encoded twice")]
    DoubleEncoded,
}

/// How a path reads to a lax service: percent-decoded once, parameters (`;…`) cut from each segment, `//` merged.
/// Borrowed when that is the path itself. The raw path stays what is forwarded.
pub fn lax_reading(path: &str) -> Result<Cow<'_, str>, PathFault> {
    match survey(path)? {
        Survey {
            plain: true,
            dots: false,
        } => Ok(Cow::Borrowed(path)),
        Survey {
            plain: true,
            dots: true,
        } => {
            refuse_dot_segments(path)?;
            Ok(Cow::Borrowed(path))
        }
        Survey { plain: false, .. } => {
            refuse_dot_segments(path)?;
            let decoded = decode_once(path.as_bytes())?;
            let decoded = String::from_utf8(decoded).map_err(|_| PathFault::Utf8)?;
            refuse_deeper_encodings(&decoded)?;
            refuse_dot_segments(&decoded)?;
            let read = merge(&decoded);
            refuse_dot_segments(&read)?;
            Ok(Cow::Owned(read))
        }
    }
}

/// How a path reads to a service that decodes it more often than once, or that parses it again once it is decoded, so that a
/// `?` or `#` in it ends it (CVE-2024-38474); `None` where that changes nothing. `read` is a [`lax_reading`], so it has no
/// separators or dot segments that come out of it.
pub fn deeper_reading(read: &str) -> Option<String> {
    let mut current = Cow::Borrowed(read.as_bytes());
    for _ in 0..=MOST_ROUNDS {
        match decode_again(&current) {
            Ok(Some(next)) => current = Cow::Owned(next),
            Ok(None) | Err(_) => break,
        }
    }
    let end = memchr::memchr2(b'?', b'#', &current);
    if end.is_none() && matches!(current, Cow::Borrowed(_)) {
        return None;
    }
    let path = &current[..end.unwrap_or(current.len())];
    Some(merge(&String::from_utf8_lossy(path)))
}

/// What one pass over the bytes tells.
struct Survey {
    /// No byte that a lax service reads differently.
    plain: bool,
    /// A dot right behind a slash: maybe a dot segment.
    dots: bool,
}

fn survey(path: &str) -> Result<Survey, PathFault> {
    let mut seen = Survey {
        plain: true,
        dots: false,
    };
    let mut before = 0_u8;
    for byte in path.bytes() {
        match byte {
            b'%' | b';' => seen.plain = false,
            b'/' if before == b'/' => seen.plain = false,
            b'.' if before == b'/' => seen.dots = true,
            b'\\' => return Err(PathFault::Backslash),
            0..=0x1f | 0x7f => return Err(PathFault::Control),
            _ => {}
        }
        before = byte;
    }
    Ok(seen)
}

fn refuse_dot_segments(path: &str) -> Result<(), PathFault> {
    let segments = path
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or_default());
    if segments
        .into_iter()
        .any(|segment| matches!(segment, "." | ".."))
    {
        return Err(PathFault::DotSegment);
    }
    Ok(())
}

fn decode_once(path: &[u8]) -> Result<Vec<u8>, PathFault> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let value = escape(rest).ok_or(PathFault::Escape)?;
        rest = &rest[2..];
        match value {
            b'\\' => return Err(PathFault::Backslash),
            0..=0x1f | 0x7f => return Err(PathFault::Control),
            _ => decoded.push(value),
        }
    }
    Ok(decoded)
}

/// The byte that two hex digits stand for.
fn escape(digits: &[u8]) -> Option<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let byte = value(*digits.first()?)? * 16 + value(*digits.get(1)?)?;
    u8::try_from(byte).ok()
}

/// A decoded path may hold `%` as data (`100%25`), but no separator, dot segment or control byte may come out of
/// decoding it again. What is encoded more often than anybody does by mistake is refused: each round reads the whole
/// path, so their number must not be the caller's choice.
fn refuse_deeper_encodings(decoded: &str) -> Result<(), PathFault> {
    let mut current = Cow::Borrowed(decoded.as_bytes());
    for _ in 0..MOST_ROUNDS {
        match decode_again(&current)? {
            Some(next) => current = Cow::Owned(next),
            None => {
                return std::str::from_utf8(&current)
                    .map_err(|_| PathFault::Utf8)
                    .and_then(refuse_dot_segments);
            }
        }
    }
    Err(PathFault::DoubleEncoded)
}

/// One more round of decoding, with `%` kept where no escape follows; `None` when nothing was decoded.
fn decode_again(bytes: &[u8]) -> Result<Option<Vec<u8>>, PathFault> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut changed = false;
    let mut at = 0;
    while at < bytes.len() {
        match escape(bytes.get(at + 1..).unwrap_or_default()) {
            Some(value) if bytes[at] == b'%' => {
                if matches!(value, b'/' | b'\\' | 0..=0x1f | 0x7f) {
                    return Err(PathFault::DoubleEncoded);
                }
                decoded.push(value);
                changed = true;
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    Ok(changed.then_some(decoded))
}

/// Cuts parameters from each segment, then merges slashes.
fn merge(path: &str) -> String {
    let mut read = String::with_capacity(path.len());
    for segment in path.split('/').skip(1) {
        let name = segment.split(';').next().unwrap_or_default();
        if !read.ends_with('/') {
            read.push('/');
        }
        read.push_str(name);
    }
    read
}

/// Cuts a configured prefix (no trailing slash) from a path, at a segment border only; what is left begins with `/` and
/// keeps its bytes. `None` when the prefix does not stand there. A path that has been read without fault has no dot
/// segment, so none is left behind either.
pub fn strip_prefix<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    match rest.as_bytes() {
        [] => Some("/"),
        [b'/', ..] => Some(rest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_data_stays_data() {
        let cases = [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a%2Fb", "/a/b"),
            ("/a//b", "/a/b"),
            ("//a", "/a"),
            ("/a/", "/a/"),
            ("/a//", "/a/"),
            ("/a;x=1/b;y", "/a/b"),
            ("/100%25", "/100%"),
            ("/%25zz", "/%zz"),
            ("/a.b/..c/...", "/a.b/..c/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/%C3%A9", "/é"),
            ("/é", "/é"),
            ("/a%3Fb", "/a?b"),
            ("/%2541", "/%41"),
        ];
        for (path, want) in cases {
            assert_eq!(lax_reading(path).as_deref(), Ok(want), "{path}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        use PathFault::*;
        let cases = [
            ("/a/../b", DotSegment),
            ("/..", DotSegment),
            ("/./a", DotSegment),
            ("/a/%2e%2e/b", DotSegment),
            ("/a/.%2E/b", DotSegment),
            ("/%2e", DotSegment),
            ("/a/..;/b", DotSegment),
            ("/a/..;x=1", DotSegment),
            ("/a%2f..%2fb", DotSegment),
            ("/a/%2e%2e;/b", DotSegment),
            ("/a/..%3b/b", DotSegment),
            ("/a/%252e%252e/b", DotSegment),
            ("/a/%25252e./b", DotSegment),
            ("/a\\b", Backslash),
            ("/a%5cb", Backslash),
            ("/a%5Cb", Backslash),
            ("/a%00", Control),
            ("/a%0d%0ab", Control),
            ("/a%7f", Control),
            ("/a\u{1}b", Control),
            ("/a%", Escape),
            ("/a%2", Escape),
            ("/a%zz", Escape),
            ("/%c0%af", Utf8),
            ("/%e0%80%af", Utf8),
            ("/%ff", Utf8),
            ("/a%252fb", DoubleEncoded),
            ("/a%252Fb", DoubleEncoded),
            ("/a%255cb", DoubleEncoded),
            ("/a%25252fb", DoubleEncoded),
            ("/a%2500b", DoubleEncoded),
            ("/a%25%32%66b", DoubleEncoded),
        ];
        for (path, want) in cases {
            assert_eq!(lax_reading(path), Err(want), "{path}");
        }
    }

    #[test]
    fn letters_that_are_encoded_twice_are_read_too() {
        assert_eq!(deeper_reading("/%61dmin;x/y").as_deref(), Some("/admin/y"));
        assert_eq!(deeper_reading("/%2561").as_deref(), Some("/a"));
        assert_eq!(deeper_reading("/admin"), None);
        assert_eq!(deeper_reading("/admin?x").as_deref(), Some("/admin"));
        assert_eq!(deeper_reading("/a/%23b").as_deref(), Some("/a/"));
        assert_eq!(deeper_reading("/100%"), None);
    }

    #[test]
    fn no_number_of_encodings_costs_more_than_a_few_rounds() {
        let path = format!("/%{}", "25".repeat(4000));
        assert_eq!(lax_reading(&path), Err(PathFault::DoubleEncoded));
        assert_eq!(lax_reading("/%252541").as_deref(), Ok("/%2541"));
    }

    #[test]
    fn strips_at_segment_borders_only() {
        assert_eq!(strip_prefix("/openai/v1", "/openai"), Some("/v1"));
        assert_eq!(strip_prefix("/openai", "/openai"), Some("/"));
        assert_eq!(strip_prefix("/openai/", "/openai"), Some("/"));
        assert_eq!(strip_prefix("/openaix", "/openai"), None);
        assert_eq!(strip_prefix("/openai//v1", "/openai"), Some("//v1"));
        assert_eq!(strip_prefix("/other", "/openai"), None);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_reading_without_dot_segments_or_a_fault(path in "/[ -~é%/.;\\\\]{0,30}") {
            if let Ok(read) = lax_reading(&path) {
                prop_assert!(read.split('/').all(|segment| segment != "." && segment != ".."));
                prop_assert!(read.starts_with('/'));
            }
        }

        #[test]
        fn no_number_of_encodings_hides_a_parent_segment(times in 0_usize..6) {
            let dots = (0..times).fold(String::from("%2e%2e"), |text, _| text.replace('%', "%25"));
            let path = format!("/a/{dots}/b");
            prop_assert!(lax_reading(&path).is_err());
        }
    }
}
