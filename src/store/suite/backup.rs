//! Backups: whole, of one revision, into either database; and nothing is touched by one that is not.

use super::{
    Arc, Fact, Home, START, Store, actor, add, id, new_key, number, sql, texts, touched_after,
    workspace,
};
use crate::domain::actor::{Actor, Who};
use crate::domain::time::Timestamp;
use crate::store::audit::Verdict;
use crate::store::backup::{BackupFault, Cell, ColumnKind, FORMAT, cells, layout, select};
use crate::store::frame::{FrameFault, FrameReader, FrameWriter};
use crate::store::write::Touched;
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;
use std::path::Path;

on_both!(
    a_backup_goes_into_either_database,
    a_backup_is_of_one_revision_while_others_write,
    a_damaged_backup_is_refused_before_anything_is_touched,
    a_store_in_use_is_replaced_only_when_asked,
    a_restored_store_goes_on_behind_both,
);

type Dump = BTreeMap<String, Vec<Vec<Cell>>>;

/// Every row of every table, sorted.
async fn dump(store: &Store) -> Dump {
    let mut connection = store.pools.read.acquire().await.unwrap();
    let layout = layout(store.dialect, &mut connection).await.unwrap();
    let mut dump = Dump::new();
    for (table, columns) in &layout {
        let select = AssertSqlSafe(select(table, columns));
        let found = sqlx::query(select).fetch_all(&mut *connection).await;
        let rows = found.unwrap().into_iter();
        let mut rows: Vec<_> = rows.map(|row| cells(&row, columns).unwrap()).collect();
        rows.sort();
        dump.insert(table.clone(), rows);
    }
    dump
}

/// Something in every table: a log with a cut and names, and rows of every kind of value in all others.
async fn fill(store: &Store) {
    let ada = Actor {
        who: Who::Member {
            member: id(),
            session: id(),
        },
        name: Some("Ada Personal".into()),
        ..actor()
    };
    add(store, new_key("before the cut")).await;
    let mut write = store.begin(&ada).await.unwrap();
    write.now = Timestamp::from_millis(START.as_millis() + 1);
    let cut = write.checkpoint_audit(write.now).await.unwrap();
    assert!(cut.is_some());
    write.commit().await.unwrap();
    add(store, new_key("behind the cut")).await;
    let mut connection = store.pools.read.acquire().await.unwrap();
    let layout = layout(store.dialect, &mut connection).await.unwrap();
    drop(connection);
    let kept: &[&str] = &["head", "audit", "audit_personal", "audit_checkpoints"];
    for (table, columns) in layout.iter().filter(|(name, _)| !kept.contains(&&***name)) {
        for row in [1_000_i64, i64::MAX, -5] {
            let value = |(place, (_, kind)): (usize, &(String, ColumnKind))| match kind {
                ColumnKind::Text => format!("'{table} {place} {row} é''\"\\ 🔑 \n'"),
                ColumnKind::Number => row.to_string(),
            };
            let values: Vec<String> = columns.iter().enumerate().map(value).collect();
            let insert = format!("INSERT INTO \"{table}\" VALUES ({})", values.join(", "));
            assert_eq!(sql(store, &insert).await, 1);
        }
    }
    // Nothing in what may be nothing.
    sql(
        store,
        "UPDATE keys SET consumer = NULL, expires_at = NULL WHERE sweep_at = 1000",
    )
    .await;
    assert!(dump(store).await.values().all(|rows| !rows.is_empty()));
}

async fn assert_intact(store: &Store) {
    let verdict = store.verify_audit(|_, _| {}).await.unwrap();
    assert!(matches!(verdict, Verdict::Intact(_)), "{verdict:?}");
}

