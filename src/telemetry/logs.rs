//! Where lines go: one thread writes them all, workers only hand over. A full queue drops lines and counts them.

use super::redact::redact;
use prometheus::IntCounter;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// Batches that may wait. At 32 KiB each this bounds the memory to 32 MiB.
const QUEUE: usize = 1024;

/// Whole lines for one of the sinks.
enum Batch {
    /// Access lines, how many, and where the empty buffer goes back to.
    Access(Vec<u8>, u64, SyncSender<Vec<u8>>),
    Diagnostic(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The handle to the log thread; cheap to clone, never blocks.
#[derive(Clone)]
pub struct LogSink {
    queue: SyncSender<Batch>,
    dropped: IntCounter,
}

impl LogSink {
    /// Starts the log thread. Access lines go to `access` (default standard output), diagnostics to standard error.
    pub fn start(
        brand: &str,
        access: Option<&Path>,
        dropped: IntCounter,
    ) -> io::Result<(Self, LogThread)> {
        let access: Box<dyn Write + Send> = match access {
            Some(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
            None => Box::new(io::stdout()),
        };
        Self::with_writers(brand, access, Box::new(io::stderr()), dropped)
    }

    /// As [`LogSink::start`], with writers of the caller's choice.
    pub fn with_writers(
        brand: &str,
        access: Box<dyn Write + Send>,
        diagnostics: Box<dyn Write + Send>,
        dropped: IntCounter,
    ) -> io::Result<(Self, LogThread)> {
        let (queue, batches) = sync_channel(QUEUE);
        let brand = brand.to_owned();
        let writer = Writer {
            brand,
            access,
            diagnostics,
            dropped: dropped.clone(),
            failing: false,
        };
        std::thread::Builder::new()
            .name("keygate-log".into())
            .spawn(move || writer.run(&batches))?;
        let sink = Self { queue, dropped };
        Ok((sink.clone(), LogThread { sink }))
    }

    /// Hands over complete access lines; `lines` tells how many, for the count of what was dropped. The buffer comes back
    /// empty by `home`.
    pub fn access(&self, batch: Vec<u8>, lines: u64, home: &SyncSender<Vec<u8>>) {
        if self
            .queue
            .try_send(Batch::Access(batch, lines, home.clone()))
            .is_err()
        {
            self.dropped.inc_by(lines);
        }
    }

    fn diagnostic(&self, line: Vec<u8>) {
        if self.queue.try_send(Batch::Diagnostic(line)).is_err() {
            self.dropped.inc();
        }
    }
}

/// The log thread. When this is dropped, also because a start failed, everything handed over so far is written.
pub struct LogThread {
    sink: LogSink,
}

impl Drop for LogThread {
    /// Waits for at most two seconds.
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        if self.sink.queue.try_send(Batch::Flush(done)).is_ok() {
            let _ = written.recv_timeout(Duration::from_secs(2));
        }
    }
}

struct Writer {
    brand: String,
    access: Box<dyn Write + Send>,
    diagnostics: Box<dyn Write + Send>,
    dropped: IntCounter,
    /// The last access lines could not be written.
    failing: bool,
}

impl Writer {
    /// A sink that fails (disk full, closed pipe) loses lines, never requests.
    fn run(mut self, batches: &Receiver<Batch>) {
        loop {
            match batches.recv_timeout(Duration::from_millis(500)) {
                Ok(Batch::Access(mut lines, count, home)) => {
                    // Composed of our own ids and numbers; what is foreign in them was redacted one by one.
                    let written = self
                        .access
                        .write_all(&lines)
                        .and_then(|()| self.access.flush());
                    self.note(written, count);
                    lines.clear();
                    // A worker that has buffers enough lets this one go.
                    let _ = home.try_send(lines);
                }
                Ok(Batch::Diagnostic(line)) => {
                    let clean = self.clean(&line);
                    let _ = self.diagnostics.write_all(&clean);
                }
                Ok(Batch::Flush(done)) => {
                    let _ = self.access.flush();
                    let _ = done.try_send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Lines that could not be written are lost like those that were dropped, and are counted with them. Said once, until
    /// writing works again.
    fn note(&mut self, written: io::Result<()>, lines: u64) {
        match written {
            Ok(()) => self.failing = false,
            Err(fault) => {
                self.dropped.inc_by(lines);
                if !std::mem::replace(&mut self.failing, true) {
                    // There is nowhere left to complain if this fails too.
                    let _ = writeln!(
                        self.diagnostics,
                        "keygate: access lines cannot be written: {fault}"
                    );
                }
            }
        }
    }

    fn clean(&self, lines: &[u8]) -> Vec<u8> {
        redact(&String::from_utf8_lossy(lines), &self.brand)
            .into_owned()
            .into_bytes()
    }
}

/// Sets the process's diagnostics up: JSON lines, or readable ones when standard error is a terminal.
pub fn install(level: &str, sink: &LogSink) {
    let filter = tracing_subscriber::EnvFilter::new(filter(level));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(sink.clone());
    let done = if io::IsTerminal::is_terminal(&io::stderr()) {
        tracing::subscriber::set_global_default(lines.compact().with_ansi(false).finish())
    } else {
        tracing::subscriber::set_global_default(lines.json().flatten_event(true).finish())
    };
    // A second installation in one process keeps the first; only tests do that.
    let _ = done;
}

/// The level, and less of the store's driver: it warns of each connection that breaks, and that the store is away is told
/// once by us. Who wants to see all of it, or names it, does.
fn filter(level: &str) -> String {
    match level {
        "off" | "debug" | "trace" => level.to_owned(),
        level => format!("sqlx_core=error,{level}"),
    }
}

impl<'a> MakeWriter<'a> for LogSink {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter {
            sink: self,
            line: Vec::new(),
        }
    }
}

/// Collects one diagnostic line and hands it over when it is dropped.
pub struct LineWriter<'a> {
    sink: &'a LogSink,
    line: Vec<u8>,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter<'_> {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.sink.diagnostic(std::mem::take(&mut self.line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A writer that never returns, like a pipe nobody reads.
    struct Stuck(Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "dropped").unwrap()
    }

    #[test]
    fn diagnostics_are_redacted() {
        let (access, diagnostics) = (Shared::default(), Shared::default());
        let (sink, thread) = LogSink::with_writers(
            "kg",
            Box::new(access.clone()),
            Box::new(diagnostics.clone()),
            counter(),
        )
        .unwrap();
        let (home, back) = sync_channel(1);
        sink.access(b"a line\n".to_vec(), 1, &home);
        sink.make_writer()
            .write_all(b"c Bearer hunter2 d\n")
            .unwrap();
        drop(thread);
        assert_eq!(access.0.lock().unwrap().as_slice(), b"a line\n");
        assert!(back.recv().unwrap().is_empty());
        assert_eq!(
            diagnostics.0.lock().unwrap().as_slice(),
            b"c Bearer [redacted] d\n"
        );
    }

    /// A full disk.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_said_once() {
        let (said, dropped) = (Shared::default(), counter());
        let (sink, thread) = LogSink::with_writers(
            "kg",
            Box::new(Full),
            Box::new(said.clone()),
            dropped.clone(),
        )
        .unwrap();
        let (home, _back) = sync_channel(1);
        sink.access(b"a\n".to_vec(), 1, &home);
        sink.access(b"b\nc\n".to_vec(), 2, &home);
        drop(thread);
        assert_eq!(dropped.get(), 3);
        assert_eq!(
            String::from_utf8(said.0.lock().unwrap().clone())
                .unwrap()
                .lines()
                .count(),
            1
        );
    }

    #[test]
    fn a_stuck_sink_drops_and_counts_and_never_blocks() {
        let (release, gate) = sync_channel(1);
        let (home, _back) = sync_channel(1);
        let dropped = counter();
        let (sink, thread) = LogSink::with_writers(
            "kg",
            Box::new(Stuck(gate)),
            Box::new(io::sink()),
            dropped.clone(),
        )
        .unwrap();
        for _ in 0..QUEUE + 10 {
            sink.access(b"line\n".to_vec(), 3, &home);
        }
        assert!(dropped.get() >= 9 * 3, "{}", dropped.get());
        drop(release);
        drop(sink);
        drop(thread);
    }
}
