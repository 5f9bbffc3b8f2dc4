//! `keygate keys bulk`: one act on many keys, named by id or found by a filter.

use super::KEY;
use super::rows::Filter;
use crate::cli::ask::Consent;
use crate::cli::client::{Listed, Problem};
use crate::cli::flags::{Care, Once, Why};
use crate::cli::output::{Cell, Column, Format, column, keys, name, plain};
use crate::cli::resource::Desk;
use crate::cli::{Exit, Failed, files, print, say};
use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use serde_json::{Map, Value, json};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Most keys that the API takes by id at a time.
const MOST_IDS: usize = 1000;
/// Most keys that a list shows at a time.
const LARGEST_PAGE: usize = 200;

/// What would become of each key.
const ATTEMPT: &[Column] = &[
    column("ID", "id", Cell::Id, 0),
    column("WOULD BE", "status|code", Cell::Status, 0),
    column("WHY NOT", "message", Cell::Text, 1),
];

#[derive(Args)]
pub(super) struct Bulk {
    /// What to do
    #[arg(value_enum)]
    action: Action,
    /// Ids or names
    keys: Vec<String>,
    /// File of ids, one per line; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "keys")]
    ids: Option<std::path::PathBuf>,
    #[command(flatten)]
    filter: Filter,
    /// Only those with a word that begins so
    #[arg(long, value_name = "WORD")]
    search: Option<String>,
    /// Every key there is
    #[arg(long, conflicts_with_all = ["keys", "ids"])]
    all: bool,
    /// Who gets them, with `transfer`
    #[arg(long, value_name = "CONSUMER")]
    to: Option<String>,
    /// With `transfer`: they belong to no consumer from now on
    #[arg(long, conflicts_with = "to")]
    to_nobody: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    care: Care,
    #[command(flatten)]
    once: Once,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Action {
    Disable,
    Enable,
    Revoke,
    Delete,
    Restore,
    Retire,
    Keep,
    Transfer,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Enable => "enable",
            Self::Revoke => "revoke",
            Self::Delete => "delete",
            Self::Restore => "restore",
            Self::Retire => "retire",
            Self::Keep => "keep",
            Self::Transfer => "transfer",
        }
    }
}

impl Bulk {
    pub(super) fn run(self, desk: &Desk) -> Result<Exit, Failed> {
        self.check()?;
        if self.care.dry_run {
            return attempt(desk, self.body(desk)?);
        }
        let consent = Consent::of(self.care.yes)?;
        let (once, _) = self.once.begin(desk.out.now())?;
        let mut body = self.body(desk)?;
        let count = if let Some(Value::Array(ids)) = body.get("ids") {
            ids.len()
        } else {
            settle(desk, &mut body)?
        };
        let count = keys(u64::try_from(count).unwrap_or(u64::MAX));
        consent.to(&format!("{} {count}?", self.action.name()))?;
        let done = perform(desk, body, Some(&once))?;
        show(desk, &done, self.action.name())
    }

    fn is_named(&self) -> bool {
        self.ids.is_some() || !self.keys.is_empty()
    }

    fn has_heir(&self) -> bool {
        self.to.is_some() || self.to_nobody
    }

    /// What is wrong with the command line, before anybody is asked for anything.
    fn check(&self) -> Result<(), Failed> {
        let filtered = !self.filter.is_empty() || self.search.is_some();
        let named = self.is_named();
        if named && filtered || !named && !filtered && !self.all {
            let fault = anyhow!("name keys, or filter them, or say --all: one of these");
            return Err(Failed::with(Exit::Usage, fault));
        }
        if self.has_heir() != (self.action == Action::Transfer) {
            let fault = anyhow!(
                "--to or --to-nobody goes with `transfer`, and `transfer` with one of them"
            );
            return Err(Failed::with(Exit::Usage, fault));
        }
        Ok(())
    }

    fn body(&self, desk: &Desk) -> Result<Map<String, Value>, Failed> {
        let mut filter = self.filter.query(desk)?;
        filter.extend(self.search.clone().map(|search| ("q", search)));
        let mut ids = match &self.ids {
            Some(file) => lines(file)?,
            None => self.keys.clone(),
        };
        let mut body = Map::new();
        body.insert("action".into(), json!(self.action.name()));
        if self.is_named() {
            for id in &mut ids {
                *id = self.find(desk, id)?;
            }
            body.insert("ids".into(), json!(ids));
        } else {
            let pairs = filter.into_iter();
            let pairs = pairs.map(|(name, text)| (name.to_owned(), Value::from(text)));
            body.insert("filter".into(), pairs.collect::<Map<_, _>>().into());
        }
        if self.has_heir() {
            body.insert("consumer".into(), json!(self.to));
        }
        self.why.put_in(&mut body);
        Ok(body)
    }

