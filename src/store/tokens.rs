//! Admin tokens: hashes at rest, a role in a workspace, an end.

use super::Store;
use super::error::StoreError;
use super::sql::{Columns, Sql};
use super::write::{Fact, Write};
use crate::domain::id::{Id, Kind};
use crate::domain::role::Role;
use crate::domain::time::Timestamp;
use crate::domain::workspace;
use serde_json::{Value, json};
use sqlx::any::AnyRow;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Made by an admin.
    Token,
    /// Made at the first start.
    Setup,
}

impl TokenKind {
    fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Setup => "setup",
        }
    }
}

/// An admin token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// `tok_…`.
    pub id: Id,
    /// What it is for.
    pub kind: TokenKind,
    /// Name for people.
    pub name: String,
    /// Where its role begins.
    pub workspace: Id,
    /// Its role there and below.
    pub role: Role,
    /// `blake3:<hex>`.
    pub hash: String,
    /// Display hint.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Not good from then on.
    pub expires_at: Option<Timestamp>,
    /// Last call with it, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was ended.
    pub revoked_at: Option<Timestamp>,
    /// Revision of the last change.
    pub revision: u64,
}

impl TokenRecord {
    /// Whether it opens anything now.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

const SELECT: &str = "SELECT id, kind, name, workspace, role, hash, hint, created_at, created_by, expires_at, \
    last_used_at, revoked_at, revision FROM tokens";

impl Store {
    /// The token with this hash, good or not.
    pub async fn token_by_hash(&self, hash: &str) -> Result<Option<TokenRecord>, StoreError> {
        let mut select = Sql::new(SELECT);
        select.push(" WHERE hash = ").bind(hash);
        let found = select.query().fetch_optional(&self.pools.read).await?;
        found.as_ref().map(token).transpose()
    }

    /// One token.
    pub async fn token(&self, id: Id) -> Result<TokenRecord, StoreError> {
        let mut select = Sql::new(SELECT);
        select
            .push(" WHERE id = ")
            .bind(id.text(Kind::Token).to_string());
        token(&select.query().fetch_one(&self.pools.read).await?)
    }

    /// All tokens, by id; there are few.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, StoreError> {
        let mut select = Sql::new(SELECT);
        select.push(" ORDER BY id");
        let rows = select.query().fetch_all(&self.pools.read).await?;
        rows.iter().map(token).collect()
    }

    /// Whether somebody can do everything: an owner's token of the root workspace that is good, or an owner of it who
    /// can sign in. A store without one is new, or nobody can change it any more.
    pub async fn has_owner(&self, now: Timestamp) -> Result<bool, StoreError> {
        let found = owners(now).query().fetch_optional(&self.pools.read).await?;
        Ok(found.is_some())
    }

    /// Notes a call with a token. No change of its own: it has no revision and no audit event.
    pub async fn note_token_use(&self, id: Id, at: Timestamp) -> Result<(), StoreError> {
        let mut update = Sql::new("UPDATE tokens SET last_used_at = ");
        update
            .bind(at)
            .push(" WHERE id = ")
            .bind(id.text(Kind::Token).to_string());
        update.push(" AND COALESCE(last_used_at, 0) < ").bind(at);
        update.query().execute(&self.pools.write).await?;
        Ok(())
    }
}

/// One of those who can do everything.
fn owners(now: Timestamp) -> Sql {
    let root = workspace::root().text(Kind::Workspace).to_string();
    let mut select = Sql::new("SELECT id FROM tokens WHERE role = 'owner' AND workspace = ");
    select.bind(root.clone());
    select.push(" AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ");
    select.bind(now);
    select.push(
        ") UNION ALL SELECT m.id FROM members m JOIN roles r ON r.member = m.id \
         WHERE m.state = 'active' AND m.password IS NOT NULL AND r.role = 'owner' AND r.workspace = ",
    );
    select.bind(root).push(" LIMIT 1");
    select
}

