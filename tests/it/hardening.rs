//! What hostile callers and services try, and what it must not cost.

use crate::harness::{
    Client, Gateway, GatewayBuilder, KEY, PATIENCE, Served, Upstream, ask, hash_of, wait_until,
};
use std::io::Read;

/// A route that takes its key in a header of its own, and logs paths.
fn own_header(upstream: &Upstream) -> Gateway {
    GatewayBuilder::new(upstream.address)
        .replace(
            "{header: X-API-Key}, bearer, {query: api_key}",
            "{header: X-My-Key}",
        )
        .start()
}

#[test]
fn a_path_encoded_thousands_of_times_is_refused_at_once() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let answer = gateway.get(&format!("/%{}", "25".repeat(3000)));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "bad_request")
    );
    assert!(upstream.received().is_empty());
}

#[test]
fn connections_over_the_cap_are_bounded_too() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .listener("max_connections: 1")
        .start();
    let _first = {
        let mut client = gateway.client();
        client.send(format!(
            "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"
        ));
        client.read();
        client
    };
    let others: Vec<Client> = (0..400).map(|_| gateway.client()).collect();
    // Two threads tell at most 64 each; the others are closed without a word.
    let told = std::cell::Cell::new(0);
    for client in &others {
        let mut stream = client.stream();
        let mut first = [0; 12];
        if stream.read_exact(&mut first).is_ok() {
            assert_eq!(&first, b"HTTP/1.1 503");
            told.set(told.get() + 1);
        }
    }
    assert!((1..=128).contains(&told.get()), "{}", told.get());
}

#[test]
fn a_key_in_a_trailer_does_not_pass() {
    let upstream = Upstream::ok();
    let gateway = own_header(&upstream);
    let answer = gateway.raw(format!(
        "POST / HTTP/1.1\r\nhost: a\r\nx-my-key: {KEY}\r\ntrailer: x-my-key, x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
         1\r\na\r\n0\r\nx-my-key: {KEY}\r\nx_my_key: {KEY}\r\nx-sum: 1\r\n\r\n"
    ));
    assert_eq!(answer.status, 200);
    assert_eq!(
        upstream.last().trailers,
        [("x-sum".to_owned(), "1".to_owned())]
    );
    assert!(!upstream.last().whole().contains(KEY));
}

#[test]
fn lookalikes_of_key_fields_and_method_overrides_do_not_pass() {
    let upstream = Upstream::ok();
    let gateway = own_header(&upstream);
    let key = format!("x-my-key: {KEY}");
    let like = format!("x_my_key: {KEY}");
    let headers = [
        &*key,
        &*like,
        "x-http-method-override: DELETE",
        "x_method_override: PUT",
        "proxy: evil:80",
        "x-mine: 1",
    ];
    assert_eq!(gateway.request("GET /", &headers).status, 200);
    let whole = upstream.last().whole();
    for gone in [KEY, "DELETE", "PUT", "evil"] {
        assert!(!whole.contains(gone), "{whole}");
    }
    assert_eq!(upstream.last().header("x-mine"), Some("1"));
}

#[test]
fn a_trace_is_passed_on_or_begun() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    gateway.get("/");
    let begun = upstream.last().header("traceparent").unwrap().to_owned();
    let form = regex::Regex::new("^00-[0-9a-f]{32}-[0-9a-f]{16}-00$").unwrap();
    assert!(
        form.is_match(&begun) && !begun.contains(&"0".repeat(16)),
        "{begun}"
    );
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    gateway.request(
        "GET /",
        &[
            &format!("x-api-key: {KEY}"),
            &format!("traceparent: {given}"),
        ],
    );
    assert_eq!(upstream.last().header("traceparent"), Some(given));
}

#[test]
fn a_broken_chunk_that_comes_with_the_head_is_a_502() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n".to_vec()
    });
    let gateway = Gateway::before(upstream.address);
    let answer = gateway.get("/");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "upstream_protocol")
    );
    assert!(gateway.metric("keygate_upstream_errors_total", &[("reason", "protocol")]) >= 1.0);
}

#[test]
fn a_presented_key_is_no_request_id() {
    let foreign = "imported-secret-0000000008";
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .replace(&hash_of(KEY), &hash_of(foreign))
        .start();
    let answer = gateway.request(
        "GET /",
        &[
            &format!("x-api-key: {foreign}"),
            &format!("x-request-id: {foreign}"),
        ],
    );
    assert_eq!(answer.status, 200);
    assert!(answer.header("x-request-id").unwrap().starts_with("req_"));
    assert!(!upstream.last().whole().contains(foreign));
}

