//! The audit log: who did what, and the proof that nobody has touched it.

use crate::harness::{
    Answer, Desk, Gateway, GatewayBuilder, PATIENCE, Place, Served, Upstream, ask, wait_until,
};
use crate::workspaces::{made, stored};
use keygate::domain::id::Kind;
use keygate::domain::key::KeyFormat;
use keygate::domain::role::Role;
use keygate::domain::workspace::root;
use serde_json::{Value, json};

fn actions(gateway: &Gateway, query: &str) -> Vec<String> {
    let list = gateway
        .api("GET", &format!("/v1/audit?{query}"), None)
        .must(200);
    let events = list["data"].as_array().unwrap().iter();
    events
        .map(|event| event["action"].as_str().unwrap().to_owned())
        .collect()
}

fn verify(gateway: &Gateway) -> Value {
    gateway.api("POST", "/v1/audit/verify", None).must(200)
}

#[test]
fn every_kind_of_change_is_told_and_the_chain_holds() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let shop = made(&gateway, "shop", None);
    let place = format!("/v1/workspaces/{shop}");
    gateway
        .api("PATCH", &place, json!({"kind": "team"}))
        .must(200);
    let consumer = gateway
        .api("POST", "/v1/consumers", json!({"name": "c"}))
        .must(201);
    let consumer = format!("/v1/consumers/{}", consumer["id"].as_str().unwrap());
    gateway
        .api("PATCH", &consumer, json!({"name": "d"}))
        .must(200);
    gateway.api("DELETE", &consumer, None).must(200);
    let key = json!({"name": "k", "scopes": ["app:read"]});
    let key = gateway.api("POST", "/v1/keys", key).must(201);
    let key = format!("/v1/keys/{}", key["key"]["id"].as_str().unwrap());
    let acts = ["disable", "enable", "rotate", "keep", "revoke"];
    for act in acts {
        let answer = gateway.api("POST", &format!("{key}/{act}"), json!({}));
        assert_eq!(answer.status, 200, "{act}: {}", answer.text());
    }
    gateway.api("DELETE", &key, None).must(200);
    gateway
        .api("POST", &format!("{key}/restore"), None)
        .must(200);
    gateway.api("DELETE", &place, None).must(200);
    // What was refused or only tried has not happened.
    assert_eq!(
        gateway.api("POST", &format!("{key}/enable"), None).status,
        409
    );

    let mut told = actions(&gateway, "class=management&limit=200");
    told.reverse();
    let want = [
        "token.created",
        "workspace.created",
        "workspace.updated",
        "consumer.created",
        "consumer.updated",
        "consumer.deleted",
        "key.created",
        "key.disabled",
        "key.enabled",
        "key.rotated",
        "key.kept",
        "key.revoked",
        "key.deleted",
        "key.restored",
        "workspace.deleted",
    ];
    assert_eq!(told, want);
    let verdict = verify(&gateway);
    assert_eq!(
        (&verdict["ok"], &verdict["first_broken"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(verdict["events"], verdict["head"]["sequence"]);
    let edited = gateway
        .api("GET", "/v1/audit?action=workspace.updated", None)
        .must(200);
    let edited = &edited["data"][0];
    assert_eq!(
        edited["changes"]["kind"],
        json!({"from": "workspace", "to": "team"})
    );
    assert_eq!(
        (&edited["target"], &edited["target_name"]),
        (&json!(shop), &json!("shop"))
    );
    assert_eq!(edited["address"], "127.0.0.1");
    assert!(edited["actor"].as_str().unwrap().starts_with("tok_"));
    assert!(edited["request_id"].as_str().unwrap().starts_with("req_"));
}

/// Every field that was set, as an edit tells of it; and no secret.
#[test]
fn what_is_made_is_told_field_by_field() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let told = |action: &str| {
        let path = format!("/v1/audit?action={action}&limit=1");
        gateway.api("GET", &path, None).must(200)["data"][0]["changes"].clone()
    };
    let to = |value: Value| json!({"from": null, "to": value});
    let body = json!({"name": "orion", "external_id": "7", "description": "d", "metadata": {"a": "1"},
        "limits": {"rate": "5/s"}});
    let owner = gateway.api("POST", "/v1/consumers", body).must(201);
    let limits = to(json!({"rate": "5/s"}));
    let metadata = to(json!({"a": "1"}));
    let want = json!({"name": to(json!("orion")), "external_id": to(json!("7")), "description": to(json!("d")),
        "metadata": metadata, "limits": limits});
    assert_eq!(told("consumer.created"), want);
    let body = json!({"name": "k", "consumer": "orion", "description": "d", "scopes": ["app:read"],
        "ip_allow": ["10.0.0.0/8"], "methods": ["GET"], "tags": ["t"], "metadata": {"a": "1"},
        "limits": {"rate": "5/s"}, "expires_at": "2100-01-01T00:00:00Z",
        "inactivity": {"mode": "notify", "after": "1d"}});
    let key = gateway.api("POST", "/v1/keys", body).must(201);
    let want = json!({"name": to(json!("k")), "state": to(json!("active")), "consumer": to(owner["id"].clone()),
        "environment": to(key["key"]["environment"].clone()), "description": to(json!("d")),
        "scopes": to(json!(["app:read"])), "ip_allow": to(json!(["10.0.0.0/8"])), "methods": to(json!(["GET"])),
        "tags": to(json!(["t"])), "metadata": metadata, "limits": limits,
        "expires_at": to(key["key"]["expires_at"].clone()),
        "inactivity": to(json!({"mode": "notify", "after_ms": 86_400_000})), "secrets": "changed"});
    assert_eq!(told("key.created"), want);
    gateway
        .api("POST", "/v1/workspaces", json!({"name": "w"}))
        .must(201);
    let want = json!({"name": to(json!("w")), "kind": to(json!("workspace"))});
    assert_eq!(told("workspace.created"), want);
}

#[test]
fn the_log_is_filtered_and_paged() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let north = made(&gateway, "north", None);
    let south = made(&gateway, "south", None);
    assert_eq!(
        actions(&gateway, &format!("target={north}")),
        ["workspace.created"]
    );
    assert_eq!(
        actions(&gateway, &format!("workspace={south}")),
        ["workspace.created"]
    );
    assert_eq!(actions(&gateway, "action=workspace.*").len(), 2);
    assert_eq!(actions(&gateway, "actor=system:setup"), ["token.created"]);
    assert_eq!(actions(&gateway, "to=2020-01-01"), [""; 0]);
    assert_eq!(actions(&gateway, "outcome=denied"), [""; 0]);
    let first = gateway
        .api("GET", "/v1/audit?limit=2&total=true", None)
        .must(200);
    assert_eq!(first["total"], 4, "the reading itself is the fourth");
    let next = first["next"].as_str().unwrap();
    let second = gateway
        .api("GET", &format!("/v1/audit?limit=2&cursor={next}"), None)
        .must(200);
    assert_eq!(second["next"], Value::Null);
    let sequences: Vec<u64> = [&first, &second]
        .iter()
        .flat_map(|page| page["data"].as_array().unwrap())
        .map(|event| event["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(sequences, [4, 3, 2, 1]);
    for wrong in [
        "class=x",
        "outcome=x",
        "from=x",
        "workspace=x",
        "cursor=x",
        "x=y",
    ] {
        let answer = gateway.api("GET", &format!("/v1/audit?{wrong}"), None);
        assert_eq!(answer.code(), "validation_failed", "{wrong}");
    }
}

#[test]
fn reading_the_log_is_logged_once_a_minute() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    for _ in 0..3 {
        actions(&gateway, "");
    }
    verify(&gateway);
    gateway.api("GET", "/v1/audit/export", None);
    gateway.api("GET", "/v1/audit/head", None).must(200);
    let told = actions(&gateway, "class=authentication");
    assert_eq!(told, ["audit.exported", "audit.verified", "audit.read"]);
}

#[test]
fn who_reaches_a_part_reads_that_part() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let (north, south) = (made(&gateway, "north", None), made(&gateway, "south", None));
    let desk = Desk::of(&gateway);
    let auditor = desk.token(&north, Role::Auditor);
    let editor = desk.token(&north, Role::Editor);
    let list = gateway.api_as(&auditor, "GET", "/v1/audit", None).must(200);
    for event in list["data"].as_array().unwrap() {
        assert_eq!(event["workspace"], north);
    }
    let there = gateway.api_as(
        &auditor,
        "GET",
        &format!("/v1/audit?workspace={south}"),
        None,
    );
    assert_eq!(there.code(), "not_found");
    assert_eq!(
        gateway.api_as(&editor, "GET", "/v1/audit", None).code(),
        "forbidden"
    );
    // The log is one: only whoever owns all of it cuts it.
    let owner = desk.token(&north, Role::Owner);
    let cut = json!({"before": "2020-01-01"});
    for token in [&auditor, &owner] {
        let answer = gateway.api_as(token, "POST", "/v1/audit/checkpoints", cut.clone());
        assert_eq!(answer.code(), "forbidden");
    }
}

