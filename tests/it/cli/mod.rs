//! The command line against a gateway that answers as told: what is asked, what is shown, how it ends.

mod import;
mod keys;
mod output;
mod signing_in;
mod terminal;
mod wire;

use crate::harness::{Process, Received, Upstream};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Stands where no text may.
pub(super) const CANARY: &str = "kg_admin_00000000000000000000000000000000000000000073P5Wzx";
pub(super) const KEY_ID: &str = "key_01jyzx5rhdf3sbz3hv1yqn2tp9";
pub(super) const SECRET: &str = "kg_live_00000000000000000000000000000000000000000073P5Wzx";

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Ran {
    #[track_caller]
    pub(super) fn is(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {self:#?}"))
    }
}

/// A folder of its own for a person who types commands.
pub(super) struct Shell {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Shell {
    /// Talks to this gateway, with [`CANARY`] as its token.
    pub(super) fn at(gateway: &Upstream) -> Self {
        Self::without_token(gateway).with("KEYGATE_TOKEN", CANARY)
    }

    pub(super) fn without_token(gateway: &Upstream) -> Self {
        Self::new().with("KEYGATE_URL", &format!("http://{}", gateway.address))
    }

    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home").display().to_string();
        Self {
            folder,
            variables: vec![("KEYGATE_HOME", home)],
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    /// A file of the folder that commands run in.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command without quotes, and nothing on its standard input.
    pub(super) fn run(&self, line: &str) -> Ran {
        self.run_with(line, "")
    }

    /// The same with a standard input. Wherever it ends, no secret of the environment is in what it says.
    pub(super) fn run_with(&self, line: &str, input: &str) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
        command
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::start(&mut command);
        let child = process.child();
        let mut pipe = child.stdin.take().unwrap();
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let input = input.to_owned();
        // A command that ends before it has read all closes the pipe.
        let writer = std::thread::spawn(move || pipe.write_all(input.as_bytes()).is_ok());
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            err.read_to_string(&mut text).map(|_| text).unwrap()
        });
        let mut said = String::new();
        out.read_to_string(&mut said).unwrap();
        let ran = Ran {
            code: process.wait(Duration::from_secs(30)),
            out: said,
            err: errors.join().unwrap(),
        };
        let _ = writer.join();
        assert!(
            !ran.out.contains(CANARY) && !ran.err.contains(CANARY),
            "{ran:#?}"
        );
        ran
    }
}

/// An answer of the admin API.
pub(super) fn answer(status: u16, body: &Value) -> Vec<u8> {
    let kind = if status < 400 { "json" } else { "problem+json" };
    let body = body.to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/{kind}\r\n");
    format!("{head}content-length: {length}\r\n\r\n{body}").into_bytes()
}

pub(super) fn problem(status: u16, code: &str) -> Vec<u8> {
    answer(
        status,
        &json!({"status": status, "code": code, "detail": format!("told as {code}")}),
    )
}

/// A gateway that answers each request by a function of `METHOD /path?query`.
pub(super) fn gateway(
    tell: impl Fn(&str, &Received) -> Vec<u8> + Send + Sync + 'static,
) -> Upstream {
    Upstream::answering(move |request| {
        let line = request.line.strip_suffix(" HTTP/1.1").unwrap();
        tell(line, request)
    })
}

/// A gateway that answers everything so.
pub(super) fn always(status: u16, body: &Value) -> Upstream {
    let bytes = answer(status, body);
    gateway(move |_, _| bytes.clone())
}

/// The body of a request.
pub(super) fn sent(request: &Received) -> Value {
    serde_json::from_slice(&request.body).unwrap_or_default()
}

/// Methods and targets of all requests.
pub(super) fn asked(gateway: &Upstream) -> Vec<String> {
    let lines = gateway.received().into_iter().map(|request| request.line);
    lines.map(|line| line.replace(" HTTP/1.1", "")).collect()
}

#[test]
fn a_pipe_that_nobody_reads_is_no_fault() {
    let rows: Vec<Value> = (0..150)
        .map(|_| json!({"id": KEY_ID, "name": "x".repeat(4000)}))
        .collect();
    let gateway = always(200, &json!({"data": rows, "next": null}));
    let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
    command
        .args(["keys", "list", "-o", "json", "--url"])
        .arg(format!("http://{}", gateway.address))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = Process::start(&mut command);
    drop(process.child().stdout.take());
    let mut err = String::new();
    process
        .child()
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!(
        (process.wait(Duration::from_secs(20)), err.as_str()),
        (Some(1), "")
    );
}

#[test]
fn init_makes_a_start_that_serves() {
    let shell = Shell::new();
    let ran = shell.run("init").is(0);
    assert!(ran.out.contains("config/keygate.yaml: written"), "{ran:?}");
    shell.run("check").is(0);
    let again = shell.run("init").is(0);
    assert!(again.out.contains("left as it is"), "{again:?}");
    let key = std::fs::read_to_string(shell.file("config/data/master.key")).unwrap();
    assert!(!format!("{ran:?}{again:?}").contains(key.trim()));
}

#[test]
fn completions_are_there_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = Shell::new().run(&format!("completion {shell}")).is(0);
        assert!(
            ran.out.contains("keygate") && ran.out.contains("revoke"),
            "{shell}"
        );
        assert!(
            !ran.out.contains("xdg"),
            "{shell}: hidden flags stay hidden"
        );
    }
}

#[test]
fn a_tail_shows_what_is_new_once_and_the_oldest_first() {
    let looks = AtomicU64::new(0);
    let gateway = gateway(move |line, _| {
        let newest = if looks.fetch_add(1, Ordering::SeqCst) == 0 {
            3
        } else {
            120
        };
        let number = |name: &str| -> Option<u64> {
            let rest = line.split(name).nth(1)?;
            rest.split('&').next()?.parse().ok()
        };
        let last = number("cursor=").unwrap_or(newest);
        let first = last.saturating_sub(number("limit=").unwrap());
        let event = |sequence: u64| json!({"sequence": sequence, "action": "key.created"});
        let rows: Vec<Value> = (first + 1..=last).rev().map(event).collect();
        let next = (first > 0).then(|| first.to_string());
        answer(200, &json!({"data": rows, "next": next}))
    });
    let ran = Shell::at(&gateway)
        .run("audit tail --lines 2 --interval 1 --looks 2 -o name")
        .is(0);
    let shown: Vec<u64> = ran.out.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(shown, (2..=120).collect::<Vec<_>>());
}
