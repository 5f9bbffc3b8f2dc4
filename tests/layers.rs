//! The layers hold: no room imports another that the table below does not allow, a few crates and the clock are named
//! only where they belong, and every source file opens with a header.

#[path = "layers/names.rs"]
mod names;

use names::names;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Layers 1 to 4.
const LOWER: &[&str] = &[
    "domain",
    "clock",
    "config",
    "telemetry",
    "snapshot",
    "store",
    "vault",
    "http",
    "gate",
];
/// Layers 1 to 6.
const ALL: &[&str] = &[
    "domain",
    "clock",
    "config",
    "telemetry",
    "snapshot",
    "store",
    "vault",
    "http",
    "gate",
    "admin",
    "notify",
    "proxy",
    "sync",
    "cli",
    "app",
    "shutdown",
];

/// Each room (first name below `src`) and the other rooms it may use.
const ROOMS: &[(&str, &[&str])] = &[
    // `lib` only lists modules; `main` uses `keygate::cli`, see `MAIN_MAY_USE`.
    ("lib", &[]),
    ("main", &[]),
    // For tests and cargo-fuzz only; no room may use it.
    ("fuzzing", ALL),
    // Layer 6
    ("cli", ALL),
    ("app", ALL),
    ("shutdown", ALL),
    // Layer 5
    ("admin", LOWER),
    (
        "proxy",
        &["domain", "clock", "config", "telemetry", "snapshot", "gate"],
    ),
    ("sync", LOWER),
    ("notify", LOWER),
    // Layer 4
    (
        "gate",
        &["domain", "clock", "config", "telemetry", "snapshot"],
    ),
    // Layer 3
    ("snapshot", &["domain", "clock", "config", "telemetry"]),
    ("store", &["domain", "clock", "config", "telemetry"]),
    ("vault", &["domain", "clock", "config", "telemetry"]),
    ("http", &["domain", "clock", "config", "telemetry"]),
    // Layer 2
    ("config", &["domain", "clock"]),
    ("telemetry", &["domain", "clock"]),
    // Layer 1
    ("clock", &["domain"]),
    ("domain", &[]),
];

const MAIN_MAY_USE: &str = "cli";

/// Crates that stay in one place: a room, or a file with its path.
const CRATES: &[(&str, &[&str])] = &[
    ("serde_yaml", &["src/config/load.rs"]),
    ("axum", &["admin"]),
    ("sqlx", &["store"]),
    ("lettre", &["notify"]),
    ("reqwest", &["http", "cli"]),
    // `cli` for the upstream that the demo brings along.
    ("hyper", &["proxy", "cli"]),
    ("hyper_util", &["proxy", "cli"]),
];

#[test]
fn arrows_point_down_only() {
    assert_no_faults(arrow_faults);
}

#[test]
fn crates_stay_where_they_belong() {
    assert_no_faults(crate_faults);
}

#[test]
fn only_the_clock_reads_the_time() {
    assert_no_faults(time_faults);
}

#[test]
fn every_file_opens_with_a_header() {
    assert_no_faults(header_faults);
}

// --- The rules -----------------------------------------------------------------------------------------------------

/// A source file: its path from the root of the repository, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// First name below `src`, without `.rs`.
    fn room(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let first = below.split('/').next().unwrap_or(below);
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Names of the modules from the crate's root to this file.
    fn module(&self) -> Vec<String> {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let below = below.strip_suffix(".rs").unwrap_or(below);
        let mut names: Vec<String> = below.split('/').map(String::from).collect();
        let root = names.len() == 1 && (names[0] == "lib" || names[0] == "main");
        if root || names.last().is_some_and(|name| name == "mod") {
            names.pop();
        }
        names
    }
}

fn may_use(room: &str) -> Option<&'static [&'static str]> {
    ROOMS
        .iter()
        .find(|(name, _)| *name == room)
        .map(|(_, targets)| *targets)
}

