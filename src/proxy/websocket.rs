//! WebSocket (RFC 6455): the handshake, by `Upgrade` in HTTP/1.1 or by `CONNECT` in HTTP/2 (RFC 8441), and as much of its
//! framing as it takes to say goodbye between two frames.

use super::request::Head;
use super::socket::Socket;
use super::upstream::answer::AnswerHead;
use crate::domain::fields::Fields;
use crate::domain::route::AuthPolicy;
use crate::gate::extract;
use crate::gate::extract::websocket_protocol::Offer;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use http::StatusCode;
use http::header::{CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::upgrade::OnUpgrade;

pub(super) const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
/// RFC 6455 §7.4.1: the endpoint goes away.
pub(super) const GOING_AWAY: u16 = 1001;
/// The same: what came breaks a policy.
pub(super) const POLICY: u16 = 1008;
/// RFC 6455 §1.3.
const ACCEPT_SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const OPCODE_CLOSE: u8 = 8;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// A handshake under way.
pub(super) struct Handshake {
    /// How the caller's side goes on; `None`: as HTTP/1.1 does, with the socket itself.
    stream: Option<OnUpgrade>,
    /// What the service must answer to our own key; HTTP/2 has none.
    accept: Option<HeaderValue>,
    /// The sub-protocol that is chosen if the service chooses none.
    protocol: Option<HeaderValue>,
    /// The service's side, once it has agreed.
    pub(super) upstream: Option<(Socket, BytesMut)>,
}

/// The service has not agreed to what was asked.
pub(super) struct NotAgreed;

impl Handshake {
    /// The handshake of a request, on a route of this policy.
    pub(super) fn of(head: &Head, policy: &AuthPolicy) -> Self {
        let protocol = extract::protocol_prefix(policy)
            .and_then(|prefix| Offer::of(&head.fields, prefix).fallback);
        let stream = head.stream.clone();
        let key = stream
            .as_ref()
            .and_then(|_| head.fields.get("sec-websocket-key"));
        let accept = key.map(accept_of);
        Self {
            stream,
            accept,
            protocol,
            upstream: None,
        }
    }

    /// Whether it was asked for by `CONNECT` of HTTP/2.
    pub(super) fn is_by_connect(&self) -> bool {
        self.stream.is_some()
    }

    /// How the caller's side goes on, if not with the socket itself.
    pub(super) fn take_stream(&mut self) -> Option<OnUpgrade> {
        self.stream.take()
    }

    /// Makes the caller's answer out of the service's.
    pub(super) fn agree(&mut self, answer: &mut AnswerHead) -> Result<(), NotAgreed> {
        let lines = &mut answer.lines;
        if let Some(protocol) = self.protocol.take()
            && lines.get("sec-websocket-protocol").is_none()
        {
            lines.add("sec-websocket-protocol", protocol.as_bytes());
        }
        if self.stream.is_none() {
            lines.set("upgrade", WEBSOCKET.as_bytes());
            lines.set("connection", b"upgrade");
            return Ok(());
        }
        let accept = self.accept.as_ref().map(HeaderValue::as_bytes);
        if lines.get("sec-websocket-accept") != accept {
            return Err(NotAgreed);
        }
        lines.remove("sec-websocket-accept");
        answer.status = StatusCode::OK;
        Ok(())
    }
}

fn accept_of(key: &[u8]) -> HeaderValue {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(ACCEPT_SALT);
    HeaderValue::from_str(&BASE64.encode(hash.finish())).unwrap_or(WEBSOCKET)
}

/// The fields of a `CONNECT` of HTTP/2 (RFC 8441 §5), as those of the `Upgrade` that it stands for. `random` makes the key.
pub(super) fn as_upgrade(headers: &mut HeaderMap, random: u128) {
    headers.insert(UPGRADE, WEBSOCKET);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(key) = HeaderValue::from_str(&BASE64.encode(random.to_be_bytes())) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
}

/// Whether fields ask for a WebSocket; that `Connection` names `Upgrade` is for the caller to see to.
pub(super) fn is_asked(fields: &Fields) -> bool {
    let mut values = fields.get_all("upgrade");
    let first = values.next();
    values.next().is_none()
        && first.is_some_and(|value| value.eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
}

/// Follows frames (RFC 6455 §5.2) as they pass, to know where one ends.
#[derive(Debug, Clone, Default)]
pub(super) struct Frames {
    /// As much of a frame's header as has passed.
    header: [u8; 14],
    filled: usize,
    /// Bytes of the frame that are to come.
    payload: u64,
    /// A closing frame has passed.
    pub(super) closed: bool,
}

impl Frames {
    /// These bytes have passed.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes);
            bytes = &bytes[taken..];
        }
    }

    /// How many of these bytes, which are next, end the frame that has begun; `None`: they do not.
    pub(super) fn border(&self, bytes: &[u8]) -> Option<usize> {
        let mut ahead = self.clone();
        let mut at = 0;
        while !ahead.is_at_border() {
            if at == bytes.len() {
                return None;
            }
            at += ahead.step(&bytes[at..]);
        }
        Some(at)
    }

    fn is_at_border(&self) -> bool {
        self.filled == 0 && self.payload == 0
    }

    /// Takes bytes up to the end of a header or a frame at most.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.payload > 0 {
            let taken = usize::try_from(self.payload)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            self.payload -= taken as u64;
            return taken;
        }
        for (place, byte) in bytes.iter().enumerate() {
            self.header[self.filled] = *byte;
            self.filled += 1;
            if self.filled == self.header_length() {
                self.closed |= self.header[0] & 0x0f == OPCODE_CLOSE;
                self.payload = self.payload_length();
                self.filled = 0;
                return place + 1;
            }
        }
        bytes.len()
    }

    /// As far as is known: the second byte tells.
    fn header_length(&self) -> usize {
        if self.filled < 2 {
            return 2;
        }
        let extended = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.header[1] & MASKED == 0 { 0 } else { 4 };
        2 + extended + mask
    }

    fn payload_length(&self) -> u64 {
        let big_endian = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        match self.header[1] & 0x7f {
            126 => big_endian(&self.header[2..4]),
            127 => big_endian(&self.header[2..10]),
            short => u64::from(short),
        }
    }
}

