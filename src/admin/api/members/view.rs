//! A member as an admin sees them, and the shapes of bodies about members. Of their roles only those are shown that the
//! caller reaches.

use crate::admin::api::few::Places;
use crate::admin::auth::Caller;
use crate::domain::actor::Who;
use crate::domain::id::Kind;
use crate::domain::time::Timestamp;
use crate::store::people::{Binding, MemberRecord};
use serde::Serialize;
use utoipa::ToSchema;

/// A person who administers.
#[derive(Serialize, ToSchema)]
#[schema(as = Member)]
pub(in crate::admin) struct MemberView {
    /// `mem_…`.
    pub(super) id: String,
    /// Null once erased.
    email: Option<String>,
    /// Null once erased.
    name: Option<String>,
    /// `active`, `disabled`, `erased`.
    state: &'static str,
    /// Whether they can sign in.
    has_password: bool,
    roles: Vec<RoleView>,
    #[schema(value_type = Option<String>, format = DateTime)]
    signed_in_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    updated_by: String,
    revision: u64,
}

/// A role in a workspace and all below it.
#[derive(Serialize, ToSchema)]
#[schema(as = MemberRole)]
pub(in crate::admin) struct RoleView {
    /// Id of the workspace.
    workspace: String,
    /// `owner`, `admin`, `editor`, `auditor`.
    role: &'static str,
}

impl MemberView {
    /// What this caller may see of a member.
    pub(super) fn of(member: &MemberRecord, caller: &Caller, places: &Places) -> Self {
        let is_self = is_self(caller, member);
        let is_seen = |held: &&Binding| {
            let place = places.find(held.workspace);
            is_self || place.is_ok_and(|place| caller.role_in(place).is_some())
        };
        let role = |held: &Binding| RoleView {
            workspace: held.workspace.text(Kind::Workspace).to_string(),
            role: held.role.name(),
        };
        Self {
            id: member.id.text(Kind::Member).to_string(),
            email: member.email.clone(),
            name: member.name.clone(),
            state: member.state.name(),
            has_password: member.has_password,
            roles: member.roles.iter().filter(is_seen).map(role).collect(),
            signed_in_at: member.signed_in_at,
            created_at: member.created_at,
            created_by: member.created_by.clone(),
            updated_at: member.updated_at,
            updated_by: member.updated_by.clone(),
            revision: member.revision,
        }
    }
}

/// Whether the caller is this person.
pub(super) fn is_self(caller: &Caller, member: &MemberRecord) -> bool {
    match caller.actor.who {
        Who::Member { member: own, .. } => own == member.id,
        Who::Token(_) | Who::ConfigToken | Who::System(_) => false,
    }
}

/// A page of members.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct MemberList {
    data: Vec<MemberView>,
    /// Cursor of the page behind this one; null: there is none.
    next: Option<String>,
    /// With `total=true`: how many there are in all.
    total: Option<u64>,
}

/// What a new member is made of.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct NewMember {
    /// Unique, whatever its case.
    email: String,
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// Id of the workspace of the first role; the caller's own unless given.
    workspace: Option<String>,
    /// The first role: `owner`, `admin`, `editor`, `auditor`; not above the caller's own there.
    role: String,
    /// Without one they cannot sign in.
    #[schema(min_length = 12, max_length = 256)]
    password: Option<String>,
}

/// Fields to change.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct MemberPatch {
    email: Option<String>,
    #[schema(min_length = 1, max_length = 128)]
    name: Option<String>,
    /// `active`, or `disabled`: signed out, and cannot sign in.
    state: Option<String>,
}

/// A role.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct NewRole {
    /// `owner`, `admin`, `editor`, `auditor`; not above the caller's own there.
    role: String,
}

/// A new password.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct NewPassword {
    /// The one before; for one's own only, and needed there.
    current: Option<String>,
    #[schema(min_length = 12, max_length = 256)]
    new: String,
}
