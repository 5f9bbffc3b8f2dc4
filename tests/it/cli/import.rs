//! `keygate keys import`: batches, refusals of single lines, going on where it stopped.

use super::{SECRET, Shell, answer, gateway, problem, real};
use crate::harness::{Received, Upstream};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

fn items(request: &Received) -> Vec<Value> {
    let text = str::from_utf8(&request.body).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What a gateway answers that takes all of them.
fn taken(request: &Received) -> Vec<u8> {
    let count = items(request).len();
    let data: Vec<Value> = (1..=count)
        .map(|line| json!({"line": line, "ok": true, "id": "key_1"}))
        .collect();
    let reply =
        json!({"data": data, "imported": count, "failed": 0, "dry_run": false, "revision": 7});
    answer(200, &reply)
}

/// Keys of which the 1500th has no good hash.
fn lines(count: usize) -> String {
    let mut text = String::new();
    for number in 1..=count {
        let hash = if number == 1500 {
            "blake3:00".into()
        } else {
            format!("blake3:{number:064x}")
        };
        writeln!(
            text,
            "{}",
            json!({"name": format!("k{number}"), "hash": hash})
        )
        .unwrap();
    }
    text
}

#[test]
fn batches_of_a_thousand_and_a_line_for_each_refusal() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    fs::write(shell.file("keys.ndjson"), lines(2100)).unwrap();
    let ran = shell.run("keys import keys.ndjson --dry-run").is(6);
    assert_eq!(
        ran.out,
        "dry run: would import 2099 keys, 1 refused; nothing was done\n"
    );
    let ran = shell.run("keys import keys.ndjson").is(6);
    assert_eq!(ran.out, "2099 keys imported, 1 refused\n");
    assert_eq!(
        ran.err,
        "line 1500: /hash: expected blake3: or sha256: and 64 hex digits (invalid)\n"
    );
    let again = shell.run("keys import keys.ndjson --from 2099").is(6);
    assert_eq!(
        again.err,
        "line 2099: /hash: there is such a key already (key_taken)\nline 2100: /hash: there is such a key already (key_taken)\n"
    );
}

#[test]
fn standard_input_is_a_file_too() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let ran = Shell::of(&gateway)
        .run_with("keys import - -o json", &lines(3))
        .is(0);
    assert_eq!(
        ran.json(),
        json!({"imported": 3, "refused": [], "dry_run": false})
    );
}

#[test]
fn lines_that_cannot_be_read_are_refused_without_being_shown() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let text = format!(
        "{{\"name\":\"a\",\"secret\":\"{SECRET}x\"}}\n{{\"secret\":\"{SECRET}\"\n\n{{\"name\":\"b\",\"secret\":\"s3cr3t-of-Kong\"}}\n"
    );
    let ran = shell.run_with("keys import -", &text).is(6);
    assert_eq!(
        ran.err,
        "line 1: /secret: looks like one of our own keys, but its checksum is wrong (invalid)\nline 2: not an object of JSON\n"
    );
    assert_eq!(ran.out, "1 key imported, 2 refused\n");
    shell.run_with("keys verify", "s3cr3t-of-Kong\n").is(0);
}

#[test]
fn rows_of_csv_are_keys() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let rows = format!(
        "name,hash,scopes,metadata.plan,expires_at,limits.rate,limits.burst,inactivity.mode,inactivity.after\n\
         nightly,sha256:{:064x},a b,gold,2030-01-01,10/s,30,delete,90d\n",
        7
    );
    fs::write(shell.file("keys.csv"), rows).unwrap();
    shell.run("keys import keys.csv").is(0);
    let key = shell.run("keys get nightly -o json").is(0).json();
    assert_eq!(
        (&key["scopes"], &key["metadata"]),
        (&json!(["a", "b"]), &json!({"plan": "gold"}))
    );
    assert_eq!(key["expires_at"], "2030-01-01T00:00:00.000Z");
    assert_eq!(
        (&key["limits"], &key["inactivity"]),
        (
            &json!({"rate": "10/s", "burst": 30}),
            &json!({"mode": "delete", "after": "90d"})
        )
    );
}

#[test]
fn it_goes_on_where_it_stopped() {
    let count = AtomicUsize::new(0);
    let gateway = gateway(move |_, request| {
        if count.fetch_add(1, Ordering::SeqCst) == 1 {
            return problem(503, "dependency_down");
        }
        taken(request)
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
        taken(request)
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
