//! What a broken or hostile service answers: a 502, or an answer that visibly breaks off. Never another caller's answer, and
//! never a clean end of what was cut short.

use super::open_to_all;
use crate::harness::{Client, Gateway, GatewayBuilder, KEY, PATIENCE, wait_until};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What has to come of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    /// 502 `upstream_protocol`.
    Refused,
    /// A 502, or no answer that has an end.
    Broken,
    /// This body, and nothing of what followed it.
    Whole(&'static str),
    /// 502, whatever its code: nothing at all came.
    Silent,
}

struct Case {
    family: &'static str,
    bytes: Vec<u8>,
    want: Want,
    /// The service closes behind it.
    closes: bool,
    method: &'static str,
}

/// A service that answers the first request on a connection as told, and all further ones by their own target. Requests
/// for `/own` are answered well on any connection.
struct Service {
    address: SocketAddr,
    script: Arc<Mutex<(Vec<u8>, bool)>>,
    asked: Arc<AtomicUsize>,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script: Arc<Mutex<(Vec<u8>, bool)>> = Arc::default();
        let asked = Arc::new(AtomicUsize::new(0));
        let (told, counted) = (Arc::clone(&script), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (told, counted) = (Arc::clone(&told), Arc::clone(&counted));
                std::thread::spawn(move || serve(stream, &told, &counted));
            }
        });
        Self {
            address,
            script,
            asked,
        }
    }
}

fn serve(mut stream: TcpStream, script: &Mutex<(Vec<u8>, bool)>, asked: &AtomicUsize) {
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut poisoned = false;
    while let Some(head) = head(&mut stream) {
        if head.contains(" /own ") {
            // A connection that was answered badly before must not be asked again.
            let body = if poisoned { "poisoned" } else { "own" };
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
            continue;
        }
        asked.fetch_add(1, Ordering::SeqCst);
        poisoned = true;
        let (bytes, closes) = script.lock().unwrap().clone();
        if stream.write_all(&bytes).is_err() || closes {
            return;
        }
    }
}

fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, family: &'static str, bytes: impl AsRef<[u8]>, want: Want) {
        self.0.push(Case {
            family,
            bytes: bytes.as_ref().to_vec(),
            want,
            closes: false,
            method: "GET",
        });
    }

    fn closing(&mut self, family: &'static str, bytes: impl AsRef<[u8]>, want: Want) {
        self.add(family, bytes, want);
        self.0.last_mut().unwrap().closes = true;
    }
}

const SPLIT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nplanted";

fn table() -> Vec<Case> {
    let mut cases = Cases::default();
    status_lines(&mut cases);
    framing(&mut cases);
    fields(&mut cases);
    chunks(&mut cases);
    cut_short(&mut cases);
    split(&mut cases);
    interim(&mut cases);
    cases.0
}

fn status_lines(cases: &mut Cases) {
    for line in [
        "",
        " ",
        "200 OK",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 x",
        "HTTP/1.1 000 x",
        "HTTP/1.1 1000 x",
        "HTTP/1.1 -20 x",
        "HTTP/1.1 +20 x",
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1  200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/0.9 200 OK",
        "HTTP/1.2 200 OK",
        "HTTP/2 200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/1 200 OK",
        "HTTP/1.10 200 OK",
        "http/1.1 200 OK",
        "ICY 200 OK",
        "HTTPS/1.1 200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200\0OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.1 200 O\u{1}K",
        "HTTP/1.1 \u{ff12}00 OK",
        "SSH-2.0-x",
        "220 smtp",
        "GET / HTTP/1.1",
        "<html>",
        "{}",
        "\u{16}\u{3}\u{1}",
    ] {
        let bytes = format!("{line}\r\ncontent-length: 2\r\n\r\nok");
        cases.closing("status lines", bytes, Want::Refused);
    }
    cases.closing("status lines", "just text, as of HTTP/0.9", Want::Refused);
    cases.closing("status lines", "", Want::Silent);
    for line in [
        "HTTP/1.1 200 ",
        "HTTP/1.1 200",
        "HTTP/1.1 299 Odd",
        "HTTP/1.0 200 OK",
    ] {
        let bytes = format!("{line}\r\ncontent-length: 2\r\n\r\nok");
        cases.add("status lines", bytes, Want::Whole("ok"));
    }
}

