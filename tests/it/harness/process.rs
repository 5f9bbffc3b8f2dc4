//! Programs of their own: the `keygate` binary and real servers, on free ports, stopped by their own pid.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A child that is killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let program = command.get_program().to_owned();
        Self(
            command
                .spawn()
                .unwrap_or_else(|fault| panic!("{} did not start: {fault}", program.display())),
        )
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string())
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for the end; the exit code.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<i32> {
        let mut code = None;
        wait_until("the process ends", limit, || {
            code = self.0.try_wait().unwrap().map(|status| status.code());
            code.is_some()
        });
        code.flatten()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The `keygate` binary of this build with these arguments, to its end.
pub(crate) fn keygate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
    command
        .args(arguments)
        .env_remove("KEYGATE_CONFIG")
        .stdin(Stdio::null());
    command.output().unwrap()
}

/// Longest wait for what must happen at all; no measure of speed, since a busy machine may take long.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Waits for something to become true; panics after the limit.
#[expect(clippy::disallowed_methods, reason = "a test's patience is real time")]
pub(crate) fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until someone listens there.
pub(crate) fn wait_for_port(address: SocketAddr) {
    wait_until(&format!("{address} answers"), PATIENCE, || {
        TcpStream::connect(address).is_ok()
    });
}
