//! `keygate serve` as a process of its own, with everything it writes.

use super::client::Answer;
use super::gateway::{ask, value_of};
use super::process::{PATIENCE, Process, wait_until};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// What a process has written so far.
#[derive(Clone, Default)]
pub(crate) struct Text(Arc<Mutex<String>>);

impl Text {
    fn follow(&self, stream: impl Read + Send + 'static) {
        let text = self.clone();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
                text.0
                    .lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
    }

    pub(crate) fn all(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// A running `keygate serve`; killed when dropped.
pub(crate) struct Served {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) management: SocketAddr,
    pub(crate) out: Text,
    pub(crate) err: Text,
    pub(crate) file: PathBuf,
    _folder: TempDir,
}

impl Served {
    /// With this config on free ports; returns once it says where it listens.
    pub(crate) fn start(yaml: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), yaml)
    }

    /// As [`Served::start`], in a folder that already holds what the config refers to.
    pub(crate) fn start_in(folder: TempDir, yaml: &str) -> Self {
        Self::launch(folder, yaml, true, &[])
    }

    /// As [`Served::start_in`], with these variables in its environment.
    pub(crate) fn start_with(folder: TempDir, yaml: &str, variables: &[(&str, &Path)]) -> Self {
        Self::launch(folder, yaml, true, variables)
    }

    /// With a standard output that nobody reads.
    pub(crate) fn unread(yaml: &str) -> Self {
        Self::launch(tempfile::tempdir().unwrap(), yaml, false, &[])
    }

    fn launch(folder: TempDir, yaml: &str, read: bool, variables: &[(&str, &Path)]) -> Self {
        let file = folder.path().join("keygate.yaml");
        std::fs::write(&file, yaml).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
        command
            .arg("serve")
            .arg("--config")
            .arg(&file)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::start(&mut command);
        let (out, err) = (Text::default(), Text::default());
        err.follow(process.child().stderr.take().unwrap());
        if read {
            out.follow(process.child().stdout.take().unwrap());
        }
        wait_until("keygate serves", PATIENCE, || {
            let ended = process.child().try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", err.all());
            said(&err, "management on http://").is_some()
        });
        Self {
            address: said(&err, "listening on http://").unwrap(),
            management: said(&err, "management on http://").unwrap(),
            process,
            out,
            err,
            file,
            _folder: folder,
        }
    }

    pub(crate) fn manage(&self, target: &str) -> Answer {
        ask(self.management, &format!("GET {target}"), &[])
    }

    /// The setup token, once it is printed: that is after the words which say where the gateway listens.
    pub(crate) fn setup_token(&self) -> String {
        let mut token = None;
        wait_until("the setup token is printed", PATIENCE, || {
            let out = self.out.all();
            let found = out.lines().find(|line| line.starts_with("kg_admin_"));
            token = found.map(str::to_owned);
            token.is_some()
        });
        token.unwrap_or_default()
    }

    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        value_of(&self.manage("/metrics").text(), name, labels)
    }

    /// SIGTERM, and its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.process.signal("TERM");
        self.process.wait(PATIENCE)
    }
}

/// The address behind these words.
fn said(text: &Text, words: &str) -> Option<SocketAddr> {
    let text = text.all();
    let line = text
        .split_inclusive('\n')
        .find(|line| line.contains(words) && line.ends_with('\n'))?;
    let (_, rest) = line.split_once(words)?;
    rest.split_whitespace().next()?.parse().ok()
}
