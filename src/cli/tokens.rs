//! `keygate tokens`: keys of the admin API.

use super::ask::Consent;
use super::client::Place;
use super::flags::{Care, Common, Keep, Once, Paging, put};
use super::members::ROLES;
use super::output::{Cell, Format, column};
use super::parse::When;
use super::resource::{Desk, Resource};
use super::secret::Destination;
use super::workspaces::WORKSPACE;
use super::{Exit, Failed};
use crate::domain::id::Kind;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

const TOKEN: Resource = Resource {
    one: "token",
    path: "tokens",
    kind: Kind::Token,
    label: "name",
    columns: &[
        column("ID", "id", Cell::Id, 0),
        column("NAME", "name", Cell::Text, 0),
        column("ROLE", "role", Cell::Id, 1),
        column("STATUS", "status", Cell::Status, 2),
        column("LAST USED", "last_used_at", Cell::Time, 3),
        column("EXPIRES", "expires_at", Cell::Time, 4),
        column("WORKSPACE", "workspace", Cell::Text, 6),
        column("HINT", "hint", Cell::Id, 5),
    ],
};

#[derive(Args)]
pub(super) struct Tokens {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List admin tokens
    #[command(after_help = "Example:\n  keygate tokens list")]
    List(List),
    /// Show an admin token, by id, name or hint
    #[command(after_help = "Example:\n  keygate tokens get deploy")]
    Get(Named),
    /// Make an admin token; its secret is shown this once
    #[command(
        after_help = "Examples:\n  keygate tokens create deploy --role editor --expires 90d\n  \
        keygate tokens create deploy --role editor --workspace north --save-to deploy.token"
    )]
    Create(Create),
    /// End an admin token for good
    #[command(
        visible_alias = "delete",
        after_help = "Examples:\n  keygate tokens revoke deploy --dry-run\n  keygate tokens revoke deploy --yes"
    )]
    Revoke(Revoke),
}

#[derive(Args)]
struct List {
    /// Start of any word of name and hint
    search: Option<String>,
    /// Only with this status: active, expired or revoked
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Args)]
struct Named {
    /// Id, name or hint
    token: String,
}

#[derive(Args)]
struct Create {
    /// Name, for people
    name: String,
    /// Role
    #[arg(long, value_name = "ROLE", value_parser = ROLES)]
    role: String,
    /// Workspace that the role is for, with all below, by id or name [default: that of whoever asks]
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    /// Valid until: 90d from now, 2027-01-01, or never
    #[arg(long, value_name = "TIME")]
    expires: Option<When>,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    once: Once,
}

#[derive(Args)]
struct Revoke {
    /// Id, name or hint
    token: String,
    #[command(flatten)]
    care: Care,
}

impl Tokens {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let format = self.common.format();
        let desk = self.common.open(place)?;
        match self.verb {
            Verb::List(list) => {
                let status = list.status.map(|status| ("status", status));
                let query = list.search.map(|search| ("q", search));
                let query: Vec<_> = query.into_iter().chain(status).collect();
                desk.list(&TOKEN, &query, &list.paging)
            }
            Verb::Get(named) => desk.show(&TOKEN, &named.token),
            Verb::Create(create) => create.run(&desk, format),
            Verb::Revoke(revoke) => revoke.run(&desk),
        }
    }
}

impl Create {
    fn run(&self, desk: &Desk, format: Format) -> Result<Exit, Failed> {
        let destination = Destination::prepare(&self.keep, format)?;
        let (once, now) = self.once.begin(desk.out.now())?;
        let mut body = Map::new();
        put(&mut body, "name", Some(self.name.as_str()));
        put(&mut body, "role", Some(self.role.as_str()));
        if let Some(named) = &self.workspace {
            put(&mut body, "workspace", Some(desk.find(&WORKSPACE, named)?));
        }
        let expires = self.expires.as_ref().map(|when| when.ahead(now));
        put(&mut body, "expires_at", expires);
        let call = desk.api.post(&[TOKEN.path]).json(&Value::Object(body));
        destination.deliver(call.once_by_flag(&once).send()?, &desk.out, &once)?;
        Ok(Exit::Ok)
    }
}

impl Revoke {
    fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        if self.care.dry_run {
            let id = desk.find(&TOKEN, &self.token)?;
            // The act itself has no try; what keeps a token from it keeps it from being deleted too.
            return desk.tried(&TOKEN, &id, "revoke", desk.api.delete(&[TOKEN.path, &id]));
        }
        let consent = Consent::of(self.care.yes)?;
        let id = desk.find(&TOKEN, &self.token)?;
        if consent == Consent::Ask {
            let named = desk.named(&TOKEN, &id)?;
            consent.to(&format!("Revoke {named} for good?"))?;
        }
        desk.act(&TOKEN, &id, "revoke", Map::new())
    }
}
