//! keygate: an authenticating reverse-proxy gateway.
//!
//! # Layers
//!
//! Arrows point down only; `tests/layers.rs` fails on any other.
//!
//! | layer | modules |
//! |---|---|
//! | 6 | `cli`, `app`, `shutdown` |
//! | 5 | `admin`, `proxy`, `sync`, `notify` |
//! | 4 | `gate` |
//! | 3 | `snapshot`, `store`, `vault`, `http` |
//! | 2 | `config`, `telemetry` |
//! | 1 | `domain`, `clock` |
//!
//! # Life of a request
//!
//! `proxy::listener` accepts on one of the worker threads, `proxy::connection` reads heads off the socket with
//! timeouts, `proxy::handler` takes one request from its first header to its last byte: route (`snapshot::router`),
//! find the key (`gate::extract`), check it (`gate::verify`), decide (`gate::authorize`, the only maker of a
//! [`gate::authorize::Permit`]), prepare the headers, forward, and account for it when the body has ended.
//! `config` and later the store reach it through `sync` and `snapshot` only.

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gate;
pub mod http;
pub mod notify;
pub mod proxy;
pub mod shutdown;
pub mod snapshot;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod vault;
