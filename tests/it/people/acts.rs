//! What is done with tokens, members and sessions, and that nobody gets further by it than they were.

use super::{House, PASSWORD, ids, text};
use crate::harness::Upstream;
use serde_json::{Value, json};

#[test]
fn nobody_gives_or_touches_more_than_they_have() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let admin = house.token(&house.north, "admin");
    let api = |method: &str, path: &str, body: Option<Value>| {
        house.gateway.api_as(&admin, method, path, body)
    };
    let boss = house.member("boss@example.com", &house.north, "owner");
    let other = house.member("other@example.com", &house.north, "editor");
    let owner = house.gateway.api(
        "POST",
        "/v1/tokens",
        json!({"name": "o", "role": "owner", "workspace": house.shop}),
    );
    let owner = text(&owner.must(201)["token"]["id"]);
    let (north, token) = (&house.north, format!("/v1/tokens/{owner}"));
    let (boss, other) = (
        format!("/v1/members/{boss}"),
        format!("/v1/members/{other}"),
    );
    let role = || Some(json!({"role": "owner"}));
    let new = json!({"email": "x@example.com", "name": "X", "role": "owner"});
    let refused = [
        api(
            "POST",
            "/v1/tokens",
            Some(json!({"name": "t", "role": "owner"})),
        ),
        api("DELETE", &token, None),
        api("POST", &format!("{token}/revoke"), None),
        api("POST", "/v1/members", Some(new)),
        api("PUT", &format!("{other}/roles/{north}"), role()),
        api("PUT", &format!("{other}/roles/{}", house.shop), role()),
        api(
            "PUT",
            &format!("{boss}/roles/{north}"),
            Some(json!({"role": "auditor"})),
        ),
        api("DELETE", &format!("{boss}/roles/{north}"), None),
        api("PATCH", &boss, Some(json!({"state": "disabled"}))),
        api("PATCH", &boss, Some(json!({"email": "mine@example.com"}))),
        api(
            "POST",
            &format!("{boss}/password"),
            Some(json!({"new": "another horse battery"})),
        ),
    ];
    for (place, answer) in refused.iter().enumerate() {
        assert_eq!(
            (answer.status, &*answer.code()),
            (403, "forbidden"),
            "{place}"
        );
    }
    let root = format!("{other}/roles/{}", house.root);
    assert_eq!(
        api("PUT", &root, Some(json!({"role": "auditor"}))).status,
        404
    );
    api(
        "PUT",
        &format!("{other}/roles/{north}"),
        Some(json!({"role": "admin"})),
    )
    .must(200);
}

#[test]
fn a_person_of_two_places_belongs_to_neither_alone() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let (north, south) = (
        house.token(&house.north, "owner"),
        house.token(&house.south, "owner"),
    );
    let ada = house.member("ada@example.com", &house.north, "editor");
    let path = format!("/v1/members/{ada}");
    let role = format!("{path}/roles/{}", house.south);
    let body = || json!({"role": "editor"});
    let as_south = house.gateway.api_as(&south, "PUT", &role, body());
    assert_eq!(as_south.status, 404, "a stranger is not there");
    house.gateway.api("PUT", &role, body()).must(200);
    for (token, place) in [(&north, &house.north), (&south, &house.south)] {
        let seen = house.gateway.api_as(token, "GET", &path, None).must(200);
        assert_eq!(
            seen["roles"],
            json!([{"workspace": place, "role": "editor"}])
        );
        for (method, path, body) in [
            ("PATCH", path.clone(), Some(json!({"state": "disabled"}))),
            ("POST", format!("{path}/erase"), None),
            ("GET", format!("{path}/export"), None),
            (
                "POST",
                format!("{path}/password"),
                Some(json!({"new": "another horse battery"})),
            ),
            ("GET", format!("/v1/sessions?member={ada}"), None),
        ] {
            let answer = house.gateway.api_as(token, method, &path, body);
            assert_eq!(
                (answer.status, &*answer.code()),
                (403, "forbidden"),
                "{method} {path}"
            );
        }
    }
    house
        .gateway
        .api_as(&south, "DELETE", &role, None)
        .must(200);
    assert_eq!(house.gateway.api_as(&south, "GET", &path, None).status, 404);
    house
        .gateway
        .api_as(&north, "PATCH", &path, json!({"state": "disabled"}))
        .must(200);
}

#[test]
fn the_last_owner_stays() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let ada = house.member("ada@example.com", &house.root, "owner");
    let path = format!("/v1/members/{ada}");
    let role = format!("{path}/roles/{}", house.root);
    let tries = [
        ("PATCH", &path, Some(json!({"state": "disabled"}))),
        ("POST", &format!("{path}/erase"), None),
        ("DELETE", &role, None),
        ("PUT", &role, Some(json!({"role": "admin"}))),
    ];
    for (method, path, body) in tries {
        let answer = house.gateway.api(method, path, body);
        assert_eq!(
            (answer.status, &*answer.code()),
            (409, "last_owner"),
            "{method} {path}"
        );
    }
}

