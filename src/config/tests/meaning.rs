//! Good files: what their values mean, what is warned of, which files they read, and what is never shown.

use super::{HASH, good, lines};
use crate::config::{ConfigError, Fault, load, parse};
use crate::domain::balance::{Balance, HashOn};
use crate::domain::key::{KeyFormat, KeyState};
use crate::domain::method::MethodSet;
use crate::domain::resilience::{Probe, RetryOn};
use crate::domain::route::{HostMatch, Location, LocationKind, LocationSet, PathMatch};
use crate::domain::scope::{Scope, ScopeDemand};
use crate::domain::upstream::HostHeader;
use http::Method;
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::time::Duration;

const BASE: &str = "listeners: [{address: 127.0.0.1:8080}]
upstreams: {service: {endpoints: [http://a]}}
";
const ROUTE: &str = "routes: [{name: service, match: {}, upstream: service}]\n";

fn warnings(text: &str) -> Vec<String> {
    let lines = good(text).warnings;
    lines
        .iter()
        .map(|line| line.to_string().split_off("k.yaml:".len()))
        .collect()
}

#[test]
fn listeners_and_sections() {
    let config = good(
        "threads: 4
drain_timeout: 0s
log: {level: 'info,keygate=debug', access_file: log/access.log}
listeners:
  - {address: '[::1]:8080', max_uri_bytes: 65534B, max_header_bytes: 64kB, header_timeout: 250ms}
  - {address: 127.0.0.1:0, name: any, idle_timeout: 2h, body_timeout: 90d}
management: {address: '[::ffff:127.0.0.1]:1'}
",
    );
    assert_eq!(config.threads.unwrap().get(), 4);
    assert_eq!(config.drain_timeout, Duration::ZERO);
    assert_eq!(config.log.access_file.unwrap(), Path::new("log/access.log"));
    let [first, second] = &config.listeners[..] else {
        panic!("two listeners");
    };
    assert_eq!((&*first.name, &*second.name), ("[::1]:8080", "any"));
    assert_eq!(first.limits.max_uri_bytes, 65534);
    assert_eq!(first.limits.max_header_bytes, 64000);
    assert_eq!(first.limits.header_timeout, Duration::from_millis(250));
    assert_eq!(second.limits.idle_timeout, Duration::from_hours(2));
    assert_eq!(second.limits.body_timeout, Duration::from_hours(90 * 24));
}

#[test]
fn what_several_endpoints_may_say() {
    let config = good(
        "listeners: [{address: 127.0.0.1:8080}]
upstreams:
  a:
    endpoints: [http://a, {url: http://b, weight: 0}, {url: http://c, weight: 1000}]
    balance: {hash: {header: X-Tenant}}
    health_check: {path: /healthz, statuses: [204, '300-399']}
    outlier_detection: {slow_start: 0s}
    circuit: {max_connections: 10, max_pending: 0, max_requests: off}
  b: {endpoints: [http://b], balance: {hash: key}, health_check: {tcp: true, interval: 100ms}}
  c: {endpoints: [http://c], balance: power_of_two}
routes:
  - {name: a, match: {}, upstream: a, retries: {on: [refused_stream, 503], per_try_timeout: 1s, backoff: 0s}}
  - {name: b, match: {path: /b}, upstream: b, retries: {}}
",
    );
    let [a, b, c] = &config.upstreams[..] else {
        panic!("three upstreams");
    };
    let weights: Vec<u32> = a.endpoints.iter().map(|one| one.weight).collect();
    assert_eq!(weights, [1, 0, 1000]);
    let header = HashOn::Header("x-tenant".parse().unwrap());
    assert_eq!(
        (&a.balance, &b.balance),
        (&Balance::Hash(header), &Balance::Hash(HashOn::Key))
    );
    assert_eq!(c.balance, Balance::PowerOfTwo);
    let check = a.health_check.as_ref().unwrap();
    assert_eq!(
        (check.interval, check.timeout),
        (Duration::from_secs(10), Duration::from_secs(2))
    );
    assert_eq!((check.healthy, check.unhealthy), (2, 3));
    let probe = Probe::Http {
        path: "/healthz".into(),
        host: None,
        statuses: vec![204..=204, 300..=399],
    };
    assert_eq!(check.probe, probe);
    assert_eq!(b.health_check.as_ref().unwrap().probe, Probe::Tcp);
    let outlier = a.outlier_detection.unwrap();
    assert_eq!((outlier.failures, outlier.max_ejected_percent), (5, 50));
    assert_eq!(
        (outlier.base_ejection, outlier.slow_start),
        (Duration::from_secs(30), Duration::ZERO)
    );
    let circuit = (
        a.circuit.max_connections,
        a.circuit.max_pending,
        a.circuit.max_requests,
    );
    assert_eq!(circuit, (Some(10), Some(0), None));
    let [first, second] = [0, 1].map(|place: usize| config.routes[place].retries.clone().unwrap());
    assert!(first.on.refused_stream && first.on.status(503) && !first.on.status(502));
    assert_eq!(
        (first.per_try_timeout, first.backoff),
        (Some(Duration::from_secs(1)), Duration::ZERO)
    );
    assert_eq!((second.attempts, second.on), (1, RetryOn::ALL));
    assert_eq!(
        (second.per_try_timeout, second.backoff),
        (None, Duration::from_millis(25))
    );
}

#[test]
fn endpoints_and_host_headers() {
    let config = good(
        "listeners: [{address: 127.0.0.1:8080}]
upstreams:
  a: {endpoints: [http://A.example/, 'HTTP://[0:0::1]:80', 'http://[::1]:81', http://10.0.0.5:8000]}
  b: {endpoints: [http://b], host_header: endpoint}
  c: {endpoints: [http://c], host_header: 'API.example:8443'}
",
    );
    let shown: Vec<_> = config.upstreams[0]
        .endpoints
        .iter()
        .map(|endpoint| (&*endpoint.host, endpoint.port, &*endpoint.authority))
        .collect();
    let want = [
        ("a.example", 80, "a.example"),
        ("::1", 80, "[::1]"),
        ("::1", 81, "[::1]:81"),
        ("10.0.0.5", 8000, "10.0.0.5:8000"),
    ];
    assert_eq!(shown, want);
    assert_eq!(config.upstreams[1].host_header, HostHeader::Endpoint);
    let fixed = HostHeader::Fixed("api.example:8443".into());
    assert_eq!(config.upstreams[2].host_header, fixed);
}

#[test]
fn routes() {
    let config = good(&format!(
        "{BASE}routes:
  - name: a
    match: {{host: '*.Example.com', path: /a/b/, methods: [GET, POST]}}
    upstream: service
    strip_prefix: /a/
    max_body: off
    timeout: 5m
    auth:
      locations: [{{query: api_key}}, {{header: X-Key}}]
      scopes: {{GET: r, POST: [r, w], '*': []}}
  - name: b
    match: {{host: '[::1]', exact_path: /a/b/}}
    upstream: service
    strip_prefix: /a
    auth: {{required: false, locations: []}}
  - name: c
    match: {{host: EXAMPLE.com}}
    upstream: service
    auth: {{scopes: [a, b]}}
"
    ));
    let [a, b, c] = &config.routes[..] else {
        panic!("three routes");
    };
    let scope = |text| Scope::parse(text).unwrap();
    assert_eq!(a.matches.host, HostMatch::Suffix("example.com".into()));
    assert_eq!(a.matches.path, PathMatch::Prefix("/a/b".into()));
    assert_eq!(
        a.matches.methods.names().collect::<Vec<_>>(),
        ["GET", "POST"]
    );
    assert_eq!(a.strip_prefix.as_deref(), Some("/a"));
    assert_eq!(
        (a.max_body, a.timeout),
        (None, Some(Duration::from_mins(5)))
    );
    let key = Location::Header("x-key".parse().unwrap());
    assert_eq!(a.auth.locations, [Location::Query("api_key".into()), key]);
    let per_method = ScopeDemand::PerMethod {
        methods: vec![
            (Method::GET, vec![scope("r")]),
            (Method::POST, vec![scope("r"), scope("w")]),
        ],
        any: Some(vec![]),
    };
    assert_eq!(a.auth.scopes, per_method);
    assert_eq!(b.matches.host, HostMatch::Exact("[::1]".into()));
    assert_eq!(b.matches.path, PathMatch::Exact("/a/b/".into()));
    assert!(!b.auth.required && b.auth.locations.is_empty());
    assert_eq!(c.matches.host, HostMatch::Exact("example.com".into()));
    assert_eq!(c.matches.path, PathMatch::Prefix(String::new()));
    let both = ScopeDemand::Always(vec![scope("a"), scope("b")]);
    assert_eq!(c.auth.scopes, both);
}

#[test]
fn keys() {
    let config = good(&format!(
        "{BASE}{ROUTE}consumers: [{{name: Acme GmbH}}]
keys:
  - name: ci
    hash: {HASH}
    consumer: Acme GmbH
    environment: test
    routes: [service]
    methods: [GET]
    ip_allow: ['::ffff:10.0.0.0/104', 192.0.2.1, '2001:db8::/32']
    locations: [header]
    not_before: 2027-01-01
    expires_at: 2027-01-01T00:00:01Z
    state: disabled
    metadata: {{team: a, plan: 1.10, paid: true, quoted: '007'}}
"
    ));
    let key = &config.keys[0];
    assert_eq!(key.id, key.hash.declared_id());
    assert_eq!(
        key.consumer.as_ref().map(|one| &*one.name),
        Some("Acme GmbH")
    );
    assert_eq!((&*key.environment, key.state), ("test", KeyState::Disabled));
    assert_eq!(key.routes.as_deref(), Some(&["service".to_owned()][..]));
    assert_eq!(Some(key.methods), MethodSet::EMPTY.with(&Method::GET));
    let header = LocationSet::EMPTY.with(LocationKind::Header);
    assert_eq!(key.locations, header);
    let networks: Vec<_> = key.ip_allow.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]);
    assert!(key.not_before < key.expires_at);
    let metadata: Vec<_> = key.metadata.iter().map(|(k, v)| (&**k, &**v)).collect();
    let want = [
        ("paid", "true"),
        ("plan", "1.10"),
        ("quoted", "007"),
        ("team", "a"),
    ];
    assert_eq!(metadata, want);
}

#[test]
fn secrets_come_from_files_and_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyFormat::default().compose("test", &[7; 32]);
    fs::write(folder.path().join("key"), format!("{}\r\n", key.expose())).unwrap();
    fs::write(folder.path().join("token"), "0123456789abcdef\n").unwrap();
    let file = folder.path().join("keygate.yaml");
    // Cargo sets that variable for every test.
    let text = format!(
        "{BASE}{ROUTE}management: {{address: 0.0.0.0:1, token: file:token}}
keys: [{{name: a, secret: file:key}}, {{name: b, secret: env:CARGO_PKG_LICENSE}}]
"
    );
    fs::write(&file, &text).unwrap();
    let config = load(&file).unwrap();
    let token = config.management.token.unwrap();
    assert_eq!(token.expose(), "0123456789abcdef");
    let [a, b] = &config.keys[..] else {
        panic!("two keys");
    };
    assert_eq!((a.hash, &*a.environment), (key.hash(), "test"));
    assert_eq!(a.hint, Some(KeyFormat::default().hint(&key)));
    assert_eq!((b.hint.as_deref(), &*b.environment), (Some("…"), "live"));
    let read = ["keygate.yaml", "token", "key"].map(|name| folder.path().join(name));
    assert_eq!(config.files, read);
}

#[test]
fn bad_secret_files_are_named_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let native = KeyFormat::default().compose("test", &[7; 32]);
    write("empty", b"\n");
    write("binary", b"\xff");
    write("large", &b"x".repeat(70_000));
    write("spaced", b"two words");
    write("long", &[b'x'; 513]);
    write("cut", &native.expose().as_bytes()[..40]);
    write("native", native.expose().as_bytes());
    write("short", b"0123456789abcde");
    write("guessed", b"1234567\n");
    let names = [
        "empty", "binary", "large", "spaced", "long", "cut", "guessed",
    ];
    let keys = names.map(|name| format!("  - {{name: {name}, secret: 'file:{name}'}}\n"));
    let text = format!(
        "{BASE}{ROUTE}management: {{token: file:short}}\nkeys:\n{}  - {{name: n, environment: live, secret: file:native}}\n",
        keys.concat()
    );
    let file = folder.path().join("k.yaml");
    let fault = parse(&file, &text).unwrap_err().to_string();
    let at = folder.path().display();
    let lines: Vec<_> = fault
        .lines()
        .map(|line| line.split_once(": ").unwrap().1.to_owned())
        .collect();
    let want = [
        "management.token: the token must have at least 16 bytes".to_owned(),
        format!("keys[0].secret: {at}/empty: empty"),
        format!("keys[1].secret: {at}/binary: not UTF-8"),
        format!("keys[2].secret: {at}/large: larger than 64 KiB"),
        "keys[3].secret: a key is at most 512 bytes of printable ASCII without spaces".to_owned(),
        "keys[4].secret: a key is at most 512 bytes of printable ASCII without spaces".to_owned(),
        "keys[5].secret: looks like a key of keygate, but its length or its checksum is wrong"
            .to_owned(),
        "keys[6].secret: a key has at least 8 bytes".to_owned(),
        "keys[7].environment: the key itself says `test`".to_owned(),
    ];
    assert_eq!(lines, want);
}

#[test]
fn a_file_that_cannot_be_read_is_no_fault_of_its_text() {
    let fault = load(Path::new("/no/such/file.yaml")).unwrap_err();
    assert!(matches!(fault, ConfigError::Unreadable { .. }));
    assert_eq!(
        fault.to_string(),
        "/no/such/file.yaml: No such file or directory (os error 2)"
    );
}

#[test]
fn warnings_have_places_and_refuse_nothing() {
    let text = format!(
        "{BASE}routes:
  - {{name: a, match: {{}}, upstream: service, auth: {{scopes: {{GET: r}}}}}}
  - {{name: b, match: {{path: /b, methods: [GET, HEAD]}}, upstream: service, auth: {{scopes: {{GET: r}}}}}}
  - {{name: c, match: {{path: /c}}, upstream: service, auth: {{required: false, scopes: r}}}}
keys:
  - {{name: a, hash: '{HASH}'}}
  - {{name: b, hash: '{}', scopes: [r], routes: []}}
",
        super::OTHER
    );
    let want = [
        "4:60: routes[0].auth.scopes: no key opens other methods: add \"*\"",
        "6:59: routes[2].auth: scopes have no effect on requests without a key, because `required` is false",
        "8:5: keys[0]: opens nothing: it has no scopes and no routes",
        "9:5: keys[1]: opens nothing: its list of routes is empty",
    ];
    assert_eq!(warnings(&text), want);
    let want = [
        "1:1: no routes: every request is a 404",
        "2:22: upstreams.service: no route uses this upstream",
    ];
    assert_eq!(warnings(BASE), want);
}

#[test]
fn an_empty_file_lacks_listeners() {
    for text in ["", "\n# nothing\n", "~", "\u{feff}"] {
        assert_eq!(
            super::faults(text),
            ["1:1: listeners: required"],
            "{text:?}"
        );
    }
    for text in ["7", "[]", "text"] {
        assert_eq!(super::faults(text), ["1:1: expected a mapping"], "{text:?}");
    }
}

/// Places where a secret could be given by mistake.
#[test]
fn what_stands_in_a_secret_position_is_never_shown() {
    const CANARY: &str = "hunter2";
    let values = [
        "hunter2",
        "'hunter2 hunter2'",
        "[hunter2]",
        "{hunter2: hunter2}",
        "{a: hunter2}",
        "'blake3:hunter2'",
        "'sha256:hunter2'",
        "'env:hunter2 x'",
        "!hunter2 x",
        "*hunter2",
        "&hunter2 hunter2",
        "\"hunter2",
        "hunter2: hunter2",
    ];
    for value in values {
        for (position, text) in [
            ("token", format!("management: {{token: {value}}}\n{BASE}")),
            (
                "password",
                format!(
                    "notifications: {{email: {{smtp: smtp://a, from: a@b, username: a, password: {value}}}}}\n{BASE}"
                ),
            ),
            (
                "smtp",
                format!("notifications: {{email: {{smtp: {value}, from: a@b}}}}\n{BASE}"),
            ),
            ("store", format!("store: {value}\n{BASE}")),
            (
                "master_key",
                format!("vault: {{master_key: {value}}}\n{BASE}"),
            ),
            (
                "hash",
                format!("keys: [{{name: a, hash: {value}}}]\n{BASE}"),
            ),
            (
                "secret",
                format!("keys: [{{name: a, secret: {value}}}]\n{BASE}"),
            ),
        ] {
            let fault = parse(Path::new("k.yaml"), &text).unwrap_err();
            assert!(!lines(&fault).is_empty());
            let shown = format!("{fault} {fault:?}");
            assert!(!shown.contains(CANARY), "{position} {value}: {shown}");
        }
    }
}

#[test]
fn a_fault_without_a_place_shows_the_file() {
    let fault = Fault {
        file: "k.yaml".into(),
        place: None,
        path: String::new(),
        what: "gone".into(),
    };
    assert_eq!(fault.to_string(), "k.yaml: gone");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let _ = parse(Path::new("k.yaml"), &text);
    }

    #[test]
    fn text_of_yaml_never_panics(text in "[a-c\\[\\]{}:,&*!|>'\"#?\n -]{0,120}") {
        let _ = parse(Path::new("k.yaml"), &text);
    }
}
