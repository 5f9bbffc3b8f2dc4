//! What hostile callers and services send, as tables, and what has to come of it however it arrives: refused, or passed on as
//! one message that means one thing. `docs/strictness.md` tells of each family; a test compares it with the tables.

mod answers;
mod chunks;
mod framing;
mod hosts;
mod http2;
mod lines;
mod paths;
mod strict;

use crate::harness::{Client, Gateway, GatewayBuilder, KEY, PATIENCE, hash_of, peer, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Stdio;
use strict::{Message, Strict};

/// One thing a caller sends.
struct Case {
    family: &'static str,
    name: String,
    bytes: Vec<u8>,
    want: Want,
}

/// What has to come of it.
#[derive(Debug, Clone)]
enum Want {
    /// One of these statuses; then the connection is closed, and the service has got nothing.
    Refused(&'static [u16]),
    /// The service gets one message.
    Passed(Passed),
    /// The head is good and the body is not: the service gets no whole message, the connection is closed, and if there is an
    /// answer it is a 400.
    Broken,
}

#[derive(Debug, Clone)]
struct Passed {
    /// Method and target.
    line: String,
    framing: &'static str,
    body: Vec<u8>,
    /// Whether the connection ends behind it.
    closes: bool,
}

const BAD: Want = Want::Refused(&[400]);

fn passed(line: &str, framing: &'static str, body: &str) -> Want {
    Want::Passed(Passed {
        line: line.to_owned(),
        framing,
        body: body.as_bytes().to_vec(),
        closes: false,
    })
}

fn passed_and_closed(line: &str, framing: &'static str, body: &str) -> Want {
    Want::Passed(Passed {
        line: line.to_owned(),
        framing,
        body: body.as_bytes().to_vec(),
        closes: true,
    })
}

/// A table under way.
#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn add(
        &mut self,
        family: &'static str,
        name: impl Into<String>,
        bytes: impl AsRef<[u8]>,
        want: Want,
    ) {
        self.0.push(Case {
            family,
            name: name.into(),
            bytes: bytes.as_ref().to_vec(),
            want,
        });
    }
}

/// How a case's bytes arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Whole,
    ByteByByte,
    Cut,
    BehindAGet,
    BehindALength,
    BehindChunks,
    /// Behind the second half of a body whose first half has been passed on.
    BehindHalfALength,
    BehindHalfOfChunks,
}

const DELIVERIES: [Delivery; 8] = [
    Delivery::Whole,
    Delivery::ByteByByte,
    Delivery::Cut,
    Delivery::BehindAGet,
    Delivery::BehindALength,
    Delivery::BehindChunks,
    Delivery::BehindHalfALength,
    Delivery::BehindHalfOfChunks,
];

const GOOD: &str = "/good";
const PROBE: &str = "GET /probe HTTP/1.1\r\nhost: a\r\n\r\n";

/// A gateway with an open route before a service.
fn open_to_all(service: SocketAddr) -> Gateway {
    let rest = format!(
        "upstreams: {{ app: {{ endpoints: [\"http://{service}\"] }} }}\n\
         routes: [{{ name: app, upstream: app, match: {{ path: / }}, auth: {{ required: false }} }}]\n\
         keys: [{{ name: ci, hash: \"{}\", routes: [app] }}]\n",
        hash_of(KEY)
    );
    GatewayBuilder::with_rest(&rest).one_thread().start()
}

/// It before the strict service.
struct Stand {
    service: Strict,
    gateway: Gateway,
}

impl Stand {
    fn start() -> Self {
        let service = Strict::start();
        let gateway = open_to_all(service.address);
        Self { service, gateway }
    }

    /// What the service got of a case.
    fn got(&self) -> Vec<Message> {
        let mut messages = self.service.messages();
        messages.retain(|message| ![GOOD, "/probe"].contains(&&*message.target));
        messages
    }