fn arrow_faults(source: &Source) -> Vec<String> {
    let room = source.room();
    let Some(allowed) = may_use(room) else {
        return vec![format!(
            "{}: unknown room `{room}`: give it a row in tests/layers.rs and in the table of layers in \
             docs/decisions.md",
            source.path
        )];
    };
    let mut faults = BTreeSet::new();
    for name in names(source) {
        let place = format!("{}:{}", source.path, name.line);
        let target = name.path.get(1).map(String::as_str);
        match (name.path[0].as_str(), target) {
            ("keygate", target) if room == "main" && target != Some(MAIN_MAY_USE) => {
                faults.insert(format!("{place}: `main` may use `keygate::cli` only"));
            }
            ("crate", None | Some("*")) => {
                faults.insert(format!(
                    "{place}: name the room: the crate's root as a whole hides it"
                ));
            }
            ("crate", Some(target)) if target != room => {
                if may_use(target).is_none() {
                    faults.insert(format!(
                        "{place}: unknown room `{target}`: give it a row in tests/layers.rs and in the table of \
                         layers in docs/decisions.md"
                    ));
                } else if !allowed.contains(&target) {
                    faults.insert(format!("{place}: `{room}` may not use `{target}`"));
                }
            }
            _ => {}
        }
    }
    faults.into_iter().collect()
}

fn crate_faults(source: &Source) -> Vec<String> {
    let mut faults = BTreeSet::new();
    for name in names(source) {
        for (krate, places) in CRATES {
            let fits = places
                .iter()
                .any(|place| *place == source.room() || *place == source.path);
            if name.path[0] == *krate && !fits {
                faults.insert(format!(
                    "{}:{}: `{krate}` belongs in {} only",
                    source.path,
                    name.line,
                    places.join(", ")
                ));
            }
        }
    }
    faults.into_iter().collect()
}

fn time_faults(source: &Source) -> Vec<String> {
    if source.path == "src/clock.rs" {
        return Vec::new();
    }
    let mut faults = BTreeSet::new();
    for name in names(source) {
        let reads = name
            .path
            .windows(2)
            .any(|pair| (pair[0] == "SystemTime" || pair[0] == "Instant") && pair[1] == "now");
        let tokio = name
            .path
            .starts_with(&["tokio", "time", "Instant"].map(String::from));
        if reads && !(tokio && source.room() == "proxy") {
            faults.insert(format!(
                "{}:{}: `{}` reads the time: take a `Clock` (src/clock.rs)",
                source.path,
                name.line,
                name.path.join("::")
            ));
        }
    }
    faults.into_iter().collect()
}

fn header_faults(source: &Source) -> Vec<String> {
    let header = source
        .text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("//!"));
    if header.is_some_and(|words| !words.trim().is_empty()) {
        return Vec::new();
    }
    vec![format!(
        "{}: the first line says what the file is for: `//! …`",
        source.path
    )]
}

// --- Reading -------------------------------------------------------------------------------------------------------

