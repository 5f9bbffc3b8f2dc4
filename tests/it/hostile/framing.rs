//! How long a body is: lengths, codings, both, and what hides or moves them.

use super::{BAD, Cases, Want, passed, passed_and_closed};
use crate::harness::KEY;

const REST: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";

pub(super) fn table(cases: &mut Cases) {
    codings(cases);
    lengths(cases);
    both(cases);
    old(cases);
    unframed(cases);
    options(cases);
    upgrades(cases);
    expectations(cases);
}

fn post(fields: &str, rest: &str) -> String {
    format!("POST /p HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n{rest}")
}

const NOT_CHUNKED: &[&str] = &[
    "",
    " ",
    ",",
    "chunked,",
    ",chunked",
    "chunked, chunked",
    "chunked,chunked",
    "chunked, identity",
    "identity, chunked",
    "identity",
    "gzip",
    "gzip, chunked",
    "chunked, gzip",
    "deflate",
    "compress",
    "x-chunked",
    "xchunked",
    "chunkedx",
    "chunk",
    "chunked;",
    "chunked;q=1",
    "chunked; a=b",
    "\"chunked\"",
    "'chunked'",
    "chunked\u{b}",
    "\u{b}chunked",
    "\u{c}chunked",
    "chunked chunked",
    "x chunked",
    "chunked x",
    "chunked\tx",
    "cow",
    "trailers",
    "1",
    "chunked\u{a0}",
    "\u{a0}chunked",
    "\u{212a}chunked",
    "chun\u{212a}ed",
    "chunked:",
    "[chunked]",
    "chunked\\",
    "chunke%64",
    "0",
];

fn codings(cases: &mut Cases) {
    for value in NOT_CHUNKED {
        let bytes = post(
            &format!("transfer-encoding: {value}"),
            &format!("{CHUNKS}{REST}"),
        );
        cases.add("transfer codings", *value, bytes, BAD);
    }
    for lines in [
        ["chunked", "chunked"],
        ["chunked", "identity"],
        ["identity", "chunked"],
        ["chunked", ""],
        ["", "chunked"],
        ["gzip", "chunked"],
        ["x", "x"],
    ] {
        let fields = lines
            .map(|value| format!("Transfer-Encoding: {value}"))
            .join("\r\n");
        let bytes = post(&fields, &format!("{CHUNKS}{REST}"));
        cases.add("transfer codings", lines.join(" | "), bytes, BAD);
        let between = fields.replace("\r\n", "\r\nx: y\r\n");
        let bytes = post(&between, &format!("{CHUNKS}{REST}"));
        cases.add("transfer codings", lines.join(" | … | "), bytes, BAD);
    }
    for field in [
        "transfer-encoding: chunked",
        "Transfer-Encoding: Chunked",
        "TRANSFER-ENCODING: CHUNKED",
        "transfer-encoding:chunked",
        "transfer-encoding:   chunked  ",
        "transfer-encoding:\tchunked\t",
    ] {
        let bytes = post(field, CHUNKS);
        cases.add(
            "transfer codings",
            field,
            bytes,
            passed("POST /p", "chunked", "hello"),
        );
    }
    // What only some take for the field does not get through beside the real framing.
    for field in [
        "transfer_encoding: chunked",
        "Transfer_Encoding: x",
        "content_length: 3",
    ] {
        let bytes = post(&format!("{field}\r\ncontent-length: 5"), "hello");
        cases.add(
            "transfer codings",
            field,
            bytes,
            passed("POST /p", "length", "hello"),
        );
    }
}

const NOT_LENGTHS: &[&str] = &[
    "",
    " ",
    "+5",
    "-5",
    "-0",
    "- 5",
    "5,5",
    "5, 5",
    "5,",
    ",5",
    "5, 6",
    "5 5",
    "5\t5",
    "0x5",
    "0X5",
    "x5",
    "5x",
    "5;",
    "5.0",
    "5.",
    "5e0",
    "00000000000000000000000000000000005",
    "5_0",
    "0b1",
    "0o5",
    "five",
    "\"5\"",
    "'5'",
    "5\u{b}",
    "\u{c}5",
    "5\u{a0}",
    "\u{a0}5",
    "\u{ff15}",
    "\u{665}",
    "18446744073709551616",
    "18446744073709551621",
    "99999999999999999999999999999999",
    "NaN",
    "inf",
    "5%20",
    "1,000",
    "5:",
    "[5]",
];

