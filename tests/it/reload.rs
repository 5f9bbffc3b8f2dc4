//! Reload: a change on disk is in force soon, a bad one never, and nobody who is being served notices.

use crate::harness::{
    Answer, Gateway, GatewayBuilder, KEY, PATIENCE, Served, Upstream, hash_of, wait_until,
};
use serde_json::json;
use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, mpsc};

const OTHER: &str = "another-key-of-foreign-form";

fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::before(upstream.address)
}

fn with_key(gateway: &Gateway, key: &str) -> Answer {
    gateway.request("GET /", &[&format!("x-api-key: {key}")])
}

fn until_status(gateway: &Gateway, key: &str, status: u16) {
    wait_until(&format!("{status}"), PATIENCE, || {
        with_key(gateway, key).status == status
    });
}

fn until_revision(gateway: &Gateway, revision: u64) {
    wait_until("the new revision is in force", PATIENCE, || {
        gateway.status()["revision"] == revision
    });
}

fn other_key(scopes: &str) -> String {
    format!(
        "keys:\n  - {{ name: second, hash: \"{}\", scopes: [{scopes}] }}\n",
        hash_of(OTHER)
    )
}

#[test]
fn keys_come_change_and_go() {
    let upstream = Upstream::ok();
    let mut gateway = gateway(&upstream);
    assert_eq!(with_key(&gateway, OTHER).status, 401);
    gateway.edit("keys:\n", &other_key("other"));
    until_status(&gateway, OTHER, 403);
    gateway.edit("scopes: [other]", "scopes: [app:read]");
    until_status(&gateway, OTHER, 200);
    gateway.edit(
        "scopes: [app:read] }",
        "scopes: [app:read], state: disabled }",
    );
    wait_until("it is disabled", PATIENCE, || {
        let answer = with_key(&gateway, OTHER);
        answer.status == 401 && answer.code() == "api_key_disabled"
    });
    gateway.edit(hash_of(OTHER).as_str(), &hash_of("a third key"));
    wait_until("it is gone", PATIENCE, || {
        let answer = with_key(&gateway, OTHER);
        answer.status == 401 && answer.code() == "invalid_api_key"
    });
    assert_eq!(with_key(&gateway, KEY).status, 200);
}

/// So many keys that the file is read in pieces, and a reload reads those that changed.
#[test]
fn of_many_keys_one_comes_and_goes() {
    let key = |number: usize| format!("one-of-many-keys-{number:05}");
    let line = |number: usize| {
        let hash = hash_of(&key(number));
        format!("  - {{ name: n{number}, hash: \"{hash}\", scopes: [app:read] }}\n")
    };
    let all: String = (0..5000).map(line).collect();
    assert!(all.len() > 600_000);
    let upstream = Upstream::ok();
    let mut gateway = gateway(&upstream);
    gateway.edit("keys:\n", &format!("keys:\n{all}"));
    until_status(&gateway, &key(4999), 200);
    gateway.edit(&line(2500), "");
    until_status(&gateway, &key(2500), 401);
    for number in [0, 2499, 2501, 4999] {
        assert_eq!(with_key(&gateway, &key(number)).status, 200);
    }
    assert_eq!(with_key(&gateway, KEY).status, 200);
    // The same key in a piece that is known and in one that is new.
    let twice = line(1).replace("name: n1,", "name: twice,");
    gateway.edit(&line(4000), &format!("{}{twice}", line(4000)));
    wait_until("the fault is said", PATIENCE, || {
        gateway.status()["config"]["last_reload_successful"] == false
    });
    let faults = gateway.status()["config"]["faults"].to_string();
    assert!(faults.contains("the same key as keys[1]"), "{faults}");
    gateway.edit(&twice, &line(2500));
    until_status(&gateway, &key(2500), 200);
    // Half of them at once.
    let rest: String = (2000..5000).filter(|one| *one != 2500).map(line).collect();
    gateway.edit(&rest.replace(&line(4000), &(line(4000) + &line(2500))), "");
    until_status(&gateway, &key(4999), 401);
    for (number, status) in [(2500, 401), (1999, 200), (0, 200)] {
        assert_eq!(with_key(&gateway, &key(number)).status, status);
    }
}

