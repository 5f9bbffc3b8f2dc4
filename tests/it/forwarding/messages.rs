//! Methods, framing, trailers, interim answers, refusals.

use super::{answer, ok, request};
use crate::harness::{Client, Gateway, GatewayBuilder, KEY, PATIENCE, Upstream, wait_until};

#[test]
fn a_head_answer_keeps_its_length_and_has_no_body() {
    let upstream = Upstream::answering(|_| answer("200 OK", &["content-length: 1234"], ""));
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    client.send(request("HEAD /", &[], ""));
    let answer = client.read_head();
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (200, Some("1234"))
    );
    assert_eq!(upstream.last().line, "HEAD / HTTP/1.1");
    // Nothing of a body came: the next answer begins right behind.
    client.send(request("HEAD /again", &[], ""));
    assert_eq!(client.read_head().status, 200);
}

#[test]
fn answers_without_body_have_none() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/204" => answer("204 No Content", &[], ""),
        "/304" => answer(
            "304 Not Modified",
            &["etag: \"a\"", "content-length: 77"],
            "",
        ),
        _ => ok("body"),
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    client.send(request("GET /204", &[], ""));
    let answer = client.read();
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (204, None)
    );
    assert_eq!(answer.header("transfer-encoding"), None);
    client.send(request("GET /304", &[], ""));
    let answer = client.read();
    assert_eq!((answer.status, answer.header("etag")), (304, Some("\"a\"")));
    // It may be left out here (RFC 9110 §8.6), but must not be another.
    assert!(matches!(answer.header("content-length"), None | Some("77")));
    client.send(request("GET /", &[], ""));
    assert_eq!(client.read().text(), "body");
}

#[test]
fn a_body_with_a_length_keeps_it_both_ways() {
    let upstream = Upstream::answering(|_| ok("world"));
    let gateway = Gateway::before(upstream.address);
    let answer = gateway.raw(request("POST /", &["content-length: 5"], "hello"));
    assert_eq!(
        (answer.text().as_str(), answer.header("content-length")),
        ("world", Some("5"))
    );
    let received = upstream.last();
    assert_eq!(
        (received.body.as_slice(), received.header("content-length")),
        (&b"hello"[..], Some("5"))
    );
    assert_eq!(received.header("transfer-encoding"), None);
}