#[test]
fn tampering_in_the_file_is_found_and_named() {
    let upstream = Upstream::ok();
    for (statement, sequence, why) in [
        (
            "UPDATE audit SET actor = 'tok_x' WHERE sequence = 2",
            2,
            "`actor` of the event differs",
        ),
        (
            "UPDATE audit SET body = replace(body, 'north', 'south') WHERE sequence = 2",
            2,
            "does not give its hash",
        ),
        ("DELETE FROM audit WHERE sequence = 2", 2, "missing"),
        ("DELETE FROM audit WHERE sequence = 3", 3, "missing"),
        (
            "UPDATE audit_personal SET data = '{}' WHERE sequence = 3",
            3,
            "personal data",
        ),
    ] {
        let gateway = stored(&upstream);
        made(&gateway, "north", None);
        made(&gateway, "south", None);
        assert_eq!(verify(&gateway)["ok"], true);
        Desk::of(&gateway).sql(statement);
        let verdict = verify(&gateway);
        assert_eq!(verdict["ok"], false, "{statement}");
        assert_eq!(verdict["first_broken"]["sequence"], sequence, "{statement}");
        let told = verdict["first_broken"]["why"].as_str().unwrap();
        assert!(told.contains(why), "{statement}: {told}");
        let notices = gateway
            .api("GET", "/v1/notices?kind=audit.broken", None)
            .must(200);
        assert_eq!(notices["data"][0]["severity"], "critical");
        assert_eq!(
            gateway.metric("keygate_notices", &[("kind", "audit.broken")]),
            1.0
        );
    }
}

