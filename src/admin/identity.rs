//! Whose secret it is: the token of the config file, an admin token, or a member's session.

use super::auth::Caller;
use super::error::AdminError;
use super::server::AdminParts;
use crate::domain::actor::Who;
use crate::domain::id::Kind;
use crate::domain::key::{AdminSecret, KeyHash};
use crate::domain::role::Role;
use crate::domain::workspace::root;
use crate::store::people::{MemberRecord, MemberState, SessionRecord};
use crate::store::tokens::TokenRecord;
use crate::store::write::Class;
use crate::store::{Fact, Store, StoreError};

/// Why somebody is not let in.
pub(super) enum NotIn {
    /// The secret is none that is good; what is recorded of it. The caller is only told that it is so.
    Refused(Box<Fact>),
    /// Nobody can tell.
    Fault(AdminError),
}

impl From<AdminError> for NotIn {
    fn from(fault: AdminError) -> Self {
        Self::Fault(fault)
    }
}

impl From<StoreError> for NotIn {
    fn from(fault: StoreError) -> Self {
        Self::Fault(fault.into())
    }
}

/// The caller that a secret belongs to.
pub(super) async fn identify(parts: &AdminParts, presented: &str) -> Result<Caller, NotIn> {
    if parts
        .token
        .as_ref()
        .is_some_and(|token| token.matches(presented.as_bytes()))
    {
        return Ok(Caller::new(Who::ConfigToken, None, presented).at_root(Role::Auditor));
    }
    let format = parts.shared.snapshot();
    let Some(kind) = format.key_format.admin_shape(presented.as_bytes()) else {
        return Err(unknown());
    };
    if parts.store.is_none() {
        return Err(unknown());
    }
    let store = parts.store()?;
    let hash = KeyHash::of(presented.as_bytes()).at_rest();
    match kind {
        AdminSecret::Token => by_token(parts, store, &hash, presented).await,
        AdminSecret::Session => by_session(parts, store, &hash, presented).await,
    }
}

/// Nobody's. What was presented is not kept: it may be a secret of something else.
fn unknown() -> NotIn {
    refused(Fact::new("token.refused", root(), "token"), "unknown")
}

fn refused(mut fact: Fact, why: &'static str) -> NotIn {
    fact.class = Class::Authentication;
    fact.reason = Some(why.into());
    NotIn::Refused(Box::new(fact))
}

fn ended_token(token: &TokenRecord) -> NotIn {
    let id = token.id.text(Kind::Token).to_string();
    let mut fact = Fact::new("token.refused", token.workspace, id);
    fact.target_name = Some(token.name.clone());
    let why = token.revoked_at.map_or("expired", |_| "revoked");
    refused(fact, why)
}

fn ended_session(session: &SessionRecord, member: &MemberRecord) -> NotIn {
    let home = member
        .roles
        .first()
        .map_or_else(root, |held| held.workspace);
    let id = member.id.text(Kind::Member).to_string();
    let mut fact = Fact::new("session.refused", home, id);
    fact.target_name.clone_from(&member.email);
    fact.target_person = Some(member.id);
    let id = session.id.text(Kind::Session).to_string();
    fact.changes.insert("session".into(), id.into());
    let why = match member.state {
        MemberState::Disabled | MemberState::Erased => "not_active",
        MemberState::Active if session.ended_at.is_some() => "ended",
        MemberState::Active => "expired",
    };
    refused(fact, why)
}

async fn by_token(
    parts: &AdminParts,
    store: &Store,
    hash: &str,
    presented: &str,
) -> Result<Caller, NotIn> {
    let now = parts.clock.now();
    let token = store.token_by_hash(hash).await?.ok_or_else(unknown)?;
    if !token.is_good(now) {
        return Err(ended_token(&token));
    }
    let (id, beside) = (token.id, store.clone());
    let note = async move { beside.note_token_use(id, now).await };
    parts.sightings.note(id, token.last_used_at, now, note);
    let place = store.workspace(token.workspace).await?.lineage;
    let caller = Caller::new(Who::Token(id), Some(token.name), presented);
    Ok(caller.bound(place, token.role))
}

async fn by_session(
    parts: &AdminParts,
    store: &Store,
    hash: &str,
    presented: &str,
) -> Result<Caller, NotIn> {
    let now = parts.clock.now();
    let idle = i64::try_from(parts.sessions.idle.as_millis()).unwrap_or(i64::MAX);
    let found = store.session_by_hash(hash).await?;
    let (mut session, member) = found.ok_or_else(unknown)?;
    session.last_seen_at = parts.sightings.latest(session.id, session.last_seen_at);
    if !session.is_good(now, idle) || member.state != MemberState::Active {
        return Err(ended_session(&session, &member));
    }
    let who = Who::Member {
        member: member.id,
        session: session.id,
    };
    let (id, seen, beside) = (session.id, session.last_seen_at, store.clone());
    let note = async move { beside.note_session_use(&session, now).await };
    parts.sightings.note(id, Some(seen), now, note);
    let mut caller = Caller::new(who, member.email.clone(), presented);
    for held in &member.roles {
        let place = store.workspace(held.workspace).await?.lineage;
        caller = caller.bound(place, held.role);
    }
    Ok(caller)
}
