//! The look at a head before hyper reads it.

use super::MOST_FIELDS;
use super::answers::end_of_chunks;
use crate::proxy::head_watch::HeadWatch;

/// Bytes of a line that the watch looks at.
const WATCHED: usize = 32;

/// First byte: in pieces of how many. The rest: what a caller sends.
pub fn head_watch(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else {
        return;
    };
    let (mut whole, mut cut) = (HeadWatch::default(), HeadWatch::default());
    let taken = whole.take(bytes);
    assert!(taken <= bytes.len());
    let mut in_pieces = 0;
    for piece in bytes.chunks(1 + usize::from(*step)) {
        in_pieces += cut.take(piece);
        assert!(in_pieces <= bytes.len());
    }
    let facts = |watch: &HeadWatch| (watch.length, watch.coding, watch.bare, watch.fragment);
    let by_hand = ByHand::read(bytes);
    assert_eq!(facts(&whole), facts(&cut), "it depends on how it is cut up");
    assert_eq!(whole.malformed, cut.malformed);
    assert_eq!(whole.is_over(), cut.is_over());
    assert_eq!(taken, in_pieces);
    assert_eq!(facts(&whole), by_hand.facts);
    if whole.is_over() {
        // Names in trailers are for the server to judge.
        let end = by_hand.length(bytes);
        let chunks = by_hand.facts.1;
        assert!(end == Some(taken) || chunks && end.is_none(), "another end");
    } else {
        assert_eq!(taken, bytes.len());
        let ends = by_hand.length(bytes).is_some();
        assert!(whole.malformed || !ends, "an end that was not seen");
    }
    as_the_server_reads_it(bytes, &whole, &by_hand);
}

/// hyper's parser finds the same end and the same framing.
fn as_the_server_reads_it(bytes: &[u8], watch: &HeadWatch, by_hand: &ByHand) {
    let mut slots = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut slots);
    let Ok(httparse::Status::Complete(length)) = parsed.parse(bytes) else {
        return;
    };
    assert_eq!(by_hand.end, Some(length), "another end");
    let has = |name: &str| {
        let mut fields = parsed.headers.iter();
        fields.any(|field| field.name.eq_ignore_ascii_case(name))
    };
    assert_eq!(watch.length, has("content-length"));
    assert_eq!(watch.coding, has("transfer-encoding"));
    assert!(watch.fragment || !parsed.path.unwrap_or_default().contains('#'));
}

/// What the watch finds, read off the whole head.
struct ByHand {
    /// A length, a coding, a bare line feed, a fragment.
    facts: (bool, bool, bool, bool),
    declared: Option<u64>,
    /// Where the head ends.
    end: Option<usize>,
}

impl ByHand {
    fn read(bytes: &[u8]) -> Self {
        let mut found = Self {
            facts: (false, false, false, false),
            declared: None,
            end: None,
        };
        let (mut begun, mut start) = (false, 0);
        while let Some(length) = bytes[start..].iter().position(|byte| *byte == b'\n') {
            let line = &bytes[start..start + length];
            start += length + 1;
            found.facts.2 |= !line.ends_with(b"\r");
            found.facts.3 |= !begun && line.contains(&b'#');
            if matches!(line, b"" | b"\r") {
                if begun {
                    found.end = Some(start);
                    return found;
                }
                continue;
            }
            begun = true;
            found.field(&line[..line.len().min(WATCHED)]);
        }
        found.facts.3 |= !begun && bytes[start..].contains(&b'#');
        found
    }

    fn field(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            self.facts.0 = true;
            let value = std::str::from_utf8(value).ok();
            self.declared = value
                .filter(|_| line.len() < WATCHED)
                .and_then(|value| value.parse().ok());
        }
        self.facts.1 |= name.eq_ignore_ascii_case(b"transfer-encoding");
    }

    /// The length of the request, if all of it is there.
    fn length(&self, bytes: &[u8]) -> Option<usize> {
        let head = self.end?;
        let body = match self.facts {
            (_, true, ..) => end_of_chunks(&bytes[head..])?,
            (true, ..) => usize::try_from(self.declared?).ok()?,
            _ => 0,
        };
        (body <= bytes.len() - head).then_some(head + body)
    }
}
