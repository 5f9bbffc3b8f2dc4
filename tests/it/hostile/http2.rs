//! Frames that no real client of HTTP/2 sends: refused on their stream or with their connection, or gone up as one message. What
//! could end a line of HTTP/1.1 never gets into one.

use super::strict::Message;
use super::{GOOD, Stand};
use crate::harness::Client;
use std::io::Read;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

type Field = (Vec<u8>, Vec<u8>);

/// What is sent on one stream.
struct Sent {
    family: &'static str,
    fields: Vec<Field>,
    data: Option<&'static str>,
    trailers: Vec<Field>,
    /// What the service gets, if it gets anything: line, framing, body.
    want: Option<(&'static str, &'static str, &'static str)>,
}

fn field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Field {
    (name.as_ref().to_vec(), value.as_ref().to_vec())
}

fn good() -> Vec<Field> {
    vec![
        field(":method", "GET"),
        field(":scheme", "http"),
        field(":path", "/x"),
        field(":authority", "a"),
    ]
}

fn sent(family: &'static str, fields: Vec<Field>) -> Sent {
    Sent {
        family,
        fields,
        data: None,
        trailers: Vec::new(),
        want: None,
    }
}

/// The good head with one field in another's place.
fn with(name: &str, value: impl AsRef<[u8]>) -> Vec<Field> {
    let mut fields = good();
    for (known, old) in &mut fields {
        if known == name.as_bytes() {
            *old = value.as_ref().to_vec();
            return fields;
        }
    }
    fields.push(field(name, value));
    fields
}

fn pseudo_fields(all: &mut Vec<Sent>) {
    const FAMILY: &str = "pseudo-header fields";
    for place in 0..4 {
        let mut missing = good();
        let (name, value) = missing.remove(place);
        all.push(sent(FAMILY, missing.clone()));
        let mut last = missing;
        last.push(field("x", "y"));
        last.push((name.clone(), value.clone()));
        all.push(sent(FAMILY, last));
        let mut twice = good();
        twice.insert(place, (name.clone(), value));
        all.push(sent(FAMILY, twice));
        let mut empty = good();
        empty[place].1 = Vec::new();
        all.push(sent(FAMILY, empty));
    }
    for name in [":", ":x", ":status", ":host", ":Method", ":protocol"] {
        let mut unknown = good();
        unknown.insert(0, field(name, "200"));
        all.push(sent(FAMILY, unknown));
    }
    for (name, value) in [
        (":method", "GET /"),
        (":method", "G T"),
        (":method", "GET\t"),
        (":method", "GET:"),
        (":method", "TRACE"),
        (":method", "CONNECT"),
        (":scheme", "ftp"),
        (":scheme", "http://"),
        (":scheme", "http:"),
        (":scheme", "ht tp"),
        (":scheme", "file"),
        (":path", "x"),
        (":path", "*"),
        (":path", "http://a/x"),
        (":path", "/a b"),
        (":path", "/ HTTP/1.1"),
        (":path", "/.."),
        (":path", "/%2e%2e/x"),
        (":path", "/a\\b"),
        (":path", "/\u{1}"),
        (":path", "/%00"),
        (":path", "?q"),
        (":authority", "a b"),
        (":authority", "a/b"),
        (":authority", "x@a"),
        (":authority", "a:x"),
        (":authority", "a:80/#@evil"),
        (":authority", "a,b"),
        (":authority", "[::1"),
        (":authority", "a:99999"),
        (":authority", "a?b"),
        (":authority", "a#b"),
        (":authority", "*"),
        (":authority", "http://a"),
    ] {
        all.push(sent(FAMILY, with(name, value)));
    }
    let mut tunnel = with(":method", "CONNECT");
    tunnel.push(field(":protocol", "x"));
    tunnel.sort_by_key(|(name, _)| name[0] != b':');
    all.push(sent(FAMILY, tunnel));
    // The `http` crate cuts a fragment off before anybody sees it; it goes nowhere.
    for (path, line) in [("/x#y", "GET /x"), ("/x?y#z", "GET /x?y"), ("#x", "GET /")] {
        let mut cut = sent(FAMILY, with(":path", path));
        cut.want = Some((line, "none", ""));
        all.push(cut);
    }
}

fn injected(all: &mut Vec<Sent>) {
    const FAMILY: &str = "line ends and control bytes";
    for ends in [
        "\r\n",
        "\n",
        "\r",
        "\0",
        "\r\nx-consumer-id: root\r\n",
        "\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        for name in [
            ":method",
            ":scheme",
            ":path",
            ":authority",
            "x",
            "cookie",
            "host",
            "te",
            "content-length",
            "x-request-id",
            "traceparent",
        ] {
            let front = match name {
                ":method" => "GET",
                ":scheme" => "http",
                ":path" => "/x",
                "te" => "trailers",
                "content-length" => "0",
                _ => "a",
            };
            all.push(sent(FAMILY, with(name, format!("{front}{ends}"))));
            all.push(sent(FAMILY, with(name, format!("{ends}{front}"))));
            all.push(sent(FAMILY, with(name, format!("{front}{ends}b"))));
        }
        all.push(sent(FAMILY, with(&format!("x{ends}y"), "z")));
    }
    for byte in (0..=0x1f).chain([0x7f]).filter(|byte| *byte != b'\t') {
        all.push(sent(FAMILY, with("x", [b'a', byte, b'b'])));
        all.push(sent(FAMILY, with(":path", [b'/', byte])));
    }
    for byte in (0..=0x20)
        .chain(*b"()<>@,;:\\\"/[]?={}")
        .chain([0x7f, 0x80, 0xff])
    {
        let mut fields = good();
        fields.push((vec![b'x', byte, b'y'], b"z".to_vec()));
        all.push(sent(FAMILY, fields));
    }
}

