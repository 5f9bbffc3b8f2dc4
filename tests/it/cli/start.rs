//! From nothing to a key that opens, as somebody does who has just installed it.

use super::Shell;
use crate::harness::{PATIENCE, Process, Upstream, ask, free_port, wait_for_port};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn init_serve_and_a_first_key() {
    let service = Upstream::ok();
    let shell = Shell::new();
    let ran = shell.run("init").is(0);
    assert!(ran.out.contains("config/keygate.yaml: written"), "{ran:?}");
    // What this test goes on with, but for the place of the token and of the key.
    for next in [
        "keygate serve --setup-token-file setup-token",
        "keygate login --token-stdin < setup-token",
        "keygate keys create first --scope service",
    ] {
        assert!(ran.err.contains(&format!("\n  {next}\n")), "{ran:?}");
    }
    shell.run("check").is(0);
    let again = shell.run("init").is(0);
    assert!(again.out.contains("left as it is"), "{again:?}");
    let key = std::fs::read_to_string(shell.file("config/data/master.key")).unwrap();
    assert!(!format!("{ran:?}{again:?}").contains(key.trim()));

    let [port, management] = [free_port(), free_port()];
    let file = shell.file("config/keygate.yaml");
    let config = std::fs::read_to_string(&file)
        .unwrap()
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"))
        .replace("127.0.0.1:8081", &format!("127.0.0.1:{management}"))
        .replace("127.0.0.1:9000", &service.address.to_string());
    std::fs::write(&file, config).unwrap();
    // What is there is left alone, and the token is not lost.
    let token = shell.file("setup.token");
    std::fs::write(&token, "another").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
    command
        .args(["serve", "--setup-token-file", "setup.token"])
        .current_dir(shell.file(""))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = Process::start(&mut command);
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    wait_for_port(address(management));
    wait_for_port(address(port));
    assert_eq!(std::fs::read_to_string(&token).unwrap(), "another");
    std::fs::remove_file(&token).unwrap();
    crate::harness::wait_until("there is a token", PATIENCE, || {
        std::fs::read(&token).is_ok_and(|text| text.ends_with(b"\n"))
    });
    let mode = std::fs::metadata(&token).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // The address is the config file's, since nothing else says one.
    let secret = std::fs::read_to_string(&token).unwrap();
    shell.run_with("login --token-stdin", &secret).is(0);
    shell
        .run("keys create ci --scope service --save-to ci.key")
        .is(0);
    let key = std::fs::read_to_string(shell.file("ci.key")).unwrap();
    let header = format!("x-api-key: {}", key.trim());
    assert_eq!(ask(address(port), "GET /", &[&header]).status, 200);
    assert_eq!(ask(address(port), "GET /", &[]).status, 401);
    shell.run("health --config config/keygate.yaml").is(0);
    shell.run("backup copy.kg").is(0);
    shell.run("restore copy.kg").is(5);
    process.signal("TERM");
    assert_eq!(process.wait(Duration::from_secs(20)), Some(0));
    shell.run("keys list").is(1);
}
