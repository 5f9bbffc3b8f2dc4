//! HTTP/2 towards callers: by real clients, and by frames that no real client sends.

use crate::harness::{
    Client, Gateway, GatewayBuilder, Http2Caller, KEY, PATIENCE, Upstream, run, wait_until,
};
use bytes::Bytes;
use std::io::Read;
use std::process::Command;
use std::time::Duration;

fn key() -> String {
    format!("x-api-key: {KEY}")
}

/// Status, version and body of what curl gets.
fn curl(gateway: &Gateway, more: &[&str]) -> (String, String) {
    let output = Command::new("curl")
        .args([
            "-sS",
            "--max-time",
            "20",
            "-w",
            "\n%{http_code} %{http_version}",
        ])
        .args(["-H", &key()])
        .args(more)
        .arg(format!("http://{}/path?a=b", gateway.address))
        .output()
        .expect("curl (Debian package curl)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, said) = text.rsplit_once('\n').unwrap();
    (said.to_owned(), body.to_owned())
}

#[test]
fn a_request_in_cleartext_goes_up_as_one_of_http_1() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let (said, _) = curl(
        &gateway,
        &["--http2-prior-knowledge", "-d", "a body", "-b", "a=1; b=2"],
    );
    assert_eq!(said, "200 2");
    let received = upstream.last();
    let whole = received.whole();
    assert!(whole.starts_with("POST /path?a=b HTTP/1.1 "), "{whole}");
    assert_eq!(received.header("host"), Some(&*gateway.address.to_string()));
    assert_eq!(received.header("cookie"), Some("a=1; b=2"));
    assert_eq!(received.header("content-length"), Some("6"));
    assert!(whole.contains("a body"), "{whole}");
    assert_eq!(curl(&gateway, &["--http1.1"]).0, "200 1.1");
}

#[test]
fn it_is_not_spoken_where_it_is_not_wanted() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("http2: false")
        .start();
    assert_eq!(curl(&gateway, &["--http1.1"]).0, "200 1.1");
    let (said, _) = curl(&gateway, &["--http2-prior-knowledge"]);
    assert!(said.starts_with("000 "), "{said}");
}

#[test]
fn many_streams_of_many_connections_are_served() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let output = Command::new("h2load")
        .args(["-n", "4000", "-c", "8", "-m", "20", "-H", &key()])
        .arg(format!("http://{}/", gateway.address))
        .output()
        .expect("h2load (Debian package nghttp2-client)");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("4000 succeeded, 0 failed"), "{text}");
    assert!(text.contains("status codes: 4000 2xx"), "{text}");
    assert_eq!(
        gateway.metric("keygate_http_requests_total", &[("route", "app")]),
        4000.0
    );
}

#[test]
fn a_body_may_end_with_a_frame_that_has_nothing_in_it() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    run(async {
        let caller = Http2Caller::connect(gateway.address).await;
        let (answer, mut body) = caller.send("PUT", false).await;
        body.send_data("all of it".into(), false).unwrap();
        body.send_data(Bytes::new(), true).unwrap();
        // Well before the time that a pause may take.
        let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
        assert_eq!(answer.unwrap().unwrap().status(), 200);
    });
    assert_eq!(upstream.last().body, b"all of it");
}

/// A caller that hears its refusal whatever it has to send.
#[test]
fn a_refusal_is_heard_by_who_is_still_sending() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .route("max_body: 1MiB")
        .start();
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    std::fs::write(&large, vec![b'x'; 20_000_000]).unwrap();
    let large = format!("@{}", large.display());
    for _ in 0..10 {
        let wrong = ["--http2-prior-knowledge", "-H", "x-api-key: wrong"];
        for body in ["0123456789", large.as_str()] {
            let (said, _) = curl(&gateway, &[&wrong[..], &["--data-binary", body]].concat());
            assert_eq!(said, "400 2", "two keys are one too many");
        }
    }
    for _ in 0..5 {
        let more = ["--http2-prior-knowledge", "--data-binary", &large];
        assert_eq!(curl(&gateway, &more).0, "413 2");
    }
}

