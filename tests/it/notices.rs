//! Notices: seen where one reaches, read by each alone, and by e-mail where that is set.

use crate::harness::{
    Desk, Gateway, GatewayBuilder, PATIENCE, Process, Served, Upstream, ask, free_port, sql,
    wait_until,
};
use crate::workspaces::{made, stored};
use keygate::domain::role::Role;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// Makes a critical notice: somebody has touched the audit log.
fn break_the_log(gateway: &Gateway) {
    Desk::of(gateway).sql("UPDATE audit SET actor = 'tok_x' WHERE sequence = 1");
    let verdict = gateway.api("POST", "/v1/audit/verify", None).must(200);
    assert_eq!(verdict["ok"], false);
}

fn list(gateway: &Gateway, token: &str, query: &str) -> Vec<Value> {
    let target = format!("/v1/notices?{query}");
    let list = gateway.api_as(token, "GET", &target, None).must(200);
    list["data"].as_array().unwrap().clone()
}

#[test]
fn each_reader_reads_alone() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let shop = made(&gateway, "shop", None);
    let root = gateway.api("GET", "/v1/workspaces?limit=1", None).json();
    let root = root["data"][0]["id"].as_str().unwrap().to_owned();
    let desk = Desk::of(&gateway);
    let (other, below) = (
        desk.token(&root, Role::Auditor),
        desk.token(&shop, Role::Owner),
    );
    break_the_log(&gateway);
    let first = list(&gateway, &gateway.admin, "unread=true");
    assert_eq!((first.len(), &first[0]["read_at"]), (1, &Value::Null));
    let path = format!("/v1/notices/{}", first[0]["id"].as_str().unwrap());
    let read = gateway.api("POST", &format!("{path}/read"), None).must(200);
    assert_ne!(read["read_at"], Value::Null);
    assert!(list(&gateway, &gateway.admin, "unread=true").is_empty());
    assert_eq!(list(&gateway, &gateway.admin, "kind=audit.*").len(), 1);
    assert!(list(&gateway, &gateway.admin, "kind=key.*").is_empty());
    assert_eq!(list(&gateway, &other, "unread=true").len(), 1);
    let all = gateway.api_as(&other, "POST", "/v1/notices/read", json!({}));
    assert_eq!(all.must(200)["read"], 1);
    assert!(list(&gateway, &other, "unread=true").is_empty());
    // It is about the whole, so who has a part does not see it.
    assert!(list(&gateway, &below, "").is_empty());
    assert_eq!(
        gateway.api_as(&below, "GET", &path, None).code(),
        "not_found"
    );
    let act = gateway.api_as(&below, "POST", &format!("{path}/read"), None);
    assert_eq!(act.status, 404);
}

#[test]
fn a_preview_tells_which_keys_will_go() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let key = |name: &str, inactivity: Value| {
        let body = json!({"name": name, "scopes": ["app:read"], "inactivity": inactivity});
        gateway.api("POST", "/v1/keys", body).must(201);
    };
    key("short", json!({"mode": "disable", "after": "20d"}));
    key("long", json!({"mode": "delete", "after": "80d"}));
    key("never", json!({"mode": "off"}));
    let names = |query: &str| -> Vec<String> {
        let found = gateway
            .api("GET", &format!("/v1/keys/preview{query}"), None)
            .must(200);
        let found = found["data"].as_array().unwrap();
        found
            .iter()
            .map(|one| one["key"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(""), ["short"]);
    assert_eq!(names("?days=100"), ["short", "long"]);
    assert_eq!(names("?days=100&limit=1"), ["short"]);
    let wrong = gateway.api("GET", "/v1/keys/preview?days=0", None);
    assert_eq!(wrong.must(422)["errors"][0]["pointer"], "?days");
}

/// A mail server that takes everything: for each message its recipient and its text.
struct MailServer {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<(String, String)>>>,
}

impl MailServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let taken: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let kept = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    serve(stream.try_clone().unwrap(), stream, &kept);
                });
            }
        });
        Self { address, taken }
    }

    fn taken(&self) -> Vec<(String, String)> {
        self.taken.lock().unwrap().clone()
    }
}

