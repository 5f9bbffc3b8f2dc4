//! A key as the data plane sees it: one allocation with its use counters in it, and what makes it from a declaration.
//!
//! Long because every field of a key is compiled, compared and met with its predecessor: a new one is added in one file.

use super::limits::{Bucket, Buckets, LimitOwner};
use super::usage::KeyUsage;
use crate::domain::consumer::Consumer;
use crate::domain::id::{Id, Kind};
use crate::domain::key::{Algorithm, KeyHash, KeySpec, KeyState, KeyStatus, Origin};
use crate::domain::limit::Limit;
use crate::domain::method::MethodSet;
use crate::domain::route::LocationSet;
use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;
use http::HeaderValue;
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroI64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A scope or a route name as a number, stable for the life of the process.
pub type SymbolId = u32;

/// Gives each name a number that never changes, so that keys outlive a reload without being compiled again.
#[derive(Debug, Default)]
pub struct Symbols(Mutex<Names>);

#[derive(Debug, Default)]
struct Names {
    ids: HashMap<Arc<str>, SymbolId>,
    names: Vec<Arc<str>>,
}

/// What stands in front of a route's name among the symbols. The slash keeps it apart from scopes of the same spelling.
const ROUTE: &str = "route/";

impl Symbols {
    /// The number of a name; new names get the next one.
    pub fn id(&self, name: &str) -> SymbolId {
        let mut known = self.names();
        if let Some(id) = known.ids.get(name) {
            return *id;
        }
        let id = SymbolId::try_from(known.names.len()).unwrap_or(SymbolId::MAX);
        let name: Arc<str> = name.into();
        known.names.push(Arc::clone(&name));
        known.ids.insert(name, id);
        id
    }

    /// The names of routes by their numbers.
    pub fn routes(&self) -> HashMap<SymbolId, String> {
        let known = self.names();
        let names = known.names.iter().zip(0..);
        names
            .filter_map(|(name, id)| Some((id, name.strip_prefix(ROUTE)?.to_owned())))
            .collect()
    }

    /// The name of the route with this number.
    pub fn route(&self, id: SymbolId) -> Option<Arc<str>> {
        let place = usize::try_from(id).ok()?;
        let name = self.names().names.get(place).map(Arc::clone)?;
        Some(name.strip_prefix(ROUTE)?.into())
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key's scopes: sorted numbers to check by, and the header that tells them upstream. Shared by all keys that have
/// the same.
#[derive(Debug)]
pub struct ScopeSet {
    ids: Box<[SymbolId]>,
    /// The names, space-separated, sorted; for `X-Keygate-Scopes`.
    pub header: HeaderValue,
}

impl ScopeSet {
    /// Whether the set is empty: it opens nothing then.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Whether all demanded scopes are in the set. Sets are small: a scan beats a search.
    pub fn holds(&self, demanded: &[SymbolId]) -> bool {
        demanded.iter().all(|id| self.ids.contains(id))
    }
}

/// Who owns a key, with the headers that tell it upstream. Shared by all keys of the consumer.
#[derive(Debug)]
pub struct Owner {
    /// `X-Consumer-ID`.
    pub id: HeaderValue,
    /// `X-Consumer-Username`.
    pub name: HeaderValue,
    /// The consumer itself.
    pub consumer: Consumer,
    /// What is left of the limit that all its keys share.
    pub bucket: Option<Arc<Bucket>>,
}

/// What many keys have alike, kept once for all of them.
#[derive(Debug)]
struct SharedParts {
    scopes: ScopeSet,
    owner: Option<Arc<Owner>>,
    environment: Box<str>,
    workspace: Id,
    /// `X-Keygate-Workspace`.
    workspace_header: HeaderValue,
}

/// What few keys have; kept apart to keep the others small.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rare {
    hint: Option<Box<str>>,
    routes: Option<Box<[SymbolId]>>,
    ip_allow: Box<[IpNet]>,
    not_before: Option<Timestamp>,
    metadata: Option<Box<HeaderValue>>,
    /// What is left of its own limit, the same for all its secrets.
    bucket: Option<Arc<Bucket>>,
    /// In milliseconds, in half the room of a [`Timestamp`] that may be absent.
    rotating_until: Option<NonZeroI64>,
}

/// Later than any time.
const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);

