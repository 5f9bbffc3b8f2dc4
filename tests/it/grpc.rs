//! gRPC through the gateway, by its own library for Python on both sides: trailers, streams both ways at once, deadlines,
//! and calls that are given up.

use crate::harness::{
    Gateway, GatewayBuilder, KEY, PATIENCE, Process, free_port, wait_for_port, wait_until,
};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// Python with what `tests/support/peers/install` has put there.
fn python() -> Command {
    let build = Path::new(env!("CARGO_BIN_EXE_keygate")).ancestors().nth(2);
    let program = build.unwrap().join("peers/bin/python3");
    assert!(
        program.exists(),
        "peers are not installed: `tests/support/peers/install {}` does it, and ./run-tests calls that",
        build.unwrap().display()
    );
    Command::new(program)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/support/peers")
        .join(name)
}

/// A service of gRPC, and the gateway in front of it.
struct Service {
    gateway: Gateway,
    said: Arc<Mutex<Vec<String>>>,
    process: Process,
}

impl Service {
    fn start() -> Self {
        let address: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
        let mut command = python();
        command
            .arg(script("grpc_service.py"))
            .arg(address.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = Process::start(&mut command);
        let out = process.child().stdout.take().unwrap();
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        wait_for_port(address);
        let gateway = GatewayBuilder::new(address)
            .upstream("protocol: h2")
            .start();
        Self {
            gateway,
            said,
            process,
        }
    }

    fn caller(&self, part: &str) -> Command {
        let mut command = python();
        command
            .arg(script("grpc_caller.py"))
            .args([&self.gateway.address.to_string(), KEY, part]);
        command
    }

    /// Has a caller try something out.
    fn tries(&self, part: &str) {
        let output = self.caller(part).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{part}: {told}");
    }

    fn says(&self, word: &str) {
        wait_until(word, PATIENCE, || {
            self.said.lock().unwrap().iter().any(|line| line == word)
        });
    }
}

#[test]
fn calls_of_every_kind_go_through() {
    let service = Service::start();
    service.tries("unary");
    service.tries("streams");
}

#[test]
fn who_gives_up_is_heard_by_the_service() {
    let service = Service::start();
    service.tries("deadline");
    service.says("slow call ended, active: False");
    service.tries("cancel");
    service.says("endless call ended");
}

#[test]
fn a_service_that_dies_ends_no_call_well() {
    let mut service = Service::start();
    let mut command = service.caller("gone");
    let mut caller = Process::start(command.stdout(Stdio::piped()));
    let mut line = String::new();
    let out = caller.child().stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    assert_eq!(line, "ticking\n");
    service.process.signal("KILL");
    service.process.wait(PATIENCE);
    assert_eq!(caller.wait(PATIENCE), Some(0));
}
