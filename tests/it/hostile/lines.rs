//! Request lines, line ends, field lines and sizes.

use super::{BAD, Cases, Want, passed, passed_and_closed};

const REST: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

pub(super) fn table(cases: &mut Cases) {
    request_lines(cases);
    versions(cases);
    methods(cases);
    targets(cases);
    control_bytes(cases);
    line_ends(cases);
    folds(cases);
    fields(cases);
    sizes(cases);
}

fn request_lines(cases: &mut Cases) {
    for line in [
        "GET",
        "GET ",
        "GET /",
        "GET / ",
        "GET HTTP/1.1",
        "GET  HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1\t",
        "GET / x HTTP/1.1",
        "GET\t/\tHTTP/1.1",
        "GET\u{b}/ HTTP/1.1",
        "GET\u{a0}/ HTTP/1.1",
        " GET / HTTP/1.1",
        "\tGET / HTTP/1.1",
        "/ HTTP/1.1",
        "HTTP/1.1 200 OK",
        ": / HTTP/1.1",
        "GET:/ HTTP/1.1",
        "host: a",
    ] {
        let bytes = format!("{line}\r\nhost: a\r\n\r\n{REST}");
        cases.add("request line", line, bytes, BAD);
    }
}

fn versions(cases: &mut Cases) {
    const ODD: Want = Want::Refused(&[400, 505]);
    for version in [
        "HTTP/0.9",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/1.2",
        "HTTP/1.10",
        "HTTP/1.11",
        "HTTP/01.1",
        "HTTP/1.01",
        "HTTP/2",
        "HTTP/2.0",
        "HTTP/3.0",
        "HTTP/11",
        "HTTP/1,1",
        "HTTP/+1.1",
        "HTTP/1.1.1",
        "HTTP /1.1",
        "HTTP/ 1.1",
        "http/1.1",
        "Http/1.1",
        "HTTPS/1.1",
        "HTP/1.1",
        "ICY/1.1",
        "HTTP/1.x",
        "HTTP/\u{ff11}.1",
        "1.1",
        "",
    ] {
        let bytes = format!("GET / {version}\r\nhost: a\r\n\r\n{REST}");
        cases.add("version", version, bytes, ODD);
    }
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    cases.add(
        "version",
        "HTTP/2 behind an empty line",
        format!("\r\n{preface}"),
        ODD,
    );
    cases.add(
        "version",
        "1.0",
        "GET /old HTTP/1.0\r\n\r\n",
        passed_and_closed("GET /old", "none", ""),
    );
}

fn methods(cases: &mut Cases) {
    for separator in "()<>@,;:\\\"/[]?={}\u{e9}".chars() {
        let bytes = format!("G{separator}T /m HTTP/1.1\r\nhost: a\r\n\r\n{REST}");
        cases.add("method", format!("G{separator}T"), bytes, BAD);
    }
    // To many services these are the standard ones.
    for method in ["get", "Get", "delete", "trace", "cONNECT"] {
        let bytes = format!("{method} /m HTTP/1.1\r\nhost: a\r\n\r\n{REST}");
        cases.add("method", method, bytes, BAD);
    }
    for method in ["GETX", "M-SEARCH", "m-search", "!$%&'*+-.^_`|~", "PRI"] {
        let bytes = format!("{method} /m HTTP/1.1\r\nhost: a\r\n\r\n");
        let line = format!("{method} /m");
        cases.add("method", method, bytes, passed(&line, "none", ""));
    }
    let head = "HEAD /m HTTP/1.1\r\nhost: a\r\n\r\n";
    cases.add("method", "HEAD", head, passed("HEAD /m", "none", ""));
    for line in [
        "CONNECT a:443",
        "CONNECT a",
        "CONNECT /",
        "CONNECT http://a/",
        "CONNECT *",
        "TRACE /",
        "TRACE http://a/",
        "TRACE *",
    ] {
        let bytes = format!("{line} HTTP/1.1\r\nhost: a\r\nmax-forwards: 1\r\n\r\n{REST}");
        cases.add("CONNECT and TRACE", line, bytes, BAD);
    }
}

