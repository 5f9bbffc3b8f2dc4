//! Acts on one key.

use super::KEY;
use crate::cli::ask::Consent;
use crate::cli::flags::{Care, Keep, Once, Sure, Why, put};
use crate::cli::output::Format;
use crate::cli::parse::Span;
use crate::cli::resource::Desk;
use crate::cli::secret::Destination;
use crate::cli::{Exit, Failed};
use clap::Args;
use serde_json::{Map, Value, json};

/// A key, and nothing else to say.
#[derive(Args)]
pub(super) struct Target {
    /// Id, name or hint
    key: String,
}

impl Target {
    pub(super) fn run(&self, desk: &Desk, act: &str) -> Result<Exit, Failed> {
        let id = desk.find(&KEY, &self.key)?;
        desk.act(&KEY, &id, act, Map::new())
    }

    /// Deleted keys are in no list that does not ask for them.
    pub(super) fn restore(&self, desk: &Desk) -> Result<Exit, Failed> {
        let deleted = [("status", "deleted".to_owned())];
        let id = desk.find_among(&KEY, &self.key, &deleted)?;
        desk.act(&KEY, &id, "restore", Map::new())
    }
}

#[derive(Args)]
pub(super) struct Disable {
    /// Id, name or hint
    key: String,
    #[command(flatten)]
    why: Why,
}

impl Disable {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let id = desk.find(&KEY, &self.key)?;
        let mut body = Map::new();
        self.why.put_in(&mut body);
        desk.act(&KEY, &id, "disable", body)
    }
}

#[derive(Args)]
pub(super) struct Rotate {
    /// Id, name or hint
    key: String,
    /// How long the old secret stays good: 0s to 30d [default: 24h]
    #[arg(long, value_name = "TIME")]
    grace: Option<Span>,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    once: Once,
}

impl Rotate {
    pub(super) fn run(self, desk: &Desk, format: Format) -> Result<Exit, Failed> {
        let destination = Destination::prepare(&self.keep, format)?;
        let (once, _) = self.once.begin(desk.out.now())?;
        let id = desk.find(&KEY, &self.key)?;
        let mut body = Map::new();
        put(&mut body, "grace", self.grace.map(|grace| grace.text));
        let call = desk
            .api
            .post(&[KEY.path, &id, "rotate"])
            .once_by_flag(&once);
        let made = call.json(&Value::Object(body)).send()?;
        destination.deliver(made, &desk.out, &once)?;
        Ok(Exit::Ok)
    }
}

#[derive(Args)]
pub(super) struct Retire {
    /// Id, name or hint
    key: String,
    /// Number of the secret [default: all but the newest]
    #[arg(long, value_name = "NUMBER")]
    secret: Option<u64>,
    #[command(flatten)]
    sure: Sure,
}

impl Retire {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let consent = Consent::of(self.sure.yes)?;
        let id = desk.find(&KEY, &self.key)?;
        if consent == Consent::Ask {
            let named = desk.named(&KEY, &id)?;
            consent.to(&format!("Refuse the older secrets of {named} from now on?"))?;
        }
        let mut body = Map::new();
        put(&mut body, "number", self.secret);
        desk.act(&KEY, &id, "retire", body)
    }
}

/// The end of a key.
#[derive(Args)]
pub(super) struct End {
    /// Id, name or hint
    key: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    care: Care,
}

impl End {
    pub(super) fn revoke(&self, desk: &Desk) -> Result<Exit, Failed> {
        let mut body = Map::new();
        self.why.put_in(&mut body);
        if self.care.dry_run {
            // The act itself has no try, but many keys have one: it is told by the gateway whether it would be done.
            let id = desk.find(&KEY, &self.key)?;
            body.insert("action".into(), json!("revoke"));
            body.insert("ids".into(), json!([id]));
            return super::bulk::attempt(desk, body);
        }
        let id = self.consented(desk, "Revoke", "for good")?;
        desk.act(&KEY, &id, "revoke", body)
    }

    pub(super) fn delete(&self, desk: &Desk) -> Result<Exit, Failed> {
        let id = if self.care.dry_run {
            desk.find(&KEY, &self.key)?
        } else {
            self.consented(desk, "Delete", "(it can be restored for 30 days)")?
        };
        let mut body = Map::new();
        self.why.put_in(&mut body);
        desk.deleted(&KEY, &id, body, &self.care)
    }

    fn consented(&self, desk: &Desk, what: &str, how: &str) -> Result<String, Failed> {
        let consent = Consent::of(self.care.yes)?;
        let id = desk.find(&KEY, &self.key)?;
        if consent == Consent::Ask {
            let named = desk.named(&KEY, &id)?;
            consent.to(&format!("{what} {named} {how}?"))?;
        }
        Ok(id)
    }
}

#[derive(Args)]
pub(super) struct Transfer {
    /// Id, name or hint
    key: String,
    #[command(flatten)]
    heir: Heir,
}

/// Who gets a key.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Heir {
    /// Consumer that gets it, by id or name
    #[arg(long, value_name = "CONSUMER")]
    consumer: Option<String>,
    /// It belongs to no consumer from now on
    #[arg(long)]
    nobody: bool,
}

impl Transfer {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let id = desk.find(&KEY, &self.key)?;
        let mut body = Map::new();
        body.insert("consumer".into(), json!(self.heir.consumer));
        desk.act(&KEY, &id, "transfer", body)
    }
}
