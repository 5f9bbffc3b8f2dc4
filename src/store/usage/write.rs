//! The flush: many keys in few statements, in one transaction.

use super::{Findings, HourUse, KeyUse, MOST_NETWORKS, NetworkUse};
use crate::domain::id::{Id, Kind};
use crate::domain::key::Algorithm;
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::store::dialect::Dialect;
use crate::store::error::StoreError;
use crate::store::sql::{Columns, Sql, Value};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Rows of one statement: as many of the first as there are, then of the next. Few sizes, so that a statement is prepared
/// once and found again.
const BATCHES: [usize; 5] = [256, 64, 16, 4, 1];

/// A key of a portion, with its id as text.
type Named<'a> = (String, &'a KeyUse);

/// What a flush writes with.
struct Pen<'a> {
    connection: &'a mut AnyConnection,
    dialect: Dialect,
}

impl Pen<'_> {
    /// Runs a statement for rows of values, many at a time: `front`, the rows, `back`.
    async fn run(
        &mut self,
        (front, back): (&str, &str),
        rows: Vec<Vec<Value>>,
    ) -> Result<(), StoreError> {
        let mut rows = rows.into_iter();
        while let Some(some) = batch(rows.len()) {
            let mut statement = self.dialect.many(front);
            for (place, row) in rows.by_ref().take(some).enumerate() {
                statement.push(if place == 0 { "(" } else { ", (" });
                statement.bind_list(row).push(")");
            }
            statement.push(back);
            statement.query().execute(&mut *self.connection).await?;
        }
        Ok(())
    }

    /// Reads the rows of these keys: `front`, the ids, a bracket.
    async fn of_keys(
        &mut self,
        front: &str,
        keys: &[&Named<'_>],
    ) -> Result<Vec<AnyRow>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        let mut keys = keys.iter();
        while let Some(some) = batch(keys.len()) {
            let mut select = self.dialect.many(front);
            select
                .bind_list(keys.by_ref().take(some).map(|(id, _)| id.as_str()))
                .push(")");
            found.extend(select.query().fetch_all(&mut *self.connection).await?);
        }
        Ok(found)
    }
}

/// How many of so many rows the next statement takes.
fn batch(left: usize) -> Option<usize> {
    BATCHES.into_iter().find(|size| *size <= left)
}

impl Store {
    /// Adds what keys did. Times move forward only, counts grow. All of it is kept or nothing; keys that are gone from the
    /// store are left out. Meant for portions of some thousand [`KeyUse::rows`], in the order of their
    /// ids, so that nobody else waits long.
    pub async fn flush(&self, portion: &[KeyUse]) -> Result<Findings, StoreError> {
        let mut tx = self.transaction().await?;
        // Admins lock rows of several keys too: whoever comes second waits, instead of both for each other.
        self.dialect.lock_head(&mut tx).await?;
        let mut findings = Findings::default();
        let mut named: Vec<Named<'_>> = portion
            .iter()
            .map(|one| (one.key.text(Kind::Key).to_string(), one))
            .collect();
        let mut pen = Pen {
            connection: &mut tx,
            dialect: self.dialect,
        };
        let before = last_uses(&mut pen, &named).await?;
        named.retain(|(id, one)| one.declared || before.contains_key(id));
        for (id, one) in &named {
            if let (Some(Some(before)), Some((now, _))) = (before.get(id), one.last_used) {
                findings.used_again.push((one.key, *before, now));
            }
        }
        keys(&mut pen, &named).await?;
        declared(&mut pen, &named).await?;
        secrets(&mut pen, &named).await?;
        hours(&mut pen, &named).await?;
        reasons(&mut pen, &named).await?;
        findings.new_networks = networks(&mut pen, &named).await?;
        tx.commit().await?;
        Ok(findings)
    }
}