#[test]
fn a_chunked_body_stays_chunked_both_ways() {
    let upstream = Upstream::answering(|_| {
        answer(
            "200 OK",
            &["transfer-encoding: chunked"],
            "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n",
        )
    });
    let gateway = Gateway::before(upstream.address);
    let answer = gateway.raw(request(
        "POST /",
        &["transfer-encoding: chunked"],
        "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ));
    assert_eq!(answer.text(), "abcdefg");
    assert_eq!(answer.headers_named("transfer-encoding"), ["chunked"]);
    let received = upstream.last();
    assert_eq!(received.body, b"hello");
    assert_eq!(received.header("content-length"), None);
}

#[test]
fn an_empty_post_says_so_upstream() {
    // Some services answer 411 to a POST that does not.
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    assert_eq!(
        gateway
            .raw(request("POST /", &["content-length: 0"], ""))
            .status,
        200
    );
    assert_eq!(upstream.last().header("content-length"), Some("0"));
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(upstream.last().header("content-length"), None);
}

#[test]
fn trailers_pass_both_ways() {
    let upstream = Upstream::answering(|_| {
        answer(
            "200 OK",
            &["transfer-encoding: chunked", "trailer: x-done"],
            "2\r\nok\r\n0\r\nx-done: yes\r\n\r\n",
        )
    });
    let gateway = Gateway::before(upstream.address);
    let answer = gateway.raw(request(
        "POST /",
        &[
            "transfer-encoding: chunked",
            "trailer: x-sum, x-api-key",
            "te: trailers",
            "connection: te",
        ],
        "3\r\nabc\r\n0\r\nx-sum: 7\r\nx-api-key: other\r\n\r\n",
    ));
    assert_eq!(answer.text(), "ok");
    assert_eq!(answer.trailers, [("x-done".to_owned(), "yes".to_owned())]);
    let received = upstream.last();
    assert_eq!(received.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    assert_eq!(received.header("te"), Some("trailers"));
}

#[test]
fn interim_answers_are_passed_on_and_do_not_break_the_exchange() {
    let upstream = Upstream::answering(|_| {
        let mut all = answer("100 Continue", &[], "");
        all.extend(answer(
            "103 Early Hints",
            &["link: </a.css>; rel=preload"],
            "",
        ));
        all.extend(ok("final"));
        all
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send(request("GET /", &[], ""));
        // A 100 is the gateway's to give.
        let hints = client.read();
        assert_eq!(hints.status, 103);
        assert_eq!(hints.header("link"), Some("</a.css>; rel=preload"));
        let answer = client.read();
        assert_eq!((answer.status, answer.text().as_str()), (200, "final"));
    }
}

#[test]
fn expect_continue_is_answered_before_the_body() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    client.send(request(
        "PUT /",
        &["content-length: 4", "expect: 100-continue"],
        "",
    ));
    assert_eq!(client.read().status, 100);
    client.send("body");
    assert_eq!(client.read().status, 200);
    assert_eq!(upstream.last().body, b"body");
    assert_eq!(upstream.last().header("expect"), None);
}

#[test]
fn expect_continue_without_a_good_key_gets_no_continue() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    client.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n");
    assert_eq!(client.read().status, 401);
    assert!(upstream.received().is_empty());
}

#[test]
fn a_close_delimited_answer_is_whole() {
    let upstream = Upstream::serving(|stream, keep| {
        use std::io::{BufReader, Write};
        let request =
            crate::harness::read_request(&mut BufReader::new(stream.try_clone().unwrap()));
        keep(request.unwrap());
        stream
            .write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
            .unwrap();
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send(request("GET /", &[], ""));
        assert_eq!(client.read().text(), "until the end");
    }
}

#[test]
fn a_truncated_answer_is_not_ended_cleanly() {
    for head in [
        "content-length: 100\r\n\r\nshort",
        "transfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",
        "transfer-encoding: chunked\r\n\r\nff\r\nshort",
    ] {
        let upstream = Upstream::serving(move |stream, keep| {
            use std::io::{BufReader, Write};
            let request =
                crate::harness::read_request(&mut BufReader::new(stream.try_clone().unwrap()));
            keep(request.unwrap());
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes());
        });
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.client();
        client.send(request("GET /", &[], ""));
        assert!(client.try_read().is_none(), "{head}");
        assert!(client.is_closed());
        wait_until("the fault is counted", PATIENCE, || {
            gateway.metric("keygate_upstream_errors_total", &[("upstream", "app")]) >= 1.0
        });
    }
}

#[test]
fn an_answer_that_is_no_http_is_a_502() {
    let cases: [&[u8]; 4] = [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ];
    for bytes in cases {
        let upstream = Upstream::answering(move |_| bytes.to_vec());
        let gateway = Gateway::before(upstream.address);
        let answer = gateway.get("/");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, "upstream_protocol"),
            "{}",
            String::from_utf8_lossy(bytes)
        );
        assert!(answer.header("proxy-status").unwrap().contains("keygate"));
    }
}

#[test]
fn an_answer_without_end_is_a_502() {
    let heads: [&[u8]; 3] = [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
        b"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
    ];
    for piece in heads {
        let upstream = Upstream::serving(move |stream, _| {
            use std::io::Write;
            let interim = piece.starts_with(b"HTTP");
            if !interim {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            }
            while stream.write_all(&piece.repeat(100)).is_ok() {}
        });
        let gateway = Gateway::before(upstream.address);
        let answer = gateway.get("/");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, "upstream_protocol"),
            "{}",
            String::from_utf8_lossy(piece)
        );
    }
}

#[test]
fn a_chunk_size_without_end_breaks_the_answer() {
    for endless in ["0", "a;", "\r\n"] {
        let upstream = Upstream::serving(move |stream, keep| {
            use std::io::{BufReader, Write};
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            keep(crate::harness::read_request(&mut reader).unwrap());
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            while stream.write_all(endless.repeat(10_000).as_bytes()).is_ok() {}
        });
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.client();
        client.send(request("GET /", &[], ""));
        // A 502 if it came along with the head, else an answer that breaks off.
        let answer = client.try_read();
        assert!(
            answer.is_none_or(|answer| answer.status == 502),
            "{endless:?}"
        );
    }
}

