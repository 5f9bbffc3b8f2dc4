//! What somebody reaches: workspaces below those where they have a role.

use super::sql::Sql;
use crate::domain::id::Kind;
use crate::domain::workspace;

/// Adds `AND column IN (…)`: below any of these workspaces, given by their paths. The root is above all: it needs no
/// look at the tree.
pub(super) fn below(sql: &mut Sql, column: &'static str, paths: &[String]) {
    let root = format!("{}/", workspace::root().text(Kind::Workspace));
    if paths.contains(&root) {
        return;
    }
    sql.push(" AND ").push(column);
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
