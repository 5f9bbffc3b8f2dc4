//! `keygate health`: asks the management port of the configured gateway, for container health checks.

use super::client::reachable;
use super::{Exit, Failed, say};
use crate::config;
use anyhow::Context;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn run(file: &Path) -> Result<Exit, Failed> {
    let address = reachable(config::load(file)?.management.address);
    let status = ask(address).with_context(|| format!("{address} does not answer"))?;
    say(&format!("{address}: {status}"));
    Ok(if status.starts_with("HTTP/1.1 200") {
        Exit::Ok
    } else {
        Exit::Failure
    })
}

/// The status line of `/livez`.
fn ask(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /livez HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}
