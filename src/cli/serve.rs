//! `keygate serve`: run the gateway until a signal.

use super::{Exit, Failed, load, print, say};
use crate::app::{App, Output, StartError};
use crate::clock::SystemClock;
use crate::domain::key::PlainKey;
use clap::Args;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

#[derive(Args)]
pub(super) struct Serve {
    /// Write the setup token of a new store into this file (0600) instead of standard output
    #[arg(long, value_name = "FILE")]
    setup_token_file: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self, file: &Path) -> Result<Exit, Failed> {
        run(file, self.setup_token_file.as_deref())
    }
}

fn run(file: &Path, setup_token_file: Option<&Path>) -> Result<Exit, Failed> {
    let config = load(file)?;
    for warning in &config.warnings {
        say(&format!("keygate: warning: {warning}"));
    }
    let app = App::start(
        &config,
        Some(file.to_owned()),
        Arc::new(SystemClock::new()),
        Output::Process,
    );
    let mut app = app.map_err(|fault| {
        let exit = match &fault {
            StartError::Bind(bind) if bind.source.kind() == io::ErrorKind::AddrInUse => {
                Exit::Conflict
            }
            StartError::Log { .. } => Exit::NotFound,
            StartError::Bind(_)
            | StartError::System(_)
            | StartError::Store(_)
            | StartError::Token(_)
            | StartError::Metrics(_) => Exit::Failure,
        };
        Failed::with(exit, fault)
    })?;
    // With many keys this is most of the memory that the start needs.
    drop(config);
    // Before anything is said: whoever reads it may send a signal.
    let signals = app.catch_signals()?;
    for listener in app.listeners() {
        let scheme = if listener.tls { "https" } else { "http" };
        say(&format!(
            "keygate: listening on {scheme}://{} ({})",
            listener.address, listener.name
        ));
    }
    say(&format!(
        "keygate: management on http://{}",
        app.management()
    ));
    let place = setup_token_file.map(Path::to_owned);
    if let Some(token) = app.take_setup_token() {
        hand_over(token, place)?;
    } else {
        app.await_setup_token(move |token| {
            // Traffic is served already: it does not end for this.
            if let Err(fault) = hand_over(token, place) {
                say(&format!("keygate: {:#}", fault.cause));
            }
        });
    }
    app.run_until_signal(signals);
    Ok(Exit::Ok)
}

/// Pause before a file for the setup token is tried again: the token is good and nobody has seen it, so it is not dropped.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// The setup token of a new store: shown or written once, never logged.
fn hand_over(token: PlainKey, file: Option<PathBuf>) -> Result<(), Failed> {
    let Some(file) = file else {
        say(
            "keygate: the store has no owner; this token sets it up within 24 hours and is not shown again:",
        );
        print(token.expose())?;
        return Ok(());
    };
    if let Err(fault) = write_token(&token, &file) {
        say(&format!(
            "keygate: cannot write the setup token to {}: {fault}; it is tried again until that is mended",
            file.display()
        ));
        thread::spawn(move || {
            while write_token(&token, &file).is_err() {
                thread::sleep(TRY_AGAIN);
            }
        });
    }
    Ok(())
}

/// Nobody else can read it, and what is there is left alone.
fn write_token(token: &PlainKey, file: &Path) -> io::Result<()> {
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    writeln!(out, "{}", token.expose())?;
    say(&format!(
        "keygate: the store has no owner; the token that sets it up is in {}",
        file.display()
    ));
    Ok(())
}
