//! Decide: the only maker of a [`Permit`]. Whatever sends a request upstream demands one, so no path can skip this.

use super::limit::{self, Standing};
use super::verify::{Refusal, Verified};
use super::{Denied, identity, verify};
use crate::domain::fields::Fields;
use crate::domain::id::Id;
use crate::domain::key::KeyHash;
use crate::domain::time::Timestamp;
use crate::snapshot::key::{Key, KeyMark};
use crate::snapshot::keys::KeyTable;
use crate::snapshot::router::CompiledRoute;
use http::Method;
use std::net::IpAddr;
use std::sync::Arc;

/// Proof that a request may go upstream, and as whom.
#[derive(Debug)]
pub struct Permit {
    /// `None`: an open route or a preflight.
    key: Option<Arc<Key>>,
    /// `None`: nothing limits it.
    standing: Option<Standing>,
}

impl Permit {
    /// The key that was used, if one was.
    pub fn key_id(&self) -> Option<Id> {
        Some(self.key.as_ref()?.id)
    }

    /// The key and the secret that were used, if one was.
    pub fn mark(&self) -> Option<KeyMark> {
        Some(self.key.as_ref()?.mark())
    }

    /// When the key's time ends.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.key.as_ref()?.expires_at()
    }

    /// What is left of the limits it was taken out of.
    pub fn standing(&self) -> Option<Standing> {
        self.standing
    }

    /// Whether nobody in particular asks.
    pub fn is_anonymous(&self) -> bool {
        self.key.is_none()
    }

    /// Says upstream who calls, field by field; nothing for anonymous.
    #[inline]
    pub fn identify(&self, route: &CompiledRoute, say: impl FnMut(&str, &[u8])) {
        if let Some(key) = &self.key {
            identity::tell(key, route.route.forward_metadata, say);
        }
    }
}

/// Decides on a key: its workspace, its routes, its methods, its scopes, and at last its limits. Notes the use, or the
/// refusal. `nanos` is the time by the monotonic clock.
///
/// Takes the verified key by value: the shard it holds is let go before anything waits.
#[expect(
    clippy::needless_pass_by_value,
    reason = "ends the hold on the key table's shard"
)]
pub fn check(
    verified: Verified<'_>,
    route: &CompiledRoute,
    method: &Method,
    ((now, from), nanos): ((Timestamp, IpAddr), u64),
) -> Result<Permit, Refusal> {
    let key = &verified.key;
    let limited = || limit::take(&limit::of(Some(key), Some(route)), nanos);
    match decide(key, route, method).and_then(|()| limited()) {
        Ok(standing) => {
            key.usage.used(now, from);
            Ok(Permit {
                key: Some(Arc::clone(key)),
                standing,
            })
        }
        Err(denied) => {
            key.usage.refused();
            Err((denied, Some(key.mark())))
        }
    }
}

/// Whether a key that has passed may still go on, by the same rules; until when, if it may. Nothing is noted.
///
/// `rehashed` is the hash by which an imported key is found once the store knows it.
pub fn recheck(
    keys: &KeyTable,
    (mark, rehashed): (&KeyMark, Option<&KeyHash>),
    (route, method): (&CompiledRoute, &Method),
    when_where: (Timestamp, IpAddr),
) -> Result<Option<Timestamp>, Denied> {
    let key = keys
        .find_of(&mark.hash, mark.algorithm)
        .or_else(|| keys.find(rehashed?))
        .ok_or(Denied::Unknown)?;
    verify::fits(&key, None, when_where)?;
    decide(&key, route, method)?;
    Ok(key.expires_at())
}

/// The decision itself; nothing is noted.
pub(super) fn decide(key: &Key, route: &CompiledRoute, method: &Method) -> Result<(), Denied> {
    if !route.place.takes(key.workspace()) {
        return Err(Denied::Workspace);
    }
    let named = key.names_route(route.symbol);
    if named == Some(false) {
        return Err(Denied::Route);
    }
    if !key.methods.contains(method) {
        return Err(Denied::Method);
    }
    let demanded = route.demand(method).ok_or(Denied::Scope)?;
    // An empty set opens nothing, except a route that demands nothing and that the key names.
    let opened_by_name = demanded.is_empty() && named == Some(true);
    if key.scopes().is_empty() && !opened_by_name || !key.scopes().holds(demanded) {
        return Err(Denied::Scope);
    }
    Ok(())
}

/// Decides on a request without a key: an open route, or a true CORS preflight where the route lets it pass.
pub fn check_anonymous(
    route: &CompiledRoute,
    method: &Method,
    fields: &Fields,
    nanos: u64,
) -> Result<Permit, Denied> {
    passes_anonymous(route, method, fields)?;
    let standing = limit::take(&limit::of(None, Some(route)), nanos)?;
    Ok(Permit {
        key: None,
        standing,
    })
}

/// The decision itself; nothing is taken out of the route's limit.
pub(super) fn passes_anonymous(
    route: &CompiledRoute,
    method: &Method,
    fields: &Fields,
) -> Result<(), Denied> {
    let policy = &route.route.auth;
    if !policy.required || policy.preflight && is_preflight(method, fields) {
        return Ok(());
    }
    Err(Denied::Missing)
}

/// A browser's preflight: `OPTIONS` with both of the fields that the Fetch standard (§3.2.2) puts on it.
fn is_preflight(method: &Method, fields: &Fields) -> bool {
    *method == Method::OPTIONS
        && fields.has("origin")
        && fields.has("access-control-request-method")
}
