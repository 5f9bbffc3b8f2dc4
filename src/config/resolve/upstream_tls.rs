//! TLS of upstreams: whom we believe, who we say we are, and what is spoken.

use super::tls::{allows_tls12, fault_in, pair};
use crate::config::raw::{Fields, Item, table};
use crate::config::tls::certificates;
use crate::config::upstream_tls::{Parts, Trust, UpstreamTls};
use crate::config::value;
use crate::domain::upstream::{Endpoint, Protocol};
use rustls::pki_types::ServerName;

/// What is spoken to the endpoints.
pub(super) fn protocol(fields: &Fields<'_>) -> Protocol {
    let known = [Protocol::Auto, Protocol::Http1, Protocol::Http2];
    let read = fields.read("protocol", |text| {
        known
            .into_iter()
            .find(|one| one.name() == text)
            .ok_or_else(|| value::unknown("value", text, &known.map(Protocol::name)))
    });
    read.unwrap_or_default()
}

/// `None`: cleartext, or what is said is at fault.
pub(super) fn tls(
    fields: &Fields<'_>,
    endpoints: &[Endpoint],
    protocol: Protocol,
) -> Option<UpstreamTls> {
    let secure = endpoints.first()?.secure;
    let said = fields.get("tls");
    if endpoints.iter().any(|one| one.secure != secure) {
        fields
            .get("endpoints")?
            .fault("all endpoints are http://, or all are https://");
        return None;
    }
    if !secure {
        if let Some(item) = said {
            item.fault("only https:// endpoints have TLS");
        }
        return None;
    }
    let settings = fields.section("tls", &table::UPSTREAM_TLS);
    let at = said.or_else(|| fields.get("endpoints"))?;
    // All of it is read before any of it is given up on, so that every fault is told.
    let server_name = match settings.get("server_name") {
        Some(item) => item.read(server_name).map(Some),
        None => Some(None),
    };
    let shows = settings.get("cert").is_some() || settings.get("key").is_some();
    let identity = if shows {
        pair(&settings).map(Some)
    } else {
        Some(None)
    };
    let (tls12, trust) = (allows_tls12(&settings), trust(&settings, &at));
    let made_of = Parts {
        trust: trust?,
        identity: identity?,
        tls12,
        protocol,
    };
    let at = settings.get("ca").unwrap_or(at);
    match UpstreamTls::new(made_of, server_name?) {
        Ok(made) => Some(made),
        Err(what) => fault_in(&at, &what),
    }
}

/// A name or an IP address.
fn server_name(text: &str) -> Result<ServerName<'static>, String> {
    let expected = || "expected a host name or an IP address, without a port".to_owned();
    let name = value::host(text).map_err(|_| expected())?;
    ServerName::try_from(name.trim_matches(['[', ']']).to_owned()).map_err(|_| expected())
}

fn trust(settings: &Fields<'_>, at: &Item<'_>) -> Option<Trust> {
    let ca = settings.get("ca");
    if settings.flag("insecure", false) {
        let insecure = settings.get("insecure")?;
        if ca.is_some() {
            insecure.fault("`ca` has no meaning with `insecure: true`");
            return None;
        }
        insecure.warn("whoever answers is believed: its certificate is not verified");
        return Some(Trust::Anybody);
    }
    let Some(ca) = ca else {
        return at.checked(Trust::of_system());
    };
    match certificates(ca.read_secret()?.expose()) {
        Ok(authorities) => Some(Trust::Authorities(authorities)),
        Err(what) => fault_in(&ca, &what),
    }
}
