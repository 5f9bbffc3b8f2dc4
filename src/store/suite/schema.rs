//! Opening: new, again, at the same time, and by a version that is too old.

use super::{Arc, Home, Place, StoreError, sql, workspace};

on_both!(
    a_new_store_has_a_root_and_keeps_its_identity,
    opened_many_times_at_once_it_is_made_once,
    a_store_of_a_newer_version_is_refused,
    a_version_that_was_changed_is_refused,
    text_compares_byte_by_byte,
    nobody_else_reads_the_file,
);

async fn a_new_store_has_a_root_and_keeps_its_identity(home: Arc<Home>) {
    let store = home.open().await;
    let identity = store.identity().to_owned();
    assert_eq!(identity.len(), 32);
    assert_eq!(store.revision().await.unwrap(), 0);
    let all = store.workspaces().await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].id, all[0].parent), (workspace::root(), None));
    let again = home.open().await;
    assert_eq!(again.identity(), identity);
    assert_eq!(again.workspaces().await.unwrap(), all);
}

async fn opened_many_times_at_once_it_is_made_once(home: Arc<Home>) {
    let opened = futures_util::future::join_all((0..5).map(|_| home.try_open())).await;
    let stores: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
    for store in &stores {
        assert_eq!(store.identity(), stores[0].identity());
        assert_eq!(store.workspaces().await.unwrap().len(), 1);
    }
}

async fn a_store_of_a_newer_version_is_refused(home: Arc<Home>) {
    let store = home.open().await;
    sql(
        &store,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99, 'later', TRUE, (SELECT checksum FROM _sqlx_migrations), 0)",
    )
    .await;
    let fault = home.try_open().await.unwrap_err();
    assert!(
        matches!(&fault, StoreError::Foreign(text) if text.contains("99")),
        "{fault}"
    );
}

async fn a_version_that_was_changed_is_refused(home: Arc<Home>) {
    let store = home.open().await;
    sql(
        &store,
        "UPDATE _sqlx_migrations SET checksum = CAST('other' AS BYTEA)",
    )
    .await;
    let fault = home.try_open().await.unwrap_err();
    assert!(matches!(fault, StoreError::Foreign(_)), "{fault}");
}

async fn text_compares_byte_by_byte(home: Arc<Home>) {
    let store = home.open().await;
    let other = match &home.place {
        Place::Folder(_) => super::texts(
            &store,
            "SELECT sql AS text FROM sqlite_master WHERE sql LIKE '%collate%'",
        )
        .await,
        Place::Database(_) => super::texts(
            &store,
            "SELECT c.table_name || '.' || c.column_name AS text FROM information_schema.columns c \
             WHERE c.table_schema = 'public' AND c.data_type = 'text' AND c.collation_name IS DISTINCT FROM 'C' \
             AND c.table_name <> '_sqlx_migrations'",
        )
        .await,
    };
    assert_eq!(other, Vec::<String>::new());
}

async fn nobody_else_reads_the_file(home: Arc<Home>) {
    use std::os::unix::fs::PermissionsExt;
    let _store = home.open().await;
    let Some(file) = home.file() else { return };
    let folder = file.parent().unwrap().to_owned();
    for beside in std::fs::read_dir(&folder).unwrap() {
        let beside = beside.unwrap();
        let mode = beside.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", beside.path().display());
    }
    let mode = folder.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}
