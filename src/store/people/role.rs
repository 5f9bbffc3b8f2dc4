//! Roles of members, and that somebody who may do everything is always left.

use super::{MemberRecord, MemberState, fact, text};
use crate::domain::id::{Id, Kind};
use crate::domain::role::Role;
use crate::domain::workspace;
use crate::store::error::StoreError;
use crate::store::sql::{Columns, Sql};
use crate::store::write::Write;
use sqlx::AnyConnection;
use std::collections::HashMap;

/// A role in a workspace and all below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// Where it begins.
    pub workspace: Id,
    /// Which.
    pub role: Role,
}

impl Write {
    /// Gives a member a role in a workspace, in place of the one they had there.
    ///
    /// # Errors
    /// `last_owner` when it is a lesser role in the root workspace and nobody else could do everything.
    pub async fn grant_role(
        &mut self,
        id: Id,
        binding: Binding,
    ) -> Result<MemberRecord, StoreError> {
        let member = self.known(id).await?;
        if binding.workspace == workspace::root() && binding.role != Role::Owner {
            self.leave_an_owner(&member).await?;
        }
        self.workspace(binding.workspace).await?;
        let before = self.remove_role(&member, binding.workspace).await?;
        self.put_role(id, binding).await?;
        let before = before.map(Role::name);
        let change = (binding.workspace, before, Some(binding.role.name()));
        self.finish_role(member, "member.role_granted", change)
            .await
    }

    /// Takes the role from a member that they have in a workspace itself.
    ///
    /// # Errors
    /// `last_owner`, see [`Write::grant_role`]; not found when they have none there.
    pub async fn take_role(&mut self, id: Id, place: Id) -> Result<MemberRecord, StoreError> {
        let member = self.known(id).await?;
        if place == workspace::root() {
            self.leave_an_owner(&member).await?;
        }
        let before = self.remove_role(&member, place).await?;
        let before = before.ok_or(StoreError::NotFound)?.name();
        let change = (place, Some(before), None);
        self.finish_role(member, "member.role_taken", change).await
    }

    /// Whether somebody can do everything without this member, if they can now.
    pub(super) async fn leave_an_owner(&mut self, member: &MemberRecord) -> Result<(), StoreError> {
        let root = workspace::root();
        let owns = |binding: &Binding| binding.workspace == root && binding.role == Role::Owner;
        if member.state != MemberState::Active || !member.roles.iter().any(owns) {
            return Ok(());
        }
        let mut select = Sql::new(
            "SELECT COUNT(*) AS number FROM roles r JOIN members m ON m.id = r.member WHERE m.state = 'active' \
             AND r.role = 'owner' AND r.workspace = ",
        );
        select.bind(root.text(Kind::Workspace).to_string());
        select.push(" AND m.id <> ").bind(text(member.id));
        let others = select.query().fetch_one(self.connection()).await?;
        if others.natural("number")? > 0 {
            return Ok(());
        }
        Err(StoreError::refused(
            "last_owner",
            "nobody else is an owner of the root workspace; make somebody one first",
        ))
    }

    pub(super) async fn put_role(
        &mut self,
        member: Id,
        binding: Binding,
    ) -> Result<(), StoreError> {
        let mut insert = Sql::new("INSERT INTO roles (member, workspace, role) VALUES (");
        insert
            .bind(text(member))
            .push(", ")
            .bind(binding.workspace.text(Kind::Workspace).to_string())
            .push(", ")
            .bind(binding.role.name())
            .push(")");
        self.run(insert).await.map(|_| ())
    }

    /// The role that was there.
    async fn remove_role(
        &mut self,
        member: &MemberRecord,
        place: Id,
    ) -> Result<Option<Role>, StoreError> {
        let mut delete = Sql::new("DELETE FROM roles WHERE member = ");
        delete
            .bind(text(member.id))
            .push(" AND workspace = ")
            .bind(place.text(Kind::Workspace).to_string());
        self.run(delete).await?;
        let there = |binding: &&Binding| binding.workspace == place;
        Ok(member.roles.iter().find(there).map(|one| one.role))
    }

    async fn finish_role(
        &mut self,
        member: MemberRecord,
        action: &'static str,
        (place, from, to): (Id, Option<&str>, Option<&str>),
    ) -> Result<MemberRecord, StoreError> {
        let mut after = self.member(member.id).await?;
        self.sign_member(&mut after);
        let mut update = Sql::new("UPDATE members SET state = ");
        update.bind(after.state.name());
        self.finish_member(update, &after).await?;
        let mut fact = fact(&member, action);
        fact.workspace = place;
        fact.change("role", from, to);
        self.record(fact).await?;
        Ok(after)
    }
}

/// Roles by member: of one, or of all.
pub(super) async fn roles(
    connection: &mut AnyConnection,
    member: Option<Id>,
) -> Result<HashMap<Id, Vec<Binding>>, StoreError> {
    let mut select = Sql::new("SELECT member, workspace, role FROM roles");
    if let Some(member) = member {
        select.push(" WHERE member = ").bind(text(member));
    }
    select.push(" ORDER BY member, workspace");
    let mut all: HashMap<Id, Vec<Binding>> = HashMap::new();
    for row in select.query().fetch_all(connection).await? {
        let role = row.text("role")?;
        let binding = Binding {
            workspace: row.id("workspace", Kind::Workspace)?,
            role: Role::parse(&role).ok_or(StoreError::Foreign(role))?,
        };
        let own = all.entry(row.id("member", Kind::Member)?).or_default();
        own.push(binding);
    }
    Ok(all)
}
