//! What somebody reaches: workspaces below those where they have a role.

use super::sql::Sql;
use crate::domain::id::Kind;
use crate::domain::workspace;

/// Whether the root is among these paths. It is above all: nobody needs to look at the tree.
pub(super) fn is_everything(paths: &[String]) -> bool {
    let root = format!("{}/", workspace::root().text(Kind::Workspace));
    paths.contains(&root)
}

/// Adds ` AND column IN (…)`: at or below any of these workspaces, given by their paths.
pub(super) fn below(sql: &mut Sql, column: &str, paths: &[String]) {
    if !is_everything(paths) {
        sql.push(" AND ").push(column);
        within(sql, paths);
    }
}

/// Adds ` IN (…)`, as [`below`], behind a column.
pub(super) fn within(sql: &mut Sql, paths: &[String]) {
    sql.push(" IN (SELECT w.id FROM workspaces w WHERE ");
    if paths.is_empty() {
        sql.push("1 = 0");
    }
    for (place, path) in paths.iter().enumerate() {
        sql.push(if place == 0 { "" } else { " OR " });
        // Ids have no letter as great as a tilde.
        sql.push("(w.path >= ")
            .bind(path.clone())
            .push(" AND w.path < ")
            .bind(format!("{path}~"))
            .push(")");
    }
    sql.push(")");
}
