//! Deliveries against a receiver of the test's own.

use super::*;
use crate::domain::workspace::root;
use crate::store::Fact;
use crate::store::deliveries::DeliveryState;
use crate::store::testing::{Home, system};
use crate::store::webhooks::SealedSecret;
use crate::vault::{MasterKey, new_signing_secret};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// A receiver that answers with these statuses, one after the other, and keeps what it got.
struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<String>>>,
    _task: TaskTracker,
}

impl Receiver {
    async fn new(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let got = Arc::new(Mutex::new(Vec::new()));
        let task = TaskTracker::new();
        let kept = Arc::clone(&got);
        task.spawn(async move {
            for status in statuses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                // The body is JSON and its end is known: the last brace.
                while !(bytes.ends_with(b"}}") || bytes.ends_with(b"}")) {
                    let mut some = [0; 4096];
                    let length = stream.read(&mut some).await.unwrap();
                    bytes.extend_from_slice(&some[..length]);
                }
                kept.lock().unwrap().push(String::from_utf8(bytes).unwrap());
                let answer = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self {
            url,
            got,
            _task: task,
        }
    }

    fn got(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }
}

fn keyring() -> Arc<Keyring> {
    Arc::new(Keyring::new(MasterKey::generate().unwrap(), None))
}

fn deliverer(home: &Home, keyring: &Arc<Keyring>) -> Deliverer {
    Deliverer::new(
        home.store.clone(),
        Arc::clone(keyring),
        Arc::clone(&home.clock) as Arc<dyn Clock>,
        WebhookSettings {
            allow_private: true,
            timeout: Duration::from_secs(5),
        },
    )
    .unwrap()
}

/// A webhook with these secrets, the newest first.
async fn hook(home: &Home, keyring: &Keyring, url: &str, secrets: &[&str]) -> WebhookRecord {
    let before = home.webhook(root(), "hook", &["key.*"]).await;
    let mut after = before.clone();
    after.url = url.into();
    let place = WebhookRecord::place(before.id);
    after.secrets = secrets
        .iter()
        .map(|secret| SealedSecret {
            sealed: keyring.seal(secret.as_bytes(), &place).unwrap(),
            until: None,
        })
        .collect();
    let mut write = home.store.begin(&system()).await.unwrap();
    let saved = write.save_webhook(&before, after, "webhook.updated").await;
    write.commit().await.unwrap();
    saved.unwrap()
}

async fn happen(home: &Home) {
    let mut write = home.store.begin(&system()).await.unwrap();
    let mut fact = Fact::new("key.created", root(), "key_a");
    fact.event = Some(json!({"id": "key_a"}));
    write.record(fact).await.unwrap();
    write.commit().await.unwrap();
}

fn field<'a>(message: &'a str, name: &str) -> &'a str {
    let start = message.find(&format!("{name}: ")).unwrap() + name.len() + 2;
    message[start..].split("\r\n").next().unwrap()
}

#[tokio::test]
async fn a_message_is_signed_with_every_live_secret() {
    let (home, keyring) = (Home::new().await, keyring());
    let receiver = Receiver::new(&[204]).await;
    let (old, new) = (new_signing_secret().unwrap(), new_signing_secret().unwrap());
    let secrets = [new.expose().as_str(), old.expose().as_str()];
    let hook = hook(&home, &keyring, &receiver.url, &secrets).await;
    happen(&home).await;
    assert_eq!(deliverer(&home, &keyring).deliver_once().await.unwrap(), 1);

    let got = receiver.got();
    let message = &got[0];
    let (id, time) = (
        field(message, "webhook-id"),
        field(message, "webhook-timestamp"),
    );
    assert!(Id::parse(Kind::Event, id).is_some());
    assert_eq!(time.parse(), Ok(home.now().as_millis() / 1000));
    let body = message.split("\r\n\r\n").nth(1).unwrap();
    let told: Value = serde_json::from_str(body).unwrap();
    assert_eq!(told["type"], "key.created");
    assert_eq!(told["timestamp"], home.now().to_string());
    assert_eq!(told["data"]["id"], "key_a");
    let signatures: Vec<&str> = field(message, "webhook-signature").split(' ').collect();
    assert_eq!(signatures.len(), 2);
    for (secret, signature) in secrets.iter().zip(signatures) {
        let signer = Webhook::new(secret).unwrap();
        let want = signer.sign(id, time.parse().unwrap(), body.as_bytes());
        assert_eq!(signature, want.unwrap());
    }
    let page = home.store.list_deliveries(hook.id, None, None, 9).await;
    let done = &page.unwrap().deliveries[0];
    assert_eq!(
        (done.state, done.last_status),
        (DeliveryState::Delivered, Some(204))
    );
}

