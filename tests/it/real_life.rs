//! Real programs on both sides: nginx and Python's server behind the gateway, curl in front of it.

use crate::harness::{
    Gateway, GatewayBuilder, KEY, Process, Upstream, free_port, nginx, server, wait_for_port,
};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const PAGE: &str = "<h1>hello</h1>\n";

/// A folder of files, a server in front of it, and the gateway in front of that.
struct Site {
    gateway: Gateway,
    folder: TempDir,
    _server: Process,
}

impl Site {
    fn nginx() -> Self {
        let (folder, address) = files();
        let at = folder.path().display();
        let lines = format!(
            "types {{ text/html html; text/plain txt; }}\n\
             gzip on; gzip_types text/plain; gzip_min_length 10;\n\
             server {{ listen {address}; root {at}/www; }}\n"
        );
        let server = nginx(folder.path(), &lines);
        Self::before(server, folder, address)
    }

    fn python() -> Self {
        let (folder, address) = files();
        let mut command = Command::new("python3");
        command
            .args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"])
            .arg(folder.path().join("www"))
            .arg(address.port().to_string());
        Self::before(server("python3", &mut command), folder, address)
    }

    fn before(server: Process, folder: TempDir, address: SocketAddr) -> Self {
        wait_for_port(address);
        let gateway = GatewayBuilder::new(address).route("max_body: off").start();
        Self {
            gateway,
            folder,
            _server: server,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("www").join(name)
    }

    /// curl with these arguments on this path, with the key.
    fn curl(&self, arguments: &[&str], path: &str) -> Output {
        let key = format!("X-API-Key: {KEY}");
        let url = format!("http://{}{path}", self.gateway.address);
        curl(&[arguments, &["-H", &key, &url]].concat())
    }
}

fn curl(arguments: &[&str]) -> Output {
    Command::new("curl")
        .args(["-sS", "--max-time", "20"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("curl is needed: Debian package curl")
}

fn out(said: &Output) -> String {
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    String::from_utf8(said.stdout.clone()).unwrap()
}

/// Some files to serve: a page, a text that is worth compressing, 24 MiB that are not.
fn files() -> (TempDir, SocketAddr) {
    let folder = tempfile::tempdir().unwrap();
    let www = folder.path().join("www");
    fs::create_dir(&www).unwrap();
    fs::write(www.join("index.html"), PAGE).unwrap();
    fs::write(www.join("long.txt"), "all work and no play\n".repeat(5000)).unwrap();
    let mut noise = vec![0; 24 * 1024 * 1024];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    fs::write(www.join("large.bin"), noise).unwrap();
    (folder, SocketAddr::from(([127, 0, 0, 1], free_port())))
}

/// A header's value in what `curl -i` or `-I` printed.
fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (known, value) = line.split_once(": ")?;
        known.eq_ignore_ascii_case(name).then(|| value.trim_end())
    })
}

#[test]
fn curl_reads_files_from_nginx() {
    let site = Site::nginx();
    assert_eq!(out(&site.curl(&[], "/")), PAGE);
    let head = out(&site.curl(&["-I"], "/"));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(
        header(&head, "content-length"),
        Some(PAGE.len().to_string().as_str())
    );
    assert_eq!(header(&head, "content-type"), Some("text/html"));
    assert!(header(&head, "server").unwrap().starts_with("nginx"));
    let etag = header(&head, "etag").unwrap();
    let condition = format!("If-None-Match: {etag}");
    let same = out(&site.curl(&["-i", "-H", &condition], "/"));
    assert!(same.starts_with("HTTP/1.1 304 "), "{same}");
    assert_eq!(header(&same, "etag"), Some(etag));
    assert!(same.ends_with("\r\n\r\n"), "no body: {same}");
    let part = out(&site.curl(&["-i", "-r", "4-8"], "/"));
    assert!(
        part.starts_with("HTTP/1.1 206 ") && part.ends_with("\r\n\r\nhello"),
        "{part}"
    );
    assert_eq!(
        header(&part, "content-range"),
        Some(format!("bytes 4-8/{}", PAGE.len()).as_str())
    );
    let missing = out(&site.curl(&["-i"], "/none"));
    assert!(
        missing.starts_with("HTTP/1.1 404 ") && missing.contains("nginx"),
        "{missing}"
    );
}

#[test]
fn nginx_refuses_a_post_in_its_own_words() {
    let site = Site::nginx();
    let said = out(&site.curl(&["-i", "-d", "a=1"], "/"));
    assert!(
        said.starts_with("HTTP/1.1 405 ") && said.contains("nginx"),
        "{said}"
    );
    // A large one as well, which curl announces with Expect.
    let data = format!("@{}", site.file("large.bin").display());
    let said = out(&site.curl(
        &["-i", "-H", "Expect: 100-continue", "--data-binary", &data],
        "/",
    ));
    assert!(
        said.contains("HTTP/1.1 405 ") || said.contains("HTTP/1.1 413 "),
        "{said}"
    );
}