fn framing(cases: &mut Cases) {
    const FAMILY: &str = "framing";
    let chunks = "2\r\nok\r\n0\r\n\r\n";
    let mut heads: Vec<String> = [
        "content-length: 2\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 2",
        "transfer-encoding: chunked\r\ncontent-length: 2\r\nconnection: close",
        "content-length: 2\r\ntransfer-encoding: identity",
        "content-length: 2\r\ncontent-length: 3",
        "content-length: 3\r\ncontent-length: 2",
        "content-length: 2\r\nx: y\r\ncontent-length: 0",
    ]
    .map(str::to_owned)
    .into();
    let lengths = [
        "",
        " ",
        "+2",
        "-2",
        "2,2",
        "2, 2",
        "2 2",
        "0x2",
        "2.0",
        "2;",
        "two",
        "99999999999999999999",
        "18446744073709551616",
        "2\u{b}",
        "\u{ff12}",
    ];
    heads.extend(lengths.map(|value| format!("content-length: {value}")));
    let codings = [
        "",
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked\r\ntransfer-encoding: chunked",
        "chunked\r\ntransfer-encoding: identity",
    ];
    heads.extend(codings.map(|value| format!("transfer-encoding: {value}")));
    for head in heads {
        cases.add(
            FAMILY,
            format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{chunks}"),
            Want::Refused,
        );
    }
    let old = format!("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
    cases.add(FAMILY, old, Want::Refused);
    for head in [
        "content-length: 2",
        "content-length: 2\r\ncontent-length: 2",
        "Content-Length:2  ",
        "content-length: 002",
    ] {
        cases.add(
            FAMILY,
            format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nok"),
            Want::Whole("ok"),
        );
    }
    for head in ["transfer-encoding: chunked", "Transfer-Encoding:CHUNKED "] {
        cases.add(
            FAMILY,
            format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{chunks}"),
            Want::Whole("ok"),
        );
    }
}

fn fields(cases: &mut Cases) {
    const FAMILY: &str = "fields";
    for field in [
        "x",
        "x y",
        ": y",
        "x : y",
        "x\t: y",
        " x: y",
        "\tx: y",
        "x: a\r\n b",
        "x: a\r\n\tb",
        "x\0: y",
        "x: \0",
        "x: a\u{1}b",
        "x: a\rb",
        "x: a\u{7f}b",
        "x(y): z",
        "x\"y: z",
        "\u{e9}: z",
        "content-length : 2",
        "transfer-encoding : chunked",
        "x y: z",
        "x: y\r",
        "=",
        "x: a\u{8}",
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{field}\r\ncontent-length: 2\r\n\r\nok");
        cases.add(FAMILY, bytes, Want::Refused);
    }
    for bytes in [
        "HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
        "HTTP/1.1 200 OK\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\nok",
        "HTTP/1.1 200 OK\r\nx: y\nset-cookie: a=b\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\rcontent-length: 2\r\r\nok\r\n\r\n",
    ] {
        cases.add("line ends", bytes, Want::Refused);
    }
    let many = "x: y\r\n".repeat(5000);
    cases.add(
        "sizes",
        format!("HTTP/1.1 200 OK\r\n{many}\r\n"),
        Want::Refused,
    );
    let long = "y".repeat(200_000);
    cases.add(
        "sizes",
        format!("HTTP/1.1 200 OK\r\nx: {long}\r\n\r\n"),
        Want::Refused,
    );
    cases.add(
        "sizes",
        format!("HTTP/1.1 200 {long}\r\n\r\n"),
        Want::Refused,
    );
    cases.closing("sizes", long, Want::Refused);
}

fn chunks(cases: &mut Cases) {
    for body in [
        "zz\r\nok\r\n0\r\n\r\n",
        "-2\r\nok\r\n0\r\n\r\n",
        "+2\r\nok\r\n0\r\n\r\n",
        "0x2\r\nok\r\n0\r\n\r\n",
        "2_\r\nok\r\n0\r\n\r\n",
        " 2\r\nok\r\n0\r\n\r\n",
        "2 2\r\nok\r\n0\r\n\r\n",
        "2\nok\r\n0\r\n\r\n",
        "2\r\nok\n0\r\n\r\n",
        "2\r\nok0\r\n\r\n",
        "2\r\nokXX0\r\n\r\n",
        "2\r\nokay\r\n0\r\n\r\n",
        "2;a\nb\r\nok\r\n0\r\n\r\n",
        "2;\0\r\nok\r\n0\r\n\r\n",
        "2\r\nok\r\n0\n\r\n",
        "2\r\nok\r\n0\r\nx\r\n\r\n",
        "2\r\nok\r\n0\r\nx : y\r\n\r\n",
        "2\r\nok\r\n0\r\nx: y\n\r\n",
        "2\r\nok\r\n0\r\nx: y\r\n z\r\n\r\n",
        "2\r\nok\r\n0\r\n\n",
        "10000000000000002\r\nok\r\n0\r\n\r\n",
        "100000000000000000000002\r\nok\r\n0\r\n\r\n",
        "\r\n2\r\nok\r\n0\r\n\r\n",
        "2\r\nok\r\n\r\n0\r\n\r\n",
        "\u{ff12}\r\nok\r\n0\r\n\r\n",
        "2\r\nok\r\ng\r\n\r\n",
        ";a\r\nok\r\n0\r\n\r\n",
    ] {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        cases.closing("chunks", format!("{head}{body}"), Want::Broken);
    }
    // Real services pad their sizes with spaces.
    let padded = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2  \r\nok\r\n0  \r\n\r\n";
    cases.add("chunks", padded, Want::Whole("ok"));
    let long = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;{}\r\nok\r\n0\r\n\r\n",
        "a".repeat(5000)
    );
    cases.closing("chunks", long, Want::Broken);
}

