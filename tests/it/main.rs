//! Integration tests: the real gateway over real sockets.

mod codes;
mod harness;
mod smoke;