#[test]
fn a_person_is_forgotten_and_the_chain_holds() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let desk = Desk::of(&gateway);
    let member = desk.member("someone@example.com", Role::Editor);
    let whole = |gateway: &Gateway| gateway.api("GET", "/v1/audit/export", None).text();
    assert!(whole(&gateway).contains("someone@example.com"));
    desk.erase(member);
    let after = whole(&gateway);
    assert!(!after.contains("someone@example.com") && after.contains("member.erased"));
    let verdict = verify(&gateway);
    assert_eq!(verdict["ok"], true);
    assert!(verdict["erased"].as_u64().unwrap() > 0);
}

#[test]
fn the_log_is_taken_out_whole() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    for number in 0..3 {
        made(&gateway, &format!("=cmd|shop {number}"), None);
    }
    let lines = gateway.api("GET", "/v1/audit/export?action=workspace.*", None);
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let events: Vec<Value> = lines
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let sequences: Vec<&Value> = events.iter().map(|event| &event["sequence"]).collect();
    assert_eq!(sequences, [2, 3, 4]);
    let table = gateway.api(
        "GET",
        "/v1/audit/export?format=csv&action=workspace.*",
        None,
    );
    let text = table.text();
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    let place = rows
        .headers()
        .unwrap()
        .iter()
        .position(|name| name == "target_name");
    let names: Vec<String> = rows
        .records()
        .map(|row| row.unwrap()[place.unwrap()].to_owned())
        .collect();
    assert_eq!(names, ["'=cmd|shop 0", "'=cmd|shop 1", "'=cmd|shop 2"]);
    let wrong = gateway.api("GET", "/v1/audit/export?format=xml", None);
    assert_eq!(wrong.must(422)["errors"][0]["pointer"], "?format");
}