#[test]
fn members_sign_in_and_out() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let ada = house.member("Ada@example.com", &house.north, "editor");
    let body = json!({"email": "ADA@example.com", "password": PASSWORD});
    let api =
        |token: &str, method: &str, path: &str| house.gateway.api_as(token, method, path, None);
    let made = house
        .gateway
        .api_as("", "POST", "/v1/sessions", body)
        .must(201);
    let (first, second) = (text(&made["secret"]), house.session("ada@example.com"));
    assert_eq!(made["session"]["member"], json!(ada));
    let who = api(&first, "GET", "/v1/whoami").must(200);
    assert_eq!((&who["kind"], &who["id"]), (&json!("member"), &json!(ada)));
    assert_eq!(
        (&who["email"], &who["name"]),
        (&json!("ada@example.com"), &json!("Some Body"))
    );
    let binding = &who["bindings"][0];
    assert_eq!(
        (&binding["workspace"], &binding["role"]),
        (&json!(house.north), &json!("editor"))
    );
    assert_eq!(binding["workspace_name"], "north");
    assert!(
        binding["permissions"]
            .as_array()
            .unwrap()
            .contains(&json!("keys:write"))
    );
    let listed = api(&first, "GET", "/v1/sessions").must(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
    let current = |one: &&Value| one["current"] == json!(true);
    let mine: Vec<&Value> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(current)
        .collect();
    assert_eq!((mine.len(), &mine[0]["id"]), (1, &made["session"]["id"]));
    api(&first, "DELETE", "/v1/sessions/current?dry_run=true").must(200);
    api(&first, "DELETE", "/v1/sessions/current").must(200);
    assert_eq!(api(&first, "GET", "/v1/whoami").status, 401);
    let left = ids(&api(&second, "GET", "/v1/sessions").must(200));
    api(&second, "DELETE", &format!("/v1/sessions/{}", left[0])).must(200);
    assert_eq!(api(&second, "GET", "/v1/whoami").status, 401);
    let token = house.gateway.api("DELETE", "/v1/sessions/current", None);
    assert_eq!(token.status, 404, "a token has no session");
    assert!(ids(&house.gateway.api("GET", "/v1/sessions", None).must(200)).is_empty());
}

#[test]
fn who_is_disabled_is_out_at_once() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let ada = house.member("ada@example.com", &house.north, "editor");
    let session = house.session("ada@example.com");
    let path = format!("/v1/members/{ada}");
    let read = house.gateway.api("GET", &path, None);
    let tag = format!("if-match: {}", read.header("etag").unwrap());
    let body = || json!({"state": "disabled"});
    house
        .gateway
        .api_with(&[&tag], "PATCH", &path, body())
        .must(200);
    let stale = house.gateway.api_with(&[&tag], "PATCH", &path, body());
    assert_eq!(stale.code(), "precondition_failed");
    assert_eq!(
        house
            .gateway
            .api_as(&session, "GET", "/v1/whoami", None)
            .status,
        401
    );
    assert_eq!(
        house.sign_in("ada@example.com", PASSWORD).code(),
        "unauthorized"
    );
    house
        .gateway
        .api("PATCH", &path, json!({"state": "active"}))
        .must(200);
    assert_eq!(
        house
            .gateway
            .api_as(&session, "GET", "/v1/whoami", None)
            .status,
        401
    );
    house.sign_in("ada@example.com", PASSWORD).must(201);
}

#[test]
fn a_new_password_needs_the_one_before_and_ends_other_sessions() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let ada = house.member("ada@example.com", &house.north, "editor");
    let (own, other) = (house.open_session(&ada).1, house.open_session(&ada).1);
    let path = format!("/v1/members/{ada}/password");
    let set = |body: Value| house.gateway.api_as(&own, "POST", &path, body);
    let pointer = |answer: Value| text(&answer["errors"][0]["pointer"]);
    assert_eq!(
        pointer(set(json!({"new": "another horse battery"})).must(422)),
        "/current"
    );
    let wrong = json!({"current": "wrong horse battery", "new": "another horse battery"});
    assert_eq!(pointer(set(wrong).must(422)), "/current");
    for obvious in ["ADA@example.com", "short", &"long".repeat(65)] {
        let body = json!({"current": PASSWORD, "new": obvious});
        assert_eq!(pointer(set(body).must(422)), "/new", "{obvious}");
    }
    let body = || json!({"current": PASSWORD, "new": "another horse battery"});
    let headers = [
        &*format!("authorization: Bearer {own}"),
        "idempotency-key: once",
    ];
    let line = format!("POST {path}");
    let send = || crate::harness::tell(house.gateway.management, &line, &headers, Some(body()));
    let first = send().must(200);
    let again = send();
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.must(200), first);
    let alive = |session: &str| {
        house
            .gateway
            .api_as(session, "GET", "/v1/whoami", None)
            .status
    };
    assert_eq!((alive(&own), alive(&other)), (200, 401));
    assert_eq!(house.sign_in("ada@example.com", PASSWORD).status, 401);
    house
        .sign_in("ada@example.com", "another horse battery")
        .must(201);
    house
        .gateway
        .api("POST", &path, json!({"new": "a third horse battery"}))
        .must(200);
    assert_eq!(
        alive(&own),
        401,
        "set by somebody else, it ends all of them"
    );
}

