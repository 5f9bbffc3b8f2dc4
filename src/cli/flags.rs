//! Flags that several commands share, each only where it does something.

use super::client::{Api, Place, fresh_key, made_at};
use super::output::{Format, Output};
use super::parse::Pair;
use super::resource::Desk;
use super::{Exit, Failed};
use crate::domain::time::Timestamp;
use anyhow::anyhow;
use clap::Args;
use clap::builder::FalseyValueParser;
use serde_json::{Map, Value};
use std::path::PathBuf;

const SHARED: &str = "Gateway and output";

/// Where the gateway is, and how its answer is shown.
#[derive(Args)]
pub(super) struct Common {
    /// Management port of the gateway [default: of the config file, else of the last login]
    #[arg(
        long,
        global = true,
        env = "KEYGATE_URL",
        hide_env_values = true,
        value_name = "URL",
        help_heading = SHARED
    )]
    url: Option<String>,
    /// How to show the answer; name shows ids only
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORM",
        default_value_t = Format::Table,
        help_heading = SHARED
    )]
    output: Format,
    /// No colours
    #[arg(
        long,
        global = true,
        env = "NO_COLOR",
        hide_env_values = true,
        value_parser = FalseyValueParser::new(),
        help_heading = SHARED
    )]
    no_color: bool,
}

impl Common {
    /// Ready to ask, as who `login` or `KEYGATE_TOKEN` say.
    pub(super) fn open(&self, place: &Place) -> Result<Desk, Failed> {
        let url = place.url(self.url.as_deref())?;
        let (token, origin) = place.token(&url)?;
        Ok(Desk {
            api: Api::new(url, token.as_ref())?.with_origin(origin),
            out: self.show(),
        })
    }

    pub(super) fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    pub(super) fn format(&self) -> Format {
        self.output
    }

    pub(super) fn show(&self) -> Output {
        Output::new(self.output, self.no_color)
    }
}

/// How much of a list.
#[derive(Args)]
pub(super) struct Paging {
    /// Show this many at most
    #[arg(
        long,
        value_name = "N",
        default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    limit: u32,
    /// Show all, however many there are
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl Paging {
    pub(super) fn most(&self) -> usize {
        if self.all {
            usize::MAX
        } else {
            usize::try_from(self.limit).unwrap_or(usize::MAX)
        }
    }
}

/// Consent to what cannot be undone.
#[derive(Args)]
pub(super) struct Sure {
    /// Do not ask
    #[arg(short, long)]
    pub(super) yes: bool,
}

/// Consent, or a try.
#[derive(Args)]
pub(super) struct Care {
    /// Do not ask
    #[arg(short, long)]
    pub(super) yes: bool,
    /// Show what would be done, and do nothing
    #[arg(long, conflicts_with = "yes")]
    pub(super) dry_run: bool,
}

/// Why something is done, for the audit log.
#[derive(Args)]
pub(super) struct Why {
    /// Reason, as one word, such as compromised
    #[arg(long, value_name = "WORD")]
    reason: Option<String>,
    /// Reason, in words
    #[arg(long, value_name = "WORDS")]
    text: Option<String>,
}

impl Why {
    pub(super) fn put_in(&self, body: &mut Map<String, Value>) {
        put(body, "reason", self.reason.as_deref());
        put(body, "text", self.text.as_deref());
    }
}

/// Protection against doing something twice.
#[derive(Args)]
pub(super) struct Once {
    /// Same key, same answer: what was done before is not done again [default: a fresh one]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Once {
    /// The key, and the time that times from now count from.
    pub(super) fn begin(&self, now: Timestamp) -> Result<(String, Timestamp), Failed> {
        match &self.idempotency_key {
            Some(key) => Ok((key.clone(), made_at(key).unwrap_or(now))),
            None => Ok((fresh_key(now)?, now)),
        }
    }
}

/// Where a new secret goes.
#[derive(Args)]
pub(super) struct Keep {
    /// Write the new secret to this file, readable by its owner only, and do not show it
    #[arg(long, value_name = "FILE")]
    pub(super) save_to: Option<PathBuf>,
    /// Do not ask; write over a file that is there
    #[arg(short, long)]
    pub(super) yes: bool,
}

/// The first of these flags that was given.
pub(super) fn said(flags: &[(&'static str, bool)]) -> Option<&'static str> {
    flags
        .iter()
        .find(|(_, given)| *given)
        .map(|(flag, _)| *flag)
}

/// Nobody empties a field and fills it at once: `flag` is what was given for it.
pub(super) fn cleared_only(field: &str, flag: Option<&'static str>) -> Result<(), Failed> {
    match flag {
        None => Ok(()),
        Some(flag) => {
            let fault = anyhow!("--clear {field} and {flag}: one of these");
            Err(Failed::with(Exit::Usage, fault))
        }
    }
}

/// A field of a body, when there is something to say.
pub(super) fn put(body: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(name.to_owned(), value.into());
    }
}

/// A list of a body, when it has entries.
pub(super) fn put_list(body: &mut Map<String, Value>, name: &str, entries: &[String]) {
    if !entries.is_empty() {
        body.insert(name.to_owned(), entries.into());
    }
}

/// `metadata`, when there is any.
pub(super) fn put_pairs(body: &mut Map<String, Value>, pairs: &[Pair]) {
    if !pairs.is_empty() {
        let pairs = pairs
            .iter()
            .map(|pair| (pair.name.clone(), Value::from(pair.value.clone())));
        body.insert("metadata".into(), pairs.collect::<Map<_, _>>().into());
    }
}

/// How many requests may come.
#[derive(Args)]
pub(super) struct Limits {
    /// Most requests over time, such as 100/s or 1000/h
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,
    /// Most requests at once [default: as many as the rate has in its unit]
    #[arg(long, value_name = "NUMBER")]
    burst: Option<u32>,
}

impl Limits {
    /// The flag that was given, if one was.
    pub(super) fn flag(&self) -> Option<&'static str> {
        said(&[
            ("--rate", self.rate.is_some()),
            ("--burst", self.burst.is_some()),
        ])
    }

    /// Those that were given.
    pub(super) fn put_in(&self, body: &mut Map<String, Value>) {
        let mut limits = Map::new();
        put(&mut limits, "rate", self.rate.as_deref());
        put(&mut limits, "burst", self.burst);
        if !limits.is_empty() {
            body.insert("limits".into(), limits.into());
        }
    }
}
