//! The process from start to end, and every command: what it prints, and the exit code scripts go by.

use crate::harness::{
    Answer, Client, GatewayBuilder, KEY, PATIENCE, Served, Upstream, ask, free_port, hash_of,
    keygate, wait_until,
};
use socket2::{Domain, Socket, Type};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use tempfile::TempDir;

/// An upstream that answers when told to.
fn held() -> (Upstream, Sender<()>) {
    let (go, wait) = channel();
    let wait = Mutex::new(wait);
    let upstream = Upstream::answering(move |_| {
        let _ = wait.lock().unwrap().recv();
        super::forwarding::ok("late")
    });
    (upstream, go)
}

fn start(upstream: &Upstream, top: &str) -> Served {
    Served::start(&GatewayBuilder::new(upstream.address).top(top).yaml())
}

/// Begins a request and waits until the upstream has it.
fn begin(served: &Served, upstream: &Upstream) -> Client {
    let mut client = Client::connect(served.address);
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"
    ));
    wait_until("the request is there", PATIENCE, || {
        !upstream.received().is_empty()
    });
    client
}

fn get(address: SocketAddr) -> Answer {
    ask(address, "GET /", &[&format!("x-api-key: {KEY}")])
}

#[test]
fn sigterm_finishes_what_runs_and_takes_nothing_new() {
    let (upstream, go) = held();
    let mut served = start(&upstream, "drain_timeout: 30s");
    let mut silent = Client::connect(served.address);
    let mut client = begin(&served, &upstream);
    served.process.signal("TERM");
    wait_until("readiness is down", PATIENCE, || {
        served.manage("/readyz").status == 503
    });
    wait_until("new connections are refused", PATIENCE, || {
        TcpStream::connect(served.address).is_err()
    });
    assert!(
        silent.is_closed(),
        "a connection that asked nothing is closed"
    );
    assert!(served.process.child().try_wait().unwrap().is_none());
    go.send(()).unwrap();
    let answer = client.read();
    assert_eq!((answer.status, answer.text().as_str()), (200, "late"));
    assert!(client.is_closed());
    assert_eq!(served.process.wait(PATIENCE), Some(0));
}

#[test]
fn sigterm_at_rest_ends_at_once() {
    let upstream = Upstream::ok();
    let mut served = start(&upstream, "drain_timeout: 30s");
    assert_eq!(get(served.address).text(), "ok");
    let mut idle = Client::connect(served.address);
    idle.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"
    ));
    assert_eq!(idle.read().status, 200);
    served.process.signal("INT");
    assert_eq!(served.process.wait(PATIENCE), Some(0));
    assert_eq!(idle.rest(), b"");
}

#[test]
fn the_deadline_of_the_drain_cuts() {
    let (upstream, _go) = held();
    let mut served = start(&upstream, "drain_timeout: 300ms");
    let mut client = begin(&served, &upstream);
    served.process.signal("TERM");
    assert_eq!(served.process.wait(PATIENCE), Some(0));
    assert!(client.try_read().is_none());
    assert!(
        served.err.all().contains("the drain took too long"),
        "{}",
        served.err.all()
    );
}

#[test]
fn a_second_signal_cuts_at_once() {
    let (upstream, _go) = held();
    let mut served = start(&upstream, "drain_timeout: 10m");
    let mut client = begin(&served, &upstream);
    served.process.signal("TERM");
    wait_until("it drains", PATIENCE, || {
        served.manage("/readyz").status == 503
    });
    served.process.signal("TERM");
    assert_eq!(served.process.wait(PATIENCE), Some(0));
    assert!(client.try_read().is_none());
}

#[test]
fn a_signal_right_after_the_start_is_a_drain() {
    let upstream = Upstream::ok();
    for _ in 0..5 {
        let mut served = start(&upstream, "");
        assert_eq!(served.stop(), Some(0));
    }
}

