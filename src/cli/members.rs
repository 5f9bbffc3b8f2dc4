//! `keygate members`: people who administer. Passwords are typed or come by standard input.

use super::ask::{self, Consent};
use super::client::Place;
use super::export::To;
use super::flags::{Care, Common, Once, Paging, put};
use super::output::{Cell, column};
use super::resource::{Desk, Resource};
use super::workspaces::WORKSPACE;
use super::{Exit, Failed};
use crate::domain::id::Kind;
use crate::domain::secret::Secret;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

pub(super) const MEMBER: Resource = Resource {
    one: "member",
    path: "members",
    kind: Kind::Member,
    label: "email",
    columns: &[
        column("ID", "id", Cell::Id, 0),
        column("E-MAIL", "email", Cell::Text, 0),
        column("NAME", "name", Cell::Text, 2),
        column("STATE", "state", Cell::Status, 1),
        column("ROLES", "roles", Cell::Text, 3),
        column("SIGNED IN", "signed_in_at", Cell::Time, 4),
    ],
};

/// The roles that there are.
pub(super) const ROLES: [&str; 4] = ["owner", "admin", "editor", "auditor"];

#[derive(Args)]
pub(super) struct Members {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List members, or search by the start of any word of e-mail and name
    #[command(after_help = "Example:\n  keygate members list")]
    List(List),
    /// Show a member, by id or e-mail
    #[command(after_help = "Example:\n  keygate members get ann@example.com")]
    Get(Named),
    /// Make a member; the password is asked for, or read from standard input
    #[command(
        visible_alias = "invite",
        after_help = "Examples:\n  keygate members create ann@example.com --name Ann --role editor\n  \
        keygate members create ann@example.com --name Ann --role admin --workspace north < password"
    )]
    Create(Create),
    /// Change a member's e-mail or name
    #[command(after_help = "Example:\n  keygate members edit ann@example.com --name 'Ann Smith'")]
    Edit(Edit),
    /// Give or take a role
    #[command(
        subcommand,
        after_help = "Example:\n  keygate members role set ann@example.com editor --workspace north"
    )]
    Role(Role),
    /// Set somebody's password, asked for or read from standard input; their sessions end
    #[command(
        after_help = "Examples:\n  keygate members password ann@example.com\n  \
        keygate members password ann@example.com < password"
    )]
    Password(Named),
    /// Refuse a member until enabled again; sessions end
    #[command(after_help = "Example:\n  keygate members disable ann@example.com")]
    Disable(Named),
    /// Let a disabled member sign in again
    #[command(after_help = "Example:\n  keygate members enable ann@example.com")]
    Enable(Named),
    /// Take out all that is kept about a person, as JSON
    #[command(after_help = "Example:\n  keygate members export ann@example.com --to ann.json")]
    Export(Export),
    /// Delete a member, and erase what is personal about them, in the audit log too; the chain stays whole
    #[command(
        visible_alias = "delete",
        after_help = "Examples:\n  keygate members erase ann@example.com --dry-run\n  \
        keygate members erase ann@example.com --yes"
    )]
    Erase(Erase),
}

#[derive(Args)]
struct List {
    /// Start of any word of e-mail and name
    search: Option<String>,
    /// Only in this state: active, disabled or erased
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only with a role in this workspace or below, by id or name
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Args)]
struct Named {
    /// Id or e-mail
    member: String,
}

#[derive(Args)]
struct Create {
    /// E-mail, to sign in with
    email: String,
    /// Name, for people
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Role
    #[arg(long, value_name = "ROLE", value_parser = ROLES)]
    role: String,
    /// Workspace that the role is for, with all below, by id or name [default: that of whoever asks]
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    /// Cannot sign in until there is a password
    #[arg(long)]
    no_password: bool,
    #[command(flatten)]
    once: Once,
}

#[derive(Args)]
struct Edit {
    /// Id or e-mail
    member: String,
    /// New e-mail
    #[arg(long, value_name = "E-MAIL")]
    email: Option<String>,
    /// New name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only if it is at this revision
    #[arg(long, value_name = "REVISION")]
    if_match: Option<u64>,
}

#[derive(Subcommand)]
enum Role {
    /// Give a role in a workspace, in place of the one that was there
    #[command(
        after_help = "Example:\n  keygate members role set ann@example.com editor --workspace north"
    )]
    Set(RoleSet),
    /// Take the role in a workspace
    #[command(
        after_help = "Example:\n  keygate members role remove ann@example.com --workspace north"
    )]
    Remove(RoleRemove),
}

#[derive(Args)]
struct RoleSet {
    /// Id or e-mail
    member: String,
    /// Role
    #[arg(value_parser = ROLES)]
    role: String,
    /// Workspace, by id or name
    #[arg(long, value_name = "WORKSPACE")]
    workspace: String,
}

#[derive(Args)]
struct RoleRemove {
    /// Id or e-mail
    member: String,
    /// Workspace, by id or name
    #[arg(long, value_name = "WORKSPACE")]
    workspace: String,
}