async fn a_backup_goes_into_either_database(home: Arc<Home>) {
    let store = home.open().await;
    fill(&store).await;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("copy");
    let mut heard = (0, 0);
    let made = store
        .backup(&place, |done, total| heard = (done, total))
        .await;
    let made = made.unwrap();
    let before = dump(&store).await;
    let rows: usize = before.values().map(Vec::len).sum();
    assert_eq!(heard, (rows as u64, rows as u64));
    assert_eq!((made.revision, made.rows()), (3, rows as u64));
    assert_eq!(made.store, store.identity());
    for other in [Home::sqlite(), Home::postgres()] {
        let target = other.open().await;
        let put = target
            .restore(&place, false, &actor(), |_, _| {})
            .await
            .unwrap();
        assert_eq!(put, made);
        let mut after = dump(&target).await;
        for (table, rows) in &before {
            let new = after.remove(table).unwrap();
            let more = match &**table {
                // The event of the restoration, the order to compare everything, and that uses since the backup are lost.
                "audit" | "changes" | "settings" => 1,
                // It has another revision, and another end of the chain.
                "head" => continue,
                _ => 0,
            };
            assert_eq!(new.len(), rows.len() + more, "{table}");
            assert!(rows.iter().all(|row| new.contains(row)), "{table}");
        }
        assert!(after.is_empty());
        assert_eq!(target.revision().await.unwrap(), 4);
        assert_eq!(other.open().await.identity(), store.identity());
        assert_intact(&target).await;
    }
}

