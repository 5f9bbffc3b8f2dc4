//! With a person at a terminal: questions, secrets that are typed, tables as wide as it is. `script` (Debian package
//! `bsdutils`) makes the terminal.

use super::{CANARY, KEY_ID, SECRET, Shell, always, answer, asked, gateway, sent};
use crate::harness::{Process, Upstream, wait_until};
use serde_json::json;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Runs a command on a terminal of 80 columns, types each answer when its question has come; what was on the screen, and
/// the exit code.
fn at_terminal(gateway: &Upstream, line: &str, answers: &[(&str, &str)]) -> (String, Option<i32>) {
    let shell = Shell::at(gateway);
    let program = env!("CARGO_BIN_EXE_keygate");
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--command"])
        .arg(format!("stty cols 80; exec {program} {line}"))
        .arg("/dev/null")
        .current_dir(shell.file(""))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .env("KEYGATE_HOME", shell.file("home"))
        .env("KEYGATE_URL", format!("http://{}", gateway.address))
        .env("KEYGATE_TOKEN", CANARY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut process = Process::start(&mut command);
    let mut typed = process.child().stdin.take().unwrap();
    let mut shown = process.child().stdout.take().unwrap();
    let screen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&screen);
    let reader = std::thread::spawn(move || {
        let mut piece = [0; 1024];
        while let Ok(read @ 1..) = shown.read(&mut piece) {
            kept.lock().unwrap().extend_from_slice(&piece[..read]);
        }
    });
    let text = || String::from_utf8_lossy(&screen.lock().unwrap()).into_owned();
    for (question, answer) in answers {
        wait_until(question, Duration::from_secs(20), || {
            text().contains(question)
        });
        typed.write_all(format!("{answer}\n").as_bytes()).unwrap();
    }
    let code = process.wait(Duration::from_secs(20));
    reader.join().unwrap();
    (text(), code)
}

#[test]
fn what_cannot_be_undone_is_asked() {
    let gateway = always(
        200,
        &json!({"id": KEY_ID, "name": "ci", "status": "revoked"}),
    );
    let line = format!("keys revoke {KEY_ID}");
    let question = "Revoke key_01jyzx5rhdf3sbz3hv1yqn2tp9 (ci) for good? [y/N]";
    let (screen, code) = at_terminal(&gateway, &line, &[(question, "n")]);
    assert!(screen.contains("nothing was done"), "{screen}");
    assert_eq!((code, asked(&gateway).len()), (Some(1), 1));
    let (screen, code) = at_terminal(&gateway, &line, &[(question, "y")]);
    assert_eq!(code, Some(0), "{screen}");
    assert_eq!(
        asked(&gateway).last().unwrap(),
        &format!("POST /v1/keys/{KEY_ID}/revoke")
    );
}

#[test]
fn a_bulk_act_tells_how_many_before_it_asks() {
    let gateway = always(200, &json!({"matched": 37, "results": []}));
    let (screen, code) = at_terminal(
        &gateway,
        "keys bulk revoke --tag old",
        &[("revoke 37 keys?", "y")],
    );
    assert_eq!(code, Some(0), "{screen}");
    let bodies: Vec<_> = gateway
        .received()
        .iter()
        .map(|request| sent(request)["dry_run"].clone())
        .collect();
    assert_eq!(bodies, [json!(true), json!(null)]);
}

#[test]
fn what_is_secret_is_typed_unseen() {
    let gateway = gateway(|_, _| {
        answer(
            200,
            &json!({"valid": true, "session": {"id": "x"}, "secret": CANARY}),
        )
    });
    let (screen, code) = at_terminal(&gateway, "keys verify", &[("Key (not shown):", SECRET)]);
    assert_eq!(code, Some(0), "{screen}");
    assert!(!screen.contains(SECRET));
    assert_eq!(sent(&gateway.last())["key"], SECRET);
    let answers = [("E-mail:", "ann@example.com"), ("Password:", "hunter2!")];
    let (screen, code) = at_terminal(&gateway, "login", &answers);
    assert_eq!(code, Some(0), "{screen}");
    assert!(
        !screen.contains("hunter2!") && !screen.contains(CANARY),
        "{screen}"
    );
    assert_eq!(
        sent(&gateway.last()),
        json!({"email": "ann@example.com", "password": "hunter2!"})
    );
    let answers = [("New password:", "one!"), ("Again:", "two!")];
    let line = format!("members password {}", KEY_ID.replace("key", "mem"));
    let before = gateway.received().len();
    let (screen, code) = at_terminal(&gateway, &line, &answers);
    assert_eq!(
        (code, gateway.received().len()),
        (Some(1), before),
        "{screen}"
    );
    assert!(
        !screen.contains("one!") && !screen.contains("two!"),
        "{screen}"
    );
}

#[test]
fn tables_are_as_wide_as_the_terminal_and_colourful() {
    let name = "word ".repeat(40);
    let gateway = always(
        200,
        &json!({"data": [{"id": KEY_ID, "name": name, "status": "revoked"}], "next": null}),
    );
    let (screen, _) = at_terminal(&gateway, "keys list", &[]);
    assert!(screen.contains("\u{1b}["), "{screen:?}");
    let (plain, _) = at_terminal(&gateway, "keys list --no-color", &[]);
    assert!(
        !plain.contains('\u{1b}') && plain.contains(KEY_ID),
        "{plain:?}"
    );
    assert_eq!(plain.lines().count(), 2, "{plain}");
    assert!(
        plain
            .lines()
            .all(|line| line.trim_end().chars().count() <= 80),
        "{plain}"
    );
}
