//! Which route takes a request, by path, host and method; and that no spelling gets past a route's policy.

use crate::harness::{Answer, Gateway, GatewayBuilder, KEY, Upstream, hash_of};

/// Routes by name, path and more of `match`; each has an upstream of its own at the same address, so that the `Host`
/// that arrives there is the name of the route. A route named `admin…` demands a key, all others are open.
fn start(upstream: &Upstream, routes: &[(&str, &str)]) -> Gateway {
    let (mut upstreams, mut list) = (String::new(), String::new());
    for (name, fields) in routes {
        let address = upstream.address;
        let entry =
            format!("  {name}: {{ host_header: {name}, endpoints: [\"http://{address}\"] }}\n");
        upstreams.push_str(&entry);
        let required = name.starts_with("admin");
        let entry = format!(
            "  - {{ name: {name}, upstream: {name}, auth: {{ required: {required} }}, {fields} }}\n"
        );
        list.push_str(&entry);
    }
    let key = format!(
        "  - {{ name: ci, hash: \"{}\", scopes: [x] }}\n",
        hash_of(KEY)
    );
    let rest = format!("upstreams:\n{upstreams}routes:\n{list}keys:\n{key}");
    GatewayBuilder::with_rest(&rest).start()
}

/// An open `/public/`, a protected `/admin/`, an open rest.
fn site(upstream: &Upstream) -> Gateway {
    start(
        upstream,
        &[
            ("public", "match: { path: /public/ }"),
            ("admin", "match: { path: /admin/ }"),
            ("rest", "match: { path: / }"),
        ],
    )
}

