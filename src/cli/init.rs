//! `keygate init`: a folder to start from. What is there already stays as it is.

use super::files::{self, Guard};
use super::output::plain;
use super::{DEFAULT_CONFIG, Exit, Failed, print, say};
use anyhow::Context;
use clap::Args;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const CONFIG: &str = include_str!("../../config/starter.yaml");

#[derive(Args)]
pub(super) struct Init {
    /// Folder of the config file
    #[arg(default_value = "config")]
    folder: PathBuf,
}

impl Init {
    pub(super) fn run(&self) -> Result<Exit, Failed> {
        let data = self.folder.join("data");
        if !self.folder.is_dir() {
            fs::create_dir_all(&self.folder)
                .with_context(|| format!("{} cannot be made", self.folder.display()))?;
        }
        files::private_folder(&data)?;
        begin(&data.join("master.key"), &master_key()?)?;
        begin(&self.folder.join("keygate.yaml"), CONFIG)?;
        say(
            "Keep a copy of master.key in a safe place: what is sealed with it is lost without it.",
        );
        say(&self.next());
        Ok(Exit::Ok)
    }

    /// How to go on: the folder of the default needs no `--config`.
    fn next(&self) -> String {
        let file = self.folder.join("keygate.yaml");
        let config = if file == Path::new(DEFAULT_CONFIG) {
            String::new()
        } else {
            format!(" --config {}", quoted(&file))
        };
        format!(
            "Next, name your service in {file} and start the gateway; with the token that it makes, sign in and make a \
             key:\n  \
             keygate serve{config} --setup-token-file setup-token\n  \
             keygate login{config} --token-stdin < setup-token\n  \
             keygate keys create first --scope service{config}",
            file = plain(&file.display().to_string())
        )
    }
}

/// A path as a shell takes it.
fn quoted(file: &Path) -> String {
    let text = plain(&file.display().to_string());
    let bare = |letter: char| letter.is_alphanumeric() || "/._-+,:@".contains(letter);
    if text.chars().all(bare) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Writes a file that is not there yet.
fn begin(file: &Path, text: &str) -> Result<(), Failed> {
    match files::write(file, text.as_bytes(), Guard::Keep) {
        Ok(()) => print(&format!("{}: written", file.display()))?,
        Err(failed) if failed.exit == Exit::Conflict => {
            print(&format!("{}: there already, left as it is", file.display()))?;
        }
        Err(failed) => return Err(failed),
    }
    Ok(())
}

/// 256 random bits in hex.
fn master_key() -> Result<Zeroizing<String>, Failed> {
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *random).context("the system has no randomness")?;
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in random.iter() {
        write!(text, "{byte:02x}")?;
    }
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_next_commands_name_the_folder_that_was_made() {
        let next = |folder: &str| {
            let folder = folder.into();
            Init { folder }.next()
        };
        assert!(!next("config").contains("--config"));
        assert!(next("/etc/keygate").contains("serve --config /etc/keygate/keygate.yaml --setup"));
        assert!(next("a b's").contains(r"login --config 'a b'\''s/keygate.yaml' --token"));
    }

    #[test]
    fn a_start_that_passes_the_check_and_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let init = Init {
            folder: folder.path().join("new"),
        };
        let place = |name: &str| init.folder.join(name);
        init.run().ok().unwrap();
        let config = crate::config::load(&place("keygate.yaml")).unwrap();
        assert_eq!(config.warnings.len(), 0);
        let key = fs::read_to_string(place("data/master.key")).unwrap();
        assert_eq!(key.trim_end().len(), 64);
        assert!(key.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()));
        let mode = |name: &str| fs::metadata(place(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("data"), mode("data/master.key")), (0o700, 0o600));
        fs::write(place("keygate.yaml"), "mine").unwrap();
        init.run().ok().unwrap();
        assert_eq!(fs::read_to_string(place("keygate.yaml")).unwrap(), "mine");
        assert_eq!(fs::read_to_string(place("data/master.key")).unwrap(), key);
    }
}
