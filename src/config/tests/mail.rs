//! E-mail: what its settings mean, and the exact lines that faults draw.

use super::faults::{Case, LISTENERS, check};
use super::managed::minimal;
use super::store::Folder;
use crate::config::{Config, EmailConfig, SmtpSecurity};

fn email(config: Config) -> EmailConfig {
    config.email.unwrap()
}

#[test]
fn notices_by_e_mail() {
    for none in ["{}", "{email: {}}", "{email: null}", "{email: {to: []}}"] {
        let config = minimal(&format!("notifications: {none}"));
        assert!(config.email.is_none(), "{none}");
    }
    let folder = Folder::with(&[("password", "hunter2 and more\n")]);
    let config = folder
        .parse(
            "notifications:
  email:
    smtp: smtps://Mail.example.com/
    username: keygate@example.com
    password: file:password
    from: Key Gate <keygate@example.com>
    to: [ops@example.com, o'hara+keys@xn--bcher-kva.example]",
        )
        .unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let names = ["k.yaml", "password"].map(|name| folder.place(name));
    assert_eq!(config.files, names);
    let email = email(config);
    let login = email.login.unwrap();
    assert_eq!(login.username, "keygate@example.com");
    assert_eq!(login.password.expose(), "hunter2 and more");
    assert_eq!(email.from.name.as_deref(), Some("Key Gate"));
    assert_eq!(email.from.address, "keygate@example.com");
    let to = ["ops@example.com", "o'hara+keys@xn--bcher-kva.example"];
    assert_eq!(email.to, to);
}

#[test]
fn mail_servers() {
    use SmtpSecurity::{Plain, StartTls, Tls};
    for (smtp, host, port, security) in [
        ("smtp://mail.example.com", "mail.example.com", 587, StartTls),
        ("smtp://10.0.0.5:25", "10.0.0.5", 25, StartTls),
        ("smtps://[2001:db8::1]", "2001:db8::1", 465, Tls),
        ("smtps://mail:4650", "mail", 4650, Tls),
        ("smtp+plain://LocalHost", "localhost", 25, Plain),
        ("smtp+plain://127.0.0.1:1025", "127.0.0.1", 1025, Plain),
        ("smtp+plain://[::1]:1025", "::1", 1025, Plain),
    ] {
        let email = email(minimal(&format!(
            "notifications: {{email: {{smtp: '{smtp}', from: <a@b>}}}}"
        )));
        let server = email.smtp;
        assert_eq!((&*server.host, server.port), (host, port), "{smtp}");
        assert_eq!(server.security, security, "{smtp}");
        assert!(email.login.is_none() && email.to.is_empty());
        assert_eq!((email.from.name, &*email.from.address), (None, "a@b"));
    }
}

#[test]
fn faults_of_e_mail() {
    check(EMAIL_CASES, &[LISTENERS]);
    for smtp in [
        "hunter2",
        "http://hunter2",
        "SMTP://hunter2",
        "smtp://keygate:hunter2@mail",
        "smtp://mail/hunter2",
        "smtp://mail?hunter2",
        "smtp://hunter2:x",
        "smtp://hunter2!",
        "smtp+plain://hunter2",
    ] {
        let text = format!("{LISTENERS}\nnotifications: {{email: {{smtp: '{smtp}', from: a@b}}}}");
        let said = super::faults(&text);
        assert_eq!(said.len(), 1, "{smtp}");
        assert!(said[0].starts_with("2:31: notifications.email.smtp: "));
        assert!(!said[0].contains("hunter2"), "{said:?}");
    }
}

#[test]
fn addresses_that_are_none() {
    let long = format!("{}@example.com", "a".repeat(65));
    let wide = format!("a@{}.example.com", "a.".repeat(125));
    for bad in [
        "ops",
        "@example.com",
        "ops@",
        "a@b@example.com",
        "o ps@example.com",
        "ops@exa mple.com",
        "ops@example.com\\n",
        ".ops@example.com",
        "o..ps@example.com",
        "ops@[127.0.0.1]",
        "ops@example.com.",
        "<ops@example.com>",
        "a,b@example.com",
        "ä@example.com",
        &long,
        &wide,
    ] {
        let text = format!(
            "{LISTENERS}\nnotifications: {{email: {{smtp: smtp://a, from: \"{bad} <{bad}>\", to: [\"{bad}\"]}}}}"
        );
        let said = super::faults(&text);
        assert!(said.len() == 2, "{bad}: {said:?}");
        assert!(said[0].ends_with(
            "notifications.email.from: expected `ops@example.com` or `name <ops@example.com>`"
        ));
        assert!(
            said[1].ends_with(
                "notifications.email.to[0]: expected an address such as `ops@example.com`"
            )
        );
    }
    for from in [
        "a <b> <a@b>",
        "\\\"a\\\" <a@b>",
        "a@b>",
        "a\\tb <a@b>",
        "a <a@b",
        " a <a@b>",
    ] {
        let text =
            format!("{LISTENERS}\nnotifications: {{email: {{smtp: smtp://a, from: \"{from}\"}}}}");
        assert_eq!(super::faults(&text).len(), 1, "{from}");
    }
}

const EMAIL_CASES: &[Case] = &[
    (
        "notifications: {email: smtp://mail, slack: x}",
        &[
            "1:24: notifications.email: expected a mapping",
            "1:37: notifications.slack: unknown field `slack`; known: email",
        ],
    ),
    (
        "notifications: {email: {to: [ops@example.com]}}",
        &[
            "1:24: notifications.email.from: required",
            "1:24: notifications.email.smtp: required",
        ],
    ),
    (
        "notifications: {email: {smtp: smtp://mail, username: keygate}}",
        &[
            "1:24: notifications.email.from: required",
            "1:54: notifications.email.username: needs `password` beside it",
        ],
    ),
    (
        "notifications: {email: {from: a@b, password: env:KEYGATE_TEST_UNSET}}",
        &[
            "1:24: notifications.email.smtp: required",
            "1:46: notifications.email.password: needs `username` beside it",
            "1:46: notifications.email.password: environment variable `KEYGATE_TEST_UNSET` is not set",
        ],
    ),
    (
        "notifications: {email: {smtp: mail, username: '', password: hunter2, from: 5, to: [a@b, a, a@b], cc: x}}",
        &[
            "1:31: notifications.email.smtp: expected `smtp://host:587` (STARTTLS), `smtps://host:465` or, for loopback only, `smtp+plain://127.0.0.1:25`",
            "1:47: notifications.email.username: must be 1 to 128 characters, none of them a control character, no space at either end",
            "1:61: notifications.email.password: a secret is given as `file:path` or `env:NAME`, never in this file",
            "1:76: notifications.email.from: expected text; put it in quotes",
            "1:89: notifications.email.to[1]: expected an address such as `ops@example.com`",
            "1:92: notifications.email.to[2]: the same as notifications.email.to[0]",
            "1:98: notifications.email.cc: unknown field `cc`; known: smtp, username, password, from, to",
        ],
    ),
    (
        "notifications: {email: {smtp: 'smtp://u:hunter2@mail', from: a@b, to: a@b}}",
        &[
            "1:31: notifications.email.smtp: user and password are given as `username` and `password`",
            "1:71: notifications.email.to: expected a list",
        ],
    ),
    (
        "notifications: {email: {smtp: 'smtp+plain://10.0.0.1', from: a@b}}",
        &["1:31: notifications.email.smtp: without TLS only a server on loopback may be used"],
    ),
    (
        "notifications: {email: {smtp: 'smtp://mail:25/?x', from: a@b}}",
        &["1:31: notifications.email.smtp: a mail server is scheme, host and port only"],
    ),
];
