//! What the data plane reads: all keys at one revision, some of them, those with a hash.

use super::keys::consumer;
use super::{Arc, Home, Store, add, id, new_key, new_secret};
use crate::domain::key::{Algorithm, KeyRecord, KeyState};
use crate::store::keys::LoadedKey;

on_both!(
    all_keys_are_loaded_with_all_their_secrets,
    some_keys_are_loaded_and_deleted_ones_are_told,
    keys_are_loaded_by_hash_however_it_was_made,
);

async fn load_all(store: &Store) -> (u64, Vec<LoadedKey>) {
    let mut all = Vec::new();
    let revision = store.load_keys(|key| all.push(key)).await.unwrap();
    (revision, all)
}

async fn all_keys_are_loaded_with_all_their_secrets(home: Arc<Home>) {
    let store = home.open().await;
    let acme = consumer(&store, "acme").await;
    let mut key = new_key("two");
    key.consumer = Some(acme.clone());
    key.detail.scopes = vec!["app:read".into()];
    key.secrets[0].number = 2;
    key.secrets[0].hint = Some("kg_live_…aB3x".into());
    let mut older = new_secret();
    older.retires_at = Some(super::START);
    older.uses = 3;
    key.secrets.push(older);
    key.rotating_until = Some(super::START);
    key.marks.inactive_at = Some(super::START);
    let key = add(&store, key).await;
    for (name, state) in [
        ("off", KeyState::Disabled),
        ("end", KeyState::Revoked),
        ("gone", KeyState::Deleted),
    ] {
        let mut key = new_key(name);
        key.state = state;
        add(&store, key).await;
    }
    let (revision, all) = load_all(&store).await;
    assert_eq!((revision, all.len()), (4, 4));
    assert_eq!(store.count_secrets().await.unwrap(), 5);
    for secret in &key.secrets {
        let loaded = all.iter().find(|one| one.hash == secret.hash).unwrap();
        let spec = loaded.spec.as_ref().unwrap();
        assert_eq!(
            (spec.id, &spec.name, spec.hash),
            (key.id, &key.name, secret.hash)
        );
        assert_eq!(
            (spec.retires_at, &spec.hint),
            (secret.retires_at, &secret.hint)
        );
        assert_eq!(spec.consumer, Some(acme.clone()));
        assert_eq!(loaded.usage.uses, secret.uses);
        assert_eq!(
            (loaded.rotating_until, loaded.inactive_at),
            (key.rotating_until, key.marks.inactive_at)
        );
        assert_eq!(spec.scopes.len(), 1);
    }
    assert!(all.iter().all(|one| one.spec.is_some()));
}

async fn some_keys_are_loaded_and_deleted_ones_are_told(home: Arc<Home>) {
    let store = home.open().await;
    let mut ids = vec![id()];
    for number in 0..3 {
        ids.push(add(&store, new_key(&number.to_string())).await.id);
    }
    let mut gone = new_key("gone");
    gone.state = KeyState::Deleted;
    let gone = add(&store, gone).await;
    ids.push(gone.id);
    let loaded = store.load_some(&ids).await.unwrap();
    assert_eq!(loaded.len(), 4);
    let without: Vec<_> = loaded.iter().filter(|one| one.spec.is_none()).collect();
    assert_eq!(without.len(), 1);
    assert_eq!(without[0].hash, gone.secrets[0].hash);
    assert!(store.load_some(&[]).await.unwrap().is_empty());
    // More than a statement may name at once.
    ids.extend((0..1200).map(|_| id()));
    assert_eq!(store.load_some(&ids).await.unwrap().len(), 4);
}

async fn keys_are_loaded_by_hash_however_it_was_made(home: Arc<Home>) {
    let store = home.open().await;
    let native = add(&store, new_key("native")).await;
    let mut imported = new_key("imported");
    imported.secrets[0].algorithm = Algorithm::Sha256;
    let imported = add(&store, imported).await;
    let hash = |key: &KeyRecord| key.secrets[0].hash;
    let hashes = [hash(&native), hash(&imported), new_secret().hash];
    let mut found = store.load_by_hash(&hashes).await.unwrap();
    found.sort_by_key(|one| one.algorithm == Algorithm::Sha256);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].hash, hash(&native));
    assert_eq!(
        (found[1].hash, found[1].algorithm),
        (hash(&imported), Algorithm::Sha256)
    );
}
