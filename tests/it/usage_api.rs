//! `/v1/usage` and `/v1/keys/{id}/usage` after real traffic.

use crate::harness::{
    Desk, Gateway, GatewayBuilder, KEY, PATIENCE, Upstream, wait_until, workspace,
};
use keygate::clock::{Clock, TestClock};
use keygate::domain::id::Kind;
use keygate::domain::role::Role;
use keygate::domain::time::Timestamp;
use keygate::domain::workspace::root;
use serde_json::{Value, json};
use std::sync::Arc;

/// 2027-01-01, half past ten in the evening.
const START: i64 = 1_798_761_600_000 + 45 * 1_800_000;
const HOUR: i64 = 3_600_000;

/// A gateway with two routes, whose clock is the test's; a workspace `north` with a consumer that owns a key, and a key
/// in the workspace `south`.
struct House {
    gateway: Gateway,
    clock: Arc<TestClock>,
    root: String,
    north: String,
    south: String,
    globex: String,
    /// Id and secret.
    owned: (String, String),
    other: (String, String),
    declared: String,
    acme: String,
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

impl House {
    fn new(upstream: &Upstream) -> Self {
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(START)));
        let gateway = GatewayBuilder::new(upstream.address)
            .replace(
                "routes:\n",
                "routes:\n  - { name: second, match: { path: /second }, upstream: app, auth: { scopes: app:read } }\n",
            )
            .stored()
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .start();
        let north = workspace(&gateway, None, "north");
        let south = workspace(&gateway, None, "south");
        let globex = json!({"name": "Globex", "workspace": north});
        let globex = text(&gateway.api("POST", "/v1/consumers", globex).must(201)["id"]);
        let key = |workspace: &str, consumer: Option<&String>| {
            let body = json!({"name": "one", "scopes": ["app:read"], "workspace": workspace, "consumer": consumer});
            let made = gateway.api("POST", "/v1/keys", body).must(201);
            (text(&made["key"]["id"]), text(&made["secret"]))
        };
        let (owned, other) = (key(&north, Some(&globex)), key(&south, None));
        let consumers = gateway.api("GET", "/v1/consumers?q=acme", None).must(200);
        Self {
            root: root().text(Kind::Workspace).to_string(),
            declared: gateway.declared_key(),
            acme: text(&consumers["data"][0]["id"]),
            gateway,
            clock,
            north,
            south,
            globex,
            owned,
            other,
        }
    }

    /// What came over half past ten in the evening, half past eleven, and the next day.
    fn traffic(&self) {
        for (hour, requests) in [1, 2, 3].into_iter().enumerate() {
            if hour > 0 {
                self.clock.advance_millis(HOUR);
            }
            for (key, path) in [
                (&*self.owned.1, "/"),
                (&self.owned.1, "/second"),
                (&self.other.1, "/"),
                (KEY, "/"),
            ] {
                for _ in 0..requests {
                    assert_eq!(self.send("GET", path, key), 200);
                }
            }
            assert_eq!(self.send("POST", "/", &self.owned.1), 403);
        }
        wait_until("all of it is in the store", PATIENCE, || {
            let rows = self.rows("/v1/usage?limit=200");
            let sum = |field: &str| rows.iter().map(|row| row[field].as_u64().unwrap()).sum();
            let (requests, refused): (u64, u64) = (sum("requests"), sum("refused"));
            (requests, refused) == (24, 3)
        });
    }

    fn send(&self, method: &str, path: &str, key: &str) -> u16 {
        let header = format!("x-api-key: {key}");
        self.gateway
            .request(&format!("{method} {path}"), &[&header])
            .status
    }

    fn get(&self, path: &str) -> Value {
        self.gateway.api("GET", path, None).must(200)
    }

    fn rows(&self, path: &str) -> Vec<Value> {
        self.get(path)["data"].as_array().unwrap().clone()
    }

    /// Hour, route and permitted requests of each row.
    fn told(&self, path: &str) -> Vec<(String, String, u64)> {
        let rows = self.rows(path).into_iter();
        let row = |row: Value| {
            let count = row["requests"].as_u64().unwrap();
            (text(&row["hour"]), text(&row["route"]), count)
        };
        rows.map(row).collect()
    }

    /// Permitted requests in all.
    fn sum(&self, path: &str) -> u64 {
        self.told(path).iter().map(|row| row.2).sum()
    }
}

