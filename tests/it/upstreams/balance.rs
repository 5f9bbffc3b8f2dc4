//! Who gets which request.

use super::{Holding, before, listed};
use crate::harness::{Gateway, KEY, PATIENCE, Upstream, hash_of, read_request, wait_until};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::BufReader;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

fn counts(upstreams: &[Upstream]) -> Vec<usize> {
    let count = |upstream: &Upstream| upstream.received().len();
    upstreams.iter().map(count).collect()
}

fn three() -> [Upstream; 3] {
    std::array::from_fn(|_| Upstream::ok())
}

/// A GET with a header.
fn with(gateway: &Gateway, header: &str) {
    let answer = gateway.request("GET /", &[&format!("x-api-key: {KEY}"), header]);
    assert_eq!(answer.status, 200);
}

#[test]
fn turns_are_taken_by_weight_and_a_drained_endpoint_has_none() {
    let all = three();
    let [a, b, c] = [0, 1, 2].map(|place: usize| all[place].address);
    let list = format!(
        "\"http://{a}\", {{url: \"http://{b}\", weight: 3}}, {{url: \"http://{c}\", weight: 0}}"
    );
    let gateway = listed(&list, "").start();
    for _ in 0..40 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(counts(&all), [10, 30, 0]);
}

#[test]
fn several_threads_keep_to_the_weights_too() {
    let all = three();
    let mut builder = before(&[&all[0], &all[1], &all[2]], "");
    builder.threads = 3;
    let gateway = builder.start();
    for _ in 0..60 {
        assert_eq!(gateway.get("/").status, 200);
    }
    for count in counts(&all) {
        assert!((14..=26).contains(&count), "{:?}", counts(&all));
    }
}

#[test]
fn a_busy_endpoint_gets_no_more_while_another_is_idle() {
    for balance in ["least_requests", "power_of_two"] {
        let (held, free) = (Holding::new(), Upstream::ok());
        let gateway = before(&[&held.upstream, &free], &format!("balance: {balance}")).start();
        // One of the first requests hangs; from then on the other one is less busy.
        let mut clients: Vec<_> = (0..30).map(|_| gateway.client()).collect();
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n");
        for (number, client) in clients.iter_mut().enumerate() {
            let answered = free.received().len();
            client.send(&request);
            wait_until("it arrived", PATIENCE, || {
                held.upstream.received().len() + free.received().len() == number + 1
            });
            if free.received().len() > answered {
                assert_eq!(client.read().status, 200);
            }
        }
        let busy = held.upstream.received().len();
        assert!((1..=4).contains(&busy), "{balance}: {busy} of 30");
        held.release();
    }
}

#[test]
fn the_same_value_of_a_header_finds_the_same_endpoint() {
    let all = three();
    let gateway = before(
        &[&all[0], &all[1], &all[2]],
        "balance: {hash: {header: X-Tenant}}",
    )
    .start();
    let mut used = HashSet::new();
    for tenant in 0..24 {
        let before = counts(&all);
        for _ in 0..3 {
            with(&gateway, &format!("x-tenant: tenant-{tenant}"));
        }
        let after = counts(&all);
        let place = (0..3).find(|place| after[*place] == before[*place] + 3);
        used.insert(place.expect("all three at one endpoint"));
    }
    assert_eq!(used.len(), 3);
    // Without the header they take turns.
    let before = counts(&all);
    for _ in 0..3 {
        assert_eq!(gateway.get("/").status, 200);
    }
    let after = counts(&all);
    assert!((0..3).all(|place| after[place] == before[place] + 1));
}

#[test]
fn the_same_key_finds_the_same_endpoint() {
    let all = three();
    let mut builder = before(&[&all[0], &all[1], &all[2]], "balance: {hash: key}");
    for number in 0..12 {
        let hash = hash_of(&format!("key-{number}"));
        writeln!(
            builder.rest,
            "  - {{ name: k{number}, hash: \"{hash}\", scopes: [app:read] }}"
        )
        .unwrap();
    }
    let gateway = builder.start();
    let mut used = HashSet::new();
    for number in 0..12 {
        let before = counts(&all);
        for _ in 0..3 {
            let key = format!("x-api-key: key-{number}");
            assert_eq!(gateway.request("GET /", &[&key]).status, 200);
        }
        let after = counts(&all);
        used.extend((0..3).find(|place| after[*place] == before[*place] + 3));
    }
    assert!(used.len() > 1, "{used:?}");
}

#[test]
fn an_endpoint_that_a_reload_takes_out_is_left_at_once() {
    let all = three();
    let mut gateway = before(&[&all[0], &all[1]], "").start();
    for _ in 0..4 {
        assert_eq!(gateway.get("/").status, 200);
    }
    let gone = format!("\"http://{}\", ", all[0].address);
    gateway.edit(&gone, "");
    wait_until("it is reloaded", PATIENCE, || {
        gateway.status()["upstreams"][0]["endpoints"]
            .as_array()
            .unwrap()
            .len()
            == 1
    });
    let left = counts(&all)[0];
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(counts(&all)[0], left);
}

/// Requests under way end as they would have, while the endpoint is taken out under load.
#[test]
fn a_reload_under_load_fails_no_request() {
    let (held, free) = (Holding::new(), Upstream::ok());
    let mut gateway = before(&[&held.upstream, &free], "").start();
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n");
    let mut clients: Vec<_> = (0..20).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.send(&request);
    }
    wait_until("all arrived", PATIENCE, || {
        held.upstream.received().len() + free.received().len() == 20
    });
    gateway.edit(&format!("\"http://{}\", ", held.upstream.address), "");
    wait_until("it is reloaded", PATIENCE, || {
        gateway.status()["upstreams"][0]["endpoints"]
            .as_array()
            .unwrap()
            .len()
            == 1
    });
    let before = held.upstream.received().len();
    assert_eq!(before, 10);
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status, 200);
    }
    held.release();
    for client in &mut clients {
        assert_eq!(client.read().status, 200);
    }
    assert_eq!(held.upstream.received().len(), before);
}

/// No request is needed for it: a thread that has nothing to do notices too.
#[test]
fn idle_connections_to_an_endpoint_that_is_gone_are_closed() {
    let closed = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&closed);
    let going = Upstream::serving(move |stream, keep| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = read_request(&mut reader) {
            keep(request);
            let answer = super::answer(200, "ok");
            std::io::Write::write_all(stream, &answer).unwrap();
        }
        ended.store(true, SeqCst);
    });
    let staying = Upstream::ok();
    let mut gateway = before(&[&going, &staying], "").start();
    for _ in 0..2 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert!(!closed.load(SeqCst) && going.connections() == 1);
    gateway.edit(&format!("\"http://{}\", ", going.address), "");
    wait_until("it is closed", PATIENCE, || closed.load(SeqCst));
}
