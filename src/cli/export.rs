//! Long answers: to standard output, or to a file.

use super::client::Call;
use super::files::{Begun, Guard};
use super::{Exit, Failed};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::io;
use std::path::PathBuf;

/// Where a long answer goes.
#[derive(Args)]
pub(super) struct To {
    /// File that it is written to, readable by its owner only [default: standard output]
    #[arg(long = "to", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Do not ask; write over a file that is there
    #[arg(short, long)]
    yes: bool,
}

impl To {
    /// Passes the answer of a call on, whole or not at all where it is a file.
    pub(super) fn take(&self, call: Call<'_>) -> Result<Exit, Failed> {
        if let Some(file) = &self.file {
            let guard = if self.yes {
                Guard::Replace
            } else {
                Guard::Keep
            };
            let mut begun = Begun::start(file, guard)?;
            // Shown on a terminal only.
            let bar = ProgressBar::no_length();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {bytes} {elapsed}") {
                bar.set_style(style);
            }
            call.stream_to(&mut bar.wrap_write(&mut begun))?;
            bar.finish_and_clear();
            begun.finish()?;
        } else {
            call.stream_to(&mut io::stdout().lock())?;
        }
        Ok(Exit::Ok)
    }
}