#[test]
fn routes_and_upstreams_change() {
    let (one, two) = (
        Upstream::ok(),
        Upstream::answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo".to_vec()),
    );
    let mut gateway = gateway(&one);
    assert_eq!(gateway.get("/").text(), "ok");
    gateway.edit(&one.address.to_string(), &two.address.to_string());
    wait_until("the other upstream answers", PATIENCE, || {
        gateway.get("/").text() == "two"
    });
    gateway.edit("path: /", "path: /only/");
    wait_until("the route is narrower", PATIENCE, || {
        gateway.get("/").status == 404
    });
    assert_eq!(gateway.get("/only/x").text(), "two");
    assert_eq!(gateway.get("/").code(), "no_route");
}

#[test]
fn a_bad_file_changes_nothing_and_is_said() {
    let upstream = Upstream::ok();
    let mut gateway = gateway(&upstream);
    assert_eq!(
        gateway.metric("keygate_config_last_reload_successful", &[]),
        1.0
    );
    gateway.edit("upstream: app\n", "upstream: nowhere\n    colour: red\n");
    wait_until("the fault is said", PATIENCE, || {
        gateway.status()["config"]["last_reload_successful"] == false
    });
    assert_eq!(gateway.get("/").status, 200);
    let status = gateway.status();
    assert_eq!(status["revision"], 1);
    let faults = status["config"]["faults"].to_string();
    for part in ["keygate.yaml:", "nowhere", "colour"] {
        assert!(faults.contains(part), "{faults}");
    }
    assert_eq!(
        gateway.metric("keygate_config_last_reload_successful", &[]),
        0.0
    );
    let failed = [("result", "failed")];
    assert_eq!(gateway.metric("keygate_config_reloads_total", &failed), 1.0);
    gateway.edit(
        "upstream: nowhere\n    colour: red\n",
        "upstream: app\n    timeout: 5s\n",
    );
    wait_until("it recovers", PATIENCE, || {
        gateway.status()["config"]["last_reload_successful"] == true
    });
    assert_eq!(gateway.status()["config"]["faults"], json!([]));
    assert_eq!(
        gateway.metric("keygate_config_last_reload_successful", &[]),
        1.0
    );
    assert_eq!(
        gateway.metric("keygate_config_reloads_total", &[("result", "ok")]),
        1.0
    );
}

#[test]
fn a_file_that_is_gone_or_torn_changes_nothing() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let good = std::fs::read_to_string(&gateway.file).unwrap();
    let failures = || gateway.metric("keygate_config_reloads_total", &[("result", "failed")]);
    let fails = |count: f64| wait_until("it is refused", PATIENCE, || failures() >= count);
    std::fs::remove_file(&gateway.file).unwrap();
    fails(1.0);
    gateway.write("");
    fails(2.0);
    let inside = good.find("{header: X-API-Key}").unwrap() + 5;
    gateway.write(&good[..inside]);
    fails(3.0);
    assert_eq!(gateway.get("/").status, 200);
    gateway.write(&good);
    wait_until("it recovers", PATIENCE, || {
        gateway.status()["config"]["last_reload_successful"] == true
    });
}

#[test]
fn counters_and_last_use_survive() {
    let upstream = Upstream::ok();
    let mut gateway = gateway(&upstream);
    for _ in 0..3 {
        gateway.get("/");
    }
    let seen = |gateway: &Gateway| {
        let key = gateway.manage("/v1/keys").json()["data"][0].clone();
        (
            key["id"].clone(),
            key["uses"].clone(),
            key["last_used_at"].clone(),
            key["first_used_at"].clone(),
        )
    };
    let before = seen(&gateway);
    assert_eq!(before.1, 3);
    gateway.edit("name: ci,", "name: renamed,");
    until_revision(&gateway, 2);
    assert_eq!(seen(&gateway), before);
    assert_eq!(
        gateway.manage("/v1/keys").json()["data"][0]["name"],
        "renamed"
    );
    gateway.get("/");
    assert_eq!(seen(&gateway).1, 4);
    let labels = [("route", "app"), ("code", "200")];
    assert_eq!(gateway.metric("keygate_http_requests_total", &labels), 4.0);
    assert_eq!(
        gateway.status()["upstreams"][0]["endpoints"][0]["requests"],
        4
    );
}

