//! TLS towards callers, by real clients: curl and OpenSSL.

use crate::harness::{
    Authority, Client, Gateway, GatewayBuilder, KEY, PATIENCE, Upstream, wait_until,
};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A folder with an authority's certificate `ca.pem`, and `NAME.pem` and `NAME.key` for each of these.
fn folder(names: &[(&str, &str)]) -> (TempDir, Authority) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    for (name, hosts) in names {
        authority.sign(folder.path(), name, hosts);
    }
    (folder, authority)
}

fn builder(upstream: &Upstream, tls: &str) -> GatewayBuilder {
    GatewayBuilder::new(upstream.address).listener(&format!("tls: {tls}"))
}

/// What curl says: exit code, and the answer's status or nothing.
fn curl(gateway: &Gateway, host: &str, more: &[&str]) -> (i32, String) {
    let port = gateway.address.port();
    let ca = gateway.file.with_file_name("ca.pem");
    let output = Command::new("curl")
        .args([
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--max-time",
            "20",
        ])
        .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
        .args(["-H", &format!("x-api-key: {KEY}"), "--cacert"])
        .arg(ca)
        .args(more)
        .arg(format!("https://{host}:{port}/"))
        .env_remove("https_proxy")
        .env_remove("HTTPS_PROXY")
        .env_remove("all_proxy")
        .env_remove("ALL_PROXY")
        .output()
        .expect("curl (Debian package curl)");
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap_or(-1), status)
}

fn passes(gateway: &Gateway, host: &str, more: &[&str]) {
    assert_eq!(
        curl(gateway, host, more),
        (0, "200".into()),
        "{host} {more:?}"
    );
}

fn is_refused(gateway: &Gateway, host: &str, more: &[&str]) {
    let (exit, status) = curl(gateway, host, more);
    assert!(
        exit != 0 && status == "000",
        "{host} {more:?}: {exit} {status}"
    );
}

/// What `openssl s_client` says.
fn openssl(gateway: &Gateway, more: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &gateway.address.to_string()])
        .args(more)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl (Debian package openssl)");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    out + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn each_name_gets_its_certificate() {
    let upstream = Upstream::ok();
    let (folder, _) = folder(&[
        ("first", "DNS:first.example.com"),
        ("wild", "DNS:*.example.org,DNS:example.org"),
        ("exact", "DNS:exact.example.org"),
    ]);
    let pair = |name: &str| format!("{{ cert: 'file:{name}.pem', key: 'file:{name}.key' }}");
    let tls = format!(
        "{{ cert: 'file:first.pem', key: 'file:first.key', certificates: [{}, {}] }}",
        pair("wild"),
        pair("exact")
    );
    let gateway = builder(&upstream, &tls).start_in(folder);
    for host in [
        "first.example.com",
        "example.org",
        "a.example.org",
        "A.Example.ORG",
        "exact.example.org",
    ] {
        passes(&gateway, host, &[]);
    }
    // A wildcard stands for one label.
    is_refused(&gateway, "a.b.example.org", &[]);
    is_refused(&gateway, "other.example.com", &[]);
    let subject = |name: &[&str]| openssl(&gateway, name);
    assert!(subject(&["-servername", "exact.example.org"]).contains("CN = exact"));
    for default in [
        vec!["-servername", "nobody.example.net"],
        vec!["-noservername"],
    ] {
        assert!(subject(&default).contains("CN = first"), "{default:?}");
    }
    let received = upstream.last();
    assert_eq!(received.header("x-forwarded-proto"), Some("https"));
    assert_eq!(received.header("x-keygate-client-subject"), None);
    let labels = [("listener", "main"), ("certificate", "wild.pem")];
    let end = gateway.metric("keygate_tls_cert_not_after_timestamp_seconds", &labels);
    assert!(end > 1_700_000_000.0, "{end}");
    let config = gateway.manage("/status").text();
    assert!(!config.contains("PRIVATE KEY"));
}

#[test]
fn versions_are_those_that_are_allowed() {
    let upstream = Upstream::ok();
    for (least, old) in [("1.2", true), ("1.3", false)] {
        let (folder, _) = folder(&[("a", "DNS:a.example.com")]);
        let tls = format!("{{ cert: 'file:a.pem', key: 'file:a.key', min_version: \"{least}\" }}");
        let gateway = builder(&upstream, &tls).start_in(folder);
        passes(&gateway, "a.example.com", &["--tlsv1.3"]);
        let highest = ["--tls-max", "1.2"];
        if old {
            passes(&gateway, "a.example.com", &highest);
        } else {
            is_refused(&gateway, "a.example.com", &highest);
        }
        is_refused(&gateway, "a.example.com", &["--tls-max", "1.1"]);
        let protocol = openssl(&gateway, &["-alpn", "http/1.1"]);
        assert!(protocol.contains("ALPN protocol: http/1.1"), "{protocol}");
    }
}