fn fields(all: &mut Vec<Sent>) {
    const FAMILY: &str = "fields of a connection";
    for (name, value) in [
        ("connection", "close"),
        ("connection", "x"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "gzip, trailers"),
        ("te", "chunked"),
        ("Upper", "case"),
        ("X", "y"),
        ("", "y"),
        ("host", "b"),
        ("host", ""),
        ("host", "a, a"),
        ("host", "A b"),
    ] {
        all.push(sent(FAMILY, with(name, value)));
    }
    let mut two = with("host", "a");
    two.push(field("host", "a"));
    all.push(sent(FAMILY, two));
    let mut passed = |fields: Vec<Field>| {
        let mut good = sent(FAMILY, fields);
        good.want = Some(("GET /x", "none", ""));
        all.push(good);
    };
    passed(with("host", "a"));
    passed(with("te", "trailers"));
    passed(with("x", "y\tz"));
    passed(with("transfer_encoding", "chunked"));
    passed(with("content_length", "7"));
    let mut crumbs = with("cookie", "a=1");
    crumbs.push(field("cookie", "b=2"));
    passed(crumbs);
}

fn lengths(all: &mut Vec<Sent>) {
    const FAMILY: &str = "lengths";
    let post = |length: &[&str]| {
        let mut fields = with(":method", "POST");
        fields.extend(length.iter().map(|value| field("content-length", value)));
        sent(FAMILY, fields)
    };
    for length in [
        &["5"][..],
        &["x"],
        &["+3"],
        &["-3"],
        &["3, 3"],
        &[""],
        &["3", "4"],
        &["4", "3"],
        &["3", "x"],
        &["0x3"],
        &["99999999999999999999"],
    ] {
        let mut one = post(length);
        one.data = Some("abc");
        all.push(one);
    }
    // What was said to be the body is one when it is there; that more follows is noticed too late for the service.
    let mut more = post(&["1"]);
    more.data = Some("abc");
    more.want = Some(("POST /x", "length", "a"));
    all.push(more);
    all.push(post(&["3"]));
    for (length, framing) in [(&["3"][..], "length"), (&[], "chunked")] {
        let mut one = post(length);
        one.data = Some("abc");
        one.want = Some(("POST /x", framing, "abc"));
        all.push(one);
    }
    let mut empty = post(&["0"]);
    empty.want = Some(("POST /x", "length", ""));
    all.push(empty);
}

