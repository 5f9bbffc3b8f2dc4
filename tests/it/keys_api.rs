//! A key's whole life by the admin API, and what the data plane makes of it at once.
//!
//! Long because it is the one place where every act, its refusals and its conventions are seen on one gateway.

use crate::harness::{
    Answer, Client, Desk, Gateway, GatewayBuilder, KEY, PATIENCE, Upstream, token, wait_until,
    with_store, workspace,
};
use keygate::clock::TestClock;
use keygate::domain::id::{Id, Kind};
use keygate::domain::role::Role;
use keygate::domain::time::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A key as the reply to its making has it: its id, and its secret.
struct Made {
    id: String,
    secret: String,
    revision: u64,
}

impl Made {
    fn path(&self, act: &str) -> String {
        format!("/v1/keys/{}{act}", self.id)
    }
}

fn gateway(upstream: &Upstream) -> Gateway {
    GatewayBuilder::new(upstream.address).stored().start()
}

fn made(reply: &Value) -> Made {
    Made {
        id: reply["key"]["id"].as_str().unwrap().to_owned(),
        secret: reply["secret"].as_str().unwrap().to_owned(),
        revision: reply["revision"].as_u64().unwrap(),
    }
}

fn create(gateway: &Gateway, fields: &Value) -> Made {
    let mut body = json!({"name": "k", "scopes": ["app:read"]});
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    made(&gateway.api("POST", "/v1/keys", body).must(201))
}

/// Status, and code if it is a problem, of a request with this key.
fn ask(gateway: &Gateway, secret: &str) -> (u16, String) {
    told(&gateway.request("GET /", &[&format!("x-api-key: {secret}")]))
}

fn told(answer: &Answer) -> (u16, String) {
    let code = if answer.status < 400 {
        String::new()
    } else {
        answer.code()
    };
    (answer.status, code)
}

fn no(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn ok() -> (u16, String) {
    no(200, "")
}

/// What the API answers to an act on a key.
fn act(gateway: &Gateway, key: &Made, act: &str, body: Value) -> (u16, String) {
    told(&gateway.api("POST", &key.path(act), body))
}

fn shown(gateway: &Gateway, key: &Made) -> Value {
    gateway.api("GET", &key.path(""), None).must(200)
}

#[test]
fn a_new_key_opens_at_once_and_its_secret_is_shown_once() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let body = json!({"name": "Marketing", "scopes": ["app:read"], "tags": ["eu"]});
    let answer = gateway.api("POST", "/v1/keys", body);
    let reply = answer.must(201);
    let key = made(&reply);
    assert_eq!(answer.header("location"), Some(&*key.path("")));
    assert_eq!(
        answer.header("etag"),
        Some(&*format!("\"{}\"", key.revision))
    );
    assert_eq!(ask(&gateway, &key.secret), ok());
    assert_eq!(
        upstream.last().header("x-credential-identifier"),
        Some(&*key.id)
    );
    let (head, tail) = key.secret.split_at(12);
    let hint = format!("{head}…{}", &tail[tail.len() - 4..]);
    assert_eq!(reply["key"]["hint"], hint);
    for path in [key.path(""), "/v1/keys".into(), "/v1/keys/export".into()] {
        let text = gateway.api("GET", &path, None).text();
        assert!(text.contains(&hint) && !text.contains(tail), "{path}");
    }
    let used = shown(&gateway, &key);
    assert_eq!(used["last_used_ip"], "127.0.0.1");
    assert_eq!(
        (&used["state"], &used["status"]),
        (&json!("active"), &json!("active"))
    );
    // Neither in the audit log nor anywhere else in the store.
    for file in ["keygate.db", "keygate.db-wal"] {
        let bytes = std::fs::read(gateway.file.with_file_name(file)).unwrap_or_default();
        assert_eq!(
            memchr::memmem::find(&bytes, tail.as_bytes()),
            None,
            "{file}"
        );
    }
}

#[test]
fn a_key_is_switched_off_and_on_and_ended() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let key = create(&gateway, &json!({}));
    let why = json!({"reason": "compromised", "text": "seen in a log"});
    let off = gateway.api("POST", &key.path("/disable"), why).must(200);
    assert_eq!(
        (&off["status"], &off["state_reason"], &off["state_text"]),
        (
            &json!("disabled"),
            &json!("compromised"),
            &json!("seen in a log")
        )
    );
    assert_eq!(ask(&gateway, &key.secret), no(401, "api_key_disabled"));
    assert_eq!(act(&gateway, &key, "/enable", json!({})), ok());
    assert_eq!(ask(&gateway, &key.secret), ok());
    assert_eq!(
        act(&gateway, &key, "/revoke", json!({"reason": "superseded"})),
        ok()
    );
    assert_eq!(ask(&gateway, &key.secret), no(401, "api_key_revoked"));
    for step in ["/enable", "/disable", "/rotate", "/retire", "/keep"] {
        let refusal = act(&gateway, &key, step, json!({}));
        assert_eq!(refusal, no(409, "key_revoked"), "{step}");
    }
    assert_eq!(
        act(&gateway, &key, "/revoke", json!({})),
        ok(),
        "twice is no fault"
    );
    assert_eq!(shown(&gateway, &key)["state_reason"], "superseded");
    assert_eq!(ask(&gateway, &key.secret), no(401, "api_key_revoked"));
}

