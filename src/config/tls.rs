//! Certificates that are ours and certificates that are believed: read from PEM, and checked as far as that goes without a
//! peer.

use crate::domain::time::Timestamp;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, RootCertStore, ServerConfig, version};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// How a listener speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// At least one; the first is for callers that ask for no name, or for one that no other is for.
    pub certificates: Vec<Certificate>,
    /// Whether TLS 1.2 will do.
    pub tls12: bool,
    /// Whether callers have certificates; `None`: they are not asked.
    pub client: Option<ClientAuth>,
    /// From accept to the end of the handshake.
    pub handshake_timeout: Duration,
    /// Handshakes at a time, all threads together.
    pub max_handshakes: usize,
    /// All of that for the handshake; without tickets, whose keys outlive a reload.
    pub server: ServerSide,
}

/// What a handshake needs; as good as another one whose settings are the same.
#[derive(Debug, Clone)]
pub struct ServerSide(pub ServerConfig);

impl PartialEq for ServerSide {
    fn eq(&self, other: &Self) -> bool {
        self.0.alpn_protocols == other.0.alpn_protocols
    }
}

impl Eq for ServerSide {}

/// Certificates of callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// Who may have signed them.
    pub roots: Vec<CertificateDer<'static>>,
    /// Whether a caller without one is turned away.
    pub required: bool,
}

/// A certificate with its chain and its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// For the handshake.
    pub pair: Arc<CertifiedKey>,
    /// Names that it is for, lower case; the first label may be `*`.
    pub names: Vec<String>,
    /// Not valid from then on.
    pub not_after: Timestamp,
    /// Where it was read from; a metric label.
    pub source: String,
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        // The key is that of the certificate.
        self.pair.cert == other.pair.cert
            && self.names == other.names
            && self.source == other.source
    }
}

impl Eq for Certificate {}

/// The settings of a handshake.
///
/// # Errors
/// For people: a certificate of `client` cannot be one that signs.
pub(super) fn server(
    certificates: &[Certificate],
    tls12: bool,
    client: Option<&ClientAuth>,
    protocols: &[&[u8]],
) -> Result<ServerSide, String> {
    let provider = Arc::new(quickest_first(aws_lc_rs::default_provider()));
    let versions: &[_] = if tls12 {
        &[&version::TLS13, &version::TLS12]
    } else {
        &[&version::TLS13]
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|fault| fault.to_string())?;
    let builder = match client {
        None => builder.with_no_client_auth(),
        Some(client) => builder.with_client_cert_verifier(verifier(client, provider)?),
    };
    let mut server = builder.with_cert_resolver(Arc::new(ByName::new(certificates)));
    server.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    // See `quickest_first`.
    server.ignore_client_order = true;
    // Sessions go on by tickets only: there is no memory that callers could fill.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(ServerSide(server))
}

/// AES with keys of 128 bits first: no attack on either length is known, and its handshakes are a tenth cheaper, since most
/// processors have SHA-256 and no SHA-384. Callers that have no AES in their processor want `ChaCha20` and get it, see
/// `TlsServer::config_for`.
fn quickest_first(mut provider: CryptoProvider) -> CryptoProvider {
    let is_quick = |suite: CipherSuite| {
        matches!(
            suite,
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    };
    let suites = &mut provider.cipher_suites;
    suites.sort_by_key(|suite| !is_quick(suite.suite()));
    provider
}

fn verifier(
    client: &ClientAuth,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for root in &client.roots {
        roots
            .add(root.clone())
            .map_err(|_| "a certificate in it cannot be that of an authority")?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = if client.required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder.build().map_err(|fault| fault.to_string())
}

/// Certificates by the name that a caller asks for (RFC 6066 §3): an exact name before a wildcard, which stands for one
/// label (RFC 9525 §6.3), and the first of all for any other.
#[derive(Debug)]
struct ByName {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// Without `*.`.
    wildcards: HashMap<String, Vec<Arc<CertifiedKey>>>,
    all: Vec<Arc<CertifiedKey>>,
}

impl ByName {
    fn new(certificates: &[Certificate]) -> Self {
        let (mut exact, mut wildcards) = (HashMap::new(), HashMap::new());
        for one in certificates {
            for name in &one.names {
                let (place, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcards, parent),
                    None => (&mut exact, &**name),
                };
                let there: &mut Vec<_> = place.entry(name.to_owned()).or_default();
                there.push(Arc::clone(&one.pair));
            }
        }
        Self {
            exact,
            wildcards,
            all: certificates
                .iter()
                .map(|one| Arc::clone(&one.pair))
                .collect(),
        }
    }

    fn find(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let named = name.and_then(|name| {
            let wildcard = || self.wildcards.get(name.split_once('.')?.1);
            self.exact.get(name).or_else(wildcard)
        });
        named.unwrap_or(&self.all)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // The name is in lower case and without a dot at its end.
        let able = self.find(hello.server_name());
        let fits =
            |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(hello.signature_schemes()).is_some();
        able.iter().find(fits).map(Arc::clone)
    }
}

/// What is wrong with a certificate and its key, and with which of the two.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PairFault {
    Certificate(String),
    Key(String),
}

impl Certificate {
    /// From PEM: the certificate first, then those that signed it, each by the next; and its private key.
    pub(super) fn parse(chain: &str, key: &str, source: &str) -> Result<Self, PairFault> {
        let chain = certificates(chain).map_err(PairFault::Certificate)?;
        let about = chain
            .first()
            .map(|leaf| About::read(leaf))
            .transpose()
            .map_err(PairFault::Certificate)?
            .ok_or_else(|| PairFault::Certificate("there is no certificate in it".into()))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| PairFault::Key("there is no private key in it, in PEM".into()))?;
        let key = any_supported_type(&key).map_err(|_| {
            PairFault::Key("the private key is of a kind that is not supported".into())
        })?;
        let pair = CertifiedKey::new(chain, key);
        pair.keys_match()
            .map_err(|_| PairFault::Key("the private key is not that of the certificate".into()))?;
        Ok(Self {
            pair: Arc::new(pair),
            names: about.names,
            not_after: about.not_after,
            source: source.to_owned(),
        })
    }
}

/// All certificates in a PEM text, at least one.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|_| "not PEM, or broken")?;
    if found.is_empty() {
        return Err("there is no certificate in it, in PEM".into());
    }
    for one in &found {
        About::read(one)?;
    }
    Ok(found)
}

/// What a certificate says of itself.
struct About {
    names: Vec<String>,
    not_after: Timestamp,
}

impl About {
    fn read(der: &CertificateDer<'_>) -> Result<Self, String> {
        let broken = || "a certificate in it is broken".to_owned();
        let certificate = x509_cert::Certificate::from_der(der).map_err(|_| broken())?;
        let signed = certificate.tbs_certificate;
        let end = signed.validity.not_after.to_unix_duration();
        let names = signed
            .get::<SubjectAltName>()
            .map_err(|_| broken())?
            .map(|(_, names)| names.0)
            .unwrap_or_default();
        let names = names.iter().filter_map(|name| {
            let GeneralName::DnsName(name) = name else {
                return None;
            };
            Some(name.as_str().to_ascii_lowercase())
        });
        Ok(Self {
            names: names.collect(),
            not_after: Timestamp::from_millis(i64::try_from(end.as_millis()).unwrap_or(i64::MAX)),
        })
    }
}
