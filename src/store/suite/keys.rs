//! Keys: kept as they are, every act, what is taken, many at once.

use super::{
    Arc, Home, START, Store, StoreError, actor, add, id, new_key, new_secret, number, sql, texts,
    touched_after,
};
use crate::domain::consumer::Consumer;
use crate::domain::id::{Id, Kind};
use crate::domain::key::acts::{Act, ActFault, days};
use crate::domain::key::record::{
    DAY_MILLIS, FORGOTTEN_MILLIS, Inactivity, InactivityMarks, InactivityMode, KeyDetail,
    RecordedUse, SecretVersion, StateNote,
};
use crate::domain::key::{Algorithm, KeyHash, KeyRecord, KeyState};
use crate::domain::limit::{Limit, Rate};
use crate::domain::time::Timestamp;
use crate::store::write::Touched;
use std::collections::BTreeMap;

on_both!(
    a_key_comes_back_as_it_was_kept,
    every_act_is_kept_and_recorded,
    an_edit_changes_what_a_key_is_found_by,
    what_only_retired_secrets_have_finds_no_key,
    a_secret_that_is_dropped_is_told_by_its_hashes,
    an_edit_does_not_repeat_the_reason_of_an_act,
    what_is_taken_is_told,
    a_key_that_is_not_there_is_not_found,
    a_use_that_was_written_meanwhile_outlives_an_edit,
    a_purged_key_leaves_events_only,
    many_rotations_at_once_follow_each_other,
);

fn later(days_later: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + days(days_later))
}

/// A key with a value in every field.
fn full_key(consumer: Consumer) -> KeyRecord {
    let mut key = new_key("Kasse Köln");
    let mut older = new_secret();
    older.algorithm = Algorithm::Sha256;
    older.retires_at = Some(later(1));
    older.last_used_ip = Some([203, 0, 113, 9].into());
    older.last_used_at = Some(START);
    older.uses = 7;
    key.secrets[0].number = 2;
    key.secrets[0].hint = Some("kg_live_…aB3x".into());
    key.secrets.push(older);
    key.consumer = Some(consumer);
    key.state = KeyState::Deleted;
    key.state_before = Some(KeyState::Disabled);
    key.state_note = Some(StateNote {
        reason: Some("compromised".into()),
        text: Some("found in a repository; it's \"public\"".into()),
        by: "system:test".into(),
        at: START,
    });
    key.note_before = Some(StateNote {
        reason: Some("audit".into()),
        text: Some("until 'we' know more".into()),
        by: "system:other".into(),
        at: later(-1),
    });
    key.not_before = Some(START);
    key.expires_at = Some(later(90));
    key.rotating_until = Some(later(1));
    key.inactivity = Some(Inactivity {
        mode: InactivityMode::Disable,
        after: days(30),
    });
    key.marks = InactivityMarks {
        enabled_at: Some(later(2)),
        restored_at: Some(later(3)),
        kept_at: Some(later(4)),
        policy_enabled_at: Some(later(5)),
        inactive_at: Some(later(6)),
    };
    key.detail = KeyDetail {
        description: Some("line\nand 'quotes'".into()),
        scopes: vec!["app:read".into()],
        routes: Some(vec!["app".into()]),
        methods: Some(Vec::new()),
        ip_allow: vec![
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ],
        locations: Some(vec!["bearer".into()]),
        limits: Some(Limit::new(Rate::parse("90/m").unwrap(), Some(7)).unwrap()),
        tags: vec!["Prod".into(), "prod".into()],
        metadata: BTreeMap::from([("ort".into(), "Köln".into())]),
    };
    key.usage = RecordedUse {
        first_used_at: Some(START),
        last_used_at: Some(later(1)),
        last_used_ip: Some("2001:db8::1".parse().unwrap()),
        uses: i64::MAX,
        refusals: 3,
    };
    key
}

/// A consumer, as a row only.
pub(super) async fn consumer(store: &Store, name: &str) -> Consumer {
    let id = id();
    let statement = format!(
        "INSERT INTO consumers (id, workspace, name, metadata, created_at, created_by, updated_at, updated_by, revision) \
         VALUES ('{}', '{}', '{name}', '{{}}', 0, 'x', 0, 'x', 0)",
        id.text(Kind::Consumer),
        super::workspace::root().text(Kind::Workspace)
    );
    sql(store, &statement).await;
    Consumer {
        id,
        name: name.to_owned(),
        limits: None,
    }
}

