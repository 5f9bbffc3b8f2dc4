//! People who administer: members. What they may do is in `role`, the sessions they are signed in with in `session`.
//!
//! Names and e-mails stay in `members` and in the erasable half of the audit log; events for others have ids only.

mod role;
mod session;

pub use role::Binding;
pub use session::SessionRecord;

use super::Store;
use super::error::StoreError;
use super::sql::{Columns, Sql};
use super::write::{Fact, Write};
use crate::domain::id::{Id, Kind};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::workspace;
use role::roles;
use serde_json::{Value, json};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

/// Whether a member may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// May.
    Active,
    /// May not, for now.
    Disabled,
    /// Is not known any more.
    Erased,
}

impl MemberState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Active, Self::Disabled, Self::Erased];

    /// Name in the API and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Erased => "erased",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A member, without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    /// `mem_…`.
    pub id: Id,
    /// In lower case, unique; `None` once erased.
    pub email: Option<String>,
    /// Name for people; `None` once erased.
    pub name: Option<String>,
    /// Whether there is a password to sign in with.
    pub has_password: bool,
    /// Whether they may act.
    pub state: MemberState,
    /// Their roles, by workspace.
    pub roles: Vec<Binding>,
    /// When they were added.
    pub created_at: Timestamp,
    /// Who added them.
    pub created_by: String,
    /// Last change.
    pub updated_at: Timestamp,
    /// Who changed them.
    pub updated_by: String,
    /// Last time they signed in.
    pub signed_in_at: Option<Timestamp>,
    /// Revision of the last change.
    pub revision: u64,
}

const SELECT: &str = "SELECT id, email, name, password, state, created_at, created_by, updated_at, updated_by, \
    signed_in_at, revision FROM members";

impl Store {
    /// One member, erased ones too.
    pub async fn member(&self, id: Id) -> Result<MemberRecord, StoreError> {
        let mut connection = self.pools.read.acquire().await?;
        one(&mut connection, id).await
    }

    /// All members, by id, erased ones too; there are few.
    pub async fn members(&self) -> Result<Vec<MemberRecord>, StoreError> {
        let mut connection = self.pools.read.acquire().await?;
        let mut select = Sql::new(SELECT);
        select.push(" ORDER BY id");
        let rows = select.query().fetch_all(&mut *connection).await?;
        let mut roles = roles(&mut connection, None).await?;
        let read = |row: &AnyRow| {
            let mut member = member(row)?;
            member.roles = roles.remove(&member.id).unwrap_or_default();
            Ok(member)
        };
        rows.iter().map(read).collect()
    }

    /// Whom an e-mail address belongs to, in whatever case, and the password as it is kept.
    pub async fn member_by_email(
        &self,
        email: &str,
    ) -> Result<Option<(MemberRecord, Option<Secret<String>>)>, StoreError> {
        let mut connection = self.pools.read.acquire().await?;
        let mut select = Sql::new(SELECT);
        select.push(" WHERE email = ").bind(email.to_lowercase());
        let Some(row) = select.query().fetch_optional(&mut *connection).await? else {
            return Ok(None);
        };
        let mut member = member(&row)?;
        let mut roles = roles(&mut connection, Some(member.id)).await?;
        member.roles = roles.remove(&member.id).unwrap_or_default();
        Ok(Some((member, row.maybe_text("password")?.map(Secret::new))))
    }

    /// The password of a member as it is kept.
    pub async fn password(&self, id: Id) -> Result<Option<Secret<String>>, StoreError> {
        let mut select = Sql::new("SELECT password FROM members WHERE id = ");
        select.bind(text(id));
        let row = select.query().fetch_one(&self.pools.read).await?;
        Ok(row.maybe_text("password")?.map(Secret::new))
    }
}

impl Write {
    /// A member as they are inside this transaction.
    pub async fn member(&mut self, id: Id) -> Result<MemberRecord, StoreError> {
        one(self.connection(), id).await
    }