#[test]
fn a_compressed_answer_passes_as_it_is() {
    let site = Site::nginx();
    let plain = fs::read_to_string(site.file("long.txt")).unwrap();
    let saved = site.folder.path().join("saved.txt");
    let words = out(&site.curl(
        &[
            "--compressed",
            "-o",
            saved.to_str().unwrap(),
            "-w",
            "%{size_download}",
            "-D",
            "-",
        ],
        "/long.txt",
    ));
    assert_eq!(header(&words, "content-encoding"), Some("gzip"));
    assert_eq!(fs::read_to_string(saved).unwrap(), plain);
    let transferred: usize = words.lines().last().unwrap().parse().unwrap();
    assert!(
        transferred < plain.len() / 10,
        "{transferred} bytes came over the wire"
    );
}

#[test]
fn a_large_file_is_the_same_file() {
    for site in [Site::nginx(), Site::python()] {
        let saved = site.folder.path().join("saved.bin");
        let words = site.curl(
            &["-o", saved.to_str().unwrap(), "-w", "%{http_code}"],
            "/large.bin",
        );
        assert_eq!(out(&words), "200");
        let compared = Command::new("cmp")
            .arg(&saved)
            .arg(site.file("large.bin"))
            .output()
            .unwrap();
        assert!(
            compared.status.success(),
            "{}",
            String::from_utf8_lossy(&compared.stdout)
        );
    }
}

#[test]
fn curl_reads_files_from_pythons_server() {
    let site = Site::python();
    // HTTP/1.0, one connection per request.
    for _ in 0..3 {
        assert_eq!(out(&site.curl(&[], "/index.html")), PAGE);
    }
    let head = out(&site.curl(&["-I"], "/index.html"));
    assert_eq!(
        header(&head, "content-length"),
        Some(PAGE.len().to_string().as_str())
    );
    let since = format!(
        "If-Modified-Since: {}",
        header(&head, "last-modified").unwrap()
    );
    let same = out(&site.curl(&["-i", "-H", &since], "/index.html"));
    assert!(same.starts_with("HTTP/1.1 304 "), "{same}");
    let refused = out(&site.curl(&["-i", "-d", "a=1"], "/index.html"));
    assert!(refused.starts_with("HTTP/1.1 501 "), "{refused}");
}

#[test]
fn curl_reuses_its_connection() {
    let site = Site::nginx();
    let url = format!("http://{}/long.txt", site.gateway.address);
    let said = out(&site.curl(
        &[
            &url,
            &url,
            "-o",
            "/dev/null",
            "-o",
            "/dev/null",
            "-o",
            "/dev/null",
            "-w",
            "%{num_connects} ",
        ],
        "/",
    ));
    assert_eq!(said, "1 0 0 ");
}

#[test]
fn curl_uploads() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .route("max_body: off")
        .start();
    let (folder, _) = files();
    let file = folder.path().join("www/large.bin");
    let key = format!("Authorization: Bearer {KEY}");
    let url = format!("http://{}/up", gateway.address);
    for chunked in [false, true] {
        let mut arguments = vec!["-T", file.to_str().unwrap(), "-H", &key];
        if chunked {
            arguments.extend(["-H", "Transfer-Encoding: chunked"]);
        }
        arguments.push(&url);
        assert_eq!(out(&curl(&arguments)), "ok");
        let received = upstream.last();
        assert_eq!((received.method(), received.target()), ("PUT", "/up"));
        assert_eq!(
            blake3::hash(&received.body),
            blake3::hash(&fs::read(&file).unwrap())
        );
        assert_eq!(received.header("authorization"), None);
    }
}

#[test]
fn curl_fails_where_it_should() {
    let site = Site::nginx();
    assert_eq!(site.curl(&["-f"], "/").status.code(), Some(0));
    assert_eq!(site.curl(&["-f"], "/none").status.code(), Some(22));
    let url = format!("http://{}/", site.gateway.address);
    let said = curl(&["-f", &url]);
    assert_eq!(said.status.code(), Some(22));
    let said = curl(&["-i", &url]);
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.contains("\"code\":\"missing_api_key\""), "{text}");
    // With a file to send and no key: the refusal is read, nothing breaks.
    let data = site.file("large.bin");
    let said = curl(&["-f", "-T", data.to_str().unwrap(), &url]);
    assert_eq!(
        said.status.code(),
        Some(22),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
}
