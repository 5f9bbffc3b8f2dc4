//! Members, roles and sessions.

use super::{
    Arc, Home, START, Store, StoreError, actor, add_workspace, id, number, texts, workspace,
};
use crate::domain::actor::{Actor, Who};
use crate::domain::id::{Id, Kind};
use crate::domain::role::Role;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::store::audit::Verdict;
use crate::store::people::{Binding, MemberRecord, MemberState, SessionRecord};

on_both!(
    a_member_comes_back_as_they_were_kept,
    an_email_belongs_to_one_person,
    roles_are_granted_and_taken,
    the_last_owner_stays,
    a_session_comes_back_as_it_was_kept,
    a_sight_is_noted_once_a_minute,
    sessions_end,
    who_may_not_act_is_signed_out,
    an_erased_person_is_nowhere,
);

pub(super) fn owner() -> Binding {
    Binding {
        workspace: workspace::root(),
        role: Role::Owner,
    }
}

pub(super) fn new_member(email: &str, roles: &[Binding]) -> MemberRecord {
    MemberRecord {
        id: id(),
        email: Some(email.to_owned()),
        name: Some("Ada Personal".into()),
        has_password: false,
        state: MemberState::Active,
        roles: roles.to_vec(),
        created_at: START,
        created_by: String::new(),
        updated_at: START,
        updated_by: String::new(),
        signed_in_at: None,
        revision: 0,
    }
}

pub(super) fn phc() -> Secret<String> {
    Secret::new("$argon2id$v=19$x".into())
}

async fn add_member(store: &Store, member: MemberRecord) -> MemberRecord {
    let mut write = store.begin(&actor()).await.unwrap();
    let member = write.insert_member(member, Some(&phc())).await.unwrap();
    write.commit().await.unwrap();
    member
}

async fn sign_in(store: &Store, member: Id, hash: &str) -> SessionRecord {
    let session = SessionRecord {
        id: id(),
        member,
        created_at: START,
        last_seen_at: START,
        expires_at: later(1_000_000),
        ended_at: None,
        address: Some([203, 0, 113, 77].into()),
        agent: Some("Browser Personal".into()),
    };
    let who = Who::Member {
        member,
        session: session.id,
    };
    let ada = Actor {
        who,
        name: Some("ada@personal.example".into()),
        address: session.address,
        request_id: None,
    };
    let mut write = store.begin(&ada).await.unwrap();
    let session = write.insert_session(session, hash).await.unwrap();
    write.commit().await.unwrap();
    session
}

fn later(millis: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + millis)
}

fn refused(fault: &StoreError, want: &str) {
    assert!(
        matches!(fault, StoreError::Refused { code, .. } if *code == want),
        "{fault}"
    );
}

fn not_found<T>(answer: Result<T, StoreError>) {
    let fault = answer.err().expect("a fault");
    assert!(matches!(fault, StoreError::NotFound), "{fault}");
}

async fn a_member_comes_back_as_they_were_kept(home: Arc<Home>) {
    let store = home.open().await;
    let mut north = owner();
    north.workspace = add_workspace(&store, "north", workspace::root()).await.id;
    north.role = Role::Auditor;
    let mut roles = [owner(), north];
    roles.sort_by_key(|one| one.workspace.text(Kind::Workspace).to_string());
    let ada = add_member(&store, new_member("Ada@Personal.example", &roles)).await;
    assert_eq!(ada.email.as_deref(), Some("ada@personal.example"));
    assert_eq!((ada.has_password, ada.revision), (true, 2));
    assert_eq!(store.member(ada.id).await.unwrap(), ada);
    let (found, password) = store
        .member_by_email("ADA@personal.EXAMPLE")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found, ada);
    assert_eq!(password.unwrap().expose(), phc().expose());
    assert!(
        store
            .member_by_email("bob@personal.example")
            .await
            .unwrap()
            .is_none()
    );
    let bob = add_member(&store, new_member("bob@personal.example", &[])).await;
    assert_eq!(store.members().await.unwrap().len(), 2);
    assert!(store.members().await.unwrap().contains(&bob));

    let mut write = store.begin(&actor()).await.unwrap();
    let without = write.set_password(ada.id, None, None).await.unwrap();
    write.commit().await.unwrap();
    assert!(!without.has_password);
    assert!(store.password(ada.id).await.unwrap().is_none());
    let renamed = MemberRecord {
        name: None,
        email: Some("Countess@Personal.example".into()),
        ..without.clone()
    };
    let mut write = store.begin(&actor()).await.unwrap();
    let saved = write.save_member(&without, renamed).await.unwrap();
    write.commit().await.unwrap();
    assert_eq!(saved.email.as_deref(), Some("countess@personal.example"));
    assert_eq!(store.member(ada.id).await.unwrap(), saved);
    for table in ["outbox WHERE data", "audit WHERE body"] {
        let told = format!("SELECT COUNT(*) FROM {table} LIKE '%ersonal.example%'");
        assert_eq!(number(&store, &told).await, 0, "{table}");
    }
    not_found(store.member(id()).await);
}

