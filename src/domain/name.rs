//! Names that people go by: what they must not hold, whoever gives them.

/// Whether a name holds something that is not seen where it is read, or that turns or breaks its line: two names would
/// look alike that are not the same, and a line of a list would show something else than it holds.
pub fn deceives(name: &str) -> bool {
    let letters: Vec<char> = name.chars().collect();
    letters.iter().enumerate().any(|(place, letter)| {
        if is_joiner(*letter) {
            let before = place.checked_sub(1).and_then(|place| letters.get(place));
            let after = letters.get(place + 1);
            !(before.is_some_and(|one| one.is_alphanumeric() || is_virama(*one))
                && after.is_some_and(|one| one.is_alphanumeric()))
        } else {
            is_unseen(*letter)
        }
    })
}

/// They are not seen either, but Persian, Hindi and others are not written without them: inside of a word.
fn is_joiner(letter: char) -> bool {
    matches!(letter, '\u{200c}' | '\u{200d}')
}

/// What a consonant that loses its vowel carries in Indic scripts; a joiner stands behind it.
fn is_virama(letter: char) -> bool {
    matches!(
        letter,
        '\u{94d}'
            | '\u{9cd}'
            | '\u{a4d}'
            | '\u{acd}'
            | '\u{b4d}'
            | '\u{bcd}'
            | '\u{c4d}'
            | '\u{ccd}'
            | '\u{d4d}'
            | '\u{dca}'
    )
}

fn is_unseen(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{2069}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}
