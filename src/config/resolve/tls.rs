//! TLS of listeners: certificates with their keys, and what callers have to show.

use crate::config::raw::{Fields, Item, table};
use crate::config::tls::{Certificate, ClientAuth, ListenerTls, PairFault, certificates, server};
use crate::config::value;
use std::ops::RangeInclusive;
use std::time::Duration;

const HANDSHAKE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(5);

/// `None`: the listener speaks cleartext, or what is said is at fault.
pub(super) fn tls(listener: &Fields<'_>, http2: bool) -> Option<ListenerTls> {
    let item = listener.get("tls")?;
    let fields = item.fields(&table::LISTENER_TLS);
    let mut pairs = Vec::new();
    if fields.get("cert").is_some() || fields.get("key").is_some() {
        pairs.extend(certificate(&fields));
    } else if fields.get("certificates").is_none() && !fields.is_hollow() {
        item.fault("`cert` and `key`, or `certificates`, are required");
    }
    let more = fields.list("certificates", |item| {
        certificate(&item.fields(&table::CERTIFICATE))
    });
    pairs.extend(more.unwrap_or_default());
    let tls12 = allows_tls12(&fields);
    let client = fields
        .get("client_auth")
        .and_then(|item| client_auth(&item));
    let handshake = fields.duration_within("handshake_timeout", HANDSHAKE);
    let max_handshakes = fields.number("max_handshakes", 1..=1_000_000, 1024);
    let protocols: &[&[u8]] = if http2 {
        &[b"h2", b"http/1.1"]
    } else {
        &[b"http/1.1"]
    };
    let server = item.checked(server(&pairs, tls12, client.as_ref(), protocols))?;
    (!pairs.is_empty()).then(|| ListenerTls {
        certificates: pairs,
        tls12,
        client,
        handshake_timeout: handshake.unwrap_or(Duration::from_secs(10)),
        max_handshakes,
        server,
    })
}

/// Whether TLS 1.2 will do.
pub(super) fn allows_tls12(fields: &Fields<'_>) -> bool {
    let read = fields.read("min_version", |text| match text {
        "1.2" => Ok(true),
        "1.3" => Ok(false),
        _ => Err("expected \"1.2\" or \"1.3\"".into()),
    });
    read.unwrap_or(true)
}

/// A certificate, its key, and the names it is for.
fn certificate(fields: &Fields<'_>) -> Option<Certificate> {
    let names = fields.list("names", |item| item.read(value::certificate_name));
    let pair = pair(fields)?;
    Some(Certificate {
        names: names.unwrap_or(pair.names),
        ..pair
    })
}

/// A certificate and its key; a fault names the file it is in.
pub(super) fn pair(fields: &Fields<'_>) -> Option<Certificate> {
    let (at_chain, at_key) = (fields.required("cert"), fields.required("key"));
    let (chain, key) = (
        at_chain.as_ref()?.read_secret(),
        at_key.as_ref()?.read_secret(),
    );
    let (at_chain, at_key) = (at_chain?, at_key?);
    let source = at_chain.text().unwrap_or_default();
    let source = source.strip_prefix("file:").unwrap_or(source);
    match Certificate::parse(chain?.expose(), key?.expose(), source) {
        Ok(pair) => Some(pair),
        Err(PairFault::Certificate(what)) => fault_in(&at_chain, &what),
        Err(PairFault::Key(what)) => fault_in(&at_key, &what),
    }
}

fn client_auth(item: &Item<'_>) -> Option<ClientAuth> {
    let fields = item.fields(&table::CLIENT_AUTH);
    let required = fields.flag("required", true);
    let at = fields.required("ca")?;
    let roots = certificates(at.read_secret()?.expose());
    match roots {
        Ok(roots) => Some(ClientAuth { roots, required }),
        Err(what) => fault_in(&at, &what),
    }
}

/// Says what is wrong in a file that is referred to.
pub(super) fn fault_in<T>(at: &Item<'_>, what: &str) -> Option<T> {
    at.fault(format!("{}: {what}", at.text().unwrap_or_default()));
    None
}