#[test]
fn the_head_is_told_and_the_log_is_cut() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    made(&gateway, "north", None);
    let head = gateway.api("GET", "/v1/audit/head", None).must(200);
    assert_eq!(head["sequence"], 2);
    let status = gateway.api("GET", "/status", None).must(200);
    assert_eq!(status["audit"], head);
    assert_eq!(gateway.metric("keygate_audit_head_sequence", &[]), 2.0);
    assert!(gateway.metric("keygate_audit_head_timestamp_seconds", &[]) > 1.7e9);

    let cut = |query: &str| -> Answer {
        let body = json!({"before": "2100-01-01T00:00:00Z"});
        gateway.api("POST", &format!("/v1/audit/checkpoints{query}"), body)
    };
    let tried = cut("?dry_run=true").must(200);
    assert_eq!(tried["checkpoint"]["sequence"], 2);
    assert_eq!(verify(&gateway)["events"], 2);
    let before = json!({"before": "2020-01-01"});
    let nothing = gateway
        .api("POST", "/v1/audit/checkpoints", before)
        .must(200);
    assert_eq!(nothing, json!({"checkpoint": null, "revision": null}));
    let done = cut("").must(200);
    assert_eq!(
        done["checkpoint"]["sequence"], 3,
        "the proof was an event too"
    );
    let verdict = verify(&gateway);
    assert_eq!(
        (&verdict["ok"], &verdict["events"]),
        (&json!(true), &json!(1))
    );
    let cuts = gateway.api("GET", "/v1/audit/checkpoints", None).must(200);
    assert_eq!(cuts["data"][0], done["checkpoint"]);
    assert_eq!(actions(&gateway, "action=audit.cut"), ["audit.cut"]);
}

#[test]
fn the_head_stands_in_the_log_of_the_process() {
    let upstream = Upstream::ok();
    let yaml = GatewayBuilder::new(upstream.address)
        .top("store: sqlite:keygate.db\naudit: { head_interval: 1s }")
        .yaml();
    let served = Served::start(&yaml);
    wait_until("the head is told", PATIENCE, || {
        served.err.all().contains("head of the audit log")
    });
    let line = served.err.all();
    let line = line
        .lines()
        .find(|line| line.contains("head of the audit log"));
    let line = line.unwrap();
    assert!(line.contains("hash") && line.contains("sequence"), "{line}");
    let denied = ask(served.management, "GET /v1/audit/head", &[]);
    assert_eq!(denied.code(), "unauthorized");
}

#[test]
fn nodes_and_the_configuration_are_shown_without_secrets() {
    let upstream = Upstream::ok();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("master"), "a7".repeat(32)).unwrap();
    let gateway = GatewayBuilder::new(upstream.address)
        .stored()
        .top("vault: { master_key: \"file:master\" }")
        .start_in(folder);
    let mut nodes = Value::Null;
    wait_until("the node has said how it is", PATIENCE, || {
        nodes = gateway.api("GET", "/v1/nodes", None).must(200);
        nodes["data"].as_array().unwrap().len() == 1
    });
    assert_eq!(nodes["data"][0]["version"], env!("CARGO_PKG_VERSION"));
    let answer = gateway.api("GET", "/v1/config", None);
    let config = answer.must(200);
    assert_eq!(config["routes"][0]["name"], "app");
    assert_eq!(
        config["routes"][0]["auth"]["scopes"],
        json!({"GET": ["app:read"], "*": ["app:write"]})
    );
    assert_eq!(
        config["upstreams"]["app"]["endpoints"][0],
        format!("http://{}", upstream.address)
    );
    assert_eq!(config["vault"], true);
    assert_eq!(
        config["consumers"],
        json!([{"name": "acme", "limits": null}])
    );
    assert_eq!(config["routes"][0]["limits"], Value::Null);
    assert!(!answer.text().contains("a7a7"));
    let shop = made(&gateway, "shop", None);
    let owner = Desk::of(&gateway).token(&shop, Role::Owner);
    for path in ["/v1/config", "/v1/nodes"] {
        assert_eq!(
            gateway.api_as(&owner, "GET", path, None).code(),
            "forbidden"
        );
    }
}

