//! `keygate webhooks`: addresses that are told of events.

use super::client::Place;
use super::flags::{Care, Common, Keep, Once, Paging, put, put_list};
use super::output::{Cell, Column, Format, column};
use super::parse::{Span, When};
use super::resource::{Desk, Resource};
use super::secret::Destination;
use super::workspaces::WORKSPACE;
use super::{Exit, Failed};
use crate::domain::id::Kind;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

const WEBHOOK: Resource = Resource {
    one: "webhook",
    path: "webhooks",
    kind: Kind::Webhook,
    label: "name",
    columns: &[
        column("ID", "id", Cell::Id, 0),
        column("NAME", "name", Cell::Text, 0),
        column("STATE", "state", Cell::Status, 1),
        column("URL", "url", Cell::Text, 2),
        column("EVENTS", "events", Cell::Text, 4),
        column("FAILING", "failing_since", Cell::Time, 3),
    ],
};

const DELIVERIES: &[Column] = &[
    column("ID", "id", Cell::Id, 0),
    column("STATE", "state", Cell::Status, 0),
    column("EVENT", "type", Cell::Text, 1),
    column("ATTEMPTS", "attempts", Cell::Count, 3),
    column("ANSWER", "last_status|last_error", Cell::Text, 2),
    column("MADE", "created_at", Cell::Time, 4),
];

#[derive(Args)]
pub(super) struct Webhooks {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List webhooks, or search by the start of any word of the name
    #[command(after_help = "Example:\n  keygate webhooks list")]
    List(List),
    /// Show a webhook, by id or name
    #[command(after_help = "Example:\n  keygate webhooks get alerts")]
    Get(Named),
    /// Make a webhook; its signing secret is shown this once
    #[command(
        after_help = "Examples:\n  keygate webhooks create alerts https://hooks.example.com/keygate\n  \
        keygate webhooks create alerts https://hooks.example.com/keygate --event key.revoked --save-to alerts.secret"
    )]
    Create(Create),
    /// Change a webhook
    #[command(
        after_help = "Examples:\n  keygate webhooks edit alerts --event key.expiring --event key.revoked\n  \
        keygate webhooks edit alerts --state disabled"
    )]
    Edit(Edit),
    /// Delete a webhook
    #[command(after_help = "Example:\n  keygate webhooks delete alerts --yes")]
    Delete(Delete),
    /// Give a webhook a new signing secret; the old one signs beside it for a while
    #[command(
        after_help = "Example:\n  keygate webhooks rotate-secret alerts --overlap 24h --save-to alerts.secret"
    )]
    RotateSecret(RotateSecret),
    /// Send a test event
    #[command(after_help = "Example:\n  keygate webhooks test alerts")]
    Test(Named),
    /// List what was sent, and what became of it
    #[command(after_help = "Example:\n  keygate webhooks deliveries alerts --state failed")]
    Deliveries(Deliveries),
    /// Send again what failed or waits for its next attempt, and what it was not told while it was disabled
    #[command(
        after_help = "Examples:\n  keygate webhooks replay alerts\n  keygate webhooks replay alerts --since 24h"
    )]
    Replay(Replay),
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
    webhook: String,
}

#[derive(Args)]
struct Create {
    /// Name, for people
    name: String,
    /// Address that is told
    address: String,
    /// Type of event that it is told of [default: all]
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// Workspace, by id or name [default: that of whoever asks]
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    once: Once,
}

#[derive(Args)]
struct Edit {
    /// Id or name
    webhook: String,
    /// New name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// New address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Types of event that it is told of, in place of those that are there
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// It is told of all events
    #[arg(long, conflicts_with = "events")]
    all_events: bool,
    /// Whether it is told of anything
    #[arg(long, value_parser = ["active", "disabled"])]
    state: Option<String>,
    /// Only if it is at this revision
    #[arg(long, value_name = "REVISION")]
    if_match: Option<u64>,
}

#[derive(Args)]
struct Delete {
    /// Id or name
    webhook: String,
    #[command(flatten)]
    care: Care,
}

#[derive(Args)]
struct RotateSecret {
    /// Id or name
    webhook: String,
    /// How long the old secret signs as well: 0s to 30d [default: 24h]
    #[arg(long, value_name = "TIME")]
    overlap: Option<Span>,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    once: Once,
}

