//! From an endpoint to an open connection: the addresses of its name are tried one after the other, each first in turn.

use super::lease::Lease;
use super::opening;
use crate::proxy::error::UpstreamFault;
use crate::proxy::worker::Worker;
use crate::snapshot::addresses::Home;
use crate::snapshot::endpoints::{EndpointState, UpstreamState};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Where an endpoint is, and, if it has a name, what ties a connection to an address of it.
async fn addresses(
    endpoint: &EndpointState,
) -> Result<Vec<(SocketAddr, Option<Home>)>, UpstreamFault> {
    let (host, port) = (&endpoint.endpoint.host, endpoint.endpoint.port);
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![(SocketAddr::new(ip, port), None)]);
    }
    let found = endpoint.addresses.in_turn().await;
    let found = found.ok_or(UpstreamFault::Dns)?;
    let home = |ip| {
        let home = Home::new(&endpoint.addresses, ip);
        (SocketAddr::new(ip, port), Some(home))
    };
    Ok(found.into_iter().map(home).collect())
}

/// Opens a connection to an endpoint within its upstream's connect timeout, and notes how that went.
pub(in crate::proxy) async fn connect(
    worker: &Rc<Worker>,
    endpoint: &Arc<EndpointState>,
    upstream: &UpstreamState,
    alone: bool,
) -> Result<Lease, UpstreamFault> {
    let limit = upstream.config.connect_timeout;
    let opened =
        tokio::time::timeout(limit, opening::open(worker, endpoint, upstream, alone)).await;
    let connection = opened.unwrap_or(Err(UpstreamFault::ConnectTimeout));
    if endpoint.connected(connection.is_ok()) {
        let (upstream, endpoint) = (&upstream.config.name, &endpoint.endpoint.authority);
        match &connection {
            Ok(_) => tracing::info!(%upstream, %endpoint, "an endpoint can be reached again"),
            Err(fault) => {
                tracing::warn!(%upstream, %endpoint, reason = fault.reason(), "an endpoint cannot be reached");
            }
        }
    }
    Ok(Lease::new(
        worker,
        endpoint,
        upstream.config.pool,
        connection?,
    ))
}

/// Tries the addresses of a name one after the other. Each gets its share of the time, so that one that never answers
/// leaves some for the others.
pub(super) async fn open(
    endpoint: &EndpointState,
    limit: Duration,
) -> Result<(TcpStream, Option<Home>), UpstreamFault> {
    let addresses = addresses(endpoint).await?;
    let share = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut fault = UpstreamFault::Connect;
    for (address, home) in addresses {
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without it a head and a small body may wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                return Ok((stream, home));
            }
            Ok(Err(_)) => fault = UpstreamFault::Connect,
            Err(_) => fault = UpstreamFault::ConnectTimeout,
        }
    }
    Err(fault)
}
