//! `keygate keys export`.

use super::KEY;
use super::rows::Filter;
use crate::cli::export::To;
use crate::cli::resource::Desk;
use crate::cli::{Exit, Failed};
use clap::Args;

#[derive(Args)]
pub(super) struct Export {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    to: To,
}

impl Export {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let query = self.filter.query(desk)?;
        self.to
            .take(desk.api.get(&[KEY.path, "export"]).queries(&query))
    }
}
