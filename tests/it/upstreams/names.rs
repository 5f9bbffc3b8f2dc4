//! Names of endpoints, asked of a DNS server of the test's own.

use super::listed;
use crate::harness::{PATIENCE, Upstream, wait_until};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// Answers every question for an IPv4 address with these, to be used for a second; ends with the process.
struct DnsServer {
    address: SocketAddr,
    answers: Arc<Mutex<Vec<Ipv4Addr>>>,
}

impl DnsServer {
    fn start(answers: &[Ipv4Addr]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let answers = Arc::new(Mutex::new(answers.to_vec()));
        let shown = Arc::clone(&answers);
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question) {
                let reply = reply(&question[..length], &shown.lock().unwrap());
                let _ = socket.send_to(&reply, from);
            }
        });
        Self { address, answers }
    }

    fn now(&self, answers: &[Ipv4Addr]) {
        *self.answers.lock().unwrap() = answers.to_vec();
    }
}

/// RFC 1035 §4.1: the question as it came, and an answer for each address.
fn reply(question: &[u8], answers: &[Ipv4Addr]) -> Vec<u8> {
    let name = question[12..].iter().position(|byte| *byte == 0).unwrap() + 13;
    let end = name + 4;
    let asks_for_v4 = question[name..name + 2] == [0, 1];
    let answers = if asks_for_v4 { answers } else { &[] };
    let mut reply = question[..2].to_vec();
    reply.extend([
        0x81,
        0x80,
        0,
        1,
        0,
        u8::try_from(answers.len()).unwrap(),
        0,
        0,
        0,
        0,
    ]);
    reply.extend(&question[12..end]);
    for address in answers {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        reply.extend(address.octets());
    }
    reply
}

fn local(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

/// Upstreams on one port of several addresses.
fn same_port() -> (u16, Upstream, Upstream) {
    loop {
        let one = Upstream::at("127.0.0.1:0").unwrap();
        let port = one.address.port();
        if let Ok(two) = Upstream::at(&format!("127.0.0.2:{port}")) {
            return (port, one, two);
        }
    }
}

#[test]
fn a_name_is_followed_where_it_goes() {
    let (port, one, two) = same_port();
    let dns = DnsServer::start(&[local(1), local(2)]);
    let gateway = listed(
        &format!("\"http://app.test:{port}\""),
        "pool: {max_idle: 0}",
    )
    .top(&format!("dns: {{ servers: [\"{}\"] }}", dns.address))
    .start();
    for _ in 0..6 {
        assert_eq!(gateway.get("/").status, 200);
    }
    // Both addresses are used in turn.
    assert_eq!((one.received().len(), two.received().len()), (3, 3));
    dns.now(&[local(2)]);
    wait_until("the first is left", PATIENCE, || {
        let before = one.received().len();
        (0..4).all(|_| gateway.get("/").status == 200) && one.received().len() == before
    });
}

#[test]
fn kept_connections_to_an_address_that_is_gone_are_not_used_again() {
    let (port, one, two) = same_port();
    let dns = DnsServer::start(&[local(1)]);
    let gateway = listed(&format!("\"http://app.test:{port}\""), "")
        .top(&format!("dns: {{ servers: [\"{}\"] }}", dns.address))
        .start();
    for _ in 0..5 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!((one.connections(), two.connections()), (1, 0));
    dns.now(&[local(2)]);
    wait_until("the other one is asked", PATIENCE, || {
        gateway.get("/").status == 200 && !two.received().is_empty()
    });
    let before = one.received().len();
    for _ in 0..5 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!((one.received().len(), one.connections()), (before, 1));
    // A name that is no longer there is used on.
    dns.now(&[]);
    for _ in 0..5 {
        assert_eq!(gateway.get("/").status, 200);
    }
}

#[test]
fn a_name_without_address_is_a_502() {
    let dns = DnsServer::start(&[]);
    let gateway = listed("\"http://app.test:80\"", "")
        .top(&format!("dns: {{ servers: [\"{}\"] }}", dns.address))
        .start();
    let answer = gateway.get("/");
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (502, "upstream_unreachable")
    );
    assert_eq!(
        answer.header("proxy-status"),
        Some("keygate; error=dns_error")
    );
}