/// A peer that sends frames as told.
struct Peer(Client);

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Peer {
    fn connect(gateway: &Gateway) -> Self {
        Self::with_settings(gateway, &[])
    }

    fn with_settings(gateway: &Gateway, settings: &[u8]) -> Self {
        let mut client = gateway.client();
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut peer = Self(client);
        peer.send(SETTINGS, 0, 0, settings);
        peer
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.try_send(frame)
    }

    fn request(&mut self, stream: u32, fields: &[(&str, &str)]) -> bool {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields))
    }

    /// The next frame; `None` at the end of the connection.
    fn read(&mut self) -> Option<Frame> {
        let mut stream = self.0.stream();
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).ok()?;
        Some(Frame {
            kind: head[3],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// Frames until one of this kind; `None` when the connection ends before.
    fn until(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.read()?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// What a stream is answered with: the first byte of its head, which is the index of its status.
    fn status(&mut self, stream: u32) -> String {
        loop {
            let Some(frame) = self.read() else {
                return "closed".into();
            };
            match (frame.kind, frame.stream) {
                (HEADERS, of) if of == stream => return status(&frame.payload),
                (RST_STREAM, of) if of == stream => return "reset".into(),
                (GOAWAY, _) => return "goaway".into(),
                _ => {}
            }
        }
    }
}

/// Fields as HPACK literals that are in no table (RFC 7541 §6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The status is the first field: from the static table, or a literal with that name.
fn status(block: &[u8]) -> String {
    let known = ["200", "204", "206", "304", "400", "404", "500"];
    match block.first() {
        Some(index @ 0x88..=0x8e) => known[usize::from(index - 0x88)].to_owned(),
        Some(_) => {
            // Index 8 with a new value: three digits, as they are or by Huffman's code.
            match &block[1..] {
                [3, digits @ ..] => String::from_utf8_lossy(&digits[..3]).into_owned(),
                other => format!("{:02x?}", &other[..other.len().min(4)]),
            }
        }
        None => "none".into(),
    }
}

const GOOD: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "api.example.com"),
];

fn with<'a>(change: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields: Vec<_> = GOOD
        .iter()
        .filter(|(name, _)| !change.iter().any(|(other, _)| other == name))
        .copied()
        .collect();
    fields.extend(
        change
            .iter()
            .filter(|(name, value)| !(name.starts_with(':') && value.is_empty())),
    );
    // Pseudo-header fields come first.
    fields.sort_by_key(|(name, _)| !name.starts_with(':'));
    fields
}

#[test]
fn heads_that_mean_two_things_get_nowhere() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let good = with(&[("x-api-key", KEY)]);
    assert_eq!(ask(&gateway, &good), "200");
    let before = upstream.received().len();
    for change in [
        vec![("host", "other.example.com")],
        vec![("host", "api.example.com"), ("host", "api.example.com")],
        vec![(":authority", "")],
        vec![(":authority", "a b")],
        vec![(":authority", "a@b")],
        vec![(":path", "/../x")],
        vec![(":path", "")],
        vec![(":path", "x")],
        vec![(":scheme", "ftp")],
        vec![(":method", "TRACE")],
        vec![(":method", "CONNECT")],
        vec![("transfer-encoding", "chunked")],
        vec![("connection", "close")],
        vec![("te", "gzip")],
        vec![("Upper", "case")],
        vec![("a b", "c")],
        vec![("a", "b\r\nc: d")],
        vec![("a", "b\0")],
        vec![("content-length", "5")],
        vec![(":status", "200")],
    ] {
        let mut change = change;
        change.push(("x-api-key", KEY));
        let answer = ask(&gateway, &with(&change));
        assert!(
            ["400", "reset", "goaway", "closed"].contains(&&*answer),
            "{change:?}: {answer}"
        );
    }
    assert_eq!(upstream.received().len(), before, "nothing of it went up");
    assert_eq!(ask(&gateway, &good), "200");
}

fn ask(gateway: &Gateway, fields: &[(&str, &str)]) -> String {
    let mut peer = Peer::connect(gateway);
    peer.request(1, fields);
    peer.status(1)
}

#[test]
fn a_cookie_that_came_in_crumbs_goes_up_whole() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let fields = with(&[("x-api-key", KEY), ("cookie", "a=1"), ("cookie", "b=2")]);
    let mut all = fields;
    all.push(("cookie", "c=3"));
    assert_eq!(ask(&gateway, &all), "200");
    let cookie = upstream.last().header("cookie").map(str::to_owned);
    assert_eq!(cookie.as_deref(), Some("a=1; b=2; c=3"));
}

#[test]
fn a_peer_that_resets_what_it_asks_for_is_sent_away() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let mut peer = Peer::connect(&gateway);
    let fields = with(&[("x-api-key", KEY)]);
    for number in 0..5000 {
        let stream = 1 + 2 * number;
        let goes_on =
            peer.request(stream, &fields) && peer.send(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        if !goes_on {
            break;
        }
    }
    assert!(
        peer.until(GOAWAY)
            .is_some_and(|frame| frame.payload.len() >= 8)
    );
    assert!(upstream.received().len() < 2000);
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn a_flood_of_continuations_or_settings_is_cut_off() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let mut peer = Peer::connect(&gateway);
    let block = block(&with(&[("x-api-key", KEY)]));
    peer.send(HEADERS, 0, 1, &block);
    let crumb = [0, 1, b'a', 100]
        .into_iter()
        .chain([b'x'; 100])
        .collect::<Vec<u8>>();
    let continuation = 9;
    let sent = (0..100_000)
        .take_while(|_| peer.send(continuation, 0, 1, &crumb))
        .count();
    assert!(sent < 100_000, "{sent}");
    let mut peer = Peer::connect(&gateway);
    // Acknowledgements that nobody reads pile up, unless somebody stops.
    let floods = (0..2_000_000)
        .take_while(|_| peer.send(PING, 0, 0, &[0; 8]))
        .count();
    assert!(floods < 2_000_000, "{floods}");
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(
        upstream.received().len(),
        1,
        "nothing of the floods went up"
    );
}