fn cut_short(cases: &mut Cases) {
    const FAMILY: &str = "cut short";
    for bytes in [
        "H",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r",
        "HTTP/1.1 103 x\r\n\r\nHTTP/1.1 2",
    ] {
        cases.closing(FAMILY, bytes, Want::Refused);
    }
    for bytes in [
        "content-length: 3\r\n\r\nok",
        "content-length: 3\r\n\r\n",
        "content-length: 18446744073709551615\r\n\r\nok",
        "transfer-encoding: chunked\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n2",
        "transfer-encoding: chunked\r\n\r\n2\r\no",
        "transfer-encoding: chunked\r\n\r\n2\r\nok",
        "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0",
        "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
        "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n",
        "transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nok",
    ] {
        cases.closing(FAMILY, format!("HTTP/1.1 200 OK\r\n{bytes}"), Want::Broken);
    }
}

fn split(cases: &mut Cases) {
    const FAMILY: &str = "split answers";
    for first in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 404 x\r\ncontent-length: 2\r\n\r\nok",
    ] {
        for behind in [
            SPLIT,
            "x",
            "\r\n",
            "\0",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "0\r\n\r\n",
        ] {
            cases.add(FAMILY, format!("{first}{behind}"), Want::Whole("ok"));
        }
    }
    for (first, method) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", "GET"),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", "GET"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "GET"),
        (
            "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello",
            "GET",
        ),
        (
            "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET",
        ),
        (
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nhello",
            "GET",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "HEAD"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "HEAD",
        ),
    ] {
        cases.add(FAMILY, format!("{first}{SPLIT}"), Want::Whole(""));
        cases.0.last_mut().unwrap().method = method;
    }
}

