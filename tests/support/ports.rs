//! Ports for what has to be told one, and for what comes back on the same one.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;

/// Where Linux begins to give ports to whoever asks for any, unless the system says otherwise.
const USUAL: u16 = 32768;
const LEAST: u16 = 10_000;

/// A port that was free a moment ago, of those that the system gives to nobody by itself: it stays free while a server that
/// is meant for it is away.
pub(crate) fn free_port() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range
        .split_whitespace()
        .next()
        .and_then(|first| first.parse().ok());
    let end: u16 = first.filter(|first| *first > LEAST + 1000).unwrap_or(USUAL);
    for attempt in 0..1000_u32 {
        let chance = RandomState::new().hash_one(attempt) % u64::from(end - LEAST);
        let port = LEAST + u16::try_from(chance).unwrap_or_default();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port between {LEAST} and {end} is free");
}