fn lengths(cases: &mut Cases) {
    for value in NOT_LENGTHS {
        let bytes = post(&format!("content-length: {value}"), &format!("hello{REST}"));
        cases.add("lengths", *value, bytes, BAD);
    }
    for lines in [
        ["5", "6"],
        ["6", "5"],
        ["5", "0"],
        ["0", "5"],
        ["5", ""],
        ["", "5"],
        ["5", "x"],
        ["x", "5"],
        ["5", "5,5"],
        ["5", "-5"],
        ["5", "+5"],
    ] {
        let fields = lines
            .map(|value| format!("Content-Length: {value}"))
            .join("\r\n");
        let bytes = post(&fields, &format!("hello{REST}"));
        cases.add("lengths", lines.join(" | "), bytes, BAD);
        let between = fields.replace("\r\n", "\r\nx: y\r\n");
        let bytes = post(&between, &format!("hello{REST}"));
        cases.add("lengths", lines.join(" | … | "), bytes, BAD);
    }
    for fields in [
        "content-length: 5",
        "CONTENT-LENGTH:5",
        "content-length:\t5 ",
        "content-length: 005",
        "content-length: 5\r\ncontent-length: 5",
        "content-length: 5\r\nContent-Length: 5\r\nx: y\r\ncontent-length: 5",
        "content-length: 5\r\nx-content-length: 9",
        "content-length: 5\r\ncontent-lengths: 9",
    ] {
        let bytes = post(fields, "hello");
        cases.add(
            "lengths",
            fields,
            bytes,
            passed("POST /p", "length", "hello"),
        );
    }
    let large = post("content-length: 18446744073709551615", REST);
    cases.add("lengths", "the largest", large, Want::Refused(&[400, 431]));
    let large = post("content-length: 9223372036854775807", REST);
    cases.add("lengths", "half of it", large, BAD);
}

fn both(cases: &mut Cases) {
    let lengths = [
        "content-length: 5",
        "Content-Length: 0",
        "content-length: 15",
        "content-length: x",
        "content-length:",
    ];
    let codings = [
        "transfer-encoding: chunked",
        "Transfer-Encoding: identity",
        "transfer-encoding: x",
        "transfer-encoding:",
    ];
    for length in lengths {
        for coding in codings {
            for fields in [
                format!("{length}\r\n{coding}"),
                format!("{coding}\r\n{length}"),
                format!("{coding}\r\nx: y\r\n{length}"),
                format!("{length}\r\n{coding}\r\n{length}"),
            ] {
                let bytes = post(&fields, &format!("{CHUNKS}{REST}"));
                cases.add("both framings", fields, bytes, BAD);
            }
        }
    }
    // The body as each of the two readings would have it.
    let zero = format!("0\r\n\r\n{REST}");
    let fields = format!(
        "content-length: {}\r\ntransfer-encoding: chunked",
        zero.len()
    );
    cases.add(
        "both framings",
        "a request in the body",
        post(&fields, &zero),
        BAD,
    );
    let zero = "0\r\n\r\n".to_owned();
    let fields = "transfer-encoding: chunked\r\ncontent-length: 3";
    cases.add(
        "both framings",
        "a tail of chunks",
        post(fields, &zero),
        BAD,
    );
}

fn old(cases: &mut Cases) {
    for fields in [
        "transfer-encoding: chunked",
        "transfer-encoding: identity",
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "transfer-encoding: chunked\r\nconnection: keep-alive",
    ] {
        let bytes = format!("POST /p HTTP/1.0\r\nhost: a\r\n{fields}\r\n\r\n{CHUNKS}{REST}");
        cases.add("HTTP/1.0", fields, bytes, BAD);
    }
    let with = |fields: &str| format!("POST /p HTTP/1.0\r\n{fields}\r\nhello");
    cases.add(
        "HTTP/1.0",
        "a length",
        with("content-length: 5\r\n"),
        passed_and_closed("POST /p", "length", "hello"),
    );
    cases.add(
        "HTTP/1.0",
        "kept alive",
        with("content-length: 5\r\nconnection: keep-alive\r\n"),
        passed("POST /p", "length", "hello"),
    );
    // Without a length there is no body, and what follows is not read.
    cases.add(
        "HTTP/1.0",
        "a request behind it",
        format!("POST /p HTTP/1.0\r\nhost: a\r\n\r\n{REST}"),
        passed_and_closed("POST /p", "length", ""),
    );
}

