//! A gateway at its most talkative is used rightly and wrongly with secrets that are known; none of them may be anywhere
//! but in the one answer that shows it.

mod search;
mod wrong;

use crate::harness::{
    Answer, GatewayBuilder, KEY, PATIENCE, Received, Served, Upstream, tell, wait_until,
};
use search::{search, search_files};
use serde_json::{Value, json};
use std::fmt::Write;
use wrong::{misuse, use_keys};

const OLD: &str = "old+key/with=odd&characters%of*another~gateway";
const PASSWORD: &str = "correct horse battery staple";
const NEW_PASSWORD: &str = "another horse with a battery";
const WRONG_PASSWORD: &str = "wrong horse without a battery";
const WRONG_TOKEN: &str = "kg_admin_Canary00000000000000000000000000000000000000000000";
const WRONG_KEY: &str = "kg_live_Canary00000000000000000000000000000000000000000000";
const OWN_SIGNING: &str = "whsec_Q2FuYXJ5Q2FuYXJ5Q2FuYXJ5Q2FuYXJ5Q2FuYXI=";
const ONCE: &str = "idempotency-canary-6f1d2c";
const MASTER: &str = "c4a1a7c4a1a7c4a1a7c4a1a7c4a1a7c4a1a7c4a1a7c4a1a7c4a1a7c4a1a7c4a1";

/// A gateway that is used, what it was told, and what it said.
struct Stage {
    served: Served,
    admin: String,
    /// Name and text of what must not be found.
    secrets: Vec<(&'static str, String)>,
    /// Everything that was answered, but for what may show a secret.
    said: String,
}

impl Stage {
    fn new(upstream: &Upstream) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("master.key"), MASTER).unwrap();
        let yaml = GatewayBuilder::new(upstream.address)
            .stored()
            .top(
                "log: { level: trace, access_path: true, access_file: access.log }\n\
                 data_dir: data\nvault: { master_key: 'file:master.key' }\nwebhooks: { allow_private: true }",
            )
            .yaml();
        let served = Served::start_in(folder, &yaml);
        let admin = served.setup_token();
        let mut stage = Self {
            served,
            admin: admin.clone(),
            secrets: Vec::new(),
            said: String::new(),
        };
        for (name, text) in [
            ("the setup token", admin.as_str()),
            ("the key of the file", KEY),
            ("the imported key", OLD),
            ("the password", PASSWORD),
            ("the new password", NEW_PASSWORD),
            ("the wrong password", WRONG_PASSWORD),
            ("the wrong token", WRONG_TOKEN),
            ("the wrong key", WRONG_KEY),
            ("the signing secret that was brought along", OWN_SIGNING),
            ("the value of Idempotency-Key", ONCE),
            ("the master key", MASTER),
        ] {
            stage.secrets.push((name, text.to_owned()));
        }
        stage
    }

    /// An answer, with nothing kept of it.
    fn send(&self, token: &str, headers: &[&str], line: &str, body: Option<Value>) -> Answer {
        let bearer = format!("authorization: Bearer {token}");
        let mut all = headers.to_vec();
        if !token.is_empty() {
            all.push(&bearer);
        }
        tell(self.served.management, line, &all, body)
    }

    /// An answer that shows a secret of this name, and its object.
    fn reveal(&mut self, name: &'static str, line: &str, body: Value) -> Value {
        let answer = self.send(&self.admin, &[], line, Some(body));
        let json = answer.json();
        let secret = json["secret"].as_str().unwrap_or_else(|| panic!("{json}"));
        self.secrets.push((name, secret.to_owned()));
        json
    }

    /// An answer that must not show any.
    fn hear(&mut self, token: &str, line: &str, body: Option<Value>) -> Answer {
        let answer = self.send(token, &[], line, body);
        self.keep(&answer);
        answer
    }

    fn keep(&mut self, answer: &Answer) {
        let _ = writeln!(self.said, "{:?} {}", answer.headers, answer.text());
    }

    fn secret(&self, name: &str) -> String {
        let found = self.secrets.iter().find(|(known, _)| *known == name);
        found.expect("it was made").1.clone()
    }
}

fn id(object: &Value) -> String {
    object["id"].as_str().unwrap().to_owned()
}

