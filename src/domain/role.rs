//! What members and admin tokens may do. One table: who wants to know reads [`Role::may`].

use std::fmt;

/// A role in a workspace; it reaches all workspaces below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads everything, the audit log included; changes nothing.
    Auditor,
    /// Works with keys and consumers.
    Editor,
    /// Also manages workspaces, tokens, webhooks and members below owner.
    Admin,
    /// Everything.
    Owner,
}

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// See keys, consumers, workspaces, notices and usage; verify and explain, which change nothing.
    Read,
    /// Create, edit, disable, enable, rotate, retire, keep keys; verify one so that it counts as a use.
    KeysWrite,
    /// Revoke, delete, restore, transfer keys, in bulk too.
    KeysEnd,
    /// Bring keys in from elsewhere.
    KeysImport,
    /// Take the metadata of all keys out.
    KeysExport,
    /// Create, edit, delete consumers.
    ConsumersWrite,
    /// Create, edit, delete workspaces.
    WorkspacesWrite,
    /// See members and their roles.
    MembersRead,
    /// Invite, edit, disable members; never above one's own role.
    MembersWrite,
    /// Export and erase a person's data.
    MembersErase,
    /// See admin tokens.
    TokensRead,
    /// Make and revoke admin tokens; never above one's own role.
    TokensWrite,
    /// See and end other members' sessions.
    SessionsManage,
    /// Read the audit log and verify it.
    AuditRead,
    /// Take the audit log out.
    AuditExport,
    /// Cut the audit log by a checkpoint.
    AuditCut,
    /// See webhooks and their deliveries.
    WebhooksRead,
    /// Create, edit, delete, replay webhooks.
    WebhooksWrite,
    /// See the status of the gateway, its nodes and its configuration.
    SystemRead,
}

impl Permission {
    /// All of them, with their name and the least role that has each; the auditor's column is apart, since an auditor
    /// sees what an editor does not.
    const TABLE: [(Self, &'static str, Role, bool); 19] = [
        (Self::Read, "read", Role::Editor, true),
        (Self::KeysWrite, "keys:write", Role::Editor, false),
        (Self::KeysEnd, "keys:end", Role::Editor, false),
        (Self::KeysImport, "keys:import", Role::Admin, false),
        (Self::KeysExport, "keys:export", Role::Admin, true),
        (Self::ConsumersWrite, "consumers:write", Role::Editor, false),
        (
            Self::WorkspacesWrite,
            "workspaces:write",
            Role::Admin,
            false,
        ),
        (Self::MembersRead, "members:read", Role::Admin, true),
        (Self::MembersWrite, "members:write", Role::Admin, false),
        (Self::MembersErase, "members:erase", Role::Owner, false),
        (Self::TokensRead, "tokens:read", Role::Admin, true),
        (Self::TokensWrite, "tokens:write", Role::Admin, false),
        (Self::SessionsManage, "sessions:manage", Role::Admin, false),
        (Self::AuditRead, "audit:read", Role::Admin, true),
        (Self::AuditExport, "audit:export", Role::Owner, true),
        (Self::AuditCut, "audit:cut", Role::Owner, false),
        (Self::WebhooksRead, "webhooks:read", Role::Admin, true),
        (Self::WebhooksWrite, "webhooks:write", Role::Admin, false),
        (Self::SystemRead, "system:read", Role::Editor, true),
    ];

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static (Self, &'static str, Role, bool) {
        &Self::TABLE[self as usize]
    }

    /// Its name in messages and documents.
    pub fn name(self) -> &'static str {
        self.row().1
    }
}

impl Role {
    /// All of them, the greatest first.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Admin, Self::Editor, Self::Auditor];

    /// Whether the role has the permission.
    pub fn may(self, permission: Permission) -> bool {
        let (_, _, least, auditor) = permission.row();
        match self {
            Self::Auditor => *auditor,
            Self::Editor | Self::Admin | Self::Owner => self >= *least,
        }
    }

    /// Whether somebody with this role may give or take the other one. An auditor's is the smallest: it changes nothing.
    pub fn covers(self, other: Self) -> bool {
        self >= other
    }

    /// Name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Editor => "editor",
            Self::Auditor => "auditor",
        }
    }

    /// The role with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_its_permissions() {
        for (place, permission) in Permission::all().enumerate() {
            assert_eq!(permission as usize, place, "{}", permission.name());
        }
    }

    #[test]
    fn an_owner_may_everything_and_an_auditor_changes_nothing() {
        for permission in Permission::all() {
            assert!(Role::Owner.may(permission));
            let reads =
                permission.name().ends_with("read") || permission.name().ends_with("export");
            assert_eq!(
                Role::Auditor.may(permission),
                reads,
                "{}",
                permission.name()
            );
        }
    }
}
