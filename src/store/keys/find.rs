//! How the keys of a list are found. With few candidates for one of its conditions, those are looked at one by one and
//! sorted; else the keys are walked through in the order that was asked for until the page is full. The databases do not
//! choose that well by themselves: `SQLite` knows nothing of how many rows a value has. So each condition is counted up to
//! a limit, and the other indexes are kept out by expressions that none of them has.

use super::list::{KeyQuery, SortBy};
use crate::domain::id::{Id, Kind};
use crate::domain::key::KeyStatus;
use crate::domain::time::Timestamp;
use crate::store::error::StoreError;
use crate::store::reach::{is_everything, within};
use crate::store::sql::{Columns, Sql, begins, words};
use sqlx::AnyConnection;

/// Most candidates that are looked at one by one.
const FEW: i64 = 10_000;
/// So few that no other condition needs to be counted.
const VERY_FEW: i64 = 200;

/// A condition on keys.
#[derive(Debug)]
pub(super) enum Filter<'a> {
    Status(Option<KeyStatus>, Timestamp),
    Below(&'a [String]),
    Consumer(Id),
    Environment(&'a str),
    /// A whole tag or scope.
    Label(&'static str, String),
    /// The beginning of a word.
    Word(String),
    Id(&'a str),
    Nothing,
    ExpiresBefore(Timestamp),
    UsedBefore(Timestamp),
    MadeBefore(Timestamp),
    NeverExpires(bool),
}

/// How a condition is written: about which table, and whether an index may serve it.
#[derive(Clone, Copy)]
struct Form {
    table: &'static str,
    indexed: bool,
}

impl Form {
    /// Of the keys in the list.
    const LISTED: Self = Self {
        table: "k",
        indexed: false,
    };
    /// Of the candidates.
    const CANDIDATE: Self = Self {
        table: "i",
        indexed: true,
    };

    fn text(self, column: &str) -> String {
        let neutral = if self.indexed { "" } else { " || ''" };
        format!("{}.{column}{neutral}", self.table)
    }

    fn number(self, column: &str) -> String {
        let neutral = if self.indexed { "" } else { " + 0" };
        format!("{}.{column}{neutral}", self.table)
    }

    /// A time; `absent` stands for none. Written as the indexes have it.
    fn time(self, column: &str, absent: i64) -> String {
        let neutral = if self.indexed { "" } else { " + 0" };
        format!("COALESCE({}.{column}, {absent}){neutral}", self.table)
    }

    fn end(self) -> String {
        self.time("expires_at", i64::MAX)
    }
}

impl<'a> Filter<'a> {
    /// What a query asks for.
    pub(super) fn all(query: &'a KeyQuery, now: Timestamp) -> Vec<Self> {
        let mut all = vec![Self::Status(query.status, now)];
        let own = query.workspace.as_ref().map(std::slice::from_ref);
        let reach = [Some(query.reach.as_slice()), own];
        let narrow = reach.into_iter().flatten();
        all.extend(
            narrow
                .filter(|paths| !is_everything(paths))
                .map(Self::Below),
        );
        all.extend(query.consumer.map(Self::Consumer));
        all.extend(query.environment.as_deref().map(Self::Environment));
        let tag = query.tag.as_ref();
        all.extend(tag.map(|tag| Self::Label("tag", tag.to_lowercase())));
        let scope = query.scope.as_ref();
        all.extend(scope.map(|scope| Self::Label("scope", scope.clone())));
        all.extend(query.expires_before.map(Self::ExpiresBefore));
        all.extend(query.unused_since.map(Self::UsedBefore));
        all.extend(query.unused_since.map(Self::MadeBefore));
        all.extend(query.never_expires.map(Self::NeverExpires));
        if let Some(q) = &query.q {
            all.extend(search(q));
        }
        all
    }

    /// Whether an index finds what fulfils it, and that may be few.
    fn has_index(&self) -> bool {
        match self {
            Self::Status(status, _) => !matches!(status, None | Some(KeyStatus::Active)),
            Self::Nothing | Self::NeverExpires(true) => false,
            Self::Below(_)
            | Self::Consumer(_)
            | Self::Environment(_)
            | Self::Label(..)
            | Self::Word(_)
            | Self::Id(_)
            | Self::ExpiresBefore(_)
            | Self::UsedBefore(_)
            | Self::MadeBefore(_)
            | Self::NeverExpires(false) => true,
        }
    }

    /// As [`Filter::candidates`], but a key may stand there for each of its words: they are only counted, and to find those
    /// that are the same all would have to be read first.
    fn about(&self, sql: &mut Sql) {
        if let Self::Word(word) = self {
            worded(sql, "SELECT l.key_id AS id", word);
        } else {
            self.candidates(sql);
        }
    }

    /// The ids of the keys that fulfil it.
    fn candidates(&self, sql: &mut Sql) {
        match self {
            Self::Label(kind, value) => labelled(sql, "SELECT l.key_id AS id", kind, value),
            Self::Word(word) => worded(sql, "SELECT DISTINCT l.key_id AS id", word),
            Self::Status(..)
            | Self::Below(_)
            | Self::Consumer(_)
            | Self::Environment(_)
            | Self::Id(_)
            | Self::Nothing
            | Self::ExpiresBefore(_)
            | Self::UsedBefore(_)
            | Self::MadeBefore(_)
            | Self::NeverExpires(_) => {
                sql.push("SELECT i.id FROM keys i WHERE ");
                self.condition(sql, Form::CANDIDATE);
            }
        }
    }

    fn condition(&self, sql: &mut Sql, form: Form) {
        match self {
            Self::Status(of, now) => status(sql, form, *of, *now),
            Self::Below(paths) => within(sql.push(&form.text("workspace")), paths),
            Self::Consumer(consumer) => {
                sql.push(&form.text("consumer")).push(" = ");
                sql.bind(consumer.text(Kind::Consumer).to_string());
            }
            Self::Environment(environment) => {
                sql.push(&form.text("environment")).push(" = ");
                sql.bind(*environment);
            }
            Self::Label(kind, value) => {
                labelled(sql, "EXISTS (SELECT 1", kind, value);
                sql.push(" AND l.key_id = k.id)");
            }
            Self::Word(word) => {
                worded(sql, "EXISTS (SELECT 1", word);
                sql.push(" AND l.key_id = k.id)");
            }
            Self::Id(id) => {
                sql.push(form.table).push(".id = ").bind(*id);
            }
            Self::Nothing => {
                sql.push("1 = 0");
            }
            Self::ExpiresBefore(end) => {
                sql.push(&form.end()).push(" < ").bind(*end);
            }
            Self::UsedBefore(since) => {
                let last = form.time("last_used_at", 0);
                sql.push(&last).push(" < ").bind(*since);
            }
            Self::MadeBefore(since) => {
                let made = form.number("created_at");
                sql.push(&made).push(" < ").bind(*since);
            }
            Self::NeverExpires(never) => {
                sql.push(&form.end())
                    .push(if *never { " = " } else { " < " });
                sql.push(&i64::MAX.to_string());
            }
        }
    }
}

/// How keys are found.
#[derive(Debug)]
pub(super) enum Way {
    /// Through the candidates of the filter with this place.
    Candidates(usize),
    /// In order; an index has the filter with this place and the order together.
    Order(Option<usize>),
}

impl Way {
    /// The cheaper one. Without an order all keys are counted.
    pub(super) async fn choose(
        connection: &mut AnyConnection,
        filters: &[Filter<'_>],
        sort: Option<SortBy>,
    ) -> Result<Self, StoreError> {
        let mut best = None;
        for (place, filter) in filters.iter().enumerate() {
            if !filter.has_index() {
                continue;
            }
            let mut count = Sql::new("SELECT COUNT(*) AS number FROM (");
            filter.about(&mut count);
            count.push(" LIMIT ").bind(FEW + 1).push(") few");
            let found = count.query().fetch_one(&mut *connection).await?;
            let number = found.number("number")?;
            if number <= FEW && best.is_none_or(|(least, _)| number < least) {
                best = Some((number, place));
            }
            if number <= VERY_FEW {
                break;
            }
        }
        Ok(match best {
            Some((_, place)) => Self::Candidates(place),
            None if sort == Some(SortBy::CreatedAt) => {
                Self::Order(filters.iter().position(has_order))
            }
            None => Self::Order(None),
        })
    }

    /// Writes the tables.
    pub(super) fn from(&self, sql: &mut Sql, filters: &[Filter<'_>]) {
        if let Self::Candidates(place) = self
            && let Some(filter) = filters.get(*place)
        {
            sql.push("(");
            filter.candidates(sql);
            // Written so, `SQLite` takes the candidates first.
            sql.push(") few CROSS JOIN ");
        }
        sql.push("keys k");
    }

    /// Writes ` WHERE` and all conditions.
    pub(super) fn conditions(&self, sql: &mut Sql, filters: &[Filter<'_>]) {
        sql.push(" WHERE ");
        if matches!(self, Self::Candidates(_)) {
            sql.push("k.id = few.id AND ");
        }
        for (place, filter) in filters.iter().enumerate() {
            sql.push(if place == 0 { "" } else { " AND " });
            let indexed = matches!(self, Self::Order(Some(chosen)) if *chosen == place);
            filter.condition(
                sql,
                Form {
                    indexed,
                    ..Form::LISTED
                },
            );
        }
    }
}

/// Whether an index has its keys in the order of their creation.
fn has_order(filter: &Filter<'_>) -> bool {
    match filter {
        Filter::Consumer(_) | Filter::Environment(_) => true,
        Filter::Status(status, _) => status.is_some_and(|status| is_state(status).1),
        Filter::Below(_)
        | Filter::Label(..)
        | Filter::Word(_)
        | Filter::Id(_)
        | Filter::Nothing
        | Filter::ExpiresBefore(_)
        | Filter::UsedBefore(_)
        | Filter::MadeBefore(_)
        | Filter::NeverExpires(_) => false,
    }
}

/// What `q` asks for: a whole id, or words that each begin a word of the key.
fn search(q: &str) -> Vec<Filter<'_>> {
    let q = q.trim();
    if Id::parse(Kind::Key, q).is_some() {
        return vec![Filter::Id(q)];
    }
    let words = words(q);
    if words.is_empty() && !q.is_empty() {
        return vec![Filter::Nothing];
    }
    words.into_iter().map(Filter::Word).collect()
}

fn labelled(sql: &mut Sql, select: &str, kind: &str, value: &str) {
    sql.push(select)
        .push(" FROM labels l WHERE l.kind = '")
        .push(kind);
    sql.push("' AND l.value = ").bind(value);
}

fn worded(sql: &mut Sql, select: &str, word: &str) {
    sql.push(select);
    sql.push(" FROM labels l WHERE l.kind = 'word' AND ");
    begins(sql, "l.value", word);
}

/// The state of keys that show a status, and whether that alone decides.
fn is_state(status: KeyStatus) -> (&'static str, bool) {
    match status {
        KeyStatus::Deleted => ("deleted", true),
        KeyStatus::Revoked => ("revoked", true),
        KeyStatus::Disabled => ("disabled", true),
        KeyStatus::NotYetValid
        | KeyStatus::Expired
        | KeyStatus::Rotating
        | KeyStatus::InactiveWarning
        | KeyStatus::Expiring
        | KeyStatus::Active => ("active", false),
    }
}

/// What [`KeyStatus::of`] says, as a condition.
fn status(sql: &mut Sql, form: Form, status: Option<KeyStatus>, now: Timestamp) {
    let Some(status) = status else {
        sql.push(form.table).push(".state <> 'deleted'");
        return;
    };
    let (state, alone) = is_state(status);
    // Most keys are active: that is not how the others are found.
    let indexed = form.indexed && alone;
    sql.push(&Form { indexed, ..form }.text("state"));
    sql.push(" = '").push(state).push("'");
    // One index serves a condition, that of what the status is about.
    let calm = Form {
        indexed: false,
        ..form
    };
    let rotating = form.number("rotating_until");
    let inactive = form.number("inactive_at");
    let begun = |sql: &mut Sql| {
        sql.push(" AND ").push(&calm.time("not_before", 0));
        sql.push(" <= ").bind(now);
    };
    let lives = |sql: &mut Sql, form: Form| {
        begun(sql);
        sql.push(" AND ").push(&form.end()).push(" > ").bind(now);
    };
    let settled = |sql: &mut Sql| {
        sql.push(" AND (").push(&rotating).push(" IS NULL OR ");
        sql.push(&rotating).push(" <= ").bind(now).push(")");
    };
    let near = Timestamp::from_millis(now.as_millis() + KeyStatus::EXPIRING_MILLIS);
    match status {
        KeyStatus::Deleted | KeyStatus::Revoked | KeyStatus::Disabled => {}
        KeyStatus::NotYetValid => {
            sql.push(" AND ").push(&form.number("not_before"));
            sql.push(" > ").bind(now);
        }
        KeyStatus::Expired => {
            begun(sql);
            sql.push(" AND ").push(&form.end()).push(" <= ").bind(now);
        }
        KeyStatus::Rotating => {
            lives(sql, calm);
            sql.push(" AND ").push(&rotating).push(" > ").bind(now);
        }
        KeyStatus::InactiveWarning => {
            lives(sql, calm);
            settled(sql);
            sql.push(" AND ").push(&inactive).push(" IS NOT NULL");
        }
        KeyStatus::Expiring => {
            lives(sql, form);
            settled(sql);
            sql.push(" AND ").push(&inactive).push(" IS NULL AND ");
            sql.push(&form.end()).push(" <= ").bind(near);
        }
        KeyStatus::Active => {
            begun(sql);
            settled(sql);
            sql.push(" AND ").push(&inactive).push(" IS NULL AND ");
            sql.push(&form.end()).push(" > ").bind(near);
        }
    }
}
