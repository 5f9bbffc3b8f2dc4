//! Whom a request is for: `Host`, several of them, and the absolute form.

use super::{BAD, Cases, passed, passed_and_closed};

pub(super) const NOT_HOSTS: &[&str] = &[
    "",
    " ",
    ":",
    ":80",
    "a:",
    "a: ",
    "a:x",
    "a:-1",
    "a:+80",
    "a:80:80",
    "a:65536",
    "a:99999999999999999999",
    "a:80 ",
    "a :80",
    "a: 80",
    "a b",
    "a\tb",
    "a,b",
    "a, b",
    "a;b",
    "a/b",
    "a/",
    "/",
    "//a",
    "http://a",
    "a:80/#@evil",
    "a#b",
    "a?b",
    "a?",
    "a\\b",
    "a@b",
    "@a",
    "user:pass@a",
    "a%2eb",
    "a%00",
    "%61",
    "a..b",
    ".a",
    ".",
    "..",
    "*",
    "*.a",
    "[::1",
    "::1",
    "[::1]x",
    "[::1]:",
    "[::1]:x",
    "[::1]:80:80",
    "[]",
    "[zz]",
    "[127.0.0.1]",
    "[fe80::1%25eth0]",
    "[::1%eth0]",
    "[v1.a]",
    "a[::1]",
    "]a",
    "a]",
    "[a",
    "\u{e9}",
    "a\u{3002}b",
    "\u{ff41}",
    "a\u{200b}",
    "a\u{2024}b",
    "<a>",
    "\"a\"",
    "'a'",
    "a=b",
    "a&b",
    "$a",
    "a!",
    "{a}",
    "a|b",
    "a^b",
    "a`b",
    "~a",
    "(a)",
    "a+b",
];

const HOSTS: &[&str] = &[
    "a",
    "A",
    "a.",
    "a.b.c",
    "a:0",
    "a:80",
    "a:65535",
    "a:00080",
    "a-b",
    "a_b",
    "-a",
    "127.0.0.1",
    "127.0.0.1:1",
    "0x7f.1",
    "[::1]",
    "[::1]:80",
    "[::ffff:127.0.0.1]",
    "xn--9ca",
    "1",
];

pub(super) fn table(cases: &mut Cases) {
    const FAMILY: &str = "Host";
    for host in NOT_HOSTS {
        // What stands around a value is not of it.
        if host.trim() != *host && !host.trim().is_empty() && !NOT_HOSTS.contains(&host.trim()) {
            continue;
        }
        let get = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        cases.add(FAMILY, *host, get("/h"), BAD);
        cases.add(
            FAMILY,
            format!("{host} beside a URL"),
            get("http://a/h"),
            BAD,
        );
        let old = format!("GET /h HTTP/1.0\r\nhost: {host}\r\n\r\n");
        cases.add(FAMILY, format!("{host} in HTTP/1.0"), old, BAD);
        if !host.contains(['/', '?', '#']) {
            let url = format!("GET http://{host}/h HTTP/1.1\r\nhost: a\r\n\r\n");
            cases.add(FAMILY, format!("{host} in a URL"), url, BAD);
        }
    }
    for host in HOSTS {
        let get =
            |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let want = passed("GET /h", "none", "");
        cases.add(FAMILY, *host, get("/h", host), want.clone());
        let url = format!("http://{host}/h");
        cases.add(FAMILY, format!("{host} in a URL"), get(&url, "other"), want);
    }
    several(cases);
}

fn several(cases: &mut Cases) {
    const FAMILY: &str = "several hosts";
    for fields in [
        "x: y",
        "host: a\r\nhost: a",
        "host: a\r\nhost: b",
        "Host: a\r\nHOST: a",
        "host: a\r\nx: y\r\nhost: b",
        "host: a\r\nhost:",
        "host:\r\nhost: a",
        "host: a\r\nhost: a\r\nhost: a",
    ] {
        for line in [
            "GET /h HTTP/1.1",
            "GET http://a/h HTTP/1.1",
            "GET http://b/h HTTP/1.1",
        ] {
            let bytes = format!("{line}\r\n{fields}\r\n\r\n");
            cases.add(FAMILY, format!("{line} {fields}"), bytes, BAD);
        }
    }
    let two = "GET /h HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n";
    cases.add(FAMILY, "in HTTP/1.0", two, BAD);
    let none = "GET /h HTTP/1.0\r\n\r\n";
    cases.add(
        FAMILY,
        "none in HTTP/1.0",
        none,
        passed_and_closed("GET /h", "none", ""),
    );
    for field in [
        "x-forwarded-host: b",
        "x-host: b",
        "forwarded: host=b",
        "x-original-url: /b",
        "x-rewrite-url: /b",
        "host_: b",
    ] {
        let bytes = format!("GET /h HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n");
        cases.add(FAMILY, field, bytes, passed("GET /h", "none", ""));
    }
}
