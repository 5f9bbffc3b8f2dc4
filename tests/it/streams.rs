//! What lasts: event streams and calls of gRPC, token by token, and how they end with their key.

use crate::harness::{
    Gateway, GatewayBuilder, KEY, PATIENCE, Process, Upstream, read_request, wait_until,
};
use keygate::clock::{Clock, TestClock};
use keygate::domain::time::Timestamp;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

/// A service that begins to answer like this, and then sends what it is told, a chunk each.
fn told(head: &'static str) -> (Upstream, Sender<&'static str>) {
    let (sender, receiver) = channel::<&'static str>();
    let receiver: Arc<Mutex<Receiver<&'static str>>> = Arc::new(Mutex::new(receiver));
    let upstream = Upstream::serving(move |stream, keep| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let Some(request) = read_request(&mut reader) else {
            return;
        };
        keep(request);
        stream.write_all(head.as_bytes()).unwrap();
        let receiver = receiver.lock().unwrap();
        while let Ok(text) = receiver.recv() {
            let chunk = format!("{:x}\r\n{text}\r\n", text.len());
            if stream.write_all(chunk.as_bytes()).is_err() {
                return;
            }
        }
    });
    (upstream, sender)
}

fn ask(gateway: &Gateway) -> BufReader<TcpStream> {
    ask_with(gateway, KEY)
}

fn ask_with(gateway: &Gateway, key: &str) -> BufReader<TcpStream> {
    let mut client = gateway.client();
    client.send(format!(
        "GET /events HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n\r\n"
    ));
    let stream = client.stream().try_clone().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    reader
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn disable(gateway: &mut Gateway) {
    gateway.edit("hash: \"blake3", "state: disabled, hash: \"blake3");
}

fn cut(gateway: &Gateway, kind: &str) -> f64 {
    gateway.metric(
        "keygate_streams_cut_total",
        &[("kind", kind), ("reason", "disabled")],
    )
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a delay is real time")]
fn each_event_arrives_before_the_next_is_sent() {
    let (upstream, say) = told(EVENTS);
    let gateway = Gateway::before(upstream.address);
    let mut reader = ask(&gateway);
    let began = Instant::now();
    for _ in 0..50 {
        say.send("data: a token\n\n").unwrap();
        let mut chunk = [0; 20];
        reader.read_exact(&mut chunk).unwrap();
        assert_eq!(&chunk, b"f\r\ndata: a token\n\n\r\n");
    }
    // A fifth of a second for each, which some proxies take, would be ten.
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[test]
fn events_end_within_a_second_of_their_key() {
    let (upstream, say) = told(EVENTS);
    let mut gateway = Gateway::before(upstream.address);
    let mut reader = ask(&gateway);
    say.send("data: 1\n\n").unwrap();
    disable(&mut gateway);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    // Not as if the stream had come to its end.
    assert_eq!(rest, b"9\r\ndata: 1\n\n\r\n");
    assert_eq!(cut(&gateway, "sse"), 1.0);
}

#[test]
fn events_end_when_the_time_of_their_key_is_over() {
    let (upstream, say) = told(EVENTS);
    let clock = Arc::new(TestClock::at(time("2026-12-31T00:00:00Z")));
    let gateway = GatewayBuilder::new(upstream.address)
        .replace("name: ci,", "name: ci, expires_at: 2027-01-01,")
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .start();
    let mut reader = ask(&gateway);
    say.send("data: 1\n\n").unwrap();
    let mut event = [0; 14];
    reader.read_exact(&mut event).unwrap();
    clock.set(time("2027-01-01T00:00:00Z"));
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "{rest:?}");
    let labels = [("kind", "sse"), ("reason", "expired")];
    assert_eq!(gateway.metric("keygate_streams_cut_total", &labels), 1.0);
}

#[test]
fn events_of_a_managed_key_outlive_its_rotation_and_end_with_its_revocation() {
    let (upstream, say) = told(EVENTS);
    let gateway = GatewayBuilder::new(upstream.address).stored().start();
    let body = json!({"name": "k", "scopes": ["app:read"]});
    let made = gateway.api("POST", "/v1/keys", body).must(201);
    let path = |act: &str| format!("/v1/keys/{}/{act}", made["key"]["id"].as_str().unwrap());
    let mut reader = ask_with(&gateway, made["secret"].as_str().unwrap());
    gateway
        .api("POST", &path("rotate"), json!({"grace": "1h"}))
        .must(200);
    std::thread::sleep(Duration::from_millis(600));
    say.send("data: 1\n\n").unwrap();
    let mut event = [0; 14];
    reader.read_exact(&mut event).unwrap();
    gateway
        .api("POST", &path("revoke"), json!({"reason": "leaked"}))
        .must(200);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "{rest:?}");
    let labels = [("kind", "sse"), ("reason", "revoked")];
    assert_eq!(gateway.metric("keygate_streams_cut_total", &labels), 1.0);
}

#[test]
fn an_answer_that_nobody_reads_ends_too() {
    let upstream = Upstream::serving(|stream, keep| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        keep(read_request(&mut reader).unwrap());
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
            .unwrap();
        let piece = vec![b'x'; 65536];
        while stream.write_all(&piece).is_ok() {}
    });
    let mut gateway = Gateway::before(upstream.address);
    let mut reader = ask(&gateway);
    disable(&mut gateway);
    wait_until("it is cut", PATIENCE, || cut(&gateway, "answer") == 1.0);
    let mut all = Vec::new();
    let _ = reader.read_to_end(&mut all);
    assert!(all.len() < 1_000_000_000);
}