#[test]
fn the_management_port_has_few_seats_and_the_data_port_does_not_care() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let silent: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = Client::connect(gateway.management);
            client.try_send("G");
            client
        })
        .collect();
    assert_eq!(gateway.get("/").status, 200);
    drop(silent);
    assert_eq!(gateway.manage("/livez").status, 200);
}

#[test]
fn a_foreign_name_for_the_tokenless_management_port_is_refused() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    for (host, status) in [
        ("evil.example", 421),
        ("evil.example:80", 421),
        ("", 421),
        ("localhost", 200),
        ("127.0.0.1:1", 200),
        ("[::1]", 200),
    ] {
        let mut client = Client::connect(gateway.management);
        client.send(format!(
            "GET /v1/keys HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        ));
        assert_eq!(client.read().status, status, "{host}");
    }
}

#[test]
fn a_log_in_the_folder_of_the_config_is_no_change_of_it() {
    let upstream = Upstream::ok();
    let config = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\nmanagement: {{ address: 127.0.0.1:0 }}\nstore: none\n\
         log: {{ access_file: access.log, level: debug }}\n{}",
        GatewayBuilder::new(upstream.address).rest
    );
    let served = Served::start(&config);
    let log = served.file.with_file_name("access.log");
    for _ in 0..50 {
        assert_eq!(
            ask(served.address, "GET /", &[&format!("x-api-key: {KEY}")]).status,
            200
        );
    }
    wait_until("the lines are written", PATIENCE, || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.lines().count() == 50)
    });
    assert_eq!(served.manage("/status").json()["revision"], 1);
    // The same folder still tells of a change that counts.
    std::fs::write(&served.file, config.replace("name: app\n", "name: other\n")).unwrap();
    wait_until("the change is noticed", PATIENCE, || {
        served.manage("/status").json()["revision"] == 2
    });
}

/// A request with this head and what follows, behind a good one of each form.
fn behind_good_ones(bad: &str) -> Vec<String> {
    let key = format!("host: a\r\nx-api-key: {KEY}\r\n");
    [
        format!("GET / HTTP/1.1\r\n{key}\r\n"),
        format!("POST / HTTP/1.1\r\n{key}content-length: 4\r\n\r\nbody"),
        format!("POST / HTTP/1.1\r\n{key}transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"),
    ]
    .map(|good| format!("{good}{good}{bad}"))
    .into()
}

#[test]
fn a_head_is_watched_wherever_it_stands_in_a_piece() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let key = format!("host: a\r\nx-api-key: {KEY}\r\n");
    let bad = [
        format!(
            "POST /bad HTTP/1.1\r\n{key}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        format!(
            "POST /bad HTTP/1.1\r\n{key}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"
        ),
        format!("GET /bad HTTP/1.1\n{key}\r\n"),
        format!("GET /bad HTTP/1.1\r\n{key}x: y\n\r\n"),
        format!("GET /bad HTTP/1.1\r\n{key}\n"),
        format!("GET /bad#fragment HTTP/1.1\r\n{key}\r\n"),
    ];
    for bad in bad {
        for text in behind_good_ones(&bad) {
            let before = upstream.received().len();
            let mut client = gateway.client();
            client.send(&text);
            assert_eq!(client.read().status, 200, "{text}");
            assert_eq!(client.read().status, 200, "{text}");
            let answer = client.read();
            assert_eq!(answer.status, 400, "{text}");
            assert_eq!(answer.code(), "bad_request");
            assert!(client.is_closed(), "{text}");
            assert_eq!(upstream.received().len(), before + 2, "{text}");
        }
    }
}

#[test]
fn requests_in_one_piece_are_answered_in_their_order() {
    let upstream = Upstream::answering(|request| {
        let target = request.target();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}",
            target.len()
        )
        .into_bytes()
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.client();
    let requests: Vec<String> = (0..300)
        .map(|number| format!("GET /{number} HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n"))
        .collect();
    client.send(requests.concat());
    for number in 0..300 {
        assert_eq!(client.read().text(), format!("/{number}"));
    }
}

#[test]
fn a_large_head_may_come_behind_a_small_one() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let key = format!("host: a\r\nx-api-key: {KEY}\r\n");
    let large: Vec<String> = (0..90)
        .map(|number| format!("x-{number}: {}\r\n", "y".repeat(300)))
        .collect();
    let large = large.concat();
    let mut client = gateway.client();
    client.send(format!(
        "GET /1 HTTP/1.1\r\n{key}\r\nGET /2 HTTP/1.1\r\n{key}{large}\r\nGET /3 HTTP/1.1\r\n{key}\r\n"
    ));
    for _ in 0..3 {
        assert_eq!(client.read().status, 200);
    }
    assert_eq!(upstream.received().len(), 3);
}
