//! `keygate keys verify` and `explain`: what the gateway would decide. The key comes by file or standard input, never by
//! argument.

use super::KEY;
use crate::cli::ask;
use crate::cli::flags::{put, put_list};
use crate::cli::resource::Desk;
use crate::cli::{Exit, Failed};
use clap::Args;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Verify {
    /// File that holds the key [default: standard input]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Whether it may use this route
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// Whether it may use this method
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// Whether it may come from this address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// Whether it has this scope
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Note it as a use, and take it out of what is left of limits
    #[arg(long)]
    count: bool,
}

impl Verify {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let key = ask::secret(self.key_file.as_deref(), "Key")?;
        let mut body = Map::new();
        put(&mut body, "key", Some(key.expose().as_str()));
        put(&mut body, "route", self.route.as_deref());
        put(&mut body, "method", self.method.as_deref());
        put(&mut body, "ip", self.ip.as_deref());
        put_list(&mut body, "scopes", &self.scopes);
        put(&mut body, "count", self.count.then_some(true));
        let answer = desk
            .api
            .post(&["verify"])
            .json(&Value::Object(body))
            .send()?;
        desk.out.one(&answer)?;
        Ok(if answer["valid"] == true {
            Exit::Ok
        } else {
            Exit::CheckFailed
        })
    }
}

#[derive(Args)]
pub(super) struct Explain {
    /// A key by id, name or hint, instead of the key itself
    #[arg(long, value_name = "KEY", conflicts_with = "key_file")]
    id: Option<String>,
    /// A request without a key
    #[arg(long, conflicts_with_all = ["id", "key_file"])]
    no_key: bool,
    /// File that holds the key [default: standard input]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Path of the request, with its query
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: String,
    /// Method of the request
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// Host of the request
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Address that it comes from
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
}

impl Explain {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failed> {
        let mut body = Map::new();
        if let Some(named) = &self.id {
            body.insert("key_id".into(), json!(desk.find(&KEY, named)?));
        } else if !self.no_key {
            let key = ask::secret(self.key_file.as_deref(), "Key")?;
            body.insert("key".into(), json!(key.expose()));
        }
        let mut request = Map::new();
        put(&mut request, "method", Some(self.method.as_str()));
        put(&mut request, "path", Some(self.path.as_str()));
        put(&mut request, "host", self.host.as_deref());
        put(&mut request, "ip", self.ip.as_deref());
        body.insert("request".into(), request.into());
        let call = desk.api.post(&["explain"]).json(&Value::Object(body));
        desk.out.one(&call.send()?)?;
        Ok(Exit::Ok)
    }
}
