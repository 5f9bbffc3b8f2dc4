//! Integration tests: the real gateway over real sockets.

mod harness;
mod smoke;