fn interim(cases: &mut Cases) {
    const FAMILY: &str = "interim answers";
    for head in [
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        cases.add(FAMILY, format!("{head}{SPLIT}"), Want::Refused);
    }
    for status in ["100 Continue", "103 Early Hints", "199 x"] {
        let flood = format!("HTTP/1.1 {status}\r\n\r\n").repeat(200);
        cases.add(FAMILY, format!("{flood}{SPLIT}"), Want::Refused);
        let odd = format!("HTTP/1.1 {status}\r\nx : y\r\n\r\n{SPLIT}");
        cases.add(FAMILY, odd, Want::Refused);
        let few = format!("HTTP/1.1 {status}\r\n\r\n").repeat(3);
        cases.add(FAMILY, format!("{few}{SPLIT}"), Want::Whole("planted"));
    }
    for framed in [
        "content-length: 2\r\n\r\nok\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        // An interim answer has no body, whatever it says: what follows is the next head.
        cases.add(FAMILY, format!("HTTP/1.1 103 x\r\n{framed}"), Want::Refused);
    }
}

struct Stand {
    service: Service,
    gateway: Gateway,
}

impl Stand {
    fn start() -> Self {
        let service = Service::start();
        let gateway = open_to_all(service.address);
        Self { service, gateway }
    }

    fn check(&self, case: &Case) -> Result<(), String> {
        *self.service.script.lock().unwrap() = (case.bytes.clone(), case.closes);
        let asked = self.service.asked.load(Ordering::SeqCst);
        let mut client = self.gateway.client();
        // A POST is asked once, whatever becomes of it.
        let method = if case.method == "GET" {
            "POST"
        } else {
            case.method
        };
        client.send(format!(
            "{method} /bad HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        ));
        Self::check_answer(case, &mut client)?;
        // Another caller, on the same worker, is answered by a connection that is clean.
        for _ in 0..2 {
            let own = self.gateway.raw("GET /own HTTP/1.1\r\nhost: a\r\n\r\n");
            if own.text() != "own" && !Self::may_be_used_again(case) {
                return Err(format!("the next caller got {own:?}"));
            }
        }
        let asked = self.service.asked.load(Ordering::SeqCst) - asked;
        (asked == 1)
            .then_some(())
            .ok_or_else(|| format!("the service was asked {asked} times"))
    }

    /// Whether nothing was wrong with the answer, so that its connection is kept.
    fn may_be_used_again(case: &Case) -> bool {
        matches!(case.want, Want::Whole(_)) && !case.family.contains("split")
    }

    fn check_answer(case: &Case, client: &mut Client) -> Result<(), String> {
        let mut answer = None;
        loop {
            let next = if case.method == "HEAD" {
                Some(client.read_head())
            } else {
                client.try_read()
            };
            match next {
                Some(next) if next.status < 200 => {}
                other => {
                    answer = other.or(answer);
                    break;
                }
            }
        }
        let rest = client.rest();
        if !rest.is_empty() {
            return Err(format!(
                "behind the answer: {:?}",
                rest.escape_ascii().to_string()
            ));
        }
        match (case.want, answer) {
            (Want::Refused, Some(answer))
                if answer.status == 502 && answer.code() == "upstream_protocol" =>
            {
                Ok(())
            }
            (Want::Silent, Some(answer)) if answer.status == 502 => Ok(()),
            (Want::Broken, None) => Ok(()),
            (Want::Broken, Some(answer)) if answer.status == 502 => Ok(()),
            (Want::Whole(body), Some(answer)) if answer.text() == body && answer.status != 502 => {
                Ok(())
            }
            (_, answer) => Err(format!("answered {answer:?}")),
        }
    }
}

pub(super) fn families() -> Vec<&'static str> {
    table().iter().map(|case| case.family).collect()
}

#[test]
fn every_bad_answer_is_refused_or_breaks_off_and_poisons_nothing() {
    let cases = table();
    let stand = Stand::start();
    let mut faults = Vec::new();
    let (mut refused, mut broken, mut whole) = (0, 0, 0);
    for case in &cases {
        match case.want {
            Want::Refused | Want::Silent => refused += 1,
            Want::Broken => broken += 1,
            Want::Whole(_) => whole += 1,
        }
        let check = AssertUnwindSafe(|| stand.check(case));
        let checked = catch_unwind(check).unwrap_or_else(|_| Err("no end came in time".into()));
        if let Err(fault) = checked {
            let bytes: String = case
                .bytes
                .escape_ascii()
                .to_string()
                .chars()
                .take(150)
                .collect();
            faults.push(format!("{}: {bytes}: {fault}", case.family));
        }
    }
    println!(
        "answers: {} tried, {refused} refused with 502, {broken} refused or broken off, {whole} whole",
        cases.len()
    );
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn an_answer_that_turns_bad_later_breaks_off() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = service.local_addr().unwrap();
    let bodies = ["zz\r\n", "2\nok\r\n", "0\r\nx\r\n\r\n", "0\n", ""];
    let served = std::thread::spawn(move || {
        for bad in bodies {
            let (mut stream, _) = service.accept().unwrap();
            head(&mut stream).unwrap();
            let first = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
            stream.write_all(first.as_bytes()).unwrap();
            // The caller has it, and asks to go on by closing nothing: its own first byte back is the sign.
            let mut go = [0];
            stream.read_exact(&mut go).unwrap();
            let _ = stream.write_all(bad.as_bytes());
        }
    });
    let gateway = GatewayBuilder::new(address).one_thread().start();
    for bad in bodies {
        let mut client = gateway.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\ncontent-length: 1\r\n\r\n"
        ));
        let mut seen = String::new();
        while let Some(line) = client.line() {
            seen = line;
            if seen == "first" {
                break;
            }
        }
        assert_eq!(seen, "first");
        client.send("x");
        let rest = client.rest();
        assert!(
            !rest.ends_with(b"0\r\n\r\n"),
            "{bad:?} ended well: {rest:?}"
        );
    }
    served.join().unwrap();
    wait_until("they are counted", PATIENCE, || {
        gateway.metric("keygate_upstream_errors_total", &[("upstream", "app")]) >= 5.0
    });
}

