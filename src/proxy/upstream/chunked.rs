//! The chunked coding (RFC 9112 §7.1), decoded where it lies: data comes out as slices of the read buffer.
//! Strict where leniency has hurt others: line ends are CR LF, a chunk ends where its size says, extensions are short.

use super::answer::{Malformed, has_bare_line_feed};
use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Most bytes of a chunk's size line, extensions included: a small body must not become a large read.
const LONGEST_SIZE_LINE: usize = 1024;
/// Most bytes of all extensions of a body.
const MOST_EXTENSIONS: usize = 16 * 1024;
/// Most bytes of trailers.
const LARGEST_TRAILERS: usize = 16 * 1024;
/// Hex digits that a length has.
const MOST_DIGITS: usize = 16;
const MOST_TRAILERS: usize = 64;

/// Reads a body in chunks.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Decoder {
    place: Place,
    /// Whether spaces between a size and the line's end are refused, too. Real services pad their sizes; no caller does.
    strict: bool,
    /// Bytes of extensions so far.
    extensions: usize,
}

/// Where in the coding the reader stands.
#[derive(Debug, Default)]
enum Place {
    /// Before a chunk's size.
    #[default]
    Size,
    /// Inside a chunk, with so many bytes to come.
    Data(u64),
    /// Behind a chunk's data, before its line end.
    DataEnd,
    /// Behind the last chunk.
    Trailers,
    /// At the end.
    Done,
}

/// What comes out.
#[derive(Debug, PartialEq)]
pub(in crate::proxy) enum Piece {
    Data(Bytes),
    Trailers(Box<HeaderMap>),
    End,
    /// More bytes are needed.
    More,
}

impl Decoder {
    /// For the body of a request.
    pub(in crate::proxy) fn of_request() -> Self {
        Self {
            strict: true,
            ..Self::default()
        }
    }

    /// The next piece of the body, taken off the front of the buffer.
    pub(in crate::proxy) fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, Malformed> {
        loop {
            match &mut self.place {
                Place::Size => {
                    let Some(line) = take_line(buffer, LONGEST_SIZE_LINE)? else {
                        return Ok(Piece::More);
                    };
                    let (size, extension) = size(&line, self.strict)?;
                    self.extensions += extension;
                    if self.extensions > MOST_EXTENSIONS {
                        return Err(Malformed);
                    }
                    self.place = match size {
                        0 => Place::Trailers,
                        size => Place::Data(size),
                    };
                }
                Place::Data(left) => {
                    if buffer.is_empty() {
                        return Ok(Piece::More);
                    }
                    let ready = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(buffer.len());
                    *left -= ready as u64;
                    if *left == 0 {
                        self.place = Place::DataEnd;
                    }
                    return Ok(Piece::Data(buffer.split_to(ready).freeze()));
                }
                Place::DataEnd => match buffer.as_ref() {
                    [b'\r', b'\n', ..] => {
                        let _ = buffer.split_to(2);
                        self.place = Place::Size;
                    }
                    [] | [b'\r'] => return Ok(Piece::More),
                    _ => return Err(Malformed),
                },
                Place::Trailers => return self.trailers(buffer),
                Place::Done => return Ok(Piece::End),
            }
        }
    }

    fn trailers(&mut self, buffer: &mut BytesMut) -> Result<Piece, Malformed> {
        let mut slots = [httparse::EMPTY_HEADER; MOST_TRAILERS];
        let (length, headers) = match httparse::parse_headers(buffer, &mut slots)
            .map_err(|_| Malformed)?
        {
            // However many of them came at once.
            httparse::Status::Complete((length, _)) if length > LARGEST_TRAILERS => {
                return Err(Malformed);
            }
            httparse::Status::Complete((length, fields)) => (length, trailer_map(fields)?),
            httparse::Status::Partial if buffer.len() > LARGEST_TRAILERS => return Err(Malformed),
            httparse::Status::Partial => return Ok(Piece::More),
        };
        if has_bare_line_feed(&buffer[..length]) {
            return Err(Malformed);
        }
        let _ = buffer.split_to(length);
        self.place = Place::Done;
        Ok(if headers.is_empty() {
            Piece::End
        } else {
            Piece::Trailers(Box::new(headers))
        })
    }
}

fn trailer_map(fields: &[httparse::Header<'_>]) -> Result<HeaderMap, Malformed> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        headers.append(
            name,
            HeaderValue::from_bytes(field.value).map_err(|_| Malformed)?,
        );
    }
    Ok(headers)
}

