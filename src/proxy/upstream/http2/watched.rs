//! An endpoint's socket as h2 sees it: counts reads that bring something.

use super::Vitals;
use crate::proxy::observed::{Observed, Observer};
use crate::proxy::socket::Socket;
use std::io;
use std::rc::Rc;
use tokio::io::ReadBuf;

/// See the head of this file.
pub(super) struct Reads(Rc<Vitals>);

impl Observer for Reads {
    fn read(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        if buffer.filled().len() > before {
            self.0.reads.set(self.0.reads.get() + 1);
        }
        Ok(())
    }
}

/// The socket, with its reads counted.
pub(super) fn watched(socket: Socket, vitals: Rc<Vitals>) -> Observed<Reads> {
    Observed {
        socket,
        observer: Reads(vitals),
    }
}
