//! `keygate workspaces`: the tree of tenants.

use super::client::Place;
use super::flags::{Care, Common, Once, Paging, put, put_pairs};
use super::output::{Cell, column};
use super::parse::{Idle, Pair};
use super::resource::{Desk, Resource};
use super::{Exit, Failed};
use crate::domain::id::Kind;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

pub(super) const WORKSPACE: Resource = Resource {
    one: "workspace",
    path: "workspaces",
    kind: Kind::Workspace,
    label: "name",
    columns: &[
        column("ID", "id", Cell::Id, 0),
        column("NAME", "name", Cell::Text, 0),
        column("KIND", "kind", Cell::Text, 1),
        column("PARENT", "parent", Cell::Id, 2),
        column("EXTERNAL ID", "external_id", Cell::Text, 3),
    ],
};

#[derive(Args)]
pub(super) struct Workspaces {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List workspaces, or search by the start of any word of the name
    #[command(after_help = "Example:\n  keygate workspaces list")]
    List(List),
    /// Show a workspace, by id or name
    #[command(after_help = "Example:\n  keygate workspaces get north")]
    Get(Named),
    /// Make a workspace below another one
    #[command(
        after_help = "Examples:\n  keygate workspaces create north --kind location\n  \
        keygate workspaces create shop-7 --parent north --inactivity notify:180d"
    )]
    Create(Create),
    /// Change a workspace
    #[command(after_help = "Example:\n  keygate workspaces edit north --name north-east")]
    Edit(Edit),
    /// Delete an empty workspace
    #[command(
        after_help = "Examples:\n  keygate workspaces delete shop-7 --dry-run\n  keygate workspaces delete shop-7 --yes"
    )]
    Delete(Delete),
}

#[derive(Args)]
struct List {
    /// Start of any word of the name
    search: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Args)]
struct Named {
    /// Id or name
    workspace: String,
}

#[derive(Args)]
struct Create {
    /// Name, unique among its siblings
    name: String,
    /// Workspace that it is below, by id or name [default: that of whoever asks]
    #[arg(long, value_name = "WORKSPACE")]
    parent: Option<String>,
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    once: Once,
}

#[derive(Args)]
struct Fields {
    /// What kind of tenant, such as location, team or customer
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// What another system calls it
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// Notes of yours
    #[arg(long = "metadata", value_name = "NAME=VALUE")]
    metadata: Vec<Pair>,
    /// For its keys that nobody uses: off, workspace (as the one above), or notify, disable or delete with a time
    #[arg(long, value_name = "POLICY")]
    inactivity: Option<Idle>,
}

impl Fields {
    fn put_in(&self, body: &mut Map<String, Value>) {
        put(body, "kind", self.kind.as_deref());
        put(body, "external_id", self.external_id.as_deref());
        put(body, "inactivity", self.inactivity.as_ref().map(Idle::told));
        put_pairs(body, &self.metadata);
    }
}

#[derive(Args)]
struct Edit {
    /// Id or name
    workspace: String,
    /// New name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    fields: Fields,
    /// Field to empty
    #[arg(long, value_name = "FIELD", value_parser = ["external-id", "metadata", "inactivity"])]
    clear: Vec<String>,
    /// Only if it is at this revision
    #[arg(long, value_name = "REVISION")]
    if_match: Option<u64>,
}

#[derive(Args)]
struct Delete {
    /// Id or name
    workspace: String,
    #[command(flatten)]
    care: Care,
}

impl Workspaces {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let desk = self.common.open(place)?;
        match self.verb {
            Verb::List(list) => {
                let query: Vec<_> = list
                    .search
                    .map(|search| ("q", search))
                    .into_iter()
                    .collect();
                desk.list(&WORKSPACE, &query, &list.paging)
            }
            Verb::Get(named) => desk.show(&WORKSPACE, &named.workspace),
            Verb::Create(create) => create.run(&desk),
            Verb::Edit(edit) => edit.run(&desk),
            Verb::Delete(delete) => desk.delete(&WORKSPACE, &delete.workspace, &delete.care),
        }
    }
}

impl Create {
    fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let mut body = Map::new();
        put(&mut body, "name", Some(self.name.as_str()));
        if let Some(named) = &self.parent {
            put(&mut body, "parent", Some(desk.find(&WORKSPACE, named)?));
        }
        self.fields.put_in(&mut body);
        let (once, _) = self.once.begin(desk.out.now())?;
        desk.create(&WORKSPACE, body, &once)
    }
}

impl Edit {
    fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let mut body = Map::new();
        put(&mut body, "name", self.name.as_deref());
        self.fields.put_in(&mut body);
        for field in &self.clear {
            body.insert(field.replace('-', "_"), Value::Null);
        }
        desk.edit(&WORKSPACE, &self.workspace, body, self.if_match)
    }
}