#[derive(Args)]
struct Deliveries {
    /// Id or name
    webhook: String,
    /// Only in this state
    #[arg(long, value_parser = ["pending", "delivered", "failed"])]
    state: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Args)]
struct Replay {
    /// Id or name
    webhook: String,
    /// Only what is no older: 24h ago, or 2026-01-01 [default: all since the webhook was made]
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// These deliveries only, also those that came through
    #[arg(long = "delivery", value_name = "ID", conflicts_with = "since")]
    deliveries: Vec<String>,
}

impl Webhooks {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let format = self.common.format();
        let desk = self.common.open(place)?;
        match self.verb {
            Verb::List(list) => {
                let query: Vec<_> = list
                    .search
                    .map(|search| ("q", search))
                    .into_iter()
                    .collect();
                desk.list(&WEBHOOK, &query, &list.paging)
            }
            Verb::Get(named) => desk.show(&WEBHOOK, &named.webhook),
            Verb::Create(create) => create.run(&desk, format),
            Verb::Edit(edit) => edit.run(&desk),
            Verb::Delete(delete) => desk.delete(&WEBHOOK, &delete.webhook, &delete.care),
            Verb::RotateSecret(rotate) => rotate.run(&desk, format),
            Verb::Test(named) => {
                let id = desk.find(&WEBHOOK, &named.webhook)?;
                desk.act(&WEBHOOK, &id, "test", Map::new())
            }
            Verb::Deliveries(deliveries) => deliveries.run(&desk),
            Verb::Replay(replay) => replay.run(&desk),
        }
    }
}

impl Create {
    fn run(&self, desk: &Desk, format: Format) -> Result<Exit, Failed> {
        let destination = Destination::prepare(&self.keep, format)?;
        let (once, _) = self.once.begin(desk.out.now())?;
        let mut body = Map::new();
        put(&mut body, "name", Some(self.name.as_str()));
        put(&mut body, "url", Some(self.address.as_str()));
        put_list(&mut body, "events", &self.events);
        if let Some(named) = &self.workspace {
            put(&mut body, "workspace", Some(desk.find(&WORKSPACE, named)?));
        }
        let call = desk.api.post(&[WEBHOOK.path]).json(&Value::Object(body));
        destination.deliver(call.once_by_flag(&once).send()?, &desk.out, &once)?;
        Ok(Exit::Ok)
    }
}

impl Edit {
    fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let mut body = Map::new();
        put(&mut body, "name", self.name.as_deref());
        put(&mut body, "url", self.address.as_deref());
        put(&mut body, "state", self.state.as_deref());
        put_list(&mut body, "events", &self.events);
        if self.all_events {
            body.insert("events".into(), json!([]));
        }
        desk.edit(&WEBHOOK, &self.webhook, body, self.if_match)
    }
}

impl RotateSecret {
    fn run(self, desk: &Desk, format: Format) -> Result<Exit, Failed> {
        let destination = Destination::prepare(&self.keep, format)?;
        let (once, _) = self.once.begin(desk.out.now())?;
        let id = desk.find(&WEBHOOK, &self.webhook)?;
        let mut body = Map::new();
        put(
            &mut body,
            "overlap",
            self.overlap.map(|overlap| overlap.text),
        );
        let call = desk
            .api
            .post(&[WEBHOOK.path, &id, "rotate-secret"])
            .once_by_flag(&once);
        destination.deliver(call.json(&Value::Object(body)).send()?, &desk.out, &once)?;
        Ok(Exit::Ok)
    }
}

impl Deliveries {
    fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let id = desk.find(&WEBHOOK, &self.webhook)?;
        let query: Vec<_> = self
            .state
            .clone()
            .map(|state| ("state", state))
            .into_iter()
            .collect();
        let path = [WEBHOOK.path, id.as_str(), "deliveries"];
        desk.report(&path, &query, DELIVERIES, self.paging.most())?;
        Ok(Exit::Ok)
    }
}

impl Replay {
    fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let id = desk.find(&WEBHOOK, &self.webhook)?;
        let mut body = Map::new();
        let since = self.since.as_ref().map(|when| when.back(desk.out.now()));
        put(&mut body, "since", since);
        put_list(&mut body, "deliveries", &self.deliveries);
        desk.act(&WEBHOOK, &id, "replay", body)
    }
}
