//! A connection in use: one that is a request's own, or a place on a shared one.

use super::answer::{AnswerHead, Malformed};
use super::exchange::{self, Connection, SendFault};
use super::http2::stream::Stream;
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::pool::Aged;
use crate::domain::upstream::Pool;
use crate::proxy::socket::Socket;
use crate::proxy::worker::Worker;
use crate::snapshot::endpoints::EndpointState;
use crate::snapshot::load::ConnectionPlace;
use bytes::BytesMut;
use http::Method;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What carries a request.
pub(in crate::proxy) enum Carrier {
    /// A connection of its own, HTTP/1.1.
    Own(Box<Aged>),
    /// A place on a connection that others share, HTTP/2.
    Shared(Stream),
}

/// A connection in use. Given back when the answer has been read to its end; closed, or for a shared one the request taken
/// back, when dropped before.
pub(in crate::proxy) struct Lease {
    carrier: Carrier,
    worker: Rc<Worker>,
    endpoint: u64,
    limits: Pool,
}

impl Lease {
    pub(in crate::proxy) fn new(
        worker: &Rc<Worker>,
        endpoint: &Arc<EndpointState>,
        limits: Pool,
        carrier: Carrier,
    ) -> Self {
        Self {
            carrier,
            worker: Rc::clone(worker),
            endpoint: endpoint.number,
            limits,
        }
    }

    /// Whether it has carried a request before, so that the other side may have closed it meanwhile.
    pub(in crate::proxy) fn is_reused(&self) -> bool {
        match &self.carrier {
            Carrier::Own(aged) => aged.is_reused(),
            Carrier::Shared(stream) => stream.is_reused(),
        }
    }

    /// Gives a new connection its place among those that are counted; a place that is not needed is free again.
    pub(in crate::proxy) fn hold(&mut self, place: Option<ConnectionPlace>) {
        match &mut self.carrier {
            Carrier::Own(aged) => aged.hold(place),
            Carrier::Shared(stream) if !stream.is_reused() => stream.hold(place),
            Carrier::Shared(_) => {}
        }
    }

    /// Sends a request and waits for the head of its answer; interim answers go to `interim`.
    ///
    /// `asked` is its method, and whether it asks for a WebSocket, which only a connection of its own can become.
    /// `patience` counts from the last byte that the service took, from `now` before there was one, and not while the caller
    /// has to send more.
    pub(in crate::proxy) async fn send(
        &mut self,
        outgoing: &mut Outgoing,
        asked: (&Method, bool),
        (patience, now): (Duration, Instant),
        interim: impl Fn(&AnswerHead),
    ) -> Result<AnswerHead, SendFault> {
        match &mut self.carrier {
            Carrier::Own(aged) => {
                let connection = aged.connection();
                let worker = &*self.worker;
                connection
                    .send(outgoing, asked, patience, (interim, worker, now))
                    .await
            }
            Carrier::Shared(stream) => stream.send(outgoing, asked.0, patience, interim).await,
        }
    }

    /// The body behind a head. `outgoing` is what is left of the request.
    ///
    /// # Errors
    /// When the body is seen to be none while nothing has been passed on, so that the caller can still be told.
    pub(in crate::proxy) fn begin(
        &mut self,
        head: &AnswerHead,
        outgoing: Option<Outgoing>,
    ) -> Result<Incoming, Malformed> {
        match &mut self.carrier {
            Carrier::Own(aged) => {
                let incoming = exchange::Incoming::begin(head, outgoing, aged.connection())?;
                Ok(Incoming::Http1(incoming))
            }
            Carrier::Shared(stream) => {
                let incoming = stream.begin(head, outgoing, &self.worker)?;
                Ok(Incoming::Http2(incoming))
            }
        }
    }

    /// What came along with the head may wait for long: it keeps no more memory than it needs. Whether that is so now.
    pub(in crate::proxy) fn shrink(&mut self) -> bool {
        match &mut self.carrier {
            Carrier::Own(aged) => aged.connection().shrink(&self.worker),
            Carrier::Shared(_) => false,
        }
    }

    /// The connection, where it is a request's own.
    pub(super) fn connection(&mut self) -> Option<(&mut Connection, &Worker)> {
        match &mut self.carrier {
            Carrier::Own(aged) => Some((aged.connection(), &self.worker)),
            Carrier::Shared(_) => None,
        }
    }

    /// The socket, and what has been read from it, where it is a request's own: for a WebSocket.
    pub(in crate::proxy) fn into_socket(self) -> Option<(Socket, BytesMut)> {
        match self.carrier {
            Carrier::Own(aged) => Some(aged.into_connection().into_parts()),
            Carrier::Shared(_) => None,
        }
    }

    /// Something came.
    pub(super) fn heard(&mut self) {
        if let Carrier::Shared(stream) = &mut self.carrier {
            stream.heard();
        }
    }

    /// Nothing came for too long: a shared connection on which nothing came at all is for no other request.
    pub(in crate::proxy) fn doubt(&self) {
        if let Carrier::Shared(stream) = &self.carrier {
            stream.doubt();
        }
    }

    /// Back to the pool, if the answer has left the connection fit for another request.
    pub(in crate::proxy) fn give_back(self, answer: &Incoming, now: u64) {
        if let (Carrier::Own(mut aged), Incoming::Http1(answer)) = (self.carrier, answer)
            && answer.leaves_good(aged.connection())
        {
            aged.connection().rest(&self.worker);
            self.worker.pools.put(self.endpoint, aged, now, self.limits);
            self.worker.reap_later();
        }
    }
}
