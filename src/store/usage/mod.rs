//! What keys did, as it is kept: last use, counts by hour, networks. Written in portions by the flush alone; it is no
//! change, so it has neither a revision nor an audit event.

mod read;
mod write;

pub use read::{Step, UsageOwner, UsagePage, UsageQuery, UsageRow};

use super::Store;
use super::error::StoreError;
use super::sql::{Columns, Sql};
use crate::domain::id::{Id, Kind};
use crate::domain::key::record::RecordedUse;
use crate::domain::key::{Algorithm, KeyHash};
use crate::domain::time::Timestamp;
use std::net::IpAddr;
use std::sync::Arc;

/// Networks that are kept of a key at most.
pub const MOST_NETWORKS: usize = 64;
/// Rows that are deleted at a time.
const PRUNED_AT_A_TIME: i64 = 1000;

/// What a key did since the last flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The key.
    pub key: Id,
    /// Whether it is declared in a config file.
    pub declared: bool,
    /// Permitted requests.
    pub uses: u64,
    /// Requests refused although the key was right.
    pub refusals: u64,
    /// First of the permitted ones.
    pub first_used_at: Option<Timestamp>,
    /// Last of the permitted ones.
    pub last_used: Option<(Timestamp, IpAddr)>,
    /// By secret.
    pub secrets: Vec<SecretUse>,
    /// By hour and route.
    pub hours: Vec<HourUse>,
    /// By network.
    pub networks: Vec<NetworkUse>,
}

/// What one secret of a key did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretUse {
    /// Its hash.
    pub hash: KeyHash,
    /// How the hash was made.
    pub algorithm: Algorithm,
    /// Permitted requests.
    pub uses: u64,
    /// Last of them.
    pub last_used: (Timestamp, IpAddr),
}

/// What a key did in one hour on one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourUse {
    /// The beginning of the hour.
    pub hour: Timestamp,
    /// Name of the route.
    pub route: Arc<str>,
    /// Counts.
    pub counts: UsageCounts,
    /// Refusals by reason.
    pub reasons: Vec<(&'static str, u64)>,
}

/// A network that a key was used from: its /24, or its /48 in IPv6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkUse {
    /// The network.
    pub network: String,
    /// First use from there.
    pub first_at: Timestamp,
    /// Last use from there.
    pub last_at: Timestamp,
}

/// Counts of some span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UsageCounts {
    /// Permitted requests.
    pub requests: u64,
    /// Refused ones.
    pub refusals: u64,
    /// Answers to permitted requests: 2xx (and switches of protocol), 3xx, 4xx, 5xx.
    pub statuses: [u64; 4],
    /// Bytes of the bodies of permitted requests.
    pub bytes_in: u64,
    /// Bytes of the bodies of their answers.
    pub bytes_out: u64,
}

impl UsageCounts {
    /// Adds others to these.
    pub fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.refusals += more.refusals;
        for (sum, more) in self.statuses.iter_mut().zip(more.statuses) {
            *sum += more;
        }
        self.bytes_in += more.bytes_in;
        self.bytes_out += more.bytes_out;
    }
}

impl KeyUse {
    /// Nothing yet.
    pub fn new(key: Id, declared: bool) -> Self {
        Self {
            key,
            declared,
            uses: 0,
            refusals: 0,
            first_used_at: None,
            last_used: None,
            secrets: Vec::new(),
            hours: Vec::new(),
            networks: Vec::new(),
        }
    }

    /// Rows that it takes to keep it.
    pub fn rows(&self) -> usize {
        let reasons: usize = self.hours.iter().map(|hour| hour.reasons.len()).sum();
        1 + self.secrets.len() + self.hours.len() + reasons + self.networks.len()
    }
}

/// What a flush found that somebody may want to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Keys that were used from a network for the first time, though not from their very first one.
    pub new_networks: Vec<(Id, String)>,
    /// Keys that were used: when they had been used before, and when now.
    pub used_again: Vec<(Id, Timestamp, Timestamp)>,
}

impl Store {
    /// The use of keys that are declared in config files.
    pub async fn declared_uses(&self) -> Result<Vec<(Id, RecordedUse)>, StoreError> {
        let rows = sqlx::query(
            "SELECT key_id, first_used_at, last_used_at, last_used_ip, uses, refusals FROM declared_uses",
        )
        .fetch_all(&self.pools.read)
        .await?;
        let of_row = |row| -> Result<_, StoreError> {
            let usage = RecordedUse {
                first_used_at: Columns::maybe_time(row, "first_used_at")?,
                last_used_at: Columns::maybe_time(row, "last_used_at")?,
                last_used_ip: Columns::maybe_text(row, "last_used_ip")?
                    .and_then(|ip| ip.parse().ok()),
                uses: Columns::number(row, "uses")?,
                refusals: Columns::number(row, "refusals")?,
            };
            Ok((Columns::id(row, "key_id", Kind::Key)?, usage))
        };
        rows.iter().map(of_row).collect()
    }

    /// Forgets the hours before a time; how many rows that were. In small steps, so that others can write between them.
    pub async fn prune_usage(&self, before: Timestamp) -> Result<u64, StoreError> {
        let tables = [
            ("usage_hours", "key_id, hour, route"),
            ("usage_refusals", "key_id, hour, route, reason"),
        ];
        let mut gone = 0;
        for (table, key) in tables {
            loop {
                let mut delete = Sql::new("DELETE FROM ");
                delete.push(table).push(" WHERE (").push(key);
                delete.push(") IN (SELECT ").push(key);
                delete.push(" FROM ").push(table).push(" WHERE hour < ");
                delete.bind(before).push(" ORDER BY hour LIMIT ");
                delete.bind(PRUNED_AT_A_TIME).push(")");
                let rows = delete.query().execute(&self.pools.write).await?;
                gone += rows.rows_affected();
                if rows.rows_affected() == 0 {
                    break;
                }
            }
        }
        Ok(gone)
    }
}
