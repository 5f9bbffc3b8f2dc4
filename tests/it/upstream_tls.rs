//! TLS towards services: nginx and OpenSSL behind the gateway, with certificates that are good, and with others.

use crate::harness::{
    Answer, Authority, Gateway, GatewayBuilder, PATIENCE, Process, free_port, nginx, server,
    wait_for_port, wait_until,
};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const GOOD: &str = "DNS:service.example,DNS:localhost,IP:127.0.0.1";

/// nginx under TLS, which answers with what it knows of a request.
struct Service {
    folder: TempDir,
    authority: Authority,
    address: SocketAddr,
    _nginx: Process,
}

impl Service {
    /// With a certificate for these names, and further lines for its server.
    fn new(names: &str, lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "ca");
        authority.sign(folder.path(), "service", names);
        authority.sign(folder.path(), "caller", "DNS:gateway");
        Self::with((folder, authority), lines)
    }

    fn with((folder, authority): (TempDir, Authority), lines: &str) -> Self {
        let address: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
        let at = folder.path().display();
        let nginx = nginx(
            folder.path(),
            &format!(
                "log_format tls '$connection $ssl_session_reused $ssl_protocol';\n\
                 server {{ listen {address} ssl; access_log {at}/access.log tls;\n\
                   ssl_certificate {at}/service.pem; ssl_certificate_key {at}/service.key;\n\
                   ssl_session_cache shared:s:1m; {lines}\n\
                   location / {{ default_type text/plain;\n\
                     return 200 \"name=$ssl_server_name subject=$ssl_client_s_dn host=$http_host\"; }} }}\n"
            ),
        );
        wait_for_port(address);
        Self {
            folder,
            authority,
            address,
            _nginx: nginx,
        }
    }

    /// The gateway in front of it, by this host, with these settings of the upstream; `CA` stands for the authority.
    fn builder(&self, host: &str, settings: &str) -> GatewayBuilder {
        let at = self.folder.path().display();
        let settings = settings.replace("AT", &at.to_string());
        let url = format!("https://{host}:{}", self.address.port());
        GatewayBuilder::new(self.address)
            .replace(&format!("http://{}", self.address), &url)
            .upstream(&format!("protocol: http1, {settings}"))
            .one_thread()
    }

    fn behind(&self, host: &str, settings: &str) -> Gateway {
        self.builder(host, settings).start()
    }

    /// A line for each request: number of the connection, whether its session was resumed, version.
    fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

const CA: &str = "tls: { ca: 'file:AT/ca.pem' }";

fn is_tls_error(answer: &Answer, error: &str) {
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(answer.code(), "upstream_tls");
    let status = format!("keygate; error={error}");
    assert_eq!(answer.header("proxy-status"), Some(&*status));
    assert_eq!(
        answer.json()["detail"],
        "no secure connection to the service could be made"
    );
}

#[test]
fn a_service_is_asked_for_by_its_name_and_has_to_prove_it() {
    let service = Service::new(GOOD, "");
    let told = |host: &str, settings: &str| service.behind(host, settings).get("/").text();
    assert!(told("localhost", CA).starts_with("name=localhost subject= "));
    // An address is proven by the address in the certificate; it is no name to ask for (RFC 6066 §3).
    assert!(told("127.0.0.1", CA).starts_with("name= "));
    let named = "tls: { ca: 'file:AT/ca.pem', server_name: service.example }";
    assert!(told("127.0.0.1", named).starts_with("name=service.example "));
    let gateway = service.behind("localhost", CA);
    assert_eq!(gateway.status()["upstreams"][0]["tls"], "verified");
    let other = "tls: { ca: 'file:AT/ca.pem', server_name: other.example }";
    let refused = service.behind("127.0.0.1", other);
    is_tls_error(&refused.get("/"), "tls_certificate_error");
    let failed = [("upstream", "app"), ("reason", "tls")];
    assert_eq!(
        refused.metric("keygate_upstream_errors_total", &failed),
        1.0
    );
}

#[test]
fn nobody_is_believed_whom_the_authority_does_not_vouch_for() {
    let service = Service::new(GOOD, "");
    // The system's authorities know nothing of it.
    is_tls_error(
        &service.behind("localhost", "").get("/"),
        "tls_certificate_error",
    );
    let strangers = Authority::new(service.folder.path(), "strangers");
    drop(strangers);
    let other = "tls: { ca: 'file:AT/strangers.pem' }";
    is_tls_error(
        &service.behind("localhost", other).get("/"),
        "tls_certificate_error",
    );
    let believing = service.behind("localhost", "tls: { insecure: true }");
    assert_eq!(believing.get("/").status, 200);
    let status = believing.status();
    assert_eq!(status["upstreams"][0]["tls"], "insecure");
    assert!(
        status["config"]["warnings"]
            .to_string()
            .contains("upstreams.app.tls.insecure: whoever answers is believed"),
        "{status}"
    );
}

