//! The config file: what was typed (`raw`) becomes what is valid ([`Config`]), or every fault at once.

mod admission;
mod load;
mod managed;
mod pieces;
mod raw;
mod resolve;
pub mod tls;
pub mod upstream_tls;
mod value;

#[cfg(test)]
mod tests;

use self::tls::ListenerTls;
use self::upstream_tls::UpstreamTls;
use crate::domain::consumer::Consumer;
use crate::domain::key::record::Inactivity;
use crate::domain::key::{KeyFormat, KeySpec};
use crate::domain::route::Route;
use crate::domain::secret::Secret;
use crate::domain::upstream::Upstream;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use admission::{Admission, ForwardedBy, MinRate, ProxyTrust};
pub use load::{load, load_but, parse};
pub use managed::{
    AuditConfig, EmailConfig, Mailbox, SessionConfig, SmtpLogin, SmtpSecurity, SmtpServer,
    StoreLocation, UsageConfig, VaultConfig, WebhookConfig,
};
pub(crate) use value::address as email_address;

/// A config file that is valid in itself.
#[derive(Debug, Clone)]
pub struct Config {
    /// Threads that serve requests; `None`: one per core the process may use.
    pub threads: Option<NonZeroUsize>,
    /// Longest wait for running requests when the gateway stops.
    pub drain_timeout: Duration,
    /// Brand and environments of native keys.
    pub key_format: KeyFormat,
    /// What is logged.
    pub log: LogConfig,
    /// Sockets that accept traffic; at least one.
    pub listeners: Vec<Listener>,
    /// The admin side.
    pub management: Management,
    /// What is told upstream about the caller.
    pub forwarding: Forwarding,
    /// What is turned away before it is looked at.
    pub admission: Admission,
    /// How names of endpoints are looked up.
    pub dns: DnsConfig,
    /// Services.
    pub upstreams: Vec<Upstream>,
    /// How those of them that are spoken to under TLS are, by their names.
    pub upstream_tls: HashMap<String, UpstreamTls>,
    /// Routes; [`Route::upstream`] counts in `upstreams`.
    pub routes: Vec<Route>,
    /// Declared consumers.
    pub consumers: Vec<Consumer>,
    /// Declared keys, but for those in [`Config::portions`] that were not read again.
    pub keys: Vec<KeySpec>,
    /// Where the keys come from, in the order of the file, if it was read in pieces.
    pub portions: Vec<Portion>,
    /// Where managed keys are kept; `None`: there are declared ones only.
    pub store: Option<StoreLocation>,
    /// Folder for what stands beside the store: the last good state, generated keys.
    pub data_dir: PathBuf,
    /// What seals secrets; `None`: nothing was given.
    pub vault: Option<VaultConfig>,
    /// What happens to unused keys of the root workspace that say nothing else.
    pub inactivity: Inactivity,
    /// The audit log.
    pub audit: AuditConfig,
    /// Figures of use.
    pub usage: UsageConfig,
    /// Webhooks.
    pub webhooks: WebhookConfig,
    /// Notices by e-mail; `None`: no mail is sent.
    pub email: Option<EmailConfig>,
    /// What is valid but probably not meant.
    pub warnings: Vec<Fault>,
    /// Every file that was read, the config file first; a change to any of them is a reload.
    pub files: Vec<PathBuf>,
}

/// A part of the list of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portion {
    /// Tells it from all others; `None`: what its keys are is not in the file alone.
    pub id: Option<PortionId>,
    /// How many of [`Config::keys`] are its own; `None`: it is known, and was not read again.
    pub keys: Option<usize>,
}

/// A hash of a portion's text and of everything else in its file.
pub type PortionId = [u8; 32];

/// How names of endpoints are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// Who is asked; none: the system's servers. Its `hosts` file comes first in any case.
    pub servers: Vec<SocketAddr>,
    /// An answer is used at least this long.
    pub min_ttl: Duration,
    /// And at most this long.
    pub max_ttl: Duration,
}