#[derive(Args)]
struct Export {
    /// Id or e-mail
    member: String,
    #[command(flatten)]
    to: To,
}

#[derive(Args)]
struct Erase {
    /// Id or e-mail
    member: String,
    #[command(flatten)]
    care: Care,
}

impl Members {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let desk = self.common.open(place)?;
        match self.verb {
            Verb::List(list) => list.run(&desk),
            Verb::Get(named) => desk.show(&MEMBER, &named.member),
            Verb::Create(create) => create.run(&desk),
            Verb::Edit(edit) => edit.run(&desk),
            Verb::Role(role) => role.run(&desk),
            Verb::Password(named) => {
                let id = desk.find(&MEMBER, &named.member)?;
                set_password(&desk, &id, None)
            }
            Verb::Disable(named) => named.switch(&desk, "disabled"),
            Verb::Enable(named) => named.switch(&desk, "active"),
            Verb::Export(export) => {
                let id = desk.find(&MEMBER, &export.member)?;
                export.to.take(desk.api.get(&[MEMBER.path, &id, "export"]))
            }
            Verb::Erase(erase) => erase.run(&desk),
        }
    }
}

impl List {
    fn run(self, desk: &Desk) -> Result<Exit, Failed> {
        let mut query = Vec::new();
        query.extend(self.search.map(|search| ("q", search)));
        query.extend(self.state.map(|state| ("state", state)));
        if let Some(named) = &self.workspace {
            query.push(("workspace", desk.find(&WORKSPACE, named)?));
        }
        desk.list(&MEMBER, &query, &self.paging)
    }
}

impl Named {
    fn switch(&self, desk: &Desk, state: &str) -> Result<Exit, Failed> {
        let mut body = Map::new();
        put(&mut body, "state", Some(state));
        desk.edit(&MEMBER, &self.member, body, None)
    }
}

impl Create {
    fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let workspace = self.workspace.as_ref();
        let workspace = workspace
            .map(|named| desk.find(&WORKSPACE, named))
            .transpose()?;
        let mut body = Map::new();
        put(&mut body, "email", Some(self.email.as_str()));
        put(&mut body, "name", Some(self.name.as_str()));
        put(&mut body, "role", Some(self.role.as_str()));
        put(&mut body, "workspace", workspace);
        if !self.no_password {
            put(
                &mut body,
                "password",
                Some(ask::new_password()?.expose().as_str()),
            );
        }
        let (once, _) = self.once.begin(desk.out.now())?;
        desk.create(&MEMBER, body, &once)
    }
}

impl Edit {
    fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let mut body = Map::new();
        put(&mut body, "email", self.email.as_deref());
        put(&mut body, "name", self.name.as_deref());
        desk.edit(&MEMBER, &self.member, body, self.if_match)
    }
}

impl Role {
    fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let (member, workspace) = match self {
            Self::Set(set) => (&set.member, &set.workspace),
            Self::Remove(remove) => (&remove.member, &remove.workspace),
        };
        let member = desk.find(&MEMBER, member)?;
        let workspace = desk.find(&WORKSPACE, workspace)?;
        let path = [MEMBER.path, &member, "roles", &workspace];
        let done = match self {
            Self::Set(set) => desk
                .api
                .put(&path)
                .json(&json!({"role": set.role}))
                .send()?,
            Self::Remove(_) => desk.api.delete(&path).send()?,
        };
        if done.is_null() {
            desk.out.tell(&json!({"id": member}), "done")?;
        } else {
            desk.out.one(&done)?;
        }
        Ok(Exit::Ok)
    }
}

/// Sets a password; one's own needs the one that is in force.
pub(super) fn set_password(
    desk: &Desk,
    id: &str,
    current: Option<&Secret<String>>,
) -> Result<Exit, Failed> {
    let mut body = Map::new();
    put(
        &mut body,
        "current",
        current.map(|word| word.expose().as_str()),
    );
    let new = ask::new_password()?;
    put(&mut body, "new", Some(new.expose().as_str()));
    let call = desk.api.post(&[MEMBER.path, id, "password"]);
    let member = call.json(&Value::Object(body)).send()?;
    desk.out.tell(&member, "the password is set")?;
    Ok(Exit::Ok)
}

impl Erase {
    fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        if self.care.dry_run {
            let id = desk.find(&MEMBER, &self.member)?;
            let call = desk.api.post(&[MEMBER.path, &id, "erase"]);
            return desk.tried(&MEMBER, &id, "erase", call.json(&json!({})));
        }
        let consent = Consent::of(self.care.yes)?;
        let id = desk.find(&MEMBER, &self.member)?;
        if consent == Consent::Ask {
            let named = desk.named(&MEMBER, &id)?;
            consent.to(&format!(
                "Erase all that is personal about {named}, for good?"
            ))?;
        }
        desk.act(&MEMBER, &id, "erase", Map::new())
    }
}
