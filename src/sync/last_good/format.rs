//! The last-good file: what stands in it, and how keys get into it and out of it. Hashes only; nothing in it opens anything.

use crate::domain::consumer::Consumer;
use crate::domain::id::Id;
use crate::domain::key::record::RecordedUse;
use crate::domain::key::{Algorithm, KeyHash, KeySpec, KeyState, Origin};
use crate::domain::limit::{Limit, Rate};
use crate::domain::method::MethodSet;
use crate::domain::route::LocationSet;
use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;
use crate::domain::workspace::Lineage;
use crate::snapshot::key::{Key, SymbolId};
use crate::snapshot::workspaces::Workspaces;
use crate::store::frame::{Format, FrameFault, FrameReader, FrameWriter};
use crate::store::keys::LoadedKey;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

const FORMAT: Format = Format {
    name: b"keygate lastgood",
    version: 3,
};
/// Keys are written and read in blocks of about this many bytes.
const BLOCK: usize = 256 << 10;
/// Blocks that are decoded before somebody takes them in.
const BLOCKS_AHEAD: usize = 4;

/// What the keys belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The store, see [`crate::store::Store::identity`].
    pub store: String,
    /// The revision that was in force, or an older one.
    pub revision: u64,
    /// When this was written.
    pub at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct FileHead {
    store: String,
    revision: u64,
    at: i64,
    /// Ids from the root down, and the own name.
    workspaces: Vec<(Vec<u128>, String)>,
}

/// A rate, and the burst if one was said: the form without names has a place for what is not there, too.
type Limited = (Rate, Option<u32>);

/// One secret of a key. What it borrows stands in the key table, or in the block that is read.
#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    id: u128,
    hash: [u8; 32],
    imported: bool,
    superseded: bool,
    workspace: u128,
    consumer: Option<(u128, &'a str, Option<Limited>)>,
    name: &'a str,
    environment: &'a str,
    /// Separated by spaces.
    scopes: &'a str,
    #[serde(borrow)]
    routes: Option<Vec<&'a str>>,
    methods: u16,
    locations: u8,
    ip_allow: Vec<IpNet>,
    limits: Option<Limited>,
    hint: Option<&'a str>,
    not_before: Option<i64>,
    expires_at: Option<i64>,
    /// Place in [`KeyState::ALL`].
    state: u8,
    /// As one JSON object; empty: none.
    metadata: &'a str,
    first_used_at: Option<i64>,
    last_used_at: Option<i64>,
    last_used_ip: Option<IpAddr>,
}

/// Writes the file; the number of keys in it. `routes` are the names that keys know routes by.
pub(super) fn write(
    place: &Path,
    head: &Head,
    workspaces: &Workspaces,
    keys: Vec<Arc<Key>>,
    routes: &HashMap<SymbolId, String>,
) -> io::Result<u64> {
    let mut file = FrameWriter::create(place, FORMAT)?;
    let workspaces = workspaces.all().map(|(lineage, name)| {
        let ids = lineage.ids().iter().map(|id| id.bits());
        (ids.collect(), name.clone())
    });
    let first = FileHead {
        store: head.store.clone(),
        revision: head.revision,
        at: head.at.as_millis(),
        workspaces: workspaces.collect(),
    };
    file.block(&encode(&first, Vec::new())?)?;
    let mut block = Vec::with_capacity(BLOCK + 4096);
    let mut written = 0;
    for key in keys {
        block = encode(&entry(&key, routes), block)?;
        written += 1;
        if block.len() >= BLOCK {
            file.block(&block)?;
            block.clear();
        }
    }
    if !block.is_empty() {
        file.block(&block)?;
    }
    file.finish()?;
    Ok(written)
}

fn encode(value: &impl Serialize, block: Vec<u8>) -> io::Result<Vec<u8>> {
    postcard::to_extend(value, block).map_err(io::Error::other)
}

fn entry<'a>(key: &'a Key, routes: &'a HashMap<SymbolId, String>) -> Entry<'a> {
    let text = |value: &'a http::HeaderValue| value.to_str().unwrap_or_default();
    let named = |ids: &[SymbolId]| {
        ids.iter()
            .filter_map(|id| routes.get(id).map(String::as_str))
            .collect()
    };
    let state = KeyState::ALL.iter().position(|state| *state == key.state);
    let usage = key.usage.read();
    Entry {
        id: key.id.bits(),
        hash: *key.hash().as_bytes(),
        imported: key.algorithm == Algorithm::Sha256,
        superseded: key.superseded,
        workspace: key.workspace().bits(),
        consumer: key.owner().map(|owner| {
            let consumer = &owner.consumer;
            (
                consumer.id.bits(),
                &*consumer.name,
                consumer.limits.map(limited),
            )
        }),
        name: key.name(),
        environment: key.environment(),
        scopes: text(&key.scopes().header),
        routes: key.routes().map(named),
        methods: key.methods.bits(),
        locations: key.locations.bits(),
        ip_allow: key.ip_allow().to_vec(),
        limits: key.limit().map(limited),
        hint: key.hint(),
        not_before: key.not_before().map(Timestamp::as_millis),
        expires_at: key.expires_at().map(Timestamp::as_millis),
        state: state
            .and_then(|place| u8::try_from(place).ok())
            .unwrap_or(u8::MAX),
        metadata: key.metadata().map_or("", text),
        first_used_at: usage.first_used_at.map(Timestamp::as_millis),
        last_used_at: usage.last_used_at.map(Timestamp::as_millis),
        last_used_ip: usage.last_used_ip,
    }
}

