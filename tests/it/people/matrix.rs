//! Every call of the admin API, every role, in the own workspace, below, beside and above: cell by cell.

use super::{House, text};
use crate::harness::{Answer, Gateway, Upstream};
use keygate::domain::role::{Permission, Role};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What `{id}` in a path is, or where something new is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// There is none: the call is about what the caller reaches.
    All,
    /// Something new in the workspace that the body names.
    New,
    /// The log as a whole: it needs the permission everywhere.
    Whole,
    /// One of these.
    Key,
    Consumer,
    Workspace,
    Webhook,
    Notice,
    Token,
    Member,
    Session,
    /// `?member=`.
    SessionsOf,
    /// Anybody's own affairs, looked at in tests of their own.
    Own,
}

use Target::{
    All, Consumer, Key, Member, New, Notice, Own, Session, SessionsOf, Token, Webhook, Whole,
    Workspace,
};

/// Call, what it needs, what it is about, and what is sent: `$workspace` is the place of the target.
const CALLS: [(&str, &str, Target, &str); 75] = [
    // Their own tests ask by role.
    ("GET /v1/config", "", Own, ""),
    ("GET /v1/nodes", "", Own, ""),
    ("GET /v1/keys/export", "", Own, ""),
    ("GET /v1/keys/review", "", Own, ""),
    ("POST /v1/explain", "", Own, ""),
    ("POST /v1/verify", "", Own, ""),
    ("POST /v1/keys/bulk", "", Own, ""),
    ("POST /v1/keys/import", "", Own, ""),
    ("PUT /v1/keys/{id}", "", Own, ""),
    ("GET /v1/keys", "read", All, ""),
    (
        "POST /v1/keys",
        "keys:write",
        New,
        r#"{"name": "new", "workspace": "$workspace"}"#,
    ),
    ("GET /v1/keys/{id}", "read", Key, ""),
    (
        "PATCH /v1/keys/{id}",
        "keys:write",
        Key,
        r#"{"name": "other"}"#,
    ),
    ("DELETE /v1/keys/{id}", "keys:end", Key, ""),
    ("POST /v1/keys/{id}/disable", "keys:write", Key, ""),
    ("POST /v1/keys/{id}/enable", "keys:write", Key, ""),
    ("POST /v1/keys/{id}/revoke", "keys:end", Key, ""),
    ("POST /v1/keys/{id}/rotate", "keys:write", Key, ""),
    ("POST /v1/keys/{id}/retire", "keys:write", Key, ""),
    (
        "POST /v1/keys/{id}/transfer",
        "keys:end",
        Key,
        r#"{"consumer": null}"#,
    ),
    ("POST /v1/keys/{id}/keep", "keys:write", Key, ""),
    ("POST /v1/keys/{id}/restore", "keys:end", Key, ""),
    ("GET /v1/members", "members:read", All, ""),
    (
        "POST /v1/members",
        "members:write",
        New,
        r#"{"email": "$email", "name": "New", "role": "auditor", "workspace": "$workspace"}"#,
    ),
    ("GET /v1/members/{id}", "members:read", Member, ""),
    (
        "PATCH /v1/members/{id}",
        "members:write",
        Member,
        r#"{"name": "Other"}"#,
    ),
    (
        "PUT /v1/members/{id}/roles/{workspace}",
        "members:write",
        Member,
        r#"{"role": "auditor"}"#,
    ),
    (
        "DELETE /v1/members/{id}/roles/{workspace}",
        "members:write",
        Member,
        "",
    ),
    (
        "POST /v1/members/{id}/password",
        "members:write",
        Member,
        r#"{"new": "another horse battery"}"#,
    ),
    ("GET /v1/members/{id}/export", "members:erase", Member, ""),
    ("POST /v1/members/{id}/erase", "members:erase", Member, ""),
    ("GET /v1/sessions", "sessions:manage", SessionsOf, ""),
    ("POST /v1/sessions", "", Own, ""),
    ("DELETE /v1/sessions/current", "", Own, ""),
    ("DELETE /v1/sessions/{id}", "sessions:manage", Session, ""),
    ("GET /v1/tokens", "tokens:read", All, ""),
    (
        "POST /v1/tokens",
        "tokens:write",
        New,
        r#"{"name": "new", "role": "auditor", "workspace": "$workspace"}"#,
    ),
    ("GET /v1/tokens/{id}", "tokens:read", Token, ""),
    ("DELETE /v1/tokens/{id}", "tokens:write", Token, ""),
    ("POST /v1/tokens/{id}/revoke", "tokens:write", Token, ""),
    ("GET /v1/keys/preview", "read", All, ""),
    ("GET /v1/workspaces", "read", All, ""),
    (
        "POST /v1/workspaces",
        "workspaces:write",
        New,
        r#"{"name": "new $number", "parent": "$workspace"}"#,
    ),
    ("GET /v1/workspaces/{id}", "read", Workspace, ""),
    (
        "PUT /v1/workspaces/{id}",
        "workspaces:write",
        Workspace,
        r#"{"name": "other $number"}"#,
    ),
    (
        "PATCH /v1/workspaces/{id}",
        "workspaces:write",
        Workspace,
        r#"{"kind": "team"}"#,
    ),
    (
        "DELETE /v1/workspaces/{id}",
        "workspaces:write",
        Workspace,
        "",
    ),
    ("GET /v1/consumers", "read", All, ""),
    (
        "POST /v1/consumers",
        "consumers:write",
        New,
        r#"{"name": "new $number", "workspace": "$workspace"}"#,
    ),
    ("GET /v1/consumers/{id}", "read", Consumer, ""),
    (
        "PUT /v1/consumers/{id}",
        "consumers:write",
        Consumer,
        r#"{"name": "other $number"}"#,
    ),
    (
        "PATCH /v1/consumers/{id}",
        "consumers:write",
        Consumer,
        r#"{"description": "other"}"#,
    ),
    ("DELETE /v1/consumers/{id}", "consumers:write", Consumer, ""),
    ("GET /v1/audit", "audit:read", All, ""),
    ("GET /v1/audit/head", "audit:read", All, ""),
    ("POST /v1/audit/verify", "audit:read", All, ""),
    ("GET /v1/audit/export", "audit:export", All, ""),
    ("GET /v1/audit/checkpoints", "audit:read", All, ""),
    (
        "POST /v1/audit/checkpoints",
        "audit:cut",
        Whole,
        r#"{"before": "2020-01-01"}"#,
    ),
    ("GET /v1/notices", "read", All, ""),
    ("GET /v1/notices/{id}", "read", Notice, ""),
    ("POST /v1/notices/{id}/read", "read", Notice, ""),
    ("POST /v1/notices/read", "read", All, ""),
    ("GET /v1/webhooks", "webhooks:read", All, ""),
    (
        "POST /v1/webhooks",
        "webhooks:write",
        New,
        r#"{"name": "new $number", "url": "https://127.0.0.1:9/", "workspace": "$workspace"}"#,
    ),
    ("GET /v1/webhooks/{id}", "webhooks:read", Webhook, ""),
    (
        "PATCH /v1/webhooks/{id}",
        "webhooks:write",
        Webhook,
        r#"{"events": ["key.*"]}"#,
    ),
    ("DELETE /v1/webhooks/{id}", "webhooks:write", Webhook, ""),
    (
        "POST /v1/webhooks/{id}/rotate-secret",
        "webhooks:write",
        Webhook,
        "",
    ),
    ("POST /v1/webhooks/{id}/test", "webhooks:write", Webhook, ""),
    (
        "POST /v1/webhooks/{id}/replay",
        "webhooks:write",
        Webhook,
        "",
    ),
    (
        "GET /v1/webhooks/{id}/deliveries",
        "webhooks:read",
        Webhook,
        "",
    ),
    ("GET /v1/usage", "read", All, ""),
    ("GET /v1/keys/{id}/usage", "read", Key, ""),
    ("GET /v1/whoami", "", Own, ""),
];