    /// Deleted keys are in no list that does not ask for them.
    fn find(&self, desk: &Desk, named: &str) -> Result<String, Failed> {
        if self.action == Action::Restore {
            desk.find_among(&KEY, named, &[("status", "deleted".to_owned())])
        } else {
            desk.find(&KEY, named)
        }
    }
}

/// What a filter finds is counted first, and done only if it finds as many then. More than the gateway does at a time are
/// named by their ids from here on.
fn settle(desk: &Desk, body: &mut Map<String, Value>) -> Result<usize, Failed> {
    let mut tried = body.clone();
    tried.insert("dry_run".into(), json!(true));
    match send(desk, tried, None) {
        Ok(found) => {
            let count = items(&found).len();
            body.insert("expected".into(), json!(count));
            Ok(count)
        }
        Err(failed) if is_too_many(&failed) => name_all(desk, body),
        Err(failed) => Err(failed),
    }
}

fn is_too_many(failed: &Failed) -> bool {
    let problem = failed.cause.downcast_ref::<Problem>();
    problem.is_some_and(|problem| problem.code == "too_many_keys")
}

/// Puts the ids of all that a filter finds in its place; how many there are.
fn name_all(desk: &Desk, body: &mut Map<String, Value>) -> Result<usize, Failed> {
    let filter = body.remove("filter").unwrap_or_default();
    let pairs = filter.as_object().into_iter().flatten();
    let mut query: Vec<(&str, String)> = pairs
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?.to_owned())))
        .collect();
    query.push(("limit", LARGEST_PAGE.to_string()));
    let mut ids: Vec<Value> = Vec::new();
    // Shown on a terminal only.
    let bar = ProgressBar::new_spinner();
    let mut next: Option<String> = None;
    loop {
        let mut call = desk.api.get(&[KEY.path]).queries(&query);
        if let Some(cursor) = &next {
            call = call.query("cursor", cursor);
        }
        let mut page = call.send()?;
        let found = page["data"].as_array_mut().into_iter().flatten();
        // Those of the config file are in lists, but no filter of an act finds them.
        let found = found.filter(|key| key["managed_by"] != "file");
        ids.extend(found.map(|key| key["id"].take()));
        bar.set_message(format!("{} found", keys(ids.len() as u64)));
        bar.tick();
        next = page["next"].as_str().map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    bar.finish_and_clear();
    let count = ids.len();
    body.insert("ids".into(), ids.into());
    Ok(count)
}

/// The ids in a file; empty lines are none.
fn lines(file: &Path) -> Result<Vec<String>, Failed> {
    let from: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(files::open(file)?)
    };
    let mut ids = Vec::new();
    for line in BufReader::new(from).lines() {
        let line = line.with_context(|| file.display().to_string())?;
        if !line.trim().is_empty() {
            ids.push(line.trim().to_owned());
        }
    }
    Ok(ids)
}

/// Shows what would become of each key, and does nothing.
pub(super) fn attempt(desk: &Desk, mut body: Map<String, Value>) -> Result<Exit, Failed> {
    body.insert("dry_run".into(), json!(true));
    let action = body["action"].as_str().unwrap_or_default().to_owned();
    let mut tried = perform(desk, body.clone(), None);
    if tried.as_ref().is_err_and(is_too_many) {
        name_all(desk, &mut body)?;
        tried = perform(desk, body, None);
    }
    let done = tried?;
    match desk.out.format() {
        Format::Table => {
            desk.out.list(ATTEMPT, &Listed::of(items(&done).to_vec()))?;
            let count = |name: &str| done[name].as_u64().unwrap_or_default();
            let refused = match count("failed") {
                0 => String::new(),
                failed => format!(", refused for {failed}"),
            };
            let would = keys(count("changed"));
            say(&format!(
                "dry run: would {action} {would}{refused}; nothing was done"
            ));
        }
        Format::Json | Format::Yaml | Format::Name => tell(desk, &done)?,
    }
    Ok(ended(&done))
}

