//! With a person at a terminal: questions, secrets that are typed, tables as wide as it is. `script` (Debian package
//! `bsdutils`) makes the terminal.

use super::{Shell, real};
use crate::harness::{KEY, PATIENCE, Process, Upstream, wait_until};
use serde_json::json;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Runs a command on a terminal of 80 columns, types each answer when its question has come; what was on the screen, and
/// the exit code.
fn at_terminal(shell: &Shell, line: &str, answers: &[(&str, &str)]) -> (String, Option<i32>) {
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
        .envs(shell.variables.iter().map(|(name, value)| (*name, value)))
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
        wait_until(question, PATIENCE, || text().contains(question));
        // As a person does: what is typed is unseen a moment after the question is there.
        std::thread::sleep(Duration::from_millis(500));
        typed.write_all(format!("{answer}\n").as_bytes()).unwrap();
    }
    let code = process.wait(PATIENCE);
    reader.join().unwrap();
    (text(), code)
}

#[test]
fn what_cannot_be_undone_is_asked() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let id = shell.id("keys create nightly --save-to key");
    let state = || shell.run("keys get nightly -o json").is(0).json()["state"].clone();
    let question = format!("Revoke {id} (nightly) for good? [y/N]");
    let (screen, code) = at_terminal(&shell, "keys revoke nightly", &[(&question, "n")]);
    assert!(screen.contains("nothing was done"), "{screen}");
    assert_eq!((code, state()), (Some(1), json!("active")));
    let (screen, code) = at_terminal(&shell, "keys revoke nightly", &[(&question, "y")]);
    assert_eq!((code, state()), (Some(0), json!("revoked")), "{screen}");
}

#[test]
fn a_bulk_act_tells_how_many_before_it_asks() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    for name in ["a", "b", "c"] {
        shell.run(&format!("keys create {name} --tag old")).is(0);
    }
    let line = "keys bulk revoke --tag old";
    let (screen, code) = at_terminal(&shell, line, &[("revoke 3 keys? [y/N]", "")]);
    assert_eq!(code, Some(1), "{screen}");
    let (screen, code) = at_terminal(&shell, line, &[("revoke 3 keys? [y/N]", "y")]);
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("done with 3 keys"), "{screen}");
}

#[test]
fn what_is_secret_is_typed_unseen() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let (screen, code) = at_terminal(&shell, "keys verify", &[("Key (not shown):", KEY)]);
    assert_eq!(code, Some(0), "{screen}");
    assert!(!screen.contains(KEY));
    let new = [
        ("New password:", "correct horse battery"),
        ("Again:", "correct horse battery"),
    ];
    let line = "members create ann@example.com --name Ann --role owner";
    let (screen, code) = at_terminal(&shell, line, &new);
    assert_eq!(code, Some(0), "{screen}");
    assert!(!screen.contains("horse"), "{screen}");
    let other = [
        ("New password:", "correct horse battery"),
        ("Again:", "another horse"),
    ];
    let (screen, code) = at_terminal(&shell, "members password ann@example.com", &other);
    assert_eq!(code, Some(1), "{screen}");
    assert!(
        screen.contains("not the same") && !screen.contains("horse"),
        "{screen}"
    );

    let ann = Shell::nobody_of(&gateway);
    let answers = [
        ("E-mail:", "ann@example.com"),
        ("Password:", "correct horse battery"),
    ];
    let (screen, code) = at_terminal(&ann, "login", &answers);
    assert_eq!(code, Some(0), "{screen}");
    assert!(
        !screen.contains("horse") && !screen.contains("kg_"),
        "{screen}"
    );
    ann.run("whoami").is(0);
}

#[test]
fn tables_are_as_wide_as_the_terminal_and_colourful() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let id = shell.id(&format!(
        "keys create '{}' --save-to key",
        "word ".repeat(20).trim()
    ));
    let (screen, _) = at_terminal(&shell, "keys list word", &[]);
    assert!(screen.contains("\u{1b}["), "{screen:?}");
    let (plain, _) = at_terminal(&shell, "keys list word --no-color", &[]);
    assert!(
        !plain.contains('\u{1b}') && plain.contains(&id),
        "{plain:?}"
    );
    assert_eq!(plain.lines().count(), 2, "{plain}");
    let is_narrow = |line: &str| line.trim_end().chars().count() <= 80;
    assert!(plain.lines().all(is_narrow), "{plain}");
}

#[test]
fn eighty_columns_have_room_for_what_an_event_is_about() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    shell
        .run("webhooks create hook https://hooks.example.com/ --save-to hook.secret")
        .is(0);
    shell
        .run("webhooks rotate-secret hook --save-to hook.secret --yes")
        .is(0);
    let (screen, code) = at_terminal(&shell, "audit list --no-color", &[]);
    assert_eq!(code, Some(0), "{screen}");
    let head = screen.lines().next().unwrap();
    let titles: Vec<&str> = head.split_whitespace().collect();
    for title in ["AT", "ACTION", "ACTOR", "TARGET"] {
        assert!(titles.contains(&title), "{title}: {screen}");
    }
    let told = screen.lines().find(|line| line.contains("secret_rotated"));
    let told = told.unwrap();
    for word in ["webhook.secret_rotated", "setup", "hook"] {
        assert!(told.contains(word), "{word}: {screen}");
    }
    let is_narrow = |line: &str| line.trim_end().chars().count() <= 80;
    assert!(screen.lines().all(is_narrow), "{screen}");
}