#[test]
fn why_a_key_is_off_outlasts_a_second_disable_and_a_deletion() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    for (step, state) in [("/disable", "disabled"), ("/revoke", "revoked")] {
        let key = create(&gateway, &json!({}));
        let why = json!({"reason": "compromised", "text": "seen in a log"});
        assert_eq!(act(&gateway, &key, step, why), ok());
        let fields = [
            "state",
            "state_reason",
            "state_text",
            "state_by",
            "state_at",
        ];
        let note = || {
            let shown = shown(&gateway, &key);
            fields.map(|field| shown[field].clone())
        };
        let first = note();
        assert_eq!(first[..2], [json!(state), json!("compromised")]);
        assert_eq!(act(&gateway, &key, step, json!({})), ok());
        assert_eq!(note(), first, "{step} again, and no word why");
        let gone = gateway
            .api("DELETE", &key.path(""), json!({"reason": "cleanup"}))
            .must(200);
        assert_eq!(gone["state_reason"], "cleanup");
        assert_eq!(act(&gateway, &key, "/restore", json!({})), ok());
        assert_eq!(note(), first, "{state}, deleted and restored");
        let path = format!("/v1/audit?target={}&action=key.restored", key.id);
        let told = gateway.api("GET", &path, None).must(200);
        assert_eq!(told["data"][0]["action"], "key.restored");
        assert!(told["data"][0]["reason"].is_null(), "an older reason");
    }
    let key = create(&gateway, &json!({}));
    for reason in ["compromised", "superseded"] {
        let why = json!({"reason": reason});
        assert_eq!(act(&gateway, &key, "/disable", why), ok());
        assert_eq!(shown(&gateway, &key)["state_reason"], reason);
    }
}

#[test]
fn a_deleted_key_comes_back_with_the_same_secret() {
    let upstream = Upstream::ok();
    let start = Timestamp::parse("2027-01-01").unwrap();
    let clock = Arc::new(TestClock::at(start));
    let gateway = GatewayBuilder::new(upstream.address)
        .stored()
        .clock(clock.clone())
        .start();
    let owner = token(&gateway, None, Role::Owner);
    let key = create(&gateway, &json!({}));
    assert_eq!(
        act(&gateway, &key, "/restore", json!({})),
        no(409, "not_restorable")
    );
    let tried = gateway
        .api("DELETE", &key.path("?dry_run=true"), None)
        .must(200);
    assert_eq!(tried["state"], "deleted");
    assert_eq!(ask(&gateway, &key.secret), ok(), "it was tried only");
    gateway.api("DELETE", &key.path(""), None).must(200);
    assert_eq!(ask(&gateway, &key.secret), no(401, "invalid_api_key"));
    for step in ["/enable", "/disable", "/rotate", "/revoke", "/keep"] {
        assert_eq!(
            act(&gateway, &key, step, json!({})),
            no(409, "key_deleted"),
            "{step}"
        );
    }
    let edit = gateway.api("PATCH", &key.path(""), json!({"name": "x"}));
    assert_eq!(told(&edit), no(409, "key_deleted"));
    assert_eq!(
        told(&gateway.api("DELETE", &key.path(""), None)),
        no(409, "key_deleted")
    );
    let list = gateway.api("GET", "/v1/keys", None).text();
    assert!(
        !list.contains(&key.id),
        "a tombstone is shown on request only"
    );
    let list = gateway.api("GET", "/v1/keys?status=deleted", None).text();
    assert!(list.contains(&key.id));
    assert_eq!(counted(&gateway, "deleted"), 1);
    assert_eq!(act(&gateway, &key, "/restore", json!({})), ok());
    assert_eq!(counted(&gateway, "deleted"), 0);
    assert_eq!(ask(&gateway, &key.secret), ok());

    gateway.api("DELETE", &key.path(""), None).must(200);
    clock.advance_millis(31 * 24 * 3_600_000);
    let late = gateway.api_as(&owner, "POST", &key.path("/restore"), None);
    assert_eq!(told(&late).1, "not_restorable");
}

