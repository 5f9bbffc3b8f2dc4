//! The management listener and what its handlers share.

pub use super::api::audit::AuditDesk;
pub use super::api::system::Settings;
use super::error::AdminError;
use super::listener::{Answering, CappedListener};
use super::refusal;
use super::routes;
use super::sightings::Sightings;
use super::throttle::Throttle;
use crate::clock::Clock;
use crate::config::{SessionConfig, WebhookConfig};
use crate::domain::key::record::Inactivity;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::snapshot::handle::Shared;
use crate::store::{Store, StoreSlot};
use crate::telemetry::metrics::Metrics;
use crate::vault::Keyring;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
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
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// What handlers work with.
#[derive(Debug)]
pub struct AdminParts {
    /// How often anybody may ask and guess.
    pub throttle: Throttle,
    /// When tokens and sessions were used last.
    pub sightings: Sightings,
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
    /// Names under which the port may be asked, beside addresses and `localhost`; none: any.
    pub allowed_hosts: Vec<String>,
    /// How long sessions last.
    pub sessions: SessionConfig,
    /// Inactivity policy of keys in the root workspace.
    pub inactivity: Inactivity,
    /// The master key, if there is one.
    pub vault: Option<Arc<Keyring>>,
    /// What webhooks may be.
    pub webhooks: WebhookConfig,
    /// The settings that stay as they were at the start.
    pub settings: Settings,
    /// The audit log's readers.
    pub audit: AuditDesk,
    /// When this process started.
    pub started_at: Timestamp,
}

/// Address of a caller, and what its connection is told.
#[derive(Debug, Clone)]
pub(super) struct Peer(pub(super) SocketAddr, pub(super) Answering);

impl Connected<IncomingStream<'_, CappedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, CappedListener>) -> Self {
        Self(*stream.remote_addr(), stream.io().answering())
    }
}

impl AdminParts {
    /// The store.
    ///
    /// # Errors
    /// When this gateway has none, or it is away.
    pub(super) fn store(&self) -> Result<&Store, AdminError> {
        let Some(slot) = &self.store else {
            return Err(AdminError::Conflict {
                code: "no_store",
                message: "this gateway has no store: its keys are in the config file".into(),
            });
        };
        Ok(slot.get()?)
    }
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

    /// Serves until `stop`, and then records what is still to be recorded.
    pub async fn serve(self, stop: CancellationToken) {
        let app = routes::all(Arc::clone(&self.parts));
        let app = app.into_make_service_with_connect_info::<Peer>();
        let served = axum::serve(CappedListener::new(self.listener), app);
        tokio::select! {
            ended = async { served.await } => {
                if let Err(fault) = ended {
                    tracing::error!(error = %fault, "the management port has ended");
                }
            }
            () = refusal::tell_sums(&self.parts) => {}
            () = stop.cancelled() => {}
        }
        refusal::tell_rest(&self.parts).await;
    }
}
