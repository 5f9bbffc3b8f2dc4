//! The command line: one file per command. Results go to standard output, everything else to standard error.

mod ask;
mod audit;
mod backup;
mod check;
mod client;
mod completion;
mod consumers;
mod demo;
mod export;
mod files;
mod flags;
mod hash;
mod health;
mod init;
mod keys;
mod login;
mod members;
mod notices;
mod output;
mod parse;
mod resource;
mod secret;
mod serve;
mod sessions;
mod system;
#[cfg(test)]
mod tests;
mod tokens;
mod webhooks;
mod workspaces;

use crate::config::{self, Config, ConfigError};
use crate::domain::secret::Secret;
use crate::telemetry::redact::redact;
use clap::{Parser, Subcommand};
use client::Place;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the config file is looked for when nobody says.
const DEFAULT_CONFIG: &str = "config/keygate.yaml";

/// What keys begin with, where errors are searched for them; those of other brands are found by their form.
const BRAND: &str = "kg";

/// An authenticating reverse-proxy gateway.
#[derive(Parser)]
#[command(name = "keygate", version, max_term_width = 100)]
struct Arguments {
    /// The config file [default: config/keygate.yaml]
    #[arg(
        long,
        global = true,
        env = "KEYGATE_CONFIG",
        value_name = "FILE",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

/// What comes by the environment only: read by clap, like all variables, but no flag of any command.
#[derive(Parser)]
struct Environment {
    #[arg(long, env = "KEYGATE_TOKEN", hide_env_values = true)]
    token: Option<OsString>,
    #[arg(long, env = "KEYGATE_HOME")]
    home: Option<OsString>,
    #[arg(long, env = "XDG_CONFIG_HOME")]
    xdg_config_home: Option<OsString>,
}

impl Environment {
    /// `KEYGATE_TOKEN`, if it says anything.
    fn token(&self) -> Option<Secret<String>> {
        let token = self.token.as_ref()?.to_string_lossy();
        let token = token.trim();
        (!token.is_empty()).then(|| Secret::new(token.to_owned()))
    }

    /// The folder for what is stored about this person.
    fn home(&self) -> Option<PathBuf> {
        let given = |value: &Option<OsString>| {
            let path = value.as_ref().filter(|path| !path.is_empty());
            path.map(PathBuf::from)
        };
        given(&self.home)
            .or_else(|| given(&self.xdg_config_home).map(|path| path.join("keygate")))
            .or_else(|| std::env::home_dir().map(|path| path.join(".config/keygate")))
    }
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    #[command(after_help = "Example:\n  keygate serve --config config/keygate.yaml")]
    Serve(serve::Serve),
    /// Check a config file and print every fault in it; exits with 0 or 7
    #[command(after_help = "Example:\n  keygate check config/keygate.yaml")]
    Check(check::Check),
    /// Print the hash of a key read from standard input, or make a new key
    #[command(
        after_help = "Examples:\n  keygate hash < key.txt\n  keygate hash --generate --env live"
    )]
    Hash(hash::Hash),
    /// Ask a running gateway on this machine whether it lives; exits with 0 or 1
    #[command(after_help = "Example:\n  keygate health --config config/keygate.yaml")]
    Health,
    /// Save everything in the store to a file, while the gateway runs or not
    #[command(after_help = "Example:\n  keygate backup /var/backups/keygate.kg")]
    Backup(backup::Backup),
    /// Put what `keygate backup` has saved back into an empty store, of either database
    #[command(
        after_help = "Examples:\n  keygate restore /var/backups/keygate.kg\n  keygate restore --replace /var/backups/keygate.kg"
    )]
    Restore(backup::Restore),
    /// Start a gateway in front of an echo service, make a key and try it
    #[command(after_help = "Examples:\n  keygate demo\n  keygate demo --once")]
    Demo(demo::Demo),
    /// Write a config file to start from, a folder for data and a master key
    #[command(after_help = "Examples:\n  keygate init\n  keygate init /etc/keygate")]
    Init(init::Init),
    /// Sign in at a gateway, so that commands speak in your name
    #[command(after_help = "Examples:\n  keygate login --email ann@example.com\n  \
        keygate login --url https://gate.example.com --token-stdin < admin.token")]
    Login(login::SignIn),
    /// End what `login` began
    #[command(after_help = "Example:\n  keygate logout")]
    Logout(login::SignOut),
    /// Show in whose name commands speak
    #[command(after_help = "Example:\n  keygate whoami")]
    Whoami(login::WhoAmI),
    /// Change your own password: the one in force and a new one are asked for, or are lines of standard input
    #[command(after_help = "Examples:\n  keygate password\n  keygate password < both")]
    Password(login::OwnPassword),
    /// Make, find, change and end keys
    #[command(
        after_help = "Examples:\n  keygate keys create ci --scope billing:read --expires 90d\n  keygate keys list --status expiring"
    )]
    Keys(keys::Keys),
    /// Those who call, and own keys
    #[command(after_help = "Example:\n  keygate consumers list")]
    Consumers(consumers::Consumers),
    /// The tree of tenants
    #[command(after_help = "Example:\n  keygate workspaces list")]
    Workspaces(workspaces::Workspaces),
    /// People who administer
    #[command(after_help = "Example:\n  keygate members list")]
    Members(members::Members),
    /// Keys of the admin API
    #[command(after_help = "Example:\n  keygate tokens list")]
    Tokens(tokens::Tokens),
    /// Who is signed in
    #[command(after_help = "Example:\n  keygate sessions list")]
    Sessions(sessions::Sessions),
    /// Who did what, and whether the log of it is whole
    #[command(after_help = "Examples:\n  keygate audit list --since 7d\n  keygate audit verify")]
    Audit(audit::Audit),
    /// What you should know
    #[command(after_help = "Example:\n  keygate notices list --unread")]
    Notices(notices::Notices),
    /// Addresses that are told of events
    #[command(after_help = "Example:\n  keygate webhooks list")]
    Webhooks(webhooks::Webhooks),
    /// Show how the gateway is: config, store, listeners, upstreams, number of keys
    #[command(after_help = "Examples:\n  keygate status\n  keygate status -o json")]
    Status(system::Status),
    /// Gateways that share the store
    #[command(after_help = "Example:\n  keygate nodes list")]
    Nodes(system::Nodes),
    /// Print what a shell needs to complete commands
    #[command(
        after_help = "Examples:\n  keygate completion bash > /etc/bash_completion.d/keygate\n  keygate completion fish > keygate.fish"
    )]
    Completion(completion::Completion),
}