#[test]
fn no_secret_is_anywhere_but_in_the_answer_that_shows_it() {
    let upstream = Upstream::ok();
    let receiver = Upstream::ok();
    let mut stage = Stage::new(&upstream);
    let objects = make(&mut stage, &receiver);
    use_keys(&mut stage);
    misuse(&mut stage, &objects);
    wait_until("webhooks are told", PATIENCE, || {
        receiver.received().len() >= 5
    });
    look_at_everything(&mut stage, &objects);
    let folder = stage.served.file.parent().unwrap().to_owned();
    let mut found = search_files(&stage.secrets, &folder, "keygate.db-wal");
    assert_eq!(stage.served.stop(), Some(0));
    found.extend(search_files(&stage.secrets, &folder, "last-good.kg"));

    let printed = stage.served.out.all().replacen(&stage.admin, "", 1);
    let whole = |received: &Upstream| -> String {
        received.received().iter().map(Received::whole).collect()
    };
    let access = std::fs::read_to_string(folder.join("access.log")).unwrap();
    assert!(access.lines().count() > 5 && stage.served.err.all().len() > 1000);
    for (place, text) in [
        ("standard output", printed.as_str()),
        ("standard error", &stage.served.err.all()),
        ("the access log", &access),
        ("an answer", &stage.said),
        ("the upstream", &whole(&upstream)),
        ("a webhook", &whole(&receiver)),
    ] {
        found.extend(search(&stage.secrets, place, text.as_bytes(), true));
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Ids of what was made.
struct Objects {
    key: String,
    imported: String,
    member: String,
    token: String,
    webhook: String,
}

fn make(stage: &mut Stage, receiver: &Upstream) -> Objects {
    let url = format!("http://{}/hook", receiver.address);
    let events = json!(["key.*", "member.*", "token.*", "webhook.*", "consumer.*"]);
    let body = json!({"name": "own", "url": url, "events": events, "secret": OWN_SIGNING});
    stage
        .send(&stage.admin, &[], "POST /v1/webhooks", Some(body))
        .must(201);
    let body = json!({"name": "hook", "url": url, "events": events});
    let made = stage.reveal("a signing secret", "POST /v1/webhooks", body);
    let webhook = id(&made["webhook"]);
    let line = format!("POST /v1/webhooks/{webhook}/rotate-secret");
    stage.reveal("a rotated signing secret", &line, json!({"overlap": "1h"}));
    let body = json!({"name": "one", "scopes": ["app:read"]});
    let made = stage.reveal("a key", "POST /v1/keys", body);
    let key = id(&made["key"]);
    let line = format!("POST /v1/keys/{key}/rotate");
    stage.reveal("a rotated key", &line, json!({"grace": "1h"}));
    let body = json!({"keys": [{"name": "old", "secret": OLD, "scopes": ["app:read"]}]});
    let admin = stage.admin.clone();
    let done = stage
        .hear(&admin, "POST /v1/keys/import", Some(body))
        .must(200);
    let imported = id(&done["data"][0]);
    let body = json!({"name": "robot", "role": "admin"});
    let made = stage.reveal("a token", "POST /v1/tokens", body);
    let token = id(&made["token"]);
    let body =
        json!({"email": "ada@example.com", "name": "Ada", "role": "owner", "password": PASSWORD});
    let member = id(&stage.hear(&admin, "POST /v1/members", Some(body)).must(201));
    let body = json!({"email": "ada@example.com", "password": PASSWORD});
    stage.reveal("a session", "POST /v1/sessions", body);
    let line = format!("POST /v1/members/{member}/password");
    let session = stage.secret("a session");
    let body = json!({"current": PASSWORD, "new": NEW_PASSWORD});
    stage.hear(&session, &line, Some(body)).must(200);
    let once = format!("idempotency-key: {ONCE}");
    let again = || {
        let body = json!({"name": "twice", "scopes": ["app:read"]});
        let answer = stage.send(&stage.admin, &[&once], "POST /v1/keys", Some(body));
        answer.must(201)["secret"].as_str().unwrap().to_owned()
    };
    let (first, second) = (again(), again());
    assert_eq!(first, second);
    stage
        .secrets
        .push(("a key that was asked for twice", first));
    let other = stage.send(
        &admin,
        &[&once],
        "POST /v1/keys",
        Some(json!({"name": OLD})),
    );
    assert_eq!(other.code(), "idempotency_mismatch");
    stage.keep(&other);
    Objects {
        key,
        imported,
        member,
        token,
        webhook,
    }
}

/// Everything that can be asked for.
fn look_at_everything(stage: &mut Stage, objects: &Objects) {
    let admin = stage.admin.clone();
    let document = stage.hear("", "GET /openapi.json", None).must(200);
    let mut heard = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        if methods.get("get").is_none() {
            continue;
        }
        let of = |kind: &str, id: &str| {
            path.starts_with(&format!("/v1/{kind}/"))
                .then(|| id.to_owned())
        };
        let id = of("keys", &objects.key)
            .or_else(|| of("members", &objects.member))
            .or_else(|| of("tokens", &objects.token))
            .or_else(|| of("webhooks", &objects.webhook))
            .unwrap_or_default();
        let line = format!("GET {}", path.replace("{id}", &id));
        heard += usize::from(stage.hear(&admin, &line, None).status == 200);
    }
    assert!(heard > 20, "{heard}");
    for line in [
        "GET /metrics".to_owned(),
        "GET /status".to_owned(),
        "GET /readyz".to_owned(),
        "GET /v1/keys?limit=200".to_owned(),
        format!("GET /v1/keys/{}", objects.imported),
        "GET /v1/audit?limit=200".to_owned(),
        "GET /v1/audit/export?format=jsonl".to_owned(),
        "GET /v1/audit/export?format=csv".to_owned(),
        "POST /v1/audit/verify".to_owned(),
    ] {
        assert_eq!(stage.hear(&admin, &line, None).status, 200, "{line}");
    }
}