#[test]
fn old_and_new_secret_pass_for_the_whole_grace() {
    let upstream = Upstream::ok();
    let start = Timestamp::parse("2027-01-01").unwrap();
    let clock = Arc::new(TestClock::at(start));
    let gateway = GatewayBuilder::new(upstream.address)
        .stored()
        .clock(clock.clone())
        .start();
    let key = create(&gateway, &json!({"expires_at": "2027-01-01T10:00:00Z"}));
    let turned = gateway
        .api("POST", &key.path("/rotate"), json!({"grace": "2h"}))
        .must(200);
    let new = made(&turned);
    assert_eq!(
        (&new.id, turned["key"]["status"].as_str()),
        (&key.id, Some("rotating"))
    );
    assert_ne!(new.secret, key.secret);
    let hour = 3_600_000;
    for (passed, old) in [
        (0, ok()),
        (2 * hour - 1, ok()),
        (2 * hour, no(401, "api_key_expired")),
    ] {
        clock.set(Timestamp::from_millis(start.as_millis() + passed));
        assert_eq!(ask(&gateway, &key.secret), old, "{passed}");
        assert_eq!(ask(&gateway, &new.secret), ok(), "{passed}");
    }
    let states = |key: &Made| -> Vec<String> {
        let secrets = shown(&gateway, key)["secrets"].clone();
        let secrets = secrets.as_array().unwrap().iter();
        secrets
            .map(|one| one["state"].as_str().unwrap().into())
            .collect()
    };
    assert_eq!(states(&key), ["current", "retired"]);

    // Never past the key's own end.
    let turned = gateway
        .api("POST", &key.path("/rotate"), json!({"grace": "24h"}))
        .must(200);
    assert_eq!(
        turned["key"]["secrets"][1]["retires_at"],
        "2027-01-01T10:00:00.000Z"
    );
    assert_eq!(states(&key), ["current", "retiring", "retired"]);
    assert_eq!(act(&gateway, &key, "/retire", json!({})), ok());
    assert_eq!(ask(&gateway, &new.secret), no(401, "api_key_expired"));
    let newest = made(&turned);
    assert_eq!(ask(&gateway, &newest.secret), ok());
    assert_eq!(
        act(&gateway, &key, "/retire", json!({})),
        no(409, "nothing_to_retire")
    );
    assert_eq!(
        act(&gateway, &key, "/rotate", json!({"grace": "31d"})),
        no(422, "validation_failed")
    );
    let without = made(
        &gateway
            .api("POST", &key.path("/rotate"), json!({"grace": "0s"}))
            .must(200),
    );
    assert_eq!(ask(&gateway, &newest.secret), no(401, "api_key_expired"));
    assert_eq!(ask(&gateway, &without.secret), ok());
    clock.set(Timestamp::parse("2027-01-01T10:00:00Z").unwrap());
    assert_eq!(ask(&gateway, &without.secret), no(401, "api_key_expired"));
    assert_eq!(
        act(&gateway, &key, "/rotate", json!({})),
        no(409, "key_expired")
    );
}

#[test]
fn a_hundred_rotations_at_once_lose_no_secret() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let key = create(&gateway, &json!({}));
    let replies: Mutex<Vec<Answer>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let reply = gateway.api("POST", &key.path("/rotate"), json!({"grace": "1h"}));
                replies.lock().unwrap().push(reply);
            });
        }
    });
    let replies = replies.into_inner().unwrap();
    let (good, bad): (Vec<_>, Vec<_>) = replies.iter().partition(|one| one.status == 200);
    assert_eq!((good.len(), bad.len()), (2, 98));
    for refusal in bad {
        assert_eq!(told(refusal), no(409, "too_many_secrets"));
    }
    assert_eq!(ask(&gateway, &key.secret), ok());
    for reply in good {
        assert_eq!(ask(&gateway, &made(&reply.json()).secret), ok());
    }
    assert_eq!(
        shown(&gateway, &key)["secrets"].as_array().unwrap().len(),
        3
    );
}

#[test]
fn a_change_is_refused_when_the_key_is_another_by_now() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let key = create(&gateway, &json!({}));
    let tag = format!("if-match: \"{}\"", key.revision);
    let patch = |tag: &str, name: &str| {
        gateway.api_with(&[tag], "PATCH", &key.path(""), json!({"name": name}))
    };
    let first = patch(&tag, "a");
    first.must(200);
    assert_eq!(told(&patch(&tag, "b")), no(412, "precondition_failed"));
    let newer = format!("if-match: {}", first.header("etag").unwrap());
    patch(&newer, "c").must(200);
    patch("if-match: *", "d").must(200);
    assert_eq!(shown(&gateway, &key)["name"], "d");
}

