//! A store that is away or locked says so in bounded time, loses nothing, and works again once the cause is gone.

use super::{
    Arc, Durability, Home, Place, Postgres, Store, StoreError, actor, add, new_key, number, sql,
    texts,
};
use crate::config::StoreLocation;
use crate::domain::id::Id;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::store::Write;
use crate::store::sql::Columns;
use futures_util::future::join_all;
use futures_util::join;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Longest wait for a bad answer: for a connection, then for a lock.
const BOUND: Duration = Duration::from_secs(15);

async fn unavailable<T>(answer: impl Future<Output = Result<T, StoreError>>) {
    let answer = tokio::time::timeout(BOUND, answer)
        .await
        .expect("an answer in time");
    let fault = answer.err().expect("a fault");
    assert!(matches!(fault, StoreError::Unavailable(_)), "{fault:?}");
}

pub(super) async fn try_add(store: &Store, name: &str) -> Result<u64, StoreError> {
    let mut write = store.begin(&actor()).await?;
    write.insert_key(new_key(name), "key.created").await?;
    write.commit().await
}

#[test]
fn postgres_that_is_away_comes_back() {
    let server = Postgres::start(Durability::Commits);
    let home = Home::in_database(server.database());
    super::run(home, async |home| {
        let store = home.open().await;
        add(&store, new_key("before")).await;
        let mut cut = store.begin(&actor()).await.unwrap();
        cut.insert_key(new_key("cut"), "key.created").await.unwrap();
        server.crash();
        unavailable(cut.commit()).await;
        // At once, since each of them waits for a connection.
        join!(
            unavailable(store.revision()),
            unavailable(try_add(&store, "during")),
            unavailable(home.try_open())
        );
        server.start_again();
        assert_eq!(store.revision().await.unwrap(), 1);
        assert_eq!(try_add(&store, "behind").await.unwrap(), 2);
        assert_eq!(number(&store, "SELECT COUNT(*) FROM keys").await, 2);

        server.stop();
        server.start_again();
        let mut write = store.begin(&actor()).await.unwrap();
        write
            .insert_key(new_key("last"), "key.created")
            .await
            .unwrap();
        assert_eq!(write.commit().await.unwrap(), 3);
    });
}

#[test]
fn postgres_with_a_wrong_name_or_address_is_unavailable() {
    super::run(Home::postgres(), async |home| {
        let Place::Database(database) = &home.place else {
            unreachable!("a database was asked for")
        };
        let url = database.url();
        let bad = [
            format!("{url}_that_is_not_there"),
            url.replace("keygate@", "nobody_known@"),
            "postgres://keygate@127.0.0.1:1/x".to_owned(),
            "postgres://keygate@host.invalid/x".to_owned(),
            "mysql://localhost/x".to_owned(),
        ];
        let tries = bad.map(async |url| {
            let location = StoreLocation::Postgres(Secret::new(url));
            unavailable(Store::open(&location, Arc::clone(&home.clock) as _)).await;
        });
        join_all(tries).await;
    });
}

#[test]
fn postgres_whose_writer_hangs_is_unavailable() {
    super::run(Home::postgres(), async |home| {
        let store = home.open().await;
        let other = home.open().await;
        let held = store.begin(&actor()).await.unwrap();
        unavailable(try_add(&other, "waits")).await;
        assert_eq!(other.revision().await.unwrap(), 0, "reading goes on");
        drop(held);
        assert_eq!(try_add(&other, "now").await.unwrap(), 1);
    });
}

