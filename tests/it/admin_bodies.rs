//! What bodies of the admin API may hold, and how it is told what they may not: field by field, item by item.

use crate::harness::{Answer, Gateway, GatewayBuilder, Upstream};
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
        for letter in ['\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{200e}'] {
            let told = faults(&post(&format!("ac{letter}me")));
            assert_eq!(told, ["/name invalid"], "{path} {letter:?}");
        }
        post("\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}").must(201);
    }
    let url = "https://hooks.example.com/";
    let hook = json!({"name": "a\u{202e}b", "url": url});
    assert_eq!(
        faults(&gateway.api("POST", "/v1/webhooks", hook)),
        ["/name invalid"]
    );
}