async fn an_email_belongs_to_one_person(home: Arc<Home>) {
    let store = home.open().await;
    let taken = |fault: StoreError| {
        assert!(
            matches!(fault, StoreError::Taken("e-mail address")),
            "{fault}"
        );
    };
    add_member(&store, new_member("ada@personal.example", &[])).await;
    let bob = add_member(&store, new_member("bob@personal.example", &[])).await;
    let mut write = store.begin(&actor()).await.unwrap();
    let same = new_member("ADA@personal.example", &[]);
    taken(write.insert_member(same, None).await.unwrap_err());
    drop(write);
    let same = MemberRecord {
        email: Some("Ada@Personal.Example".into()),
        ..bob.clone()
    };
    let mut write = store.begin(&actor()).await.unwrap();
    taken(write.save_member(&bob, same).await.unwrap_err());
}

async fn grant(store: &Store, member: Id, binding: Binding) -> Result<MemberRecord, StoreError> {
    let mut write = store.begin(&actor()).await.unwrap();
    let member = write.grant_role(member, binding).await?;
    write.commit().await?;
    Ok(member)
}

async fn take(store: &Store, member: Id, place: Id) -> Result<MemberRecord, StoreError> {
    let mut write = store.begin(&actor()).await.unwrap();
    let member = write.take_role(member, place).await?;
    write.commit().await?;
    Ok(member)
}

async fn roles_are_granted_and_taken(home: Arc<Home>) {
    let store = home.open().await;
    let north = add_workspace(&store, "north", workspace::root()).await.id;
    let ada = add_member(&store, new_member("ada@personal.example", &[]))
        .await
        .id;
    let editor = Binding {
        workspace: north,
        role: Role::Editor,
    };
    let admin = Binding {
        workspace: north,
        role: Role::Admin,
    };
    assert_eq!(grant(&store, ada, editor).await.unwrap().roles, [editor]);
    let after = grant(&store, ada, admin).await.unwrap();
    assert_eq!(after.roles, [admin]);
    assert_eq!(store.member(ada).await.unwrap(), after);
    assert!(take(&store, ada, north).await.unwrap().roles.is_empty());
    not_found(take(&store, ada, north).await);
    not_found(grant(&store, id(), admin).await);
    not_found(
        grant(
            &store,
            ada,
            Binding {
                workspace: id(),
                ..admin
            },
        )
        .await,
    );
    let told = texts(
        &store,
        "SELECT action || ' ' || workspace AS text FROM audit WHERE action LIKE 'member.role%' ORDER BY sequence",
    )
    .await;
    let north = north.text(Kind::Workspace);
    assert_eq!(
        told,
        [
            format!("member.role_granted {north}"),
            format!("member.role_granted {north}"),
            format!("member.role_taken {north}")
        ]
    );
}

async fn try_save(
    store: &Store,
    before: &MemberRecord,
    state: MemberState,
) -> Result<(), StoreError> {
    let after = MemberRecord {
        state,
        ..before.clone()
    };
    let mut write = store.begin(&actor()).await.unwrap();
    write.save_member(before, after).await?;
    write.commit().await.map(|_| ())
}

