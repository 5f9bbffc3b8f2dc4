//! E-mail: addresses and servers. The URL of a server could hold a password, so no complaint here shows what was given.

use super::net::{host_name, split_port};
use crate::config::{Mailbox, SmtpSecurity, SmtpServer};
use std::net::IpAddr;

/// RFC 5321 §4.5.3.1.
const MAX_LOCAL: usize = 64;
const MAX_ADDRESS: usize = 254;

/// A mail server: `smtp://host:port` and the like.
pub(crate) fn smtp(text: &str) -> Result<SmtpServer, String> {
    const EXPECTED: &str = "expected `smtp://host:587` (STARTTLS), `smtps://host:465` or, for loopback only, `smtp+plain://127.0.0.1:25`";
    let (scheme, rest) = text.split_once("://").ok_or(EXPECTED)?;
    let (security, default) = match scheme {
        "smtp" => (SmtpSecurity::StartTls, 587),
        "smtps" => (SmtpSecurity::Tls, 465),
        "smtp+plain" => (SmtpSecurity::Plain, 25),
        _ => return Err(EXPECTED.into()),
    };
    if rest.contains('@') {
        return Err("user and password are given as `username` and `password`".into());
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err("a mail server is scheme, host and port only".into());
    }
    let (host, port) = split_port(authority)?;
    let host = host_name(host)?.trim_matches(['[', ']']).to_owned();
    if security == SmtpSecurity::Plain && !is_loopback(&host) {
        return Err("without TLS only a server on loopback may be used".into());
    }
    Ok(SmtpServer {
        host,
        port: port.unwrap_or(default),
        security,
    })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Somebody's address.
pub(crate) fn address(text: &str) -> Result<String, String> {
    let is_atom = |atom: &str| {
        let fits =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&byte);
        !atom.is_empty() && atom.bytes().all(fits)
    };
    let fits = |(local, domain): (&str, &str)| {
        text.len() <= MAX_ADDRESS
            && local.len() <= MAX_LOCAL
            && local.split('.').all(is_atom)
            && !domain.starts_with('[')
            && host_name(domain).is_ok()
    };
    if text.split_once('@').is_some_and(fits) {
        return Ok(text.into());
    }
    Err("expected an address such as `ops@example.com`".into())
}

/// An address, or a name and an address.
pub(crate) fn mailbox(text: &str) -> Result<Mailbox, String> {
    const EXPECTED: &str = "expected `ops@example.com` or `name <ops@example.com>`";
    let (name, address_text) = match text.strip_suffix('>') {
        Some(rest) => rest
            .rsplit_once('<')
            .map(|(name, address)| (Some(name.trim_end()), address))
            .ok_or(EXPECTED)?,
        None => (None, text),
    };
    let name = name.filter(|name| !name.is_empty());
    if name.is_some_and(|name| name.contains(['<', '>', '"']) || super::name(name).is_err()) {
        return Err(EXPECTED.into());
    }
    Ok(Mailbox {
        name: name.map(str::to_owned),
        address: address(address_text).map_err(|_| EXPECTED)?,
    })
}
