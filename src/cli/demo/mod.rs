//! `keygate demo`: a gateway in front of an echo service, with a declared key and a managed one, tried out before your
//! eyes.

mod calls;
mod echo;
mod folder;
mod managed;

use super::{Exit, Failed, print};
use crate::app::{App, Output};
use crate::clock::SystemClock;
use crate::config::{self, Config, StoreLocation};
use crate::domain::key::{KeyFormat, PlainKey};
use anyhow::Context;
use calls::{Answer, Call};
use clap::Args;
use echo::Echo;
use folder::Folder;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// The demo's configuration, as anyone could write it.
const CONFIG: &str = include_str!("../../../config/demo.yaml");
const FREE_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[derive(Args)]
pub(super) struct Demo {
    /// End after the calls: with 0 if each was answered as it should be
    #[arg(long)]
    once: bool,
}

impl Demo {
    pub(super) fn run(&self) -> Result<Exit, Failed> {
        let echo = Echo::start().context("the echo service did not start")?;
        let format = KeyFormat::default();
        let key = format.generate("live")?;
        let mut config = configure(&echo, &format, &key)?;
        let folder = Folder::new().context("there is no folder for a store")?;
        config.store = Some(StoreLocation::Sqlite(folder.path().join("keygate.db")));
        folder.path().clone_into(&mut config.data_dir);
        let mut app = App::start(&config, None, Arc::new(SystemClock::new()), Output::Silent)?;
        let gateway = app
            .listeners()
            .first()
            .context("the demo has a listener")?
            .address;
        let token = app.take_setup_token().context("the store is new")?;
        introduce(gateway, app.management(), echo.address(), &key)?;
        let good = try_out(gateway, &key)?
            & show_use(app.management(), &key, &token)?
            & managed::try_out(gateway, app.management(), &token)?;
        if self.once {
            app.stop();
        } else {
            let signals = app.catch_signals()?;
            print("\nStill running; try it yourself with the commands above. Ctrl-C ends it.")?;
            app.run_until_signal(signals);
        }
        Ok(if good { Exit::Ok } else { Exit::Failure })
    }
}

fn configure(echo: &Echo, format: &KeyFormat, key: &PlainKey) -> anyhow::Result<Config> {
    let mut config = config::parse(Path::new("config/demo.yaml"), CONFIG)?;
    for listener in &mut config.listeners {
        listener.address = FREE_PORT;
    }
    config.management.address = FREE_PORT;
    for endpoint in config
        .upstreams
        .iter_mut()
        .flat_map(|upstream| &mut upstream.endpoints)
    {
        endpoint.port = echo.address().port();
        endpoint.authority = echo.address().to_string();
    }
    for declared in &mut config.keys {
        declared.hash = key.hash();
        declared.id = key.hash().declared_id();
        declared.hint = Some(format.hint(key));
    }
    Ok(config)
}

fn introduce(
    gateway: SocketAddr,
    management: SocketAddr,
    echo: SocketAddr,
    key: &PlainKey,
) -> anyhow::Result<()> {
    print(&format!(
        "gateway     http://{gateway}   in front of an echo service on http://{echo}"
    ))?;
    print(&format!(
        "management  http://{management}   /status /metrics /v1/keys"
    ))?;
    print(&format!(
        "key         {}   (scope echo:read; only its hash is kept)\n",
        key.expose()
    ))?;
    Ok(())
}

/// Makes the calls, prints each as a curl command with its answer, and tells whether all went as they should.
fn try_out(gateway: SocketAddr, key: &PlainKey) -> anyhow::Result<bool> {
    let mut good = true;
    for call in Call::all(key) {
        print(&format!("# {}\n{}", call.title, call.as_curl(gateway)))?;
        let answer = call.make(gateway)?;
        let as_wanted = call.is_answered_by(&answer, key);
        print(&format!("{}\n", describe(&answer, as_wanted)))?;
        good &= as_wanted;
    }
    Ok(good)
}

fn describe(answer: &Answer, as_wanted: bool) -> String {
    let mark = if as_wanted {
        "ok"
    } else {
        "NOT AS IT SHOULD BE"
    };
    let said = answer.json["code"]
        .as_str()
        .map(|code| format!(" {code}"))
        .unwrap_or_default();
    let told = answer.json["headers"]["x-consumer-username"].as_str();
    let told = told
        .map(|name| format!(", the service was told the caller is `{name}`"))
        .unwrap_or_default();
    format!("→ {}{said}{told}  [{mark}]", answer.status)
}

/// What the management port knows of the key now.
fn show_use(management: SocketAddr, key: &PlainKey, token: &PlainKey) -> anyhow::Result<bool> {
    let token = format!("Authorization: Bearer {}", token.expose());
    let call = ("GET", "/v1/keys");
    let answer = calls::send(management, call, std::slice::from_ref(&token), "")?;
    let known = &answer.json["data"][0];
    let used = known["last_used_at"].as_str().unwrap_or("never");
    print(&format!(
        "# what is known of the key\ncurl -H '{token}' http://{management}/v1/keys"
    ))?;
    print(&format!(
        "→ {} {} status {}, last_used_at {used}, uses {}, refusals {}\n",
        known["id"].as_str().unwrap_or_default(),
        known["hint"].as_str().unwrap_or_default(),
        known["status"].as_str().unwrap_or_default(),
        known["uses"],
        known["refusals"],
    ))?;
    let hidden = !answer.text.contains(key.expose());
    Ok(hidden && known["last_used_at"].is_string() && known["uses"] == 3 && known["refusals"] == 1)
}
