//! Reads a source file as tokens, so that comments and texts are not mistaken for code, and spells out every path in
//! it: `use` trees, the names they bring in, `self`, `super` and `crate`.

use super::Source;
use std::collections::{BTreeMap, BTreeSet};

/// A path in the code, as full as the file tells: `crate::room::…`, `krate::…`, or just what was written.
pub(super) struct Name {
    pub(super) line: usize,
    pub(super) path: Vec<String>,
}

/// Every path of a file.
pub(super) fn names(source: &Source) -> Vec<Name> {
    let mut walk = Walk::new(source);
    walk.file();
    let Walk { found, aliases, .. } = walk;
    let mut full = Vec::new();
    for name in found {
        let mut candidates = vec![name.path];
        // Twice: `use tokio::time; use time::Instant;`.
        for _ in 0..2 {
            candidates = candidates
                .into_iter()
                .flat_map(|path| spell_out(path, &aliases))
                .collect();
        }
        full.extend(candidates.into_iter().map(|path| Name {
            line: name.line,
            path,
        }));
    }
    full
}

/// Replaces a first name that a `use` brought in, by every path it may stand for.
fn spell_out(
    path: Vec<String>,
    aliases: &BTreeMap<String, BTreeSet<Vec<String>>>,
) -> Vec<Vec<String>> {
    let Some(targets) = aliases.get(&path[0]) else {
        return vec![path];
    };
    let spelled = |target: &Vec<String>| target.iter().chain(&path[1..]).cloned().collect();
    targets.iter().map(spelled).collect()
}

struct Walk {
    tokens: Vec<(usize, Token)>,
    at: usize,
    /// Modules from the crate's root, inline ones with the depth of braces they opened at.
    module: Vec<String>,
    inline: Vec<usize>,
    depth: usize,
    found: Vec<Name>,
    /// What `use` brought in; a name may stand for several paths in several blocks.
    aliases: BTreeMap<String, BTreeSet<Vec<String>>>,
}

impl Walk {
    fn new(source: &Source) -> Self {
        Self {
            tokens: tokens(&source.text),
            at: 0,
            module: source.module(),
            inline: Vec::new(),
            depth: 0,
            found: Vec::new(),
            aliases: BTreeMap::new(),
        }
    }

    fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at).map(|(_, token)| token)
    }

    fn word(&self, at: usize) -> Option<&str> {
        match self.token(at) {
            Some(Token::Word(word)) => Some(word),
            Some(Token::Colons | Token::Mark(_)) | None => None,
        }
    }

    fn mark(&self, at: usize) -> Option<char> {
        match self.token(at) {
            Some(Token::Mark(mark)) => Some(*mark),
            Some(Token::Colons | Token::Word(_)) | None => None,
        }
    }

    fn file(&mut self) {
        while let Some(token) = self.token(self.at).cloned() {
            match token {
                Token::Mark('{') => self.depth += 1,
                Token::Mark('}') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.inline.last() == Some(&self.depth) {
                        self.inline.pop();
                        self.module.pop();
                    }
                }
                Token::Word(word) if word == "mod" && self.mark(self.at + 2) == Some('{') => {
                    let name = self.word(self.at + 1).unwrap_or_default().to_owned();
                    self.module.push(name);
                    self.inline.push(self.depth);
                    self.depth += 1;
                    self.at += 2;
                }
                Token::Word(word) if word == "use" && !self.captures() => {
                    self.at += 1;
                    self.tree(&[]);
                    continue;
                }
                Token::Word(word)
                    if word == "crate"
                        && self.at > 0
                        && self.word(self.at - 1) == Some("extern") =>
                {
                    self.at += 1;
                    self.tree(&[]);
                    continue;
                }
                Token::Word(_) => {
                    self.expression();
                    continue;
                }
                Token::Mark(_) | Token::Colons => {}
            }
            self.at += 1;
        }
    }

    /// Whether this `use` is the precise capture of `impl Trait + use<'a>`.
    fn captures(&self) -> bool {
        self.mark(self.at + 1) == Some('<')
    }

    /// A path outside `use`: `A::B::C`; single words are names of this file.
    fn expression(&mut self) {
        let line = self.tokens[self.at].0;
        let first = self.at;
        let follows = first > 0
            && (self.mark(first - 1) == Some('.')
                || (self.token(first - 1) == Some(&Token::Colons)
                    && first > 1
                    && (self.word(first - 2).is_some() || self.mark(first - 2) == Some('>'))));
        let path = self.segments();
        if path.len() > 1 && !follows {
            let path = self.absolute(path);
            self.found.push(Name { line, path });
        }
    }

    /// Words with `::` between them, up to the first that has none behind it.
    fn segments(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        while let Some(word) = self.word(self.at) {
            path.push(word.to_owned());
            self.at += 1;
            if self.token(self.at) != Some(&Token::Colons) || self.word(self.at + 1).is_none() {
                break;
            }
            self.at += 1;
        }
        path
    }

    /// One branch of a `use` tree, from behind `use`, `{`, `,` or `::`, with what stood before it.
    fn tree(&mut self, before: &[String]) {
        let line = self.tokens.get(self.at).map_or(0, |(line, _)| *line);
        if self.token(self.at) == Some(&Token::Colons) {
            self.at += 1;
        }
        let mut path = before.to_vec();
        path.extend(self.segments());
        if self.token(self.at) == Some(&Token::Colons) {
            self.at += 1;
        }
        match self.mark(self.at) {
            Some('{') => {
                self.at += 1;
                while self.at < self.tokens.len() && self.mark(self.at) != Some('}') {
                    let from = self.at;
                    self.tree(&path);
                    if self.mark(self.at) == Some(',') || self.at == from {
                        self.at += 1;
                    }
                }
                self.at += 1;
                return;
            }
            Some('*') => {
                self.at += 1;
                path.push("*".into());
            }
            _ => {}
        }
        if path.len() > 1 && path.last().is_some_and(|word| word == "self") {
            path.pop();
        }
        let mut alias = path.last().cloned();
        if self.word(self.at) == Some("as") {
            alias = self.word(self.at + 1).map(String::from);
            self.at += 2;
        }
        if path.is_empty() {
            return;
        }
        let path = self.absolute(path);
        if let Some(alias) = alias
            && path.len() > 1
        {
            self.aliases.entry(alias).or_default().insert(path.clone());
        } else if let Some(alias) = self.renamed(&path) {
            self.aliases.entry(alias).or_default().insert(path.clone());
        }
        self.found.push(Name { line, path });
    }

    /// The new name in `use krate as name`, just read.
    fn renamed(&self, path: &[String]) -> Option<String> {
        let renames = self.at > 1 && self.word(self.at - 2) == Some("as");
        let name = self.word(self.at.checked_sub(1)?)?;
        (renames && path[0] != name).then(|| name.to_owned())
    }

    /// Resolves `self` and `super` at the front.
    fn absolute(&self, path: Vec<String>) -> Vec<String> {
        if path[0] != "self" && path[0] != "super" {
            return path;
        }
        let mut full = vec![String::from("crate")];
        full.extend(self.module.iter().cloned());
        for word in path {
            match word.as_str() {
                "self" => {}
                "super" => {
                    if full.len() > 1 {
                        full.pop();
                    }
                }
                _ => full.push(word),
            }
        }
        full
    }
}

