//! What bodies of the admin API may hold, and how it is told what they may not: field by field, item by item.

use crate::harness::{Answer, Client, Gateway, GatewayBuilder, Upstream};
use crate::workspaces::stored;
use serde_json::{Value, json};

fn id(object: &Value) -> &str {
    object["id"].as_str().unwrap()
}

/// With what seals the secrets of webhooks.
fn with_vault(upstream: &Upstream) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("master.key"), "07".repeat(32)).unwrap();
    GatewayBuilder::new(upstream.address)
        .stored()
        .top("vault: { master_key: 'file:master.key' }")
        .start_in(folder)
}

/// Pointers and codes of a refusal of 422.
fn faults(answer: &Answer) -> Vec<String> {
    let faults = answer.must(422)["errors"].clone();
    let faults = faults.as_array().unwrap().iter();
    let text = |one: &Value, field: &str| one[field].as_str().unwrap().to_owned();
    faults
        .map(|one| format!("{} {}", text(one, "pointer"), text(one, "code")))
        .collect()
}

#[test]
fn every_wrong_item_of_a_list_is_told_by_its_place() {
    let upstream = Upstream::ok();
    let gateway = with_vault(&upstream);
    let body = json!({"name": "k",
        "ip_allow": ["10.0.0.0/8", "10.0.0.1/8", "nowhere", "10.0.0.0/8"], "scopes": ["a", "a b", 7],
        "routes": ["app", "nowhere"], "methods": ["GET", "BREW"], "locations": ["header", "cookie", "body"],
        "tags": ["a", "", " b"], "metadata": {"a/b": 1, "good": "x", "~": []},
    });
    let want = [
        "/ip_allow/1 invalid",
        "/ip_allow/2 invalid",
        "/ip_allow/3 duplicate",
        "/locations/1 unknown_value",
        "/locations/2 unknown_value",
        "/metadata/a~1b invalid",
        "/metadata/~0 invalid",
        "/methods/1 unknown_value",
        "/routes/1 unknown_value",
        "/scopes/1 invalid",
        "/scopes/2 invalid",
        "/tags/1 out_of_range",
        "/tags/2 invalid",
    ];
    assert_eq!(faults(&gateway.api("POST", "/v1/keys", body.clone())), want);
    let key = gateway
        .api("POST", "/v1/keys", json!({"name": "k"}))
        .must(201);
    let path = format!("/v1/keys/{}", id(&key["key"]));
    for method in ["PATCH", "PUT"] {
        let told = faults(&gateway.api(method, &path, body.clone()));
        assert_eq!(told, want, "{method}");
    }
    let mut item = body;
    item["secret"] = json!("an-old-secret");
    let done = gateway.api("POST", "/v1/keys/import", json!({"keys": [item]}));
    let told = done.must(200)["data"][0]["errors"].clone();
    assert_eq!(told.as_array().unwrap().len(), want.len());

    let ids: Vec<String> = (0..12).map(|number| format!("key_{number}")).collect();
    let body = json!({"action": "disable", "ids": ids});
    let want: Vec<String> = (0..12).map(|n| format!("/ids/{n} invalid")).collect();
    assert_eq!(faults(&gateway.api("POST", "/v1/keys/bulk", body)), want);
    let filter = json!({"tag": 1, "q": [], "status": "x", "colour": 7, "size": "7"});
    let body = json!({"action": "disable", "filter": filter});
    let told = faults(&gateway.api("POST", "/v1/keys/bulk?dry_run=true", body));
    let want = [
        "/filter/colour unknown_field",
        "/filter/q invalid",
        "/filter/size unknown_field",
        "/filter/status unknown_value",
        "/filter/tag invalid",
    ];
    assert_eq!(told, want);
    let body = json!({"name": "w", "url": "https://hooks.example.com/", "events": ["key.*", "key.eaten", "?"]});
    let told = faults(&gateway.api("POST", "/v1/webhooks", body));
    assert_eq!(told, ["/events/1 unknown_value", "/events/2 invalid"]);
    let body = json!({"key": "x", "scopes": ["a", 1, 2]});
    let told = faults(&gateway.api("POST", "/v1/verify", body));
    assert_eq!(told, ["/scopes/1 invalid", "/scopes/2 invalid"]);
    let body = json!({"request": {"path": "/", "headers": {"a b": "x", "x-good": ["1", "2"], "x-bad": [1]}}});
    let told = faults(&gateway.api("POST", "/v1/explain", body));
    let want = [
        "/request/headers/a b invalid",
        "/request/headers/x-bad invalid",
    ];
    assert_eq!(told, want);
}

