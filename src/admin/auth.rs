//! Who may ask the management port, and for what. The way in: host and origin, then the pace of the network, then the
//! token or session; what its role allows is asked by each handler.

use super::error::AdminError;
use super::identity::{NotIn, identify};
use super::refusal::{self, Refused};
use super::server::{AdminParts, Peer};
use crate::domain::actor::{Actor, Who};
use crate::domain::host::host_name;
use crate::domain::id::{Id, Kind};
use crate::domain::network::Network;
use crate::domain::role::{Permission, Role};
use crate::domain::secret::Secret;
use crate::domain::workspace::{Lineage, root};
use crate::store::Fact;
use crate::store::workspaces::path_of;
use crate::store::write::Class;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use axum::middleware::Next;
use axum::response::Response;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A role in a workspace and all below it.
#[derive(Debug, Clone)]
pub(super) struct Binding {
    lineage: Lineage,
    role: Role,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) actor: Actor,
    /// What the caller proved itself with; replies are sealed with it.
    pub(super) secret: Secret<String>,
    bindings: Vec<Binding>,
}

impl Caller {
    pub(super) fn new(who: Who, name: Option<String>, secret: &str) -> Self {
        Self {
            actor: Actor {
                who,
                name,
                address: None,
                request_id: None,
            },
            secret: Secret::new(secret.to_owned()),
            bindings: Vec::new(),
        }
    }

    pub(super) fn at_root(self, role: Role) -> Self {
        self.bound(Lineage::new(vec![root()]), role)
    }

    /// With one more role.
    pub(super) fn bound(mut self, lineage: Lineage, role: Role) -> Self {
        self.bindings.push(Binding { lineage, role });
        self
    }

    /// The greatest role in a place; `None`: it is out of reach.
    pub(super) fn role_in(&self, place: &Lineage) -> Option<Role> {
        let reaching = self
            .bindings
            .iter()
            .filter(|binding| place.is_reached_from(binding.lineage.own()));
        reaching.map(|binding| binding.role).max()
    }

    /// Whether the caller has a permission in a place. What is out of reach is not there.
    pub(super) fn check(&self, permission: Permission, place: &Lineage) -> Result<(), AdminError> {
        let mut reaching = self
            .bindings
            .iter()
            .filter(|binding| place.is_reached_from(binding.lineage.own()))
            .peekable();
        if reaching.peek().is_none() {
            return Err(AdminError::NotFound);
        }
        if reaching.any(|binding| binding.role.may(permission)) {
            Ok(())
        } else {
            Err(AdminError::Forbidden(permission.name()))
        }
    }

    /// Whether the caller has a permission in a place and a role there that covers another one.
    pub(super) fn check_role(
        &self,
        permission: Permission,
        place: &Lineage,
        role: Role,
    ) -> Result<(), AdminError> {
        self.check(permission, place)?;
        if self.role_in(place).is_some_and(|own| own.covers(role)) {
            Ok(())
        } else {
            Err(AdminError::RoleNotCovered)
        }
    }

    /// Whether the caller has a permission everywhere, for what is not of one workspace.
    pub(super) fn check_whole(&self, permission: Permission) -> Result<(), AdminError> {
        match self.check(permission, &Lineage::new(vec![root()])) {
            // That there is a root is no secret.
            Err(AdminError::NotFound) => Err(AdminError::Forbidden(permission.name())),
            other => other,
        }
    }

    /// Paths of the workspaces below which the caller has a permission.
    ///
    /// # Errors
    /// [`AdminError::Forbidden`] when there is none.
    pub(super) fn reach(&self, permission: Permission) -> Result<Vec<String>, AdminError> {
        let able = self
            .bindings
            .iter()
            .filter(|binding| binding.role.may(permission));
        let paths: Vec<String> = able.map(|binding| path_of(&binding.lineage)).collect();
        if paths.is_empty() {
            return Err(AdminError::Forbidden(permission.name()));
        }
        Ok(paths)
    }

    /// Where its own things are made unless it says otherwise.
    pub(super) fn home(&self) -> Id {
        self.bindings
            .first()
            .map_or_else(root, |binding| binding.lineage.own())
    }

    /// Workspaces and roles.
    pub(super) fn bindings(&self) -> impl Iterator<Item = (&Lineage, Role)> {
        self.bindings
            .iter()
            .map(|binding| (&binding.lineage, binding.role))
    }
}

