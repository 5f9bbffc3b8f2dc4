//! `keygate keys bulk`: one act on many keys.

use super::{Shell, answer, asked, gateway, problem, real, sent};
use crate::harness::Upstream;
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn bulk_acts_name_keys_or_filter_them() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let ids = ["a", "b"].map(|name| {
        shell.id(&format!(
            "keys create {name} --tag old --save-to {name}.key"
        ))
    });
    let last = shell.id("keys create c --save-to c.key");
    shell.run("consumers create acme-eu").is(0);
    let status =
        |name: &str| shell.run(&format!("keys get {name} -o json")).is(0).json()["status"].clone();

    let ran = shell.run("keys bulk disable --tag old --dry-run").is(0);
    assert_eq!(
        ran.table(),
        "ID | WOULD BE | WHY NOT\nID | disabled | -\nID | disabled | -"
    );
    assert_eq!(ran.err, "dry run: would disable 2 keys; nothing was done\n");
    assert_eq!(status("a"), "active");
    let ran = shell
        .run("keys bulk disable --tag old --reason leak --text words --yes")
        .is(0);
    assert_eq!(ran.out, "disable: done with 2 keys, refused for 0\n");
    assert_eq!(
        (status("a"), status("b"), status("c")),
        (json!("disabled"), json!("disabled"), json!("active"))
    );
    let ran = shell
        .run_with(
            "keys bulk enable --ids - --yes -o name",
            &format!("{}\n\nb\n", ids[0]),
        )
        .is(0);
    assert_eq!(ran.out, format!("{}\n{}\n", ids[0], ids[1]));
    assert_eq!(status("b"), "active");
    shell
        .run(&format!("keys bulk transfer a {last} --to acme-eu --yes"))
        .is(0);
    assert_eq!(
        shell
            .run("keys list --consumer acme-eu --all -o name")
            .out
            .lines()
            .count(),
        2
    );
    shell
        .run("keys bulk transfer --consumer acme-eu --to-nobody --yes")
        .is(0);
    shell
        .run("keys bulk keep --never-expires --search a --yes")
        .is(0);
    shell.run("keys bulk delete c --yes").is(0);
    shell.run("keys bulk restore c --yes").is(0);
    shell.run("keys bulk revoke --tag none --yes").is(0);

    shell.run("keys revoke b --yes").is(0);
    let ran = shell.run("keys bulk enable a b --yes").is(6);
    assert_eq!(
        ran.err,
        format!(
            "{}: the key is revoked, which is final (key_revoked)\n",
            ids[1]
        )
    );
    assert_eq!(ran.out, "enable: done with 1 key, refused for 1\n");
    let ran = shell
        .run("keys bulk enable --tag old --yes -o json")
        .is(6)
        .json();
    assert_eq!((&ran["changed"], &ran["failed"]), (&json!(1), &json!(1)));
    // The key of the config file is among all of them, and not among those that a filter finds.
    let ran = shell.run("keys bulk disable --all --yes").is(6);
    assert_eq!(ran.out, "disable: done with 2 keys, refused for 1\n");
    let ran = shell.run("keys bulk disable ci --dry-run").is(6);
    assert!(ran.table().contains("managed_by_file"), "{ran:?}");
    assert_eq!(
        ran.err,
        "dry run: would disable 0 keys, refused for 1; nothing was done\n"
    );
}

#[test]
fn what_is_meant_has_to_be_said() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    for line in [
        "keys bulk revoke --yes",
        "keys bulk transfer --all --yes",
        "keys bulk revoke --all --to acme --yes",
        "keys bulk revoke ci --tag b --yes",
        "keys bulk revoke ci --all --yes",
        "keys bulk explode --all --yes",
        "keys bulk revoke --all",
    ] {
        shell.run(line).is(2);
    }
    let ran = shell.run("keys bulk revoke").is(2);
    assert!(ran.err.contains("name keys"), "{ran:?}");
    shell.run("keys bulk revoke nobody --yes").is(3);
    shell.run("keys bulk revoke --ids missing --yes").is(3);
}

#[test]
fn ids_go_a_thousand_at_a_time() {
    let service = Upstream::ok();
    let gateway = real(&service);
    let shell = Shell::of(&gateway);
    let mut keys = String::new();
    for number in 0..1100 {
        writeln!(
            keys,
            "{}",
            json!({"name": "k", "tags": ["old"], "hash": format!("blake3:{number:064x}")})
        )
        .unwrap();
    }
    shell.run_with("keys import -", &keys).is(0);
    let ids = shell.run("keys list --tag old --all -o name").is(0).out;
    let ran = shell.run_with("keys bulk delete --ids - --yes", &ids).is(0);
    assert_eq!(ran.out, "delete: done with 1100 keys, refused for 0\n");
    assert_eq!(shell.run("keys list --tag old -o name").is(0).out, "");
}

/// A gateway with 10,500 keys of its store and one of the config file, whose bulk acts fail from the so-manieth on.
fn with_many_keys(fails_at: usize) -> Upstream {
    const KEYS: usize = 10_501;
    let acts = AtomicUsize::new(0);
    gateway(move |line, request| {
        let id = |number: usize| format!("key_{number:026}");
        if line.starts_with("POST") {
            let body = sent(request);
            let Some(ids) = body["ids"].as_array() else {
                return problem(409, "too_many_keys");
            };
            if body["dry_run"] != true && acts.fetch_add(1, Ordering::SeqCst) + 1 >= fails_at {
                return problem(503, "dependency_down");
            }
            let data: Vec<Value> = ids.iter().map(|id| json!({"id": id, "ok": true})).collect();
            let (changed, dry_run) = (data.len(), &body["dry_run"]);
            return answer(
                200,
                &json!({"data": data, "changed": changed, "failed": 0, "dry_run": dry_run, "revision": 7}),
            );
        }
        let (_, query) = line.split_once('?').unwrap();
        let cursor = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("cursor="));
        let from: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        let to = KEYS.min(from + 200);
        let by = |number: usize| if number == 0 { "file" } else { "api" };
        let data: Vec<Value> = (from..to)
            .map(|number| json!({"id": id(number), "managed_by": by(number)}))
            .collect();
        let next = (to < KEYS).then(|| to.to_string());
        answer(200, &json!({"data": data, "next": next}))
    })
}

#[test]
fn more_than_a_filter_may_find_are_named_one_by_one() {
    let gateway = with_many_keys(usize::MAX);
    let shell = Shell::at(&gateway);
    let ran = shell.run("keys bulk disable --tag old --yes").is(0);
    assert_eq!(ran.out, "disable: done with 10500 keys, refused for 0\n");
    let asked = asked(&gateway);
    assert_eq!(asked[1], "GET /v1/keys?tag=old&limit=200");
    assert_eq!(asked.len(), 1 + 53 + 11);
    let ran = shell.run("keys bulk disable --tag old --dry-run -o json");
    let told = ran.is(0).json();
    assert_eq!(
        (&told["changed"], &told["dry_run"]),
        (&json!(10_500), &json!(true))
    );
}

#[test]
fn a_bulk_act_that_stops_on_its_way_says_how_far_it_came() {
    let gateway = with_many_keys(4);
    let ran = Shell::at(&gateway).run("keys bulk disable --tag old --yes");
    assert_eq!(
        ran.is(6).err,
        "keygate: stopped behind 3000 of 10500 keys; the same command does the rest: told as dependency_down \
         (dependency_down)\n"
    );
    let gateway = with_many_keys(1);
    Shell::at(&gateway)
        .run("keys bulk disable --tag old --yes")
        .is(1);
}
