//! Bad files and the exact lines they draw.

use super::{HASH, OTHER, faults};

pub(super) const LISTENERS: &str = "listeners: [{address: 127.0.0.1:8080}]";
const UPSTREAMS: &str = "upstreams: {service: {endpoints: [http://a]}}";
const ROUTES: &str = "routes: [{name: service, match: {}, upstream: service}]";
const CONSUMERS: &str = "consumers: [{name: acme}]";

pub(super) type Case = (&'static str, &'static [&'static str]);

/// Each case stands in the first line; `rest` makes it a file that is good otherwise.
pub(super) fn check(cases: &[Case], rest: &[&str]) {
    for (bad, want) in cases {
        let bad = bad.replace("$HASH", HASH).replace("$OTHER", OTHER);
        assert_eq!(
            faults(&format!("{bad}\n{}", rest.join("\n"))),
            *want,
            "{bad}"
        );
    }
}

#[test]
fn sections() {
    check(SECTIONS, &[LISTENERS]);
}

#[test]
fn listeners() {
    check(LISTENER_CASES, &[]);
}

#[test]
fn upstreams() {
    check(UPSTREAM_CASES, &[LISTENERS]);
}

#[test]
fn routes() {
    check(ROUTE_CASES, &[LISTENERS, UPSTREAMS]);
}

#[test]
fn consumers() {
    check(CONSUMER_CASES, &[LISTENERS]);
}

#[test]
fn keys() {
    check(KEY_CASES, &[LISTENERS, UPSTREAMS, ROUTES, CONSUMERS]);
}

#[test]
fn yaml_itself() {
    check(YAML_CASES, &[]);
}

#[test]
fn all_faults_of_a_file_at_once_in_its_order() {
    let file = "\
listeners:
  - address: 127.0.0.1:8080
    header_timeout: 10
    tls: {}
  - name: second
upstreams:
  billing:
    endpoints: [https://10.0.0.1]
routes:
  - name: billing
    upstream: biling
    match:
      path: billing
keys:
  - name: ci
    hash: blake3:00
    consumer: nobody
  - nmae: two
";
    let want = [
        "3:21: listeners[0].header_timeout: a duration needs a unit (ms, s, m, h, d), such as `30s`",
        "4:10: listeners[0].tls: `cert` and `key`, or `certificates`, are required",
        "5:5: listeners[1].address: required",
        "8:17: upstreams.billing.endpoints[0]: https endpoints are not supported yet",
        "11:15: routes[0].upstream: unknown upstream `biling`; did you mean `billing`?",
        "13:13: routes[0].match.path: a path must begin with `/`",
        "16:11: keys[0].hash: expected 64 hex digits after `blake3:`",
        "17:15: keys[0].consumer: unknown consumer `nobody`; there is none",
        "18:5: keys[1]: one of `hash` and `secret` is required",
        "18:5: keys[1].name: required",
        "18:5: keys[1].nmae: unknown field `nmae`; did you mean `name`?",
    ];
    assert_eq!(faults(file), want);
}

#[test]
fn hostile_nesting_is_a_fault() {
    let told = ["1:68: nested more than 64 levels deep"];
    assert_eq!(
        faults(&format!("a:  {}{}", "[".repeat(64), "]".repeat(64))),
        told
    );
    for deep in ["[", "{a: "] {
        let lines = faults(&deep.repeat(100_000));
        assert!(
            lines[0].ends_with("not YAML: recursion limit exceeded"),
            "{lines:?}"
        );
    }
    let block = "- ".repeat(100_000);
    assert_eq!(faults(&block), ["1:129: nested more than 64 levels deep"]);
}

#[test]
fn control_characters_in_names_are_not_shown() {
    let file = format!("\"a\\e[31m\\n\": 1\n{LISTENERS}");
    let lines = faults(&file).join("|");
    assert!(
        lines.starts_with("1:1: a\\u{1b}[31m\\n: unknown field"),
        "{lines}"
    );
}

const SECTIONS: &[Case] = &[
    (
        "listners: []",
        &["1:1: listners: unknown field `listners`; did you mean `listeners`?"],
    ),
    (
        "threads: 0",
        &["1:10: threads: expected a whole number from 1 to 1024"],
    ),
    (
        "threads: many",
        &["1:10: threads: expected a whole number from 1 to 1024"],
    ),
    (
        "threads: -1",
        &["1:10: threads: expected a whole number from 1 to 1024"],
    ),
    (
        "drain_timeout: 30",
        &["1:16: drain_timeout: a duration needs a unit (ms, s, m, h, d), such as `30s`"],
    ),
    (
        "drain_timeout: 1.5s",
        &[
            "1:16: drain_timeout: expected a duration such as `30s`, with a unit of ms, s, m, h or d",
        ],
    ),
    (
        "drain_timeout: 4000d",
        &["1:16: drain_timeout: longer than 3650d"],
    ),
    (
        "drain_timeout: 99999999999999999999d",
        &["1:16: drain_timeout: expected a duration such as `30s`"],
    ),
    (
        "drain_timeout: [1s]",
        &["1:16: drain_timeout: expected a duration such as `30s`"],
    ),
    (
        "key_format: { brand: KG, environments: [live, admin, live, Test, live] }",
        &[
            "1:22: key_format.brand: brand must be 1 to 16 characters of a-z and 0-9",
            "1:47: key_format.environments[1]: `admin` and `session` are reserved for the admin API",
            "1:54: key_format.environments[2]: the same as key_format.environments[0]",
            "1:60: key_format.environments[3]: an environment must be 1 to 16 characters of a-z and 0-9",
            "1:66: key_format.environments[4]: the same as key_format.environments[0]",
        ],
    ),
    (
        "key_format: { environments: [] }",
        &["1:29: key_format.environments: at least one environment is needed"],
    ),
    (
        "key_format: live",
        &["1:13: key_format: expected a mapping"],
    ),
    (
        r#"log: { level: "", access: yes, access_path: 1, access_file: "" }"#,
        &[
            "1:15: log.level: expected a level (off, error, warn, info, debug, trace), or a filter such as `info,keygate=debug`",
            "1:27: log.access: expected `true` or `false`",
            "1:45: log.access_path: expected `true` or `false`",
            "1:61: log.access_file: expected the path of a file",
        ],
    ),
    (
        "log: { level: 5, levle: info }",
        &[
            "1:15: log.level: expected text; put it in quotes",
            "1:18: log.levle: unknown field `levle`; did you mean `level`?",
        ],
    ),
    (
        r#"forwarding: { via: "true", realm: 'a"b' }"#,
        &[
            "1:20: forwarding.via: expected `true` or `false`",
            "1:35: forwarding.realm: must be printable ASCII without quote and backslash",
        ],
    ),
    (
        "management: { address: 0.0.0.0:8081 }",
        &["1:24: management.address: a public address needs `management.token`"],
    ),
    (
        "management: { address: localhost:8081 }",
        &[
            "1:24: management.address: expected an IP address and a port, such as `127.0.0.1:8080` or `[::1]:8080`",
        ],
    ),
    (
        "management: { address: 0.0.0.0:8081, token: hunter2hunter2hunter2 }",
        &[
            "1:45: management.token: a secret is given as `file:path` or `env:NAME`, never in this file",
        ],
    ),
    (
        "management: { token: 12345 }",
        &[
            "1:22: management.token: a secret is given as `file:path` or `env:NAME`, never in this file",
        ],
    ),
    (
        "management: { token: env:KEYGATE_TEST_UNSET }",
        &["1:22: management.token: environment variable `KEYGATE_TEST_UNSET` is not set"],
    ),
    (
        r#"management: { token: "env:1 x" }"#,
        &[
            "1:22: management.token: a secret is given as `file:path` or `env:NAME`, never in this file",
        ],
    ),
    (
        "management: { token: file:no/such }",
        &["1:22: management.token: no/such: No such file or directory (os error 2)"],
    ),
    (
        r#"management: { token: "file:" }"#,
        &[
            "1:22: management.token: a secret is given as `file:path` or `env:NAME`, never in this file",
        ],
    ),
    (
        "admission: {failed_attempts: {rate: 100, burst: 0}, max_lag: 1ms, max_requests: 1}",
        &[
            "1:37: admission.failed_attempts.rate: expected a rate such as `100/s`",
            "1:49: admission.failed_attempts.burst: expected a whole number from 1 to 1000000",
            "1:62: admission.max_lag: must be from 50ms to 1m (or `off` for no limit)",
            "1:67: admission.max_requests: unknown field `max_requests`; known: failed_attempts, max_lag",
        ],
    ),
    ("tracing: null", &["1:1: tracing: not supported yet"]),
    (
        "1: 2",
        &[
            "1:1: 1: unknown field `1`; known: threads, drain_timeout, key_format, log, forwarding, admission, listeners, management, store, data_dir, vault, inactivity, audit, usage, webhooks, notifications, upstreams, routes, consumers, keys",
        ],
    ),
];

const LISTENER_CASES: &[Case] = &[
    ("listeners: null", &["1:1: listeners: required"]),
    (
        "listeners: []",
        &["1:12: listeners: at least one listener is needed"],
    ),
    (
        "listeners: 127.0.0.1:8080",
        &["1:12: listeners: expected a list"],
    ),
    (
        "listeners: [{}, 7, null]",
        &[
            "1:13: listeners[0].address: required",
            "1:17: listeners[1]: expected a mapping",
            "1:20: listeners[2]: expected a mapping",
        ],
    ),
    (
        "listeners: [{address: 127.0.0.1:1, tls: {}, kind: http, tsl: {}}]",
        &[
            "1:41: listeners[0].tls: `cert` and `key`, or `certificates`, are required",
            "1:45: listeners[0].kind: not supported yet",
            "1:57: listeners[0].tsl: unknown field `tsl`; did you mean `tls`?",
        ],
    ),
    (
        "listeners: [{address: 127.0.0.1:1, trusted_proxies: [10.0.0.1/8, x], client_address: x-real-ip, proxy_protocol: v1}]",
        &[
            "1:54: listeners[0].trusted_proxies[0]: has bits behind its prefix; write `10.0.0.0/8` or a single address",
            "1:66: listeners[0].trusted_proxies[1]: expected an address or a network, such as `10.0.0.0/8`",
            "1:86: listeners[0].client_address: expected `x_forwarded_for` or `forwarded`",
            "1:113: listeners[0].proxy_protocol: expected `off` or `required`",
        ],
    ),
    (
        "listeners: [{address: 127.0.0.1:1, proxy_protocol: required, trusted_proxies: []}]",
        &[
            "1:52: listeners[0].proxy_protocol: needs `trusted_proxies`: those who may say where a connection comes from",
        ],
    ),
    (
        "listeners: [{address: 127.0.0.1:1, max_connections_per_address: 0, first_byte_timeout: 0s, min_body_rate: {bytes: 0B, grace: 0s, rate: 1}}, {address: 127.0.0.1:2, min_body_rate: 240B}]",
        &[
            "1:65: listeners[0].max_connections_per_address: expected a whole number from 1 to 10000000, or `off`",
            "1:88: listeners[0].first_byte_timeout: must be longer than 0",
            "1:115: listeners[0].min_body_rate.bytes: must be from 1B to 1073741824B",
            "1:126: listeners[0].min_body_rate.grace: must be from 1s to 1h",
            "1:130: listeners[0].min_body_rate.rate: unknown field `rate`; did you mean `grace`?",
            "1:179: listeners[1].min_body_rate: expected a mapping",
        ],
    ),
    (
        "listeners: [{address: 127.0.0.1:1}, {address: 127.0.0.1:1}]",
        &["1:37: listeners[1]: the same address as listeners[0]"],
    ),
    (
        "listeners: [{address: 127.0.0.1:0}, {address: 127.0.0.1:0}]",
        &[
            "1:37: listeners[1]: a listener needs a `name` of its own, this is the same as listeners[0]",
        ],
    ),
    (
        "listeners: [{address: 127.0.0.1:1, max_connections: 0, max_headers: 1001, max_header_bytes: 1B, max_uri_bytes: 64KiB, header_timeout: 0s, idle_timeout: off, body_timeout: 5x}]",
        &[
            "1:53: listeners[0].max_connections: expected a whole number from 1 to 10000000",
            "1:69: listeners[0].max_headers: expected a whole number from 1 to 1000",
            "1:93: listeners[0].max_header_bytes: must be from 1024B to 1048576B",
            "1:112: listeners[0].max_uri_bytes: must be from 64B to 65534B",
            "1:135: listeners[0].header_timeout: must be longer than 0",
            "1:153: listeners[0].idle_timeout: expected a duration such as `30s`",
            "1:172: listeners[0].body_timeout: expected a duration such as `30s`, with a unit of ms, s, m, h or d",
        ],
    ),
    (
        r#"listeners: [{address: 127.0.0.1:1, max_header_bytes: 1024, max_uri_bytes: 1XB, name: " a"}]"#,
        &[
            "1:54: listeners[0].max_header_bytes: a size needs a unit (B, KiB, MiB, GiB, kB, MB, GB), such as `1MiB`",
            "1:75: listeners[0].max_uri_bytes: expected a size such as `1MiB`, with a unit of B, KiB, MiB, GiB, kB, MB or GB",
            "1:86: listeners[0].name: must be 1 to 128 characters, none of them a control character, no space at either end",
        ],
    ),
    (
        "listeners: [{address: 127.0.0.1:1, max_header_bytes: 99999999999999999GiB}]",
        &["1:54: listeners[0].max_header_bytes: too large"],
    ),
];

const UPSTREAM_CASES: &[Case] = &[
    (
        "upstreams: [billing]",
        &["1:12: upstreams: expected a mapping"],
    ),
    (
        "upstreams: { billing: null, Billing: { endpoints: [http://a] } }",
        &[
            "1:23: upstreams.billing: expected a mapping",
            "1:29: upstreams.Billing: must be 1 to 63 of a-z 0-9 . _ - and begin with a letter or digit",
        ],
    ),
    (
        "upstreams: { b: {}, c: { endpoints: [] }, d: { endpoints: http://a } }",
        &[
            "1:17: upstreams.b.endpoints: required",
            "1:37: upstreams.c.endpoints: at least one endpoint is needed",
            "1:59: upstreams.d.endpoints: expected a list",
        ],
    ),
    (
        "upstreams: { b: { endpoints: [https://a, ftp://a, a:80, {url: http://a, weight: 2}, http://a/x, http://u:p@a, http://a?x] } }",
        &[
            "1:31: upstreams.b.endpoints[0]: https endpoints are not supported yet",
            "1:42: upstreams.b.endpoints[1]: expected `http://host` or `http://host:port`",
            "1:51: upstreams.b.endpoints[2]: expected `http://host` or `http://host:port`",
            "1:57: upstreams.b.endpoints[3]: endpoints with a weight are not supported yet",
            "1:85: upstreams.b.endpoints[4]: an endpoint is scheme, host and port only, without path and query",
            "1:97: upstreams.b.endpoints[5]: an endpoint cannot hold a user name or password",
            "1:111: upstreams.b.endpoints[6]: an endpoint is scheme, host and port only, without path and query",
        ],
    ),
    (
        r#"upstreams: { b: { endpoints: ["http://a:0", "http://a:x", "http://::1", "http://[::g]", "http://1.2.3", "http://a b", "http://", "http://A/", "http://a:80", "http://ä", "http://a."] } }"#,
        &[
            "1:31: upstreams.b.endpoints[0]: a port is a number from 1 to 65535",
            "1:45: upstreams.b.endpoints[1]: a port is a number from 1 to 65535",
            "1:59: upstreams.b.endpoints[2]: an IPv6 address stands in brackets, as in `[::1]`",
            "1:73: upstreams.b.endpoints[3]: not an IPv6 address",
            "1:89: upstreams.b.endpoints[4]: neither a host name nor an IPv4 address",
            "1:105: upstreams.b.endpoints[5]: not a valid host name",
            "1:119: upstreams.b.endpoints[6]: not a valid host name",
            "1:143: upstreams.b.endpoints[8]: the same as upstreams.b.endpoints[7]",
            "1:158: upstreams.b.endpoints[9]: a host is ASCII; write other letters as punycode (`xn--…`)",
            "1:170: upstreams.b.endpoints[10]: a host is written without a dot at its end",
        ],
    ),
    (
        "upstreams: { b: { endpoints: [http://a], balance: least_requests, tls: {}, retries: 1, health_check: {} } }",
        &[
            "1:51: upstreams.b.balance: `least_requests` is not supported yet",
            "1:67: upstreams.b.tls: not supported yet",
            "1:76: upstreams.b.retries: not supported yet",
            "1:88: upstreams.b.health_check: not supported yet",
        ],
    ),
    (
        r#"upstreams: { b: { endpoints: [http://a], balance: round-robin, host_header: "a/b", connect_timeout: 0ms, pool: { max_idle: -1, max_lifetime: 5, size: 3 } } }"#,
        &[
            "1:51: upstreams.b.balance: unknown value `round-robin`; did you mean `round_robin`?",
            "1:77: upstreams.b.host_header: expected `preserve`, `endpoint` or a host: not a valid host name",
            "1:101: upstreams.b.connect_timeout: must be longer than 0",
            "1:124: upstreams.b.pool.max_idle: expected a whole number from 0 to 10000",
            "1:142: upstreams.b.pool.max_lifetime: a duration needs a unit (ms, s, m, h, d), such as `30s`",
            "1:145: upstreams.b.pool.size: unknown field `size`; known: max_idle, idle_timeout, max_lifetime",
        ],
    ),
    (
        r#"upstreams: { b: { endpoints: [http://a], balance: fastest, host_header: "a:b" } }"#,
        &[
            "1:51: upstreams.b.balance: unknown value `fastest`; known: round_robin",
            "1:73: upstreams.b.host_header: expected `preserve`, `endpoint` or a host: a port is a number from 1 to 65535",
        ],
    ),
];

const ROUTE_CASES: &[Case] = &[
    (
        "routes: [{}]",
        &[
            "1:10: routes[0].match: required",
            "1:10: routes[0].name: required",
            "1:10: routes[0].upstream: required",
        ],
    ),
    (
        "routes: [{name: a, match: {}, upstream: serivce}]",
        &["1:41: routes[0].upstream: unknown upstream `serivce`; did you mean `service`?"],
    ),
    (
        "routes: [{name: A b, match: x, upstream: 5}]",
        &[
            "1:17: routes[0].name: must be 1 to 63 of a-z 0-9 . _ - and begin with a letter or digit",
            "1:29: routes[0].match: expected a mapping",
            "1:42: routes[0].upstream: expected text; put it in quotes",
        ],
    ),
    (
        "routes: [{name: a, match: {path: /a}, upstream: service}, {name: a, match: {path: /b}, upstream: service}]",
        &["1:66: routes[1].name: the same name as routes[0].name"],
    ),
    (
        "routes: [{name: a, match: {path: /a, exact_path: /b}, upstream: service, limits: {}, provider: openai}]",
        &[
            "1:50: routes[0].match.exact_path: `path` and `exact_path` exclude each other",
            "1:82: routes[0].limits.rate: required",
            "1:86: routes[0].provider: not supported yet",
        ],
    ),
    (
        r#"routes: [{name: a, match: {host: "a:80", path: a, methods: [get, FOO, TRACE, CONNECT, GET, GET, GTE]}, upstream: service}]"#,
        &[
            "1:34: routes[0].match.host: a host to match has no port",
            "1:48: routes[0].match.path: a path must begin with `/`",
            "1:61: routes[0].match.methods[0]: methods are upper case: `GET`",
            "1:66: routes[0].match.methods[1]: unknown method `FOO`; known: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS",
            "1:71: routes[0].match.methods[2]: keygate never forwards TRACE",
            "1:78: routes[0].match.methods[3]: keygate never forwards CONNECT",
            "1:92: routes[0].match.methods[5]: the same as routes[0].match.methods[4]",
            "1:97: routes[0].match.methods[6]: unknown method `GTE`; did you mean `GET`?",
        ],
    ),
    (
        r#"routes: [{name: a, match: {host: "*", path: /a/../b, methods: []}, upstream: service}]"#,
        &[
            "1:34: routes[0].match.host: for every host leave `host` out",
            "1:45: routes[0].match.path: a path must not contain the segments `.` and `..`",
            "1:63: routes[0].match.methods: an empty list allows no method; leave `methods` out for all",
        ],
    ),
    (
        r#"routes: [{name: a, match: {host: "a.*", path: /a//b, methods: GET}, upstream: service}]"#,
        &[
            "1:34: routes[0].match.host: `*` may only stand in front, as in `*.example.com`",
            "1:47: routes[0].match.path: a path must not contain `//`",
            "1:63: routes[0].match.methods: expected a list of methods, such as [GET, POST]",
        ],
    ),
    (
        r#"routes: [{name: a, match: {host: "*.1.2.3.4", path: /a%2fb}, upstream: service}]"#,
        &[
            "1:34: routes[0].match.host: nothing is below an IP address",
            "1:53: routes[0].match.path: a path must not contain `%`: write it decoded",
        ],
    ),
    (
        r#"routes: [{name: a, match: {host: "", path: "/a;b"}, upstream: service}]"#,
        &[
            "1:34: routes[0].match.host: not a valid host name",
            "1:44: routes[0].match.path: a path is printable ASCII without space ? # ; and backslash",
        ],
    ),
    (
        "routes: [{name: a, match: {path: /a, methods: [GET, PUT]}, upstream: service}, {name: b, match: {path: /a/, methods: [PUT]}, upstream: service}, {name: c, match: {path: /a, methods: [POST]}, upstream: service}]",
        &["1:97: routes[1].match: takes the same requests as routes[0].match"],
    ),
    (
        "routes: [{name: a, match: {path: /a/b}, upstream: service, strip_prefix: /}, {name: b, match: {path: /bc}, upstream: service, strip_prefix: /b}, {name: c, match: {exact_path: /c/d}, upstream: service, strip_prefix: c}]",
        &[
            "1:74: routes[0].strip_prefix: `/` cuts nothing off: leave `strip_prefix` out",
            "1:141: routes[1].strip_prefix: must be the route's path or whole segments from its beginning",
            "1:216: routes[2].strip_prefix: a path must begin with `/`",
        ],
    ),
    (
        "routes: [{name: a, match: {}, upstream: service, max_body: 10, timeout: 30, forward_metadata: 1}]",
        &[
            "1:60: routes[0].max_body: a size needs a unit (B, KiB, MiB, GiB, kB, MB, GB), such as `1MiB` (or `off` for no limit)",
            "1:73: routes[0].timeout: a duration needs a unit (ms, s, m, h, d), such as `30s` (or `off` for no limit)",
            "1:95: routes[0].forward_metadata: expected `true` or `false`",
        ],
    ),
    (
        r#"routes: [{name: a, match: {}, upstream: service, auth: {locations: [cookie, {header: Authorization}, {header: host}, {header: "a b"}, {query: "a b"}, {websocket_protocol: nope}, {header: a, query: b}, {}, bearer, bearer, {header: X-Keygate-Scopes}]}}]"#,
        &[
            "1:69: routes[0].auth.locations[0]: expected `bearer`, `{header: name}`, `{query: name}` or `{websocket_protocol: true}`",
            "1:86: routes[0].auth.locations[1].header: for the Authorization header write `bearer`",
            "1:111: routes[0].auth.locations[2].header: this header has another meaning and cannot hold a key",
            "1:127: routes[0].auth.locations[3].header: expected the name of a header, such as `X-API-Key`",
            "1:143: routes[0].auth.locations[4].query: must be 1 to 64 characters of A-Z a-z 0-9 _ . -",
            "1:172: routes[0].auth.locations[5].websocket_protocol: expected `true`, or a prefix of its own that ends in a dot, such as `my-app.api-key.`",
            "1:179: routes[0].auth.locations[6]: expected `bearer`, `{header: name}`, `{query: name}` or `{websocket_protocol: true}`",
            "1:202: routes[0].auth.locations[7]: expected `bearer`, `{header: name}`, `{query: name}` or `{websocket_protocol: true}`",
            "1:214: routes[0].auth.locations[9]: the same as routes[0].auth.locations[8]",
            "1:231: routes[0].auth.locations[10].header: this header has another meaning and cannot hold a key",
        ],
    ),
    (
        "routes: [{name: a, match: {}, upstream: service, auth: {locations: [], preflight: x, required: x}}]",
        &[
            "1:68: routes[0].auth.locations: at least one location is needed where a key is required",
            "1:83: routes[0].auth.preflight: expected `true` or `false`",
            "1:96: routes[0].auth.required: expected `true` or `false`",
        ],
    ),
    (
        r#"routes: [{name: a, match: {}, upstream: service, auth: {scopes: [a, a, "b c", 5]}}]"#,
        &[
            "1:69: routes[0].auth.scopes[1]: the same as routes[0].auth.scopes[0]",
            "1:72: routes[0].auth.scopes[2]: a scope is 1 to 128 characters of A-Z a-z 0-9 : . _ / -",
            "1:79: routes[0].auth.scopes[3]: expected text; put it in quotes",
        ],
    ),
    (
        r#"routes: [{name: a, match: {}, upstream: service, auth: {scopes: {get: a, GET: null, "*": [b], FOO: x}}}]"#,
        &[
            "1:66: routes[0].auth.scopes.get: methods are upper case: `GET`",
            "1:79: routes[0].auth.scopes.GET: expected text",
            "1:95: routes[0].auth.scopes.FOO: unknown method `FOO`; known: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS",
        ],
    ),
    (
        "routes: [{name: a, match: {}, upstream: service, auth: {scopes: {}}}]",
        &["1:65: routes[0].auth.scopes: names no method; leave `scopes` out if none is needed"],
    ),
];

const CONSUMER_CASES: &[Case] = &[(
    r#"consumers: [{}, {name: ""}, {name: a}, {name: a}, {name: 5}, {name: b, external_id: x, metadata: {}}, {name: "a\nb"}]"#,
    &[
        "1:13: consumers[0].name: required",
        "1:24: consumers[1].name: must be 1 to 128 characters, none of them a control character, no space at either end",
        "1:47: consumers[3].name: the same name as consumers[2].name",
        "1:58: consumers[4].name: expected text; put it in quotes",
        "1:72: consumers[5].external_id: not supported yet",
        "1:88: consumers[5].metadata: not supported yet",
        "1:110: consumers[6].name: must be 1 to 128 characters, none of them a control character, no space at either end",
    ],
)];

const KEY_CASES: &[Case] = &[
    (
        "keys: [{limits: 5}, {limits: {rate: 5, burst: 0}}, {limits: {rate: 1/d, burst: 400, per: s}}]",
        &[
            "1:8: keys[0]: one of `hash` and `secret` is required",
            "1:8: keys[0].name: required",
            "1:17: keys[0].limits: expected a mapping",
            "1:21: keys[1]: one of `hash` and `secret` is required",
            "1:21: keys[1].name: required",
            "1:37: keys[1].limits.rate: expected a rate such as `100/s`",
            "1:47: keys[1].limits.burst: expected a whole number from 1 to 1000000",
            "1:52: keys[2]: one of `hash` and `secret` is required",
            "1:52: keys[2].name: required",
            "1:80: keys[2].limits.burst: at this rate, such a burst takes longer than a year to come back",
            "1:85: keys[2].limits.per: unknown field `per`; known: rate, burst",
        ],
    ),
    (
        "keys: [{}]",
        &[
            "1:8: keys[0]: one of `hash` and `secret` is required",
            "1:8: keys[0].name: required",
        ],
    ),
    (
        "keys: [x, {name: a, hash: x, rate_limits: [], quota: {}, secrets: x}]",
        &[
            "1:8: keys[0]: expected a mapping",
            "1:27: keys[1].hash: expected `blake3:` and 64 hex digits (`keygate hash` makes one from a key)",
            "1:30: keys[1].rate_limits: not supported yet",
            "1:47: keys[1].quota: not supported yet",
            "1:58: keys[1].secrets: unknown field `secrets`; did you mean `secret`?",
        ],
    ),
    (
        r#"keys: [{name: a, hash: "sha256:00"}, {name: b, hash: "blake3:00"}, {name: c, hash: [1]}, {name: d, hash: {a: b}}]"#,
        &[
            "1:24: keys[0].hash: a declared key needs a blake3 hash; sha256 hashes are for `keygate keys import`",
            "1:54: keys[1].hash: expected 64 hex digits after `blake3:`",
            "1:84: keys[2].hash: expected `blake3:` and 64 hex digits (`keygate hash` makes one from a key)",
            "1:106: keys[3].hash: expected `blake3:` and 64 hex digits (`keygate hash` makes one from a key)",
        ],
    ),
    (
        r#"keys: [{name: a, hash: "$HASH", secret: file:x}, {name: b, secret: hunter2}, {name: c, secret: env:KEYGATE_TEST_UNSET}]"#,
        &[
            "1:107: keys[0].secret: `hash` and `secret` exclude each other",
            "1:134: keys[1].secret: a secret is given as `file:path` or `env:NAME`, never in this file",
            "1:162: keys[2].secret: environment variable `KEYGATE_TEST_UNSET` is not set",
        ],
    ),
    (
        r#"keys: [{name: a, hash: "$HASH"}, {name: b, hash: "$HASH"}]"#,
        &["1:116: keys[1].hash: the same key as keys[0].hash"],
    ),
    (
        r#"keys: [{name: a, hash: "$HASH", id: x}, {name: b, hash: "$OTHER", id: con_00000000000000000000000001}]"#,
        &[
            "1:103: keys[0].id: expected `key_` and 26 characters, as keygate shows it",
            "1:202: keys[1].id: expected `key_` and 26 characters, as keygate shows it",
        ],
    ),
    (
        r#"keys: [{name: a, hash: "$HASH", id: key_00000000000000000000000001}, {name: b, hash: "$OTHER", id: key_00000000000000000000000001}]"#,
        &["1:231: keys[1].id: the same id as keys[0].id"],
    ),
    (
        r#"keys: [{name: a, hash: "$HASH", consumer: acm, environment: lvie, routes: [servce, service, service]}]"#,
        &[
            "1:109: keys[0].consumer: unknown consumer `acm`; did you mean `acme`?",
            "1:127: keys[0].environment: unknown environment `lvie`; did you mean `live`?",
            "1:142: keys[0].routes[0]: unknown route `servce`; did you mean `service`?",
            "1:159: keys[0].routes[2]: the same as keys[0].routes[1]",
        ],
    ),
    (
        r#"keys: [{name: a, hash: "$HASH", scopes: [a, "", a], methods: [TRACE], locations: [header, cookie, header], tags: [1], description: {}}]"#,
        &[
            "1:111: keys[0].scopes[1]: a scope is 1 to 128 characters of A-Z a-z 0-9 : . _ / -",
            "1:115: keys[0].scopes[2]: the same as keys[0].scopes[0]",
            "1:129: keys[0].methods[0]: keygate never forwards TRACE",
            "1:157: keys[0].locations[1]: unknown location `cookie`; known: header, bearer, query, websocket_protocol",
            "1:165: keys[0].locations[2]: the same as keys[0].locations[0]",
            "1:181: keys[0].tags[0]: expected text; put it in quotes",
            "1:198: keys[0].description: expected text",
        ],
    ),
    (
        r#"keys: [{name: a, hash: "$HASH", locations: [], methods: [], ip_allow: [10.0.0.1/8, x, "::ffff:0:0/90", 10.0.0.0/8]}]"#,
        &[
            "1:110: keys[0].locations: an empty list allows no location; leave `locations` out for all",
            "1:123: keys[0].methods: an empty list allows no method; leave `methods` out for all",
            "1:138: keys[0].ip_allow[0]: has bits behind its prefix; write `10.0.0.0/8` or a single address",
            "1:150: keys[0].ip_allow[1]: expected an address or a network, such as `10.0.0.0/8`",
            "1:153: keys[0].ip_allow[2]: has bits behind its prefix; write `::ffc0:0:0/90` or a single address",
        ],
    ),
    (
        r#"keys: [{name: a, hash: "$HASH", not_before: 2027-01-02, expires_at: 2027-01-02, state: activ, metadata: {a: null, b: [x], "": c, d: "x\ny"}}]"#,
        &[
            "1:135: keys[0].expires_at: must be later than `not_before`",
            "1:154: keys[0].state: unknown state `activ`; did you mean `active`?",
            "1:175: keys[0].metadata.a: expected text, a number, `true` or `false`",
            "1:184: keys[0].metadata.b: expected text, a number, `true` or `false`",
            "1:189: keys[0].metadata.: must be 1 to 128 characters, none of them a control character, no space at either end",
            "1:199: keys[0].metadata.d: must not contain control characters",
        ],
    ),
    (
        r#"keys: [{name: a, hash: "$HASH", not_before: tomorrow, expires_at: 2027, state: gone, metadata: x}]"#,
        &[
            "1:111: keys[0].not_before: expected a date (`2027-01-01`) or a time with zone (`2027-01-01T08:00:00Z`)",
            "1:133: keys[0].expires_at: expected a date (`2027-01-01`) or a time with zone (`2027-01-01T08:00:00Z`)",
            "1:146: keys[0].state: unknown state `gone`; known: active, disabled, revoked",
            "1:162: keys[0].metadata: expected a mapping",
        ],
    ),
];

const YAML_CASES: &[Case] = &[
    (
        "a: [",
        &["2:1: not YAML: while parsing a node, did not find expected node content"],
    ),
    (
        "a: *b",
        &["1:4: not YAML: while parsing node, found unknown anchor"],
    ),
    (
        "a: &x 1\nb: *x",
        &["2:4: aliases are not supported; write the value out"],
    ),
    ("a: !tag 1", &["1:4: tags (`!…`) are not supported"]),
    ("[a]: 1", &["1:1: a field's name must be plain text"]),
    (
        "a: 1\n---\nb: 1",
        &["2:1: a config file is one document, here a second one begins"],
    ),
    (
        "a: \"\\q\"",
        &["1:4: not YAML: while parsing a quoted scalar, found unknown escape character"],
    ),
    (
        "a: 1\n  b: 2",
        &["2:4: not YAML: mapping values are not allowed in this context"],
    ),
    (
        "log: { level: info, level: debug }",
        &[
            "1:1: listeners: required",
            "1:21: log.level: stands twice, first in line 1",
        ],
    ),
];
