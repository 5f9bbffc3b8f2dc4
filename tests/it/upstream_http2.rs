//! HTTP/2 towards services: by real servers, and by one that does what no good one does.

use crate::harness::{
    Authority, Exchange, Gateway, GatewayBuilder, Http2Caller, Http2Upstream, KEY, PATIENCE,
    Process, Upstream, free_port, nginx, read, run, server, wait_for_port, wait_until,
};
use bytes::Bytes;
use h2::Reason;
use h2::server::Builder;
use http::{HeaderMap, Response};
use std::fs;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use tempfile::TempDir;

fn before(upstream: &Http2Upstream, settings: &str) -> Gateway {
    GatewayBuilder::new(upstream.address)
        .upstream(&format!("protocol: h2{settings}"))
        .one_thread()
        .start()
}

fn post(gateway: &Gateway, fields: &str, body: &str) -> crate::harness::Answer {
    let head = format!(
        "POST /path?a=b HTTP/1.1\r\nhost: api.example.com\r\nx-api-key: {KEY}\r\n{fields}\r\n"
    );
    gateway.raw(head + body)
}

/// Says what it got; trailers come back as they went.
async fn echo(mut exchange: Exchange) {
    let (body, trailers) = match exchange.body().await {
        Ok(all) => all,
        Err(fault) => return exchange.note(format!("broken: {:?}", fault.reason())),
    };
    let request = &exchange.request;
    let fields: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
        .collect();
    exchange.note(format!(
        "{} {} {} | {}",
        request.method(),
        request.uri(),
        exchange.connection,
        fields.join(" ")
    ));
    let head = Response::builder().header("x-mine", "1").body(()).unwrap();
    let mut stream = exchange.respond.send_response(head, false).unwrap();
    stream
        .send_data(Bytes::from(body), trailers.is_none())
        .unwrap();
    if let Some(trailers) = trailers {
        stream.send_trailers(trailers).unwrap();
    }
}

