//! A file with very many keys, read a few thousand of them at a time: the trees of a whole file take twenty times its size.
//!
//! Each piece is read as the file with only its keys in it. That is the same as reading the whole where every line of every
//! key is closed in itself, which is looked at here without knowing much of YAML: what is not certain, and what has a fault
//! or a warning that would need its line, is read as a whole.

use super::{Config, ConfigError, Fault, Portion, PortionId};
use crate::domain::id::Id;
use crate::domain::key::KeyHash;
use std::collections::HashSet;

/// Smaller files are read as a whole.
const LEAST: usize = if cfg!(test) { 24 << 10 } else { 512 << 10 };
/// Bytes of a piece, at least.
const PIECE: usize = if cfg!(test) { 4 << 10 } else { 64 << 10 };
/// So many times as much at most.
const MOST_TIMES: usize = 4;
/// One in so many items ends a piece that is long enough.
const ONE_IN: u32 = 64;
/// So many times as long as the rest of the file, which is read with each of them, a piece is at least.
const TIMES: usize = 16;

/// A file that can be read in pieces.
#[derive(Debug, PartialEq, Eq)]
struct Cut<'a> {
    /// Up to the line `keys:`, and with it.
    head: &'a str,
    /// Lines of that list.
    lines: usize,
    /// Whole items of it, in order, with their number.
    pieces: Vec<(&'a str, usize)>,
    /// What follows the list.
    tail: &'a str,
}

/// The configuration in this text, read by `parse` piece by piece, but for pieces that are known. `None`: it must be read
/// as a whole.
pub(super) fn read(
    text: &str,
    known: impl Fn(&PortionId) -> bool,
    parse: impl Fn(&str) -> Result<Config, ConfigError>,
) -> Option<Config> {
    if text.len() < LEAST {
        return None;
    }
    let cut = cut(text)?;
    let ids: Vec<_> = cut.pieces.iter().map(|(piece, _)| cut.id(piece)).collect();
    let mut seen = HashSet::new();
    ids.iter()
        .flatten()
        .all(|id| seen.insert(*id))
        .then_some(())?;
    let is_new = |id: &Option<PortionId>| !id.as_ref().is_some_and(&known);
    // The rest of the file is read with one of them, whether anything is new in it or not.
    let first = ids.iter().position(is_new).unwrap_or(0);
    let mut whole: Option<Config> = None;
    let mut portions = Vec::with_capacity(ids.len());
    for (place, ((piece, number), id)) in cut.pieces.iter().zip(ids).enumerate() {
        let read = place == first || is_new(&id);
        portions.push(Portion {
            id,
            keys: read.then_some(*number),
        });
        if !read {
            continue;
        }
        let part = cut.part((piece, *number), &parse)?;
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => add(whole, part),
        }
    }
    let whole = whole.filter(is_each_key_there_once)?;
    Some(Config { portions, ..whole })
}

impl Cut<'_> {
    /// What tells a piece from others. Those that may refer to other files are never known.
    fn id(&self, piece: &str) -> Option<PortionId> {
        let mut sum = blake3::Hasher::new();
        for part in [self.head, self.tail] {
            sum.update(&(part.len() as u64).to_le_bytes());
            sum.update(part.as_bytes());
        }
        sum.update(piece.as_bytes());
        (!piece.contains("secret")).then(|| sum.finalize().into())
    }

    /// The configuration with the keys of this piece, of which there are so many.
    fn part(
        &self,
        (piece, number): (&str, usize),
        parse: impl Fn(&str) -> Result<Config, ConfigError>,
    ) -> Option<Config> {
        let mut part = parse(&[self.head, piece, self.tail].concat()).ok()?;
        let fits = part.keys.len() == number && self.places(&mut part.warnings, piece);
        fits.then_some(part)
    }

    /// Gives warnings about the rest of the file the lines they have in the whole; not those about keys, of which this says
    /// whether there are none.
    fn places(&self, warnings: &mut [Fault], piece: &str) -> bool {
        if warnings.is_empty() {
            return true;
        }
        let (head, own) = (lines(self.head), lines(piece));
        warnings.iter_mut().all(|warning| match &mut warning.place {
            Some((line, _)) if *line <= head => true,
            Some((line, _)) if *line > head + own => {
                *line += self.lines - own;
                true
            }
            Some(_) | None => false,
        })
    }
}

fn lines(text: &str) -> usize {
    memchr::memchr_iter(b'\n', text.as_bytes()).count()
}

fn add(whole: &mut Config, part: Config) {
    whole.keys.extend(part.keys);
    for file in part.files {
        if !whole.files.contains(&file) {
            whole.files.push(file);
        }
    }
}

/// Whoever reads a piece cannot see that a key stands in another one too.
fn is_each_key_there_once(config: &Config) -> bool {
    let hashes: HashSet<KeyHash> = config.keys.iter().map(|key| key.hash).collect();
    let ids: HashSet<Id> = config.keys.iter().map(|key| key.id).collect();
    hashes.len() == config.keys.len() && ids.len() == config.keys.len()
}