    /// Keeps a new member with their roles; the password is a PHC string.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when somebody has the e-mail address.
    pub async fn insert_member(
        &mut self,
        mut member: MemberRecord,
        password: Option<&Secret<String>>,
    ) -> Result<MemberRecord, StoreError> {
        member.email = member.email.map(|email| email.to_lowercase());
        member.has_password = password.is_some();
        member.created_at = self.now;
        member.created_by = self.actor().text();
        self.sign_member(&mut member);
        let mut insert = Sql::new(
            "INSERT INTO members (id, email, name, password, state, created_at, created_by, updated_at, updated_by, \
             revision) VALUES (",
        );
        insert.bind(text(member.id)).push(", ");
        insert.bind(member.email.clone()).push(", ");
        insert.bind(member.name.clone()).push(", ");
        insert
            .bind(password.map(|password| password.expose().clone()))
            .push(", ");
        insert.bind(member.state.name()).push(", ");
        insert.bind(member.created_at).push(", ");
        insert.bind(member.created_by.clone()).push(", ");
        insert.bind(member.updated_at).push(", ");
        insert.bind(member.updated_by.clone()).push(", ");
        insert.bind(self.revision_number()).push(")");
        self.run(insert).await?;
        for binding in &member.roles {
            self.put_role(member.id, *binding).await?;
        }
        self.record(fact(&member, "member.created")).await?;
        for binding in &member.roles {
            let mut fact = fact(&member, "member.role_granted");
            fact.workspace = binding.workspace;
            fact.change("role", Value::Null, binding.role.name());
            self.record(fact).await?;
        }
        Ok(member)
    }

    /// Saves name, e-mail and state of a member. One who may not act any more is signed out.
    ///
    /// # Errors
    /// `last_owner` when nobody else could do everything.
    pub async fn save_member(
        &mut self,
        before: &MemberRecord,
        mut after: MemberRecord,
    ) -> Result<MemberRecord, StoreError> {
        let now = self.known(before.id).await?;
        match after.state {
            MemberState::Active => {}
            MemberState::Disabled => self.leave_an_owner(&now).await?,
            MemberState::Erased => return self.erase_member(before.id).await,
        }
        after.email = after.email.map(|email| email.to_lowercase());
        self.sign_member(&mut after);
        let mut update = Sql::new("UPDATE members SET email = ");
        update.bind(after.email.clone()).push(", name = ");
        update.bind(after.name.clone()).push(", state = ");
        update.bind(after.state.name());
        self.finish_member(update, &after).await?;
        if after.state != MemberState::Active {
            self.end_sessions_of(after.id, None).await?;
        }
        let mut fact = fact(&after, "member.updated");
        fact.change("state", before.state.name(), after.state.name());
        for (field, differs) in [
            ("email", before.email != after.email),
            ("name", before.name != after.name),
        ] {
            if differs {
                fact.changes.insert(field.into(), "changed".into());
            }
        }
        self.record(fact).await?;
        Ok(after)
    }

    /// Keeps another password (a PHC string), or none, and ends all sessions but one.
    pub async fn set_password(
        &mut self,
        id: Id,
        password: Option<&Secret<String>>,
        keep: Option<Id>,
    ) -> Result<MemberRecord, StoreError> {
        let mut member = self.known(id).await?;
        member.has_password = password.is_some();
        self.sign_member(&mut member);
        let mut update = Sql::new("UPDATE members SET password = ");
        update.bind(password.map(|password| password.expose().clone()));
        self.finish_member(update, &member).await?;
        self.end_sessions_of(id, keep).await?;
        let mut fact = fact(&member, "member.password_changed");
        fact.changes.insert("password".into(), "changed".into());
        self.record(fact).await?;
        Ok(member)
    }

