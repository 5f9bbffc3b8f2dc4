//! Frames of HTTP/2 as they come in (RFC 9113 §4.1), counted by what they are for: frames that ask for nothing (PING, SETTINGS,
//! PRIORITY, unknown ones) and credit for answers (`WINDOW_UPDATE`) cost the sender next to nothing and us an answer or a look
//! each, so a peer may send so many of them for each request it makes, each byte it is sent, and each second
//! (CVE-2019-9512, CVE-2019-9515). h2 bounds the other kinds by itself.

/// Length, type, flags and stream.
const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
/// Frames that may come at once beyond what is earned.
const BURST: u64 = 2000;
/// Frames earned by a second.
const PER_SECOND: u64 = 50;
/// Frames earned by a request.
const PER_REQUEST: u64 = 20;
/// Bytes of answers that earn a frame: one of credit for each piece of an answer, however small the reader's.
const BYTES_PER_FRAME: u64 = 256;

/// The frames of one connection.
#[derive(Debug)]
pub(super) struct FrameWatch {
    header: [u8; HEADER],
    filled: usize,
    /// Bytes of the current frame that are to come.
    payload: usize,
    /// Frames that may still come.
    budget: u64,
    /// Bytes written that have earned nothing yet.
    written: u64,
    /// Whole seconds that have earned already.
    seconds: u64,
}

impl FrameWatch {
    /// `preface`: bytes in front of the first frame.
    pub(super) fn new(preface: usize) -> Self {
        Self {
            header: [0; HEADER],
            filled: 0,
            payload: preface,
            budget: BURST,
            written: 0,
            seconds: 0,
        }
    }

    /// So many bytes went to the peer.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    /// The next bytes, so many seconds after the first; whether the peer keeps within its budget.
    pub(super) fn feed(&mut self, mut bytes: &[u8], seconds: u64) -> bool {
        self.earn(seconds);
        while !bytes.is_empty() {
            if self.payload > 0 {
                let taken = self.payload.min(bytes.len());
                self.payload -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            let taken = (HEADER - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEADER && !self.begin() {
                return false;
            }
        }
        true
    }

    fn earn(&mut self, seconds: u64) {
        let passed = seconds.saturating_sub(self.seconds);
        self.seconds = self.seconds.max(seconds);
        // What time gives is not piled up; what answers give is, so that a reader may take its time.
        if self.budget < BURST {
            self.budget = BURST.min(self.budget + passed.saturating_mul(PER_SECOND));
        }
        self.budget = self.budget.saturating_add(self.written / BYTES_PER_FRAME);
        self.written %= BYTES_PER_FRAME;
    }

    /// A frame begins; whether it may.
    fn begin(&mut self) -> bool {
        let [high, middle, low, kind, ..] = self.header;
        self.filled = 0;
        self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        match kind {
            HEADERS => self.budget = self.budget.saturating_add(PER_REQUEST),
            // h2 bounds these.
            DATA | RST_STREAM | CONTINUATION => {}
            _ => {
                let Some(left) = self.budget.checked_sub(1) else {
                    return false;
                };
                self.budget = left;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_UPDATE: u8 = 8;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        frame.resize(HEADER + payload, 0);
        frame
    }

    #[test]
    fn frames_that_ask_for_nothing_run_out() {
        for kind in [2, 4, 6, WINDOW_UPDATE, 0xfe] {
            let mut watch = FrameWatch::new(24);
            assert!(watch.feed(&[0; 24], 0));
            let flood = frame(kind, 8).repeat(5000);
            let kept = flood.chunks(100).take_while(|piece| watch.feed(piece, 0));
            let kept = kept.count() * 100 / 17;
            assert!((1900..2100).contains(&kept), "{kind}: {kept}");
        }
    }

    #[test]
    fn who_asks_and_reads_may_go_on() {
        let mut watch = FrameWatch::new(0);
        for second in 0..10_000 {
            assert!(watch.feed(&frame(6, 8).repeat(40), second), "{second}");
        }
        // A download of a gigabyte, with credit for each kilobyte.
        for _ in 0..1_000_000 {
            watch.wrote(1024);
            assert!(watch.feed(&frame(WINDOW_UPDATE, 4), 10_000));
            assert!(watch.feed(&frame(WINDOW_UPDATE, 4), 10_000));
        }
        for _ in 0..100_000 {
            let mut request = frame(HEADERS, 30);
            request.extend(frame(6, 8).repeat(4));
            assert!(watch.feed(&request, 10_000));
        }
        assert!(watch.feed(&frame(DATA, 9000).repeat(9999), 10_000));
    }

    #[test]
    fn cuts_change_nothing() {
        let mut bytes = frame(HEADERS, 300);
        bytes.extend(frame(6, 8));
        bytes.extend(frame(DATA, 70));
        let left = |step: usize| {
            let mut watch = FrameWatch::new(0);
            assert!(bytes.chunks(step).all(|piece| watch.feed(piece, 0)));
            (watch.budget, watch.payload, watch.filled)
        };
        for step in 1..bytes.len() {
            assert_eq!(left(step), (BURST + PER_REQUEST - 1, 0, 0), "{step}");
        }
    }
}
