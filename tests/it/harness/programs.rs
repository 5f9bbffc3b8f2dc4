//! Real servers, of Debian packages.

use super::process::Process;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Starts a server that is a Debian package.
pub(crate) fn server(package: &str, command: &mut Command) -> Process {
    let program = command.get_program().to_string_lossy().into_owned();
    // nginx lives in sbin, which an ordinary user's PATH may lack.
    let path = format!("{}:/usr/sbin:/sbin", env!("PATH"));
    let found = path
        .split(':')
        .any(|folder| Path::new(folder).join(&program).exists());
    assert!(found, "{program} is needed: Debian package {package}");
    Process::start(
        command
            .env("PATH", path)
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
}

/// nginx with these lines inside `http`, its files in this folder.
pub(crate) fn nginx(folder: &Path, lines: &str) -> Process {
    let at = folder.display();
    let config = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;\n\
         events {{}}\n\
         http {{\n\
           access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
           fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;\n\
           {lines}\
         }}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, config).unwrap();
    let mut command = Command::new("nginx");
    command
        .arg("-e")
        .arg(folder.join("start.log"))
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(&file);
    server("nginx-light", &mut command)
}