fn keep_alive_get() -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\r\n")
}

#[test]
fn open_connections_survive_and_obey_the_new_keys() {
    let upstream = Upstream::ok();
    let mut gateway = gateway(&upstream);
    let mut client = gateway.client();
    client.send(keep_alive_get());
    assert_eq!(client.read().status, 200);
    gateway.edit("name: ci,", "name: renamed,");
    until_revision(&gateway, 2);
    client.send(keep_alive_get());
    assert_eq!(client.read().status, 200);
    gateway.edit(hash_of(KEY).as_str(), hash_of(OTHER).as_str());
    until_revision(&gateway, 3);
    client.send(keep_alive_get());
    assert_eq!(client.read().code(), "invalid_api_key");
}

#[test]
fn a_running_download_survives() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::serving(move |stream, keep| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        keep(crate::harness::read_request(&mut reader).unwrap());
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst")
            .unwrap();
        wait.lock().unwrap().recv().unwrap();
        stream.write_all(b"later").unwrap();
    });
    let mut gateway = gateway(&upstream);
    let mut client = gateway.client();
    client.send(keep_alive_get());
    wait_until("it has begun", PATIENCE, || upstream.received().len() == 1);
    // Even the route and the key it came by are gone.
    gateway.edit("path: /", "path: /only/");
    gateway.edit(hash_of(KEY).as_str(), hash_of(OTHER).as_str());
    wait_until("both are in force", PATIENCE, || {
        gateway.status()["routes"][0]["path"] == "/only/"
            && gateway
                .request("GET /only/", &[&format!("x-api-key: {KEY}")])
                .status
                == 401
    });
    go.send(()).unwrap();
    assert_eq!(client.read().text(), "firstlater");
}

#[test]
fn a_secret_file_that_changes_is_a_reload() {
    let upstream = Upstream::ok();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    let secret = folder.path().join("secrets/key");
    std::fs::write(&secret, format!("{OTHER}\n")).unwrap();
    let gateway = GatewayBuilder::new(upstream.address)
        .replace(
            "keys:\n",
            "keys:\n  - { name: filed, secret: \"file:secrets/key\", scopes: [app:read] }\n",
        )
        .start_in(folder);
    assert_eq!(with_key(&gateway, OTHER).status, 200);
    std::fs::write(&secret, "a-rotated-key-of-foreign-form\n").unwrap();
    until_status(&gateway, "a-rotated-key-of-foreign-form", 200);
    assert_eq!(with_key(&gateway, OTHER).status, 401);
    // Emptied: a fault, and the last good one stays.
    std::fs::write(&secret, "").unwrap();
    wait_until("the fault is said", PATIENCE, || {
        gateway.status()["config"]["last_reload_successful"] == false
    });
    assert_eq!(
        with_key(&gateway, "a-rotated-key-of-foreign-form").status,
        200
    );
    std::fs::write(&secret, OTHER).unwrap();
    until_status(&gateway, OTHER, 200);
}

#[test]
fn a_secret_file_that_comes_late_cures_the_reload() {
    let upstream = Upstream::ok();
    let mut gateway = gateway(&upstream);
    gateway.edit(
        "keys:\n",
        "keys:\n  - { name: filed, secret: \"file:late\", scopes: [app:read] }\n",
    );
    wait_until("the fault is said", PATIENCE, || {
        gateway.status()["config"]["last_reload_successful"] == false
    });
    std::fs::write(gateway.file.with_file_name("late"), OTHER).unwrap();
    until_status(&gateway, OTHER, 200);
}