/// One key as the data plane sees it.
#[derive(Debug)]
pub struct Key {
    /// `key_…`.
    pub id: Id,
    /// Hash of its secret.
    pub(super) hash: KeyHash,
    /// How that hash was made.
    pub algorithm: Algorithm,
    /// Where it is managed.
    pub origin: Origin,
    /// Whether a newer secret of the same key has taken over from this one.
    pub superseded: bool,
    /// Whether it was announced that the key will go for want of use.
    warned: bool,
    name: Box<str>,
    shared: Arc<SharedParts>,
    rare: Option<Box<Rare>>,
    /// [`NEVER`]: it does not.
    expires_at: Timestamp,
    /// The only methods it may use.
    pub methods: MethodSet,
    /// The only places it may stand in.
    pub locations: LocationSet,
    /// In force or not.
    pub state: KeyState,
    /// Its use.
    pub usage: KeyUsage,
}

/// Which key, and which of its secrets: what is written down about a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyMark {
    /// `key_…`.
    pub id: Id,
    /// Hash of the secret.
    pub hash: KeyHash,
    /// How that hash was made.
    pub algorithm: Algorithm,
    /// Where it is managed.
    pub origin: Origin,
}

impl Key {
    /// Which key it is.
    pub fn mark(&self) -> KeyMark {
        KeyMark {
            id: self.id,
            hash: self.hash,
            algorithm: self.algorithm,
            origin: self.origin,
        }
    }

    /// Name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Display hint, when one is known.
    pub fn hint(&self) -> Option<&str> {
        self.rare.as_ref()?.hint.as_deref()
    }

    /// Hash of its secret: never for a log or an answer.
    pub fn hash(&self) -> &KeyHash {
        &self.hash
    }

    /// The workspace it belongs to.
    pub fn workspace(&self) -> Id {
        self.shared.workspace
    }

    /// Its workspace for `X-Keygate-Workspace`.
    pub fn workspace_header(&self) -> &HeaderValue {
        &self.shared.workspace_header
    }

    /// Environment of the key.
    pub fn environment(&self) -> &str {
        &self.shared.environment
    }

    /// Its rights.
    pub fn scopes(&self) -> &ScopeSet {
        &self.shared.scopes
    }

    /// Its consumer.
    pub fn owner(&self) -> Option<&Owner> {
        self.shared.owner.as_deref()
    }

    /// What is left of its own limit.
    pub fn bucket(&self) -> Option<&Bucket> {
        self.rare.as_ref()?.bucket.as_deref()
    }

    /// Its own limit.
    pub fn limit(&self) -> Option<Limit> {
        self.bucket().map(Bucket::limit)
    }

    /// Start of its validity.
    pub fn not_before(&self) -> Option<Timestamp> {
        self.rare.as_ref()?.not_before
    }

    /// End of its validity.
    pub fn expires_at(&self) -> Option<Timestamp> {
        Some(self.expires_at).filter(|end| *end != NEVER)
    }

    /// Its metadata as one JSON object.
    pub fn metadata(&self) -> Option<&HeaderValue> {
        self.rare.as_ref()?.metadata.as_deref()
    }