    /// Sends a case in this way; what stands before it is answered.
    fn deliver(&self, bytes: &[u8], delivery: Delivery, seed: u64) -> Client {
        let mut client = self.gateway.client();
        client
            .stream()
            .set_read_timeout(Some(std::time::Duration::from_secs(10)))
            .unwrap();
        let (first, then) = match delivery {
            Delivery::Whole => ("", ""),
            Delivery::ByteByByte if bytes.len() < 4000 => {
                for byte in bytes {
                    client.try_send([*byte]);
                }
                return client;
            }
            Delivery::ByteByByte | Delivery::Cut => {
                for piece in cut(bytes, seed) {
                    client.try_send(piece);
                }
                return client;
            }
            Delivery::BehindAGet => ("", "GET /good HTTP/1.1\r\nhost: a\r\n\r\n"),
            Delivery::BehindALength => (
                "",
                "POST /good HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody",
            ),
            Delivery::BehindChunks => (
                "",
                "POST /good HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
            ),
            Delivery::BehindHalfALength => (
                "POST /good HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nhalf",
                "body",
            ),
            Delivery::BehindHalfOfChunks => (
                "POST /good HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
                "4\r\nbody\r\n0\r\n\r\n",
            ),
        };
        if !first.is_empty() {
            client.send(first);
            let half = |bytes: &[u8]| bytes.windows(4).any(|window| window == b"half");
            wait_until("half of it is there", PATIENCE, || {
                half(&self.service.unfinished())
            });
        }
        client.try_send([then.as_bytes(), bytes].concat());
        if !then.is_empty() {
            let answer = client.read();
            assert!(answer.text().ends_with(GOOD), "the good one: {answer:?}");
        }
        client
    }

    fn check(&self, case: &Case, delivery: Delivery, seed: u64) {
        self.service.forget();
        let mut client = self.deliver(&case.bytes, delivery, seed);
        match &case.want {
            Want::Refused(statuses) => {
                let answer = client.try_read();
                let status = answer.map(|answer| answer.status);
                let fits = status.is_some_and(|status| statuses.contains(&status));
                assert!(fits, "not refused with {statuses:?} but {status:?}");
                assert_eq!(client.rest(), b"", "the connection is not closed");
                assert_eq!(self.got(), [], "the service got something");
                assert_eq!(self.service.unfinished(), b"");
            }
            Want::Broken => {
                let answer = client.try_read();
                let status = answer.map(|answer| answer.status);
                assert!(matches!(status, None | Some(400)), "{status:?}");
                assert_eq!(client.rest(), b"", "the connection is not closed");
                assert_eq!(self.got(), [], "the service got a whole message");
                wait_until("the service is let go", PATIENCE, || {
                    self.service.unfinished().is_empty()
                });
            }
            Want::Passed(want) => self.check_passed(case, want, &mut client),
        }
    }

    fn check_passed(&self, case: &Case, want: &Passed, client: &mut Client) {
        let head_only = want.line.starts_with("HEAD ");
        let mut answer = None;
        while answer.is_none() {
            let next = if head_only {
                client.read_head()
            } else {
                client.read()
            };
            answer = Some(next).filter(|answer| answer.status != 100);
        }
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        if !head_only {
            assert_eq!(answer.text(), want.line, "the answer of another request");
        }
        if want.closes {
            assert_eq!(client.rest(), b"", "the connection is not closed");
        } else {
            client.send(PROBE);
            assert_eq!(client.read().text(), "GET /probe");
        }
        let got = self.got();
        let [message] = &got[..] else {
            panic!("the service got {got:?}");
        };
        let line = format!("{} {}", message.method, message.target);
        assert_eq!(
            (&*line, message.framing, &message.body),
            (&*want.line, want.framing, &want.body)
        );
        let keyed = case
            .bytes
            .windows(KEY.len())
            .any(|part| part == KEY.as_bytes());
        for (name, times) in [
            ("x-forwarded-for", 1),
            ("x-request-id", 1),
            ("x-consumer-id", usize::from(keyed)),
            ("x-api-key", 0),
        ] {
            assert_eq!(message.all(name).len(), times, "{name} in {message:?}");
        }
    }
}

/// Three cuts, told by a seed.
fn cut(bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut places: Vec<usize> = (0..3)
        .map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % (bytes.len() as u64 + 1)).unwrap()
        })
        .collect();
    places.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for place in places.into_iter().chain([bytes.len()]) {
        if place > from {
            pieces.push(&bytes[from..place]);
        }
        from = place;
    }
    pieces
}

/// Sends every case in every way; tells of all that went wrong, and how many there were.
fn run(cases: &[Case]) {
    let faults: Vec<String> = std::thread::scope(|scope| {
        let runs = DELIVERIES.map(|delivery| scope.spawn(move || run_as(cases, delivery)));
        runs.into_iter()
            .flat_map(|run| run.join().unwrap())
            .collect()
    });
    figures(cases);
    let some: Vec<&str> = faults.iter().map(String::as_str).take(60).collect();
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        some.join("\n")
    );
}

fn run_as(cases: &[Case], delivery: Delivery) -> Vec<String> {
    let mut stand = Stand::start();
    let mut faults = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let check = AssertUnwindSafe(|| stand.check(case, delivery, number as u64));
        if let Err(panic) = catch_unwind(check) {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let Case { family, name, .. } = case;
            faults.push(format!(
                "{family}: {name:?}, {delivery:?}: {}",
                text.unwrap_or_default()
                    .chars()
                    .take(200)
                    .collect::<String>()
            ));
            stand = Stand::start();
        }
    }
    faults
}

