//! `keygate completion`: what shells need to complete commands.

use super::{Arguments, Exit, Failed};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::{self, Write};

#[derive(Args)]
pub(super) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(super) fn run(&self) -> Result<Exit, Failed> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut Arguments::command(),
            "keygate",
            &mut script,
        );
        io::stdout().write_all(&script)?;
        Ok(Exit::Ok)
    }
}