#[tokio::test]
async fn what_fails_is_tried_again_with_the_same_id_until_it_is_taken() {
    let (home, keyring) = (Home::new().await, keyring());
    let receiver = Receiver::new(&[500, 302, 200]).await;
    let secret = new_signing_secret().unwrap();
    let hook = hook(&home, &keyring, &receiver.url, &[secret.expose()]).await;
    happen(&home).await;
    let deliverer = deliverer(&home, &keyring);
    assert_eq!(deliverer.deliver_once().await.unwrap(), 1);
    assert_eq!(deliverer.deliver_once().await.unwrap(), 0);
    assert!(
        home.store
            .webhook(hook.id)
            .await
            .unwrap()
            .failing_since
            .is_some()
    );
    home.clock.advance_millis(6_000);
    assert_eq!(deliverer.deliver_once().await.unwrap(), 1);
    home.clock.advance_millis(330_000);
    assert_eq!(deliverer.deliver_once().await.unwrap(), 1);
    assert_eq!(home.store.count_pending(hook.id).await.unwrap(), 0);
    let got = receiver.got();
    let ids: Vec<_> = got.iter().map(|one| field(one, "webhook-id")).collect();
    assert!(
        ids.len() == 3 && ids.iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
    assert!(
        home.store
            .webhook(hook.id)
            .await
            .unwrap()
            .failing_since
            .is_none()
    );
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_told_no_more() {
    let (home, keyring) = (Home::new().await, keyring());
    let receiver = Receiver::new(&[410]).await;
    let secret = new_signing_secret().unwrap();
    let hook = hook(&home, &keyring, &receiver.url, &[secret.expose()]).await;
    happen(&home).await;
    happen(&home).await;
    let deliverer = deliverer(&home, &keyring);
    assert_eq!(deliverer.deliver_once().await.unwrap(), 1);
    let now = home.store.webhook(hook.id).await.unwrap();
    assert_eq!(
        (now.state, now.state_reason.as_deref()),
        (WebhookState::Disabled, Some("gone"))
    );
    assert_eq!(home.store.count_pending(hook.id).await.unwrap(), 0);
    let notices = home.store.unspread_notices(9).await.unwrap();
    assert_eq!(notices[0].kind, "webhook.disabled");
}

#[tokio::test]
async fn five_days_without_success_switch_a_webhook_off_and_lose_nothing_before() {
    let (home, keyring) = (Home::new().await, keyring());
    let secret = new_signing_secret().unwrap();
    // Nobody listens there.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let hook = hook(&home, &keyring, &url, &[secret.expose()]).await;
    let deliverer = deliverer(&home, &keyring);
    let mut hours = 0;
    while home.store.webhook(hook.id).await.unwrap().state == WebhookState::Active {
        if hours % 24 == 0 {
            happen(&home).await;
        }
        deliverer.deliver_once().await.unwrap();
        home.clock.advance_millis(3_600_000);
        hours += 1;
        assert!(hours < 200);
    }
    assert!((120..130).contains(&hours), "{hours}");
    let reason = home.store.webhook(hook.id).await.unwrap().state_reason;
    assert_eq!(reason.as_deref(), Some("failing"));
    let all = home.store.list_deliveries(hook.id, None, None, 50).await;
    let first = all.unwrap().deliveries.pop().unwrap();
    assert_eq!((first.state, first.attempts), (DeliveryState::Failed, 10));
}

#[tokio::test]
async fn the_loop_delivers_what_is_committed_and_stops() {
    let (home, keyring) = (Home::new().await, keyring());
    let receiver = Receiver::new(&[200, 200]).await;
    let secret = new_signing_secret().unwrap();
    hook(&home, &keyring, &receiver.url, &[secret.expose()]).await;
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn(deliverer(&home, &keyring).run(stop.clone()));
    happen(&home).await;
    happen(&home).await;
    let all = async {
        while receiver.got().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all)
        .await
        .unwrap();
    stop.cancel();
    tasks.close();
    tokio::time::timeout(Duration::from_secs(10), tasks.wait())
        .await
        .unwrap();
}
