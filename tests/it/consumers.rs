//! Consumers over the admin API: who owns keys.

use crate::harness::{Desk, Gateway, PATIENCE, Upstream, wait_until};
use crate::workspaces::{made, stored};
use keygate::domain::role::Role;
use serde_json::{Value, json};

fn created(gateway: &Gateway, body: Value) -> Value {
    gateway.api("POST", "/v1/consumers", body).must(201)
}

fn path(consumer: &Value) -> String {
    format!("/v1/consumers/{}", consumer["id"].as_str().unwrap())
}

#[test]
fn a_consumer_through_its_life() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let body = json!({"name": "Globex", "external_id": "crm-1", "description": "A customer", "metadata": {"plan": "gold"}});
    let globex = created(&gateway, body);
    assert_eq!(globex["managed_by"], "api");
    assert_eq!(gateway.api("GET", &path(&globex), None).must(200), globex);
    let edit = json!({"name": "Globex AG", "description": null});
    let edited = gateway.api("PATCH", &path(&globex), edit).must(200);
    assert_eq!(
        (
            &edited["name"],
            &edited["description"],
            &edited["external_id"]
        ),
        (&json!("Globex AG"), &Value::Null, &json!("crm-1"))
    );
    let key = json!({"name": "one", "consumer": "Globex AG", "scopes": ["app:read"]});
    let key = gateway.api("POST", "/v1/keys", key).must(201);
    let secret = format!("x-api-key: {}", key["secret"].as_str().unwrap());
    gateway.request("GET /", &[&secret]);
    assert_eq!(
        upstream.received()[0].header("x-consumer-username"),
        Some("Globex AG")
    );

    // Its name goes upstream from the reply on.
    gateway
        .api("PATCH", &path(&globex), json!({"name": "Globex SE"}))
        .must(200);
    gateway.request("GET /", &[&secret]);
    assert_eq!(
        upstream.received()[1].header("x-consumer-username"),
        Some("Globex SE")
    );

    let used = gateway.api("DELETE", &path(&globex), None);
    assert_eq!((used.status, &*used.code()), (409, "in_use"));
    let key = key["key"]["id"].as_str().unwrap();
    gateway
        .api(
            "POST",
            &format!("/v1/keys/{key}/transfer"),
            json!({"consumer": null}),
        )
        .must(200);
    gateway
        .api("DELETE", &format!("{}?dry_run=true", path(&globex)), None)
        .must(200);
    gateway.api("GET", &path(&globex), None).must(200);
    gateway.api("DELETE", &path(&globex), None).must(200);
    assert_eq!(gateway.api("GET", &path(&globex), None).code(), "not_found");
}

#[test]
fn names_are_unique() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let shop = made(&gateway, "shop", None);
    created(&gateway, json!({"name": "Globex"}));
    created(&gateway, json!({"name": "Globex", "workspace": shop}));
    for name in ["Globex", "acme"] {
        let taken = gateway.api("POST", "/v1/consumers", json!({"name": name}));
        assert_eq!(
            (taken.status, &*taken.code()),
            (409, "name_taken"),
            "{name}"
        );
    }
    let path = "/v1/consumers/con_01jyzx5rhdf3sbz3hv1yqn2tp9";
    let body = json!({"name": "chosen", "description": "x"});
    gateway.api("PUT", path, body).must(201);
    let again = gateway
        .api("PUT", path, json!({"name": "chosen"}))
        .must(200);
    assert_eq!(again["description"], Value::Null);
    // The same request again, the same reply; another body is another request.
    let once = ["idempotency-key: one"];
    let first = gateway.api_with(&once, "POST", "/v1/consumers", json!({"name": "once"}));
    let second = gateway.api_with(&once, "POST", "/v1/consumers", json!({"name": "once"}));
    assert_eq!(first.must(201), second.must(201));
    assert_eq!(second.header("idempotent-replayed"), Some("true"));
    let other = gateway.api_with(&once, "POST", "/v1/consumers", json!({"name": "twice"}));
    assert_eq!(other.code(), "idempotency_mismatch");
}

