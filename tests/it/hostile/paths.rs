//! No spelling of a path or a host reaches a service past the policy of the route that it means there. The services are
//! imagined here, laxer than each other in ways that are known of real ones; what the gateway passed on is read as they would.

use super::hosts::NOT_HOSTS;
use super::strict::{Message, Strict};
use crate::harness::{Client, Gateway, GatewayBuilder, KEY, hash_of};
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeSet;

/// Route, prefix, and whether it is open. The key may do what `/public` and `/limited` ask for, not more.
const ROUTES: [(&str, &str, &str); 5] = [
    ("public", "path: /public/", "required: false"),
    ("admin", "path: /admin/", "scopes: admin"),
    ("secret", "exact_path: /public/secret", "scopes: admin"),
    ("limited", "path: /limited", "scopes: limited"),
    ("rest", "path: /", "required: false"),
];

/// The route that a path leads to, told without the gateway's help.
fn route_of(path: &str) -> &'static str {
    let below = |prefix: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match path {
        "/public/secret" => "secret",
        _ if below("/public") => "public",
        _ if below("/admin") => "admin",
        _ if below("/limited") => "limited",
        _ => "rest",
    }
}

struct Site {
    service: Strict,
    gateway: Gateway,
}

impl Site {
    fn start() -> Self {
        let service = Strict::start();
        let (mut upstreams, mut routes) = (String::new(), String::new());
        for (name, path, auth) in ROUTES {
            let address = service.address;
            let upstream =
                format!("  {name}: {{ host_header: {name}, endpoints: [\"http://{address}\"] }}\n");
            upstreams.push_str(&upstream);
            let route = format!(
                "  - {{ name: {name}, upstream: {name}, match: {{ {path} }}, auth: {{ {auth} }} }}\n"
            );
            routes.push_str(&route);
        }
        let hash = hash_of(KEY);
        let keys = format!(
            "  - {{ name: ci, hash: \"{hash}\", scopes: [limited], routes: [public, rest] }}\n"
        );
        let rest = format!("upstreams:\n{upstreams}routes:\n{routes}keys:\n{keys}");
        let gateway = GatewayBuilder::with_rest(&rest).one_thread().start();
        Self { service, gateway }
    }