    /// What a person is shown.
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        let limits = (self.not_before(), self.expires_at());
        let rotating = self.rare.as_ref().and_then(|rare| rare.rotating_until);
        let rotating = rotating.map(|end| Timestamp::from_millis(end.get()));
        // That there is such a time is all that matters.
        let inactive = self.warned.then_some(NEVER);
        KeyStatus::of(self.state, limits, (rotating, inactive), now)
    }

    /// Notes what will become of the key by itself; only its status shows it.
    pub fn foretell(&mut self, rotating_until: Option<Timestamp>, inactive_at: Option<Timestamp>) {
        self.warned = inactive_at.is_some();
        if let Some(end) = rotating_until {
            let rare = self.rare.get_or_insert_default();
            rare.rotating_until = NonZeroI64::new(end.as_millis());
        }
    }

    /// Whether it may come from this address. IPv4-mapped IPv6 is the same address as IPv4.
    pub fn allows_address(&self, address: IpAddr) -> bool {
        let Some(limits) = &self.rare else {
            return true;
        };
        let address = address.to_canonical();
        limits.ip_allow.is_empty() || limits.ip_allow.iter().any(|net| net.contains(&address))
    }

    /// The networks it may come from; empty: any.
    pub fn ip_allow(&self) -> &[IpNet] {
        self.rare.as_ref().map_or(&[], |rare| &rare.ip_allow)
    }

    /// The routes it names; `None`: none.
    pub fn routes(&self) -> Option<&[SymbolId]> {
        self.rare.as_ref()?.routes.as_deref()
    }

    /// Whether the key names routes, and this one among them. `None`: it names none.
    pub fn names_route(&self, route: SymbolId) -> Option<bool> {
        let routes = self.rare.as_ref()?.routes.as_ref()?;
        Some(routes.contains(&route))
    }

    /// This key with only the rights that it and its predecessor both have, for the moment in which one takes over from
    /// the other.
    pub(super) fn met_with(&self, old: &Self) -> Self {
        let ids = self
            .scopes()
            .ids
            .iter()
            .copied()
            .filter(|id| old.scopes().ids.contains(id))
            .collect();
        let shared = SharedParts {
            scopes: ScopeSet {
                ids,
                header: self.scopes().header.clone(),
            },
            owner: self.shared.owner.clone(),
            environment: self.shared.environment.clone(),
            workspace: self.shared.workspace,
            workspace_header: self.shared.workspace_header.clone(),
        };
        let rare = Rare::met(self.rare.as_deref(), old.rare.as_deref());
        Self {
            id: self.id,
            hash: self.hash,
            algorithm: self.algorithm,
            origin: self.origin,
            superseded: self.superseded,
            warned: self.warned,
            name: self.name.clone(),
            shared: Arc::new(shared),
            rare: Some(Box::new(rare)),
            expires_at: self.expires_at.min(old.expires_at),
            methods: self.methods.intersection(old.methods),
            locations: self.locations.intersection(old.locations),
            state: if self.state == KeyState::Active {
                old.state
            } else {
                self.state
            },
            usage: KeyUsage::default(),
        }
    }

    pub(super) fn same_spec(&self, other: &Self) -> bool {
        self.id == other.id
            && self.origin == other.origin
            && self.superseded == other.superseded
            && self.workspace() == other.workspace()
            && self.name == other.name
            && self.scopes().ids == other.scopes().ids
            && self.owner().map(|owner| &owner.consumer)
                == other.owner().map(|owner| &owner.consumer)
            && self.environment() == other.environment()
            && self.rare == other.rare
            && self.expires_at == other.expires_at
            && self.methods == other.methods
            && self.locations == other.locations
            && self.state == other.state
    }
}

impl Rare {
    /// What both allow, with the new one's words.
    fn met(new: Option<&Self>, old: Option<&Self>) -> Self {
        let none = Self::default();
        let (new, old) = (new.unwrap_or(&none), old.unwrap_or(&none));
        let routes = match (&new.routes, &old.routes) {
            (Some(new), Some(old)) => Some(
                new.iter()
                    .copied()
                    .filter(|route| old.contains(route))
                    .collect(),
            ),
            (one, other) => one.clone().or_else(|| other.clone()),
        };
        Self {
            hint: new.hint.clone(),
            routes,
            ip_allow: met_networks(&new.ip_allow, &old.ip_allow),
            not_before: new.not_before.max(old.not_before),
            metadata: new.metadata.clone(),
            bucket: new.bucket.clone(),
            rotating_until: new.rotating_until,
        }
    }
}

/// The addresses in both lists, where an empty list is every address. Two networks are apart or one is in the other.
fn met_networks(new: &[IpNet], old: &[IpNet]) -> Box<[IpNet]> {
    if new.is_empty() || old.is_empty() {
        return if new.is_empty() {
            old.into()
        } else {
            new.into()
        };
    }
    let pairs = new
        .iter()
        .flat_map(|one| old.iter().map(move |other| (one, other)));
    let both = |(one, other): (&IpNet, &IpNet)| {
        if one.contains(other) {
            Some(*other)
        } else {
            other.contains(one).then_some(*one)
        }
    };
    let met: Vec<IpNet> = pairs.filter_map(both).collect();
    // An empty list would mean every address: this one is no caller's.
    if met.is_empty() {
        Box::new([IpNet::from(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED))])
    } else {
        met.into()
    }
}

/// What shared parts are found by.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SharedName {
    scopes: Vec<SymbolId>,
    consumer: Option<Consumer>,
    environment: String,
    workspace: Id,
}

/// Makes [`Key`]s and shares what they have in common.
#[derive(Debug, Default)]
pub struct KeyCompiler {
    owners: HashMap<Consumer, Arc<Owner>>,
    shared: HashMap<SharedName, Arc<SharedParts>>,
    /// Those of the last key, and what was declared of it: keys with the same often stand side by side.
    last: Option<(SharedSpec, Arc<SharedParts>)>,
    buckets: Buckets,
}