#[test]
fn a_call_that_is_sent_again_gets_the_same_reply() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let body = json!({"name": "once", "scopes": ["app:read"]});
    let again = |token: &str, body: &Value| {
        let bearer = format!("authorization: Bearer {token}");
        let headers = [&*bearer, "idempotency-key: 7f3a-once"];
        crate::harness::tell(
            gateway.management,
            "POST /v1/keys",
            &headers,
            Some(body.clone()),
        )
    };
    let first = again(&gateway.admin, &body);
    let second = again(&gateway.admin, &body);
    assert_eq!(first.must(201), second.must(201));
    assert_eq!(first.header("location"), second.header("location"));
    assert_eq!(second.header("idempotent-replayed"), Some("true"));
    let found = gateway.api("GET", "/v1/keys?q=once&total=true", None);
    assert_eq!(found.must(200)["total"], 1);
    let other = again(&gateway.admin, &json!({"name": "other"}));
    assert_eq!(told(&other), no(409, "idempotency_mismatch"));
    let foreign = again(&token(&gateway, None, Role::Owner), &body);
    assert_ne!(made(&foreign.must(201)).secret, made(&first.json()).secret);

    let key = made(&first.json());
    let turn = || {
        let headers = ["idempotency-key: turn"];
        let reply = gateway.api_with(&headers, "POST", &key.path("/rotate"), json!({}));
        made(&reply.must(200)).secret
    };
    let secret = turn();
    assert_eq!(secret, turn());
    assert_eq!(ask(&gateway, &secret), ok());
    assert_eq!(
        shown(&gateway, &key)["secrets"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn fields_are_patched_and_put_and_every_fault_is_told() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let key = create(
        &gateway,
        &json!({
            "description": "d", "tags": ["a"], "metadata": {"x": "1"}, "routes": ["app"], "methods": ["GET"],
            "ip_allow": ["127.0.0.0/8"], "locations": ["header"], "expires_at": "2999-01-01",
            "inactivity": {"mode": "off"}
        }),
    );
    let patch = json!({"description": null, "metadata": null, "routes": null, "expires_at": null, "inactivity": null});
    let view = gateway.api("PATCH", &key.path(""), patch).must(200);
    for field in ["description", "routes", "expires_at", "inactivity"] {
        assert_eq!(view[field], Value::Null, "{field}");
    }
    assert_eq!(
        (&view["metadata"], &view["tags"]),
        (&json!({}), &json!(["a"]))
    );
    assert_eq!(view["methods"], json!(["GET"]));

    let bad = json!({"name": "", "scopes": ["a b"], "colour": 1, "secret": "x", "ip_allow": ["10.0.0.1/8"],
        "inactivity": {"mode": "never"}, "routes": ["nowhere"]});
    let answer = gateway.api("PATCH", &key.path(""), bad);
    assert_eq!(told(&answer), no(422, "validation_failed"));
    let errors = answer.json()["errors"].clone();
    let pointers: Vec<&str> = errors
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["pointer"].as_str().unwrap())
        .collect();
    let want = [
        "/colour",
        "/inactivity/mode",
        "/ip_allow/0",
        "/name",
        "/routes/0",
        "/scopes/0",
        "/secret",
    ];
    assert_eq!(pointers, want);

    // PUT clears what is absent.
    let view = gateway
        .api(
            "PUT",
            &key.path(""),
            json!({"name": "put", "scopes": ["app:read"]}),
        )
        .must(200);
    assert_eq!(view["name"], "put");
    for field in ["methods", "locations"] {
        assert_eq!(view[field], Value::Null, "{field}");
    }
    assert_eq!((&view["tags"], &view["ip_allow"]), (&json!([]), &json!([])));
    assert_eq!(ask(&gateway, &key.secret), ok());
    let chosen = format!("/v1/keys/key_{:0>26}", "7c");
    let body = json!({"name": "chosen", "scopes": ["app:read"]});
    let answer = gateway.api("PUT", &chosen, body.clone());
    assert_eq!(answer.header("location"), Some(&*chosen));
    assert_eq!(ask(&gateway, &made(&answer.must(201)).secret), ok());
    let again = gateway.api("PUT", &chosen, body).must(200);
    assert_eq!(
        (&again["name"], again.get("secret")),
        (&json!("chosen"), None)
    );
    let moved = json!({"name": "chosen", "environment": "test"});
    let moved = gateway.api("PUT", &chosen, moved);
    assert_eq!(moved.json()["errors"][0]["code"], "immutable");
}

/// Whether days count that passed under a milder policy is known to nobody here: a key inherits from its workspace and from
/// the config.
#[test]
fn an_edit_of_the_policy_begins_the_time_anew() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let key = create(&gateway, &json!({}));
    let desk = Desk::of(&gateway);
    let delete = |days: &str| json!({"mode": "delete", "after": days});
    let id = Id::parse(Kind::Key, &key.id).unwrap();
    for (policy, anew) in [
        // Under a config or a workspace with `off`, or with a year, each of these is stricter than what held.
        (delete("90d"), true),
        (delete("90d"), false),
        (delete("180d"), true),
        (json!({"mode": "notify", "after": "60d"}), true),
        // To a workspace with 30 days.
        (Value::Null, true),
        (Value::Null, false),
        (delete("365d"), true),
        (json!({"mode": "off"}), false),
    ] {
        desk.sql("UPDATE keys SET policy_enabled_at = NULL");
        let body = json!({"inactivity": policy});
        gateway.api("PATCH", &key.path(""), body).must(200);
        let kept = with_store(&gateway, async |store| store.key(id).await.unwrap());
        let marked = kept.marks.policy_enabled_at.is_some();
        assert_eq!(marked, anew, "{policy}");
    }
}