#[test]
fn what_is_out_of_date_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    authority.sign(folder.path(), "service", GOOD);
    authority.let_expire(folder.path(), "service");
    let service = Service::with((folder, authority), "");
    is_tls_error(
        &service.behind("localhost", CA).get("/"),
        "tls_certificate_error",
    );
}

#[test]
fn connections_are_kept_and_sessions_go_on() {
    for version in ["TLSv1.2", "TLSv1.3"] {
        let service = Service::new(GOOD, &format!("ssl_protocols {version};"));
        let gateway = service.behind("localhost", CA);
        for _ in 0..20 {
            assert_eq!(gateway.get("/").status, 200);
        }
        let first: Vec<String> = service.log();
        let connections: std::collections::BTreeSet<_> = first
            .iter()
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        assert_eq!((first.len(), connections.len()), (20, 1), "{first:?}");
        assert!(first[0].ends_with(&format!(" . {version}")), "{first:?}");
        drop(gateway);
        // A connection that may not be kept is followed by one whose handshake is short.
        let gateway = service.behind("localhost", &format!("{CA}, pool: {{ max_idle: 0 }}"));
        for _ in 0..3 {
            assert_eq!(gateway.get("/").status, 200);
        }
        let resumed = service.log().split_off(20);
        assert!(resumed[0].contains(" . "), "{resumed:?}");
        assert!(resumed[2].contains(" r "), "{resumed:?}");
    }
}

#[test]
fn a_service_that_closes_kept_connections_fails_nobody() {
    let service = Service::new(GOOD, "keepalive_requests 2;");
    let gateway = service.behind("localhost", CA);
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status, 200);
    }
}

#[test]
fn a_client_certificate_is_shown_and_follows_its_file() {
    let at_client = "ssl_verify_client on; ssl_client_certificate AT/ca.pem;";
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    authority.sign(folder.path(), "service", GOOD);
    authority.sign(folder.path(), "caller", "DNS:gateway");
    let lines = at_client.replace("AT", &folder.path().display().to_string());
    let service = Service::with((folder, authority), &lines);
    assert_eq!(service.behind("localhost", CA).get("/").status, 400);
    let shown =
        "tls: { ca: 'file:AT/ca.pem', cert: 'file:AT/caller.pem', key: 'file:AT/caller.key' }";
    let gateway = service.behind("localhost", shown);
    assert!(gateway.get("/").text().contains(" subject=CN=caller "));
    let sign = |name: &str| {
        let folder = service.folder.path();
        service.authority.sign(folder, name, "DNS:gateway");
    };
    sign("other");
    for end in ["key", "pem"] {
        let place = |name: &str| service.folder.path().join(format!("{name}.{end}"));
        fs::rename(place("other"), place("caller")).unwrap();
    }
    wait_until("the new certificate is shown", PATIENCE, || {
        gateway.get("/").text().contains(" subject=CN=other ")
    });
}

/// `openssl s_server`, which does as it is told.
fn s_server(folder: &Path, more: &[&str]) -> (Process, SocketAddr) {
    let address: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
    let mut command = Command::new("openssl");
    command
        .current_dir(folder)
        .args(["s_server", "-accept", &address.to_string(), "-quiet"])
        .args(["-cert", "service.pem", "-key", "service.key"])
        .args(more);
    let process = server("openssl", &mut command);
    wait_for_port(address);
    (process, address)
}

#[test]
fn a_word_of_the_service_is_told_apart_from_one_of_ours() {
    let service = Service::new(GOOD, "");
    let folder = service.folder.path();
    for more in [
        // It wants a certificate: in TLS 1.3 it says so only after the handshake.
        vec!["-Verify", "1", "-verify_return_error", "-tls1_3"],
        vec!["-Verify", "1", "-verify_return_error", "-tls1_2"],
        vec!["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
    ] {
        let (_process, address) = s_server(folder, &more);
        let settings = CA.replace("AT", &folder.display().to_string());
        let gateway = GatewayBuilder::new(address)
            .replace("http://", "https://")
            .upstream(&settings)
            .start();
        is_tls_error(&gateway.get("/"), "tls_alert_received");
    }
}

#[test]
fn health_checks_shake_hands_as_requests_do() {
    let service = Service::new(GOOD, "");
    let check = "health_check: { path: /, interval: 100ms, unhealthy: 1 }";
    let gateway = service.behind("127.0.0.1", &format!("{CA}, {check}"));
    let up = |gateway: &Gateway| gateway.metric("keygate_upstream_up", &[("upstream", "app")]);
    wait_until("nginx has been asked", PATIENCE, || service.log().len() > 2);
    assert_eq!((up(&gateway), gateway.get("/").status), (1.0, 200));
    // Whoever is not believed is not well.
    let doubting = service.behind("127.0.0.1", check);
    wait_until("it is out", PATIENCE, || up(&doubting) == 0.0);
    assert_eq!(doubting.get("/").code(), "no_healthy_endpoint");
}