/// Cuts the list of keys; `None`: its form is not certain.
fn cut(text: &str) -> Option<Cut<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let start = list(text)?;
    let (head, rest) = text.split_at(start);
    let mut pieces = Pieces::default();
    let mut at = 0;
    for line in rest.split_inclusive('\n') {
        match pieces.line(at, line)? {
            Next::Item | Next::More => at += line.len(),
            Next::Tail => break,
        }
    }
    let (list, tail) = rest.split_at(at);
    let rest = head.len() + tail.len();
    (rest < LEAST).then(|| Cut {
        head,
        lines: lines(list),
        pieces: pieces.in_portions(list, PIECE.max(TIMES * rest)),
        tail,
    })
}

/// Where the list of keys begins: behind the only line that says so.
fn list(text: &str) -> Option<usize> {
    let mut found = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let is_mark = line.starts_with("...") || line.starts_with("---") && at > 0;
        let names_keys = line.trim_end() == "keys:";
        if is_mark || names_keys && found.is_some() {
            return None;
        }
        at += line.len();
        if names_keys {
            found = Some(at);
        }
    }
    found
}

/// What a line is to the list.
enum Next {
    Item,
    More,
    Tail,
}

#[derive(Default)]
struct Pieces {
    /// Spaces in front of each dash.
    indent: Option<usize>,
    /// Where items begin.
    starts: Vec<usize>,
}

impl Pieces {
    /// Takes the next line; `None`: nobody can say what it is.
    fn line(&mut self, at: usize, line: &str) -> Option<Next> {
        let text = line.trim_start_matches(' ');
        let spaces = line.len() - text.len();
        let text = text.trim_end_matches('\n');
        if text.is_empty() || text.starts_with('#') {
            return Some(Next::More);
        }
        let is_item = text.starts_with("- ") || text == "-";
        let indent = *self.indent.get_or_insert(spaces);
        if is_item && spaces == indent {
            self.starts.push(at);
        } else if self.starts.is_empty() || spaces < indent || spaces == indent && indent > 0 {
            // Less than the list's own indentation ends it, but only at the margin is that certain.
            return (spaces == 0 && !self.starts.is_empty()).then_some(Next::Tail);
        } else if spaces == 0 {
            return Some(Next::Tail);
        }
        let next = if is_item && spaces == indent {
            Next::Item
        } else {
            Next::More
        };
        is_closed(line).then_some(next)
    }

    fn in_portions(self, list: &str, most: usize) -> Vec<(&str, usize)> {
        let mut pieces = Vec::new();
        let (mut begin, mut number) = (0, 0);
        let mut item = 0;
        for start in self.starts {
            // Where a piece ends is told by the item before, so that a change somewhere changes no pieces elsewhere.
            let ends = || crc32fast::hash(&list.as_bytes()[item..start]).is_multiple_of(ONE_IN);
            let length = start - begin;
            if number > 0 && length >= most && (length >= MOST_TIMES * most || ends()) {
                pieces.push((&list[begin..start], number));
                (begin, number) = (start, 0);
            }
            number += 1;
            item = start;
        }
        if number > 0 {
            pieces.push((&list[begin..], number));
        }
        pieces
    }
}

/// Whether nothing that begins in this line goes on in the next one: no quotes, no brackets, no block of text. Says no when
/// in doubt.
fn is_closed(line: &str) -> bool {
    let line = line.strip_suffix('\n').unwrap_or(line);
    // Tabs, and what one of the readings may take for the end of a line.
    if line.contains(['\t', '\r', '\u{85}', '\u{2028}', '\u{2029}', '\u{feff}']) {
        return false;
    }
    // Dashes in front of an item are no part of a word.
    let mut bytes = line.trim_start_matches([' ', '-']).bytes().peekable();
    let (mut depth, mut before, mut word) = (0_usize, b' ', b',');
    while let Some(byte) = bytes.next() {
        // Where a value may begin: not behind a space between two words.
        let fresh = matches!(word, b',' | b'[' | b'{' | b':');
        if fresh && matches!(byte, b'"' | b'\'') {
            if !quoted(byte, &mut bytes) {
                return false;
            }
            (before, word) = (byte, byte);
            continue;
        }
        match byte {
            b'#' if before == b' ' => break,
            b'[' | b'{' if fresh => depth += 1,
            b']' | b'}' if depth > 0 => depth -= 1,
            // In the middle of a word.
            b'"' | b'\'' if before.is_ascii_alphanumeric() => {}
            b'"' | b'\'' | b'[' | b'{' | b']' | b'}' => return false,
            b'|' | b'>' | b'&' | b'*' | b'!' | b'?' | b'%' | b'@' | b'`' if fresh => return false,
            _ => {}
        }
        before = byte;
        if byte != b' ' {
            word = byte;
        }
    }
    depth == 0
}

/// Reads up to the closing quote; whether there is one in the line.
fn quoted(quote: u8, bytes: &mut std::iter::Peekable<std::str::Bytes<'_>>) -> bool {
    while let Some(byte) = bytes.next() {
        if byte == b'\\' && quote == b'"' {
            bytes.next();
        } else if byte == quote {
            // Doubled, it stands for itself.
            if quote == b'\'' && bytes.peek() == Some(&quote) {
                bytes.next();
            } else {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests;
