//! What was acknowledged is there after a crash, of the gateway or of its database.

use crate::harness::{Durability, GatewayBuilder, PATIENCE, Place, Served, wait_until};
use keygate::domain::id::Kind;
use keygate::store::audit::Verdict;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// Callers that create keys at the same time.
const WRITERS: usize = 3;

/// The id of a new key, if the answer came whole.
fn create(management: SocketAddr, token: &str) -> Option<String> {
    let body = r#"{"name":"k","scopes":["app:read"]}"#;
    let mut stream = TcpStream::connect(management).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    write!(
        stream,
        "POST /v1/keys HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let reply: Value = serde_json::from_str(body).ok()?;
    head.starts_with("HTTP/1.1 201")
        .then(|| reply["key"]["id"].as_str().unwrap().to_owned())
}

/// Callers that create keys until they are stopped, and the ids they were told.
struct Writers {
    told: Arc<Mutex<BTreeSet<String>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(management: SocketAddr, token: &str) -> Self {
        let told = Arc::<Mutex<BTreeSet<String>>>::default();
        let stop = Arc::<AtomicBool>::default();
        let threads = (0..WRITERS).map(|_| {
            let (told, stop, token) = (Arc::clone(&told), Arc::clone(&stop), token.to_owned());
            std::thread::spawn(move || {
                while !stop.load(Relaxed) {
                    match create(management, &token) {
                        Some(id) => {
                            told.lock().unwrap().insert(id);
                        }
                        None => std::thread::sleep(Duration::from_millis(10)),
                    }
                }
            })
        });
        Self {
            threads: threads.collect(),
            told,
            stop,
        }
    }

    fn wait_for(&self, number: usize) {
        wait_until("keys are acknowledged", Duration::from_mins(1), || {
            self.told().len() >= number
        });
    }

    fn told(&self) -> BTreeSet<String> {
        self.told.lock().unwrap().clone()
    }

    /// What they were told until the last of them has stopped.
    fn stop(self) -> BTreeSet<String> {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.told.lock().unwrap().clone()
    }
}

/// A gateway that can be killed and started again, with the token of its first start.
struct Crashing {
    place: Place,
    yaml: String,
    token: Option<String>,
    _data: TempDir,
}

impl Crashing {
    fn new(place: Place) -> Self {
        let data = tempfile::tempdir().unwrap();
        let top = format!(
            "store: {}\ndata_dir: {}",
            place.setting(),
            data.path().display()
        );
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        Self {
            yaml: GatewayBuilder::new(nowhere).top(&top).yaml(),
            place,
            token: None,
            _data: data,
        }
    }

    fn start(&mut self) -> (Served, Writers) {
        let served = Served::start(&self.yaml);
        let token = self.token.get_or_insert_with(|| served.setup_token());
        let writers = Writers::start(served.management, token);
        (served, writers)
    }

    /// Everything that was acknowledged is there; the chain is whole, and has an event for each key.
    fn assert_kept(&self, all: &BTreeSet<String>) {
        let manager = self.place.manager();
        let mut there = BTreeSet::new();
        let loaded = manager.store.load_keys(|key| {
            there.extend(key.spec.map(|spec| spec.id.text(Kind::Key).to_string()));
        });
        manager.run(loaded).unwrap();
        let lost: Vec<_> = all.difference(&there).collect();
        assert!(lost.is_empty(), "{} of {} are lost", lost.len(), all.len());
        match manager.run(manager.store.verify_audit(|_, _| {})).unwrap() {
            // Somebody may be writing.
            Verdict::Intact(whole) => assert!(whole.events >= there.len() as u64),
            Verdict::Broken(broken) => panic!("{broken:?}"),
        }
    }
}

fn gateway_is_killed(place: Place) {
    let mut gateway = Crashing::new(place);
    let mut all = BTreeSet::new();
    for round in 1..=4 {
        let (mut served, writers) = gateway.start();
        writers.wait_for(20 + fastrand::usize(..60));
        served.process.signal("KILL");
        served.process.wait(PATIENCE);
        all.append(&mut writers.stop());
        gateway.assert_kept(&all);
        assert!(all.len() >= 20 * round);
    }
}

#[test]
fn a_gateway_that_is_killed_loses_nothing_in_sqlite() {
    gateway_is_killed(Place::sqlite());
}

#[test]
fn a_gateway_that_is_killed_loses_nothing_in_postgres() {
    gateway_is_killed(Place::postgres());
}

#[test]
fn a_database_that_is_killed_loses_nothing() {
    let mut gateway = Crashing::new(Place::own_postgres(Durability::Commits));
    let (_served, writers) = gateway.start();
    for round in 1..=3 {
        writers.wait_for(round * 40);
        let Place::Postgres(database) = &gateway.place else {
            panic!("it is a server");
        };
        database.server.crash();
        let told = writers.told();
        database.server.start_again();
        gateway.assert_kept(&told);
    }
    writers.wait_for(130);
    gateway.assert_kept(&writers.stop());
}
