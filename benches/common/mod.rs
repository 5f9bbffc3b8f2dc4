//! What the benches share: reference keys, routes, and the whole check from a request's head to a permit.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each bench uses a part of it"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot be set up has nothing to measure"
)]

use http::{HeaderName, Method};
use keygate::config;
use keygate::domain::consumer::Consumer;
use keygate::domain::fields::Fields;
use keygate::domain::key::{Algorithm, KeyFormat, KeySpec, KeyState, Origin, PlainKey};
use keygate::domain::method::MethodSet;
use keygate::domain::route::LocationSet;
use keygate::domain::scope::Scope;
use keygate::domain::time::Timestamp;
use keygate::domain::workspace;
use keygate::gate::authorize::{self, Permit};
use keygate::gate::{extract, verify};
use keygate::snapshot::endpoints::UpstreamCompiler;
use keygate::snapshot::key::{KeyCompiler, Symbols};
use keygate::snapshot::keys::KeyTable;
use keygate::snapshot::limits::Buckets;
use keygate::snapshot::router::Router;
use keygate::snapshot::workspaces::Workspaces;
use keygate::telemetry::metrics::Metrics;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// A day in 2026.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_780_000_000_000);

/// The key with this number; native form, so that its checksum is checked too.
pub(crate) fn plain_key(number: u64) -> PlainKey {
    let mut bits = [0; 32];
    bits[..8].copy_from_slice(&number.to_le_bytes());
    bits[8..16].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    KeyFormat::default().compose("live", &bits)
}

/// The reference key: 12-byte name, consumer, two scopes, expiry.
pub(crate) fn reference_key(number: u64) -> KeySpec {
    let hash = plain_key(number).hash();
    KeySpec {
        id: hash.declared_id(),
        name: format!("key-{number:08}"),
        hash,
        hint: None,
        consumer: Some(Consumer::declared("reference".into(), None)),
        origin: Origin::File,
        workspace: workspace::root(),
        algorithm: Algorithm::Blake3,
        retires_at: None,
        environment: "live".into(),
        scopes: vec![
            Scope::parse("app:read").unwrap(),
            Scope::parse("app:write").unwrap(),
        ],
        routes: None,
        methods: MethodSet::ANY,
        ip_allow: Vec::new(),
        locations: LocationSet::ANY,
        limits: None,
        not_before: None,
        expires_at: Some(Timestamp::from_millis(NOW.as_millis() + 86_400_000 * 365)),
        state: KeyState::Active,
        metadata: BTreeMap::new(),
    }
}

/// A table of so many reference keys.
pub(crate) fn table(keys: u64, symbols: &Symbols) -> KeyTable {
    let mut compiler = KeyCompiler::default();
    let table = KeyTable::default();
    for number in 0..keys {
        table.put(compiler.compile(&reference_key(number), symbols));
    }
    table
}

/// A router with so many routes, the first of which demands `app:read`.
pub(crate) fn router(routes: usize, symbols: &Symbols) -> Router {
    let mut yaml = String::from(
        "listeners: [{address: 127.0.0.1:8080}]\nupstreams: {app: {endpoints: ['http://127.0.0.1:9000']}}\nroutes:\n",
    );
    for number in 0..routes {
        writeln!(
            yaml,
            "  - {{name: r{number}, match: {{path: /service-{number}/v1/}}, upstream: app, auth: {{scopes: app:read}}}}"
        )
        .unwrap();
    }
    let config = config::parse(Path::new("bench.yaml"), &yaml).unwrap();
    let metrics = Metrics::new().unwrap();
    let upstreams =
        UpstreamCompiler::default().compile(&config.upstreams, &config.upstream_tls, &metrics);
    Router::compile(
        &config.routes,
        &upstreams,
        &Workspaces::default(),
        (symbols, &mut Buckets::default()),
        &metrics,
    )
}

/// The key check as the request path does it: extract, hash, look up, state, time, address, routes, methods, scopes.
pub(crate) struct Check {
    pub(crate) table: KeyTable,
    pub(crate) router: Router,
    pub(crate) format: KeyFormat,
}

impl Check {
    pub(crate) fn with_keys(keys: u64) -> Self {
        let symbols = Symbols::default();
        Self {
            table: table(keys, &symbols),
            router: router(1, &symbols),
            format: KeyFormat::default(),
        }
    }

    /// From a request's fields to a permit.
    pub(crate) fn run(&self, fields: &Fields) -> Permit {
        let route = &self.router.routes()[0];
        let when_where = (NOW, IpAddr::V4(Ipv4Addr::LOCALHOST));
        let presented = extract::find(&route.route.auth, fields, None)
            .unwrap()
            .unwrap();
        let verified = verify::check(&self.table, &self.format, &presented, when_where)
            .ok()
            .unwrap();
        authorize::check(verified, route, &Method::GET, (when_where, 0))
            .ok()
            .unwrap()
    }
}

/// A request's fields with the key of this number.
pub(crate) fn fields(number: u64) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in [
        ("host", "api.example.com"),
        ("accept", "*/*"),
        ("x-api-key", plain_key(number).expose()),
    ] {
        fields.push(&HeaderName::from_static(name), value.as_bytes());
    }
    fields
}