#[test]
fn the_start_says_every_address() {
    let upstream = Upstream::ok();
    let yaml = GatewayBuilder::new(upstream.address).yaml().replace(
        "name: main }",
        "name: main }, { address: \"[::1]:0\", name: six }",
    );
    let served = Served::start(&yaml);
    let said = served.err.all();
    for words in [
        "listening on http://127.0.0.1:",
        " (main)\n",
        "listening on http://[::1]:",
        " (six)\n",
        "management on http://127.0.0.1:",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    assert!(!said.contains(":0 ") && !said.contains(":0\n"), "{said}");
    assert_eq!(get(served.address).text(), "ok");
}

/// A config file in a folder of its own.
struct Written {
    file: PathBuf,
    _folder: TempDir,
}

impl Written {
    fn new(yaml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keygate.yaml");
        std::fs::write(&file, yaml).unwrap();
        Self {
            file,
            _folder: folder,
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let config = ["--config", self.file.to_str().unwrap()];
        keygate(&[arguments, &config].concat())
    }
}

fn err(said: &Output) -> String {
    String::from_utf8(said.stderr.clone()).unwrap()
}

fn out(said: &Output) -> String {
    String::from_utf8(said.stdout.clone()).unwrap()
}

fn yaml_at(listener: &str, management: &str) -> String {
    let upstream: SocketAddr = "127.0.0.1:1".parse().unwrap();
    GatewayBuilder::new(upstream)
        .yaml()
        .replace(
            "[{ address: '127.0.0.1:0'",
            &format!("[{{ address: {listener}"),
        )
        .replace(
            "management: { address: 127.0.0.1:0",
            &format!("management: {{ address: {management}"),
        )
}

#[test]
fn a_taken_port_is_one_clear_line() {
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let shared = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    shared.set_reuse_port(true).unwrap();
    shared
        .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
        .unwrap();
    shared.listen(8).unwrap();
    for taken in [
        plain.local_addr().unwrap(),
        shared.local_addr().unwrap().as_socket().unwrap(),
    ] {
        let free = "127.0.0.1:0".to_owned();
        for (listener, management) in [
            (taken.to_string(), free.clone()),
            (free.clone(), taken.to_string()),
        ] {
            let said = Written::new(&yaml_at(&listener, &management)).run(&["serve"]);
            assert_eq!(said.status.code(), Some(5), "{}", err(&said));
            let text = err(&said);
            assert_eq!(text.matches("os error").count(), 1, "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(
                text.starts_with(&format!("keygate: cannot listen on {taken}: ")),
                "{text}"
            );
            assert_eq!(out(&said), "");
        }
    }
}

#[test]
fn one_address_for_two_purposes_is_a_conflict() {
    let address = format!("127.0.0.1:{}", free_port());
    let said = Written::new(&yaml_at(&address, &address)).run(&["serve"]);
    assert_eq!(said.status.code(), Some(5), "{}", err(&said));
    assert!(err(&said).contains(&address), "{}", err(&said));
}

#[test]
fn a_second_gateway_does_not_share_the_port_unless_told() {
    let upstream = Upstream::ok();
    let first = start(&upstream, "");
    let yaml = GatewayBuilder::new(upstream.address).yaml().replace(
        "[{ address: '127.0.0.1:0'",
        &format!("[{{ address: {}", first.address),
    );
    assert_eq!(Written::new(&yaml).run(&["serve"]).status.code(), Some(5));
    let handover = yaml.replace("name: main", "name: main, reuse_port_handover: true");
    let second = Served::start(&handover);
    assert_eq!(second.address, first.address);
}

#[test]
fn exit_codes_tell_what_is_wrong() {
    let bad = Written::new("listeners: 7\ncolour: red\n");
    let said = bad.run(&["serve"]);
    assert_eq!(said.status.code(), Some(7));
    let text = err(&said);
    assert!(
        text.contains("listeners") && text.contains("colour"),
        "{text}"
    );
    assert_eq!(
        keygate(&["serve", "--config", "/nowhere/at/all.yaml"])
            .status
            .code(),
        Some(3)
    );
    for arguments in [
        &["serve", "--colour"][..],
        &["paint"],
        &[],
        &["hash", "--env", "test"],
    ] {
        let said = keygate(arguments);
        assert_eq!(said.status.code(), Some(2), "{arguments:?}");
        assert_eq!(out(&said), "", "{arguments:?}");
    }
    let version = keygate(&["--version"]);
    assert_eq!(
        (version.status.code(), out(&version)),
        (Some(0), format!("keygate {}\n", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn check_says_ok_or_every_fault() {
    let good = Written::new(&yaml_at("127.0.0.1:0", "127.0.0.1:0"));
    let file = good.file.to_str().unwrap();
    let said = good.run(&["check"]);
    assert_eq!(
        (said.status.code(), out(&said), err(&said)),
        (
            Some(0),
            format!("{file}: ok (1 routes, 1 keys)\n"),
            String::new()
        )
    );
    assert_eq!(keygate(&["check", file]).status.code(), Some(0));
    let bad = Written::new(
        &yaml_at("127.0.0.1:0", "127.0.0.1:0")
            .replace("upstream: app", "upstream: ap")
            .replace("threads: 2", "threads: many"),
    );
    let said = bad.run(&["check"]);
    assert_eq!((said.status.code(), out(&said)), (Some(7), String::new()));
    let text = err(&said);
    let file = bad.file.to_str().unwrap();
    assert!(text.lines().count() >= 2, "{text}");
    for line in text.lines() {
        let place = line
            .strip_prefix(&format!("{file}:"))
            .unwrap_or_else(|| panic!("{line}"));
        let mut parts = place.splitn(3, ':');
        assert!(
            parts.next().unwrap().parse::<u32>().is_ok()
                && parts.next().unwrap().parse::<u32>().is_ok(),
            "{line}"
        );
    }
    assert!(text.contains("did you mean `app`?"), "{text}");
    assert_eq!(keygate(&["check", "/nowhere.yaml"]).status.code(), Some(7));
}

#[test]
fn a_warning_does_not_fail_the_check() {
    let odd = yaml_at("127.0.0.1:0", "127.0.0.1:0").replace(
        "upstreams:\n",
        "upstreams:\n  unused: { endpoints: [\"http://127.0.0.1:2\"] }\n",
    );
    let said = Written::new(&odd).run(&["check"]);
    assert_eq!(said.status.code(), Some(0));
    assert!(err(&said).starts_with("warning: "), "{}", err(&said));
}

/// `keygate hash` with this on standard input.
fn hash(input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_keygate"))
        .arg("hash")
        .env_remove("KEYGATE_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that has seen enough may close the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[test]
fn hash_reads_a_key_from_standard_input() {
    for end in ["", "\n", "\r\n"] {
        let said = hash(format!("{KEY}{end}").as_bytes());
        assert_eq!(
            (said.status.code(), out(&said), err(&said)),
            (Some(0), format!("{}\n", hash_of(KEY)), String::new())
        );
    }
    let old = "0ld-k3y!";
    assert_eq!(out(&hash(old.as_bytes())), format!("{}\n", hash_of(old)));
    let short = hash(b"0ld-k3y");
    assert_eq!(short.status.code(), Some(1));
    assert!(err(&short).contains("at least 8 bytes"), "{}", err(&short));
}

#[test]
fn hash_refuses_what_cannot_be_a_key_without_showing_it() {
    let torn = &KEY[..KEY.len() - 1];
    let swapped = format!("{torn}0");
    let cases: [&[u8]; 7] = [
        b"",
        b"\n",
        torn.as_bytes(),
        swapped.as_bytes(),
        b"secret-one secret-two",
        b"secret-one\nsecret-two\n",
        b"secret\xff\xfe",
    ];
    for input in cases {
        let said = hash(input);
        assert_eq!(
            (said.status.code(), out(&said)),
            (Some(1), String::new()),
            "{input:?}"
        );
        let text = err(&said);
        assert!(
            text.starts_with("keygate: ") && text.lines().count() == 1,
            "{text}"
        );
        for secret in ["secret", &KEY[8..30]] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    let said = hash("x".repeat(100_000).as_bytes());
    assert_eq!(said.status.code(), Some(1));
    assert!(!err(&said).contains("xxx"), "{}", err(&said));
}

#[test]
fn a_generated_key_opens_what_its_hash_is_declared_for() {
    let said = keygate(&["hash", "--generate", "--env", "test"]);
    assert_eq!(said.status.code(), Some(0));
    let text = out(&said);
    let lines: Vec<&str> = text.lines().collect();
    let [key, hash] = lines[..] else {
        panic!("{text}")
    };
    let (key, hash) = (
        key.strip_prefix("key: ").unwrap(),
        hash.strip_prefix("hash: ").unwrap(),
    );
    assert!(key.starts_with("kg_test_") && key.len() == 57, "{key}");
    assert_eq!(hash, hash_of(key));
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .replace(&hash_of(KEY), hash)
        .start();
    assert_eq!(
        gateway
            .request("GET /", &[&format!("x-api-key: {key}")])
            .status,
        200
    );
    assert_eq!(
        keygate(&["hash", "--generate", "--env", "moon"])
            .status
            .code(),
        Some(1)
    );
    assert_ne!(
        out(&keygate(&["hash", "--generate"])),
        out(&keygate(&["hash", "--generate"]))
    );
}

#[test]
fn health_asks_the_running_gateway() {
    let upstream = Upstream::ok();
    let mut served = start(&upstream, "");
    let management = format!("{}", served.management);
    let written = Written::new(&yaml_at("127.0.0.1:0", &management));
    let said = written.run(&["health"]);
    assert_eq!(said.status.code(), Some(0), "{}", err(&said));
    served.stop();
    let said = written.run(&["health"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(err(&said).contains(&management), "{}", err(&said));
    assert_eq!(
        keygate(&["health", "--config", "/nowhere.yaml"])
            .status
            .code(),
        Some(1)
    );
}

#[test]
fn the_demo_works_in_one_command() {
    let said = keygate(&["demo", "--once"]);
    let text = out(&said);
    assert_eq!(said.status.code(), Some(0), "{text}{}", err(&said));
    assert_eq!(text.matches("[ok]").count(), 7, "{text}");
    assert!(text.contains("→ 401 api_key_revoked"), "{text}");
    assert!(!text.contains("NOT AS IT SHOULD BE"), "{text}");
}

/// Processor time used so far, in clock ticks of a hundredth of a second.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_gateway_at_rest_uses_no_processor() {
    let upstream = Upstream::ok();
    let served = start(&upstream, "");
    // It has served, so pools, buffers and timers are there, and a caller is still connected.
    let mut client = begin(&served, &upstream);
    assert_eq!(client.read().status, 200);
    std::thread::sleep(Duration::from_millis(300));
    let before = ticks(served.process.pid());
    std::thread::sleep(Duration::from_secs(1));
    let used = ticks(served.process.pid()) - before;
    assert!(used <= 2, "{used} hundredths of a second in one second");
}