/// Two readers of such a body may not read the same.
#[test]
fn a_name_that_stands_twice_in_a_body_is_refused() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let key = gateway
        .api("POST", "/v1/keys", json!({"name": "k"}))
        .must(201);
    let key = format!("/v1/keys/{}", id(&key["key"]));
    let send = |line: &str, kind: &str, body: &str| {
        let lines = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/{kind}\r\n\
             content-length: {}\r\n\r\n",
            gateway.admin,
            body.len()
        );
        let mut client = Client::connect(gateway.management);
        client.send([lines.as_bytes(), body.as_bytes()].concat());
        client.read()
    };
    for (line, body, want) in [
        (
            "POST /v1/keys",
            r#"{"name": "a", "name": "b"}"#,
            &["/name duplicate"][..],
        ),
        (
            "POST /v1/keys",
            r#"{"name": "a", "metadata": {"x": "1", "\u0078": "2"}, "inactivity": {"mode": "off", "mode": "delete"}}"#,
            &["/metadata/x duplicate", "/inactivity/mode duplicate"],
        ),
        (
            &format!("PATCH {key}"),
            r#"{"scopes": [], "scopes": ["a"]}"#,
            &["/scopes duplicate"],
        ),
        (
            &format!("POST {key}/revoke"),
            r#"{"reason": "a", "reason": "a"}"#,
            &["/reason duplicate"],
        ),
        (
            &format!("DELETE {key}"),
            r#"{"a": 1, "a": 1}"#,
            &["/a duplicate"],
        ),
        (
            "POST /v1/keys/import",
            r#"{"keys": [], "keys": [{"name": "a"}]}"#,
            &["/keys duplicate"],
        ),
    ] {
        assert_eq!(faults(&send(line, "json", body)), want, "{line} {body}");
    }
    let body = "{\"name\": \"a\", \"name\": \"b\", \"secret\": \"an-old-secret\"}\n{\"name\": \"c\", \"secret\": \"another-old-secret\"}";
    let done = send("POST /v1/keys/import", "x-ndjson", body).must(200);
    assert_eq!(done["imported"], 1);
    let told = &done["data"][0]["errors"][0];
    assert_eq!(
        (&told["pointer"], &told["code"]),
        (&json!("/name"), &json!("duplicate"))
    );
    let shown = gateway.api("GET", &key, None).must(200);
    assert_eq!(
        (&shown["state"], &shown["scopes"]),
        (&json!("active"), &json!([]))
    );
}

/// RFC 9110, section 13.1.2.
#[test]
fn if_none_match_keeps_what_is_there() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    for path in [
        "/v1/keys/key_01jyzx5rhdf3sbz3hv1yqn2tp9",
        "/v1/consumers/con_01jyzx5rhdf3sbz3hv1yqn2tp9",
        "/v1/workspaces/ws_01jyzx5rhdf3sbz3hv1yqn2tp9",
    ] {
        let put = |name: &str, header: &str| {
            gateway.api_with(&[header], "PUT", path, json!({"name": name}))
        };
        put("first", "if-none-match: *").must(201);
        let shown = gateway.api("GET", path, None);
        let tag = shown.header("etag").unwrap();
        let others = format!("if-none-match: \"1\", W/{tag}");
        for header in ["if-none-match: *", &others] {
            let answer = put("second", header);
            let told = (answer.status, answer.code());
            assert_eq!(told, (412, "precondition_failed".into()), "{path} {header}");
            assert_eq!(gateway.api("GET", path, None).json(), shown.json());
        }
        put("third", "if-none-match: \"1\"").must(200);
    }
    let body = json!({"email": "ada@example.com", "name": "Ada", "role": "owner"});
    let ada = gateway.api("POST", "/v1/members", body).must(201);
    let place = gateway
        .api("POST", "/v1/workspaces", json!({"name": "x"}))
        .must(201);
    let path = format!("/v1/members/{}/roles/{}", id(&ada), id(&place));
    let give =
        |role: &str| gateway.api_with(&["if-none-match: *"], "PUT", &path, json!({"role": role}));
    give("editor").must(200);
    assert_eq!(give("owner").code(), "precondition_failed");
}

