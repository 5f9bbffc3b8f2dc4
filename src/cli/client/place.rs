//! Which gateway a command talks to, and in whose name.

use super::logins::Logins;
use crate::cli::output::plain;
use crate::cli::{Environment, Exit, Failed, load};
use crate::domain::secret::Secret;
use anyhow::anyhow;
use reqwest::Url;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

const DEFAULT_CONFIG: &str = crate::cli::DEFAULT_CONFIG;
const DEFAULT_URL: &str = "http://127.0.0.1:8081";

/// Where commands look: the config file, if one was named, and the environment.
pub(in crate::cli) struct Place {
    pub(in crate::cli) config: Option<PathBuf>,
    pub(in crate::cli) environment: Environment,
}

impl Place {
    /// The management port: as told, else of the config file, else of the last `login`, else the usual one.
    pub(in crate::cli) fn url(&self, told: Option<&str>) -> Result<Url, Failed> {
        if let Some(told) = told.filter(|told| !told.is_empty()) {
            return address(told);
        }
        if let Some(file) = self.config.as_deref() {
            return management(file);
        }
        let default = Path::new(DEFAULT_CONFIG);
        if default.is_file() {
            let found = management(default)?;
            // A folder that somebody sent must not decide where tokens go.
            return if is_local(&found) {
                Ok(found)
            } else {
                let words = format!(
                    "{DEFAULT_CONFIG} names {found}, which is not this machine: say so by --url or --config"
                );
                Err(Failed::with(Exit::Usage, anyhow!(words)))
            };
        }
        let last = self.logins().and_then(|logins| logins.default());
        address(last.as_deref().unwrap_or(DEFAULT_URL))
    }

    /// `KEYGATE_TOKEN`, else what `login` stored for this address; and which of the two it is.
    pub(in crate::cli) fn token(
        &self,
        url: &Url,
    ) -> Result<(Option<Secret<String>>, Origin), Failed> {
        if let Some(token) = self.environment.token() {
            return Ok((Some(token), Origin::Environment));
        }
        let Some(logins) = self.logins() else {
            return Ok((None, Origin::Nowhere));
        };
        Ok(match logins.find(url)? {
            Some(login) => (Some(login.secret), Origin::Login(logins.file().to_owned())),
            None => (None, Origin::Nowhere),
        })
    }

    /// Where `login` stores; nothing when there is no home.
    pub(in crate::cli) fn logins(&self) -> Option<Logins> {
        self.environment.home().map(|home| Logins::new(&home))
    }
}

/// Where a token is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Origin {
    /// It was typed or piped in.
    Given,
    /// `KEYGATE_TOKEN`.
    Environment,
    /// The file of `login`.
    Login(PathBuf),
    /// There is none.
    Nowhere,
}

impl Origin {
    /// What somebody can do whose token is not taken.
    pub(super) fn advice(&self) -> Option<String> {
        match self {
            Self::Given => None,
            Self::Environment => Some(
                "the token is that of KEYGATE_TOKEN: correct it, or unset it and sign in with `keygate login`"
                    .into(),
            ),
            Self::Login(file) => Some(format!(
                "the token is the one that `keygate login` stored in {}: sign in again with `keygate login`",
                plain(&file.display().to_string())
            )),
            Self::Nowhere => Some("sign in with `keygate login`, or set KEYGATE_TOKEN".into()),
        }
    }
}

/// The management port of a config file.
fn management(file: &Path) -> Result<Url, Failed> {
    let management = reachable(load(file)?.management.address);
    address(&format!("http://{management}"))
}

/// An address of a gateway, as it is typed.
fn address(text: &str) -> Result<Url, Failed> {
    let fault = || {
        let words = "an address of a gateway is such as http://127.0.0.1:8081";
        Failed::with(Exit::Usage, anyhow!(words))
    };
    let mut url = Url::parse(text).map_err(|_| fault())?;
    let bare = url.username().is_empty() && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !bare {
        return Err(fault());
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// "Every address" is reached by loopback.
pub(in crate::cli) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Whether what is said to this address stays on the machine.
pub(in crate::cli) fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let read = |text: &str| address(text).ok().map(|url| url.to_string());
        for (text, want) in [
            ("http://127.0.0.1:8081", Some("http://127.0.0.1:8081/")),
            (
                "https://gate.example.com/admin?x=1#y",
                Some("https://gate.example.com/admin"),
            ),
            ("127.0.0.1:8081", None),
            ("ftp://127.0.0.1", None),
            ("http://user:secret@host", None),
            ("http://", None),
            ("localhost", None),
        ] {
            assert_eq!(read(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn loopback_is_local() {
        for (text, local) in [
            ("http://127.0.0.1:8081", true),
            ("http://[::1]:8081", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example.com", false),
        ] {
            assert_eq!(is_local(&text.parse().unwrap()), local, "{text}");
        }
    }

    #[test]
    fn every_address_is_reached_by_loopback() {
        let reach = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reach("0.0.0.0:8081"), "127.0.0.1:8081");
        assert_eq!(reach("[::]:8081"), "[::1]:8081");
        assert_eq!(reach("10.0.0.1:1"), "10.0.0.1:1");
    }
}
