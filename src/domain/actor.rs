//! Who does something: an admin token, a member in a session, or the gateway itself.

use super::id::{Id, Kind};
use std::net::IpAddr;

/// Who acts, and from where; every change in the store names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Which kind of one, and which.
    pub who: Who,
    /// Name or e-mail, for people; personal.
    pub name: Option<String>,
    /// Address the call came from; personal.
    pub address: Option<IpAddr>,
    /// Id of the admin request.
    pub request_id: Option<String>,
}

/// The kinds of actors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// An admin token.
    Token(Id),
    /// A member, in a session.
    Member {
        /// The member.
        member: Id,
        /// The session.
        session: Id,
    },
    /// The token in the config file (`management.token`).
    ConfigToken,
    /// A part of the gateway, such as `sweep`.
    System(&'static str),
}

impl Actor {
    /// A part of the gateway itself.
    pub fn system(part: &'static str) -> Self {
        Self {
            who: Who::System(part),
            name: None,
            address: None,
            request_id: None,
        }
    }

    /// Who, in one word: `tok_…`, `mem_…`, `config` or `system:sweep`.
    pub fn text(&self) -> String {
        match self.who {
            Who::Token(id) => id.text(Kind::Token).to_string(),
            Who::Member { member, .. } => member.text(Kind::Member).to_string(),
            Who::ConfigToken => "config".into(),
            Who::System(part) => format!("system:{part}"),
        }
    }

    /// The member it is, for what is personal.
    pub fn person(&self) -> Option<Id> {
        match self.who {
            Who::Member { member, .. } => Some(member),
            Who::Token(_) | Who::ConfigToken | Who::System(_) => None,
        }
    }
}