#[test]
fn every_call_of_the_document_is_in_the_table() {
    let upstream = Upstream::ok();
    let gateway = Gateway::before(upstream.address);
    let document = gateway.manage("/openapi.json").must(200);
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            documented.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let known: BTreeSet<String> = CALLS.iter().map(|call| call.0.to_owned()).collect();
    assert_eq!(documented, known);
    assert_eq!(known.len(), CALLS.len(), "each stands there once");
}

/// An object that a call can be made about, fresh, in a workspace.
fn target(house: &House, target: Target, workspace: &str, number: usize) -> String {
    let api = |path: &str, body: Value| house.gateway.api("POST", path, body).must(201);
    let member = || {
        let body = json!({
            "email": format!("m{number}@example.com"), "name": "Some Body", "role": "auditor", "workspace": workspace
        });
        text(&api("/v1/members", body)["id"])
    };
    match target {
        All | New | Own | Whole => String::new(),
        Consumer => {
            let body = json!({"name": format!("c{number}"), "workspace": workspace});
            text(&api("/v1/consumers", body)["id"])
        }
        Workspace => {
            let body = json!({"name": format!("w{number}"), "parent": workspace});
            text(&api("/v1/workspaces", body)["id"])
        }
        Webhook => {
            let url = "https://127.0.0.1:9/";
            let body = json!({"name": format!("h{number}"), "url": url, "workspace": workspace});
            text(&api("/v1/webhooks", body)["webhook"]["id"])
        }
        Notice => house.notice(workspace, number),
        Key => {
            let body = json!({"name": "some", "workspace": workspace});
            text(&api("/v1/keys", body)["key"]["id"])
        }
        Token => {
            let body = json!({"name": "some", "role": "auditor", "workspace": workspace});
            text(&api("/v1/tokens", body)["token"]["id"])
        }
        Member | SessionsOf => member(),
        Session => house.open_session(&member()).0,
    }
}

