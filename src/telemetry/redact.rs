//! The one redactor in front of every log sink. Our own code logs no secret in the first place; this is the second
//! lock, for texts that others wrote (paths, error messages).

use crate::domain::key::BODY_LEN;
use std::borrow::Cow;

const MASK: &str = "[redacted]";
/// A key's random part is longer than any word that follows an underscore by chance.
const LEAST_SECRET: usize = 20;
/// What announces a secret: the schemes of RFC 9110 §11.6.2, and parameters that carry keys.
const ANNOUNCEMENTS: [&str; 9] = [
    "bearer ",
    "basic ",
    "api_key=",
    "api-key=",
    "apikey=",
    "api%5fkey=",
    "access_token=",
    "token=",
    "x-api-key: ",
];

/// Masks every native-looking key (`<brand>_<env>_<many letters>`), also of another brand, and every value behind a word
/// that announces one.
pub fn redact<'a>(text: &'a str, brand: &str) -> Cow<'a, str> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let lower = text.to_ascii_lowercase();
    let keys = lower
        .match_indices(brand)
        .filter_map(|(at, _)| native_span(&lower, at, brand));
    found.extend(keys);
    found.extend(
        lower
            .match_indices('_')
            .filter_map(|(at, _)| body_span(&lower, at)),
    );
    for word in ANNOUNCEMENTS {
        // A match inside a value that is masked already needs no second look: the text is read once per word.
        let mut masked = 0;
        for (at, _) in lower.match_indices(word) {
            let start = at + word.len();
            if start > masked {
                masked = value_end(&lower, start);
                found.push((start, masked));
            }
        }
    }
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    found.retain(|(start, end)| start < end);
    found.sort_unstable();
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (start, end) in found {
        if end <= done {
            continue;
        }
        out.push_str(&text[done..start.max(done)]);
        out.push_str(MASK);
        done = end;
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// `<brand>_<env>_` and at least [`LEAST_SECRET`] letters or digits: the span of the last part.
fn native_span(text: &str, at: usize, brand: &str) -> Option<(usize, usize)> {
    let rest = text[at + brand.len()..].strip_prefix('_')?;
    let environment = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let body = rest[environment..].strip_prefix('_')?;
    let len = body.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let start = text.len() - body.len();
    (len >= LEAST_SECRET).then_some((start, start + len))
}

/// The body of a native key of any brand behind an underscore: as many letters and digits as such a body has.
fn body_span(text: &str, underscore: usize) -> Option<(usize, usize)> {
    let start = underscore + 1;
    let len = text[start..]
        .bytes()
        .take_while(u8::is_ascii_alphanumeric)
        .take(BODY_LEN + 1)
        .count();
    (len == BODY_LEN).then_some((start, start + len))
}

/// Where a value ends: at a space, a quote, a separator or the text's end.
fn value_end(text: &str, start: usize) -> usize {
    let ends = |byte: u8| {
        byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'&' | b',' | b';' | b'\\')
    };
    text.bytes()
        .skip(start)
        .position(ends)
        .map_or(text.len(), |len| start + len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "kg_live_0123456789abcdefghijABCDEFGHIJ0123456789abcdefghi";

    #[test]
    fn keys_and_announced_values_are_masked() {
        let cases = [
            (
                format!("GET /a?x={KEY}&y=1"),
                "GET /a?x=kg_live_[redacted]&y=1",
            ),
            (
                format!("{KEY} {KEY}"),
                "kg_live_[redacted] kg_live_[redacted]",
            ),
            (
                "Authorization: BEARER abc.def, x".into(),
                "Authorization: BEARER [redacted], x",
            ),
            ("/p?API_KEY=hunter2&z".into(), "/p?API_KEY=[redacted]&z"),
            (
                "authorization basic dXNlcg== end".into(),
                "authorization basic [redacted] end",
            ),
            (
                "nothing kg_live_ to hide".into(),
                "nothing kg_live_ to hide",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(redact(&text, "kg"), want);
        }
    }

    #[test]
    fn a_text_of_announcements_is_masked_in_one_go() {
        assert_eq!(redact(&"token=".repeat(20_000), "kg"), "token=[redacted]");
    }

    proptest! {
        #[test]
        fn no_text_around_a_key_lets_it_through(before in ".{0,20}", after in ".{0,20}") {
            let text = format!("{before}{KEY}{after}");
            prop_assert!(!redact(&text, "kg").contains(&KEY[8..]));
        }
    }
}
