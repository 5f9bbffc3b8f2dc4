//! TLS of listeners, ready for handshakes. Keys of tickets outlive a reload, so that callers' sessions go on.

use crate::config::tls::{Certificate, ClientAuth, ListenerTls};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, ProducesTickets};
use rustls::{CipherSuite, ServerConfig};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What one listener's handshakes need.
#[derive(Debug, Clone)]
pub struct TlsServer {
    /// Certificates, versions, tickets.
    config: Arc<ServerConfig>,
    /// The same for callers who choose the cipher.
    as_asked: Arc<ServerConfig>,
    /// From accept to the end of the handshake.
    pub handshake_timeout: Duration,
    /// Handshakes at a time, all threads together.
    pub max_handshakes: usize,
    /// For what is shown of them.
    pub certificates: Vec<Certificate>,
}

impl TlsServer {
    /// What this caller's handshake goes by. Whoever names `ChaCha20` first mostly has no AES in the processor, where AES is slow, and
    /// its time may tell of the key.
    pub fn config_for(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let suites = hello.cipher_suites().iter();
        // Some begin with a value that means nothing (RFC 8701).
        let mut known = suites.filter(|suite| suite.as_str().is_some());
        let config = if known.next().is_some_and(|suite| is_chacha20(*suite)) {
            &self.as_asked
        } else {
            &self.config
        };
        Arc::clone(config)
    }
}

fn is_chacha20(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

/// Makes [`TlsServer`]s.
#[derive(Debug, Default)]
pub struct TlsCompiler(HashMap<String, Made>);

#[derive(Debug)]
struct Made {
    from: ListenerTls,
    tickets: Option<Arc<dyn ProducesTickets>>,
    server: Arc<TlsServer>,
}

impl TlsCompiler {
    /// The one of the listener with this name; the same as before while nothing of it has changed.
    pub fn compile(&mut self, listener: &str, tls: &ListenerTls) -> Arc<TlsServer> {
        let known = self.0.get(listener);
        if let Some(known) = known.filter(|known| known.from == *tls) {
            return Arc::clone(&known.server);
        }
        // A ticket stands for a certificate that the caller has shown: it is good under the same rules only.
        let client = |made: &&Made| same_client(made.from.client.as_ref(), tls.client.as_ref());
        let tickets = match known.filter(client) {
            Some(known) => known.tickets.clone(),
            None => Ticketer::new().ok(),
        };
        let mut config = tls.server.0.clone();
        if let Some(tickets) = &tickets {
            config.ticketer = Arc::clone(tickets);
        }
        let mut as_asked = config.clone();
        as_asked.ignore_client_order = false;
        let server = Arc::new(TlsServer {
            config: Arc::new(config),
            as_asked: Arc::new(as_asked),
            handshake_timeout: tls.handshake_timeout,
            max_handshakes: tls.max_handshakes,
            certificates: tls.certificates.clone(),
        });
        let made = Made {
            from: tls.clone(),
            tickets,
            server: Arc::clone(&server),
        };
        self.0.insert(listener.to_owned(), made);
        server
    }
}

fn same_client(one: Option<&ClientAuth>, other: Option<&ClientAuth>) -> bool {
    one == other
}
