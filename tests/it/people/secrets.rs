//! What nobody gets to see, who is answered at all, and that the two kinds of keys open different doors.

use super::{House, PASSWORD, text};
use crate::harness::{GatewayBuilder, KEY, PATIENCE, Served, Upstream, tell, wait_until};
use serde_json::json;
use sqlx::{Connection, Executor, SqliteConnection};
use std::path::Path;
use tokio::runtime::Runtime;

#[test]
fn a_page_of_another_site_cannot_ask() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address).stored().start();
    for origin in [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
    ] {
        let header = format!("origin: {origin}");
        let answer = gateway.api_with(&[&header], "GET", "/v1/keys", None);
        assert_eq!(
            (answer.status, &*answer.code()),
            (421, "misdirected"),
            "{origin}"
        );
        let body = json!({"email": "ada@example.com", "password": PASSWORD});
        let answer = tell(
            gateway.management,
            "POST /v1/sessions",
            &[&header],
            Some(body),
        );
        assert_eq!(
            (answer.status, &*answer.code()),
            (421, "misdirected"),
            "{origin}"
        );
    }
    let same = gateway.api_with(&["origin: http://localhost"], "GET", "/v1/keys", None);
    assert_eq!(same.status, 200);
}

#[test]
fn where_names_are_set_no_other_is_answered() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .stored()
        .management("allowed_hosts: [keys.example.com]")
        .start();
    for (host, status) in [
        ("keys.example.com", 200),
        ("keys.example.com:8081", 200),
        ("127.0.0.1", 200),
        ("evil.example", 421),
    ] {
        let header = format!("host: {host}");
        let answer = gateway.api_with(&[&header], "GET", "/v1/keys", None);
        assert_eq!(answer.status, status, "{host}");
    }
}

/// A page whose author made its name lead here (DNS rebinding) is of the same origin as the port, as browsers see it.
#[test]
fn under_a_foreign_name_only_a_good_token_is_answered() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    house.member("ada@example.com", &house.root, "owner");
    let session = house.session("ada@example.com");
    let body = || json!({"email": "ada@example.com", "password": PASSWORD});
    let ask = |host: &str, line: &str, token: &str, body| {
        let host = [format!("host: {host}"), format!("origin: http://{host}")];
        let bearer = format!("authorization: Bearer {token}");
        let mut headers = vec![&*host[0], &*host[1]];
        headers.extend((!token.is_empty()).then_some(&*bearer));
        tell(house.gateway.management, line, &headers, body)
    };
    for (host, status) in [
        ("evil.com:28181", 421),
        ("localhost.evil.com", 421),
        ("127.0.0.1.evil.com", 421),
        ("localhost:28181", 201),
        ("127.0.0.1:28181", 201),
        ("[::1]:28181", 201),
    ] {
        let answer = ask(host, "POST /v1/sessions", "", Some(body()));
        assert_eq!(answer.status, status, "{host}");
    }
    for line in ["GET /v1/keys", "GET /status", "GET /metrics"] {
        for (token, status) in [
            ("", 421),
            ("kg_admin_wrong", 421),
            (&*session, 200),
            (&*house.gateway.admin, 200),
        ] {
            let answer = ask("evil.com:28181", line, token, None);
            assert_eq!(answer.status, status, "{line} {token}");
        }
    }
    assert_eq!(ask("evil.com", "GET /livez", "", None).status, 200);
}

#[test]
fn a_name_that_is_set_may_sign_in() {
    let upstream = Upstream::ok();
    let gateway = GatewayBuilder::new(upstream.address)
        .stored()
        .management("allowed_hosts: [keys.example.com]")
        .start();
    let body = || json!({"email": "ada@example.com", "password": PASSWORD});
    for (host, status) in [
        ("host: keys.example.com:8081", 401),
        ("host: evil.example", 421),
    ] {
        let line = "POST /v1/sessions";
        let answer = tell(gateway.management, line, &[host], Some(body()));
        assert_eq!(answer.status, status, "{host}");
    }
}