/// What of a declaration shared parts are made from.
#[derive(Debug)]
struct SharedSpec {
    scopes: Vec<Scope>,
    consumer: Option<Consumer>,
    environment: String,
    workspace: Id,
}

impl SharedSpec {
    fn of(spec: &KeySpec) -> Self {
        Self {
            scopes: spec.scopes.clone(),
            consumer: spec.consumer.clone(),
            environment: spec.environment.clone(),
            workspace: spec.workspace,
        }
    }

    fn is_of(&self, spec: &KeySpec) -> bool {
        self.workspace == spec.workspace
            && self.environment == spec.environment
            && self.scopes == spec.scopes
            && self.consumer == spec.consumer
    }
}

impl KeyCompiler {
    /// Forgets what no key has any more.
    pub fn forget_unused(&mut self) {
        self.last = None;
        self.shared.retain(|_, parts| Arc::strong_count(parts) > 1);
        self.owners.retain(|_, owner| Arc::strong_count(owner) > 1);
        self.buckets.forget_unused();
    }

    /// The key that a declaration describes, unused.
    pub fn compile(&mut self, spec: &KeySpec, symbols: &Symbols) -> Key {
        Key {
            id: spec.id,
            hash: spec.hash,
            algorithm: spec.algorithm,
            origin: spec.origin,
            superseded: spec.retires_at.is_some(),
            warned: false,
            name: spec.name.as_str().into(),
            shared: self.shared(spec, symbols),
            rare: rare(spec, symbols, &mut self.buckets),
            expires_at: spec
                .expires_at
                .unwrap_or(NEVER)
                .min(spec.retires_at.unwrap_or(NEVER)),
            methods: spec.methods,
            locations: spec.locations,
            state: spec.state,
            usage: KeyUsage::default(),
        }
    }

    fn shared(&mut self, spec: &KeySpec, symbols: &Symbols) -> Arc<SharedParts> {
        if let Some((_, parts)) = self.last.as_ref().filter(|(last, _)| last.is_of(spec)) {
            return Arc::clone(parts);
        }
        let parts = self.found_or_made(spec, symbols);
        self.last = Some((SharedSpec::of(spec), Arc::clone(&parts)));
        parts
    }

    fn found_or_made(&mut self, spec: &KeySpec, symbols: &Symbols) -> Arc<SharedParts> {
        let mut ids: Vec<SymbolId> = spec
            .scopes
            .iter()
            .map(|scope| symbols.id(scope.as_str()))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let owner = spec.consumer.as_ref().map(|consumer| {
            let known = self.owners.entry(consumer.clone());
            let buckets = &mut self.buckets;
            Arc::clone(known.or_insert_with_key(|consumer| Arc::new(owner(consumer, buckets))))
        });
        let name = SharedName {
            scopes: ids,
            consumer: spec.consumer.clone(),
            environment: spec.environment.clone(),
            workspace: spec.workspace,
        };
        let parts = self.shared.entry(name).or_insert_with_key(|name| {
            Arc::new(SharedParts {
                scopes: scope_set(&name.scopes, &spec.scopes),
                owner,
                environment: name.environment.as_str().into(),
                workspace: name.workspace,
                workspace_header: header(name.workspace.text(Kind::Workspace).as_str()),
            })
        });
        Arc::clone(parts)
    }
}

fn scope_set(ids: &[SymbolId], scopes: &[Scope]) -> ScopeSet {
    let mut names: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
    names.sort_unstable();
    names.dedup();
    ScopeSet {
        ids: ids.into(),
        header: header(&names.join(" ")),
    }
}

fn owner(consumer: &Consumer, buckets: &mut Buckets) -> Owner {
    let bucket = |limit| buckets.bucket(LimitOwner::Consumer(consumer.id), limit);
    Owner {
        bucket: consumer.limits.map(bucket),
        id: header(consumer.id.text(Kind::Consumer).as_str()),
        name: header(&consumer.name),
        consumer: consumer.clone(),
    }
}

fn rare(spec: &KeySpec, symbols: &Symbols, buckets: &mut Buckets) -> Option<Box<Rare>> {
    let routes = |names: &Vec<String>| {
        names
            .iter()
            .map(|name| symbols.id(&route_symbol(name)))
            .collect()
    };
    let metadata = || {
        serde_json::to_string(&spec.metadata)
            .ok()
            .map(|json| Box::new(header(&escape_non_ascii(&json))))
    };
    let rare = Rare {
        hint: spec.hint.as_deref().map(Into::into),
        routes: spec.routes.as_ref().map(routes),
        ip_allow: spec.ip_allow.as_slice().into(),
        not_before: spec.not_before,
        metadata: if spec.metadata.is_empty() {
            None
        } else {
            metadata()
        },
        bucket: spec
            .limits
            .map(|limit| buckets.bucket(LimitOwner::Key(spec.id), limit)),
        rotating_until: None,
    };
    (rare != Rare::default()).then(|| Box::new(rare))
}