fn unframed(cases: &mut Cases) {
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        let bytes = format!("{method} /p HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
        let line = format!("{method} /p");
        cases.add(
            "bodies of GET",
            method,
            bytes,
            passed(&line, "length", "hello"),
        );
        let bytes = format!(
            "{method} /p HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{CHUNKS}"
        );
        let name = format!("{method} in chunks");
        cases.add(
            "bodies of GET",
            name,
            bytes,
            passed(&line, "chunked", "hello"),
        );
    }
    let empty = "GET /p HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    cases.add(
        "bodies of GET",
        "an empty one",
        empty,
        passed("GET /p", "none", ""),
    );
    let request_inside = format!(
        "GET /p HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{REST}",
        REST.len()
    );
    cases.add(
        "bodies of GET",
        "a request",
        request_inside,
        passed("GET /p", "length", REST),
    );
}

fn options(cases: &mut Cases) {
    let key = format!("x-api-key: {KEY}");
    for option in [
        "close, host",
        "host",
        "Host",
        "content-length",
        "transfer-encoding",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-request-id",
        "x-consumer-id",
        "X-Consumer-Username",
        "x-credential-identifier",
        "x-api-key",
        "authorization",
        "te",
        "upgrade",
        "connection",
        "keep-alive",
        "cookie, origin, referer",
        "traceparent",
        "\"host\"",
        "",
        ",",
        ",,host,,",
        "host;q=1",
    ] {
        let bytes = post(
            &format!("{key}\r\nconnection: {option}\r\ncontent-length: 5"),
            "hello",
        );
        let want = if option.contains("close") {
            passed_and_closed("POST /p", "length", "hello")
        } else {
            passed("POST /p", "length", "hello")
        };
        cases.add("Connection", option, bytes, want);
    }
    let bytes = post(
        "connection: transfer-encoding\r\ntransfer-encoding: chunked",
        CHUNKS,
    );
    cases.add(
        "Connection",
        "names the coding",
        bytes,
        passed("POST /p", "chunked", "hello"),
    );
    let bytes = post(
        "connection: content-length, transfer-encoding\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
        CHUNKS,
    );
    cases.add("Connection", "names both framings", bytes, BAD);
}

fn upgrades(cases: &mut Cases) {
    for upgrade in ["h2c", "websocket", "TLS/1.0", "x", "h2c, websocket"] {
        let fields = format!(
            "connection: upgrade, http2-settings\r\nupgrade: {upgrade}\r\nhttp2-settings: AAMAAABkAAQAAP__\r\ncontent-length: 5"
        );
        let name = format!("{upgrade} with a body");
        cases.add(
            "Upgrade",
            name,
            post(&fields, "hello"),
            passed("POST /p", "length", "hello"),
        );
    }
    let get = "GET /p HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAM\r\n\r\n";
    cases.add("Upgrade", "h2c", get, passed("GET /p", "none", ""));
    let handshake = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    for body in [
        "content-length: 5\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let bytes = format!("GET /p HTTP/1.1\r\nhost: a\r\n{handshake}\r\n{body}{REST}");
        cases.add("Upgrade", format!("handshake and {body}"), bytes, BAD);
    }
}

fn expectations(cases: &mut Cases) {
    let bytes = post("expect: 100-continue\r\ncontent-length: 5", "hello");
    cases.add(
        "Expect",
        "100-continue",
        bytes,
        passed("POST /p", "length", "hello"),
    );
    let bytes = post("expect: 100-continue\r\ntransfer-encoding: chunked", CHUNKS);
    cases.add(
        "Expect",
        "100-continue and chunks",
        bytes,
        passed("POST /p", "chunked", "hello"),
    );
    let bytes = "GET /p HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\n";
    cases.add(
        "Expect",
        "without a body",
        bytes,
        passed("GET /p", "none", ""),
    );
    let bytes = post(
        "expect: 100-continue\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
        &format!("{CHUNKS}{REST}"),
    );
    cases.add("Expect", "with both framings", bytes, BAD);
}