/// A closing frame; masked, if a client says it (RFC 6455 §5.3).
pub(super) fn closing(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    // 125 bytes at most, of which the code has two (RFC 6455 §5.5).
    let reason = &reason.as_bytes()[..reason.len().min(123)];
    let length = u8::try_from(reason.len() + 2).unwrap_or(2);
    let mut frame = vec![FINAL | OPCODE_CLOSE, length];
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason);
    if let Some(mask) = mask {
        frame[1] |= MASKED;
        frame.extend_from_slice(&mask);
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
    }
    frame.extend_from_slice(&payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame of this opcode.
    fn frame(opcode: u8, payload: usize, masked: bool) -> Vec<u8> {
        let mut frame = vec![FINAL | opcode];
        let flag = if masked { MASKED } else { 0 };
        match u8::try_from(payload) {
            Ok(short @ 0..=125) => frame.push(flag | short),
            _ if u16::try_from(payload).is_ok() => {
                frame.push(flag | 0x7e);
                frame.extend_from_slice(&u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(flag | 0x7f);
                frame.extend_from_slice(&(payload as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend_from_slice(&[1, 2, 3, 4]);
        }
        frame.resize(frame.len() + payload, 0x5a);
        frame
    }

    #[test]
    fn the_key_of_the_standard_is_accepted_as_the_standard_says() {
        // RFC 6455 §1.3.
        let accept = accept_of(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_closing_frame_has_code_and_reason() {
        assert_eq!(closing(1001, "bye", None), b"\x88\x05\x03\xe9bye");
        let masked = closing(1001, "", Some([0xff; 4]));
        assert_eq!(masked, [0x88, 0x82, 0xff, 0xff, 0xff, 0xff, 0xfc, 0x16]);
        assert_eq!(closing(1001, &"x".repeat(500), None).len(), 127);
        let mut frames = Frames::default();
        frames.feed(&closing(1008, "api_key_revoked", Some([7; 4])));
        assert!(frames.closed && frames.is_at_border());
    }

    proptest! {
        #[test]
        fn borders_are_found_wherever_the_bytes_are_cut(
            sizes in proptest::collection::vec((0_usize..70_000, any::<bool>()), 1..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut borders = vec![0];
            let mut bytes = Vec::new();
            for (size, masked) in sizes {
                bytes.extend(frame(2, size, masked));
                borders.push(bytes.len());
            }
            let cut = cut.index(bytes.len());
            let mut frames = Frames::default();
            frames.feed(&bytes[..cut]);
            let next = borders.iter().find(|border| **border >= cut).unwrap();
            prop_assert_eq!(frames.border(&bytes[cut..]), Some(next - cut));
            prop_assert!(!frames.closed);
            if cut < *next {
                prop_assert_eq!(frames.border(&bytes[cut..next - 1]), None);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut frames = Frames::default();
            frames.feed(&bytes);
            let _ = frames.border(&bytes);
        }
    }
}
