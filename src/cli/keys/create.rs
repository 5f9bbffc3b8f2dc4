//! `keygate keys create`.

use super::KEY;
use crate::cli::flags::{Keep, Limits, Once, put, put_list, put_pairs};
use crate::cli::output::Format;
use crate::cli::parse::{Idle, Pair, When};
use crate::cli::resource::Desk;
use crate::cli::secret::Destination;
use crate::cli::workspaces::WORKSPACE;
use crate::cli::{Exit, Failed};
use crate::domain::time::Timestamp;
use clap::Args;
use serde_json::{Map, Value};

#[derive(Args)]
pub(super) struct Create {
    /// Name, for people
    name: String,
    /// What it is for
    #[arg(long, value_name = "WORDS")]
    description: Option<String>,
    /// Workspace, by id or name [default: that of whoever asks]
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    /// Consumer that it belongs to, by id or name
    #[arg(long, value_name = "CONSUMER")]
    consumer: Option<String>,
    /// Environment, such as live or test
    #[arg(long = "env", value_name = "ENV")]
    environment: Option<String>,
    /// Not valid before: 2027-01-01, or 7d from now
    #[arg(long, value_name = "TIME")]
    not_before: Option<When>,
    /// Valid until: 90d from now, 2027-01-01, or never
    #[arg(long, value_name = "TIME")]
    expires: Option<When>,
    /// When nobody uses it: off, workspace, or notify, disable or delete with a time, such as delete:90d
    #[arg(long, value_name = "POLICY")]
    inactivity: Option<Idle>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    lists: Lists,
    #[command(flatten)]
    keep: Keep,
    #[command(flatten)]
    once: Once,
}

/// What a key has several of.
#[derive(Args)]
pub(super) struct Lists {
    /// Right of the key; without one it opens nothing
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(super) scopes: Vec<String>,
    /// Route that it may use [default: those its scopes open]
    #[arg(long = "route", value_name = "ROUTE")]
    pub(super) routes: Vec<String>,
    /// Method that it may use [default: all]
    #[arg(long = "method", value_name = "METHOD")]
    pub(super) methods: Vec<String>,
    /// Network that it may come from, such as 10.0.0.0/8 [default: any]
    #[arg(long = "ip", value_name = "NETWORK")]
    pub(super) ip_allow: Vec<String>,
    /// Kind of place it may stand in: header, bearer, query or `websocket_protocol` [default: as the route says]
    #[arg(long = "location", value_name = "PLACE")]
    pub(super) locations: Vec<String>,
    /// Tag, to be found by
    #[arg(long = "tag", value_name = "TAG")]
    pub(super) tags: Vec<String>,
    /// Goes upstream, where a route asks for it
    #[arg(long = "metadata", value_name = "NAME=VALUE")]
    pub(super) metadata: Vec<Pair>,
}

impl Lists {
    /// Those that were given.
    pub(super) fn put_in(&self, body: &mut Map<String, Value>) {
        put_list(body, "scopes", &self.scopes);
        put_list(body, "routes", &self.routes);
        put_list(body, "methods", &self.methods);
        put_list(body, "ip_allow", &self.ip_allow);
        put_list(body, "locations", &self.locations);
        put_list(body, "tags", &self.tags);
        put_pairs(body, &self.metadata);
    }
}

impl Create {
    pub(super) fn run(self, desk: &Desk, format: Format) -> Result<Exit, Failed> {
        let destination = Destination::prepare(&self.keep, format)?;
        let (once, now) = self.once.begin(desk.out.now())?;
        let body = Value::Object(self.body(desk, now)?);
        let made = desk
            .api
            .post(&[KEY.path])
            .json(&body)
            .once_by_flag(&once)
            .send()?;
        destination.deliver(made, &desk.out, &once)?;
        Ok(Exit::Ok)
    }

    fn body(&self, desk: &Desk, now: Timestamp) -> Result<Map<String, Value>, Failed> {
        let mut body = Map::new();
        put(&mut body, "name", Some(self.name.as_str()));
        put(&mut body, "description", self.description.as_deref());
        put(&mut body, "environment", self.environment.as_deref());
        if let Some(named) = &self.workspace {
            put(&mut body, "workspace", Some(desk.find(&WORKSPACE, named)?));
        }
        put(&mut body, "consumer", self.consumer.as_deref());
        put(
            &mut body,
            "not_before",
            self.not_before.as_ref().map(|when| when.ahead(now)),
        );
        put(
            &mut body,
            "expires_at",
            self.expires.as_ref().map(|when| when.ahead(now)),
        );
        put(
            &mut body,
            "inactivity",
            self.inactivity.as_ref().map(Idle::told),
        );
        self.limits.put_in(&mut body);
        self.lists.put_in(&mut body);
        Ok(body)
    }
}
