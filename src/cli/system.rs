//! `keygate status` and `keygate nodes`: how a gateway is, and which others share its store.

use super::client::{Listed, Place};
use super::flags::Common;
use super::output::{Cell, Column, column};
use super::{Exit, Failed};
use clap::{Args, Subcommand};
use serde_json::Value;

const NODES: &[Column] = &[
    column("ID", "id", Cell::Id, 0),
    column("NAME", "name", Cell::Text, 0),
    column("VERSION", "version", Cell::Id, 2),
    column("STARTED", "started_at", Cell::Time, 3),
    column("SEEN", "seen_at", Cell::Time, 1),
    column("APPLIED", "applied", Cell::Count, 1),
    column("OBSERVED", "observed", Cell::Count, 4),
];

#[derive(Args)]
pub(super) struct Status {
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub(super) struct Nodes {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List gateways that share the store, and the revision that each serves by
    #[command(after_help = "Example:\n  keygate nodes list")]
    List,
}

impl Status {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let desk = self.common.open(place)?;
        desk.out.one(&desk.api.status().send()?)?;
        Ok(Exit::Ok)
    }
}

impl Nodes {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let desk = self.common.open(place)?;
        let Verb::List = self.verb;
        let mut all = desk.api.get(&["nodes"]).send()?;
        if let Value::Array(rows) = all["data"].take() {
            desk.out.list(NODES, &Listed::of(rows))?;
        }
        Ok(Exit::Ok)
    }
}
