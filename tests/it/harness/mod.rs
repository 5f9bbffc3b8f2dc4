//! The real gateway on free ports, an upstream that shows what it received, and a client that sends bytes as told.

mod authority;
mod client;
mod desk;
mod gateway;
mod http2;
mod managed;
mod peers;
#[path = "../../support/ports.rs"]
mod ports;
#[path = "../../support/postgres.rs"]
mod postgres;
mod process;
mod programs;
mod served;
mod store;
mod upstream;

pub(crate) use authority::Authority;
pub(crate) use client::{Answer, Client};
pub(crate) use desk::{Desk, sql};
pub(crate) use gateway::{Gateway, GatewayBuilder, KEY, ask, hash_of, tell, value_of};
pub(crate) use http2::{Exchange, Http2Caller, Http2Upstream, read, run};
pub(crate) use managed::{Manager, Place, actor, new_key};
pub(crate) use peers::{peer, peer_says, peer_server};
pub(crate) use ports::free_port;
pub(crate) use postgres::Durability;
pub(crate) use process::{PATIENCE, Process, keygate, wait_for_port, wait_until};
pub(crate) use programs::{nginx, server};
pub(crate) use served::Served;
pub(crate) use store::{token, with_store, workspace};
pub(crate) use upstream::{Received, Upstream, read_request};
