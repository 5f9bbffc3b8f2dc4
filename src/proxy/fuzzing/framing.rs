//! Where a request ends, as the parser and as a slow reader see it.

use super::requests::LIMITS;
use crate::proxy::http1::head::{self, Framing};
use crate::proxy::request::Head;

/// What a caller sends.
pub fn request_framing(data: &[u8]) {
    let Some(limits) = LIMITS.as_ref() else {
        return;
    };
    let parse = |bytes: &[u8]| head::parse(bytes, limits, &mut Head::unread());
    let Ok(Some(found)) = parse(data) else {
        return;
    };
    assert!(found.length <= data.len(), "bytes that have not come");
    for end in (0..found.length).step_by(1 + found.length / 64) {
        assert!(matches!(parse(&data[..end]), Ok(None)), "after {end}");
        let ends = head::may_end(&data[..found.length], end);
        assert!(ends, "an end that would not be seen behind {end}");
    }
    let by_hand = ByHand::read(&data[..found.length]);
    assert_eq!(by_hand.end, Some(found.length), "another end");
    assert!(!by_hand.bare && !by_hand.fragment, "{by_hand:?}");
    assert!(!by_hand.chunked || by_hand.length.is_none(), "two framings");
    let framing = if by_hand.chunked {
        Framing::Chunked
    } else {
        Framing::Length(by_hand.length.unwrap_or_default())
    };
    assert_eq!(found.framing, framing);
}

/// What a head says about its body, line by line.
#[derive(Debug, Default)]
struct ByHand {
    length: Option<u64>,
    chunked: bool,
    /// A line feed without a carriage return.
    bare: bool,
    /// In the target.
    fragment: bool,
    end: Option<usize>,
}

impl ByHand {
    fn read(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        let (mut begun, mut start) = (false, 0);
        while let Some(length) = bytes[start..].iter().position(|byte| *byte == b'\n') {
            let line = &bytes[start..start + length];
            start += length + 1;
            found.bare |= !line.ends_with(b"\r");
            found.fragment |= !begun && line.contains(&b'#');
            if matches!(line, b"" | b"\r") {
                if begun {
                    found.end = Some(start);
                    return found;
                }
                continue;
            }
            begun = true;
            found.field(line);
        }
        found
    }

    fn field(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = std::str::from_utf8(value).ok();
            self.length = value.and_then(|value| value.parse().ok());
            assert!(self.length.is_some(), "a length that is none");
        }
        self.chunked |= name.eq_ignore_ascii_case(b"transfer-encoding");
    }
}
