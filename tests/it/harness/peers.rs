//! Clients and servers of other makers, as `tests/support/peers/install` has put them beside the build.

use super::process::Process;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

/// A script of `tests/support/peers`, to be run by the Python that has its modules.
pub(crate) fn peer(script: &str) -> Command {
    let build = Path::new(env!("CARGO_BIN_EXE_keygate")).ancestors().nth(2);
    let python = build.unwrap().join("peers/bin/python");
    assert!(
        python.exists(),
        "the peers are not installed: `tests/support/peers/install {}` does it, and ./run-tests calls that",
        build.unwrap().display()
    );
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/peers");
    let mut command = Command::new(python);
    command.arg(scripts.join(script)).stdin(Stdio::null());
    command
}

/// Starts a script that serves and says its port.
pub(crate) fn peer_server(script: &str) -> (Process, SocketAddr) {
    let mut process = Process::start(peer(script).stdout(Stdio::piped()));
    let output = process.child().stdout.take().unwrap();
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).unwrap();
    let port: u16 = line
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("{script} said no port but {line:?}"));
    (process, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// What a script that comes to an end prints.
pub(crate) fn peer_says(script: &str, arguments: &[&str]) -> String {
    let output = peer(script).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}\n{complaint}");
    said
}
