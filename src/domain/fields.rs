//! The fields of a request's head, in the order they came, in one piece of memory: names in lower case, values as they are.
//! A head has a dozen of them, so that looking through all of them costs less than a table would.

use http::{HeaderMap, HeaderName};
use std::ops::Range;

/// See the head of this file.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

/// Where a field stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    name: Span,
    value: Span,
}

/// A part of a head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The part of these places. Heads are far shorter than 4 GiB.
    pub fn of(range: Range<usize>) -> Self {
        Self {
            start: u32::try_from(range.start).unwrap_or(u32::MAX),
            end: u32::try_from(range.end).unwrap_or(u32::MAX),
        }
    }

    /// The places again.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Fields {
    /// Forgets all of it but the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    /// Bytes of memory it holds.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity() + self.places.capacity() * size_of::<Place>()
    }

    /// Takes over a head as it came over the wire; its fields are then named by [`Fields::name`].
    pub fn hold(&mut self, head: &[u8]) {
        self.bytes.extend_from_slice(head);
    }

    fn part(&self, span: Span) -> &[u8] {
        self.bytes.get(span.range()).unwrap_or_default()
    }

    /// Says where in the held bytes a field stands. Its name is put in lower case.
    pub fn name(&mut self, name: Span, value: Span) {
        if let Some(name) = self.bytes.get_mut(name.range()) {
            name.make_ascii_lowercase();
        }
        self.places.push(Place { name, value });
    }

    /// Adds a field, as the line it would be in HTTP/1.1.
    pub fn push(&mut self, name: &HeaderName, value: &[u8]) {
        let mut hold = |text: &[u8]| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(text);
            Span::of(start..self.bytes.len())
        };
        let name = hold(name.as_str().as_bytes());
        hold(b": ");
        let value = hold(value);
        hold(b"\r\n");
        self.places.push(Place { name, value });
    }

    /// Adds all of these.
    pub fn push_all(&mut self, headers: &HeaderMap) {
        for (name, value) in headers {
            self.push(name, value.as_bytes());
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Name and value of each, in their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.places
            .iter()
            .map(|place| (self.part(place.name), self.part(place.value)))
    }

    /// As [`Fields::iter`], with where a field's line stands if that is as we would write it: `name: value`, CR, LF. Lines
    /// that follow each other can be copied as one.
    pub fn iter_lines(&self) -> impl Iterator<Item = (&[u8], &[u8], Option<Range<usize>>)> {
        self.places.iter().map(|place| {
            let (name, value) = (place.name.range(), place.value.range());
            let plain = self.bytes.get(name.end..value.start) == Some(b": ")
                && self.bytes.get(value.end..value.end + 2) == Some(b"\r\n");
            let line = name.start..value.end + 2;
            (
                self.part(place.name),
                self.part(place.value),
                Some(line).filter(|_| plain),
            )
        })
    }

    /// Bytes of lines of [`Fields::iter_lines`].
    pub fn lines(&self, lines: Range<usize>) -> &[u8] {
        self.bytes.get(lines).unwrap_or_default()
    }

    /// The values of all fields of a name (in lower case), in their order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        // Most names have another length, and need not be looked at.
        let length = Span::of(0..name.len()).end;
        let fits = move |place: &&Place| place.name.end.wrapping_sub(place.name.start) == length;
        self.places
            .iter()
            .filter(fits)
            .filter(move |place| self.part(place.name) == name.as_bytes())
            .map(|place| self.part(place.value))
    }

    /// The value of the first field of a name (in lower case).
    pub fn get<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.get_all(name).next()
    }

    /// Whether there is a field of this name (in lower case).
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl From<&HeaderMap> for Fields {
    fn from(headers: &HeaderMap) -> Self {
        let mut fields = Self::default();
        fields.push_all(headers);
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::COOKIE;

    #[test]
    fn fields_are_found_by_their_names_in_any_case() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nCOOKIE:b\r\ncookie: c\r\n\r\n";
        let mut fields = Fields::default();
        fields.hold(head);
        for (name, value) in [(16..20, 22..23), (25..31, 32..33), (35..41, 43..44)] {
            fields.name(Span::of(name), Span::of(value));
        }
        assert_eq!(fields.get("host"), Some(&b"a"[..]));
        assert!(fields.get_all("cookie").eq([b"b", b"c"]));
        assert!(!fields.has("accept"));
        assert_eq!(fields.len(), 3);
        let lines: Vec<_> = fields.iter_lines().map(|(_, _, line)| line).collect();
        assert_eq!(lines, [Some(16..25), None, Some(35..46)]);
        assert_eq!(fields.lines(35..46), b"cookie: c\r\n");
        fields.clear();
        assert!(fields.is_empty());
    }

    #[test]
    fn a_map_keeps_its_values() {
        let mut map = HeaderMap::new();
        map.append(COOKIE, "a".parse().unwrap());
        map.append(COOKIE, "b".parse().unwrap());
        assert!(Fields::from(&map).get_all("cookie").eq([b"a", b"b"]));
    }
}
