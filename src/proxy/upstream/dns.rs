//! Names to addresses, with the time that they hold. The system's files (`resolv.conf`, `hosts`) are read each time, so
//! that a change of them needs no restart; the caller keeps what was found.

use crate::config::DnsConfig;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What was found, and for how long that holds.
pub(in crate::proxy) struct Found {
    pub(in crate::proxy) addresses: Vec<IpAddr>,
    pub(in crate::proxy) holds: Duration,
}

/// The addresses of a name, IPv4 and IPv6.
pub(in crate::proxy) async fn look_up(name: &str, config: &DnsConfig) -> Result<Found, NetError> {
    let answer = resolver(&config.servers)?.lookup_ip(name).await?;
    let records = answer.as_lookup().answers();
    let ttl = records.iter().map(|record| record.ttl).min();
    let holds = Duration::from_secs(ttl.unwrap_or_default().into());
    Ok(Found {
        addresses: answer.iter().collect(),
        holds: holds.clamp(config.min_ttl, config.max_ttl),
    })
}

/// Asks these servers, or the system's if there are none.
fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let of_system = || TokioResolver::builder_tokio().ok();
    let system = servers.is_empty().then(of_system).flatten();
    let mut builder = system.unwrap_or_else(|| {
        // A system without servers may still have names in its hosts file.
        let servers = servers.iter().copied().map(server).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    });
    let options = builder.options_mut();
    options.ip_strategy = hickory_resolver::config::LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = 0;
    builder.build()
}

fn server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}
