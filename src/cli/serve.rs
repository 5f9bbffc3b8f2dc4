//! `keygate serve`: run the gateway until a signal.

use super::{Exit, Failed, load, say};
use crate::app::{App, Output, StartError};
use crate::clock::SystemClock;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub(super) fn run(file: &Path) -> Result<Exit, Failed> {
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
    let app = app.map_err(|fault| {
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
        say(&format!(
            "keygate: listening on http://{} ({})",
            listener.address, listener.name
        ));
    }
    say(&format!(
        "keygate: management on http://{}",
        app.management()
    ));
    app.run_until_signal(signals);
    Ok(Exit::Ok)
}