#[test]
fn guessing_one_s_own_password_is_slow_too() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let ada = house.member("ada@example.com", &house.north, "editor");
    let own = house.open_session(&ada).1;
    let path = format!("/v1/members/{ada}/password");
    let guess = || {
        let body = json!({"current": "wrong horse battery", "new": "another horse battery"});
        house.gateway.api_as(&own, "POST", &path, body)
    };
    for _ in 0..5 {
        assert_eq!(guess().status, 422);
    }
    assert_eq!(guess().code(), "too_many_failures");
}

#[test]
fn a_person_is_taken_out_whole_and_forgotten() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let ada = house.member("ada@example.com", &house.north, "owner");
    let bob = house.member("bob@example.com", &house.north, "editor");
    let session = house.session("ada@example.com");
    let patch = json!({"name": "Robert"});
    house
        .gateway
        .api_as(&session, "PATCH", &format!("/v1/members/{bob}"), patch)
        .must(200);
    let export = format!("/v1/members/{ada}/export");
    let own = house.gateway.api_as(&session, "GET", &export, None);
    assert!(!own.text().contains("bob@"), "nothing of other people");
    let known = own.must(200);
    assert_eq!(known["member"]["email"], "ada@example.com");
    assert_eq!(known["member"]["roles"][0]["role"], "owner");
    assert_eq!(known["sessions"][0]["address"], "127.0.0.1");
    let events = known["audit"].as_array().unwrap();
    let actions: Vec<&str> = events
        .iter()
        .filter_map(|one| one["action"].as_str())
        .collect();
    for action in [
        "member.created",
        "session.created",
        "member.updated",
        "member.exported",
    ] {
        assert!(actions.contains(&action), "{action} is not in {actions:?}");
    }
    let person = format!("/v1/members/{ada}");
    let tried = house
        .gateway
        .api("POST", &format!("{person}/erase?dry_run=true"), None)
        .must(200);
    assert_eq!(tried["state"], "erased");
    house.gateway.api("GET", &export, None).must(200);
    house
        .gateway
        .api("POST", &format!("{person}/erase"), None)
        .must(200);
    let after = house.gateway.api("GET", &person, None).must(200);
    assert_eq!(
        (&after["state"], &after["email"], &after["name"]),
        (&json!("erased"), &Value::Null, &Value::Null)
    );
    assert_eq!(
        house
            .gateway
            .api_as(&session, "GET", "/v1/whoami", None)
            .status,
        401
    );
    assert_eq!(
        house
            .gateway
            .api("POST", &format!("{person}/erase"), None)
            .status,
        404
    );
    let left = house.gateway.api("GET", &export, None).text();
    for trace in ["ada@example.com", "Some Body", "127.0.0.1"] {
        assert!(!left.contains(trace), "{trace} is in {left}");
    }
}

#[test]
fn a_retry_gets_the_same_token() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let body = |name: &str| json!({"name": name, "role": "owner"});
    let send = |name: &str| {
        house
            .gateway
            .api_with(&["idempotency-key: once"], "POST", "/v1/tokens", body(name))
    };
    let first = send("something");
    assert!(
        first
            .header("location")
            .unwrap()
            .starts_with("/v1/tokens/tok_")
    );
    assert_eq!(send("something").must(201), first.must(201));
    assert_eq!(send("other").code(), "idempotency_mismatch");
    let page = house
        .gateway
        // Longer than what a hint shows of a secret, which is looked at too.
        .api("GET", "/v1/tokens?q=SOMETH&total=true", None)
        .must(200);
    assert_eq!((page["total"].as_u64(), ids(&page).len()), (Some(1), 1));
}

#[test]
fn all_faults_of_a_member_are_told_at_once() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let body =
        json!({"email": "nobody", "name": " ", "role": "king", "password": "short", "more": 1});
    let refused = house.gateway.api("POST", "/v1/members", body).must(422);
    let faults = refused["errors"].as_array().unwrap();
    let pointers: Vec<&str> = faults
        .iter()
        .filter_map(|fault| fault["pointer"].as_str())
        .collect();
    assert_eq!(pointers, ["/email", "/more", "/name", "/password", "/role"]);
    house.member("ada@example.com", &house.north, "editor");
    let again = json!({"email": "ADA@example.com", "name": "Ada", "role": "editor"});
    assert_eq!(
        house.gateway.api("POST", "/v1/members", again).code(),
        "email_taken"
    );
    let page = house
        .gateway
        .api("GET", "/v1/members?state=active&q=ada", None)
        .must(200);
    assert_eq!(ids(&page).len(), 1);
}