/// For `/metrics` and `/status`: open on this machine while the config names no token, else for whoever may read them.
pub(super) async fn guard_system(
    State(parts): State<Arc<AdminParts>>,
    ConnectInfo(Peer(peer, _)): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, AdminError> {
    check_names(&parts, request.headers())?;
    if parts.token.is_none() && matches!(bearer(request.headers()), Ok(None)) {
        check_local(&parts, request.headers())?;
        return Ok(next.run(request).await);
    }
    let caller = authenticate(&parts, request.headers(), peer.ip()).await?;
    if let Err(fault) = caller.check_whole(Permission::SystemRead) {
        let why = Refused(Permission::SystemRead.name());
        note_refused(&parts, &caller, name_of(&request), why).await;
        return Err(fault);
    }
    Ok(next.run(request).await)
}

/// For `/v1`: puts the [`Caller`] into the request.
pub(super) async fn guard_api(
    State(parts): State<Arc<AdminParts>>,
    ConnectInfo(Peer(peer, _)): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Result<Response, AdminError> {
    check_names(&parts, request.headers())?;
    parts.throttle.take(Network::of(peer.ip()))?;
    let declared_only = parts.token.is_none() && parts.store.is_none();
    let caller = if declared_only && matches!(bearer(request.headers()), Ok(None)) {
        check_local(&parts, request.headers())?;
        Caller::new(Who::ConfigToken, None, "").at_root(Role::Auditor)
    } else {
        authenticate(&parts, request.headers(), peer.ip()).await?
    };
    let call = name_of(&request);
    request.extensions_mut().insert(caller.clone());
    let answer = next.run(request).await;
    if let Some(why) = answer.extensions().get::<Refused>() {
        note_refused(&parts, &caller, call, *why).await;
    }
    Ok(answer)
}

/// For what a person does before there is a caller: signing in. Whoever it is has no role anywhere.
pub(super) async fn guard_sign_in(
    State(parts): State<Arc<AdminParts>>,
    ConnectInfo(Peer(peer, _)): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Result<Response, AdminError> {
    check_names(&parts, request.headers())?;
    check_local(&parts, request.headers())?;
    parts.throttle.take(Network::of(peer.ip()))?;
    let mut stranger = Caller::new(Who::System("sign_in"), None, "");
    stranger.actor.address = Some(peer.ip().to_canonical());
    stranger.actor.request_id = Some(request_id(&parts, request.headers()));
    request.extensions_mut().insert(stranger);
    Ok(next.run(request).await)
}

/// The id that the caller gave its request, if it is one of ours, else a new one.
pub(super) fn request_id(parts: &AdminParts, headers: &HeaderMap) -> String {
    let given = headers
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| id.len() <= 64 && Id::parse(Kind::Request, id).is_some();
    given.filter(harmless).map_or_else(
        || Id::new(parts.clock.now()).text(Kind::Request).to_string(),
        str::to_owned,
    )
}

async fn authenticate(
    parts: &AdminParts,
    headers: &HeaderMap,
    peer: IpAddr,
) -> Result<Caller, AdminError> {
    let Ok(Some(presented)) = bearer(headers) else {
        check_local(parts, headers)?;
        return Err(AdminError::Unauthorized);
    };
    match identify(parts, presented).await {
        Ok(mut caller) => {
            caller.actor.address = Some(peer.to_canonical());
            caller.actor.request_id = Some(request_id(parts, headers));
            Ok(caller)
        }
        Err(NotIn::Refused(fact)) => {
            // Who guesses is slowed down, and nobody else behind the same address: what is good always passes.
            let one_too_many = parts.throttle.note_failure(Network::of(peer));
            let stranger = Actor {
                who: Who::System("way_in"),
                name: None,
                address: Some(peer.to_canonical()),
                request_id: Some(request_id(parts, headers)),
            };
            let cause = format!("{} {}", fact.action, fact.target);
            refusal::record(parts, &stranger, &cause, *fact).await;
            check_local(parts, headers)?;
            one_too_many?;
            Err(AdminError::Unauthorized)
        }
        Err(NotIn::Fault(fault)) => Err(fault),
    }
}

/// The call, as the document of the API names it: what callers put into a path is not repeated.
fn name_of(request: &Request) -> String {
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map_or("?", MatchedPath::as_str);
    format!("{} {path}", request.method())
}

/// Records that a caller asked for what they may not have.
async fn note_refused(parts: &AdminParts, caller: &Caller, call: String, Refused(why): Refused) {
    let cause = format!("{} {why}", caller.actor.text());
    let mut fact = Fact::new("call.refused", caller.home(), call);
    fact.class = Class::Authorization;
    fact.reason = Some(why.into());
    refusal::record(parts, &caller.actor, &cause, fact).await;
}

/// The token behind `Bearer`; `None`: none was presented.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, AdminError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(AdminError::Unauthorized);
    }
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, rest) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case("bearer ").then(|| rest.trim())
    });
    token.map(Some).ok_or(AdminError::Unauthorized)
}

/// A page of another site cannot ask: its origin is told by the browser. And where names are set, no other is answered.
fn check_names(parts: &AdminParts, headers: &HeaderMap) -> Result<(), AdminError> {
    let host = headers.get(HOST);
    if let Some(origin) = headers.get(ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let authority = origin.split_once("://").map_or("", |(_, rest)| rest);
        let same = host
            .and_then(|host| host.to_str().ok())
            .is_some_and(|host| host.eq_ignore_ascii_case(authority));
        if !same {
            return Err(AdminError::Misdirected);
        }
    }
    if !parts.allowed_hosts.is_empty() && !is_known(parts, host) {
        return Err(AdminError::Misdirected);
    }
    Ok(())
}

/// Without a good token, the network is all that protects the port; a page in a browser can reach it under a name that its
/// author made to lead here (DNS rebinding), but not under an address or `localhost`. It would read what is open on this
/// machine, or guess passwords. Such a page has no good token: whoever has one may ask under any name unless names are set.
fn check_local(parts: &AdminParts, headers: &HeaderMap) -> Result<(), AdminError> {
    if is_known(parts, headers.get(HOST)) {
        Ok(())
    } else {
        Err(AdminError::Misdirected)
    }
}

fn is_known(parts: &AdminParts, host: Option<&HeaderValue>) -> bool {
    let Some(host) = host else { return true };
    let Some(name) = host.to_str().ok().and_then(|host| host_name(host).ok()) else {
        return false;
    };
    name == "localhost"
        || name.starts_with('[')
        || name.parse::<Ipv4Addr>().is_ok()
        || parts.allowed_hosts.iter().any(|known| *known == name)
}
