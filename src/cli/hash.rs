//! `keygate hash`: from a key to the hash that a config file holds. The key comes by standard input, never by argument.

use super::{Exit, Failed, load, print, say};
use crate::domain::key::{KeyFormat, MAX_PRESENTED_LEN, MIN_FOREIGN_LEN, PlainKey, Shape};
use anyhow::{Context, bail};
use clap::Args;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

#[derive(Args)]
pub(super) struct Hash {
    /// Make a new key, print it once with its hash
    #[arg(long)]
    generate: bool,
    /// Environment of the new key
    #[arg(
        long = "env",
        value_name = "ENV",
        requires = "generate",
        default_value = "live"
    )]
    environment: String,
}

impl Hash {
    pub(super) fn run(self, config: Option<&Path>) -> Result<Exit, Failed> {
        let format = match config {
            Some(file) => load(file)?.key_format,
            None => KeyFormat::default(),
        };
        if self.generate {
            let key = format.generate(&self.environment)?;
            print(&format!("key: {}", key.expose()))?;
            print(&format!("hash: {}", key.hash().at_rest()))?;
            say("The key is shown this once. The hash goes into the config file.");
            return Ok(Exit::Ok);
        }
        let key = read_key()?;
        if format.shape(key.expose().as_bytes()) == Shape::Malformed {
            return Err(anyhow::anyhow!(
                "this looks like a keygate key, but its checksum or length is wrong"
            )
            .into());
        }
        print(&key.hash().at_rest())?;
        Ok(Exit::Ok)
    }
}

/// One line of standard input, without its line end.
fn read_key() -> anyhow::Result<PlainKey> {
    if io::stdin().is_terminal() {
        say("Type or paste the key, then press Enter and Ctrl-D:");
    }
    let mut text = String::with_capacity(MAX_PRESENTED_LEN * 2);
    let most = MAX_PRESENTED_LEN as u64 + 3;
    io::stdin()
        .take(most)
        .read_to_string(&mut text)
        .context("standard input is not readable text")?;
    let key = PlainKey::new(text);
    let line = key.expose().trim_end_matches(['\n', '\r']);
    if line.is_empty() {
        bail!("no key on standard input");
    }
    if line.len() < MIN_FOREIGN_LEN {
        bail!("a key has at least {MIN_FOREIGN_LEN} bytes");
    }
    if line.len() > MAX_PRESENTED_LEN {
        bail!("a key has at most {MAX_PRESENTED_LEN} bytes");
    }
    if line
        .bytes()
        .any(|byte| byte.is_ascii_control() || byte == b' ')
    {
        bail!("a key is one line without spaces");
    }
    Ok(PlainKey::new(line.to_owned()))
}