fn figures(cases: &[Case]) {
    let mut families: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for case in cases {
        let place = match case.want {
            Want::Refused(_) => 0,
            Want::Broken => 1,
            Want::Passed(_) => 2,
        };
        families.entry(case.family).or_default()[place] += 1;
    }
    for (family, [refused, broken, passed]) in families {
        let all = (refused + broken + passed) * DELIVERIES.len();
        println!(
            "{family}: {all} tried ({} ways each), {refused} refused, {broken} broken off, {passed} passed as one message",
            DELIVERIES.len()
        );
    }
}

/// All tables of HTTP/1.1 requests.
fn requests() -> Vec<Case> {
    let mut cases = Cases::default();
    lines::table(&mut cases);
    framing::table(&mut cases);
    chunks::table(&mut cases);
    hosts::table(&mut cases);
    cases.0
}

/// The first cells of the rows below a mark in the document, without their backticks.
fn documented(mark: &str) -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/strictness.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mark = format!("<!-- {mark} -->");
    let below = text.lines().skip_while(|line| *line != mark);
    let rows = below
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    rows.skip(2)
        .filter_map(|row| row.split('`').nth(1).map(str::to_owned))
        .collect()
}

#[test]
fn the_document_names_every_family_and_no_other() {
    let of = |families: Vec<&str>| -> BTreeSet<String> {
        families.into_iter().map(str::to_owned).collect()
    };
    let cases = requests();
    let families = cases.iter().map(|case| case.family).collect();
    assert_eq!(documented("families of requests"), of(families));
    let families = http2::table().into_iter().map(|(family, _)| family);
    assert_eq!(documented("families of streams"), of(families.collect()));
    assert_eq!(documented("families of answers"), of(answers::families()));
}

#[test]
fn the_rest_of_a_body_that_nobody_read_is_no_head() {
    let stand = Stand::start();
    let next = "POST /next HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let key = "x-api-key: unknown";
    for (framing, half, rest) in [
        ("content-length: 8", "half", "rest"),
        (
            "transfer-encoding: chunked",
            "4\r\nhalf\r\n",
            "4\r\nrest\r\n0\r\n\r\n",
        ),
    ] {
        let head = format!("POST /refused HTTP/1.1\r\nhost: a\r\n{key}\r\n{framing}\r\n\r\n");
        // All of it at once: the connection may go on.
        let mut client = stand.gateway.client();
        client.send(format!("{head}{half}{rest}{next}"));
        assert_eq!(client.read().status, 401);
        let second = client.try_read().map(|answer| answer.status);
        assert!(matches!(second, None | Some(400)), "{second:?}");
        assert_eq!(client.rest(), b"");
        // The rest behind the answer.
        let mut client = stand.gateway.client();
        client.send(format!("{head}{half}"));
        assert_eq!(client.read().status, 401);
        client.try_send(format!("{rest}{next}"));
        let second = client.try_read().map(|answer| answer.status);
        assert!(matches!(second, None | Some(400)), "{second:?}");
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(stand.got(), []);
}

#[test]
fn what_passes_is_read_the_same_by_h11() {
    let stand = Stand::start();
    let mut passed = Vec::new();
    for (number, case) in requests().iter().enumerate() {
        if let Want::Passed(_) = case.want {
            stand.check(case, Delivery::Whole, number as u64);
            passed.extend(stand.got());
        }
    }
    // It takes bytes in targets for what they are in ASCII only.
    passed.retain(|message| message.target.is_ascii());
    let mut h11 = peer("h11_reads.py")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = Vec::new();
    for message in &passed {
        input.extend_from_slice(format!("{}\n", message.raw.len()).as_bytes());
        input.extend_from_slice(&message.raw);
    }
    let mut stdin = h11.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = h11.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let read = String::from_utf8_lossy(&output.stdout).into_owned();
    let wanted: Vec<String> = passed
        .iter()
        .map(|message| {
            let Message {
                method,
                target,
                body,
                ..
            } = message;
            format!("{method} {target} {} True", body.len())
        })
        .collect();
    assert!(wanted.len() > 100, "{}", wanted.len());
    assert_eq!(read.lines().collect::<Vec<_>>(), wanted);
    println!(
        "h11 reads {} messages as the strict reader does",
        wanted.len()
    );
}

#[test]
fn every_request_is_refused_or_means_one_thing() {
    let cases = requests();
    assert!(cases.len() >= 150, "{}", cases.len());
    run(&cases);
}
