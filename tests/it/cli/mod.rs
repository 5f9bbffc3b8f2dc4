//! The command line against a real gateway, and where no real one does so on demand (it loses an answer, it is something
//! else), against one that answers as told.

mod bulk;
mod ends;
mod import;
mod keys;
mod lists;
mod nouns;
mod output;
mod people;
mod secrets;
mod signing_in;
mod start;
mod terminal;
mod watching;
mod wire;

use crate::harness::{Gateway, GatewayBuilder, Process, Received, Upstream};
use regex::Regex;
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

    /// The one line of it.
    #[track_caller]
    pub(super) fn line(&self) -> &str {
        assert_eq!(self.out.lines().count(), 1, "{self:#?}");
        self.out.trim_end()
    }

    /// A table with one bar between cells, ids, hints and times as words.
    #[track_caller]
    pub(super) fn table(&self) -> String {
        let cells = |line: &str| {
            let gap = Regex::new(" {2,}").unwrap();
            let cells: Vec<String> = gap.split(line.trim_end()).map(plain).collect();
            cells.join(" | ")
        };
        self.out.lines().map(cells).collect::<Vec<_>>().join("\n")
    }

    #[track_caller]
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {self:#?}"))
    }
}

/// What differs from run to run as a word.
fn plain(cell: &str) -> String {
    let words = [
        (r"\b[a-z]{2,4}_[0-9a-z]{26}\b", "ID"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "DATE"),
        (r"\b(now|\d+s ago|in \d+[smhd])\b", "TIME"),
        (r"\bkg_[a-z]+_\w{4}…\w{4}", "HINT"),
        (r"\b[0-9a-f]{64}\b", "HASH"),
    ];
    let cell = cell.to_owned();
    words.iter().fold(cell, |cell, (form, word)| {
        Regex::new(form)
            .unwrap()
            .replace_all(&cell, *word)
            .into_owned()
    })
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

    /// Talks to a real gateway, as its first owner.
    pub(super) fn of(gateway: &Gateway) -> Self {
        Self::nobody_of(gateway).with("KEYGATE_TOKEN", &gateway.admin)
    }

    /// Talks to a real gateway, in nobody's name.
    pub(super) fn nobody_of(gateway: &Gateway) -> Self {
        Self::new().with("KEYGATE_URL", &format!("http://{}", gateway.management))
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

    /// Makes a thing, or does something with one; its id.
    #[track_caller]
    pub(super) fn id(&self, line: &str) -> String {
        self.run(&format!("{line} -o name")).is(0).line().to_owned()
    }

    /// A command, and nothing on its standard input.
    pub(super) fn run(&self, line: &str) -> Ran {
        self.run_with(line, "")
    }

    /// The same with a standard input. Wherever it ends, no secret of the environment is in what it says.
    pub(super) fn run_with(&self, line: &str, input: &str) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
        command
            .args(words(line))
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
        for (name, value) in &self.variables {
            let told = ran.out.contains(value) || ran.err.contains(value);
            assert!(*name != "KEYGATE_TOKEN" || !told, "{ran:#?}");
        }
        ran
    }
}

/// Words of a line, together between single quotes.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(place, part)| match place % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

/// A real gateway with a store and a vault, in front of this service; see [`GatewayBuilder::new`].
pub(super) fn real(service: &Upstream) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("master"), "a7".repeat(32)).unwrap();
    GatewayBuilder::new(service.address)
        .stored()
        .top("vault: { master_key: \"file:master\" }\nwebhooks: { allow_private: true }")
        .start_in(folder)
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