#[test]
fn requests_of_http_1_go_up_as_they_should() {
    let upstream = Http2Upstream::serving(Builder::new(), echo);
    let gateway = before(&upstream, "");
    let answer = post(
        &gateway,
        "content-length: 5\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\n",
        "hello",
    );
    assert_eq!((answer.status, &*answer.text()), (200, "hello"));
    assert_eq!(answer.header("x-mine"), Some("1"));
    let note = upstream.notes().remove(0);
    assert!(
        note.starts_with("POST http://api.example.com/path?a=b 0 | "),
        "{note}"
    );
    assert!(note.contains("content-length=5"), "{note}");
    for word in [
        "x-api-key",
        KEY,
        "connection",
        "x-hop",
        "keep-alive",
        "host=",
    ] {
        assert!(!note.contains(&format!(" {word}")), "{word} in {note}");
    }
    let chunks = "3\r\nhel\r\n2\r\nlo\r\n0\r\nx-sum: 7\r\nx-consumer-id: me\r\n\r\n";
    let chunked = "transfer-encoding: chunked\r\nte: trailers\r\nconnection: te\r\n";
    let answer = post(&gateway, chunked, chunks);
    assert_eq!((answer.status, &*answer.text()), (200, "hello"));
    let note = upstream.notes().remove(1);
    assert!(note.contains(" te=trailers"), "{note}");
    assert!(!note.contains("transfer-encoding"), "{note}");
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn trailers_pass_both_ways() {
    let upstream = Http2Upstream::serving(Builder::new(), echo);
    let gateway = before(&upstream, "");
    run(async {
        let caller = Http2Caller::connect(gateway.address).await;
        let (response, mut stream) = caller.send("POST", false).await;
        stream.send_data(Bytes::from("hello"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        trailers.insert("x-consumer-id", "me".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
        let mut answer = response.await.unwrap();
        let (body, trailers) = read(answer.body_mut()).await.unwrap();
        assert_eq!(body, b"hello");
        let trailers = trailers.unwrap();
        assert_eq!(
            (trailers.len(), &trailers["x-sum"]),
            (1, &"7".parse().unwrap())
        );
    });
}

#[test]
fn many_requests_share_a_connection_as_far_as_the_service_allows() {
    let slow = |mut exchange: Exchange| async move {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        exchange.note(exchange.connection.to_string());
        exchange.answer(200, "ok");
    };
    for (most, connections) in [(None, 1), (Some(4), 3)] {
        let mut builder = Builder::new();
        if let Some(most) = most {
            builder.max_concurrent_streams(most);
        }
        let upstream = Http2Upstream::serving(builder, slow);
        let gateway = before(&upstream, "");
        run(async {
            let caller = Http2Caller::connect(gateway.address).await;
            let mut answers = Vec::new();
            for _ in 0..12 {
                answers.push(caller.send("GET", true).await.0);
            }
            for answer in answers {
                assert_eq!(answer.await.unwrap().status(), 200);
            }
        });
        assert_eq!(upstream.connections(), connections);
        assert_eq!(upstream.notes().len(), 12);
    }
}

#[test]
fn what_a_service_has_not_looked_at_is_sent_again() {
    let refuse = |mut exchange: Exchange| async move {
        if exchange.number == 1 {
            return exchange.respond.send_reset(Reason::REFUSED_STREAM);
        }
        exchange.answer(200, "ok");
    };
    let upstream = Http2Upstream::serving(Builder::new(), refuse);
    let gateway = before(&upstream, "");
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(upstream.connections(), 1);
}

/// Frames as they come; a service of bytes.
fn frame(stream: &mut TcpStream) -> Option<(u8, u32)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).ok()?;
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some((head[3], number))
}

/// Speaks HTTP/2 up to the first request, then says what it is told, and reads on.
fn saying(words: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static) -> Upstream {
    let heads = std::sync::atomic::AtomicUsize::new(0);
    Upstream::serving(move |stream, _| {
        let mut preface = [0; 24];
        if stream.read_exact(&mut preface).is_err() {
            return;
        }
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
        while let Some((kind, _)) = frame(stream) {
            if kind == 1 {
                let number = heads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let _ = stream.write_all(&words(number));
            }
        }
    })
}

/// The service goes, and has looked at no stream after this one.
fn goaway(last: u8) -> Vec<u8> {
    vec![0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0]
}

/// `:status: 200` and the end of the first stream.
const OK: [u8; 10] = [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];

#[test]
fn a_service_that_is_about_to_go_loses_no_request() {
    let upstream = saying(|number| if number == 1 { goaway(1) } else { OK.to_vec() });
    let gateway = GatewayBuilder::new(upstream.address)
        .upstream("protocol: h2")
        .one_thread()
        .start();
    assert_eq!(gateway.get("/").status, 200);
    // It goes when the second comes, which is asked again on a connection of its own.
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(upstream.connections(), 2);
    let going = saying(|_| goaway(0));
    let gateway = GatewayBuilder::new(going.address)
        .upstream("protocol: h2")
        .one_thread()
        .start();
    let answer = gateway.get("/");
    assert_eq!((answer.status, &*answer.code()), (502, "upstream_protocol"));
    let refused = [("upstream", "app"), ("reason", "refused_stream")];
    assert_eq!(
        gateway.metric("keygate_upstream_errors_total", &refused),
        1.0
    );
}

#[test]
fn answers_that_are_none_are_refused() {
    let reset = |code: u8| vec![0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, code];
    let informational = [0, 0, 5, 1, 4, 0, 0, 0, 1, 0x08, 3, b'1', b'0', b'1'];
    for (what, words) in [
        ("no frame", b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        ("reset", reset(2)),
        ("cancelled", reset(8)),
        ("101", informational.to_vec()),
        (
            "no status",
            vec![0, 0, 4, 1, 5, 0, 0, 0, 1, 0x00, 1, b'a', 0],
        ),
    ] {
        let upstream = saying(move |_| words.clone());
        let gateway = GatewayBuilder::new(upstream.address)
            .upstream("protocol: h2")
            .start();
        let answer = gateway.get("/");
        assert_eq!(
            (answer.status, &*answer.code()),
            (502, "upstream_protocol"),
            "{what}"
        );
    }
    // Nothing of a request goes to a service that speaks something else.
    let upstream =
        Upstream::answering(|_| b"HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n".to_vec());
    let gateway = GatewayBuilder::new(upstream.address)
        .upstream("protocol: h2")
        .start();
    assert_eq!(gateway.get("/").code(), "upstream_protocol");
    assert!(!upstream.last().whole().contains("api.example.com"));
}

#[test]
fn an_answer_that_breaks_off_never_looks_whole() {
    let breaks = |mut exchange: Exchange| async move {
        let head = Response::builder().body(()).unwrap();
        let mut stream = exchange.respond.send_response(head, false).unwrap();
        stream.send_data(Bytes::from("half"), false).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let reasons = [
            Reason::CANCEL,
            Reason::INTERNAL_ERROR,
            Reason::NO_ERROR,
            Reason::REFUSED_STREAM,
        ];
        stream.send_reset(reasons[exchange.number % 4]);
    };
    let upstream = Http2Upstream::serving(Builder::new(), breaks);
    let gateway = before(&upstream, "");
    let seen = run(async {
        let caller = Http2Caller::connect(gateway.address).await;
        let mut seen = Vec::new();
        for _ in 0..4 {
            let mut answer = caller.send("GET", true).await.0.await.unwrap();
            let fault = read(answer.body_mut()).await.unwrap_err();
            seen.push(fault.reason());
        }
        seen
    });
    let internal = Some(Reason::INTERNAL_ERROR);
    assert_eq!(seen, [Some(Reason::CANCEL), internal, internal, internal]);
    for _ in 0..4 {
        let mut client = gateway.client();
        client.send(format!(
            "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"
        ));
        let rest = client.rest();
        let text = String::from_utf8_lossy(&rest);
        assert!(
            text.contains("half") && !text.ends_with("0\r\n\r\n"),
            "{text}"
        );
    }
}

#[test]
fn a_caller_that_leaves_takes_its_request_back() {
    let waits = |mut exchange: Exchange| async move {
        if exchange.request.method() == "POST" {
            let fault = exchange.body().await.map(|_| ()).unwrap_err();
            return exchange.note(format!("body {:?}", fault.reason().unwrap()));
        }
        exchange.note("waits");
        let reason = poll_fn(|cx| exchange.respond.poll_reset(cx)).await.unwrap();
        exchange.note(format!("reset {reason:?}"));
    };
    let upstream = Http2Upstream::serving(Builder::new(), waits);
    let gateway = before(&upstream, "");
    let last = |count: usize| {
        wait_until("the service hears of it", PATIENCE, || {
            upstream.notes().len() >= count
        });
        upstream.notes().remove(count - 1)
    };
    run(async {
        let caller = Http2Caller::connect(gateway.address).await;
        let (response, mut stream) = caller.send("GET", true).await;
        tokio::task::yield_now().await;
        while upstream.notes().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        stream.send_reset(Reason::CANCEL);
        drop(response);
        while upstream.notes().len() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    assert_eq!(last(2), "reset CANCEL");
    // A connection of HTTP/1.1 that ends says the same.
    let mut client = gateway.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"
    ));
    assert_eq!(last(3), "waits");
    drop(client);
    assert_eq!(last(4), "reset CANCEL");
    // Half a body is no body: whatever the reason that the caller gives.
    for reason in [Reason::CANCEL, Reason::NO_ERROR] {
        let count = upstream.notes().len() + 1;
        run(async {
            let caller = Http2Caller::connect(gateway.address).await;
            let (response, mut stream) = caller.send("POST", false).await;
            stream.send_data(Bytes::from("half"), false).unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            stream.send_reset(reason);
            let _ = response.await;
            while upstream.notes().len() < count {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        });
        assert_eq!(last(count), "body CANCEL", "{reason:?}");
    }
    assert_eq!(upstream.connections(), 1, "the others are not held up");
}

#[test]
fn an_early_answer_ends_nothing() {
    let early = |mut exchange: Exchange| async move {
        let head = Response::builder().body(()).unwrap();
        let mut stream = exchange.respond.send_response(head, false).unwrap();
        // More than any window between here and the caller, who reads nothing for now.
        let prelude = Bytes::from(vec![b'x'; 2 * 1024 * 1024]);
        stream.reserve_capacity(prelude.len());
        stream.send_data(prelude, false).unwrap();
        let (body, _) = exchange.body().await.unwrap();
        exchange.note(body.len().to_string());
        stream.send_data(Bytes::from("end"), true).unwrap();
    };
    let upstream = Http2Upstream::serving(Builder::new(), early);
    let gateway = before(&upstream, "");
    run(async {
        let caller = Http2Caller::connect(gateway.address).await;
        let (response, mut stream) = caller.send("POST", false).await;
        let mut answer = response.await.unwrap();
        let size = 1_000_000;
        stream
            .send_data(Bytes::from(vec![b'y'; size]), true)
            .unwrap();
        // The upload goes on though nobody reads the answer.
        while upstream.notes().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(upstream.notes(), [size.to_string()]);
        let (body, _) = read(answer.body_mut()).await.unwrap();
        assert_eq!(body.len(), 2 * 1024 * 1024 + 3);
    });
}

#[test]
fn a_caller_of_http_1_may_go_on_behind_an_early_answer() {
    let talks = |mut exchange: Exchange| async move {
        let head = Response::builder().body(()).unwrap();
        let mut stream = exchange.respond.send_response(head, false).unwrap();
        let body = exchange.request.body_mut();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            stream.send_data(data, false).unwrap();
        }
        stream.send_data(Bytes::new(), true).unwrap();
    };
    let upstream = Http2Upstream::serving(Builder::new(), talks);
    let gateway = before(&upstream, "");
    let mut client = gateway.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\ntransfer-encoding: chunked\r\n\r\n"
    ));
    assert_eq!(client.read_head().status, 200);
    for word in ["one", "two"] {
        client.send(format!("3\r\n{word}\r\n"));
        assert_eq!(client.line().as_deref(), Some("3"));
        assert_eq!(client.line().as_deref(), Some(word));
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.line().as_deref(), Some("0"));
}

#[test]
fn a_reload_changes_what_is_spoken_and_ends_nothing() {
    let slow = |mut exchange: Exchange| async move {
        exchange.note("asked");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        exchange.answer(200, "ok");
    };
    let upstream = Http2Upstream::serving(Builder::new(), slow);
    let mut gateway = before(&upstream, ", connect_timeout: 1s");
    run(async {
        let caller = Http2Caller::connect(gateway.address).await;
        let (running, _stream) = caller.send("GET", true).await;
        while upstream.notes().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        gateway.edit("protocol: h2", "protocol: http1");
        // From then on it is asked in what it does not speak.
        loop {
            let (response, _) = caller.send("GET", true).await;
            if response.await.unwrap().status() != 200 {
                break;
            }
        }
        assert_eq!(running.await.unwrap().status(), 200);
    });
}

#[test]
fn interim_answers_reach_callers_of_http_1() {
    let hints = |mut exchange: Exchange| async move {
        let head = Response::builder()
            .status(103)
            .header("link", "</a>")
            .body(())
            .unwrap();
        exchange.respond.send_informational(head).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        exchange.answer(200, "ok");
    };
    let upstream = Http2Upstream::serving(Builder::new(), hints);
    let gateway = before(&upstream, "");
    let mut client = gateway.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"
    ));
    let hint = client.read_head();
    assert_eq!((hint.status, hint.header("link")), (103, Some("</a>")));
    assert_eq!(client.read().text(), "ok");
    assert_eq!(
        run(async { Http2Caller::connect(gateway.address).await.get().await }),
        (200, b"ok".to_vec())
    );
}