impl Write {
    /// As [`Store::has_owner`], inside this transaction: nobody becomes one before it ends.
    pub async fn has_owner(&mut self) -> Result<bool, StoreError> {
        let select = owners(self.now);
        let found = select.query().fetch_optional(self.connection()).await?;
        Ok(found.is_some())
    }

    /// A token as it is inside this transaction.
    pub async fn token(&mut self, id: Id) -> Result<TokenRecord, StoreError> {
        let mut select = Sql::new(SELECT);
        select
            .push(" WHERE id = ")
            .bind(id.text(Kind::Token).to_string());
        token(&select.query().fetch_one(self.connection()).await?)
    }

    /// Keeps a new token.
    pub async fn insert_token(
        &mut self,
        mut token: TokenRecord,
    ) -> Result<TokenRecord, StoreError> {
        token.created_at = self.now;
        token.created_by = self.actor().text();
        token.revision = self.revision;
        let id = token.id.text(Kind::Token).to_string();
        let workspace = token.workspace.text(Kind::Workspace).to_string();
        let mut insert = Sql::new(
            "INSERT INTO tokens (id, kind, name, workspace, role, hash, hint, created_at, created_by, expires_at, revision) VALUES (",
        );
        insert
            .bind(id.clone())
            .push(", ")
            .bind(token.kind.name())
            .push(", ")
            .bind(token.name.clone());
        insert
            .push(", ")
            .bind(workspace.clone())
            .push(", ")
            .bind(token.role.name());
        insert
            .push(", ")
            .bind(token.hash.clone())
            .push(", ")
            .bind(token.hint.clone());
        insert
            .push(", ")
            .bind(token.created_at)
            .push(", ")
            .bind(token.created_by.clone());
        insert
            .push(", ")
            .bind(token.expires_at)
            .push(", ")
            .bind(self.revision_number())
            .push(")");
        self.run(insert).await?;
        let mut fact = Fact::new("token.created", token.workspace, id.clone());
        fact.target_name = Some(token.name.clone());
        fact.change("role", Value::Null, token.role.name());
        fact.change(
            "expires_at",
            Value::Null,
            token.expires_at.map(|at| at.to_string()),
        );
        fact.event = Some(json!({"id": id, "workspace": workspace, "role": token.role.name()}));
        self.record(fact).await?;
        Ok(token)
    }

    /// Ends a token for good.
    pub async fn revoke_token(&mut self, id: Id) -> Result<TokenRecord, StoreError> {
        let text = id.text(Kind::Token).to_string();
        let mut update = Sql::new("UPDATE tokens SET revoked_at = COALESCE(revoked_at, ");
        update
            .bind(self.now)
            .push("), revision = ")
            .bind(self.revision_number());
        update.push(" WHERE id = ").bind(text.clone());
        if self.run(update).await? == 0 {
            return Err(StoreError::NotFound);
        }
        let mut select = Sql::new(SELECT);
        select.push(" WHERE id = ").bind(text.clone());
        let token = token(&select.query().fetch_one(self.connection()).await?)?;
        let mut fact = Fact::new("token.revoked", token.workspace, text.clone());
        fact.target_name = Some(token.name.clone());
        fact.event = Some(json!({"id": text}));
        self.record(fact).await?;
        Ok(token)
    }
}

fn token(row: &AnyRow) -> Result<TokenRecord, StoreError> {
    let role = row.text("role")?;
    Ok(TokenRecord {
        id: row.id("id", Kind::Token)?,
        kind: if row.text("kind")? == TokenKind::Setup.name() {
            TokenKind::Setup
        } else {
            TokenKind::Token
        },
        name: row.text("name")?,
        workspace: row.id("workspace", Kind::Workspace)?,
        role: Role::parse(&role).ok_or(StoreError::Foreign(role))?,
        hash: row.text("hash")?,
        hint: row.text("hint")?,
        created_at: row.time("created_at")?,
        created_by: row.text("created_by")?,
        expires_at: row.maybe_time("expires_at")?,
        last_used_at: row.maybe_time("last_used_at")?,
        revoked_at: row.maybe_time("revoked_at")?,
        revision: row.natural("revision")?,
    })
}
