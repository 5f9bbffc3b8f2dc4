//! Several endpoints: who gets which request, who is passed over, and what is sent again.

mod balance;
mod circuit;
mod health;
mod names;
mod retries;

use crate::harness::{GatewayBuilder, Received, Upstream, read_request};
use std::io::{BufReader, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::SeqCst};

/// A gateway of one thread before these endpoints, with further settings of its upstream `app`, comma-separated.
fn before(endpoints: &[&Upstream], settings: &str) -> GatewayBuilder {
    let list: Vec<String> = endpoints
        .iter()
        .map(|one| format!("\"http://{}\"", one.address))
        .collect();
    listed(&list.join(", "), settings)
}

/// As [`before`], with the list of endpoints as it stands in the file.
fn listed(endpoints: &str, settings: &str) -> GatewayBuilder {
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let builder = GatewayBuilder::new(nowhere)
        .replace("\"http://127.0.0.1:1\"", endpoints)
        .one_thread();
    if settings.is_empty() {
        return builder;
    }
    builder.replace("] }\nroutes:", &format!("], {settings} }}\nroutes:"))
}

/// An upstream whose status is changed from outside; the body says which one it was.
struct Moody {
    upstream: Upstream,
    status: Arc<AtomicU16>,
}

impl Moody {
    fn new() -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let shown = Arc::clone(&status);
        let upstream = Upstream::answering(move |_| answer(shown.load(SeqCst), ""));
        Self { upstream, status }
    }

    fn becomes(&self, status: u16) {
        self.status.store(status, SeqCst);
    }

    /// Requests but for health checks.
    fn served(&self) -> usize {
        let received = self.upstream.received();
        received.iter().filter(|one| !is_check(one)).count()
    }
}

fn is_check(request: &Received) -> bool {
    request.header("user-agent") == Some("keygate-health")
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// An upstream that holds what it is asked until it is released.
struct Holding {
    upstream: Upstream,
    release: Arc<AtomicBool>,
}

impl Holding {
    fn new() -> Self {
        let release = Arc::new(AtomicBool::new(false));
        let open = Arc::clone(&release);
        let upstream = Upstream::serving(move |stream, keep| {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while let Some(request) = read_request(&mut reader) {
                keep(request);
                crate::harness::wait_until("it is released", crate::harness::PATIENCE, || {
                    open.load(SeqCst)
                });
                if stream.write_all(&answer(200, "held")).is_err() {
                    return;
                }
            }
        });
        Self { upstream, release }
    }

    fn release(&self) {
        self.release.store(true, SeqCst);
    }
}
