//! Where a key may stand, and that nothing of it goes upstream.

use crate::harness::{Answer, Gateway, GatewayBuilder, KEY, Upstream, hash_of};

/// Another key that is declared in [`start`].
const OTHER: &str = "other-key";
/// Declared and disabled.
const OFF: &str = "disabled-key";
/// May stand in a header only.
const HEADER_ONLY: &str = "header-only-key";
/// Declared without scopes.
const SCOPELESS: &str = "scopeless-key";
/// As a query value it needs no escapes, as a percent-encoded one it has some.
const ODD: &str = "odd+key/with=signs";

/// What a caller may claim to be.
const CLAIMS: [&str; 12] = [
    "X-Consumer-ID: evil",
    "x_consumer_id: evil",
    "X-Consumer_Username: evil",
    "X-Consumer-Username: evil",
    "X-Credential-Identifier: evil",
    "X_Credential_Identifier: evil",
    "X-Keygate-Workspace: evil",
    "X-Keygate-Scopes: evil",
    "X_KEYGATE_SCOPES: evil",
    "X-Keygate-Metadata: evil",
    "X-Consumer-Groups: evil",
    "X-Anonymous-Consumer: evil",
];

fn start(upstream: &Upstream) -> Gateway {
    let address = upstream.address;
    let key = |name: &str, fields: &str| {
        let hash = hash_of(name);
        format!("  - {{ name: {name}, hash: \"{hash}\", {fields} }}\n")
    };
    let rest = format!(
        r#"
upstreams:
  app: {{ endpoints: ["http://{address}"] }}
routes:
  - name: all
    match: {{ path: / }}
    upstream: app
    auth: {{ locations: [{{header: X-API-Key}}, bearer, {{query: api_key}}] }}
  - name: default
    match: {{ path: /default }}
    upstream: app
  - name: own
    match: {{ path: /own }}
    upstream: app
    auth: {{ locations: [{{query: token}}, {{header: X-Own_Key}}, {{header: X-Second}}] }}
  - name: header
    match: {{ path: /header }}
    upstream: app
    auth: {{ locations: [{{header: X-API-Key}}] }}
  - name: open
    match: {{ path: /open }}
    upstream: app
    auth: {{ required: false, locations: [{{header: X-API-Key}}, bearer, {{query: api_key}}] }}
  - name: preflight
    match: {{ path: /preflight }}
    upstream: app
    auth: {{ preflight: true, locations: [{{header: X-API-Key}}, bearer, {{query: api_key}}] }}
keys:
  - {{ name: ci, hash: "{}", scopes: [any] }}
{}{}{}{}{}"#,
        hash_of(KEY),
        key(OTHER, "scopes: [any]"),
        key(OFF, "scopes: [any], state: disabled"),
        key(HEADER_ONLY, "scopes: [any], locations: [header]"),
        key(SCOPELESS, ""),
        key(ODD, "scopes: [any]"),
    );
    GatewayBuilder::with_rest(&rest).start()
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code));
}

#[test]
fn each_location_is_looked_at() {
    let upstream = Upstream::ok();
    let gateway = start(&upstream);
    let bearer = |form: &str| format!("authorization: {}", form.replace("KEY", KEY));
    let cases = [
        ("/", format!("x-api-key: {KEY}")),
        ("/", format!("X-API-KEY:   {KEY}  ")),
        ("/", bearer("Bearer KEY")),
        ("/", bearer("bearer KEY")),
        ("/", bearer("BEARER KEY")),
        ("/", bearer("bEaReR    KEY  ")),
        ("/?api_key=KEY", String::from("x: y")),
        ("/?a=1&api_key=KEY&b=2", String::from("x: y")),
        ("/?api%5Fkey=KEY", String::from("x: y")),
        ("/?api%5fkey=KEY", String::from("x: y")),
        ("/?%61%70%69_key=KEY", String::from("x: y")),
        ("/?api_key=kg%5Flive_KEYTAIL", String::from("x: y")),
        ("/default", format!("x-api-key: {KEY}")),
        ("/default", bearer("Bearer KEY")),
        ("/own", format!("x-own_key: {KEY}")),
        ("/own", format!("x-second: {KEY}")),
        ("/own?token=KEY", String::from("x: y")),
    ];
    for (target, header) in cases {
        let tail = KEY.strip_prefix("kg_live_").unwrap();
        let target = target.replace("KEYTAIL", tail).replace("KEY", KEY);
        let answer = gateway.request(&format!("GET {target}"), &[&header]);
        assert_eq!(answer.status, 200, "{target} {header}");
        let received = upstream.last().whole();
        assert!(!received.contains(tail), "{received}");
    }
}