#[test]
fn an_early_answer_leaves_no_half_request_behind() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = service.local_addr().unwrap();
    // Answers at the head, reads no body; says on which connection it was asked.
    std::thread::spawn(move || {
        for (number, stream) in service.incoming().enumerate() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                while let Some(head) = head(&mut stream) {
                    if !head.starts_with("POST ") && !head.starts_with("GET ") {
                        return;
                    }
                    let body = format!("{number}");
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let gateway = GatewayBuilder::new(address).one_thread().start();
    let key = format!("host: a\r\nx-api-key: {KEY}\r\n");
    for (fields, rest) in [
        (
            "content-length: 60",
            "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
        ),
        (
            "transfer-encoding: chunked",
            "24\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n\r\n0\r\n\r\n",
        ),
    ] {
        let mut client = gateway.client();
        client.send(format!("POST / HTTP/1.1\r\n{key}{fields}\r\n\r\n"));
        let first = client.read();
        assert_eq!(first.status, 200);
        client.try_send(rest);
        // Whatever became of the rest, the next caller is asked for on a connection of its own.
        let other = gateway.get("/other");
        assert_eq!(other.status, 200);
        assert_ne!(other.text(), first.text(), "{fields}");
        // And what the first caller sent later is no request to the gateway either.
        let behind = client.rest();
        let text = String::from_utf8_lossy(&behind).into_owned();
        assert!(!text.contains("HTTP/1.1 200"), "{fields}: {text}");
    }
}
