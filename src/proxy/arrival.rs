//! What happens to a connection before its first request: who says where it comes from, whether there is room for one more
//! of that address, and the handshake.

use super::connection::{self, Connection};
use super::listener::{ListenerState, Seat};
use super::proxy_protocol::{self, Header};
use super::socket::Socket;
use super::tls::{self, ClientIdentity, Shaken};
use super::worker::Worker;
use crate::config::ProxyTrust;
use crate::domain::network::Network;
use crate::snapshot::handle::OpenListener;
use crate::telemetry::metrics::Shed;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Who is at the other end of a connection.
pub(super) struct Caller {
    /// Its address; a PROXY header has been believed.
    pub(super) peer: SocketAddr,
    /// It is a proxy, which is believed about where requests come from.
    pub(super) trust: Option<Arc<ProxyTrust>>,
    /// Whether nobody on the way can read along.
    pub(super) secure: bool,
    /// Who it is by its certificate.
    pub(super) client: Option<ClientIdentity>,
    /// Since when its first byte is waited for.
    pub(super) since: Instant,
}

impl Caller {
    /// One of whom only the address counts.
    pub(super) fn at(peer: SocketAddr) -> Self {
        Self {
            peer,
            trust: None,
            secure: false,
            client: None,
            since: Instant::now(),
        }
    }

    /// Whether it is a proxy that is believed.
    fn believe(&mut self, settings: &OpenListener) {
        let believed = settings.trust.covers(self.peer.ip());
        self.trust = believed.then(|| Arc::clone(&settings.trust));
    }
}

/// Serves a connection from accept to its end; it keeps its seat until then. What is needed only until it has arrived is gone
/// by its first request: ten thousand silent connections are no rare thing.
pub(super) fn serve(
    worker: Rc<Worker>,
    (listener, settings): (Arc<ListenerState>, OpenListener),
    stream: TcpStream,
    peer: SocketAddr,
    seat: Seat,
) -> impl Future<Output = ()> {
    // A connection that has to say nothing first is there at once, without anything to wait for.
    let arriving = match at_once(worker, listener, settings, stream, peer) {
        Ok(arrived) => Arriving::There(arrived),
        Err((worker, listener, settings, stream)) => {
            Arriving::Comes(Box::pin(arrive(worker, listener, settings, stream, peer)))
        }
    };
    async move {
        let arrived = match arriving {
            Arriving::There(arrived) => Some(arrived),
            Arriving::Comes(arriving) => arriving.await,
        };
        if let Some(Arrived {
            worker,
            connection,
            socket,
            http2,
            place,
        }) = arrived
        {
            connection::serve(worker, connection, socket, http2).await;
            drop(place);
        }
        drop(seat);
    }
}

enum Arriving<F> {
    There(Arrived),
    Comes(Pin<Box<F>>),
}

type Parts = (Rc<Worker>, Arc<ListenerState>, OpenListener, TcpStream);

/// A connection of which nothing has to be known but where it comes from.
fn at_once(
    worker: Rc<Worker>,
    listener: Arc<ListenerState>,
    settings: OpenListener,
    stream: TcpStream,
    peer: SocketAddr,
) -> Result<Arrived, Parts> {
    let most = settings.limits.max_connections_per_address;
    if settings.trust.proxy_protocol || settings.tls.is_some() || most.is_some() {
        return Err((worker, listener, settings, stream));
    }
    let mut caller = Caller::at(peer);
    caller.believe(&settings);
    Ok(Arrived {
        connection: Rc::new(Connection::new(&listener, &settings.limits, caller)),
        worker,
        socket: Socket::Clear(stream),
        http2: false,
        place: None,
    })
}

/// A connection that can be served.
struct Arrived {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    socket: Socket,
    http2: bool,
    place: Option<Place>,
}

