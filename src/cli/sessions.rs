//! `keygate sessions`: who is signed in.

use super::client::Place;
use super::flags::{Common, Paging};
use super::output::{Cell, column};
use super::resource::Resource;
use super::{Exit, Failed};
use crate::domain::id::Kind;
use clap::{Args, Subcommand};
use serde_json::json;

const SESSION: Resource = Resource {
    one: "session",
    path: "sessions",
    kind: Kind::Session,
    label: "id",
    columns: &[
        column("ID", "id", Cell::Id, 0),
        column("MEMBER", "member.email|member.name|member", Cell::Text, 0),
        column("BEGAN", "created_at", Cell::Time, 2),
        column("LAST SEEN", "last_seen_at", Cell::Time, 1),
        column("ENDS", "expires_at", Cell::Time, 3),
        column("ADDRESS", "address", Cell::Text, 4),
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
    /// List sessions
    #[command(after_help = "Example:\n  keygate sessions list")]
    List(List),
    /// End a session
    #[command(after_help = "Example:\n  keygate sessions end ses_01jyzx5rhdf3sbz3hv1yqn2tp9")]
    End(End),
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    paging: Paging,
}

#[derive(Args)]
struct End {
    /// Id
    session: String,
}

impl Sessions {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let desk = self.common.open(place)?;
        match self.verb {
            Verb::List(list) => desk.list(&SESSION, &[], &list.paging),
            Verb::End(end) => {
                desk.api.delete(&[SESSION.path, &end.session]).send()?;
                desk.out
                    .tell(&json!({"id": end.session}), "the session has ended")?;
                Ok(Exit::Ok)
            }
        }
    }
}
