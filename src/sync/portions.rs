//! Which keys of the config file stand in which portion of it, so that a reload does over again only what was edited.

use crate::config::{Config, PortionId};
use crate::domain::key::KeyHash;
use crate::snapshot::key::Key;
use crate::snapshot::keys::{KeyChange, KeyTable};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Two keys of the config file are the same.
#[derive(Debug)]
pub struct DeclaredTwice;

/// The keys of the configuration in force, if it was read in portions.
#[derive(Default)]
pub(super) struct Portions {
    known: HashMap<PortionId, Box<[Arc<Key>]>>,
    /// Those of portions that are read each time.
    others: Vec<Arc<Key>>,
}

impl Portions {
    pub(super) fn knows(&self, id: &PortionId) -> bool {
        self.known.contains_key(id)
    }

    /// What it takes to have the keys of this configuration, of which these were read.
    pub(super) fn plan(
        &self,
        config: &Config,
        wanted: Vec<Key>,
        table: &KeyTable,
    ) -> Result<KeyChange, DeclaredTwice> {
        let kept = kept(config);
        if kept.is_empty() {
            return Ok(table.plan(wanted));
        }
        if !kept.iter().all(|id| self.knows(id)) {
            return Err(DeclaredTwice);
        }
        let known = self.known.iter().filter(|(id, _)| !kept.contains(*id));
        let gone = known.flat_map(|(_, keys)| keys).chain(&self.others);
        let gone: HashSet<KeyHash> = gone.map(|key| *key.hash()).collect();
        if wanted.iter().any(|key| table.clashes(key, &gone)) {
            return Err(DeclaredTwice);
        }
        Ok(table.plan_for(wanted, gone))
    }

    /// Remembers the keys of a configuration that is in force now.
    pub(super) fn note(&mut self, config: &Config, table: &KeyTable) {
        let kept = kept(config);
        self.known.retain(|id, _| kept.contains(id));
        self.others.clear();
        let mut read = config.keys.iter();
        for portion in &config.portions {
            let Some(number) = portion.keys else { continue };
            let own = read.by_ref().take(number);
            let own = own.filter_map(|spec| table.find(&spec.hash).map(|key| Arc::clone(&key)));
            match portion.id {
                Some(id) => drop(self.known.insert(id, own.collect())),
                None => self.others.extend(own),
            }
        }
        self.known.shrink_to_fit();
    }
}

/// The portions that were not read again.
fn kept(config: &Config) -> HashSet<PortionId> {
    let kept = config.portions.iter().filter(|one| one.keys.is_none());
    kept.filter_map(|one| one.id).collect()
}
