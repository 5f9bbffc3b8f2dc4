//! `keygate keys bulk`: one act on many keys, named by id or found by a filter.

use super::KEY;
use super::rows::Filter;
use crate::cli::ask::Consent;
use crate::cli::client::fresh_key;
use crate::cli::flags::{Care, Once, Why};
use crate::cli::output::{Format, plain};
use crate::cli::resource::Desk;
use crate::cli::{Exit, Failed, say};
use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

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
    /// Every key there is, with `transfer` or any other act
    #[arg(long, conflicts_with_all = ["keys", "ids"])]
    all: bool,
    /// Who gets them, with `transfer`
    #[arg(
        long = "to",
        value_name = "CONSUMER",
        required_if_eq("action", "transfer")
    )]
    to: Option<String>,
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
            Self::Keep => "keep",
            Self::Transfer => "transfer",
        }
    }
}

impl Bulk {
    pub(super) fn run(self, desk: &Desk) -> Result<Exit, Failed> {
        let consent = if self.care.dry_run {
            Consent::Given
        } else {
            Consent::of(self.care.yes)?
        };
        let mut body = self.body(desk)?;
        if consent == Consent::Ask || self.care.dry_run {
            body.insert("dry_run".into(), json!(true));
            let tried = Value::Object(body.clone());
            if self.care.dry_run {
                return send(desk, &tried, None);
            }
            let found = desk.api.post(&[KEY.path, "bulk"]).json(&tried).send()?;
            let count = matched(&found);
            consent.to(&format!("{} {count} keys?", self.action.name()))?;
            body.remove("dry_run");
        }
        let (once, _) = self.once.begin(desk.out.now())?;
        send(desk, &Value::Object(body), Some(&once))
    }

    fn body(&self, desk: &Desk) -> Result<Map<String, Value>, Failed> {
        let mut filter = self.filter.query(desk)?;
        filter.extend(self.search.clone().map(|search| ("q", search)));
        let mut ids = match &self.ids {
            Some(file) => lines(file)?,
            None => self.keys.clone(),
        };
        let named = self.ids.is_some() || !ids.is_empty();
        if named && !filter.is_empty() || !named && filter.is_empty() && !self.all {
            let fault = anyhow!("name keys, or filter them, or say --all: one of these");
            return Err(Failed::with(Exit::Usage, fault));
        }
        for id in &mut ids {
            *id = desk.find(&KEY, id)?;
        }
        let mut body = Map::new();
        body.insert("action".into(), json!(self.action.name()));
        if named {
            body.insert("ids".into(), json!(ids));
        } else {
            body.insert("filter".into(), filter_of(filter));
        }
        if let Some(consumer) = &self.to {
            body.insert("consumer".into(), json!(consumer));
        }
        self.why.put_in(&mut body);
        Ok(body)
    }
}

fn filter_of(query: Vec<(&str, String)>) -> Value {
    let value = |name: &str, text: String| match name {
        "never_expires" => json!(true),
        _ => json!(text),
    };
    let pairs = query
        .into_iter()
        .map(|(name, text)| (name.to_owned(), value(name, text)));
    pairs.collect::<Map<_, _>>().into()
}

/// The ids in a file; empty lines are none.
fn lines(file: &Path) -> Result<Vec<String>, Failed> {
    let from: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).with_context(|| file.display().to_string())?)
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

/// Sends it and shows what became of each key; a part that failed has its exit code.
pub(super) fn send(desk: &Desk, body: &Value, once: Option<&str>) -> Result<Exit, Failed> {
    let once = once.map_or_else(|| fresh_key(desk.out.now()), |once| Ok(once.to_owned()))?;
    let call = desk.api.post(&[KEY.path, "bulk"]).json(body).once(&once);
    let done = call.send()?;
    let results = done["results"].as_array();
    let failed = results.into_iter().flatten().filter_map(refusal);
    let failed: Vec<String> = failed.collect();
    if desk.out.format() == Format::Table {
        for line in &failed {
            say(line);
        }
        let count = matched(&done) - failed.len();
        let what = body["action"].as_str().unwrap_or_default();
        let how = if body["dry_run"] == true {
            "would be done"
        } else {
            "done"
        };
        desk.out.tell(
            &done,
            &format!(
                "{what}: {how} with {count} keys, refused for {}",
                failed.len()
            ),
        )?;
    } else if desk.out.format() == Format::Name {
        let ids = results
            .into_iter()
            .flatten()
            .filter(|item| refusal(item).is_none());
        for item in ids {
            crate::cli::print(&crate::cli::output::name(item))?;
        }
    } else {
        desk.out.one(&done)?;
    }
    Ok(if failed.is_empty() {
        Exit::Ok
    } else {
        Exit::Partial
    })
}

fn matched(done: &Value) -> usize {
    let said = done["matched"]
        .as_u64()
        .and_then(|count| usize::try_from(count).ok());
    said.unwrap_or_else(|| done["results"].as_array().map_or(0, Vec::len))
}

/// Why an item of a bulk act or an import was refused, in one line; nothing when it was not.
pub(super) fn refusal(item: &Value) -> Option<String> {
    let error = if item["error"].is_object() {
        &item["error"]
    } else {
        item
    };
    let errors = error["errors"]
        .as_array()
        .filter(|errors| !errors.is_empty());
    let code = error["code"]
        .as_str()
        .filter(|_| errors.is_some() || !is_good(item));
    if errors.is_none() && code.is_none() && is_good(item) {
        return None;
    }
    let name = ["id", "name"].iter().find_map(|field| item[field].as_str());
    let words = ["detail", "message"]
        .iter()
        .find_map(|field| error[field].as_str());
    let mut line = name
        .map(|name| format!("{}: ", plain(name)))
        .unwrap_or_default();
    line.push_str(&plain(words.unwrap_or("refused")));
    if let Some(code) = code {
        let _ = write!(line, " ({})", plain(code));
    }
    for field in errors.into_iter().flatten() {
        let text = |name: &str| field[name].as_str().map(plain).unwrap_or_default();
        let _ = write!(line, "; {}: {}", text("pointer"), text("message"));
    }
    Some(line)
}

fn is_good(item: &Value) -> bool {
    item["error"].is_null()
        && !item["ok"].eq(&json!(false))
        && item["status"].as_u64().is_none_or(|status| status < 400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_items_are_told() {
        for (item, want) in [
            (json!({"id": "key_1"}), None),
            (json!({"id": "key_1", "status": "active"}), None),
            (json!({"id": "key_1", "error": null}), None),
            (
                json!({"id": "key_1", "error": {"code": "key_revoked", "message": "it is revoked"}}),
                Some("key_1: it is revoked (key_revoked)"),
            ),
            (
                json!({"name": "ci", "error": {"code": "validation_failed", "detail": "not valid",
                    "errors": [{"pointer": "/scopes", "code": "invalid", "message": "no scope"}]}}),
                Some("ci: not valid (validation_failed); /scopes: no scope"),
            ),
            (
                json!({"id": "key_1", "ok": false, "code": "forbidden"}),
                Some("key_1: refused (forbidden)"),
            ),
            (
                json!({"id": "key_1", "status": 409}),
                Some("key_1: refused"),
            ),
        ] {
            assert_eq!(refusal(&item).as_deref(), want, "{item}");
        }
    }
}
