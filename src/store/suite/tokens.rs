//! Admin tokens.

use super::{Arc, Home, START, Store, StoreError, actor, id, workspace};
use crate::domain::role::Role;
use crate::domain::time::Timestamp;
use crate::store::tokens::{TokenKind, TokenRecord};

on_both!(
    a_token_comes_back_as_it_was_kept,
    a_token_ends_once_for_good,
    a_use_is_noted_forwards_only,
);

fn new_token(hash: &str) -> TokenRecord {
    TokenRecord {
        id: id(),
        kind: TokenKind::Setup,
        name: "ci".into(),
        workspace: workspace::root(),
        role: Role::Admin,
        hash: hash.into(),
        hint: "kg_admin_…abcd".into(),
        created_at: START,
        created_by: String::new(),
        expires_at: Some(later(1000)),
        last_used_at: None,
        revoked_at: None,
        revision: 0,
    }
}

fn later(millis: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + millis)
}

async fn add_token(store: &Store, token: TokenRecord) -> TokenRecord {
    let mut write = store.begin(&actor()).await.unwrap();
    let token = write.insert_token(token).await.unwrap();
    write.commit().await.unwrap();
    token
}

async fn a_token_comes_back_as_it_was_kept(home: Arc<Home>) {
    let store = home.open().await;
    assert!(!store.has_tokens().await.unwrap());
    let token = add_token(&store, new_token("blake3:1")).await;
    assert!(store.has_tokens().await.unwrap());
    let endless = add_token(
        &store,
        TokenRecord {
            kind: TokenKind::Token,
            expires_at: None,
            ..new_token("blake3:2")
        },
    )
    .await;
    assert_eq!(
        (token.revision, token.created_by.as_str()),
        (1, "system:suite")
    );
    assert_eq!(store.token(token.id).await.unwrap(), token);
    assert_eq!(
        store.token_by_hash("blake3:1").await.unwrap(),
        Some(token.clone())
    );
    assert_eq!(store.token_by_hash("blake3:3").await.unwrap(), None);
    let mut all = vec![token.clone(), endless];
    all.sort_by_key(|token| token.id);
    assert_eq!(store.tokens().await.unwrap(), all);
    let mut write = store.begin(&actor()).await.unwrap();
    let fault = write.insert_token(new_token("blake3:1")).await.unwrap_err();
    assert!(matches!(fault, StoreError::Taken("token")), "{fault}");
    let fault = store.token(id()).await.unwrap_err();
    assert!(matches!(fault, StoreError::NotFound), "{fault}");
}

async fn a_token_ends_once_for_good(home: Arc<Home>) {
    let store = home.open().await;
    let token = add_token(&store, new_token("blake3:1")).await;
    assert!(token.is_good(later(999)) && !token.is_good(later(1000)));
    home.clock.advance_millis(5);
    for _ in 0..2 {
        let mut write = store.begin(&actor()).await.unwrap();
        let ended = write.revoke_token(token.id).await.unwrap();
        write.commit().await.unwrap();
        assert_eq!(ended.revoked_at, Some(later(5)));
        assert!(!ended.is_good(START));
        assert_eq!(store.token(token.id).await.unwrap(), ended);
        home.clock.advance_millis(5);
    }
    let mut write = store.begin(&actor()).await.unwrap();
    let fault = write.revoke_token(id()).await.unwrap_err();
    assert!(matches!(fault, StoreError::NotFound), "{fault}");
}

async fn a_use_is_noted_forwards_only(home: Arc<Home>) {
    let store = home.open().await;
    let token = add_token(&store, new_token("blake3:1")).await;
    for (at, want) in [(10, 10), (5, 10), (20, 20)] {
        store.note_token_use(token.id, later(at)).await.unwrap();
        let read = store.token(token.id).await.unwrap();
        assert_eq!(read.last_used_at, Some(later(want)));
    }
    assert_eq!(store.revision().await.unwrap(), 1);
}