fn limited(limit: Limit) -> Limited {
    (limit.rate(), limit.said_burst())
}

fn limit((rate, burst): Limited) -> Result<Limit, FrameFault> {
    Limit::new(rate, burst.map(u64::from)).map_err(|_| FrameFault::Nonsense)
}

/// Reads the file, block by block; `each` gets nothing of a file that is not whole. While it takes in one block, the next
/// ones are decoded.
pub(super) fn read(
    place: &Path,
    mut each: impl FnMut(Vec<LoadedKey>),
) -> Result<(Head, Workspaces), FrameFault> {
    let mut file = FrameReader::open(place, FORMAT)?;
    let first: FileHead = postcard::from_bytes(file.next_block()?.ok_or(FrameFault::Nonsense)?)?;
    let (sender, portions) = mpsc::sync_channel(BLOCKS_AHEAD);
    thread::scope(|scope| {
        let decoding = scope.spawn(move || decode(&mut file, &sender));
        portions.into_iter().for_each(&mut each);
        // A panic there is a fault of the file's.
        decoding.join().unwrap_or(Err(FrameFault::Nonsense))
    })?;
    let lineage = |ids: Vec<u128>| Lineage::new(ids.into_iter().map(Id::from_bits).collect());
    let workspaces = first.workspaces.into_iter();
    let workspaces = Workspaces::new(workspaces.map(|(ids, name)| (lineage(ids), name)));
    let head = Head {
        store: first.store,
        revision: first.revision,
        at: Timestamp::from_millis(first.at),
    };
    Ok((head, workspaces))
}

/// Decodes the blocks that are left, one portion each.
fn decode(file: &mut FrameReader, portions: &SyncSender<Vec<LoadedKey>>) -> Result<(), FrameFault> {
    while let Some(mut block) = file.next_block()? {
        let mut portion = Vec::with_capacity(block.len() / 100);
        while !block.is_empty() {
            let (entry, rest) = postcard::take_from_bytes::<Entry<'_>>(block)?;
            portion.push(loaded(&entry)?);
            block = rest;
        }
        if portions.send(portion).is_err() {
            break;
        }
    }
    Ok(())
}

fn consumer((id, name, limits): (u128, &str, Option<Limited>)) -> Result<Consumer, FrameFault> {
    Ok(Consumer {
        id: Id::from_bits(id),
        name: name.to_owned(),
        limits: limits.map(limit).transpose()?,
    })
}

fn loaded(entry: &Entry<'_>) -> Result<LoadedKey, FrameFault> {
    let hash = KeyHash::from_bytes(entry.hash);
    let algorithm = if entry.imported {
        Algorithm::Sha256
    } else {
        Algorithm::Blake3
    };
    let state = *KeyState::ALL
        .get(usize::from(entry.state))
        .ok_or(FrameFault::Nonsense)?;
    let usage = RecordedUse {
        first_used_at: entry.first_used_at.map(Timestamp::from_millis),
        last_used_at: entry.last_used_at.map(Timestamp::from_millis),
        last_used_ip: entry.last_used_ip,
        ..RecordedUse::default()
    };
    let metadata = if entry.metadata.is_empty() {
        Ok(std::collections::BTreeMap::new())
    } else {
        serde_json::from_str(entry.metadata)
    };
    let end = entry.expires_at.map(Timestamp::from_millis);
    let owned = |text: &str| text.to_owned();
    let spec = KeySpec {
        id: Id::from_bits(entry.id),
        name: entry.name.to_owned(),
        origin: Origin::Store,
        workspace: Id::from_bits(entry.workspace),
        hash,
        algorithm,
        // The table knows one end of a secret: its key's, or its own if a newer one has taken over.
        retires_at: end.filter(|_| entry.superseded),
        hint: entry.hint.map(owned),
        consumer: entry.consumer.map(consumer).transpose()?,
        environment: entry.environment.to_owned(),
        scopes: entry
            .scopes
            .split_ascii_whitespace()
            .filter_map(Scope::parse)
            .collect(),
        routes: entry
            .routes
            .as_ref()
            .map(|names| names.iter().copied().map(owned).collect()),
        methods: MethodSet::from_bits(entry.methods),
        ip_allow: entry.ip_allow.clone(),
        locations: LocationSet::from_bits(entry.locations),
        limits: entry.limits.map(limit).transpose()?,
        not_before: entry.not_before.map(Timestamp::from_millis),
        expires_at: end.filter(|_| !entry.superseded),
        state,
        metadata: metadata.map_err(|_| FrameFault::Nonsense)?,
    };
    Ok(LoadedKey {
        spec: Some(spec),
        hash,
        algorithm,
        replaces: None,
        // What is shown of a key only is not in the file.
        rotating_until: None,
        inactive_at: None,
        usage,
    })
}