fn assert_no_faults(rule: fn(&Source) -> Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = sources(root).unwrap_or_default();
    let paths: Vec<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    assert!(
        paths.contains(&"src/lib.rs") && paths.contains(&"src/main.rs") && paths.len() > 2,
        "the sources were not found below {}: {paths:?}",
        root.display()
    );
    let faults: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Every `src/**/*.rs`, by path.
fn sources(root: &Path) -> std::io::Result<Vec<Source>> {
    let mut folders: Vec<PathBuf> = vec![root.join("src")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let below = path.strip_prefix(root).unwrap_or(&path);
                found.push(Source {
                    path: below.to_string_lossy().replace('\\', "/"),
                    text: fs::read_to_string(&path)?,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

// --- The rules can fail --------------------------------------------------------------------------------------------

fn source(path: &str, text: &str) -> Source {
    Source {
        path: path.into(),
        text: text.into(),
    }
}

/// What a rule says about made-up files: `path | code`, one fault at least wanted.
fn assert_each_fails(rule: fn(&Source) -> Vec<String>, cases: &[(&str, &str)]) {
    for (path, code) in cases {
        let faults = rule(&source(path, code));
        assert!(!faults.is_empty(), "passed, but must fail: {path}: {code}");
    }
}

fn assert_each_passes(rule: fn(&Source) -> Vec<String>, cases: &[(&str, &str)]) {
    for (path, code) in cases {
        let faults = rule(&source(path, code));
        assert!(faults.is_empty(), "{path}: {code}\n{}", faults.join("\n"));
    }
}

#[test]
fn a_wrong_arrow_is_found() {
    assert_each_fails(
        arrow_faults,
        &[
            ("src/domain/key.rs", "use crate::config::Config;"),
            ("src/domain/key.rs", "use crate::clock::Clock;"),
            ("src/clock.rs", "use crate::config::Config;"),
            ("src/config/load.rs", "use crate::telemetry::logs;"),
            ("src/telemetry/mod.rs", "use crate::config;"),
            ("src/snapshot/keys.rs", "use crate::gate::verify;"),
            ("src/gate/verify.rs", "use crate::proxy::context::Context;"),
            ("src/proxy/handler.rs", "use crate::sync::publisher;"),
            ("src/proxy/handler.rs", "use crate::admin::server;"),
            ("src/sync/file.rs", "use crate::proxy::worker;"),
            ("src/sync/file.rs", "use crate::admin::server;"),
            ("src/admin/server.rs", "use crate::proxy::worker;"),
            ("src/admin/server.rs", "use crate::sync::file;"),
            ("src/admin/server.rs", "use crate::app::App;"),
        ],
    );
}

#[test]
fn a_wrong_arrow_is_found_however_it_is_written() {
    assert_each_fails(
        arrow_faults,
        &[
            (
                "src/domain/key.rs",
                "use crate::{domain::id, config::{Config, Fault}};",
            ),
            (
                "src/domain/key.rs",
                "use crate::{domain::id,\n    domain::key::{self, X}, gate};",
            ),
            (
                "src/domain/key.rs",
                "fn f() -> crate::config::Config { todo!() }",
            ),
            (
                "src/domain/key.rs",
                "fn f() { let x = Vec::<crate::gate::Permit>::new(); }",
            ),
            (
                "src/domain/key.rs",
                "pub(crate) use crate::config as other;",
            ),
            ("src/domain/key.rs", "use super::super::config::Config;"),
            ("src/domain/mod.rs", "use super::config::Config;"),
            (
                "src/domain/mod.rs",
                "mod tests { use super::super::config::Config; }",
            ),
            (
                "src/domain/mod.rs",
                "mod a { mod b {} } use super::config::Config;",
            ),
            ("src/domain/mod.rs", "use super::{config, domain};"),
            (
                "src/domain/key.rs",
                "#[serde(with = \"crate::config::value\")] struct S;",
            ),
            (
                "src/domain/key.rs",
                "const Q: char = '\"'; use crate::config::Config; const R: char = '\"';",
            ),
            (
                "src/domain/key.rs",
                "const Q: &str = r#\"\"\"#; use crate::config::Config;",
            ),
            (
                "src/domain/key.rs",
                "const Q: &str = \"\\\"\"; use crate::config::Config;",
            ),
            (
                "src/domain/key.rs",
                "/* /* */ */ use crate::config::Config;",
            ),
            (
                "src/domain/key.rs",
                "fn f<'a>(x: &'a str) -> crate::config::X<'a> {}",
            ),
            // The root as a whole.
            ("src/domain/key.rs", "use crate::*;"),
            ("src/domain/key.rs", "use crate as root;"),
            ("src/domain/key.rs", "use crate::{self as root};"),
            ("src/domain/mod.rs", "use super::*;"),
            // The program.
            ("src/main.rs", "fn main() { keygate::app::run(); }"),
            ("src/main.rs", "use keygate::{cli, app};"),
            ("src/main.rs", "use keygate::*;"),
            ("src/main.rs", "use crate::cli::run;"),
        ],
    );
}

#[test]
fn an_allowed_arrow_passes() {
    assert_each_passes(
        arrow_faults,
        &[
            (
                "src/domain/key.rs",
                "use super::id::Id; use crate::domain::scope::Scope;",
            ),
            (
                "src/domain/key.rs",
                "mod tests { use super::*; mod more { use super::super::*; } }",
            ),
            ("src/domain/mod.rs", "mod tests { use super::*; }"),
            ("src/clock.rs", "use crate::domain::time::Timestamp;"),
            (
                "src/config/mod.rs",
                "use crate::{domain::{key, id::Id}, clock};",
            ),
            (
                "src/snapshot/keys.rs",
                "use crate::config::Config; use crate::telemetry::metrics;",
            ),
            ("src/gate/verify.rs", "use crate::snapshot::keys;"),
            (
                "src/proxy/handler.rs",
                "use crate::gate::authorize::Permit;",
            ),
            ("src/admin/server.rs", "use crate::gate::explain;"),
            ("src/sync/file.rs", "use crate::snapshot::handle;"),
            ("src/app.rs", "use crate::{admin, proxy, sync, shutdown};"),
            ("src/cli/serve.rs", "use crate::app::run;"),
            (
                "src/main.rs",
                "//! Program.\nuse keygate::cli;\nfn main() { keygate::cli::run(); }",
            ),
            // Not code.
            (
                "src/domain/key.rs",
                "//! [`crate::gate::Permit`]\n// use crate::gate;\n/* crate::gate::x */",
            ),
            (
                "src/domain/key.rs",
                "const HELP: &str = \"say crate::gate::x\"; pub(crate) struct X;",
            ),
            (
                "src/domain/key.rs",
                "pub(in crate::domain) fn f() -> impl X + use<'_> {}",
            ),
        ],
    );
}

#[test]
fn an_unknown_room_is_found() {
    let faults = arrow_faults(&source("src/attic/old.rs", ""));
    assert!(faults[0].contains("unknown room `attic`") && faults[0].contains("docs/decisions.md"));
    let faults = arrow_faults(&source("src/cli/mod.rs", "\nuse crate::attic::old;"));
    assert!(
        faults[0].starts_with("src/cli/mod.rs:2: unknown room `attic`"),
        "{faults:?}"
    );
}

#[test]
fn a_crate_in_the_wrong_place_is_found() {
    assert_each_fails(
        crate_faults,
        &[
            ("src/config/raw.rs", "use serde_yaml::Value;"),
            (
                "src/config/load/mod.rs",
                "fn f() { serde_yaml::from_str(x) }",
            ),
            ("src/proxy/handler.rs", "use axum::Router;"),
            ("src/app.rs", "use ::axum;"),
            ("src/gate/extract.rs", "use {http::Uri, hyper::body::Body};"),
            ("src/admin/server.rs", "use hyper_util::rt::TokioIo;"),
            ("src/snapshot/mod.rs", "extern crate hyper as web;"),
            ("src/snapshot/mod.rs", "use hyper as web;"),
        ],
    );
    assert_each_passes(
        crate_faults,
        &[
            ("src/config/load.rs", "use serde_yaml::Value;"),
            ("src/admin/server.rs", "use axum::{Router, routing::get};"),
            ("src/proxy/upstream/pool.rs", "use hyper::client::conn;"),
            ("src/cli/demo.rs", "use hyper_util::rt::TokioIo;"),
            (
                "src/gate/extract.rs",
                "// axum::Router, hyper::Body\nuse http::Uri;",
            ),
        ],
    );
}

#[test]
fn a_reading_of_the_time_is_found() {
    assert_each_fails(
        time_faults,
        &[
            ("src/app.rs", "fn f() { std::time::Instant::now(); }"),
            (
                "src/app.rs",
                "use std::time::SystemTime; fn f() { SystemTime::now(); }",
            ),
            (
                "src/app.rs",
                "use std::time; fn f() { time::SystemTime::now(); }",
            ),
            ("src/app.rs", "use std::time::*; fn f() { Instant::now(); }"),
            (
                "src/app.rs",
                "use std::time::Instant as T; fn f() { x.unwrap_or_else(T::now); }",
            ),
            (
                "src/app.rs",
                "use tokio::time::Instant; fn f() { Instant::now(); }",
            ),
            (
                "src/proxy/worker.rs",
                "use std::time::Instant; fn f() { Instant::now(); }",
            ),
            (
                "src/proxy/worker.rs",
                "fn f() { use tokio::time::Instant; } fn g() { use std::time::Instant; Instant::now(); }",
            ),
            (
                "src/clock/other.rs",
                "fn f() { std::time::Instant::now(); }",
            ),
        ],
    );
    assert_each_passes(
        time_faults,
        &[
            (
                "src/clock.rs",
                "use std::time::Instant; fn f() { Instant::now(); }",
            ),
            (
                "src/proxy/worker.rs",
                "fn f() { tokio::time::Instant::now(); }",
            ),
            (
                "src/proxy/worker.rs",
                "use tokio::time::{self, Instant}; fn f() { Instant::now(); time::Instant::now(); }",
            ),
            (
                "src/proxy/worker.rs",
                "use tokio::time; use time::Instant; fn f() { Instant::now(); }",
            ),
            (
                "src/app.rs",
                "fn f(clock: &dyn Clock) { clock.now(); } // Instant::now()",
            ),
        ],
    );
}

#[test]
fn a_missing_header_is_found() {
    assert_each_fails(
        header_faults,
        &[
            ("src/app.rs", ""),
            ("src/app.rs", "use std::fmt;\n//! Late."),
            ("src/app.rs", "//!\nuse std::fmt;"),
            ("src/app.rs", "// Not a header."),
        ],
    );
    assert_each_passes(header_faults, &[("src/app.rs", "//! The app.\n")]);
}