#[test]
fn what_needs_a_restart_is_said() {
    let upstream = Upstream::ok();
    let mut gateway = gateway(&upstream);
    assert_eq!(gateway.status()["config"]["needs_restart"], json!([]));
    gateway.builder.threads = 3;
    gateway.builder.listener = ", max_headers: 50".into();
    gateway.edit("name: ci,", "name: renamed,");
    wait_until("threads are named", PATIENCE, || {
        gateway.status()["config"]["needs_restart"] == json!(["threads"])
    });
    gateway.builder.management = ", token: \"file:token\"".into();
    let token = gateway.file.with_file_name("token");
    std::fs::write(token, "a-token-of-some-length").unwrap();
    gateway.builder.listener = "}, { address: 127.0.0.1:0, name: second".into();
    gateway.edit("name: renamed,", "name: again,");
    wait_until("all three are named", PATIENCE, || {
        gateway.status()["config"]["needs_restart"] == json!(["threads", "listeners", "management"])
    });
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn what_is_managed_needs_a_restart_to_be_kept_otherwise() {
    let upstream = Upstream::ok();
    let mut gateway = GatewayBuilder::new(upstream.address).stored().start();
    for (file, text) in [("master", "a7".repeat(32)), ("mail", "pass-word".into())] {
        std::fs::write(gateway.file.with_file_name(file), text).unwrap();
    }
    gateway.builder.top = "store: sqlite:other.db\n\
        data_dir: elsewhere\n\
        vault: { master_key: \"file:master\" }\n\
        inactivity: { mode: notify }\n\
        audit: { retention: 400d }\n\
        usage: { retention: 30d }\n\
        webhooks: { timeout: 5s }\n\
        notifications: { email: { smtp: \"smtp://mail.example.com\", from: kg@example.com, to: [ops@example.com] } }\n"
        .into();
    gateway.builder.management = ", sessions: { idle: 5m }".into();
    gateway.edit("name: ci,", "name: renamed,");
    let all = json!([
        "management",
        "store",
        "data_dir",
        "vault",
        "inactivity",
        "audit",
        "usage",
        "webhooks",
        "notifications"
    ]);
    wait_until("all are named", PATIENCE, || {
        gateway.status()["config"]["needs_restart"] == all
    });
    // What is in force is what the gateway was started with.
    assert_eq!(gateway.api("GET", "/v1/keys", None).status, 200);
    gateway.builder.management = ", allowed_hosts: [gate.example.com]".into();
    gateway.builder.top = String::new();
    gateway.edit("name: renamed,", "name: again,");
    wait_until("one is left", PATIENCE, || {
        gateway.status()["config"]["needs_restart"] == json!(["management"])
    });
}

#[test]
fn the_caps_of_a_listener_change_without_restart() {
    let upstream = Upstream::ok();
    let mut gateway = gateway(&upstream);
    let long = format!("/{}", "a".repeat(200));
    assert_eq!(gateway.get(&long).status, 200);
    gateway.builder.listener = ", max_uri_bytes: 100B".into();
    gateway.edit("name: ci,", "name: renamed,");
    wait_until("the cap is in force", PATIENCE, || {
        gateway.get(&long).status == 414
    });
}

#[test]
fn written_in_place_is_noticed_like_renamed() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let yaml = gateway.builder.yaml();
    std::fs::write(&gateway.file, yaml.replace("name: ci,", "name: in-place,")).unwrap();
    until_revision(&gateway, 2);
    gateway.write(&yaml.replace("name: ci,", "name: moved,"));
    until_revision(&gateway, 3);
}

#[test]
fn a_touch_without_a_change_is_no_reload() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let yaml = gateway.builder.yaml();
    gateway.write(&yaml);
    std::fs::write(gateway.file.with_file_name("neighbour"), "x").unwrap();
    gateway.write(&yaml.replace("name: ci,", "name: moved,"));
    until_revision(&gateway, 2);
    let labels = [("result", "ok")];
    assert_eq!(gateway.metric("keygate_config_reloads_total", &labels), 1.0);
}

