//! Who is believed about where a request comes from, and what is turned away before it is looked at.

use crate::domain::limit::Limit;
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;

/// Whom a listener believes about where a request comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyTrust {
    /// Addresses of proxies in front; empty: nobody is believed.
    pub proxies: Vec<IpNet>,
    /// Where they write the client's address.
    pub header: ForwardedBy,
    /// Whether each connection begins with a PROXY header.
    pub proxy_protocol: bool,
}

impl ProxyTrust {
    /// Whether this address is one of the proxies'.
    pub fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.proxies
            .iter()
            .any(|network| network.contains(&address))
    }
}

/// The field in which proxies write the client's address. One only: a proxy that writes one of them passes on what a
/// client wrote into the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardedBy {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto` and `X-Forwarded-Host`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl ForwardedBy {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::XForwardedFor, Self::Forwarded];

    /// Name in the config.
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x_forwarded_for",
            Self::Forwarded => "forwarded",
        }
    }
}

/// How fast a body must move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinRate {
    /// Bytes in a second.
    pub bytes: u64,
    /// Time that is given on top of what the bytes are worth.
    pub grace: Duration,
}

impl MinRate {
    /// How long one may have been waited for who has moved so many bytes.
    pub fn allows(self, bytes: u64) -> Duration {
        let worth = u128::from(bytes) * 1000 / u128::from(self.bytes.max(1));
        self.grace + Duration::from_millis(u64::try_from(worth).unwrap_or(u64::MAX))
    }
}

/// What is turned away before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// Wrong keys that one network may try; `None`: any number.
    pub failed_attempts: Option<Limit>,
    /// How late a thread may be before it sheds requests; `None`: as late as it gets.
    pub max_lag: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_buy_time_on_top_of_the_grace() {
        let rate = MinRate {
            bytes: 240,
            grace: Duration::from_secs(10),
        };
        assert_eq!(rate.allows(0), Duration::from_secs(10));
        assert_eq!(rate.allows(2400), Duration::from_secs(20));
        assert!(rate.allows(u64::MAX) > Duration::from_hours(24 * 365));
    }

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        let trust = ProxyTrust {
            proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..ProxyTrust::default()
        };
        assert!(trust.covers("10.1.2.3".parse().unwrap()));
        assert!(trust.covers("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!trust.covers("11.0.0.1".parse().unwrap()));
        assert!(!ProxyTrust::default().covers("127.0.0.1".parse().unwrap()));
    }
}
