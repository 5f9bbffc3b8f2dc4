//! Integration tests: the real gateway over real sockets.

#![cfg(test)]

mod codes;
mod decision;
mod extraction;
mod harness;
mod headers;
mod paths;
mod smoke;
