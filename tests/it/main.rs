//! Integration tests: the real gateway over real sockets.

#![cfg(test)]
#![expect(clippy::float_cmp, reason = "counters are whole numbers")]

mod admin_bodies;
mod admin_codes;
mod admission;
mod audit;
mod backup;
mod canary;
mod cli;
mod client_address;
mod codes;
mod consumers;
mod crash;
mod decision;
mod explain;
mod extraction;
mod forwarding;
mod hardening;
mod harness;
mod headers;
mod http2;
mod keys_api;
mod keys_import;
mod lifecycle;
mod lifetime;
mod limits;
mod logs;
mod management;
mod merge_patch;
mod notices;
mod paths;
mod people;
mod real_life;
mod reload;
mod schemathesis;
mod smoke;
mod streams;
mod sync;
mod tls;
mod usage;
mod usage_api;
mod webhooks;
mod websocket;
mod workspaces;
