//! What was acknowledged is there after a crash, of whoever writes or of the database.

use crate::harness::{Durability, Manager, Place, Process, actor, new_key, wait_until};
use keygate::config::StoreLocation;
use keygate::domain::secret::Secret;
use keygate::store::audit::Verdict;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the other process prints before the name of each key that was acknowledged.
const DONE: &str = "acknowledged ";

/// Not a test of its own: the process that the others start and kill. It reads where the store is, and writes keys into it
/// until it is stopped.
#[test]
#[ignore = "a process that the other tests start"]
fn writer() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let (kind, place) = line.trim_end().split_once(' ').unwrap();
    let location = if kind == "sqlite" {
        StoreLocation::Sqlite(place.into())
    } else {
        StoreLocation::Postgres(Secret::new(place.into()))
    };
    let manager = Manager::open(&location);
    manager.run(async {
        loop {
            let name = format!("{:032x}", fastrand::u128(..));
            let Ok(mut write) = manager.store.begin(&actor()).await else {
                continue;
            };
            let key = new_key(&name, &name);
            if write.insert_key(key, "key.created").await.is_ok() && write.commit().await.is_ok() {
                let mut out = std::io::stdout();
                writeln!(out, "{DONE}{name}").unwrap();
                out.flush().unwrap();
            }
        }
    });
}

/// A writer that runs, and what it has been told is kept.
fn start(place: &Place) -> (Process, Arc<Mutex<BTreeSet<String>>>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "--nocapture", "crash::writer"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = Process::start(&mut command);
    let line = match place {
        Place::Sqlite(_) => format!("sqlite {}\n", place.file().display()),
        Place::Postgres(database) => format!("postgres {}\n", database.url()),
    };
    let mut orders = process.child().stdin.take().unwrap();
    orders.write_all(line.as_bytes()).unwrap();
    let out = BufReader::new(process.child().stdout.take().unwrap());
    let told = Arc::<Mutex<BTreeSet<String>>>::default();
    let names = Arc::clone(&told);
    std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            // Half a line is no acknowledgement, but a whole one that came at the end is.
            if let Some(name) = line.strip_prefix(DONE)
                && name.len() == 32
            {
                names.lock().unwrap().insert(name.to_owned());
            }
        }
    });
    (process, told)
}

fn wait_for(told: &Mutex<BTreeSet<String>>, number: usize) {
    wait_until("keys are acknowledged", Duration::from_mins(1), || {
        told.lock().unwrap().len() >= number
    });
}

/// Everything that was acknowledged is there; the chain is whole, and has an event for each key.
fn assert_kept(place: &Place, all: &BTreeSet<String>) {
    let manager = place.manager();
    let mut there = BTreeSet::new();
    let loaded = manager
        .store
        .load_keys(|key| there.extend(key.spec.map(|spec| spec.name)));
    manager.run(loaded).unwrap();
    let lost: Vec<_> = all.difference(&there).collect();
    assert!(lost.is_empty(), "{} of {} are lost", lost.len(), all.len());
    match manager.run(manager.store.verify_audit(|_, _| {})).unwrap() {
        // Somebody may be writing.
        Verdict::Intact(whole) => assert!(whole.events >= there.len() as u64),
        Verdict::Broken(broken) => panic!("{broken:?}"),
    }
}

fn writer_is_killed(place: &Place) {
    let mut all = BTreeSet::new();
    for round in 0..6 {
        let (mut process, told) = start(place);
        wait_for(&told, 20 + fastrand::usize(..60));
        process.signal("KILL");
        process.wait(Duration::from_secs(10));
        // What it had printed before is read to the end.
        wait_until("its output ends", Duration::from_secs(10), || {
            Arc::strong_count(&told) == 1
        });
        all.append(&mut told.lock().unwrap());
        assert_kept(place, &all);
        assert!(all.len() >= 20 * (round + 1));
    }
}

#[test]
fn a_writer_that_is_killed_loses_nothing_in_sqlite() {
    writer_is_killed(&Place::sqlite());
}

#[test]
fn a_writer_that_is_killed_loses_nothing_in_postgres() {
    writer_is_killed(&Place::postgres());
}

#[test]
fn a_server_that_is_killed_loses_nothing() {
    let place = Place::own_postgres(Durability::Commits);
    let Place::Postgres(database) = &place else {
        panic!("it is a server");
    };
    let (mut process, told) = start(&place);
    for round in 1..=4 {
        wait_for(&told, round * 40);
        database.server.crash();
        let seen = told.lock().unwrap().clone();
        database.server.start_again();
        assert_kept(&place, &seen);
    }
    process.signal("KILL");
    process.wait(Duration::from_secs(10));
}
