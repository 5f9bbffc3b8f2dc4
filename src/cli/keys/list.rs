//! What is known of keys: lists, one of them, its use, reports.

use super::rows::Filter;
use super::{KEY, USAGE};
use crate::cli::flags::Paging;
use crate::cli::output::{Column, Format};
use crate::cli::parse::When;
use crate::cli::resource::Desk;
use crate::cli::{Exit, Failed};
use clap::Args;

#[derive(Args)]
pub(super) struct List {
    /// Start of any word of name, tag or hint, or a whole id
    search: Option<String>,
    #[command(flatten)]
    filter: Filter,
    #[arg(
        long,
        value_name = "FIELD",
        allow_hyphen_values = true,
        help = "Order: name, created_at, updated_at, last_used_at or expires_at, with - in front the other way round"
    )]
    sort: Option<String>,
    /// Say how many there are in all
    #[arg(long)]
    total: bool,
    #[command(flatten)]
    paging: Paging,
}

impl List {
    pub(super) fn run(self, desk: &Desk) -> Result<Exit, Failed> {
        let mut query = self.filter.query(desk)?;
        query.extend(self.search.map(|search| ("q", search)));
        query.extend(self.sort.map(|sort| ("sort", sort)));
        query.extend(self.total.then(|| ("total", "true".to_owned())));
        desk.list(&KEY, &query, &self.paging)
    }
}

#[derive(Args)]
pub(super) struct Get {
    /// Id, name or hint
    key: String,
}

impl Get {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        desk.show(&KEY, &self.key)
    }
}

#[derive(Args)]
pub(super) struct Usage {
    /// Id, name or hint
    key: String,
    /// From then on: 7d ago, or 2026-01-01
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Up to then
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
}

impl Usage {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let id = desk.find(&KEY, &self.key)?;
        let mut call = desk.api.get(&[KEY.path, &id, "usage"]);
        for (name, when) in [("from", &self.since), ("to", &self.until)] {
            let at = when.as_ref().map(|when| when.back(desk.out.now()));
            if let Some(at) = at.as_ref().and_then(|at| at.as_str()) {
                call = call.query(name, at);
            }
        }
        let mut usage = call.send()?;
        if desk.out.format() == Format::Table && usage["data"].is_array() {
            let listed = crate::cli::client::Listed::of(usage["data"].take());
            desk.out.list(USAGE, &listed)?;
        } else {
            desk.out.one(&usage)?;
        }
        Ok(Exit::Ok)
    }
}

#[derive(Args)]
pub(super) struct Report {
    #[command(flatten)]
    paging: Paging,
}

impl Report {
    pub(super) fn run(
        &self,
        desk: &Desk,
        path: &[&str],
        columns: &[Column],
    ) -> Result<Exit, Failed> {
        desk.report(path, &[], columns, self.paging.most())?;
        Ok(Exit::Ok)
    }
}