/// Ends a body in chunks: the last chunk, and the trailers if there are any.
pub(in crate::proxy) fn write_end(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// A line without its CR LF; `None` when its end has not come.
fn take_line(buffer: &mut BytesMut, longest: usize) -> Result<Option<BytesMut>, Malformed> {
    let Some(end) = buffer.iter().take(longest).position(|byte| *byte == b'\n') else {
        let begun = buffer.strip_suffix(b"\r").unwrap_or(buffer);
        return if buffer.len() >= longest || !may_begin(begun) {
            Err(Malformed)
        } else {
            Ok(None)
        };
    };
    let mut line = buffer.split_to(end + 1);
    line.truncate(end);
    if line.last() != Some(&b'\r') || line[..end - 1].contains(&b'\r') {
        return Err(Malformed);
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// Whether a size line may begin so.
fn may_begin(line: &[u8]) -> bool {
    let (digits, rest) = split(line);
    match rest.first() {
        None => digits.len() <= MOST_DIGITS,
        Some(_) => !digits.is_empty() && has_form(rest),
    }
}

/// The digits of a size, and what stands behind them.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    line.split_at(digits.count())
}

/// Behind a size stands nothing, or spaces and an extension.
fn has_form(rest: &[u8]) -> bool {
    let extension = rest.trim_ascii_start();
    let control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    matches!(extension.first(), None | Some(b';')) && !rest.iter().any(control)
}

/// Hex digits, at least one and no more than a length has; then nothing, or spaces and an extension, whose length comes too.
fn size(line: &[u8], strict: bool) -> Result<(u64, usize), Malformed> {
    let (digits, rest) = split(line);
    let padded = !rest.is_empty() && rest.trim_ascii().is_empty();
    if !(1..=MOST_DIGITS).contains(&digits.len()) || !has_form(rest) || strict && padded {
        return Err(Malformed);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Malformed)?;
    let size = u64::from_str_radix(digits, 16).map_err(|_| Malformed)?;
    Ok((size, rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds the text in pieces of this size; the body and trailers, or the fault.
    fn decode(text: &[u8], step: usize) -> Result<Option<(Vec<u8>, HeaderMap)>, Malformed> {
        let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::new());
        let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
        let mut pieces = text.chunks(step.max(1));
        loop {
            match decoder.next(&mut buffer)? {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::Trailers(headers) => trailers = *headers,
                Piece::End => return Ok(Some((body, trailers))),
                Piece::More => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => return Ok(None),
                },
            }
        }
    }

    #[test]
    fn chunks_extensions_and_trailers() {
        let text = b"5\r\nhello\r\n6 ;a=\"b\"\r\n world\r\n0\r\nx-sum: 1\r\n\r\n";
        for step in 1..text.len() {
            let (body, trailers) = decode(text, step).unwrap().unwrap();
            assert_eq!(body, b"hello world");
            assert_eq!(trailers["x-sum"], "1");
        }
    }

    #[test]
    fn odd_chunks_are_refused() {
        let long = [b"1;".as_slice(), &[b'a'; 2000]].concat();
        let cases: [&[u8]; 14] = [
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"\r\n",
            b"g\r\n",
            b"-5\r\n",
            b"0x5\r\n",
            b"+5\r\n",
            b"5 5\r\n",
            b"11111111111111111\r\n",
            b"1;a\rb\r\nx",
            b"0\r\nx: y\n\r\n",
            b"0\r\n\n",
            &long,
        ];
        for text in cases {
            assert_eq!(
                decode(text, 1).unwrap_err(),
                Malformed,
                "{}",
                String::from_utf8_lossy(text)
            );
        }
    }

    #[test]
    fn an_unfinished_body_has_no_end() {
        assert_eq!(decode(b"5\r\nhel", 1), Ok(None));
        assert_eq!(decode(b"5\r\nhello\r\n0\r\n", 1), Ok(None));
    }

    proptest! {
        #[test]
        fn what_was_cut_up_comes_together(body: Vec<u8>, size in 1_usize..50, step in 1_usize..50) {
            let mut text = Vec::new();
            for chunk in body.chunks(size) {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(decode(&text, step).unwrap().unwrap().0, body);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, step in 1_usize..9) {
            let _ = decode(&bytes, step);
        }
    }
}
