//! TLS with an endpoint: it has to prove its name, and both sides agree on what is spoken.

use crate::domain::upstream::Protocol;
use crate::proxy::error::{TlsFault, UpstreamFault};
use crate::proxy::socket::Socket;
use crate::snapshot::endpoints::{EndpointState, UpstreamState};
use rustls::Error;
use std::fmt::Display;
use std::io;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A socket that is ready for requests.
pub(super) struct Shaken {
    pub(super) socket: Socket,
    /// Whether HTTP/2 is spoken on it.
    pub(super) http2: bool,
}

/// Shakes hands, where the upstream is under TLS. A fault is told in the log, with the check that failed.
pub(super) async fn shake(
    stream: TcpStream,
    endpoint: &EndpointState,
    upstream: &UpstreamState,
    alone: bool,
) -> Result<Shaken, UpstreamFault> {
    let protocol = if alone {
        Protocol::Http1
    } else {
        upstream.config.protocol
    };
    let Some(tls) = &upstream.tls else {
        return Ok(Shaken {
            socket: Socket::Clear(stream),
            http2: protocol == Protocol::Http2,
        });
    };
    // A host of the config's is one that a certificate can have, as was seen to there.
    let name = tls
        .name_of(&endpoint.endpoint.host)
        .ok_or(UpstreamFault::Tls(TlsFault::Certificate))?;
    let shaken = TlsConnector::from(tls.client(alone)).connect(name, stream);
    let stream = shaken.await.map_err(|fault| {
        tell(upstream, endpoint, &fault);
        UpstreamFault::Tls(said(&fault).unwrap_or(TlsFault::Protocol))
    })?;
    let agreed = stream.get_ref().1.alpn_protocol();
    if protocol == Protocol::Http2 && agreed != Some(b"h2") {
        tell(upstream, endpoint, &"HTTP/2 is demanded, but not offered");
        return Err(UpstreamFault::Tls(TlsFault::Protocol));
    }
    Ok(Shaken {
        http2: agreed == Some(b"h2"),
        socket: Socket::Tls(Box::new(stream.into())),
    })
}

/// Which check failed is for the log, loudly when it is news.
fn tell(upstream: &UpstreamState, endpoint: &EndpointState, why: &dyn Display) {
    let (upstream, address) = (&upstream.config.name, &endpoint.endpoint.authority);
    if endpoint.is_up() {
        tracing::warn!(%upstream, endpoint = %address, error = %why, "no TLS with an endpoint");
    } else {
        tracing::debug!(%upstream, endpoint = %address, error = %why, "no TLS with an endpoint");
    }
}

/// Whose certificate, whose word (RFC 9209 §2.3); `None`: it is no fault of TLS.
pub(super) fn said(fault: &io::Error) -> Option<TlsFault> {
    let inner = fault.get_ref()?.downcast_ref::<Error>()?;
    let of_certificate = matches!(
        inner,
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented
    );
    Some(if of_certificate {
        TlsFault::Certificate
    } else if matches!(inner, Error::AlertReceived(_)) {
        TlsFault::Alert
    } else {
        TlsFault::Protocol
    })
}
