//! The key table: every key in memory, found by its blake3 hash, changed one by one.
//!
//! An edit replaces a key's allocation and carries its counters over under the shard's lock; whoever counts a use holds
//! that lock for reading, so no count is lost.
//!
//! Shards are many and small: what holds one for long (its growth, which looks at every key in it, or somebody who goes
//! through all keys) is over within a fraction of a millisecond, whatever the number of keys.

use super::key::Key;
use super::usage::KeyUsage;
use crate::domain::id::Id;
use crate::domain::key::{Algorithm, KeyHash, Origin};
use dashmap::DashMap;
use dashmap::mapref::one::Ref;
use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};

/// Shards of the keys known by their blake3: at ten million keys, 5,000 keys in each. Their locks are 256 KiB.
const SHARDS: usize = 2048;
/// Shards of tables that most gateways hardly use.
const FEW_SHARDS: usize = 64;

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

/// A declared key: found by the id it holds, so that this entry is one pointer too.
#[derive(Debug)]
struct Declared(Arc<Key>);

impl Borrow<Id> for Declared {
    fn borrow(&self) -> &Id {
        &self.0.id
    }
}

impl Hash for Declared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl PartialEq for Declared {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Declared {}

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

type Map = DashMap<Entry, (), BuildHasherDefault<FirstBytes>>;

/// All keys.
#[derive(Debug)]
pub struct KeyTable {
    /// By the blake3 of their secret.
    native: Map,
    /// Imported, by the sha256 of their secret, until they are first used.
    sha256: Map,
    /// How many there are in `sha256`, so that an unknown key need not ask each of its shards.
    imported: AtomicUsize,
    /// Those of the config file by their id. Asked for by everybody who changes or lists keys.
    declared: DashMap<Declared, ()>,
    changes: AtomicU64,
}

impl Default for KeyTable {
    fn default() -> Self {
        Self {
            native: Map::with_hasher_and_shard_amount(BuildHasherDefault::new(), SHARDS),
            sha256: Map::with_hasher_and_shard_amount(BuildHasherDefault::new(), FEW_SHARDS),
            imported: AtomicUsize::new(0),
            declared: DashMap::with_shard_amount(FEW_SHARDS),
            changes: AtomicU64::new(0),
        }
    }
}

impl KeyTable {
    /// Grows with every change, so that whoever has looked at a key knows when to look again.
    pub fn changes(&self) -> u64 {
        self.changes.load(Acquire)
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Release);
    }

