//! `keygate sessions`: who is signed in.

use super::client::Place;
use super::flags::{Common, Paging};
use super::members::MEMBER;
use super::output::{Cell, column};
use super::resource::Resource;
use super::{Exit, Failed};
use crate::domain::id::Kind;
use clap::{Args, Subcommand};

const SESSION: Resource = Resource {
    one: "session",
    path: "sessions",
    kind: Kind::Session,
    label: "id",
    columns: &[
        column("ID", "id", Cell::Id, 0),
        column("MEMBER", "member", Cell::Id, 4),
        column("THIS ONE", "current", Cell::Count, 1),
        column("BEGAN", "created_at", Cell::Time, 2),
        column("LAST SEEN", "last_seen_at", Cell::Time, 1),
        column("ENDS", "expires_at", Cell::Time, 3),
        column("ADDRESS", "address", Cell::Text, 2),
    ],
};

#[derive(Args)]
pub(super) struct Sessions {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List sessions, your own or somebody else's
    #[command(
        after_help = "Examples:\n  keygate sessions list\n  keygate sessions list --member ann@example.com"
    )]
    List(List),
    /// End a session
    #[command(
        after_help = "Examples:\n  keygate sessions end ses_01jyzx5rhdf3sbz3hv1yqn2tp9\n  keygate sessions end current"
    )]
    End(End),
}

#[derive(Args)]
struct List {
    /// Of this member, by id or e-mail [default: your own]
    #[arg(long, value_name = "MEMBER")]
    member: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Args)]
struct End {
    /// Id, or `current` for that of this login
    session: String,
}

impl Sessions {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let desk = self.common.open(place)?;
        match self.verb {
            Verb::List(list) => {
                let member = list.member.as_deref();
                let member = member.map(|named| desk.find(&MEMBER, named)).transpose()?;
                let query: Vec<_> = member.map(|id| ("member", id)).into_iter().collect();
                desk.list(&SESSION, &query, &list.paging)
            }
            Verb::End(end) => {
                let ended = desk.api.delete(&[SESSION.path, &end.session]).send()?;
                desk.out.tell(&ended, "the session has ended")?;
                Ok(Exit::Ok)
            }
        }
    }
}