async fn a_backup_is_of_one_revision_while_others_write(home: Arc<Home>) {
    let store = home.open().await;
    for name in 0..200 {
        add(&store, new_key(&format!("old {name}"))).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let places = [1, 2, 3, 4].map(|number| folder.path().join(number.to_string()));
    let copies = async {
        let mut made = Vec::new();
        for place in &places {
            made.push(store.backup(place, |_, _| {}).await.unwrap());
        }
        made
    };
    let writers = async {
        for name in 0..100 {
            add(&store, new_key(&format!("new {name}"))).await;
        }
    };
    let (made, ()) = futures_util::future::join(copies, writers).await;
    for (place, made) in places.iter().zip(&made) {
        let other = Home::sqlite();
        let target = other.open().await;
        target
            .restore(place, false, &actor(), |_, _| {})
            .await
            .unwrap();
        assert_intact(&target).await;
        let keys = number(&target, "SELECT COUNT(*) FROM keys").await;
        let events = "SELECT COUNT(*) FROM audit WHERE action = 'key.created'";
        assert_eq!(keys, i64::try_from(made.revision).unwrap());
        assert_eq!(number(&target, events).await, keys);
        assert_eq!(number(&target, "SELECT COUNT(*) FROM secrets").await, keys);
    }
    assert!(made[0].revision >= 200 && made[3].revision <= 300);
}

/// A backup whose description was changed, with a right checksum.
fn forged(place: &Path, from: &Path, change: impl Fn(&mut crate::store::backup::Contents)) {
    let mut old = FrameReader::open(from, FORMAT).unwrap();
    let mut new = FrameWriter::create(place, FORMAT).unwrap();
    let first = old.next_block().unwrap().unwrap();
    let mut contents = postcard::from_bytes(first).unwrap();
    change(&mut contents);
    new.block(&postcard::to_extend(&contents, Vec::new()).unwrap())
        .unwrap();
    while let Some(block) = old.next_block().unwrap() {
        new.block(block).unwrap();
    }
    new.finish().unwrap();
}

async fn a_damaged_backup_is_refused_before_anything_is_touched(home: Arc<Home>) {
    let store = home.open().await;
    add(&store, new_key("here")).await;
    let folder = tempfile::tempdir().unwrap();
    let (place, bad) = (folder.path().join("copy"), folder.path().join("bad"));
    store.backup(&place, |_, _| {}).await.unwrap();
    let before = dump(&store).await;
    let refused = async |store: &Store| {
        let outcome = store.restore(&bad, true, &actor(), |_, _| {}).await;
        outcome.unwrap_err()
    };
    let fault = refused(&store).await;
    assert!(matches!(&fault, BackupFault::File(fault) if fault.is_missing()));
    let good = std::fs::read(&place).unwrap();
    for cut in [0, 10, 20, 100, good.len() / 2, good.len() - 1] {
        std::fs::write(&bad, &good[..cut]).unwrap();
        assert!(
            matches!(refused(&store).await, BackupFault::File(_)),
            "{cut}"
        );
    }
    for byte in (0..good.len()).step_by(good.len() / 20) {
        let mut flipped = good.clone();
        flipped[byte] ^= 4;
        std::fs::write(&bad, flipped).unwrap();
        assert!(
            matches!(refused(&store).await, BackupFault::File(_)),
            "{byte}"
        );
    }
    forged(&bad, &place, |contents| contents.schema = 99);
    let fault = refused(&store).await;
    assert!(matches!(fault, BackupFault::Newer(99, _)), "{fault:?}");
    forged(&bad, &place, |contents| contents.tables[0].rows += 1);
    let fault = refused(&store).await;
    assert!(matches!(fault, BackupFault::File(FrameFault::Nonsense)));
    // A name that is none of ours gets nowhere near a statement.
    forged(&bad, &place, |contents| {
        let table = contents.tables.iter_mut().find(|one| one.name == "keys");
        table.unwrap().name = "keys\"; DROP TABLE audit; --".into();
    });
    let fault = refused(&store).await;
    assert!(matches!(fault, BackupFault::File(FrameFault::Nonsense)));
    assert_eq!(dump(&store).await, before);
    assert_eq!(store.revision().await.unwrap(), 1);
}

async fn a_store_in_use_is_replaced_only_when_asked(home: Arc<Home>) {
    let store = home.open().await;
    add(&store, new_key("first")).await;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("copy");
    store.backup(&place, |_, _| {}).await.unwrap();
    add(&store, new_key("second")).await;
    let before = dump(&store).await;
    let fault = store.restore(&place, false, &actor(), |_, _| {}).await;
    assert!(matches!(fault, Err(BackupFault::InUse)), "{fault:?}");
    assert_eq!(dump(&store).await, before);
    store
        .restore(&place, true, &actor(), |_, _| {})
        .await
        .unwrap();
    assert_eq!(
        texts(&store, "SELECT name AS text FROM keys").await,
        ["first"]
    );
    assert_intact(&store).await;
}

async fn a_restored_store_goes_on_behind_both(home: Arc<Home>) {
    let store = home.open().await;
    for name in ["one", "two", "three"] {
        add(&store, new_key(name)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("copy");
    store.backup(&place, |_, _| {}).await.unwrap();
    // Newer than the copy, and older than it.
    let newer = home.open().await;
    for _ in 0..4 {
        add(&newer, new_key("more")).await;
    }
    let other = Home::sqlite();
    let older = other.open().await;
    add(&older, new_key("only")).await;
    for (target, revision) in [(newer, 8), (older, 4)] {
        let seen = target.revision().await.unwrap();
        let mut followed = target.committed();
        target
            .restore(&place, true, &actor(), |_, _| {})
            .await
            .unwrap();
        assert_eq!(target.revision().await.unwrap(), revision);
        assert_eq!(*followed.borrow_and_update(), revision);
        let everything = vec![(revision, Touched::Everything)];
        assert_eq!(
            touched_after(&target, seen.max(3)).await,
            (everything, revision)
        );
        assert_intact(&target).await;
        let mut write = target.begin(&actor()).await.unwrap();
        write
            .record(Fact::new("thing.done", workspace::root(), "thing"))
            .await
            .unwrap();
        assert_eq!(write.commit().await.unwrap(), revision + 1);
        assert_intact(&target).await;
    }
}

#[test]
fn a_backup_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    super::run(Home::sqlite(), async |home| {
        let store: Store = home.open().await;
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("copy");
        store.backup(&place, |_, _| {}).await.unwrap();
        let mode = std::fs::metadata(&place).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let fault = store.backup(Path::new("/proc/none/copy"), |_, _| {}).await;
        assert!(matches!(fault, Err(BackupFault::Unwritable(_))));
    });
}