fn targets(cases: &mut Cases) {
    for target in [
        "a",
        "a:80",
        "a.example:443",
        "user@a:80",
        "?",
        "?q",
        "*",
        "**",
        "*/",
        "/#",
        "/a#b",
        "/a?b#c",
        "//#",
        "#",
        "",
        "http:",
        "http:/",
        "http://",
        "http:///x",
        "http://#x",
        "http://user@a/",
        "http://user:pass@a/",
        "http://a:x/",
        "http://a:99999/",
        "http://a b/",
        "http://a/#b",
        "http:a",
        "ftp://a/",
        "ws://a/",
        "file:///etc/passwd",
        "gopher://a/",
        "://a/",
        "javascript:alert(1)",
        "http://[::1/",
        "http://a\\b/",
        "\\",
        "\\x",
        "/\\x",
        "/%",
        "/%0",
        "/%0g",
        "/%00",
        "/%0d%0ahost:%20b",
        "/%ff",
        "/..",
        "/%2e%2e/x",
        "/a/../../x",
        "/a\\..\\x",
        "/a%5c..%5cx",
        "/%252e%252e/x",
        "/a;/../x",
        "/..;/x",
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n{REST}");
        cases.add("target form", target, bytes, BAD);
    }
    for (target, line) in [
        ("http://a/x", "GET /x"),
        ("http://b/x", "GET /x"),
        ("HTTP://A:80/x?y", "GET /x?y"),
        ("http://a", "GET /"),
        ("http://a?q", "GET /?q"),
        ("//a/b", "GET //a/b"),
        ("/http://b/x", "GET /http://b/x"),
        ("/a%2Fb;c//d?%00", "GET /a%2Fb;c//d?%00"),
        ("/\u{e9}", "GET /\u{e9}"),
        ("/?", "GET /?"),
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
        cases.add("target form", target, bytes, passed(line, "none", ""));
    }
}

fn control_bytes(cases: &mut Cases) {
    let around =
        |front: &str, byte: u8, back: &str| [front.as_bytes(), &[byte], back.as_bytes()].concat();
    for byte in (0..=0x1f).chain([0x7f]) {
        let name = |place: &str| format!("{byte:#04x} in {place}");
        let mut add = |place: &str, front: &str, back: &str| {
            let bytes = around(front, byte, &format!("{back}{REST}"));
            cases.add("control bytes", name(place), bytes, BAD);
        };
        add("a method", "G", "ET / HTTP/1.1\r\nhost: a\r\n\r\n");
        add("a target", "GET /a", "b HTTP/1.1\r\nhost: a\r\n\r\n");
        add("a query", "GET /?a", "b HTTP/1.1\r\nhost: a\r\n\r\n");
        add("a version", "GET / HTTP/1", ".1\r\nhost: a\r\n\r\n");
        add("a name", "GET / HTTP/1.1\r\nhost: a\r\nx", "y: z\r\n\r\n");
        add("a host", "GET / HTTP/1.1\r\nhost: a", "b\r\n\r\n");
        add(
            "a length",
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1",
            "0\r\n\r\n",
        );
        add(
            "a coding",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chun",
            "ked\r\n\r\n0\r\n\r\n",
        );
        if byte != b'\t' {
            add("a value", "GET / HTTP/1.1\r\nhost: a\r\nx: y", "z\r\n\r\n");
            add(
                "a value's end",
                "GET / HTTP/1.1\r\nhost: a\r\nx: y",
                "\r\n\r\n",
            );
        }
    }
    for byte in [0x80, 0xa0, 0xff] {
        let name = |place: &str| format!("{byte:#04x} in {place}");
        for (place, front, back) in [
            ("a method", "G", "ET / HTTP/1.1\r\nhost: a\r\n\r\n"),
            ("a target", "GET /a", "b HTTP/1.1\r\nhost: a\r\n\r\n"),
            ("a name", "GET / HTTP/1.1\r\nhost: a\r\nx", "y: z\r\n\r\n"),
            ("a host", "GET / HTTP/1.1\r\nhost: a", "b\r\n\r\n"),
        ] {
            cases.add("control bytes", name(place), around(front, byte, back), BAD);
        }
        let value = around("GET / HTTP/1.1\r\nhost: a\r\nx: y", byte, "z\r\n\r\n");
        cases.add(
            "control bytes",
            name("a value"),
            value,
            passed("GET /", "none", ""),
        );
    }
    let tab = "GET / HTTP/1.1\r\nhost: a\r\nx: y\tz\t\r\n\r\n";
    cases.add(
        "control bytes",
        "tabs in a value",
        tab,
        passed("GET /", "none", ""),
    );
}

