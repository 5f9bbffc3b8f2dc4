//! The management listener and what its handlers share.

use super::listener::CappedListener;
use super::routes;
use crate::clock::Clock;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::snapshot::handle::Shared;
use crate::store::StoreSlot;
use crate::telemetry::metrics::Metrics;
use serde::Serialize;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A data listener, for `/status`.
#[derive(Debug, Clone, Serialize)]
pub struct ListenerInfo {
    /// Name in config.
    pub name: String,
    /// Address with its real port.
    pub address: SocketAddr,
}

/// What handlers work with.
#[derive(Debug)]
pub struct AdminParts {
    /// Snapshot and keys.
    pub shared: Arc<Shared>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Data listeners.
    pub listeners: Vec<ListenerInfo>,
    /// The config file that is followed.
    pub config_file: Option<PathBuf>,
    /// Bearer token that is asked for, if one is set.
    pub token: Option<Secret<String>>,
    /// Where the store is, or will be; `None`: there is none.
    pub store: Option<Arc<StoreSlot>>,
    /// When this process started.
    pub started_at: Timestamp,
}

/// The management server, bound.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    parts: Arc<AdminParts>,
}

impl Admin {
    /// Binds the management address.
    pub async fn bind(address: SocketAddr, parts: AdminParts) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            parts: Arc::new(parts),
        })
    }

    /// The address with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`.
    pub async fn serve(self, stop: CancellationToken) {
        let app = routes::all(self.parts);
        let served = axum::serve(CappedListener::new(self.listener), app);
        tokio::select! {
            ended = async { served.await } => {
                if let Err(fault) = ended {
                    tracing::error!(error = %fault, "the management port has ended");
                }
            }
            () = stop.cancelled() => {}
        }
    }
}