/// What `/metrics` says of keys with this status.
fn counted(gateway: &Gateway, status: &str) -> u64 {
    let metric = gateway.metric("keygate_keys", &[("status", status)]);
    let shown = gateway.status()["keys"][status].as_f64().unwrap();
    assert!((metric - shown).abs() < 0.5, "{status}: {metric} {shown}");
    shown.round().to_string().parse().unwrap()
}

#[test]
fn keys_are_counted_once_whatever_secrets_they_have() {
    let upstream = Upstream::ok();
    let clock = Arc::new(TestClock::at(Timestamp::parse("2027-01-01").unwrap()));
    let gateway = GatewayBuilder::new(upstream.address)
        .stored()
        .clock(clock.clone())
        .start();
    // The one that is declared is there too.
    let counts = || ["active", "rotating", "expired"].map(|status| counted(&gateway, status));
    let key = create(&gateway, &json!({}));
    assert_eq!(counts(), [2, 0, 0]);
    for _ in 0..2 {
        let grace = json!({"grace": "1h"});
        gateway.api("POST", &key.path("/rotate"), grace).must(200);
    }
    assert_eq!(counts(), [1, 1, 0]);
    clock.advance_millis(3_600_000);
    assert_eq!(counts(), [2, 0, 0], "two secrets have retired");
}

#[test]
fn declared_keys_are_read_only() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let list = gateway.api("GET", "/v1/keys", None).must(200);
    let key = Made {
        id: list["data"][0]["id"].as_str().unwrap().into(),
        secret: KEY.into(),
        revision: 0,
    };
    assert_eq!(shown(&gateway, &key)["managed_by"], "file");
    for step in ["/disable", "/revoke", "/rotate", "/keep", "/restore"] {
        let refusal = act(&gateway, &key, step, json!({}));
        assert_eq!(refusal, no(409, "managed_by_file"), "{step}");
    }
    for method in ["PATCH", "PUT", "DELETE"] {
        let answer = gateway.api(method, &key.path(""), json!({"name": "x"}));
        assert_eq!(told(&answer), no(409, "managed_by_file"), "{method}");
    }
    assert_eq!(ask(&gateway, &key.secret), ok());
}

#[test]
fn what_a_role_may_do_with_keys() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let [north, south] = ["north", "south"].map(|name| workspace(&gateway, None, name));
    let key = create(&gateway, &json!({"workspace": north}));
    let editor = token(&gateway, Some(&north), Role::Editor);
    let auditor = token(&gateway, Some(&north), Role::Auditor);
    let foreign = token(&gateway, Some(&south), Role::Owner);
    let disable = |token: &str| told(&gateway.api_as(token, "POST", &key.path("/disable"), None));
    assert_eq!(disable(&auditor), no(403, "forbidden"));
    assert_eq!(disable(&foreign), no(404, "not_found"));
    assert_eq!(disable("kg_admin_nobody"), no(401, "unauthorized"));
    let put = gateway.api_as(&foreign, "PUT", &key.path(""), json!({"name": "mine"}));
    assert_eq!(told(&put), no(404, "not_found"));
    assert_eq!(shown(&gateway, &key)["state"], "active");
    assert_eq!(disable(&editor), ok());
    let seen = |token: &str| {
        let page = gateway.api_as(token, "GET", "/v1/keys?total=true", None);
        page.must(200)["total"].clone()
    };
    assert_eq!((seen(&editor), seen(&foreign)), (json!(1), json!(0)));
    for path in ["/v1/keys/import", "/v1/keys/bulk"] {
        let body = json!({"keys": [], "action": "revoke", "ids": [key.id]});
        let answer = gateway.api_as(&auditor, "POST", path, body);
        assert!(
            answer.status >= 400 || answer.json()["failed"] == 1,
            "{path}"
        );
    }
    let export = gateway.api_as(&editor, "GET", "/v1/keys/export", None);
    assert_eq!(told(&export), no(403, "forbidden"));
    let export = gateway.api_as(&auditor, "GET", "/v1/keys/export", None);
    assert_eq!(
        export.text().lines().count(),
        1,
        "the root's keys are not its own"
    );
}