async fn the_last_owner_stays(home: Arc<Home>) {
    let store = home.open().await;
    let root = workspace::root();
    let ada = add_member(&store, new_member("ada@personal.example", &[owner()])).await;
    let bob = add_member(&store, new_member("bob@personal.example", &[])).await;
    let admin = Binding {
        role: Role::Admin,
        ..owner()
    };
    for fault in [
        try_save(&store, &ada, MemberState::Disabled)
            .await
            .unwrap_err(),
        try_save(&store, &ada, MemberState::Erased)
            .await
            .unwrap_err(),
        take(&store, ada.id, root).await.unwrap_err(),
        grant(&store, ada.id, admin).await.unwrap_err(),
    ] {
        refused(&fault, "last_owner");
    }
    grant(&store, ada.id, owner()).await.unwrap();
    grant(&store, bob.id, owner()).await.unwrap();
    let bob = store.member(bob.id).await.unwrap();
    try_save(&store, &bob, MemberState::Disabled).await.unwrap();
    refused(&take(&store, ada.id, root).await.unwrap_err(), "last_owner");
    let bob = store.member(bob.id).await.unwrap();
    try_save(&store, &bob, MemberState::Active).await.unwrap();
    take(&store, ada.id, root).await.unwrap();
    refused(
        &grant(&store, bob.id, admin).await.unwrap_err(),
        "last_owner",
    );
}

async fn a_session_comes_back_as_it_was_kept(home: Arc<Home>) {
    let store = home.open().await;
    let ada = add_member(&store, new_member("ada@personal.example", &[owner()])).await;
    home.clock.advance_millis(7);
    let session = sign_in(&store, ada.id, "blake3:1").await;
    let (found, member) = store.session_by_hash("blake3:1").await.unwrap().unwrap();
    assert_eq!(found, session);
    assert_eq!(member.roles, [owner()]);
    assert_eq!(member.signed_in_at, Some(later(7)));
    assert_eq!(store.session(session.id).await.unwrap(), session);
    assert!(store.session_by_hash("blake3:2").await.unwrap().is_none());
    assert!(session.is_good(later(8), 60_000));
    assert!(!session.is_good(later(60_007), 60_000), "idle for too long");
    assert!(!session.is_good(session.expires_at, i64::MAX));
    let again = SessionRecord {
        id: id(),
        ..session
    };
    let mut write = store.begin(&actor()).await.unwrap();
    let fault = write.insert_session(again, "blake3:1").await.unwrap_err();
    assert!(matches!(fault, StoreError::Taken("session")), "{fault}");
}

async fn a_sight_is_noted_once_a_minute(home: Arc<Home>) {
    let store = home.open().await;
    let ada = add_member(&store, new_member("ada@personal.example", &[])).await;
    let session = sign_in(&store, ada.id, "blake3:1").await;
    let revision = store.revision().await.unwrap();
    for (at, want) in [
        (59_999, 0),
        (60_000, 60_000),
        (61_000, 60_000),
        (120_000, 120_000),
        (5, 120_000),
    ] {
        // Known as it was at first, and as it is: neither notes too often.
        store.note_session_use(&session, later(at)).await.unwrap();
        let read = store.session(session.id).await.unwrap();
        store.note_session_use(&read, later(at)).await.unwrap();
        let read = store.session(session.id).await.unwrap();
        assert_eq!(read.last_seen_at, later(want), "{at}");
    }
    assert_eq!(store.revision().await.unwrap(), revision);
}

async fn sessions_end(home: Arc<Home>) {
    let store = home.open().await;
    let ada = add_member(&store, new_member("ada@personal.example", &[]))
        .await
        .id;
    let bob = add_member(&store, new_member("bob@personal.example", &[]))
        .await
        .id;
    let first = sign_in(&store, ada, "blake3:1").await;
    home.clock.advance_millis(10);
    let second = sign_in(&store, ada, "blake3:2").await;
    let other = sign_in(&store, bob, "blake3:3").await;
    let own = store.sessions(Some(ada)).await.unwrap();
    assert_eq!(own, [second.clone(), first.clone()]);
    assert_eq!(store.sessions(None).await.unwrap().len(), 3);
    for _ in 0..2 {
        let mut write = store.begin(&actor()).await.unwrap();
        let ended = write.end_session(first.id).await.unwrap();
        write.commit().await.unwrap();
        assert_eq!(ended.ended_at, Some(later(10)));
        assert!(!ended.is_good(later(10), i64::MAX));
        home.clock.advance_millis(10);
    }
    assert_eq!(store.sessions(Some(ada)).await.unwrap(), [second]);
    let mut write = store.begin(&actor()).await.unwrap();
    not_found(write.end_session(id()).await);
    drop(write);
    home.clock.set(other.expires_at);
    assert!(store.sessions(None).await.unwrap().is_empty());
}

