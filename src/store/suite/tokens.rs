//! Admin tokens.

use super::people::{new_member, owner, phc};
use super::{Arc, Home, START, Store, StoreError, actor, add_workspace, id, workspace};
use crate::domain::role::Role;
use crate::domain::time::Timestamp;
use crate::store::tokens::{TokenKind, TokenRecord};

on_both!(
    a_token_comes_back_as_it_was_kept,
    a_token_ends_once_for_good,
    a_use_is_noted_forwards_only,
    somebody_owns_it_or_it_is_to_be_set_up,
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
    let token = add_token(&store, new_token("blake3:1")).await;
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

async fn somebody_owns_it_or_it_is_to_be_set_up(home: Arc<Home>) {
    let store = home.open().await;
    let has_owner = async |at| store.has_owner(at).await.unwrap();
    assert!(!has_owner(START).await);
    let lesser = new_token("blake3:1");
    add_token(&store, lesser).await;
    assert!(!has_owner(START).await, "an admin is not an owner");
    let below = add_workspace(&store, "below", workspace::root()).await;
    let elsewhere = TokenRecord {
        role: Role::Owner,
        workspace: below.id,
        ..new_token("blake3:2")
    };
    add_token(&store, elsewhere).await;
    assert!(!has_owner(START).await, "the root has none");
    let whole = TokenRecord {
        role: Role::Owner,
        ..new_token("blake3:3")
    };
    let whole = add_token(&store, whole).await;
    assert!(has_owner(later(999)).await);
    assert!(!has_owner(later(1000)).await, "it has ended");
    let mut write = store.begin(&actor()).await.unwrap();
    write.revoke_token(whole.id).await.unwrap();
    write.commit().await.unwrap();
    assert!(!has_owner(START).await, "it is revoked");
    let mut write = store.begin(&actor()).await.unwrap();
    let member = new_member("ada@example.com", &[owner()]);
    let member = write.insert_member(member, None).await.unwrap();
    write.commit().await.unwrap();
    assert!(!has_owner(START).await, "she cannot sign in");
    let mut write = store.begin(&actor()).await.unwrap();
    write
        .set_password(member.id, Some(&phc()), None)
        .await
        .unwrap();
    write.commit().await.unwrap();
    assert!(has_owner(START).await);
}
