//! THE DATA PLANE: one thread per core, each with its own runtime, listeners and upstream connections.
//! Read `handler.rs` first: the request path, top to bottom.

mod admission;
mod answer;
mod arrival;
mod attempt;
mod balance;
mod body;
mod caller_body;
mod client_address;
mod connection;
mod context;
mod counting;
mod error;
mod fields;
mod forward;
mod frame_watch;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod grpc;
mod handler;
mod handlers;
mod headers;
mod http1;
mod http2;
mod leftover;
mod limits;
mod listener;
mod observed;
mod outflow;
mod overload;
pub mod proxy_protocol;
mod queue;
mod request;
mod request_head;
mod request_id;
mod retry;
mod socket;
mod spare;
mod streams;
mod tls;
mod upgrade;
mod upkeep;
mod upstream;
mod websocket;
mod worker;

pub use listener::{BindError, BoundListener, bind};
pub use upkeep::Upkeep;
pub use worker::{Proxy, ProxyParts, WorkerFault, start};
