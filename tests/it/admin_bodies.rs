//! What bodies of the admin API may hold, and how it is told what they may not: field by field, item by item.

use crate::harness::Upstream;
use crate::workspaces::stored;
use serde_json::{Value, json};

fn id(object: &Value) -> &str {
    object["id"].as_str().unwrap()
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
