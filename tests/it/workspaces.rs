//! Workspaces over the admin API: a tree, and who sees which part of it.

use crate::harness::{Answer, Desk, Gateway, GatewayBuilder, Upstream};
use keygate::domain::role::Role;
use serde_json::{Value, json};

pub(crate) fn stored(upstream: &Upstream) -> Gateway {
    GatewayBuilder::new(upstream.address).stored().start()
}

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

fn names(answer: &Answer) -> Vec<String> {
    let list = answer.must(200);
    let names = list["data"].as_array().unwrap().iter();
    names
        .map(|one| one["name"].as_str().unwrap().to_owned())
        .collect()
}

/// A workspace below another, by its id; below the root when there is none.
pub(crate) fn made(gateway: &Gateway, name: &str, parent: Option<&str>) -> String {
    let body = json!({"name": name, "parent": parent});
    let made = gateway.api("POST", "/v1/workspaces", body).must(201);
    id(&made).to_owned()
}

#[test]
fn a_workspace_through_its_life() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let body = json!({
        "name": "north", "kind": "location", "external_id": "n-1", "metadata": {"city": "Kiel"},
        "inactivity": {"mode": "notify", "after": "30d"},
    });
    let answer = gateway.api("POST", "/v1/workspaces", body);
    let north = answer.must(201);
    let path = format!("/v1/workspaces/{}", id(&north));
    assert_eq!(answer.header("location"), Some(&*path));
    assert_eq!(
        north["inactivity"],
        json!({"mode": "notify", "after": "30d"})
    );
    let shown = gateway.api("GET", &path, None);
    assert_eq!(shown.must(200), north);
    let tag = shown.header("etag").unwrap().to_owned();

    let edit = json!({"kind": "region", "external_id": null, "inactivity": null});
    let edited = gateway.api("PATCH", &path, edit).must(200);
    assert_eq!(
        (
            &edited["kind"],
            &edited["external_id"],
            &edited["inactivity"],
            &edited["name"]
        ),
        (
            &json!("region"),
            &Value::Null,
            &Value::Null,
            &json!("north")
        )
    );
    let stale = gateway.api_with(
        &[&format!("if-match: {tag}")],
        "PATCH",
        &path,
        json!({"name": "late"}),
    );
    assert_eq!((stale.status, &*stale.code()), (412, "precondition_failed"));

    let child = made(&gateway, "shop 7", Some(id(&north)));
    let full = gateway.api("DELETE", &path, None);
    assert_eq!((full.status, &*full.code()), (409, "in_use"));
    let child = format!("/v1/workspaces/{child}");
    gateway
        .api("DELETE", &format!("{child}?dry_run=true"), None)
        .must(200);
    gateway.api("GET", &child, None).must(200);
    gateway.api("DELETE", &child, None).must(200);
    assert_eq!(gateway.api("GET", &child, None).status, 404);
    gateway.api("DELETE", &path, None).must(200);
}

#[test]
fn names_are_unique_among_siblings() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let north = made(&gateway, "north", None);
    let south = made(&gateway, "south", None);
    made(&gateway, "shop", Some(&north));
    made(&gateway, "shop", Some(&south));
    for (method, path, body) in [
        (
            "POST",
            "/v1/workspaces".to_owned(),
            json!({"name": "north"}),
        ),
        (
            "PATCH",
            format!("/v1/workspaces/{south}"),
            json!({"name": "north"}),
        ),
    ] {
        let taken = gateway.api(method, &path, body);
        assert_eq!((taken.status, &*taken.code()), (409, "name_taken"));
    }
    for (body, pointer) in [
        (json!({}), "/name"),
        (json!({"name": "a/b"}), "/name"),
        (json!({"name": north}), "/name"),
        (json!({"name": "x", "parent": "ws_1"}), "/parent"),
        (
            json!({"name": "x", "inactivity": {"mode": "often"}}),
            "/inactivity/mode",
        ),
        (json!({"name": "x", "colour": 1}), "/colour"),
    ] {
        let refused = gateway.api("POST", "/v1/workspaces", body);
        assert_eq!(refused.code(), "validation_failed");
        assert_eq!(refused.must(422)["errors"][0]["pointer"], pointer);
    }
}

#[test]
fn an_id_can_be_chosen_and_put_twice() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let path = "/v1/workspaces/ws_01jyzx5rhdf3sbz3hv1yqn2tp9";
    let body = json!({"name": "north", "kind": "location"});
    let first = gateway.api("PUT", path, body.clone());
    assert_eq!(first.header("location"), Some(path));
    assert_eq!(first.must(201)["kind"], "location");
    let second = gateway
        .api("PUT", path, json!({"name": "north 2"}))
        .must(200);
    assert_eq!(
        (&second["name"], &second["kind"]),
        (&json!("north 2"), &json!("workspace"))
    );
    let other = made(&gateway, "other", None);
    let moved = gateway.api("PUT", path, json!({"name": "north", "parent": other}));
    assert_eq!(moved.must(422)["errors"][0]["code"], "immutable");
    let unknown = gateway.api_with(
        &["if-match: \"1\""],
        "PUT",
        "/v1/workspaces/ws_01jyzx5rhdf3sbz3hv1yqn2tpa",
        body,
    );
    assert_eq!(unknown.status, 412);
}

