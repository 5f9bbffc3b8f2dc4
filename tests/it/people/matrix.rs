//! Every call of the admin API, every role, in the own workspace, below, beside and above: cell by cell.

use super::calls::CALLS;
use super::calls::Target::{
    self, All, Consumer, Each, Key, Member, New, Notice, Own, Secret, Session, SessionsOf, Token,
    Webhook, Whole, Workspace,
};
use super::{House, text};
use crate::harness::{Answer, Gateway, Upstream};
use keygate::domain::role::{Permission, Role};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A row of the table.
type Row = (&'static str, &'static str, Target, &'static str);

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
    let rows: BTreeSet<_> = CALLS.iter().map(|call| (call.0, call.1)).collect();
    assert_eq!(rows.len(), CALLS.len(), "each stands there once");
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
        Key | Each => {
            let body = json!({"name": "some", "workspace": workspace});
            text(&api("/v1/keys", body)["key"]["id"])
        }
        Secret => {
            let body = json!({"name": "some", "workspace": workspace});
            text(&api("/v1/keys", body)["secret"])
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
    (call, _, about, body): Row,
    (workspace, number): (&str, usize),
) -> Answer {
    let id = target(house, about, workspace, number);
    let (method, path) = call.split_once(' ').unwrap();
    let mut path = path.replace("{id}", &id).replace("{workspace}", workspace);
    if about == SessionsOf {
        path = format!("{path}?member={id}");
    }
    let body = body
        .replace("$id", &id)
        .replace("$secret", &id)
        .replace("$workspace", workspace)
        .replace("$number", &number.to_string())
        .replace("$email", &format!("n{number}@example.com"));
    let body: Option<Value> = (!body.is_empty()).then(|| serde_json::from_str(&body).unwrap());
    house.gateway.api_as(token, method, &path, body)
}

#[test]
fn nobody_may_anything() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    for row in CALLS.iter().filter(|row| row.0 != "POST /v1/sessions") {
        let (method, path) = row.0.split_once(' ').unwrap();
        let path = path.replace("{id}", &house.north);
        let answer = house.gateway.api_as("", method, &path, None);
        let told = (answer.status, answer.code());
        assert_eq!(told, (401, "unauthorized".into()), "{}", row.0);
    }
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
                    if row.2 == Each {
                        assert_eq!(answer.json()["failed"], 0, "{what}");
                    }
                    if row.2 == Secret {
                        assert_ne!(answer.json()["key"], Value::Null, "{what}");
                    }
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
                    Each | Secret if !may => assert_eq!(answer.code(), "forbidden", "{what}"),
                    Each => assert_eq!(answer.must(200)["failed"], 1, "{what}"),
                    // A key acts below its workspace too: whoever it acts for may hear of it.
                    Secret => {
                        let known = answer.must(200)["key"] != Value::Null;
                        assert_eq!(known, place == "above", "{what}");
                    }
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
        for path in ["/metrics", "/status"] {
            let answer = house.gateway.api_as(&top, "GET", path, None);
            assert_eq!(answer.status, 200, "{role}: {path}");
            let answer = house.gateway.api_as(&north, "GET", path, None);
            assert_eq!(
                (answer.status, &*answer.code()),
                (403, "forbidden"),
                "{role}: {path}"
            );
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
