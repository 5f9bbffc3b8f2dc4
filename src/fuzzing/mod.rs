//! What must hold whatever somebody else sends: one function for each target, which panics where it does not hold, mostly by
//! comparing with a second reading that is slow and simple. Only tests and cargo-fuzz build this; docs/fuzzing.md tells how it
//! is run.

#![expect(
    clippy::missing_panics_doc,
    reason = "to panic is what a target is for"
)]

mod configuration;
mod extraction;
mod keys;
mod paths;
#[cfg(test)]
mod tests;

pub use crate::proxy::fuzzing::{
    answer_head, chunked, client_address, proxy_protocol, request_framing, request_head,
};
pub use configuration::config;
pub use extraction::extraction;
pub use keys::key_format;
pub use paths::path;

/// Decodes every `%XX` once; what is no escape stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let escape = match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        out.push(escape.unwrap_or(*byte));
        at += if escape.is_some() { 3 } else { 1 };
    }
    out
}