    /// Forgets a person: e-mail, name, password, roles, sessions, and what the audit log knows of them. That there was
    /// somebody stays, as an id.
    ///
    /// # Errors
    /// `last_owner` when nobody else could do everything.
    pub async fn erase_member(&mut self, id: Id) -> Result<MemberRecord, StoreError> {
        let mut member = self.known(id).await?;
        self.leave_an_owner(&member).await?;
        let mut fact = fact(&member, "member.erased");
        fact.target_name = None;
        fact.change("state", member.state.name(), MemberState::Erased.name());
        member.email = None;
        member.name = None;
        member.has_password = false;
        member.state = MemberState::Erased;
        member.roles.clear();
        self.sign_member(&mut member);
        let mut update =
            Sql::new("UPDATE members SET email = NULL, name = NULL, password = NULL, state = ");
        update.bind(member.state.name());
        self.finish_member(update, &member).await?;
        let mut delete = Sql::new("DELETE FROM roles WHERE member = ");
        delete.bind(text(id));
        self.run(delete).await?;
        self.forget_sessions_of(id).await?;
        self.record(fact).await?;
        // Behind the fact, in which they may be the one who acts.
        self.erase_audit_of(id).await?;
        self.leave_no_trace();
        Ok(member)
    }

    /// A member who is not erased.
    async fn known(&mut self, id: Id) -> Result<MemberRecord, StoreError> {
        let member = self.member(id).await?;
        match member.state {
            MemberState::Active | MemberState::Disabled => Ok(member),
            MemberState::Erased => Err(StoreError::NotFound),
        }
    }

    /// Ends an update with what every change of a member sets.
    async fn finish_member(
        &mut self,
        mut update: Sql,
        member: &MemberRecord,
    ) -> Result<(), StoreError> {
        update.push(", updated_at = ").bind(member.updated_at);
        update
            .push(", updated_by = ")
            .bind(member.updated_by.clone());
        update.push(", revision = ").bind(self.revision_number());
        update.push(" WHERE id = ").bind(text(member.id));
        match self.run(update).await? {
            0 => Err(StoreError::NotFound),
            _ => Ok(()),
        }
    }

    fn sign_member(&self, member: &mut MemberRecord) {
        member.updated_at = self.now;
        member.updated_by = self.actor().text();
        member.revision = self.revision;
    }
}

fn text(member: Id) -> String {
    member.text(Kind::Member).to_string()
}

/// A fact about a member, in the first workspace where they have a role.
fn fact(member: &MemberRecord, action: &'static str) -> Fact {
    let id = text(member.id);
    let home = member.roles.first().map(|binding| binding.workspace);
    let mut fact = Fact::new(action, home.unwrap_or_else(workspace::root), id.clone());
    fact.target_name = member.email.clone().or_else(|| member.name.clone());
    fact.target_person = Some(member.id);
    fact.event = Some(json!({"id": id, "state": member.state.name()}));
    fact
}

async fn one(connection: &mut AnyConnection, id: Id) -> Result<MemberRecord, StoreError> {
    let mut select = Sql::new(SELECT);
    select.push(" WHERE id = ").bind(text(id));
    let mut member = member(&select.query().fetch_one(&mut *connection).await?)?;
    let mut roles = roles(connection, Some(id)).await?;
    member.roles = roles.remove(&id).unwrap_or_default();
    Ok(member)
}

fn member(row: &AnyRow) -> Result<MemberRecord, StoreError> {
    let state = row.text("state")?;
    Ok(MemberRecord {
        id: row.id("id", Kind::Member)?,
        email: row.maybe_text("email")?,
        name: row.maybe_text("name")?,
        has_password: row.maybe_text("password")?.is_some(),
        state: MemberState::parse(&state).ok_or(StoreError::Foreign(state))?,
        roles: Vec::new(),
        created_at: row.time("created_at")?,
        created_by: row.text("created_by")?,
        updated_at: row.time("updated_at")?,
        updated_by: row.text("updated_by")?,
        signed_in_at: row.maybe_time("signed_in_at")?,
        revision: row.natural("revision")?,
    })
}