/// What is logged, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Filter in the form of `RUST_LOG`, such as `info` or `keygate=debug`.
    pub level: String,
    /// Whether each request gets a line.
    pub access: bool,
    /// Whether that line says the path (never the query).
    pub access_path: bool,
    /// File for access lines; `None`: standard output.
    pub access_file: Option<PathBuf>,
}

/// A socket that accepts traffic, and its caps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Name in metrics and logs; its address unless given.
    pub name: String,
    /// Address to bind; port 0 picks a free one.
    pub address: SocketAddr,
    /// Skip the probe that tells whether another process has the port.
    pub reuse_port_handover: bool,
    /// Caps and timeouts.
    pub limits: ListenerLimits,
    /// Whom it believes about where a request comes from.
    pub trust: Arc<ProxyTrust>,
    /// `None`: cleartext.
    pub tls: Option<ListenerTls>,
}

/// Caps and timeouts of a listener; the part of it that a reload may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Open connections at a time, all threads together.
    pub max_connections: usize,
    /// Those of one address (IPv6: of one network of 64 bits); `None`: any number.
    pub max_connections_per_address: Option<usize>,
    /// Bytes of a request's header fields, names and values.
    pub max_header_bytes: usize,
    /// Header fields of a request.
    pub max_headers: usize,
    /// Bytes of a request target.
    pub max_uri_bytes: usize,
    /// From accept to the first byte of the PROXY header or, without one, of a request.
    pub first_byte_timeout: Duration,
    /// From the first byte of a request's head to its last.
    pub header_timeout: Duration,
    /// Longest pause between two requests on a connection.
    pub idle_timeout: Duration,
    /// Longest pause while a request's body is awaited or the answer cannot be written.
    pub body_timeout: Duration,
    /// How fast a body must move, either direction; `None`: at any pace.
    pub min_body_rate: Option<MinRate>,
    /// Whether HTTP/2 is spoken too.
    pub http2: bool,
    /// Requests at a time on one connection of HTTP/2.
    pub max_streams: u32,
}

impl ListenerLimits {
    /// How long a peer may keep us waiting that has moved so many bytes and was waited for so long already.
    pub fn stall(&self, bytes: u64, waited: Duration) -> Duration {
        let slack = |rate: MinRate| rate.allows(bytes).saturating_sub(waited);
        let most = self.min_body_rate.map_or(self.body_timeout, slack);
        most.min(self.body_timeout)
    }
}

/// The management port.
#[derive(Debug, Clone)]
pub struct Management {
    /// Address to bind; loopback unless a token is set.
    pub address: SocketAddr,
    /// Bearer token that `/metrics`, `/status` and `/v1` ask for.
    pub token: Option<Secret<String>>,
    /// How long a member stays signed in.
    pub sessions: SessionConfig,
    /// Names in `Host` that it answers to, besides addresses and `localhost`; lower case, without port.
    pub allowed_hosts: Vec<String>,
}

/// What is told upstream about the caller, besides identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarding {
    /// Add `Via` (RFC 9110 §7.6.3), both ways.
    pub via: bool,
    /// Add `Forwarded` (RFC 7239).
    pub forwarded: bool,
    /// Realm in `WWW-Authenticate`.
    pub realm: String,
}

/// One fault or warning, with its place in the file: `file:line:column: path: what`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: PathBuf,
    /// Line and column, both from 1; `None` when the file could not be read at all.
    pub place: Option<(usize, usize)>,
    /// Dotted path, such as `listeners[0].address`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(out, ":{line}:{column}")?;
        }
        if !self.path.is_empty() {
            write!(out, ": {}", self.path)?;
        }
        write!(out, ": {}", self.what)
    }
}

/// Why there is no [`Config`].
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The config file itself could not be read.
    #[error("{file}: {source}", file = .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It was read, and this is wrong with it.
    #[error("{}", lines(.faults))]
    Invalid {
        /// Every fault.
        faults: Vec<Fault>,
        /// As in [`Config::files`], those that could not be read included: a change to any may be the cure.
        files: Vec<PathBuf>,
    },
}

fn lines(faults: &[Fault]) -> String {
    faults
        .iter()
        .map(Fault::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