fn link(target: &str, at: &Path) {
    let new = at.with_file_name("new-link");
    std::os::unix::fs::symlink(target, &new).unwrap();
    std::fs::rename(new, at).unwrap();
}

#[test]
fn a_swapped_symlink_is_noticed() {
    // As Kubernetes does: keygate.yaml → ..data/keygate.yaml, ..data → ..one, then ..data → ..two.
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let folder = gateway.file.parent().unwrap();
    let yaml = gateway.builder.yaml();
    for (name, key) in [("..one", "one"), ("..two", "two")] {
        std::fs::create_dir(folder.join(name)).unwrap();
        let text = yaml.replace("name: ci,", &format!("name: {key},"));
        std::fs::write(folder.join(name).join("keygate.yaml"), text).unwrap();
    }
    link("..one", &folder.join("..data"));
    link("..data/keygate.yaml", &gateway.file);
    until_revision(&gateway, 2);
    link("..two", &folder.join("..data"));
    until_revision(&gateway, 3);
    assert_eq!(gateway.manage("/v1/keys").json()["data"][0]["name"], "two");
}

#[test]
fn a_linked_file_is_noticed_where_it_is() {
    let upstream = Upstream::ok();
    let elsewhere = tempfile::tempdir().unwrap();
    let gateway = gateway(&upstream);
    let yaml = gateway.builder.yaml();
    let real = elsewhere.path().join("real.yaml");
    std::fs::write(&real, yaml.replace("name: ci,", "name: linked,")).unwrap();
    link(real.to_str().unwrap(), &gateway.file);
    until_revision(&gateway, 2);
    std::fs::write(&real, yaml.replace("name: ci,", "name: edited,")).unwrap();
    until_revision(&gateway, 3);
}

#[test]
fn no_request_fails_while_reloading() {
    let upstream = Upstream::ok();
    let mut gateway = gateway(&upstream);
    let (stop, good) = (AtomicBool::new(false), AtomicUsize::new(0));
    let address = gateway.address;
    std::thread::scope(|scope| {
        for kept in [true, true, false, false] {
            let (stop, good) = (&stop, &good);
            scope.spawn(move || {
                let mut client = crate::harness::Client::connect(address);
                while !stop.load(SeqCst) {
                    if !kept {
                        client = crate::harness::Client::connect(address);
                    }
                    client.send(keep_alive_get());
                    assert_eq!(client.read().status, 200);
                    good.fetch_add(1, SeqCst);
                }
            });
        }
        for round in 0..8 {
            let (old, new) = (format!("name: k{round},"), format!("name: k{},", round + 1));
            gateway.edit(if round == 0 { "name: ci," } else { &old }, &new);
            until_revision(&gateway, round + 2);
        }
        stop.store(true, SeqCst);
    });
    assert!(good.load(SeqCst) > 100, "{good:?}");
}

fn yaml(upstream: &Upstream) -> String {
    GatewayBuilder::new(upstream.address).yaml()
}

#[test]
fn sighup_reloads() {
    let upstream = Upstream::ok();
    let served = Served::start(&yaml(&upstream));
    served.process.signal("HUP");
    // Asked for, so it is done even though nothing has changed.
    wait_until("it is counted", PATIENCE, || {
        served.metric("keygate_config_reloads_total", &[("result", "ok")]) >= 1.0
    });
    std::fs::write(&served.file, "nonsense: 1").unwrap();
    served.process.signal("HUP");
    wait_until("the fault is logged", PATIENCE, || {
        served
            .err
            .all()
            .contains("the last good one stays in force")
    });
    assert_eq!(served.manage("/readyz").status, 200);
    let mut answer = String::new();
    let mut stream = std::net::TcpStream::connect(served.address).unwrap();
    stream
        .write_all(
            keep_alive_get()
                .replace("a\r\n", "a\r\nconnection: close\r\n")
                .as_bytes(),
        )
        .unwrap();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
