//! What a person is asked at a terminal, and what scripts say instead.

use super::{Exit, Failed, files};
use crate::domain::secret::Secret;
use anyhow::{Context, anyhow};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;

/// Longer than any secret.
const MAX_SECRET: u64 = 64 * 1024;

/// Whether there is a person to ask, or whose consent is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consent {
    Given,
    Ask,
}

impl Consent {
    /// Before anything is done: without a terminal, consent has to be there.
    pub(super) fn of(yes: bool) -> Result<Self, Failed> {
        if yes {
            return Ok(Self::Given);
        }
        if io::stdin().is_terminal() && io::stderr().is_terminal() {
            return Ok(Self::Ask);
        }
        let fault = anyhow!("this cannot be asked without a terminal: add --yes if it is meant");
        Err(Failed::with(Exit::Usage, fault))
    }

    /// Asks, if it must.
    pub(super) fn to(self, question: &str) -> Result<(), Failed> {
        if self == Self::Given {
            return Ok(());
        }
        let mut err = io::stderr();
        write!(err, "{question} [y/N] ")?;
        err.flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if matches!(answer.trim(), "y" | "Y" | "yes") {
            Ok(())
        } else {
            Err(anyhow!("nothing was done").into())
        }
    }
}

/// A password: typed without an echo, or a line of standard input.
pub(super) fn password(prompt: &str) -> Result<Secret<String>, Failed> {
    if io::stdin().is_terminal() {
        let typed = rpassword::prompt_password(format!("{prompt}: "));
        let typed = typed.context("the password cannot be read")?;
        return not_empty(Secret::new(typed));
    }
    not_empty(line(&mut io::stdin().lock())?)
}

/// A new password: typed twice, or a line of standard input.
pub(super) fn new_password() -> Result<Secret<String>, Failed> {
    let password = password("New password")?;
    if io::stdin().is_terminal() {
        let again = rpassword::prompt_password("Again: ");
        let again = Secret::new(again.context("the password cannot be read")?);
        if !again.matches(password.expose().as_bytes()) {
            return Err(anyhow!("the two are not the same").into());
        }
    }
    Ok(password)
}

/// What a prompt asks for in the clear; a line of standard input without a terminal.
pub(super) fn word(prompt: &str) -> Result<String, Failed> {
    if io::stdin().is_terminal() {
        let mut err = io::stderr();
        write!(err, "{prompt}: ")?;
        err.flush()?;
    }
    let line = line(&mut io::stdin().lock())?;
    Ok(line.expose().clone())
}

/// The one secret in a file, or on standard input.
pub(super) fn secret(file: Option<&Path>, what: &str) -> Result<Secret<String>, Failed> {
    if let Some(file) = file {
        let named = || file.display().to_string();
        let opened = files::open(file)?;
        return not_empty(
            all(opened).map_err(|fault| Failed::with(fault.exit, fault.cause.context(named())))?,
        );
    }
    if io::stdin().is_terminal() {
        let typed = rpassword::prompt_password(format!("{what} (not shown): "));
        return not_empty(Secret::new(typed.context("it cannot be read")?));
    }
    not_empty(all(io::stdin())?)
}

fn all(from: impl Read) -> Result<Secret<String>, Failed> {
    line(&mut io::BufReader::new(from))
}

/// One line without its end. Its memory is taken in one piece, so that no copy of a secret stays behind.
fn line(from: &mut impl BufRead) -> Result<Secret<String>, Failed> {
    let mut text = String::with_capacity(4096);
    let read = from.take(MAX_SECRET).read_line(&mut text);
    let mut text = Secret::new(text);
    read.context("standard input is not readable text")?;
    let kept = text.expose().trim_end_matches(['\n', '\r']).len();
    if kept < text.expose().len() {
        text = Secret::new(text.expose()[..kept].to_owned());
    }
    Ok(text)
}

fn not_empty(secret: Secret<String>) -> Result<Secret<String>, Failed> {
    if secret.expose().is_empty() {
        return Err(Failed::with(Exit::Usage, anyhow!("nothing was given")));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_at_its_end() {
        for (text, want) in [
            ("one\r\ntwo", "one"),
            ("one", "one"),
            ("", ""),
            (" a b \n", " a b "),
        ] {
            let read = line(&mut text.as_bytes()).ok().unwrap();
            assert_eq!(read.expose(), want);
        }
    }

    #[test]
    fn nothing_is_refused() {
        let fault = not_empty(Secret::new(String::new())).err().unwrap();
        assert_eq!(fault.exit, Exit::Usage);
    }
}
