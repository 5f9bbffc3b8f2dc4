//! `keygate check`: every fault of a config file in one run.

use super::{Exit, Failed, or_default, print, say};
use crate::config;
use clap::Args;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Check {
    /// The file to check [default: --config]
    file: Option<PathBuf>,
}

impl Check {
    pub(super) fn run(self, config: Option<PathBuf>) -> Result<Exit, Failed> {
        let file = self.file.unwrap_or_else(|| or_default(config));
        match config::load(&file) {
            Ok(config) => {
                for warning in &config.warnings {
                    say(&format!("warning: {warning}"));
                }
                let (routes, keys) = (config.routes.len(), config.keys.len());
                print(&format!(
                    "{}: ok ({routes} routes, {keys} keys)",
                    file.display()
                ))?;
                Ok(Exit::Ok)
            }
            Err(fault) => {
                say(&fault.to_string());
                Ok(Exit::CheckFailed)
            }
        }
    }
}