    /// The key with this hash.
    pub fn find(&self, hash: &KeyHash) -> Option<KeyRef<'_>> {
        self.native.get(hash.as_bytes()).map(KeyRef)
    }

    /// The key with this hash, which was made in this way.
    pub fn find_of(&self, hash: &KeyHash, algorithm: Algorithm) -> Option<KeyRef<'_>> {
        self.map(algorithm).get(hash.as_bytes()).map(KeyRef)
    }

    /// The imported key that is known by the sha256 of this secret only. Costs nothing while there is none.
    pub fn find_imported(&self, secret: &[u8]) -> Option<KeyRef<'_>> {
        if self.imported.load(Acquire) == 0 {
            return None;
        }
        let hash = KeyHash::sha256_of(secret);
        self.sha256.get(hash.as_bytes()).map(KeyRef)
    }

    fn map(&self, algorithm: Algorithm) -> &Map {
        match algorithm {
            Algorithm::Blake3 => &self.native,
            Algorithm::Sha256 => &self.sha256,
        }
    }

    /// Puts a key in force, in place of one with the same hash, whose use it takes over if it is the same key.
    pub fn put(&self, key: Key) {
        self.put_shared(&Arc::new(key));
    }

    fn put_shared(&self, key: &Arc<Key>) {
        match self.map(key.algorithm).entry(Entry(Arc::clone(key))) {
            dashmap::Entry::Vacant(free) => {
                // Before it can be found, lest nobody looks for it.
                if key.algorithm == Algorithm::Sha256 {
                    self.imported.fetch_add(1, Release);
                }
                free.insert(());
            }
            dashmap::Entry::Occupied(taken) => {
                let Entry(old) = taken.key();
                if old.id == key.id {
                    key.usage.absorb(&old.usage);
                }
                // Whose memory it is that goes, the shard need not wait for.
                let (Entry(old), ()) = taken.replace_entry(());
                if old.id != key.id || key.origin != Origin::File {
                    self.forget(&old);
                }
            }
        }
        if key.origin == Origin::File {
            self.declare(key);
        }
        self.changed();
    }

    fn declare(&self, key: &Arc<Key>) {
        match self.declared.entry(Declared(Arc::clone(key))) {
            dashmap::Entry::Vacant(free) => drop(free.insert(())),
            dashmap::Entry::Occupied(taken) => drop(taken.replace_entry(())),
        }
    }

    /// Takes a key that is not in force any more out of the declared ones.
    fn forget(&self, gone: &Key) {
        if gone.origin == Origin::File {
            self.declared
                .remove_if(&gone.id, |there, ()| there.0.hash == gone.hash);
        }
    }

    /// As [`KeyTable::put`], but a declared key with the same hash stays; then the new one is given back.
    pub fn put_unless_declared(&self, key: Arc<Key>) -> Option<Arc<Key>> {
        let declared = self
            .find(&key.hash)
            .is_some_and(|there| there.origin == Origin::File);
        if declared {
            return Some(key);
        }
        self.put_shared(&key);
        None
    }

    /// Takes a key out of force.
    pub fn remove(&self, hash: &KeyHash, algorithm: Algorithm) {
        if let Some((Entry(gone), ())) = self.map(algorithm).remove(hash.as_bytes()) {
            self.gone(&gone);
        }
    }

    /// Takes a key of this origin out of force; one of another origin with the same hash stays.
    pub fn remove_of(&self, hash: &KeyHash, algorithm: Algorithm, origin: Origin) {
        let gone = self
            .map(algorithm)
            .remove_if(hash.as_bytes(), |entry, ()| entry.0.origin == origin);
        if let Some((Entry(gone), ())) = gone {
            self.gone(&gone);
        }
    }

    /// A key has just left its map.
    fn gone(&self, gone: &Key) {
        if gone.algorithm == Algorithm::Sha256 {
            self.imported.fetch_sub(1, Release);
        }
        self.forget(gone);
        self.changed();
    }

    /// Takes out of force an imported key that is in force by another hash now, which takes over its use.
    pub fn supersede(&self, imported: &KeyHash, by: &KeyHash) {
        let gone = self.sha256.remove(imported.as_bytes());
        if gone.is_some() {
            self.imported.fetch_sub(1, Release);
        }
        if let (Some((Entry(old), ())), Some(new)) = (gone, self.find(by))
            && old.id == new.id
        {
            new.usage.absorb(&old.usage);
        }
    }

    /// Tells declared keys what the store remembers of their use.
    pub fn recall(&self, uses: &HashMap<Id, KeyUsage>) {
        for entry in &self.declared {
            let key = &entry.key().0;
            if let Some(usage) = uses.get(&key.id) {
                key.usage.absorb(usage);
            }
        }
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.native.len() + self.sha256.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.imported.load(Relaxed) == 0 && self.native.is_empty()
    }

    /// Every key, in no order. For lists and counts, not for requests.
    pub fn all(&self) -> Vec<Arc<Key>> {
        let both = self.native.iter().chain(self.sha256.iter());
        both.map(|entry| Arc::clone(&entry.key().0)).collect()
    }

    /// Adds every key of this origin, in no order.
    pub fn extend(&self, keys: &mut Vec<Arc<Key>>, origin: Origin) {
        for entry in self.native.iter().chain(self.sha256.iter()) {
            let key = &entry.key().0;
            if key.origin == origin {
                keys.push(Arc::clone(key));
            }
        }
    }

    /// Looks at every secret of every key, in no order and without taking hold of any: for figures about all of them.
    pub fn each(&self, mut look: impl FnMut(&Key)) {
        let both = self.native.iter().chain(self.sha256.iter());
        both.for_each(|entry| look(&entry.key().0));
    }

    /// Whether this key of the config file would take the place of another one of it, but for those with these hashes.
    pub fn clashes(&self, key: &Key, but: &HashSet<KeyHash>) -> bool {
        let taken = |there: &Key| there.origin == Origin::File && !but.contains(&there.hash);
        self.find(&key.hash).is_some_and(|there| taken(&there))
            || self
                .declared
                .get(&key.id)
                .is_some_and(|there| taken(&there.key().0))
    }

    /// Number of keys of the config file.
    pub fn declared_len(&self) -> usize {
        self.declared.len()
    }

    /// Every key of the config file, in no order.
    pub fn declared(&self) -> Vec<Arc<Key>> {
        let all = self.declared.iter();
        all.map(|entry| Arc::clone(&entry.key().0)).collect()
    }

    /// The key of the config file with this id.
    pub fn declared_by_id(&self, id: Id) -> Option<Arc<Key>> {
        let entry = self.declared.get(&id)?;
        Some(Arc::clone(&entry.key().0))
    }

    /// What it takes to have exactly these keys of the config file. They win over those in the store.
    pub fn plan(&self, wanted: Vec<Key>) -> KeyChange {
        let declared = self.declared.iter();
        let all = declared.map(|entry| entry.key().0.hash).collect();
        self.plan_for(wanted, all)
    }

    /// What it takes to have these keys of the config file in place of those with the hashes in `gone`; all others stay.
    pub fn plan_for(&self, wanted: Vec<Key>, mut gone: HashSet<KeyHash>) -> KeyChange {
        let mut change = KeyChange::default();
        for key in wanted {
            gone.remove(&key.hash);
            match self.find(&key.hash).map(|old| Arc::clone(&old)) {
                Some(old) if key.same_spec(&old) => continue,
                Some(old) => {
                    change.met.push(key.met_with(&old));
                    if old.origin != Origin::File {
                        change.covered.push(old);
                    }
                }
                None => {}
            }
            change.new.push(key);
        }
        change.removed = gone.into_iter().collect();
        change
    }
}

