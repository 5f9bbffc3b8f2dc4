//! The admin API does what its document says: Schemathesis reads the document, makes requests of it that are right and
//! that are wrong in every way it knows, and looks at the answers.

use crate::harness::{Desk, GatewayBuilder, Upstream, wait_until};
use keygate::clock::{Clock, SystemClock, TestClock};
use keygate::domain::id::Kind;
use keygate::domain::role::Role;
use keygate::domain::workspace::root;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// The same requests each time.
const SEED: &str = "7";
/// It takes a minute; a busy machine may need some.
const PATIENCE: Duration = Duration::from_mins(8);

/// Where `tests/support/schemathesis/install` has put it.
fn program() -> PathBuf {
    let build = Path::new(env!("CARGO_BIN_EXE_keygate")).ancestors().nth(2);
    let program = build.unwrap().join("schemathesis/bin/schemathesis");
    assert!(
        program.exists(),
        "Schemathesis is not installed: `tests/support/schemathesis/install {}` does it, and ./run-tests calls that",
        build.unwrap().display()
    );
    program
}

/// A clock that runs three thousand times too fast: wrong tokens are part of what is tried, and whoever shows too many
/// of them waits for the next minute.
struct Haste(Arc<AtomicBool>);

impl Haste {
    fn with(clock: Arc<TestClock>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                clock.advance_millis(61_000);
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self(over)
    }
}

impl Drop for Haste {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_admin_api_does_what_its_document_says() {
    let (program, upstream) = (program(), Upstream::ok());
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("master"), "a7".repeat(32)).unwrap();
    let clock = Arc::new(TestClock::at(SystemClock::new().now()));
    let gateway = GatewayBuilder::new(upstream.address)
        .stored()
        .top("vault: { master_key: \"file:master\" }\nwebhooks: { allow_private: true }")
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .start_in(folder);
    let token = Desk::of(&gateway).token(root().text(Kind::Workspace).as_str(), Role::Owner);
    let _haste = Haste::with(clock);
    let whoami = gateway.api_as(&token, "GET", "/v1/whoami", None).json();
    let support = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/schemathesis");
    let scratch = tempfile::tempdir().unwrap();
    let said = scratch.path().join("said");
    let running = Command::new(program)
        .arg("--config-file")
        .arg(support.join("schemathesis.toml"))
        .args([
            "run",
            &format!("http://{}/openapi.json", gateway.management),
        ])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--seed", SEED, "--generation-database", "none"])
        .args(["--continue-on-failure", "--no-color", "--warnings", "off"])
        .current_dir(scratch.path())
        .env("PYTHONPATH", &support)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("SCHEMATHESIS_OWN_TOKEN", whoami["id"].as_str().unwrap())
        .stdin(Stdio::null())
        .stdout(File::create(&said).unwrap())
        .stderr(File::create(scratch.path().join("complaints")).unwrap())
        .spawn()
        .unwrap();
    let mut running = Running(running);
    let mut good = false;
    wait_until("Schemathesis ends", PATIENCE, || {
        let ended = running.0.try_wait().unwrap();
        good = ended.is_some_and(|status| status.success());
        ended.is_some()
    });
    let said = fs::read_to_string(said).unwrap();
    let complaints = fs::read_to_string(scratch.path().join("complaints")).unwrap();
    assert!(good, "{said}\n{complaints}");
    // Not because nothing was tried.
    for phase in ["Examples", "Coverage", "Fuzzing", "Stateful"] {
        assert!(
            said.contains(&format!("✅ {phase}")) || phase == "Examples",
            "{phase}\n{said}"
        );
    }
    assert!(said.contains("Tested: "), "{said}");
}