/// Three hundred keys from elsewhere; their ids.
fn imported(gateway: &Gateway) -> BTreeSet<String> {
    let items: Vec<Value> = (0..300)
        .map(|number| {
            json!({"name": format!("key {:03}", number / 3), "secret": format!("an-old-secret-{number}"),
                "tags": [format!("t{}", number % 7)], "scopes": ["app:read"]})
        })
        .collect();
    let reply = gateway
        .api("POST", "/v1/keys/import", json!({"keys": items}))
        .must(200);
    let made: BTreeSet<String> = reply["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(made.len(), 300);
    made
}

#[test]
fn pages_lose_and_repeat_nothing_while_keys_are_added() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let wanted = imported(&gateway);
    let sorts = [
        "created_at",
        "updated_at",
        "last_used_at",
        "expires_at",
        "name",
    ];
    for sort in sorts
        .iter()
        .flat_map(|name| [(*name).to_owned(), format!("-{name}")])
    {
        let mut seen = HashSet::new();
        let mut next = String::new();
        loop {
            let path = format!("/v1/keys?limit=67&sort={sort}{next}");
            let page = gateway.api("GET", &path, None).must(200);
            for key in page["data"].as_array().unwrap() {
                let id = key["id"].as_str().unwrap().to_owned();
                assert!(seen.insert(id), "{sort}: a key came twice");
            }
            let Some(cursor) = page["next"].as_str() else {
                break;
            };
            next = format!("&cursor={cursor}");
            create(&gateway, &json!({"name": "key 050 and a half"}));
        }
        let missing: Vec<_> = wanted.iter().filter(|id| !seen.contains(*id)).collect();
        assert_eq!(missing.len(), 0, "{sort}");
    }
}