#[test]
fn the_cheapest_cipher_is_taken_but_chacha20_by_those_who_ask_for_it_first() {
    let upstream = Upstream::ok();
    let (folder, _) = folder(&[("a", "DNS:a.example.com")]);
    let gateway = builder(&upstream, "{ cert: 'file:a.pem', key: 'file:a.key' }").start_in(folder);
    let (aes_128, aes_256) = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384");
    let chacha20 = "TLS_CHACHA20_POLY1305_SHA256";
    for (asked, taken) in [
        (vec![aes_256, chacha20, aes_128], aes_128),
        (vec![aes_256, chacha20], aes_256),
        (vec![chacha20, aes_128], chacha20),
        (vec![aes_256], aes_256),
    ] {
        let said = openssl(&gateway, &["-tls1_3", "-ciphersuites", &asked.join(":")]);
        assert!(
            said.contains(&format!("Cipher is {taken}")),
            "{asked:?}: {said}"
        );
    }
    let (aes_128, chacha20) = (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    );
    for (asked, taken) in [
        (format!("ECDHE-ECDSA-AES256-GCM-SHA384:{aes_128}"), aes_128),
        (format!("{chacha20}:{aes_128}"), chacha20),
    ] {
        let said = openssl(&gateway, &["-tls1_2", "-cipher", &asked]);
        assert!(
            said.contains(&format!("Cipher is {taken}")),
            "{asked}: {said}"
        );
    }
}

