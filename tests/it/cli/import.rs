//! `keygate keys import`: batches, refusals of single lines, going on where it stopped.

use super::{SECRET, Shell, answer, gateway, problem};
use crate::harness::{Received, Upstream};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

fn items(request: &Received) -> Vec<Value> {
    let text = str::from_utf8(&request.body).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Takes every key but those that are called `bad`.
fn taking() -> Upstream {
    gateway(|line, request| {
        assert!(line.starts_with("POST /v1/keys/import"), "{line}");
        assert_eq!(request.header("content-type"), Some("application/x-ndjson"));
        let result = |item: &Value| match item["name"].as_str() {
            Some("bad") => {
                json!({"name": "bad", "error": {"code": "key_taken", "message": "this hash is there already"}})
            }
            _ => json!({"id": "key_1", "name": item["name"]}),
        };
        let results: Vec<Value> = items(request).iter().map(result).collect();
        answer(200, &json!({"results": results}))
    })
}

fn lines(count: usize) -> String {
    let mut text = String::new();
    for number in 1..=count {
        let name = if number == 1500 {
            "bad".into()
        } else {
            format!("k{number}")
        };
        writeln!(text, "{}", json!({"name": name, "hash": "blake3:00"})).unwrap();
    }
    text
}

#[test]
fn batches_of_a_thousand_and_a_line_for_each_refusal() {
    let gateway = taking();
    let shell = Shell::at(&gateway);
    fs::write(shell.file("keys.ndjson"), lines(2100)).unwrap();
    let ran = shell.run("keys import keys.ndjson").is(6);
    assert_eq!(ran.out, "2099 keys imported, 1 refused\n");
    assert_eq!(
        ran.err,
        "line 1500: bad: this hash is there already (key_taken)\n"
    );
    let received = gateway.received();
    let sizes: Vec<usize> = received
        .iter()
        .map(|request| items(request).len())
        .collect();
    assert_eq!(sizes, [1000, 1000, 100]);
    let keys: BTreeSet<_> = received
        .iter()
        .map(|request| request.header("idempotency-key").unwrap())
        .collect();
    assert_eq!(keys.len(), 3);
}

#[test]
fn standard_input_is_a_file_too() {
    let gateway = taking();
    let ran = Shell::at(&gateway)
        .run_with("keys import - -o json", &lines(3))
        .is(0);
    assert_eq!(
        ran.json(),
        json!({"imported": 3, "refused": [], "dry_run": false})
    );
}

#[test]
fn a_try_says_so_to_the_gateway() {
    let gateway = taking();
    let ran = Shell::at(&gateway)
        .run_with("keys import - --dry-run", &lines(3))
        .is(0);
    assert_eq!(ran.out, "3 keys would be imported, 0 refused\n");
    assert_eq!(gateway.last().target(), "/v1/keys/import?dry_run=true");
}

#[test]
fn lines_that_cannot_be_read_are_refused_without_being_shown() {
    let gateway = taking();
    let text = format!("{{\"name\":\"a\"}}\n{{\"secret\":\"{SECRET}\"\n\n{{\"name\":\"b\"}}\n");
    let ran = Shell::at(&gateway).run_with("keys import -", &text).is(6);
    assert_eq!(ran.err, "line 2: not an object of JSON\n");
    assert_eq!(ran.out, "2 keys imported, 1 refused\n");
    assert_eq!(items(&gateway.last()).len(), 2);
}

#[test]
fn rows_of_csv_are_keys() {
    let gateway = taking();
    let shell = Shell::at(&gateway);
    fs::write(
        shell.file("keys.csv"),
        "name,hash,scopes,metadata.plan\nci,blake3:00,a b,gold\n",
    )
    .unwrap();
    shell.run("keys import keys.csv").is(0);
    assert_eq!(
        items(&gateway.last()),
        [
            json!({"name": "ci", "hash": "blake3:00", "scopes": ["a", "b"], "metadata": {"plan": "gold"}})
        ]
    );
}

#[test]
fn it_goes_on_where_it_stopped() {
    let count = AtomicUsize::new(0);
    let gateway = gateway(move |_, request| {
        if count.fetch_add(1, Ordering::SeqCst) == 1 {
            return problem(503, "dependency_down");
        }
        let results: Vec<Value> = items(request)
            .iter()
            .map(|_| json!({"id": "key_1"}))
            .collect();
        answer(200, &json!({"results": results}))
    });
    let shell = Shell::at(&gateway);
    fs::write(shell.file("keys.ndjson"), lines(1200)).unwrap();
    let ran = shell.run("keys import keys.ndjson").is(1);
    assert!(
        ran.err.contains("--from 1001") && ran.err.contains("dependency_down"),
        "{ran:?}"
    );
    let ran = shell.run("keys import keys.ndjson --from 1001").is(0);
    assert_eq!(ran.out, "200 keys imported, 0 refused\n");
    assert_eq!(items(&gateway.last())[0]["name"], "k1001");
}

#[test]
fn a_lost_answer_of_a_batch_is_asked_for_again() {
    let count = AtomicUsize::new(0);
    let gateway = gateway(move |_, request| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            return Vec::new();
        }
        let results: Vec<Value> = items(request)
            .iter()
            .map(|_| json!({"id": "key_1"}))
            .collect();
        answer(200, &json!({"results": results}))
    });
    Shell::at(&gateway)
        .run_with("keys import -", &lines(5))
        .is(0);
    let received = gateway.received();
    assert_eq!(
        received[0].header("idempotency-key"),
        received[1].header("idempotency-key")
    );
    assert_eq!(received.len(), 2);
}

#[test]
fn a_file_that_is_not_there() {
    Shell::new().run("keys import missing.ndjson").is(3);
}