/// A change to the table in two steps, around the swap of the snapshot, so that new routes never meet old rights, nor old
/// routes new ones: before it a key that changes has only the rights of both versions. A request that took the snapshot
/// just before a swap may still meet a key that came just after it.
#[derive(Debug, Default)]
pub struct KeyChange {
    removed: Vec<KeyHash>,
    met: Vec<Key>,
    new: Vec<Key>,
    covered: Vec<Arc<Key>>,
    uncovered: Vec<Arc<Key>>,
}

impl KeyChange {
    /// The hashes that go.
    pub fn removed(&self) -> &[KeyHash] {
        &self.removed
    }

    /// The keys of another origin that a new one stands in front of.
    pub fn take_covered(&mut self) -> Vec<Arc<Key>> {
        std::mem::take(&mut self.covered)
    }

    /// The declared key with this one's hash goes, and this one, which stood behind it, comes to light in the same moment:
    /// whoever shows the secret is never nobody.
    pub fn uncover(&mut self, key: Arc<Key>, table: &KeyTable) {
        self.removed.retain(|hash| *hash != key.hash);
        if let Some(declared) = table.find(&key.hash) {
            self.met.push(key.met_with(&declared));
        }
        self.uncovered.push(key);
    }

    /// Step one: what ends, and what both versions allow.
    pub fn restrict(&mut self, table: &KeyTable) {
        for hash in self.removed.drain(..) {
            table.remove(&hash, Algorithm::Blake3);
        }
        self.met.drain(..).for_each(|key| table.put(key));
    }

    /// Step two: what is new.
    pub fn widen(&mut self, table: &KeyTable) {
        self.new.drain(..).for_each(|key| table.put(key));
        self.uncovered
            .drain(..)
            .for_each(|key| table.put_shared(&key));
    }
}
