//! The fenced blocks of the documents, and what each is checked by: its language, and the comment before it.

use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block.
pub(crate) struct Block {
    pub(crate) document: PathBuf,
    /// Line of its fence.
    pub(crate) line: usize,
    language: String,
    /// The comment `<!-- … -->` in the line before the fence.
    comment: Option<String>,
    pub(crate) text: String,
}

/// How a block is checked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A config file that must pass `keygate check` without a warning.
    Whole,
    /// Some sections of a config file; the others are filled in.
    Fragment,
    /// A config file with faults; the next block is [`Kind::Faults`].
    Faulty,
    /// What `keygate check` says to the block before.
    Faults,
    /// Part of a configuration of Prometheus.
    Prometheus,
    /// Part of a configuration of nginx, inside `http`.
    Nginx,
    /// The two commands that everything begins with.
    Commands,
    /// Shell commands, run in the order of the document together with the others of this name.
    Run(String),
    /// Lines that stand in a file of the repository too, maybe as comments.
    SameLines(String),
    /// JSON with the fields of a real answer or line.
    SameFields(String),
    /// The expression for secret scanners.
    Scanner,
    /// A drawing; every file in it is there.
    Diagram,
}

impl Block {
    pub(crate) fn kind(&self) -> Result<Kind, String> {
        let comment = self.comment.as_deref().unwrap_or_default();
        let (word, rest) = comment.split_once(": ").unwrap_or((comment, ""));
        let whole = self.text.starts_with("listeners:") || self.text.contains("\nlisteners:");
        Ok(match (&*self.language, word, rest) {
            ("yaml", "" | "check", "" | "whole") if whole => Kind::Whole,
            ("yaml", "check", "fragment") if !whole => Kind::Fragment,
            ("yaml", "check", "faulty") if whole => Kind::Faulty,
            ("text", "faults", "") => Kind::Faults,
            ("yaml", "check", "prometheus") => Kind::Prometheus,
            ("nginx", "check", "nginx") => Kind::Nginx,
            ("sh", "commands", "") => Kind::Commands,
            ("sh", "run", name) if !name.is_empty() => Kind::Run(name.into()),
            ("sh", "same lines as", file) if !file.is_empty() => Kind::SameLines(file.into()),
            ("json", "same fields as", what) if !what.is_empty() => Kind::SameFields(what.into()),
            ("text", "same as", "SCANNER_REGEX") => Kind::Scanner,
            ("text", "diagram", "") => Kind::Diagram,
            _ => {
                return Err(format!(
                    "{}: nothing checks a block of `{}` after the comment `{comment}`",
                    self.place(),
                    self.language
                ));
            }
        })
    }

    pub(crate) fn is(&self, kind: &Kind) -> bool {
        self.kind().as_ref() == Ok(kind)
    }

    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.document.display(), self.line)
    }
}

/// All blocks of all documents.
pub(crate) fn all() -> Vec<Block> {
    let root = super::root();
    super::documents(root)
        .iter()
        .flat_map(|document| {
            let text = fs::read_to_string(root.join(document)).unwrap();
            blocks(document, &text)
        })
        .collect()
}

fn blocks(document: &Path, text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut before = "";
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        // One kind of fence is enough; the other one is refused as a language.
        let fence = start
            .strip_prefix("```")
            .or(start.starts_with("~~~").then_some(start));
        match (open.take(), fence) {
            (Some(block), Some(_)) => found.push(block),
            (Some(mut block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, Some(language)) => {
                let comment = before
                    .strip_prefix("<!-- ")
                    .and_then(|rest| rest.strip_suffix(" -->"));
                open = Some(Block {
                    document: document.to_owned(),
                    line: index + 1,
                    language: language.to_owned(),
                    comment: comment.map(str::to_owned),
                    text: String::new(),
                });
            }
            (None, None) => before = line,
        }
    }
    assert!(
        open.is_none(),
        "{}: a block is not closed",
        document.display()
    );
    found
}

#[test]
fn blocks_are_found_with_what_stands_before_them() {
    let text = "<!-- run: a -->\n```sh\nls\n\n```\n\n```yaml\nlisteners: []\n```\n<!-- run: b -->\n\n```sh\n```\n";
    let found = blocks(Path::new("a.md"), text);
    let kinds: Vec<_> = found.iter().map(Block::kind).collect();
    assert_eq!(kinds[0], Ok(Kind::Run("a".into())));
    assert_eq!((found[0].line, &*found[0].text), (2, "ls\n\n"));
    assert_eq!(kinds[1], Ok(Kind::Whole));
    // The comment must stand right before the fence.
    assert!(kinds[2].is_err());
}

#[test]
fn a_block_that_nothing_checks_is_found() {
    for text in [
        "```\nx\n```",
        "```sh\nls\n```",
        "```yaml\nkeys: []\n```",
        "```json\n{}\n```",
        "~~~sh\nls\n~~~",
        "```toml\nx = 1\n```",
        "<!-- check: fragment -->\n```yaml\nlisteners: []\n```",
    ] {
        assert!(blocks(Path::new("a.md"), text)[0].kind().is_err(), "{text}");
    }
}
