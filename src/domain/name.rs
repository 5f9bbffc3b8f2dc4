//! Names that people go by: what they must not hold, whoever gives them.

/// Whether a letter is not seen where a name is read, or turns or breaks its line: with it, two names look alike that are
/// not the same, and a line of a list shows something else than it holds. U+200C and U+200D are not seen either, but
/// Persian, Hindi and others are not written without them.
pub fn deceives(letter: char) -> bool {
    matches!(
        letter,
        '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
    )
}
