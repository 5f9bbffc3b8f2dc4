//! Where a request's body ends, told from its bytes as they come and in pieces of any size, so that the head behind it is
//! watched like the first. Strict with chunks where hyper is not: line ends are CR LF, in extensions and trailers too, and
//! no control bytes stand in a size line (RFC 9112 §7.1).

/// Most bytes of a chunk's size line: a small body must not become a large read (CVE-2023-39326).
const LONGEST_SIZE_LINE: u16 = 1024;

/// The chunks are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// What is still to come of a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum BodyWatch {
    /// Nothing.
    #[default]
    Over,
    /// So many bytes.
    Length(u64),
    Chunks(Chunks),
}

/// Where in the chunked coding the next byte stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunks {
    /// In a chunk's size: digits so far, and their value.
    Size(u16, u64),
    /// Behind the digits of a size line that is so long already; whether a `;` has come, and the chunk's size.
    Extension(u16, bool, u64),
    /// Behind the carriage return of a size line.
    SizeEnd(u64),
    /// In a chunk.
    Data(u64),
    /// Behind a chunk's data.
    DataEnd,
    /// Behind the carriage return there.
    DataLineEnd,
    /// In the trailers: whether this is the beginning of a line.
    Trailer(bool),
    /// Behind a carriage return there, which may be the end of it all.
    TrailerEnd(bool),
}

impl BodyWatch {
    /// A body in chunks.
    pub(super) fn chunks() -> Self {
        Self::Chunks(Chunks::Size(0, 0))
    }

    /// A body of so many bytes.
    pub(super) fn length(bytes: u64) -> Self {
        match bytes {
            0 => Self::Over,
            bytes => Self::Length(bytes),
        }
    }

    /// The next bytes; how many of them belong to the body.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self {
                Self::Over => break,
                Self::Length(left) => {
                    let taken = no_more_than(*left, rest.len());
                    *self = Self::length(*left - taken as u64);
                    at += taken;
                }
                Self::Chunks(Chunks::Data(left)) => {
                    let taken = no_more_than(*left, rest.len());
                    *left -= taken as u64;
                    if *left == 0 {
                        *self = Self::Chunks(Chunks::DataEnd);
                    }
                    at += taken;
                }
                Self::Chunks(place) => {
                    match place.behind(rest[0])? {
                        Some(next) => *place = next,
                        None => *self = Self::Over,
                    }
                    at += 1;
                }
            }
        }
        Ok(at)
    }
}

fn no_more_than(left: u64, there: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(there)
}

impl Chunks {
    /// The place behind this byte; `None`: it was the last.
    fn behind(&self, byte: u8) -> Result<Option<Self>, Malformed> {
        Ok(Some(match (self, byte) {
            (Self::Size(digits, size), _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                let larger = size.checked_mul(16).ok_or(Malformed)? + u64::from(digit);
                if *digits == LONGEST_SIZE_LINE {
                    return Err(Malformed);
                }
                Self::Size(digits + 1, larger)
            }
            (Self::Size(1.., size) | Self::Extension(_, true, size), b'\r') => Self::SizeEnd(*size),
            (Self::Size(1.., size), b' ' | b'\t') => Self::Extension(0, false, *size),
            (Self::Size(1.., size), b';') => Self::Extension(0, true, *size),
            (Self::Extension(length, begun, size), _)
                if *length < LONGEST_SIZE_LINE && may_stand_in_extension(*begun, byte) =>
            {
                Self::Extension(length + 1, *begun || byte == b';', *size)
            }
            (Self::SizeEnd(0) | Self::TrailerEnd(false), b'\n') => Self::Trailer(true),
            (Self::SizeEnd(size), b'\n') => Self::Data(*size),
            (Self::DataEnd, b'\r') => Self::DataLineEnd,
            (Self::DataLineEnd, b'\n') => Self::Size(0, 0),
            (Self::Trailer(fresh), b'\r') => Self::TrailerEnd(*fresh),
            // A fold, or no name.
            (Self::Trailer(true), b' ' | b'\t' | b':') => return Err(Malformed),
            (Self::Trailer(_), b'\t' | b' '..=0x7e | 0x80..) => Self::Trailer(false),
            (Self::TrailerEnd(true), b'\n') => return Ok(None),
            _ => return Err(Malformed),
        }))
    }
}

/// Behind the size, spaces up to a `;`; behind that, anything but control bytes.
fn may_stand_in_extension(begun: bool, byte: u8) -> bool {
    match byte {
        b' ' | b'\t' | b';' => true,
        _ => begun && !byte.is_ascii_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many bytes are taken in pieces of this size, and whether that is all of the body.
    fn take(mut watch: BodyWatch, bytes: &[u8], step: usize) -> Result<(usize, bool), Malformed> {
        let mut all = 0;
        for piece in bytes.chunks(step.max(1)) {
            let taken = watch.take(piece)?;
            all += taken;
            if taken < piece.len() {
                break;
            }
        }
        Ok((all, watch == BodyWatch::Over))
    }

    #[test]
    fn a_body_ends_where_it_says() {
        let cases = [
            (BodyWatch::length(0), "GET", 0, true),
            (BodyWatch::length(3), "abcGET", 3, true),
            (BodyWatch::length(9), "abc", 3, false),
            (BodyWatch::length(u64::MAX), "abc", 3, false),
        ];
        for (watch, text, end, over) in cases {
            assert_eq!(take(watch, text.as_bytes(), 99), Ok((end, over)), "{text}");
        }
        for (text, over) in [
            ("0\r\n\r\n", true),
            ("2\r\nab\r\n0\r\n\r\n", true),
            ("2;a=\"b\"\r\n\r\n\r\n00 ; x\r\nx: y\r\n\r\n", true),
            ("2\r\nab\r\n0\r\n", false),
            ("2\r\nab\r\n0\r\nx: y\r\n", false),
            ("ffffffffffffffff\r\nab", false),
        ] {
            let with_next = if over {
                format!("{text}GET")
            } else {
                text.to_owned()
            };
            for step in 1..with_next.len() {
                let taken = take(BodyWatch::chunks(), with_next.as_bytes(), step);
                assert_eq!(taken, Ok((text.len(), over)), "{text:?} {step}");
            }
        }
    }

    #[test]
    fn odd_chunks_are_seen_however_they_are_cut_up() {
        let long = format!("1;{}\r\na\r\n", "x".repeat(2000));
        let zeros = format!("{}1\r\na\r\n", "0".repeat(2000));
        for text in [
            "\r\n",
            "\n",
            ";\r\n",
            " 5\r\n",
            "g\r\n",
            "-5\r\n",
            "0x5\r\n",
            "5 5\r\n",
            "5 \r\n",
            "5\n",
            "5\r\r\n",
            "5;a\n",
            "5;\0\r\n",
            "5;a\rb",
            "10000000000000000\r\n",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\rb",
            "0\n",
            "0\r\n\n",
            "0\r\n x: y\r\n",
            "0\r\n: y\r\n",
            "0\r\nx: y\n",
            "0\r\nx: y\rz",
            "0\r\nx: \0\r\n",
            "0\r\n\r\r",
            &long,
            &zeros,
        ] {
            for step in [1, 2, 3, 5000] {
                let taken = take(BodyWatch::chunks(), text.as_bytes(), step);
                assert_eq!(taken, Err(Malformed), "{text:?} {step}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_take_what_is_not_there(bytes: Vec<u8>, step in 1_usize..9) {
            if let Ok((taken, _)) = take(BodyWatch::chunks(), &bytes, step) {
                prop_assert!(taken <= bytes.len());
            }
        }
    }
}
