//! What is known of keys: lists, one of them, its use, reports.

use super::rows::Filter;
use super::{KEY, PREVIEW, REVIEW, USAGE};
use crate::cli::client::Listed;
use crate::cli::flags::Paging;
use crate::cli::output::Format;
use crate::cli::parse::When;
use crate::cli::resource::Desk;
use crate::cli::workspaces::WORKSPACE;
use crate::cli::{Exit, Failed, print, say};
use clap::Args;
use serde_json::Value;

/// The reason of the review that is none to revoke a key for.
const NEVER_EXPIRES: &str = "never_expires";

#[derive(Args)]
pub(super) struct List {
    /// Start of any word of name, tag or hint, or a whole id
    search: Option<String>,
    #[command(flatten)]
    filter: Filter,
    #[arg(
        long,
        value_name = "FIELD",
        allow_hyphen_values = true,
        help = "Order: name, created_at, updated_at, last_used_at or expires_at, with - in front the other way round"
    )]
    sort: Option<String>,
    /// Say how many there are in all
    #[arg(long)]
    total: bool,
    #[command(flatten)]
    paging: Paging,
}

impl List {
    pub(super) fn run(self, desk: &Desk) -> Result<Exit, Failed> {
        let mut query = self.filter.query(desk)?;
        query.extend(self.search.map(|search| ("q", search)));
        query.extend(self.sort.map(|sort| ("sort", sort)));
        query.extend(self.total.then(|| ("total", "true".to_owned())));
        desk.list(&KEY, &query, &self.paging)
    }
}

#[derive(Args)]
pub(super) struct Get {
    /// Id, name or hint
    key: String,
}

impl Get {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        desk.show(&KEY, &self.key)
    }
}

#[derive(Args)]
pub(super) struct Usage {
    /// Id, name or hint
    key: String,
    /// From then on: 7d ago, or 2026-01-01
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Up to then
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Only on this route
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

impl Usage {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let id = desk.find(&KEY, &self.key)?;
        let mut query = Vec::new();
        for (name, when) in [("from", &self.since), ("to", &self.until)] {
            let at = when.as_ref().map(|when| when.back(desk.out.now()));
            let at = at.as_ref().and_then(|at| at.as_str());
            query.extend(at.map(|at| (name, at.to_owned())));
        }
        query.extend(self.route.clone().map(|route| ("route", route)));
        let path = [KEY.path, &id, "usage"];
        desk.report(&path, &query, USAGE, self.paging.most())?;
        Ok(Exit::Ok)
    }
}

#[derive(Args)]
pub(super) struct Review {
    /// Only of this workspace and those below, by id or name
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    /// Only for this reason, one of those in the column WHY
    #[arg(long = "why", value_name = "REASON")]
    reason: Option<String>,
    #[command(flatten)]
    paging: Paging,
}

impl Review {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let mut query = in_workspace(desk, self.workspace.as_deref())?;
        query.extend(self.reason.clone().map(|reason| ("reason", reason)));
        let path = [KEY.path, "review"];
        if self.reason.is_none() && desk.out.format() == Format::Table {
            return self.summed_up(desk, &query);
        }
        desk.report(&path, &query, REVIEW, self.paging.most())?;
        Ok(Exit::Ok)
    }

    /// Most keys of most gateways never expire: who looks for what should go is not to search among all of them.
    fn summed_up(&self, desk: &Desk, query: &[(&'static str, String)]) -> Result<Exit, Failed> {
        let path = [KEY.path, "review"];
        let with = |name, value: &str| [query, &[(name, value.to_owned())]].concat();
        let without = with("except", NEVER_EXPIRES);
        let listed = desk.api.pages(&path, &without, self.paging.most())?;
        let unending = desk.api.get(&path).queries(&with("reason", NEVER_EXPIRES));
        let unending = unending.query("limit", "1").query("total", "true").send()?;
        let is_unending = |row: &&Value| {
            let reasons = row["reasons"].as_array().into_iter().flatten();
            reasons.into_iter().any(|reason| reason == NEVER_EXPIRES)
        };
        let shown = listed.rows.iter().filter(is_unending).count();
        let all = unending["total"].as_u64().unwrap_or_default();
        let others = all.saturating_sub(u64::try_from(shown).unwrap_or(u64::MAX));
        if !listed.rows.is_empty() || others == 0 {
            desk.out.list(REVIEW, &listed)?;
        }
        if others > 0 {
            let more = if listed.rows.is_empty() { "" } else { " more" };
            let (keys, expire) = if others == 1 {
                ("key", "expires")
            } else {
                ("keys", "expire")
            };
            print(&format!(
                "{others}{more} {keys} never {expire}; --why {NEVER_EXPIRES} lists them"
            ))?;
        }
        Ok(Exit::Ok)
    }
}

/// Which keys inactivity will end.
#[derive(Args)]
pub(in crate::cli) struct Preview {
    /// Only of this workspace and those below, by id or name
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    /// How far to look ahead
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: u16,
    /// Show this many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
}

impl Preview {
    pub(in crate::cli) fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let mut query = in_workspace(desk, self.workspace.as_deref())?;
        query.push(("days", self.days.to_string()));
        query.push(("limit", self.limit.to_string()));
        let call = desk.api.get(&[KEY.path, "preview"]).queries(&query);
        let mut found = call.send()?;
        if desk.out.format() != Format::Table && desk.out.format() != Format::Name {
            desk.out.one(&found)?;
            return Ok(Exit::Ok);
        }
        if let Value::Array(rows) = found["data"].take() {
            desk.out.list(PREVIEW, &Listed::of(rows))?;
        }
        if found["more"] == true {
            say("there are more: ask for fewer days, or a higher --limit");
        }
        Ok(Exit::Ok)
    }
}

fn in_workspace(desk: &Desk, named: Option<&str>) -> Result<Vec<(&'static str, String)>, Failed> {
    let id = named
        .map(|named| desk.find(&WORKSPACE, named))
        .transpose()?;
    Ok(id.map(|id| ("workspace", id)).into_iter().collect())
}