fn trailers(all: &mut Vec<Sent>) {
    const FAMILY: &str = "trailers";
    for (name, value) in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("Upper", "case"),
        ("x", "a\r\nb: c"),
        ("x", "a\0"),
        ("x y", "z"),
        ("", "x"),
    ] {
        let mut one = sent(FAMILY, with(":method", "POST"));
        one.data = Some("abc");
        one.trailers = vec![field(name, value)];
        all.push(one);
    }
    // RFC 9113 §8.1 wants a reset for the first three; h2 throws them away.
    for name in [
        ":path",
        ":method",
        ":status",
        "x-sum",
        "x\"y",
        "content-length",
        "host",
        "x-consumer-id",
        "authorization",
        "x-forwarded-for",
    ] {
        let mut one = sent(FAMILY, with(":method", "POST"));
        one.data = Some("abc");
        one.trailers = vec![field(name, "200")];
        one.want = Some(("POST /x", "chunked", "abc"));
        all.push(one);
    }
}

fn sizes(all: &mut Vec<Sent>) {
    const FAMILY: &str = "sizes";
    let mut many = good();
    many.extend((0..3000).map(|number| field(format!("x-{number}"), "y")));
    all.push(sent(FAMILY, many));
    all.push(sent(FAMILY, with("x", "y".repeat(200_000))));
    all.push(sent(
        FAMILY,
        with(":path", format!("/{}", "x".repeat(20_000))),
    ));
    all.push(sent(FAMILY, with(":authority", "a".repeat(1000))));
}

/// Fields as HPACK literals that are in no table (RFC 7541 §6.2.2).
fn block(fields: &[Field]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let mut length = text.len();
            if length < 127 {
                block.push(u8::try_from(length).unwrap());
            } else {
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push(u8::try_from(length % 128 + 128).unwrap());
                    length /= 128;
                }
                block.push(u8::try_from(length).unwrap());
            }
            block.extend(text);
        }
    }
    block
}

struct Peer(Client);

impl Peer {
    fn connect(stand: &Stand) -> Self {
        let mut client = stand.gateway.client();
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut peer = Self(client);
        peer.frame(SETTINGS, 0, 0, &[]);
        peer
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.try_send(frame);
    }

    /// A block of fields, cut into frames of at most so many bytes.
    fn head(&mut self, stream: u32, block: &[u8], ends: bool, most: usize) {
        let pieces: Vec<&[u8]> = block.chunks(most).collect();
        for (number, piece) in pieces.iter().enumerate() {
            let last = if number + 1 == pieces.len() {
                END_HEADERS
            } else {
                0
            };
            let (kind, flags) = if number == 0 {
                (HEADERS, (u8::from(ends) * END_STREAM) | last)
            } else {
                (CONTINUATION, last)
            };
            self.frame(kind, flags, stream, piece);
        }
    }

    fn ask(&mut self, stream: u32, sent: &Sent, most: usize) {
        let ends = sent.data.is_none() && sent.trailers.is_empty();
        self.head(stream, &block(&sent.fields), ends, most);
        if let Some(data) = sent.data {
            let last = u8::from(sent.trailers.is_empty()) * END_STREAM;
            for (number, byte) in data.as_bytes().iter().enumerate() {
                let flags = if number + 1 == data.len() { last } else { 0 };
                self.frame(DATA, flags, stream, &[*byte]);
            }
        }
        if !sent.trailers.is_empty() {
            self.head(stream, &block(&sent.trailers), true, most);
        }
    }

