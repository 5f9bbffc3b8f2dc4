//! The key table: every key in memory, found by its blake3 hash, changed one by one.
//!
//! A key is one allocation with its use counters in it. An edit replaces the allocation and carries the counters over
//! under the shard's lock; whoever counts a use holds that lock for reading, so no count is lost.

use super::usage::KeyUsage;
use crate::domain::consumer::Consumer;
use crate::domain::id::{Id, Kind};
use crate::domain::key::{KeyHash, KeySpec, KeyState, KeyStatus};
use crate::domain::method::MethodSet;
use crate::domain::route::LocationSet;
use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use dashmap::mapref::one::Ref;
use http::HeaderValue;
use ipnet::IpNet;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// A scope or a route name as a number, stable for the life of the process.
pub type SymbolId = u32;

/// Gives each name a number that never changes, so that keys outlive a reload without being compiled again.
#[derive(Debug, Default)]
pub struct Symbols(Mutex<HashMap<Box<str>, SymbolId>>);

impl Symbols {
    /// The number of a name; new names get the next one.
    pub fn id(&self, name: &str) -> SymbolId {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = known.get(name) {
            return *id;
        }
        let id = SymbolId::try_from(known.len()).unwrap_or(SymbolId::MAX);
        known.insert(name.into(), id);
        id
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
}

/// Restrictions that few keys have; kept apart to keep the others small.
#[derive(Debug, Default, PartialEq, Eq)]
struct Restrictions {
    routes: Option<Box<[SymbolId]>>,
    ip_allow: Box<[IpNet]>,
    not_before: Option<Timestamp>,
    metadata: Option<HeaderValue>,
}

/// One key as the data plane sees it.
#[derive(Debug)]
pub struct Key {
    /// `key_…`.
    pub id: Id,
    name: Box<str>,
    hint: Option<Box<str>>,
    /// Its rights.
    pub scopes: Arc<ScopeSet>,
    /// Its consumer.
    pub owner: Option<Arc<Owner>>,
    environment: Arc<str>,
    restrictions: Option<Box<Restrictions>>,
    expires_at: Option<Timestamp>,
    /// The only methods it may use.
    pub methods: MethodSet,
    /// The only places it may stand in.
    pub locations: LocationSet,
    /// In force or not.
    pub state: KeyState,
    /// Its use.
    pub usage: KeyUsage,
}

impl Key {
    /// Name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Display hint, when one is known.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Environment of the key.
    pub fn environment(&self) -> &str {
        &self.environment
    }

    /// Start of its validity.
    pub fn not_before(&self) -> Option<Timestamp> {
        self.restrictions.as_ref()?.not_before
    }

    /// End of its validity.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Its metadata as one JSON object.
    pub fn metadata(&self) -> Option<&HeaderValue> {
        self.restrictions.as_ref()?.metadata.as_ref()
    }

    /// What a person is shown.
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        KeyStatus::of(self.state, self.not_before(), self.expires_at, now)
    }

    /// Whether it may come from this address. IPv4-mapped IPv6 is the same address as IPv4.
    pub fn allows_address(&self, address: IpAddr) -> bool {
        let Some(limits) = &self.restrictions else {
            return true;
        };
        let address = address.to_canonical();
        limits.ip_allow.is_empty() || limits.ip_allow.iter().any(|net| net.contains(&address))
    }

    /// Whether the key names routes, and this one among them. `None`: it names none.
    pub fn names_route(&self, route: SymbolId) -> Option<bool> {
        let routes = self.restrictions.as_ref()?.routes.as_ref()?;
        Some(routes.contains(&route))
    }

    /// Whether this key may do something the other may not, so that it must not come into force too early.
    fn widens(&self, old: &Self) -> bool {
        let state_opens = self.state == KeyState::Active && old.state != KeyState::Active;
        let lives_longer = match (self.expires_at, old.expires_at) {
            (None, Some(_)) => true,
            (Some(new), Some(old)) => new > old,
            (_, None) => false,
        };
        state_opens
            || lives_longer
            || !old.scopes.holds(&self.scopes.ids)
            || !old.methods.covers(self.methods)
            || !old.locations.covers(self.locations)
            || self.restrictions != old.restrictions
    }

    fn same_spec(&self, other: &Self) -> bool {
        self.id == other.id
            && self.name == other.name
            && self.hint == other.hint
            && self.scopes.ids == other.scopes.ids
            && self.owner.as_ref().map(|owner| &owner.consumer)
                == other.owner.as_ref().map(|owner| &owner.consumer)
            && self.environment == other.environment
            && self.restrictions == other.restrictions
            && self.expires_at == other.expires_at
            && self.methods == other.methods
            && self.locations == other.locations
            && self.state == other.state
    }
}

/// Makes [`Key`]s and shares what they have in common.
#[derive(Debug, Default)]
pub struct KeyCompiler {
    scope_sets: HashMap<Vec<SymbolId>, Arc<ScopeSet>>,
    owners: HashMap<String, Arc<Owner>>,
    environments: HashMap<String, Arc<str>>,
}

impl KeyCompiler {
    /// A compiler that knows these consumers.
    pub fn new(consumers: &[Consumer]) -> Self {
        let owners = consumers
            .iter()
            .map(|consumer| (consumer.name.clone(), Arc::new(owner(consumer))))
            .collect();
        Self {
            owners,
            ..Self::default()
        }
    }

