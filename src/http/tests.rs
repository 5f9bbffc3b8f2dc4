//! The client against a socket of the test's own.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn client(allow_private: bool) -> Client {
    Client::new(HttpSettings {
        allow_private,
        timeout: Duration::from_secs(5),
        max_body: 8,
    })
    .unwrap()
}

/// Answers one connection with these bytes; what was sent to it.
async fn answering(answer: &'static str) -> (u16, impl Future<Output = Option<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = async move {
        let (mut stream, _) = listener.accept().await.ok()?;
        let mut seen = vec![0; 4096];
        let length = stream.read(&mut seen).await.ok()?;
        stream.write_all(answer.as_bytes()).await.ok()?;
        seen.truncate(length);
        String::from_utf8(seen).ok()
    };
    (port, served)
}

async fn call(client: &Client, url: &str) -> Result<Answer, HttpError> {
    client
        .send(
            Method::POST,
            url,
            HeaderMap::new(),
            Bytes::from_static(b"{}"),
        )
        .await
}

#[tokio::test]
async fn an_answer_is_read_up_to_the_cap_and_a_redirect_is_an_answer() {
    let (port, served) = answering(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 10\r\n\r\n0123456789",
    )
    .await;
    let client = client(true);
    let url = format!("http://127.0.0.1:{port}/hook?token=x");
    let (answer, seen) = tokio::join!(call(&client, &url), served);
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status, &answer.body[..], answer.whole),
        (302, &b"01234567"[..], false)
    );
    let seen = seen.unwrap().to_lowercase();
    assert!(
        seen.contains(&format!("user-agent: {USER_AGENT}\r\n")),
        "{seen}"
    );
}

#[tokio::test]
async fn private_addresses_are_not_dialled_by_number_or_by_name() {
    let client = client(false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in [
        "127.0.0.1",
        "0x7f.1",
        "2130706433",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
    ] {
        let refused = call(&client, &format!("http://{host}:{port}/")).await;
        assert_eq!(refused, Err(HttpError::Private), "{host}");
        let text = HttpError::Private.to_string();
        assert!(!text.contains("127") && !text.contains("::"), "{text}");
    }
    let dialled = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(dialled.is_err());
}

#[tokio::test]
async fn faults_show_no_url() {
    let client = client(true);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let fault = call(&client, &format!("http://127.0.0.1:{port}/?token=hunter2")).await;
    let text = fault.unwrap_err().to_string();
    assert!(
        text.starts_with("cannot connect: ") && !text.contains("hunter2"),
        "{text}"
    );
    let fault = call(&client, "http://name.invalid/?token=hunter2")
        .await
        .unwrap_err();
    let text = fault.to_string();
    assert!(
        matches!(fault, HttpError::Name(_)) && !text.contains("hunter2"),
        "{text}"
    );
    let (port, served) = answering("nonsense\r\n\r\n").await;
    let url = format!("http://127.0.0.1:{port}/?token=hunter2");
    let (fault, _) = tokio::join!(call(&client, &url), served);
    let text = fault.unwrap_err().to_string();
    assert!(
        text.starts_with("no proper answer: ") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn urls() {
    for good in [
        "https://example.com/a?b=c",
        "http://example.com:8080",
        "https://8.8.8.8/",
    ] {
        assert_eq!(check_url(good, false), Ok(()), "{good}");
    }
    for bad in [
        "",
        "example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "https://user@example.com",
        "https://:secret@example.com",
        "https://",
        "http://10.0.0.1/",
        "http://0/",
        "http://[fe80::1]/",
    ] {
        assert!(check_url(bad, false).is_err(), "{bad}");
    }
    assert_eq!(check_url("http://10.0.0.1/", true), Ok(()));
}