fn line_ends(cases: &mut Cases) {
    for (name, bytes) in [
        ("line feeds only", "GET / HTTP/1.1\nhost: a\n\n"),
        (
            "line feed behind the request line",
            "GET / HTTP/1.1\nhost: a\r\n\r\n",
        ),
        (
            "line feed behind a field",
            "GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n",
        ),
        (
            "line feed behind Host",
            "GET / HTTP/1.1\r\nx: y\r\nhost: a\n\r\n",
        ),
        ("line feed ends the head", "GET / HTTP/1.1\r\nhost: a\r\n\n"),
        ("carriage returns only", "GET / HTTP/1.1\rhost: a\r\r"),
        (
            "carriage return behind the request line",
            "GET / HTTP/1.1\rhost: a\r\n\r\n",
        ),
        (
            "carriage return behind a field",
            "GET / HTTP/1.1\r\nhost: a\rx: y\r\n\r\n",
        ),
        (
            "two carriage returns behind a field",
            "GET / HTTP/1.1\r\nhost: a\r\r\nx: y\r\n\r\n",
        ),
        (
            "two carriage returns end the head",
            "GET / HTTP/1.1\r\nhost: a\r\n\r\r\n",
        ),
        (
            "carriage return before the head",
            "\rGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        (
            "line feed before the head",
            "\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        (
            "space before the head",
            " \r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        ("reversed line ends", "GET / HTTP/1.1\n\rhost: a\n\r\n\r"),
        (
            "line end in the middle of the head",
            "GET / HTTP/1.1\r\n\r\nhost: a\r\n\r\n",
        ),
        ("next line (NEL)", "GET / HTTP/1.1\u{85}host: a\r\n\r\n"),
        ("line separator", "GET / HTTP/1.1\u{2028}host: a\r\n\r\n"),
        ("garbage", "\u{1}\u{2}\u{3}\r\n\r\n"),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n"),
    ] {
        cases.add("line ends", name, format!("{bytes}{REST}"), BAD);
    }
    for (name, front) in [
        ("an empty line before", "\r\n"),
        ("two empty lines before", "\r\n\r\n"),
    ] {
        let bytes = format!("{front}GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        cases.add("line ends", name, bytes, passed("GET /", "none", ""));
    }
}

fn folds(cases: &mut Cases) {
    for (name, fields) in [
        ("a value", "host: a\r\nx: y\r\n z"),
        ("a value, with a tab", "host: a\r\nx: y\r\n\tz"),
        ("an empty value", "host: a\r\nx:\r\n y"),
        ("an empty fold", "host: a\r\nx: y\r\n "),
        ("Host", "host:\r\n a"),
        ("behind Host", "host: a\r\n b"),
        ("the first line", " x: y\r\nhost: a"),
        ("the first line, with a tab", "\tx: y\r\nhost: a"),
        ("Content-Length", "host: a\r\ncontent-length:\r\n 0"),
        (
            "behind Content-Length",
            "host: a\r\ncontent-length: 1\r\n 0",
        ),
        (
            "Transfer-Encoding",
            "host: a\r\ntransfer-encoding:\r\n chunked",
        ),
        (
            "a Transfer-Encoding",
            "host: a\r\nx: y\r\n transfer-encoding: chunked",
        ),
        ("a Host", "host: a\r\nx: y\r\n\thost: b"),
    ] {
        let bytes = format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n0\r\n\r\n{REST}");
        cases.add("obsolete folds", name, bytes, BAD);
    }
}

fn fields(cases: &mut Cases) {
    let mut bad: Vec<String> = [
        "x : y",
        "x\t: y",
        " : y",
        ": y",
        ":",
        "x",
        "xy z",
        "=",
        "x y: z",
        "host : b",
        " host: b",
        "content-length : 5",
        "content-length\t: 5",
        "transfer-encoding : chunked",
        "transfer-encoding\t: chunked",
        "transfer-encoding",
        "content-length",
        "x-api-key : k",
        "\u{feff}x: y",
        "x\u{a0}: y",
        "\u{212a}: y",
    ]
    .map(str::to_owned)
    .into();
    bad.extend(
        "()<>@,;\\\"/[]?={}"
            .chars()
            .map(|one| format!("x{one}y: z")),
    );
    for field in bad {
        let bytes = format!("POST / HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n0\r\n\r\n{REST}");
        cases.add("field lines", field, bytes, BAD);
    }
    for field in [
        "x:",
        "x:y",
        "x:  y  ",
        "x:\ty",
        "x: :",
        "x: \"",
        "!#$%&'*+-.^_`|~: y",
        "0: 1",
    ] {
        let bytes = format!("GET / HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n");
        cases.add("field lines", field, bytes, passed("GET /", "none", ""));
    }
}

fn sizes(cases: &mut Cases) {
    let long = |length: usize| "x".repeat(length);
    let head = |line: &str, fields: &str| format!("{line} HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    cases.add(
        "sizes",
        "long method",
        head(&format!("{} /", long(300_000)), ""),
        Want::Refused(&[400, 414, 431]),
    );
    cases.add(
        "sizes",
        "long target",
        head(&format!("GET /{}", long(20_000)), ""),
        Want::Refused(&[414]),
    );
    cases.add(
        "sizes",
        "target beyond the buffer",
        head(&format!("GET /{}", long(300_000)), ""),
        Want::Refused(&[400, 414, 431]),
    );
    cases.add(
        "sizes",
        "long host",
        format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", long(300)),
        BAD,
    );
    cases.add(
        "sizes",
        "long value",
        head("GET /", &format!("x: {}\r\n", long(100_000))),
        Want::Refused(&[431]),
    );
    cases.add(
        "sizes",
        "long name",
        head("GET /", &format!("{}: x\r\n", long(70_000))),
        Want::Refused(&[400, 431]),
    );
    cases.add(
        "sizes",
        "many fields",
        head("GET /", &"x: y\r\n".repeat(1000)),
        Want::Refused(&[431]),
    );
    let options = format!("connection: {}\r\n", vec!["x"; 40].join(","));
    cases.add("sizes", "many options", head("GET /", &options), BAD);
}
