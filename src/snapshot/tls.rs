//! TLS of listeners, ready for handshakes. Keys of tickets outlive a reload, so that callers' sessions go on.

use crate::config::tls::{Certificate, ClientAuth, ListenerTls};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What one listener's handshakes need.
#[derive(Debug, Clone)]
pub struct TlsServer {
    /// Certificates, versions, tickets.
    pub config: Arc<ServerConfig>,
    /// From accept to the end of the handshake.
    pub handshake_timeout: Duration,
    /// Handshakes at a time, all threads together.
    pub max_handshakes: usize,
    /// For what is shown of them.
    pub certificates: Vec<Certificate>,
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
        let server = Arc::new(TlsServer {
            config: Arc::new(config),
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