/// The last uses of those of these keys that are there.
async fn last_uses(
    pen: &mut Pen<'_>,
    named: &[Named<'_>],
) -> Result<HashMap<String, Option<Timestamp>>, StoreError> {
    let mut found = HashMap::with_capacity(named.len());
    let tables = [
        (
            "SELECT id AS key_id, last_used_at FROM keys WHERE id IN (",
            false,
        ),
        (
            "SELECT key_id, last_used_at FROM declared_uses WHERE key_id IN (",
            true,
        ),
    ];
    for (select, of_file) in tables {
        let keys: Vec<&Named<'_>> = named
            .iter()
            .filter(|(_, one)| one.declared == of_file)
            .collect();
        for row in pen.of_keys(select, &keys).await? {
            found.insert(row.text("key_id")?, row.maybe_time("last_used_at")?);
        }
    }
    Ok(found)
}

fn count(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

/// An address; none where whoever counted the use was not told from where it came.
fn known(from: IpAddr) -> Option<String> {
    (!from.is_unspecified()).then(|| from.to_string())
}

/// First and last use and counts, as columns.
fn columns(id: &str, one: &KeyUse) -> Vec<Value> {
    let last = one.last_used;
    vec![
        id.into(),
        one.first_used_at.into(),
        last.map(|(at, _)| at).into(),
        last.and_then(|(_, from)| known(from)).into(),
        count(one.uses),
        count(one.refusals),
    ]
}

async fn keys(pen: &mut Pen<'_>, named: &[Named<'_>]) -> Result<(), StoreError> {
    let managed = named.iter().filter(|(_, one)| !one.declared);
    let rows = managed.map(|(id, one)| columns(id, one)).collect();
    let statement = (
        "WITH new (id, first, last, ip, uses, refusals) AS (VALUES ",
        ") UPDATE keys SET \
         first_used_at = CASE WHEN new.first < keys.first_used_at THEN new.first \
         ELSE COALESCE(keys.first_used_at, new.first) END, \
         last_used_at = CASE WHEN new.last > COALESCE(keys.last_used_at, 0) THEN new.last \
         ELSE keys.last_used_at END, \
         last_used_ip = CASE WHEN new.last > COALESCE(keys.last_used_at, 0) THEN new.ip \
         ELSE keys.last_used_ip END, \
         uses = keys.uses + new.uses, refusals = keys.refusals + new.refusals \
         FROM new WHERE keys.id = new.id",
    );
    pen.run(statement, rows).await
}

/// Declared keys are kept from their first use on.
async fn declared(pen: &mut Pen<'_>, named: &[Named<'_>]) -> Result<(), StoreError> {
    let declared = named.iter().filter(|(_, one)| one.declared);
    let rows = declared.map(|(id, one)| columns(id, one)).collect();
    let statement = (
        "INSERT INTO declared_uses (key_id, first_used_at, last_used_at, last_used_ip, uses, refusals) VALUES ",
        " ON CONFLICT (key_id) DO UPDATE SET \
         first_used_at = CASE WHEN excluded.first_used_at < declared_uses.first_used_at \
         THEN excluded.first_used_at ELSE COALESCE(declared_uses.first_used_at, excluded.first_used_at) END, \
         last_used_at = CASE WHEN excluded.last_used_at > COALESCE(declared_uses.last_used_at, 0) \
         THEN excluded.last_used_at ELSE declared_uses.last_used_at END, \
         last_used_ip = CASE WHEN excluded.last_used_at > COALESCE(declared_uses.last_used_at, 0) \
         THEN excluded.last_used_ip ELSE declared_uses.last_used_ip END, \
         uses = declared_uses.uses + excluded.uses, \
         refusals = declared_uses.refusals + excluded.refusals",
    );
    pen.run(statement, rows).await
}

/// A secret may have got our own hash while it was counted: it is there twice then, and a statement takes each row once.
async fn secrets(pen: &mut Pen<'_>, named: &[Named<'_>]) -> Result<(), StoreError> {
    for algorithm in [Algorithm::Blake3, Algorithm::Sha256] {
        secrets_of(pen, named, algorithm).await?;
    }
    Ok(())
}

async fn secrets_of(
    pen: &mut Pen<'_>,
    named: &[Named<'_>],
    algorithm: Algorithm,
) -> Result<(), StoreError> {
    let managed = named.iter().filter(|(_, one)| !one.declared);
    let rows = managed
        .flat_map(|(id, one)| one.secrets.iter().map(move |secret| (id, secret)))
        .filter(|(_, secret)| secret.algorithm == algorithm)
        .map(|(id, secret)| {
            let (at, from) = secret.last_used;
            vec![
                id.as_str().into(),
                secret.hash.at_rest_as(secret.algorithm).into(),
                at.into(),
                known(from).into(),
                count(secret.uses),
            ]
        })
        .collect();
    let statement = (
        "WITH new (key_id, hash, last, ip, uses) AS (VALUES ",
        ") UPDATE secrets SET \
         last_used_at = CASE WHEN new.last > COALESCE(secrets.last_used_at, 0) THEN new.last \
         ELSE secrets.last_used_at END, \
         last_used_ip = CASE WHEN new.last > COALESCE(secrets.last_used_at, 0) THEN new.ip \
         ELSE secrets.last_used_ip END, \
         uses = secrets.uses + new.uses \
         FROM new WHERE secrets.key_id = new.key_id \
         AND (secrets.hash = new.hash OR secrets.imported_hash = new.hash)",
    );
    pen.run(statement, rows).await
}

fn each_hour<'a>(named: &'a [Named<'a>]) -> impl Iterator<Item = (&'a str, &'a HourUse)> {
    let hours = |(id, one): &'a Named<'a>| one.hours.iter().map(move |hour| (id.as_str(), hour));
    named.iter().flat_map(hours)
}

async fn hours(pen: &mut Pen<'_>, named: &[Named<'_>]) -> Result<(), StoreError> {
    let rows = each_hour(named)
        .map(|(id, one)| {
            let counts = &one.counts;
            let mut row = vec![
                id.into(),
                one.hour.into(),
                Value::from(&*one.route),
                count(counts.requests),
                count(counts.refusals),
            ];
            row.extend(counts.statuses.map(count));
            row.extend([count(counts.bytes_in), count(counts.bytes_out)]);
            row
        })
        .collect();
    let statement = (
        "INSERT INTO usage_hours (key_id, hour, route, requests, refusals, status_2xx, status_3xx, status_4xx, \
         status_5xx, bytes_in, bytes_out) VALUES ",
        " ON CONFLICT (key_id, hour, route) DO UPDATE SET \
         requests = usage_hours.requests + excluded.requests, \
         refusals = usage_hours.refusals + excluded.refusals, \
         status_2xx = usage_hours.status_2xx + excluded.status_2xx, \
         status_3xx = usage_hours.status_3xx + excluded.status_3xx, \
         status_4xx = usage_hours.status_4xx + excluded.status_4xx, \
         status_5xx = usage_hours.status_5xx + excluded.status_5xx, \
         bytes_in = usage_hours.bytes_in + excluded.bytes_in, \
         bytes_out = usage_hours.bytes_out + excluded.bytes_out",
    );
    pen.run(statement, rows).await
}

