//! `/v1/whoami`: who asks, and what they may do where.

use crate::admin::auth::Caller;
use crate::admin::call::Call;
use crate::admin::error::AdminError;
use crate::admin::schema::Refusals;
use crate::admin::server::AdminParts;
use crate::domain::actor::Who;
use crate::domain::id::{Id, Kind};
use crate::domain::role::{Permission, Role};
use crate::domain::time::Timestamp;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Who asks.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct WhoAmI {
    /// `token`, `member`, or `config`: the token of the config file, or nobody where it names none.
    kind: &'static str,
    /// `tok_…` or `mem_…`.
    id: Option<String>,
    /// Name of the token, or of the person.
    name: Option<String>,
    email: Option<String>,
    /// `ses_…`: the session of a member.
    session: Option<String>,
    bindings: Vec<BindingView>,
    /// When the token or the session ends, however busy.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A role in a workspace and all below it.
#[derive(Serialize, ToSchema)]
#[schema(as = RoleBinding)]
pub(in crate::admin) struct BindingView {
    /// Id of the workspace.
    workspace: String,
    workspace_name: String,
    /// `owner`, `admin`, `editor`, `auditor`.
    role: &'static str,
    /// What the role may do there.
    permissions: Vec<&'static str>,
}

/// Tells who asks, and what they may do where.
#[utoipa::path(
    get, path = "/v1/whoami", tag = "whoami", responses((status = 200, body = WhoAmI), Refusals)
)]
pub(in crate::admin) async fn show_caller(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<WhoAmI>, AdminError> {
    call.no_parameters()?;
    let mut who = WhoAmI {
        kind: "config",
        id: None,
        name: call.caller.actor.name.clone(),
        email: None,
        session: None,
        bindings: bindings(&parts, &call.caller).await?,
        expires_at: None,
    };
    match call.caller.actor.who {
        Who::Token(id) => {
            who.kind = "token";
            who.id = Some(id.text(Kind::Token).to_string());
            who.expires_at = parts.store()?.token(id).await?.expires_at;
        }
        Who::Member { member, session } => {
            let store = parts.store()?;
            let known = store.member(member).await?;
            who.kind = "member";
            who.id = Some(member.text(Kind::Member).to_string());
            (who.name, who.email) = (known.name, known.email);
            who.session = Some(session.text(Kind::Session).to_string());
            who.expires_at = Some(store.session(session).await?.expires_at);
        }
        Who::ConfigToken | Who::System(_) => {}
    }
    Ok(Json(who))
}

async fn bindings(parts: &AdminParts, caller: &Caller) -> Result<Vec<BindingView>, AdminError> {
    let mut all = Vec::new();
    for (lineage, role) in caller.bindings() {
        let workspace = lineage.own();
        all.push(BindingView {
            workspace: workspace.text(Kind::Workspace).to_string(),
            workspace_name: name_of(parts, workspace).await?,
            role: role.name(),
            permissions: permissions(role),
        });
    }
    Ok(all)
}

/// Without a store there is one workspace, and it has the name it would have in a new one.
async fn name_of(parts: &AdminParts, workspace: Id) -> Result<String, AdminError> {
    if parts.store.is_none() {
        return Ok("root".into());
    }
    Ok(parts.store()?.workspace(workspace).await?.name)
}

fn permissions(role: Role) -> Vec<&'static str> {
    let all = Permission::all().filter(|permission| role.may(*permission));
    all.map(Permission::name).collect()
}
