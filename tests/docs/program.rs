//! What the examples are tried with: the program, a service behind it, and a shell.

#[path = "../support/ports.rs"]
mod ports;

pub(crate) use ports::free_port;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_mins(1);

/// A command of the program, in a folder.
pub(crate) fn keygate(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("KEYGATE_CONFIG")
        .env("KEYGATE_MANAGEMENT_TOKEN", "a-token-of-the-environment")
        .stdin(Stdio::null());
    command.output().unwrap()
}

/// A real program; which Debian package has it is told if it is missing.
pub(crate) fn run(program: &str, package: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|fault| panic!("{program} (Debian package {package}): {fault}"))
}

/// Both streams of a command.
pub(crate) fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

#[expect(clippy::disallowed_methods, reason = "a test's patience is real time")]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A service that answers every request with `ok`, and keeps what it received.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// Ends with the test's process.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
                    head.extend_from_slice(&byte);
                }
                kept.lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(&head).into_owned());
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
                );
            }
        });
        Self { address, received }
    }

    /// The head received last.
    pub(crate) fn last(&self) -> String {
        self.received
            .lock()
            .unwrap()
            .last()
            .cloned()
            .unwrap_or_default()
    }
}

/// A gateway of its own, in a folder of its own.
pub(crate) struct Gateway {
    child: Child,
    folder: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) management: SocketAddr,
}

/// `tls.crt` and `tls.key`, by OpenSSL.
pub(crate) fn certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:prime256v1", "-subj", "/CN=a.example.com"])
        .args(["-addext", "subjectAltName=DNS:a.example.com"])
        .args(["-keyout", "tls.key", "-out", "tls.crt"])
        .current_dir(folder)
        .output()
        .expect("openssl (Debian package openssl)");
    assert!(made.status.success());
}

impl Gateway {
    /// On free ports; `rest` is everything but listeners and management, and may name `file:key`.
    pub(crate) fn start(rest: &str, key: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let config = format!(
            "listeners:\n  - {{ address: 127.0.0.1:0, name: main }}\n  \
             - {{ address: 127.0.0.1:0, name: tls, tls: {{ cert: file:tls.crt, key: file:tls.key }} }}\nmanagement: {{ address: 127.0.0.1:0 }}\nstore: none\n{rest}"
        );
        fs::write(place("keygate.yaml"), config).unwrap();
        fs::write(place("key"), key).unwrap();
        certificate(folder.path());
        let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
        command
            .args(["serve", "--config", "keygate.yaml"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(place("out")).unwrap())
            .stderr(File::create(place("err")).unwrap());
        let child = command.spawn().unwrap();
        let mut said = String::new();
        wait_until("the gateway runs", || {
            said = fs::read_to_string(place("err")).unwrap();
            assert!(!said.contains("keygate: keygate.yaml"), "{said}");
            said.lines()
                .any(|line| line.starts_with("keygate: management on http://"))
                && said.ends_with('\n')
        });
        let address = |before: &str| {
            let rest = said.split(before).nth(1).unwrap();
            rest.split_whitespace().next().unwrap().parse().unwrap()
        };
        Self {
            address: address("listening on http://"),
            management: address("management on http://"),
            child,
            folder,
        }
    }

    pub(crate) fn call(&self, target: &str, headers: &[&str]) -> (u16, String) {
        call(self.address, target, headers)
    }

    pub(crate) fn manage(&self, target: &str) -> (u16, String) {
        call(self.management, target, &[])
    }

    /// The first access line with this text.
    pub(crate) fn access_line(&self, with: &str) -> Value {
        let mut found = None;
        wait_until("an access line", || {
            let lines = fs::read_to_string(self.folder.path().join("out")).unwrap();
            found = lines
                .split_inclusive('\n')
                .find(|line| line.contains(with) && line.ends_with('\n'))
                .map(|line| serde_json::from_str(line).unwrap());
            found.is_some()
        });
        found.unwrap()
    }

    pub(crate) fn reload(&self) {
        let sent = run("kill", "procps", &["-HUP", &self.child.id().to_string()]);
        assert!(sent.status.success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// GET on a connection of its own: status and body.
fn call(address: SocketAddr, target: &str, headers: &[&str]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for line in headers {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// A shell script in a process group of its own, which ends with it.
pub(crate) struct Script(Child);

impl Script {
    pub(crate) fn start(script: &str, folder: &Path, path: &str) -> Self {
        fs::write(folder.join("script"), script).unwrap();
        let mut command = Command::new("bash");
        command
            .arg(folder.join("script"))
            .current_dir(folder)
            .env("PATH", path)
            .env_remove("KEYGATE_CONFIG")
            .stdin(Stdio::null())
            .stdout(File::create(folder.join("script.out")).unwrap())
            .stderr(File::create(folder.join("script.err")).unwrap())
            .process_group(0);
        Self(command.spawn().unwrap())
    }

    /// Waits for its end; whether it succeeded.
    pub(crate) fn ends_well(&mut self) -> bool {
        let mut good = false;
        wait_until("the script ends", || {
            let ended = self.0.try_wait().unwrap();
            good = ended.is_some_and(|status| status.success());
            ended.is_some()
        });
        good
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill")
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
        let _ = self.0.wait();
    }
}