async fn a_key_comes_back_as_it_was_kept(home: Arc<Home>) {
    let store = home.open().await;
    let consumer = consumer(&store, "acme").await;
    for key in [full_key(consumer.clone()), new_key("")] {
        let kept = add(&store, key.clone()).await;
        let want = KeyRecord {
            created_by: "system:suite".into(),
            updated_by: "system:suite".into(),
            revision: store.revision().await.unwrap(),
            ..key
        };
        assert_eq!(kept, want);
        assert_eq!(store.key(kept.id).await.unwrap(), want);
        let several = store.keys(&[id(), kept.id]).await.unwrap();
        assert_eq!(several, std::slice::from_ref(&want));
        let mut write = store.begin(&actor()).await.unwrap();
        assert_eq!(write.key(kept.id).await.unwrap(), want);
        for secret in &want.secrets {
            let hash = secret.hash.at_rest_as(secret.algorithm);
            let taken = write.taken_hashes(std::slice::from_ref(&hash)).await;
            assert!(taken.unwrap().contains(&hash));
        }
        let free = write.taken_hashes(&[new_secret().hash.at_rest()]).await;
        assert!(free.unwrap().is_empty());
    }
    assert_eq!(store.key_ids_of(consumer.id).await.unwrap().len(), 1);
}

/// Does one act and keeps it; what was kept must be what the act made of it.
async fn act(
    store: &Store,
    key: Id,
    action: &'static str,
    act: impl FnOnce(&mut KeyRecord, Act) -> Result<(), ActFault>,
) -> KeyRecord {
    let mut write = store.begin(&actor()).await.unwrap();
    let before = write.key(key).await.unwrap();
    let mut after = before.clone();
    let why = Act {
        by: "system:suite".into(),
        at: write.now,
        reason: Some("compromised".into()),
        text: None,
    };
    act(&mut after, why).unwrap();
    let saved = write
        .save_key(&before, after.clone(), action)
        .await
        .unwrap();
    let revision = write.commit().await.unwrap();
    after.revision = revision;
    after.updated_at = saved.updated_at;
    after.updated_by = "system:suite".into();
    assert_eq!(saved, after, "{action}");
    assert_eq!(store.key(key).await.unwrap(), after, "{action}");
    let bodies = texts(
        store,
        "SELECT body AS text FROM audit ORDER BY sequence DESC LIMIT 1",
    )
    .await;
    assert!(
        bodies[0].contains(&format!("\"action\":\"{action}\"")),
        "{bodies:?}"
    );
    let outbox =
        format!("SELECT COUNT(*) FROM outbox WHERE revision = {revision} AND type = '{action}'");
    assert_eq!(number(store, &outbox).await, 1, "{action}");
    after
}

async fn every_act_is_kept_and_recorded(home: Arc<Home>) {
    let store = home.open().await;
    let acme = consumer(&store, "acme").await;
    let key = add(&store, new_key("ci")).await.id;
    act(&store, key, "key.disabled", KeyRecord::disable).await;
    home.clock.advance_millis(1000);
    act(&store, key, "key.enabled", |key, why| key.enable(why.at)).await;
    let rotated = act(&store, key, "key.rotated", |key, why| {
        key.rotate(new_secret(), DAY_MILLIS, why.at)
    })
    .await;
    assert_eq!(rotated.secrets.len(), 2);
    let rotated = act(&store, key, "key.rotated", |key, why| {
        key.rotate(new_secret(), 0, why.at)
    })
    .await;
    assert_eq!(rotated.current().map(|secret| secret.number), Some(3));
    home.clock.advance_millis(1000);
    act(&store, key, "key.rotated", |key, why| {
        key.rotate(new_secret(), DAY_MILLIS, why.at)
    })
    .await;
    act(&store, key, "key.retired", |key, why| {
        key.retire(None, why.at)
    })
    .await;
    act(&store, key, "key.kept", |key, why| key.keep(why.at)).await;
    let owned = act(&store, key, "key.transferred", |key, _| {
        key.transfer(Some(acme.clone()))
    })
    .await;
    assert_eq!(owned.consumer, Some(acme));
    act(&store, key, "key.transferred", |key, _| key.transfer(None)).await;
    act(&store, key, "key.deleted", KeyRecord::delete).await;
    act(&store, key, "key.restored", |key, why| key.restore(why.at)).await;
    act(&store, key, "key.revoked", KeyRecord::revoke).await;
    let hash = rotated.secrets[0].hash.at_rest();
    let secret = hash.strip_prefix("blake3:").unwrap();
    let told = format!("SELECT COUNT(*) FROM audit WHERE body LIKE '%{secret}%'");
    assert_eq!(
        number(&store, &told).await,
        0,
        "no hash is in the audit log"
    );
}