#[test]
fn what_a_key_did_is_told_by_hour_and_by_day() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    house.traffic();
    let own = format!("/v1/keys/{}/usage", house.owned.0);
    let row = |hour: &str, route: &str, requests: u64| {
        (
            format!("2027-01-{hour}:00:00.000Z"),
            route.to_owned(),
            requests,
        )
    };
    let all = [
        row("02T00", "second", 3),
        row("02T00", "app", 3),
        row("01T23", "second", 2),
        row("01T23", "app", 2),
        row("01T22", "second", 1),
        row("01T22", "app", 1),
    ];
    assert_eq!(house.told(&own), all);
    let first = &house.rows(&own)[1];
    assert_eq!(first["refusals"], json!({"scope": 1}));
    assert_eq!(first["refused"], 1);
    assert_eq!(
        first["status"],
        json!({"2xx": 3, "3xx": 0, "4xx": 0, "5xx": 0})
    );
    assert_eq!(
        (&first["bytes_in"], &first["bytes_out"]),
        (&json!(0), &json!(6))
    );
    assert_eq!(first.get("key"), None, "the address names it");

    let days = house.told(&format!("{own}?by=day&route=app"));
    assert_eq!(days, [row("02T00", "app", 3), row("01T00", "app", 3)]);
    // The hour that `from` is in counts, and that which begins at `to` does not.
    let span = format!("{own}?from=2027-01-01T23:59:00Z&to=2027-01-02T00:00:00Z");
    assert_eq!(house.told(&span), all[2..4]);
    let day = format!("{own}?by=day&from=2027-01-01T23:59:00Z&to=2027-01-02&route=app");
    assert_eq!(house.told(&day), [row("01T00", "app", 3)]);
    let one = house.get(&format!("{own}?limit=1&total=true"));
    assert_eq!(one["total"], 6);
}

#[test]
fn usage_of_all_is_filtered_and_comes_in_pages() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    house.traffic();
    let House {
        north,
        south,
        root,
        globex,
        acme,
        ..
    } = &house;
    for (filter, requests) in [
        (String::new(), 24),
        (format!("key={}", house.owned.0), 12),
        (format!("key={}", house.declared), 6),
        (format!("consumer={globex}"), 12),
        (format!("consumer={acme}"), 6),
        (format!("workspace={root}"), 24),
        (format!("workspace={north}"), 12),
        (format!("workspace={south}"), 6),
        (format!("workspace={south}&consumer={globex}"), 0),
        ("route=second".into(), 6),
        ("route=nowhere".into(), 0),
        ("by=day&from=2027-01-02".into(), 12),
        (format!("by=day&to=2027-01-02&key={}", house.other.0), 3),
    ] {
        assert_eq!(
            house.sum(&format!("/v1/usage?{filter}")),
            requests,
            "{filter}"
        );
    }

    for by in ["hour", "day"] {
        let whole = house.rows(&format!("/v1/usage?limit=200&by={by}"));
        let mut pages = Vec::new();
        let mut next = String::new();
        loop {
            let page = house.get(&format!("/v1/usage?limit=5&by={by}&total=true{next}"));
            assert_eq!(page["total"], whole.len());
            pages.extend(page["data"].as_array().unwrap().clone());
            let Some(cursor) = page["next"].as_str() else {
                break;
            };
            next = format!("&cursor={cursor}");
            let other = if by == "hour" { "day" } else { "hour" };
            let answer = house
                .gateway
                .api("GET", &format!("/v1/usage?by={other}{next}"), None);
            assert_eq!(answer.code(), "validation_failed", "it is of another list");
        }
        assert_eq!(pages, whole);
        assert!(pages.iter().all(|row| row["key"].is_string()));
    }

    let wrong =
        "/v1/usage?key=x&consumer=x&workspace=x&by=week&from=x&to=x&limit=0&cursor=x&more=1";
    let answer = house.gateway.api("GET", wrong, None).must(422);
    assert_eq!(answer["errors"].as_array().unwrap().len(), 9, "{answer}");
    let empty = "/v1/usage?from=2027-01-02&to=2027-01-01";
    let answer = house.gateway.api("GET", empty, None).must(422);
    assert_eq!(answer["errors"][0]["pointer"], "?to");
}

#[test]
fn usage_beyond_reach_is_not_there() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    house.traffic();
    let desk = Desk::of(&house.gateway);
    for role in Role::ALL {
        let token = desk.token(&house.north, role);
        let ask = |path: &str| house.gateway.api_as(&token, "GET", path, None);
        let own = ask("/v1/usage?limit=200").must(200);
        let rows = own["data"].as_array().unwrap();
        assert!(rows.len() == 6 && rows.iter().all(|row| row["key"] == house.owned.0.as_str()));
        ask(&format!("/v1/keys/{}/usage", house.owned.0)).must(200);
        for beyond in [
            format!("/v1/keys/{}/usage", house.other.0),
            format!("/v1/keys/{}/usage", house.declared),
            "/v1/keys/key_00000000000000000000000001/usage".into(),
            "/v1/keys/x/usage".into(),
            format!("/v1/usage?key={}", house.other.0),
            format!("/v1/usage?key={}", house.declared),
            format!("/v1/usage?consumer={}", house.acme),
            format!("/v1/usage?workspace={}", house.south),
            format!("/v1/usage?workspace={}", house.root),
        ] {
            let answer = ask(&beyond);
            assert_eq!(
                (answer.status, &*answer.code()),
                (404, "not_found"),
                "{role}: {beyond}"
            );
        }
    }
}