#[test]
fn a_request_that_waits_for_its_answer_gets_it() {
    let upstream = Upstream::serving(|stream, keep| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        keep(read_request(&mut reader).unwrap());
        std::thread::sleep(Duration::from_millis(2500));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let mut gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\ncontent-length: 1\r\n\r\nx"
    ));
    wait_until("it is under way", PATIENCE, || {
        !upstream.received().is_empty()
    });
    disable(&mut gateway);
    assert_eq!(client.read().text(), "ok");
}

/// curl, as a caller of gRPC: fields and trailers, then the body, as they come.
fn call(gateway: &Gateway, more: &[&str]) -> Command {
    call_as(gateway, "application/grpc", more)
}

fn call_as(gateway: &Gateway, kind: &str, more: &[&str]) -> Command {
    let mut command = Command::new("curl");
    command
        .args([
            "-sS",
            "-i",
            "-N",
            "--http2-prior-knowledge",
            "--max-time",
            "60",
        ])
        .args(["-H", &format!("content-type: {kind}"), "-H", "te: trailers"])
        .args(["--data-binary", "", "-v"])
        .args(more)
        .arg(format!("http://{}/package.Service/Method", gateway.address))
        .stdin(Stdio::null());
    command
}

fn said(mut command: Command) -> String {
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).to_lowercase()
        + &String::from_utf8_lossy(&output.stderr).to_lowercase()
}

#[test]
fn refusals_are_told_as_grpc_tells_them() {
    let gateway = Gateway::before(Upstream::ok().address);
    let refused = said(call(&gateway, &[]));
    for line in [
        "http/2 200",
        "content-type: application/grpc",
        "grpc-status: 16",
        "grpc-message: missing_api_key: no api key was presented",
        "x-request-id: req_",
    ] {
        assert!(refused.contains(line), "{line}: {refused}");
    }
    // One frame of fields is all there is.
    assert!(!refused.contains("< content-length"), "{refused}");
    let wrong = said(call(&gateway, &["-H", "x-api-key: wrong"]));
    assert!(wrong.contains("grpc-status: 16"), "{wrong}");
    let gone = GatewayBuilder::new(([127, 0, 0, 1], 1).into()).start();
    let key = format!("x-api-key: {KEY}");
    let unavailable = said(call(&gone, &["-H", &key]));
    assert!(unavailable.contains("grpc-status: 14"), "{unavailable}");
    // Who speaks HTTP is answered in HTTP.
    let web = said(call_as(&gateway, "application/grpc-web", &[]));
    assert!(web.contains("http/2 401"), "{web}");
}

#[test]
fn a_call_ends_at_the_deadline_its_caller_sets() {
    let upstream = Upstream::serving(|stream, keep| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        keep(read_request(&mut reader).unwrap());
        let _ = reader.read(&mut [0]);
    });
    let gateway = Gateway::before(upstream.address);
    let key = format!("x-api-key: {KEY}");
    let late = said(call(&gateway, &["-H", &key, "-H", "grpc-timeout: 300m"]));
    assert!(late.contains("grpc-status: 4"), "{late}");
    assert_eq!(upstream.last().header("grpc-timeout"), Some("300m"));

    let (upstream, say) = told(
        "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    let gateway = Gateway::before(upstream.address);
    say.send("begun").unwrap();
    let late = said(call(&gateway, &["-H", &key, "-H", "grpc-timeout: 300m"]));
    assert!(late.contains("begun"), "{late}");
    assert!(late.contains("grpc-status: 4"), "{late}");
}

#[test]
fn a_call_ends_with_its_key_and_says_why() {
    let (upstream, say) = told(
        "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    let mut gateway = Gateway::before(upstream.address);
    let key = format!("x-api-key: {KEY}");
    let mut command = call(&gateway, &["-H", &key]);
    let mut caller = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    say.send("begun").unwrap();
    wait_until("it is under way", PATIENCE, || {
        !upstream.received().is_empty()
    });
    disable(&mut gateway);
    let mut told = String::new();
    let child = caller.child();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut told)
        .unwrap();
    assert!(told.contains("grpc-status: 16"), "{told}");
    assert!(
        told.contains("grpc-message: api_key_disabled: the API key is disabled"),
        "{told}"
    );
    assert_eq!(cut(&gateway, "grpc"), 1.0);
}