#[test]
fn a_session_goes_on_and_a_reload_ends_none() {
    let upstream = Upstream::ok();
    let (folder, authority) = folder(&[("a", "DNS:a.example.com")]);
    let sessions = tempfile::tempdir().unwrap();
    let tls = "{ cert: 'file:a.pem', key: 'file:a.key' }";
    let gateway = builder(&upstream, tls).start_in(folder);
    for version in ["-tls1_2", "-tls1_3"] {
        let session = sessions.path().join(version);
        let file = session.to_str().unwrap();
        // In TLS 1.3 the ticket comes behind the handshake: something has to be read.
        let head = format!(
            "printf 'GET / HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n' | openssl s_client -connect {} {version}",
            gateway.address
        );
        let shell = |more: &str| {
            let words = format!("({head} -ign_eof {more} & p=$!; sleep 1; kill $p) 2>&1");
            let output = Command::new("sh").args(["-c", &words]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let first = shell(&format!("-sess_out {file}"));
        assert!(first.contains("New, "), "{version}: {first}");
        let second = shell(&format!("-sess_in {file}"));
        assert!(second.contains("Reused, "), "{version}: {second}");
        // Another certificate, the same tickets.
        let before = fs::read(gateway.file.with_file_name("a.pem")).unwrap();
        authority.sign(gateway.file.parent().unwrap(), "a", "DNS:a.example.com");
        assert_ne!(
            before,
            fs::read(gateway.file.with_file_name("a.pem")).unwrap()
        );
        wait_until("the new certificate", PATIENCE, || {
            let shown = openssl(&gateway, &["-showcerts"]);
            let pem = fs::read_to_string(gateway.file.with_file_name("a.pem")).unwrap();
            shown.contains(pem.lines().nth(2).unwrap())
        });
        let third = shell(&format!("-sess_in {file}"));
        assert!(third.contains("Reused, "), "{version}: {third}");
    }
    passes(&gateway, "a.example.com", &[]);
}

#[test]
fn a_pair_that_does_not_fit_is_not_taken_by_a_reload() {
    let upstream = Upstream::ok();
    let (folder, authority) = folder(&[("a", "DNS:a.example.com"), ("b", "DNS:b.example.com")]);
    let tls = "{ cert: 'file:a.pem', key: 'file:a.key' }";
    let gateway = builder(&upstream, tls).start_in(folder);
    let place = |name: &str| gateway.file.with_file_name(name);
    fs::copy(place("b.key"), place("a.key")).unwrap();
    wait_until("the fault is told", PATIENCE, || {
        gateway
            .status()
            .to_string()
            .contains("file:a.key: the private key is not that of the certificate")
    });
    passes(&gateway, "a.example.com", &[]);
    authority.sign(gateway.file.parent().unwrap(), "a", "DNS:c.example.com");
    wait_until("the next pair is taken", PATIENCE, || {
        curl(&gateway, "c.example.com", &[]).0 == 0
    });
}

#[test]
fn callers_show_certificates() {
    let upstream = Upstream::ok();
    for required in [true, false] {
        let (folder, _) = folder(&[("a", "DNS:a.example.com"), ("caller", "DNS:caller")]);
        let strangers = Authority::new(folder.path(), "strangers");
        strangers.sign(folder.path(), "stranger", "DNS:stranger");
        let tls = format!(
            "{{ cert: 'file:a.pem', key: 'file:a.key', client_auth: {{ ca: 'file:ca.pem', required: {required} }} }}"
        );
        let gateway = builder(&upstream, &tls).start_in(folder);
        let place = |name: &str| gateway.file.with_file_name(name).display().to_string();
        let shows = |name: &str| {
            let (cert, key) = (place(&format!("{name}.pem")), place(&format!("{name}.key")));
            ["--cert".to_owned(), cert, "--key".to_owned(), key]
        };
        let claims = [
            "-H",
            "client-cert: :AAAA:",
            "-H",
            "X_Keygate_Client_Subject: CN=root",
        ];
        let caller = shows("caller");
        let mut words: Vec<&str> = caller.iter().map(String::as_str).collect();
        words.extend(claims);
        passes(&gateway, "a.example.com", &words);
        let received = upstream.last();
        assert_eq!(
            received.header("x-keygate-client-subject"),
            Some("CN=caller")
        );
        let field = received.header("client-cert").unwrap();
        assert!(field.starts_with(":MII") && field.ends_with(':'), "{field}");
        assert!(!received.whole().to_lowercase().contains("cn=root"));
        let stranger = shows("stranger");
        let words: Vec<&str> = stranger.iter().map(String::as_str).collect();
        is_refused(&gateway, "a.example.com", &words);
        if required {
            is_refused(&gateway, "a.example.com", &claims);
        } else {
            passes(&gateway, "a.example.com", &claims);
            let received = upstream.last();
            assert_eq!(received.header("client-cert"), None);
            assert_eq!(received.header("x-keygate-client-subject"), None);
        }
    }
}

/// The other side hangs up without a word.
fn hangs_up(client: &Client) -> bool {
    let mut stream = client.stream();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).is_ok() || !rest.starts_with(b"HTTP")
}

#[test]
fn handshakes_are_bounded_in_time_and_number() {
    let upstream = Upstream::ok();
    let (folder, _) = folder(&[("a", "DNS:a.example.com")]);
    let tls =
        "{ cert: 'file:a.pem', key: 'file:a.key', handshake_timeout: 300ms, max_handshakes: 2 }";
    let gateway = builder(&upstream, tls).start_in(folder);
    let count = |result| {
        let labels = [("listener", "main"), ("result", result)];
        gateway.metric("keygate_tls_handshakes_total", &labels)
    };
    let silent = [gateway.client(), gateway.client()];
    // Both have their places once a third is turned away.
    wait_until("one too many", PATIENCE, || {
        let _ = hangs_up(&gateway.client());
        count("shed") > 0.0
    });
    for client in &silent {
        assert!(hangs_up(client));
    }
    wait_until("both are counted", PATIENCE, || count("timeout") >= 2.0);
    let mut clear = gateway.client();
    clear.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(hangs_up(&clear));
    assert!(count("failed") >= 1.0);
    passes(&gateway, "a.example.com", &[]);
    assert!(count("ok") >= 1.0);
}

#[test]
fn what_is_wrong_with_a_pair_is_said_with_its_file() {
    let (folder, authority) = folder(&[("a", "DNS:a.example.com"), ("b", "DNS:b.example.com")]);
    drop(authority);
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("text.pem", "just text");
    write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let told = |tls: &str| {
        let yaml = GatewayBuilder::new("127.0.0.1:9".parse().unwrap())
            .listener(&format!("tls: {tls}"))
            .yaml();
        let file = folder.path().join("keygate.yaml");
        fs::write(&file, yaml).unwrap();
        faults(&file)
    };
    for (tls, wanted) in [
        ("{ cert: 'file:a.pem' }", "listeners[0].tls.key: required"),
        (
            "{}",
            "listeners[0].tls: `cert` and `key`, or `certificates`, are required",
        ),
        (
            "{ cert: 'file:no.pem', key: 'file:a.key' }",
            "no.pem: No such file",
        ),
        (
            "{ cert: 'file:text.pem', key: 'file:a.key' }",
            "listeners[0].tls.cert: file:text.pem: there is no certificate in it",
        ),
        (
            "{ cert: 'file:broken.pem', key: 'file:a.key' }",
            "listeners[0].tls.cert: file:broken.pem: a certificate in it is broken",
        ),
        (
            "{ cert: 'file:a.pem', key: 'file:a.pem' }",
            "listeners[0].tls.key: file:a.pem: there is no private key in it",
        ),
        (
            "{ cert: 'file:a.pem', key: 'file:b.key' }",
            "listeners[0].tls.key: file:b.key: the private key is not that of the certificate",
        ),
        (
            "{ cert: 'file:a.pem', key: 'file:a.key', min_version: '1.1' }",
            "listeners[0].tls.min_version: expected \"1.2\" or \"1.3\"",
        ),
        (
            "{ cert: 'file:a.pem', key: 'file:a.key', client_auth: {} }",
            "listeners[0].tls.client_auth.ca: required",
        ),
        (
            "{ cert: 'file:a.pem', key: 'file:a.key', client_auth: { ca: 'file:a.key' } }",
            "listeners[0].tls.client_auth.ca: file:a.key: there is no certificate in it",
        ),
        (
            "{ certificates: [{ cert: 'file:a.pem', key: 'file:a.key', names: ['a b'] }] }",
            "listeners[0].tls.certificates[0].names[0]: not a valid host name",
        ),
    ] {
        let faults = told(tls);
        assert!(faults.contains(wanted), "{tls}: {faults}");
    }
}

fn faults(file: &Path) -> String {
    match keygate::config::load(file) {
        Ok(_) => String::new(),
        Err(fault) => fault.to_string(),
    }
}