/// A change has one key and goes on to another, while the sweep notes something of both.
#[test]
fn a_change_and_the_sweep_do_not_wait_for_each_other() {
    super::run(Home::postgres(), async |home| {
        let store = home.open().await;
        let first = add(&store, new_key("first")).await;
        let second = add(&store, new_key("second")).await;
        // A statement takes rows in the order in which they were written last: that of the round before.
        let rounds = [(first.id, second.id), (second.id, first.id)];
        for what in ["looks", "reset", "wake"] {
            for (one, other) in [rounds[0], rounds[1], rounds[0]] {
                let wake = "UPDATE keys SET sweep_at = 5, inactive_at = 5, last_used_at = 5";
                sql(&store, wake).await;
                let keys = store.keys(&[first.id, second.id]).await.unwrap();
                let looks: Vec<_> = keys.iter().map(|key| (key, None)).collect();
                let mut write = store.begin(&actor()).await.unwrap();
                rename(&mut write, one).await.unwrap();
                let sweep = async {
                    match what {
                        "looks" => store.note_looks(&looks).await,
                        "reset" => store.reset_looks().await,
                        _ => store.wake_used(Timestamp::from_millis(1)).await,
                    }
                };
                let change = async {
                    let waits = "SELECT COUNT(*) FROM pg_stat_activity \
                                 WHERE datname = current_database() AND wait_event_type = 'Lock'";
                    while number(&store, waits).await == 0 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    rename(&mut write, other).await?;
                    write.commit().await
                };
                let change = tokio::time::timeout(BOUND, change);
                let (sweep, change) = join!(sweep, change);
                change.expect("the sweep waits").unwrap();
                sweep.unwrap();
            }
        }
    });
}

async fn rename(write: &mut Write, id: Id) -> Result<(), StoreError> {
    let before = write.key(id).await?;
    let mut after = before.clone();
    after.name.push('x');
    write.save_key(&before, after, "key.updated").await?;
    Ok(())
}

#[test]
fn readers_of_postgres_are_limited_but_for_those_who_read_everything() {
    super::run(Home::postgres(), async |home| {
        let store = home.open().await;
        let limit = "SELECT current_setting('statement_timeout') AS text";
        assert_eq!(texts(&store, limit).await, ["30s"]);
        let mut whole = store.reading().await.unwrap();
        let mut write = store.begin(&actor()).await.unwrap();
        for connection in [&mut *whole, write.connection()] {
            let row = sqlx::query(limit).fetch_one(connection).await.unwrap();
            assert_eq!(row.text("text").unwrap(), "0");
        }
        drop(whole);
        assert_eq!(texts(&store, limit).await, ["30s"]);
    });
}

#[test]
fn sqlite_that_another_process_holds_is_unavailable() {
    const HOLD: &str = "import sqlite3, sys\n\
        store = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
        store.execute('BEGIN IMMEDIATE')\n\
        print('held', flush=True)\n\
        sys.stdin.read()\n";
    super::run(Home::sqlite(), async |home| {
        let store = home.open().await;
        let mut other = Command::new("python3")
            .args(["-c", HOLD])
            .arg(home.file().unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 (Debian package python3)");
        let mut line = String::new();
        BufReader::new(other.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "held\n");
        unavailable(try_add(&store, "waits")).await;
        assert_eq!(store.revision().await.unwrap(), 0, "reading goes on");
        drop(other.stdin.take());
        other.wait().unwrap();
        assert_eq!(try_add(&store, "now").await.unwrap(), 1);
    });
}

#[test]
fn sqlite_without_a_usable_file_is_unavailable() {
    super::run(Home::sqlite(), async |home| {
        let file = home.file().unwrap();
        let folder = file.parent().unwrap().parent().unwrap();
        let text = folder.join("text.db");
        std::fs::write(
            &text,
            "this is no database, whatever its name says".repeat(100),
        )
        .unwrap();
        let under_file = text.join("keygate.db");
        let bad = [
            text,
            under_file,
            folder.to_owned(),
            "/proc/keygate/x.db".into(),
        ];
        let tries = bad.map(async |file: PathBuf| {
            let location = StoreLocation::Sqlite(file);
            unavailable(Store::open(&location, Arc::clone(&home.clock) as _)).await;
        });
        join_all(tries).await;
        let odd = folder.join("100% odd? #name.db");
        let location = StoreLocation::Sqlite(odd.clone());
        let store = Store::open(&location, Arc::clone(&home.clock) as _)
            .await
            .unwrap();
        assert_eq!(try_add(&store, "now").await.unwrap(), 1);
        assert!(odd.metadata().unwrap().len() > 0);
    });
}