async fn an_edit_changes_what_a_key_is_found_by(home: Arc<Home>) {
    let store = home.open().await;
    let mut key = new_key("alt");
    key.detail.tags = vec!["Rot".into()];
    let before = add(&store, key).await;
    let mut after = before.clone();
    after.name = "neu".into();
    after.detail.tags = vec!["Blau".into(), "Grün".into()];
    after.detail.scopes = vec!["app:read".into()];
    let mut write = store.begin(&actor()).await.unwrap();
    write.save_key(&before, after, "key.updated").await.unwrap();
    write.commit().await.unwrap();
    let labels = texts(
        &store,
        "SELECT kind || ' ' || value AS text FROM labels ORDER BY kind, value",
    )
    .await;
    assert_eq!(
        labels,
        [
            "scope app:read",
            "tag blau",
            "tag grün",
            "word blau",
            "word grün",
            "word neu"
        ]
    );
}

async fn what_only_retired_secrets_have_finds_no_key(home: Arc<Home>) {
    let store = home.open().await;
    let hinted = |hint: &str| SecretVersion {
        hint: Some(hint.into()),
        ..new_secret()
    };
    let mut key = new_key("ci");
    key.secrets = vec![hinted("first")];
    // More labels than one statement has values for.
    key.detail.tags = (0..200).map(|number| format!("tag{number}")).collect();
    let key = add(&store, key).await.id;
    let hints = async || {
        let select = "SELECT value AS text FROM labels WHERE kind = 'word' AND value NOT LIKE 'tag%' ORDER BY value";
        texts(&store, select).await.join(" ")
    };
    assert_eq!(hints().await, "ci first");
    act(&store, key, "key.rotated", |key, why| {
        key.rotate(hinted("second"), DAY_MILLIS, why.at)
    })
    .await;
    assert_eq!(hints().await, "ci first second", "both are good");
    home.clock.advance_millis(DAY_MILLIS);
    act(&store, key, "key.retired", |key, _| {
        key.rotating_until = None;
        Ok(())
    })
    .await;
    assert_eq!(hints().await, "ci second");
    act(&store, key, "key.rotated", |key, why| {
        key.rotate(hinted("third"), 0, why.at)
    })
    .await;
    assert_eq!(hints().await, "ci third");
}

async fn a_secret_that_is_dropped_is_told_by_its_hashes(home: Arc<Home>) {
    let store = home.open().await;
    let key = add(&store, new_key("ci")).await;
    let old = key.secrets[0].hash;
    let imported = KeyHash::sha256_of(b"as it was imported");
    sql(
        &store,
        &format!(
            "UPDATE secrets SET imported_hash = '{}'",
            imported.at_rest_as(Algorithm::Sha256)
        ),
    )
    .await;
    let rotated = act(&store, key.id, "key.rotated", |key, why| {
        key.rotate(new_secret(), 0, why.at)
    })
    .await;
    home.clock.advance_millis(FORGOTTEN_MILLIS - 1);
    let early = act(&store, key.id, "key.updated", |key, why| {
        key.forget(why.at);
        Ok(())
    })
    .await;
    assert_eq!(early.secrets.len(), 2);
    home.clock.advance_millis(1);
    let kept = act(&store, key.id, "key.secret_forgotten", |key, why| {
        key.forget(why.at);
        Ok(())
    })
    .await;
    assert_eq!(kept.secrets, rotated.secrets[..1]);
    assert_eq!(number(&store, "SELECT COUNT(*) FROM secrets").await, 1);
    let (touched, head) = touched_after(&store, kept.revision - 1).await;
    let want = [
        Touched::Secret(old, Algorithm::Blake3),
        Touched::Secret(imported, Algorithm::Sha256),
        Touched::Key(key.id),
    ];
    assert_eq!(touched, want.map(|one| (head, one)));
}

async fn an_edit_does_not_repeat_the_reason_of_an_act(home: Arc<Home>) {
    let store = home.open().await;
    let key = add(&store, new_key("ci")).await.id;
    act(&store, key, "key.disabled", KeyRecord::disable).await;
    act(&store, key, "key.updated", |key, _| {
        key.name = "cd".into();
        Ok(())
    })
    .await;
    let told = "SELECT action AS text FROM audit WHERE body LIKE '%\"reason\":\"compromised\"%'";
    assert_eq!(texts(&store, told).await, ["key.disabled"]);
}

