//! A store without room: what was acknowledged is there, nothing else is, and it goes on once there is room again.

use super::failures::try_add;
use super::{
    Arc, Durability, Home, Place, Postgres, START, Store, StoreError, TestClock, actor, new_key,
    number, sql,
};
use crate::config::StoreLocation;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

on_both!(a_full_store_is_unavailable_and_loses_nothing);

/// A file system in memory of its own. A shell unmounts it at the end of its input, so that it goes with us in any case.
struct Small {
    folder: PathBuf,
    shell: Child,
}

impl Small {
    /// `None` when we may not mount one.
    fn mount(megabytes: u32, owner: u32) -> Option<Self> {
        const SCRIPT: &str = r#"
            trap '' HUP INT
            folder=$(mktemp -d) || exit 1
            if mount -t tmpfs -o "size=$1m,mode=0700,uid=$2" none "$folder"; then
                echo "$folder"
                read -r _
                umount -l "$folder"
            fi
            rmdir "$folder"
        "#;
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .args([megabytes.to_string(), owner.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let reply = shell.stdout.take().unwrap();
        BufReader::new(reply).read_line(&mut line).unwrap();
        let small = Self {
            folder: line.trim_end().into(),
            shell,
        };
        (!line.is_empty()).then_some(small)
    }

    fn grow(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,size=64m"]).arg(&self.folder);
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        self.shell.stdin.take();
        let _ = self.shell.wait();
    }
}

/// Where the store is, on a small file system if we may mount one.
fn small_home(home: &Home) -> Option<(Home, Small)> {
    match &home.place {
        Place::Folder(_) => {
            let small = Small::mount(2, 0)?;
            let inside = Home {
                location: StoreLocation::Sqlite(small.folder.join("keygate.db")),
                place: Place::Folder(tempfile::tempdir().unwrap()),
                clock: Arc::new(TestClock::at(START)),
            };
            Some((inside, small))
        }
        Place::Database(_) => {
            // A server of its own: on a shared one any session may have to write the pages that do not fit.
            let server = Postgres::start(Durability::None);
            let small = Small::mount(16, server.folder.metadata().unwrap().uid())?;
            let folder = small.folder.display();
            let tablespace = format!("CREATE TABLESPACE small LOCATION '{folder}'");
            server.sql("postgres", &tablespace);
            let inside = Home::in_database(server.database_with("TABLESPACE small"));
            Some((inside, small))
        }
    }
}

/// Without a file system of its own, the database refuses more than so much.
async fn limit(store: &Store, home: &Home) {
    match home.place {
        Place::Folder(_) => {
            sql(store, "PRAGMA max_page_count = 300").await;
        }
        Place::Database(_) => {
            let function = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                IF (SELECT COUNT(*) FROM keys) > 50 THEN \
                RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END IF; RETURN NEW; END $$";
            sql(store, function).await;
            let trigger = "CREATE TRIGGER full_disk BEFORE INSERT ON keys FOR EACH ROW EXECUTE FUNCTION full_disk()";
            sql(store, trigger).await;
        }
    }
}

async fn lift(store: &Store, home: &Home) {
    let lift = match home.place {
        Place::Folder(_) => "PRAGMA max_page_count = 100000",
        Place::Database(_) => "DROP TRIGGER full_disk ON keys",
    };
    sql(store, lift).await;
}

async fn a_full_store_is_unavailable_and_loses_nothing(home: Arc<Home>) {
    if let Some((inside, small)) = small_home(&home) {
        let store = inside.open().await;
        let kept = fill(&store).await;
        small.grow();
        go_on(&store, kept).await;
        drop((store, inside));
    }
    let store = home.open().await;
    limit(&store, &home).await;
    let kept = fill(&store).await;
    lift(&store, &home).await;
    go_on(&store, kept).await;
}

/// Adds keys until there is no room; how many there are.
async fn fill(store: &Store) -> u64 {
    let mut kept = 0;
    let fault = loop {
        match add_great(store).await {
            Ok(revision) => kept = revision,
            Err(fault) => break fault,
        }
        assert!(kept < 5000, "it is never full");
    };
    assert!(matches!(fault, StoreError::Unavailable(_)), "{fault:?}");
    assert!(kept > 0);
    kept
}

async fn add_great(store: &Store) -> Result<u64, StoreError> {
    let mut key = new_key("great");
    // Nothing that can be compressed.
    let letters = (0..20_000).map(|_| fastrand::alphanumeric());
    key.detail.description = Some(letters.collect());
    let mut write = store.begin(&actor()).await?;
    write.insert_key(key, "key.created").await?;
    write.commit().await
}

async fn go_on(store: &Store, kept: u64) {
    let keys = number(store, "SELECT COUNT(*) FROM keys").await;
    assert_eq!(u64::try_from(keys).unwrap(), kept);
    assert_eq!(store.revision().await.unwrap(), kept);
    assert_eq!(try_add(store, "small").await.unwrap(), kept + 1);
}
