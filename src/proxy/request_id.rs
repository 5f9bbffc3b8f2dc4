//! The id of a request: the caller's own if it is harmless, else a fresh one. Kept where it stands, without asking for memory.

use super::request::Head;
use super::worker::Worker;
use crate::domain::id::{Id, IdText, Kind};

/// An id from outside is kept if it is no longer than this.
const LONGEST: usize = 64;

/// See the head of this file.
#[derive(Clone, Copy)]
pub(super) struct RequestId {
    bytes: [u8; LONGEST],
    length: usize,
}

impl RequestId {
    /// The id of a request with this head; `brand` is that of native keys.
    pub(super) fn of(worker: &Worker, head: &Head, brand: &str, now: u64) -> Self {
        let mut given = head.fields.get_all("x-request-id");
        if let (Some(id), None) = (given.next(), given.next())
            && let Ok(id) = std::str::from_utf8(id)
            && is_harmless(id, brand)
        {
            return Self::new(id.as_bytes());
        }
        Self::fresh(worker, now)
    }

    /// A new one, at a time in milliseconds since the epoch.
    pub(super) fn fresh(worker: &Worker, now: u64) -> Self {
        let text: IdText = Id::v7(now, worker.random()).text(Kind::Request);
        Self::new(text.as_bytes())
    }

    fn new(id: &[u8]) -> Self {
        let length = id.len().min(LONGEST);
        let mut bytes = [0; LONGEST];
        bytes[..length].copy_from_slice(&id[..length]);
        Self { bytes, length }
    }

    /// The id.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The id as text, which it always is.
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// Short, of an alphabet that needs no escaping anywhere, and nothing the redactor would mask.
fn is_harmless(id: &str, brand: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let own = || Id::parse(Kind::Request, id).is_some();
    let native = || {
        id.match_indices(brand)
            .any(|(at, _)| id[at + brand.len()..].starts_with('_'))
    };
    let clean = || !native() && id.bytes().all(letter);
    (1..=LONGEST).contains(&id.len()) && (own() || clean())
}