#[test]
fn lists_are_trees_in_pages() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let north = made(&gateway, "north", None);
    made(&gateway, "south", None);
    made(&gateway, "North shop", Some(&north));
    let mut seen = Vec::new();
    let mut path = "/v1/workspaces?limit=1&total=true".to_owned();
    loop {
        let page = gateway.api("GET", &path, None);
        seen.extend(names(&page));
        assert_eq!(page.json()["total"], 4);
        let Some(next) = page.json()["next"].as_str().map(str::to_owned) else {
            break;
        };
        path = format!("/v1/workspaces?limit=1&total=true&cursor={next}");
    }
    assert_eq!(seen.len(), 4);
    let place = |name: &str| seen.iter().position(|one| one == name).unwrap();
    assert!(place("north") < place("North shop"));
    let found = |query: &str| {
        let mut found = names(&gateway.api("GET", &format!("/v1/workspaces?{query}"), None));
        found.sort();
        found
    };
    assert_eq!(found("q=nor"), ["North shop", "north"]);
    assert_eq!(found(&format!("parent={north}")), ["North shop"]);
    assert_eq!(found(&format!("q={north}")), ["north"]);
    let odd = gateway.api("GET", "/v1/workspaces?colour=red", None);
    assert_eq!(odd.must(422)["errors"][0]["pointer"], "?colour");
}

#[test]
fn what_is_out_of_reach_is_not_there() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let north = made(&gateway, "north", None);
    let south = made(&gateway, "south", None);
    let shop = made(&gateway, "shop", Some(&north));
    let desk = Desk::of(&gateway);
    let admin = desk.token(&north, Role::Admin);
    let editor = desk.token(&north, Role::Editor);
    let call = |token: &str, method: &str, place: &str, body: Option<Value>| {
        gateway.api_as(token, method, &format!("/v1/workspaces/{place}"), body)
    };
    assert_eq!(
        names(&gateway.api_as(&admin, "GET", "/v1/workspaces", None)),
        ["north", "shop"]
    );
    let root = gateway.api("GET", "/v1/workspaces?limit=1", None).json();
    let root = root["data"][0]["id"].as_str().unwrap().to_owned();
    for place in [&south, &root] {
        for (method, body) in [
            ("GET", None),
            ("PATCH", Some(json!({"name": "mine"}))),
            ("PUT", Some(json!({"name": "mine"}))),
            ("DELETE", None),
        ] {
            let answer = call(&admin, method, place, body);
            assert_eq!(
                (answer.status, &*answer.code()),
                (404, "not_found"),
                "{method}"
            );
        }
    }
    let beside = json!({"name": "x", "parent": south});
    let beside = gateway.api_as(&admin, "POST", "/v1/workspaces", beside);
    assert_eq!(beside.must(422)["errors"][0]["pointer"], "/parent");
    // Without a parent, a workspace is made where the token is.
    let own = gateway.api_as(&admin, "POST", "/v1/workspaces", json!({"name": "own"}));
    assert_eq!(own.must(201)["parent"], north);
    call(&editor, "GET", &shop, None).must(200);
    let forbidden = call(&editor, "PATCH", &shop, Some(json!({"name": "mine"})));
    assert_eq!((forbidden.status, &*forbidden.code()), (403, "forbidden"));
}

#[test]
fn answers_name_their_request_and_are_kept_by_nobody() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    let own = "req_01jyzx5rhdf3sbz3hv1yqn2tp9";
    for (path, status) in [
        ("/v1/workspaces", 200),
        ("/v1/workspaces/none", 404),
        ("/v1/nowhere", 404),
        ("/v1/workspaces?limit=0", 422),
    ] {
        let header = format!("x-request-id: {own}");
        let answer = gateway.api_with(&[&header], "GET", path, None);
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("x-request-id"), Some(own));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        if status != 200 {
            assert_eq!(answer.json()["request_id"], own);
        }
    }
    let stranger = gateway.api_as("", "GET", "/v1/workspaces", None);
    let id = stranger.header("x-request-id").unwrap().to_owned();
    assert_eq!(stranger.must(401)["request_id"], *id);
    let odd = gateway.api_with(&["x-request-id: <script>"], "GET", "/v1/workspaces", None);
    assert!(odd.header("x-request-id").unwrap().starts_with("req_"));
}
