//! The command line: one file per command. Results go to standard output, everything else to standard error.

mod backup;
mod check;
mod demo;
mod hash;
mod health;
mod serve;

use crate::config::{self, Config, ConfigError};
use clap::{Parser, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the config file is looked for when nobody says.
const DEFAULT_CONFIG: &str = "config/keygate.yaml";

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

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    #[command(after_help = "Example:\n  keygate serve --config config/keygate.yaml")]
    Serve,
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
}

/// How a command ended; what scripts go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Ok = 0,
    Failure = 1,
    NotFound = 3,
    Conflict = 5,
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
    let arguments = Arguments::parse();
    let config = arguments.config;
    let ended = match arguments.command {
        Command::Serve => serve::run(&or_default(config)),
        Command::Check(check) => check.run(config),
        Command::Hash(hash) => hash.run(config.as_deref()),
        Command::Health => health::run(&or_default(config)),
        Command::Backup(backup) => backup.run(&or_default(config)),
        Command::Restore(restore) => restore.run(&or_default(config)),
        Command::Demo(demo) => demo.run(),
    };
    let exit = ended.unwrap_or_else(|failed| {
        say(&format!("keygate: {}", with_causes(&failed.cause)));
        failed.exit
    });
    ExitCode::from(exit as u8)
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
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A line of the result, on standard output.
fn print(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{line}")
}
