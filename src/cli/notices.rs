//! `keygate notices`: what a person should know.

use super::client::{Listed, Place};
use super::flags::{Common, Paging};
use super::keys::Preview;
use super::output::{Cell, column};
use super::resource::{Desk, Resource};
use super::{Exit, Failed};
use crate::domain::id::Kind;
use anyhow::anyhow;
use clap::{Args, Subcommand};
use serde_json::json;

const NOTICE: Resource = Resource {
    one: "notice",
    path: "notices",
    kind: Kind::Notice,
    label: "title",
    columns: &[
        column("ID", "id", Cell::Id, 0),
        column("WHEN", "at", Cell::Time, 1),
        column("SEVERITY", "severity", Cell::Status, 2),
        column("WHAT", "title", Cell::Text, 0),
        column("KIND", "kind", Cell::Text, 4),
        column("READ", "read_at", Cell::Time, 3),
    ],
};

#[derive(Args)]
pub(super) struct Notices {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List notices
    #[command(after_help = "Examples:\n  keygate notices list\n  keygate notices list --unread")]
    List(List),
    /// Mark notices as read
    #[command(
        after_help = "Examples:\n  keygate notices read ntc_01jyzx5rhdf3sbz3hv1yqn2tp9\n  keygate notices read --all"
    )]
    Read(Read),
    /// Show which keys inactivity will disable or delete, and when
    #[command(after_help = "Example:\n  keygate notices preview")]
    Preview(Preview),
}

#[derive(Args)]
struct List {
    /// Only those that you have not read
    #[arg(long)]
    unread: bool,
    /// Only of this kind: key.expiring, or key.* for all that begin so
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Args)]
struct Read {
    /// Ids
    notices: Vec<String>,
    /// All there are
    #[arg(long, conflicts_with = "notices")]
    all: bool,
}

impl Notices {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let desk = self.common.open(place)?;
        match self.verb {
            Verb::List(list) => {
                let mut query: Vec<_> = list.kind.map(|kind| ("kind", kind)).into_iter().collect();
                query.extend(list.unread.then(|| ("unread", "true".to_owned())));
                desk.list(&NOTICE, &query, &list.paging)
            }
            Verb::Read(read) => read.run(&desk),
            Verb::Preview(preview) => preview.run(&desk),
        }
    }
}

impl Read {
    fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        if self.all {
            let read = desk.api.post(&[NOTICE.path, "read"]).json(&json!({}));
            let read = read.send()?;
            let count = read["read"].as_u64().unwrap_or_default();
            desk.out.tell(&read, &format!("{count} were new"))?;
            return Ok(Exit::Ok);
        }
        if self.notices.is_empty() {
            let fault = anyhow!("name notices, or say --all");
            return Err(Failed::with(Exit::Usage, fault));
        }
        let mut rows = Vec::new();
        for id in &self.notices {
            let call = desk.api.post(&[NOTICE.path, id, "read"]);
            rows.push(call.json(&json!({})).send()?);
        }
        desk.out.list(NOTICE.columns, &Listed::of(rows))?;
        Ok(Exit::Ok)
    }
}
