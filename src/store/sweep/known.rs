//! What was noted about keys before: notices of inactivity by baseline, notices about their end.

use crate::domain::id::{Id, Kind};
use crate::domain::inactivity::Step;
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;
use crate::store::sql::{Columns, Sql};
use sqlx::AnyConnection;
use std::collections::HashMap;

/// Most ids in one statement.
const BATCH: usize = 500;

/// What was noted about one key.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Notices of inactivity, each with its baseline.
    pub(super) steps: Vec<(Timestamp, Step)>,
    /// Facts about its end, and whether they still stand.
    pub(super) ends: Vec<(String, bool)>,
}

impl Known {
    /// Whether a fact that begins so was noted and still stands.
    pub(super) fn stands(&self, front: &str) -> bool {
        self.ends
            .iter()
            .any(|(fact, stands)| *stands && fact.starts_with(front))
    }
}

/// Of several keys; those of which nothing was noted are left out.
pub(super) async fn of(
    connection: &mut AnyConnection,
    ids: &[Id],
) -> Result<HashMap<Id, Known>, StoreError> {
    let mut all: HashMap<Id, Known> = HashMap::new();
    for batch in ids.chunks(BATCH) {
        let names = || batch.iter().map(|id| id.text(Kind::Key).to_string());
        let mut steps =
            Sql::new("SELECT key_id, baseline, days, at FROM inactivity_steps WHERE key_id IN (");
        steps.bind_list(names()).push(")");
        for row in steps.query().fetch_all(&mut *connection).await? {
            let step = Step {
                days: row.number("days")?,
                at: row.time("at")?,
            };
            let known = all.entry(row.id("key_id", Kind::Key)?).or_default();
            known.steps.push((row.time("baseline")?, step));
        }
        let mut ends = Sql::new(
            "SELECT target, fact, withdrawn_at FROM notices WHERE kind IN ('key.expiring', 'key.expired') \
             AND target IN (",
        );
        ends.bind_list(names()).push(")");
        for row in ends.query().fetch_all(&mut *connection).await? {
            let stands = row.maybe_time("withdrawn_at")?.is_none();
            let known = all.entry(row.id("target", Kind::Key)?).or_default();
            known.ends.push((row.text("fact")?, stands));
        }
    }
    Ok(all)
}