#[test]
fn escapes_in_a_value_are_read_and_a_plus_is_a_plus() {
    let upstream = Upstream::ok();
    let gateway = start(&upstream);
    for target in [
        "/?api_key=odd+key/with=signs",
        "/?api_key=odd%2Bkey%2fwith%3dsigns",
        "/?api_key=%6Fdd+key/with%3Dsigns",
    ] {
        assert_eq!(gateway.request(&format!("GET {target}"), &[]).status, 200);
    }
    let spaced = gateway.request("GET /?api_key=odd%20key/with=signs", &[]);
    refused(&spaced, 401, "invalid_api_key");
}

#[test]
fn what_is_no_location_is_not_looked_at() {
    let upstream = Upstream::ok();
    let gateway = start(&upstream);
    let key = format!("x-api-key: {KEY}");
    let bearer = format!("authorization: Bearer {KEY}");
    let query = format!("?api_key={KEY}");
    for (target, headers) in [
        (format!("/default{query}"), vec![]),
        (format!("/header{query}"), vec![]),
        (String::from("/header"), vec![bearer.clone()]),
        (format!("/own{query}"), vec![key.clone(), bearer.clone()]),
        (
            format!("/?API_KEY={KEY}&api-key={KEY}&xapi_key={KEY}"),
            vec![],
        ),
        (format!("/?a;api_key={KEY}"), vec![]),
        (String::from("/"), vec![format!("authorization: {KEY}")]),
        (
            String::from("/"),
            vec![format!("authorization: Basic {KEY}")],
        ),
        (
            String::from("/"),
            vec![format!("authorization: Bearer\t{KEY}")],
        ),
        (
            String::from("/"),
            vec![format!("authorization: Bearer:{KEY}")],
        ),
        (
            String::from("/"),
            vec![format!("authorization: Bearerx {KEY}")],
        ),
        (
            String::from("/"),
            vec![format!("proxy-authorization: Bearer {KEY}")],
        ),
        (String::from("/"), vec![format!("cookie: api_key={KEY}")]),
    ] {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let answer = gateway.request(&format!("GET {target}"), &headers);
        refused(&answer, 401, "missing_api_key");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn the_order_of_locations_is_the_routes() {
    let upstream = Upstream::ok();
    let gateway = start(&upstream);
    let count = |route: &str, location: &str| {
        gateway.metric(
            "keygate_auth_decisions_total",
            &[
                ("route", route),
                ("location", location),
                ("result", "allowed"),
            ],
        )
    };
    let before = count("all", "header") + count("own", "query");
    let (key, own) = (format!("x-api-key: {KEY}"), format!("x-own_key: {KEY}"));
    let bearer = format!("authorization: Bearer {KEY}");
    let all = gateway.request(&format!("GET /?api_key={KEY}"), &[&bearer, &key]);
    let own = gateway.request(&format!("GET /own?token={KEY}"), &[&own]);
    assert_eq!(
        (all.status, own.status),
        (200, 200),
        "the same key twice is no conflict"
    );
    let counted = count("all", "header") + count("own", "query") - before;
    assert!((counted - 2.0).abs() < 0.1, "{counted}");
    for received in upstream.received() {
        assert!(!received.whole().contains(KEY), "{received:?}");
    }
}

#[test]
fn different_keys_and_repeated_locations_are_ambiguous() {
    let upstream = Upstream::ok();
    let gateway = start(&upstream);
    let key = &*format!("x-api-key: {KEY}");
    let bearer = &*format!("authorization: Bearer {KEY}");
    let (other, other_bearer) = ("x-api-key: other-key", "authorization: bearer other-key");
    let (query, other_query) = (&*format!("?api_key={KEY}"), "?api_key=other-key");
    let cases: [(&str, &[&str]); 17] = [
        ("", &[key, other_bearer]),
        ("", &[bearer, other]),
        (other_query, &[key]),
        (query, &[other]),
        (query, &[other_bearer]),
        (query, &[key, other_bearer]),
        ("", &[key, "authorization: Bearer not-a-key"]),
        ("", &[key, key]),
        ("", &[key, other]),
        ("", &[key, "x-api-key:"]),
        ("", &["x-api-key:", "x-api-key:"]),
        ("", &[bearer, bearer]),
        ("", &[bearer, "authorization: Basic dTpw"]),
        ("", &["authorization: Basic dTpw", bearer, key]),
        ("?api_key=a&api_key=a", &[]),
        ("?api_key=a&b=1&api%5Fkey=a", &[]),
        ("?api_key&api_key=a", &[]),
    ];
    for path in ["/", "/open", "/preflight"] {
        for (query, headers) in &cases {
            let answer = gateway.request(&format!("GET {path}{query}"), headers);
            assert_eq!(answer.status, 400, "{path}{query} {headers:?}");
            refused(&answer, 400, "ambiguous_credentials");
        }
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn an_empty_place_is_an_absent_key() {
    let upstream = Upstream::ok();
    let gateway = start(&upstream);
    for (query, header) in [
        ("", "x-api-key:"),
        ("", "x-api-key:   "),
        ("", "authorization: Bearer"),
        ("", "authorization: Bearer   "),
        ("?api_key=", "x: y"),
        ("?api_key", "x: y"),
    ] {
        let answer = gateway.request(&format!("GET /{query}"), &[header]);
        refused(&answer, 401, "missing_api_key");
        let filled = format!("authorization: Bearer {KEY}");
        let headers = if header.starts_with("authorization") {
            vec![header.to_owned(), String::from("x: y")]
        } else {
            vec![header.to_owned(), filled]
        };
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let key = if header.starts_with("authorization") {
            format!("?api_key={KEY}")
        } else {
            query.to_owned()
        };
        let answer = gateway.request(&format!("GET /{key}"), &headers);
        assert_eq!(answer.status, 200, "{query} {header}");
        assert_eq!(upstream.last().target(), "/");
        assert_eq!(upstream.last().header("authorization"), None);
    }
}

#[test]
fn authorization_that_is_not_ours_passes_untouched() {
    let upstream = Upstream::ok();
    let gateway = start(&upstream);
    let key = format!("x-api-key: {KEY}");
    let passes = |path: &str, value: &str| {
        let line = format!("authorization: {value}");
        let answer = gateway.request(&format!("GET {path}"), &[&key, &line]);
        assert_eq!(answer.status, 200, "{path} {value}");
        assert_eq!(upstream.last().header("authorization"), Some(value));
        assert_eq!(upstream.last().header("x-api-key"), None);
    };
    for value in [
        "Basic dTpw",
        "Digest username=\"a\"",
        "Bearerish x",
        "AWS4-HMAC-SHA256 a=b",
    ] {
        passes("/", value);
        passes("/header", value);
    }
    passes("/header", "Bearer the services own");
    passes("/header", "bearer   x");
}

#[test]
fn the_rest_of_the_query_stays_as_it_is() {
    let upstream = Upstream::ok();
    let gateway = start(&upstream);
    for (sent, forwarded) in [
        ("/?api_key=KEY", "/"),
        ("/x?api_key=KEY", "/x"),
        ("/?api_key=KEY&", "/"),
        ("/?&api_key=KEY", "/"),
        ("/?a=1&api_key=KEY", "/?a=1"),
        ("/?api_key=KEY&a=1", "/?a=1"),
        ("/?a=1&api_key=KEY&b=2", "/?a=1&b=2"),
        ("/?b=2&a=1&api%5Fkey=KEY&a=1", "/?b=2&a=1&a=1"),
        (
            "/?q=a+b%20c%2Bd&e=%C3%A9&x[]=1&api_key=KEY&y=%zz&z=100%&=&==",
            "/?q=a+b%20c%2Bd&e=%C3%A9&x[]=1&y=%zz&z=100%&=&==",
        ),
        ("/?a&&b&api_key=KEY&;c", "/?a&&b&;c"),
        (
            "/?apikey=1&api_key=KEY&api_key2=2&my_api_key=3",
            "/?apikey=1&api_key2=2&my_api_key=3",
        ),
        (
            "/?a=?/&api_key=KEY&u=http://x/?y=z",
            "/?a=?/&u=http://x/?y=z",
        ),
    ] {
        let target = sent.replace("KEY", KEY);
        let answer = gateway.request(&format!("GET {target}"), &[]);
        assert_eq!(answer.status, 200, "{sent}");
        assert_eq!(upstream.last().target(), forwarded, "{sent}");
    }
    for target in ["/?", "/x?", "/?a=%zz&&b", "/?a+b", "/?%61pikey=1", "/?é=ü"] {
        assert_eq!(gateway.get(target).status, 200, "{target}");
        assert_eq!(upstream.last().target(), target);
    }
}

#[test]
fn every_location_is_cut_out_on_every_path() {
    let upstream = Upstream::ok();
    let gateway = start(&upstream);
    let key = format!("x-api-key: {KEY}");
    let bearer = format!("authorization: Bearer {KEY}");
    let preflight = ["origin: https://a", "access-control-request-method: PUT"];
    let clean = |what: &str| {
        let received = upstream.last();
        assert!(
            !received.whole().contains("kg_live"),
            "{what}: {received:?}"
        );
        for name in ["x-api-key", "authorization"] {
            assert_eq!(received.header(name), None, "{what}");
        }
        assert!(!received.target().contains("api_key"), "{what}");
        upstream.received().len()
    };
    let target = format!("/x?api_key={KEY}&rest=1");
    let sent = [
        gateway.request(&format!("GET {target}"), &[&key, &bearer]),
        gateway.request(&format!("GET /open{target}"), &[&key, &bearer]),
        gateway.request(
            &format!("OPTIONS /preflight{target}"),
            &[&key, &bearer, preflight[0], preflight[1]],
        ),
    ];
    for (place, answer) in sent.iter().enumerate() {
        assert_eq!(answer.status, 200, "{place}");
    }
    assert_eq!(clean("all three"), 3);
    for received in upstream.received() {
        assert!(received.target().ends_with("/x?rest=1"), "{received:?}");
        assert!(!received.whole().contains(KEY), "{received:?}");
    }
    // Empty places hold no key, but they are places.
    let empty = ["x-api-key:", "authorization: Bearer"];
    assert_eq!(gateway.request("GET /open/y?api_key=", &empty).status, 200);
    clean("open");
    let empty = [&empty[..], &preflight].concat();
    let answer = gateway.request("OPTIONS /preflight/y?api_key", &empty);
    assert_eq!(answer.status, 200);
    clean("preflight");
    // Places of other routes are none here.
    let answer = gateway.request(
        "GET /own?api_key=mine",
        &[&format!("x-own_key: {KEY}"), "x-api-key: mine"],
    );
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last().header("x-api-key"), Some("mine"));
    assert_eq!(upstream.last().target(), "/own?api_key=mine");
    for name in ["x-own_key", "x-second"] {
        assert_eq!(upstream.last().header(name), None);
    }
}

#[test]
fn claims_of_identity_are_cleared_where_nobody_is_known() {
    let upstream = Upstream::ok();
    let gateway = start(&upstream);
    let open = gateway.request("GET /open", &CLAIMS);
    let mut headers = CLAIMS.to_vec();
    headers.extend(["origin: https://a", "access-control-request-method: PUT"]);
    let preflight = gateway.request("OPTIONS /preflight", &headers);
    assert_eq!((open.status, preflight.status), (200, 200));
    for received in upstream.received() {
        assert!(!received.whole().contains("evil"), "{received:?}");
        for (name, _) in &received.headers {
            let name = name.to_ascii_lowercase().replace('_', "-");
            assert!(!name.starts_with("x-consumer"), "{name}");
            assert!(!name.starts_with("x-keygate"), "{name}");
        }
    }
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn only_a_true_preflight_passes_without_a_key() {
    let upstream = Upstream::ok();
    let gateway = start(&upstream);
    let origin = "origin: https://a";
    let asks = "access-control-request-method: PUT";
    let sent: [(&str, &[&str], u16); 8] = [
        ("OPTIONS /preflight", &[origin, asks], 200),
        ("OPTIONS /preflight", &[], 401),
        ("OPTIONS /preflight", &[origin], 401),
        ("OPTIONS /preflight", &[asks], 401),
        ("GET /preflight", &[origin, asks], 401),
        ("POST /preflight", &[origin, asks], 401),
        ("OPTIONS /", &[origin, asks], 401),
        ("OPTIONS /default", &[origin, asks], 401),
    ];
    for (line, headers, status) in sent {
        assert_eq!(
            gateway.request(line, headers).status,
            status,
            "{line} {headers:?}"
        );
    }
    // A bad key is a bad key, whoever asks.
    let bad = gateway.request("OPTIONS /preflight", &[origin, asks, "x-api-key: nobody"]);
    refused(&bad, 401, "invalid_api_key");
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn an_open_route_knows_who_calls_if_told_and_believes_no_bad_key() {
    let upstream = Upstream::ok();
    let gateway = start(&upstream);
    assert_eq!(gateway.request("GET /open", &[]).status, 200);
    assert_eq!(upstream.last().header("x-consumer-id"), None);
    assert_eq!(gateway.get("/open").status, 200);
    assert_eq!(upstream.last().header("x-consumer-username"), Some("ci"));
    let before = upstream.received().len();
    let typo = format!("{}y", &KEY[..KEY.len() - 1]);
    for (key, status, code) in [
        ("nobody", 401, "invalid_api_key"),
        (&*typo, 401, "invalid_api_key"),
        (OFF, 401, "api_key_disabled"),
        (SCOPELESS, 403, "insufficient_scope"),
    ] {
        for header in [
            format!("x-api-key: {key}"),
            format!("authorization: Bearer {key}"),
        ] {
            refused(&gateway.request("GET /open", &[&header]), status, code);
        }
        let answer = gateway.request(&format!("GET /open?api_key={key}"), &[]);
        refused(&answer, status, code);
    }
    assert_eq!(upstream.received().len(), before);
}

#[test]
fn a_key_may_be_bound_to_a_kind_of_place() {
    let upstream = Upstream::ok();
    let gateway = start(&upstream);
    let header = format!("x-api-key: {HEADER_ONLY}");
    assert_eq!(gateway.request("GET /", &[&header]).status, 200);
    let bearer = format!("authorization: Bearer {HEADER_ONLY}");
    refused(
        &gateway.request("GET /", &[&bearer]),
        401,
        "invalid_api_key",
    );
    let query = gateway.request(&format!("GET /?api_key={HEADER_ONLY}"), &[]);
    refused(&query, 401, "invalid_api_key");
    assert_eq!(upstream.received().len(), 1);
}
