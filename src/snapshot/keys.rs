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
use dashmap::mapref::one::Ref;
use http::HeaderValue;
use ipnet::IpNet;
use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::net::IpAddr;
use std::ops::Deref;
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

/// What many keys have alike, kept once for all of them.
#[derive(Debug)]
struct SharedParts {
    scopes: ScopeSet,
    owner: Option<Arc<Owner>>,
    environment: Box<str>,
}

/// What few keys have; kept apart to keep the others small.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rare {
    hint: Option<Box<str>>,
    routes: Option<Box<[SymbolId]>>,
    ip_allow: Box<[IpNet]>,
    not_before: Option<Timestamp>,
    metadata: Option<HeaderValue>,
}

/// Later than any time.
const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);

/// One key as the data plane sees it.
#[derive(Debug)]
pub struct Key {
    /// `key_…`.
    pub id: Id,
    hash: KeyHash,
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

impl Key {
    /// Name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Display hint, when one is known.
    pub fn hint(&self) -> Option<&str> {
        self.rare.as_ref()?.hint.as_deref()
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
        self.rare.as_ref()?.metadata.as_ref()
    }

    /// What a person is shown.
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        KeyStatus::of(self.state, self.not_before(), self.expires_at(), now)
    }

    /// Whether it may come from this address. IPv4-mapped IPv6 is the same address as IPv4.
    pub fn allows_address(&self, address: IpAddr) -> bool {
        let Some(limits) = &self.rare else {
            return true;
        };
        let address = address.to_canonical();
        limits.ip_allow.is_empty() || limits.ip_allow.iter().any(|net| net.contains(&address))
    }

    /// Whether the key names routes, and this one among them. `None`: it names none.
    pub fn names_route(&self, route: SymbolId) -> Option<bool> {
        let routes = self.rare.as_ref()?.routes.as_ref()?;
        Some(routes.contains(&route))
    }

    /// Whether this key may do something the other may not, so that it must not come into force too early.
    fn widens(&self, old: &Self) -> bool {
        let state_opens = self.state == KeyState::Active && old.state != KeyState::Active;
        let lives_longer = self.expires_at > old.expires_at;
        state_opens
            || lives_longer
            || !old.scopes().holds(&self.scopes().ids)
            || !old.methods.covers(self.methods)
            || !old.locations.covers(self.locations)
            || self.rare != old.rare
    }

    fn same_spec(&self, other: &Self) -> bool {
        self.id == other.id
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

/// What shared parts are found by: scopes, consumer, environment.
type SharedName = (Vec<SymbolId>, Option<String>, String);

/// Makes [`Key`]s and shares what they have in common.
#[derive(Debug, Default)]
pub struct KeyCompiler {
    owners: HashMap<String, Arc<Owner>>,
    shared: HashMap<SharedName, Arc<SharedParts>>,
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
            hash: spec.hash,
            name: spec.name.as_str().into(),
            shared: self.shared(spec, symbols),
            rare: rare(spec, symbols),
            expires_at: spec.expires_at.unwrap_or(NEVER),
            methods: spec.methods,
            locations: spec.locations,
            state: spec.state,
            usage: KeyUsage::default(),
        }
    }

    fn shared(&mut self, spec: &KeySpec, symbols: &Symbols) -> Arc<SharedParts> {
        let mut ids: Vec<SymbolId> = spec
            .scopes
            .iter()
            .map(|scope| symbols.id(scope.as_str()))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let owner = spec
            .consumer
            .as_ref()
            .and_then(|name| self.owners.get(name))
            .cloned();
        let name = (ids, spec.consumer.clone(), spec.environment.clone());
        let parts = self
            .shared
            .entry(name)
            .or_insert_with_key(|(ids, _, environment)| {
                let scopes = scope_set(ids, &spec.scopes);
                Arc::new(SharedParts {
                    scopes,
                    owner,
                    environment: environment.as_str().into(),
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

fn owner(consumer: &Consumer) -> Owner {
    Owner {
        id: header(consumer.id.text(Kind::Consumer).as_str()),
        name: header(&consumer.name),
        consumer: consumer.clone(),
    }
}

fn rare(spec: &KeySpec, symbols: &Symbols) -> Option<Box<Rare>> {
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
    };
    (rare != Rare::default()).then(|| Box::new(rare))
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

/// A key in the table: found by the hash it holds, so that an entry of the table is one pointer.
#[derive(Debug)]
struct Entry(Arc<Key>);

impl Borrow<[u8; 32]> for Entry {
    fn borrow(&self) -> &[u8; 32] {
        self.0.hash.as_bytes()
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash.as_bytes().hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0.hash == other.0.hash
    }
}

impl Eq for Entry {}

/// A key found in the table; holds its shard for reading, so it must not live across an await.
pub struct KeyRef<'a>(Ref<'a, Entry, ()>);

impl Deref for KeyRef<'_> {
    type Target = Arc<Key>;

    fn deref(&self) -> &Arc<Key> {
        &self.0.key().0
    }
}

/// All keys.
#[derive(Debug, Default)]
pub struct KeyTable(DashMap<Entry, (), BuildHasherDefault<FirstBytes>>);

impl KeyTable {
    /// The key with this hash.
    pub fn find(&self, hash: &KeyHash) -> Option<KeyRef<'_>> {
        self.0.get(hash.as_bytes()).map(KeyRef)
    }

    /// Puts a key in force, in place of one with the same hash, whose use it takes over if it is the same key.
    pub fn put(&self, key: Key) {
        let key = Arc::new(key);
        match self.0.entry(Entry(Arc::clone(&key))) {
            dashmap::Entry::Vacant(free) => {
                free.insert(());
            }
            dashmap::Entry::Occupied(taken) => {
                // Uses are noted under the shard's lock, so none reaches the old one any more.
                let (Entry(old), ()) = taken.replace_entry(());
                if old.id == key.id {
                    key.usage.absorb(&old.usage);
                }
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
            .map(|entry| Arc::clone(&entry.key().0))
            .collect()
    }

    /// Splits a change to exactly this set of keys into the part that restricts and the part that widens.
    pub fn plan(&self, wanted: Vec<Key>) -> KeyChange {
        let mut change = KeyChange::default();
        let mut gone: HashSet<KeyHash> = self.0.iter().map(|entry| entry.key().0.hash).collect();
        for key in wanted {
            gone.remove(&key.hash);
            let Some(old) = self.find(&key.hash).map(|old| Arc::clone(&old)) else {
                change.later.push(key);
                continue;
            };
            if key.same_spec(&old) {
                continue;
            }
            if key.widens(&old) {
                change.later.push(key);
            } else {
                change.now.push(key);
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
    removed: Vec<KeyHash>,
    now: Vec<Key>,
    later: Vec<Key>,
}

impl KeyChange {
    /// Step one: removals and restrictions.
    pub fn restrict(&mut self, table: &KeyTable) {
        for hash in self.removed.drain(..) {
            table.remove(&hash);
        }
        self.now.drain(..).for_each(|key| table.put(key));
    }

    /// Step two: additions and whatever opens something.
    pub fn widen(&mut self, table: &KeyTable) {
        self.later.drain(..).for_each(|key| table.put(key));
    }
}