// --- Tokens --------------------------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Colons,
    Mark(char),
}

/// Words, `::` and single marks with their lines; without comments, texts, characters and lifetimes. A text that is
/// nothing but a path from `crate` counts as code: attributes name functions so.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let start = at;
        let char = chars[at];
        if char == '/' && chars.get(at + 1) == Some(&'/') {
            at = past(&chars, at, |c| c != '\n');
        } else if char == '/' && chars.get(at + 1) == Some(&'*') {
            at = past_block_comment(&chars, at);
        } else if let Some((inside, end)) = text_at(&chars, at) {
            if inside.starts_with("crate::") && inside.chars().all(|c| is_word(c) || c == ':') {
                out.extend(tokens(&inside).into_iter().map(|(_, token)| (line, token)));
            }
            at = end;
        } else if char == '\'' {
            at = past_quote(&chars, at);
        } else if is_word(char) {
            if char == 'r' && chars.get(at + 1) == Some(&'#') {
                at += 2;
            }
            let from = at;
            at = past(&chars, at, is_word).max(from + 1);
            out.push((
                line,
                Token::Word(chars[from..at.min(chars.len())].iter().collect()),
            ));
        } else if char == ':' && chars.get(at + 1) == Some(&':') {
            at += 2;
            out.push((line, Token::Colons));
        } else {
            at += 1;
            if !char.is_whitespace() {
                out.push((line, Token::Mark(char)));
            }
        }
        at = at.min(chars.len());
        line += chars[start..at].iter().filter(|c| **c == '\n').count();
    }
    out
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

fn past(chars: &[char], from: usize, wanted: impl Fn(char) -> bool) -> usize {
    let rest = chars[from..].iter();
    from + rest.take_while(|char| wanted(**char)).count()
}

/// Block comments nest.
fn past_block_comment(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0_usize);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth = depth.saturating_sub(1);
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// The text literal that starts here, with any of its prefixes: what it says, and where it ends.
fn text_at(chars: &[char], from: usize) -> Option<(String, usize)> {
    let mut at = from;
    if matches!(chars[at], 'b' | 'c') {
        at += 1;
    }
    let raw = chars.get(at) == Some(&'r');
    at += usize::from(raw);
    let hashes = if raw {
        past(chars, at.min(chars.len()), |c| c == '#') - at
    } else {
        0
    };
    at += hashes;
    if chars.get(at) != Some(&'"') {
        return None;
    }
    at += 1;
    let inside = at;
    while at < chars.len() {
        if !raw && chars[at] == '\\' {
            at += 2;
            continue;
        }
        let closed = chars[at] == '"'
            && chars.len() > at + hashes
            && chars[at + 1..=at + hashes].iter().all(|c| *c == '#');
        if closed {
            return Some((chars[inside..at].iter().collect(), at + 1 + hashes));
        }
        at += 1;
    }
    Some((String::new(), chars.len()))
}

/// Past a character literal, or past the quote of a lifetime (whose name is then dropped as well).
fn past_quote(chars: &[char], from: usize) -> usize {
    if chars.get(from + 1) == Some(&'\\') {
        let close = past(chars, (from + 3).min(chars.len()), |c| c != '\'');
        return close + 1;
    }
    if chars.get(from + 2) == Some(&'\'') {
        return from + 3;
    }
    past(chars, from + 1, is_word)
}