async fn what_is_taken_is_told(home: Arc<Home>) {
    let store = home.open().await;
    let first = add(&store, new_key("first")).await;
    let mut same_id = new_key("second");
    same_id.id = first.id;
    let mut same_secret = new_key("second");
    same_secret.secrets[0].hash = first.secrets[0].hash;
    let mut same_secret_id = new_key("second");
    same_secret_id.secrets[0].id = first.secrets[0].id;
    for (key, what) in [
        (same_id, "key id"),
        (same_secret, "key"),
        (same_secret_id, "id"),
    ] {
        let mut write = store.begin(&actor()).await.unwrap();
        let fault = write.insert_key(key, "key.created").await.unwrap_err();
        assert!(
            matches!(fault, StoreError::Taken(told) if told == what),
            "{what}: {fault}"
        );
    }
    assert_eq!(number(&store, "SELECT COUNT(*) FROM keys").await, 1);
    assert_eq!(store.revision().await.unwrap(), 1);
}

async fn a_key_that_is_not_there_is_not_found(home: Arc<Home>) {
    let store = home.open().await;
    let fault = store.key(id()).await.unwrap_err();
    assert!(matches!(fault, StoreError::NotFound), "{fault}");
    let mut write = store.begin(&actor()).await.unwrap();
    let fault = write.key(id()).await.unwrap_err();
    assert!(matches!(fault, StoreError::NotFound), "{fault}");
    let ghost = new_key("ghost");
    let saved = write.save_key(&ghost, ghost.clone(), "key.updated").await;
    assert!(matches!(saved, Err(StoreError::NotFound)), "{saved:?}");
}

async fn a_use_that_was_written_meanwhile_outlives_an_edit(home: Arc<Home>) {
    let store = home.open().await;
    let before = add(&store, new_key("ci")).await;
    sql(
        &store,
        "UPDATE keys SET uses = 5, last_used_at = 9, last_used_ip = '10.0.0.1'",
    )
    .await;
    sql(&store, "UPDATE secrets SET uses = 5, last_used_at = 9").await;
    let mut after = before.clone();
    after.name = "cd".into();
    after.secrets[0].retires_at = Some(later(1));
    let mut write = store.begin(&actor()).await.unwrap();
    write.save_key(&before, after, "key.updated").await.unwrap();
    write.commit().await.unwrap();
    let read = store.key(before.id).await.unwrap();
    assert_eq!((read.usage.uses, read.secrets[0].uses), (5, 5));
    assert_eq!(read.secrets[0].retires_at, Some(later(1)));
}

async fn a_purged_key_leaves_events_only(home: Arc<Home>) {
    let store = home.open().await;
    let mut key = new_key("ci");
    key.detail.tags = vec!["prod".into()];
    let key = add(&store, key).await;
    let mut write = store.begin(&actor()).await.unwrap();
    write.purge_key(&key).await.unwrap();
    write.commit().await.unwrap();
    for table in ["keys", "secrets", "labels"] {
        assert_eq!(
            number(&store, &format!("SELECT COUNT(*) FROM {table}")).await,
            0,
            "{table}"
        );
    }
    assert_eq!(number(&store, "SELECT COUNT(*) FROM audit").await, 2);
}

async fn many_rotations_at_once_follow_each_other(home: Arc<Home>) {
    let store = home.open().await;
    let key = add(&store, new_key("ci")).await.id;
    let rotate = async || {
        let mut write = store.begin(&actor()).await.unwrap();
        let before = write.key(key).await.unwrap();
        let mut after = before.clone();
        after.rotate(new_secret(), 0, write.now).unwrap();
        write.save_key(&before, after, "key.rotated").await.unwrap();
        write.commit().await.unwrap()
    };
    let mut revisions = futures_util::future::join_all((0..100).map(|_| rotate())).await;
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=101).collect::<Vec<_>>());
    let read = store.key(key).await.unwrap();
    let numbers: Vec<i64> = read.secrets.iter().map(|secret| secret.number).collect();
    assert_eq!(numbers, (1..=101).rev().collect::<Vec<_>>());
    let good = read.secrets.iter().filter(|one| one.retires_at.is_none());
    assert_eq!(good.count(), 1);
    assert_eq!(read.secrets[0].retires_at, None);
}