/// The symbol of a route's name.
pub fn route_symbol(name: &str) -> String {
    format!("{ROUTE}{name}")
}

/// JSON in a header is kept to ASCII, by the escapes that JSON has for that.
fn escape_non_ascii(json: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii() {
            out.push(letter);
        } else {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// A header value of a text that the config has already found to be one.
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or(HeaderValue::from_static("invalid"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::workspace;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn networks_meet() {
        let cases: [(&[&str], &[&str], &[&str]); 5] = [
            (&[], &[], &[]),
            (&["10.0.0.0/8"], &[], &["10.0.0.0/8"]),
            (
                &["10.0.0.0/8"],
                &["10.1.0.0/16", "11.0.0.0/8"],
                &["10.1.0.0/16"],
            ),
            (&["10.1.0.0/16"], &["10.0.0.0/8"], &["10.1.0.0/16"]),
            (&["10.0.0.0/8"], &["11.0.0.0/8"], &["::/128"]),
        ];
        for (new, old, want) in cases {
            assert_eq!(*met_networks(&nets(new), &nets(old)), *nets(want));
        }
    }

    fn key(change: impl FnOnce(&mut KeySpec)) -> (Key, Symbols) {
        let symbols = Symbols::default();
        // The same numbers for both versions.
        for name in ["a", "b", "route/x", "route/y"] {
            symbols.id(name);
        }
        let hash = KeyHash::of(b"secret");
        let mut spec = KeySpec {
            id: hash.declared_id(),
            name: "k".into(),
            origin: Origin::File,
            workspace: workspace::root(),
            hash,
            algorithm: Algorithm::Blake3,
            retires_at: None,
            hint: None,
            consumer: None,
            environment: "live".into(),
            scopes: vec![Scope::parse("a").unwrap()],
            routes: None,
            methods: MethodSet::ANY,
            ip_allow: Vec::new(),
            locations: LocationSet::ANY,
            limits: None,
            not_before: None,
            expires_at: None,
            state: KeyState::Active,
            metadata: std::collections::BTreeMap::new(),
        };
        change(&mut spec);
        (KeyCompiler::default().compile(&spec, &symbols), symbols)
    }

    #[test]
    fn the_status_shows_what_will_become_of_a_key() {
        let now = Timestamp::from_millis(1000);
        let (mut key, _) = key(|spec| spec.expires_at = Some(Timestamp::from_millis(1500)));
        assert_eq!(key.status(now), KeyStatus::Expiring);
        key.foretell(None, Some(now));
        assert_eq!(key.status(now), KeyStatus::InactiveWarning);
        key.foretell(Some(Timestamp::from_millis(1001)), Some(now));
        assert_eq!(key.status(now), KeyStatus::Rotating);
        let later = Timestamp::from_millis(1001);
        assert_eq!(key.status(later), KeyStatus::InactiveWarning);
    }

    /// As much as the allocator gives for it anyway.
    #[test]
    fn what_most_keys_have_apart_stays_small() {
        assert!(size_of::<Rare>() <= 96, "{}", size_of::<Rare>());
    }

    #[test]
    fn between_two_versions_a_key_has_the_rights_of_both() {
        let (old, symbols) = key(|spec| spec.routes = Some(vec!["x".into()]));
        let (new, _) = key(|spec| {
            spec.scopes = vec![Scope::parse("b").unwrap()];
            spec.expires_at = Some(Timestamp::from_millis(5));
        });
        let met = new.met_with(&old);
        assert!(met.scopes().is_empty());
        assert_eq!(met.expires_at(), Some(Timestamp::from_millis(5)));
        assert_eq!(met.names_route(symbols.id("route/x")), Some(true));
        assert_eq!(met.names_route(symbols.id("route/y")), Some(false));
        let (revoked, _) = key(|spec| spec.state = KeyState::Revoked);
        assert_eq!(new.met_with(&revoked).state, KeyState::Revoked);
        assert_eq!(revoked.met_with(&new).state, KeyState::Revoked);
    }
}
