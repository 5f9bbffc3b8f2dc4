//! Integration tests: the real gateway over real sockets.

#![cfg(test)]
#![expect(clippy::float_cmp, reason = "counters are whole numbers")]

mod audit;
mod codes;
mod consumers;
mod decision;
mod extraction;
mod forwarding;
mod hardening;
mod harness;
mod headers;
mod lifecycle;
mod logs;
mod management;
mod notices;
mod paths;
mod people;
mod real_life;
mod reload;
mod smoke;
mod webhooks;
mod workspaces;