    /// The key that a declaration describes, unused.
    pub fn compile(&mut self, spec: &KeySpec, symbols: &Symbols) -> Key {
        Key {
            id: spec.id,
            name: spec.name.as_str().into(),
            hint: spec.hint.as_deref().map(Into::into),
            scopes: self.scope_set(&spec.scopes, symbols),
            owner: spec
                .consumer
                .as_ref()
                .and_then(|name| self.owners.get(name))
                .cloned(),
            environment: self.environment(&spec.environment),
            restrictions: restrictions(spec, symbols),
            expires_at: spec.expires_at,
            methods: spec.methods,
            locations: spec.locations,
            state: spec.state,
            usage: KeyUsage::default(),
        }
    }

    fn scope_set(&mut self, scopes: &[Scope], symbols: &Symbols) -> Arc<ScopeSet> {
        let mut ids: Vec<SymbolId> = scopes
            .iter()
            .map(|scope| symbols.id(scope.as_str()))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        if let Some(known) = self.scope_sets.get(&ids) {
            return Arc::clone(known);
        }
        let mut names: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let set = Arc::new(ScopeSet {
            ids: ids.as_slice().into(),
            header: header(&names.join(" ")),
        });
        self.scope_sets.insert(ids, Arc::clone(&set));
        set
    }

    fn environment(&mut self, name: &str) -> Arc<str> {
        Arc::clone(
            self.environments
                .entry(name.to_owned())
                .or_insert_with(|| name.into()),
        )
    }
}

fn owner(consumer: &Consumer) -> Owner {
    Owner {
        id: header(consumer.id.text(Kind::Consumer).as_str()),
        name: header(&consumer.name),
        consumer: consumer.clone(),
    }
}

fn restrictions(spec: &KeySpec, symbols: &Symbols) -> Option<Box<Restrictions>> {
    let routes = |names: &Vec<String>| {
        names
            .iter()
            .map(|name| symbols.id(&route_symbol(name)))
            .collect()
    };
    let metadata = || {
        serde_json::to_string(&spec.metadata)
            .ok()
            .map(|json| header(&escape_non_ascii(&json)))
    };
    let limits = Restrictions {
        routes: spec.routes.as_ref().map(routes),
        ip_allow: spec.ip_allow.as_slice().into(),
        not_before: spec.not_before,
        metadata: if spec.metadata.is_empty() {
            None
        } else {
            metadata()
        },
    };
    (limits != Restrictions::default()).then(|| Box::new(limits))
}

/// The symbol of a route's name. The slash keeps it apart from scopes of the same spelling.
pub fn route_symbol(name: &str) -> String {
    format!("route/{name}")
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

/// Hashes are uniformly random already: their first bytes are the table's hash.
#[derive(Default)]
pub struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

/// A key found in the table; holds its shard for reading, so it must not live across an await.
pub type KeyRef<'a> = Ref<'a, [u8; 32], Arc<Key>>;

/// All keys.
#[derive(Debug, Default)]
pub struct KeyTable(DashMap<[u8; 32], Arc<Key>, BuildHasherDefault<FirstBytes>>);

impl KeyTable {
    /// The key with this hash.
    pub fn find(&self, hash: &KeyHash) -> Option<KeyRef<'_>> {
        self.0.get(hash.as_bytes())
    }

    /// Puts a key in force, in place of one with the same hash, whose use it takes over if it is the same key.
    pub fn put(&self, hash: &KeyHash, mut key: Key) {
        match self.0.entry(*hash.as_bytes()) {
            Entry::Vacant(free) => {
                free.insert(Arc::new(key));
            }
            Entry::Occupied(mut taken) => {
                if taken.get().id == key.id {
                    key.usage = taken.get().usage.carried();
                }
                taken.insert(Arc::new(key));
            }
        }
    }

    /// Takes a key out of force.
    pub fn remove(&self, hash: &KeyHash) {
        self.0.remove(hash.as_bytes());
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every key, in no order. For lists and counts, not for requests.
    pub fn all(&self) -> Vec<Arc<Key>> {
        self.0
            .iter()
            .map(|entry| Arc::clone(entry.value()))
            .collect()
    }

    /// Splits a change to exactly this set of keys into the part that restricts and the part that widens.
    pub fn plan(&self, wanted: Vec<(KeyHash, Key)>) -> KeyChange {
        let mut change = KeyChange::default();
        let mut gone: std::collections::HashSet<[u8; 32]> =
            self.0.iter().map(|entry| *entry.key()).collect();
        for (hash, key) in wanted {
            gone.remove(hash.as_bytes());
            let Some(old) = self
                .0
                .get(hash.as_bytes())
                .map(|old| Arc::clone(old.value()))
            else {
                change.later.push((hash, key));
                continue;
            };
            if key.same_spec(&old) {
                continue;
            }
            if key.widens(&old) {
                change.later.push((hash, key));
            } else {
                change.now.push((hash, key));
            }
        }
        change.removed = gone.into_iter().collect();
        change
    }
}

/// A change to the table in two steps, around the swap of the snapshot: what restricts comes before it, what widens
/// after it, so that no request meets new rights under old routes or old rights under new ones.
#[derive(Debug, Default)]
pub struct KeyChange {
    removed: Vec<[u8; 32]>,
    now: Vec<(KeyHash, Key)>,
    later: Vec<(KeyHash, Key)>,
}

impl KeyChange {
    /// Step one: removals and restrictions.
    pub fn restrict(&mut self, table: &KeyTable) {
        for hash in self.removed.drain(..) {
            table.0.remove(&hash);
        }
        for (hash, key) in self.now.drain(..) {
            table.put(&hash, key);
        }
    }

    /// Step two: additions and whatever opens something.
    pub fn widen(&mut self, table: &KeyTable) {
        for (hash, key) in self.later.drain(..) {
            table.put(&hash, key);
        }
    }
}