#[test]
fn who_was_refused_is_told_once_and_without_the_secret() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let desk = Desk::of(&gateway);
    let top = root().text(Kind::Workspace).to_string();
    let auditor = desk.token(&top, Role::Auditor);
    let body = json!({"name": "old", "role": "owner"});
    let old = gateway.api("POST", "/v1/tokens", body).must(201);
    let (old, secret) = (
        old["token"]["id"].clone(),
        old["secret"].as_str().unwrap().to_owned(),
    );
    let end = format!("/v1/tokens/{}/revoke", old.as_str().unwrap());
    gateway.api("POST", &end, None).must(200);
    let guess = KeyFormat::default().generate_admin().unwrap();
    for _ in 0..5 {
        for token in [guess.expose(), &*secret, "kg_admin_nonsense"] {
            assert_eq!(gateway.api_as(token, "GET", "/v1/keys", None).status, 401);
        }
        for path in ["/v1/keys", "/v1/keys/import"] {
            let answer = gateway.api_as(&auditor, "POST", path, json!({"name": "x"}));
            assert_eq!(answer.status, 403);
        }
        let path = format!("/v1/keys/{}", gateway.declared_key());
        let answer = gateway.api_as(&auditor, "GET", &format!("{path}?x={secret}"), None);
        assert_eq!(answer.status, 422, "no refusal of that kind");
    }
    let list = gateway.api("GET", "/v1/audit?outcome=denied", None);
    for secret in [guess.expose(), &*secret, &*auditor, "nonsense"] {
        assert!(!list.text().contains(secret));
    }
    let list = list.must(200);
    let mut told: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            let text = |field: &str| event[field].as_str().unwrap().to_owned();
            assert_eq!(event["changes"]["tries"], 1);
            assert_eq!(event["address"], "127.0.0.1");
            assert!(text("request_id").starts_with("req_"));
            (
                text("action"),
                text("class"),
                text("target"),
                text("reason"),
            )
        })
        .collect();
    told.sort();
    let want = [
        (
            "call.refused",
            "authorization",
            "POST /v1/keys",
            "keys:write",
        ),
        (
            "call.refused",
            "authorization",
            "POST /v1/keys/import",
            "keys:import",
        ),
        ("token.refused", "authentication", "token", "unknown"),
        (
            "token.refused",
            "authentication",
            old.as_str().unwrap(),
            "revoked",
        ),
    ];
    let want = want.map(|(a, b, c, d)| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned()));
    let mut want = want.to_vec();
    want.sort();
    assert_eq!(told, want);
    assert_eq!(verify(&gateway)["ok"], true);
}

/// The sum of a minute is recorded when it ends; a process that ends before must not swallow it.
#[test]
fn refusals_of_the_last_minute_are_told_at_the_end() {
    let upstream = Upstream::ok();
    let place = Place::sqlite();
    let start = || {
        let setting = place.setting();
        GatewayBuilder::new(upstream.address)
            .top(&format!("store: {setting}"))
            .start()
    };
    let gateway = start();
    let owner = gateway.admin.clone();
    for _ in 0..8 {
        let answer = gateway.api_as("kg_admin_nonsense", "GET", "/v1/keys", None);
        assert_eq!(answer.status, 401);
    }
    gateway.stop();
    let gateway = start();
    let list = gateway.api_as(&owner, "GET", "/v1/audit?action=token.refused", None);
    let list = list.must(200);
    let tries: Vec<&Value> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["changes"]["tries"])
        .collect();
    assert_eq!(tries, [&json!(7), &json!(1)]);
}