#[test]
fn an_external_id_is_one_consumers_in_its_workspace() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let shop = made(&gateway, "shop", None);
    let with = |name: &str| json!({"name": name, "external_id": "crm-7"});
    created(&gateway, with("first"));
    let mut beside = with("beside");
    beside["workspace"] = json!(shop);
    created(&gateway, beside);
    let bare = created(&gateway, json!({"name": "bare"}));
    let path = format!("/v1/consumers/{}", bare["id"].as_str().unwrap());
    let put = "/v1/consumers/con_01jyzx5rhdf3sbz3hv1yqn2tp9";
    for (method, path) in [("POST", "/v1/consumers"), ("PUT", put), ("PATCH", &path)] {
        let taken = gateway.api(method, path, with("second"));
        let told = (taken.status, taken.code());
        assert_eq!(told, (409, "external_id_taken".into()), "{method}");
    }
    assert_eq!(gateway.api("GET", &path, None).must(200), bare);
}

#[test]
fn those_of_the_config_file_are_seen_and_not_changed() {
    let upstream = Upstream::ok();
    let mut gateway = stored(&upstream);
    let shop = made(&gateway, "shop", None);
    let beside = Desk::of(&gateway).token(&shop, Role::Owner);
    for name in ["Globex", "Initech"] {
        created(&gateway, json!({"name": name}));
    }
    let mut seen: Vec<Value> = Vec::new();
    let mut next = String::new();
    loop {
        let target = format!("/v1/consumers?limit=1&total=true{next}");
        let page = gateway.api("GET", &target, None).must(200);
        assert_eq!(page["total"], 3);
        seen.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => break,
        }
    }
    let told: Vec<_> = seen
        .iter()
        .map(|one| {
            (
                one["name"].as_str().unwrap(),
                one["managed_by"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [("Initech", "api"), ("Globex", "api"), ("acme", "file")]
    );
    let acme = &seen[2];
    assert_eq!(gateway.api("GET", &path(acme), None).must(200), *acme);
    for (method, body) in [
        ("PATCH", Some(json!({"name": "x"}))),
        ("PUT", Some(json!({"name": "x"}))),
        ("DELETE", None),
    ] {
        let refused = gateway.api(method, &path(acme), body.clone());
        assert_eq!(refused.code(), "managed_by_file", "{method}");
        let refused = gateway.api_as(&beside, method, &path(acme), body);
        assert_eq!(
            (refused.status, &*refused.code()),
            (404, "not_found"),
            "{method}"
        );
    }
    gateway.edit("[{ name: acme }]", "[{ name: acme }, { name: umbrella }]");
    wait_until("the new one is there", PATIENCE, || {
        let found = gateway.api("GET", "/v1/consumers?q=umb", None).must(200);
        found["data"].as_array().unwrap().len() == 1
    });
}

#[test]
fn what_is_out_of_reach_is_not_there() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let (north, south) = (made(&gateway, "north", None), made(&gateway, "south", None));
    let mine = created(&gateway, json!({"name": "mine", "workspace": north}));
    let theirs = created(&gateway, json!({"name": "theirs", "workspace": south}));
    let desk = Desk::of(&gateway);
    let editor = desk.token(&north, Role::Editor);
    let auditor = desk.token(&north, Role::Auditor);
    let listed = gateway
        .api_as(&editor, "GET", "/v1/consumers", None)
        .must(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    for (method, body) in [
        ("GET", None),
        ("PATCH", Some(json!({"name": "x"}))),
        ("PUT", Some(json!({"name": "x"}))),
        ("DELETE", None),
    ] {
        let answer = gateway.api_as(&editor, method, &path(&theirs), body);
        assert_eq!(
            (answer.status, &*answer.code()),
            (404, "not_found"),
            "{method}"
        );
    }
    let there = gateway.api_as(
        &editor,
        "GET",
        &format!("/v1/consumers?workspace={south}"),
        None,
    );
    assert_eq!(there.status, 404);
    let edit = json!({"description": "x"});
    let forbidden = gateway.api_as(&auditor, "PATCH", &path(&mine), edit.clone());
    assert_eq!(forbidden.code(), "forbidden");
    gateway
        .api_as(&editor, "PATCH", &path(&mine), edit)
        .must(200);
}

/// Whoever may make keys in one place could else ask what consumers others have.
#[test]
fn consumers_of_a_foreign_workspace_are_not_asked_for() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let (north, south) = (made(&gateway, "north", None), made(&gateway, "south", None));
    created(&gateway, json!({"name": "theirs", "workspace": south}));
    let editor = Desk::of(&gateway).token(&north, Role::Editor);
    let nowhere = "ws_01jyzx5rhdf3sbz3hv1yqn2tp9";
    let put = "/v1/keys/key_01jyzx5rhdf3sbz3hv1yqn2tp9";
    for (method, path) in [("POST", "/v1/keys"), ("PUT", put)] {
        for workspace in [&*south, nowhere] {
            let faults = ["theirs", "nobody"].map(|consumer| {
                let body = json!({"name": "k", "workspace": workspace, "consumer": consumer});
                let answer = gateway.api_as(&editor, method, path, body).must(422);
                answer["errors"].clone()
            });
            assert_eq!(faults[0], faults[1], "{method} {workspace}");
            let known = (&faults[0][0]["pointer"], &faults[0][0]["code"]);
            assert_eq!(known, (&json!("/workspace"), &json!("unknown_value")));
            assert_eq!(faults[0].as_array().unwrap().len(), 1);
        }
    }
}

/// Else a location's editor would call in the agency's name.
#[test]
fn a_consumer_above_is_not_there_for_who_does_not_reach_it() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let north = made(&gateway, "north", None);
    let acme = created(&gateway, json!({"name": "agency"}));
    let editor = Desk::of(&gateway).token(&north, Role::Editor);
    let unknown = |answer: Value| {
        let error = &answer["errors"][0];
        (error["pointer"].clone(), error["code"].clone())
            == (json!("/consumer"), json!("unknown_value"))
    };
    let body = |consumer: &str| json!({"name": "k", "workspace": north, "consumer": consumer});
    for consumer in ["agency", acme["id"].as_str().unwrap()] {
        let refused = gateway.api_as(&editor, "POST", "/v1/keys", body(consumer));
        assert!(unknown(refused.must(422)), "{consumer}");
    }
    let admin = Desk::of(&gateway).token(&north, Role::Admin);
    let item = json!({"name": "k", "secret": "an-old-secret-of-a-till", "workspace": north, "consumer": "agency"});
    let imported = gateway.api_as(&admin, "POST", "/v1/keys/import", json!({"keys": [item]}));
    assert_eq!(imported.must(200)["imported"], 0);

    // Whoever reaches both gives a key to it, and its editor leaves it there.
    let key = gateway.api("POST", "/v1/keys", body("agency")).must(201)["key"].clone();
    let path = format!("/v1/keys/{}", key["id"].as_str().unwrap());
    let kept = json!({"name": "renamed", "consumer": "agency"});
    gateway.api_as(&editor, "PUT", &path, kept).must(200);
    let own = created(&gateway, json!({"name": "own", "workspace": north}));
    let to = |consumer: &str| json!({"consumer": consumer});
    let transfer = format!("{path}/transfer");
    gateway
        .api_as(&admin, "POST", &transfer, to(own["id"].as_str().unwrap()))
        .must(200);
    let back = gateway.api_as(&admin, "POST", &transfer, to("agency"));
    assert!(unknown(back.must(422)));
}
