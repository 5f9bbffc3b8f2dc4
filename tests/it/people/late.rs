//! Calls whose body takes its time, while the right to make them is taken away.

use super::{House, text};
use crate::harness::{Answer, Client, PATIENCE, Upstream, wait_until};
use keygate::domain::actor::Actor;
use serde_json::{Value, json};
use std::io::Read;

/// A call whose head was accepted and whose body is still on its way.
struct Slow {
    client: Client,
    body: String,
}

impl Slow {
    /// The gateway asks for the body only once the caller was let in.
    fn begin(house: &House, token: &str, path: &str, body: String) -> Self {
        let mut client = Client::connect(house.gateway.management);
        client.send(format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nexpect: 100-continue\r\n\r\n",
            body.len()
        ));
        let want = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut said = vec![0; want.len()];
        client.stream().read_exact(&mut said).unwrap();
        assert_eq!(said, want, "{}", String::from_utf8_lossy(&said));
        Self { client, body }
    }

    fn finish(mut self) -> Answer {
        self.client.send(self.body.as_bytes());
        self.client.read()
    }
}

fn new_token(name: &str, workspace: &str) -> String {
    json!({"name": name, "role": "auditor", "workspace": workspace}).to_string()
}

#[test]
fn rights_that_end_before_the_body_does_are_not_used() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let begin = |token: &str| Slow::begin(&house, token, "/v1/tokens", new_token("x", &house.root));
    let api = |method: &str, path: &str, body: Option<Value>| {
        house.gateway.api(method, path, body).must(200);
    };
    let made = |role: &str| {
        let body = json!({"name": "thief", "role": role});
        let made = house.gateway.api("POST", "/v1/tokens", body).must(201);
        (text(&made["token"]["id"]), text(&made["secret"]))
    };
    let (id, secret) = made("owner");
    let slow = begin(&secret);
    api("POST", &format!("/v1/tokens/{id}/revoke"), None);
    let refused = slow.finish();
    assert_eq!((refused.status, &*refused.code()), (401, "unauthorized"));

    let ada = house.member("ada@example.com", &house.root, "admin");
    let (session, secret) = house.open_session(&ada);
    let slow = begin(&secret);
    api("DELETE", &format!("/v1/sessions/{session}"), None);
    assert_eq!(slow.finish().code(), "unauthorized");

    let secret = house.open_session(&ada).1;
    let slow = begin(&secret);
    let role = format!("/v1/members/{ada}/roles/{}", house.root);
    api("PUT", &role, Some(json!({"role": "auditor"})));
    let refused = slow.finish();
    assert_eq!((refused.status, &*refused.code()), (403, "forbidden"));

    api("PUT", &role, Some(json!({"role": "admin"})));
    let slow = begin(&secret);
    api(
        "PATCH",
        &format!("/v1/members/{ada}"),
        Some(json!({"state": "disabled"})),
    );
    assert_eq!(slow.finish().code(), "unauthorized");

    let listed = house.gateway.api("GET", "/v1/tokens?limit=200", None);
    let listed = listed.must(200)["data"].clone();
    let made = listed
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["name"] == "x");
    assert_eq!(made.count(), 0, "{listed}");
}

#[test]
fn more_rights_than_before_are_no_hindrance() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let ada = house.member("ada@example.com", &house.north, "admin");
    let secret = house.open_session(&ada).1;
    let slow = Slow::begin(&house, &secret, "/v1/tokens", new_token("x", &house.north));
    let grant = |place: &str, role: &str| {
        let path = format!("/v1/members/{ada}/roles/{place}");
        house
            .gateway
            .api("PUT", &path, json!({"role": role}))
            .must(200);
    };
    grant(&house.root, "owner");
    let path = format!("/v1/members/{ada}/roles/{}", house.north);
    house.gateway.api("DELETE", &path, None).must(200);
    slow.finish().must(201);
}

#[test]
fn who_reads_does_not_wait_for_who_writes() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let body = json!({"name": "reader", "role": "auditor"});
    let made = house.gateway.api("POST", "/v1/tokens", body).must(201);
    let path = format!("/v1/tokens/{}", text(&made["token"]["id"]));
    let used = || house.gateway.api("GET", &path, None).must(200)["last_used_at"].clone();
    assert_eq!(used(), Value::Null);
    let write = house
        .runtime
        .block_on(house.store.begin(&Actor::system("test")));
    let secret = text(&made["secret"]);
    house
        .gateway
        .api_as(&secret, "GET", "/v1/whoami", None)
        .must(200);
    assert_eq!(used(), Value::Null, "it could not be noted yet");
    house.runtime.block_on(async move { drop(write) });
    // Who waits for the note gives up before the writer does: then there is none.
    wait_until("the use is noted", PATIENCE, || used() != Value::Null);
}