async fn reasons(pen: &mut Pen<'_>, named: &[Named<'_>]) -> Result<(), StoreError> {
    let rows = each_hour(named)
        .flat_map(|(id, one)| one.reasons.iter().map(move |reason| (id, one, reason)))
        .map(|(id, one, (reason, number))| {
            vec![
                id.into(),
                one.hour.into(),
                Value::from(&*one.route),
                Value::from(*reason),
                count(*number),
            ]
        })
        .collect();
    let statement = (
        "INSERT INTO usage_refusals (key_id, hour, route, reason, count) VALUES ",
        " ON CONFLICT (key_id, hour, route, reason) DO UPDATE SET count = usage_refusals.count + excluded.count",
    );
    pen.run(statement, rows).await
}

/// Notes the networks; gives those that are new to a key which knows others. The oldest make room.
async fn networks(pen: &mut Pen<'_>, named: &[Named<'_>]) -> Result<Vec<(Id, String)>, StoreError> {
    let with_networks: Vec<&Named<'_>> = named
        .iter()
        .filter(|(_, one)| !one.networks.is_empty())
        .collect();
    let known = known_networks(pen, &with_networks).await?;
    let none = HashSet::new();
    let (mut new, mut crowded) = (Vec::new(), Vec::new());
    for (id, one) in &with_networks {
        let known = known.get(id).unwrap_or(&none);
        let fresh = |seen: &&NetworkUse| !known.contains(&seen.network);
        let fresh: Vec<&NetworkUse> = one.networks.iter().filter(fresh).collect();
        if known.len() + fresh.len() > MOST_NETWORKS {
            crowded.push(id);
        }
        if !known.is_empty() {
            new.extend(fresh.iter().map(|seen| (one.key, seen.network.clone())));
        }
    }
    let rows = with_networks
        .iter()
        .flat_map(|(id, one)| one.networks.iter().map(move |seen| (id, seen)))
        .map(|(id, seen)| {
            vec![
                id.as_str().into(),
                Value::from(seen.network.as_str()),
                seen.first_at.into(),
                seen.last_at.into(),
            ]
        })
        .collect();
    let statement = (
        "INSERT INTO networks (key_id, network, first_at, last_at) VALUES ",
        " ON CONFLICT (key_id, network) DO UPDATE SET \
         last_at = CASE WHEN excluded.last_at > networks.last_at THEN excluded.last_at ELSE networks.last_at END",
    );
    pen.run(statement, rows).await?;
    for id in crowded {
        let mut delete = Sql::new("DELETE FROM networks WHERE key_id = ");
        delete.bind(id.as_str()).push(
            " AND network NOT IN (SELECT n.network FROM networks n WHERE n.key_id = networks.key_id \
             ORDER BY n.last_at DESC, n.network LIMIT ",
        );
        delete
            .bind(i64::try_from(MOST_NETWORKS).unwrap_or(i64::MAX))
            .push(")");
        delete.query().execute(&mut *pen.connection).await?;
    }
    Ok(new)
}

async fn known_networks(
    pen: &mut Pen<'_>,
    named: &[&Named<'_>],
) -> Result<HashMap<String, HashSet<String>>, StoreError> {
    let mut known: HashMap<String, HashSet<String>> = HashMap::new();
    let select = "SELECT key_id, network FROM networks WHERE key_id IN (";
    for row in pen.of_keys(select, named).await? {
        known
            .entry(row.text("key_id")?)
            .or_default()
            .insert(row.text("network")?);
    }
    Ok(known)
}
