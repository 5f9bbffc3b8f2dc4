//! E-mails to a mail server of the test's own.

use super::*;
use crate::domain::workspace::root;
use crate::store::Fact;
use crate::store::notices::NewNotice;
use crate::store::testing::{Home, system};
use std::sync::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// A mail server that takes everything but for `full@…`.
async fn server() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&taken);
    TaskTracker::new().spawn(async move {
        let connections = TaskTracker::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let kept = Arc::clone(&kept);
            connections.spawn(async move { talk(stream, &kept).await });
        }
    });
    (port, taken)
}

async fn talk(stream: tokio::net::TcpStream, taken: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 test\r\n").await?;
    let mut message = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer = match line.get(..4).unwrap_or_default() {
            "EHLO" => "250 test\r\n",
            "RCPT" if line.contains("full@") => "452 full\r\n",
            "QUIT" => return stream.write_all(b"221 bye\r\n").await,
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                message.clear();
                while !message.ends_with("\r\n.\r\n") {
                    stream.read_line(&mut message).await?;
                }
                taken.lock().unwrap().push(message.clone());
                "250 taken\r\n"
            }
            _ => "250 ok\r\n",
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

fn emailer(home: &Home, port: u16, members: Vec<Recipient>, to: &[&str]) -> Emailer {
    let settings = EmailSettings {
        host: "127.0.0.1".into(),
        port,
        security: Security::Plain,
        login: None,
        from: (Some("Gate".into()), "gate@example.com".into()),
        to: to.iter().map(|&one| one.to_owned()).collect(),
    };
    let recipients: Recipients = Arc::new(move |_| {
        let members = members.clone();
        Box::pin(async move { Ok(members) })
    });
    Emailer::new(
        home.store.clone(),
        Arc::clone(&home.clock) as Arc<dyn Clock>,
        settings,
        recipients,
    )
    .unwrap()
}

async fn notice(home: &Home, fact: &str, severity: Severity) {
    let mut write = home.store.begin(&system()).await.unwrap();
    let new = NewNotice {
        fact: fact.into(),
        kind: "key.expiring",
        severity,
        workspace: root(),
        target: "key_a".into(),
        title: format!("Key\r\nBcc: x@example.com {fact}"),
        data: serde_json::Value::Null,
        due_at: Some(home.now()),
    };
    write.notice(&new).await.unwrap();
    write.record(Fact::new("x", root(), "x")).await.unwrap();
    write.commit().await.unwrap();
}

#[tokio::test]
async fn warnings_reach_addresses_and_members_once() {
    let home = Home::new().await;
    let (port, taken) = server().await;
    let member = |key: &str, address: &str| Recipient {
        key: key.into(),
        address: address.into(),
    };
    let members = vec![
        member("mem_a", "a@example.com"),
        member("mem_b", "ops@example.com"),
    ];
    let emailer = emailer(&home, port, members, &["ops@example.com"]);
    notice(&home, "one", Severity::Warning).await;
    notice(&home, "quiet", Severity::Info).await;
    assert_eq!(emailer.send_once().await.unwrap(), 2);
    assert_eq!(emailer.send_once().await.unwrap(), 0);
    let taken = taken.lock().unwrap();
    assert_eq!(taken.len(), 2);
    assert!(
        taken
            .iter()
            .any(|one| one.contains("To: ops@example.com\r\n"))
    );
    assert!(
        taken
            .iter()
            .any(|one| one.contains("To: a@example.com\r\n"))
    );
    for one in taken.iter() {
        assert!(one.contains("From: Gate <gate@example.com>\r\n"), "{one}");
        assert!(!one.contains("\r\nBcc:"), "{one}");
        assert!(one.contains("Message-ID: <dlv_"), "{one}");
    }
}

#[tokio::test]
async fn a_refused_e_mail_is_tried_again_and_one_taken_back_is_not_sent() {
    let home = Home::new().await;
    let (port, taken) = server().await;
    let emailer = emailer(&home, port, Vec::new(), &["full@example.com"]);
    notice(&home, "one", Severity::Critical).await;
    assert_eq!(emailer.send_once().await.unwrap(), 1);
    home.clock.advance_millis(6_000);
    assert_eq!(emailer.send_once().await.unwrap(), 1);
    let mut write = home.store.begin(&system()).await.unwrap();
    write.withdraw_notices("key_a", "key.").await.unwrap();
    write.record(Fact::new("x", root(), "x")).await.unwrap();
    write.commit().await.unwrap();
    home.clock.advance_millis(400_000);
    assert_eq!(emailer.send_once().await.unwrap(), 1);
    home.clock.advance_millis(86_400_000);
    assert_eq!(emailer.send_once().await.unwrap(), 0);
    assert!(taken.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_was_noticed_before_e_mail_was_set_up_is_not_sent() {
    let home = Home::new().await;
    let (port, _taken) = server().await;
    notice(&home, "one", Severity::Critical).await;
    home.clock.advance_millis(2 * 86_400_000);
    let emailer = emailer(&home, port, Vec::new(), &["ops@example.com"]);
    assert_eq!(emailer.send_once().await.unwrap(), 0);
    assert!(home.store.unspread_notices(9).await.unwrap().is_empty());
}
