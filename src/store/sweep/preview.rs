//! Which keys will go for want of use, and when.

use super::{Context, JOURNAL_GAP, known, later, plan};
use crate::domain::id::Kind;
use crate::domain::inactivity::Forecast;
use crate::domain::key::KeyRecord;
use crate::domain::key::record::{DAY_MILLIS, Inactivity, InactivityMode};
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::reach::below;
use crate::store::sql::{Columns, Sql};

/// Keys that are read together.
const BATCH: i64 = 500;
/// Most keys that one preview looks at.
const MOST_LOOKED: usize = 20_000;

/// A key that will go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// The key.
    pub key: KeyRecord,
    /// What holds for it: its own, its workspace's or the default.
    pub policy: Inactivity,
    /// Since when nobody has used it.
    pub unused_since: Timestamp,
    /// The next notice, if there is one to come.
    pub next_notice_at: Option<Timestamp>,
    /// When it goes.
    pub goes_at: Timestamp,
}

impl Store {
    /// Keys below these workspaces that will be disabled or deleted within so many days if nobody uses them, the next
    /// first; and whether there may be more.
    pub async fn inactivity_preview(
        &self,
        reach: &[String],
        days: i64,
        default: Inactivity,
        limit: usize,
    ) -> Result<(Vec<Preview>, bool), StoreError> {
        let now = self.clock.now();
        let end = later(now, days.saturating_mul(DAY_MILLIS));
        let context = Context {
            policies: self.policies(default).await?.0,
            hold: false,
            journal_gap: self.setting_time(JOURNAL_GAP).await?,
        };
        let mut found: Vec<Preview> = Vec::new();
        let mut after = (i64::MIN, String::new());
        let mut looked = 0;
        loop {
            let rows = self.keys_by_look(reach, end, &after).await?;
            let Some(last) = rows.last() else { break };
            after.clone_from(last);
            looked += rows.len();
            found.extend(self.forecasts(&rows, &context, now, end).await?);
            if looked >= MOST_LOOKED {
                break;
            }
        }
        found.sort_by_key(|one| (one.goes_at, one.key.id));
        let more = looked >= MOST_LOOKED || found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    /// A key that will go must be looked at before it does: times and ids of those.
    async fn keys_by_look(
        &self,
        reach: &[String],
        end: Timestamp,
        after: &(i64, String),
    ) -> Result<Vec<(i64, String)>, StoreError> {
        let mut select = Sql::new(
            "SELECT k.sweep_at, k.id FROM keys k WHERE k.state = 'active' AND k.sweep_at <= ",
        );
        select.bind(end).push(" AND (k.sweep_at, k.id) > (");
        select.bind(after.0).push(", ").bind(after.1.clone());
        select.push(")");
        below(&mut select, "k.workspace", reach);
        select.push(" ORDER BY k.sweep_at, k.id LIMIT ").bind(BATCH);
        let rows = select.query().fetch_all(&self.pools.read).await?;
        rows.iter()
            .map(|row| Ok((row.number("sweep_at")?, row.text("id")?)))
            .collect()
    }

    async fn forecasts(
        &self,
        rows: &[(i64, String)],
        context: &Context,
        now: Timestamp,
        end: Timestamp,
    ) -> Result<Vec<Preview>, StoreError> {
        let ids = rows
            .iter()
            .map(|(_, id)| crate::store::sql::id(id, Kind::Key))
            .collect::<Result<Vec<_>, _>>()?;
        let keys = self.keys(&ids).await?;
        let mut connection = self.pools.read.acquire().await?;
        let mut known = known::of(&mut connection, &ids).await?;
        let mut found = Vec::new();
        for key in keys {
            let mut steps = Vec::new();
            let noted = known.remove(&key.id).unwrap_or_default();
            let case = plan::case(&key, &noted, context, &mut steps);
            let (policy, unused_since) = (case.policy, case.baseline);
            let ends = matches!(
                policy.mode,
                InactivityMode::Disable | InactivityMode::Delete
            );
            if let Some(Forecast {
                next_notice_at,
                goes_at,
            }) = case.forecast(now).filter(|_| ends)
                && goes_at <= end
            {
                found.push(Preview {
                    key,
                    policy,
                    unused_since,
                    next_notice_at,
                    goes_at,
                });
            }
        }
        Ok(found)
    }
}
