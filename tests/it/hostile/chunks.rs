//! The chunked coding: sizes, extensions, line ends and trailers.

use super::{Cases, Want, passed};

const REST: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

fn post(body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = "POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    [head.as_bytes(), body.as_ref()].concat()
}

pub(super) fn table(cases: &mut Cases) {
    sizes(cases);
    extensions(cases);
    ends(cases);
    trailers(cases);
}

fn broken(cases: &mut Cases, family: &'static str, name: &str, body: impl AsRef<[u8]>) {
    let bytes = [&post(body), REST.as_bytes()].concat();
    cases.add(family, name, bytes, Want::Broken);
}

fn whole(cases: &mut Cases, family: &'static str, name: &str, body: impl AsRef<[u8]>) {
    cases.add(
        family,
        name,
        post(body),
        passed("POST /c", "chunked", "hello"),
    );
}

fn sizes(cases: &mut Cases) {
    const FAMILY: &str = "chunk sizes";
    for size in [
        "",
        "-5",
        "+5",
        "-0",
        "0x5",
        "0X5",
        "x5",
        "5x",
        "5h",
        "5 5",
        "5,5",
        "5_",
        "_5",
        "5.0",
        "5 ",
        "\"5\"",
        " 5",
        "\t5",
        "\u{b}5",
        "5\u{b}",
        "5\u{c}",
        "5\0",
        "\x005",
        "\u{ff15}",
        "\u{665}",
        "5\u{a0}",
        "g",
        "%35",
        "five",
        "10000000000000005",
        "1000000000000000000000005",
        "fffffffffffffffff",
        "5-",
        "5:",
        "5=",
        "5\\",
        "5/",
    ] {
        let body = format!("{size}\r\nhello\r\n0\r\n\r\n");
        broken(cases, FAMILY, size, body);
        let second = format!("5\r\nhello\r\n{size}\r\nhello\r\n0\r\n\r\n");
        broken(cases, FAMILY, &format!("second {size}"), second);
    }
    for (name, body) in [
        ("one chunk", "5\r\nhello\r\n0\r\n\r\n"),
        ("two chunks", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
        ("leading zeros", "0005\r\nhello\r\n000\r\n\r\n"),
    ] {
        whole(cases, FAMILY, name, body);
    }
    let ten = post("A\r\n0123456789\r\n0\r\n\r\n");
    cases.add(
        FAMILY,
        "a capital",
        ten,
        passed("POST /c", "chunked", "0123456789"),
    );
    let none = post("0\r\n\r\n");
    cases.add(FAMILY, "none", none, passed("POST /c", "chunked", ""));
}

fn extensions(cases: &mut Cases) {
    const FAMILY: &str = "chunk extensions";
    for (name, body) in [
        ("a line feed", "5;a\nhello\r\n0\r\n\r\n".to_owned()),
        (
            "a line feed inside",
            "5;a\nb\r\nhello\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "a carriage return inside",
            "5;a\rb\r\nhello\r\n0\r\n\r\n".to_owned(),
        ),
        ("a zero byte", "5;a\0\r\nhello\r\n0\r\n\r\n".to_owned()),
        (
            "too long",
            format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(40_000)),
        ),
        (
            "many that are long",
            format!(
                "{}0\r\n\r\n",
                format!("1;{}\r\nh\r\n", "a".repeat(900)).repeat(60)
            ),
        ),
        (
            "a line feed behind the last",
            "5\r\nhello\r\n0;a\n\r\n".to_owned(),
        ),
        (
            "a size line in quotes",
            "5;a=\"\n0\r\n\r\n\"\r\nhello\r\n0\r\n\r\n".to_owned(),
        ),
    ] {
        broken(cases, FAMILY, name, body);
    }
    for extension in [";a", ";a=b", ";a=\"b c\"", " ;a", "\t; a = b", ";", ";;"] {
        whole(
            cases,
            FAMILY,
            extension,
            format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n"),
        );
    }
}

fn ends(cases: &mut Cases) {
    const FAMILY: &str = "chunk ends";
    for (name, body) in [
        ("a line feed behind the size", "5\nhello\r\n0\r\n\r\n"),
        ("a carriage return behind the size", "5\rhello\r\n0\r\n\r\n"),
        (
            "two carriage returns behind the size",
            "5\r\r\nhello\r\n0\r\n\r\n",
        ),
        ("nothing behind the data", "5\r\nhello0\r\n\r\n"),
        ("a line feed behind the data", "5\r\nhello\n0\r\n\r\n"),
        ("a carriage return behind the data", "5\r\nhello\r0\r\n\r\n"),
        ("two line feeds behind the data", "5\r\nhello\n\n0\r\n\r\n"),
        ("other bytes behind the data", "5\r\nhelloXX0\r\n\r\n"),
        ("a space behind the data", "5\r\nhello \r\n0\r\n\r\n"),
        ("more data than said", "4\r\nhello\r\n0\r\n\r\n"),
        ("less data than said", "6\r\nhello\r\n0\r\n\r\n"),
        ("an empty line before a size", "\r\n5\r\nhello\r\n0\r\n\r\n"),
        (
            "an empty line between chunks",
            "5\r\nhello\r\n\r\n0\r\n\r\n",
        ),
        ("a line feed behind the last size", "5\r\nhello\r\n0\n\r\n"),
        ("a carriage return ends it", "5\r\nhello\r\n0\r\n\rX"),
        ("a line feed ends it", "5\r\nhello\r\n0\r\n\n"),
        ("line feeds only", "5\nhello\n0\n\n"),
    ] {
        broken(cases, FAMILY, name, body);
    }
}

fn trailers(cases: &mut Cases) {
    const FAMILY: &str = "trailers";
    for (name, trailers) in [
        ("no colon", "x\r\n"),
        ("an empty name", ": y\r\n"),
        ("a space before the colon", "x : y\r\n"),
        ("a space in the name", "x y: z\r\n"),
        ("a fold", "x: y\r\n z\r\n"),
        ("a fold first", " x: y\r\n"),
        ("a zero byte", "x: \0\r\n"),
        ("a line feed behind a field", "x: y\n"),
        ("a carriage return in a value", "x: y\rz\r\n"),
        ("a separator in the name", "x(y): z\r\n"),
    ] {
        broken(
            cases,
            FAMILY,
            name,
            format!("5\r\nhello\r\n0\r\n{trailers}\r\n"),
        );
    }
    let many: Vec<String> = (0..2000)
        .map(|number| format!("x-{number}: y\r\n"))
        .collect();
    let many = many.concat();
    broken(
        cases,
        FAMILY,
        "many",
        format!("5\r\nhello\r\n0\r\n{many}\r\n"),
    );
    let long = format!("x: {}\r\n", "y".repeat(100_000));
    broken(
        cases,
        FAMILY,
        "long",
        format!("5\r\nhello\r\n0\r\n{long}\r\n"),
    );
    for trailer in [
        "x: y",
        "content-length: 99",
        "transfer-encoding: chunked",
        "host: b",
        "authorization: Bearer x",
        "x-consumer-id: root",
        "X_Consumer_Id: root",
        "x-forwarded-for: 1.2.3.4",
        "connection: close",
        "x-api-key: k",
        "cookie: a=b",
        "trailer: x",
    ] {
        whole(
            cases,
            FAMILY,
            trailer,
            format!("5\r\nhello\r\n0\r\n{trailer}\r\n\r\n"),
        );
    }
}
