//! `keygate keys import`: line by line in batches, so that a million keys need no memory, and a fault in one stops no other.

use super::KEY;
use super::rows_of_file::{Form, Item, Items};
use crate::cli::client::{fresh_key, problem_field};
use crate::cli::output::{Format, keys};
use crate::cli::resource::Desk;
use crate::cli::{Exit, Failed, print, say};
use anyhow::anyhow;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::path::PathBuf;

const BATCH_ITEMS: usize = 1000;
/// The API takes bodies of a few MiB.
const BATCH_BYTES: usize = 1024 * 1024;

#[derive(Args)]
pub(super) struct Import {
    /// File of keys; - is standard input
    file: PathBuf,
    /// Form of the file [default: by its name, else ndjson]
    #[arg(long, value_enum, value_name = "FORM")]
    format: Option<Form>,
    /// Go on from this line, as the last try said
    #[arg(long, value_name = "LINE", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from: u64,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// How it went so far.
#[derive(Default)]
struct Tally {
    done: u64,
    refused: Vec<Value>,
}

impl Import {
    pub(super) fn run(self, desk: &Desk) -> Result<Exit, Failed> {
        let mut items = Items::open(&self.file, self.format)?;
        let bar = bar(items.bytes());
        let mut tally = Tally::default();
        loop {
            let batch = batch(&mut items, self.from, &mut tally)?;
            let Some(first) = batch.first().map(|item| item.line) else {
                break;
            };
            self.send(desk, &batch, &mut tally).map_err(|failed| {
                bar.abandon();
                report(&tally);
                let words = format!("stopped; `--from {first}` goes on from there");
                Failed::with(failed.exit, failed.cause.context(words))
            })?;
            bar.set_position(items.read());
            bar.set_message(keys(tally.done));
        }
        bar.finish_and_clear();
        tally
            .refused
            .sort_by_key(|refused| refused["line"].as_u64());
        self.tell(desk, &tally)
    }

    fn send(&self, desk: &Desk, batch: &[Item], tally: &mut Tally) -> Result<(), Failed> {
        let body: String = batch
            .iter()
            .flat_map(|item| [item.json.as_str(), "\n"])
            .collect();
        let mut call = desk
            .api
            .post(&[KEY.path, "import"])
            .kind("application/x-ndjson");
        if self.dry_run {
            call = call.query("dry_run", "true");
        }
        let done = call.bytes(body).once(&fresh_key(desk.out.now())?).send()?;
        let results = done["data"].as_array();
        let results = results.ok_or_else(|| anyhow!("the gateway's answer has no results"))?;
        for result in results.iter().filter(|result| result["ok"] != true) {
            let place = result["line"].as_u64().and_then(|line| line.checked_sub(1));
            let place = place.and_then(|place| usize::try_from(place).ok());
            let line = place.and_then(|place| batch.get(place));
            let why = result["errors"].as_array().into_iter().flatten();
            let why: Vec<String> = why.map(problem_field).collect();
            let line = line.map(|item| item.line);
            tally
                .refused
                .push(json!({"line": line, "message": why.join("; ")}));
        }
        tally.done += done["imported"].as_u64().unwrap_or_default();
        Ok(())
    }

    fn tell(&self, desk: &Desk, tally: &Tally) -> Result<Exit, Failed> {
        let refused = tally.refused.len();
        if desk.out.format() == Format::Table {
            report(tally);
            let done = keys(tally.done);
            print(&if self.dry_run {
                format!("dry run: would import {done}, {refused} refused; nothing was done")
            } else {
                format!("{done} imported, {refused} refused")
            })?;
        } else {
            desk.out.one(
                &json!({"imported": tally.done, "refused": tally.refused, "dry_run": self.dry_run}),
            )?;
        }
        Ok(if refused == 0 {
            Exit::Ok
        } else {
            Exit::Partial
        })
    }
}

/// A line on standard error for each that was refused.
fn report(tally: &Tally) {
    for refused in &tally.refused {
        let message = refused["message"].as_str().unwrap_or_default();
        say(&format!("line {}: {message}", refused["line"]));
    }
}

/// The next items that fit one call. What cannot be read is refused here.
fn batch(items: &mut Items, from: u64, tally: &mut Tally) -> Result<Vec<Item>, Failed> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < BATCH_ITEMS && bytes < BATCH_BYTES {
        match items.next(from)? {
            None => break,
            Some(Ok(item)) => {
                bytes += item.json.len();
                batch.push(item);
            }
            Some(Err((line, message))) => {
                tally
                    .refused
                    .push(json!({"line": line, "message": message}));
            }
        }
    }
    Ok(batch)
}

/// Shown on a terminal only.
fn bar(bytes: Option<u64>) -> ProgressBar {
    let bar = bytes.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let style = if bytes.is_some() {
        "{bar:30} {percent}% {msg} {elapsed} (about {eta} left)"
    } else {
        "{spinner} {msg} {elapsed}"
    };
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}
