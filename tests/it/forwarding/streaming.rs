//! Large bodies: passed on as they come, back-pressure from end to end, nothing lost, nothing kept whole.

use super::request;
use crate::harness::{Gateway, GatewayBuilder, PATIENCE, Upstream, wait_until};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

const MIB: usize = 1024 * 1024;
/// Far above what fits into the sockets' buffers of two hops.
const LARGE: usize = 96 * MIB;
/// No more than this may be under way while the other side does not read.
const UNDER_WAY: u64 = 48 * MIB as u64;

/// A block that differs from its neighbours, so that a lost or doubled one shows in the hash.
fn block(number: usize) -> Vec<u8> {
    let mut block = vec![u8::try_from(number % 251).unwrap(); MIB];
    block[..8].copy_from_slice(&number.to_le_bytes());
    block
}

fn hash_of_blocks(count: usize) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for number in 0..count {
        hasher.update(&block(number));
    }
    hasher.finalize()
}

/// Reads a head, byte by byte so that nothing behind it is taken.
fn skip_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
}

/// Reads so many bytes and gives their hash.
fn read_hash(stream: &mut impl Read, mut count: usize) -> blake3::Hash {
    let (mut hasher, mut buffer) = (blake3::Hasher::new(), vec![0; 256 * 1024]);
    while count > 0 {
        let most = count.min(buffer.len());
        let read = stream.read(&mut buffer[..most]).unwrap();
        assert!(read > 0, "{count} bytes are missing");
        hasher.update(&buffer[..read]);
        count -= read;
    }
    hasher.finalize()
}

/// Writes all blocks; tells through `stalled` once a write had to wait, and counts what was taken.
fn write_blocks(stream: &mut TcpStream, written: &AtomicU64, stalled: &AtomicBool) {
    stream
        .set_write_timeout(Some(Duration::from_millis(250)))
        .unwrap();
    for number in 0..LARGE / MIB {
        let block = block(number);
        let mut rest = &block[..];
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(count) => {
                    written.fetch_add(count as u64, SeqCst);
                    rest = &rest[count..];
                }
                Err(fault) if fault.kind() == ErrorKind::WouldBlock => stalled.store(true, SeqCst),
                Err(_) => return,
            }
        }
    }
}

#[test]
fn a_slow_reader_stops_the_upstream_and_loses_nothing() {
    let (written, stalled) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (counted, told) = (Arc::clone(&written), Arc::clone(&stalled));
    let upstream = Upstream::serving(move |stream, _| {
        skip_head(stream);
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n").unwrap();
        write_blocks(stream, &counted, &told);
    });
    let gateway = Gateway::before(upstream.address);
    let client = gateway.client();
    let mut stream = client.stream().try_clone().unwrap();
    stream
        .write_all(request("GET /", &[], "").as_bytes())
        .unwrap();
    skip_head(&mut stream);
    wait_until("the upstream has to wait", PATIENCE, || {
        stalled.load(SeqCst)
    });
    let under_way = written.load(SeqCst);
    assert!(under_way < UNDER_WAY, "{under_way} bytes are under way");
    assert_eq!(read_hash(&mut stream, LARGE), hash_of_blocks(LARGE / MIB));
}

#[test]
fn a_slow_upstream_stops_the_caller_and_loses_nothing() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let hash = Arc::new(Mutex::new(None));
    let found = Arc::clone(&hash);
    let upstream = Upstream::serving(move |stream, _| {
        skip_head(stream);
        wait.lock().unwrap().recv().unwrap();
        *found.lock().unwrap() = Some(read_hash(stream, LARGE));
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .unwrap();
    });
    let gateway = GatewayBuilder::new(upstream.address)
        .route("max_body: off")
        .start();
    let mut client = gateway.client();
    client.send(request(
        "POST /",
        &[&format!("content-length: {LARGE}")],
        "",
    ));
    let (written, stalled) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let writer = {
        let mut stream = client.stream().try_clone().unwrap();
        let (written, stalled) = (Arc::clone(&written), Arc::clone(&stalled));
        std::thread::spawn(move || write_blocks(&mut stream, &written, &stalled))
    };
    wait_until("the caller has to wait", PATIENCE, || stalled.load(SeqCst));
    let under_way = written.load(SeqCst);
    assert!(under_way < UNDER_WAY, "{under_way} bytes are under way");
    go.send(()).unwrap();
    writer.join().unwrap();
    assert_eq!(client.read().text(), "ok");
    assert_eq!(*hash.lock().unwrap(), Some(hash_of_blocks(LARGE / MIB)));
}

