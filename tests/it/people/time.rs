//! How long tokens and sessions are good, and how often anybody may guess.

use super::{House, PASSWORD, text};
use crate::harness::{Answer, GatewayBuilder, PATIENCE, Place, Upstream, wait_until};
use keygate::clock::{Clock, TestClock};
use keygate::domain::time::Timestamp;
use serde_json::json;
use std::sync::Arc;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// 2027-01-01.
const START: Timestamp = Timestamp::from_millis(1_798_761_600_000);

fn house(upstream: &Upstream) -> (House, Arc<TestClock>) {
    let clock = Arc::new(TestClock::at(START));
    let house = House::with_clock(upstream, Arc::clone(&clock) as Arc<dyn Clock>);
    (house, clock)
}

fn status(house: &House, token: &str) -> u16 {
    house
        .gateway
        .api_as(token, "GET", "/v1/whoami", None)
        .status
}

#[test]
fn the_setup_token_is_good_for_a_day() {
    let upstream = Upstream::ok();
    let (house, clock) = house(&upstream);
    let who = house.gateway.api("GET", "/v1/whoami", None).must(200);
    assert_eq!(who["expires_at"], "2027-01-02T00:00:00.000Z");
    clock.advance_millis(24 * HOUR - 1);
    assert_eq!(status(&house, &house.gateway.admin), 200);
    clock.advance_millis(1);
    assert_eq!(status(&house, &house.gateway.admin), 401);
}

#[test]
fn who_lost_every_owner_is_given_a_setup_token_at_the_next_start() {
    let (upstream, place) = (Upstream::ok(), Place::sqlite());
    let start = || {
        let store = format!("store: {}", place.setting());
        GatewayBuilder::new(upstream.address).top(&store).start()
    };
    let first = start();
    let token = first.admin.clone();
    first.stop();
    let second = start();
    assert_eq!(
        second.admin, "",
        "somebody has the token of the first start"
    );
    let id = second.api_as(&token, "GET", "/v1/whoami", None).must(200)["id"].clone();
    let path = format!("/v1/tokens/{}/revoke", text(&id));
    second.api_as(&token, "POST", &path, None).must(200);
    second.stop();
    let third = start();
    third.api("GET", "/v1/whoami", None).must(200);
    assert_eq!(third.api_as(&token, "GET", "/v1/whoami", None).status, 401);
}

#[test]
fn a_token_ends_when_it_says_and_when_it_is_revoked() {
    let upstream = Upstream::ok();
    let (house, clock) = house(&upstream);
    let make = |end: Option<&str>| {
        let body = json!({"name": "some", "role": "owner", "expires_at": end});
        let made = house.gateway.api("POST", "/v1/tokens", body).must(201);
        (text(&made["token"]["id"]), text(&made["secret"]))
    };
    let (short, long) = (make(Some("2027-01-01T01:00:00Z")), make(None));
    clock.advance_millis(HOUR - 1);
    assert_eq!(
        (status(&house, &short.1), status(&house, &long.1)),
        (200, 200)
    );
    clock.advance_millis(1);
    assert_eq!(
        (status(&house, &short.1), status(&house, &long.1)),
        (401, 200)
    );
    let page = house
        .gateway
        .api("GET", "/v1/tokens?status=expired", None)
        .must(200);
    assert_eq!(super::ids(&page), [short.0]);
    let path = format!("/v1/tokens/{}", long.0);
    let tried = house
        .gateway
        .api("DELETE", &format!("{path}?dry_run=true"), None)
        .must(200);
    assert_eq!(
        (&tried["status"], status(&house, &long.1)),
        (&json!("revoked"), 200)
    );
    let ended = house.gateway.api("DELETE", &path, None).must(200);
    assert_eq!(
        (&ended["status"], status(&house, &long.1)),
        (&json!("revoked"), 401)
    );
    let again = house
        .gateway
        .api("POST", &format!("{path}/revoke"), None)
        .must(200);
    assert_eq!(
        again["revoked_at"], ended["revoked_at"],
        "the first end stays"
    );
    let past = json!({"name": "late", "role": "owner", "expires_at": "2027-01-01T01:00:00Z"});
    let refused = house.gateway.api("POST", "/v1/tokens", past).must(422);
    assert_eq!(refused["errors"][0]["pointer"], "/expires_at");
}