async fn arrive(
    worker: Rc<Worker>,
    listener: Arc<ListenerState>,
    settings: OpenListener,
    mut stream: TcpStream,
    peer: SocketAddr,
) -> Option<Arrived> {
    let mut caller = Caller::at(peer);
    if settings.trust.proxy_protocol {
        let met = meet(&worker, &listener, &settings, &mut stream, &mut caller);
        if !met.await {
            return None;
        }
    } else {
        caller.believe(&settings);
    }
    // The connections of a proxy are those of many.
    let is_proxy = settings.trust.covers(caller.peer.ip());
    let most = settings.limits.max_connections_per_address;
    let place = if let Some(most) = most.filter(|_| !is_proxy) {
        let Some(place) = Place::take(&listener, caller.peer, most) else {
            listener.shed.count(Shed::MaxConnectionsPerAddress);
            turn_away(&worker, &listener, &settings, stream, caller).await;
            return None;
        };
        Some(place)
    } else {
        None
    };
    let shaken = if settings.tls.is_some() {
        shake(&worker, &listener, &settings, stream, &mut caller).await?
    } else {
        Shaken::clear(stream)
    };
    Some(Arrived {
        connection: Rc::new(Connection::new(&listener, &settings.limits, caller)),
        worker,
        socket: shaken.socket,
        http2: shaken.http2,
        place,
    })
}

/// Finds out whose connection it is; false: it is none that we take.
async fn meet(
    worker: &Worker,
    listener: &ListenerState,
    settings: &OpenListener,
    stream: &mut TcpStream,
    caller: &mut Caller,
) -> bool {
    if !settings.trust.covers(caller.peer.ip()) {
        listener.shed.count(Shed::ProxyProtocol);
        return false;
    }
    let end = caller.since + settings.limits.first_byte_timeout;
    let read = timeout_at(end, proxy_protocol::read(stream));
    match worker.unless_cut(read).await {
        Some(Ok(Ok(Header::From(peer)))) => {
            caller.peer = peer;
            caller.trust = settings
                .trust
                .covers(peer.ip())
                .then(|| Arc::clone(&settings.trust));
        }
        // Where it comes from is not known, so nobody is there who could be believed.
        Some(Ok(Ok(Header::NoClient))) => {}
        Some(Ok(Err(fault))) => {
            if fault.kind() == io::ErrorKind::InvalidData {
                listener.shed.count(Shed::ProxyProtocol);
            }
            return false;
        }
        Some(Err(_late)) => {
            listener.shed.count(Shed::FirstByte);
            return false;
        }
        None => return false,
    }
    caller.since = Instant::now();
    true
}

/// The handshake, where there is one.
async fn shake(
    worker: &Worker,
    listener: &ListenerState,
    settings: &OpenListener,
    stream: TcpStream,
    caller: &mut Caller,
) -> Option<Shaken> {
    let server = settings.tls.as_ref()?;
    let shaken = worker.unless_cut(tls::accept(listener, server, stream));
    let mut shaken = shaken.await.flatten()?;
    caller.secure = true;
    caller.client = shaken.client.take();
    caller.since = Instant::now();
    Some(shaken)
}

/// One connection too many: said where that costs nothing more than the connection, not just closed.
pub(super) async fn turn_away(
    worker: &Rc<Worker>,
    listener: &Arc<ListenerState>,
    settings: &OpenListener,
    stream: TcpStream,
    caller: Caller,
) {
    // There is nothing to say before a handshake.
    if settings.tls.is_some() {
        return;
    }
    let Some(_place) = worker.turning_away() else {
        return;
    };
    let connection = Connection::new(listener, &settings.limits, caller);
    connection::turn_away(worker, Rc::new(connection), stream).await;
}

/// A place among the connections of one address; given back when dropped.
struct Place {
    listener: Arc<ListenerState>,
    network: Network,
}

impl Place {
    fn take(listener: &Arc<ListenerState>, peer: SocketAddr, most: usize) -> Option<Self> {
        let network = Network::of(peer.ip());
        let mut open = listener.by_address.entry(network).or_insert(0);
        if *open >= most {
            return None;
        }
        *open += 1;
        drop(open);
        Some(Self {
            listener: Arc::clone(listener),
            network,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.listener
            .by_address
            .remove_if_mut(&self.network, |_, open| {
                *open -= 1;
                *open == 0
            });
    }
}
