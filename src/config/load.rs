//! Reads the file twice: `saphyr-parser` finds the place of every value, `serde_yaml` says what each value is.
//! `serde_yaml` alone stops at the first fault and keeps no places; its name stands in this file only. Where there are very many
//! keys, that is done for a few thousand of them at a time.

use super::raw::{Item, Mark, Node, Parts, Report, Slip};
use super::{Config, ConfigError, PortionId, pieces, resolve};
use serde::de::DeserializeSeed;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Most bytes of a config file: far above a hundred thousand keys, far below the machine's memory.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Reads and checks a config file.
pub fn load(file: &Path) -> Result<Config, ConfigError> {
    load_but(file, |_| false)
}

/// Reads and checks a config file but for those portions of its keys that are known already.
pub fn load_but(file: &Path, known: impl Fn(&PortionId) -> bool) -> Result<Config, ConfigError> {
    let text = read(file).map_err(|source| ConfigError::Unreadable {
        file: file.to_owned(),
        source,
    })?;
    parse_but(file, &text, known)
}

/// Checks the text of a config file; relative paths in it start at the folder of `file`.
pub fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
    parse_but(file, text, |_| false)
}

fn parse_but(
    file: &Path,
    text: &str,
    known: impl Fn(&PortionId) -> bool,
) -> Result<Config, ConfigError> {
    match pieces::read(text, known, |piece| whole(file, piece)) {
        Some(config) => Ok(config),
        None => whole(file, text),
    }
}

pub(super) fn whole(file: &Path, text: &str) -> Result<Config, ConfigError> {
    let report = Report::new(file);
    let tree = match tree(text) {
        Ok(tree) => tree,
        Err(slip) => {
            report.fault(slip.place, String::new(), slip.what);
            return Err(invalid(report.into_parts()));
        }
    };
    let mut config = resolve::config(&Item::root(&tree, &report));
    let parts = report.into_parts();
    if !parts.faults.is_empty() {
        return Err(invalid(parts));
    }
    config.warnings = parts.warnings;
    config.files = parts.files;
    Ok(config)
}

fn invalid(parts: Parts) -> ConfigError {
    ConfigError::Invalid {
        faults: parts.faults,
        files: parts.files,
    }
}

fn read(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "larger than 256 MiB",
        ));
    }
    Ok(text)
}

/// Both readings as one tree. The first one bounds depth and refuses aliases, so the second cannot blow up.
pub(super) fn tree(text: &str) -> Result<Node, Slip> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let marks = Mark::read(text)?;
    let start = marks.place();
    marks
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|fault| slip(&fault, start))
}

/// The place goes where ours go, out of the message.
fn slip(fault: &serde_yaml::Error, start: (usize, usize)) -> Slip {
    let message = fault.to_string();
    let what = message
        .split_once(" at line ")
        .map_or(&*message, |(what, _)| what);
    Slip {
        place: fault
            .location()
            .map_or(start, |at| (at.line(), at.column())),
        what: format!("not YAML: {what}"),
    }
}
