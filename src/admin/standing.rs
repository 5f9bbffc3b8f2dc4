//! Whether a caller still is who was let in. Its rights are read when the head of its call arrives; the body may take its
//! time, and a change must not be made with rights that were taken away meanwhile.

use super::auth::Caller;
use super::error::AdminError;
use crate::domain::actor::Who;
use crate::domain::id::Id;
use crate::domain::role::{Permission, Role};
use crate::domain::workspace::Lineage;
use crate::store::people::MemberState;
use crate::store::{Store, Write};

/// Begins a transaction for a caller who still has all that they were let in with. Asked inside of it, so that nobody
/// takes it away between here and the commit.
///
/// # Errors
/// What a call that begins now is answered with: 401 for a token, session or member that is not good any more; 403 for one
/// whose roles are less than they were.
pub(super) async fn begin(store: &Store, caller: &Caller) -> Result<Write, AdminError> {
    let mut write = store.begin(&caller.actor).await?;
    let held = match caller.actor.who {
        Who::Token(id) => of_token(&mut write, id).await,
        Who::Member { member, session } => of_member(&mut write, member, session).await,
        // Neither is in the store.
        Who::ConfigToken | Who::System(_) => return Ok(write),
    };
    let held = match held {
        Ok(held) => held,
        Err(AdminError::NotFound) => return Err(AdminError::Unauthorized),
        Err(fault) => return Err(fault),
    };
    let is_held = |(place, role): (&Lineage, Role)| {
        let mut here = held.iter().filter(|(from, _)| place.is_reached_from(*from));
        here.any(|(_, now)| has_all_of(*now, role))
    };
    if caller.bindings().all(is_held) {
        Ok(write)
    } else {
        Err(AdminError::RolesChanged)
    }
}

async fn of_token(write: &mut Write, id: Id) -> Result<Vec<(Id, Role)>, AdminError> {
    let token = write.token(id).await?;
    if token.is_good(write.now) {
        Ok(vec![(token.workspace, token.role)])
    } else {
        Err(AdminError::Unauthorized)
    }
}

async fn of_member(
    write: &mut Write,
    member: Id,
    session: Id,
) -> Result<Vec<(Id, Role)>, AdminError> {
    let session = write.session(session).await?;
    let member = write.member(member).await?;
    // A call is no pause, so however long it takes, the session does not end for one.
    if session.is_good(write.now, i64::MAX) && member.state == MemberState::Active {
        let roles = member.roles.iter();
        Ok(roles.map(|held| (held.workspace, held.role)).collect())
    } else {
        Err(AdminError::Unauthorized)
    }
}

/// Whether one role has every permission of another one.
fn has_all_of(role: Role, other: Role) -> bool {
    Permission::all().all(|permission| role.may(permission) || !other.may(permission))
}