#[test]
fn a_connection_on_which_nothing_comes_is_not_taken_again() {
    let upstream = saying(|number| if number == 0 { Vec::new() } else { OK.to_vec() });
    let gateway = GatewayBuilder::new(upstream.address)
        .upstream("protocol: h2, first_byte_timeout: 300ms")
        .one_thread()
        .start();
    // Its settings are acknowledged, and that is the last that is heard.
    assert_eq!(gateway.get("/").code(), "upstream_timeout");
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(upstream.connections(), 2);
}

/// nginx under TLS that says which protocol it was asked in, and on which connection.
fn tls_server(http2: &str) -> (TempDir, SocketAddr, Process) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    authority.sign(folder.path(), "service", "DNS:localhost");
    let address: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
    let at = folder.path().display();
    let process = nginx(
        folder.path(),
        &format!(
            "server {{ listen {address} ssl {http2}; default_type text/plain;\n\
               ssl_certificate {at}/service.pem; ssl_certificate_key {at}/service.key;\n\
               return 200 \"$server_protocol $connection\"; }}\n"
        ),
    );
    wait_for_port(address);
    (folder, address, process)
}

#[test]
fn what_is_spoken_under_tls_is_agreed_upon() {
    for (offers, wanted, spoken) in [
        ("http2", "auto", "HTTP/2.0"),
        ("http2", "h2", "HTTP/2.0"),
        ("http2", "http1", "HTTP/1.1"),
        ("", "auto", "HTTP/1.1"),
        ("", "http1", "HTTP/1.1"),
    ] {
        let (folder, address, _process) = tls_server(offers);
        let url = format!("https://localhost:{}", address.port());
        let ca = format!("file:{}/ca.pem", folder.path().display());
        let gateway = GatewayBuilder::new(address)
            .replace(&format!("http://{address}"), &url)
            .upstream(&format!("protocol: {wanted}, tls: {{ ca: '{ca}' }}"))
            .one_thread()
            .start();
        let told: std::collections::BTreeSet<_> =
            (0..10).map(|_| gateway.get("/").text()).collect();
        assert_eq!(told.len(), 1, "one connection: {told:?}");
        assert!(
            told.first().unwrap().starts_with(spoken),
            "{offers} {wanted}: {told:?}"
        );
    }
    let (folder, address, _process) = tls_server("");
    let ca = format!("file:{}/ca.pem", folder.path().display());
    let gateway = GatewayBuilder::new(address)
        .replace("http://127.0.0.1", "https://localhost")
        .upstream(&format!("protocol: h2, tls: {{ ca: '{ca}' }}"))
        .start();
    assert_eq!(gateway.get("/").code(), "upstream_tls");
}