#[test]
fn a_session_ends_by_pause_and_by_age() {
    let upstream = Upstream::ok();
    let (house, clock) = house(&upstream);
    house.member("ada@example.com", &house.root, "owner");
    let (quiet, busy) = (
        house.session("ada@example.com"),
        house.session("ada@example.com"),
    );
    clock.advance_millis(30 * MINUTE - 1);
    assert_eq!((status(&house, &quiet), status(&house, &busy)), (200, 200));
    clock.advance_millis(29 * MINUTE);
    assert_eq!(status(&house, &busy), 200);
    clock.advance_millis(MINUTE);
    assert_eq!((status(&house, &quiet), status(&house, &busy)), (401, 200));
    let listed = house
        .gateway
        .api_as(&busy, "GET", "/v1/sessions", None)
        .must(200);
    assert_eq!(
        super::ids(&listed).len(),
        1,
        "the one that is over is not there"
    );
    while clock.now().as_millis() < START.as_millis() + 12 * HOUR - 20 * MINUTE {
        clock.advance_millis(20 * MINUTE);
        assert_eq!(status(&house, &busy), 200);
    }
    clock.set(Timestamp::from_millis(START.as_millis() + 12 * HOUR - 1));
    assert_eq!(status(&house, &busy), 200);
    clock.advance_millis(1);
    assert_eq!(status(&house, &busy), 401);
}

#[test]
fn a_network_that_guesses_tokens_waits_and_a_good_one_passes() {
    let upstream = Upstream::ok();
    let (house, clock) = house(&upstream);
    house.member("ada@example.com", &house.root, "owner");
    let session = house.session("ada@example.com");
    let wrong = "kg_admin_not-a-token";
    for _ in 0..60 {
        let answer = house.gateway.api_as(wrong, "GET", "/v1/keys", None);
        assert_eq!((answer.status, &*answer.code()), (401, "unauthorized"));
    }
    clock.advance_millis(MINUTE / 4);
    for _ in 0..10 {
        let answer = house.gateway.api_as(wrong, "GET", "/v1/keys", None);
        assert_eq!((answer.status, &*answer.code()), (429, "too_many_failures"));
        assert_eq!(answer.header("retry-after"), Some("45"));
    }
    // Whoever is behind the same address and has a good one does not wait with the guesser.
    house.gateway.api("GET", "/v1/keys", None).must(200);
    assert_eq!(status(&house, &session), 200);
    clock.advance_millis(3 * MINUTE / 4);
    let answer = house.gateway.api_as(wrong, "GET", "/v1/keys", None);
    assert_eq!(answer.status, 401);
}

#[test]
fn a_network_that_guesses_passwords_waits_and_fills_no_disk() {
    let upstream = Upstream::ok();
    let (house, clock) = house(&upstream);
    let ada = house.member("ada@example.com", &house.root, "owner");
    let wrong = house.sign_in("ada@example.com", "wrong horse battery");
    let unknown = house.sign_in("eve@example.com", "wrong horse battery");
    assert_eq!((wrong.status, &*wrong.code()), (401, "unauthorized"));
    let told = |answer: &Answer| {
        let mut problem = answer.json();
        problem.as_object_mut().unwrap().remove("request_id");
        problem
    };
    assert_eq!(told(&wrong), told(&unknown), "nobody is told which it was");
    for _ in 0..4 {
        assert_eq!(
            house
                .sign_in(" ADA@example.com", "wrong horse battery")
                .status,
            401
        );
    }
    let waits = house.sign_in("ada@example.com", PASSWORD);
    assert_eq!((waits.status, &*waits.code()), (429, "too_many_failures"));
    assert_eq!(waits.header("retry-after"), Some("900"));
    clock.advance_millis(MINUTE / 2);
    let waits = house.sign_in("ada@example.com", PASSWORD);
    assert_eq!(waits.header("retry-after"), Some("870"));
    let events = house.audit("session.refused");
    assert_eq!(events.len(), 2, "one a minute for a person and a network");
    let first = &events[0];
    assert_eq!(
        (&*first.class, &*first.outcome),
        ("authentication", "denied")
    );
    assert_eq!(
        (&first.target, first.reason.as_deref()),
        (&ada, Some("wrong_password"))
    );
    assert_eq!(events[1].reason.as_deref(), Some("unknown"));
    clock.advance_millis(MINUTE);
    // Nobody else needs to be refused for the others to be told of.
    wait_until("the minute is told of", PATIENCE, || {
        house.audit("session.refused").len() > 2
    });
    let events = house.audit("session.refused");
    assert_eq!(events.len(), 3, "of the unknown one there is no more");
    let sum = &events[2];
    assert_eq!((&sum.target, &sum.changes["tries"]), (&ada, &json!(4)));
    assert_eq!(sum.reason.as_deref(), Some("wrong_password"));
    clock.advance_millis(14 * MINUTE);
    house.sign_in("ada@example.com", PASSWORD).must(201);
    assert_eq!(house.audit("session.created").len(), 1);
}