/// The route that took a target, and the target it was given.
fn taken(gateway: &Gateway, upstream: &Upstream, line: &str, host: &str) -> (String, String) {
    let answer = gateway.raw(format!("{line} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    assert_eq!(answer.status, 200, "{line} {host} {}", answer.text());
    let last = upstream.last();
    let route = last.header("host").unwrap().to_owned();
    (route, last.target().to_owned())
}

/// Spellings that some service reads as something below `/admin`, or that hide where they lead.
const DANGEROUS: &[&str] = &[
    "/public/../admin/x",
    "/public/..",
    "/public/.",
    "/public/./x",
    "/..",
    "/.",
    "/../admin",
    "/public/../../admin",
    "/public/%2e%2e/admin",
    "/public/%2E%2E/admin",
    "/public/.%2e/admin",
    "/public/%2e./admin",
    "/public/%2e",
    "/public/..%2fadmin",
    "/public/..%2Fadmin",
    "/public%2f..%2fadmin",
    "/public%2f%2e%2e%2fadmin",
    "/public/..;/admin",
    "/public/..;a=b/admin",
    "/public/.;/admin",
    "/public/;/../admin",
    "/public/%2e%2e;/admin",
    "/public/..%3b/admin",
    "/public/%2e%2e%3Bx/admin",
    "/public/%252e%252e/admin",
    "/public/%252e%252e%252fadmin",
    "/public/%25252e%25252e/admin",
    "/public/..%252fadmin",
    "/public/..%255cadmin",
    "/public%252f..%252fadmin",
    "/public/x%252fy",
    "/public/%25%32%65%25%32%65/admin",
    "/public/..\\admin",
    "/public\\..\\admin",
    "/public/..%5cadmin",
    "/public%5c..%5cadmin",
    "/public/%5C../admin",
    "\\admin",
    "/\\admin",
    "/%5cadmin",
    "/public/x\\y",
    "/public/%00/../admin",
    "/public/x%00",
    "/public/x%00.html",
    "/admin%00/x",
    "/public/x%0a",
    "/public/x%0d%0aX-Consumer-ID:%20evil",
    "/public/x%0D",
    "/public/%09",
    "/public/%1f",
    "/public/%7f",
    "/public/x\u{1}",
    "/public/x\u{7f}",
    "/public/%c0%ae%c0%ae/admin",
    "/public/%c0%af",
    "/public/..%c0%afadmin",
    "/public/%e0%80%ae%e0%80%ae/admin",
    "/public/%e0%80%af",
    "/public/%f0%80%80%af",
    "/public/%c1%9c",
    "/public/%ff",
    "/public/%c3",
    "/public/%ed%a0%80",
    "/public/%fe%ff",
    "/public/%",
    "/public/%2",
    "/public/%zz",
    "/public/%u002e%u002e/admin",
    "/public/%u2215",
    "//admin/x",
    "///admin",
    "/%2fadmin",
    "/%2Fadmin/x",
    "/%61dmin/x",
    "/admi%6e",
    "/%61%64%6d%69%6e/x",
    "/admin%2fx",
    "/admin%2Fx",
    "/admin;x/y",
    "/admin;",
    "/admin;a=b/x",
    "/admin%3b/x",
    "/;/admin",
    "/;a=b/admin/x",
    "/.;/admin",
    "//;//admin",
    "/;x;y/%2f/admin",
    "/%3b/admin",
    "//public/x",
    "/public;/x",
    "/%70ublic/x",
];

#[test]
fn no_spelling_gets_past_the_policy_of_the_route_it_means() {
    let upstream = Upstream::ok();
    let gateway = site(&upstream);
    let forms = |path: &str| {
        [
            format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"),
            format!("GET {path}?x=1 HTTP/1.1\r\nhost: a\r\n\r\n"),
            format!("GET http://a{path} HTTP/1.1\r\nhost: a\r\n\r\n"),
            format!("GET {path} HTTP/1.0\r\n\r\n"),
            format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"),
        ]
    };
    for path in DANGEROUS {
        for request in forms(path) {
            let answer = gateway.raw_and_closed(&request);
            assert_eq!(answer.status, 400, "{request:?} {}", answer.text());
            assert_eq!(answer.code(), "bad_request");
        }
        assert_eq!(upstream.received().len(), 0, "{path}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let upstream = Upstream::ok();
    let gateway = site(&upstream);
    for bytes in [
        &b"/public/\xff"[..],
        b"/public/\xc0\xae\xc0\xae/admin",
        b"/public/\xed\xa0\x80",
    ] {
        let request = [b"GET ", bytes, b" HTTP/1.1\r\nhost: a\r\n\r\n"].concat();
        assert_eq!(gateway.raw_and_closed(request).code(), "bad_request");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn every_way_to_spell_a_segment_needs_the_key_or_is_refused() {
    let upstream = Upstream::ok();
    let gateway = site(&upstream);
    // Each letter of the name as itself, escaped, escaped twice; with the borders spelled in many ways.
    let borders = [
        "/", "//", "%2f", "%252f", ";/", "/;/", "/./", "/x/../", "\\", "%5c", "/%2e/",
    ];
    let names = [
        "admin",
        "%61dmin",
        "%2561dmin",
        "admi%6E",
        "admin;",
        "admin;a=b",
        "admin%3b",
        "admin%20",
    ];
    let mut tried = 0;
    for front in borders {
        for name in names {
            for back in borders.into_iter().chain([""]) {
                let path = format!("{front}{name}{back}x");
                let target = if path.starts_with(['/', '\\']) {
                    path
                } else {
                    format!("/{path}")
                };
                let answer = gateway.raw(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"));
                let fits = matches!(answer.status, 200 | 400 | 401);
                assert!(fits, "{target} {}", answer.text());
                tried += 1;
            }
        }
    }
    assert!(tried > 900);
    for received in upstream.received() {
        assert_ne!(received.header("host"), Some("admin"), "{received:?}");
        // What did pass does not lead there even when a service decodes, cuts and merges.
        let target = received.target();
        let decoded = target
            .replace("%61", "a")
            .replace("%6E", "n")
            .replace("%2f", "/");
        let segments: Vec<&str> = decoded
            .split('/')
            .map(|segment| segment.split(';').next().unwrap())
            .filter(|segment| !segment.is_empty())
            .collect();
        assert_ne!(segments.first(), Some(&"admin"), "{target}");
        assert!(!segments.contains(&".."), "{target}");
    }
}

#[test]
fn data_is_forwarded_byte_for_byte() {
    let upstream = Upstream::ok();
    let gateway = site(&upstream);
    for target in [
        "/public",
        "/public/",
        "/public/a%2Fb",
        "/public/a%2fb",
        "/public//x",
        "/public/x//",
        "/public/x;v=1",
        "/public/;x",
        "/public/x;",
        "/public/100%25",
        "/public/%25zz",
        "/public/%2541",
        "/public/a%20b",
        "/public/a+b",
        "/public/%C3%A9",
        "/public/é",
        "/public/日本",
        "/public/%3F%23",
        "/public/a.b/..c/...",
        "/public/.well-known/x",
        "/public/~me/@you/!$&'()*,=:",
        "/public/%41bc",
        "/public/[x]|{y}",
        "/public/x?",
        "/public/?",
        "/public/x??",
        "/public/x?../../admin",
        "/public/x?a=%2e%2e%2f&b=\\&c=%00",
        "/public/x?q=/admin;x//y",
        "/public/x?é",
    ] {
        let line = format!("GET {target}");
        let (route, forwarded) = taken(&gateway, &upstream, &line, "a");
        assert_eq!((route.as_str(), forwarded.as_str()), ("public", target));
        let line = format!("GET http://a{target}");
        let (route, forwarded) = taken(&gateway, &upstream, &line, "a");
        assert_eq!((route.as_str(), forwarded.as_str()), ("public", target));
    }
}

#[test]
fn a_fragment_leads_nowhere_else() {
    let upstream = Upstream::ok();
    let gateway = site(&upstream);
    for target in [
        "/public/x#/../../admin",
        "/public/x#?q",
        "/public/x?q#y",
        "/public/x#",
        "/admin#/public",
    ] {
        bad(&gateway.request(&format!("GET {target}"), &[]), target);
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn prefixes_match_at_segment_borders_only() {
    let upstream = Upstream::ok();
    let gateway = start(
        &upstream,
        &[
            ("a", "match: { path: /a }"),
            ("ab", "match: { path: /a/b/ }"),
            ("exact", "match: { exact_path: /a/b/exact }"),
            ("slash", "match: { exact_path: /a/exact/ }"),
            ("rest", "match: { path: / }"),
        ],
    );
    for (path, route) in [
        ("/", "rest"),
        ("/a", "a"),
        ("/a/", "a"),
        ("/a/x", "a"),
        ("/ab", "rest"),
        ("/a.b", "rest"),
        ("/a-b", "rest"),
        ("/A", "rest"),
        ("/x/a", "rest"),
        ("/a?/b", "a"),
        ("/a/b", "ab"),
        ("/a/b/", "ab"),
        ("/a/b/c", "ab"),
        ("/a/bc", "a"),
        ("/a/B/c", "a"),
        ("/a/b/exact", "exact"),
        ("/a/b/exact?q", "exact"),
        ("/a/b/exact/", "ab"),
        ("/a/b/exactly", "ab"),
        ("/a/b/exact/x", "ab"),
        ("/a/exact/", "slash"),
        ("/a/exact", "a"),
    ] {
        let (taken, target) = taken(&gateway, &upstream, &format!("GET {path}"), "a");
        assert_eq!((taken.as_str(), target.as_str()), (route, path));
    }
}

#[test]
fn a_strip_leaves_a_plain_path() {
    let upstream = Upstream::ok();
    let gateway = start(
        &upstream,
        &[
            ("one", "match: { path: /one/ }, strip_prefix: /one"),
            ("deep", "match: { path: /deep/er/ }, strip_prefix: /deep/"),
            (
                "exact",
                "match: { exact_path: /exact }, strip_prefix: /exact",
            ),
            ("rest", "match: { path: / }"),
        ],
    );
    for (path, route, forwarded) in [
        ("/one", "one", "/"),
        ("/one/", "one", "/"),
        ("/one?q", "one", "/?q"),
        ("/one?", "one", "/?"),
        ("/one/x?a=/one/", "one", "/x?a=/one/"),
        ("/one/one/x", "one", "/one/x"),
        ("/one/x//y", "one", "/x//y"),
        ("/one/a%2Fb;x", "one", "/a%2Fb;x"),
        ("/one/%25", "one", "/%25"),
        ("/ones", "rest", "/ones"),
        ("/deep/er/x", "deep", "/er/x"),
        ("/deep/x", "rest", "/deep/x"),
        ("/exact?x", "exact", "/?x"),
        // An empty segment is data, also behind what is cut off.
        ("/one//x", "one", "//x"),
        ("/one//", "one", "//"),
    ] {
        for line in [format!("GET {path}"), format!("GET http://a{path}")] {
            let (taken, target) = taken(&gateway, &upstream, &line, "a");
            assert_eq!((taken.as_str(), target.as_str()), (route, forwarded));
        }
    }
    let before = upstream.received().len();
    for path in [
        "/one/..",
        "/one/./x",
        "/one/.;/x",
        "/one%2f..",
        "/one%2fx",
        "/one;/x",
        "/on%65/x",
        "/one..",
        "/one../x",
        "//one/x",
    ] {
        let answer = gateway.raw(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        if path.starts_with("/one..") {
            assert_eq!(upstream.last().header("host"), Some("rest"), "{path}");
            continue;
        }
        assert_eq!(
            answer.status,
            400,
            "{path} {:?}",
            upstream.received().last()
        );
    }
    assert_eq!(upstream.received().len(), before + 2);
}

fn bad(answer: &Answer, what: &str) {
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "bad_request"),
        "{what}"
    );
}

#[test]
fn a_host_that_is_none_is_refused() {
    let upstream = Upstream::ok();
    let gateway = site(&upstream);
    let label = "a".repeat(64);
    let name = format!("{}com", "abcdefgh.".repeat(30));
    for host in [
        "",
        " ",
        ":80",
        "a b",
        "a,b",
        "a, a",
        "a/b",
        "a/",
        "/",
        "http://a",
        "user@a",
        "user:pass@a",
        "a:",
        "a:x",
        "a:-1",
        "a:+80",
        "a:80:80",
        "a:65536",
        "a:99999",
        "a:80/#@evil",
        "a#b",
        "a?b",
        "a\\b",
        "a%2eb",
        "a%00",
        "a..b",
        ".a",
        ".",
        "..",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]:",
        "[::1]:x",
        "[zz]",
        "[]",
        "[127.0.0.1]",
        "[fe80::1%25eth0]",
        "a\tb",
        "é.example",
        "a;b",
        "a=b",
        "*",
        "*.example.com",
        "<script>",
        "\"a\"",
        &label,
        &name,
    ] {
        let answer =
            gateway.raw_and_closed(format!("GET /public HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        bad(&answer, host);
        // In the absolute form a bad host beside a good one is bad as well.
        let request = format!("GET http://a/public HTTP/1.1\r\nhost: {host}\r\n\r\n");
        bad(&gateway.raw_and_closed(request), host);
    }
    for hosts in [
        "host: a\r\nhost: a",
        "host: a\r\nhost: b",
        "host: a\r\nHOST:",
        "x: y",
    ] {
        let request = format!("GET /public HTTP/1.1\r\n{hosts}\r\n\r\n");
        bad(&gateway.raw_and_closed(request), hosts);
        let request = format!("GET http://a/public HTTP/1.1\r\n{hosts}\r\n\r\n");
        bad(&gateway.raw_and_closed(request), hosts);
    }
    for version_10 in ["host: a\r\nhost: b", "host: a b", "host:"] {
        let request = format!("GET /public HTTP/1.0\r\n{version_10}\r\n\r\n");
        bad(&gateway.raw_and_closed(request), version_10);
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn a_host_is_told_upstream_as_it_was_written() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address).start();
    for host in [
        "a",
        "A.Example",
        "a.example.",
        "a:80",
        "a:0",
        "my_service",
        "127.0.0.1:8080",
        "[::1]",
        "[2001:db8::1]:8080",
        "xn--9ca.example",
    ] {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nx-api-key: {KEY}\r\n\r\n");
        assert_eq!(gateway.raw(request).status, 200, "{host}");
        assert_eq!(upstream.last().header("host"), Some(host));
        assert_eq!(upstream.last().header("x-forwarded-host"), Some(host));
    }
}

#[test]
fn the_absolute_form_wins_over_host() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .replace("match: { path: / }", "match: { host: real.example }")
        .start();
    let ask = |target: &str, host: &str| {
        gateway.raw(format!(
            "GET {target} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {KEY}\r\n\r\n"
        ))
    };
    for (target, told, path) in [
        ("http://real.example/x?y", "real.example", "/x?y"),
        ("http://REAL.example:8080/x", "REAL.example:8080", "/x"),
        ("http://real.example", "real.example", "/"),
        ("http://real.example?q", "real.example", "/?q"),
        ("https://real.example/", "real.example", "/"),
        ("HTTP://real.example/", "real.example", "/"),
    ] {
        let answer = ask(target, "other.example");
        assert_eq!(answer.status, 200, "{target} {}", answer.text());
        let last = upstream.last();
        assert_eq!(last.target(), path);
        assert_eq!(last.header("host"), Some(told));
        assert_eq!(last.header("x-forwarded-host"), Some(told));
    }
    let before = upstream.received().len();
    assert_eq!(
        ask("http://other.example/x", "real.example").code(),
        "no_route"
    );
    for target in [
        "http://user@real.example/",
        "http://user:pass@real.example/",
        "http://real.example:x/",
        "http://real.example:99999/",
        "http://real.example:/",
        "http://real..example/",
        "http://[::1/",
        "http:///x",
        "http://",
        "ftp://real.example/",
        "real.example:80",
        "real.example",
        "x",
        "?x",
        "",
    ] {
        bad(&ask(target, "real.example"), target);
    }
    assert_eq!(upstream.received().len(), before);
}

#[test]
fn http_1_0_needs_no_host() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let key = format!("x-api-key: {KEY}");
    let answer = gateway.raw_and_closed(format!("GET /x HTTP/1.0\r\n{key}\r\n\r\n"));
    assert_eq!(answer.status, 200);
    let last = upstream.last();
    assert_eq!(last.line, "GET /x HTTP/1.1");
    assert_eq!(last.header("host"), Some(&*upstream.address.to_string()));
    assert_eq!(last.header("x-forwarded-host"), None);
    let answer = gateway.raw_and_closed(format!("GET /x HTTP/1.0\r\nhost: b\r\n{key}\r\n\r\n"));
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last().header("host"), Some("b"));
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send(format!(
            "GET /x HTTP/1.0\r\nconnection: keep-alive\r\n{key}\r\n\r\n"
        ));
        assert_eq!(client.read().status, 200);
    }
}

#[test]
fn a_route_for_a_host_is_not_open_to_requests_without_one() {
    let upstream = Upstream::ok();
    let gateway = start(&upstream, &[("hosted", "match: { host: a.example }")]);
    let answer = gateway.raw("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(answer.code(), "no_route");
}

#[test]
fn the_most_specific_host_then_path_then_methods() {
    let upstream = Upstream::ok();
    let gateway = start(
        &upstream,
        &[
            ("any", "match: { path: / }"),
            ("any-long", "match: { path: /very/long/prefix }"),
            ("any-get", "match: { path: /, methods: [GET, HEAD] }"),
            ("wild", "match: { host: '*.example.com' }"),
            ("wilder", "match: { host: '*.b.example.com' }"),
            ("exact-a", "match: { host: a.example.com, path: /a }"),
            (
                "exact-a-post",
                "match: { host: a.example.com, path: /a, methods: [POST] }",
            ),
            (
                "exact-page",
                "match: { host: a.example.com, exact_path: /a/page, methods: [GET] }",
            ),
            ("v6", "match: { host: '[::1]' }"),
        ],
    );
    for (line, host, route) in [
        ("GET /a", "a.example.com", "exact-a"),
        ("GET /a", "A.EXAMPLE.com:8080", "exact-a"),
        ("GET /a", "a.example.com.", "exact-a"),
        ("POST /a", "a.example.com", "exact-a-post"),
        ("GET /a/page", "a.example.com", "exact-page"),
        ("PUT /a/page", "a.example.com", "exact-a"),
        ("POST /a/page", "a.example.com", "exact-a-post"),
        // No path of the exact host takes it: the next host's turn.
        ("GET /b", "a.example.com", "wild"),
        ("GET /very/long/prefix", "a.example.com", "wild"),
        ("GET /", "x.example.com", "wild"),
        ("GET /", "x.y.example.com", "wild"),
        ("GET /", "x.b.example.com", "wilder"),
        ("GET /", "b.example.com", "wild"),
        ("DELETE /", "example.com", "any"),
        ("DELETE /", "xexample.com", "any"),
        ("DELETE /", "a.example.com.evil", "any"),
        ("GET /", "other", "any-get"),
        ("HEAD /", "other", "any-get"),
        ("PROPFIND /", "other", "any"),
        ("GET /very/long/prefix/x", "other", "any-long"),
        ("GET /", "[::1]:80", "v6"),
        ("GET /", "[::1]", "v6"),
        ("GET /", "[0:0::0001]:80", "v6"),
    ] {
        let request = format!("{line} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let mut client = gateway.client();
        client.send(request);
        let answer = if line.starts_with("HEAD") {
            client.read_head()
        } else {
            client.read()
        };
        assert_eq!(answer.status, 200, "{line} {host}");
        assert_eq!(upstream.last().header("host"), Some(route), "{line} {host}");
    }
}

#[test]
fn two_readings_are_compared_within_the_host_and_the_method() {
    let upstream = Upstream::ok();
    let gateway = start(
        &upstream,
        &[
            ("rest", "match: { path: / }"),
            (
                "admin",
                "match: { host: a.example, path: /admin, methods: [POST] }",
            ),
        ],
    );
    let ask = |line: &str, host: &str| {
        let request = format!("{line} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        gateway.raw(request).status
    };
    assert_eq!(ask("POST /%61dmin", "a.example"), 400);
    assert_eq!(ask("POST //admin", "A.example:80"), 400);
    assert_eq!(ask("GET /%61dmin", "a.example"), 200);
    assert_eq!(ask("POST /%61dmin", "b.example"), 200);
    assert_eq!(ask("POST /admin", "a.example"), 401);
}

#[test]
fn connect_and_trace_are_refused() {
    let upstream = Upstream::ok();
    let gateway = site(&upstream);
    for line in [
        "CONNECT a:443",
        "CONNECT a.example:443",
        "CONNECT /public",
        "CONNECT http://a/public",
        "TRACE /public",
        "TRACE http://a/public",
    ] {
        let mut client = gateway.client();
        client.send(format!(
            "{line} HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\nmax-forwards: 3\r\n\r\n"
        ));
        bad(&client.read(), line);
        assert_eq!(client.rest(), b"");
    }
    assert!(upstream.received().is_empty());
    let star = gateway.raw("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((star.status, star.code().as_str()), (404, "no_route"));
}

#[test]
fn a_method_is_what_it_is_to_everybody() {
    let upstream = Upstream::ok();
    let gateway = start(
        &upstream,
        &[
            ("get", "match: { path: /, methods: [GET] }"),
            ("rest", "match: { path: / }"),
        ],
    );
    for (line, route) in [
        ("GET /", "get"),
        ("M-SEARCH /", "rest"),
        ("m-search /", "rest"),
    ] {
        let (taken, _) = taken(&gateway, &upstream, line, "a");
        assert_eq!(taken, route, "{line}");
        assert!(line.starts_with(upstream.last().method()), "{line}");
    }
    // Many services read these as the standard ones, which the first route takes.
    for line in ["get /", "Get /", "trace /", "dELETE /"] {
        let request = format!("{line} HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n");
        bad(&gateway.raw(request), line);
    }
}

#[test]
fn a_path_that_ends_where_it_is_parsed_again_is_read_so_too() {
    // CVE-2024-38474.
    let upstream = Upstream::ok();
    let gateway = start(
        &upstream,
        &[
            ("admin", "match: { path: /raw/admin }"),
            ("raw", "match: { path: /raw/ }"),
        ],
    );
    for target in [
        "/raw/admin%3Fx",
        "/raw/admin%23",
        "/raw/admin%253fx",
        "/raw/admin%3f/y",
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n");
        bad(&gateway.raw(request), target);
    }
    for target in ["/raw/a%3Fx", "/raw/b%23admin"] {
        let (route, _) = taken(&gateway, &upstream, &format!("GET {target}"), "a");
        assert_eq!(route, "raw", "{target}");
    }
}
