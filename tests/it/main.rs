//! Integration tests: the real gateway over real sockets.

#![cfg(test)]
#![expect(clippy::float_cmp, reason = "counters are whole numbers")]

mod backup;
mod codes;
mod crash;
mod decision;
mod extraction;
mod forwarding;
mod hardening;
mod harness;
mod headers;
mod lifecycle;
mod logs;
mod management;
mod paths;
mod real_life;
mod reload;
mod smoke;
mod sync;
