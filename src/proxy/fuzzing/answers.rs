//! Answers of a service: the head, and a body in chunks.

use super::is_any;
use crate::proxy::upstream::answer::{self, Framing, Malformed};
use crate::proxy::upstream::chunked::{Decoder, Piece};
use bytes::BytesMut;
use http::Method;
use http::header::{CONTENT_LENGTH, HeaderMap};

/// For one hop, or ours to say.
const STAYS_HERE: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// First byte: what was asked. The rest: what the service sends.
pub fn answer_head(data: &[u8]) {
    let Some((asked, bytes)) = data.split_first() else {
        return;
    };
    let method = [Method::GET, Method::HEAD, Method::POST][usize::from(asked % 3)].clone();
    let upgrades = asked & 0x80 != 0;
    let mut buffer = BytesMut::from(bytes);
    let taken = answer::take(&mut buffer, (&method, upgrades), Vec::new);
    let Ok(Some(head)) = taken else {
        // What is not there yet is left alone.
        assert!(taken.is_err() || buffer == bytes);
        return;
    };
    let length = bytes.len() - buffer.len();
    assert_eq!(buffer, bytes[length..], "bytes of the body");
    for end in (0..length).step_by(1 + length / 64) {
        let part = answer::take(
            &mut BytesMut::from(&bytes[..end]),
            (&method, upgrades),
            Vec::new,
        );
        assert!(matches!(part, Ok(None)), "after {end} of {length}");
    }
    let text = &bytes[..length];
    clean(&head.lines.to_map(), text);
    framed(&head, text, (&method, upgrades));
}

/// The lines of a head that has been found to be one, but for the first: name and value.
fn lines(head: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut begun = false;
    for line in head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        if begun && let Some(colon) = line.iter().position(|byte| *byte == b':') {
            let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
            found.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
        begun |= !line.is_empty();
    }
    found
}

fn clean(headers: &HeaderMap, text: &[u8]) {
    let lines = lines(text);
    for (name, value) in headers {
        assert!(!STAYS_HERE.contains(&name.as_str()), "{name} is passed on");
        let bytes = value.as_bytes();
        assert!(
            !bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
            "{name}: {value:?}"
        );
        let said = lines
            .iter()
            .any(|line| line.0 == name.as_str() && line.1 == bytes.trim_ascii());
        assert!(said, "{name}: {value:?} was not said");
    }
    for (name, value) in &lines {
        for option in value
            .split(|byte| *byte == b',')
            .filter(|_| name == "connection")
        {
            let option = String::from_utf8_lossy(option.trim_ascii()).to_ascii_lowercase();
            // No field can have this name (RFC 9110 §16.3.1).
            let named = option != "close" && headers.contains_key(&option);
            assert!(!named, "{option} is for this hop");
        }
    }
    assert!(headers.get_all(CONTENT_LENGTH).iter().count() <= 1);
}

/// The rules of RFC 9112 §6.3 once more.
fn framed(head: &answer::AnswerHead, text: &[u8], (method, upgrades): (&Method, bool)) {
    let lines = lines(text);
    let values = |wanted: &str| {
        let of = lines.iter().filter(|line| line.0 == wanted);
        of.map(|line| String::from_utf8_lossy(&line.1).into_owned())
            .collect::<Vec<_>>()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    assert!(lengths.is_empty() || codings.is_empty(), "framed twice");
    assert!(codings.len() <= 1, "coded twice");
    let plain = |text: &String| text.bytes().all(|byte| byte.is_ascii_digit());
    assert!(lengths.iter().all(plain), "{lengths:?}");
    let numbers: Vec<Option<u64>> = lengths.iter().map(|text| text.parse().ok()).collect();
    assert!(
        numbers.windows(2).all(|pair| pair[0] == pair[1]),
        "two lengths"
    );
    let status = head.status.as_u16();
    let wanted = match (numbers.first(), codings.first()) {
        _ if status == 101 => {
            let agrees = values("upgrade")
                .iter()
                .any(|name| is_any(name, &["websocket"]));
            assert!(upgrades && agrees, "not asked");
            Framing::WebSocket
        }
        _ if *method == Method::HEAD || status < 200 || matches!(status, 204 | 304) => {
            Framing::Empty
        }
        (_, Some(coding)) => {
            assert!(coding.eq_ignore_ascii_case("chunked"), "{coding}");
            Framing::Chunked
        }
        (Some(Some(0)), _) => Framing::Empty,
        (Some(length), _) => Framing::Length(length.unwrap_or_default()),
        (None, None) => Framing::UntilClose,
    };
    assert_eq!(head.framing, wanted);
    let closes = values("connection").concat().to_ascii_lowercase();
    assert!(!head.keep_alive || !closes.split(',').any(|option| option.trim() == "close"));
    assert!(!head.keep_alive || wanted != Framing::UntilClose);
}

/// What comes of a body: its bytes, its trailers and how many bytes it took.
type Whole = (Vec<u8>, HeaderMap, usize);

/// First byte: in pieces of how many. The rest: a body in chunks, and what follows it.
pub fn chunked(data: &[u8]) {
    let Some((step, bytes)) = data.split_first() else {
        return;
    };
    let cut = decode(bytes, 1 + usize::from(*step));
    let whole = decode(bytes, bytes.len().max(1));
    assert_eq!(cut, whole, "it depends on how it is cut up");
    if let Ok(Some((body, _, taken))) = whole {
        let by_hand = body_by_hand(bytes);
        assert_eq!(
            by_hand.as_ref().map(|(body, _)| body),
            Some(&body),
            "another body"
        );
        let trailers = by_hand.map_or(0, |(_, end)| end);
        assert!(
            bytes[trailers..taken].ends_with(b"\n"),
            "cut off in the trailers"
        );
    }
}

fn decode(bytes: &[u8], step: usize) -> Result<Option<Whole>, Malformed> {
    let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::new());
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    let mut came = 0;
    loop {
        match decoder.next(&mut buffer)? {
            Piece::Data(data) => {
                assert!(!data.is_empty());
                body.extend_from_slice(&data);
            }
            Piece::Trailers(fields) => trailers = *fields,
            Piece::End => return Ok(Some((body, trailers, came - buffer.len()))),
            Piece::More if came == bytes.len() => return Ok(None),
            Piece::More => {
                let end = bytes.len().min(came + step);
                buffer.extend_from_slice(&bytes[came..end]);
                came = end;
            }
        }
    }
}

/// The body, and where the trailers begin; `None`: it is no whole one.
fn body_by_hand(mut rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let all = rest.len();
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let digits = rest[..end].split(|byte| !byte.is_ascii_hexdigit()).next()?;
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some((body, all - rest.len()));
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