    /// Asks for a target, with the key or without; what the service got of it.
    fn ask(&self, client: &mut Option<Client>, target: &str, keyed: bool) -> (u16, Vec<Message>) {
        self.service.forget();
        let key = if keyed {
            format!("x-api-key: {KEY}\r\n")
        } else {
            String::new()
        };
        let open = client.get_or_insert_with(|| self.gateway.client());
        open.send(format!("GET {target} HTTP/1.1\r\nhost: a\r\n{key}\r\n"));
        let status = open.read().status;
        if status == 400 {
            *client = None;
        }
        (status, self.service.messages())
    }
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let digit = |at: usize| path.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::new();
    let mut at = 0;
    while at < path.len() {
        match (path[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap());
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Overlong forms of two bytes read as what they stand for, everything else as it is.
fn lenient(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (first @ 0xc0..=0xc1, Some(second)) => {
                out.push(((first & 0x1f) << 6) | (second & 0x3f));
                at += 2;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn without_parameters(path: &str) -> String {
    let segments: Vec<&str> = path
        .split('/')
        .map(|segment| segment.split(';').next().unwrap())
        .collect();
    segments.join("/")
}

fn resolved(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

fn merged(path: &str) -> String {
    let mut read = path.to_owned();
    while read.contains("//") {
        read = read.replace("//", "/");
    }
    read
}

/// The path as each of the lax services reads it.
fn readings(target: &str) -> Vec<String> {
    let path = target.split(['?', '#']).next().unwrap();
    let once = lenient(&decoded(path.as_bytes()));
    let slashes = |path: &str| path.replace('\\', "/");
    let cut = |path: &str| path.split('\0').next().unwrap().to_owned();
    vec![
        path.to_owned(),
        merged(path),
        resolved(path),
        resolved(&once),
        merged(&once),
        merged(&resolved(&once)),
        resolved(&merged(&once)),
        resolved(&merged(&without_parameters(&once))),
        resolved(&merged(&lenient(&decoded(
            without_parameters(path).as_bytes(),
        )))),
        merged(&lenient(&decoded(resolved(path).as_bytes()))),
        resolved(&merged(&slashes(&once))),
        resolved(&merged(&slashes(&without_parameters(&once)))),
        resolved(&merged(&cut(&once))),
        resolved(&slashes(path)),
        resolved(&merged(&without_parameters(&decoded_to_the_end(&once)))),
    ]
}

fn decoded_to_the_end(path: &str) -> String {
    let mut read = path.to_owned();
    loop {
        let next = lenient(&decoded(read.as_bytes()));
        if next == read {
            return read;
        }
        read = next;
    }
}

/// What was passed on leads to the route that permitted it, in every reading.
fn lands_where_it_was_permitted(target: &str, got: &[Message]) -> Result<(), String> {
    for message in got {
        let route = message.all("host").concat();
        if message.target != target {
            return Err(format!("{target} became {}", message.target));
        }
        for reading in readings(&message.target) {
            let meant = route_of(&reading);
            if meant != route {
                return Err(format!(
                    "{target} was permitted by {route}, and {reading} is of {meant}"
                ));
            }
        }
    }
    Ok(())
}

const DOTS: &[&str] = &[
    "..",
    ".",
    "%2e%2e",
    "%2E.",
    ".%2e",
    "..;",
    "..;a=b",
    "%2e%2e;",
    ".;",
    "%252e%252e",
    "%25%32%65.",
    "%c0%ae%c0%ae",
    "%e0%80%ae.",
    "..%00",
    "..%20",
    "...",
    "%u002e.",
    "..%3b",
];

const ODD: &[&str] = &[
    "/public/secret",
    "/public//secret",
    "/public/secret/",
    "/public/%73ecret",
    "/public/secret;x",
    "/public/secret%2f",
    "/public/secret?",
    "/public/secret%3f",
    "/public%2fsecret",
    "//public/secret",
    "/Admin/x",
    "/ADMIN",
    "/admin./x",
    "/admin%20/x",
    "/admin ",
    "/admin%09",
    "/limited",
    "/limited/",
    "/limitedx",
    "/limited%2fx",
    "/limited;x",
    "/public/a%2Fb;c//d",
    "/public/100%25",
    "/a%2fadmin",
    "/public/admin/..",
    "/public/\u{ff0e}\u{ff0e}/admin",
    "/\u{ff41}dmin",
    "/public/..\u{2215}admin",
    "/public/?/../admin",
    "/public/%3f/../admin",
    "*",
    "",
];

/// Spellings of a way from an open place to one that is not.
fn spellings() -> BTreeSet<String> {
    let slashes = [
        "/", "//", "%2f", "%2F", "\\", "%5c", "%252f", "%255c", "/./", ";/", "/;/", "%c0%af",
        "%u2215", "/%00/", "%0a/",
    ];
    let names = [
        "admin",
        "%61dmin",
        "admi%6e",
        "admin;",
        "admin;a=b",
        "admin%3b",
        "admin%00",
        "%61%64%6d%69%6e",
        "%2561dmin",
        "%252561dmin",
    ];
    let mut all = BTreeSet::new();
    for dot in DOTS {
        for slash in slashes {
            for name in ["admin", "%61dmin"] {
                all.insert(format!("/public{slash}{dot}{slash}{name}/x"));
                all.insert(format!("/public/{dot}{slash}{name}"));
            }
            all.insert(format!("/public/x{slash}{dot}{slash}secret"));
            all.insert(format!(
                "{}{dot}{slash}admin",
                if slash.starts_with('/') { slash } else { "/" }
            ));
        }
    }
    for name in names {
        for front in slashes {
            for back in slashes.into_iter().chain([""]) {
                let front = if front.starts_with(['/', '\\']) {
                    front.to_owned()
                } else {
                    format!("/{front}")
                };
                all.insert(format!("{front}{name}{back}x"));
            }
        }
    }
    for odd in ODD {
        all.insert((*odd).to_owned());
    }
    all
}

#[test]
fn no_spelling_of_a_path_gets_past_a_policy() {
    let site = Site::start();
    let all = spellings();
    assert!(all.len() >= 300, "{}", all.len());
    let (mut refused, mut passed, mut denied, mut faults) = (0, 0, 0, Vec::new());
    let mut client = None;
    for (number, target) in all.iter().enumerate() {
        // A space ends the target of a request line.
        let target = target.replace(' ', "%20");
        let keyed = number % 2 == 0;
        let (status, got) = site.ask(&mut client, &target, keyed);
        match status {
            400 => refused += 1,
            401 | 403 => denied += 1,
            200 => passed += 1,
            other => faults.push(format!("{target}: {other}")),
        }
        assert_eq!(got.len(), usize::from(status == 200), "{target}: {status}");
        faults.extend(lands_where_it_was_permitted(&target, &got).err());
    }
    println!(
        "paths: {} tried, {refused} refused, {denied} denied by the policy they meant, {passed} passed, all where they were permitted",
        all.len()
    );
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(passed > 20 && denied > 5, "{passed} {denied}");
}

#[test]
fn no_random_path_gets_past_a_policy() {
    let site = Site::start();
    let pieces = select(vec![
        "/", "/", "/", "//", "public", "public", "admin", "limited", "secret", "x", ".", "..", ";",
        ";a", "%2f", "%2F", "%2e", "%5c", "\\", "%25", "61dmin", "%252f", "%61", "%3b", "%00",
        "%c0%ae", "\u{e9}", "%c3%a9", "%", "2f", "~", "*", ":", "@", "%20", "+", "%3F", "%23",
    ]);
    let paths = proptest::collection::vec(pieces, 0..9);
    let config = Config {
        cases: 1500,
        failure_persistence: None,
        ..Config::default()
    };
    let client = std::cell::RefCell::new(None);
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let run = runner.run(&paths, |pieces| {
        let target = format!("/{}", pieces.concat());
        let (status, got) = site.ask(&mut client.borrow_mut(), &target, true);
        let fits =
            got.len() == usize::from(status == 200) && [200, 400, 401, 403].contains(&status);
        proptest::prop_assert!(fits, "{} {}", target, status);
        lands_where_it_was_permitted(&target, &got)
            .map_err(proptest::test_runner::TestCaseError::fail)
    });
    run.unwrap();
}

/// The host in a value as a lax service finds it.
fn lax_hosts(value: &str) -> BTreeSet<String> {
    let mut read = BTreeSet::new();
    let behind_scheme = value.split("//").last().unwrap();
    for text in [value, behind_scheme, &lenient(&decoded(value.as_bytes()))] {
        let first = text.split(',').next().unwrap();
        let last = text.split(',').next_back().unwrap();
        for one in [first, last] {
            let one = one.split(['/', '?', '#', '\\', ';', '\0']).next().unwrap();
            let one = one.rsplit('@').next().unwrap();
            let one = one.split(':').next().unwrap();
            read.insert(one.trim().trim_end_matches('.').to_ascii_lowercase());
        }
    }
    read
}

const INNER_HOSTS: &[&str] = &[
    "inner.example",
    "INNER.EXAMPLE",
    "inner.example.",
    "inner.example:80",
    "inner.example.:443",
    "inner.example..",
    "inner.example:080",
    "a.inner.example",
    "A.b.Inner.Example.",
    "inner.example.evil",
    "evil-inner.example",
    "inner-example",
    "xinner.example",
    "inner.examplex",
    "inner%2eexample",
    "inner\u{3002}example",
    "inner\u{ff0e}example",
    "inner.ex\u{e4}mple",
    "evil@inner.example",
    "inner.example@evil",
    "inner.example:80@evil",
    "evil:80@inner.example",
    "evil#inner.example",
    "evil,inner.example",
    "inner.example,evil",
    "evil inner.example",
];

#[test]
fn no_spelling_of_a_host_gets_past_a_policy() {
    let (open, inner) = (Strict::start(), Strict::start());
    let rest = format!(
        "upstreams: {{ open: {{ endpoints: [\"http://{}\"] }}, inner: {{ endpoints: [\"http://{}\"] }} }}\n\
         routes:\n  - {{ name: inner, upstream: inner, match: {{ host: inner.example }}, auth: {{ scopes: admin }} }}\n  \
         - {{ name: sub, upstream: inner, match: {{ host: '*.inner.example' }}, auth: {{ scopes: admin }} }}\n  \
         - {{ name: open, upstream: open, match: {{ path: / }}, auth: {{ required: false }} }}\n",
        open.address, inner.address
    );
    let gateway = GatewayBuilder::with_rest(&rest).one_thread().start();
    let mut hosts: BTreeSet<String> = NOT_HOSTS
        .iter()
        .flat_map(|host| {
            let there = host.replace('a', "inner.example");
            [
                there,
                format!("inner.example{host}"),
                format!("{host}inner.example"),
                format!("open.example{host}inner.example"),
            ]
        })
        .collect();
    for host in INNER_HOSTS {
        hosts.insert((*host).to_owned());
    }
    assert!(hosts.len() >= 300, "{}", hosts.len());
    let (mut refused, mut denied, mut passed) = (0, 0, 0);
    for host in &hosts {
        let in_url = format!("http://{host}/x");
        for (target, field) in [
            ("/x", host.as_str()),
            (&*in_url, "open.example"),
            ("http://open.example/x", host),
        ] {
            open.forget();
            let request =
                format!("GET {target} HTTP/1.1\r\nhost: {field}\r\nconnection: close\r\n\r\n");
            match gateway.raw(request).status {
                400 => refused += 1,
                401 => denied += 1,
                200 => passed += 1,
                status => panic!("{host}: {status}"),
            }
            for message in open.messages() {
                let told = message.all("host").concat();
                let meant = lax_hosts(&told);
                let is_inner =
                    |name: &String| name == "inner.example" || name.ends_with(".inner.example");
                assert!(!meant.iter().any(is_inner), "{target} {field}: {told}");
                // The service hears of no host but the one that was decided on.
                assert_eq!(message.all("x-forwarded-host"), [&*told]);
            }
        }
    }
    assert_eq!(inner.messages(), []);
    println!(
        "hosts: {} tried in three places, {refused} refused, {denied} denied by the policy they meant, {passed} passed to the open service",
        hosts.len()
    );
    assert!(denied >= 10, "{denied}");
}
