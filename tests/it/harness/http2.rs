//! HTTP/2 on both sides of the gateway, by the h2 crate: a service that does as it is told, and a caller that sees resets.

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, client};
use http::{HeaderMap, Request, Response};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// One request as a service gets it, and the way for its answer.
pub(crate) struct Exchange {
    pub(crate) request: Request<RecvStream>,
    pub(crate) respond: SendResponse<Bytes>,
    /// Number of the connection it came on, from 0.
    pub(crate) connection: usize,
    /// Number of the request, from 0.
    pub(crate) number: usize,
    notes: Arc<Mutex<Vec<String>>>,
}

impl Exchange {
    /// Keeps a word for the test.
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.notes.lock().unwrap().push(what.into());
    }

    /// All of the request's body and its trailers; the error that ended it.
    pub(crate) async fn body(&mut self) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
        read(self.request.body_mut()).await
    }

    /// An answer with a body, to its end.
    pub(crate) fn answer(&mut self, status: u16, body: &'static str) {
        let head = Response::builder().status(status).body(()).unwrap();
        let mut stream = self.respond.send_response(head, body.is_empty()).unwrap();
        if !body.is_empty() {
            stream.send_data(Bytes::from(body), true).unwrap();
        }
    }
}

/// A body to its end, with its trailers.
pub(crate) async fn read(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok((all, body.trailers().await?))
}

/// A service that speaks HTTP/2 in cleartext; ends when dropped.
pub(crate) struct Http2Upstream {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    notes: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

impl Http2Upstream {
    /// Handles each request with a function.
    pub(crate) fn serving<F, W>(builder: Builder, handle: F) -> Self
    where
        F: Fn(Exchange) -> W + Clone + Send + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (connections, notes) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let (counted, kept) = (Arc::clone(&connections), Arc::clone(&notes));
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let mut tasks = JoinSet::new();
            let requests = Arc::new(AtomicUsize::new(0));
            while let Ok((stream, _)) = listener.accept().await {
                let connection = counted.fetch_add(1, Ordering::SeqCst);
                let (builder, handle) = (builder.clone(), handle.clone());
                let (notes, requests) = (Arc::clone(&kept), Arc::clone(&requests));
                tasks.spawn(async move {
                    let Ok(mut accepting) = builder.handshake::<_, Bytes>(stream).await else {
                        return;
                    };
                    let mut tasks = JoinSet::new();
                    while let Some(Ok((request, respond))) = accepting.accept().await {
                        tasks.spawn(handle(Exchange {
                            request,
                            respond,
                            connection,
                            number: requests.fetch_add(1, Ordering::SeqCst),
                            notes: Arc::clone(&notes),
                        }));
                    }
                });
            }
        });
        Self {
            address,
            connections,
            notes,
            _runtime: runtime,
        }
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// What was noted so far.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }
}

/// Runs a caller's part of a test.
pub(crate) fn run<T>(part: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let patience = super::PATIENCE;
    runtime.block_on(async { tokio::time::timeout(patience, part).await.expect("in time") })
}

/// A connection of a caller's to the gateway.
pub(crate) struct Http2Caller {
    sender: client::SendRequest<Bytes>,
    _driver: JoinSet<()>,
}

impl Http2Caller {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = client::handshake(stream).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            let _ = connection.await;
        });
        Self {
            sender,
            _driver: driver,
        }
    }

    /// Sends a head with the usual key; `ends`: nothing is behind it.
    pub(crate) async fn send(
        &self,
        method: &str,
        ends: bool,
    ) -> (client::ResponseFuture, h2::SendStream<Bytes>) {
        let request = Request::builder()
            .method(method)
            .uri("http://api.example.com/path?a=b")
            .header("x-api-key", super::KEY)
            .header("te", "trailers")
            .body(())
            .unwrap();
        let mut sender = self.sender.clone().ready().await.unwrap();
        sender.send_request(request, ends).unwrap()
    }

    /// Status and body of a `GET`.
    pub(crate) async fn get(&self) -> (u16, Vec<u8>) {
        let (response, _) = self.send("GET", true).await;
        let mut answer = response.await.unwrap();
        let body = read(answer.body_mut()).await.unwrap();
        (answer.status().as_u16(), body.0)
    }
}