#[test]
fn filters_of_a_list_find_what_they_say() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let wanted = imported(&gateway);
    let total = |filter: &str| {
        let path = format!("/v1/keys?total=true&limit=1&{filter}");
        gateway.api("GET", &path, None).must(200)["total"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(
        [total("q=T3"), total("tag=t3")],
        [43; 2],
        "whatever its case"
    );
    assert_eq!(total("q=017%20key"), 3, "words in any order");
    // A hint is found too, and may begin so by chance.
    let started = total("q=01");
    assert!((30..40).contains(&started), "{started}");
    assert_eq!(total("q=17"), 0, "but not its middle");
    assert_eq!(total(&format!("q={}", wanted.first().unwrap())), 1);
    assert_eq!(total("scope=app:write"), 1, "the declared one");
    assert_eq!(total("never_expires=false"), 0);
    assert_eq!(total("environment=test"), 0);
    assert_eq!(total("status=disabled"), 0);
    let bad = gateway.api(
        "GET",
        "/v1/keys?limit=0&sort=colour&status=odd&page=2",
        None,
    );
    assert_eq!(bad.json()["errors"].as_array().unwrap().len(), 4);
    let stale = gateway
        .api("GET", "/v1/keys?sort=name&limit=1", None)
        .must(200);
    let stale = format!(
        "/v1/keys?sort=-name&cursor={}",
        stale["next"].as_str().unwrap()
    );
    assert_eq!(gateway.api("GET", &stale, None).status, 422);
}

#[test]
fn one_act_on_many_keys() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let keys: Vec<Made> = (0..5)
        .map(|number| {
            create(
                &gateway,
                &json!({"name": format!("many {number}"), "tags": ["batch"]}),
            )
        })
        .collect();
    let bulk = |body: Value| gateway.api("POST", "/v1/keys/bulk", body);
    assert_eq!(act(&gateway, &keys[0], "/revoke", json!({})), ok());
    let ids: Vec<&str> = keys.iter().map(|key| &*key.id).collect();
    let body = json!({"action": "disable", "ids": ids, "reason": "audit", "dry_run": true});
    let tried = bulk(body).must(200);
    assert_eq!(
        (&tried["changed"], &tried["failed"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(tried["data"][0]["code"], "key_revoked");
    assert_eq!(tried["data"][1]["status"], "disabled");
    assert_eq!(ask(&gateway, &keys[1].secret), ok(), "it was tried only");
    let done = bulk(json!({"action": "disable", "ids": ids, "reason": "audit"})).must(200);
    assert_eq!(done["changed"], 4);
    for key in &keys[1..] {
        assert_eq!(ask(&gateway, &key.secret), no(401, "api_key_disabled"));
        assert_eq!(shown(&gateway, key)["state_reason"], "audit");
    }
    let filter = json!({"tag": "batch", "status": "disabled"});
    let unsaid = bulk(json!({"action": "enable", "filter": filter}));
    assert_eq!(unsaid.json()["errors"][0]["pointer"], "/expected");
    let wrong = bulk(json!({"action": "enable", "filter": filter, "expected": 5}));
    assert_eq!(told(&wrong), no(409, "expected_mismatch"));
    let done = bulk(json!({"action": "enable", "filter": filter, "expected": 4})).must(200);
    assert_eq!((&done["changed"], &done["failed"]), (&json!(4), &json!(0)));
    assert_eq!(ask(&gateway, &keys[4].secret), ok());
    let missing = format!("key_{:0>26}", "1");
    let declared = gateway.declared_key();
    let done = bulk(json!({"action": "delete", "ids": [missing, declared, ids[4]]})).must(200);
    let codes: Vec<&Value> = (0..3).map(|place| &done["data"][place]["code"]).collect();
    assert_eq!(
        codes,
        [&json!("not_found"), &json!("managed_by_file"), &Value::Null]
    );
    assert_eq!(ask(&gateway, &keys[4].secret), no(401, "invalid_api_key"));
    let bad =
        bulk(json!({"action": "rotate", "ids": ids, "filter": {"colour": "red"}, "consumer": "x"}));
    assert_eq!(bad.status, 422);
    let bad = bulk(json!({"action": "keep", "filter": {"status": "odd"}, "expected": 1}));
    assert_eq!(bad.json()["errors"][0]["pointer"], "/filter/status");
}

#[test]
fn what_may_be_ended_is_told_the_worst_first() {
    let upstream = Upstream::ok();
    let clock = Arc::new(TestClock::at(Timestamp::parse("2027-01-01").unwrap()));
    let gateway = GatewayBuilder::new(upstream.address)
        .stored()
        .clock(clock.clone())
        .start();
    let item = |name: &str, fields: Value| {
        let mut item =
            json!({"name": name, "secret": format!("an-old-secret-{name}"), "scopes": ["a"]});
        item.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        item
    };
    let keys = json!({"keys": [
        item("fresh", json!({"expires_at": "2028-01-01"})),
        item("endless", json!({})),
        item("unused", json!({"created_at": "2025-01-01", "last_used_at": "2026-06-01", "expires_at": "2028-01-01"})),
        item("never", json!({"created_at": "2026-06-01", "expires_at": "2028-01-01"})),
        item("over", json!({"created_at": "2020-01-01", "expires_at": "2026-01-01"})),
    ]});
    gateway.api("POST", "/v1/keys/import", keys).must(200);
    let mut told = Vec::new();
    let mut next = String::new();
    loop {
        let path = format!("/v1/keys/review?limit=2{next}");
        let page = gateway.api("GET", &path, None).must(200);
        for one in page["data"].as_array().unwrap() {
            told.push((one["key"]["name"].clone(), one["reasons"].clone()));
        }
        let Some(cursor) = page["next"].as_str() else {
            break;
        };
        next = format!("&cursor={cursor}");
    }
    let want = [
        ("unused", json!(["unused_90d", "rotation_overdue_365d"])),
        ("never", json!(["never_used_90d"])),
        ("endless", json!(["never_expires"])),
        ("over", json!(["expired_long_ago"])),
    ];
    assert_eq!(told, want.map(|(name, reasons)| (json!(name), reasons)));
    let asked = |query: &str| {
        let path = format!("/v1/keys/review?{query}");
        let page = gateway.api("GET", &path, None).must(200);
        let names = page["data"].as_array().unwrap().iter();
        let names: Vec<Value> = names.map(|one| one["key"]["name"].clone()).collect();
        (names, page["total"].clone())
    };
    assert_eq!(
        asked("reason=never_expires"),
        (vec![json!("endless")], Value::Null)
    );
    assert_eq!(
        asked("except=never_expires&limit=1&total=true"),
        (vec![json!("unused")], json!(3))
    );
    assert_eq!(
        asked("except=never_expires").0,
        ["unused", "never", "over"].map(|name| json!(name))
    );
    let wrong = gateway.api("GET", "/v1/keys/review?except=age", None);
    assert_eq!(wrong.status, 422);
}

/// One thread sends requests with the newest key over one connection without a pause, the other ends key after key.
#[test]
fn no_request_passes_after_a_revocation_was_answered() {
    const KEYS: usize = 1000;
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let secret = |number: usize| format!("an-old-secret-{number:04}");
    let items: Vec<Value> = (0..KEYS)
        .map(|number| json!({"name": "k", "secret": secret(number), "scopes": ["app:read"]}))
        .collect();
    let reply = gateway
        .api("POST", "/v1/keys/import", json!({"keys": items}))
        .must(200);
    let [current, ended, passed, refused] = [0; 4].map(AtomicUsize::new);
    let (accepted_late, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::connect(gateway.address);
            while !stop.load(Ordering::SeqCst) {
                let key = current.load(Ordering::SeqCst);
                let was_ended = ended.load(Ordering::SeqCst) > key;
                client.send(format!(
                    "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: {}\r\n\r\n",
                    secret(key)
                ));
                let answer = client.read();
                if answer.status == 200 {
                    passed.store(key + 1, Ordering::SeqCst);
                    accepted_late.fetch_add(usize::from(was_ended), Ordering::SeqCst);
                } else {
                    assert_eq!(answer.code(), "api_key_revoked");
                    if was_ended {
                        refused.store(key + 1, Ordering::SeqCst);
                    }
                }
            }
        });
        for number in 0..KEYS {
            current.store(number, Ordering::SeqCst);
            wait_until("the key passes", PATIENCE, || {
                passed.load(Ordering::SeqCst) > number
            });
            let id = reply["data"][number]["id"].as_str().unwrap();
            gateway
                .api("POST", &format!("/v1/keys/{id}/revoke"), None)
                .must(200);
            ended.store(number + 1, Ordering::SeqCst);
            wait_until("the key is refused", PATIENCE, || {
                refused.load(Ordering::SeqCst) > number
            });
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(accepted_late.load(Ordering::SeqCst), 0);
}

/// As many keys as a filter may find are as many as the data plane reads at a time.
#[test]
fn ten_thousand_keys_are_ended_at_once() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    for portion in 0..10 {
        let item = |number: usize| json!({"name": "k", "secret": format!("an-old-secret-{portion}-{number}"), "scopes": ["app:read"]});
        let items: Vec<Value> = (0..1000).map(item).collect();
        let reply = gateway.api("POST", "/v1/keys/import", json!({"keys": items}));
        assert_eq!(reply.must(200)["imported"], 1000);
    }
    let before = with_store(&gateway, async |store| store.revision().await.unwrap());
    let body = json!({"action": "revoke", "filter": {"status": "active"}, "expected": 10_000});
    let done = gateway.api("POST", "/v1/keys/bulk", body).must(200);
    assert_eq!(
        (&done["changed"], &done["failed"]),
        (&json!(10_000), &json!(0))
    );
    let portions = with_store(&gateway, async |store| {
        let (changes, _) = store.changes_after(before, 20_000).await.unwrap();
        let revisions = changes.iter().map(|change| change.revision);
        revisions.collect::<BTreeSet<u64>>().len()
    });
    assert_eq!(portions, 20, "others could write in between");
    for portion in 0..10 {
        for number in [0, 500, 999] {
            let secret = format!("an-old-secret-{portion}-{number}");
            assert_eq!(ask(&gateway, &secret), no(401, "api_key_revoked"));
        }
    }
    create(&gateway, &json!({}));
    let one_more = json!({"action": "keep", "filter": {}, "expected": 10_001});
    let many = gateway.api("POST", "/v1/keys/bulk", one_more);
    assert_eq!(told(&many), no(409, "too_many_keys"));
}

/// More keys than change in one transaction.
#[test]
fn a_bulk_act_in_portions_is_answered_and_remembered_once() {
    let upstream = Upstream::ok();
    let gateway = gateway(&upstream);
    let item = |number: usize| json!({"name": "k", "secret": format!("an-old-secret-{number}"), "scopes": ["app:read"]});
    let items: Vec<Value> = (0..600).map(item).collect();
    let imported = gateway
        .api("POST", "/v1/keys/import", json!({"keys": items}))
        .must(200);
    let ids: Vec<&Value> = (0..600)
        .map(|place| &imported["data"][place]["id"])
        .collect();
    let bulk = |action: &str, dry_run: bool, extra: &[&str]| {
        let body = json!({"action": action, "ids": ids, "dry_run": dry_run});
        gateway.api_with(extra, "POST", "/v1/keys/bulk", body)
    };
    let revision = || with_store(&gateway, async |store| store.revision().await.unwrap());
    let before = revision();
    let tried = bulk("delete", true, &[]).must(200);
    assert_eq!((&tried["changed"], revision()), (&json!(600), before));
    // The last portion has nothing to do.
    for id in &ids[550..] {
        let path = format!("/v1/keys/{}", id.as_str().unwrap());
        assert_eq!(gateway.api("DELETE", &path, None).status, 200);
    }
    let before = revision();
    let again = ["idempotency-key: once"];
    let done = bulk("delete", false, &again).must(200);
    assert_eq!(
        (&done["changed"], &done["failed"]),
        (&json!(550), &json!(50))
    );
    assert_eq!(done["data"][599]["code"], "key_deleted");
    assert_eq!(
        (&done["revision"], revision()),
        (&json!(before + 2), before + 2)
    );
    assert_eq!(bulk("delete", false, &again).must(200), done);
    assert_eq!(revision(), before + 2, "it was remembered");
    let told = gateway
        .api("GET", "/v1/audit?action=keys.bulk_ended", None)
        .must(200);
    let changes = json!({"action": "delete", "changed": 550, "failed": 50});
    assert_eq!(told["data"][0]["changes"], changes);
    assert_eq!(told["data"][1], Value::Null);
    // Without the header it is done anew, as after a fault in between: what was done is told, and not done twice.
    let redone = bulk("delete", false, &[]).must(200);
    assert_eq!(
        (&redone["changed"], &redone["failed"]),
        (&json!(0), &json!(600))
    );
    bulk("restore", false, &[]).must(200);
    bulk("revoke", false, &[]).must(200);
    let ended = revision();
    let redone = bulk("revoke", false, &[]).must(200);
    assert_eq!((&redone["changed"], revision()), (&json!(600), ended));
}
