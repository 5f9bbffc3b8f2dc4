//! `login`, `logout`, `whoami`: what is stored, for whom, and when it is used.

use super::{CANARY, Ran, Shell, answer, asked, gateway, problem, sent};
use crate::harness::{Received, Upstream};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

const SESSION: &str = "ses_01jyzx5rhdf3sbz3hv1yqn2tp9";

/// Signs anybody in who knows the password, and knows that session only.
fn signing_in() -> Upstream {
    gateway(|line, request| match line {
        "POST /v1/sessions" if sent(request)["password"] == "hunter2!" => {
            answer(201, &json!({"session": {"id": SESSION}, "secret": CANARY}))
        }
        "GET /v1/whoami" if authorized(request) => {
            answer(200, &json!({"name": "ann", "role": "owner"}))
        }
        _ if line == format!("DELETE /v1/sessions/{SESSION}") && authorized(request) => {
            answer(200, &json!({}))
        }
        _ => problem(401, "unauthorized"),
    })
}

fn authorized(request: &Received) -> bool {
    request.header("authorization") == Some(&format!("Bearer {CANARY}"))
}

#[test]
fn a_password_becomes_a_session_that_is_kept_for_its_owner_only() {
    let gateway = signing_in();
    let shell = Shell::without_token(&gateway);
    shell.run("whoami").is(4);
    shell
        .run_with("login --email ann@example.com", "hunter2!\n")
        .is(0);
    let body = sent(&gateway.last());
    assert_eq!(
        body,
        json!({"email": "ann@example.com", "password": "hunter2!"})
    );
    assert_eq!(gateway.last().header("authorization"), None);
    assert_eq!(gateway.last().header("idempotency-key"), None);
    let file = shell.file("home/login.json");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let folder = fs::metadata(shell.file("home"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(folder & 0o777, 0o700);
    let stored: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let url = format!("http://{}/", gateway.address);
    assert_eq!(stored["logins"][&url]["secret"], CANARY);
    assert!(!stored.to_string().contains("hunter2!"));
    let ran = shell.run("whoami").is(0);
    assert!(ran.out.contains("ann"), "{ran:?}");
    shell.run("logout").is(0);
    assert_eq!(
        asked(&gateway).last().unwrap(),
        &format!("DELETE /v1/sessions/{SESSION}")
    );
    assert!(!fs::read_to_string(&file).unwrap().contains(CANARY));
    shell.run("whoami").is(4);
}

#[test]
fn a_wrong_password_is_an_auth_failure_and_stores_nothing() {
    let gateway = signing_in();
    let shell = Shell::without_token(&gateway);
    let ran = shell
        .run_with("login --email ann@example.com", "hunter3!\n")
        .is(4);
    assert!(!ran.err.contains("hunter3!"));
    assert!(!shell.file("home/login.json").exists());
    shell.run_with("login --email ann@example.com", "").is(2);
}

#[test]
fn a_token_is_tried_before_it_is_stored() {
    let gateway = signing_in();
    let shell = Shell::without_token(&gateway);
    let ran = shell
        .run_with("login --token-stdin", "kg_admin_wrong\n")
        .is(4);
    assert!(!ran.err.contains("kg_admin_wrong"));
    assert!(!shell.file("home/login.json").exists());
    shell
        .run_with("login --token-stdin", &format!("{CANARY}\n"))
        .is(0);
    shell.run("whoami").is(0);
    // A token is not ended by forgetting it.
    let before = gateway.received().len();
    shell.run("logout").is(0);
    assert_eq!(gateway.received().len(), before);
    shell.run("logout").is(0);
}

#[test]
fn what_is_stored_goes_to_its_own_address_only() {
    let [one, other] = [signing_in(), signing_in()];
    let shell = Shell::without_token(&one);
    shell.run_with("login --token-stdin", CANARY).is(0);
    let there = format!("whoami --url http://{}", other.address);
    shell.run(&there).is(4);
    assert_eq!(other.last().header("authorization"), None);
}

#[test]
fn the_last_login_is_where_commands_go_but_a_config_file_goes_first() {
    let [one, other] = [signing_in(), signing_in()];
    let shell = Shell::without_token(&one).with("KEYGATE_URL", "");
    shell
        .run_with(
            &format!("login --token-stdin --url http://{}", one.address),
            CANARY,
        )
        .is(0);
    shell.run("whoami").is(0);
    fs::create_dir(shell.file("config")).unwrap();
    let config = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\nmanagement: {{ address: \"{}\" }}\n",
        other.address
    );
    fs::write(shell.file("config/keygate.yaml"), &config).unwrap();
    shell.run("whoami").is(4);
    assert_eq!(asked(&other), ["GET /v1/whoami"]);
    fs::write(shell.file("named.yaml"), config).unwrap();
    shell.run("whoami --config named.yaml").is(4);
    assert_eq!(other.received().len(), 2);
    shell.run("whoami --config missing.yaml").is(3);
    // What happens to lie here does not send a token to another machine.
    let far = "listeners: [{ address: 127.0.0.1:0 }]\nmanagement: { address: \"203.0.113.1:8081\", token: \"file:reader\" }\n";
    fs::write(
        shell.file("config/reader"),
        "a-token-of-more-than-sixteen-letters",
    )
    .unwrap();
    fs::write(shell.file("config/keygate.yaml"), far).unwrap();
    let ran = shell.with("KEYGATE_TOKEN", CANARY).run("whoami").is(2);
    assert!(ran.err.contains("not this machine"), "{ran:?}");
}

#[test]
fn the_environment_goes_before_what_is_stored() {
    let gateway = signing_in();
    let shell = Shell::without_token(&gateway);
    shell.run_with("login --token-stdin", CANARY).is(0);
    let shell = shell.with("KEYGATE_TOKEN", "another");
    shell.run("whoami").is(4);
    assert_eq!(
        gateway.last().header("authorization"),
        Some("Bearer another")
    );
}

#[test]
fn a_file_that_others_can_read_is_not_used() {
    let gateway = signing_in();
    let shell = Shell::without_token(&gateway);
    shell.run_with("login --token-stdin", CANARY).is(0);
    let file = shell.file("home/login.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let before = gateway.received().len();
    let ran = shell.run("whoami").is(4);
    assert!(ran.err.contains("chmod 600"), "{ran:?}");
    assert_eq!(gateway.received().len(), before);
}

#[test]
fn without_a_folder_of_its_own_it_is_the_one_of_all_programs() {
    let gateway = signing_in();
    let shell = Shell::without_token(&gateway).with("KEYGATE_HOME", "");
    let xdg = shell.file("xdg").display().to_string();
    let shell = shell.with("XDG_CONFIG_HOME", &xdg);
    shell.run_with("login --token-stdin", CANARY).is(0);
    assert!(shell.file("xdg/keygate/login.json").is_file());
    let home = shell.file("person").display().to_string();
    let shell = shell.with("XDG_CONFIG_HOME", "").with("HOME", &home);
    shell.run_with("login --token-stdin", CANARY).is(0);
    assert!(shell.file("person/.config/keygate/login.json").is_file());
}

#[test]
fn a_gateway_that_is_away_keeps_nobody_signed_in_here() {
    let gateway = gateway(|line, _| match line {
        "POST /v1/sessions" => answer(201, &json!({"session": {"id": SESSION}, "secret": CANARY})),
        _ => problem(503, "dependency_down"),
    });
    let shell = Shell::without_token(&gateway);
    shell
        .run_with("login --email ann@example.com", "hunter2!")
        .is(0);
    let ran = shell.run("logout").is(1);
    assert!(ran.err.contains("forgotten here"), "{ran:?}");
    assert!(
        !fs::read_to_string(shell.file("home/login.json"))
            .unwrap()
            .contains(CANARY)
    );
}

#[test]
fn a_token_that_is_refused_is_told_with_where_it_is_from() {
    let gateway = signing_in();
    let shell = Shell::without_token(&gateway);
    let advice = |ran: &Ran| {
        let (_, advice) = ran.err.split_once("(unauthorized)").unwrap();
        advice.to_owned()
    };
    assert_eq!(
        advice(&shell.run("whoami").is(4)),
        "; sign in with `keygate login`, or set KEYGATE_TOKEN\n"
    );
    let typed = shell.run_with("login --token-stdin", "kg_admin_wrong\n");
    assert_eq!(advice(&typed.is(4)), "\n", "it is just being given");
    shell.run_with("login --token-stdin", CANARY).is(0);
    let file = shell.file("home/login.json");
    let stored = fs::read_to_string(&file).unwrap();
    fs::write(&file, stored.replace(CANARY, "kg_admin_of_yesterday")).unwrap();
    assert_eq!(
        advice(&shell.run("whoami").is(4)),
        format!(
            "; the token is the one that `keygate login` stored in {}: sign in again with `keygate login`\n",
            file.display()
        )
    );
    let shell = shell.with("KEYGATE_TOKEN", "another");
    assert_eq!(
        advice(&shell.run("whoami").is(4)),
        "; the token is that of KEYGATE_TOKEN: correct it, or unset it and sign in with `keygate login`\n"
    );
}
