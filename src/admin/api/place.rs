//! What resources have in common: ids in paths, the workspace that a body or a query names, fields that are set.

use super::keys::create::id;
use crate::admin::auth::Caller;
use crate::admin::body::{Body, Wrong};
use crate::admin::error::AdminError;
use crate::admin::page::Parameters;
use crate::domain::id::{Id, Kind};
use crate::domain::role::Permission;
use crate::domain::time::Timestamp;
use crate::store::workspaces::WorkspaceRecord;
use crate::store::{Store, Write};
use axum::extract::Path;
use axum::extract::rejection::PathRejection;

pub(in crate::admin) type PathId = Result<Path<String>, PathRejection>;

/// The id in a path; anything that is no id is not there.
pub(super) fn path_id(path: PathId, kind: Kind) -> Result<Id, AdminError> {
    let Path(id) = path.map_err(|_| AdminError::NotFound)?;
    Id::parse(kind, &id).ok_or(AdminError::NotFound)
}

/// A workspace that a body names in `field`, else the caller's own; where the caller has the permission. What is out of
/// reach is not there, and a field that names it is wrong.
pub(super) async fn named(
    write: &mut Write,
    body: &mut Body,
    field: &str,
    (caller, permission): (&Caller, Permission),
) -> Result<Option<WorkspaceRecord>, AdminError> {
    let named = body.nullable(field, |value| id(value, Kind::Workspace, "workspace"));
    let place = match named {
        Some(Some(id)) => id,
        None | Some(None) => caller.home(),
    };
    let found = match write.workspace(place).await {
        Ok(found) => caller
            .check(permission, &found.lineage)
            .map(|()| Some(found)),
        Err(fault) => Err(fault.into()),
    };
    match found {
        Err(AdminError::NotFound) => {
            let words = "there is no such workspace";
            body.fault(field, ("unknown_value", words.into()));
            Ok(None)
        }
        other => other,
    }
}

/// Path of the workspace that the parameter `workspace` names: it and all below.
pub(super) async fn within(
    store: &Store,
    caller: &Caller,
    permission: Permission,
    named: Option<Id>,
) -> Result<Option<String>, AdminError> {
    let Some(id) = named else { return Ok(None) };
    let place = store.workspace(id).await?;
    caller.check(permission, &place.lineage)?;
    Ok(Some(place.path()))
}

/// Whether the caller has the permission everywhere, for what is not of one workspace.
pub(super) fn on_the_whole(caller: &Caller, permission: Permission) -> Result<(), AdminError> {
    caller.check_whole(permission)
}

/// The parameter that names an object of a kind.
pub(super) fn id_parameter(parameters: &mut Parameters, name: &str, kind: Kind) -> Option<Id> {
    parameters.read(name, |text| {
        Id::parse(kind, text).ok_or_else(|| wrong_id(kind))
    })
}

fn wrong_id(kind: Kind) -> Wrong {
    let words = format!("expected an id that begins with {}", kind.prefix());
    ("invalid", words)
}

/// The parameter that is a time.
pub(super) fn time_parameter(parameters: &mut Parameters, name: &str) -> Option<Timestamp> {
    parameters.read(name, |text| {
        let words = "expected a time such as 2027-01-01T08:00:00Z, or a date";
        Timestamp::parse(text).ok_or_else(|| ("invalid", words.into()))
    })
}

/// The cursor of a list that goes by a time, the latest first.
pub(super) fn time_cursor(
    parameters: &mut Parameters,
    sort: &str,
    kind: Kind,
) -> Option<(Timestamp, Id)> {
    let (at, id) = parameters.cursor(sort)?;
    let at = at.parse().ok().map(Timestamp::from_millis);
    let found = at.zip(Id::parse(kind, &id));
    if found.is_none() {
        let words = "cursor must be the `next` of a page of this list";
        parameters.fault("cursor", ("invalid", words.into()));
    }
    found
}

/// Sets what a body has: absent stays, null becomes nothing.
#[expect(clippy::option_option, reason = "absent, null, or a value")]
pub(super) fn set<T>(field: &mut T, given: Option<Option<T>>)
where
    T: Default,
{
    if let Some(given) = given {
        *field = given.unwrap_or_default();
    }
}

/// As [`set`], for what may be nothing.
#[expect(clippy::option_option, reason = "absent, null, or a value")]
pub(super) fn set_option<T>(field: &mut Option<T>, given: Option<Option<T>>) {
    if let Some(given) = given {
        *field = given;
    }
}

/// Whether every word of `q` begins a word of the text, in whatever case.
pub(super) fn has_words(text: &str, q: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        text.split(|letter: char| !letter.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let (there, wanted) = (words(text), words(q));
    let sensible = !wanted.is_empty() || q.trim().is_empty();
    sensible
        && wanted
            .iter()
            .all(|want| there.iter().any(|word| word.starts_with(want)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_by_their_beginning() {
        for (text, q, want) in [
            ("Shop North 7", "nor", true),
            ("Shop North 7", "sho 7", true),
            ("Shop North 7", "orth", false),
            ("Shop", "", true),
            ("Shop", "--", false),
        ] {
            assert_eq!(has_words(text, q), want, "{text} {q}");
        }
    }
}
