//! Settings of what is managed while the gateway runs: where it is kept, how long, and who is told of it.

use crate::domain::secret::Secret;
use std::path::PathBuf;
use std::time::Duration;

/// Where keys and all that is managed by the API are kept.
#[derive(Debug, Clone)]
pub enum StoreLocation {
    /// A file of our own.
    Sqlite(PathBuf),
    /// URL of a `PostgreSQL` database.
    Postgres(Secret<String>),
}

/// Keys that seal what is kept.
#[derive(Debug, Clone)]
pub struct VaultConfig {
    /// Seals and opens.
    pub master_key: Secret<[u8; 32]>,
    /// Opens what was sealed before the master key was changed.
    pub previous_key: Option<Secret<[u8; 32]>>,
}

/// The audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditConfig {
    /// How long its lines are kept; `None`: for ever.
    pub retention: Option<Duration>,
    /// Time between two log lines that tell the head of its chain.
    pub head_interval: Duration,
}

/// Figures of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageConfig {
    /// How long they are kept.
    pub retention: Duration,
}

/// Webhooks, all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Whether they may reach private addresses.
    pub allow_private: bool,
    /// Longest wait for a receiver's answer.
    pub timeout: Duration,
}

/// Notices by e-mail.
#[derive(Debug, Clone)]
pub struct EmailConfig {
    /// The server that takes them.
    pub smtp: SmtpServer,
    /// How we sign in there; `None`: not at all.
    pub login: Option<SmtpLogin>,
    /// Who they come from.
    pub from: Mailbox,
    /// Addresses that get every notice.
    pub to: Vec<String>,
}

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpServer {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the way there is protected.
    pub security: SmtpSecurity,
}

/// How the way to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// `smtp`: TLS after STARTTLS, never without.
    StartTls,
    /// `smtps`: TLS from the first byte on.
    Tls,
    /// `smtp+plain`: not at all; loopback only.
    Plain,
}

/// User and password for a mail server.
#[derive(Debug, Clone)]
pub struct SmtpLogin {
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret<String>,
}

/// A sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Name that is shown.
    pub name: Option<String>,
    /// `local@domain`.
    pub address: String,
}

/// How long a member stays signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionConfig {
    /// Longest pause between two requests.
    pub idle: Duration,
    /// Longest time since the sign-in; at least `idle`.
    pub absolute: Duration,
}
