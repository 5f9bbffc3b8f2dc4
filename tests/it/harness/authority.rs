//! An authority that signs certificates, by OpenSSL.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `NAME.pem` and `NAME.key` in its folder.
pub(crate) struct Authority {
    certificate: PathBuf,
    key: PathBuf,
}

const NEW_KEY: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];

impl Authority {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let (certificate, key) = places(folder, name);
        let mut made = Command::new("openssl");
        made.args(["req", "-x509", "-nodes", "-days", "30"])
            .args(NEW_KEY)
            .args(["-subj", &format!("/CN=authority {name}"), "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        run(&mut made);
        Self { certificate, key }
    }

    /// A certificate for these names, such as `DNS:a.example.com,DNS:b.example.com`, in place of one that is there.
    pub(crate) fn sign(&self, folder: &Path, name: &str, hosts: &str) {
        let (certificate, key) = places(folder, name);
        let (new_certificate, new_key) = (
            certificate.with_extension("pem.new"),
            key.with_extension("key.new"),
        );
        let mut made = Command::new("openssl");
        made.args(["req", "-x509", "-nodes", "-days", "30"])
            .args(NEW_KEY)
            .args(["-subj", &format!("/CN={name}"), "-addext"])
            .arg(format!("subjectAltName={hosts}"))
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-CA"])
            .arg(&self.certificate)
            .arg("-CAkey")
            .arg(&self.key)
            .arg("-keyout")
            .arg(&new_key)
            .arg("-out")
            .arg(&new_certificate);
        run(&mut made);
        std::fs::rename(new_key, key).unwrap();
        std::fs::rename(new_certificate, certificate).unwrap();
    }

    /// Signs a certificate again, so that it ended yesterday.
    pub(crate) fn let_expire(&self, folder: &Path, name: &str) {
        let (certificate, key) = places(folder, name);
        let request = certificate.with_extension("csr");
        let copied = ["-copy_extensions", "copy"];
        let mut asked = Command::new("openssl");
        asked
            .args(["x509", "-x509toreq", "-in"])
            .arg(&certificate)
            .arg("-key")
            .arg(key)
            .args(copied)
            .arg("-out")
            .arg(&request);
        run(&mut asked);
        let mut made = Command::new("openssl");
        made.args(["x509", "-req", "-days", "-1", "-in"])
            .arg(&request)
            .arg("-CA")
            .arg(&self.certificate)
            .arg("-CAkey")
            .arg(&self.key)
            .args(copied)
            .arg("-out")
            .arg(&certificate);
        run(&mut made);
    }
}

fn places(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let place = |end: &str| folder.join(format!("{name}.{end}"));
    (place("pem"), place("key"))
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.expect("openssl (Debian package openssl)");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
}
