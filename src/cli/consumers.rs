//! `keygate consumers`: who calls, and owns keys.

use super::client::Place;
use super::flags::{Care, Common, Limits, Once, Paging, cleared_only, put, put_pairs, said};
use super::output::{Cell, column};
use super::parse::Pair;
use super::resource::{Desk, Resource};
use super::workspaces::WORKSPACE;
use super::{Exit, Failed};
use crate::domain::id::Kind;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

pub(super) const CONSUMER: Resource = Resource {
    one: "consumer",
    path: "consumers",
    kind: Kind::Consumer,
    label: "name",
    columns: &[
        column("ID", "id", Cell::Id, 0),
        column("NAME", "name", Cell::Text, 0),
        column("EXTERNAL ID", "external_id", Cell::Text, 1),
        column("CREATED", "created_at", Cell::Time, 2),
        column("WORKSPACE", "workspace.name|workspace", Cell::Text, 3),
    ],
};

#[derive(Args)]
pub(super) struct Consumers {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List consumers, or search by the start of any word of the name
    #[command(
        after_help = "Examples:\n  keygate consumers list\n  keygate consumers list acme --all -o json"
    )]
    List(List),
    /// Show a consumer, by id or name
    #[command(after_help = "Example:\n  keygate consumers get acme")]
    Get(Named),
    /// Make a consumer
    #[command(
        after_help = "Examples:\n  keygate consumers create acme --external-id crm-4711 --metadata plan=gold\n  keygate consumers create shop --rate 100/s --burst 300"
    )]
    Create(Create),
    /// Change a consumer
    #[command(
        after_help = "Examples:\n  keygate consumers edit acme --name acme-eu\n  keygate consumers edit acme --clear external-id"
    )]
    Edit(Edit),
    /// Delete a consumer that owns no keys
    #[command(
        after_help = "Examples:\n  keygate consumers delete acme --dry-run\n  keygate consumers delete acme --yes"
    )]
    Delete(Delete),
}

#[derive(Args)]
struct List {
    /// Start of any word of the name
    search: Option<String>,
    /// Only of this workspace and those below, by id or name
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Args)]
struct Named {
    /// Id or name
    consumer: String,
}

#[derive(Args)]
struct Create {
    /// Name; goes upstream
    name: String,
    /// Workspace, by id or name [default: that of whoever asks]
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    once: Once,
}

#[derive(Args)]
struct Fields {
    /// What it is
    #[arg(long, value_name = "WORDS")]
    description: Option<String>,
    /// What another system calls it
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// Notes of yours
    #[arg(long = "metadata", value_name = "NAME=VALUE")]
    metadata: Vec<Pair>,
    #[command(flatten)]
    limits: Limits,
}

impl Fields {
    /// The flag that fills a field, if one was given.
    fn flag(&self, field: &str) -> Option<&'static str> {
        match field {
            "description" => said(&[("--description", self.description.is_some())]),
            "external-id" => said(&[("--external-id", self.external_id.is_some())]),
            "metadata" => said(&[("--metadata", !self.metadata.is_empty())]),
            _ => self.limits.flag(),
        }
    }

    fn put_in(&self, body: &mut Map<String, Value>) {
        put(body, "description", self.description.as_deref());
        put(body, "external_id", self.external_id.as_deref());
        put_pairs(body, &self.metadata);
        self.limits.put_in(body);
    }
}

#[derive(Args)]
struct Edit {
    /// Id or name
    consumer: String,
    /// New name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    fields: Fields,
    /// Field to empty
    #[arg(long, value_name = "FIELD", value_parser = ["description", "external-id", "metadata", "limits"])]
    clear: Vec<String>,
    /// Only if it is at this revision
    #[arg(long, value_name = "REVISION")]
    if_match: Option<u64>,
}

#[derive(Args)]
struct Delete {
    /// Id or name
    consumer: String,
    #[command(flatten)]
    care: Care,
}

impl Consumers {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let desk = self.common.open(place)?;
        match self.verb {
            Verb::List(list) => {
                let mut query: Vec<_> = list
                    .search
                    .map(|search| ("q", search))
                    .into_iter()
                    .collect();
                if let Some(named) = &list.workspace {
                    query.push(("workspace", desk.find(&WORKSPACE, named)?));
                }
                desk.list(&CONSUMER, &query, &list.paging)
            }
            Verb::Get(named) => desk.show(&CONSUMER, &named.consumer),
            Verb::Create(create) => create.run(&desk),
            Verb::Edit(edit) => edit.run(&desk),
            Verb::Delete(delete) => desk.delete(&CONSUMER, &delete.consumer, &delete.care),
        }
    }
}

impl Create {
    fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let mut body = Map::new();
        put(&mut body, "name", Some(self.name.as_str()));
        if let Some(named) = &self.workspace {
            put(&mut body, "workspace", Some(desk.find(&WORKSPACE, named)?));
        }
        self.fields.put_in(&mut body);
        let (once, _) = self.once.begin(desk.out.now())?;
        desk.create(&CONSUMER, body, &once)
    }
}

impl Edit {
    fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        for field in &self.clear {
            cleared_only(field, self.fields.flag(field))?;
        }
        let mut body = Map::new();
        put(&mut body, "name", self.name.as_deref());
        self.fields.put_in(&mut body);
        for field in &self.clear {
            body.insert(field.replace('-', "_"), Value::Null);
        }
        desk.edit(&CONSUMER, &self.consumer, body, self.if_match)
    }
}
