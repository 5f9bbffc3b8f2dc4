//! Which keys a list, an export or a bulk act is about.

use crate::cli::Failed;
use crate::cli::consumers::CONSUMER;
use crate::cli::parse::When;
use crate::cli::resource::Desk;
use crate::cli::workspaces::WORKSPACE;
use clap::Args;
use serde_json::Value;

#[derive(Args)]
pub(super) struct Filter {
    /// Only with this status
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Only of this workspace and those below, by id or name
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    /// Only of this consumer, by id or name
    #[arg(long, value_name = "CONSUMER")]
    consumer: Option<String>,
    /// Only with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only of this environment
    #[arg(long = "env", value_name = "ENV")]
    environment: Option<String>,
    /// Only with this scope
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// Only those that expire before: 15d from now, or 2027-01-01
    #[arg(long, value_name = "TIME")]
    expires_before: Option<When>,
    /// Only those that were not used since: 90d ago, or 2026-01-01
    #[arg(long, value_name = "TIME")]
    unused_since: Option<When>,
    /// Only those that never expire
    #[arg(long, conflicts_with = "expires_before")]
    never_expires: bool,
}

impl Filter {
    /// Whether it leaves nothing out.
    pub(super) fn is_empty(&self) -> bool {
        let texts = [
            &self.status,
            &self.workspace,
            &self.consumer,
            &self.tag,
            &self.environment,
            &self.scope,
        ];
        let times = [&self.expires_before, &self.unused_since];
        texts.iter().all(|text| text.is_none())
            && times.iter().all(|time| time.is_none())
            && !self.never_expires
    }

    /// As parameters of a list.
    pub(super) fn query(&self, desk: &Desk) -> Result<Vec<(&'static str, String)>, Failed> {
        let mut query = Vec::new();
        let mut put = |name, value: Option<String>| query.extend(value.map(|value| (name, value)));
        let found = |resource, named: &Option<String>| {
            let named = named.as_deref();
            named.map(|named| desk.find(resource, named)).transpose()
        };
        let now = desk.out.now();
        let at = |value: Value| value.as_str().map(str::to_owned);
        put("status", self.status.clone());
        put("workspace", found(&WORKSPACE, &self.workspace)?);
        put("consumer", found(&CONSUMER, &self.consumer)?);
        put("tag", self.tag.clone());
        put("environment", self.environment.clone());
        put("scope", self.scope.clone());
        put(
            "expires_before",
            self.expires_before
                .as_ref()
                .and_then(|when| at(when.ahead(now))),
        );
        put(
            "unused_since",
            self.unused_since
                .as_ref()
                .and_then(|when| at(when.back(now))),
        );
        put(
            "never_expires",
            self.never_expires.then(|| "true".to_owned()),
        );
        Ok(query)
    }
}
