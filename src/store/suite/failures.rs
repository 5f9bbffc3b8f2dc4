//! A store that is away, locked or full says so in bounded time, loses nothing, and works again once the cause is gone.

use super::{
    Arc, Durability, Home, Place, Postgres, Store, StoreError, actor, add, new_key, number, sql,
};
use crate::config::StoreLocation;
use crate::domain::secret::Secret;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

on_both!(a_full_store_is_unavailable_and_loses_nothing);

/// Longest wait for a bad answer: for a connection, then for a lock.
const BOUND: Duration = Duration::from_secs(15);

async fn unavailable<T>(answer: impl Future<Output = Result<T, StoreError>>) {
    let answer = tokio::time::timeout(BOUND, answer)
        .await
        .expect("an answer in time");
    let fault = answer.err().expect("a fault");
    assert!(matches!(fault, StoreError::Unavailable(_)), "{fault:?}");
}

async fn try_add(store: &Store, name: &str) -> Result<u64, StoreError> {
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
        unavailable(store.revision()).await;
        unavailable(try_add(&store, "during")).await;
        unavailable(home.try_open()).await;
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
        for url in bad {
            let location = StoreLocation::Postgres(Secret::new(url));
            unavailable(Store::open(&location, Arc::clone(&home.clock) as _)).await;
        }
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
        for bad in [
            text,
            under_file,
            folder.to_owned(),
            PathBuf::from("/proc/keygate/x.db"),
        ] {
            let location = StoreLocation::Sqlite(bad);
            unavailable(Store::open(&location, Arc::clone(&home.clock) as _)).await;
        }
        let odd = folder.join("100% odd? #name.db");
        let location = StoreLocation::Sqlite(odd.clone());
        let store = Store::open(&location, Arc::clone(&home.clock) as _)
            .await
            .unwrap();
        assert_eq!(try_add(&store, "now").await.unwrap(), 1);
        assert!(odd.metadata().unwrap().len() > 0);
    });
}

/// A small file system of its own; `None` when we may not mount one.
struct Small(PathBuf);

impl Small {
    fn mount(folder: &Path, megabytes: u32) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let owner = folder.parent().unwrap().metadata().unwrap().uid();
        let options = format!("size={megabytes}m,mode=0700,uid={owner}");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(folder)
            .stderr(Stdio::null())
            .status();
        done.is_ok_and(|status| status.success())
            .then(|| Self(folder.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: the store may still have its file open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A store with little room, and what makes it so. Without a right to mount, the database counts for itself.
async fn small_home(home: &Arc<Home>) -> (Store, Option<Small>, Option<Home>) {
    match &home.place {
        Place::Folder(folder) => {
            let small = Small::mount(&folder.path().join("data"), 2);
            let store = home.open().await;
            if small.is_none() {
                sql(&store, "PRAGMA max_page_count = 300").await;
            }
            (store, small, None)
        }
        Place::Database(database) => {
            let server = &database.server;
            let folder = server.folder.join("small");
            let Some(small) = Small::mount(&folder, 16) else {
                let store = home.open().await;
                sql(
                    &store,
                    "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                     IF (SELECT COUNT(*) FROM keys) > 50 THEN \
                     RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END IF; RETURN NEW; END $$",
                )
                .await;
                sql(
                    &store,
                    "CREATE TRIGGER full_disk BEFORE INSERT ON keys FOR EACH ROW EXECUTE FUNCTION full_disk()",
                )
                .await;
                return (store, None, None);
            };
            server.sql(
                "postgres",
                &format!("CREATE TABLESPACE small LOCATION '{}'", folder.display()),
            );
            let inside = Home::in_database(server.database_with("TABLESPACE small"));
            (inside.open().await, Some(small), Some(inside))
        }
    }
}

async fn a_full_store_is_unavailable_and_loses_nothing(home: Arc<Home>) {
    let (store, small, inside) = small_home(&home).await;
    let mut kept = 0;
    let fault = loop {
        let mut key = new_key(&format!("key {kept}"));
        key.detail.description = Some("long ".repeat(4000));
        let mut write = match store.begin(&actor()).await {
            Ok(write) => write,
            Err(fault) => break fault,
        };
        if let Err(fault) = write.insert_key(key, "key.created").await {
            break fault;
        }
        match write.commit().await {
            Ok(_) => kept += 1,
            Err(fault) => break fault,
        }
        assert!(kept < 5000, "it is never full");
    };
    assert!(matches!(fault, StoreError::Unavailable(_)), "{fault:?}");
    assert!(kept > 0);
    let count = number(&store, "SELECT COUNT(*) FROM keys").await;
    assert_eq!(count, kept);
    assert_eq!(
        store.revision().await.unwrap(),
        u64::try_from(kept).unwrap()
    );
    make_room(&store, small.as_ref(), &home).await;
    assert_eq!(
        try_add(&store, "small").await.unwrap(),
        u64::try_from(kept).unwrap() + 1
    );
    drop(store);
    drop(inside);
    if let (Some(small), Place::Database(database)) = (small, &home.place) {
        database.server.sql("postgres", "DROP TABLESPACE small");
        drop(small);
    }
}

async fn make_room(store: &Store, small: Option<&Small>, home: &Home) {
    match (small, &home.place) {
        (Some(small), _) => {
            let done = Command::new("mount")
                .args(["-o", "remount,size=64m"])
                .arg(&small.0)
                .status();
            assert!(done.unwrap().success());
        }
        (None, Place::Folder(_)) => {
            sql(store, "PRAGMA max_page_count = 100000").await;
        }
        (None, Place::Database(_)) => {
            sql(store, "DROP TRIGGER full_disk ON keys").await;
        }
    }
}