fn serve(from: impl Read, mut answers: impl Write, taken: &Mutex<Vec<(String, String)>>) {
    let mut lines = BufReader::new(from).lines();
    let mut to = String::new();
    let mut say = |words: &str| answers.write_all(format!("{words}\r\n").as_bytes());
    if say("220 mail.example ESMTP").is_err() {
        return;
    }
    while let Some(Ok(line)) = lines.next() {
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let said = match &*verb {
            "EHLO" => say("250 mail.example"),
            "RCPT" => {
                to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                say("250 ok")
            }
            "DATA" => {
                say("354 go on").unwrap();
                let text: Vec<String> = lines
                    .by_ref()
                    .map_while(Result::ok)
                    .take_while(|line| line != ".")
                    .collect();
                taken.lock().unwrap().push((to.clone(), text.join("\n")));
                say("250 taken")
            }
            "QUIT" => {
                let _ = say("221 bye");
                return;
            }
            _ => say("250 ok"),
        };
        if said.is_err() {
            return;
        }
    }
}

#[test]
fn warnings_go_out_by_e_mail() {
    let upstream = Upstream::ok();
    let server = MailServer::start();
    let gateway = GatewayBuilder::new(upstream.address)
        .stored()
        .top(&format!(
            "notifications:\n  email: {{ smtp: \"smtp+plain://{}\", from: keygate@example.com, to: [ops@example.com] }}",
            server.address
        ))
        .start();
    let desk = Desk::of(&gateway);
    desk.member("owner@example.com", Role::Owner);
    let gone = desk.member("gone@example.com", Role::Owner);
    desk.erase(gone);
    break_the_log(&gateway);
    wait_until("both are told", PATIENCE, || server.taken().len() == 2);
    let mut taken = server.taken();
    taken.sort();
    let to: Vec<&str> = taken.iter().map(|(to, _)| &**to).collect();
    assert_eq!(to, ["ops@example.com", "owner@example.com"]);
    for (_, text) in &taken {
        assert!(
            text.contains("Subject: [keygate] The audit log does not hold"),
            "{text}"
        );
        assert!(text.contains("audit.broken"), "{text}");
    }
}

fn openssl(folder: &Path, line: &str) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(folder).args(line.split(' '));
    command
}

/// The way to a mail server by TLS (`openssl`, Debian package `openssl`), whose certificate is of an authority of the test's
/// own: `ca.pem` in the folder.
fn with_tls(folder: &Path, port: u16, taken: &Arc<Mutex<Vec<(String, String)>>>) -> Process {
    let new = "req -x509 -newkey rsa:2048 -nodes -days 2";
    for line in [
        "-subj /CN=Company -keyout ca.key -out ca.pem",
        "-subj /CN=mail -keyout mail.key -out mail.pem -CA ca.pem -CAkey ca.key \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE",
    ] {
        let made = openssl(folder, &format!("{new} {line}")).output();
        let made = made.expect("openssl (Debian package openssl)");
        assert!(made.status.success(), "{made:?}");
    }
    let line = format!("s_server -quiet -accept 127.0.0.1:{port} -cert mail.pem -key mail.key");
    let mut command = openssl(folder, &line);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = Process::start(&mut command);
    let child = process.child();
    let (answers, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let kept = Arc::clone(taken);
    std::thread::spawn(move || serve(from, answers, &kept));
    process
}

#[test]
fn a_mail_server_of_a_company_is_trusted_when_the_system_trusts_its_authority() {
    let upstream = Upstream::ok();
    let folder = tempfile::tempdir().unwrap();
    let (port, taken) = (free_port(), Arc::default());
    let _server = with_tls(folder.path(), port, &taken);
    let authority = folder.path().join("ca.pem");
    let store = folder.path().join("keygate.db");
    let yaml = GatewayBuilder::new(upstream.address)
        .top(&format!(
            "store: sqlite:keygate.db\nnotifications:\n  email: {{ smtp: \"smtps://127.0.0.1:{port}\", \
             from: keygate@example.com, to: [ops@example.com] }}"
        ))
        .yaml();
    let served = Served::start_with(folder, &yaml, &[("SSL_CERT_FILE", &authority)]);
    let bearer = format!("authorization: Bearer {}", served.setup_token());
    sql(
        &store,
        "UPDATE audit SET actor = 'tok_x' WHERE sequence = 1",
    );
    let verdict = ask(served.management, "POST /v1/audit/verify", &[&bearer]);
    assert_eq!(verdict.must(200)["ok"], false);
    wait_until("it is told", PATIENCE, || {
        let taken: Vec<(String, String)> = taken.lock().unwrap().clone();
        taken.iter().any(|(to, _)| to == "ops@example.com")
    });
}
