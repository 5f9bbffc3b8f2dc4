//! `keygate audit`: who did what, and whether the log is whole.

use super::client::{Listed, Place};
use super::export::To;
use super::flags::{Common, Paging};
use super::output::{Cell, Column, Format, column};
use super::parse::When;
use super::resource::Desk;
use super::workspaces::WORKSPACE;
use super::{Exit, Failed, print};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::thread;
use std::time::Duration;

/// When, who, what and with what: an event without one of them tells little, so these stay however narrow it is.
const COLUMNS: &[Column] = &[
    column("SEQUENCE", "sequence", Cell::Count, 1),
    column("AT", "at", Cell::Moment, 0),
    column("ACTION", "action", Cell::Id, 0),
    column("OUTCOME", "outcome", Cell::Status, 2),
    column("ACTOR", "actor_name|actor", Cell::Text, 0),
    column("TARGET", "target_name|target", Cell::Text, 0),
];

#[derive(Args)]
pub(super) struct Audit {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List events, the newest first
    #[command(
        after_help = "Examples:\n  keygate audit list --action key.revoked\n  keygate audit list --target key_01jyzx5rhdf3sbz3hv1yqn2tp9 --since 7d"
    )]
    List(List),
    /// Show events as they happen
    #[command(
        after_help = "Examples:\n  keygate audit tail\n  keygate audit tail -o json --outcome denied"
    )]
    Tail(Tail),
    /// Take the log out, as JSON lines or CSV
    #[command(
        after_help = "Example:\n  keygate audit export --since 30d --format csv --to audit.csv"
    )]
    Export(Export),
    /// Check the chain of hashes; exits with 0 or 7
    #[command(after_help = "Example:\n  keygate audit verify")]
    Verify,
    /// Show the end of the chain, to be kept elsewhere
    #[command(after_help = "Example:\n  keygate audit head -o json")]
    Head,
}

#[derive(Args)]
struct Filter {
    /// Only by this actor: id of a member or token
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Only with this target: id
    #[arg(long, value_name = "ID")]
    target: Option<String>,
    /// Only this action: key.revoked, or key.* for all that begin so
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only of this class: management, authentication, authorization, use or system
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Only about this workspace and those below, by id or name
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    /// Only with this outcome: success, denied or error
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    /// From then on: 7d ago, or 2026-01-01
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Up to then
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
}

impl Filter {
    fn query(&self, desk: &Desk) -> Result<Vec<(&'static str, String)>, Failed> {
        let workspace = self.workspace.as_deref();
        let workspace = workspace.map(|named| desk.find(&WORKSPACE, named));
        let back = |when: &Option<When>| {
            let at = when.as_ref().map(|when| when.back(desk.out.now()));
            at.as_ref().and_then(Value::as_str).map(str::to_owned)
        };
        let pairs = [
            ("actor", self.actor.clone()),
            ("target", self.target.clone()),
            ("action", self.action.clone()),
            ("class", self.class.clone()),
            ("workspace", workspace.transpose()?),
            ("outcome", self.outcome.clone()),
            ("from", back(&self.since)),
            ("to", back(&self.until)),
        ];
        let given = pairs.into_iter();
        Ok(given
            .filter_map(|(name, value)| Some((name, value?)))
            .collect())
    }
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Args)]
struct Tail {
    #[command(flatten)]
    filter: Filter,
    /// Show this many that have happened already
    #[arg(long, value_name = "N", default_value_t = 10)]
    lines: u32,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// End after so many looks
    #[arg(long, hide = true)]
    looks: Option<u64>,
}

#[derive(Args)]
struct Export {
    #[command(flatten)]
    filter: Filter,
    /// Form of the file
    #[arg(long, value_name = "FORM", default_value = "jsonl", value_parser = ["jsonl", "csv"])]
    format: String,
    #[command(flatten)]
    to: To,
}

impl Audit {
    pub(super) fn run(self, place: &Place) -> Result<Exit, Failed> {
        let desk = self.common.open(place)?;
        match self.verb {
            Verb::List(list) => {
                let query = list.filter.query(&desk)?;
                desk.report(&["audit"], &query, COLUMNS, list.paging.most())?;
                Ok(Exit::Ok)
            }
            Verb::Tail(tail) => tail.run(&desk),
            Verb::Export(export) => {
                let query = export.filter.query(&desk)?;
                let call = desk.api.get(&["audit", "export"]).queries(&query);
                export.to.take(call.query("format", &export.format))
            }
            Verb::Verify => verify(&desk),
            Verb::Head => {
                desk.out.one(&desk.api.get(&["audit", "head"]).send()?)?;
                Ok(Exit::Ok)
            }
        }
    }
}

fn verify(desk: &Desk) -> Result<Exit, Failed> {
    let answer = desk.api.post(&["audit", "verify"]).send()?;
    desk.out.one(&answer)?;
    Ok(if answer["ok"] == true {
        Exit::Ok
    } else {
        Exit::CheckFailed
    })
}

impl Tail {
    /// Pages go from the newest back; those up to the last one seen are new.
    fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let query = self.filter.query(desk)?;
        let lines = usize::try_from(self.lines).unwrap_or(usize::MAX);
        let first = desk.api.pages(&["audit"], &query, lines.max(1))?;
        let mut seen = first.rows.first().and_then(sequence).unwrap_or(0);
        let shown = lines.min(first.rows.len());
        show(desk, &first.rows[..shown])?;
        let mut looks = 0;
        while self.looks.is_none_or(|most| looks < most) {
            thread::sleep(Duration::from_secs(self.interval));
            looks += 1;
            let new = newer(desk, &query, seen)?;
            seen = new.first().and_then(sequence).unwrap_or(seen);
            show(desk, &new)?;
        }
        Ok(Exit::Ok)
    }
}

/// Events behind `seen`, the newest first.
fn newer(desk: &Desk, query: &[(&str, String)], seen: u64) -> Result<Vec<Value>, Failed> {
    let mut most = 50;
    loop {
        let Listed { mut rows, next, .. } = desk.api.pages(&["audit"], query, most)?;
        let got = rows.len();
        rows.retain(|row| sequence(row).is_some_and(|sequence| sequence > seen));
        if rows.len() < got || next.is_none() {
            return Ok(rows);
        }
        most *= 4;
    }
}

fn sequence(event: &Value) -> Option<u64> {
    event["sequence"].as_u64()
}

/// A line per event, the oldest first.
fn show(desk: &Desk, newest_first: &[Value]) -> Result<(), Failed> {
    for event in newest_first.iter().rev() {
        match desk.out.format() {
            Format::Json => print(&event.to_string())?,
            Format::Yaml => {
                print("---")?;
                desk.out.one(event)?;
            }
            Format::Name => desk.out.one(event)?,
            Format::Table => print(&desk.out.line(COLUMNS, event))?,
        }
    }
    Ok(())
}
