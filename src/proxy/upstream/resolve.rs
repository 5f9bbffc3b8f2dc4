//! From an endpoint's name to an open connection: addresses kept for a few seconds, tried one after the other.

use super::lease::Lease;
use super::opening;
use crate::domain::upstream::Endpoint;
use crate::proxy::error::UpstreamFault;
use crate::proxy::worker::Worker;
use crate::snapshot::endpoints::{EndpointState, UpstreamState};
use moka::sync::Cache;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// The system's resolver does not say how long an answer holds; this bounds how long an old one is used.
const KEEP: Duration = Duration::from_secs(5);
/// Names kept at a time; each comes from the config.
const MOST: u64 = 4096;

/// Addresses of names, shared by all workers.
pub(in crate::proxy) struct Resolver(Cache<String, Arc<[SocketAddr]>>);

impl Resolver {
    pub(in crate::proxy) fn new() -> Self {
        Self(
            Cache::builder()
                .max_capacity(MOST)
                .time_to_live(KEEP)
                .build(),
        )
    }

    async fn addresses(&self, endpoint: &Endpoint) -> io::Result<Arc<[SocketAddr]>> {
        if let Ok(ip) = endpoint.host.parse::<IpAddr>() {
            return Ok(Arc::new([SocketAddr::new(ip, endpoint.port)]));
        }
        if let Some(known) = self.0.get(&endpoint.authority) {
            return Ok(known);
        }
        let found: Arc<[SocketAddr]> =
            tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
                .await?
                .collect();
        if found.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.0
            .insert(endpoint.authority.clone(), Arc::clone(&found));
        Ok(found)
    }
}

/// Opens a connection to an endpoint within its upstream's connect timeout, and notes how that went.
pub(in crate::proxy) async fn connect(
    worker: &Rc<Worker>,
    endpoint: &Arc<EndpointState>,
    upstream: &UpstreamState,
) -> Result<Lease, UpstreamFault> {
    let limit = upstream.config.connect_timeout;
    let opened = tokio::time::timeout(limit, opening::open(worker, endpoint, upstream)).await;
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
    worker: &Worker,
    endpoint: &Endpoint,
    limit: Duration,
) -> Result<TcpStream, UpstreamFault> {
    let addresses = worker
        .resolver
        .addresses(endpoint)
        .await
        .map_err(|_| UpstreamFault::Dns)?;
    let share = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut fault = UpstreamFault::Connect;
    for address in addresses.iter() {
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without it a head and a small body may wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(_)) => fault = UpstreamFault::Connect,
            Err(_) => fault = UpstreamFault::ConnectTimeout,
        }
    }
    Err(fault)
}
