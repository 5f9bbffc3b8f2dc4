//! The end, in two steps: drain (accept no more, finish what runs), then cut at a deadline or at a second signal.

use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two tokens everything that runs listens to; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Accept no more, finish what runs.
    pub drain: CancellationToken,
    /// End at once.
    pub cut: CancellationToken,
}

impl Shutdown {
    /// Begins the drain; the cut follows when the deadline passes.
    pub async fn drain_then_cut(&self, deadline: Duration) {
        self.drain.cancel();
        tokio::select! {
            () = tokio::time::sleep(deadline) => {
                tracing::warn!("the drain took too long; what still runs is cut");
                self.cut.cancel();
            }
            () = self.cut.cancelled() => {}
        }
    }
}

/// SIGTERM and SIGINT.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from their default of ending the process.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next of either, and gives its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