#[test]
fn a_field_that_stays_says_so_and_what_changes_it() {
    let upstream = Upstream::ok();
    let gateway = with_vault(&upstream);
    let hook = json!({"name": "x", "url": "https://hooks.example.com/"});
    let ada = json!({"email": "ada@example.com", "name": "Ada", "role": "owner"});
    for (kind, new, fields) in [
        (
            "keys",
            json!({"name": "x"}),
            &[
                ("consumer", "/transfer"),
                ("environment", "new key"),
                ("workspace", "new key"),
                ("state", "/disable"),
                ("secrets", "/rotate"),
                ("created_at", "the gateway"),
            ][..],
        ),
        (
            "consumers",
            json!({"name": "x"}),
            &[("workspace", "does not move"), ("id", "in the path")],
        ),
        (
            "workspaces",
            json!({"name": "x"}),
            &[("parent", "does not move")],
        ),
        (
            "webhooks",
            hook,
            &[("workspace", "does not move"), ("secret", "/rotate-secret")],
        ),
        (
            "members",
            ada,
            &[("roles", "/roles/"), ("password", "/password")],
        ),
    ] {
        let made = gateway.api("POST", &format!("/v1/{kind}"), new).must(201);
        let made = made.get("key").or(made.get("webhook")).unwrap_or(&made);
        let path = format!("/v1/{kind}/{}", id(made));
        for (field, words) in fields {
            let answer = gateway.api("PATCH", &path, json!({*field: null, "colour": 1}));
            let want = ["/colour unknown_field", &format!("/{field} immutable")];
            let mut told = faults(&answer);
            told.sort_by_key(|one| !one.starts_with("/colour"));
            assert_eq!(told, want, "{kind}");
            assert!(answer.text().contains(words), "{kind} {}", answer.text());
        }
    }
}

/// Who sends back what was shown hears which fields stay, not that there are none such.
#[test]
fn what_is_shown_is_known() {
    let upstream = Upstream::ok();
    let gateway = with_vault(&upstream);
    let hook = json!({"name": "x", "url": "https://hooks.example.com/"});
    let ada = json!({"email": "ada@example.com", "name": "Ada", "role": "owner"});
    for (kind, new, methods) in [
        ("keys", json!({"name": "x"}), &["PATCH", "PUT"][..]),
        ("consumers", json!({"name": "x"}), &["PATCH", "PUT"]),
        ("workspaces", json!({"name": "x"}), &["PATCH", "PUT"]),
        ("webhooks", hook, &["PATCH"]),
        ("members", ada, &["PATCH"]),
    ] {
        let made = gateway.api("POST", &format!("/v1/{kind}"), new).must(201);
        let made = made.get("key").or(made.get("webhook")).unwrap_or(&made);
        let path = format!("/v1/{kind}/{}", id(made));
        let shown = gateway.api("GET", &path, None).must(200);
        for method in methods {
            let told = faults(&gateway.api(method, &path, shown.clone()));
            let stays = |fault: &String| fault.ends_with(" immutable");
            assert!(told.iter().all(stays), "{method} {kind} {told:?}");
            assert!(
                told.contains(&"/revision immutable".into()),
                "{method} {kind}"
            );
        }
    }
}

/// Two names that look alike are not the same, and one that turns its line shows what is not so.
#[test]
fn no_name_has_letters_that_are_not_seen() {
    let upstream = Upstream::ok();
    let gateway = with_vault(&upstream);
    let others = [
        ("/v1/keys", json!({})),
        ("/v1/consumers", json!({})),
        ("/v1/workspaces", json!({})),
        ("/v1/tokens", json!({"role": "auditor"})),
        (
            "/v1/members",
            json!({"role": "auditor", "email": "ada@example.com"}),
        ),
    ];
    for (path, fields) in others {
        let post = |name: &str| {
            let mut body = fields.clone();
            body["name"] = json!(name);
            gateway.api("POST", path, body)
        };
        for letter in [
            '\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{ad}', '\u{3164}',
        ] {
            let told = faults(&post(&format!("ac{letter}me")));
            assert_eq!(told, ["/name invalid"], "{path} {letter:?}");
        }
        post("\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}").must(201);
    }
    for place in ["/v1/consumers", "/v1/workspaces"] {
        for wrong in ["a\u{200b}b", " a", "a ", "\u{200d}"] {
            let body = json!({"name": "n", "external_id": wrong});
            let told = faults(&gateway.api("POST", place, body));
            assert_eq!(told, ["/external_id invalid"], "{place} {wrong:?}");
        }
    }
    let url = "https://hooks.example.com/";
    let hook = json!({"name": "a\u{202e}b", "url": url});
    assert_eq!(
        faults(&gateway.api("POST", "/v1/webhooks", hook)),
        ["/name invalid"]
    );
    let body = json!({"name": "k", "tags": ["a\u{200b}"], "metadata": {"a\u{2060}b": "x"}});
    let told = faults(&gateway.api("POST", "/v1/keys", body));
    let want = ["/metadata/a\u{2060}b invalid", "/tags/0 invalid"];
    assert_eq!(told, want);
}