#[test]
fn keys_of_one_port_open_nothing_on_the_other() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    house.member("ada@example.com", &house.root, "owner");
    let session = house.session("ada@example.com");
    for secret in [&house.gateway.admin, &session] {
        let answer = house
            .gateway
            .request("GET /", &[&format!("x-api-key: {secret}")]);
        assert_eq!((answer.status, &*answer.code()), (401, "invalid_api_key"));
        assert_eq!(
            house
                .gateway
                .api_as(secret, "GET", "/v1/whoami", None)
                .status,
            200
        );
    }
    assert_eq!(house.gateway.get("/").status, 200);
    let body = json!({"name": "managed", "scopes": ["app:read"]});
    let made = house.gateway.api("POST", "/v1/keys", body).must(201);
    for key in [KEY, made["secret"].as_str().unwrap()] {
        let answer = house.gateway.api_as(key, "GET", "/v1/whoami", None);
        assert_eq!((answer.status, &*answer.code()), (401, "unauthorized"));
    }
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn no_secret_is_kept_or_shown_twice() {
    let upstream = Upstream::ok();
    let house = House::new(&upstream);
    let ada = house.member("ada@example.com", &house.root, "owner");
    let token = house.token(&house.root, "owner");
    let session = house.session("ada@example.com");
    let body = json!({"current": PASSWORD, "new": "another horse battery"});
    let path = format!("/v1/members/{ada}/password");
    house
        .gateway
        .api_as(&session, "POST", &path, body)
        .must(200);
    let mut seen = String::new();
    for path in [
        "/v1/tokens",
        "/v1/members",
        "/v1/sessions",
        "/v1/keys",
        "/v1/whoami",
        "/status",
    ] {
        seen.push_str(&house.gateway.api_as(&session, "GET", path, None).text());
    }
    seen.push_str(
        &house
            .gateway
            .api_as(&session, "GET", &format!("/v1/members/{ada}/export"), None)
            .text(),
    );
    let folder = house.gateway.file.parent().unwrap();
    for name in ["keygate.db", "keygate.db-wal"] {
        seen.push_str(&String::from_utf8_lossy(
            &std::fs::read(folder.join(name)).unwrap(),
        ));
    }
    assert!(
        seen.contains("$argon2id$v=19$m=19456,t=2,p=1$"),
        "the store was read"
    );
    for secret in [
        &house.gateway.admin,
        &token,
        &session,
        PASSWORD,
        "another horse battery",
    ] {
        assert!(!seen.contains(secret), "{secret} is in it");
    }
}

#[test]
fn no_secret_is_logged() {
    let upstream = Upstream::ok();
    let yaml = GatewayBuilder::new(upstream.address)
        .stored()
        .top("log: { level: trace }")
        .yaml();
    let served = Served::start(&yaml);
    let admin = served.setup_token();
    let bearer = format!("authorization: Bearer {admin}");
    let api =
        |line: &str, headers: &[&str], body| tell(served.management, line, headers, Some(body));
    let body = json!({"name": "some", "role": "owner"});
    let token = text(&api("POST /v1/tokens", &[&bearer], body).must(201)["secret"]);
    let body =
        json!({"email": "ada@example.com", "name": "Ada", "role": "owner", "password": PASSWORD});
    api("POST /v1/members", &[&bearer], body).must(201);
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    let session = text(&api("POST /v1/sessions", &[], body).must(201)["secret"]);
    let body = json!({"email": "ada@example.com", "password": "wrong horse battery"});
    assert_eq!(api("POST /v1/sessions", &[], body).status, 401);
    let header = format!("x-api-key: {token}");
    tell(served.address, "GET /", &[&header], None);
    let said = format!(
        "{}{}",
        served.out.all().replacen(&admin, "", 1),
        served.err.all()
    );
    for secret in [
        &admin,
        &token,
        &session,
        PASSWORD,
        "wrong horse",
        "ada@example.com",
    ] {
        assert!(!said.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn an_erased_person_is_in_no_file_of_the_store() {
    let upstream = Upstream::ok();
    let mut served = Served::start(&GatewayBuilder::new(upstream.address).stored().yaml());
    let bearer = format!("authorization: Bearer {}", served.setup_token());
    let body =
        json!({"email": "ada@example.com", "name": "Ada", "role": "editor", "password": PASSWORD});
    let made = tell(
        served.management,
        "POST /v1/members",
        &[&bearer],
        Some(body.clone()),
    )
    .must(201);
    let folder = served.file.parent().unwrap().to_owned();
    let traces = || -> usize {
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap_or_default();
        let bytes = [read("keygate.db"), read("keygate.db-wal")].concat();
        let text = String::from_utf8_lossy(&bytes);
        text.matches("ada@example.com").count() + text.matches("$argon2id$").count()
    };
    assert!(traces() > 1);
    let reader = Reader::begin(&folder.join("keygate.db"));
    let erase = format!("POST /v1/members/{}/erase", text(&made["id"]));
    tell(served.management, &erase, &[&bearer], None).must(200);
    assert!(traces() > 0, "somebody reads what was before");
    reader.end();
    wait_until("the files have forgotten", PATIENCE, || traces() == 0);
    let again = tell(
        served.management,
        "POST /v1/members",
        &[&bearer],
        Some(body),
    )
    .must(201);
    assert!(traces() > 1);
    let erase = format!("POST /v1/members/{}/erase", text(&again["id"]));
    tell(served.management, &erase, &[&bearer], None).must(200);
    assert_eq!(traces(), 0, "at once, when nobody reads");
    assert_eq!(served.stop(), Some(0));
    assert_eq!(traces(), 0);
    let log = folder.join("keygate.db-wal");
    assert!(!log.exists(), "a stop folds it in");
}

/// Somebody else who reads a database.
struct Reader(Runtime, SqliteConnection);

impl Reader {
    fn begin(file: &Path) -> Self {
        let runtime = Runtime::new().unwrap();
        let url = format!("sqlite:{}?mode=ro", file.display());
        let connection = runtime.block_on(async {
            let mut connection = SqliteConnection::connect(&url).await.unwrap();
            connection
                .execute("BEGIN; SELECT * FROM members")
                .await
                .unwrap();
            connection
        });
        Self(runtime, connection)
    }

    fn end(mut self) {
        self.0.block_on(self.1.execute("COMMIT")).unwrap();
    }
}