#[test]
fn a_real_server_in_cleartext_gets_and_gives_large_bodies() {
    let folder = tempfile::tempdir().unwrap();
    let large: Vec<u8> = (0..8_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    fs::write(folder.path().join("large"), &large).unwrap();
    let address: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
    let mut command = Command::new("nghttpd");
    command
        .args(["--no-tls", "--echo-upload", "-a", "127.0.0.1", "-d"])
        .arg(folder.path())
        .arg(address.port().to_string());
    let _process = server("nghttp2-server", &mut command);
    wait_for_port(address);
    let gateway = GatewayBuilder::new(address)
        .upstream("protocol: h2")
        .route("max_body: off")
        .start();
    let place = folder.path().join("large").display().to_string();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for upload in [false, true] {
            let mut curl = Command::new("curl");
            curl.args(["-sS", "--max-time", "50", version, "-H"])
                .arg(format!("x-api-key: {KEY}"));
            if upload {
                curl.args(["-H", "content-type: text/plain", "--data-binary"])
                    .arg(format!("@{place}"));
            }
            let path = if upload { "echo" } else { "large" };
            let output = curl
                .arg(format!("http://{}/{path}", gateway.address))
                .output()
                .expect("curl (Debian package curl)");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                output.stdout == large,
                "{version} {upload}: {} {told}",
                output.stdout.len()
            );
        }
    }
}
