//! Sockets that accept traffic: bound once to find a taken port, then once per thread; capped; drained before closing.

use super::arrival::{self, Caller};
use super::worker::Worker;
use crate::config::Listener;
use crate::domain::network::Network;
use crate::telemetry::metrics::{HandshakeMetrics, Metrics, Shed, ShedMetrics};
use dashmap::DashMap;
use prometheus::IntGauge;
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Connections the kernel may hold for us before they are accepted.
const BACKLOG: i32 = 4096;

/// Why a listener has no socket.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// A listener whose address is known to be ours.
pub struct BoundListener {
    state: Arc<ListenerState>,
    tls: bool,
    /// The socket that learnt a free port and must not lose it again.
    first: Cell<Option<std::net::TcpListener>>,
}

/// What the threads of a listener share.
#[derive(Debug)]
pub(super) struct ListenerState {
    /// Place in the config, and so in [`crate::snapshot::handle::Snapshot::listeners`].
    pub(super) place: usize,
    pub(super) name: String,
    /// The same as JSON.
    pub(super) json_name: Box<str>,
    pub(super) address: SocketAddr,
    open: AtomicUsize,
    gauge: IntGauge,
    /// Connections by whose they are, where that has a cap; nobody has none.
    pub(super) by_address: DashMap<Network, usize>,
    pub(super) shed: ShedMetrics,
    /// Handshakes under way.
    pub(super) shaking: AtomicUsize,
    pub(super) handshakes: HandshakeMetrics,
}

/// Binds the addresses of all listeners; port 0 becomes a real port.
///
/// The first socket of an address has no `SO_REUSEPORT`: if anyone else listens there it fails, instead of silently
/// taking half of the traffic. `reuse_port_handover` leaves that out, for a restart without a gap.
pub fn bind(listeners: &[Listener], metrics: &Metrics) -> Result<Vec<BoundListener>, BindError> {
    let bound = listeners.iter().enumerate().map(|(place, listener)| {
        let fail = |source| BindError {
            address: listener.address,
            source,
        };
        let mut address = listener.address;
        let mut first = None;
        if address.port() == 0 {
            let socket = listen(address).map_err(fail)?;
            address = socket.local_addr().map_err(fail)?;
            first = Some(socket);
        } else if !listener.reuse_port_handover {
            probe(address).map_err(fail)?;
        }
        let state = ListenerState {
            place,
            name: listener.name.clone(),
            json_name: serde_json::Value::from(listener.name.as_str())
                .to_string()
                .into(),
            address,
            open: AtomicUsize::new(0),
            gauge: metrics.connections(&listener.name),
            by_address: DashMap::new(),
            shed: metrics.shed(&listener.name),
            shaking: AtomicUsize::new(0),
            handshakes: metrics.handshakes(&listener.name),
        };
        Ok(BoundListener {
            state: Arc::new(state),
            tls: listener.tls.is_some(),
            first: Cell::new(first),
        })
    });
    bound.collect()
}

fn probe(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

impl BoundListener {
    /// The address, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.state.address
    }

    /// Name in config.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Whether it speaks TLS.
    pub fn speaks_tls(&self) -> bool {
        self.tls
    }

    /// One thread's socket. Fails when someone else took the address since the probe.
    pub(super) fn socket(&self) -> Result<std::net::TcpListener, BindError> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let address = self.state.address;
        listen(address).map_err(|source| BindError { address, source })
    }

    pub(super) fn state(&self) -> Arc<ListenerState> {
        Arc::clone(&self.state)
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Accepted connections take it over. Without it small answers may wait for the peer's delayed acknowledgement.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// One place among a listener's connections; given back when dropped.
pub(super) struct Seat(Arc<ListenerState>);

impl Seat {
    fn take(listener: &Arc<ListenerState>, most: usize) -> Option<Self> {
        let taken = listener.open.fetch_add(1, Relaxed);
        listener.gauge.inc();
        let seat = Self(Arc::clone(listener));
        (taken < most).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        self.0.gauge.dec();
    }
}

/// Accepts on one thread until the drain, then takes what the kernel has already accepted, then closes.
pub(super) async fn accept(
    worker: Rc<Worker>,
    socket: std::net::TcpListener,
    state: Arc<ListenerState>,
    drain: CancellationToken,
) {
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(fault) => {
            tracing::error!(listener = %state.name, error = %fault, "a listener could not start on one thread");
            return;
        }
    };
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, peer)) => welcome(&worker, &state, stream, peer),
                Err(fault) => rest_after(&state, &fault).await,
            },
            () = drain.cancelled() => break,
        }
    }
    while let Ok(Ok((stream, peer))) = tokio::time::timeout(Duration::ZERO, socket.accept()).await {
        welcome(&worker, &state, stream, peer);
    }
}

/// Out of descriptors or memory: accepting again at once would only spin.
async fn rest_after(state: &ListenerState, fault: &io::Error) {
    let aborted = matches!(
        fault.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    );
    if !aborted {
        tracing::warn!(listener = %state.name, error = %fault, "a connection could not be accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn welcome(worker: &Rc<Worker>, state: &Arc<ListenerState>, stream: TcpStream, peer: SocketAddr) {
    let view = worker.view();
    let Some(listener) = view.snapshot.listeners.get(state.place).cloned() else {
        return;
    };
    let (worker, state) = (Rc::clone(worker), Arc::clone(state));
    let tasks = worker.tasks.clone();
    if let Some(seat) = Seat::take(&state, listener.limits.max_connections) {
        tasks.spawn_local(arrival::serve(
            worker,
            (state, listener),
            stream,
            peer,
            seat,
        ));
        return;
    }
    state.shed.count(Shed::MaxConnections);
    tasks.spawn_local(async move {
        arrival::turn_away(&worker, &state, &listener, stream, Caller::at(peer)).await;
    });
}
