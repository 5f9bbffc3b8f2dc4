//! Where the store is. URLs may hold a password, so no complaint here shows what was given.

use super::net::{host_name, split_port};
use super::path::absolute;
use crate::config::StoreLocation;
use crate::domain::secret::Secret;
use std::path::Path;

const EXPECTED: &str = "expected `none`, `sqlite:PATH`, `postgres://user@host:port/database`, or `file:PATH` or \
    `env:NAME` of such a URL";
const EXPECTED_THERE: &str =
    "expected `sqlite:PATH` or `postgres://user:password@host:port/database` there";
const UNREADABLE: &str = "cannot be read: expected `postgres://user@host:port/database`, other characters than letters, \
    digits and - . _ ~ in user and password as %-codes";

/// A store as the config file may say it, but for `none` and references.
pub(crate) fn store(text: &str, folder: &Path) -> Result<StoreLocation, String> {
    if postgres_rest(text).is_some_and(has_password) {
        return Err("a URL with a password is given as `file:PATH` or `env:NAME`".into());
    }
    location(text, folder, EXPECTED)
}

/// A store as it stands where a reference leads; this one may hold a password.
pub(crate) fn referenced_store(text: &str, folder: &Path) -> Result<StoreLocation, String> {
    location(text, folder, EXPECTED_THERE)
}

fn location(text: &str, folder: &Path, expected: &str) -> Result<StoreLocation, String> {
    if let Some(path) = text.strip_prefix("sqlite:") {
        return sqlite(path, folder);
    }
    match postgres_rest(text) {
        Some(rest) if is_readable(rest) => Ok(StoreLocation::Postgres(Secret::new(text.into()))),
        Some(_) => Err(UNREADABLE.into()),
        None => Err(expected.into()),
    }
}

fn sqlite(path: &str, folder: &Path) -> Result<StoreLocation, String> {
    if path.starts_with("//") {
        return Err("what stands behind `sqlite:` is a path, not `//`".into());
    }
    if path.starts_with(":memory:") {
        return Err("a store in memory would forget every key; for no store write `none`".into());
    }
    let path = super::file_name(path)?;
    if path.ends_with('/') {
        return Err("expected the path of a file".into());
    }
    absolute(&path, folder).map(StoreLocation::Sqlite)
}

/// What stands behind the scheme.
fn postgres_rest(text: &str) -> Option<&str> {
    ["postgres://", "postgresql://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
}

/// Generous: what could be a password to some reader counts as one.
fn has_password(rest: &str) -> bool {
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let user = address.rsplit_once('@').map_or("", |(user, _)| user);
    let names = query.split('&').filter_map(|one| one.split('=').next());
    user.contains(':')
        || names
            .into_iter()
            .any(|name| name.eq_ignore_ascii_case("password"))
}

/// Whether a reader of URLs will find the host where we do.
fn is_readable(rest: &str) -> bool {
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    // Left out, or the folder of a socket.
    let is_local = host.is_empty() || host.to_ascii_lowercase().starts_with("%2f");
    !rest.is_empty()
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        && (is_local
            || split_port(host)
                .and_then(|(host, _)| host_name(host))
                .is_ok())
}