fn send(desk: &Desk, body: Map<String, Value>, once: Option<&str>) -> Result<Value, Failed> {
    let mut call = desk.api.post(&[KEY.path, "bulk"]);
    if let Some(once) = once {
        call = call.once_by_flag(once);
    }
    call.json(&Value::Object(body)).send()
}

/// Sends it, a thousand ids at a time; all answers as one.
fn perform(desk: &Desk, mut body: Map<String, Value>, once: Option<&str>) -> Result<Value, Failed> {
    let Some(Value::Array(ids)) = body.remove("ids") else {
        return send(desk, body, once);
    };
    let mut all: Option<Value> = None;
    let count = ids.len();
    // Shown on a terminal only.
    let bar = ProgressBar::new(ids.len() as u64);
    for (place, ids) in ids.chunks(MOST_IDS).enumerate() {
        body.insert("ids".into(), json!(ids));
        let once = once.map(|once| match place {
            0 => once.to_owned(),
            place => format!("{once}-{place}"),
        });
        let done = send(desk, body.clone(), once.as_deref()).map_err(|failed| {
            if place == 0 {
                return failed;
            }
            let done = place * MOST_IDS;
            let words =
                format!("stopped behind {done} of {count} keys; the same command does the rest");
            Failed::with(Exit::Partial, failed.cause.context(words))
        })?;
        bar.inc(ids.len() as u64);
        all = Some(match all {
            Some(known) => joined(&known, &done),
            None => done,
        });
    }
    bar.finish_and_clear();
    Ok(all.unwrap_or_else(|| {
        let dry_run = body.get("dry_run");
        json!({"data": [], "changed": 0, "failed": 0, "dry_run": dry_run})
    }))
}

fn joined(known: &Value, done: &Value) -> Value {
    let count = |answer: &Value, name: &str| answer[name].as_u64().unwrap_or_default();
    let data = [items(known), items(done)].concat();
    let sum = |name: &str| count(known, name) + count(done, name);
    json!({
        "data": data,
        "changed": sum("changed"),
        "failed": sum("failed"),
        "dry_run": done["dry_run"],
        "revision": done["revision"],
    })
}

fn items(done: &Value) -> &[Value] {
    done["data"].as_array().map_or(&[], Vec::as_slice)
}

/// Shows what became of each key; a part that failed has its exit code.
fn show(desk: &Desk, done: &Value, action: &str) -> Result<Exit, Failed> {
    if desk.out.format() == Format::Table {
        for item in items(done).iter().filter(|item| item["ok"] != true) {
            let text = |name: &str| item[name].as_str().map(plain).unwrap_or_default();
            say(&format!(
                "{}: {} ({})",
                text("id"),
                text("message"),
                text("code")
            ));
        }
        let done_with = keys(done["changed"].as_u64().unwrap_or_default());
        let words = format!(
            "{action}: done with {done_with}, refused for {}",
            done["failed"]
        );
        print(&words)?;
    } else {
        tell(desk, done)?;
    }
    Ok(ended(done))
}

/// For scripts: the answer, or the ids that it was done with.
fn tell(desk: &Desk, done: &Value) -> Result<(), Failed> {
    if desk.out.format() != Format::Name {
        return desk.out.one(done);
    }
    for item in items(done).iter().filter(|item| item["ok"] == true) {
        print(&name(item))?;
    }
    Ok(())
}

fn ended(done: &Value) -> Exit {
    if items(done).iter().all(|item| item["ok"] == true) {
        Exit::Ok
    } else {
        Exit::Partial
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_portions_are_one() {
        let first = json!({"data": [{"id": "key_1", "ok": true}], "changed": 1, "failed": 0, "dry_run": false, "revision": 7});
        let second = json!({"data": [{"id": "key_2", "ok": false}], "changed": 0, "failed": 1, "dry_run": false, "revision": 8});
        let all = joined(&first, &second);
        let want = json!({
            "data": [{"id": "key_1", "ok": true}, {"id": "key_2", "ok": false}],
            "changed": 1, "failed": 1, "dry_run": false, "revision": 8
        });
        assert_eq!(all, want);
        assert_eq!((ended(&first), ended(&all)), (Exit::Ok, Exit::Partial));
    }
}
