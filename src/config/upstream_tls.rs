//! TLS towards services: whom we believe, who we say we are, and the settings of handshakes made of that.

use super::tls::Certificate;
use crate::domain::upstream::Protocol;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, version};
use std::sync::Arc;

/// Sessions that are remembered for each upstream, so that their handshakes are short: one or two for each endpoint.
const SESSIONS: usize = 256;

/// How a service is spoken to under TLS.
#[derive(Debug, Clone)]
pub struct UpstreamTls {
    /// The name it is asked for and has to prove; `None`: that of the endpoint.
    pub server_name: Option<ServerName<'static>>,
    /// All else that a handshake needs.
    client: Arc<ClientConfig>,
    /// The same, offering HTTP/1.1 only.
    http1: Arc<ClientConfig>,
    /// What `client` was made of.
    pub made_of: Parts,
}

impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        self.server_name == other.server_name && self.made_of == other.made_of
    }
}

impl Eq for UpstreamTls {}

/// What a handshake depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Who may have signed the service's certificate.
    pub trust: Trust,
    /// What we show when we are asked.
    pub identity: Option<Certificate>,
    /// Whether TLS 1.2 will do.
    pub tls12: bool,
    /// What is offered by ALPN.
    pub protocol: Protocol,
}

/// Whom we believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those who have a certificate that one of these has signed.
    Authorities(Vec<CertificateDer<'static>>),
    /// Anybody.
    Anybody,
}

impl Trust {
    /// Those whom the system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` count as for other programs.
    ///
    /// # Errors
    /// For people: there is nobody.
    pub(super) fn of_system() -> Result<Self, String> {
        let found = rustls_native_certs::load_native_certs();
        if !found.certs.is_empty() {
            return Ok(Self::Authorities(found.certs));
        }
        let why = found.errors.first().map(|fault| format!(": {fault}"));
        Err(format!(
            "the system trusts no authority{}; install ca-certificates, or name a file in `ca`",
            why.unwrap_or_default()
        ))
    }
}

impl UpstreamTls {
    /// Makes the settings of a handshake.
    ///
    /// # Errors
    /// For people: a certificate of `trust` cannot be one that signs.
    pub(super) fn new(
        made_of: Parts,
        server_name: Option<ServerName<'static>>,
    ) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions: &[_] = if made_of.tls12 {
            &[&version::TLS13, &version::TLS12]
        } else {
            &[&version::TLS13]
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|fault| fault.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier(&made_of.trust, provider)?);
        let mut client = match &made_of.identity {
            None => builder.with_no_client_auth(),
            Some(shown) => {
                let pair = SingleCertAndKey::from(Arc::clone(&shown.pair));
                builder.with_client_cert_resolver(Arc::new(pair))
            }
        };
        client.alpn_protocols = offered(made_of.protocol);
        client.resumption = Resumption::in_memory_sessions(SESSIONS);
        let mut http1 = client.clone();
        http1.alpn_protocols = offered(Protocol::Http1);
        Ok(Self {
            server_name,
            client: Arc::new(client),
            http1: Arc::new(http1),
            made_of,
        })
    }

    /// The name that an endpoint of this host has to prove; `None`: it cannot be one.
    pub fn name_of(&self, host: &str) -> Option<ServerName<'static>> {
        match &self.server_name {
            Some(name) => Some(name.clone()),
            None => ServerName::try_from(host.to_owned()).ok(),
        }
    }

    /// What a handshake needs; `http1`: where nothing else will do.
    pub fn client(&self, http1: bool) -> Arc<ClientConfig> {
        Arc::clone(if http1 { &self.http1 } else { &self.client })
    }

    /// Whether nobody has to prove anything.
    pub fn is_insecure(&self) -> bool {
        self.made_of.trust == Trust::Anybody
    }
}

/// The protocols of ALPN (RFC 7301), best first.
fn offered(protocol: Protocol) -> Vec<Vec<u8>> {
    let names: &[&[u8]] = match protocol {
        Protocol::Auto => &[b"h2", b"http/1.1"],
        Protocol::Http1 => &[b"http/1.1"],
        Protocol::Http2 => &[b"h2"],
    };
    names.iter().map(|name| name.to_vec()).collect()
}

fn verifier(
    trust: &Trust,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let authorities = match trust {
        Trust::Anybody => return Ok(Arc::new(NoProof(provider))),
        Trust::Authorities(authorities) => authorities,
    };
    let mut roots = RootCertStore::empty();
    // Among those of a system there may be old ones that nobody can use; one that was named has to be good.
    let (good, _) = roots.add_parsable_certificates(authorities.iter().cloned());
    if good == 0 {
        return Err("there is no certificate of an authority in it".into());
    }
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    Ok(built.map_err(|fault| fault.to_string())?)
}

/// Believes every certificate, for whoever says `insecure: true`.
#[derive(Debug)]
struct NoProof(Arc<CryptoProvider>);

impl ServerCertVerifier for NoProof {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
