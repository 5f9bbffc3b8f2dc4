//! The one client for calls of our own to others. It follows no redirect, waits and reads only so long, and does not
//! reach into the network it stands in unless it is allowed to.

mod address;

pub use address::is_public;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client as Inner, ClientBuilder, Url, redirect};
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const USER_AGENT: &str = concat!("keygate/", env!("CARGO_PKG_VERSION"));
const CONNECT: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(30);

/// How calls are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpSettings {
    /// Whether addresses that are not out on the internet may be called.
    pub allow_private: bool,
    /// Longest time for a call, from the first look at the name to the last byte.
    pub timeout: Duration,
    /// Most bytes of an answer that are kept.
    pub max_body: usize,
}

/// Why there is no answer. No text shows a URL: it may carry secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Nothing that can be called.
    #[error("{0}")]
    Url(&'static str),
    /// The address is not out on the internet. Which one it is stays here: whoever gives a name must not learn what it
    /// stands for inside.
    #[error("it leads to a private address, which is not allowed")]
    Private,
    /// No address for the name.
    #[error("the name has no address: {0}")]
    Name(String),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// What came was no answer, or not all of it.
    #[error("no proper answer: {0}")]
    Protocol(String),
    /// The client itself cannot be made.
    #[error("the client cannot be made: {0}")]
    Setup(String),
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The beginning of its body, at most [`HttpSettings::max_body`].
    pub body: Bytes,
    /// Whether that is all of it.
    pub whole: bool,
    /// Its `Retry-After`, as it stands there.
    pub retry_after: Option<String>,
}

/// The client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Inner,
    settings: HttpSettings,
}

impl Client {
    /// A client. Where the system has no trusted certificates, it trusts none: calls by TLS fail, others do not.
    pub fn new(settings: HttpSettings) -> Result<Self, HttpError> {
        let builder = || {
            ClientBuilder::new()
                .user_agent(USER_AGENT)
                .redirect(redirect::Policy::none())
                .referer(false)
                .no_proxy()
                .connect_timeout(CONNECT.min(settings.timeout))
                .timeout(settings.timeout)
                .pool_max_idle_per_host(1)
                .pool_idle_timeout(IDLE)
                .dns_resolver(Guard {
                    allow_private: settings.allow_private,
                })
        };
        let inner = builder()
            .build()
            .or_else(|fault| {
                let fault = causes(&fault.without_url());
                tracing::warn!(%fault, "no trusted certificates: calls by TLS will fail");
                builder().tls_certs_only([]).build()
            })
            .map_err(|fault| HttpError::Setup(causes(&fault.without_url())))?;
        Ok(Self { inner, settings })
    }

    /// Sends a request and reads the answer.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, HttpError> {
        let url = parse(url, self.settings.allow_private)?;
        let request = self.inner.request(method, url).headers(headers).body(body);
        let mut answer = request.send().await.map_err(fault)?;
        let retry_after = answer.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| Some(value.to_str().ok()?.to_owned()));
        let mut kept = Vec::new();
        let mut whole = true;
        while let Some(piece) = answer.chunk().await.map_err(fault)? {
            let room = self.settings.max_body - kept.len();
            kept.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.len() > room {
                whole = false;
                break;
            }
        }
        Ok(Answer {
            status: answer.status().as_u16(),
            body: kept.into(),
            whole,
            retry_after,
        })
    }
}

/// Whether a URL can be called at all, as far as that is seen without looking its name up.
pub fn check_url(url: &str, allow_private: bool) -> Result<(), HttpError> {
    parse(url, allow_private).map(|_| ())
}

fn parse(text: &str, allow_private: bool) -> Result<Url, HttpError> {
    let url = Url::parse(text).map_err(|_| HttpError::Url("expected an `https://…` URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(HttpError::Url("expected an `http` or `https` URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(HttpError::Url("a URL must not hold a name or a password"));
    }
    // The parser has written every form of an IPv4 address (`0x7f.1`) as the plain one. Addresses are dialled without
    // a look-up, so the guard does not see them.
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse::<IpAddr>()
        && !allow_private
        && !is_public(address)
    {
        return Err(HttpError::Private);
    }
    Ok(url)
}

/// Looks names up and leaves out what must not be dialled. What it gives is dialled and nothing else, so no second
/// look-up can bring another address in.
struct Guard {
    allow_private: bool,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let inside = found.first().map(SocketAddr::ip);
            let outside: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| allow_private || is_public(address.ip()))
                .collect();
            match (outside.is_empty(), inside) {
                (true, Some(inside)) => {
                    tracing::debug!(name = name.as_str(), address = %inside, "it is private");
                    Err(HttpError::Private.into())
                }
                (true, None) => Err(HttpError::Name("none was found".into()).into()),
                (false, _) => Ok(Box::new(outside.into_iter()) as Addrs),
            }
        })
    }
}

fn fault(fault: reqwest::Error) -> HttpError {
    let fault = fault.without_url();
    let mut cause: Option<&(dyn Error + 'static)> = Some(&fault);
    while let Some(error) = cause {
        if let Some(own) = error.downcast_ref::<HttpError>() {
            return own.clone();
        }
        cause = error.source();
    }
    if fault.is_timeout() {
        HttpError::Timeout
    } else if fault.is_dns() {
        HttpError::Name(causes(&fault))
    } else if fault.is_connect() {
        HttpError::Connect(causes(&fault))
    } else {
        HttpError::Protocol(causes(&fault))
    }
}

/// The innermost cause: those around it only repeat which step it was.
fn causes(fault: &dyn Error) -> String {
    let mut last = fault;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

#[cfg(test)]
mod tests;