#[test]
fn a_large_chunked_body_passes_both_ways() {
    let upstream = Upstream::answering(|request| {
        let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for piece in request.body.chunks(100_000) {
            answer.extend(format!("{:x}\r\n", piece.len()).into_bytes());
            answer.extend(piece);
            answer.extend(b"\r\n");
        }
        answer.extend(b"0\r\n\r\n");
        answer
    });
    let gateway = GatewayBuilder::new(upstream.address)
        .route("max_body: off")
        .start();
    let mut client = gateway.client();
    client.send(request("PUT /", &["transfer-encoding: chunked"], ""));
    for number in 0..24 {
        client.send(format!("{MIB:x}\r\n"));
        client.send(block(number));
        client.send("\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(blake3::hash(&client.read().body), hash_of_blocks(24));
}

#[test]
fn each_piece_is_passed_on_at_once() {
    let (next, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::serving(move |stream, _| {
        skip_head(stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .unwrap();
        for _ in 0..3 {
            stream.write_all(b"6\r\nevent\n\r\n").unwrap();
            wait.lock().unwrap().recv().unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
    });
    let gateway = Gateway::before(upstream.address);
    let client = gateway.client();
    let mut stream = client.stream().try_clone().unwrap();
    stream
        .write_all(request("GET /", &[], "").as_bytes())
        .unwrap();
    skip_head(&mut stream);
    let mut lines = BufReader::new(stream);
    for _ in 0..3 {
        let mut text = String::new();
        while !text.ends_with("event\n\r\n") {
            assert!(lines.read_line(&mut text).unwrap() > 0);
        }
        next.send(()).unwrap();
    }
}

#[test]
fn a_caller_that_leaves_while_waiting_ends_the_upstream_request() {
    let gone = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&gone);
    let upstream = Upstream::serving(move |stream, keep| {
        skip_head(stream);
        keep(crate::harness::Received::default());
        seen.store(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), SeqCst);
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    client.send(request("GET /", &[], ""));
    wait_until("the request is there", PATIENCE, || {
        upstream.received().len() == 1
    });
    drop(client);
    wait_until("the upstream is let go", PATIENCE, || gone.load(SeqCst));
    wait_until("it is counted as 499", PATIENCE, || {
        gateway.metric("keygate_http_requests_total", &[("code", "499")]) >= 1.0
    });
}

#[test]
fn a_caller_that_leaves_mid_body_ends_the_upstream_request() {
    let gone = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&gone);
    let upstream = Upstream::serving(move |stream, _| {
        skip_head(stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
        while stream.write_all(&[0; 8192]).is_ok() {}
        seen.store(true, SeqCst);
    });
    let gateway = Gateway::before(upstream.address);
    let client = gateway.client();
    let mut stream = client.stream().try_clone().unwrap();
    stream
        .write_all(request("GET /", &[], "").as_bytes())
        .unwrap();
    skip_head(&mut stream);
    read_hash(&mut stream, 100_000);
    drop(stream);
    drop(client);
    wait_until("the upstream is let go", PATIENCE, || gone.load(SeqCst));
}

#[test]
fn a_caller_that_leaves_in_its_own_body_ends_the_upstream_request() {
    let gone = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&gone);
    let upstream = Upstream::serving(move |stream, keep| {
        skip_head(stream);
        keep(crate::harness::Received::default());
        let mut body = Vec::new();
        let _ = stream.read_to_end(&mut body);
        // It must not look like a complete request either.
        seen.store(!body.ends_with(b"0\r\n\r\n"), SeqCst);
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    client.send(request(
        "POST /",
        &["transfer-encoding: chunked"],
        "5\r\nhello\r\n",
    ));
    wait_until("the request is there", PATIENCE, || {
        upstream.received().len() == 1
    });
    drop(client);
    wait_until("the upstream is let go", PATIENCE, || gone.load(SeqCst));
}