#[test]
fn what_follows_an_answer_is_not_the_next_answer() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/first" => [ok("first"), ok("planted")].concat(),
        _ => ok("own"),
    });
    let gateway = GatewayBuilder::new(upstream.address).one_thread().start();
    let mut client = gateway.client();
    for _ in 0..3 {
        client.send(request("GET /first", &[], ""));
        assert_eq!(client.read().text(), "first");
        client.send(request("GET /next", &[], ""));
        assert_eq!(client.read().text(), "own");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::answering(|request| ok(request.target()));
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    let all: String = (0..5)
        .map(|number| request(&format!("GET /{number}"), &[], ""))
        .collect();
    client.send(all);
    for number in 0..5 {
        assert_eq!(client.read().text(), format!("/{number}"));
    }
}

#[test]
fn pipelined_bodies_do_not_mix() {
    let upstream = Upstream::answering(|request| ok(&String::from_utf8_lossy(&request.body)));
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    client.send(
        [
            request("POST /", &["content-length: 3"], "one"),
            request(
                "POST /",
                &["transfer-encoding: chunked"],
                "3\r\ntwo\r\n0\r\n\r\n",
            ),
            request("POST /", &["content-length: 5"], "three"),
            request("GET /", &[], ""),
        ]
        .concat(),
    );
    for text in ["one", "two", "three", ""] {
        assert_eq!(client.read().text(), text);
    }
}

#[test]
fn a_length_beside_chunks_ends_the_connection_behind_another_request_too() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let twice = request(
        "POST /twice",
        &["content-length: 3", "transfer-encoding: chunked"],
        "3\r\ntwo\r\n0\r\n\r\n",
    );
    let last = request("GET /last", &[], "");
    let mut client = gateway.client();
    client.send([request("GET /", &[], ""), twice, last].concat());
    assert_eq!(client.read().text(), "ok");
    // Refused, or read by its chunks alone (RFC 9112 §6.1); nothing behind it is read either way.
    let answer = client.read();
    assert!(matches!(answer.status, 200 | 400), "{answer:?}");
    assert_eq!(client.rest(), b"");
    for received in upstream.received() {
        assert_ne!(received.target(), "/last");
        let framings = ["content-length", "transfer-encoding"].map(|name| received.header(name));
        assert!(framings.contains(&None), "{received:?}");
    }
}

#[test]
fn garbage_behind_a_good_request_is_a_problem_too() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    client.send(format!("{}GARBAGE\r\n\r\n", request("GET /", &[], "")));
    assert_eq!(client.read().text(), "ok");
    let answer = client.read();
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "bad_request")
    );
    assert!(client.is_closed());
    wait_until("it is counted", PATIENCE, || {
        gateway.metric("keygate_http_requests_total", &[("code", "400")]) >= 1.0
    });
}

#[test]
fn a_body_that_looks_like_an_answer_stays_a_body() {
    const BODY: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let upstream = Upstream::answering(|_| ok(BODY));
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    for _ in 0..3 {
        client.send(request("GET /", &[], ""));
        assert_eq!(client.read().text(), BODY);
    }
}

#[test]
fn http_1_0_callers_get_what_they_understand() {
    let upstream = Upstream::answering(|_| {
        answer(
            "200 OK",
            &["transfer-encoding: chunked"],
            "2\r\nok\r\n0\r\n\r\n",
        )
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    client.send(format!("GET / HTTP/1.0\r\nx-api-key: {KEY}\r\n\r\n"));
    let answer = client.read();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.header("transfer-encoding"), None);
    assert!(client.is_closed());
    assert_eq!(upstream.last().line, "GET / HTTP/1.1");
}

#[test]
fn http_1_0_keep_alive_is_kept() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send(format!(
            "GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\nx-api-key: {KEY}\r\n\r\n"
        ));
        let answer = client.read();
        assert_eq!(answer.text(), "ok");
        assert_eq!(
            answer.header("connection").map(str::to_ascii_lowercase),
            Some("keep-alive".into())
        );
    }
}

#[test]
fn a_connection_serves_many_requests_and_closes_when_asked() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    for _ in 0..20 {
        client.send(request("GET /", &[], ""));
        assert_eq!(client.read().text(), "ok");
    }
    client.send(request("GET /", &["connection: close"], ""));
    assert_eq!(client.read().text(), "ok");
    assert!(client.is_closed());
}

/// A body that is a request itself.
fn smuggled() -> String {
    request("GET /smuggled", &[], "")
}