async fn who_may_not_act_is_signed_out(home: Arc<Home>) {
    let store = home.open().await;
    let ada = add_member(&store, new_member("ada@personal.example", &[])).await;
    let kept = sign_in(&store, ada.id, "blake3:1").await;
    sign_in(&store, ada.id, "blake3:2").await;
    let mut write = store.begin(&actor()).await.unwrap();
    write
        .set_password(ada.id, Some(&phc()), Some(kept.id))
        .await
        .unwrap();
    write.commit().await.unwrap();
    assert_eq!(store.sessions(Some(ada.id)).await.unwrap(), [kept]);
    try_save(&store, &ada, MemberState::Disabled).await.unwrap();
    assert!(store.sessions(None).await.unwrap().is_empty());
    let (session, member) = store.session_by_hash("blake3:1").await.unwrap().unwrap();
    assert!(session.ended_at.is_some());
    assert_eq!(member.state, MemberState::Disabled);
}

/// Every text of every table, to look for what should be in none.
async fn everything(store: &Store) -> Vec<String> {
    let mut all = Vec::new();
    for columns in [
        "COALESCE(email, '') || COALESCE(name, '') || COALESCE(password, '') || created_by AS text FROM members",
        "COALESCE(address, '') || COALESCE(agent, '') AS text FROM sessions",
        "data AS text FROM audit_personal",
        "body AS text FROM audit",
        "data AS text FROM outbox",
        "object AS text FROM changes",
        "role AS text FROM roles",
    ] {
        all.extend(texts(store, &format!("SELECT {columns}")).await);
    }
    all
}

async fn an_erased_person_is_nowhere(home: Arc<Home>) {
    let store = home.open().await;
    let bob = add_member(&store, new_member("bob@work.example", &[])).await;
    let ada = add_member(&store, new_member("ada@personal.example", &[owner()])).await;
    grant(&store, bob.id, owner()).await.unwrap();
    let session = sign_in(&store, ada.id, "blake3:1").await;
    let marks = ["ada@", "203.0.113", "Browser"];
    assert!(
        everything(&store)
            .await
            .iter()
            .any(|text| text.contains("ada@"))
    );
    // By her own hand: the event itself must not bring her back.
    let herself = Actor {
        who: Who::Member {
            member: ada.id,
            session: session.id,
        },
        name: ada.email.clone(),
        address: session.address,
        request_id: None,
    };
    let mut write = store.begin(&herself).await.unwrap();
    let gone = write.erase_member(ada.id).await.unwrap();
    write.commit().await.unwrap();
    assert_eq!(store.member(ada.id).await.unwrap(), gone);
    assert_eq!(
        (&gone.email, &gone.name, gone.state),
        (&None, &None, MemberState::Erased)
    );
    assert!(gone.roles.is_empty() && !gone.has_password);
    for text in everything(&store).await {
        assert!(!marks.iter().any(|mark| text.contains(mark)), "{text}");
    }
    assert!(store.sessions(None).await.unwrap().is_empty());
    assert!(matches!(
        store.verify_audit(|_, _| {}).await.unwrap(),
        Verdict::Intact(_)
    ));
    let told = texts(
        &store,
        "SELECT target AS text FROM audit WHERE action = 'member.erased'",
    )
    .await;
    assert_eq!(told, [ada.id.text(Kind::Member).to_string()]);
    let mut write = store.begin(&actor()).await.unwrap();
    not_found(write.erase_member(ada.id).await);
    not_found(write.grant_role(ada.id, owner()).await);
    not_found(write.set_password(ada.id, Some(&phc()), None).await);
    not_found(write.save_member(&ada, ada.clone()).await);
    drop(write);
    // The address is free again.
    add_member(&store, new_member("ada@personal.example", &[])).await;
}
