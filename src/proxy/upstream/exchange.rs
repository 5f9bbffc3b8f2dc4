//! One request on one connection. The only file that knows how HTTP/1.1 is spoken upstream: today hyper's client; what
//! takes its place has to keep these few calls.

use crate::proxy::body::RequestBody;
use crate::proxy::headers::check_answer;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

/// An open connection to an endpoint. Closed when dropped, whatever is still under way on it.
pub(in crate::proxy) struct Connection {
    sender: SendRequest<RequestBody>,
    driver: AbortHandle,
}

/// Without it a service that has stopped reading would keep the caller's half-sent body, and so its connection.
impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why there is no answer.
pub(in crate::proxy) enum SendFault {
    /// The connection was dead before a byte was written: here is the request back.
    Unsent(Box<Request<RequestBody>>),
    /// The connection ended before an answer; the request may have been acted upon.
    NoAnswer,
    /// What came is no HTTP, or not in one way only.
    Protocol,
    /// Nothing came in time.
    Timeout,
}

impl Connection {
    /// Speaks HTTP/1.1 on a socket; its reads and writes are driven by a task of the worker.
    pub(in crate::proxy) async fn open(
        stream: TcpStream,
        tasks: &TaskTracker,
    ) -> Result<Self, hyper::Error> {
        let (sender, driver) = http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await?;
        let driver = tasks.spawn_local(async move {
            // Its error reaches whoever waits for an answer on it.
            let _ = driver.await;
        });
        Ok(Self {
            sender,
            driver: driver.abort_handle(),
        })
    }

    /// Whether a request could be sent right now.
    pub(in crate::proxy) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether it is of no more use.
    pub(in crate::proxy) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request and waits for the head of its answer; interim answers are passed over.
    pub(in crate::proxy) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendFault> {
        match self.sender.try_send_request(request).await {
            Ok(answer) => check_answer(&answer)
                .map(|()| answer)
                .map_err(|_| SendFault::Protocol),
            Err(mut failed) => {
                if let Some(request) = failed.take_message() {
                    return Err(SendFault::Unsent(Box::new(request)));
                }
                let fault = failed.into_error();
                Err(if fault.is_parse() {
                    SendFault::Protocol
                } else {
                    SendFault::NoAnswer
                })
            }
        }
    }
}