#[test]
fn a_refused_requests_body_is_never_read_as_a_request() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .route("max_body: 10B")
        .replace("path: /", "path: /app/")
        .start();
    let (body, wrong) = (smuggled(), format!("{KEY}x"));
    let length = format!("content-length: {}", body.len());
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let cases = [
        (
            401,
            format!("x-api-key: {wrong}\r\n{length}"),
            "/app/a",
            body.clone(),
        ),
        (
            413,
            format!("x-api-key: {KEY}\r\n{length}"),
            "/app/a",
            body.clone(),
        ),
        (
            404,
            format!("x-api-key: {KEY}\r\n{length}"),
            "/none",
            body.clone(),
        ),
        (
            413,
            format!("x-api-key: {KEY}\r\ntransfer-encoding: chunked"),
            "/app/a",
            chunked.clone(),
        ),
        (401, "transfer-encoding: chunked".into(), "/app/a", chunked),
    ];
    for (status, headers, path, body) in cases {
        let mut client = gateway.client();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n\r\n{body}"
        ));
        assert_eq!(client.read().status, status, "{headers}");
        // Either the body was read away and the connection goes on, or the connection ends. Never a second answer.
        if client.try_send(request("GET /app/last", &["connection: close"], "")) {
            let rest = String::from_utf8_lossy(&client.rest()).into_owned();
            assert!(rest.matches("HTTP/1.1 ").count() <= 1, "{headers}: {rest}");
        }
    }
    let targets: Vec<_> = upstream
        .received()
        .iter()
        .map(|received| received.target().to_owned())
        .collect();
    assert!(
        !targets.iter().any(|target| target.contains("smuggled")),
        "{targets:?}"
    );
}

#[test]
fn a_refusal_either_reads_the_body_away_or_says_that_it_closes() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let head = |length: usize, more: &str| {
        format!("POST / HTTP/1.1\r\nhost: a\r\n{more}content-length: {length}\r\n\r\n")
    };
    // Behind the head, in a packet of its own.
    let mut client = gateway.client();
    for _ in 0..3 {
        client.send(head(2, ""));
        client.send("{}");
        let answer = client.read();
        assert_eq!((answer.status, answer.header("connection")), (401, None));
    }
    client.send(request("GET /", &[], ""));
    assert_eq!(client.read().status, 200);
    // Never, too large, or only if it is asked for.
    let expect = "expect: 100-continue\r\n";
    for (length, more) in [(2, ""), (65_537, ""), (2, expect)] {
        let mut client = gateway.client();
        client.send(head(length, more));
        let answer = client.read();
        let closes = answer.header("connection") == Some("close");
        assert!(answer.status == 401 && closes, "{length} {more}");
        assert!(client.is_closed());
    }
}

#[test]
fn a_refusal_is_not_reset_under_a_large_body() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let cases = [
        ("x-api-key: wrong", 401),
        (&*format!("x-api-key: {KEY}"), 413),
    ];
    for (header, status) in cases {
        let mut client = Client::connect(gateway.address);
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\n{header}\r\ncontent-length: 50000000\r\n\r\n"
        ));
        client.send(vec![b'x'; 200_000]);
        assert_eq!(client.read().status, status);
        // The other side has closed, but goes on reading for a while: no reset, which would show on the second write.
        assert!(client.try_send(vec![b'x'; 200_000]), "{header}");
        assert!(client.try_send(vec![b'x'; 200_000]), "{header}");
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn a_body_that_is_framed_wrongly_is_the_callers_fault() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    for body in ["zz\r\n", "3\r\nabcd\r\n", "5\r\nhello\r\nx\r\n"] {
        let answer = gateway.raw(request("POST /", &["transfer-encoding: chunked"], body));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "bad_request"),
            "{body}"
        );
    }
    assert!(upstream.received().is_empty());
    assert_eq!(gateway.metric("keygate_upstream_errors_total", &[]), 0.0);
}

#[test]
fn an_early_answer_reaches_a_caller_that_still_sends() {
    let upstream = Upstream::serving(|stream, keep| {
        use std::io::Write;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            std::io::Read::read_exact(stream, &mut byte).unwrap();
            head.push(byte[0]);
        }
        keep(crate::harness::Received::default());
        let _ = stream.write_all(
            b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno",
        );
    });
    let gateway = GatewayBuilder::new(upstream.address)
        .route("max_body: off")
        .start();
    let mut client = gateway.client();
    client.send(request("POST /", &["content-length: 50000000"], ""));
    client.send(vec![b'x'; 10_000]);
    let answer = client.read();
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}