/// Makes a call about something in a workspace.
fn call(
    house: &House,
    token: &str,
    (call, _, about, body): (&str, &str, Target, &str),
    (workspace, number): (&str, usize),
) -> Answer {
    let id = target(house, about, workspace, number);
    let (method, path) = call.split_once(' ').unwrap();
    let mut path = path.replace("{id}", &id).replace("{workspace}", workspace);
    if about == SessionsOf {
        path = format!("{path}?member={id}");
    }
    let body = body
        .replace("$workspace", workspace)
        .replace("$number", &number.to_string())
        .replace("$email", &format!("n{number}@example.com"));
    let body: Option<Value> = (!body.is_empty()).then(|| serde_json::from_str(&body).unwrap());
    house.gateway.api_as(token, method, &path, body)
}

#[test]
fn every_role_may_what_the_table_says_and_nothing_else() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let mut number = 0;
    for role in Role::ALL {
        let token = house.token(&house.north, role.name());
        for row in CALLS.iter().filter(|row| row.2 != Own && row.2 != Whole) {
            let needed = Permission::all().find(|permission| permission.name() == row.1);
            let may = role.may(needed.expect("a permission that there is"));
            let places = [("own", &house.north), ("below", &house.shop)];
            let beyond = [("beside", &house.south), ("above", &house.root)];
            for (place, workspace) in places {
                number += 1;
                let answer = call(&house, &token, *row, (workspace, number));
                let what = format!("{role}: {} {place}: {}", row.0, answer.text());
                if may {
                    let refused = matches!(answer.status, 401 | 403 | 404 | 405 | 422 | 500..);
                    assert!(!refused, "{} {what}", answer.status);
                } else {
                    assert_eq!(
                        (answer.status, &*answer.code()),
                        (403, "forbidden"),
                        "{what}"
                    );
                }
            }
            for (place, workspace) in beyond {
                number += 1;
                let answer = call(&house, &token, *row, (workspace, number));
                let what = format!("{role}: {} {place}: {}", row.0, answer.text());
                match row.2 {
                    All | Own | Whole => assert_eq!(answer.status == 200, may, "{what}"),
                    // What the body names is not there, unless the role may not make such a thing anywhere.
                    New if answer.status == 422 => {
                        let fault = &answer.json()["errors"][0];
                        let pointer = &fault["pointer"];
                        assert!(pointer == "/workspace" || pointer == "/parent", "{what}");
                        assert_eq!(fault["code"], "unknown_value", "{what}");
                    }
                    New => assert_eq!((answer.status, may), (403, false), "{what}"),
                    Consumer | Workspace | Webhook | Notice | Key | Token | Member | Session
                    | SessionsOf => {
                        assert_eq!(
                            (answer.status, &*answer.code()),
                            (404, "not_found"),
                            "{what}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_of_the_whole_is_done_from_the_root_only() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    for role in Role::ALL {
        let (top, north) = (&house.root, &house.north);
        let (top, north) = (
            house.token(top, role.name()),
            house.token(north, role.name()),
        );
        for row in CALLS.iter().filter(|row| row.2 == Whole) {
            let needed = Permission::all().find(|permission| permission.name() == row.1);
            let may = role.may(needed.expect("a permission that there is"));
            let answer = call(&house, &top, *row, (&house.root, 0));
            assert_eq!(
                answer.status == 200,
                may,
                "{role}: {}: {}",
                row.0,
                answer.text()
            );
            let answer = call(&house, &north, *row, (&house.north, 0));
            assert_eq!(answer.code(), "forbidden", "{role}: {}", row.0);
        }
    }
}

#[test]
fn lists_show_what_is_in_reach_and_below() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let reader = house.token(&house.north, "owner");
    let lists = [
        ("/v1/keys", Key),
        ("/v1/tokens", Token),
        ("/v1/members", Member),
        ("/v1/consumers", Consumer),
        ("/v1/webhooks", Webhook),
        ("/v1/notices", Notice),
    ];
    for (path, what) in lists {
        let all = [&house.north, &house.shop, &house.south, &house.root];
        let mut number = 0;
        let [north, shop, south, root] = all.map(|place| {
            number += 1;
            target(&house, what, place, number)
        });
        let page = house.gateway.api_as(&reader, "GET", path, None).must(200);
        let seen = super::ids(&page);
        assert!(seen.contains(&north) && seen.contains(&shop), "{path}");
        assert!(!seen.contains(&south) && !seen.contains(&root), "{path}");
        let below = format!("{path}?workspace={}", house.shop);
        let page = house.gateway.api_as(&reader, "GET", &below, None).must(200);
        assert_eq!(super::ids(&page), [shop], "{path}");
        let beside = format!("{path}?workspace={}", house.south);
        let answer = house.gateway.api_as(&reader, "GET", &beside, None);
        assert_eq!(answer.status, 404, "{path}");
    }
}