    /// What a stream is answered with.
    fn status(&mut self, stream: u32) -> String {
        let mut socket = self.0.stream();
        loop {
            let mut head = [0; 9];
            if socket.read_exact(&mut head).is_err() {
                return "closed".into();
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if socket.read_exact(&mut payload).is_err() {
                return "closed".into();
            }
            let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match head[3] {
                HEADERS if of == stream => return status(&payload),
                RST_STREAM if of == stream => return "reset".into(),
                GOAWAY => return "goaway".into(),
                _ => {}
            }
        }
    }
}

/// The status is the first field: from the static table, or a literal with that name.
fn status(block: &[u8]) -> String {
    let known = ["200", "204", "206", "304", "400", "404", "500"];
    match block {
        [index @ 0x88..=0x8e, ..] => known[usize::from(index - 0x88)].to_owned(),
        [_, 3, digits @ ..] => String::from_utf8_lossy(&digits[..3]).into_owned(),
        // Digits in Huffman's code.
        [_, 0x83, 0x69, 0x90, ..] => "431".to_owned(),
        [_, 0x83, 0x68, 0x2d, ..] => "414".to_owned(),
        other => format!("{:02x?}", &other[..other.len().min(6)]),
    }
}

/// Nothing but the good requests around it, and what it asked for if it may pass.
fn check(stand: &Stand, sent: &Sent, most: usize) -> Result<&'static str, String> {
    stand.service.forget();
    let mut peer = Peer::connect(stand);
    peer.ask(1, &super::http2::sent("", with(":path", GOOD)), 16_000);
    let first = peer.status(1);
    peer.ask(3, sent, most);
    let answer = peer.status(3);
    drop(peer);
    // On the same worker, behind all that is still under way.
    let probe = stand.gateway.raw(super::PROBE).text();
    let broken = stand.service.faults();
    if !broken.is_empty() {
        return Err(format!("answered {answer}, the service got {broken:?}"));
    }
    let got: Vec<Message> = stand.got();
    if (&*first, &*probe) != ("200", "GET /probe") {
        return Err(format!("the good ones: {first} {probe}"));
    }
    match (&sent.want, &*answer) {
        (Some((line, framing, body)), "200" | "reset") => {
            let [message] = &got[..] else {
                return Err(format!("the service got {got:?}"));
            };
            let read = format!("{} {}", message.method, message.target);
            let body_read = String::from_utf8_lossy(&message.body).into_owned();
            let claims = ["x-consumer-id", "authorization", "host", "content-length"];
            let trailed = message
                .trailers
                .iter()
                .any(|(name, _)| claims.contains(&&**name));
            if (&*read, message.framing, &*body_read, trailed) == (line, framing, body, false) {
                Ok("passed")
            } else {
                Err(format!("the service got {message:?}"))
            }
        }
        (None, "400" | "414" | "431" | "reset" | "goaway" | "closed") if got.is_empty() => {
            Ok("refused")
        }
        _ => Err(format!("answered {answer}, the service got {got:?}")),
    }
}

pub(super) fn table() -> Vec<(&'static str, usize)> {
    let mut counted: Vec<(&'static str, usize)> = Vec::new();
    for sent in cases() {
        match counted
            .iter_mut()
            .find(|(family, _)| *family == sent.family)
        {
            Some((_, count)) => *count += 1,
            None => counted.push((sent.family, 1)),
        }
    }
    counted
}

fn cases() -> Vec<Sent> {
    let mut all = Vec::new();
    pseudo_fields(&mut all);
    injected(&mut all);
    fields(&mut all);
    lengths(&mut all);
    trailers(&mut all);
    sizes(&mut all);
    all
}

#[test]
fn every_stream_is_refused_or_goes_up_as_one_message() {
    let all = cases();
    let faults: Vec<String> = std::thread::scope(|scope| {
        // The frames of a head in one piece, and a byte in each.
        let runs = [16_000, 1].map(|most| {
            let all = &all;
            scope.spawn(move || {
                let stand = Stand::start();
                let mut faults = Vec::new();
                for sent in all {
                    // A head of so many frames is refused for that alone.
                    let whole = sent.family == "sizes" || sent.want.is_some();
                    let most = if whole { 16_000 } else { most };
                    if let Err(fault) = check(&stand, sent, most) {
                        let show = |fields: &[Field]| -> String {
                            let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
                            let fields = fields
                                .iter()
                                .map(|(name, value)| format!("{}={} ", text(name), text(value)));
                            fields.collect::<String>().chars().take(200).collect()
                        };
                        let head = show(&sent.fields);
                        faults.push(format!(
                            "{}: {head}| {} | {fault}",
                            sent.family,
                            show(&sent.trailers)
                        ));
                    }
                }
                faults
            })
        });
        runs.into_iter()
            .flat_map(|run| run.join().unwrap())
            .collect()
    });
    for (family, count) in table() {
        println!("HTTP/2, {family}: {count} tried in two ways");
    }
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
}
