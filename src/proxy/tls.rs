//! Handshakes with callers: capped, bounded in time, counted; and what is known of a caller by its certificate.

use super::listener::ListenerState;
use super::socket::Socket;
use crate::snapshot::tls::TlsServer;
use crate::telemetry::metrics::Shed;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use rustls::server::Acceptor;
use std::sync::atomic::Ordering::Relaxed;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// A caller that has shown a certificate which an authority of the listener's has signed.
#[derive(Debug)]
pub(super) struct ClientIdentity {
    /// Its subject (RFC 4514), for `X-Keygate-Client-Subject`.
    pub(super) subject: HeaderValue,
    /// The certificate, for `Client-Cert` (RFC 9440).
    pub(super) certificate: HeaderValue,
}

/// What a handshake has led to.
pub(super) struct Shaken {
    pub(super) socket: Socket,
    /// Who has shown a certificate.
    pub(super) client: Option<ClientIdentity>,
    /// Whether both sides agreed on HTTP/2.
    pub(super) http2: bool,
}

impl Shaken {
    /// None was needed.
    pub(super) fn clear(stream: TcpStream) -> Self {
        Self {
            socket: Socket::Clear(stream),
            client: None,
            http2: false,
        }
    }
}

/// A place among a listener's handshakes; given back when dropped.
struct Shaking<'a>(&'a ListenerState);

impl Drop for Shaking<'_> {
    fn drop(&mut self) {
        self.0.shaking.fetch_sub(1, Relaxed);
    }
}

/// Shakes hands; `None`: that came to nothing, and the caller is gone.
pub(super) async fn accept(
    listener: &ListenerState,
    server: &TlsServer,
    stream: TcpStream,
) -> Option<Shaken> {
    let taken = listener.shaking.fetch_add(1, Relaxed);
    let _place = Shaking(listener);
    if taken >= server.max_handshakes {
        listener.handshakes.shed.inc();
        listener.shed.count(Shed::Handshake);
        return None;
    }
    let shaken = async {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let config = server.config_for(&hello.client_hello());
        hello.into_stream(config).await
    };
    match tokio::time::timeout(server.handshake_timeout, shaken).await {
        Ok(Ok(stream)) => {
            listener.handshakes.ok.inc();
            let (_, session) = stream.get_ref();
            let shown = session.peer_certificates();
            Some(Shaken {
                client: shown.and_then(|chain| identity(chain.first()?)),
                http2: session.alpn_protocol() == Some(b"h2"),
                socket: Socket::Tls(Box::new(stream.into())),
            })
        }
        Ok(Err(fault)) => {
            listener.handshakes.failed.inc();
            tracing::debug!(listener = %listener.name, error = %fault, "a TLS handshake failed");
            None
        }
        Err(_) => {
            listener.handshakes.timeout.inc();
            listener.shed.count(Shed::Handshake);
            None
        }
    }
}

fn identity(certificate: &[u8]) -> Option<ClientIdentity> {
    let read = Certificate::from_der(certificate).ok()?;
    let subject = read.tbs_certificate.subject.to_string();
    let encoded = format!(":{}:", STANDARD.encode(certificate));
    Some(ClientIdentity {
        // Other letters than ASCII are bytes of UTF-8 there; control characters stand for nobody.
        subject: HeaderValue::from_bytes(subject.as_bytes())
            .unwrap_or(HeaderValue::from_static("")),
        certificate: HeaderValue::try_from(encoded).ok()?,
    })
}