#[test]
fn frames_that_ask_for_nothing_are_counted_though_somebody_reads_the_answers() {
    let gateway = Gateway::before(Upstream::ok().address);
    let kinds: [(u8, u32, &[u8]); 5] = [
        (PING, 0, &[0; 8]),
        (SETTINGS, 0, &[]),
        (2, 1, &[0, 0, 0, 0, 1]),
        (8, 0, &[0, 0, 0, 1]),
        (0xbe, 0, b"unknown"),
    ];
    for (kind, stream, payload) in kinds {
        let mut peer = Peer::connect(&gateway);
        let mut reader = peer.0.stream().try_clone().unwrap();
        let reading = std::thread::spawn(move || {
            let _ = std::io::copy(&mut reader, &mut std::io::sink());
        });
        let sent = (0..200_000)
            .take_while(|_| peer.send(kind, 0, stream, payload))
            .count();
        assert!((2000..200_000).contains(&sent), "{kind}: {sent}");
        reading.join().unwrap();
    }
    let shed = [("listener", "main"), ("reason", "control_frames")];
    assert_eq!(gateway.metric("keygate_shed_total", &shed), 5.0);
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn a_silent_connection_is_closed_and_a_stop_waits_for_streams() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("header_timeout: 300ms, idle_timeout: 300ms")
        .start();
    let mut silent = Peer::connect(&gateway);
    assert!(silent.until(200).is_none(), "it ends");
    let mut used = Peer::connect(&gateway);
    used.request(1, &with(&[("x-api-key", KEY)]));
    assert_eq!(used.status(1), "200");
    assert!(used.until(200).is_none(), "it ends too");
    let open = [("listener", "main")];
    wait_until("nobody is there", PATIENCE, || {
        gateway.metric("keygate_connections", &open) == 0.0
    });
}

/// `SETTINGS_INITIAL_WINDOW_SIZE`: what a peer takes of each answer before it says more.
const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];
const SMALL_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 5];
const WINDOW_UPDATE: u8 = 8;

#[test]
fn an_answer_that_its_peer_does_not_take_is_reset_and_others_go_on() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/" => b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789".to_vec(),
        _ => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
    });
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("body_timeout: 300ms, idle_timeout: 20s")
        .start();
    let shed = || gateway.metric("keygate_shed_total", &[]);
    let slow_read = || {
        let labels = [("listener", "main"), ("reason", "slow_read")];
        gateway.metric("keygate_shed_total", &labels)
    };
    let get = with(&[("x-api-key", KEY)]);
    let mut peer = Peer::with_settings(&gateway, &NO_WINDOW);
    peer.request(1, &get);
    assert_eq!(peer.status(1), "200");
    assert_eq!(peer.status(1), "reset");
    assert_eq!((slow_read(), shed()), (1.0, 1.0));
    peer.request(3, &with(&[("x-api-key", KEY), (":path", "/empty")]));
    assert_eq!(peer.status(3), "204");
    // A window that is enough, late.
    peer.request(5, &get);
    assert_eq!(peer.status(5), "200");
    peer.send(WINDOW_UPDATE, 0, 5, &[0, 0, 1, 0]);
    assert_eq!(peer.until(0).map(|frame| frame.payload.len()), Some(10));
    assert_eq!((slow_read(), shed()), (1.0, 1.0));
}

#[test]
fn an_answer_in_drops_is_reset_when_it_is_too_slow_on_the_whole() {
    let upstream = Upstream::answering(|_| {
        let body = "x".repeat(200_000);
        format!("HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n{body}").into_bytes()
    });
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("min_body_rate: { bytes: 1MiB, grace: 1s }")
        .start();
    let mut peer = Peer::with_settings(&gateway, &SMALL_WINDOW);
    peer.request(1, &with(&[("x-api-key", KEY)]));
    assert_eq!(peer.status(1), "200");
    // A byte each, which would go on for days.
    let mut drops = 0;
    while peer.until(0).is_some() && drops < 10_000 {
        drops += 1;
        pause();
        if !peer.send(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]) {
            break;
        }
        let labels = [("listener", "main"), ("reason", "slow_read")];
        if gateway.metric("keygate_shed_total", &labels) > 0.0 {
            return;
        }
    }
    panic!("{drops} drops");
}

/// Lets time pass where time is what is tested.
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}
