//! The tree of workspaces.

use super::{
    Arc, Home, START, Store, StoreError, actor, add, add_workspace, id, new_key, new_workspace,
    sql, workspace,
};
use crate::domain::id::Kind;
use crate::domain::key::record::{DAY_MILLIS, Inactivity, InactivityMode};
use crate::domain::workspace::MAX_DEPTH;
use crate::store::workspaces::WorkspaceRecord;
use std::collections::BTreeMap;

on_both!(
    a_workspace_comes_back_as_it_was_kept,
    parents_come_before_their_children,
    names_are_unique_below_one_parent,
    the_tree_has_a_greatest_depth,
    what_is_in_use_stays,
);

async fn a_workspace_comes_back_as_it_was_kept(home: Arc<Home>) {
    let store = home.open().await;
    let mut new = new_workspace("Köln");
    new.external_id = Some("loc-7".into());
    new.metadata = BTreeMap::from([("a".into(), "b".into())]);
    new.inactivity = Some(Inactivity {
        mode: InactivityMode::Notify,
        after: 30 * DAY_MILLIS,
    });
    let mut write = store.begin(&actor()).await.unwrap();
    let made = write
        .insert_workspace(new, workspace::root())
        .await
        .unwrap();
    write.commit().await.unwrap();
    assert_eq!(made.parent, Some(workspace::root()));
    assert_eq!(made.lineage.ids(), [workspace::root(), made.id]);
    assert_eq!(store.workspace(made.id).await.unwrap(), made);

    home.clock.advance_millis(5);
    let edited = WorkspaceRecord {
        name: "Bonn".into(),
        kind: "location".into(),
        external_id: None,
        metadata: BTreeMap::new(),
        inactivity: None,
        ..made.clone()
    };
    let mut write = store.begin(&actor()).await.unwrap();
    let saved = write.save_workspace(&made, edited).await.unwrap();
    write.commit().await.unwrap();
    assert_eq!((saved.revision, saved.created_at), (2, START));
    assert_eq!(store.workspace(made.id).await.unwrap(), saved);

    let ghost = new_workspace("ghost");
    let mut write = store.begin(&actor()).await.unwrap();
    for fault in [
        write
            .save_workspace(&ghost, ghost.clone())
            .await
            .unwrap_err(),
        write
            .insert_workspace(new_workspace("x"), id())
            .await
            .unwrap_err(),
        write.delete_workspace(id()).await.unwrap_err(),
        store.workspace(id()).await.unwrap_err(),
    ] {
        assert!(matches!(fault, StoreError::NotFound), "{fault}");
    }
}

async fn parents_come_before_their_children(home: Arc<Home>) {
    let store = home.open().await;
    let mut parents = vec![workspace::root()];
    for number in 0..12_usize {
        let parent = parents[number / 2];
        parents.push(
            add_workspace(&store, &format!("w{number}"), parent)
                .await
                .id,
        );
    }
    let all = store.workspaces().await.unwrap();
    assert_eq!(all.len(), 13);
    for (place, one) in all.iter().enumerate() {
        let before = &all[..place];
        assert!(
            one.parent
                .is_none_or(|parent| before.iter().any(|other| other.id == parent))
        );
        let above = one.lineage.ids();
        assert_eq!(above.last(), Some(&one.id));
        assert_eq!(
            above.len().checked_sub(2).map(|place| above[place]),
            one.parent
        );
    }
}

async fn names_are_unique_below_one_parent(home: Arc<Home>) {
    let store = home.open().await;
    let north = add_workspace(&store, "north", workspace::root()).await;
    let south = add_workspace(&store, "south", workspace::root()).await;
    add_workspace(&store, "shop", north.id).await;
    add_workspace(&store, "shop", south.id).await;
    let taken = |fault: StoreError| {
        assert!(
            matches!(fault, StoreError::Taken("workspace name")),
            "{fault}"
        );
    };
    let mut write = store.begin(&actor()).await.unwrap();
    taken(
        write
            .insert_workspace(new_workspace("shop"), north.id)
            .await
            .unwrap_err(),
    );
    drop(write);
    let renamed = WorkspaceRecord {
        name: "north".into(),
        ..south.clone()
    };
    let mut write = store.begin(&actor()).await.unwrap();
    taken(write.save_workspace(&south, renamed).await.unwrap_err());
    drop(write);
    let mut same_id = new_workspace("new");
    same_id.id = north.id;
    let mut write = store.begin(&actor()).await.unwrap();
    let fault = write.insert_workspace(same_id, south.id).await.unwrap_err();
    assert!(
        matches!(fault, StoreError::Taken("workspace id")),
        "{fault}"
    );
}

async fn the_tree_has_a_greatest_depth(home: Arc<Home>) {
    let store = home.open().await;
    let mut deepest = workspace::root();
    for _ in 0..MAX_DEPTH {
        deepest = add_workspace(&store, "deeper", deepest).await.id;
    }
    let mut write = store.begin(&actor()).await.unwrap();
    let fault = write
        .insert_workspace(new_workspace("too deep"), deepest)
        .await
        .unwrap_err();
    refused(&fault, "too_deep");
}

fn refused(fault: &StoreError, want: &str) {
    assert!(
        matches!(fault, StoreError::Refused { code, .. } if *code == want),
        "{fault}"
    );
}

async fn try_delete(
    store: &Store,
    id: crate::domain::id::Id,
) -> Result<WorkspaceRecord, StoreError> {
    let mut write = store.begin(&actor()).await.unwrap();
    let gone = write.delete_workspace(id).await?;
    write.commit().await.unwrap();
    Ok(gone)
}

async fn what_is_in_use_stays(home: Arc<Home>) {
    let store = home.open().await;
    let place = add_workspace(&store, "north", workspace::root()).await;
    let text = place.id.text(Kind::Workspace);
    refused(
        &try_delete(&store, workspace::root()).await.unwrap_err(),
        "in_use",
    );
    let child = add_workspace(&store, "shop", place.id).await;
    refused(&try_delete(&store, place.id).await.unwrap_err(), "in_use");
    try_delete(&store, child.id).await.unwrap();
    let mut key = new_key("ci");
    key.workspace = place.id;
    add(&store, key).await;
    refused(&try_delete(&store, place.id).await.unwrap_err(), "in_use");
    sql(&store, "DELETE FROM keys").await;
    for (insert, table) in [
        (
            format!(
                "INSERT INTO consumers (id, workspace, name, metadata, created_at, created_by, updated_at, updated_by, \
                 revision) VALUES ('c', '{text}', 'n', '{{}}', 0, 'x', 0, 'x', 0)"
            ),
            "consumers",
        ),
        (
            format!("INSERT INTO roles (member, workspace, role) VALUES ('m', '{text}', 'owner')"),
            "roles",
        ),
        (
            format!(
                "INSERT INTO tokens (id, kind, name, workspace, role, hash, hint, created_at, created_by, revision) \
                 VALUES ('t', 'token', 'n', '{text}', 'owner', 'h', 'h', 0, 'x', 0)"
            ),
            "tokens",
        ),
    ] {
        sql(&store, &insert).await;
        let fault = try_delete(&store, place.id).await.unwrap_err();
        refused(&fault, "in_use");
        assert!(fault.to_string().contains(table), "{fault}");
        sql(&store, &format!("DELETE FROM {table}")).await;
    }
    assert_eq!(try_delete(&store, place.id).await.unwrap(), place);
    assert_eq!(store.workspaces().await.unwrap().len(), 1);
}
