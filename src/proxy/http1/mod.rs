//! HTTP/1.1 towards callers (RFC 9112), spoken on the socket itself: one request after the other, each parsed where its bytes
//! lie, decided on, forwarded, and answered in the same task. No second task, no channel, and no buffer while nothing is said.

mod answer;
pub(super) mod head;
mod wire;

pub(super) use wire::{BrokenBody, Wire};

use super::connection::{Connection, Driven, Driver, End, refuse};
use super::error::ProxyError;
use super::handlers::Handlers;
use super::request::Request;
use super::socket::Socket;
use super::worker::Worker;
use answer::Ended;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use wire::Next;

/// Serves a connection to its end.
pub(super) async fn drive(worker: &Rc<Worker>, connection: &Rc<Connection>, socket: Socket) -> End {
    let wire = Rc::new(Wire::new(socket, worker, connection));
    let requests = Requests {
        requests: one_by_one(worker, connection, &wire),
    };
    let end = Driver::new(requests, connection).await;
    let (socket, read) = wire.take_apart();
    connection.hand_back(socket, read);
    end
}

/// One request after the other.
async fn one_by_one(worker: &Rc<Worker>, connection: &Rc<Connection>, wire: &Rc<Wire>) {
    let mut request = Request::none();
    loop {
        let manners = match wire.next_request(&mut request).await {
            Next::Request(manners) => manners,
            Next::Refused(fault) => return refuse_head(worker, connection, wire, fault).await,
            Next::Preface => return connection.speaks_http2(),
            Next::Closed => return wire.close().await,
        };
        let answering = Handlers::handle(worker, connection, request);
        let Some((answer, answered)) = wire.unless_gone(answering).await else {
            return;
        };
        request = answered;
        worker.spare.recycle_head(&mut request.head);
        match wire.send(answer, manners).await {
            Ended::Whole if connection.goes_on() => return,
            Ended::Whole if wire.is_ready_for_next(manners) => {}
            Ended::Whole => return wire.close().await,
            Ended::Broken => return,
        }
    }
}

/// A head that is none: said, and no more is read.
async fn refuse_head(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    wire: &Wire,
    fault: ProxyError,
) {
    let answer = refuse(worker, connection, fault);
    connection.body_left();
    if wire.write_all(&answer).await.is_ok() {
        wire.close().await;
    }
}

pin_project_lite::pin_project! {
    struct Requests<F> {
        #[pin]
        requests: F,
    }
}

impl<F: Future<Output = ()>> Future for Requests<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.project().requests.poll(cx)
    }
}

impl<F: Future<Output = ()>> Driven for Requests<F> {
    /// They look by themselves.
    fn last_requests(self: Pin<&mut Self>) {}
}