/// How a command ended; what scripts go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Ok = 0,
    Failure = 1,
    Usage = 2,
    NotFound = 3,
    Auth = 4,
    Conflict = 5,
    Partial = 6,
    CheckFailed = 7,
}

/// A failure that has its own exit code.
struct Failed {
    exit: Exit,
    cause: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(cause: E) -> Self {
        Self {
            exit: Exit::Failure,
            cause: cause.into(),
        }
    }
}

impl Failed {
    fn with(exit: Exit, cause: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            cause: cause.into(),
        }
    }
}

/// Reads the arguments, runs the command, and says in one line what went wrong.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(said) => return unread(&said),
    };
    let exit = arguments.run().unwrap_or_else(|failed| {
        if !is_unheard(&failed.cause) {
            let words = with_causes(&failed.cause);
            say(&format!("keygate: {}", redact(&words, BRAND)));
        }
        failed.exit
    });
    ExitCode::from(exit as u8)
}

impl Arguments {
    fn run(self) -> Result<Exit, Failed> {
        let config = self.config;
        let place = Place {
            config: config.clone(),
            environment: Environment::try_parse_from(["keygate"])?,
        };
        match self.command {
            Command::Serve(serve) => serve.run(&or_default(config)),
            Command::Check(check) => check.run(config),
            Command::Hash(hash) => hash.run(config.as_deref()),
            Command::Health => health::run(&or_default(config)),
            Command::Backup(backup) => backup.run(&or_default(config)),
            Command::Restore(restore) => restore.run(&or_default(config)),
            Command::Demo(demo) => demo.run(),
            Command::Init(init) => init.run(),
            Command::Login(login) => login.run(&place),
            Command::Logout(logout) => logout.run(&place),
            Command::Whoami(whoami) => whoami.run(&place),
            Command::Password(password) => password.run(&place),
            Command::Keys(keys) => keys.run(&place),
            Command::Consumers(consumers) => consumers.run(&place),
            Command::Workspaces(workspaces) => workspaces.run(&place),
            Command::Members(members) => members.run(&place),
            Command::Tokens(tokens) => tokens.run(&place),
            Command::Sessions(sessions) => sessions.run(&place),
            Command::Audit(audit) => audit.run(&place),
            Command::Notices(notices) => notices.run(&place),
            Command::Webhooks(webhooks) => webhooks.run(&place),
            Command::Status(status) => status.run(&place),
            Command::Nodes(nodes) => nodes.run(&place),
            Command::Completion(completion) => completion.run(),
        }
    }
}

/// Arguments that make no sense, or a call for help. A key that somebody typed by mistake is not repeated.
fn unread(said: &clap::Error) -> ExitCode {
    let text = said.render().to_string();
    let text = text.trim_end();
    if said.use_stderr() {
        say(&redact(text, BRAND));
    } else {
        let _ = print(text);
    }
    ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(Exit::Failure as u8))
}

/// Nobody reads the output any more: `keygate keys list | head`.
fn is_unheard(fault: &anyhow::Error) -> bool {
    let io = fault.downcast_ref::<io::Error>();
    io.is_some_and(|fault| fault.kind() == ErrorKind::BrokenPipe)
}

/// A fault and what led to it, in one line; some already say their cause themselves.
fn with_causes(fault: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in fault.chain().map(ToString::to_string) {
        if !text.ends_with(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            text.push_str(colon);
            text.push_str(&cause);
        }
    }
    text
}

/// Loads a config file; what is wrong with it has its exit code.
fn load(file: &Path) -> Result<Config, Failed> {
    config::load(file).map_err(|fault| match fault {
        ConfigError::Unreadable { .. } => Failed::with(Exit::NotFound, fault),
        ConfigError::Invalid { .. } => Failed::with(Exit::CheckFailed, fault),
    })
}

fn or_default(config: Option<PathBuf>) -> PathBuf {
    config.unwrap_or_else(|| DEFAULT_CONFIG.into())
}

/// A line on standard error. Nobody to read it is no reason to fail.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A line of the result, on standard output.
fn print(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}
