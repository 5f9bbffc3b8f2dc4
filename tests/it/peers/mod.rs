//! Programs of other makers on either side of the gateway, which must notice nothing of it.

mod proxies;
mod scans;
mod sdks;

use crate::harness::{Authority, Gateway, GatewayBuilder};
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

/// A gateway under TLS, for `localhost` and 127.0.0.1, with a certificate of the authority `ca.pem` beside its config.
fn under_tls(upstream: SocketAddr) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    authority.sign(folder.path(), "own", "DNS:localhost,IP:127.0.0.1");
    GatewayBuilder::new(upstream)
        .listener("tls: { cert: 'file:own.pem', key: 'file:own.key' }")
        .start_in(folder)
}

/// A program of a Debian package to its end, within a minute.
fn bounded(package: &str, program: &str, arguments: &[&str]) -> Output {
    let output = Command::new("timeout")
        .args(["60", program])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let code = output.status.code();
    assert!(
        code != Some(127) && code != Some(126),
        "{program} is needed: Debian package {package}"
    );
    assert!(code != Some(124), "{program} took more than a minute");
    output
}
